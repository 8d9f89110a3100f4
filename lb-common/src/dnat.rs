//! `DNAT_MEMBERS`: whose packets go out with a VIP as their source.
//!
//! In forward mode `dnat` the way back has no state: a packet that comes from a
//! member's address and port, and is not for a VIP, gets the VIP and the port of
//! the member's listener. So no two listeners may have the same such member,
//! which userspace sees to.

use crate::atomic::AtomicU64;
use crate::{hash, protocol::Transport};

/// The word that publishes a member: port (bits 0–15, host order), transport
/// (16–17), IPv6 (18), listener id (20–35), member id (36–51), valid (63).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub struct DnatEntry(pub u64);

impl DnatEntry {
    const VALID: u64 = 1 << 63;
    const WHO: u64 = 0x7_ffff;

    /// A member with its listener.
    #[must_use]
    pub const fn new(port: u16, transport: Transport, ipv6: bool, listener: u16, member: u16) -> Self {
        Self(Self::VALID | who(port, transport.code(), ipv6) | (listener as u64) << 20 | (member as u64) << 36)
    }

    /// Whether the way is in use.
    #[inline(always)]
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.0 & Self::VALID != 0
    }

    /// Whether it is the member of this [`who`].
    #[inline(always)]
    #[must_use]
    pub const fn is(self, who: u64) -> bool {
        self.0 & Self::WHO == who
    }

    /// What [`who`] makes of its port, transport and family.
    #[inline(always)]
    #[must_use]
    pub const fn who(self) -> u64 {
        self.0 & Self::WHO
    }

    /// The listener's id.
    #[inline(always)]
    #[must_use]
    pub const fn listener(self) -> u16 {
        (self.0 >> 20) as u16
    }

    /// The member's id.
    #[inline(always)]
    #[must_use]
    pub const fn member(self) -> u16 {
        (self.0 >> 36) as u16
    }
}

/// Port, transport code and family of a member in nineteen bits.
#[inline(always)]
#[must_use]
pub const fn who(port: u16, transport_code: u16, ipv6: bool) -> u64 {
    port as u64 | (transport_code as u64 & 3) << 16 | (ipv6 as u64) << 18
}

/// A member.
#[repr(C)]
#[derive(Debug, Default)]
pub struct DnatMember {
    /// Its address as its bytes lie in memory.
    pub address: [AtomicU64; 2],
    /// A [`DnatEntry`].
    pub entry: AtomicU64,
    /// Keeps a way at half a cache line.
    pub reserved: AtomicU64,
}

/// A cache line of members. One lies in the line its key names, or in the next
/// if that was full, as in the index of VIPs.
#[repr(C)]
#[derive(Debug, Default)]
pub struct DnatLine {
    /// The ways.
    pub ways: [DnatMember; 2],
}

const _: () = assert!(size_of::<DnatLine>() == 64);

const SEED: u64 = 0x646e_6174_6d65_6d62;

/// The first line a member may lie in; `lines` is a power of two.
#[inline(always)]
#[must_use]
pub const fn line(address: [u64; 2], who: u64, lines: u32) -> u32 {
    hash::three(SEED, address[0], address[1], who) as u32 & (lines - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_keeps_its_parts_apart() {
        let entry = DnatEntry::new(8080, Transport::Sctp, true, 0xfff, 0x3fff);
        assert!(entry.is_valid() && entry.is(who(8080, 3, true)) && !entry.is(who(8080, 3, false)));
        assert_eq!((entry.listener(), entry.member()), (0xfff, 0x3fff));
    }
}
