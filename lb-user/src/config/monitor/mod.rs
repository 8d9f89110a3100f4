//! `[loadbalancer.pool.healthmonitor]`, and what a pool says about members that go
//! down: text to [`HealthMonitor`].
//!
//! What must not be here: which monitors a pool can have. That is the model's to say,
//! whoever made it.

use std::{sync::Arc, time::Duration};

use lb_health::{
    DomainName, ExpectedCodes, GrpcQuestion, Handshake, HttpMethod, HttpQuestion, HttpVersion, QuestionError, UrlPath,
};

use super::{
    fields::MEMBER_PORT,
    mistake::Complaints,
    reader::{Reader, Spot},
    schema::Field,
};
use crate::model::{HealthMonitor, MonitorKind, OnMemberDown, Percent, Pool, ProbePath, Transport};

pub(super) mod fields;

use fields::{
    DELAY, DOMAIN_NAME, EXPECTED_CODES, FLAP_DAMPING, GRPC_SERVICE, HEALTHMONITOR, HTTP_METHOD, HTTP_VERSION,
    MAX_RETRIES, MAX_RETRIES_DOWN, MONITOR_UP, ON_MEMBER_DOWN, PANIC_THRESHOLD, PROBE_PATH, TCP_HANDSHAKE, TIMEOUT,
    TYPE, URL_PATH, of_some_types, types_of,
};

/// The longest name of a gRPC service in bytes.
const MAX_SERVICE: usize = 255;
/// Octavia's `udp_connect_min_interval_health_monitor`, unless its operator lowers it.
const OCTAVIAS_UDP_DELAY: Duration = Duration::from_secs(3);
/// Below are codes of answers that another one follows.
const FIRST_FINAL_CODE: u16 = 200;

/// A type as it is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Type {
    Ping,
    Tcp,
    Http,
    Https,
    TlsHello,
    UdpConnect,
    Sctp,
    Grpc,
}

const TYPES: [(&str, Type); 8] = [
    ("PING", Type::Ping),
    ("TCP", Type::Tcp),
    ("HTTP", Type::Http),
    ("HTTPS", Type::Https),
    ("TLS-HELLO", Type::TlsHello),
    ("UDP-CONNECT", Type::UdpConnect),
    ("SCTP", Type::Sctp),
    ("GRPC", Type::Grpc),
];

impl Type {
    fn name(self) -> &'static str {
        TYPES.iter().find(|(_, this)| *this == self).map_or("", |(name, _)| name)
    }

    fn has(self, field: &Field) -> bool {
        types_of(field).is_none_or(|types| types.contains(&self.name()))
    }
}

/// The health monitor of a pool, and its place; `None` where it has none.
pub(super) fn of_pool(pool: &Reader<'_>) -> Option<(HealthMonitor, Spot)> {
    let table = pool.table(&HEALTHMONITOR)?;
    let of_type = table.word(&TYPE, &TYPES);
    refuse_fields_of_other_types(&table, of_type);
    let kind = kind(&table, of_type);
    let (delay, timeout) = (table.seconds(&DELAY), table.seconds(&TIMEOUT));
    let monitor = HealthMonitor {
        kind,
        delay: delay.unwrap_or(Duration::ZERO),
        timeout: timeout.unwrap_or(Duration::ZERO),
        max_retries: table.integer(&MAX_RETRIES).unwrap_or(1),
        max_retries_down: table.integer(&MAX_RETRIES_DOWN).unwrap_or(1),
        flap_damping: table.flag(&FLAP_DAMPING),
        probe_path: table
            .word(&PROBE_PATH, &[("member", ProbePath::Member), ("vip", ProbePath::Vip)])
            .unwrap_or_default(),
        admin_state_up: table.flag(&MONITOR_UP),
    };
    if let Some(of_type) = of_type {
        warn_of_times(&table, of_type, delay, timeout);
        warn_of_codes(&table, &monitor.kind);
    }
    Some((monitor, table.spot()))
}

