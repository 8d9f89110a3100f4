#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;

use super::*;

fn sketch(protocol: SketchedProtocol, source: &str, destination: &str) -> PacketSketch {
    let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
    PacketSketch { protocol, source, source_port: 40_000, destination, destination_port: 80, tcp_flags: 2, payload: 0 }
}

const US: Mac = Mac([2, 0, 0, 0, 0, 9]);

#[test]
fn what_is_drawn_is_what_was_asked_for() {
    let stations = "02:00:00:00:00:01 → 02:00:00:00:00:09";
    for (protocol, source, destination, words) in [
        (SketchedProtocol::Tcp, "192.0.2.1", "192.0.2.10", "TCP 192.0.2.1:40000 → 192.0.2.10:80 SYN, 54 bytes"),
        (SketchedProtocol::Udp, "2001:db8::1", "2001:db8::a", "UDP [2001:db8::1]:40000 → [2001:db8::a]:80, 62 bytes"),
        (SketchedProtocol::Sctp, "192.0.2.1", "192.0.2.10", "SCTP 192.0.2.1:40000 → 192.0.2.10:80, 66 bytes"),
        (SketchedProtocol::Icmp, "192.0.2.1", "192.0.2.10", "ICMP 192.0.2.1 → 192.0.2.10 type 8 code 0, 42 bytes"),
        (
            SketchedProtocol::Icmp,
            "2001:db8::1",
            "2001:db8::a",
            "ICMPv6 2001:db8::1 → 2001:db8::a type 128 code 0, 62 bytes",
        ),
    ] {
        let frame = drawn(&sketch(protocol, source, destination), US).unwrap();
        assert_eq!(in_words(&frame), format!("{stations} {words}"));
        assert_eq!(from_hex(&to_hex(&frame)), Some(frame));
    }
}

#[test]
fn two_families_make_no_packet() {
    let reason = drawn(&sketch(SketchedProtocol::Tcp, "192.0.2.1", "2001:db8::a"), US).unwrap_err();
    assert!(reason.contains("two families"), "{reason}");
}

#[test]
fn packets_in_packets_are_told_from_the_outermost_on() {
    let inner = drawn(&sketch(SketchedProtocol::Tcp, "192.0.2.1", "192.0.2.10"), US).unwrap();
    let outer = PacketBuilder::ethernet2(LAST_HOP, US.0).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
    let mut gue = Vec::new();
    outer.udp(50_000, GUE_PORT).write_to_vec(&mut gue, &inner[14..]).unwrap();
    let words = in_words(&gue);
    assert!(
        words.ends_with("UDP 10.0.0.1:50000 → 10.0.0.2:6080 GUE [TCP 192.0.2.1:40000 → 192.0.2.10:80 SYN], 82 bytes"),
        "{words}"
    );
    let mut ipip = Vec::new();
    let outer = PacketBuilder::ethernet2(LAST_HOP, US.0).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
    outer.write_to_vec(&mut ipip, IpNumber::IPV4, &inner[14..]).unwrap();
    let words = in_words(&ipip);
    assert!(words.contains("IP 10.0.0.1 → 10.0.0.2 IP [TCP 192.0.2.1:40000"), "{words}");
}

#[test]
fn digits_that_are_none_are_refused() {
    for digits in ["0", "0g", "000", "é0"] {
        assert_eq!(from_hex(digits), None, "{digits}");
    }
    assert_eq!(from_hex("0aFf"), Some(vec![0x0a, 0xff]));
}

proptest! {
    #[test]
    fn words_are_found_for_any_bytes(mut frame in proptest::collection::vec(any::<u8>(), 0..200), kind in 0..5usize) {
        // Most random bytes are no IP packet; these get further.
        if let Some(start) = frame.get_mut(12..24) {
            let kinds = [[8, 0, 0x45], [0x86, 0xdd, 0x60], [0x81, 0, 0], [8, 0, 0x45], [8, 6, 0]];
            start[..3].copy_from_slice(&kinds[kind]);
            start[11] = if kind == 3 { 4 } else { start[11] };
        }
        let end = format!("{} bytes", frame.len());
        prop_assert!(in_words(&frame).ends_with(&end));
    }
}
