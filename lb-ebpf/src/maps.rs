//! The BPF maps, and the kernel's side of [`Tables`].
//!
//! Arrays are memory-mapped by userspace, which therefore writes and reads
//! them without system calls, and lie on page boundaries, so that an entry of
//! 64 bytes is one cache line. Sizes given here are placeholders where the
//! loader sets them from the configuration.
#![allow(unsafe_code)]

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_RB_NO_WAKEUP, xdp_md},
    helpers::generated::bpf_jiffies64,
    macros::map,
    maps::{
        Array, DevMap, HashMap, PerCpuArray, RingBuf,
        lpm_trie::{Key, LpmTrie},
    },
};
use lb_common::{
    advert::{AdvertGuard, AdvertLine},
    cidr::{self, Cidr4, Cidr6},
    config::Config,
    counters::{EVENTS as EVENT_COUNT, Event, TrafficCounters},
    dnat::DnatLine,
    flow::{Flow4Line, Flow6Line, Return4, Return6},
    flow_note::{FlowNote, RING_BYTES},
    fragment::Fragment,
    instance::Instance,
    label::{LABELS as LABEL_COUNT, Label},
    limits,
    listener::{ListenerLine, ListenerOf},
    load::{Load, SourceCell},
    member::Member,
    placement::PlacementLine,
    pool::{Pool, SlotLine},
    port::{Place, Port},
    trace::{self, TraceFilter, TraceRecord},
    vip::{Vip4Line, Vip6Line},
};
use lb_ebpf::{
    far::Call,
    ingress::Ingress,
    packet::Packet,
    tables::{Direction, Tables, Way, add},
};

#[map]
static CONFIG: Array<Config> = Array::pinned(1, BPF_F_MMAPABLE);
#[map]
static VIPS4: Array<Vip4Line> = Array::pinned(limits::VIP4_LINES, BPF_F_MMAPABLE);
#[map]
static VIPS6: Array<Vip6Line> = Array::pinned(limits::VIP6_LINES, BPF_F_MMAPABLE);
#[map]
static INSTANCES: Array<Instance> = Array::pinned(limits::MAX_INSTANCES, BPF_F_MMAPABLE);
#[map]
static ADVERT_GUARD: Array<AdvertGuard> = Array::pinned(1, BPF_F_MMAPABLE);
#[map]
static ADVERT_SOURCES: Array<AdvertLine> = Array::pinned(limits::ADVERT_LINES, BPF_F_MMAPABLE);
#[map]
static LISTENERS: Array<ListenerLine> = Array::pinned(limits::LISTENER_LINES, BPF_F_MMAPABLE);
#[map]
static LISTENER_KEYS: Array<ListenerOf> = Array::pinned(limits::MAX_LISTENERS, BPF_F_MMAPABLE);
#[map]
static POOLS: Array<Pool> = Array::pinned(limits::MAX_POOLS, BPF_F_MMAPABLE);
#[map]
static SLOTS: Array<SlotLine> = Array::pinned(limits::MAX_SLOTS / limits::SLOTS_PER_LINE, BPF_F_MMAPABLE);
#[map]
static MEMBERS: Array<Member> = Array::pinned(limits::MAX_MEMBERS, BPF_F_MMAPABLE);
#[map]
static FLOWS4: Array<Flow4Line> = Array::pinned(1024, BPF_F_MMAPABLE);
#[map]
static FLOWS6: Array<Flow6Line> = Array::pinned(1024, BPF_F_MMAPABLE);
#[map]
static RETURNS4: Array<Return4> = Array::pinned(1024, BPF_F_MMAPABLE);
#[map]
static RETURNS6: Array<Return6> = Array::pinned(1024, BPF_F_MMAPABLE);
#[map]
static PORTS: Array<Port> = Array::pinned(limits::MAX_PORTS, BPF_F_MMAPABLE);
#[map]
static LABELS: Array<Label> = Array::pinned(LABEL_COUNT, BPF_F_MMAPABLE);
#[map]
static PLACEMENTS: Array<PlacementLine> = Array::pinned(limits::PLACEMENT_LINES, BPF_F_MMAPABLE);
#[map]
static LISTENER_LOADS: Array<Load> = Array::pinned(limits::MAX_LISTENERS, BPF_F_MMAPABLE);
#[map]
static MEMBER_LOADS: Array<Load> = Array::pinned(limits::MAX_MEMBERS, BPF_F_MMAPABLE);
#[map]
static SOURCES: Array<SourceCell> = Array::pinned(limits::SOURCE_CELLS, BPF_F_MMAPABLE);
#[map]
static FRAGMENTS: Array<Fragment> = Array::pinned(limits::FRAGMENT_ENTRIES, BPF_F_MMAPABLE);
#[map]
static DNAT_MEMBERS: Array<DnatLine> = Array::pinned(limits::DNAT_LINES, BPF_F_MMAPABLE);
#[map]
static TRACE_FILTER: Array<TraceFilter> = Array::pinned(1, BPF_F_MMAPABLE);
#[map]
static TRACES: RingBuf = RingBuf::pinned(trace::RING_BYTES, 0);
/// A CPU's packet whose verdict is not known yet: nobody else's business.
#[map]
static KEPT_TRACE: PerCpuArray<TraceRecord> = PerCpuArray::with_max_entries(1, 0);
#[map]
static CIDRS4: LpmTrie<Cidr4, u64> = LpmTrie::pinned(limits::MAX_CIDRS, 0);
#[map]
static CIDRS6: LpmTrie<Cidr6, u64> = LpmTrie::pinned(limits::MAX_CIDRS, 0);
#[map]
static PORT_OF_INTERFACE: HashMap<Place, u32> = HashMap::pinned(limits::MAX_PORTS, 0);
#[map]
static TX_PORTS: DevMap = DevMap::pinned(limits::MAX_PORTS, 0);
#[map]
static LISTENER_COUNTS: PerCpuArray<TrafficCounters> = PerCpuArray::pinned(limits::MAX_LISTENERS, 0);
#[map]
static MEMBER_COUNTS: PerCpuArray<TrafficCounters> = PerCpuArray::pinned(limits::MAX_MEMBERS, 0);
#[map]
static EVENTS: PerCpuArray<u64> = PerCpuArray::pinned(EVENT_COUNT, 0);
#[map]
static FLOW_NOTES: RingBuf = RingBuf::pinned(RING_BYTES, 0);

