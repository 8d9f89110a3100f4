//! What the health monitors found, member by member, and how they fare.

use std::time::SystemTime;

use lb_health::{Delivery, Handshake, Kind, Outcome, Question, Record, Workload};

use super::{
    Knowledge, members,
    picture::{MemberRow, Picture, PoolRow},
    pools,
};
use crate::{
    compile::{MemberKey, Verdict},
    control::{
        moment::rfc3339,
        protocol::{MAX_HEALTH_LISTED, Refusal, RefusalCode},
        status::{self, Object},
        view::{
            OperatingStatus,
            health::{
                HealthListView, HealthMonitorView, HealthSummaryView, HealthView, MemberHealthView, QuestionView,
                ResultKind, ResultView, TransitionView, VerdictView,
            },
        },
    },
    model::{HealthMonitor, ProbePath},
};

/// What the health monitors know.
#[derive(Clone, Debug, Default)]
pub struct HealthKnowledge {
    /// What is known of each member that is watched, as far as the request asks for it.
    pub records: std::collections::BTreeMap<MemberKey, Record>,
    /// What the monitors as a whole are doing.
    pub workload: Workload,
}

/// Whom to list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice<'s> {
    /// Members of this pool only.
    pub(super) pool: Option<&'s str>,
    /// Those that are down, or failed last, only.
    pub(super) failing: bool,
    /// How many at most.
    pub(super) limit: u32,
}

pub(super) fn list(
    knowledge: &Knowledge<'_>,
    picture: &Picture<'_>,
    choice: Choice<'_>,
) -> Result<HealthListView, Refusal> {
    let health = known_here(knowledge)?;
    if choice.limit > MAX_HEALTH_LISTED {
        let message = format!("at most {MAX_HEALTH_LISTED} members are listed at once; ask for fewer, or for one pool");
        return Err(Refusal::new(RefusalCode::Invalid, message));
    }
    let pool = choice.pool.map(|pool| pools::pick(picture, pool)).transpose()?;
    let rows = picture.members.iter().filter(|row| pool.is_none_or(|pool| pool.label == row.key.pool));
    let watched = rows.filter(|row| !row.retired).filter_map(|row| Some((row, health.records.get(&row.key)?)));
    let limit = usize::try_from(choice.limit).unwrap_or(usize::MAX);
    let mut listed = HealthListView { summary: summary(health), ..HealthListView::default() };
    for (row, record) in watched.filter(|(_, record)| !choice.failing || is_failing(record)) {
        listed.matching += 1;
        if listed.members.len() < limit {
            listed.members.push(line(row, record));
        }
    }
    Ok(listed)
}

/// How all of them are, without a look at any.
pub(super) fn overall(knowledge: &Knowledge<'_>) -> Result<HealthListView, Refusal> {
    let summary = summary(known_here(knowledge)?);
    Ok(HealthListView { matching: summary.members, summary, ..HealthListView::default() })
}

pub(super) fn show(knowledge: &Knowledge<'_>, picture: &Picture<'_>, select: &str) -> Result<HealthView, Refusal> {
    let health = known_here(knowledge)?;
    let row = members::pick(picture, select)?;
    let pool = picture.pools.iter().find(|pool| pool.label == row.key.pool);
    let monitor = pool.and_then(|pool| monitor(knowledge, pool));
    let (Some(monitor), Some(record)) = (monitor, health.records.get(&row.key)) else {
        return Err(Refusal::new(RefusalCode::Invalid, unwatched(row)));
    };
    let transition = |transition: &lb_health::Transition| TransitionView {
        time: rfc3339(transition.at),
        verdict: verdict(transition.verdict),
        text: transition.outcome.to_string(),
    };
    Ok(HealthView {
        member: line(row, record),
        address: row.key.address,
        protocol_port: row.key.port,
        health_monitor: monitor,
        to_vip: matches!(record.question.delivery, Delivery::Link { .. }),
        asking: record.asking,
        probes: record.probes,
        failures: record.failures,
        next_hop_missing: row.hop_missing.clone(),
        results: record.results.iter().map(result).collect(),
        transitions: record.transitions.iter().map(transition).collect(),
    })
}

/// The maps say who was found down, not what is asked and answered.
fn known_here<'a>(knowledge: &Knowledge<'a>) -> Result<&'a HealthKnowledge, Refusal> {
    knowledge.health.filter(|_| knowledge.intent.is_some()).ok_or_else(|| {
        let message = "health monitors run in lbd and are not known without it; `lbctl --offline member list` shows \
                       which members they had found down";
        Refusal::new(RefusalCode::Invalid, message)
    })
}

/// Why nobody watches a member.
fn unwatched(row: &MemberRow<'_>) -> String {
    let label = &row.label;
    match row.wanted {
        None => format!("nobody watches {label}: it is gone from the pool file and waits for its flows to end"),
        Some((pool, _)) if pool.health_monitor.is_none() => format!(
            "nobody watches {label}: pool {} has no [loadbalancer.pool.healthmonitor] in the pool file",
            row.key.pool
        ),
        // There is a monitor, and yet nobody watches a member that could be: it is the monitor.
        Some(_) if row.status == OperatingStatus::NoMonitor => {
            format!("nobody watches {label} now: its health monitor is switched off (admin_state_up = false)")
        }
        Some(_) => match &row.reason {
            Some(reason) => format!("nobody watches {label} now: {reason}"),
            None => format!("nobody watches {label} yet: lbd has only just begun to"),
        },
    }
}

