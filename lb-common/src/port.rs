//! `PORTS`: the ways out of the data path: an interface it is attached to, and
//! on a trunk the VLAN tags that frames carry there.

use crate::atomic::{AtomicU64, Ordering::Relaxed};

use crate::mac::Mac;

/// VLAN tags in front of a frame's payload, in one word: the outer tag's TCI
/// (bits 0–15) and TPID (16–31), then the inner one's. Zero: none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
#[repr(transparent)]
pub struct Tags(pub u64);

impl Tags {
    /// Bits of the tags that say which network a frame belongs to: not its
    /// priority (IEEE 802.1Q §9.6).
    const NETWORK: u64 = 0xffff_0fff_ffff_0fff;

    /// TPID of an 802.1Q tag.
    pub const CUSTOMER: u16 = 0x8100;
    /// TPID of the outer tag of 802.1ad ("QinQ").
    pub const SERVICE: u16 = 0x88a8;

    /// No tag.
    pub const NONE: Self = Self(0);

    /// One 802.1Q tag.
    #[must_use]
    pub const fn vlan(id: u16) -> Self {
        Self((Self::CUSTOMER as u64) << 16 | (id & 0xfff) as u64)
    }

    /// An outer tag and, below it, an inner one; TPIDs first.
    #[inline(always)]
    #[must_use]
    pub const fn new(outer: (u16, u16), inner: Option<(u16, u16)>) -> Self {
        let inner = match inner {
            Some((tpid, tci)) => (tpid as u64) << 48 | (tci as u64) << 32,
            None => 0,
        };
        Self(inner | (outer.0 as u64) << 16 | outer.1 as u64)
    }

    /// TPID and TCI of the outer tag.
    #[inline(always)]
    #[must_use]
    pub const fn outer(self) -> Option<(u16, u16)> {
        if self.0 as u32 == 0 { None } else { Some(((self.0 >> 16) as u16, self.0 as u16)) }
    }

    /// TPID and TCI of the inner tag.
    #[inline(always)]
    #[must_use]
    pub const fn inner(self) -> Option<(u16, u16)> {
        if self.0 >> 32 == 0 { None } else { Some(((self.0 >> 48) as u16, (self.0 >> 32) as u16)) }
    }

    /// The tags without their priorities: what tells networks apart.
    #[inline(always)]
    #[must_use]
    pub const fn network(self) -> Self {
        Self(self.0 & Self::NETWORK)
    }
}

/// Where a frame came in: what `PORT_OF_INTERFACE` is asked by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
#[repr(C)]
pub struct Place {
    /// [`Tags::network`] of the frame.
    pub tags: u64,
    /// The interface's index.
    pub ifindex: u32,
    /// Zero.
    pub zero: u32,
}

impl Place {
    /// A place.
    #[inline(always)]
    #[must_use]
    pub const fn new(ifindex: u32, tags: Tags) -> Self {
        Self { tags: tags.network().0, ifindex, zero: 0 }
    }
}

/// One way out.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Port {
    /// The interface's own address in the upper 48 bits; bit 0 says the port is in use.
    pub mac: AtomicU64,
    /// The interface index in the lower half; bit 32 says that the program runs
    /// in generic mode there.
    pub ifindex: AtomicU64,
    /// [`Tags`] that frames get there.
    pub tags: AtomicU64,
    /// The largest IP packet that fits, in bytes; 0: 1500.
    pub mtu: AtomicU64,
}

const _: () = assert!(size_of::<Port>() == 32 && size_of::<Place>() == 16);

impl Port {
    /// Makes the entry describe an interface.
    pub fn set(&self, ifindex: u32, generic: bool, mac: Mac) {
        self.ifindex.store(u64::from(ifindex) | u64::from(generic) << 32, Relaxed);
        self.mac.store(mac.with_low(1), Relaxed);
    }

    /// Marks the entry unused.
    pub fn clear(&self) {
        self.mac.store(0, Relaxed);
        self.ifindex.store(0, Relaxed);
    }

    /// Whether the program runs in generic mode on the interface.
    #[must_use]
    pub fn is_generic(&self) -> bool {
        self.ifindex.load(Relaxed) >> 32 & 1 == 1
    }

    /// The interface's index and address, if the port is in use.
    #[inline(always)]
    #[must_use]
    pub fn get(&self) -> Option<(u32, Mac)> {
        let mac = self.mac.load(Relaxed);
        if mac & 1 == 0 {
            return None;
        }
        Some((self.ifindex.load(Relaxed) as u32, Mac::from_high(mac)))
    }
}
