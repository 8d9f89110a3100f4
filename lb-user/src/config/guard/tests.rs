#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use super::*;
use crate::{
    config::{Config, Refused, parse},
    model::{Listener, Member},
};

/// One member behind one listener of a VIP, with some lines more.
fn file(vip: &str, dataplane: &str, listener: &str, member: &str) -> String {
    let address = if vip.contains(':') { "2001:db8::21" } else { "198.51.100.21" };
    format!(
        "[dataplane]\ninterfaces = [\"eth0\"]\n{dataplane}\n[[loadbalancer]]\nname = \"web\"\nvip_address = \"{vip}\"\n\
         [[loadbalancer.listener]]\nprotocol = \"SCTP\"\nprotocol_port = 80\ndefault_pool = \"app\"\n{listener}\n\
         [[loadbalancer.pool]]\nname = \"app\"\nprotocol = \"SCTP\"\n\
         [[loadbalancer.pool.member]]\naddress = \"{address}\"\nprotocol_port = 80\n{member}\n"
    )
}

fn read(text: &str) -> Config {
    parse(text, "x.toml").unwrap_or_else(|refused| panic!("{refused}\n{text}"))
}

fn listener(vip: &str, lines: &str) -> Listener {
    read(&file(vip, "", lines, "")).model.load_balancers()[0].listeners[0].clone()
}

fn member(lines: &str) -> Member {
    read(&file(V4, "", "", lines)).model.load_balancers()[0].pools[0].members[0].clone()
}

/// Line, field and text of each mistake.
fn mistakes(text: &str) -> Vec<(usize, String, String)> {
    let Refused { mistakes, .. } = parse(text, "x.toml").unwrap_err();
    mistakes.into_iter().map(|mistake| (mistake.line, mistake.field, mistake.text)).collect()
}

const V4: &str = "192.0.2.10";
const V6: &str = "2001:db8::10";

#[test]
fn a_listener_without_rules_lets_everybody_in() {
    let listener = listener(V4, "");
    assert_eq!(listener.allowed_cidrs, []);
    assert_eq!((listener.connection_limit, listener.new_flows_per_source), (None, None));
    assert_eq!(member("").connection_limit, None);
}

#[test]
fn networks_are_read_in_their_order_and_an_address_is_one() {
    let cidrs = |vip, text: &str| -> Vec<String> {
        let listener = listener(vip, &format!("allowed_cidrs = {text}"));
        listener.allowed_cidrs.iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        cidrs(V4, "[\"192.168.0.0/16\", \"10.0.0.0/8\", \"10.1.2.3\"]"),
        ["192.168.0.0/16", "10.0.0.0/8", "10.1.2.3/32"]
    );
    assert_eq!(cidrs(V6, "[\"2001:db8:1::/48\", \"::/0\"]"), ["2001:db8:1::/48", "::/0"]);
}

#[test]
fn networks_that_cannot_be_are_refused_in_their_lines() {
    let lines = "allowed_cidrs = [\n  \"nope\",\n  \"10.0.0.1/8\",\n  \"10.0.0.0/33\",\n  \"2001:db8::/32\",\n  7,\n  \
                 \"10.0.0.0/8\",\n  \"10.0.0.0/8\",\n]";
    let text = file(V4, "", lines, "");
    let first = text.lines().position(|line| line.starts_with("allowed_cidrs")).unwrap() + 2;
    let found = mistakes(&text);
    let expected = [
        (0, "\"nope\" is no network; write an address and the bits that count, for example \"192.0.2.0/24\""),
        (1, "\"10.0.0.1/8\" has bits set that do not count; the network is 10.0.0.0/8"),
        (2, "\"10.0.0.0/33\" has a prefix of 33 bits, and an address of its family has 32; write fewer"),
        (3, "2001:db8::/32 is not of the family of the VIP 192.0.2.10, so that no client comes from there; remove it"),
        (4, "a list of networks in quotes is wanted; write for example"),
        (6, "10.0.0.0/8 is there twice; remove one of the two"),
    ];
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (line, words) in expected {
        let (_, field, text) = found.iter().find(|(at, ..)| *at == first + line).unwrap();
        assert_eq!(field, "allowed_cidrs");
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn a_network_is_not_held_against_a_vip_that_was_refused() {
    let found = mistakes(&file("192.0.2.300", "", "allowed_cidrs = [\"2001:db8::/32\"]", ""));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].1, "vip_address");
}