fn is_failing(record: &Record) -> bool {
    let failed = record.last().is_some_and(|last| !matches!(last.outcome, Outcome::Answers(_)));
    record.verdict == Some(Verdict::Down) || failed
}

fn line(row: &MemberRow<'_>, record: &Record) -> MemberHealthView {
    let Question { kind, to, .. } = &*record.question;
    let since = record.transitions.front().filter(|_| record.verdict.is_some());
    MemberHealthView {
        name: row.label.clone(),
        kind: kind.name().to_owned(),
        monitor_address: to.ip(),
        monitor_port: (!matches!(kind, Kind::Ping)).then(|| to.port()),
        url_path: match kind {
            Kind::Http(question) | Kind::Https(question) => Some(question.path.as_str().to_owned()),
            _ => None,
        },
        verdict: record.verdict.map(verdict),
        since: since.map(|transition| rfc3339(transition.at)),
        operating_status: row.status,
        status_reason: row.reason.clone(),
        last: record.last().map(result),
        against: record.against,
        needed: record.needed,
        damping: record.damping,
    }
}

const fn verdict(verdict: Verdict) -> VerdictView {
    match verdict {
        Verdict::Up => VerdictView::Up,
        Verdict::Down => VerdictView::Down,
    }
}

fn result(result: &lb_health::Result) -> ResultView {
    ResultView {
        time: rfc3339(result.at),
        result: match result.outcome {
            Outcome::Answers(_) => ResultKind::Success,
            Outcome::Fails(_) => ResultKind::Failure,
            Outcome::NotAsked(_) => ResultKind::NotAsked,
        },
        took_micros: u64::try_from(result.took.as_micros()).unwrap_or(u64::MAX),
        text: result.outcome.to_string(),
    }
}

fn summary(health: &HealthKnowledge) -> HealthSummaryView {
    let Workload { members, up, down, damped, .. } = health.workload;
    let workload = &health.workload;
    HealthSummaryView {
        members,
        up,
        down,
        unknown: members.saturating_sub(up + down),
        damped,
        in_flight: workload.in_flight,
        most_in_flight: workload.most_in_flight,
        not_asked: workload.not_asked,
        probes: workload.lateness.probes,
        late: workload.lateness.late,
        late_max_micros: workload.lateness.max_us,
        late_max_per_mille: workload.lateness.max_per_mille,
    }
}

/// The health monitor of a pool, if the pool file gives it one.
pub(super) fn monitor(knowledge: &Knowledge<'_>, row: &PoolRow<'_>) -> Option<HealthMonitorView> {
    let monitor: &HealthMonitor = row.wanted.and_then(|(_, pool)| pool.health_monitor.as_ref())?;
    let (operating_status, status_reason) = status::of_monitor(monitor.admin_state_up, row.off);
    Some(HealthMonitorView {
        kind: monitor.kind.name().to_owned(),
        delay: monitor.delay.as_secs_f64(),
        timeout: monitor.timeout.as_secs_f64(),
        max_retries: monitor.max_retries,
        max_retries_down: monitor.max_retries_down,
        admin_state_up: monitor.admin_state_up,
        operating_status,
        status_reason,
        status_since: knowledge.since(Object::HealthMonitor, &row.label, operating_status),
        flap_damping: monitor.flap_damping,
        probe_path: match monitor.probe_path {
            ProbePath::Member => "member",
            ProbePath::Vip => "vip",
        }
        .to_owned(),
        question: question(&monitor.kind),
    })
}

fn question(kind: &Kind) -> QuestionView {
    let text = |text: &str| Some(text.to_owned());
    match kind {
        Kind::Tcp(handshake) => {
            QuestionView { tcp_handshake: text(handshake_name(*handshake)), ..QuestionView::default() }
        }
        Kind::Http(http) | Kind::Https(http) => QuestionView {
            http_method: text(http.method.name()),
            http_version: text(http.version.name()),
            url_path: text(http.path.as_str()),
            expected_codes: Some(http.expected.to_string()),
            domain_name: http.domain_name.as_ref().map(|name| name.as_str().to_owned()),
            ..QuestionView::default()
        },
        Kind::TlsHello(name) => {
            QuestionView { domain_name: name.as_ref().map(|name| name.as_str().to_owned()), ..QuestionView::default() }
        }
        Kind::Grpc(grpc) => QuestionView {
            domain_name: grpc.domain_name.as_ref().map(|name| name.as_str().to_owned()),
            grpc_service: text(&grpc.service),
            ..QuestionView::default()
        },
        Kind::Ping | Kind::UdpConnect | Kind::Sctp => QuestionView::default(),
    }
}

const fn handshake_name(handshake: Handshake) -> &'static str {
    match handshake {
        Handshake::Half => "half",
        Handshake::Full => "full",
    }
}

impl Knowledge<'_> {
    /// Since when an object has this status.
    pub(super) fn since(
        &self,
        object: Object,
        label: &str,
        status: crate::control::view::OperatingStatus,
    ) -> Option<String> {
        let since: SystemTime = self.intent?.standings.since(object, label, status)?;
        Some(rfc3339(since))
    }
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;
