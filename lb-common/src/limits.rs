//! How much of everything there can be, and the memory it costs.
//!
//! Hard limits follow from the width of an id or from the verifier; the
//! defaults of what can be configured stand beside them.

/// VIPs: ids are fourteen bits wide, sixteen at most share a bucket row.
/// The address index costs 64 B a line, four IPv4 or two IPv6 addresses each.
pub const MAX_VIPS: u32 = 1024;
/// Lines of the IPv4 VIP index (256 KiB is four times what [`MAX_VIPS`] fill).
pub const VIP4_LINES: u32 = 1024;
/// Lines of the IPv6 VIP index.
pub const VIP6_LINES: u32 = 2048;
/// VRRP instances, 64 B each: ids are six bits wide, and 0 is none.
pub const MAX_INSTANCES: u32 = 64;
/// Those who may send adverts, of all virtual routers together: a pair has one
/// for each instance.
pub const MAX_ADVERT_SOURCES: u32 = 256;
/// Lines of their index, two to a line: 256 KiB, 32 times what
/// [`MAX_ADVERT_SOURCES`] fill, so that hardly ever two lines overflow.
pub const ADVERT_LINES: u32 = 4096;
/// Listeners. Index 64 B a line of four, per-CPU counters 48 B each.
pub const MAX_LISTENERS: u32 = 4096;
/// Lines of the listener index: 256 KiB.
pub const LISTENER_LINES: u32 = 4096;
/// Pools, 64 B each.
pub const MAX_POOLS: u32 = 4096;
/// Members, 64 B each and 48 B of counters per CPU.
pub const MAX_MEMBERS: u32 = 16384;
/// Slots in a line of [`crate::pool::SlotLine`].
pub const SLOTS_PER_LINE: u32 = 32;
/// Slots of all tables together, 2 B each: 8 MiB, enough for 64 tables of the
/// largest size or 4096 of a thousand slots.
pub const MAX_SLOTS: u32 = 1 << 22;
/// The largest table of one pool, a prime (Maglev's own choice).
pub const MAX_TABLE_SLOTS: u32 = 65537;
/// Interfaces the data path may be attached to.
pub const MAX_PORTS: u32 = 64;
/// Flows of each family by default. One costs 64 B of return entry twice over
/// and 16 B (IPv4) or 32 B (IPv6) of forward entry four times over: 192 B and
/// 256 B. 131,072 flows are 24 MiB and 32 MiB.
pub const DEFAULT_MAX_FLOWS: u32 = 131_072;
/// The fewest flows that can be configured.
pub const MIN_MAX_FLOWS: u32 = 1024;
/// The most flows that can be configured, of each family (1.5 GiB of IPv4).
pub const MAX_MAX_FLOWS: u32 = 1 << 23;
/// Forward entries per configured flow: at a quarter full, a line pair
/// overflows about once in four thousand.
pub const FLOW_ENTRIES_PER_FLOW: u32 = 4;
/// Return entries per configured flow: at half full, eight candidate ports all
/// being taken happens to 0.4 % of new flows.
pub const RETURN_ENTRIES_PER_FLOW: u32 = 2;
/// SNAT ports tried for a new flow.
pub const SNAT_CANDIDATES: u32 = 8;
/// The lowest SNAT port by default. Below lie the ports services listen on.
pub const DEFAULT_SNAT_PORT_LOW: u16 = 16384;
/// The highest SNAT port by default.
pub const DEFAULT_SNAT_PORT_HIGH: u16 = 65535;
/// IPv6 extension headers looked through before a packet is refused.
pub const MAX_EXTENSION_HEADERS: u32 = 4;
/// Longest label in bytes.
pub const LABEL_BYTES: usize = 120;

/// Lines of `PLACEMENTS`, four flows each: 16 MiB, sparse by intention. While a pool
/// changes, a flow that finds no room is not told apart from the others; at 100,000 flows
/// and eight ways a bucket is full to one new flow in a million (in a table of a quarter
/// the length, to one in a hundred). More ways instead would be longer to look through.
pub const PLACEMENT_LINES: u32 = 1 << 18;

/// Entries of `FRAGMENTS`, one datagram each: 512 KiB.
pub const FRAGMENT_ENTRIES: u32 = 1 << 13;

/// Cells of `SOURCES`, one source each: 512 KiB.
pub const SOURCE_CELLS: u32 = 1 << 16;

/// Lines of `DNAT_MEMBERS`, two members each: 512 KiB.
pub const DNAT_LINES: u32 = 1 << 13;

/// Prefixes of all listeners' `allowed_cidrs` together, of each family.
pub const MAX_CIDRS: u32 = 1 << 16;

/// UDP port of Generic UDP Encapsulation.
pub const GUE_PORT: u16 = 6080;
