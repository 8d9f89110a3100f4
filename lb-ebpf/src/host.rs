//! The tables outside the kernel: in ordinary memory for tests, or in memory
//! shared with the kernel for tools.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::Deref,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use lb_common::{
    advert::{AdvertGuard, AdvertLine},
    config::Config,
    counters::{EVENTS, Event, TrafficCounters},
    dnat::DnatLine,
    flow::{Flow4Line, Flow6Line, Return4, Return6},
    flow_note::{FlowNote, RING_NOTES},
    fragment::Fragment,
    instance::Instance,
    label::{LABELS, Label},
    limits,
    listener::{ListenerLine, ListenerOf},
    load::{Load, SourceCell},
    member::Member,
    placement::PlacementLine,
    pool::{Pool, SlotLine},
    port::{Place, Port, Tags},
    trace::{TraceFilter, TraceRecord},
    vip::{Vip4Line, Vip6Line},
};

use crate::{
    family::NETWORK_OFFSET,
    far::{self, Call},
    headers::{Ipv4, Ipv6},
    ingress::Ingress,
    packet::Packet,
    tables::{Direction, Tables, Way, add},
};

/// Where the arrays are, flows aside. Slices are as long as the map has entries.
pub trait Arrays {
    /// `CONFIG`.
    fn config(&self) -> &Config;
    /// `VIPS4`.
    fn vips4(&self) -> &[Vip4Line];
    /// `VIPS6`.
    fn vips6(&self) -> &[Vip6Line];
    /// `INSTANCES`.
    fn instances(&self) -> &[Instance];
    /// `ADVERT_GUARD`.
    fn advert_guard(&self) -> &AdvertGuard;
    /// `ADVERT_SOURCES`.
    fn advert_sources(&self) -> &[AdvertLine];
    /// `LISTENERS`.
    fn listeners(&self) -> &[ListenerLine];
    /// `LISTENER_KEYS`.
    fn listener_keys(&self) -> &[ListenerOf];
    /// `POOLS`.
    fn pools(&self) -> &[Pool];
    /// How many lines `SLOTS` has.
    fn slot_lines(&self) -> u32;
    /// A line of `SLOTS`; `None` past its end, or where it is not to be had.
    fn slot_line(&self, index: u32) -> Option<&SlotLine>;
    /// `MEMBERS`.
    fn members(&self) -> &[Member];
    /// `PORTS`.
    fn ports(&self) -> &[Port];
    /// `LABELS`.
    fn labels(&self) -> &[Label];
    /// `PLACEMENTS`.
    fn placements(&self) -> &[PlacementLine];
    /// `LISTENER_LOADS`.
    fn listener_loads(&self) -> &[Load];
    /// `MEMBER_LOADS`.
    fn member_loads(&self) -> &[Load];
    /// `SOURCES`.
    fn sources(&self) -> &[SourceCell];
    /// `FRAGMENTS`.
    fn fragments(&self) -> &[Fragment];
    /// `DNAT_MEMBERS`.
    fn dnat_members(&self) -> &[DnatLine];
    /// `TRACE_FILTER`.
    fn trace_filter(&self) -> &TraceFilter;
    /// Whether `CIDRS4` or `CIDRS6` have a prefix of the listener that the
    /// address lies in.
    fn allows(&self, listener: u16, address: IpAddr) -> bool;
}

/// Where the flow tables are: the largest arrays, which not everybody has at hand
/// who has the others. Slices are as long as the map has entries, unless they are
/// a part of it.
pub trait FlowArrays: Arrays {
    /// `FLOWS4`.
    fn flows4(&self) -> &[Flow4Line];
    /// `FLOWS6`.
    fn flows6(&self) -> &[Flow6Line];
    /// `RETURNS4`.
    fn returns4(&self) -> &[Return4];
    /// `RETURNS6`.
    fn returns6(&self) -> &[Return6];

    /// The number of the first line of either family that is here.
    fn first_line(&self) -> u32 {
        0
    }

