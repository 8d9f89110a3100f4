#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{num::NonZeroU16, sync::Arc, time::Duration};

use lb_health::{DomainName, ExpectedCodes, GrpcQuestion, Handshake, HttpMethod, HttpQuestion, HttpVersion, UrlPath};

use super::*;
use crate::model::{
    Algorithm, ForwardMode, LoadBalancer, Member, Model, ModelError, MssClamp, Name, OnMemberDown, Topology,
    TransitionHold, Weight,
};

fn http(version: HttpVersion, domain_name: Option<&str>) -> Arc<HttpQuestion> {
    Arc::new(HttpQuestion {
        method: HttpMethod::Get,
        version,
        path: UrlPath::default(),
        expected: ExpectedCodes::default(),
        domain_name: domain_name.map(|name| DomainName::new(name).unwrap()),
    })
}

/// What a model with one pool of one monitor says.
fn said(protocol: Transport, kind: MonitorKind, probe_path: ProbePath) -> Vec<ModelError> {
    said_of(ForwardMode::Nat, protocol, kind, probe_path)
}

fn said_of(
    forward_mode: ForwardMode,
    protocol: Transport,
    kind: MonitorKind,
    probe_path: ProbePath,
) -> Vec<ModelError> {
    said_with(Vec::new(), forward_mode, protocol, kind, probe_path)
}

fn said_with(
    members: Vec<Member>,
    forward_mode: ForwardMode,
    protocol: Transport,
    kind: MonitorKind,
    probe_path: ProbePath,
) -> Vec<ModelError> {
    let second = Duration::from_secs(1);
    let monitor = HealthMonitor {
        kind,
        delay: second,
        timeout: second,
        max_retries: 1,
        max_retries_down: 1,
        flap_damping: true,
        probe_path,
        admin_state_up: true,
    };
    let name = |text: &str| Name::new(text).unwrap();
    let pool = Pool {
        name: name("app"),
        protocol,
        lb_algorithm: Algorithm::SourceIp,
        forward_mode,
        session_persistence: None,
        mss_clamp: MssClamp::Off,
        transition_hold: TransitionHold::default(),
        admin_state_up: true,
        members,
        health_monitor: Some(monitor),
        on_member_down: OnMemberDown::Keep,
        panic_threshold: None,
    };
    let load_balancer = LoadBalancer {
        name: name("web"),
        vip_address: "192.0.2.1".parse().unwrap(),
        topology: Topology::Single,
        admin_state_up: true,
        listeners: Vec::new(),
        pools: vec![pool],
    };
    Model::new(vec![load_balancer]).err().unwrap_or_default()
}

#[test]
fn each_transport_has_its_types() {
    let grpc = GrpcQuestion { service: String::new(), domain_name: None };
    for (kind, tcp, udp) in [
        (MonitorKind::Ping, true, false),
        (MonitorKind::Tcp(Handshake::Half), true, true),
        (MonitorKind::Tcp(Handshake::Full), true, true),
        (MonitorKind::Http(http(HttpVersion::V10, None)), true, true),
        (MonitorKind::Https(http(HttpVersion::V11, None)), true, false),
        (MonitorKind::TlsHello(None), true, false),
        (MonitorKind::UdpConnect, false, true),
        (MonitorKind::Sctp, false, true),
        (MonitorKind::Grpc(Arc::new(grpc)), true, false),
    ] {
        for (pool, has) in [(Transport::Tcp, tcp), (Transport::Udp, udp), (Transport::Sctp, udp)] {
            let errors = said(pool, kind.clone(), ProbePath::Member);
            let wrong = ModelErrorKind::MonitorOfOtherProtocol { kind: kind.name(), pool };
            let expected = if has { vec![] } else { vec![ModelError { place: Place::Monitor(0, 0), kind: wrong }] };
            assert_eq!(errors, expected, "{kind:?} of a {pool} pool");
        }
    }
}

