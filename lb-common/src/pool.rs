//! `POOLS` and `SLOTS`: how a pool forwards, and its table.
//!
//! All tables lie in one array of slots. A pool's first word says everything
//! that a packet needs to choose a member and to reach it: where the table
//! begins, how long it is, what indexes it and how frames are forwarded. Storing
//! that word switches the pool from one whole table to another.
//!
//! While a change is under way the word has [`PoolEntry::CHANGING`], and
//! [`Pool::previous`] is the word of the table that flows were placed by before.
//! A flow that both tables give to the same member is not concerned. Of the
//! others, those that are recorded (see [`crate::placement`]) go where the
//! record says, new ones by the new table, and all others by the previous one
//! until [`Pool::until`]. `previous` stays that of the *first* unfinished
//! change: flows that began since are recorded, and those that both tables of a
//! change agreed on are told right by either.

use crate::atomic::{AtomicU64, Ordering::Relaxed};
use crate::time::Tick;

/// The pool id of a listener without pool. Userspace never gives it away.
pub const NO_POOL: u16 = 0;

/// How a pool's members are reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum ForwardMode {
    /// Full NAT: both addresses are translated, members see the VIP as their
    /// client and need no configuration.
    #[default]
    Nat = 0,
    /// The destination is translated: members see their clients, and route
    /// answers back through the balancer.
    Dnat = 1,
    /// The frame goes to the member's Ethernet address as it came: members hold
    /// the VIP and answer clients themselves.
    Dsr = 2,
    /// The packet is wrapped into another IP packet (RFC 2003, RFC 2473): as
    /// `Dsr`, over routers and address families.
    Ipip = 3,
    /// The packet is wrapped into UDP to port 6080 (Generic UDP Encapsulation,
    /// variant 1: the payload is an IP packet).
    Gue = 4,
}

impl ForwardMode {
    /// All modes.
    pub const ALL: [Self; 5] = [Self::Nat, Self::Dnat, Self::Dsr, Self::Ipip, Self::Gue];

    /// The mode's name in a pool file and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::Dnat => "dnat",
            Self::Dsr => "dsr",
            Self::Ipip => "ipip",
            Self::Gue => "gue",
        }
    }

    /// From the three bits of a word; what no mode has is `nat`.
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        match bits & 7 {
            1 => Self::Dnat,
            2 => Self::Dsr,
            3 => Self::Ipip,
            4 => Self::Gue,
            _ => Self::Nat,
        }
    }

    /// Whether members hold the VIP and answer clients without the balancer in
    /// between.
    #[inline(always)]
    #[must_use]
    pub const fn is_direct(self) -> bool {
        matches!(self, Self::Dsr | Self::Ipip | Self::Gue)
    }

    /// Whether members may be of the other address family than the VIP.
    #[must_use]
    pub const fn crosses_families(self) -> bool {
        matches!(self, Self::Ipip | Self::Gue)
    }
}

/// How a pool chooses the member of a new flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Algorithm {
    /// SOURCE_IP_PORT: by a hash of addresses and ports.
    #[default]
    SourceIpPort = 0,
    /// SOURCE_IP: by a hash of the client's address and the VIP.
    SourceIp = 1,
    /// ROUND_ROBIN: one after the other, each as often as its weight says; the
    /// next slot of a smooth weighted sequence.
    RoundRobin = 2,
    /// LEAST_CONNECTIONS: of two that a hash chooses, the one with fewer flows
    /// for its weight.
    LeastConnections = 3,
}

impl Algorithm {
    /// All algorithms.
    pub const ALL: [Self; 4] = [Self::SourceIpPort, Self::SourceIp, Self::RoundRobin, Self::LeastConnections];

    /// Octavia's word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SourceIpPort => "SOURCE_IP_PORT",
            Self::SourceIp => "SOURCE_IP",
            Self::RoundRobin => "ROUND_ROBIN",
            Self::LeastConnections => "LEAST_CONNECTIONS",
        }
    }

    /// From the three bits of a word; what no algorithm has is SOURCE_IP_PORT.
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        match bits & 7 {
            1 => Self::SourceIp,
            2 => Self::RoundRobin,
            3 => Self::LeastConnections,
            _ => Self::SourceIpPort,
        }
    }
}

/// The word of a pool: first slot (bits 0–31), length in slots (32–49), mode
/// (50–52), algorithm (53–55), flags. Zero is a pool with an empty table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub struct PoolEntry(pub u64);

