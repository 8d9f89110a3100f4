//! `lbctl status`: one screen for an operator who was woken by a pager.

use std::time::{SystemTime, UNIX_EPOCH};

use super::{
    Session,
    failure::Failure,
    numbers::{ago, count, duration, millis},
    table::{Screen, facts},
};
use crate::control::{
    protocol::{Request, Response},
    view::{
        CountsView, InterfaceView, Role, StatusView,
        sync::SyncStatusView,
        vrrp::{VrrpState, VrrpStatusView},
    },
};

pub(super) fn run(session: &Session) -> Result<(), Failure> {
    let Response::Status(status) = session.source.ask(&Request::Status)? else { return Err(Failure::OffTopic) };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    session.output.write(&status, |screen| show(&status, now, screen))
}

fn show(status: &StatusView, now: u64, screen: Screen) -> String {
    let counts = &status.counts;
    let mut known = vec![
        ("status", whole(status)),
        ("role", status.role.map_or_else(|| "none: no VIP is in the data path".to_owned(), |r| role(r).to_owned())),
    ];
    if let Some(daemon) = &status.daemon {
        let loads = if daemon.reloads == 1 { "1 reload".to_owned() } else { format!("{} reloads", daemon.reloads) };
        known.push(("lbd", format!("{}, pid {}, up {}", daemon.version, daemon.pid, duration(daemon.uptime_seconds))));
        known.push(("pool file", format!("{}, read {}, {loads}", daemon.config_file, ago(daemon.loaded_at, now))));
        let error = daemon.last_error.as_ref().map(|error| format!("{}: {}", ago(error.at, now), error.message));
        known.push(("last error", error.unwrap_or_else(|| "none".to_owned())));
    } else {
        known.push(("lbd", format!("not asked: this is from the {}", status.source)));
    }
    if !status.vrrp.is_empty() {
        known.push(("vrrp", status.vrrp.iter().map(vrrp).collect::<Vec<_>>().join("\n")));
    }
    if let Some(peer) = &status.sync {
        known.push(("flow sync", sync(peer)));
    }
    known.push(("interfaces", interfaces(&status.interfaces, &status.interfaces_missing)));
    known.push((
        "serving",
        format!(
            "{}, {}, {}",
            some(counts.load_balancers, "load balancer"),
            some(counts.listeners, "listener"),
            some(counts.pools, "pool")
        ),
    ));
    known.push(("members", members(counts)));
    let why = if status.packets_dropped > 0 { "; `lbctl drops --nonzero` says why" } else { "" };
    known.push(("dropped", format!("{} packets{why}", count(status.packets_dropped))));
    facts(screen, known)
}

/// The status of everything, and the reason.
fn whole(status: &StatusView) -> String {
    match &status.status_reason {
        Some(reason) => format!("{}: {reason}", status.operating_status.word()),
        None => status.operating_status.word().to_owned(),
    }
}

const fn role(role: Role) -> &'static str {
    match role {
        Role::Active => "ACTIVE",
        Role::Backup => "BACKUP: forwards what reaches it, answers for no VIP",
        Role::Mixed => "MIXED: `lbctl loadbalancer list` tells it for each VIP",
    }
}

/// What a VRRP instance does, and what is out of the ordinary about it.
fn vrrp(instance: &VrrpStatusView) -> String {
    let mut text = format!("{} {}", instance.name, instance.state.word());
    let mut add = |words: String| text.push_str(&words);
    if instance.carrying && instance.state != VrrpState::Active {
        add(" and still carrying".to_owned());
    }
    add(format!(" for {}", millis(instance.state_millis)));
    if instance.paused {
        add(", PAUSED by an operator".to_owned());
    }
    if let Some(fault) = &instance.fault {
        add(format!(", out: {fault}"));
    }
    match instance.heard_last {
        Some((address, age)) => add(format!("; {address} heard {} ago", millis(age))),
        None => add("; no other router heard".to_owned()),
    }
    text
}

fn sync(peer: &SyncStatusView) -> String {
    let heard = match peer.heard_millis {
        Some(age) => format!("heard {} ago", millis(age)),
        None => "never heard".to_owned(),
    };
    let mut text = format!("{} {}, {heard}, lag {}", peer.peer, peer.state.word(), millis(peer.lag_millis));
    if let Some(problem) = &peer.socket_problem {
        text.push_str(&format!("; NO SOCKET: {problem}"));
    }
    if !peer.complete {
        text.push_str("; its flows are NOT ALL KNOWN here");
    }
    text
}

/// A line for each interface; what makes it slow, or is missing, is said loudly.
fn interfaces(interfaces: &[InterfaceView], missing: &[String]) -> String {
    if interfaces.is_empty() && missing.is_empty() {
        return "none: no packet meets the data path".to_owned();
    }
    let mut interfaces: Vec<&InterfaceView> = interfaces.iter().collect();
    interfaces.sort_by_key(|interface| interface.port);
    let line = |interface: &&InterfaceView| format!("{} {}", interface.name, mode(interface));
    let missing = missing.iter().map(|name| format!("{name} NOT ATTACHED: it is gone, or the last error says why"));
    interfaces.iter().map(line).chain(missing).collect::<Vec<_>>().join("\n")
}

/// How the program is attached.
pub(super) fn mode(interface: &InterfaceView) -> String {
    match (interface.xdp_mode.as_str(), &interface.fallback) {
        (mode, Some(why)) => format!("{} (slow; the driver refused: {why})", mode.to_uppercase()),
        ("generic", None) => "GENERIC (slow)".to_owned(),
        (mode, None) => mode.to_owned(),
    }
}

