//! The names of programs, maps and pins: one list for the BPF bin, the loader
//! and the tools.

/// Directory of the pins unless configured otherwise.
pub const DEFAULT_PIN_PATH: &str = "/sys/fs/bpf/krater";
/// The XDP program that forwards.
pub const PROGRAM: &str = "krater";
/// The program that only returns the jiffies, run through `BPF_PROG_TEST_RUN`.
pub const CLOCK_PROGRAM: &str = "krater_clock";
/// The program that makes a veth peer able to receive redirected frames.
pub const PASS_PROGRAM: &str = "krater_pass";
/// The same for a member that is reached by `ipip` or `gue`: takes outer headers
/// off.
pub const UNWRAP_PROGRAM: &str = "krater_unwrap";

/// Array of one [`crate::config::Config`].
pub const CONFIG: &str = "CONFIG";
/// Array of [`crate::vip::Vip4Line`].
pub const VIPS4: &str = "VIPS4";
/// Array of [`crate::vip::Vip6Line`].
pub const VIPS6: &str = "VIPS6";
/// Array of one [`crate::vip::VipFilter`].
pub const VIP_FILTER: &str = "VIP_FILTER";
/// Array of [`crate::instance::Instance`] by id.
pub const INSTANCES: &str = "INSTANCES";
/// Array of one [`crate::advert::AdvertGuard`].
pub const ADVERT_GUARD: &str = "ADVERT_GUARD";
/// Array of [`crate::advert::AdvertLine`].
pub const ADVERT_SOURCES: &str = "ADVERT_SOURCES";
/// Array of [`crate::listener::ListenerLine`].
pub const LISTENERS: &str = "LISTENERS";
/// Array of [`crate::listener::ListenerOf`] by listener id.
pub const LISTENER_KEYS: &str = "LISTENER_KEYS";
/// Array of [`crate::pool::Pool`].
pub const POOLS: &str = "POOLS";
/// Array of [`crate::pool::SlotLine`].
pub const SLOTS: &str = "SLOTS";
/// Array of [`crate::member::Member`].
pub const MEMBERS: &str = "MEMBERS";
/// Array of [`crate::flow::Flow4Line`].
pub const FLOWS4: &str = "FLOWS4";
/// Array of [`crate::flow::Flow6Line`].
pub const FLOWS6: &str = "FLOWS6";
/// Array of [`crate::flow::Return4`].
pub const RETURNS4: &str = "RETURNS4";
/// Array of [`crate::flow::Return6`].
pub const RETURNS6: &str = "RETURNS6";
/// Array of [`crate::port::Port`] by port number.
pub const PORTS: &str = "PORTS";
/// Array of [`crate::placement::PlacementLine`].
pub const PLACEMENTS: &str = "PLACEMENTS";
/// Array of [`crate::load::Load`] by listener.
pub const LISTENER_LOADS: &str = "LISTENER_LOADS";
/// Array of [`crate::load::Load`] by member.
pub const MEMBER_LOADS: &str = "MEMBER_LOADS";
/// Array of [`crate::load::SourceCell`].
pub const SOURCES: &str = "SOURCES";
/// Array of [`crate::fragment::Fragment`].
pub const FRAGMENTS: &str = "FRAGMENTS";
/// Array of [`crate::dnat::DnatLine`].
pub const DNAT_MEMBERS: &str = "DNAT_MEMBERS";
/// LPM trie of [`crate::cidr::Cidr4`].
pub const CIDRS4: &str = "CIDRS4";
/// LPM trie of [`crate::cidr::Cidr6`].
pub const CIDRS6: &str = "CIDRS6";
/// Array of one [`crate::trace::TraceFilter`].
pub const TRACE_FILTER: &str = "TRACE_FILTER";
/// Ring buffer of [`crate::trace::TraceRecord`].
pub const TRACES: &str = "TRACES";
/// Hash map from [`crate::port::Place`] to port number (`u32`).
pub const PORT_OF_INTERFACE: &str = "PORT_OF_INTERFACE";
/// Device map from port number to interface.
pub const TX_PORTS: &str = "TX_PORTS";
/// Per-CPU array of [`crate::counters::TrafficCounters`] by listener.
pub const LISTENER_COUNTERS: &str = "LISTENER_COUNTS";
/// Per-CPU array of [`crate::counters::TrafficCounters`] by member.
pub const MEMBER_COUNTERS: &str = "MEMBER_COUNTS";
/// Per-CPU array of one `u64` for each [`crate::counters::Event`].
pub const EVENTS: &str = "EVENTS";
/// Ring buffer of [`crate::flow_note::FlowNote`].
pub const FLOW_NOTES: &str = "FLOW_NOTES";
/// Array of [`crate::label::Label`]: names for ids, read and written by userspace only.
pub const LABELS: &str = "LABELS";
