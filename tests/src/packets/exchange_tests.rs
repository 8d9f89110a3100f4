#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use lb_common::{
    atomic::Ordering::Relaxed,
    counters::Event,
    flow::{Ctl, Stage},
    flow_note::RING_NOTES,
    mac::Mac,
    member::MemberState,
    protocol::Transport::{self, Tcp, Udp},
    time::Tick,
};
use lb_ebpf::host::{Arrays as _, FlowArrays as _};
use lb_user::dataplane::{
    Dataplane as _, Op,
    exchange::{AdoptRefusal, Adopted, FlowExchange as _, SharedFlow},
};

use super::{
    case::Talk,
    pair::{HIGH_PORT, Side, Which, check},
    scene::{Kind, OTHER_ROUTER, ROUTER, SNAT_PORTS, Version},
    spec::flags::{ACK, FIN, RST, SYN},
    world::{IDLE, World as _},
};

const BOTH: [(Version, Transport); 4] =
    [(Version::V4, Tcp), (Version::V6, Tcp), (Version::V4, Udp), (Version::V6, Udp)];

fn pair() -> (Side, Side) {
    (Side::new(Which::First), Side::new(Which::Second))
}

fn talk(version: Version, transport: Transport, client: u16, port: u16) -> Talk {
    Talk { client: (version.numbered_client(client), port), ..Talk::about(version, Kind::OneArm, transport) }
}

/// Has a client and its member speak until each has heard the other.
fn converse(side: &mut Side, talk: &Talk) -> Talk {
    let talk = side.ask(talk, &talk.ask(SYN).numbers(1000, 0));
    side.answer(&talk, &talk.answer(SYN | ACK).numbers(5000, 1001));
    go_on(side, &talk);
    talk
}

/// The client speaks again, and its member gets it by the same port.
fn go_on(side: &mut Side, talk: &Talk) {
    assert_eq!(side.ask(talk, &talk.ask(ACK).numbers(1001, 5001)), *talk);
}

/// A confirmed flow as another balancer would tell it.
fn record(talk: &Talk) -> SharedFlow {
    SharedFlow {
        transport: talk.transport,
        vip: talk.vip,
        listener_port: talk.port,
        client: talk.client.0,
        client_port: talk.client.1,
        member: talk.member.address,
        member_port: talk.member.port,
        snat_port: talk.snat_port,
        forward: Stage::Established,
        back: Stage::Established,
        idle_millis: 0,
        last_hop: talk.router,
    }
}

fn adopt(side: &Side, flow: &SharedFlow) -> Adopted {
    side.exchange.adopt(flow, side.path())
}

fn stages(side: &Side) -> (Stage, Stage) {
    let flows = side.host.flows();
    assert_eq!(flows.len(), 1, "{flows:?}");
    (flows[0].forward, flows[0].back)
}

#[test]
fn a_confirmed_flow_goes_on_at_the_other_balancer_whoever_speaks_first() {
    for (version, transport) in BOTH {
        for member_first in [false, true] {
            let (mut first, mut second) = pair();
            let talk = converse(&mut first, &talk(version, transport, 7, 51000));
            let flows = first.drain();
            assert_eq!(flows, [record(&talk)]);
            // A new flow would be sent to the other member.
            let other = if talk.member == version.member(0) { 1 } else { 0 };
            let pool = second.put_pool(talk.vip, &[other]);
            second.host.apply(&pool);
            assert_eq!(adopt(&second, &flows[0]), Adopted::New);
            assert_eq!(second.scan(7), flows);
            if member_first {
                second.answer(&talk, &talk.answer(ACK).numbers(5001, 1001));
            }
            go_on(&mut second, &talk);
            second.answer(&talk, &talk.answer(ACK).numbers(5001, 1001));
            assert_eq!(second.opened(), 0);
            check(&second.host).unwrap();
        }
    }
}