    /// The number of the first return entry of either family that is here.
    fn first_return(&self) -> u32 {
        0
    }
}

/// Arrays in ordinary memory, zeroed like those of a new data path.
#[derive(Debug)]
pub struct OwnedArrays {
    config: Config,
    vips4: Vec<Vip4Line>,
    vips6: Vec<Vip6Line>,
    instances: Arc<[Instance]>,
    advert_guard: AdvertGuard,
    advert_sources: Vec<AdvertLine>,
    listeners: Vec<ListenerLine>,
    listener_keys: Vec<ListenerOf>,
    pools: Vec<Pool>,
    slots: Vec<SlotLine>,
    members: Vec<Member>,
    flows4: Vec<Flow4Line>,
    flows6: Vec<Flow6Line>,
    returns4: Vec<Return4>,
    returns6: Vec<Return6>,
    ports: Vec<Port>,
    labels: Vec<Label>,
    placements: Vec<PlacementLine>,
    listener_loads: Vec<Load>,
    member_loads: Vec<Load>,
    sources: Vec<SourceCell>,
    fragments: Vec<Fragment>,
    dnat_members: Vec<DnatLine>,
    trace_filter: TraceFilter,
    cidrs: Cidrs,
}

fn zeroed<T: Default>(entries: u32) -> Vec<T> {
    (0..entries).map(|_| T::default()).collect()
}

/// How many entries the flow maps have for a number of flows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlowSizes {
    /// Lines of `FLOWS4`.
    pub flow4_lines: u32,
    /// Lines of `FLOWS6`.
    pub flow6_lines: u32,
    /// Entries of `RETURNS4` and of `RETURNS6`.
    pub returns: u32,
}

impl FlowSizes {
    /// Sizes for `max_flows` flows of each family, rounded up to powers of two.
    #[must_use]
    pub fn for_flows(max_flows: u32) -> Self {
        let flows = max_flows.clamp(limits::MIN_MAX_FLOWS, limits::MAX_MAX_FLOWS).next_power_of_two();
        let entries = flows * limits::FLOW_ENTRIES_PER_FLOW;
        Self { flow4_lines: entries / 4, flow6_lines: entries / 2, returns: flows * limits::RETURN_ENTRIES_PER_FLOW }
    }

    /// The flows the sizes are for.
    #[must_use]
    pub const fn flows(self) -> u32 {
        self.returns / limits::RETURN_ENTRIES_PER_FLOW
    }
}

impl OwnedArrays {
    /// Arrays with room for `max_flows` flows of each family. `slots` bounds
    /// the slots of all tables together.
    #[must_use]
    pub fn new(max_flows: u32, slots: u32) -> Self {
        let sizes = FlowSizes::for_flows(max_flows);
        Self {
            config: Config::default(),
            vips4: zeroed(limits::VIP4_LINES),
            vips6: zeroed(limits::VIP6_LINES),
            instances: zeroed(limits::MAX_INSTANCES).into(),
            advert_guard: AdvertGuard::default(),
            advert_sources: zeroed(limits::ADVERT_LINES),
            listeners: zeroed(limits::LISTENER_LINES),
            listener_keys: zeroed(limits::MAX_LISTENERS),
            pools: zeroed(limits::MAX_POOLS),
            slots: zeroed(slots.div_ceil(limits::SLOTS_PER_LINE)),
            members: zeroed(limits::MAX_MEMBERS),
            flows4: zeroed(sizes.flow4_lines),
            flows6: zeroed(sizes.flow6_lines),
            returns4: zeroed(sizes.returns),
            returns6: zeroed(sizes.returns),
            ports: zeroed(limits::MAX_PORTS),
            labels: zeroed(LABELS),
            placements: zeroed(limits::PLACEMENT_LINES),
            listener_loads: zeroed(limits::MAX_LISTENERS),
            member_loads: zeroed(limits::MAX_MEMBERS),
            sources: zeroed(limits::SOURCE_CELLS),
            fragments: zeroed(limits::FRAGMENT_ENTRIES),
            dnat_members: zeroed(limits::DNAT_LINES),
            trace_filter: TraceFilter::default(),
            cidrs: Cidrs::default(),
        }
    }

