#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{net::IpAddr, os::unix::net::UnixDatagram};

use proptest::prelude::*;
use socket2::SockRef;

use super::*;
use crate::raw::{
    filter::Filter,
    packets::{Ends, Words, payload},
};

const FIRST: u16 = 40_960;

fn any_ear() -> impl Strategy<Value = Ear> {
    let protocols = vec![Protocol::Tcp, Protocol::Udp, Protocol::Icmp, Protocol::Sctp];
    let families = vec![Family::V4, Family::V6];
    (prop::sample::select(protocols), prop::sample::select(families)).prop_map(|(protocol, family)| Ear {
        protocol,
        family,
        first: FIRST,
    })
}

fn any_from() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![any::<([u8; 4], u16)>().prop_map(SocketAddr::from), any::<([u8; 16], u16)>().prop_map(SocketAddr::from),]
}

/// What a member answers to a probe of this port or sequence number and token, in the
/// words of the protocols; with an IP header in front where a socket has one.
fn answer(ear: Ear, theirs: u16, lane: u16, token: u64, accepts: bool) -> Vec<u8> {
    let low = u32::try_from(token & 0xffff_ffff).unwrap();
    let ours = FIRST + lane;
    let ports = [theirs.to_be_bytes(), ours.to_be_bytes()].concat();
    let body = match ear.protocol {
        Protocol::Tcp => {
            let flags = if accepts { 0x12 } else { 0x14 };
            [&ports[..], &[9; 4], &low.to_be_bytes(), &[0x50, flags, 0, 0, 0, 0, 0, 0]].concat()
        }
        Protocol::Udp => b"hello".to_vec(),
        Protocol::Icmp => {
            // An echo reply is the request with another type.
            let words = Words { ours: FIRST, theirs: lane, token, random: 0 };
            let mut echo = payload(Protocol::Icmp, ear.family, Ends::Kernel, words).as_slice().to_vec();
            echo[0] = if ear.family == Family::V4 { 0 } else { 129 };
            echo
        }
        Protocol::Sctp => {
            let chunk: &[u8] =
                if accepts { &[2, 0, 0, 20, 1, 2, 3, 4, 0, 0, 9, 9, 0, 1, 0, 1, 0, 0, 0, 1] } else { &[6, 0, 0, 4] };
            [&ports[..], &low.to_be_bytes(), &[0; 4], chunk].concat()
        }
    };
    if ear.family == Family::V6 || ear.protocol == Protocol::Udp {
        return body;
    }
    // With an option, so that its length is looked at.
    let mut header = vec![0; 24];
    header[0] = 0x46;
    header[9] = ear.protocol.number(Family::V4);
    [header, body].concat()
}

/// Which probe the answer above is to.
fn key(ear: Ear, from: SocketAddr, theirs: u16, lane: u16) -> Key {
    let (port, lane) = match ear.protocol {
        Protocol::Tcp | Protocol::Sctp => (theirs, lane),
        Protocol::Udp => (from.port(), FIRST),
        Protocol::Icmp => (0, lane),
    };
    Key { protocol: ear.protocol, ip: from.ip().to_canonical(), port, lane, delivery: Delivery::Routed }
}

fn token(ear: Ear, token: u64) -> u64 {
    match ear.protocol {
        Protocol::Tcp | Protocol::Sctp => token & 0xffff_ffff,
        Protocol::Udp => 0,
        Protocol::Icmp => token,
    }
}

/// Whether the kernel lets it through that filter. Sockets of the Unix domain have filters
/// too.
fn passes(filter: &Filter, packet: &[u8]) -> bool {
    let (sender, receiver) = UnixDatagram::pair().unwrap();
    SockRef::from(&receiver).attach_filter(&filter.program()).unwrap();
    receiver.set_nonblocking(true).unwrap();
    // Where it does not pass, the kernel says so to neither side.
    let _ = sender.send(packet);
    receiver.recv(&mut [0; 256]).is_ok()
}

fn filter(ear: Ear) -> Option<Filter> {
    let row = FIRST..=FIRST + PORTS - 1;
    match ear.protocol {
        Protocol::Tcp => Some(Filter::tcp(ear.family, &row)),
        Protocol::Sctp => Some(Filter::sctp(ear.family, &row)),
        Protocol::Icmp => Some(Filter::icmp(ear.family, icmp::Types::of(ear.family), FIRST)),
        Protocol::Udp => None,
    }
}

