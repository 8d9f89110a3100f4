#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;

use super::*;
use crate::family::{Fragment, Network};

/// The checksum of a packet from scratch (RFC 9260 appendix A).
fn checksum(packet: &[u8]) -> u32 {
    let mut zeroed = packet.to_vec();
    zeroed[8..12].fill(0);
    crc32c::crc32c(&zeroed)
}

fn field(packet: &[u8]) -> u32 {
    u32::from_le_bytes(packet[8..12].try_into().unwrap())
}

fn changed(mut packet: Vec<u8>, ports: [u8; 4]) -> Vec<u8> {
    let network = Network { protocol: 132, offset: 0, length: packet.len(), fragment: Fragment::Whole };
    let ports = u64::from(u32::from_ne_bytes(ports));
    change_ports(&mut Packet::from_slice(&mut packet), Facts::of_network(&network), ports);
    packet
}

proptest! {
    #[test]
    fn a_checksum_is_right_after_its_ports_changed_and_a_wrong_one_is_as_wrong(
        mut packet in prop::collection::vec(any::<u8>(), 16..2000),
        ports: [u8; 4],
        wrong: u32,
    ) {
        let right = checksum(&packet);
        packet[8..12].copy_from_slice(&right.to_le_bytes());
        let after = changed(packet.clone(), ports);
        prop_assert_eq!(&after[..4], &ports[..]);
        prop_assert_eq!(&after[12..], &packet[12..]);
        prop_assert_eq!(field(&after), checksum(&after));
        packet[8..12].copy_from_slice(&(right ^ wrong).to_le_bytes());
        let after = changed(packet, ports);
        prop_assert_eq!(field(&after), checksum(&after) ^ wrong);
    }

    #[test]
    fn any_bytes_are_a_packet_or_none(bytes in prop::collection::vec(any::<u8>(), 0..40), length in 0usize..60, whole: bool) {
        let mut bytes = bytes;
        let flags = signs(&Packet::from_slice(&mut bytes), 0, length, whole);
        prop_assert!(flags.is_none() || length >= 16 && bytes.len() >= 16);
    }
}

fn flags_of(kind: u8, claimed: u16, length: usize, whole: bool) -> Option<u8> {
    let mut bytes = [0u8; 64];
    bytes[12] = kind;
    bytes[14..16].copy_from_slice(&claimed.to_be_bytes());
    signs(&Packet::from_slice(&mut bytes), 0, length, whole)
}

#[test]
fn chunks_stand_for_the_flags_of_tcp() {
    const ACK: u8 = tcp_flags::ACK;
    let expected = [(1, tcp_flags::SYN), (2, tcp_flags::SYN | ACK), (6, tcp_flags::RST)];
    let ends = [7, 8, 14].map(|kind| (kind, tcp_flags::FIN));
    for (kind, flags) in expected.into_iter().chain(ends) {
        assert_eq!(flags_of(kind, 20, 32, true), Some(flags), "{kind}");
    }
    // DATA, SACK, HEARTBEAT and its answer, ERROR, COOKIE ECHO and ACK, and what has no name yet.
    for kind in [0, 3, 4, 5, 9, 10, 11, 15, 16, 17, 22, 0x80, 0xc1, 0xff] {
        assert_eq!(flags_of(kind, 20, 32, true), Some(ACK), "{kind}");
    }
}

#[test]
fn a_chunk_fits_its_packet_and_an_init_is_alone() {
    assert_eq!(flags_of(0, 21, 32, true), None);
    assert_eq!(flags_of(0, 21, 32, false), Some(tcp_flags::ACK));
    assert_eq!(flags_of(0, 3, 32, true), None);
    assert_eq!(flags_of(0, 4, 15, true), None);
    // Padding is none of a chunk's length.
    assert_eq!(flags_of(1, 17, 32, true), Some(tcp_flags::SYN));
    assert_eq!(flags_of(1, 16, 32, true), None);
    assert_eq!(flags_of(1, 20, 36, true), None);
    assert_eq!(flags_of(0, 16, 32, true), Some(tcp_flags::ACK));
}
