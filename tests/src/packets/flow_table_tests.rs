#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use lb_common::{
    atomic::Ordering::Relaxed,
    drop_reason::DropReason::{FlowTableFull, SnatPortsExhausted},
    protocol::Transport::{self, Tcp, Udp},
};
use lb_ebpf::host::FlowArrays as _;
use lb_user::dataplane::Stage;

use super::{
    case::{Case, Talk},
    scene::{Kind, SNAT_PORTS, Version},
    spec::flags::{ACK, FIN, RST, SYN},
    world::{Fate, Host, IDLE, World},
};

/// Flows the tables of these tests are sized for; a return table has twice as
/// many places, a forward table four times.
const SIZE: usize = 1024;

fn talk(version: Version, transport: Transport, client: u16, port: u16) -> Talk {
    Talk { client: (version.numbered_client(client), port), ..Talk::about(version, Kind::OneArm, transport) }
}

/// Sends a first packet; the conversation it begins, or the reason it does not.
fn try_begin(host: &mut Host, talk: Talk) -> Option<Talk> {
    let first = talk.ask(SYN).numbers(1000, 0);
    let outcome = host.send(&first.bytes());
    if outcome.fate == Fate::Drop {
        let reason = outcome.events[0].0;
        assert!(reason == FlowTableFull as usize || reason == SnatPortsExhausted as usize, "{outcome:?}");
        return None;
    }
    let at = first.transport_offset();
    Some(Talk { snat_port: u16::from_be_bytes([outcome.frame[at], outcome.frame[at + 1]]), ..talk })
}

/// Has both sides of a conversation speak.
fn confirm(host: &mut Host, talk: &Talk) {
    let mut case = Case::new(host);
    case.back(talk, &talk.answer(SYN | ACK).numbers(5000, 1001));
    case.onward(talk, &talk.ask(ACK).numbers(1001, 5001));
}

/// Both sides are still heard by each other.
fn still_talk(host: &mut Host, talk: &Talk) {
    let mut case = Case::new(host);
    case.onward(talk, &talk.ask(ACK).numbers(1001, 5001));
    case.back(talk, &talk.answer(ACK).numbers(5001, 1001));
}

/// Entries that hold anything, forward and back.
fn entries(host: &Host) -> (usize, usize) {
    let arrays = &host.tables().arrays;
    let ways4 = arrays.flows4().iter().flat_map(|line| &line.ways).filter(|way| way.ctl.load(Relaxed) != 0).count();
    let ways6 = arrays.flows6().iter().flat_map(|line| &line.ways).filter(|way| way.ctl.load(Relaxed) != 0).count();
    let returns4 = arrays.returns4().iter().filter(|entry| entry.ctl.load(Relaxed) != 0).count();
    let returns6 = arrays.returns6().iter().filter(|entry| entry.ctl.load(Relaxed) != 0).count();
    (ways4 + ways6, returns4 + returns6)
}

/// Leaves flows a single SNAT port, so that all of a member's want one place.
fn one_port(host: &mut Host) {
    host.tamper(&|arrays| arrays.config().snat_ports.store(u64::from(SNAT_PORTS.0) | 1 << 16, Relaxed));
}

#[test]
fn a_flood_of_syns_displaces_no_confirmed_flow_and_is_not_refused_for_it() {
    for version in Version::BOTH {
        let mut host = Host::standard();
        let confirmed: Vec<Talk> =
            (0..600).map(|n| try_begin(&mut host, talk(version, Tcp, 1, 2000 + n)).unwrap()).collect();
        confirmed.iter().for_each(|talk| confirm(&mut host, talk));
        let refused =
            (0..20_000u16).filter(|n| try_begin(&mut host, talk(version, Tcp, 100 + n % 97, *n)).is_none()).count();
        assert!(refused < 200, "{refused} of 20000 found no place");
        let (forward, back) = entries(&host);
        assert!(forward <= 4 * SIZE && back <= 2 * SIZE);
        confirmed.iter().for_each(|talk| still_talk(&mut host, talk));
    }
}