/// The tables as BPF maps.
#[derive(Clone, Copy)]
pub(crate) struct Maps {
    /// What the program was called with.
    pub(crate) context: *mut xdp_md,
}

/// Sends a frame out by a port; the interface behind the number is the device
/// map's business. Returns the XDP action.
#[inline(always)]
pub(crate) fn redirect(port: u16) -> u32 {
    match TX_PORTS.redirect(u32::from(port), 0) {
        Ok(action) | Err(action) => action,
    }
}

/// Whether anything is counted: not in the object that `cargo xtask bench` builds to
/// see what that costs. A constant of the compiler, so that it costs nothing itself.
const COUNTS: bool = !cfg!(feature = "uncounted");

/// Adds to a per-CPU counter block. XDP runs with preemption off and is not
/// re-entered on one CPU, so nobody else writes this CPU's copy.
#[inline(always)]
fn with_counters(map: &PerCpuArray<TrafficCounters>, id: u16, change: impl FnOnce(&mut TrafficCounters)) {
    if COUNTS && let Some(counters) = map.get_ptr_mut(u32::from(id)) {
        // SAFETY: the pointer is to this CPU's value, valid for the run of the
        // program, and not shared with another writer (see above).
        change(unsafe { &mut *counters });
    }
}

impl Tables for Maps {
    #[inline(always)]
    fn config(&self) -> Option<&Config> {
        CONFIG.get(0)
    }

    #[inline(always)]
    fn jiffies(&self) -> u64 {
        // SAFETY: the helper has no precondition; the JIT inlines it.
        unsafe { bpf_jiffies64() }
    }

    #[inline(always)]
    fn vip4_line(&self, index: u32) -> Option<&Vip4Line> {
        VIPS4.get(index)
    }

    #[inline(always)]
    fn vip6_line(&self, index: u32) -> Option<&Vip6Line> {
        VIPS6.get(index)
    }

    #[inline(always)]
    fn instance(&self, id: u8) -> Option<&Instance> {
        INSTANCES.get(u32::from(id))
    }

    #[inline(always)]
    fn advert_guard(&self) -> Option<&AdvertGuard> {
        ADVERT_GUARD.get(0)
    }

    #[inline(always)]
    fn advert_line(&self, index: u32) -> Option<&AdvertLine> {
        ADVERT_SOURCES.get(index)
    }

    #[inline(always)]
    fn listener_line(&self, index: u32) -> Option<&ListenerLine> {
        LISTENERS.get(index)
    }

    #[inline(always)]
    fn listener_of(&self, id: u16) -> Option<&ListenerOf> {
        LISTENER_KEYS.get(u32::from(id))
    }

    #[inline(always)]
    fn pool(&self, id: u16) -> Option<&Pool> {
        POOLS.get(u32::from(id))
    }

    #[inline(always)]
    fn slot_line(&self, index: u32) -> Option<&SlotLine> {
        SLOTS.get(index)
    }

    #[inline(always)]
    fn member(&self, id: u16) -> Option<&Member> {
        MEMBERS.get(u32::from(id))
    }

    #[inline(always)]
    fn flow4_line(&self, index: u32) -> Option<&Flow4Line> {
        FLOWS4.get(index)
    }

    #[inline(always)]
    fn flow6_line(&self, index: u32) -> Option<&Flow6Line> {
        FLOWS6.get(index)
    }

