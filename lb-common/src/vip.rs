//! `VIPS4`, `VIPS6`: is this address one of ours?
//!
//! A bucketed table over an array, written by userspace alone. An address lies
//! in the line its hash names, or in the next one if that was full when the
//! address was added; a reader looks at the second line only when the first has
//! no free way. A way is published and withdrawn by its `entry` word.

use crate::atomic::{AtomicU64, Ordering::Relaxed};

use crate::hash;

/// The word that says what an address is. Zero: the way is free.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub struct VipEntry(pub u64);

impl VipEntry {
    const VALID: u64 = 1 << 63;
    const ACTIVE: u64 = 1 << 62;
    const INSTANCE_SHIFT: u32 = 14;
    const INSTANCE_MASK: u64 = 0x3f;

    /// A VIP with an id (fourteen bits) and the VRRP instance that moves it (six
    /// bits; [`crate::instance::NO_INSTANCE`] for none). An `active` VIP answers
    /// ARP, neighbour solicitations and echo while its instance, if it names one,
    /// is Active; any other only forwards what reaches it.
    #[must_use]
    pub const fn new(id: u16, active: bool, instance: u8) -> Self {
        let instance = (instance as u64 & Self::INSTANCE_MASK) << Self::INSTANCE_SHIFT;
        Self(Self::VALID | if active { Self::ACTIVE } else { 0 } | instance | (id as u64 & 0x3fff))
    }

    /// Whether the way is in use.
    #[inline(always)]
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.0 & Self::VALID != 0
    }

    /// Whether this balancer answers for the address, as far as the VIP itself
    /// is concerned.
    #[inline(always)]
    #[must_use]
    pub const fn is_active(self) -> bool {
        self.0 & Self::ACTIVE != 0
    }

    /// The VRRP instance that moves the VIP.
    #[inline(always)]
    #[must_use]
    pub const fn instance(self) -> u8 {
        (self.0 >> Self::INSTANCE_SHIFT & Self::INSTANCE_MASK) as u8
    }

    /// The VIP's id.
    #[inline(always)]
    #[must_use]
    pub const fn id(self) -> u16 {
        (self.0 & 0x3fff) as u16
    }
}

/// An IPv4 VIP.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Vip4 {
    /// The address as its four bytes lie in memory, in the lower 32 bits.
    pub address: AtomicU64,
    /// A [`VipEntry`].
    pub entry: AtomicU64,
}

/// An IPv6 VIP.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Vip6 {
    /// The address as its sixteen bytes lie in memory.
    pub address: [AtomicU64; 2],
    /// A [`VipEntry`].
    pub entry: AtomicU64,
    /// Keeps a way at half a cache line.
    pub reserved: AtomicU64,
}

/// A cache line of IPv4 VIPs.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Vip4Line {
    /// The ways.
    pub ways: [Vip4; 4],
}

/// A cache line of IPv6 VIPs.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Vip6Line {
    /// The ways.
    pub ways: [Vip6; 2],
}

const _: () = assert!(size_of::<Vip4Line>() == 64 && size_of::<Vip6Line>() == 64);

/// The first line an IPv4 address may lie in; `lines` is a power of two.
#[inline(always)]
#[must_use]
pub const fn line4(address: u64, lines: u32) -> u32 {
    hash::line(number4(address), lines)
}

/// The first line an IPv6 address may lie in; `lines` is a power of two.
#[inline(always)]
#[must_use]
pub const fn line6(address: [u64; 2], lines: u32) -> u32 {
    hash::line(number6(address), lines)
}

/// An address as a number, in which neighbours are neighbours.
#[inline(always)]
const fn number4(address: u64) -> u64 {
    u32::from_be(address as u32) as u64
}

#[inline(always)]
const fn number6(address: [u64; 2]) -> u64 {
    u64::from_be(address[0]).rotate_left(21) ^ u64::from_be(address[1])
}

/// Bits of the filter.
const FILTER_BITS: u32 = 1 << 12;

