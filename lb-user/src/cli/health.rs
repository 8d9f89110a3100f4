//! `lbctl health`.

use std::time::{Duration, SystemTime};

use clap::Subcommand;

use super::{
    Session,
    failure::Failure,
    listener::place,
    numbers::{count, duration, micros},
    table::{Screen, by_name, facts, listing, or_dash, plain},
};
use crate::control::{
    moment,
    protocol::{MAX_HEALTH_LISTED, Request, Response},
    view::health::{
        HealthListView, HealthMonitorView, HealthSummaryView, HealthView, MemberHealthView, QuestionView, ResultView,
        TransitionView, VerdictView,
    },
};

/// What can be seen of health monitors.
#[derive(Clone, PartialEq, Eq, Debug, Subcommand)]
pub(super) enum Verb {
    /// List what the monitors find, member by member
    #[command(
        visible_alias = "ls",
        after_help = "\
AGAINST is how many answers in a row speak against the verdict, of how many that
change it: a member that is UP at 2 of 3 goes down with the next failure. A verdict
of - is not known yet and counts as UP. Members that no monitor watches are not
listed; `lbctl member list` has them.

Examples:
  lbctl health list --failing               who is down, or failed when asked last
  lbctl health list --pool web/app
  lbctl -o json health list | jq '.members[] | select(.verdict == \"DOWN\").name'"
    )]
    List {
        /// Members of this pool only
        #[arg(long, value_name = "POOL")]
        pool: Option<String>,

        /// Those that are down, or failed when they were asked last, only
        #[arg(long)]
        failing: bool,

        /// How many at most
        #[arg(long, value_name = "N", default_value_t = 1000,
              value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_HEALTH_LISTED)))]
        limit: u32,
    },

    /// Show everything about a member's health: question, pace, last results
    #[command(after_help = "\
A member that comes up and soon goes down again flaps. Each time, the successes that
it needs to come up again double, up to 32 times as many, and each quiet period that
it stays up halves them. flap_damping = false in the pool file switches that off.

Examples:
  lbctl health show app-1                   why it is down, and what it answered before
  lbctl -o json health show app-1 | jq -r '.results[] | [.time, .result, .text] | @tsv'")]
    Show {
        /// Its label, or an end of it that no other member has
        member: String,
    },

    /// Show how the monitors as a whole fare: members watched, probes, lateness
    #[command(after_help = "\
A probe is late when it starts later than planned by more than 5 % of its delay:
then this host is too busy. A probe that is not asked lacked something of this host,
such as memory or local ports, and says nothing about the member.

Examples:
  lbctl health summary
  lbctl -o json health summary | jq .late")]
    Summary,
}

pub(super) fn run(verb: Verb, session: &Session) -> Result<(), Failure> {
    let now = SystemTime::now();
    match verb {
        Verb::List { pool, failing, limit } => {
            let found = ask(session, Request::ListHealth { pool, failing, limit })?;
            session.output.write(&found, |screen| list(&found, failing, now, screen))
        }
        Verb::Summary => {
            let found = ask(session, Request::ListHealth { pool: None, failing: false, limit: 0 })?;
            session.output.write(&found.summary, |screen| summary(&found.summary, screen))
        }
        Verb::Show { member } => {
            let Response::Health(found) = session.source.ask(&Request::ShowHealth { member })? else {
                return Err(Failure::OffTopic);
            };
            session.output.write(&found, |screen| show(&found, now, screen))
        }
    }
}

fn ask(session: &Session, request: Request) -> Result<HealthListView, Failure> {
    match session.source.ask(&request)? {
        Response::HealthList(found) => Ok(found),
        _ => Err(Failure::OffTopic),
    }
}

const COLUMNS: [&str; 9] = ["NAME", "TYPE", "PROBED", "VERDICT", "FOR", "LAST RESULT", "TOOK", "AGAINST", "NOTE"];

fn list(found: &HealthListView, failing: bool, now: SystemTime, screen: Screen) -> String {
    let mut text = if found.members.is_empty() {
        if failing { "no member fails\n" } else { "no member is watched\n" }.to_owned()
    } else {
        let mut members: Vec<&MemberHealthView> = found.members.iter().collect();
        members.sort_by(|a, b| by_name(&a.name, &b.name));
        listing(screen, COLUMNS, &["FOR", "TOOK", "AGAINST"], members.into_iter().map(|member| row(member, now)))
    };
    if found.matching > found.members.len() {
        text.push_str(&format!("({} of {} members; --limit shows more)\n", found.members.len(), found.matching));
    }
    text.push('\n');
    text.push_str(&plain(&footer(&found.summary)));
    text
}

