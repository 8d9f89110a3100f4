//! `ADVERT_GUARD`, `ADVERT_SOURCES`: who may send VRRP adverts to this host.
//!
//! A virtual router is guarded when anybody at all is listed for it. Adverts to
//! a guarded one reach the host's stack only from those listed and only from
//! this link, so that a stranger costs the daemon nothing. All others pass.

use crate::atomic::{AtomicU64, Ordering::Relaxed};

use crate::hash;

/// Which virtual routers are guarded, a bit each: the one entry of
/// `ADVERT_GUARD`.
#[repr(C)]
#[derive(Debug, Default)]
pub struct AdvertGuard {
    /// Of IPv4, by their VRID.
    pub v4: [AtomicU64; 4],
    /// Of IPv6.
    pub v6: [AtomicU64; 4],
}

const _: () = assert!(size_of::<AdvertGuard>() == 64);

impl AdvertGuard {
    /// Whether a virtual router is guarded.
    #[inline(always)]
    #[must_use]
    pub fn has(&self, router: VirtualRouter) -> bool {
        let words = if router.is_v6() { &self.v6 } else { &self.v4 };
        let vrid = router.vrid() as usize;
        words[vrid / 64].load(Relaxed) >> (vrid % 64) & 1 != 0
    }
}

/// A virtual router as `ADVERT_SOURCES` names it: its VRID, and whether it is
/// one of IPv6.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct VirtualRouter(u64);

impl VirtualRouter {
    const V6: u64 = 1 << 8;

    /// The virtual router with a VRID.
    #[inline(always)]
    #[must_use]
    pub const fn new(vrid: u8, v6: bool) -> Self {
        Self(vrid as u64 | if v6 { Self::V6 } else { 0 })
    }

    /// Its VRID.
    #[inline(always)]
    #[must_use]
    pub const fn vrid(self) -> u8 {
        self.0 as u8
    }

    /// Whether it is one of IPv6.
    #[inline(always)]
    #[must_use]
    pub const fn is_v6(self) -> bool {
        self.0 & Self::V6 != 0
    }
}

/// The word that publishes a source. Zero: the way is free.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub struct AdvertEntry(pub u64);

impl AdvertEntry {
    const VALID: u64 = 1 << 63;

    /// A source of adverts to a virtual router.
    #[must_use]
    pub const fn new(router: VirtualRouter) -> Self {
        Self(Self::VALID | router.0)
    }

    /// Whether the way is in use.
    #[inline(always)]
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.0 & Self::VALID != 0
    }

    /// To which virtual router.
    #[inline(always)]
    #[must_use]
    pub const fn router(self) -> VirtualRouter {
        VirtualRouter(self.0 & !Self::VALID)
    }
}

/// Somebody who may send adverts to a virtual router.
#[repr(C)]
#[derive(Debug, Default)]
pub struct AdvertSource {
    /// The address as its bytes lie in memory; IPv4 in the lower half of the
    /// first word.
    pub address: [AtomicU64; 2],
    /// An [`AdvertEntry`].
    pub entry: AtomicU64,
    /// Keeps a way at half a cache line.
    pub reserved: AtomicU64,
}

/// A cache line of sources. An entry lies in the line its key names, or in the
/// next if that was full, as in the index of VIPs.
#[repr(C)]
#[derive(Debug, Default)]
pub struct AdvertLine {
    /// The ways.
    pub ways: [AdvertSource; 2],
}

const _: () = assert!(size_of::<AdvertLine>() == 64);

/// Seed of the index: it holds only addresses of the operator's choice.
const SEED: u64 = 0x6b72_6174_6572_4144;

/// The first line a source may lie in; `lines` is a power of two.
#[inline(always)]
#[must_use]
pub const fn line(router: VirtualRouter, address: [u64; 2], lines: u32) -> u32 {
    hash::three(SEED, address[0], address[1], router.0) as u32 & (lines - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_virtual_router_has_its_bit_and_its_word() {
        let guard = AdvertGuard::default();
        guard.v4[3].store(1 << 63, Relaxed);
        guard.v6[0].store(1 << 1, Relaxed);
        for vrid in 0..=255 {
            for v6 in [false, true] {
                let router = VirtualRouter::new(vrid, v6);
                assert_eq!(guard.has(router), (vrid, v6) == (255, false) || (vrid, v6) == (1, true));
                assert_eq!((router.vrid(), router.is_v6()), (vrid, v6));
                let entry = AdvertEntry::new(router);
                assert!(entry.is_valid() && entry.router() == router);
            }
        }
        assert!(!AdvertEntry::default().is_valid());
    }
}
