//! `lbctl listener`.

use std::net::{IpAddr, SocketAddr};

use clap::Subcommand;

use super::{
    Session,
    failure::Failure,
    numbers,
    table::{Screen, by_name, facts, joined, listing, or_dash},
};
use crate::control::{
    protocol::{Request, Response},
    view::{CountersView, ListenerView},
};

/// What can be done with listeners.
#[derive(Clone, PartialEq, Eq, Debug, Subcommand)]
pub(super) enum Verb {
    /// List listeners with their states and traffic
    #[command(visible_alias = "ls")]
    List,

    /// Show everything about a listener
    #[command(after_help = "Examples:\n  lbctl listener show web/http")]
    Show {
        /// Its label, or an end of it that no other listener has
        name: String,
    },
}

pub(super) fn run(verb: Verb, session: &Session) -> Result<(), Failure> {
    match verb {
        Verb::List => session.list(&Request::Listeners { select: None }, records, list),
        Verb::Show { name } => session.show(&Request::Listeners { select: Some(name) }, records, show),
    }
}

fn records(response: Response) -> Option<Vec<ListenerView>> {
    match response {
        Response::Listeners(found) => Some(found),
        _ => None,
    }
}

fn list(found: &[ListenerView], screen: Screen) -> String {
    if found.is_empty() {
        return "no listeners\n".to_owned();
    }
    let mut found: Vec<&ListenerView> = found.iter().collect();
    found.sort_by(|a, b| by_name(&a.name, &b.name));
    let rows = found.into_iter().map(|listener| {
        let new = listener.counters.map(|counters| numbers::count(counters.flows_new));
        [
            listener.name.clone(),
            listener.protocol.clone(),
            place(listener.vip_address, listener.protocol_port),
            listener.operating_status.word().to_owned(),
            or_dash(listener.default_pool.as_ref()),
            or_dash(new),
            notes(listener),
        ]
    });
    listing(screen, ["NAME", "PROTOCOL", "ADDRESS", "STATUS", "POOL", "FLOWS NEW", "NOTE"], &["FLOWS NEW"], rows)
}

fn notes(listener: &ListenerView) -> String {
    let missing = (!listener.in_dataplane).then(|| "no packet meets it".to_owned());
    [missing, listener.status_reason.clone()].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn show(listener: &ListenerView, screen: Screen) -> String {
    let known = [
        ("name", listener.name.clone()),
        ("protocol", listener.protocol.clone()),
        ("vip_address", listener.vip_address.to_string()),
        ("protocol_port", listener.protocol_port.to_string()),
        ("default_pool", or_dash(listener.default_pool.as_ref())),
        ("admin_state_up", or_dash(listener.admin_state_up)),
        ("operating_status", listener.operating_status.word().to_owned()),
        ("status_reason", or_dash(listener.status_reason.as_ref())),
        ("status_since", or_dash(listener.status_since.as_ref())),
        ("in_dataplane", listener.in_dataplane.to_string()),
    ];
    let rules = [
        ("allowed_cidrs", listener.allowed_cidrs.as_ref().map_or_else(|| "-".to_owned(), |cidrs| from(cidrs))),
        ("connection_limit", or_dash(listener.connection_limit.map(limit))),
        ("live_connections", or_dash(listener.live_connections.map(numbers::count))),
        ("new_flows_per_source", or_dash(listener.new_flows_per_source.map(rate))),
    ];
    facts(screen, known.into_iter().chain(traffic(listener.counters, listener.active_flows)).chain(rules))
}

fn from(cidrs: &[String]) -> String {
    if cidrs.is_empty() { "everybody".to_owned() } else { joined(cidrs) }
}

fn rate(flows: u32) -> String {
    if flows == 0 { "no limit".to_owned() } else { format!("{flows} a second") }
}

/// A limit in words.
pub(super) fn limit(flows: i64) -> String {
    if flows < 0 { "no limit".to_owned() } else { flows.to_string() }
}

/// An address and a port as one writes them together.
pub(super) fn place(address: IpAddr, port: u16) -> String {
    SocketAddr::new(address, port).to_string()
}

/// What `show` tells of a listener's or a member's traffic.
pub(super) fn traffic(
    counters: Option<CountersView>,
    active_flows: Option<u64>,
) -> impl Iterator<Item = (&'static str, String)> {
    let counters = counters.into_iter().flat_map(|c| {
        [
            ("flows_new", numbers::count(c.flows_new)),
            ("flows_refused", numbers::count(c.flows_refused)),
            ("packets_in", numbers::count(c.packets_in)),
            ("packets_out", numbers::count(c.packets_out)),
            ("bytes_in", numbers::bytes(c.bytes_in)),
            ("bytes_out", numbers::bytes(c.bytes_out)),
        ]
    });
    active_flows.map(|flows| ("active_flows", numbers::count(flows))).into_iter().chain(counters)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::sample;

    #[test]
    fn a_listener_is_listed_with_its_place_and_what_is_wrong() {
        let mut six = sample::listener();
        six.name = "web/http6".to_owned();
        six.vip_address = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]);
        (six.in_dataplane, six.counters, six.default_pool) = (false, None, None);
        six.status_reason = Some("it has no pool".to_owned());
        let text = list(&[six, sample::listener()], Screen::default());
        assert_eq!(
            text,
            "NAME       PROTOCOL  ADDRESS           STATUS    POOL     FLOWS NEW  NOTE\n\
             web/http   TCP       192.0.2.10:80     DEGRADED  web/app     12.3 k  pool web/app: 1 of 2 members is down: app-2 (connection \
             refused)\n\
             web/http6  TCP       [2001:db8::1]:80  DEGRADED  -                -  no packet meets it; it has no pool\n"
        );
    }

    #[test]
    fn a_listener_is_shown_with_its_traffic() {
        let text = show(&sample::listener(), Screen::default());
        for line in [
            "vip_address           192.0.2.10",
            "status_reason         pool web/app: 1 of 2 members is down: app-2 (connection refused)",
            "status_since          2023-11-14T22:08:20.000Z",
            "active_flows          42",
            "flows_new             12.3 k",
            "bytes_in              4.5 MiB",
            "allowed_cidrs         198.51.100.0/24, 203.0.113.7/32",
            "connection_limit      10000",
            "live_connections      41",
            "new_flows_per_source  100 a second",
        ] {
            assert!(text.lines().any(|l| l == line), "no {line:?} in\n{text}");
        }
    }
}