#[test]
fn only_what_is_confirmed_is_noted_and_its_end() {
    for version in Version::BOTH {
        let mut side = Side::new(Which::First);
        // Refused, reset before it was confirmed, never answered.
        let refused = side.ask(&talk(version, Tcp, 1, 1), &talk(version, Tcp, 1, 1).ask(SYN));
        side.answer(&refused, &refused.answer(RST | ACK));
        let gave_up = side.ask(&talk(version, Tcp, 1, 2), &talk(version, Tcp, 1, 2).ask(SYN));
        side.ask(&gave_up, &gave_up.ask(RST));
        let hasty = side.ask(&talk(version, Tcp, 1, 3), &talk(version, Tcp, 1, 3).ask(SYN));
        side.ask(&hasty, &hasty.ask(FIN | ACK));
        let alone = talk(version, Udp, 1, 4);
        let alone = side.ask(&alone, &alone.ask(0));
        side.answer(&alone, &alone.answer(0));
        let blind = side.ask(&talk(version, Tcp, 1, 5), &talk(version, Tcp, 1, 5).ask(SYN));
        side.answer(&blind, &blind.answer(SYN | ACK).numbers(5000, 1));
        side.ask(&blind, &blind.ask(ACK).numbers(1, 4711));
        let drained = side.exchange.drain(100, &mut |flow| panic!("{flow:?}"));
        assert_eq!((drained.notes, drained.more), (0, false));
        assert_eq!(side.scan(100), []);

        let talk = converse(&mut side, &talk(version, Tcp, 7, 51000));
        assert_eq!(side.drain(), [record(&talk)]);
        go_on(&mut side, &talk);
        side.host.wait(5);
        go_on(&mut side, &talk);
        assert_eq!(side.drain(), [], "nothing new");
        side.answer(&talk, &talk.answer(FIN | ACK));
        assert_eq!(side.drain(), [SharedFlow { back: Stage::Closing, ..record(&talk) }]);
        assert_eq!(side.scan(100), [SharedFlow { back: Stage::Closing, ..record(&talk) }]);
        side.ask(&talk, &talk.ask(FIN | ACK));
        side.ask(&talk, &talk.ask(RST));
        // Two notes, one flow.
        let mut flows = Vec::new();
        assert_eq!(side.exchange.drain(100, &mut |shared| flows.extend(shared.flow())).notes, 2);
        assert_eq!(flows, [SharedFlow { forward: Stage::Reset, back: Stage::Closing, ..record(&talk) }]);
        assert_eq!(side.scan(100), [], "what is over is nothing to take over");
    }
}

#[test]
fn a_member_that_speaks_as_in_an_open_connection_confirms_it() {
    let (mut first, mut second) = pair();
    let talk = talk(Version::V4, Tcp, 7, 51000);
    let talk = first.ask(&talk, &talk.ask(SYN));
    first.answer(&talk, &talk.answer(ACK));
    let flows = first.drain();
    assert_eq!(flows, [SharedFlow { forward: Stage::New, ..record(&talk) }]);
    assert_eq!(adopt(&second, &flows[0]), Adopted::New);
    go_on(&mut second, &talk);
    assert_eq!(stages(&second), (Stage::Established, Stage::Established));
}

#[test]
fn nothing_is_noted_unless_it_is_asked_for() {
    let mut side = Side::new(Which::First);
    side.host.dataplane.set_noting(false);
    let talk = converse(&mut side, &talk(Version::V4, Tcp, 7, 51000));
    side.answer(&talk, &talk.answer(FIN | ACK));
    assert_eq!(side.exchange.drain(10, &mut |flow| panic!("{flow:?}")).notes, 0);
    side.host.dataplane.set_noting(true);
    side.ask(&talk, &talk.ask(FIN | ACK));
    assert_eq!(side.drain().len(), 1);
}

#[test]
fn notes_are_read_a_few_at_a_time_and_lost_when_nobody_reads_them() {
    let mut side = Side::new(Which::First);
    let talks: Vec<Talk> = (0..5).map(|n| converse(&mut side, &talk(Version::V6, Udp, 7, 1000 + n))).collect();
    let mut flows = Vec::new();
    let mut drain = |limit| {
        let drained = side.exchange.drain(limit, &mut |shared| flows.extend(shared.flow()));
        (drained.notes, drained.more, drained.lost)
    };
    assert_eq!(drain(2), (2, true, 0));
    assert_eq!(drain(10), (3, false, 0));
    assert_eq!(flows, talks.iter().map(record).collect::<Vec<_>>());

    let note = lb_common::flow_note::FlowNote(0);
    for _ in 0..RING_NOTES {
        lb_ebpf::tables::Tables::note(side.host.tables(), note);
    }
    let lost = || side.host.tables().counts.borrow().events[Event::FlowNotesLost.index() as usize];
    assert_eq!(lost(), 0);
    lb_ebpf::tables::Tables::note(side.host.tables(), note);
    assert_eq!(lost(), 1);
    // None of them is about a flow, and only the first of them is looked at.
    let drained = side.exchange.drain(RING_NOTES + 1, &mut |flow| panic!("{flow:?}"));
    assert_eq!((drained.notes, drained.more, drained.lost), (RING_NOTES, false, 1));
}

