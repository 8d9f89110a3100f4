//! `INSTANCES`: the virtual routers (VRRP instances) that decide which of two
//! balancers answers for a VIP.
//!
//! Any number of VIPs may name one instance, so one word moves all of them. The
//! word has two writers and each has bits of its own: whoever writes the tables
//! says whether the instance is there, whoever speaks VRRP whether it is Active.

use crate::atomic::{AtomicU64, Ordering::Relaxed};

use crate::mac::Mac;

/// The id of no instance: a VIP that names it is answered for by this balancer
/// alone.
pub const NO_INSTANCE: u8 = 0;

/// An instance, a cache line of its own.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Instance {
    /// [`Instance::VALID`] and [`Instance::ACTIVE`].
    pub state: AtomicU64,
    /// The virtual router's Ethernet address, by [`Mac::with_low`] with 1; zero:
    /// it has none, and VIPs are with each interface's own address.
    pub mac: AtomicU64,
    /// When the instance was last known to be Active and well, in microseconds
    /// of `CLOCK_BOOTTIME`; zero: never. Userspace alone reads and writes it.
    pub alive: AtomicU64,
    /// Room in the line.
    pub reserved: [AtomicU64; 5],
}

const _: () = assert!(size_of::<Instance>() == 64);

impl Instance {
    /// The id is in use.
    pub const VALID: u64 = 1 << 63;
    /// This balancer carries the instance's VIPs.
    pub const ACTIVE: u64 = 1 << 62;

    /// Whether this balancer carries the instance's VIPs.
    #[inline(always)]
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.state.load(Relaxed) & Self::ACTIVE != 0
    }

    /// The virtual router's Ethernet address, if it has one.
    #[inline(always)]
    #[must_use]
    pub fn mac(&self) -> Option<Mac> {
        let word = self.mac.load(Relaxed);
        if word == 0 { None } else { Some(Mac::from_high(word)) }
    }

    /// Gives the virtual router an Ethernet address, or takes it.
    pub fn set_mac(&self, mac: Option<Mac>) {
        self.mac.store(mac.map_or(0, |mac| mac.with_low(1)), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_has_the_address_it_was_given_and_none_at_first() {
        let instance = Instance::default();
        assert_eq!((instance.mac(), instance.is_active()), (None, false));
        let mac = Mac([0, 0, 0x5e, 0, 1, 51]);
        instance.set_mac(Some(mac));
        assert_eq!(instance.mac(), Some(mac));
        instance.set_mac(None);
        assert_eq!(instance.mac(), None);
    }
}
