//! `FRAGMENTS`: where the first fragment of a datagram went.
//!
//! Fragments after the first have no ports, so they follow the first by what
//! they share with it: both addresses, the protocol and the datagram's
//! identification. A record lives as long as receivers wait for the rest.

use crate::atomic::{AtomicU64, Ordering::Relaxed};
use crate::{hash, pool::ForwardMode, time::Tick};

/// How long later fragments are forwarded, in ticks: what Linux gives a
/// datagram to become complete (`ipfrag_time`).
pub const LIFETIME: u16 = 30;

/// The word of a record: member id (bits 0–15), tick (16–31), listener id
/// (32–47), mode (48–50), way (51), being written (62), valid (63).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub struct FragmentWord(pub u64);

impl FragmentWord {
    const VALID: u64 = 1 << 63;
    const TO_CLIENT: u64 = 1 << 51;

    /// A record that somebody is writing.
    pub const CLAIMED: Self = Self(1 << 62);

    /// A datagram of a flow, on its way to a member or (`to_client`) back.
    #[inline(always)]
    #[must_use]
    pub const fn new(member: u16, listener: u16, mode: ForwardMode, to_client: bool, seen: Tick) -> Self {
        Self(
            Self::VALID
                | member as u64
                | (seen.0 as u64) << 16
                | (listener as u64) << 32
                | (mode as u64) << 48
                | if to_client { Self::TO_CLIENT } else { 0 },
        )
    }

    /// Whether the record holds anything.
    #[inline(always)]
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.0 & Self::VALID != 0
    }

    /// The member's id.
    #[inline(always)]
    #[must_use]
    pub const fn member(self) -> u16 {
        self.0 as u16
    }

    /// When the first fragment came.
    #[inline(always)]
    #[must_use]
    pub const fn seen(self) -> Tick {
        Tick((self.0 >> 16) as u16)
    }

    /// The listener's id.
    #[inline(always)]
    #[must_use]
    pub const fn listener(self) -> u16 {
        (self.0 >> 32) as u16
    }

    /// How the member is reached.
    #[inline(always)]
    #[must_use]
    pub const fn mode(self) -> ForwardMode {
        ForwardMode::from_bits(self.0 >> 48)
    }

    /// Whether it is on its way to a client.
    #[inline(always)]
    #[must_use]
    pub const fn is_to_client(self) -> bool {
        self.0 & Self::TO_CLIENT != 0
    }
}

/// A record: a cache line. `word` is exchanged for [`FragmentWord::CLAIMED`]
/// before the others change and stored after them.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Fragment {
    /// [`fingerprint`] of the datagram.
    pub fingerprint: AtomicU64,
    /// A [`FragmentWord`].
    pub word: AtomicU64,
    /// New source address; zero: as it is.
    pub source: [AtomicU64; 2],
    /// New destination address; zero: as it is.
    pub destination: [AtomicU64; 2],
    /// New Ethernet destination in the upper 48 bits, number of the port it
    /// leaves by below, plus one.
    pub to: AtomicU64,
    /// New Ethernet source in the upper 48 bits. Of a datagram to a member: the
    /// hash that its encapsulation spreads by.
    pub from: AtomicU64,
}

const _: () = assert!(size_of::<Fragment>() == 64);

impl Fragment {
    /// The word.
    #[inline(always)]
    #[must_use]
    pub fn word(&self) -> FragmentWord {
        FragmentWord(self.word.load(Relaxed))
    }
}

const SEED: u64 = 0x6672_6167_6d65_6e74;

/// What tells a datagram from others: addresses, identification (32 bits of
/// IPv6, 16 of IPv4) and IPv4's protocol (RFC 791 §3.2; IPv6's is zero, for only
/// the first fragment says it, RFC 8200 §4.5). Never zero.
#[inline(always)]
#[must_use]
pub const fn fingerprint(seed: u64, source: [u64; 2], destination: [u64; 2], identification: u32, protocol: u8) -> u64 {
    let last = identification as u64 | (protocol as u64) << 32;
    let word = hash::mix(hash::selection(seed ^ SEED, source, destination, last));
    if word == 0 { 1 } else { word }
}

/// The two places a record may have; `entries` is a power of two.
#[inline(always)]
#[must_use]
pub const fn places(fingerprint: u64, entries: u32) -> [u32; 2] {
    [(fingerprint >> 32) as u32 & (entries - 1), fingerprint as u32 & (entries - 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_keeps_its_parts_apart() {
        let word = FragmentWord::new(0x3fff, 0xfff, ForwardMode::Gue, true, Tick(0xfedc));
        assert!(word.is_valid() && word.is_to_client());
        assert_eq!(
            (word.member(), word.listener(), word.mode(), word.seen()),
            (0x3fff, 0xfff, ForwardMode::Gue, Tick(0xfedc))
        );
        assert!(!FragmentWord::new(1, 1, ForwardMode::Nat, false, Tick(0)).is_to_client());
        assert!(!FragmentWord::default().is_valid());
    }
}
