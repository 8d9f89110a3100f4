#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use crate::control::view::explain::Outcome;

fn explanation() -> ExplanationView {
    ExplanationView {
        packet: "TCP 192.0.2.1:1 → 192.0.2.10:80 SYN, 54 bytes".to_owned(),
        verdict: Outcome::Forwarded,
        reason: None,
        meaning: None,
        listener: Some("web/http".to_owned()),
        pool: Some("web/app".to_owned()),
        member: Some("web/app/m1".to_owned()),
        forward_mode: Some("nat".to_owned()),
        leaves_by: Some("eth1".to_owned()),
        sent: Some("TCP 192.0.2.10:20000 → 10.0.0.1:8080 SYN, 54 bytes".to_owned()),
        sent_frame: None,
        steps: vec!["it belongs to no flow, so one would begin".to_owned(), "a flow is opened".to_owned()],
    }
}

#[test]
fn a_packet_is_told_with_its_verdict_first_and_the_way_to_it_last() {
    let found = ExplainView { interface: "eth0".to_owned(), packets: vec![explanation()] };
    assert_eq!(
        one(&found, &found.packets[0], Screen::default()),
        "packet        TCP 192.0.2.1:1 → 192.0.2.10:80 SYN, 54 bytes, in by eth0\n\
         verdict       forwarded by eth1\n\
         sent          TCP 192.0.2.10:20000 → 10.0.0.1:8080 SYN, 54 bytes\n\
         listener      web/http\n\
         pool          web/app\n\
         member        web/app/m1\n\
         forward_mode  nat\n\
         steps         it belongs to no flow, so one would begin\n\
        \x20             a flow is opened\n"
    );
}

#[test]
fn several_have_a_line_each() {
    let dropped = ExplanationView {
        verdict: Outcome::Dropped,
        reason: Some("no_listener".to_owned()),
        leaves_by: None,
        listener: None,
        member: None,
        ..explanation()
    };
    let found = ExplainView { interface: "eth0".to_owned(), packets: vec![explanation(), dropped] };
    let text = several(&found, Screen::default());
    assert_eq!(text.lines().count(), 3);
    assert!(text.lines().nth(2).unwrap().ends_with("dropped: no_listener  -         -"), "{text}");
}

#[test]
fn places_have_an_address_and_may_have_a_port() {
    for (text, address, port) in [
        ("192.0.2.1", "192.0.2.1", None),
        ("192.0.2.1:80", "192.0.2.1", Some(80)),
        ("2001:db8::1", "2001:db8::1", None),
        ("[2001:db8::1]", "2001:db8::1", None),
        ("[2001:db8::1]:53", "2001:db8::1", Some(53)),
    ] {
        assert_eq!(place(text), Ok(Place { address: address.parse().unwrap(), port }));
    }
    for text in ["", "web", "192.0.2.1:", "192.0.2.1:65536", "[::1", "::1]:5"] {
        assert!(place(text).is_err(), "{text}");
    }
}