#[test]
fn the_end_of_a_flow_is_told_and_the_next_with_the_same_ends_begins_anew() {
    let (mut first, second) = pair();
    let talk = converse(&mut first, &talk(Version::V4, Tcp, 7, 51000));
    assert_eq!(adopt(&second, &first.drain()[0]), Adopted::New);
    first.ask(&talk, &talk.ask(FIN | ACK));
    assert_eq!(adopt(&second, &first.drain()[0]), Adopted::Ended);
    assert_eq!(stages(&second), (Stage::Closing, Stage::Established));
    first.answer(&talk, &talk.answer(FIN | ACK));
    let over = first.drain()[0];
    assert_eq!(adopt(&second, &over), Adopted::Ended);
    assert_eq!(stages(&second), (Stage::Closing, Stage::Closing));
    // News that arrives late makes nothing undone.
    assert_eq!(adopt(&second, &SharedFlow { forward: Stage::Established, ..over }), Adopted::Refreshed);
    let after = converse(&mut first, &talk);
    assert_eq!(after, talk, "the same member, by the same port");
    assert_eq!(adopt(&second, &first.drain()[0]), Adopted::Refreshed);
    assert_eq!(stages(&second), (Stage::Established, Stage::Established));
    // What is over and was never here is not worth an entry.
    assert_eq!(adopt(&Side::new(Which::Second), &over), Adopted::Ended);
    assert_eq!(Side::new(Which::Second).host.flows().len(), 0);
}

#[test]
fn a_flow_gets_younger_by_what_is_told_and_never_older() {
    for version in Version::BOTH {
        let side = Side::new(Which::Second);
        let talk = Talk { snat_port: 33000, ..talk(version, Tcp, 7, 51000) };
        let idle = |millis| SharedFlow { idle_millis: millis, ..record(&talk) };
        let age = || {
            let mut ages = Vec::new();
            lb_user::dataplane::Statistics::for_each_flow(&side.host.dataplane, &mut |f| ages.push(f.idle_millis))
                .unwrap();
            ages[0] / 1000
        };
        assert_eq!(adopt(&side, &idle(100_000)), Adopted::New);
        assert_eq!(age(), 100);
        for (told, is) in [(200_000, 100), (50_000, 50), (60_000, 50), (2_000, 2), (50_000, 2)] {
            assert_eq!(adopt(&side, &idle(told)), Adopted::Refreshed);
            assert_eq!(age(), is, "told {told}");
        }
        // An old story changes nothing.
        let old = SharedFlow { forward: Stage::Reset, last_hop: OTHER_ROUTER, ..idle(30_000) };
        assert_eq!(adopt(&side, &old), Adopted::Refreshed);
        assert_eq!(stages(&side), (Stage::Established, Stage::Established));
        assert_eq!(side.scan(64)[0].last_hop, ROUTER);
        // What would have been forgotten by now is not taken in.
        side.host.forget_flows();
        assert_eq!(adopt(&side, &idle(u32::from(IDLE.tcp) * 1000 + 60_000)), Adopted::Ended);
        assert_eq!(adopt(&side, &idle(u32::MAX)), Adopted::Ended);
        assert_eq!(side.host.flows().len(), 0);
    }
}

#[test]
fn a_flow_that_was_taken_in_ends_like_any_other() {
    for (version, transport) in BOTH {
        let side = Side::new(Which::Second);
        let talk = Talk { snat_port: 33000, ..talk(version, transport, 7, 51000) };
        assert_eq!(adopt(&side, &record(&talk)), Adopted::New);
        let limit = u64::from(if transport == Tcp { IDLE.tcp } else { IDLE.udp });
        side.host.wait(limit - limit / 10);
        assert_eq!((side.host.dataplane.sweep(), side.host.flows().len()), (0, 1));
        side.host.wait(limit / 4);
        assert_eq!((side.host.dataplane.sweep(), side.host.flows().len()), (1, 0));
        check(&side.host).unwrap();
    }
}

