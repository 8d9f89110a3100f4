#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::Duration;

use vrrp::{HmacKeys, HmacMode};

use super::*;
use crate::config::{Refused, parse};

/// Two routers and flow sync that leave little to defaults; lines are found by
/// what they say, and each of those that are changed is there once.
pub(in crate::config) const PAIR: &str = r#"
[dataplane]
interfaces = ["front0", "back0"]

[[vrrp]]
name = "pair4"
interface = "front0"
virtual_router_id = 51
priority = 200
advert_interval_ms = 100
preempt = true
preempt_delay = 2.5
virtual_mac = true
unicast_source = "192.0.2.2"
unicast_peers = [
    "192.0.2.3",
    "192.0.2.4",
]
checksum = "message_only"
hmac_mode = "permissive"
hmac_send = 8
hmac_freshness = 10
learned_interval_limit_ms = 400

[[vrrp.hmac_key]]
id = 7
secret = "hex:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

[[vrrp.hmac_key]]
id = 8
secret = "a key of thirty-two bytes or more"

[[vrrp.address]]
address = "198.51.100.1"
interface = "back0"
advertised = false

[[vrrp.track]]
kind = "interface"
name = "back0"

[[vrrp.track]]
kind = "data_path"
weight = -60

[[vrrp.track]]
kind = "load_balancer"
name = "web4"
weight = 20

[vrrp.announce]
repeat = 3
repeat_gap_ms = 20
refresh = 30
refresh_repeat = 1
per_millisecond = 50

[[vrrp]]
name = "pair6"
interface = "back0"
virtual_router_id = 52
family = "ipv6"
preempt = false
allowed_sources = ["fe80::3"]
realtime = false

[sync]
local = "203.0.113.2:2000"
peer = "203.0.113.3"
secret = "sixteen bytes...."
rescan = 10

[[loadbalancer]]
name = "web4"
vip_address = "192.0.2.10"
topology = "ACTIVE_STANDBY"

[[loadbalancer]]
name = "web6"
vip_address = "2001:db8::10"
topology = "ACTIVE_STANDBY"

[[loadbalancer]]
name = "other6"
vip_address = "2001:db8::11"
topology = "ACTIVE_STANDBY"
vrrp = "pair4"

[[loadbalancer]]
name = "alone"
vip_address = "192.0.2.20"
topology = "SINGLE"

[[loadbalancer.listener]]
protocol = "TCP"
protocol_port = 80
default_pool = "app"

[[loadbalancer.pool]]
name = "app"
protocol = "TCP"

[[loadbalancer.pool.member]]
address = "198.51.100.21"
protocol_port = 80
"#;

/// The least there can be.
pub(super) const SMALLEST: &str = r#"
[dataplane]
interfaces = ["eth0"]

[[vrrp]]
name = "pair"
virtual_router_id = 51

[[loadbalancer]]
name = "web"
vip_address = "192.0.2.10"
topology = "ACTIVE_STANDBY"
"#;

/// Octavia's own.
pub(super) const VERSION_2: &str = r#"
[dataplane]
interfaces = ["eth0"]

[[vrrp]]
name = "octavia"
virtual_router_id = 1
version = 2
password = "8charPwd"

[[loadbalancer]]
name = "web"
vip_address = "192.0.2.10"
topology = "ACTIVE_STANDBY"
"#;