    /// `CIDRS4` and `CIDRS6`.
    #[must_use]
    pub const fn cidrs(&self) -> &Cidrs {
        &self.cidrs
    }

    /// `INSTANCES`, shared with whoever turns instances on and off.
    #[must_use]
    pub fn shared_instances(&self) -> Arc<[Instance]> {
        Arc::clone(&self.instances)
    }
}

impl Arrays for OwnedArrays {
    fn config(&self) -> &Config {
        &self.config
    }

    fn vips4(&self) -> &[Vip4Line] {
        &self.vips4
    }

    fn vips6(&self) -> &[Vip6Line] {
        &self.vips6
    }

    fn instances(&self) -> &[Instance] {
        &self.instances
    }

    fn advert_guard(&self) -> &AdvertGuard {
        &self.advert_guard
    }

    fn advert_sources(&self) -> &[AdvertLine] {
        &self.advert_sources
    }

    fn listeners(&self) -> &[ListenerLine] {
        &self.listeners
    }

    fn listener_keys(&self) -> &[ListenerOf] {
        &self.listener_keys
    }

    fn pools(&self) -> &[Pool] {
        &self.pools
    }

    fn slot_lines(&self) -> u32 {
        self.slots.len() as u32
    }

    fn slot_line(&self, index: u32) -> Option<&SlotLine> {
        self.slots.get(index as usize)
    }

    fn members(&self) -> &[Member] {
        &self.members
    }

    fn ports(&self) -> &[Port] {
        &self.ports
    }

    fn labels(&self) -> &[Label] {
        &self.labels
    }

    fn placements(&self) -> &[PlacementLine] {
        &self.placements
    }

    fn listener_loads(&self) -> &[Load] {
        &self.listener_loads
    }

    fn member_loads(&self) -> &[Load] {
        &self.member_loads
    }

    fn sources(&self) -> &[SourceCell] {
        &self.sources
    }

    fn fragments(&self) -> &[Fragment] {
        &self.fragments
    }

    fn dnat_members(&self) -> &[DnatLine] {
        &self.dnat_members
    }

    fn trace_filter(&self) -> &TraceFilter {
        &self.trace_filter
    }

    fn allows(&self, listener: u16, address: IpAddr) -> bool {
        self.cidrs.allows(listener, address)
    }
}

impl FlowArrays for OwnedArrays {
    fn flows4(&self) -> &[Flow4Line] {
        &self.flows4
    }

    fn flows6(&self) -> &[Flow6Line] {
        &self.flows6
    }

    fn returns4(&self) -> &[Return4] {
        &self.returns4
    }

    fn returns6(&self) -> &[Return6] {
        &self.returns6
    }
}

/// Prefixes that listeners may be reached from, in ordinary memory.
#[derive(Debug, Default)]
pub struct Cidrs(Mutex<BTreeSet<(u16, IpAddr, u8)>>);

impl Cidrs {
    /// Replaces a listener's prefixes: addresses with their lengths in bits.
    pub fn set(&self, listener: u16, prefixes: &[(IpAddr, u8)]) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(of, ..)| *of != listener);
        all.extend(prefixes.iter().map(|(address, length)| (listener, *address, *length)));
    }

    /// A listener's prefixes.
    #[must_use]
    pub fn of(&self, listener: u16) -> Vec<(IpAddr, u8)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(|(of, ..)| *of == listener).map(|(_, address, length)| (*address, *length)).collect()
    }

    /// All prefixes: listeners, addresses and lengths.
    #[must_use]
    pub fn everything(&self) -> Vec<(u16, IpAddr, u8)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    /// Whether an address lies in one of them.
    #[must_use]
    pub fn allows(&self, listener: u16, address: IpAddr) -> bool {
        self.of(listener).into_iter().any(|(network, length)| match (network, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                (network.to_bits() ^ address.to_bits()).checked_shr(32 - u32::from(length.min(32))).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                (network.to_bits() ^ address.to_bits()).checked_shr(128 - u32::from(length.min(128))).unwrap_or(0) == 0
            }
            _ => false,
        })
    }
}