/// Which bit of the filter an IPv4 address has.
#[inline(always)]
#[must_use]
pub const fn filter_bit4(address: u64) -> u32 {
    hash::line(number4(address), FILTER_BITS)
}

/// Which bit of the filter an IPv6 address has.
#[inline(always)]
#[must_use]
pub const fn filter_bit6(address: [u64; 2]) -> u32 {
    hash::line(number6(address), FILTER_BITS)
}

/// A bit for each VIP, so that most addresses which are none are told by a word in the
/// first-level cache, and not by a line of an index.
#[repr(C)]
#[derive(Debug)]
pub struct VipFilter {
    /// Bits by number, the first in the lowest of the first word.
    pub words: [AtomicU64; FILTER_BITS as usize / 64],
}

const _: () = assert!(size_of::<VipFilter>() == 512);

impl Default for VipFilter {
    fn default() -> Self {
        Self { words: [const { AtomicU64::new(0) }; FILTER_BITS as usize / 64] }
    }
}

impl VipFilter {
    /// Whether an address with this bit may be a VIP.
    #[inline(always)]
    #[must_use]
    pub fn may_have(&self, bit: u32) -> bool {
        let words = self.words.len();
        self.words[bit as usize / 64 % words].load(Relaxed) >> (bit % 64) & 1 != 0
    }

    /// Says that an address with this bit is a VIP: before it becomes one.
    pub fn add(&self, bit: u32) {
        let word = &self.words[bit as usize / 64 % self.words.len()];
        word.store(word.load(Relaxed) | 1 << (bit % 64), Relaxed);
    }

    /// Says that addresses with these bits are VIPs, and no others. None of the bits is
    /// away for a moment.
    pub fn set(&self, bits: impl Iterator<Item = u32>) {
        let fresh = Self::default();
        bits.for_each(|bit| fresh.add(bit));
        for (word, fresh) in self.words.iter().zip(&fresh.words) {
            word.store(fresh.load(Relaxed), Relaxed);
        }
    }
}

const _: () = assert!(crate::limits::MAX_INSTANCES as u64 == VipEntry::INSTANCE_MASK + 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_has_what_was_added_until_it_is_set_anew() {
        let filter = VipFilter::default();
        let [one, other] = [filter_bit4(0x0102_0304), filter_bit6([1, 2])];
        assert!(one != other && !filter.may_have(one));
        filter.add(one);
        filter.add(other);
        assert!(filter.may_have(one) && filter.may_have(other) && !filter.may_have(one ^ 1));
        filter.set([other].into_iter());
        assert!(!filter.may_have(one) && filter.may_have(other));
    }

    /// A network's addresses one after the other, which is what operators have.
    #[test]
    fn neighbouring_addresses_lie_in_different_lines() {
        let most = |lines: &mut dyn Iterator<Item = u32>| {
            let mut counts = std::collections::BTreeMap::new();
            lines.for_each(|line| *counts.entry(line).or_insert(0) += 1);
            counts.into_values().max().unwrap_or(0)
        };
        let four = |n: u32| u64::from(u32::from_ne_bytes((0xc0a8_0000 + n).to_be_bytes()));
        let six = |n: u64| [u64::from_ne_bytes([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0]), n.to_be()];
        for step in [1, 2, 256] {
            assert!(most(&mut (0..1024 / step).map(|n| line4(four(n * step), 1024))) <= 4, "{step}");
            let line = |n: u32| line6(six(u64::from(n * step)), 2048);
            assert!(most(&mut (0..1024 / step).map(line)) <= 2, "{step}");
        }
    }

    #[test]
    fn an_entry_keeps_its_parts_apart() {
        for (id, active, instance) in [(0, false, 0), (0x3fff, true, 63), (5, false, 1), (0, true, 32)] {
            let entry = VipEntry::new(id, active, instance);
            assert!(entry.is_valid());
            assert_eq!((entry.id(), entry.is_active(), entry.instance()), (id, active, instance));
        }
    }
}
