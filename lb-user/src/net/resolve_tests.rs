#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use super::*;
use crate::net::{Link, neighbours::Report};

const OURS: Mac = Mac([2, 0, 0, 0, 0, 1]);
const THEIRS: Mac = Mac([2, 0, 0, 0, 0, 9]);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn place(ifindex: u32, neighbour: &str) -> Place {
    Place { ifindex, neighbour: ip(neighbour) }
}

fn link(name: &str, up: bool) -> Link {
    Link { name: name.to_owned(), mac: Some(OURS), up, mtu: 1500, addresses: Vec::new() }
}

/// Resolves among eth1 (attached), eth2 (attached, down), eth7 (not attached)
/// and a neighbour that the kernel says something about.
fn answer(route: Result<Place, Missing>, heard: &[(Place, Report)]) -> Result<NextHop, String> {
    let links = Links::from([(1, link("eth1", true)), (2, link("eth2", false)), (7, link("eth7", true))]);
    let ports = Ports::from([(1, (4, OURS)), (2, (5, OURS)), (3, (6, OURS))]);
    let mut neighbours = Neighbours::default();
    neighbours.keep(&heard.iter().map(|(place, _)| *place).collect::<BTreeSet<_>>());
    for (place, report) in heard {
        assert!(neighbours.hear(*place, *report, std::time::Instant::now()));
    }
    let around = Surroundings { links: &links, ports: &ports, neighbours: &neighbours };
    resolve(&route, &around).map_err(|missing| missing.to_string())
}

#[test]
fn a_known_neighbour_on_an_attached_interface_is_a_next_hop_however_well_it_is_known() {
    for report in [Report::Fresh(THEIRS), Report::Stale(THEIRS), Report::Fixed(THEIRS)] {
        for neighbour in ["10.0.0.9", "fe80::9"] {
            let there = place(1, neighbour);
            let hop = answer(Ok(there), &[(there, report)]);
            assert_eq!(hop, Ok(NextHop { destination: THEIRS, source: OURS, port: 4 }), "{report:?}");
        }
    }
}

#[test]
fn the_same_address_on_another_interface_is_another_neighbour() {
    let elsewhere = answer(Ok(place(1, "10.0.0.9")), &[(place(7, "10.0.0.9"), Report::Fresh(THEIRS))]);
    assert_eq!(elsewhere.unwrap_err(), "waiting for answer to ARP from 10.0.0.9 on eth1");
}

#[test]
fn each_reason_names_what_an_operator_has_to_look_at() {
    let known = |there| (there, Report::Fresh(THEIRS));
    let cases = [
        (Err(Missing::NoRoute(ip("10.0.0.9"))), vec![], "no route to 10.0.0.9"),
        (Err(Missing::Prohibited(ip("fd00::9"))), vec![], "a route prohibits traffic to fd00::9"),
        (Err(Missing::Own(ip("10.0.0.1"))), vec![], "10.0.0.1 is an address of this host"),
        (
            Err(Missing::Refused(ip("10.0.0.9"), libc::EMFILE)),
            vec![],
            "the kernel refuses to route to 10.0.0.9: Too many open files (os error 24)",
        ),
        (
            Ok(place(7, "10.0.0.9")),
            vec![known(place(7, "10.0.0.9"))],
            "leaves by eth7, which the data path is not attached to",
        ),
        (
            Ok(place(2, "10.0.0.9")),
            vec![known(place(2, "10.0.0.9"))],
            "leaves by eth2, which is down or has no carrier",
        ),
        (Ok(place(3, "10.0.0.9")), vec![known(place(3, "10.0.0.9"))], "left by interface number 3, which is gone"),
        (Ok(place(1, "10.0.0.1")), vec![], "waiting for answer to ARP from 10.0.0.1 on eth1"),
        (
            Ok(place(1, "10.0.0.1")),
            vec![(place(1, "10.0.0.1"), Report::Failed)],
            "no answer to ARP from 10.0.0.1 on eth1",
        ),
        (
            Ok(place(1, "fe80::1")),
            vec![(place(1, "fe80::1"), Report::Failed)],
            "no neighbour advertisement from fe80::1 on eth1",
        ),
    ];
    for (route, heard, reason) in cases {
        assert_eq!(answer(route, &heard).unwrap_err(), reason);
    }
}