#[test]
fn the_client_is_answered_by_the_way_that_the_other_balancer_knows_last() {
    let mut side = Side::new(Which::Second);
    let talk = Talk { snat_port: 33000, ..talk(Version::V4, Tcp, 7, 51000) };
    adopt(&side, &record(&talk));
    let moved = Talk { router: OTHER_ROUTER, ..talk };
    assert_eq!(adopt(&side, &record(&moved)), Adopted::Refreshed);
    side.answer(&moved, &moved.answer(ACK));
    go_on(&mut side, &moved);
    // The client's own packets know better still.
    go_on(&mut side, &talk);
    side.answer(&talk, &talk.answer(ACK));
}

#[test]
fn records_that_fit_nothing_here_are_refused_with_their_reason() {
    use AdoptRefusal::{Malformed, NoPath, UnknownListener, UnknownMember};
    for (version, other) in [(Version::V4, Version::V6), (Version::V6, Version::V4)] {
        let side = Side::new(Which::Second);
        let good = record(&Talk { snat_port: 33000, ..talk(version, Tcp, 7, 51000) });
        let member = version.member(0);
        let cases: Vec<(AdoptRefusal, SharedFlow)> = vec![
            (UnknownListener, SharedFlow { vip: version.stranger(), ..good }),
            (UnknownListener, SharedFlow { listener_port: 81, ..good }),
            (UnknownListener, SharedFlow { transport: Udp, listener_port: HIGH_PORT, ..good }),
            (UnknownMember, SharedFlow { member_port: member.port + 5, ..good }),
            (UnknownMember, SharedFlow { member: version.member(2).address, ..good }),
            (Malformed, SharedFlow { client: other.client(), ..good }),
            (Malformed, SharedFlow { member: other.member(0).address, ..good }),
            (Malformed, SharedFlow { vip: other.vip(), ..good }),
            (Malformed, SharedFlow { client: version.vip(), ..good }),
            (Malformed, SharedFlow { client: version.standby_vip(), ..good }),
            (Malformed, SharedFlow { client_port: 0, ..good }),
            (Malformed, SharedFlow { listener_port: 0, ..good }),
            (Malformed, SharedFlow { member_port: 0, ..good }),
            (Malformed, SharedFlow { snat_port: 0, ..good }),
            (Malformed, SharedFlow { snat_port: SNAT_PORTS.0 - 1, ..good }),
            (Malformed, SharedFlow { snat_port: SNAT_PORTS.1 + 1, ..good }),
            (Malformed, SharedFlow { snat_port: HIGH_PORT, ..good }),
            (Malformed, SharedFlow { forward: Stage::Free, ..good }),
            (Malformed, SharedFlow { forward: Stage::Claimed, ..good }),
            (Malformed, SharedFlow { forward: Stage::Answered, ..good }),
            (Malformed, SharedFlow { back: Stage::Claimed, ..good }),
            (Malformed, SharedFlow { forward: Stage::New, back: Stage::Answered, ..good }),
            (Malformed, SharedFlow { forward: Stage::New, back: Stage::Reset, ..good }),
            (Malformed, SharedFlow { transport: Udp, back: Stage::Closing, ..good }),
            (Malformed, SharedFlow { last_hop: Mac::ZERO, ..good }),
            (Malformed, SharedFlow { last_hop: Mac::BROADCAST, ..good }),
        ];
        for (reason, flow) in cases {
            assert_eq!(adopt(&side, &flow), Adopted::Refused(reason), "{flow:?}");
        }
        let path = side.path();
        let paths = [
            lb_user::dataplane::exchange::ArrivalPath { port: 9, ..path },
            lb_user::dataplane::exchange::ArrivalPath { port: 5000, ..path },
            lb_user::dataplane::exchange::ArrivalPath { ifindex: path.ifindex + 1, ..path },
            lb_user::dataplane::exchange::ArrivalPath { own: Mac::ZERO, ..path },
            lb_user::dataplane::exchange::ArrivalPath { own: Mac::BROADCAST, ..path },
        ];
        for path in paths {
            assert_eq!(side.exchange.adopt(&good, path), Adopted::Refused(NoPath));
        }
        assert_eq!(side.host.flows().len(), 0);
        check(&side.host).unwrap();
        assert_eq!(adopt(&side, &good), Adopted::New);
    }
}

/// Two clients' flows that want the same place: the same member and SNAT port.
fn rivals(version: Version) -> (Talk, Talk) {
    let one = Talk { snat_port: 33000, ..talk(version, Tcp, 7, 51000) };
    (one, Talk { client: (version.numbered_client(8), 52000), ..one })
}

