//! Any health monitor that a pool can have, and how it is written in a file.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fmt::Write as _, sync::Arc, time::Duration};

use lb_health::{DomainName, ExpectedCodes, GrpcQuestion, Handshake, HttpMethod, HttpQuestion, HttpVersion, UrlPath};
use proptest::{option, prelude::*, sample::select};

use crate::model::{HealthMonitor, MonitorKind, ProbePath, Transport, monitors_of};

fn milliseconds(least: u64) -> impl Strategy<Value = Duration> {
    (least..=3_600_000).prop_map(Duration::from_millis)
}

fn domain_name() -> impl Strategy<Value = DomainName> {
    let label = "[A-Za-z0-9_]([A-Za-z0-9-]{0,20}[A-Za-z0-9])?";
    let end = select(&["", "."][..]);
    (prop::collection::vec(label, 1..6), end).prop_map(|(labels, end)| {
        let name = format!("{}{end}", labels.join("."));
        DomainName::new(&name).unwrap()
    })
}

fn url_path() -> impl Strategy<Value = UrlPath> {
    "/([A-Za-z0-9/._~!$&'()*+,;=:@?-]|%[0-9A-Fa-f]{2}){0,80}".prop_map(|path| UrlPath::new(&path).unwrap())
}

fn codes() -> impl Strategy<Value = ExpectedCodes> {
    let list = prop::collection::vec(0..=999u16, 1..=12).prop_map(|codes| ExpectedCodes::List(codes.into()));
    let range = (0..=999u16, 0..=999u16).prop_map(|(a, b)| ExpectedCodes::Range(a.min(b), a.max(b)));
    prop_oneof![list, range]
}

prop_compose! {
    fn http()(
        method in select(&HttpMethod::ALL[..]), new: bool, path in url_path(), expected in codes(),
        domain_name in option::of(domain_name()),
    ) -> Arc<HttpQuestion> {
        let version = if new || domain_name.is_some() { HttpVersion::V11 } else { HttpVersion::V10 };
        Arc::new(HttpQuestion { method, version, path, expected, domain_name })
    }
}

fn kind_named(name: &str) -> BoxedStrategy<MonitorKind> {
    match name {
        "PING" => Just(MonitorKind::Ping).boxed(),
        "TCP" => select(&[Handshake::Half, Handshake::Full][..]).prop_map(MonitorKind::Tcp).boxed(),
        "HTTP" => http().prop_map(MonitorKind::Http).boxed(),
        "HTTPS" => http().prop_map(MonitorKind::Https).boxed(),
        "TLS-HELLO" => option::of(domain_name()).prop_map(MonitorKind::TlsHello).boxed(),
        "UDP-CONNECT" => Just(MonitorKind::UdpConnect).boxed(),
        "SCTP" => Just(MonitorKind::Sctp).boxed(),
        _ => ("[!-~]{0,255}", option::of(domain_name()))
            .prop_map(|(service, domain_name)| MonitorKind::Grpc(Arc::new(GrpcQuestion { service, domain_name })))
            .boxed(),
    }
}

/// Any monitor that a pool of a transport can have.
pub(in crate::config) fn monitor(protocol: Transport) -> impl Strategy<Value = HealthMonitor> {
    let kind = select(monitors_of(protocol)).prop_flat_map(kind_named);
    let rest = (milliseconds(50), milliseconds(10), 1..=10u8, 1..=10u8, any::<bool>(), any::<bool>());
    (kind, rest).prop_map(|(kind, (delay, timeout, max_retries, max_retries_down, flap_damping, admin_state_up))| {
        let probe_path = ProbePath::Member;
        HealthMonitor { kind, delay, timeout, max_retries, max_retries_down, flap_damping, probe_path, admin_state_up }
    })
}

/// The fields of a monitor, a line each.
pub(in crate::config) fn monitor_lines(monitor: &HealthMonitor) -> String {
    let mut text = format!("type = \"{}\"\n", monitor.kind.name());
    let mut line = |words: std::fmt::Arguments<'_>| writeln!(text, "{words}").unwrap();
    let name = match &monitor.kind {
        MonitorKind::Http(question) | MonitorKind::Https(question) => {
            line(format_args!("http_method = \"{}\"", question.method.name()));
            // In quotes and as a number.
            match question.version {
                HttpVersion::V10 => line(format_args!("http_version = \"1.0\"")),
                HttpVersion::V11 => line(format_args!("http_version = 1.1")),
            }
            line(format_args!("url_path = \"{}\"", question.path.as_str()));
            line(format_args!("expected_codes = \"{}\"", question.expected));
            question.domain_name.as_ref()
        }
        MonitorKind::TlsHello(name) => name.as_ref(),
        MonitorKind::Grpc(question) => {
            line(format_args!("grpc_service = {:?}", question.service));
            question.domain_name.as_ref()
        }
        MonitorKind::Tcp(handshake) => {
            line(format_args!("tcp_handshake = \"{}\"", format!("{handshake:?}").to_lowercase()));
            None
        }
        MonitorKind::Ping | MonitorKind::UdpConnect | MonitorKind::Sctp => None,
    };
    if let Some(name) = name {
        line(format_args!("domain_name = \"{}\"", name.as_str()));
    }
    line(format_args!("delay = {:?}", monitor.delay.as_secs_f64()));
    line(format_args!("timeout = {:?}", monitor.timeout.as_secs_f64()));
    line(format_args!("max_retries = {}", monitor.max_retries));
    line(format_args!("max_retries_down = {}", monitor.max_retries_down));
    line(format_args!("flap_damping = {}", monitor.flap_damping));
    line(format_args!("probe_path = \"{}\"", format!("{:?}", monitor.probe_path).to_lowercase()));
    line(format_args!("admin_state_up = {}", monitor.admin_state_up));
    text
}
