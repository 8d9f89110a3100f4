#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use super::*;
use crate::net::{Link, neighbours::Report};

const OURS: Mac = Mac([2, 0, 0, 0, 0, 1]);
const FIRST: Mac = Mac([2, 0, 0, 0, 0, 8]);
const SECOND: Mac = Mac([2, 0, 0, 0, 0, 9]);

fn ip(last: u8) -> IpAddr {
    [10, 0, 0, last].into()
}

fn place(last: u8) -> Place {
    Place { ifindex: 1, neighbour: ip(last) }
}

fn link(name: &str, mac: Option<Mac>, up: bool) -> Link {
    Link { name: name.to_owned(), mac, up, mtu: 1500, addresses: Vec::new() }
}

/// Member 10.0.0.9 behind a gateway that is known.
fn picture() -> Picture {
    let mut picture = Picture::default();
    picture.want(Wanted { members: BTreeSet::from([ip(9)]), ports: [(1, (4, OURS))].into() });
    picture.see_links([(1, link("eth1", Some(OURS), true))].into());
    assert_eq!(picture.see_routes([(ip(9), Ok(place(1)))].into()), [place(1)]);
    picture.neighbours.hear(place(1), Report::Fresh(FIRST), Instant::now());
    picture
}

fn hop(destination: Mac) -> NextHop {
    NextHop { destination, source: OURS, port: 4 }
}

fn reached(picture: &mut Picture, now: Instant) -> Result<NextHop, String> {
    let hops = picture.hops(now);
    assert_eq!(hops.next_hops.len() + hops.missing.len(), 1);
    hops.next_hops.get(&ip(9)).copied().ok_or_else(|| hops.missing[&ip(9)].clone())
}

#[test]
fn a_flushed_entry_is_bridged_while_it_is_asked_for_and_not_for_longer() {
    let (mut picture, start) = (picture(), Instant::now());
    assert_eq!((reached(&mut picture, start), picture.holds()), (Ok(hop(FIRST)), false));
    picture.neighbours.hear(place(1), Report::Unknown, Instant::now());
    assert_eq!((reached(&mut picture, start), picture.holds()), (Ok(hop(FIRST)), true));
    let last = start + HOLD - Duration::from_millis(1);
    assert_eq!((reached(&mut picture, last), picture.holds()), (Ok(hop(FIRST)), true));
    let late = reached(&mut picture, start + HOLD).unwrap_err();
    assert_eq!(late, "waiting for answer to ARP from 10.0.0.1 on eth1");
    assert!(!picture.holds(), "nothing can expire any more");
    // What was given up does not come back by itself.
    assert!(reached(&mut picture, start).is_err());
    picture.neighbours.hear(place(1), Report::Fresh(SECOND), Instant::now());
    assert_eq!(reached(&mut picture, start + HOLD), Ok(hop(SECOND)));
}

#[test]
fn an_entry_that_is_removed_by_hand_is_bridged_although_it_fails_first() {
    let (mut picture, now) = (picture(), Instant::now());
    assert_eq!(reached(&mut picture, now), Ok(hop(FIRST)));
    picture.neighbours.hear(place(1), Report::Failed, now);
    picture.neighbours.hear(place(1), Report::Removed, now);
    assert_eq!(reached(&mut picture, now), Ok(hop(FIRST)));
}

#[test]
fn a_neighbour_that_does_not_answer_is_not_bridged() {
    let (mut picture, now) = (picture(), Instant::now());
    assert_eq!(reached(&mut picture, now), Ok(hop(FIRST)));
    picture.neighbours.hear(place(1), Report::Failed, Instant::now());
    assert!(reached(&mut picture, now).is_err());
    picture.neighbours.hear(place(1), Report::Unknown, Instant::now());
    assert_eq!(reached(&mut picture, now).unwrap_err(), "no answer to ARP from 10.0.0.1 on eth1");
}

