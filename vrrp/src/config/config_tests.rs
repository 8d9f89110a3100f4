#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use core::net::{Ipv4Addr, Ipv6Addr};

use super::*;

fn router() -> RouterConfig {
    RouterConfig {
        vrid: Vrid::new(7).unwrap(),
        family: Family::V4,
        version: Version::V3,
        priority: Priority::new(100).unwrap(),
        interval: Duration::from_secs(1),
        preempt: true,
        preempt_delay: Duration::ZERO,
        addresses: vec![IpAddr::from([192, 0, 2, 10])],
        learned_interval_limit: None,
    }
}

fn exchange() -> Exchange {
    Exchange {
        peers: Vec::new(),
        sources: None,
        checksum: ChecksumForm::PseudoHeader,
        authentication: Authentication::None,
    }
}

fn keys() -> HmacKeys {
    let keys = vec![(1, Secret::new(vec![1; 32])), (2, Secret::new(vec![2; 64]))];
    HmacKeys { mode: HmacMode::Enforce, send: 2, keys, freshness: None }
}

#[test]
fn an_interval_is_one_that_the_packet_can_say() {
    let check = |version, interval| RouterConfig { version, interval, ..router() }.check().is_ok();
    for (version, millis, fits) in [
        (Version::V3, 0, false),
        (Version::V3, 9, false),
        (Version::V3, 10, true),
        (Version::V3, 15, false),
        (Version::V3, 40_950, true),
        (Version::V3, 40_960, false),
        (Version::V2, 0, false),
        (Version::V2, 400, false),
        (Version::V2, 1000, true),
        (Version::V2, 1500, false),
        (Version::V2, 255_000, true),
        (Version::V2, 256_000, false),
    ] {
        assert_eq!(check(version, Duration::from_millis(millis)), fits, "{version} {millis}");
    }
    assert!(!check(Version::V3, Duration::from_nanos(10_000_001)));
}

#[test]
fn there_is_an_address_and_no_more_than_a_packet_holds() {
    let with = |family, addresses| RouterConfig { family, addresses, ..router() }.check();
    let v4 = |count: u32| (1..=count).map(|n| IpAddr::from(Ipv4Addr::from_bits(n))).collect();
    let v6 = |count: u128| {
        let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0).to_bits();
        (1..=count).map(|n| IpAddr::from(Ipv6Addr::from_bits(link_local + n))).collect()
    };
    assert_eq!(with(Family::V4, Vec::new()), Err(ConfigFlaw::AddressCount { count: 0, most: 255 }));
    assert_eq!(with(Family::V4, v4(255)), Ok(()));
    assert_eq!(with(Family::V4, v4(256)), Err(ConfigFlaw::AddressCount { count: 256, most: 255 }));
    assert_eq!(with(Family::V6, v6(89)), Ok(()));
    assert_eq!(with(Family::V6, v6(90)), Err(ConfigFlaw::AddressCount { count: 90, most: 89 }));
}

#[test]
fn addresses_are_of_the_family_and_the_first_ipv6_one_is_link_local() {
    let with = |family, addresses: &[&str]| {
        let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
        RouterConfig { family, addresses, ..router() }.check()
    };
    assert!(matches!(with(Family::V4, &["fe80::1"]), Err(ConfigFlaw::AddressFamily { .. })));
    assert!(matches!(with(Family::V6, &["2001:db8::1"]), Err(ConfigFlaw::FirstNotLinkLocal { .. })));
    assert!(matches!(with(Family::V4, &["0.0.0.0"]), Err(ConfigFlaw::Address { .. })));
    assert!(matches!(with(Family::V4, &["224.0.0.18"]), Err(ConfigFlaw::Address { .. })));
    assert!(matches!(with(Family::V4, &["192.0.2.1", "192.0.2.1"]), Err(ConfigFlaw::Address { .. })));
    assert_eq!(with(Family::V6, &["fe80::1", "2001:db8::1"]), Ok(()));
}

#[test]
fn version_2_is_for_ipv4_only() {
    let addresses = vec!["fe80::1".parse().unwrap()];
    let config = RouterConfig { version: Version::V2, family: Family::V6, addresses, ..router() };
    assert_eq!(config.check(), Err(ConfigFlaw::VersionOfFamily));
}

#[test]
fn a_limit_below_the_own_interval_would_refuse_a_peer_like_oneself() {
    let with = |millis| {
        let limit = Some(Duration::from_millis(millis));
        RouterConfig { learned_interval_limit: limit, ..router() }.check()
    };
    assert_eq!(with(1000), Ok(()));
    assert!(matches!(with(990), Err(ConfigFlaw::LearnedIntervalLimit { .. })));
}

#[test]
fn each_version_has_its_own_authentication() {
    let with = |version, authentication| {
        Exchange { authentication, ..exchange() }.check(&RouterConfig { version, ..router() })
    };
    let refused = |version| Err(ConfigFlaw::AuthenticationOfVersion { version });
    assert_eq!(with(Version::V2, Authentication::Password(*b"12345678")), Ok(()));
    assert_eq!(with(Version::V3, Authentication::Password(*b"12345678")), refused(Version::V3));
    assert_eq!(with(Version::V3, Authentication::Hmac(keys())), Ok(()));
    assert_eq!(with(Version::V2, Authentication::Hmac(keys())), refused(Version::V2));
}

#[test]
fn keys_are_long_enough_told_apart_and_include_the_one_to_send_with() {
    let with = |keys| Exchange { authentication: Authentication::Hmac(keys), ..exchange() }.check(&router());
    for length in [0, 31, 65] {
        let keys = HmacKeys { keys: vec![(2, Secret::new(vec![0; length]))], ..keys() };
        assert_eq!(with(keys), Err(ConfigFlaw::KeyLength { number: 2, length }));
    }
    let twice = vec![(2, Secret::new(vec![0; 32])), (2, Secret::new(vec![1; 32]))];
    assert_eq!(with(HmacKeys { keys: twice, ..keys() }), Err(ConfigFlaw::KeyTwice { number: 2 }));
    assert_eq!(with(HmacKeys { send: 3, ..keys() }), Err(ConfigFlaw::SendKeyMissing { number: 3 }));
}

#[test]
fn peers_and_sources_are_hosts_of_the_family() {
    let check = |peer: &str, source: &str| {
        let sources = Some(BTreeSet::from([source.parse().unwrap()]));
        Exchange { peers: vec![peer.parse().unwrap()], sources, ..exchange() }.check(&router())
    };
    assert_eq!(check("192.0.2.2", "192.0.2.2"), Ok(()));
    assert!(matches!(check("fe80::2", "192.0.2.2"), Err(ConfigFlaw::AddressFamily { .. })));
    assert!(matches!(check("192.0.2.2", "fe80::2"), Err(ConfigFlaw::AddressFamily { .. })));
    assert!(matches!(check("224.0.0.18", "192.0.2.2"), Err(ConfigFlaw::Address { .. })));
}

#[test]
fn neither_password_nor_key_is_shown() {
    let shown = format!("{:?} {:?}", Authentication::Password(*b"hunter22"), Authentication::Hmac(keys()));
    assert!(!shown.contains("104") && !shown.contains("hunter") && !shown.contains("[1, 1"), "{shown}");
}
