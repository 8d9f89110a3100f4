#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use proptest::prelude::*;

use super::*;
use crate::raw::tests::crc;

const MEMBER: [u8; 6] = [2, 0, 0, 0, 0, 9];
const OURS: [u8; 6] = [2, 0, 0, 0, 0, 1];

fn any_protocol() -> impl Strategy<Value = Protocol> {
    prop::sample::select(vec![Protocol::Tcp, Protocol::Udp, Protocol::Icmp, Protocol::Sctp])
}

fn any_ends() -> impl Strategy<Value = Ends> {
    prop_oneof![
        any::<([u8; 4], [u8; 4])>().prop_map(|(source, to)| Ends::V4 { source: source.into(), to: to.into() }),
        any::<([u8; 16], [u8; 16])>().prop_map(|(source, to)| Ends::V6 { source: source.into(), to: to.into() }),
    ]
}

fn any_words() -> impl Strategy<Value = Words> {
    any::<(u16, u16, u64, u32)>().prop_map(|(ours, theirs, token, random)| Words { ours, theirs, token, random })
}

/// Whether another parser finds nothing wrong with the checksum.
fn is_intact(sliced: &SlicedPacket<'_>, ends: Ends) -> bool {
    let transport = sliced.transport.as_ref();
    match (transport, ends) {
        (Some(TransportSlice::Tcp(tcp)), Ends::V4 { source, to }) => {
            tcp.checksum() == tcp.calc_checksum_ipv4(source.octets(), to.octets()).unwrap()
        }
        (Some(TransportSlice::Tcp(tcp)), Ends::V6 { source, to }) => {
            tcp.checksum() == tcp.calc_checksum_ipv6(source.octets(), to.octets()).unwrap()
        }
        (Some(TransportSlice::Udp(udp)), Ends::V4 { source, to }) => {
            udp.checksum() == udp.to_header().calc_checksum_ipv4_raw(source.octets(), to.octets(), &[]).unwrap()
        }
        (Some(TransportSlice::Udp(udp)), Ends::V6 { source, to }) => {
            udp.checksum() == udp.to_header().calc_checksum_ipv6_raw(source.octets(), to.octets(), &[]).unwrap()
        }
        (Some(TransportSlice::Icmpv4(icmp)), _) => icmp.checksum() == icmp.icmp_type().calc_checksum(icmp.payload()),
        (Some(TransportSlice::Icmpv6(icmp)), Ends::V6 { source, to }) => {
            icmp.is_checksum_valid(source.octets(), to.octets())
        }
        _ => {
            let payload = sliced.net.as_ref().unwrap().ip_payload_ref().unwrap().payload;
            let mut zeroed = payload.to_vec();
            zeroed[8..12].fill(0);
            payload[8..12] == crc(&zeroed).to_le_bytes()
        }
    }
}

proptest! {
    #[test]
    fn a_frame_is_what_another_parser_takes_for_one(protocol in any_protocol(), ends in any_ends(), words in any_words()) {
        let (family, source, to) = match ends {
            Ends::V4 { source, to } => (Family::V4, IpAddr::V4(source), IpAddr::V4(to)),
            Ends::V6 { source, to } => (Family::V6, IpAddr::V6(source), IpAddr::V6(to)),
            Ends::Kernel => unreachable!(),
        };
        let payload = payload(protocol, family, ends, words);
        let frame = frame(MEMBER, OURS, ends, protocol.number(family), &payload).unwrap();
        let sliced = SlicedPacket::from_ethernet(frame.as_slice()).unwrap();
        let ethernet = sliced.link.as_ref().unwrap().to_header().unwrap().ethernet2().unwrap();
        prop_assert_eq!((ethernet.destination, ethernet.source), (MEMBER, OURS));
        match sliced.net.as_ref().unwrap() {
            NetSlice::Ipv4(v4) => {
                let header = v4.header();
                prop_assert_eq!((IpAddr::V4(header.source_addr()), IpAddr::V4(header.destination_addr())), (source, to));
                prop_assert_eq!(header.protocol().0, protocol.number(family));
                prop_assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum());
            }
            NetSlice::Ipv6(v6) => {
                let header = v6.header();
                prop_assert_eq!((IpAddr::V6(header.source_addr()), IpAddr::V6(header.destination_addr())), (source, to));
                prop_assert_eq!(header.next_header().0, protocol.number(family));
            }
            NetSlice::Arp(_) => prop_assert!(false),
        }
        prop_assert_eq!(sliced.net.as_ref().unwrap().ip_payload_ref().unwrap().payload, payload.as_slice());
        prop_assert!(is_intact(&sliced, ends));
    }

    #[test]
    fn a_farewell_carries_the_number_that_the_member_knows(ends in any_ends(), words in any_words(), tag: u32) {
        let abort = farewell(ends, words, Some(tag));
        prop_assert_eq!(&abort.as_slice()[4..8], &tag.to_be_bytes());
        let reset = farewell(ends, words, None);
        let low = u32::try_from(words.token & 0xffff_ffff).unwrap();
        prop_assert_eq!(&reset.as_slice()[4..8], &low.to_be_bytes());
    }
}

#[test]
fn a_checksum_of_zero_is_sent_as_the_other_zero() {
    // The sum of these is 0xffff: 17 + 8 + 8 + the port.
    let ends = Ends::V4 { source: Ipv4Addr::UNSPECIFIED, to: Ipv4Addr::UNSPECIFIED };
    assert_eq!(datagram(ends, 0xffff - 33, 0)[6..], [0xff, 0xff]);
}