/// What a pool says about members that go down.
pub(super) fn consequences(
    pool: &Reader<'_>,
    protocol: Transport,
    is_watched: bool,
) -> (OnMemberDown, Option<Percent>) {
    let words = [("keep", OnMemberDown::Keep), ("reset", OnMemberDown::Reset)];
    let on_member_down = pool.word(&ON_MEMBER_DOWN, &words).unwrap_or_default();
    let panic_threshold = pool.integer(&PANIC_THRESHOLD).and_then(Percent::new);
    // A monitor that was refused is one nevertheless.
    let is_watched = is_watched || pool.has(HEALTHMONITOR.key);
    const UNWATCHED: &str = "without a health monitor no member goes down, so that this does nothing; add \
                             [loadbalancer.pool.healthmonitor], or remove this";
    if on_member_down == OnMemberDown::Reset {
        if protocol == Transport::Udp {
            let text = "there are no resets in UDP, and flows of a UDP member that is down move to others anyway; \
                        remove this";
            pool.warning(ON_MEMBER_DOWN.key, text);
        } else if !is_watched {
            pool.warning(ON_MEMBER_DOWN.key, UNWATCHED);
        }
    }
    if panic_threshold.is_some() && !is_watched {
        pool.warning(PANIC_THRESHOLD.key, UNWATCHED);
    }
    (on_member_down, panic_threshold)
}

fn refuse_fields_of_other_types(table: &Reader<'_>, of_type: Option<Type>) {
    let Some(of_type) = of_type else { return };
    for field in of_some_types().filter(|field| table.has(field.key) && !of_type.has(field)) {
        let types = types_of(field).unwrap_or_default();
        let those = if types.len() == 1 { "the type that has it" } else { "a type that has it" };
        let text = format!(
            "a monitor of type {} has no such field; remove it, or use {those}: {}",
            of_type.name(),
            types.join(", ")
        );
        table.mistake(field.key, text);
    }
}

/// Reads the fields of a type; every field where the type was refused, so that
/// mistakes in them are found in the same pass.
fn kind(table: &Reader<'_>, of_type: Option<Type>) -> MonitorKind {
    let reads = |field: &Field| of_type.is_none_or(|of_type| of_type.has(field));
    let domain_name = || {
        let name = |text: &str| DomainName::new(text).map_err(must_be);
        table.has(DOMAIN_NAME.key).then(|| table.checked(&DOMAIN_NAME, name)).flatten()
    };
    let domain_name = if reads(&DOMAIN_NAME) { domain_name() } else { None };
    let handshakes = [("half", Handshake::Half), ("full", Handshake::Full)];
    let handshake =
        if reads(&TCP_HANDSHAKE) { table.word(&TCP_HANDSHAKE, &handshakes) } else { None }.unwrap_or_default();
    let service = if reads(&GRPC_SERVICE) { table.checked(&GRPC_SERVICE, service) } else { None }.unwrap_or_default();
    let http = reads(&URL_PATH).then(|| http(table, domain_name.clone())).map(Arc::new);
    match (of_type, http) {
        (Some(Type::Http), Some(question)) => MonitorKind::Http(question),
        (Some(Type::Https), Some(question)) => MonitorKind::Https(question),
        (Some(Type::Tcp), _) => MonitorKind::Tcp(handshake),
        (Some(Type::TlsHello), _) => MonitorKind::TlsHello(domain_name),
        (Some(Type::UdpConnect), _) => MonitorKind::UdpConnect,
        (Some(Type::Sctp), _) => MonitorKind::Sctp,
        (Some(Type::Grpc), _) => MonitorKind::Grpc(Arc::new(GrpcQuestion { service, domain_name })),
        (Some(Type::Ping | Type::Http | Type::Https) | None, _) => MonitorKind::Ping,
    }
}