#[test]
fn a_name_goes_into_a_header_that_http_1_0_does_not_have() {
    let name = Some("www.example.com");
    for (version, name, is_wrong) in [
        (HttpVersion::V10, name, true),
        (HttpVersion::V11, name, false),
        (HttpVersion::V10, None, false),
        (HttpVersion::V11, None, false),
    ] {
        for kind in [MonitorKind::Http(http(version, name)), MonitorKind::Https(http(version, name))] {
            let kinds: Vec<_> =
                said(Transport::Tcp, kind, ProbePath::Member).into_iter().map(|error| error.kind).collect();
            let expected = if is_wrong { vec![ModelErrorKind::HostOfHttp10] } else { vec![] };
            assert_eq!(kinds, expected, "{version:?} {name:?}");
        }
    }
    let hello = MonitorKind::TlsHello(Some(DomainName::new("www.example.com").unwrap()));
    assert_eq!(said(Transport::Tcp, hello, ProbePath::Member), []);
}

#[test]
fn the_vip_is_not_on_the_members_of_a_nat_pool() {
    let [error] = &said(Transport::Udp, MonitorKind::UdpConnect, ProbePath::Vip)[..] else { unreachable!() };
    assert_eq!((error.field(), error.place), (Some("probe_path"), Place::Monitor(0, 0)));
    assert_eq!(error.kind, ModelErrorKind::VipIsNotOnMembers { mode: ForwardMode::Nat });
    assert!(error.rests_on().contains(&(Place::Pool(0, 0), "forward_mode")));
    let [error] = &said_of(ForwardMode::Dnat, Transport::Udp, MonitorKind::UdpConnect, ProbePath::Vip)[..] else {
        unreachable!()
    };
    assert!(error.kind.to_string().contains("members of a dnat pool do not hold the VIP"), "{}", error.kind);
}

#[test]
fn probes_of_packets_go_to_the_vip_of_dsr_members() {
    let vip = |mode, kind| said_of(mode, Transport::Tcp, kind, ProbePath::Vip);
    for kind in [MonitorKind::Ping, MonitorKind::Tcp(Handshake::Half)] {
        assert_eq!(vip(ForwardMode::Dsr, kind.clone()), []);
        for mode in [ForwardMode::Ipip, ForwardMode::Gue] {
            let [error] = &vip(mode, kind.clone())[..] else { unreachable!() };
            assert_eq!((error.field(), &error.kind), (Some("probe_path"), &ModelErrorKind::VipBehindTunnel { mode }));
            assert!(error.rests_on().contains(&(Place::Pool(0, 0), "forward_mode")));
        }
    }
    for kind in [MonitorKind::UdpConnect, MonitorKind::Sctp] {
        assert_eq!(said_of(ForwardMode::Dsr, Transport::Sctp, kind, ProbePath::Vip), []);
    }
    for kind in [MonitorKind::Tcp(Handshake::Full), MonitorKind::TlsHello(None)] {
        let [error] = &vip(ForwardMode::Dsr, kind.clone())[..] else { unreachable!() };
        assert_eq!(error.kind, ModelErrorKind::VipNeedsPackets { kind: kind.name() });
        assert!(error.rests_on().contains(&(Place::Monitor(0, 0), "tcp_handshake")));
    }
}

#[test]
fn nobody_has_a_monitor_address_beside_the_vip() {
    let member = |text: &str, monitor: Option<&str>| Member {
        name: Name::new(text).unwrap(),
        address: format!("198.51.100.{}", text.len()).parse().unwrap(),
        protocol_port: NonZeroU16::MIN,
        weight: Weight::default(),
        backup: false,
        connection_limit: None,
        admin_state_up: true,
        monitor_address: monitor.map(|address| address.parse().unwrap()),
        monitor_port: Some(NonZeroU16::MIN),
    };
    let members = vec![member("a", None), member("bb", Some("198.51.100.9"))];
    let kind = MonitorKind::Tcp(Handshake::Half);
    let errors = said_with(members, ForwardMode::Dsr, Transport::Tcp, kind, ProbePath::Vip);
    let [error] = &errors[..] else { unreachable!("{errors:?}") };
    assert_eq!((error.place, error.field()), (Place::Member(0, 0, 1), Some("monitor_address")));
    assert_eq!(error.other(), Some(Place::Monitor(0, 0)));
    assert!(error.rests_on().contains(&(Place::Monitor(0, 0), "probe_path")));
}