proptest! {
    #[test]
    fn an_answer_is_of_the_probe_it_answers_and_passes_the_filter(
        ear in any_ear(), from in any_from(), theirs: u16, lane in 0..PORTS, number: u64, accepts: bool,
    ) {
        let packet = answer(ear, theirs, lane, number, accepts);
        let meaning = of_packet(ear, from, &packet).unwrap();
        prop_assert_eq!((meaning.key, meaning.token), (key(ear, from, theirs, lane), token(ear, number)));
        let refusable = matches!(ear.protocol, Protocol::Tcp | Protocol::Sctp);
        prop_assert_eq!(matches!(meaning.outcome, Outcome::Answers(_)), accepts || !refusable);
        prop_assert!(filter(ear).is_none_or(|filter| passes(&filter, &packet)));
    }

    #[test]
    fn an_answer_to_another_port_or_identifier_is_stopped_by_the_filter(
        ear in any_ear(), theirs: u16, lane in PORTS..=u16::MAX - FIRST, number: u64,
    ) {
        let mut packet = answer(ear, theirs, lane, number, true);
        if ear.protocol == Protocol::Icmp {
            let identifier = if ear.family == Family::V4 { 28 } else { 4 };
            packet[identifier] ^= 0x80;
        }
        if let Some(filter) = filter(ear) {
            prop_assert!(of_packet(ear, "192.0.2.1:0".parse().unwrap(), &packet).is_none());
            prop_assert!(!passes(&filter, &packet));
        }
    }

    #[test]
    fn an_answer_with_another_number_or_port_is_of_no_probe_or_of_another(
        ear in any_ear(), theirs: u16, lane in 0..PORTS, number: u64, bit in 0usize..8, byte in 0usize..24,
    ) {
        let from: SocketAddr = "[2001:db8::1]:53".parse().unwrap();
        // Ports and acknowledgment; ports and tag; identifier, sequence and random bytes.
        let matters = match ear.protocol {
            Protocol::Tcp => (0..4).contains(&byte) || (8..12).contains(&byte),
            Protocol::Sctp => byte < 8,
            Protocol::Icmp => byte >= 4,
            Protocol::Udp => false,
        };
        if matters {
            let mut packet = answer(ear, theirs, lane, number, true);
            let header = if ear.family == Family::V4 { 24 } else { 0 };
            packet[header + byte] ^= 1 << bit;
            if let Some(meaning) = of_packet(ear, from, &packet) {
                let same = (meaning.key, meaning.token) == (key(ear, from, theirs, lane), token(ear, number));
                prop_assert!(!same, "{:?}", meaning);
            }
        }
    }

    #[test]
    fn any_bytes_from_anybody_are_read_without_a_panic_and_are_of_a_probe_of_that_sender(
        ear in any_ear(), from in any_from(), bytes in prop::collection::vec(any::<u8>(), 0..128),
    ) {
        if let Some(meaning) = of_packet(ear, from, &bytes) {
            prop_assert_eq!(meaning.key.ip, from.ip().to_canonical());
            prop_assert!(ear.protocol == Protocol::Icmp || meaning.key.lane < PORTS || ear.protocol == Protocol::Udp);
        }
        if let Some((key, _)) = of_error(ear, from, &bytes) {
            prop_assert_eq!(key.ip, from.ip().to_canonical());
        }
    }

    #[test]
    fn whatever_is_cut_off_an_answer_it_is_read_without_a_panic(ear in any_ear(), number: u64, end in 0usize..64) {
        let packet = answer(ear, 80, 3, number, true);
        let _ = of_packet(ear, "[2001:db8::1]:53".parse().unwrap(), &packet[..end.min(packet.len())]);
    }

    #[test]
    fn a_packet_that_comes_back_is_of_the_probe_it_was_sent_for(
        ear in any_ear(), theirs: u16, lane in 0..PORTS, number: u64,
    ) {
        let ip: IpAddr = "2001:db8::1".parse().unwrap();
        let words = match ear.protocol {
            Protocol::Icmp => Words { ours: FIRST, theirs: lane, token: number, random: 1 },
            _ => Words { ours: FIRST + lane, theirs, token: number, random: 1 },
        };
        let sent = payload(ear.protocol, ear.family, Ends::Kernel, words);
        let to = SocketAddr::new(ip, theirs);
        let (found, carried) = of_error(ear, to, sent.as_slice()).unwrap();
        prop_assert_eq!(found, key(ear, to, theirs, lane));
        let number = token(ear, number);
        prop_assert_eq!(carried, (ear.protocol != Protocol::Udp).then_some(number));
    }
}

#[test]
fn an_init_of_which_too_little_comes_back_is_of_no_probe() {
    let ear = Ear { protocol: Protocol::Sctp, family: Family::V4, first: FIRST };
    let words = Words { ours: FIRST, theirs: 80, token: 7, random: 1 };
    let init = payload(Protocol::Sctp, Family::V4, Ends::Kernel, words);
    let to = "192.0.2.1:0".parse().unwrap();
    assert!(of_error(ear, to, &init.as_slice()[..20]).is_some());
    for length in 0..20 {
        assert!(of_error(ear, to, &init.as_slice()[..length]).is_none(), "{length}");
    }
}