fn row(member: &MemberHealthView, now: SystemTime) -> [String; 9] {
    [
        member.name.clone(),
        member.kind.clone(),
        probed(member),
        or_dash(member.verdict.map(VerdictView::word)),
        or_dash(member.since.as_deref().and_then(|since| age(since, now))),
        or_dash(member.last.as_ref().map(|last| &last.text)),
        or_dash(member.last.as_ref().map(|last| micros(last.took_micros))),
        format!("{} of {}", member.against, member.needed),
        note(member),
    ]
}

/// Where a member is asked, and for which path.
fn probed(member: &MemberHealthView) -> String {
    let at = match member.monitor_port {
        Some(port) => place(member.monitor_address, port),
        None => member.monitor_address.to_string(),
    };
    format!("{at}{}", member.url_path.as_deref().unwrap_or_default())
}

/// What the other columns do not say.
fn note(member: &MemberHealthView) -> String {
    let flaps = (member.damping > 0).then(|| match member.verdict {
        Some(VerdictView::Down) => format!("flaps: needs {} successes in a row", member.needed),
        Some(VerdictView::Up) | None => "has flapped".to_owned(),
    });
    let last = member.last.as_ref().map_or("", |last| last.text.as_str());
    let status = member.status_reason.clone().filter(|reason| reason != last);
    [flaps, status].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// How long ago a moment was.
fn age(moment: &str, now: SystemTime) -> Option<String> {
    let since = now.duration_since(moment::read(moment)?).unwrap_or(Duration::ZERO);
    Some(duration(since.as_secs()))
}

fn footer(summary: &HealthSummaryView) -> String {
    format!(
        "{} watched: {}; {} under way; {}\n",
        some(summary.members, "member"),
        verdicts(summary),
        some(summary.in_flight, "probe"),
        lateness(summary)
    )
}

fn some(number: usize, what: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{} {what}{s}", count(number as u64))
}

fn verdicts(summary: &HealthSummaryView) -> String {
    let mut text = format!("{} up, {} down", summary.up, summary.down);
    if summary.unknown > 0 {
        text.push_str(&format!(", {} not known yet", summary.unknown));
    }
    if summary.damped > 0 {
        let flaps = if summary.damped == 1 { "flaps" } else { "flap" };
        text.push_str(&format!(", {} of them {flaps}", summary.damped));
    }
    text
}

fn lateness(summary: &HealthSummaryView) -> String {
    let HealthSummaryView { late, probes, not_asked, .. } = summary;
    let late = if *late == 0 {
        "none was late".to_owned()
    } else {
        format!("{} of {} were LATE", count(*late), count(*probes))
    };
    if *not_asked > 0 { format!("{late}, {} NOT ASKED", count(*not_asked)) } else { late }
}

fn summary(summary: &HealthSummaryView, screen: Screen) -> String {
    let share = if summary.probes == 0 { 0.0 } else { summary.late as f64 * 100.0 / summary.probes as f64 };
    facts(
        screen,
        [
            ("members", format!("{}: {}", summary.members, verdicts(summary))),
            ("in_flight", format!("{}, {} at most so far", summary.in_flight, summary.most_in_flight)),
            ("probes", count(summary.probes)),
            ("late", format!("{} ({share:.3} %) by more than 5 % of their delay", count(summary.late))),
            (
                "latest",
                format!(
                    "{} after its time, {}.{} % of its delay",
                    micros(summary.late_max_micros),
                    summary.late_max_per_mille / 10,
                    summary.late_max_per_mille % 10
                ),
            ),
            ("not_asked", not_asked(summary.not_asked)),
        ],
    )
}

fn not_asked(number: u64) -> String {
    let why = if number == 0 { "" } else { " (this host lacked memory, descriptors or local ports)" };
    format!("{}{why}", count(number))
}

fn show(found: &HealthView, now: SystemTime, screen: Screen) -> String {
    let HealthView { member, health_monitor: monitor, .. } = found;
    let vip = if found.to_vip { ", in frames to the member" } else { "" };
    let mut text = facts(
        screen,
        [
            ("name", member.name.clone()),
            ("verdict", for_how_long(member, now)),
            ("operating_status", member.operating_status.word().to_owned()),
            ("status_reason", or_dash(member.status_reason.as_ref())),
            ("address", place(found.address, found.protocol_port)),
            ("type", monitor.kind.clone()),
            ("probed", format!("{}{vip}", probed(member))),
            ("question", question(&monitor.kind, &monitor.question)),
            ("pace", format!("every {} s, each probe within {} s", monitor.delay, monitor.timeout)),
            ("max_retries", rise(member, monitor)),
            ("max_retries_down", format!("down after {}", failures(monitor.max_retries_down))),
            ("flap_damping", damping(member, monitor)),
            ("against", against(member)),
            ("asking", if found.asking { "yes: a probe is under way" } else { "no" }.to_owned()),
            ("probes", format!("{}, of which {} failed", count(found.probes), count(found.failures))),
            (
                "next_hop",
                found.next_hop_missing.as_ref().map_or_else(|| "known".to_owned(), |why| format!("none: {why}")),
            ),
        ],
    );
    text.push('\n');
    text.push_str(&results(&found.results, now, screen));
    text.push('\n');
    text.push_str(&transitions(&found.transitions, now, screen));
    text
}

fn for_how_long(member: &MemberHealthView, now: SystemTime) -> String {
    let Some(verdict) = member.verdict else { return "not known yet, which counts as UP".to_owned() };
    match member.since.as_deref().and_then(|since| Some((since, age(since, now)?))) {
        Some((since, age)) => format!("{} for {age}, since {since}", verdict.word()),
        None => verdict.word().to_owned(),
    }
}

/// What is asked, and what would be a good answer.
fn question(kind: &str, question: &QuestionView) -> String {
    let QuestionView { tcp_handshake, http_method, http_version, url_path, expected_codes, domain_name, grpc_service } =
        question;
    let name = |what: &str| domain_name.as_ref().map_or_else(String::new, |name| format!(", {what} {name}"));
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    match kind {
        "PING" => "an echo request, to be echoed".to_owned(),
        "TCP" if tcp_handshake.as_deref() == Some("full") => {
            "a connection, to be accepted; then it is reset (tcp_handshake = full)".to_owned()
        }
        "TCP" => "a SYN, to be answered with SYN-ACK; then RST (tcp_handshake = half)".to_owned(),
        "UDP-CONNECT" => "a datagram; \"port unreachable\" is a failure, silence is not".to_owned(),
        "SCTP" => "an INIT, to be answered with INIT ACK".to_owned(),
        "HTTP" | "HTTPS" => format!(
            "{} {} HTTP/{}{}, to be answered with {}",
            text(http_method),
            text(url_path),
            text(http_version),
            name("Host"),
            text(expected_codes)
        ),
        "TLS-HELLO" => format!("a ClientHello{}, to be answered in TLS", name("server name")),
        "GRPC" => {
            let service = text(grpc_service);
            let whom =
                if service.is_empty() { "the server as a whole".to_owned() } else { format!("service {service}") };
            format!("grpc.health.v1.Health/Check of {whom}{}, to be answered with SERVING", name("authority"))
        }
        other => other.to_owned(),
    }
}

fn successes(number: u16) -> String {
    if number == 1 { "1 success".to_owned() } else { format!("{number} successes in a row") }
}

fn failures(number: u8) -> String {
    if number == 1 { "1 failure".to_owned() } else { format!("{number} failures in a row") }
}

fn rise(member: &MemberHealthView, monitor: &HealthMonitorView) -> String {
    let usual = u16::from(monitor.max_retries);
    let now = usual.saturating_mul(1 << member.damping.min(8));
    if now == usual {
        return format!("up after {}", successes(usual));
    }
    format!("up after {} instead of {usual}, because it flaps", successes(now))
}

fn damping(member: &MemberHealthView, monitor: &HealthMonitorView) -> String {
    let level = member.damping;
    match (monitor.flap_damping, level) {
        (false, _) => "off".to_owned(),
        (true, 0) => "on; it has not flapped of late".to_owned(),
        (true, 1) => "flaps: the successes it needs are doubled once; forgiven while it stays up".to_owned(),
        (true, _) => {
            format!("flaps: the successes it needs are doubled {level} times; halved again while it stays up")
        }
    }
}

fn against(member: &MemberHealthView) -> String {
    let (so_far, needed) = (member.against, member.needed);
    let (what, then) = match member.verdict {
        Some(VerdictView::Down) => ("successes", "bring it up"),
        Some(VerdictView::Up) | None => ("failures", "take it down"),
    };
    format!("{so_far} of {needed} {what} in a row that {then}")
}

fn results(results: &[ResultView], now: SystemTime, screen: Screen) -> String {
    if results.is_empty() {
        return "no probe has ended yet\n".to_owned();
    }
    let rows = results.iter().map(|result| {
        [
            result.time.clone(),
            or_dash(age(&result.time, now)),
            result.result.word().to_owned(),
            micros(result.took_micros),
            result.text.clone(),
        ]
    });
    listing(screen, ["PROBE ENDED", "AGO", "RESULT", "TOOK", "WHAT IT MET"], &["AGO", "TOOK"], rows)
}

fn transitions(transitions: &[TransitionView], now: SystemTime, screen: Screen) -> String {
    if transitions.is_empty() {
        return "no verdict yet\n".to_owned();
    }
    let rows = transitions.iter().map(|transition| {
        [
            transition.time.clone(),
            or_dash(age(&transition.time, now)),
            transition.verdict.word().to_owned(),
            transition.text.clone(),
        ]
    });
    listing(screen, ["CHANGED", "AGO", "TO", "WHY"], &["AGO"], rows)
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;
