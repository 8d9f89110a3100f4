#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{sync::Arc, time::Duration};

use lb_health::{DomainName, ExpectedCodes, GrpcQuestion, Handshake, HttpMethod, HttpQuestion, HttpVersion, UrlPath};

use super::*;
use crate::model::{
    Algorithm, ForwardMode, LoadBalancer, Model, ModelError, MssClamp, Name, OnMemberDown, Topology, TransitionHold,
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
        forward_mode: ForwardMode::Nat,
        session_persistence: None,
        mss_clamp: MssClamp::Off,
        transition_hold: TransitionHold::default(),
        admin_state_up: true,
        members: Vec::new(),
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
        for (pool, has) in [(Transport::Tcp, tcp), (Transport::Udp, udp)] {
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
}
