//! `lbctl vrrp`.

use std::{collections::BTreeMap, net::IpAddr};

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{
    Session,
    failure::{Failure, tell},
    handover::{self, TakenOver},
    numbers::{count, micros, millis},
    table::{Screen, by_name, facts, joined, listing, or_dash, plain},
    the_one,
};
use crate::control::{
    protocol::{Request, Response, VrrpCommand},
    view::vrrp::{AnnouncedView, PeerView, RunnerView, TrackView, VrrpCommandView, VrrpState, VrrpView},
};

/// What can be done with VRRP instances.
#[derive(Clone, PartialEq, Eq, Debug, Subcommand)]
pub(super) enum Verb {
    /// List instances: who is Active, since when, why, and who else is there
    #[command(visible_alias = "ls")]
    List,

    /// Show everything about an instance, or list them all
    #[command(after_help = "\
Peers are routers whose adverts were heard; a Backup sends none. As JSON, times
are whole numbers in fields named _millis or _micros, and tell how long ago or how
long, not when; `lbctl events` tells when.

Examples:
  lbctl vrrp show                           all instances
  lbctl vrrp show front                     timers, counters, peers and tracking of one
  lbctl -o json vrrp show front | jq .counters.adverts_refused")]
    Show {
        /// Its name
        name: Option<String>,
    },

    /// Move an instance to the other node, without losing a packet
    #[command(after_help = "\
The Active says that it leaves, and carries its addresses until another router has
taken over. It does not take them back by itself as long as that one is there; see
`lbctl vrrp resume`. If nobody takes over, it goes on, and the exit code is 1.

Examples:
  lbctl vrrp failover front                 before maintenance of this node
  lbctl vrrp failover front --no-wait       without waiting for the other node")]
    Failover(Which),

    /// Have an instance stay out until it is resumed
    #[command(after_help = "\
An Active leaves as with `failover`, and comes back for nobody: if no other router
takes over, its addresses are served by nobody until `lbctl vrrp resume`. A pause
lasts until lbd ends.

Examples:
  lbctl vrrp pause front                    this node takes nothing over")]
    Pause(Which),

    /// Have an instance take part again, after pause or failover
    #[command(after_help = "\
It becomes Active again if its priority is higher and it preempts, or if nobody is.

Examples:
  lbctl vrrp resume front                   after maintenance")]
    Resume {
        /// Its name
        name: String,
    },
}

/// Which instance, and whether to wait for what becomes of it.
#[derive(Clone, PartialEq, Eq, Debug, Args)]
pub(super) struct Which {
    /// Its name
    name: String,

    /// Do not wait until another router has taken over
    #[arg(long)]
    no_wait: bool,
}

/// What became of a command, in JSON.
#[derive(Debug, Serialize)]
struct Done {
    /// The instance: as it was told, or, where that was waited for, as it is
    /// since another router took over.
    instance: VrrpView,
    notes: Vec<String>,
    /// Who took over; `null` when that was not waited for.
    taken_over_by: Option<IpAddr>,
    /// How long it took until that was seen, in milliseconds.
    within_millis: Option<u64>,
}

pub(super) fn run(verb: Verb, session: &Session) -> Result<(), Failure> {
    match verb {
        Verb::List | Verb::Show { name: None } => session.list(&Request::Vrrp { select: None }, records, list),
        Verb::Show { name } => session.show(&Request::Vrrp { select: name }, records, show),
        Verb::Failover(which) => report(leave(which, VrrpCommand::Failover, session)?, session),
        Verb::Pause(which) => report(leave(which, VrrpCommand::Pause, session)?, session),
        Verb::Resume { name } => {
            let done = told(command(name, VrrpCommand::Resume, session)?);
            let text = format!("{} takes part again\n", done.instance.name);
            report((done, text), session)
        }
    }
}

fn report((done, text): (Done, String), session: &Session) -> Result<(), Failure> {
    session.output.write(&done, |_| plain(&text))
}

fn records(response: Response) -> Option<Vec<VrrpView>> {
    match response {
        Response::Vrrp(found) => Some(found),
        _ => None,
    }
}

fn command(select: String, command: VrrpCommand, session: &Session) -> Result<VrrpCommandView, Failure> {
    let Response::VrrpCommanded(told) = session.source.ask(&Request::VrrpCommand { select, command })? else {
        return Err(Failure::OffTopic);
    };
    for note in &told.notes {
        tell(&format!("note: {note}"));
    }
    Ok(*told)
}

fn told(VrrpCommandView { instance, notes }: VrrpCommandView) -> Done {
    Done { instance, notes, taken_over_by: None, within_millis: None }
}

