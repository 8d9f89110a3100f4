//! The headers in front of an advert.

use std::net::{Ipv4Addr, Ipv6Addr};

/// IP protocol number of VRRP.
pub(super) const PROTOCOL: u8 = 112;

/// What every advert is sent with, and none is accepted without: it has not
/// been forwarded.
const HOPS: u8 = 255;

/// Network control: the class routers put what keeps the network up into.
const TRAFFIC_CLASS: u8 = 0xc0;

pub(super) const ETHERNET_LEN: usize = 14;
const IPV4_LEN: usize = 20;

/// An Ethernet header for IPv4 or IPv6.
pub(super) fn ethernet(destination: [u8; 6], source: [u8; 6], is_ipv6: bool) -> [u8; ETHERNET_LEN] {
    let mut header = [0; ETHERNET_LEN];
    header[..6].copy_from_slice(&destination);
    header[6..12].copy_from_slice(&source);
    header[12..].copy_from_slice(if is_ipv6 { &[0x86, 0xdd] } else { &[0x08, 0x00] });
    header
}

/// An IPv4 header without options, in front of `payload` bytes.
pub(super) fn ipv4(source: Ipv4Addr, destination: Ipv4Addr, id: u16, payload: usize) -> [u8; IPV4_LEN] {
    let mut header = [0; IPV4_LEN];
    header[0] = 0x45;
    header[1] = TRAFFIC_CLASS;
    header[2..4].copy_from_slice(&length(IPV4_LEN + payload));
    header[4..6].copy_from_slice(&id.to_be_bytes());
    header[8] = HOPS;
    header[9] = PROTOCOL;
    header[12..16].copy_from_slice(&source.octets());
    header[16..20].copy_from_slice(&destination.octets());
    let checksum = ones_complement(&header);
    header[10..12].copy_from_slice(&checksum);
    header
}

/// An IPv6 header in front of `payload` bytes.
pub(super) fn ipv6(source: Ipv6Addr, destination: Ipv6Addr, payload: usize) -> [u8; 40] {
    let mut header = [0; 40];
    header[0] = 0x60 | (TRAFFIC_CLASS >> 4);
    header[1] = TRAFFIC_CLASS << 4;
    header[4..6].copy_from_slice(&length(payload));
    header[6] = PROTOCOL;
    header[7] = HOPS;
    header[8..24].copy_from_slice(&source.octets());
    header[24..40].copy_from_slice(&destination.octets());
    header
}

/// Adverts fit an Ethernet frame, which their configuration is checked for.
fn length(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).unwrap_or(u16::MAX).to_be_bytes()
}

fn ones_complement(header: &[u8; IPV4_LEN]) -> [u8; 2] {
    let words = header.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    let [_, _, high, low] = (!folded).to_be_bytes();
    [high, low]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_header_sums_to_all_ones_and_says_what_it_must() {
        let header = ipv4(Ipv4Addr::new(10, 77, 0, 2), Ipv4Addr::new(224, 0, 0, 18), 0xfffe, 12);
        assert_eq!(ones_complement(&header), [0, 0], "a header with its checksum in place");
        assert_eq!(header[..2], [0x45, 0xc0]);
        assert_eq!(header[2..4], [0, 32], "total length");
        assert_eq!((header[8], header[9]), (255, 112));
        assert_eq!(header[6..8], [0, 0], "not a fragment");
    }

    #[test]
    fn an_ipv6_header_says_what_it_must() {
        let source = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
        let header = ipv6(source, Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12), 24);
        assert_eq!(header[..8], [0x6c, 0, 0, 0, 0, 24, 112, 255]);
        assert_eq!(header[8..24], source.octets());
        assert_eq!((header[24], header[39]), (0xff, 0x12));
    }
}
