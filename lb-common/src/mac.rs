//! Ethernet addresses, and the word that carries one beside sixteen more bits.

/// An Ethernet address in the order it has on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[repr(transparent)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The address nobody has.
    pub const ZERO: Self = Self([0; 6]);
    /// All ones: every station.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// Packs the address into the upper 48 bits of a word whose lower 16 hold `low`.
    #[inline(always)]
    #[must_use]
    pub const fn with_low(self, low: u16) -> u64 {
        let m = self.0;
        u64::from_le_bytes([0, 0, m[0], m[1], m[2], m[3], m[4], m[5]]) | low as u64
    }

    /// The address in the upper 48 bits of a word made by [`Mac::with_low`].
    #[inline(always)]
    #[must_use]
    pub const fn from_high(word: u64) -> Self {
        let b = word.to_le_bytes();
        Self([b[2], b[3], b[4], b[5], b[6], b[7]])
    }

    /// Whether the address names a group of stations (or all of them).
    #[inline(always)]
    #[must_use]
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }
}

impl core::fmt::Display for Mac {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let m = self.0;
        write!(f, "{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", m[0], m[1], m[2], m[3], m[4], m[5])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packed_address_comes_back_with_its_low_bits() {
        let mac = Mac([1, 2, 3, 0xfd, 0xfe, 0xff]);
        let word = mac.with_low(0xbeef);
        assert_eq!(Mac::from_high(word), mac);
        assert_eq!(word as u16, 0xbeef);
    }
}