impl PoolEntry {
    const VALID: u64 = 1 << 63;
    /// Every flow is recorded, in every mode: the algorithm does not find a flow's
    /// member again, or flows are counted against a limit.
    pub const RECORDS: u64 = 1 << 57;
    /// A client stays with its member: `session_persistence` SOURCE_IP.
    pub const PERSISTENT: u64 = 1 << 58;
    /// [`Pool::previous`] is to be looked at.
    pub const CHANGING: u64 = 1 << 59;
    /// The MSS of SYNs is lowered to what [`Pool::options`] says.
    pub const CLAMPS_MSS: u64 = 1 << 60;
    /// A member of the pool has a limit of its own.
    pub const LIMITS_MEMBERS: u64 = 1 << 61;
    /// All flags but `VALID`.
    pub const FLAGS: u64 = Self::RECORDS | Self::PERSISTENT | Self::CHANGING | Self::CLAMPS_MSS | Self::LIMITS_MEMBERS;

    /// A pool whose table is `length` slots long from `first`.
    #[must_use]
    pub const fn new(first: u32, length: u32, mode: ForwardMode, algorithm: Algorithm, flags: u64) -> Self {
        Self(
            Self::VALID
                | flags & Self::FLAGS
                | (algorithm as u64) << 53
                | (mode as u64) << 50
                | (length as u64 & 0x3_ffff) << 32
                | first as u64,
        )
    }

    /// Whether the pool exists.
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.0 & Self::VALID != 0
    }

    /// Index of the table's first slot.
    #[inline(always)]
    #[must_use]
    pub const fn first(self) -> u32 {
        self.0 as u32
    }

    /// Slots in the table; none means that the pool has no member to offer.
    #[inline(always)]
    #[must_use]
    pub const fn length(self) -> u32 {
        (self.0 >> 32) as u32 & 0x3_ffff
    }

    /// How members are reached.
    #[inline(always)]
    #[must_use]
    pub const fn mode(self) -> ForwardMode {
        ForwardMode::from_bits(self.0 >> 50)
    }

    /// What chooses the slot.
    #[inline(always)]
    #[must_use]
    pub const fn algorithm(self) -> Algorithm {
        Algorithm::from_bits(self.0 >> 53)
    }

    /// Whether any bit of `flags` is set.
    #[inline(always)]
    #[must_use]
    pub const fn has(self, flags: u64) -> bool {
        self.0 & flags != 0
    }

    /// The flags, `VALID` left out.
    #[must_use]
    pub const fn flags(self) -> u64 {
        self.0 & Self::FLAGS
    }

    /// The same with other flags.
    #[must_use]
    pub const fn with_flags(self, flags: u64) -> Self {
        Self(self.0 & !Self::FLAGS | flags & Self::FLAGS)
    }
}

/// Until when flows that are not recorded go by the previous table, TCP and UDP
/// apart. A flow of UDP does not say when it begins; one that has been silent
/// for as long as its own limit is a new one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Until {
    /// For TCP and SCTP.
    pub tcp: Tick,
    /// For UDP.
    pub udp: Tick,
}

impl Until {
    /// As one word.
    #[must_use]
    pub const fn to_word(self) -> u64 {
        self.tcp.0 as u64 | (self.udp.0 as u64) << 16
    }

    /// From that word.
    #[inline(always)]
    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        Self { tcp: Tick(word as u16), udp: Tick((word >> 16) as u16) }
    }

    /// Whether `now` is before the end. Userspace clears
    /// [`PoolEntry::CHANGING`] long before the ticks come round (nine hours).
    #[inline(always)]
    #[must_use]
    pub const fn holds(self, udp: bool, now: Tick) -> bool {
        let end = if udp { self.udp } else { self.tcp };
        let left = end.since(now);
        left != 0 && left < 0x8000
    }
}

/// How SOURCE_IP persistence is to be understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Persistence {
    /// How long after its last new flow a client stays with its member, ticks.
    pub timeout: u16,
    /// Bits of an IPv4 address that tell clients apart, 0 to 32.
    pub prefix4: u8,
    /// The same of an IPv6 address, 0 to 128.
    pub prefix6: u8,
}

impl Persistence {
    /// As one word.
    #[must_use]
    pub const fn to_word(self) -> u64 {
        self.timeout as u64 | (self.prefix4 as u64) << 16 | (self.prefix6 as u64) << 24
    }