/// Counters in ordinary memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counts {
    /// By listener id.
    pub listeners: BTreeMap<u16, TrafficCounters>,
    /// By member id.
    pub members: BTreeMap<u16, TrafficCounters>,
    /// By [`Event::index`].
    pub events: Vec<u64>,
}

impl Default for Counts {
    fn default() -> Self {
        Self { listeners: BTreeMap::new(), members: BTreeMap::new(), events: vec![0; EVENTS as usize] }
    }
}

/// A count of jiffies that whoever has a copy may read and change.
#[derive(Clone, Debug, Default)]
pub struct Jiffies(Arc<AtomicU64>);

impl Jiffies {
    /// Now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// From now on it is so late.
    pub fn set(&self, jiffies: u64) {
        self.0.store(jiffies, Relaxed);
    }
}

/// What `FLOW_NOTES` is in the kernel: notes that wait to be read by whoever has
/// a copy, as many of them as fit there.
#[derive(Clone, Debug, Default)]
pub struct Notes(Arc<(Mutex<VecDeque<FlowNote>>, AtomicU64)>);

impl Notes {
    /// Writes a note. False: there was no room, and it is lost.
    #[must_use]
    pub fn write(&self, note: FlowNote) -> bool {
        let (waiting, lost) = &*self.0;
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= RING_NOTES {
            lost.fetch_add(1, Relaxed);
            return false;
        }
        waiting.push_back(note);
        true
    }

    /// Takes the oldest note.
    #[must_use]
    pub fn read(&self) -> Option<FlowNote> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// How many were lost.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.0.1.load(Relaxed)
    }
}

/// Arrays with a clock and counters: what the pipeline runs on. Interfaces are
/// found by searching `PORTS`.
#[derive(Debug)]
pub struct HostTables<A> {
    /// The arrays.
    pub arrays: A,
    /// The jiffies.
    pub jiffies: Jiffies,
    /// The counters.
    pub counts: std::cell::RefCell<Counts>,
    /// The notes about flows.
    pub notes: Notes,
    /// The host's routes, by destination as its bytes lie in memory.
    pub routes: std::cell::RefCell<BTreeMap<[u64; 2], Way>>,
    /// What will be, when the verdict is known.
    pub kept_trace: std::cell::Cell<TraceRecord>,
    /// What was traced.
    pub traces: std::cell::RefCell<Vec<TraceRecord>>,
}

impl<A> HostTables<A> {
    /// Tables over arrays, with counters of zero.
    pub fn new(arrays: A, jiffies: u64) -> Self {
        let clock = Jiffies::default();
        clock.set(jiffies);
        Self {
            arrays,
            jiffies: clock,
            counts: std::cell::RefCell::default(),
            notes: Notes::default(),
            routes: std::cell::RefCell::default(),
            kept_trace: std::cell::Cell::default(),
            traces: std::cell::RefCell::default(),
        }
    }
}

impl<P: Deref<Target: Arrays>> Arrays for P {
    fn config(&self) -> &Config {
        (**self).config()
    }

    fn vips4(&self) -> &[Vip4Line] {
        (**self).vips4()
    }

    fn vips6(&self) -> &[Vip6Line] {
        (**self).vips6()
    }

    fn instances(&self) -> &[Instance] {
        (**self).instances()
    }

    fn advert_guard(&self) -> &AdvertGuard {
        (**self).advert_guard()
    }

    fn advert_sources(&self) -> &[AdvertLine] {
        (**self).advert_sources()
    }

