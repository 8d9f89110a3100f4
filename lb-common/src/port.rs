//! `PORTS`: the interfaces the data path is attached to.

use crate::atomic::{AtomicU64, Ordering::Relaxed};

use crate::mac::Mac;

/// One attached interface.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Port {
    /// The interface's own address in the upper 48 bits; bit 0 says the port is in use.
    pub mac: AtomicU64,
    /// The interface index in the lower half; bit 32 says that the program runs
    /// in generic mode there.
    pub ifindex: AtomicU64,
}

const _: () = assert!(size_of::<Port>() == 16);

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