#[test]
fn an_empty_list_is_warned_of() {
    let config = read(&file(V4, "", "allowed_cidrs = []", ""));
    assert_eq!(config.warnings.len(), 1, "{:?}", config.warnings);
    assert!(config.warnings[0].to_string().contains("everybody is let in"), "{:?}", config.warnings);
}

#[test]
fn more_networks_than_there_is_room_for_are_refused() {
    let cidrs = |count: u32| -> String {
        let all: Vec<String> = (0..count).map(|n| format!("\"{}\"", Ipv4Addr::from_bits(10 << 24 | n))).collect();
        format!("allowed_cidrs = [{}]", all.join(","))
    };
    assert_eq!(listener(V4, &cidrs(65_536)).allowed_cidrs.len(), 65_536);
    let found = mistakes(&file(V4, "", &cidrs(65_537), ""));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].2, "there are 65537, and room for 65536; leave some out");
}

#[test]
fn limits_are_octavias() {
    let limits = |text: &str| listener(V4, text).connection_limit.map(NonZeroU32::get);
    assert_eq!(limits("connection_limit = -1"), None);
    assert_eq!(limits("connection_limit = 1"), Some(1));
    assert_eq!(limits("connection_limit = 4294967295"), Some(u32::MAX));
    assert_eq!(member("connection_limit = 7").connection_limit.map(NonZeroU32::get), Some(7));
    assert_eq!(member("connection_limit = -1").connection_limit, None);
    let rate = |text: &str| listener(V4, text).new_flows_per_source.map(NonZeroU32::get);
    assert_eq!((rate("new_flows_per_source = 0"), rate("new_flows_per_source = 9")), (None, Some(9)));
    for (text, words) in [
        (file(V4, "", "connection_limit = 0", ""), "0 lets nobody in; write admin_state_up = false for that, or -1"),
        (file(V4, "", "", "connection_limit = 0"), "0 lets nobody in"),
        (file(V4, "", "connection_limit = -2", ""), "-2 is below -1; give a number from -1 to 4294967295"),
        (file(V4, "", "connection_limit = 4294967296", ""), "4294967296 is above 4294967295"),
        (file(V4, "", "new_flows_per_source = -1", ""), "-1 is below 0"),
    ] {
        let found = mistakes(&text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].2.contains(words), "{found:?}");
    }
}

#[test]
fn packets_that_carry_others_come_from_one_network_of_each_family() {
    let sources = |text: &str| {
        let sources = read(&file(V4, text, "", "")).dataplane.encap_sources;
        (sources.v4().to_string(), sources.v6().to_string())
    };
    let both = |v4: &str, v6: &str| (v4.to_owned(), v6.to_owned());
    assert_eq!(sources(""), both("172.16.0.0/16", "100::/64"));
    assert_eq!(sources("encap_sources = []"), both("172.16.0.0/16", "100::/64"));
    assert_eq!(sources("encap_sources = [\"fd00::/96\"]"), both("172.16.0.0/16", "fd00::/96"));
    assert_eq!(sources("encap_sources = [\"fd00::/96\", \"198.18.0.0/15\"]"), both("198.18.0.0/15", "fd00::/96"));
    for (text, words) in [
        ("[\"10.0.0.0/8\", \"198.18.0.0/15\"]", "198.18.0.0/15 is the second one of its family"),
        ("[\"10.0.0.0/8\", \"fd00::/64\", \"fd01::/64\"]", "there are 3, and room for 2; leave some out"),
        ("[\"0.0.0.0/0\"]", "0.0.0.0/0 begins with no host's address; use a network that hosts can have"),
        ("[\"127.0.0.0/8\"]", "127.0.0.0/8 begins with a loopback address"),
        ("[\"ff00::/8\"]", "ff00::/8 begins with a multicast address"),
        ("[\"10.0.0.1/8\"]", "the network is 10.0.0.0/8"),
    ] {
        let found = mistakes(&file(V4, &format!("encap_sources = {text}"), "", ""));
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].1, "encap_sources");
        assert!(found[0].2.contains(words), "{found:?}");
    }
}
