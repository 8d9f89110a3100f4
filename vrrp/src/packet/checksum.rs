//! The Internet checksum, over the message and over the pseudo headers.

use core::net::IpAddr;

/// The protocol number of VRRP.
pub(crate) const PROTOCOL: u8 = 112;

/// A sum of 16-bit words that is not folded yet. The messages are far too short
/// for 32 bits to overflow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sum(u32);

impl Sum {
    /// The sum of nothing.
    pub(crate) const ZERO: Self = Self(0);

    /// With those bytes; an odd last one is the high half of a word.
    pub(crate) fn over(self, bytes: &[u8]) -> Self {
        let words = bytes.chunks(2).map(|word| match *word {
            [high, low] => u32::from(u16::from_be_bytes([high, low])),
            [high] => u32::from(high) << 8,
            _ => 0,
        });
        Self(words.fold(self.0, |sum, word| sum.wrapping_add(word)))
    }

    /// With the pseudo header of a message of `length` bytes. Both families
    /// have the same fields; only the width of some differs, which a sum does
    /// not see.
    pub(crate) fn over_pseudo_header(self, source: IpAddr, destination: IpAddr, length: usize, protocol: u8) -> Self {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        self.over_address(source).over_address(destination).over(&length.to_be_bytes()).over(&[0, protocol])
    }

    fn over_address(self, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => self.over(&address.octets()),
            IpAddr::V6(address) => self.over(&address.octets()),
        }
    }

    /// What belongs into the checksum field, if that was zero in the sum.
    pub(crate) fn checksum(self) -> u16 {
        let once = (self.0 & 0xffff) + (self.0 >> 16);
        let twice = (once & 0xffff) + (once >> 16);
        !u16::try_from(twice).unwrap_or(u16::MAX)
    }

    /// Whether a sum that includes the checksum field is that of an intact
    /// message.
    pub(crate) fn is_intact(self) -> bool {
        self.checksum() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_the_one_of_rfc_1071() {
        let sum = Sum::ZERO.over(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.checksum(), !0xddf2);
        assert!(sum.over(&(!0xddf2_u16).to_be_bytes()).is_intact());
    }

    #[test]
    fn an_odd_byte_is_the_high_half_of_a_word() {
        assert_eq!(Sum::ZERO.over(&[1, 2, 3]), Sum::ZERO.over(&[1, 2, 3, 0]));
    }

    #[test]
    fn the_longest_message_does_not_overflow() {
        assert_eq!(Sum::ZERO.over(&[0xff; 65_536]).checksum(), 0);
    }
}
