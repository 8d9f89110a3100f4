//! Trying out what the data path would do with packets: its own code on copies
//! of what is in its tables.
//!
//! An entry is copied when the pipeline first asks for it, and from then on only
//! the copy is read and written; so packets of one rehearsal meet what those
//! before them have left, and the data path never hears of any of it.
//!
//! What must not be here: what a step means to an operator; that is
//! `control::answer::explain`.

use std::{
    cell::{Cell, RefCell},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::Range,
    sync::atomic::Ordering::Relaxed,
};

use elsa::FrozenMap;
use lb_common::{
    advert::{AdvertGuard, AdvertLine},
    config::Config,
    counters::Event,
    dnat::DnatLine,
    flow::{Flow4Line, Flow6Line, Return4, Return6},
    flow_note::FlowNote,
    fragment::Fragment,
    instance::Instance,
    limits::PLACEMENT_LINES,
    listener::{ListenerLine, ListenerOf},
    load::{Load, SourceCell},
    member::Member,
    placement::PlacementLine,
    pool::{Pool, SlotLine},
    port::{Place, Port, Tags},
    trace::{TraceFilter, TraceRecord},
    vip::{Vip4Line, Vip6Line, VipFilter},
};
use lb_ebpf::{
    far::{self, Call},
    host::Arrays,
    ingress::Ingress,
    packet::Packet,
    pipeline,
    tables::{Direction, Tables, Verdict, Way},
};

use super::{
    DataplaneError, ListenerId, MemberId, PoolId,
    flows::{FlowMemory, Window},
    region::{Shared, copy_of},
};

/// Bytes in front of a frame that it may grow into: what an XDP driver offers
/// (`XDP_PACKET_HEADROOM`).
const ROOM: usize = 256;

/// The smallest part of an array that can be mapped, in bytes.
const PAGE: usize = 4096;

/// A frame that comes in by an interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Arriving {
    /// The interface's index.
    pub ifindex: u32,
    /// The frame, from its Ethernet header on.
    pub frame: Vec<u8>,
}

/// Something the pipeline did on the way to its verdict.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// It left the way that most packets go.
    Far(Call),
    /// It looked at a pool.
    Pool(PoolId),
    /// It looked at a line of slots.
    Slots(u32),
    /// It looked at a member.
    Member(MemberId),
    /// It asked the host's routes, which are not asked here.
    HostRoutes,
    /// It counted a packet of a listener.
    OfListener(ListenerId, Direction),
    /// It counted a packet of a member.
    OfMember(MemberId, Direction),
    /// It counted a new flow.
    NewFlow(ListenerId, MemberId),
    /// It counted a flow that a listener refused.
    Refused(ListenerId),
    /// It counted an event.
    Event(Event),
}

/// What would become of a frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rehearsed {
    /// The verdict.
    pub verdict: Verdict,
    /// The frame as it would leave, or end.
    pub frame: Vec<u8>,
    /// What was done, in its order; the same only once.
    pub steps: Vec<Step>,
}

/// Who can try packets out.
pub trait Rehearse {
    /// What the data path would do with frames, one after another. Nothing of it
    /// happens: neither flows nor counters change.
    ///
    /// # Errors
    /// When the tables cannot be read.
    fn rehearse(&self, arriving: &[Arriving]) -> Result<Vec<Rehearsed>, DataplaneError>;
}

/// Entries of an array that have been copied.
struct Copies<T>(FrozenMap<u32, Box<T>>);

impl<T> Default for Copies<T> {
    fn default() -> Self {
        Self(FrozenMap::new())
    }
}

impl<T: Shared> Copies<T> {
    /// The copy of the entry with a number, made if it is the first time that it is
    /// asked for.
    fn get(&self, index: u32, original: Option<&T>) -> Option<&T> {
        match self.0.get(&index) {
            Some(copy) => Some(copy),
            None => Some(self.0.insert(index, Box::new(copy_of(original?)))),
        }
    }

    /// The same of an entry in a slice.
    fn of(&self, index: u32, originals: &[T]) -> Option<&T> {
        self.get(index, originals.get(index as usize))
    }

    /// The same of an entry in a table that is mapped for it, a page at a time.
    fn mapped<'m>(
        &self,
        index: u32,
        mask: u32,
        problem: &Cell<Option<DataplaneError>>,
        map: impl FnOnce(Range<u32>) -> Result<Window<'m, T>, DataplaneError>,
    ) -> Option<&T>
    where
        T: 'm,
    {
        if let Some(copy) = self.0.get(&index) {
            return Some(copy);
        }
        let length = ((PAGE / size_of::<T>()).next_power_of_two() as u32).min(mask.saturating_add(1));
        let first = index - index % length;
        match map(first..first + length) {
            Ok(window) => self.get(index, window.values().get((index - first) as usize)),
            Err(error) => {
                problem.set(Some(error));
                None
            }
        }
    }
}

