#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use crate::dataplane::DropReason;

fn traced() -> Traced {
    Traced {
        ifindex: 3,
        length: 66,
        ends: Some(("192.0.2.1".parse().unwrap(), "192.0.2.10".parse().unwrap())),
        ports: (40000, 80),
        protocol: 6,
        tcp_flags: 0x12,
        fate: Fate::Dropped,
        reason: Some(DropReason::NoListener),
        to_port: None,
    }
}

fn words(traced: &Traced) -> String {
    TracedView::new(traced, "T".to_owned(), "eth0".to_owned()).in_words(Screen::default())
}

#[test]
fn a_packet_has_a_line() {
    assert_eq!(
        words(&traced()),
        "T  eth0  TCP 192.0.2.1:40000 → 192.0.2.10:80 SYN ACK, 66 bytes  dropped: no_listener\n"
    );
    let echo = Traced { protocol: 1, ports: (0, 0), tcp_flags: 0, fate: Fate::Returned, reason: None, ..traced() };
    assert_eq!(words(&echo), "T  eth0  ICMP 192.0.2.1 → 192.0.2.10, 66 bytes  returned\n");
    let other = Traced { ends: None, protocol: 0, fate: Fate::Passed, ..echo };
    assert_eq!(words(&other), "T  eth0  no IP packet, 66 bytes  passed\n");
}

#[test]
fn networks_and_protocols_are_read_or_refused() {
    assert_eq!(network("10.0.0.0/8"), Ok(("10.0.0.0".parse().unwrap(), 8)));
    assert_eq!(network("2001:db8::1"), Ok(("2001:db8::1".parse().unwrap(), 128)));
    for text in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "::/x", "10.0.0.0/-1"] {
        assert!(network(text).is_err(), "{text}");
    }
    assert_eq!((protocol("tcp"), protocol("ICMP6"), protocol("47")), (Ok(6), Ok(58), Ok(47)));
    for text in ["", "0", "256", "http"] {
        assert!(protocol(text).is_err(), "{text}");
    }
}
