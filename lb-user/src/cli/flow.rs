//! `lbctl flow`.

use std::net::IpAddr;

use clap::{Args, Subcommand};

use super::{
    Session,
    failure::Failure,
    listener::place,
    numbers,
    table::{Screen, by_name, facts, listing, or_dash},
};
use crate::control::{
    protocol::{FlowFilter, MAX_FLOWS_LISTED, Request, Response},
    view::{FlowCountView, FlowView, FlowsView},
};

/// What can be done with flows.
#[derive(Clone, PartialEq, Eq, Debug, Subcommand)]
pub(super) enum Verb {
    /// List flows with their client, member and state
    #[command(
        visible_alias = "ls",
        after_help = "\
Examples:
  lbctl flow list --client 192.0.2.7        where a client's connections went
  lbctl flow list --member app-1 --limit 20

States:
  NEW          the client has sent, nobody has answered
  ANSWERED     the member has answered, the client not yet again
  ESTABLISHED  traffic in both directions
  CLOSING      a side has sent FIN
  RESET        a side has sent RST
A state in (brackets): another new flow may displace this one."
    )]
    List {
        #[command(flatten)]
        which: Which,

        /// How many at most
        #[arg(long, value_name = "N", default_value_t = 1000,
              value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_FLOWS_LISTED)))]
        limit: u32,
    },

    /// Count flows, by state
    #[command(after_help = "\
Examples:
  lbctl flow count
  lbctl flow count --member app-1           how many keep a drained member from ending")]
    Count {
        #[command(flatten)]
        which: Which,
    },
}

/// Which flows; all without options, those that fit every option with several.
#[derive(Clone, PartialEq, Eq, Debug, Args)]
pub(super) struct Which {
    /// To this member: its label, or an end of it that no other has
    #[arg(long, value_name = "MEMBER")]
    member: Option<String>,

    /// Of this listener: its label, or an end of it that no other has
    #[arg(long, value_name = "LISTENER")]
    listener: Option<String>,

    /// From this client
    #[arg(long, value_name = "ADDRESS")]
    client: Option<IpAddr>,
}

impl Which {
    fn filter(self) -> FlowFilter {
        FlowFilter { member: self.member, listener: self.listener, client: self.client }
    }
}

pub(super) fn run(verb: Verb, session: &Session) -> Result<(), Failure> {
    match verb {
        Verb::List { which, limit } => {
            let request = Request::Flows { filter: which.filter(), limit };
            let Response::Flows(found) = session.source.ask(&request)? else { return Err(Failure::OffTopic) };
            session.output.write(&found, |screen| list(&found, screen))
        }
        Verb::Count { which } => {
            let request = Request::FlowCount { filter: which.filter() };
            let Response::FlowCount(found) = session.source.ask(&request)? else { return Err(Failure::OffTopic) };
            session.output.write(&found, |screen| count(found, screen))
        }
    }
}

fn list(found: &FlowsView, screen: Screen) -> String {
    if found.flows.is_empty() {
        return "no flows\n".to_owned();
    }
    let mut flows: Vec<&FlowView> = found.flows.iter().collect();
    flows.sort_by(|a, b| {
        let by_client = |f: &FlowView| (f.client_address, f.client_port);
        by_name(&a.listener, &b.listener).then_with(|| by_client(a).cmp(&by_client(b)))
    });
    let rows = flows.into_iter().map(|flow| {
        let state = flow.state.word();
        let member_place = flow.member_address.zip(flow.member_port).map(|(address, port)| place(address, port));
        [
            or_dash(flow.protocol.as_ref()),
            place(flow.client_address, flow.client_port),
            flow.listener.clone(),
            flow.member.clone(),
            or_dash(member_place),
            flow.snat_port.to_string(),
            if flow.confirmed { state.to_owned() } else { format!("({state})") },
            numbers::duration(flow.idle_seconds),
        ]
    });
    let headings = ["PROTOCOL", "CLIENT", "LISTENER", "MEMBER", "ADDRESS", "SNAT PORT", "STATE", "IDLE"];
    let mut text = listing(screen, headings, &["SNAT PORT", "IDLE"], rows);
    let (shown, matching) = (found.flows.len() as u64, found.matching);
    if matching > shown {
        text.push_str(&format!("\n{shown} of {} flows are shown; `--limit` shows more\n", numbers::count(matching)));
    }
    text
}

fn count(found: FlowCountView, screen: Screen) -> String {
    facts(
        screen,
        [
            ("matching", numbers::count(found.matching)),
            ("confirmed", numbers::count(found.confirmed)),
            ("unconfirmed", numbers::count(found.unconfirmed)),
            ("closing", numbers::count(found.closing)),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cli::sample, control::view::FlowState};

    #[test]
    fn a_flow_is_listed_from_client_to_member() {
        let mut young = sample::flow();
        (young.client_port, young.state, young.confirmed) = (5000, FlowState::New, false);
        (young.member, young.member_address, young.protocol) = ("#7".to_owned(), None, None);
        let text = list(&FlowsView { matching: 2, flows: vec![sample::flow(), young] }, Screen::default());
        assert_eq!(
            text,
            "PROTOCOL  CLIENT            LISTENER  MEMBER         ADDRESS             SNAT PORT  STATE         IDLE\n\
             -         203.0.113.7:5000  web/http  #7             -                       20001  (NEW)        1m 5s\n\
             TCP       203.0.113.7:5001  web/http  web/app/app-1  198.51.100.11:8080      20001  ESTABLISHED  1m 5s\n"
        );
    }

    #[test]
    fn it_is_said_when_not_all_flows_are_shown() {
        let flows = vec![sample::flow()];
        let text = list(&FlowsView { matching: 12_345, flows: flows.clone() }, Screen::default());
        assert!(text.ends_with("\n1 of 12.3 k flows are shown; `--limit` shows more\n"), "{text}");
        assert!(!list(&FlowsView { matching: 1, flows }, Screen::default()).contains("--limit"));
        assert_eq!(list(&FlowsView::default(), Screen::default()), "no flows\n");
    }

    #[test]
    fn a_count_has_its_parts() {
        let found = FlowCountView { matching: 12_345, confirmed: 12_000, unconfirmed: 345, closing: 5 };
        assert_eq!(
            count(found, Screen::default()),
            "matching     12.3 k\nconfirmed    12.0 k\nunconfirmed  345\nclosing      5\n"
        );
    }
}