fn http(table: &Reader<'_>, domain_name: Option<DomainName>) -> HttpQuestion {
    let methods = HttpMethod::ALL.map(|method| (method.name(), method));
    let versions = [HttpVersion::V10, HttpVersion::V11].map(|version| (version.name(), version));
    HttpQuestion {
        method: table.word(&HTTP_METHOD, &methods).unwrap_or_default(),
        version: table.version(&HTTP_VERSION, &versions).unwrap_or_default(),
        path: table.checked(&URL_PATH, |text| UrlPath::new(text).map_err(must_be)).unwrap_or_default(),
        expected: table.checked(&EXPECTED_CODES, |text| ExpectedCodes::new(text).map_err(must_be)).unwrap_or_default(),
        domain_name,
    }
}

const fn must_be(error: QuestionError) -> &'static str {
    error.must_be
}

fn service(text: &str) -> Result<String, &'static str> {
    if text.len() <= MAX_SERVICE && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    Err("a service's name: at most 255 letters, digits and signs of ASCII, without blanks")
}

fn warn_of_times(table: &Reader<'_>, of_type: Type, delay: Option<Duration>, timeout: Option<Duration>) {
    let Some(delay) = delay else { return };
    if let Some(timeout) = timeout
        && timeout > delay
    {
        let why = match of_type {
            Type::UdpConnect => {
                "and a member that does not answer, as a healthy one need not, is waited for that long: it is probed \
                 less often than delay says"
            }
            _ => "so that a silent member is noticed late",
        };
        let text = format!(
            "{} s is longer than the {} s from one probe to the next, {why}; give a timeout of at most the delay",
            timeout.as_secs_f64(),
            delay.as_secs_f64()
        );
        table.warning(TIMEOUT.key, &text);
    }
    if of_type == Type::UdpConnect && delay < OCTAVIAS_UDP_DELAY {
        let text = format!(
            "{} s is less than the 3 s that Octavia asks for with UDP-CONNECT: a closed port shows by ICMP errors alone, \
             hosts limit how many they send (Linux to one a second for each address), and silence counts as a success; \
             give 3 s or more, unless you know what the members' hosts send",
            delay.as_secs_f64()
        );
        table.warning(DELAY.key, &text);
    }
}

/// Codes below 200 are of answers before the answer.
fn warn_of_codes(table: &Reader<'_>, kind: &MonitorKind) {
    let (MonitorKind::Http(question) | MonitorKind::Https(question)) = kind else { return };
    if !(FIRST_FINAL_CODE..1000).any(|code| question.expected.accept(code)) {
        let text = format!(
            "no answer ends with {}: final codes begin with 200, so every member goes down; give the code of a healthy \
             member's answer",
            question.expected
        );
        table.warning(EXPECTED_CODES.key, &text);
    }
}

/// A server that speaks UDP at a port seldom answers anything else at the same one.
pub(super) fn warn_of_other_ports(complaints: &Complaints, pool: &Pool, members: &[Spot]) {
    let protocol = match pool.health_monitor.as_ref().map(|monitor| &monitor.kind) {
        Some(MonitorKind::Tcp(_)) => "TCP",
        Some(MonitorKind::Http(_)) => "HTTP",
        Some(MonitorKind::Sctp) => "SCTP",
        _ => return,
    };
    if pool.protocol != Transport::Udp {
        return;
    }
    for (member, spot) in pool.members.iter().zip(members).filter(|(member, _)| member.monitor_port.is_none()) {
        let port = member.protocol_port;
        let text = format!(
            "{}: it is probed over {protocol} at port {port}, where it serves UDP; write type = \"UDP-CONNECT\" in the \
             health monitor, or monitor_port = and a port that answers {protocol} (monitor_port = {port} if this one \
             does)",
            spot.place
        );
        complaints.warning(spot.line(Some(MEMBER_PORT.key)), text);
    }
}

#[cfg(test)]
pub(super) mod samples;

#[cfg(test)]
mod tests;
