//! The BPF maps, and the kernel's side of [`Tables`].
//!
//! Arrays are memory-mapped by userspace, which therefore writes and reads
//! them without system calls, and lie on page boundaries, so that an entry of
//! 64 bytes is one cache line. Sizes given here are placeholders where the
//! loader sets them from the configuration.
#![allow(unsafe_code)]

use crate::once;
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
    array::FixedArray,
    atomic::opaque,
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
    vip::{Vip4Line, Vip6Line, VipFilter},
};
use lb_ebpf::{
    far::Call,
    ingress::Ingress,
    packet::Packet,
    tables::{Direction, Tables, Way, add},
};

#[map]
static FLOWS4: Array<Flow4Line> = Array::pinned(1024, BPF_F_MMAPABLE);
#[map]
static FLOWS6: Array<Flow6Line> = Array::pinned(1024, BPF_F_MMAPABLE);
#[map]
static RETURNS4: Array<Return4> = Array::pinned(1024, BPF_F_MMAPABLE);
#[map]
static RETURNS6: Array<Return6> = Array::pinned(1024, BPF_F_MMAPABLE);
#[map]
static LABELS: Array<Label> = Array::pinned(LABEL_COUNT, BPF_F_MMAPABLE);
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

/// The entry of an array that a program has the address of; `None` past its end.
#[inline(always)]
fn entry<'t, T, const NUMBER: u32>(index: u32) -> Option<&'t T> {
    const { assert!(size_of::<T>() == FixedArray::ALL[NUMBER as usize].entry_bytes()) };
    let entries = const { FixedArray::ALL[NUMBER as usize].entries() as u64 };
    // The verifier is to see the very index compared that is used.
    let index = if entries == 1 { 0 } else { opaque(u64::from(index)) };
    if index >= entries {
        return None;
    }
    let start: *const T;
    // SAFETY: the loader replaces this constant by the address of the array, which is
    // never null, stays where it is for as long as the program is there, and has so many
    // entries. They consist of atomic words, so any bits are a value.
    unsafe {
        core::arch::asm!(
            "{0} = {1} ll",
            out(reg) start,
            const { FixedArray::ALL[NUMBER as usize].mark() },
            options(nomem, nostack, preserves_flags)
        );
        let entry = start.add(index as usize);
        core::hint::assert_unchecked(!entry.is_null());
        Some(&*entry)
    }
}

/// The tables as BPF maps.
#[derive(Clone, Copy)]
pub(crate) struct Maps {
    /// What the program was called with.
    pub(crate) context: *mut xdp_md,
    /// Whether this is the way of most packets. Elsewhere lookups are calls of functions
    /// that are there [`once`]: for each lookup the kernel rewrites the program.
    pub(crate) is_near: bool,
}

/// Counts an event.
#[inline(always)]
pub(crate) fn count_event(index: u32) {
    if COUNTS && let Some(count) = EVENTS.get_ptr_mut(index) {
        // SAFETY: as in `with_counters`.
        unsafe { *count += 1 };
    }
}

/// Changes the counters of a listener.
#[inline(always)]
pub(crate) fn with_listener(id: u16, change: impl FnOnce(&mut TrafficCounters)) {
    with_counters(&LISTENER_COUNTS, id, change);
}

/// Changes the counters of a member.
#[inline(always)]
pub(crate) fn with_member(id: u16, change: impl FnOnce(&mut TrafficCounters)) {
    with_counters(&MEMBER_COUNTS, id, change);
}

/// The number of no port.
const NO_PORT: u64 = u64::MAX;