#[test]
fn a_route_that_moves_is_followed_once_the_new_neighbour_is_known() {
    let (mut picture, now) = (picture(), Instant::now());
    assert_eq!(reached(&mut picture, now), Ok(hop(FIRST)));
    assert_eq!(picture.see_routes([(ip(9), Ok(place(2)))].into()), [place(2)]);
    assert_eq!(reached(&mut picture, now), Ok(hop(FIRST)));
    picture.neighbours.hear(place(2), Report::Fresh(SECOND), Instant::now());
    assert_eq!(reached(&mut picture, now), Ok(hop(SECOND)));
}

#[test]
fn a_route_that_is_gone_a_link_that_is_down_and_a_port_that_is_not_attached_end_it_at_once() {
    type Change = fn(&mut Picture);
    let changes: [(Change, &str); 4] = [
        (|p| drop(p.see_routes([(ip(9), Err(Missing::NoRoute(ip(9))))].into())), "no route to 10.0.0.9"),
        (
            |p| p.see_links([(1, link("eth1", Some(OURS), false))].into()),
            "leaves by eth1, which is down or has no carrier",
        ),
        (|p| p.see_links(Links::new()), "left by interface number 1, which is gone"),
        (
            |p| p.want(Wanted { members: BTreeSet::from([ip(9)]), ports: BTreeMap::new() }),
            "leaves by eth1, which the data path is not attached to",
        ),
    ];
    for (change, reason) in changes {
        let (mut picture, now) = (picture(), Instant::now());
        assert_eq!(reached(&mut picture, now), Ok(hop(FIRST)));
        change(&mut picture);
        picture.neighbours.hear(place(1), Report::Unknown, Instant::now());
        assert_eq!(reached(&mut picture, now).unwrap_err(), reason);
    }
}

#[test]
fn frames_are_not_held_to_a_port_with_another_number_or_address() {
    for port in [(5, OURS), (4, SECOND)] {
        let (mut picture, now) = (picture(), Instant::now());
        assert_eq!(reached(&mut picture, now), Ok(hop(FIRST)));
        picture.want(Wanted { members: BTreeSet::from([ip(9)]), ports: [(1, port)].into() });
        picture.neighbours.hear(place(1), Report::Unknown, Instant::now());
        assert!(reached(&mut picture, now).is_err(), "{port:?}");
        picture.neighbours.hear(place(1), Report::Fresh(FIRST), Instant::now());
        assert_eq!(reached(&mut picture, now), Ok(NextHop { destination: FIRST, source: port.1, port: port.0 }));
    }
}

#[test]
fn a_member_that_is_not_looked_into_yet_is_missing_for_that_reason() {
    let mut picture = picture();
    picture.want(Wanted { members: BTreeSet::from([ip(9), ip(10)]), ports: [(1, (4, OURS))].into() });
    let hops = picture.hops(Instant::now());
    assert_eq!(hops.missing, [(ip(10), "the kernel was not yet asked for a route to 10.0.0.10".to_owned())].into());
    assert_eq!(hops.next_hops.len(), 1);
}

#[test]
fn no_neighbour_is_asked_where_frames_cannot_leave() {
    let mut picture = picture();
    let elsewhere = Place { ifindex: 7, neighbour: ip(1) };
    assert_eq!(picture.see_routes([(ip(9), Ok(elsewhere))].into()), []);
    assert_eq!(picture.neighbours.places(), []);
}

#[test]
fn only_ethernet_links_are_shown() {
    let mut picture = picture();
    let links = [(1, link("eth1", Some(OURS), false)), (2, link("wg0", None, true))];
    picture.see_links(links.into());
    let shown = LinkView { ifindex: 1, mac: OURS, up: false, addresses: Vec::new() };
    assert_eq!(*picture.hops(Instant::now()).links, [("eth1".to_owned(), shown)].into());
    assert_eq!((picture.link_name(2), picture.link_name(3)), ("wg0".to_owned(), "interface number 3".to_owned()));
}