pub(super) fn refused(text: &str) -> Refused {
    parse(text, "pools.toml").unwrap_err()
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

#[test]
fn a_pair_says_what_it_says() {
    let config = parse(PAIR, "pools.toml").unwrap();
    assert_eq!(config.warnings, []);
    let keys = HmacKeys {
        mode: HmacMode::Permissive,
        send: 8,
        keys: vec![
            (7, Secret::new((0..32).collect())),
            (8, Secret::new(b"a key of thirty-two bytes or more".to_vec())),
        ],
        freshness: Some(Duration::from_secs(10)),
    };
    let expected = VrrpConfig {
        name: name("pair4"),
        interface: "front0".to_owned(),
        virtual_router_id: Vrid::new(51).unwrap(),
        family: Family::V4,
        version: Version::V3,
        priority: Priority::new(200).unwrap(),
        advert_interval: Duration::from_millis(100),
        preempt: true,
        preempt_delay: Duration::from_millis(2500),
        virtual_mac: true,
        unicast_source: Some("192.0.2.2".parse().unwrap()),
        unicast_peers: vec!["192.0.2.3".parse().unwrap(), "192.0.2.4".parse().unwrap()],
        allowed_sources: Vec::new(),
        guard: true,
        checksum: ChecksumForm::MessageOnly,
        authentication: Authentication::Hmac(keys),
        learned_interval_limit: Some(Duration::from_millis(400)),
        addresses: vec![VirtualAddress {
            address: "198.51.100.1".parse().unwrap(),
            interface: Some("back0".to_owned()),
            advertised: false,
        }],
        link_local: None,
        track: vec![
            Track { kind: TrackKind::Interface("back0".to_owned()), weight: 0 },
            Track { kind: TrackKind::DataPath, weight: -60 },
            Track { kind: TrackKind::LoadBalancer(name("web4")), weight: 20 },
        ],
        announce: AnnounceConfig {
            repeat: 3,
            repeat_gap: Duration::from_millis(20),
            refresh: Some(Duration::from_secs(30)),
            refresh_repeat: 1,
            per_millisecond: 50,
        },
        notify: None,
        realtime: true,
    };
    let [pair4, pair6] = &config.vrrp[..] else { panic!("{:?}", config.vrrp) };
    assert_eq!(*pair4, expected);
    assert_eq!((pair6.name.as_str(), pair6.family, pair6.preempt), ("pair6", Family::V6, false));
    assert_eq!(pair6.link_local, Some("fe80::200:5eff:fe00:234".parse().unwrap()));
    assert_eq!((pair6.virtual_mac, pair6.guard, pair6.realtime), (true, true, false));
    assert_eq!(pair6.allowed_sources, ["fe80::3".parse::<IpAddr>().unwrap()]);

    let sync = config.sync.unwrap();
    assert_eq!((sync.local, sync.peer), ("203.0.113.2:2000".parse().unwrap(), "203.0.113.3:10112".parse().unwrap()));
    assert_eq!((sync.secret.expose(), sync.rescan), (&b"sixteen bytes...."[..], Duration::from_secs(10)));

    let topologies: Vec<_> = config.model.load_balancers().iter().map(|lb| lb.topology.clone()).collect();
    let with = |router: &str| Topology::ActiveStandby { vrrp: name(router) };
    assert_eq!(topologies, [with("pair4"), with("pair6"), with("pair4"), Topology::Single]);
}

#[test]
fn the_smallest_pair_has_every_default() {
    let config = parse(SMALLEST, "pools.toml").unwrap();
    let expected = VrrpConfig {
        name: name("pair"),
        interface: "eth0".to_owned(),
        virtual_router_id: Vrid::new(51).unwrap(),
        family: Family::V4,
        version: Version::V3,
        priority: Priority::new(100).unwrap(),
        advert_interval: Duration::from_secs(1),
        preempt: true,
        preempt_delay: Duration::ZERO,
        virtual_mac: true,
        unicast_source: None,
        unicast_peers: Vec::new(),
        allowed_sources: Vec::new(),
        guard: false,
        checksum: ChecksumForm::PseudoHeader,
        authentication: Authentication::None,
        learned_interval_limit: None,
        addresses: Vec::new(),
        link_local: None,
        track: Vec::new(),
        announce: AnnounceConfig {
            repeat: 5,
            repeat_gap: Duration::from_millis(100),
            refresh: None,
            refresh_repeat: 2,
            per_millisecond: 10,
        },
        notify: None,
        realtime: true,
    };
    assert_eq!(config.vrrp, [expected]);
    assert_eq!((config.sync, config.warnings), (None, vec![]));
    assert_eq!(config.model.load_balancers()[0].topology, Topology::ActiveStandby { vrrp: name("pair") });
}

#[test]
fn unicast_brings_the_interfaces_own_mac_address_a_guard_and_refreshed_announcements() {
    let text = SMALLEST.replace("= 51", "= 51\nunicast_peers = [\"192.0.2.3\"]");
    let [pair] = &parse(&text, "pools.toml").unwrap().vrrp[..] else { panic!() };
    assert!(!pair.virtual_mac && pair.guard);
    assert_eq!(pair.announce.refresh, Some(Duration::from_secs(5)));
    assert_eq!(pair.sources(), Some(BTreeSet::from(["192.0.2.3".parse().unwrap()])));
    let all_said = text.replace(".3\"]", ".3\"]\nvirtual_mac = true\nguard = false\n[vrrp.announce]\nrefresh = 7");
    let [pair] = &parse(&all_said, "pools.toml").unwrap().vrrp[..] else { panic!() };
    assert!(pair.virtual_mac && !pair.guard);
    assert_eq!(pair.announce.refresh, Some(Duration::from_secs(7)));
    let never = text.replace(".3\"]", ".3\"]\n[vrrp.announce]\nrefresh = 0");
    assert_eq!(parse(&never, "pools.toml").unwrap().vrrp[0].announce.refresh, None);
}

#[test]
fn version_2_has_its_password_filled_up() {
    let config = parse(&VERSION_2.replace("8charPwd", "short"), "pools.toml").unwrap();
    assert_eq!(config.vrrp[0].version, Version::V2);
    assert_eq!(config.vrrp[0].authentication, Authentication::Password(*b"short\0\0\0"));
    assert_eq!(config.vrrp[0].exchange().check(&config.router(&config.vrrp[0]).unwrap()), Ok(()));
}

#[test]
fn a_routers_addresses_are_its_load_balancers_and_then_the_others() {
    let config = parse(PAIR, "pools.toml").unwrap();
    let [pair4, pair6] = &config.vrrp[..] else { panic!() };
    let addresses = |vrrp: &VrrpConfig| -> Vec<String> {
        config.virtual_addresses(vrrp).iter().map(|one| one.address.to_string()).collect()
    };
    assert_eq!(addresses(pair4), ["192.0.2.10", "2001:db8::11", "198.51.100.1"]);
    assert_eq!(addresses(pair6), ["fe80::200:5eff:fe00:234", "2001:db8::10"]);
    // What is of the other family, or is not to be named, is not.
    let named = |vrrp: &VrrpConfig| -> Vec<String> {
        config.router(vrrp).unwrap().addresses.iter().map(ToString::to_string).collect()
    };
    assert_eq!(named(pair4), ["192.0.2.10"]);
    assert_eq!(named(pair6), ["fe80::200:5eff:fe00:234", "2001:db8::10"]);
    for vrrp in &config.vrrp {
        let router = config.router(vrrp).unwrap();
        assert_eq!((router.check(), vrrp.exchange().check(&router)), (Ok(()), Ok(())));
    }
}

#[test]
fn more_addresses_than_an_advert_names_are_taken_with_a_warning() {
    let more: String = (0..90).map(|n| format!("[[vrrp.address]]\naddress = \"2001:db8:1::{n:x}\"\n")).collect();
    let text = SMALLEST.replace("= 51\n", &format!("= 51\nfamily = \"ipv6\"\n{more}"));
    let config = parse(&text, "pools.toml").unwrap();
    let [warning] = &config.warnings[..] else { panic!("{:?}", config.warnings) };
    assert!(warning.text.contains("room for 89 addresses and not for 91"), "{warning}");
    let router = config.router(&config.vrrp[0]).unwrap();
    assert_eq!((router.addresses.len(), router.check()), (89, Ok(())));
    assert_eq!(router.addresses[1].to_string(), "2001:db8:1::");
    assert_eq!(config.virtual_addresses(&config.vrrp[0]).len(), 92);
}