/// The number of the port at a place, or [`NO_PORT`].
#[inline(always)]
pub(crate) fn port_at(place: Place) -> u64 {
    match PORT_OF_INTERFACE.get_ptr(place) {
        // SAFETY: a value of a preallocated hash map stays readable for the run
        // of the program; a concurrent removal can at worst make it stale.
        Some(number) => u64::from(unsafe { *number } as u16),
        None => NO_PORT,
    }
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
        entry::<_, { FixedArray::Config as u32 }>(0)
    }

    #[inline(always)]
    fn jiffies(&self) -> u64 {
        // SAFETY: the helper has no precondition; the JIT inlines it.
        unsafe { bpf_jiffies64() }
    }

    #[inline(always)]
    fn vip4_line(&self, index: u32) -> Option<&Vip4Line> {
        entry::<_, { FixedArray::Vips4 as u32 }>(index)
    }

    #[inline(always)]
    fn vip6_line(&self, index: u32) -> Option<&Vip6Line> {
        entry::<_, { FixedArray::Vips6 as u32 }>(index)
    }

    #[inline(always)]
    fn vip_filter(&self) -> Option<&VipFilter> {
        entry::<_, { FixedArray::VipFilter as u32 }>(0)
    }

    #[inline(always)]
    fn instance(&self, id: u8) -> Option<&Instance> {
        entry::<_, { FixedArray::Instances as u32 }>(u32::from(id))
    }

    #[inline(always)]
    fn advert_guard(&self) -> Option<&AdvertGuard> {
        entry::<_, { FixedArray::AdvertGuard as u32 }>(0)
    }

    #[inline(always)]
    fn advert_line(&self, index: u32) -> Option<&AdvertLine> {
        entry::<_, { FixedArray::AdvertSources as u32 }>(index)
    }

    #[inline(always)]
    fn listener_line(&self, index: u32) -> Option<&ListenerLine> {
        entry::<_, { FixedArray::Listeners as u32 }>(index)
    }

    #[inline(always)]
    fn listener_of(&self, id: u16) -> Option<&ListenerOf> {
        entry::<_, { FixedArray::ListenerKeys as u32 }>(u32::from(id))
    }

    #[inline(always)]
    fn pool(&self, id: u16) -> Option<&Pool> {
        entry::<_, { FixedArray::Pools as u32 }>(u32::from(id))
    }

    #[inline(always)]
    fn slot_line(&self, index: u32) -> Option<&SlotLine> {
        entry::<_, { FixedArray::Slots as u32 }>(index)
    }

    #[inline(always)]
    fn member(&self, id: u16) -> Option<&Member> {
        entry::<_, { FixedArray::Members as u32 }>(u32::from(id))
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
        entry::<_, { FixedArray::Ports as u32 }>(u32::from(number))
    }

    #[inline(always)]
    fn port_at(&self, place: Place) -> Option<u16> {
        let number = if self.is_near { port_at(place) } else { once::port_at(place) };
        if number == NO_PORT { None } else { Some(number as u16) }
    }

    #[inline(always)]
    fn placement_line(&self, index: u32) -> Option<&PlacementLine> {
        entry::<_, { FixedArray::Placements as u32 }>(index)
    }

    #[inline(always)]
    fn listener_load(&self, id: u16) -> Option<&Load> {
        entry::<_, { FixedArray::ListenerLoads as u32 }>(u32::from(id))
    }

    #[inline(always)]
    fn member_load(&self, id: u16) -> Option<&Load> {
        entry::<_, { FixedArray::MemberLoads as u32 }>(u32::from(id))
    }

    #[inline(always)]
    fn source_cell(&self, index: u32) -> Option<&SourceCell> {
        entry::<_, { FixedArray::Sources as u32 }>(index)
    }

    #[inline(always)]
    fn fragment(&self, index: u32) -> Option<&Fragment> {
        entry::<_, { FixedArray::Fragments as u32 }>(index)
    }

    #[inline(always)]
    fn dnat_line(&self, index: u32) -> Option<&DnatLine> {
        entry::<_, { FixedArray::DnatMembers as u32 }>(index)
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
        entry::<_, { FixedArray::TraceFilter as u32 }>(0)
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
        if self.is_near {
            with_listener(id, |c| add(c, direction, bytes))
        } else {
            once::count_listener(id, direction, bytes)
        }
    }

    #[inline(always)]
    fn count_member(&self, id: u16, direction: Direction, bytes: u64) {
        if self.is_near {
            with_member(id, |c| add(c, direction, bytes))
        } else {
            once::count_member(id, direction, bytes)
        }
    }

    #[inline(always)]
    fn count_new_flow(&self, listener: u16, member: u16) {
        once::count_new_flow(listener, member);
    }

    #[inline(always)]
    fn count_refused(&self, listener: u16) {
        once::count_refused(listener);
    }

    #[inline(always)]
    fn count(&self, event: Event) {
        if self.is_near { count_event(event.index()) } else { once::count(event) }
    }

    #[inline(always)]
    fn note(&self, note: FlowNote) {
        // Whoever reads the notes looks for them; nobody is woken.
        if FLOW_NOTES.output::<u64>(note.0, u64::from(BPF_RB_NO_WAKEUP)).is_err() {
            self.count(Event::FlowNotesLost);
        }
    }
}