#[test]
fn a_table_full_of_confirmed_flows_refuses_more_and_serves_those_it_has() {
    for (version, transport) in [(Version::V4, Tcp), (Version::V6, Udp)] {
        let mut host = Host::standard();
        let mut confirmed = Vec::new();
        for n in 0..6000u16 {
            if let Some(talk) = try_begin(&mut host, talk(version, transport, n % 7, n)) {
                confirm(&mut host, &talk);
                confirmed.push(talk);
            }
        }
        assert!((SIZE..=2 * SIZE).contains(&confirmed.len()), "{} flows", confirmed.len());
        confirmed.iter().for_each(|talk| still_talk(&mut host, talk));
        assert_eq!(host.flows().len(), confirmed.len());
    }
}

#[test]
fn no_two_flows_look_alike_to_a_member() {
    let mut host = Host::standard();
    for n in 0..5000u16 {
        for version in Version::BOTH {
            let transport = if n % 3 == 0 { Udp } else { Tcp };
            let vip = if n % 5 == 0 { version.standby_vip() } else { version.vip() };
            let talk = Talk { vip, ..talk(version, transport, n % 11, n) };
            let Some(talk) = try_begin(&mut host, talk) else { continue };
            if n % 4 == 0 {
                confirm(&mut host, &talk);
            }
        }
    }
    let flows = host.flows();
    let listeners = host.observe().listeners;
    let seen_by_member = |flow: &lb_user::dataplane::FlowRecord| {
        let (key, _) = listeners.iter().find(|(_, l)| l.id == flow.listener).unwrap();
        (flow.member, key.vip, key.transport, flow.snat_port)
    };
    let distinct: BTreeSet<_> = flows.iter().map(seen_by_member).collect();
    assert!(flows.len() > SIZE);
    assert_eq!(distinct.len(), flows.len());
}

#[test]
fn a_snat_port_is_never_a_port_that_somebody_listens_at() {
    let mut host = Host::standard();
    let listened = Kind::InSnatRange as u16;
    host.tamper(&|arrays| arrays.config().snat_ports.store(u64::from(listened - 1) | 3 << 16, Relaxed));
    let mut given = BTreeSet::new();
    for version in Version::BOTH {
        for transport in [Tcp, Udp] {
            given
                .extend((0..500).filter_map(|n| Some(try_begin(&mut host, talk(version, transport, 9, n))?.snat_port)));
        }
    }
    assert_eq!(given, BTreeSet::from([listened - 1, listened + 1]));
}

/// How a flow is when it is left alone.
#[derive(Clone, Copy, Debug)]
enum Left {
    Begun,
    Confirmed,
    HalfClosed,
    Closed,
    ResetByMember,
    ResetByClient,
}

/// Leaves a flow that way, waits, and says whether another one gets its place.
fn gives_way(version: Version, transport: Transport, left: Left, seconds: u64) -> bool {
    let mut host = Host::standard();
    one_port(&mut host);
    let first = try_begin(&mut host, talk(version, transport, 1, 2000)).unwrap();
    if !matches!(left, Left::Begun) {
        confirm(&mut host, &first);
    }
    let mut case = Case::new(&mut host);
    match left {
        Left::Begun | Left::Confirmed => {}
        Left::HalfClosed => case.back(&first, &first.answer(FIN | ACK)),
        Left::Closed => {
            case.back(&first, &first.answer(FIN | ACK));
            case.onward(&first, &first.ask(FIN | ACK));
        }
        Left::ResetByMember => case.back(&first, &first.answer(RST)),
        Left::ResetByClient => case.onward(&first, &first.ask(RST)),
    }
    host.wait(seconds);
    let second = try_begin(&mut host, talk(version, transport, 2, 3000));
    assert_eq!(entries(&host), (1, 1), "one flow, with both its halves");
    match second {
        Some(second) => confirm(&mut host, &second),
        None => Case::new(&mut host).onward(&first, &first.ask(ACK).numbers(1001, 5001)),
    }
    second.is_some()
}

#[test]
fn a_place_is_given_away_when_its_flow_has_been_idle_for_as_long_as_its_state_allows() {
    for version in Version::BOTH {
        let cases = [
            (Tcp, Left::Confirmed, IDLE.tcp),
            (Tcp, Left::HalfClosed, IDLE.tcp_closing),
            (Udp, Left::Confirmed, IDLE.udp),
        ];
        for (transport, left, limit) in cases {
            let limit = u64::from(limit);
            for seconds in [0, limit / 2, limit - 2] {
                assert!(!gives_way(version, transport, left, seconds), "{transport} {left:?} after {seconds} s");
            }
            for seconds in [limit + limit / 20 + 3, 2 * limit + 10] {
                assert!(gives_way(version, transport, left, seconds), "{transport} {left:?} after {seconds} s");
            }
        }
    }
}

