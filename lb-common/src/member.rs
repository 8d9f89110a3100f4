//! `MEMBERS`: where a member is and how a frame reaches it.
//!
//! A member's id is bound to its address and port for as long as any flow may
//! name it, so only the words about its state and its next hop ever change.

use crate::atomic::{AtomicU64, Ordering::Relaxed};

use crate::mac::Mac;

/// The member id that no member has: a slot or a flow of zeros names nobody.
pub const NO_MEMBER: u16 = 0;

/// State and identity of a member, in one word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub struct MemberState(pub u64);

impl MemberState {
    /// The entry is in use.
    pub const VALID: u64 = 1 << 63;
    /// The member takes traffic: flows that could move (UDP, unanswered SYNs)
    /// leave a member without this bit, established ones stay.
    pub const UP: u64 = 1 << 62;
    /// The address is an IPv6 address.
    pub const IPV6: u64 = 1 << 61;
    /// No flow is sent here any more once it ends; the id waits to be freed.
    pub const RETIRED: u64 = 1 << 60;
    /// The operator switched the member off (`admin_state_up = false`).
    pub const DISABLED: u64 = 1 << 59;
    /// The operator drains the member: old flows stay, new ones go elsewhere.
    pub const DRAINING: u64 = 1 << 58;
    /// The health monitor found the member down.
    pub const UNHEALTHY: u64 = 1 << 57;
    /// The member is used only when no other is left (`backup = true`).
    pub const BACKUP: u64 = 1 << 56;
    /// The member's established TCP flows are reset: its pool says
    /// `on_member_down = "reset"`, and it is down. Never together with
    /// [`MemberState::UP`].
    pub const RESETS_FLOWS: u64 = 1 << 55;

    const FLAGS: u64 = 0x1ff << 55;

    /// Port (host order), pool id and weight beside `flags`.
    #[must_use]
    pub const fn new(flags: u64, port: u16, pool: u16, weight: u16) -> Self {
        Self(flags & Self::FLAGS | ((weight as u64) << 32) | ((pool as u64) << 16) | port as u64)
    }

    /// Whether all bits of `flags` are set.
    #[inline(always)]
    #[must_use]
    pub const fn has(self, flags: u64) -> bool {
        self.0 & flags == flags
    }

    /// The flags alone.
    #[must_use]
    pub const fn flags(self) -> u64 {
        self.0 & Self::FLAGS
    }

    /// `protocol_port`, host order.
    #[inline(always)]
    #[must_use]
    pub const fn port(self) -> u16 {
        self.0 as u16
    }

    /// The pool's id.
    #[must_use]
    pub const fn pool(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// The configured weight, 0 to 256.
    #[must_use]
    pub const fn weight(self) -> u16 {
        (self.0 >> 32) as u16
    }
}

/// How frames to a member leave: addresses and port, from two words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NextHop {
    /// The next hop's own address.
    pub destination: Mac,
    /// The address of our interface.
    pub source: Mac,
    /// Number of our interface in `PORTS`.
    pub port: u16,
}

impl NextHop {
    /// The two words of a map entry. The port is kept plus one, so that zero
    /// means unresolved.
    #[must_use]
    pub const fn to_words(self) -> [u64; 2] {
        [self.destination.with_low(self.port + 1), self.source.with_low(0)]
    }

    /// Back from the two words; `None` while unresolved.
    #[must_use]
    pub const fn from_words(words: [u64; 2]) -> Option<Self> {
        match Self::port_in(words) {
            Some(port) => Some(Self { destination: Mac::from_high(words[0]), source: Mac::from_high(words[1]), port }),
            None => None,
        }
    }

    /// The port alone; `None` while unresolved. The upper 48 bits of the words
    /// are the addresses that the data path puts into a frame.
    #[inline(always)]
    #[must_use]
    pub const fn port_in(words: [u64; 2]) -> Option<u16> {
        let port = words[0] as u16;
        if port == 0 { None } else { Some(port - 1) }
    }
}

/// A member.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Member {
    /// A [`MemberState`]; written last when the entry comes into use.
    pub state: AtomicU64,
    /// The address as its bytes lie in memory; an IPv4 address in the lower
    /// half of the first word.
    pub address: [AtomicU64; 2],
    /// A [`NextHop`] as two words. To change it the first becomes zero, then
    /// the second is stored, then the first.
    pub next_hop: [AtomicU64; 2],
    /// A [`Path`].
    pub path: AtomicU64,
    /// Where encapsulated packets to the member come from, as its bytes lie in
    /// memory; of the member's own family. [`Path`] says how many of its last
    /// bits differ from flow to flow.
    pub source: [AtomicU64; 2],
}

/// What of a member's path encapsulation needs to know, in one word: the largest
/// packet (bits 0–15, bytes of IP; 0: 1500), how many of the last bits of
/// [`Member::source`] vary with the flow, at most 32 (16–23), and whether
/// `source` is set (24).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub struct Path(pub u64);

impl Path {
    const SOURCE: u64 = 1 << 24;

    /// A path; `source_bits` says how many bits of the source vary, if there is
    /// a source.
    #[must_use]
    pub const fn new(mtu: u16, source_bits: Option<u8>) -> Self {
        let source = match source_bits {
            Some(bits) => Self::SOURCE | (if bits > 32 { 32 } else { bits } as u64) << 16,
            None => 0,
        };
        Self(mtu as u64 | source)
    }

    /// The largest IP packet that the path takes, in bytes.
    #[inline(always)]
    #[must_use]
    pub const fn mtu(self) -> u16 {
        let mtu = self.0 as u16;
        if mtu == 0 { 1500 } else { mtu }
    }

    /// Whether there is an address to send encapsulated packets from.
    #[inline(always)]
    #[must_use]
    pub const fn has_source(self) -> bool {
        self.0 & Self::SOURCE != 0
    }

    /// How many of the last bits of the source vary.
    #[must_use]
    pub const fn source_bits(self) -> u8 {
        (self.0 >> 16) as u8
    }

    /// A mask of those bits, host order.
    #[inline(always)]
    #[must_use]
    pub const fn source_mask(self) -> u32 {
        ((1u64 << ((self.0 >> 16) & 63)) - 1) as u32
    }
}

const _: () = assert!(size_of::<Member>() == 64);

impl Member {
    /// The state word.
    #[inline(always)]
    #[must_use]
    pub fn state(&self) -> MemberState {
        MemberState(self.state.load(Relaxed))
    }

    /// The next hop, if it is resolved.
    #[must_use]
    pub fn next_hop(&self) -> Option<NextHop> {
        NextHop::from_words(self.next_hop_words())
    }

    /// The next hop as it is stored.
    #[inline(always)]
    #[must_use]
    pub fn next_hop_words(&self) -> [u64; 2] {
        [self.next_hop[0].load(Relaxed), self.next_hop[1].load(Relaxed)]
    }

    /// Changes the next hop such that no frame leaves with half of it.
    pub fn set_next_hop(&self, next_hop: Option<NextHop>) {
        let words = next_hop.map_or([0, 0], NextHop::to_words);
        if self.next_hop[1].load(Relaxed) != words[1] {
            self.next_hop[0].store(0, Relaxed);
            self.next_hop[1].store(words[1], crate::atomic::Ordering::Release);
        }
        self.next_hop[0].store(words[0], crate::atomic::Ordering::Release);
    }
}
