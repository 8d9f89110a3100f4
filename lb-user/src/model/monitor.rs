//! Which health monitors a pool can have.
//!
//! The rules are Octavia's (`octavia/api/v2/controllers/health_monitor.py` and its
//! recorded answers), and those that follow from how a pool's packets get to members.
//! What a single value may be is checked where it is made, in `lb_health`.

use lb_health::Handshake;

use super::{
    ForwardMode, HealthMonitor, MonitorKind, Pool, ProbePath, Transport,
    build::Errors,
    error::{ModelErrorKind, Place},
};

/// The types that a UDP or SCTP pool can have, as in Octavia.
const OF_DATAGRAM_POOLS: [&str; 4] = ["UDP-CONNECT", "SCTP", "TCP", "HTTP"];
/// The types that a TCP pool can have: those of Octavia, and `GRPC`.
const OF_TCP_POOLS: [&str; 6] = ["PING", "TCP", "HTTP", "HTTPS", "TLS-HELLO", "GRPC"];

/// The types of health monitors that a pool of a transport can have.
#[must_use]
pub const fn monitors_of(transport: Transport) -> &'static [&'static str] {
    match transport {
        Transport::Tcp => &OF_TCP_POOLS,
        Transport::Udp | Transport::Sctp => &OF_DATAGRAM_POOLS,
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
    if monitor.probe_path == ProbePath::Vip {
        probes_to_the_vip(place, pool, monitor, errors);
    }
}

/// Only packets of our own can be led past the routes, to a VIP that many hold.
fn probes_to_the_vip(place: Place, pool: &Pool, monitor: &HealthMonitor, errors: &mut Errors) {
    let mode = pool.forward_mode;
    if !mode.is_direct() {
        errors.add(place, ModelErrorKind::VipIsNotOnMembers { mode });
        return;
    }
    if mode != ForwardMode::Dsr {
        errors.add(place, ModelErrorKind::VipBehindTunnel { mode });
        return;
    }
    match &monitor.kind {
        MonitorKind::Ping | MonitorKind::Tcp(Handshake::Half) | MonitorKind::UdpConnect | MonitorKind::Sctp => {}
        kind => errors.add(place, ModelErrorKind::VipNeedsPackets { kind: kind.name() }),
    }
    let Place::Monitor(lb, at) = place else { return };
    for (member, _) in pool.members.iter().enumerate().filter(|(_, member)| member.monitor_address.is_some()) {
        errors.add(Place::Member(lb, at, member), ModelErrorKind::MonitorAddressAndVip { at: place });
    }
}

#[cfg(test)]
#[path = "monitor_tests.rs"]
mod tests;