/// A data path on which packets are tried out.
pub(super) struct Rehearsal<'a, A> {
    arrays: &'a A,
    flows: &'a dyn FlowMemory,
    jiffies: u64,
    copies: AllCopies,
    kept_trace: Cell<TraceRecord>,
    steps: RefCell<Vec<Step>>,
    /// Why a flow table could not be looked at.
    problem: Cell<Option<DataplaneError>>,
}

#[derive(Default)]
struct AllCopies {
    config: Copies<Config>,
    vips4: Copies<Vip4Line>,
    vips6: Copies<Vip6Line>,
    instances: Copies<Instance>,
    advert_guard: Copies<AdvertGuard>,
    advert_sources: Copies<AdvertLine>,
    listeners: Copies<ListenerLine>,
    listener_keys: Copies<ListenerOf>,
    pools: Copies<Pool>,
    slots: Copies<SlotLine>,
    members: Copies<Member>,
    flows4: Copies<Flow4Line>,
    flows6: Copies<Flow6Line>,
    returns4: Copies<Return4>,
    returns6: Copies<Return6>,
    ports: Copies<Port>,
    placements: Copies<PlacementLine>,
    listener_loads: Copies<Load>,
    member_loads: Copies<Load>,
    sources: Copies<SourceCell>,
    fragments: Copies<Fragment>,
    dnat_members: Copies<DnatLine>,
}

impl<'a, A: Arrays> Rehearsal<'a, A> {
    /// Over tables as they are, at a count of jiffies.
    pub(super) fn new(arrays: &'a A, flows: &'a dyn FlowMemory, jiffies: u64) -> Self {
        let copies = AllCopies::default();
        if let Some(config) = copies.config.get(0, Some(arrays.config())) {
            // What is tried out is neither traced nor noted.
            config.set(Config::TRACE | Config::NOTE_FLOWS, false);
        }
        Self {
            arrays,
            flows,
            jiffies,
            copies,
            kept_trace: Cell::default(),
            steps: RefCell::default(),
            problem: Cell::default(),
        }
    }

    /// Tries out a frame.
    ///
    /// # Errors
    /// When a flow table could not be looked at.
    pub(super) fn run(&self, arriving: &Arriving) -> Result<Rehearsed, DataplaneError> {
        self.steps.take();
        let length = arriving.frame.len();
        let mut buffer = vec![0; ROOM + length];
        buffer[ROOM..].copy_from_slice(&arriving.frame);
        let mut packet = Packet::within(&mut buffer, ROOM);
        let verdict = pipeline::run(&mut packet, arriving.ifindex, self);
        match self.problem.take() {
            Some(problem) => Err(problem),
            None => Ok(Rehearsed { verdict, frame: packet.bytes().to_vec(), steps: self.steps.take() }),
        }
    }

    fn step(&self, step: Step) {
        let mut steps = self.steps.borrow_mut();
        if !steps.contains(&step) {
            steps.push(step);
        }
    }

    fn masks(&self) -> (u64, u64) {
        let config = self.arrays.config();
        (config.flow_masks.load(Relaxed), config.return_masks.load(Relaxed))
    }
}

/// Tries out several, one after another.
pub(super) fn rehearse<A: Arrays>(
    arrays: &A,
    flows: &dyn FlowMemory,
    jiffies: u64,
    arriving: &[Arriving],
) -> Result<Vec<Rehearsed>, DataplaneError> {
    let rehearsal = Rehearsal::new(arrays, flows, jiffies);
    arriving.iter().map(|arriving| rehearsal.run(arriving)).collect()
}

