#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::num::NonZeroU16;

use super::*;
use crate::model::{
    Algorithm, Cidr, Member, Model, ModelError, MssClamp, OnMemberDown, Pool, Topology, TransitionHold, Weight,
};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn member(host: &str, port: u16) -> Member {
    Member {
        name: name(&format!("m-{host}-{port}")),
        address: host.parse().unwrap(),
        protocol_port: NonZeroU16::new(port).unwrap(),
        weight: Weight::default(),
        backup: false,
        connection_limit: None,
        admin_state_up: true,
        monitor_address: None,
        monitor_port: None,
    }
}

fn pool(text: &str, forward_mode: ForwardMode, members: &[(&str, u16)]) -> Pool {
    Pool {
        name: name(text),
        protocol: Transport::Tcp,
        lb_algorithm: Algorithm::SourceIp,
        forward_mode,
        session_persistence: None,
        mss_clamp: MssClamp::Off,
        transition_hold: TransitionHold::default(),
        admin_state_up: true,
        members: members.iter().map(|(host, port)| member(host, *port)).collect(),
        health_monitor: None,
        on_member_down: OnMemberDown::Keep,
        panic_threshold: None,
    }
}

fn listener(protocol: Transport, port: u16, pool: &str) -> Listener {
    Listener {
        name: name(&format!("{protocol}-{port}")),
        protocol,
        protocol_port: NonZeroU16::new(port).unwrap(),
        default_pool: Some(name(pool)),
        allowed_cidrs: Vec::new(),
        connection_limit: None,
        new_flows_per_source: None,
        admin_state_up: true,
    }
}

fn lb(vip: &str, listeners: Vec<Listener>, pools: Vec<Pool>) -> LoadBalancer {
    LoadBalancer {
        name: name(&format!("lb-{}", vip.replace(':', "-"))),
        vip_address: vip.parse().unwrap(),
        topology: Topology::Single,
        admin_state_up: true,
        listeners,
        pools,
    }
}

fn said(load_balancers: Vec<LoadBalancer>) -> Vec<ModelError> {
    Model::new(load_balancers).err().unwrap_or_default()
}

const VIP: &str = "192.0.2.10";
const TCP: Transport = Transport::Tcp;

#[test]
fn members_of_direct_pools_have_the_listeners_port() {
    for mode in ForwardMode::ALL {
        let members = [("198.51.100.1", 80), ("198.51.100.2", 8080), ("198.51.100.3", 80)];
        let errors = said(vec![lb(VIP, vec![listener(TCP, 80, "app")], vec![pool("app", mode, &members)])]);
        if !mode.is_direct() {
            assert_eq!(errors, [], "{mode:?}");
            continue;
        }
        let [error] = &errors[..] else { unreachable!("{mode:?}: {errors:?}") };
        assert_eq!((error.place, error.field()), (Place::Member(0, 0, 1), Some("protocol_port")));
        assert_eq!(error.other(), Some(Place::Listener(0, 0)));
        let words = error.kind.to_string();
        assert!(words.contains(mode.name()) && words.contains("write protocol_port = 80"), "{words}");
        for rests_on in [
            (Place::Pool(0, 0), "forward_mode"),
            (Place::Listener(0, 0), "protocol_port"),
            (Place::Member(0, 0, 1), "protocol_port"),
        ] {
            assert!(error.rests_on().contains(&rests_on), "{rests_on:?}");
        }
    }
}

#[test]
fn a_direct_pool_that_no_listener_has_may_have_any_ports() {
    let members = [("198.51.100.1", 80), ("198.51.100.2", 8080)];
    assert_eq!(said(vec![lb(VIP, Vec::new(), vec![pool("app", ForwardMode::Dsr, &members)])]), []);
}

#[test]
fn a_pool_of_any_mode_but_nat_has_one_listener() {
    for mode in ForwardMode::ALL {
        let listeners = vec![listener(TCP, 80, "app"), listener(TCP, 81, "app"), listener(TCP, 82, "app")];
        let errors = said(vec![lb(VIP, listeners, vec![pool("app", mode, &[("198.51.100.1", 80)])])]);
        if mode == ForwardMode::Nat {
            assert_eq!(errors, []);
            continue;
        }
        let places: Vec<_> = errors.iter().map(|error| (error.place, error.field(), error.other())).collect();
        let first = Some(Place::Listener(0, 0));
        let expected = [1, 2].map(|at| (Place::Listener(0, at), Some("default_pool"), first));
        assert_eq!(places, expected, "{mode:?}");
        let words = errors[0].kind.to_string();
        assert!(words.contains(mode.name()) && words.contains("a pool of its own"), "{words}");
    }
}

