#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::Duration;

use super::*;
use crate::{
    config::{Config, Mistake, parse},
    model::Pool,
};

/// A pool with some lines more, its persistence apart, behind a VIP.
fn file(vip: &str, protocol: &str, lines: &str, persistence: &str) -> String {
    let member = if vip.contains(':') { "2001:db8::21" } else { "198.51.100.21" };
    format!(
        "[dataplane]\ninterfaces = [\"eth0\"]\n[[loadbalancer]]\nname = \"web\"\nvip_address = \"{vip}\"\n\
         [[loadbalancer.listener]]\nprotocol = \"{protocol}\"\nprotocol_port = 80\ndefault_pool = \"app\"\n\
         [[loadbalancer.pool]]\nname = \"app\"\nprotocol = \"{protocol}\"\n{lines}\n{persistence}\n\
         [[loadbalancer.pool.member]]\naddress = \"{member}\"\nprotocol_port = 80\n"
    )
}

fn read(text: &str) -> Config {
    parse(text, "x.toml").unwrap_or_else(|refused| panic!("{refused}\n{text}"))
}

fn pool(vip: &str, lines: &str, persistence: &str) -> Pool {
    read(&file(vip, "TCP", lines, persistence)).model.load_balancers()[0].pools[0].clone()
}

fn mistake(vip: &str, lines: &str, persistence: &str) -> Mistake {
    let refused = parse(&file(vip, "TCP", lines, persistence), "x.toml").unwrap_err();
    assert_eq!(refused.mistakes.len(), 1, "{refused}");
    refused.mistakes[0].clone()
}

const V4: &str = "192.0.2.10";
const V6: &str = "2001:db8::10";

#[test]
fn every_mode_and_every_algorithm_is_read() {
    for mode in ForwardMode::ALL {
        for algorithm in Algorithm::ALL {
            let lines = format!("forward_mode = \"{}\"\nlb_algorithm = \"{}\"", mode.name(), algorithm.name());
            let pool = pool(V4, &lines, "");
            assert_eq!((pool.forward_mode, pool.lb_algorithm), (mode, algorithm));
        }
    }
}

#[test]
fn a_pool_has_defaults() {
    let pool = pool(V4, "", "");
    assert_eq!((pool.forward_mode, pool.lb_algorithm), (ForwardMode::Nat, Algorithm::SourceIpPort));
    assert_eq!((pool.session_persistence, pool.mss_clamp), (None, MssClamp::Off));
    assert_eq!(pool.transition_hold.get(), Duration::from_secs(300));
}

#[test]
fn persistence_is_octavias_with_what_suits_the_vip() {
    let of = |vip, fields: &str| {
        let pool = pool(vip, "", &format!("session_persistence = {{ type = \"SOURCE_IP\"{fields} }}"));
        let persistence = pool.session_persistence.unwrap();
        (persistence.timeout(), persistence.prefix4(), persistence.prefix6())
    };
    assert_eq!(of(V4, ""), (360, 32, 128));
    assert_eq!(of(V4, ", persistence_timeout = 43200, persistence_granularity = \"255.255.255.0\""), (43200, 24, 128));
    assert_eq!(of(V4, ", persistence_granularity = \"255.255.255.255\""), (360, 32, 128));
    assert_eq!(of(V4, ", persistence_granularity = \"128.0.0.0\""), (360, 1, 128));
    assert_eq!(of(V6, ", persistence_granularity = \"64\""), (360, 32, 64));
    assert_eq!(of(V6, ", persistence_timeout = 1, persistence_granularity = \"128\""), (1, 32, 128));
    // As a table of its own, too.
    let pool = pool(V6, "", "[loadbalancer.pool.session_persistence]\ntype = \"SOURCE_IP\"");
    assert_eq!(pool.session_persistence, Some(Persistence::default()));
}