    /// From that word.
    #[inline(always)]
    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        Self { timeout: word as u16, prefix4: (word >> 16) as u8, prefix6: (word >> 24) as u8 }
    }
}

/// A pool, a cache line of its own.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Pool {
    /// A [`PoolEntry`].
    pub entry: AtomicU64,
    /// The [`PoolEntry`] that flows were placed by before the first unfinished
    /// change. Stored before `entry` gets [`PoolEntry::CHANGING`], and cleared
    /// after `entry` has lost it.
    pub previous: AtomicU64,
    /// An [`Until`]. Stored before `entry`.
    pub until: AtomicU64,
    /// A [`Persistence`]. Stored before `entry`.
    pub persistence: AtomicU64,
    /// Largest MSS (bits 0–15, host order), 0 for what the member's path takes. Bits
    /// 16–31 are the seconds of `persistence_timeout`, for userspace.
    pub options: AtomicU64,
    /// The turn of ROUND_ROBIN: the data path counts it up.
    pub turn: AtomicU64,
    /// Room in the line.
    pub reserved: [AtomicU64; 2],
}

impl Pool {
    /// The pool's word.
    #[inline(always)]
    #[must_use]
    pub fn entry(&self) -> PoolEntry {
        PoolEntry(self.entry.load(Relaxed))
    }
}

/// A cache line of slots, thirty-two to a line. A slot is the id of a member.
#[repr(C)]
#[derive(Debug, Default)]
pub struct SlotLine {
    /// Four slots a word, the first in the lowest bits.
    pub fours: [AtomicU64; 8],
}

impl SlotLine {
    /// The member in the slot at `index` (taken modulo 32) of the line.
    #[inline(always)]
    #[must_use]
    pub fn get(&self, index: u32) -> u16 {
        let four = self.fours[(index as usize / 4) % 8].load(Relaxed);
        (four >> (16 * (index % 4))) as u16
    }

    /// Stores four neighbouring slots; `four` is taken modulo 8.
    pub fn set_four(&self, four: u32, members: [u16; 4]) {
        let word = members.iter().rev().fold(0, |word, member| word << 16 | u64::from(*member));
        self.fours[four as usize % 8].store(word, Relaxed);
    }
}

const _: () = assert!(size_of::<SlotLine>() == 64 && size_of::<Pool>() == 64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_keeps_its_parts_apart() {
        for mode in ForwardMode::ALL {
            for algorithm in Algorithm::ALL {
                for flags in [0, PoolEntry::RECORDS, PoolEntry::CHANGING, PoolEntry::FLAGS] {
                    let entry = PoolEntry::new(u32::MAX, 65537, mode, algorithm, flags);
                    assert!(entry.is_valid());
                    assert_eq!((entry.first(), entry.length()), (u32::MAX, 65537));
                    assert_eq!((entry.mode(), entry.algorithm(), entry.flags()), (mode, algorithm, flags));
                    assert_eq!(entry.with_flags(0).with_flags(flags), entry);
                }
            }
        }
        assert!(!PoolEntry::default().is_valid());
    }

    #[test]
    fn a_hold_ends_at_its_tick_whatever_the_wrap() {
        let until = Until { tcp: Tick(5), udp: Tick(0xffff) };
        assert_eq!(Until::from_word(until.to_word()), until);
        assert!(until.holds(false, Tick(4)) && until.holds(false, Tick(0xfff0)));
        assert!(!until.holds(false, Tick(5)) && !until.holds(false, Tick(6)));
        assert!(until.holds(true, Tick(0xfffe)) && !until.holds(true, Tick(0)));
    }

    #[test]
    fn slots_of_a_line_are_what_was_stored() {
        let line = SlotLine::default();
        for four in 0..8u16 {
            line.set_four(u32::from(four), [four * 4, four * 4 + 1, four * 4 + 2, 0xf000 + four]);
        }
        for index in 0..32u16 {
            let expected = if index % 4 == 3 { 0xf000 + index / 4 } else { index };
            assert_eq!(line.get(u32::from(index)), expected);
            assert_eq!(line.get(u32::from(index) + 64), expected);
        }
    }

    #[test]
    fn persistence_survives_its_word() {
        let persistence = Persistence { timeout: 0xfedc, prefix4: 24, prefix6: 128 };
        assert_eq!(Persistence::from_word(persistence.to_word()), persistence);
    }
}