/// Has an instance give its place away, and waits until somebody has taken it.
fn leave(which: Which, order: VrrpCommand, session: &Session) -> Result<(Done, String), Failure> {
    let mut done = told(command(which.name, order, session)?);
    let before = done.instance.clone();
    if which.no_wait || before.state != VrrpState::Active {
        return Ok((done, ordered(&before.name, order)));
    }
    let select = Request::Vrrp { select: Some(before.name.clone()) };
    let taken_over = handover::wait(&before, || {
        done.instance = the_one(session.ask(&select, records)?)?;
        Ok(done.instance.clone())
    })?;
    done.taken_over_by = Some(taken_over.by);
    done.within_millis = Some(u64::try_from(taken_over.within.as_millis()).unwrap_or(u64::MAX));
    Ok((done, moved(&before.name, order, &taken_over)))
}

fn ordered(name: &str, order: VrrpCommand) -> String {
    match order {
        VrrpCommand::Pause => format!("{name} stays out until `lbctl vrrp resume {name}`\n"),
        VrrpCommand::Failover | VrrpCommand::Resume => format!("{name} has been told to move\n"),
    }
}

fn moved(name: &str, order: VrrpCommand, TakenOver { by, priority, within }: &TakenOver) -> String {
    let stays = match order {
        VrrpCommand::Pause => format!("; it stays out until `lbctl vrrp resume {name}`"),
        VrrpCommand::Failover | VrrpCommand::Resume => String::new(),
    };
    format!("{name} moved to {by} (priority {priority}) within {} ms{stays}\n", within.as_millis())
}

const COLUMNS: [&str; 9] = ["NAME", "STATE", "CARRYING", "FOR", "PRIORITY", "VRID", "INTERFACE", "PEERS HEARD", "WHY"];

fn list(found: &[VrrpView], screen: Screen) -> String {
    if found.is_empty() {
        return "no VRRP instances\n".to_owned();
    }
    let mut found: Vec<&VrrpView> = found.iter().collect();
    found.sort_by(|a, b| by_name(&a.name, &b.name));
    let rows = found.into_iter().map(|instance| {
        [
            instance.name.clone(),
            instance.state.word().to_owned(),
            yes_or_no(instance.carrying).to_owned(),
            millis(instance.state_millis),
            priority(instance),
            format!("{} {}", instance.virtual_router_id, instance.family),
            instance.interface.clone(),
            peers_in_short(&instance.peers),
            why(instance),
        ]
    });
    listing(screen, COLUMNS, &["FOR", "PRIORITY"], rows)
}

const fn yes_or_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

/// The priority in force, and the configured one where that is another.
fn priority(instance: &VrrpView) -> String {
    if instance.priority == instance.configured_priority {
        instance.priority.to_string()
    } else {
        format!("{} of {}", instance.priority, instance.configured_priority)
    }
}

fn peers_in_short(peers: &[PeerView]) -> String {
    let peer = |peer: &PeerView| match peer.priority {
        0 => format!("{} (left {} ago)", peer.address, millis(peer.heard_millis)),
        priority => format!("{} ({priority}, {} ago)", peer.address, millis(peer.heard_millis)),
    };
    joined(&peers.iter().map(peer).collect::<Vec<_>>())
}

/// Why it is in its state, and what keeps it there.
fn why(instance: &VrrpView) -> String {
    let mut text = instance.reason.clone();
    let mut add = |words: &str| {
        text.push_str("; ");
        text.push_str(words);
    };
    if instance.paused {
        add("paused by an operator");
    }
    if instance.yielded {
        add("moved away by an operator");
    }
    if let Some(fault) = instance.fault.as_ref().filter(|fault| !instance.reason.contains(*fault)) {
        add(fault);
    }
    text
}

fn show(instance: &VrrpView, screen: Screen) -> String {
    let addresses: Vec<String> = instance.addresses.iter().map(IpAddr::to_string).collect();
    let to: Vec<String> = instance.unicast_peers.iter().map(IpAddr::to_string).collect();
    let mode = if to.is_empty() { instance.mode.clone() } else { format!("{} to {}", instance.mode, to.join(", ")) };
    let preempt = match (instance.preempt, instance.preempt_delay_millis) {
        (false, _) => "no".to_owned(),
        (true, 0) => "yes".to_owned(),
        (true, delay) => format!("yes, after {}", millis(delay)),
    };
    let mut text = facts(
        screen,
        [
            ("name", instance.name.clone()),
            ("state", format!("{} for {}", instance.state.word(), millis(instance.state_millis))),
            ("reason", or_dash(Some(&instance.reason))),
            ("carrying", yes_or_no(instance.carrying).to_owned()),
            ("priority", priority(instance)),
            ("preempt", preempt),
            ("paused", yes_or_no(instance.paused).to_owned()),
            ("yielded", yes_or_no(instance.yielded).to_owned()),
            ("fault", or_dash(instance.fault.as_ref())),
            ("virtual_router_id", instance.virtual_router_id.to_string()),
            ("family", instance.family.clone()),
            ("version", instance.version.to_string()),
            ("interface", instance.interface.clone()),
            ("mode", mode),
            ("source_address", or_dash(instance.source_address)),
            ("virtual_mac", instance.virtual_mac.clone().unwrap_or_else(|| "none: the interface's own".to_owned())),
            ("addresses", joined(&addresses)),
            ("announced", joined(&instance.announced.iter().map(announced).collect::<Vec<_>>())),
            ("load_balancers", joined(&instance.load_balancers)),
            ("runner", runner(&instance.runner)),
        ],
    );
    text.push('\n');
    text.push_str(&timers(instance, screen));
    text.push('\n');
    text.push_str(&counters(instance, screen));
    text.push('\n');
    text.push_str(&peers(&instance.peers, screen));
    if !instance.tracking.is_empty() {
        text.push('\n');
        text.push_str(&tracking(&instance.tracking, screen));
    }
    text
}