fn some(number: usize, what: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{number} {what}{s}")
}

/// Members by state; states that none is in are left out.
fn members(counts: &CountsView) -> String {
    let states = [
        (counts.members_online, "online"),
        (counts.members_error, "in error"),
        (counts.members_draining, "draining"),
        (counts.members_offline, "switched off"),
    ];
    let beside =
        [(counts.members_overridden, "set by hand"), (counts.members_retired, "gone from the pool file and finishing")];
    let said = |parts: &[(usize, &str)]| {
        let parts = parts.iter().filter(|(number, _)| *number > 0);
        parts.map(|(number, what)| format!("{number} {what}")).collect::<Vec<_>>().join(", ")
    };
    let mut text = counts.members.to_string();
    for (before, words) in [(": ", said(&states)), ("; ", said(&beside))] {
        if !words.is_empty() {
            text = format!("{text}{before}{words}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::{
        cli::sample,
        control::view::{ErrorView, OperatingStatus, sync::SyncState},
    };

    #[test]
    fn everything_an_operator_asks_first_is_on_one_screen() {
        let text = show(&sample::status(), sample::NOW, Screen::default());
        assert_eq!(
            text,
            "status      DEGRADED: load balancer web: pool web/app: 1 of 2 members is down: app-2 (connection refused)\n\
             role        ACTIVE\n\
             lbd         0.1.0, pid 4242, up 3d 4h\n\
             pool file   /etc/krater/krater.toml, read 5m 0s ago, 2 reloads\n\
             last error  none\n\
             vrrp        front ACTIVE for 3h 4m; 192.0.2.3 heard 3h 4m ago\n\
             flow sync   198.51.100.2:5405 PRESENT, heard 80 ms ago, lag 12 ms\n\
             interfaces  eth0 native\n            \
                         eth1 GENERIC (slow; the driver refused: operation not supported)\n\
             serving     1 load balancer, 2 listeners, 1 pool\n\
             members     3: 1 online, 1 in error, 1 draining; 1 set by hand\n\
             dropped     12.3 k packets; `lbctl drops --nonzero` says why\n"
        );
    }

    #[test]
    fn the_last_error_is_said_with_its_age() {
        let mut status = sample::status();
        if let Some(daemon) = &mut status.daemon {
            daemon.last_error = Some(ErrorView { at: sample::NOW - 65, message: "pool file: line 3".to_owned() });
        }
        let text = show(&status, sample::NOW, Screen::default());
        assert!(text.contains("last error  1m 5s ago: pool file: line 3\n"), "{text}");
    }

    #[test]
    fn offline_and_idle_are_said_in_words() {
        let status = StatusView {
            source: "pinned maps".to_owned(),
            daemon: None,
            operating_status: OperatingStatus::Offline,
            status_reason: None,
            role: None,
            counts: CountsView::default(),
            interfaces: Vec::new(),
            interfaces_missing: Vec::new(),
            packets_dropped: 0,
            vrrp: Vec::new(),
            sync: None,
        };
        assert_eq!(
            show(&status, sample::NOW, Screen::default()),
            "status      OFFLINE\n\
             role        none: no VIP is in the data path\n\
             lbd         not asked: this is from the pinned maps\n\
             interfaces  none: no packet meets the data path\n\
             serving     0 load balancers, 0 listeners, 0 pools\n\
             members     0\n\
             dropped     0 packets\n"
        );
    }

    #[test]
    fn what_keeps_an_instance_from_its_work_is_said() {
        let mut status = sample::status();
        let instance = &mut status.vrrp[0];
        (instance.state, instance.state_millis, instance.heard_last) = (VrrpState::Backup, 40, None);
        (instance.paused, instance.fault) = (true, Some("eth0 is down".to_owned()));
        let sync = status.sync.as_mut().unwrap();
        (sync.heard_millis, sync.state, sync.complete) = (None, SyncState::Absent, false);
        sync.socket_problem = Some("address not available".to_owned());
        let text = show(&status, sample::NOW, Screen::default());
        for line in [
            "vrrp        front BACKUP and still carrying for 40 ms, PAUSED by an operator, out: eth0 is down; no other \
             router heard\n",
            "flow sync   198.51.100.2:5405 ABSENT, never heard, lag 12 ms; NO SOCKET: address not available; its flows \
             are NOT ALL KNOWN here\n",
        ] {
            assert!(text.contains(line), "no {line:?} in\n{text}");
        }
    }

    #[test]
    fn a_generic_interface_is_flagged_even_when_it_was_asked_for() {
        let mut interface = sample::interfaces().remove(1);
        interface.fallback = None;
        assert_eq!(interfaces(&[interface], &[]), "eth1 GENERIC (slow)");
    }

    #[test]
    fn an_interface_that_is_missing_is_named_among_the_others() {
        let mut status = sample::status();
        status.interfaces_missing = vec!["eth2".to_owned()];
        let text = show(&status, sample::NOW, Screen::default());
        assert!(text.contains("\n            eth2 NOT ATTACHED: "), "{text}");
        status.interfaces.clear();
        let text = show(&status, sample::NOW, Screen::default());
        assert!(text.contains("\ninterfaces  eth2 NOT ATTACHED: "), "{text}");
    }

    #[test]
    fn a_narrow_screen_is_kept_to() {
        let text = show(&sample::status(), sample::NOW, Screen { width: Some(50), colour: false });
        assert!(text.lines().all(|line| line.chars().count() <= 50), "{text}");
    }
}