#[test]
fn persistence_that_cannot_be_is_refused_with_a_remedy() {
    for (vip, fields, field, words) in [
        (V4, "", "type", "is missing; add for example type = \"SOURCE_IP\""),
        (V4, "type = \"HTTP_COOKIE\"", "type", "HTTP_COOKIE is not available yet; use SOURCE_IP"),
        (V4, "type = \"NOPE\"", "type", "\"NOPE\" is not known; use SOURCE_IP"),
        (V4, "type = \"SOURCE_IP\", persistence_timeout = 0", "persistence_timeout", "0 is below 1"),
        (V4, "type = \"SOURCE_IP\", persistence_timeout = 43201", "persistence_timeout", "43201 is above 43200"),
        (V4, "type = \"SOURCE_IP\", cookie_name = \"x\"", "cookie_name", "is not available yet; remove it"),
    ] {
        let mistake = mistake(vip, "", &format!("session_persistence = {{ {fields} }}"));
        assert_eq!(mistake.field, field, "{mistake}");
        assert!(mistake.text.contains(words), "{mistake}");
    }
    for (vip, granularity, words) in [
        (V4, "255.0.255.0", "must be a mask of ones and then zeros"),
        (V4, "0.0.0.0", "with one bit at least"),
        (V4, "64", "must be a mask, as in \"255.255.255.0\", for a VIP of IPv4"),
        (V6, "255.255.255.0", "must be a prefix length, as in \"64\", for a VIP of IPv6"),
        (V6, "0", "a prefix length of 1 to 128"),
        (V6, "129", "a prefix length of 1 to 128"),
        (V6, "+64", "a prefix length of 1 to 128"),
        (V6, "ffff::", "a prefix length of 1 to 128"),
    ] {
        let fields = format!("type = \"SOURCE_IP\", persistence_granularity = \"{granularity}\"");
        let mistake = mistake(vip, "", &format!("session_persistence = {{ {fields} }}"));
        assert_eq!(mistake.field, "persistence_granularity", "{mistake}");
        assert!(mistake.text.contains(words), "{mistake}");
    }
}

#[test]
fn what_is_wrong_with_the_vip_is_all_that_is_said_of_it() {
    let text = file(
        "192.0.2.300",
        "TCP",
        "",
        "session_persistence = { type = \"SOURCE_IP\", persistence_granularity = \"64\" }",
    );
    let refused = parse(&text, "x.toml").unwrap_err();
    let fields: Vec<&str> = refused.mistakes.iter().map(|mistake| mistake.field.as_str()).collect();
    assert_eq!(fields, ["vip_address"], "{refused}");
}

#[test]
fn a_clamp_is_a_word_or_a_number() {
    let clamp = |value: &str| pool(V4, &format!("mss_clamp = {value}"), "").mss_clamp;
    assert_eq!(clamp("\"off\""), MssClamp::Off);
    assert_eq!(clamp("\"auto\""), MssClamp::Auto);
    assert_eq!(clamp("1400"), MssClamp::At(Mss::new(1400).unwrap()));
    for (value, words) in [
        ("87", "87 cannot be; use \"off\", \"auto\" or a number from 88 to 65495"),
        ("65496", "65496 cannot be"),
        ("-1", "-1 cannot be"),
        ("\"1400\"", "\"1400\" cannot be"),
        ("true", "a boolean is not a word in quotes or a whole number"),
    ] {
        let mistake = mistake(V4, &format!("mss_clamp = {value}"), "");
        assert_eq!(mistake.field, "mss_clamp");
        assert!(mistake.text.contains(words), "{mistake}");
    }
}

#[test]
fn a_clamp_where_no_segment_size_is_announced_is_warned_of() {
    for (protocol, warnings) in [("TCP", 0), ("UDP", 1), ("SCTP", 1)] {
        let config = read(&file(V4, protocol, "mss_clamp = \"auto\"", ""));
        assert_eq!(config.warnings.len(), warnings, "{:?}", config.warnings);
    }
    assert_eq!(read(&file(V4, "UDP", "mss_clamp = \"off\"", "")).warnings, []);
}

#[test]
fn a_hold_has_bounds() {
    let hold = |value: &str| pool(V4, &format!("transition_hold = {value}"), "").transition_hold.get();
    assert_eq!(
        (hold("0"), hold("0.5"), hold("25200")),
        (Duration::ZERO, Duration::from_millis(500), TransitionHold::MAX)
    );
    for value in ["-1", "25200.5", "nan"] {
        let mistake = mistake(V4, &format!("transition_hold = {value}"), "");
        assert!(mistake.text.contains("is out of bounds; give 0 to 25200 s"), "{mistake}");
    }
}