impl<A: Arrays> Tables for Rehearsal<'_, A> {
    fn config(&self) -> Option<&Config> {
        self.copies.config.get(0, Some(self.arrays.config()))
    }

    fn jiffies(&self) -> u64 {
        self.jiffies
    }

    fn vip4_line(&self, index: u32) -> Option<&Vip4Line> {
        self.copies.vips4.of(index, self.arrays.vips4())
    }

    fn vip6_line(&self, index: u32) -> Option<&Vip6Line> {
        self.copies.vips6.of(index, self.arrays.vips6())
    }

    fn vip_filter(&self) -> Option<&VipFilter> {
        // The program never writes it.
        Some(self.arrays.vip_filter())
    }

    fn instance(&self, id: u8) -> Option<&Instance> {
        self.copies.instances.of(u32::from(id), self.arrays.instances())
    }

    fn advert_guard(&self) -> Option<&AdvertGuard> {
        self.copies.advert_guard.get(0, Some(self.arrays.advert_guard()))
    }

    fn advert_line(&self, index: u32) -> Option<&AdvertLine> {
        self.copies.advert_sources.of(index, self.arrays.advert_sources())
    }

    fn listener_line(&self, index: u32) -> Option<&ListenerLine> {
        self.copies.listeners.of(index, self.arrays.listeners())
    }

    fn listener_of(&self, id: u16) -> Option<&ListenerOf> {
        self.copies.listener_keys.of(u32::from(id), self.arrays.listener_keys())
    }

    fn pool(&self, id: u16) -> Option<&Pool> {
        self.step(Step::Pool(PoolId(id)));
        self.copies.pools.of(u32::from(id), self.arrays.pools())
    }

    fn slot_line(&self, index: u32) -> Option<&SlotLine> {
        self.step(Step::Slots(index));
        self.copies.slots.get(index, self.arrays.slot_line(index))
    }

    fn member(&self, id: u16) -> Option<&Member> {
        self.step(Step::Member(MemberId(id)));
        self.copies.members.of(u32::from(id), self.arrays.members())
    }

    fn flow4_line(&self, index: u32) -> Option<&Flow4Line> {
        let map = |window| self.flows.flows4(window);
        self.copies.flows4.mapped(index, self.masks().0 as u32, &self.problem, map)
    }

    fn flow6_line(&self, index: u32) -> Option<&Flow6Line> {
        let map = |window| self.flows.flows6(window);
        self.copies.flows6.mapped(index, (self.masks().0 >> 32) as u32, &self.problem, map)
    }

    fn return4(&self, index: u32) -> Option<&Return4> {
        let map = |window| self.flows.returns4(window);
        self.copies.returns4.mapped(index, self.masks().1 as u32, &self.problem, map)
    }

    fn return6(&self, index: u32) -> Option<&Return6> {
        let map = |window| self.flows.returns6(window);
        self.copies.returns6.mapped(index, (self.masks().1 >> 32) as u32, &self.problem, map)
    }

    fn port(&self, number: u16) -> Option<&Port> {
        self.copies.ports.of(u32::from(number), self.arrays.ports())
    }

    fn port_at(&self, place: Place) -> Option<u16> {
        let is_there = |port: &Port| {
            let tags = Tags(port.tags.load(Relaxed));
            port.get().is_some_and(|(ifindex, _)| Place::new(ifindex, tags) == place)
        };
        u16::try_from(self.arrays.ports().iter().position(is_there)?).ok()
    }

    fn placement_line(&self, index: u32) -> Option<&PlacementLine> {
        let map = |window| self.flows.placements(window);
        self.copies.placements.mapped(index, PLACEMENT_LINES - 1, &self.problem, map)
    }

    fn listener_load(&self, id: u16) -> Option<&Load> {
        self.copies.listener_loads.of(u32::from(id), self.arrays.listener_loads())
    }

    fn member_load(&self, id: u16) -> Option<&Load> {
        self.copies.member_loads.of(u32::from(id), self.arrays.member_loads())
    }

    fn source_cell(&self, index: u32) -> Option<&SourceCell> {
        self.copies.sources.of(index, self.arrays.sources())
    }

    fn fragment(&self, index: u32) -> Option<&Fragment> {
        self.copies.fragments.of(index, self.arrays.fragments())
    }

    fn dnat_line(&self, index: u32) -> Option<&DnatLine> {
        self.copies.dnat_members.of(index, self.arrays.dnat_members())
    }

    fn allows4(&self, listener: u16, address: u32) -> bool {
        self.arrays.allows(listener, IpAddr::V4(Ipv4Addr::from(address.to_ne_bytes())))
    }

    fn allows6(&self, listener: u16, address: [u64; 2]) -> bool {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&address[0].to_ne_bytes());
        bytes[8..].copy_from_slice(&address[1].to_ne_bytes());
        self.arrays.allows(listener, IpAddr::V6(Ipv6Addr::from(bytes)))
    }

    fn trace_filter(&self) -> Option<&TraceFilter> {
        None
    }

    fn keep_trace(&self, record: &TraceRecord) {
        self.kept_trace.set(*record);
    }

    fn take_trace(&self) -> Option<TraceRecord> {
        Some(self.kept_trace.take())
    }

    fn trace(&self, _: &TraceRecord) {}

    fn route(&self, _: &Packet<'_>, _: Ingress, _: [u64; 2]) -> Option<Way> {
        self.step(Step::HostRoutes);
        None
    }

    fn far(&self, packet: &mut Packet<'_>, call: Call, arguments: [u64; 4]) -> u64 {
        self.step(Step::Far(call));
        far::run(call, packet, self, arguments)
    }

    fn count_listener(&self, id: u16, direction: Direction, _: u64) {
        self.step(Step::OfListener(ListenerId(id), direction));
    }

    fn count_member(&self, id: u16, direction: Direction, _: u64) {
        self.step(Step::OfMember(MemberId(id), direction));
    }

    fn count_new_flow(&self, listener: u16, member: u16) {
        self.step(Step::NewFlow(ListenerId(listener), MemberId(member)));
    }

    fn count_refused(&self, listener: u16) {
        self.step(Step::Refused(ListenerId(listener)));
    }

    fn count(&self, event: Event) {
        self.step(Step::Event(event));
    }

    fn note(&self, _: FlowNote) {}
}
