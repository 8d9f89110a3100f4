//! `lbctl pool`.

use clap::Subcommand;

use super::{
    Session,
    failure::Failure,
    table::{Screen, by_name, facts, joined, listing, or_dash},
};
use crate::control::{
    protocol::{Request, Response},
    view::{PoolView, SessionPersistenceView, health::HealthMonitorView},
};

/// What can be done with pools.
#[derive(Clone, PartialEq, Eq, Debug, Subcommand)]
pub(super) enum Verb {
    /// List pools with their states and how many members are in use
    #[command(visible_alias = "ls")]
    List,

    /// Show everything about a pool
    #[command(after_help = "Examples:\n  lbctl pool show web/app\n  lbctl member list --pool web/app")]
    Show {
        /// Its label, or an end of it that no other pool has
        name: String,
    },
}

pub(super) fn run(verb: Verb, session: &Session) -> Result<(), Failure> {
    match verb {
        Verb::List => session.list(&Request::Pools { select: None }, records, list),
        Verb::Show { name } => session.show(&Request::Pools { select: Some(name) }, records, show),
    }
}

fn records(response: Response) -> Option<Vec<PoolView>> {
    match response {
        Response::Pools(found) => Some(found),
        _ => None,
    }
}

fn list(found: &[PoolView], screen: Screen) -> String {
    if found.is_empty() {
        return "no pools\n".to_owned();
    }
    let mut found: Vec<&PoolView> = found.iter().collect();
    found.sort_by(|a, b| by_name(&a.name, &b.name));
    let rows = found.into_iter().map(|pool| {
        [
            pool.name.clone(),
            or_dash(pool.protocol.as_ref()),
            pool.operating_status.word().to_owned(),
            format!("{} of {}", pool.members_in_use, pool.members),
            pool.lb_algorithm.clone(),
            pool.forward_mode.clone(),
            joined(&pool.listeners),
            or_dash(pool.session_persistence.as_ref().map(|persistence| persistence.kind.clone())),
            notes(pool),
        ]
    });
    let headings = ["NAME", "PROTOCOL", "STATUS", "IN USE", "ALGORITHM", "MODE", "LISTENERS", "PERSISTENCE", "NOTE"];
    listing(screen, headings, &["IN USE"], rows)
}

fn notes(pool: &PoolView) -> String {
    const REFUSED: &str = "every new flow is refused";
    let refuses = pool.table_slots == 0 && !pool.status_reason.as_ref().is_some_and(|reason| reason.contains(REFUSED));
    let refuses = refuses.then(|| REFUSED.to_owned());
    let changing = (pool.changing == Some(true)).then(|| "a change is under way".to_owned());
    [refuses, pool.status_reason.clone(), changing].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn show(pool: &PoolView, screen: Screen) -> String {
    let slots = if pool.table_slots == 0 { " (every new flow is refused)" } else { "" };
    facts(
        screen,
        [
            ("name", pool.name.clone()),
            ("protocol", or_dash(pool.protocol.as_ref())),
            ("lb_algorithm", pool.lb_algorithm.clone()),
            ("forward_mode", pool.forward_mode.clone()),
            ("admin_state_up", or_dash(pool.admin_state_up)),
            ("operating_status", pool.operating_status.word().to_owned()),
            ("status_reason", or_dash(pool.status_reason.as_ref())),
            ("status_since", or_dash(pool.status_since.as_ref())),
            ("health_monitor", or_dash(pool.health_monitor.as_ref().map(monitor))),
            ("listeners", joined(&pool.listeners)),
            ("members", pool.members.to_string()),
            ("members_in_use", pool.members_in_use.to_string()),
            ("table_slots", format!("{}{slots}", pool.table_slots)),
            ("session_persistence", or_dash(pool.session_persistence.as_ref().map(persistence))),
            ("mss_clamp", or_dash(pool.mss_clamp.as_ref())),
            ("transition_hold", or_dash(pool.transition_hold.map(|seconds| format!("{seconds}s")))),
            ("changing", or_dash(pool.changing)),
        ],
    )
}

fn persistence(persistence: &SessionPersistenceView) -> String {
    let SessionPersistenceView { kind, persistence_timeout, persistence_granularity } = persistence;
    format!("{kind} for {persistence_timeout}s, granularity {persistence_granularity}")
}

fn monitor(monitor: &HealthMonitorView) -> String {
    let HealthMonitorView { kind, delay, timeout, max_retries, max_retries_down, admin_state_up, .. } = monitor;
    let off = if *admin_state_up { "" } else { " (switched off)" };
    let kind = match &monitor.question.url_path {
        Some(path) => format!("{kind} {path}"),
        None => kind.clone(),
    };
    format!("{kind} every {delay}s within {timeout}s, up after {max_retries}, down after {max_retries_down}{off}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::sample;

    #[test]
    fn a_pool_is_listed_with_its_members_in_use_and_whether_it_refuses() {
        let mut empty = sample::pool();
        empty.name = "web/spare".to_owned();
        (empty.protocol, empty.members_in_use, empty.table_slots) = (None, 0, 0);
        empty.listeners.clear();
        (empty.session_persistence, empty.changing) = (None, None);
        empty.status_reason = Some("it has no members: every new flow is refused".to_owned());
        let text = list(&[empty, sample::pool()], Screen::default());
        assert_eq!(
            text,
            "NAME       PROTOCOL  STATUS    IN USE  ALGORITHM       MODE  LISTENERS  PERSISTENCE  NOTE\n\
             web/app    TCP       DEGRADED  1 of 2  SOURCE_IP_PORT  nat   web/http   SOURCE_IP    1 of 2 members is down: \
             app-2 (connection refused); a change is under way\n\
             web/spare  -         DEGRADED  0 of 2  SOURCE_IP_PORT  nat   -          -            it has no members: every \
             new flow is refused\n"
        );
    }

    #[test]
    fn a_pool_is_shown_with_its_monitor_in_words() {
        let text = show(&sample::pool(), Screen::default());
        for line in [
            "session_persistence  SOURCE_IP for 360s, granularity 255.255.255.0",
            "mss_clamp            auto",
            "transition_hold      300s",
            "changing             true",
        ] {
            assert!(text.lines().any(|l| l == line), "no {line:?} in\n{text}");
        }
        assert!(text.contains("health_monitor       TCP every 0.5s within 1s, up after 2, down after 3\n"), "{text}");
        assert!(text.contains("table_slots          211\n"), "{text}");
        assert!(text.contains("status_reason        1 of 2 members is down: app-2 (connection refused)\n"), "{text}");
        assert!(text.contains("status_since         2023-11-14T22:08:20.000Z\n"), "{text}");
    }
}