#[test]
fn an_answer_of_dnat_belongs_to_one_listener_of_all_load_balancers() {
    let shared = [("198.51.100.1", 80)];
    let two = |first, second, protocol| {
        let mut other = pool("app", second, &shared);
        other.protocol = protocol;
        vec![
            lb(VIP, vec![listener(TCP, 80, "app")], vec![pool("app", first, &shared)]),
            lb("192.0.2.11", vec![listener(protocol, 80, "app")], vec![other]),
        ]
    };
    let errors = said(two(ForwardMode::Dnat, ForwardMode::Dnat, TCP));
    let [error] = &errors[..] else { unreachable!("{errors:?}") };
    assert_eq!((error.place, error.field()), (Place::Member(1, 0, 0), Some("address")));
    assert_eq!(error.other(), Some(Place::Member(0, 0, 0)));
    assert!(error.kind.to_string().contains("load balancer \"lb-192.0.2.10\" already"), "{}", error.kind);
    assert!(error.rests_on().contains(&(Place::Pool(0, 0), "forward_mode")));
    // Another protocol, or one whose answers do not come this way.
    assert_eq!(said(two(ForwardMode::Dnat, ForwardMode::Dnat, Transport::Udp)), []);
    assert_eq!(said(two(ForwardMode::Nat, ForwardMode::Dnat, TCP)), []);
    assert_eq!(said(two(ForwardMode::Dsr, ForwardMode::Dnat, TCP)), []);
    // No listener has the second pool.
    let mut unused = two(ForwardMode::Dnat, ForwardMode::Dnat, TCP);
    unused[1].listeners.clear();
    assert_eq!(said(unused), []);
}

#[test]
fn only_tunnels_cross_families() {
    for mode in ForwardMode::ALL {
        for (vip, host) in [(VIP, "2001:db8::1"), ("2001:db8::10", "198.51.100.1")] {
            let errors = said(vec![lb(vip, vec![listener(TCP, 80, "app")], vec![pool("app", mode, &[(host, 80)])])]);
            if matches!(mode, ForwardMode::Ipip | ForwardMode::Gue) {
                assert_eq!(errors, [], "{mode:?}");
            } else {
                let [error] = &errors[..] else { unreachable!("{mode:?}: {errors:?}") };
                assert!(matches!(error.kind, ModelErrorKind::OtherFamily { .. }), "{error:?}");
                assert!(error.kind.to_string().contains("\"ipip\" or \"gue\""), "{}", error.kind);
                assert!(error.rests_on().contains(&(Place::Pool(0, 0), "forward_mode")));
            }
        }
    }
}

#[test]
fn networks_are_of_the_vips_family_and_not_too_many() {
    let cidrs = |count: u32, of: fn(u32) -> IpAddr| (0..count).map(|n| Cidr::network_of(of(n), 128)).collect();
    let v4 = |n| std::net::Ipv4Addr::from_bits(10 << 24 | n).into();
    let model = |first: Vec<Cidr>, second: Vec<Cidr>| {
        let mut listeners = vec![listener(TCP, 80, "app"), listener(TCP, 81, "app")];
        (listeners[0].allowed_cidrs, listeners[1].allowed_cidrs) = (first, second);
        vec![lb(VIP, listeners, vec![pool("app", ForwardMode::Nat, &[])])]
    };
    assert_eq!(said(model(cidrs(65_535, v4), cidrs(1, v4))), []);
    let errors = said(model(cidrs(65_535, v4), cidrs(2, v4)));
    let too_many = ModelErrorKind::TooMany { what: "allowed_cidrs", found: 65_537, limit: 65_536 };
    assert_eq!(errors, [ModelError { place: Place::Listener(0, 1), kind: too_many }]);

    let v6 = |n| std::net::Ipv6Addr::from_bits(u128::from(n)).into();
    let errors = said(model(Vec::new(), cidrs(1, v6)));
    let [error] = &errors[..] else { unreachable!("{errors:?}") };
    assert_eq!((error.place, error.field()), (Place::Listener(0, 1), Some("allowed_cidrs")));
    assert_eq!(
        error.kind.to_string(),
        "::/128 is one of IPv6 and the VIP 192.0.2.10 one of IPv4, so that no client comes from there; remove it"
    );
    assert!(error.rests_on().contains(&(Place::LoadBalancer(0), "vip_address")));
}