    #[inline(always)]
    fn return4(&self, index: u32) -> Option<&Return4> {
        RETURNS4.get(index)
    }

    #[inline(always)]
    fn return6(&self, index: u32) -> Option<&Return6> {
        RETURNS6.get(index)
    }

    #[inline(always)]
    fn port(&self, number: u16) -> Option<&Port> {
        PORTS.get(u32::from(number))
    }

    #[inline(always)]
    fn port_at(&self, place: Place) -> Option<u16> {
        let number = PORT_OF_INTERFACE.get_ptr(place)?;
        // SAFETY: a value of a preallocated hash map stays readable for the run
        // of the program; a concurrent removal can at worst make it stale.
        Some(unsafe { *number } as u16)
    }

    #[inline(always)]
    fn placement_line(&self, index: u32) -> Option<&PlacementLine> {
        PLACEMENTS.get(index)
    }

    #[inline(always)]
    fn listener_load(&self, id: u16) -> Option<&Load> {
        LISTENER_LOADS.get(u32::from(id))
    }

    #[inline(always)]
    fn member_load(&self, id: u16) -> Option<&Load> {
        MEMBER_LOADS.get(u32::from(id))
    }

    #[inline(always)]
    fn source_cell(&self, index: u32) -> Option<&SourceCell> {
        SOURCES.get(index)
    }

    #[inline(always)]
    fn fragment(&self, index: u32) -> Option<&Fragment> {
        FRAGMENTS.get(index)
    }

    #[inline(always)]
    fn dnat_line(&self, index: u32) -> Option<&DnatLine> {
        DNAT_MEMBERS.get(index)
    }

    #[inline(always)]
    fn allows4(&self, listener: u16, address: u32) -> bool {
        CIDRS4.get(Key::new(cidr::LISTENER_BITS + 32, Cidr4::new(listener, address))).is_some()
    }

    #[inline(always)]
    fn allows6(&self, listener: u16, address: [u64; 2]) -> bool {
        CIDRS6.get(Key::new(cidr::LISTENER_BITS + 128, Cidr6::new(listener, address))).is_some()
    }

    #[inline(always)]
    fn trace_filter(&self) -> Option<&TraceFilter> {
        TRACE_FILTER.get(0)
    }

    #[inline(always)]
    fn keep_trace(&self, record: &TraceRecord) {
        if let Some(kept) = KEPT_TRACE.get_ptr_mut(0) {
            // SAFETY: as in `with_counters`.
            unsafe { *kept = *record };
        }
    }

    #[inline(always)]
    fn take_trace(&self) -> Option<TraceRecord> {
        let kept = KEPT_TRACE.get_ptr_mut(0)?;
        // SAFETY: as in `with_counters`.
        unsafe {
            let record = *kept;
            (*kept).verdict = 0;
            Some(record)
        }
    }

    #[inline(always)]
    fn trace(&self, record: &TraceRecord) {
        if TRACES.output::<TraceRecord>(record, 0).is_err() {
            self.count(Event::TraceLost);
        }
    }

    #[inline(always)]
    fn route(&self, packet: &Packet<'_>, ingress: Ingress, source: [u64; 2]) -> Option<Way> {
        crate::route::route(self.context, packet, ingress, source)
    }

    #[inline(always)]
    fn far(&self, packet: &mut Packet<'_>, call: Call, arguments: [u64; 4]) -> u64 {
        let result = crate::far::call(self.context, call, arguments);
        // The callee may have moved the frame's ends.
        packet.refresh();
        result
    }

    #[inline(always)]
    fn count_listener(&self, id: u16, direction: Direction, bytes: u64) {
        with_counters(&LISTENER_COUNTS, id, |c| add(c, direction, bytes));
    }

    #[inline(always)]
    fn count_member(&self, id: u16, direction: Direction, bytes: u64) {
        with_counters(&MEMBER_COUNTS, id, |c| add(c, direction, bytes));
    }

    #[inline(always)]
    fn count_new_flow(&self, listener: u16, member: u16) {
        with_counters(&LISTENER_COUNTS, listener, |c| c.flows_new += 1);
        with_counters(&MEMBER_COUNTS, member, |c| c.flows_new += 1);
    }

    #[inline(always)]
    fn count_refused(&self, listener: u16) {
        with_counters(&LISTENER_COUNTS, listener, |c| c.flows_refused += 1);
    }

    #[inline(always)]
    fn count(&self, event: Event) {
        if COUNTS && let Some(count) = EVENTS.get_ptr_mut(event.index()) {
            // SAFETY: as in `with_counters`.
            unsafe { *count += 1 };
        }
    }

    #[inline(always)]
    fn note(&self, note: FlowNote) {
        // Whoever reads the notes looks for them; nobody is woken.
        if FLOW_NOTES.output::<u64>(note.0, u64::from(BPF_RB_NO_WAKEUP)).is_err() {
            self.count(Event::FlowNotesLost);
        }
    }
}
