#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use etherparse::{TcpHeader, TcpHeaderSlice};
use proptest::prelude::*;

use super::*;

fn written(header: &TcpHeader) -> Vec<u8> {
    let mut bytes = Vec::new();
    header.write(&mut bytes).unwrap();
    bytes
}

proptest! {
    #[test]
    fn a_syn_is_what_another_parser_takes_for_one(
        source: [u8; 4], to: [u8; 4], ports: (u16, u16), sequence: u32,
    ) {
        let syn = syn(Ends::V4 { source: source.into(), to: to.into() }, ports, sequence);
        let header = TcpHeaderSlice::from_slice(&syn).unwrap().to_header();
        prop_assert_eq!((header.source_port, header.destination_port), ports);
        prop_assert_eq!((header.sequence_number, header.acknowledgment_number), (sequence, 0));
        prop_assert!(header.syn && !header.ack && !header.rst && !header.fin && !header.ece && !header.cwr);
        prop_assert_eq!(header.options_iterator().next(), Some(Ok(etherparse::TcpOptionElement::MaximumSegmentSize(1460))));
        prop_assert_eq!(header.checksum, header.calc_checksum_ipv4_raw(source, to, &[]).unwrap());
    }

    #[test]
    fn a_reset_is_what_another_parser_takes_for_one(source: [u8; 16], to: [u8; 16], ports: (u16, u16), number: u32) {
        let reset = reset(Ends::V6 { source: source.into(), to: to.into() }, ports, number);
        let header = TcpHeaderSlice::from_slice(&reset).unwrap().to_header();
        prop_assert_eq!((header.source_port, header.destination_port, header.sequence_number), (ports.0, ports.1, number));
        prop_assert!(header.rst && !header.syn && !header.ack);
        prop_assert_eq!(header.checksum, header.calc_checksum_ipv6_raw(source, to, &[]).unwrap());
    }

    #[test]
    fn a_syn_ack_accepts_and_a_reset_that_acknowledges_refuses_and_nothing_else_answers(
        ports: (u16, u16), acknowledged: u32, syn: bool, ack: bool, rst: bool, fin: bool,
        options in prop::collection::vec(Just(1u8), 0..=40),
    ) {
        let mut header = TcpHeader::new(ports.0, ports.1, 7, 100);
        (header.syn, header.ack, header.rst, header.fin) = (syn, ack, rst, fin);
        header.acknowledgment_number = acknowledged;
        header.set_options_raw(&options).unwrap();
        let wanted = (ack && (syn != rst)).then_some(Segment { from: ports.0, to: ports.1, acknowledged, accepts: syn });
        prop_assert_eq!(read(&written(&header)), wanted);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        prop_assert!(bytes.len() >= 20 || read(&bytes).is_none());
        prop_assert_eq!(bytes.len() >= 8, read_sent(&bytes).is_some());
    }

    #[test]
    fn what_comes_back_of_a_syn_is_known_by_its_first_eight_bytes(ports: (u16, u16), sequence: u32) {
        let syn = syn(Ends::Kernel, ports, sequence);
        prop_assert_eq!(read_sent(&syn[..8]), Some(Sent { from: ports.0, to: ports.1, sequence }));
    }
}
