//! `PORTS`: the interfaces the data path is attached to.

use crate::atomic::{AtomicU64, Ordering::Relaxed};

use crate::mac::Mac;

/// One attached interface.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Port {
    /// The interface's own address in the upper 48 bits; bit 0 says the port is in use.
    pub mac: AtomicU64,
    /// The interface index.
    pub ifindex: AtomicU64,
}

const _: () = assert!(size_of::<Port>() == 16);

impl Port {
    /// Makes the entry describe an interface.
    pub fn set(&self, ifindex: u32, mac: Mac) {
        self.ifindex.store(u64::from(ifindex), Relaxed);
        self.mac.store(mac.with_low(1), Relaxed);
    }

    /// Marks the entry unused.
    pub fn clear(&self) {
        self.mac.store(0, Relaxed);
        self.ifindex.store(0, Relaxed);
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
