//! Which health monitors a pool can have.
//!
//! The rules are Octavia's (`octavia/api/v2/controllers/health_monitor.py` and its
//! recorded answers), and those that follow from how a pool's packets get to members.
//! What a single value may be is checked where it is made, in `lb_health`.

use super::{
    ForwardMode, HealthMonitor, MonitorKind, Pool, ProbePath, Transport,
    build::{Errors, ModelErrorKind, Place},
};

/// The types that a UDP pool can have, as in Octavia.
const OF_UDP_POOLS: [&str; 4] = ["UDP-CONNECT", "SCTP", "TCP", "HTTP"];
/// The types that a TCP pool can have: those of Octavia, and `GRPC`.
const OF_TCP_POOLS: [&str; 6] = ["PING", "TCP", "HTTP", "HTTPS", "TLS-HELLO", "GRPC"];

/// The types of health monitors that a pool of a transport can have.
#[must_use]
pub const fn monitors_of(transport: Transport) -> &'static [&'static str] {
    match transport {
        Transport::Tcp => &OF_TCP_POOLS,
        Transport::Udp | Transport::Sctp => &OF_UDP_POOLS,
    }
}

/// Checks the monitor of the pool at `place`, which is the monitor's own.
pub(super) fn check(place: Place, pool: &Pool, monitor: &HealthMonitor, errors: &mut Errors) {
    let kind = monitor.kind.name();
    if !monitors_of(pool.protocol).contains(&kind) {
        errors.add(place, ModelErrorKind::MonitorOfOtherProtocol { kind, pool: pool.protocol });
    }
    if let MonitorKind::Http(question) | MonitorKind::Https(question) = &monitor.kind
        && question.domain_name.is_some()
        && question.version == lb_health::HttpVersion::V10
    {
        errors.add(place, ModelErrorKind::HostOfHttp10);
    }
    let members_hold_the_vip = match pool.forward_mode {
        ForwardMode::Nat => false,
    };
    if monitor.probe_path == ProbePath::Vip && !members_hold_the_vip {
        errors.add(place, ModelErrorKind::VipIsNotOnMembers);
    }
}

#[cfg(test)]
#[path = "monitor_tests.rs"]
mod tests;
