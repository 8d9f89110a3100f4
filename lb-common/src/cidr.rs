//! `CIDRS4`, `CIDRS6`: from where a listener may be reached.
//!
//! Kernel LPM tries (`BPF_MAP_TYPE_LPM_TRIE`, Linux 4.11). A key is the
//! listener's id, all of whose bits count, and then the address. Only listeners
//! with [`crate::listener::ListenerEntry::GUARDED`] are looked up.

/// Bits of a key in front of the address: the listener's id as 32 bits.
pub const LISTENER_BITS: u32 = 32;

/// The data of a key of `CIDRS4`, as the kernel compares it: from the first
/// byte on.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cidr4 {
    /// The listener's id, big endian.
    pub listener: u32,
    /// The address as it lies in a frame.
    pub address: u32,
}

impl Cidr4 {
    /// A key's data.
    #[inline(always)]
    #[must_use]
    pub const fn new(listener: u16, address: u32) -> Self {
        Self { listener: (listener as u32).to_be(), address }
    }
}

/// The data of a key of `CIDRS6`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cidr6 {
    /// The listener's id, big endian.
    pub listener: u32,
    /// The address as four words as they lie in a frame.
    pub address: [u32; 4],
}

impl Cidr6 {
    /// A key's data from an address as two words.
    #[inline(always)]
    #[must_use]
    pub const fn new(listener: u16, address: [u64; 2]) -> Self {
        // In memory order the lower half of a little-endian word comes first.
        let [a, b] = address;
        let address = [a.to_le() as u32, (a.to_le() >> 32) as u32, b.to_le() as u32, (b.to_le() >> 32) as u32];
        Self { listener: (listener as u32).to_be(), address }
    }
}

const _: () = assert!(size_of::<Cidr4>() == 8 && size_of::<Cidr6>() == 20);