#[test]
fn a_confirmed_flow_in_use_keeps_its_place_and_an_unconfirmed_one_does_not() {
    for version in Version::BOTH {
        let mut side = Side::new(Which::Second);
        let (one, other) = rivals(version);
        assert_eq!(adopt(&side, &record(&one)), Adopted::New);
        assert_eq!(adopt(&side, &record(&other)), Adopted::Refused(AdoptRefusal::PlaceTaken));
        // The same client by another port: a client has one flow.
        let moved = SharedFlow { snat_port: 33001, ..record(&one) };
        assert_eq!(adopt(&side, &moved), Adopted::Refused(AdoptRefusal::PlaceTaken));
        go_on(&mut side, &one);
        check(&side.host).unwrap();
        // Once it is over, it gives way.
        adopt(&side, &SharedFlow { forward: Stage::Reset, ..record(&one) });
        assert_eq!(adopt(&side, &record(&other)), Adopted::New);
        go_on(&mut side, &other);
        check(&side.host).unwrap();

        // A flow that was begun here and is not confirmed gives way at once, be
        // it of the same client or not.
        for same_client in [true, false] {
            side.host.forget_flows();
            let begun = side.ask(&one, &one.ask(SYN));
            let client = if same_client { begun.client } else { other.client };
            let port = if same_client { begun.snat_port ^ 1 } else { begun.snat_port };
            let theirs = Talk { client, snat_port: port, ..begun };
            assert_eq!(adopt(&side, &record(&theirs)), Adopted::New);
            assert_eq!(side.host.flows().len(), 1);
            go_on(&mut side, &theirs);
            check(&side.host).unwrap();
        }
    }
}

#[test]
fn what_a_table_is_full_of_stays() {
    for version in Version::BOTH {
        let side = Side::new(Which::Second);
        let mut kept = BTreeSet::new();
        let (mut taken, mut full) = (0, 0);
        for n in 0..12_000u16 {
            let talk = Talk { snat_port: SNAT_PORTS.0 + n, ..talk(version, Tcp, n % 19, 2000 + n) };
            let flow = record(&talk);
            if flow.snat_port == HIGH_PORT {
                continue;
            }
            match adopt(&side, &flow) {
                Adopted::New => drop(kept.insert((talk.client, talk.snat_port))),
                Adopted::Refused(AdoptRefusal::PlaceTaken) => taken += 1,
                Adopted::Refused(AdoptRefusal::TableFull) => full += 1,
                other => panic!("{other:?}"),
            }
        }
        // A member's return entries are 2048 places here.
        assert!(kept.len() > 1900 && taken > 5000, "{} kept, {taken} and {full} refused", kept.len());
        let there: BTreeSet<_> = side.scan(1000).iter().map(|f| ((f.client, f.client_port), f.snat_port)).collect();
        assert_eq!(there, kept);
        check(&side.host).unwrap();
    }
}

#[test]
fn a_flow_goes_with_its_listener_and_holds_its_member() {
    for version in Version::BOTH {
        let mut side = Side::new(Which::Second);
        let talk = Talk { snat_port: 33000, ..talk(version, Tcp, 7, 51000) };
        let flow = record(&talk);
        assert_eq!(adopt(&side, &flow), Adopted::New);
        let (vip, member) = (talk.vip, side.member_id(talk.vip, 0));
        // Draining and down is no reason to refuse what is established.
        let down = side.put_member(version, vip, 0, MemberState::UNHEALTHY | MemberState::DRAINING);
        let pool = side.put_pool(vip, &[1]);
        [down, pool].iter().for_each(|op| side.host.apply(op));
        let other = SharedFlow { client_port: 51001, snat_port: 33001, ..flow };
        assert_eq!(adopt(&side, &other), Adopted::New);
        // Retired: what is there is kept and refreshed, nothing is added.
        side.host.apply(&Op::RetireMember { id: member });
        assert_eq!(adopt(&side, &flow), Adopted::Refreshed);
        let late = SharedFlow { client_port: 51002, snat_port: 33002, ..flow };
        assert_eq!(adopt(&side, &late), Adopted::Refused(AdoptRefusal::UnknownMember));
        assert!(side.host.dataplane.apply(&Op::ReleaseMember { id: member }).is_err(), "flows name it");
        let gone = side.remove_listener(vip, Tcp, Kind::OneArm as u16);
        side.host.apply(&gone);
        assert_eq!(side.host.flows().len(), 0);
        assert_eq!(adopt(&side, &flow), Adopted::Refused(AdoptRefusal::UnknownListener));
        let again = side.put_listener(vip, Tcp, Kind::OneArm as u16);
        [again, Op::ReleaseMember { id: member }].iter().for_each(|op| {
            std::thread::sleep(std::time::Duration::from_millis(60));
            side.host.apply(op);
        });
        assert_eq!(adopt(&side, &flow), Adopted::Refused(AdoptRefusal::UnknownMember));
        check(&side.host).unwrap();
    }
}

