//! `lbctl member`.

use clap::{Args, Subcommand};

use super::{
    Session,
    failure::{Failure, tell},
    listener::{limit, place, traffic},
    table::{Screen, by_name, facts, listing, or_dash},
};
use crate::{
    control::{
        protocol::{MemberChange, Request, Response},
        view::{MemberSetView, MemberView, NextHopView, OperatingStatus, OverrideView},
    },
    model::Weight,
};

/// What can be done with members.
#[derive(Clone, PartialEq, Eq, Debug, Subcommand)]
pub(super) enum Verb {
    /// List members with their states and shares of new flows
    #[command(visible_alias = "ls", after_help = "Examples:\n  lbctl member list\n  lbctl member list --pool web/app")]
    List {
        /// Those of this pool only
        #[arg(long, value_name = "POOL")]
        pool: Option<String>,
    },

    /// Show everything about a member
    #[command(after_help = "Examples:\n  lbctl member show app-1")]
    Show {
        /// Its label, or an end of it that no other member has
        name: String,
    },

    /// Change a member, whatever the pool file says, until --reset
    #[command(after_help = "\
The change is in force at once and outlives reloads and restarts of lbd. It
breaks no established TCP connection.

Examples:
  lbctl member set app-1 --drain            before maintenance: no new flows, old ones go on
  lbctl flow count --member app-1           how many are left
  lbctl member set app-1 --reset            afterwards: back to what the pool file says
  lbctl member set app-1 --weight 10        ten times the share of a member of weight 1
  lbctl member set app-1 --disable          out of the pool")]
    Set(Set),
}

/// Which member, and what about it; one change at least.
#[derive(Clone, PartialEq, Eq, Debug, Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
pub(super) struct Set {
    /// Its label, or an end of it that no other member has
    member: String,

    /// Its share of new flows, 0 to 256; 0 gives it none
    #[arg(long, value_name = "N", group = "change",
          value_parser = clap::value_parser!(u16).range(0..=i64::from(Weight::MAX)))]
    weight: Option<u16>,

    /// Switch it on
    #[arg(long, group = "change", conflicts_with = "disable")]
    enable: bool,

    /// Switch it off: no new flows, and its UDP flows move
    #[arg(long, group = "change")]
    disable: bool,

    /// Let it keep its flows and take no new ones
    #[arg(long, group = "change", conflicts_with = "no_drain")]
    drain: bool,

    /// Let it take new flows again
    #[arg(long, group = "change")]
    no_drain: bool,

    /// Forget every earlier change first: back to what the pool file says
    #[arg(long, group = "change")]
    reset: bool,
}

impl Set {
    const fn change(&self) -> MemberChange {
        /// Of two opposite options, what they say together.
        const fn between(yes: bool, no: bool) -> Option<bool> {
            if yes || no { Some(yes) } else { None }
        }
        MemberChange {
            reset: self.reset,
            weight: self.weight,
            admin_state_up: between(self.enable, self.disable),
            drain: between(self.drain, self.no_drain),
        }
    }
}

pub(super) fn run(verb: Verb, session: &Session) -> Result<(), Failure> {
    match verb {
        Verb::List { pool } => session.list(&Request::Members { select: None, pool }, records, list),
        Verb::Show { name } => session.show(&Request::Members { select: Some(name), pool: None }, records, show),
        Verb::Set(set) => {
            let change = set.change();
            let Response::MemberSet(done) = session.source.ask(&Request::SetMember { member: set.member, change })?
            else {
                return Err(Failure::OffTopic);
            };
            let MemberSetView { member, notes } = &*done;
            // Offline they say as well how long the change lasts.
            for note in notes {
                tell(&format!("note: {note}"));
            }
            session.output.write(&done, |screen| list(std::slice::from_ref(member), screen))
        }
    }
}

fn records(response: Response) -> Option<Vec<MemberView>> {
    match response {
        Response::Members(found) => Some(found),
        _ => None,
    }
}

fn list(found: &[MemberView], screen: Screen) -> String {
    if found.is_empty() {
        return "no members\n".to_owned();
    }
    let mut found: Vec<&MemberView> = found.iter().collect();
    found.sort_by(|a, b| by_name(&a.name, &b.name));
    let rows = found.into_iter().map(|member| {
        [
            member.name.clone(),
            place(member.address, member.protocol_port),
            member.operating_status.word().to_owned(),
            member.effective_weight.to_string(),
            format!("{} %", member.share_percent),
            notes(member).join("; "),
        ]
    });
    listing(screen, ["NAME", "ADDRESS", "STATUS", "WEIGHT", "NEW FLOWS", "NOTE"], &["WEIGHT", "NEW FLOWS"], rows)
}

/// What is out of the ordinary about a member.
fn notes(member: &MemberView) -> Vec<String> {
    let mut notes = Vec::new();
    if member.retired {
        notes.push("gone from the pool file, its flows go on".to_owned());
    }
    if member.backup {
        notes.push("backup".to_owned());
    }
    if let Some(changes) = member.overridden.as_ref() {
        notes.push(format!("set by hand: {}", in_words(changes)));
    }
    notes.extend(member.status_reason.clone());
    // Nobody is sent to a member that is switched off or found down anyway.
    let should_be_reached = !matches!(member.operating_status, OperatingStatus::Offline | OperatingStatus::Error);
    if should_be_reached && let Some(why) = &member.next_hop_missing {
        notes.push(format!("no next hop: {why}"));
    }
    notes
}

fn in_words(changes: &OverrideView) -> String {
    let weight = changes.weight.map(|weight| format!("weight {weight}"));
    let state = changes.admin_state_up.map(|up| if up { "enabled" } else { "disabled" }.to_owned());
    let drain = changes.drain.then(|| "draining".to_owned());
    [weight, state, drain].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn show(member: &MemberView, screen: Screen) -> String {
    let next_hop = match (&member.next_hop, &member.next_hop_missing) {
        (Some(hop), _) => hop_in_words(hop),
        (None, Some(why)) => format!("none: {why}"),
        (None, None) => "-".to_owned(),
    };
    let known = [
        ("name", member.name.clone()),
        ("address", member.address.to_string()),
        ("protocol_port", member.protocol_port.to_string()),
        ("operating_status", member.operating_status.word().to_owned()),
        ("status_reason", or_dash(member.status_reason.as_ref())),
        ("status_since", or_dash(member.status_since.as_ref())),
        ("admin_state_up", member.admin_state_up.to_string()),
        ("weight", or_dash(member.weight)),
        ("effective_weight", member.effective_weight.to_string()),
        ("share_percent", member.share_percent.to_string()),
        ("override", or_dash(member.overridden.as_ref().map(in_words))),
        ("backup", member.backup.to_string()),
        ("retired", member.retired.to_string()),
        ("next_hop", next_hop),
        ("in_dataplane", member.in_dataplane.to_string()),
    ];
    let rules = [("connection_limit", or_dash(member.connection_limit.map(limit)))];
    facts(screen, known.into_iter().chain(traffic(member.counters, member.active_flows)).chain(rules))
}

fn hop_in_words(hop: &NextHopView) -> String {
    let port = || format!("port {} of the data path", hop.port);
    format!("{} by {}", hop.destination, hop.interface.clone().unwrap_or_else(port))
}

#[cfg(test)]
#[path = "member_tests.rs"]
mod tests;
