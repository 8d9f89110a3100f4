//! The IPv4 header, which raw sockets hand out in front of the message.

use core::net::Ipv4Addr;

use super::checksum::PROTOCOL;
use super::refusal::Refusal;

/// What the header says about the message behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ipv4Header {
    /// Who sent it.
    pub source: Ipv4Addr,
    /// Whom to.
    pub destination: Ipv4Addr,
    /// The TTL it arrived with.
    pub hops: u8,
}

/// Parts a datagram into header and message. The header is as long as it says,
/// and the message ends where the header says: what a network pads a short
/// frame with is not part of it.
///
/// # Errors
/// [`Refusal::IpHeader`] if this is no whole IPv4 datagram of VRRP.
pub fn strip_ipv4(datagram: &[u8]) -> Result<(Ipv4Header, &[u8]), Refusal> {
    let fixed: &[u8; 20] = datagram.first_chunk().ok_or(Refusal::IpHeader)?;
    let header_len = usize::from(fixed[0] & 0x0f) * 4;
    let total_len = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
    let is_fragment = u16::from_be_bytes([fixed[6], fixed[7]]) & 0x3fff != 0;
    if fixed[0] >> 4 != 4 || header_len < fixed.len() || is_fragment || fixed[9] != PROTOCOL {
        return Err(Refusal::IpHeader);
    }
    let message = datagram.get(header_len..total_len).ok_or(Refusal::IpHeader)?;
    let header = Ipv4Header {
        source: Ipv4Addr::new(fixed[12], fixed[13], fixed[14], fixed[15]),
        destination: Ipv4Addr::new(fixed[16], fixed[17], fixed[18], fixed[19]),
        hops: fixed[8],
    };
    Ok((header, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header of `words` words in front of eight bytes, and four of padding.
    fn datagram(words: u8) -> Vec<u8> {
        let header_len = usize::from(words) * 4;
        let mut bytes = vec![0; header_len];
        bytes[0] = 0x40 | words;
        bytes[3] = words * 4 + 8;
        bytes[8] = 255;
        bytes[9] = 112;
        bytes[12..20].copy_from_slice(&[192, 0, 2, 1, 224, 0, 0, 18]);
        bytes.extend([0x31, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0]);
        bytes
    }

    #[test]
    fn the_header_is_as_long_as_it_says_and_padding_is_cut_off() {
        for words in [5, 6, 15] {
            let bytes = datagram(words);
            let header = Ipv4Header {
                source: Ipv4Addr::new(192, 0, 2, 1),
                destination: Ipv4Addr::new(224, 0, 0, 18),
                hops: 255,
            };
            assert_eq!(strip_ipv4(&bytes), Ok((header, &[0x31, 2, 3, 4, 5, 6, 7, 8][..])), "{words}");
        }
    }

    #[test]
    fn what_is_no_whole_datagram_of_vrrp_is_refused() {
        let with = |at: usize, value: u8| {
            let mut bytes = datagram(5);
            bytes[at] = value;
            strip_ipv4(&bytes).err()
        };
        for (what, at, value) in [
            ("another version", 0, 0x65),
            ("a header shorter than any", 0, 0x44),
            ("a header longer than the datagram", 3, 19),
            ("a total length beyond the end", 3, 33),
            ("more fragments", 6, 0x20),
            ("a later fragment", 7, 1),
            ("another protocol", 9, 17),
        ] {
            assert_eq!(with(at, value), Some(Refusal::IpHeader), "{what}");
        }
        assert_eq!(with(6, 0x40), None, "don't fragment is fine");
        for length in 0..28 {
            assert_eq!(strip_ipv4(&datagram(5)[..length]), Err(Refusal::IpHeader), "{length}");
        }
    }
}