#[test]
fn what_is_unconfirmed_or_over_gives_way_at_once() {
    for version in Version::BOTH {
        for transport in [Tcp, Udp] {
            assert!(gives_way(version, transport, Left::Begun, 0));
        }
        for left in [Left::Closed, Left::ResetByMember] {
            assert!(gives_way(version, Tcp, left, 0), "{left:?}");
        }
    }
}

#[test]
fn a_place_whose_client_alone_has_closed_is_given_away_by_the_sweep() {
    // The place is the member's direction, which has not heard of it.
    assert!(!gives_way(Version::V4, Tcp, Left::ResetByClient, 0));
    let mut host = Host::standard();
    let talk = try_begin(&mut host, talk(Version::V4, Tcp, 1, 2000)).unwrap();
    confirm(&mut host, &talk);
    Case::new(&mut host).onward(&talk, &talk.ask(RST));
    host.wait(u64::from(IDLE.tcp_closing) - 2);
    host.dataplane.sweep();
    assert_eq!(entries(&host), (1, 1));
    host.wait(4);
    host.dataplane.sweep();
    assert_eq!(entries(&host), (0, 0));
}

#[test]
fn a_flow_in_use_outlives_every_limit_and_the_wrap_of_the_clock() {
    for (transport, step) in [(Tcp, 3000), (Udp, 50)] {
        let mut host = Host::standard();
        one_port(&mut host);
        let first = try_begin(&mut host, talk(Version::V4, transport, 1, 2000)).unwrap();
        confirm(&mut host, &first);
        // Sixteen bits of ticks are eighteen hours.
        for _ in 0..if transport == Tcp { 60 } else { 2000 } {
            host.wait(step);
            assert_eq!(try_begin(&mut host, talk(Version::V4, transport, 2, 3000)), None);
            Case::new(&mut host).onward(&first, &first.ask(ACK).numbers(1001, 5001));
        }
        // The member's side alone keeps it as well.
        for _ in 0..20 {
            host.wait(step);
            assert_eq!(try_begin(&mut host, talk(Version::V4, transport, 2, 3000)), None);
            Case::new(&mut host).back(&first, &first.answer(ACK).numbers(5001, 1001));
        }
        still_talk(&mut host, &first);
    }
}

#[test]
fn a_sweep_frees_both_halves_of_what_is_idle_and_nothing_else() {
    let mut host = Host::standard();
    let mut all = Vec::new();
    for n in 0..200u16 {
        for version in Version::BOTH {
            let transport = if n % 2 == 0 { Tcp } else { Udp };
            let talk = try_begin(&mut host, talk(version, transport, 3, n)).unwrap();
            if n % 4 < 2 {
                confirm(&mut host, &talk);
                all.push(talk);
            }
        }
    }
    assert_eq!((entries(&host), host.dataplane.sweep()), ((400, 400), 0));
    host.wait(u64::from(IDLE.unconfirmed) + 3);
    host.dataplane.sweep();
    assert_eq!(entries(&host), (200, 200));
    all.iter().for_each(|talk| still_talk(&mut host, talk));
    host.wait(u64::from(IDLE.udp) + 5);
    host.dataplane.sweep();
    assert_eq!(entries(&host), (100, 100));
    all.iter().filter(|talk| talk.transport == Tcp).for_each(|talk| still_talk(&mut host, talk));
    host.wait(u64::from(IDLE.tcp) + 200);
    host.dataplane.sweep();
    assert_eq!(entries(&host), (0, 0));
}

#[test]
fn a_flow_that_was_swept_away_is_opened_anew_for_its_next_packet() {
    let mut host = Host::standard();
    let first = try_begin(&mut host, talk(Version::V6, Udp, 3, 4000)).unwrap();
    confirm(&mut host, &first);
    host.wait(u64::from(IDLE.udp) + 5);
    host.dataplane.sweep();
    let second = try_begin(&mut host, talk(Version::V6, Udp, 3, 4000)).unwrap();
    // The port follows from the flow, so that nobody notices.
    assert_eq!(second, first);
    assert_eq!(Case::new(&mut host).stages(), (Stage::New, Stage::New));
}