    fn listeners(&self) -> &[ListenerLine] {
        (**self).listeners()
    }

    fn listener_keys(&self) -> &[ListenerOf] {
        (**self).listener_keys()
    }

    fn pools(&self) -> &[Pool] {
        (**self).pools()
    }

    fn slot_lines(&self) -> u32 {
        (**self).slot_lines()
    }

    fn slot_line(&self, index: u32) -> Option<&SlotLine> {
        (**self).slot_line(index)
    }

    fn members(&self) -> &[Member] {
        (**self).members()
    }

    fn ports(&self) -> &[Port] {
        (**self).ports()
    }

    fn labels(&self) -> &[Label] {
        (**self).labels()
    }

    fn placements(&self) -> &[PlacementLine] {
        (**self).placements()
    }

    fn listener_loads(&self) -> &[Load] {
        (**self).listener_loads()
    }

    fn member_loads(&self) -> &[Load] {
        (**self).member_loads()
    }

    fn sources(&self) -> &[SourceCell] {
        (**self).sources()
    }

    fn fragments(&self) -> &[Fragment] {
        (**self).fragments()
    }

    fn dnat_members(&self) -> &[DnatLine] {
        (**self).dnat_members()
    }

    fn trace_filter(&self) -> &TraceFilter {
        (**self).trace_filter()
    }

    fn allows(&self, listener: u16, address: IpAddr) -> bool {
        (**self).allows(listener, address)
    }
}

impl<A: FlowArrays> FlowArrays for Arc<A> {
    fn flows4(&self) -> &[Flow4Line] {
        (**self).flows4()
    }

    fn flows6(&self) -> &[Flow6Line] {
        (**self).flows6()
    }

    fn returns4(&self) -> &[Return4] {
        (**self).returns4()
    }

    fn returns6(&self) -> &[Return6] {
        (**self).returns6()
    }

    fn first_line(&self) -> u32 {
        (**self).first_line()
    }

    fn first_return(&self) -> u32 {
        (**self).first_return()
    }
}

/// The entry with this number among those that begin with `first`.
fn numbered<T>(part: &[T], first: u32, index: u32) -> Option<&T> {
    part.get(index.checked_sub(first)? as usize)
}

/// The IP version of a packet, which stands in the same place in both.
fn version(ip: &Ipv6) -> u32 {
    u32::from_be(ip.version_class_flow) >> 28
}

impl<A: FlowArrays> Tables for HostTables<A> {
    fn config(&self) -> Option<&Config> {
        Some(self.arrays.config())
    }

    fn jiffies(&self) -> u64 {
        self.jiffies.get()
    }

    fn vip4_line(&self, index: u32) -> Option<&Vip4Line> {
        self.arrays.vips4().get(index as usize)
    }

    fn vip6_line(&self, index: u32) -> Option<&Vip6Line> {
        self.arrays.vips6().get(index as usize)
    }

    fn instance(&self, id: u8) -> Option<&Instance> {
        self.arrays.instances().get(usize::from(id))
    }

    fn advert_guard(&self) -> Option<&AdvertGuard> {
        Some(self.arrays.advert_guard())
    }

    fn advert_line(&self, index: u32) -> Option<&AdvertLine> {
        self.arrays.advert_sources().get(index as usize)
    }

    fn listener_line(&self, index: u32) -> Option<&ListenerLine> {
        self.arrays.listeners().get(index as usize)
    }

    fn listener_of(&self, id: u16) -> Option<&ListenerOf> {
        self.arrays.listener_keys().get(usize::from(id))
    }

    fn pool(&self, id: u16) -> Option<&Pool> {
        self.arrays.pools().get(usize::from(id))
    }

    fn slot_line(&self, index: u32) -> Option<&SlotLine> {
        self.arrays.slot_line(index)
    }

    fn member(&self, id: u16) -> Option<&Member> {
        self.arrays.members().get(usize::from(id))
    }