fn announced(one: &AnnouncedView) -> String {
    format!("{} at {} as {}", one.address, one.interface, one.mac)
}

fn runner(runner: &RunnerView) -> String {
    let priority = match (runner.realtime, &runner.realtime_refused) {
        (true, _) => "real-time".to_owned(),
        (false, Some(why)) => format!("ordinary priority ({why})"),
        (false, None) => "ordinary priority".to_owned(),
    };
    format!("{priority}, late by {} at most, p99 {}", micros(runner.late_max_micros), micros(runner.late_p99_micros))
}

fn timers(instance: &VrrpView, screen: Screen) -> String {
    let timers = &instance.timers;
    let waits_for = match instance.state {
        VrrpState::Active => "next advert in",
        VrrpState::Backup | VrrpState::Initialize => "takes over in",
    };
    facts(
        screen,
        [
            ("advert_interval", micros(timers.advert_interval_micros)),
            ("learned_interval", micros(timers.learned_interval_micros)),
            ("skew", micros(timers.skew_micros)),
            ("active_down", micros(timers.active_down_micros)),
            (waits_for, or_dash(timers.deadline_micros.map(micros))),
        ],
    )
}

fn counters(instance: &VrrpView, screen: Screen) -> String {
    let counters = &instance.counters;
    facts(
        screen,
        [
            ("adverts_sent", count(counters.adverts_sent)),
            ("adverts_not_sent", count(counters.adverts_not_sent)),
            ("adverts_received", count(counters.adverts_received)),
            ("adverts_refused", by_reason(&counters.adverts_refused)),
            ("transitions", count(counters.transitions)),
            ("announcements", count(counters.announcements)),
        ],
    )
}

/// Counts by reason, the largest first.
pub(super) fn by_reason(counts: &BTreeMap<String, u64>) -> String {
    let mut counts: Vec<(&String, &u64)> = counts.iter().filter(|(_, count)| **count > 0).collect();
    if counts.is_empty() {
        return "0".to_owned();
    }
    counts.sort_by_key(|(reason, count)| (u64::MAX - **count, *reason));
    let total = counts.iter().fold(0u64, |sum, (_, count)| sum.saturating_add(**count));
    let each = counts.iter().map(|(reason, number)| format!("{reason} {}", count(**number)));
    format!("{}: {}", count(total), each.collect::<Vec<_>>().join(", "))
}

fn peers(peers: &[PeerView], screen: Screen) -> String {
    if peers.is_empty() {
        return "no other router was heard\n".to_owned();
    }
    let rows = peers.iter().map(|peer| {
        let priority = if peer.priority == 0 { "0: left".to_owned() } else { peer.priority.to_string() };
        [
            peer.address.to_string(),
            priority,
            micros(peer.advert_interval_micros),
            millis(peer.heard_millis),
            count(peer.adverts),
            or_dash(peer.checksum.as_ref()),
        ]
    });
    let headings = ["PEER", "PRIORITY", "INTERVAL", "LAST HEARD", "ADVERTS", "CHECKSUM"];
    listing(screen, headings, &["PRIORITY", "INTERVAL", "LAST HEARD", "ADVERTS"], rows)
}

fn tracking(tracked: &[TrackView], screen: Screen) -> String {
    let rows = tracked.iter().map(|track| {
        let what = match &track.name {
            Some(name) => format!("{} {name}", track.kind),
            None => track.kind.clone(),
        };
        let weight = if track.weight == 0 { "out".to_owned() } else { format!("{:+}", track.weight) };
        let well = match track.well {
            Some(true) => "well",
            Some(false) => "NOT WELL",
            None => "not known yet",
        };
        [what, weight, well.to_owned(), track.reason.clone().unwrap_or_default()]
    });
    listing(screen, ["TRACKED", "WEIGHT", "STATE", "WHY"], &["WEIGHT"], rows)
}

#[cfg(test)]
#[path = "vrrp_tests.rs"]
mod tests;