#[test]
fn another_member_by_the_same_number_gets_no_flow_of_the_one_before() {
    let mut side = Side::new(Which::Second);
    let talk = Talk { snat_port: 33000, ..talk(Version::V4, Tcp, 7, 51000) };
    assert_eq!(adopt(&side, &record(&talk)), Adopted::New);
    let (vip, id) = (talk.vip, side.member_id(talk.vip, 0));
    side.host.forget_flows();
    let mut other = side.put_member(Version::V4, vip, 0, MemberState::UP);
    if let Op::PutMember { record, .. } = &mut other {
        record.port += 100;
    }
    let pool = side.put_pool(vip, &[1]);
    [pool, Op::RetireMember { id }, Op::ReleaseMember { id }, other].iter().for_each(|op| side.host.apply(op));
    assert_eq!(adopt(&side, &record(&talk)), Adopted::Refused(AdoptRefusal::UnknownMember));
    // The new one is found, if not at once.
    std::thread::sleep(std::time::Duration::from_millis(60));
    let flow = SharedFlow { member_port: talk.member.port + 100, ..record(&talk) };
    assert_eq!(adopt(&side, &flow), Adopted::New);
}

#[test]
fn claims_of_a_process_that_ended_are_given_up() {
    let side = Side::new(Which::Second);
    let arrays = &side.host.tables().arrays;
    let now = Tick::from_jiffies(side.host.tables().jiffies.get(), arrays.config().tick_shift());
    let claim = Ctl::new(Stage::Claimed, 33000, 1, now, 0);
    let words = [
        &arrays.flows4()[5].ways[2].ctl,
        &arrays.flows6()[5].ways[1].ctl,
        &arrays.returns4()[7].ctl,
        &arrays.returns6()[7].ctl,
    ];
    words.iter().for_each(|word| word.store(claim.0, Relaxed));
    // The program's own are its own business.
    arrays.returns4()[8].ctl.store(Ctl::CLAIMED.0, Relaxed);
    side.host.wait(u64::from(IDLE.unconfirmed) - 1);
    assert_eq!(side.host.dataplane.sweep(), 0);
    side.host.wait(3);
    assert_eq!(side.host.dataplane.sweep(), 4);
    assert!(words.iter().all(|word| word.load(Relaxed) == 0));
    assert_eq!(arrays.returns4()[8].ctl.load(Relaxed), Ctl::CLAIMED.0);
}

#[test]
fn a_look_through_the_table_finds_each_confirmed_flow_once_however_it_is_cut() {
    let (mut first, second) = pair();
    let mut talks = BTreeSet::new();
    for n in 0..400u16 {
        let (version, transport) = BOTH[usize::from(n % 4)];
        let vip = if n % 3 == 0 { version.standby_vip() } else { version.vip() };
        let talk = Talk { vip, ..talk(version, transport, n % 11, n + 1) };
        if n % 5 == 0 {
            first.ask(&talk, &talk.ask(SYN));
        } else {
            let talk = converse(&mut first, &talk);
            talks.insert((talk.client, talk.vip, talk.transport, talk.snat_port));
        }
    }
    let told = |flows: &[SharedFlow]| -> Vec<_> {
        flows.iter().map(|f| ((f.client, f.client_port), f.vip, f.transport, f.snat_port)).collect()
    };
    for lines in [1, 7, 1000, u32::MAX] {
        let flows = told(&first.scan(lines));
        assert_eq!(flows.len(), talks.len());
        assert_eq!(flows.into_iter().collect::<BTreeSet<_>>(), talks);
    }
    let all = first.scan(100);
    let taken = all.iter().filter(|flow| adopt(&second, flow) == Adopted::New).count();
    // Other numbers of the VIPs mean other places, of which a few are taken.
    assert!(taken * 10 > all.len() * 8, "{taken} of {}", all.len());
    assert_eq!(second.scan(100).len(), taken);
    check(&second.host).unwrap();
}
