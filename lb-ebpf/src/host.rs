//! The tables outside the kernel: in ordinary memory for tests, or in memory
//! shared with the kernel for tools.

use std::{collections::BTreeMap, net::IpAddr, ops::Deref, sync::Arc};

use lb_common::{
    advert::{AdvertGuard, AdvertLine},
    config::Config,
    dnat::DnatLine,
    flow::{Flow4Line, Flow6Line, Return4, Return6},
    fragment::Fragment,
    instance::Instance,
    label::{LABELS, Label},
    limits,
    listener::{ListenerLine, ListenerOf},
    load::{Load, SourceCell},
    member::Member,
    placement::PlacementLine,
    pool::{Pool, SlotLine},
    port::Port,
    trace::{TraceFilter, TraceRecord},
    vip::{Vip4Line, Vip6Line, VipFilter},
};

use crate::tables::Way;

mod beside;
mod tables;

pub use beside::{Cidrs, Counts, Jiffies, Notes};

/// Where the arrays are, flows aside. Slices are as long as the map has entries.
pub trait Arrays {
    /// `CONFIG`.
    fn config(&self) -> &Config;
    /// `VIPS4`.
    fn vips4(&self) -> &[Vip4Line];
    /// `VIPS6`.
    fn vips6(&self) -> &[Vip6Line];
    /// `VIP_FILTER`.
    fn vip_filter(&self) -> &VipFilter;
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
    vip_filter: VipFilter,
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
            vip_filter: VipFilter::default(),
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

    fn vip_filter(&self) -> &VipFilter {
        &self.vip_filter
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

    fn vip_filter(&self) -> &VipFilter {
        (**self).vip_filter()
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
