//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).
//!
//! Sums are kept in 64 bits and folded once at the end: with at most a few
//! hundred 32-bit words nothing can overflow. All words are taken as they lie
//! in memory; the sum of byte-swapped words is the byte-swapped sum (RFC 1071
//! §2 B), so no swap is ever needed.

/// An unfolded ones'-complement sum.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sum(pub u64);

impl Sum {
    /// Adds a 16-bit word as it lies in memory.
    #[inline(always)]
    #[must_use]
    pub const fn add16(self, word: u16) -> Self {
        Self(self.0 + word as u64)
    }

    /// Adds a 32-bit word as it lies in memory.
    #[inline(always)]
    #[must_use]
    pub const fn add32(self, word: u32) -> Self {
        Self(self.0 + word as u64)
    }

    /// Adds a 64-bit word as it lies in memory.
    #[inline(always)]
    #[must_use]
    pub const fn add64(self, word: u64) -> Self {
        Self(self.0 + (word >> 32) + (word & 0xffff_ffff))
    }

    /// Takes a 16-bit word out: adds its complement.
    #[inline(always)]
    #[must_use]
    pub const fn sub16(self, word: u16) -> Self {
        Self(self.0 + (!word) as u64)
    }

    /// Takes a 32-bit word out.
    #[inline(always)]
    #[must_use]
    pub const fn sub32(self, word: u32) -> Self {
        Self(self.0 + (!word) as u64)
    }

    /// Takes a 64-bit word out.
    #[inline(always)]
    #[must_use]
    pub const fn sub64(self, word: u64) -> Self {
        self.add64(!word)
    }

    /// Adds another sum.
    #[inline(always)]
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// Takes another sum, of less than 2¹⁶ 32-bit words, out.
    #[inline(always)]
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        // A multiple of 0xffff, which is zero.
        const ZERO: u64 = 0xffff_ffff_ffff;
        Self(self.0 + (ZERO - other.0))
    }

    /// Folds to sixteen bits, not complemented.
    #[inline(always)]
    #[must_use]
    pub const fn fold(self) -> u16 {
        let mut s = (self.0 >> 32) + (self.0 & 0xffff_ffff);
        s = (s >> 16) + (s & 0xffff);
        s = (s >> 16) + (s & 0xffff);
        s = (s >> 16) + (s & 0xffff);
        s as u16
    }

    /// The checksum field for a packet whose words (field left out) sum to this.
    #[inline(always)]
    #[must_use]
    pub const fn finish(self) -> u16 {
        !self.fold()
    }

    /// The field after a change: `old` with this difference applied (RFC 1624
    /// equation 3: HC' = ~(~HC + ~m + m')).
    #[inline(always)]
    #[must_use]
    pub const fn update(self, old: u16) -> u16 {
        !self.add16(!old).fold()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8]) -> Sum {
        bytes.chunks(2).fold(Sum::default(), |s, c| s.add16(u16::from_ne_bytes([c[0], *c.get(1).unwrap_or(&0)])))
    }

    #[test]
    fn the_worked_example_of_rfc_1071() {
        let folded = of(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]).fold();
        assert_eq!(folded.to_ne_bytes(), [0xdd, 0xf2]);
    }

    #[test]
    fn an_update_equals_a_sum_from_scratch() {
        let before = [0x45u8, 0x00, 0xab, 0xcd, 0x00, 0x00, 0xff, 0xff, 0x12, 0x34];
        let mut after = before;
        after[2] = 0x11;
        after[3] = 0x22;
        let old = of(&before).finish();
        let change = Sum::default()
            .sub16(u16::from_ne_bytes([before[2], before[3]]))
            .add16(u16::from_ne_bytes([after[2], after[3]]));
        assert_eq!(change.update(old), of(&after).finish());
    }

    #[test]
    fn wide_words_sum_like_narrow_ones() {
        let bytes = [1u8, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(Sum::default().add64(u64::from_ne_bytes(bytes)).fold(), of(&bytes).fold());
        let gone = Sum::default().add64(u64::from_ne_bytes(bytes)).sub64(u64::from_ne_bytes(bytes)).fold();
        assert!(gone == 0 || gone == 0xffff);
        let sum = Sum::default().add64(u64::MAX).add64(u64::from_ne_bytes(bytes));
        assert_eq!(sum.add16(0x1234).minus(sum).fold(), 0x1234);
    }
}