    fn flow4_line(&self, index: u32) -> Option<&Flow4Line> {
        numbered(self.arrays.flows4(), self.arrays.first_line(), index)
    }

    fn flow6_line(&self, index: u32) -> Option<&Flow6Line> {
        numbered(self.arrays.flows6(), self.arrays.first_line(), index)
    }

    fn return4(&self, index: u32) -> Option<&Return4> {
        numbered(self.arrays.returns4(), self.arrays.first_return(), index)
    }

    fn return6(&self, index: u32) -> Option<&Return6> {
        numbered(self.arrays.returns6(), self.arrays.first_return(), index)
    }

    fn port(&self, number: u16) -> Option<&Port> {
        self.arrays.ports().get(usize::from(number))
    }

    fn port_at(&self, place: Place) -> Option<u16> {
        let is_there = |port: &Port| {
            let tags = Tags(port.tags.load(Relaxed));
            port.get().is_some_and(|(ifindex, _)| Place::new(ifindex, tags) == place)
        };
        u16::try_from(self.arrays.ports().iter().position(is_there)?).ok()
    }

    fn placement_line(&self, index: u32) -> Option<&PlacementLine> {
        self.arrays.placements().get(index as usize)
    }

    fn listener_load(&self, id: u16) -> Option<&Load> {
        self.arrays.listener_loads().get(usize::from(id))
    }

    fn member_load(&self, id: u16) -> Option<&Load> {
        self.arrays.member_loads().get(usize::from(id))
    }

    fn source_cell(&self, index: u32) -> Option<&SourceCell> {
        self.arrays.sources().get(index as usize)
    }

    fn fragment(&self, index: u32) -> Option<&Fragment> {
        self.arrays.fragments().get(index as usize)
    }

    fn dnat_line(&self, index: u32) -> Option<&DnatLine> {
        self.arrays.dnat_members().get(index as usize)
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
        Some(self.arrays.trace_filter())
    }

    fn keep_trace(&self, record: &TraceRecord) {
        self.kept_trace.set(*record);
    }

    fn take_trace(&self) -> Option<TraceRecord> {
        Some(self.kept_trace.take())
    }

    fn trace(&self, record: &TraceRecord) {
        self.traces.borrow_mut().push(*record);
    }

    fn route(&self, packet: &Packet<'_>, _: Ingress, _: [u64; 2]) -> Option<Way> {
        let destination = if let Some(ip) = packet.view::<Ipv6>(NETWORK_OFFSET).filter(|ip| version(ip) == 6) {
            ip.destination
        } else {
            [u64::from(packet.view::<Ipv4>(NETWORK_OFFSET)?.destination), 0]
        };
        self.routes.borrow().get(&destination).copied()
    }

    fn far(&self, packet: &mut Packet<'_>, call: Call, arguments: [u64; 4]) -> u64 {
        far::run(call, packet, self, arguments)
    }

    fn count_listener(&self, id: u16, direction: Direction, bytes: u64) {
        add(self.counts.borrow_mut().listeners.entry(id).or_default(), direction, bytes);
    }

    fn count_member(&self, id: u16, direction: Direction, bytes: u64) {
        add(self.counts.borrow_mut().members.entry(id).or_default(), direction, bytes);
    }

    fn count_new_flow(&self, listener: u16, member: u16) {
        let mut counts = self.counts.borrow_mut();
        counts.listeners.entry(listener).or_default().flows_new += 1;
        counts.members.entry(member).or_default().flows_new += 1;
    }

    fn count_refused(&self, listener: u16) {
        self.counts.borrow_mut().listeners.entry(listener).or_default().flows_refused += 1;
    }

    fn count(&self, event: Event) {
        if let Some(count) = self.counts.borrow_mut().events.get_mut(event.index() as usize) {
            *count += 1;
        }
    }

    fn note(&self, note: FlowNote) {
        if !self.notes.write(note) {
            self.count(Event::FlowNotesLost);
        }
    }
}
