//! `VIPS4`, `VIPS6`: is this address one of ours?
//!
//! A bucketed table over an array, written by userspace alone. An address lies
//! in the line its hash names, or in the next one if that was full when the
//! address was added; a reader looks at the second line only when the first has
//! no free way. A way is published and withdrawn by its `entry` word.

use crate::atomic::AtomicU64;

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
    hash::line(address, lines)
}

/// The first line an IPv6 address may lie in; `lines` is a power of two.
#[inline(always)]
#[must_use]
pub const fn line6(address: [u64; 2], lines: u32) -> u32 {
    hash::line(address[0].rotate_left(21) ^ address[1], lines)
}

const _: () = assert!(crate::limits::MAX_INSTANCES as u64 == VipEntry::INSTANCE_MASK + 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_keeps_its_parts_apart() {
        for (id, active, instance) in [(0, false, 0), (0x3fff, true, 63), (5, false, 1), (0, true, 32)] {
            let entry = VipEntry::new(id, active, instance);
            assert!(entry.is_valid());
            assert_eq!((entry.id(), entry.is_active(), entry.instance()), (id, active, instance));
        }
    }
}
