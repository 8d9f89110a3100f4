#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    cell::RefCell,
    collections::BTreeMap,
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use lb_common::{flow::Stage, mac::Mac, member::MemberState, protocol::Transport};
use lb_ebpf::{host::HostTables, packet::Packet, pipeline};
use lb_user::dataplane::{
    Dataplane as _, Op,
    exchange::{Adopted, FlowExchange as _, SharedFlow},
};
use proptest::{
    collection::vec,
    prelude::{Just, ProptestConfig, Strategy, any, prop_oneof},
    sample::select,
    strategy::ValueTree as _,
    test_runner::{TestCaseError, TestRunner},
};

use super::{
    case::Talk,
    pair::{HIGH_PORT, Side, check},
    scene::{Kind, OTHER_ROUTER, ROUTER, SNAT_PORTS, Version},
    spec::{Spec, flags},
    telling::{Crowd, Event, FEW},
    world::{IDLE, INGRESS, World as _},
};

fn version() -> impl Strategy<Value = Version> {
    select(&Version::BOTH[..])
}

fn client_port() -> impl Strategy<Value = u16> {
    prop_oneof![1 => Just(0u16), 30 => 2000u16..2002]
}

fn stage() -> impl Strategy<Value = Stage> {
    let open = Just(Stage::Established);
    let any = vec![Stage::Free, Stage::Claimed, Stage::New, Stage::Answered, Stage::Closing, Stage::Reset];
    prop_oneof![6 => open, 2 => select(any)]
}

/// A record, most often one that fits the tables, in which few ports and clients
/// meet each other often.
fn record() -> impl Strategy<Value = SharedFlow> {
    let ends = (version(), 0u16..3, client_port(), prop_oneof![20 => 0u16..2, 1 => Just(2u16)], 0u8..20);
    let ports = (
        prop_oneof![20 => Just(Kind::OneArm as u16), 4 => Just(HIGH_PORT), 1 => any::<u16>()],
        prop_oneof![20 => SNAT_PORTS.0..SNAT_PORTS.0 + FEW, 1 => Just(HIGH_PORT), 2 => any::<u16>()],
        prop_oneof![20 => Just(true), 1 => Just(false)],
    );
    let state = (stage(), stage(), prop_oneof![Just(0u32), 0u32..20_000, any::<u32>()]);
    let hop = prop_oneof![9 => Just(ROUTER), 3 => Just(OTHER_ROUTER), 1 => any::<[u8; 6]>().prop_map(Mac)];
    (ends, ports, state, hop, any::<bool>()).prop_map(|(ends, ports, state, last_hop, tcp)| {
        let (version, client, client_port, member, oddity) = ends;
        let member = version.member(member);
        SharedFlow {
            transport: if tcp { Transport::Tcp } else { Transport::Udp },
            vip: if oddity == 0 {
                version.stranger()
            } else {
                [version.vip(), version.standby_vip()][usize::from(oddity & 1)]
            },
            listener_port: ports.0,
            client: if oddity == 1 { version.vip() } else { version.numbered_client(client) },
            client_port,
            member: member.address,
            member_port: if ports.2 { member.port } else { member.port + 1 },
            snat_port: ports.1,
            forward: state.0,
            back: state.1,
            idle_millis: state.2,
            last_hop,
        }
    })
}

fn asked() -> impl Strategy<Value = Spec> {
    use flags::{ACK, FIN, RST, SYN};
    let flags = select(vec![SYN, SYN, ACK, ACK, ACK, FIN | ACK, RST]);
    (version(), 0u16..3, client_port(), any::<bool>(), any::<bool>(), flags).prop_map(
        |(version, client, port, standby, tcp, flags)| {
            let vip = if standby { version.standby_vip() } else { version.vip() };
            let (from, to) = ((version.numbered_client(client), port), (vip, Kind::OneArm as u16));
            // What a member says is acknowledged.
            if tcp { Spec::tcp(from, to, flags).numbers(1, 5001) } else { Spec::udp(from, to) }
        },
    )
}

fn event() -> impl Strategy<Value = Event> {
    use flags::{ACK, FIN, RST, SYN};
    let answer = (any::<usize>(), select(vec![SYN | ACK, SYN | ACK, ACK, FIN | ACK, RST]));
    let again = (any::<usize>(), stage(), stage(), prop_oneof![Just(0u32), 0u32..20_000]);
    prop_oneof![
        10 => record().prop_map(Event::Told),
        4 => again.prop_map(|(at, forward, back, idle)| Event::Again(at, forward, back, idle)),
        6 => asked().prop_map(Event::Asked),
        5 => answer.prop_map(|(at, flags)| Event::Answered(at, flags)),
        1 => select(vec![1, 2, 7, 25, 70]).prop_map(Event::Waited),
        1 => Just(Event::Swept),
        1 => (version(), any::<bool>()).prop_map(|(version, standby)| Event::Reborn(version, standby)),
    ]
}

#[test]
fn whatever_is_told_amid_whatever_happens_the_table_stays_whole() {
    let tally = RefCell::new(BTreeMap::new());
    let crowd = RefCell::new(Crowd::default());
    let config = ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() };
    let result = TestRunner::new(config).run(&vec(event(), 1..80), |events| {
        let crowd = &mut *crowd.borrow_mut();
        crowd.side.host.forget_flows();
        for event in events {
            if let Some(adopted) = crowd.happen(&event).map_err(TestCaseError::fail)? {
                *tally.borrow_mut().entry(format!("{adopted:?}")).or_insert(0) += 1;
            }
        }
        Ok(())
    });
    result.unwrap_or_else(|e| panic!("{e}"));
    let tally = tally.into_inner();
    let often = |what: &str, least| assert!(tally.get(what).copied().unwrap_or(0) > least, "{what}: {tally:?}");
    often("New", 700);
    often("Refreshed", 400);
    often("Ended", 300);
    often("Refused(PlaceTaken)", 30);
    often("Refused(Malformed)", 200);
    often("Refused(UnknownListener)", 50);
    often("Refused(UnknownMember)", 50);
}

/// Removes all listeners of a VIP and a member with them, and puts them again.
/// False: the member was still in use at the deadline.
fn replace_a_member(side: &mut Side, round: u16, deadline: Instant) -> bool {
    let version = Version::BOTH[usize::from(round % 2)];
    let vip = if round % 4 < 2 { version.vip() } else { version.standby_vip() };
    let port = Kind::OneArm as u16;
    let listeners = [(Transport::Tcp, port), (Transport::Udp, port), (Transport::Tcp, HIGH_PORT)];
    for (transport, port) in listeners {
        let gone = side.remove_listener(vip, transport, port);
        side.host.apply(&gone);
    }
    let id = side.member_id(vip, 0);
    let without = side.put_pool(vip, &[1]);
    [without, Op::RetireMember { id }].iter().for_each(|op| side.host.apply(op));
    // Nobody comes to the VIP any more, so its member has no flows left.
    while side.host.dataplane.apply(&Op::ReleaseMember { id }).is_err() {
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(10));
    }
    let mut ops = vec![side.put_member(version, vip, 0, MemberState::UP), side.put_pool(vip, &[0, 1])];
    ops.extend(listeners.map(|(transport, port)| side.put_listener(vip, transport, port)));
    ops.iter().for_each(|op| side.host.apply(op));
    thread::sleep(Duration::from_millis(5));
    true
}

#[test]
fn taking_flows_in_while_packets_come_and_the_pool_file_changes_leaves_the_table_whole() {
    let mut side = Crowd::default().side;
    let (path, exchange) = (side.path(), side.host.dataplane.exchange());
    let tables = HostTables {
        jiffies: side.host.tables().jiffies.clone(),
        ..HostTables::new(Arc::clone(&side.host.tables().arrays), 0)
    };
    let (done, start) = (AtomicBool::new(false), Barrier::new(3));
    let adopted = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            let exchange = exchange;
            let (mut runner, records) = (TestRunner::deterministic(), record());
            let records: Vec<SharedFlow> =
                (0..2000).map(|_| records.new_tree(&mut runner).unwrap().current()).collect();
            start.wait();
            while !done.load(Relaxed) {
                let new = records.iter().filter(|r| exchange.adopt(r, path) == Adopted::New).count();
                adopted.fetch_add(new, Relaxed);
            }
        });
        scope.spawn(|| {
            let tables = tables;
            let (mut runner, packets) = (TestRunner::deterministic(), asked());
            let frames: Vec<Vec<u8>> = (0..2000)
                .map(|_| packets.new_tree(&mut runner).unwrap().current().with(|s| s.to = path.own).bytes())
                .collect();
            start.wait();
            while !done.load(Relaxed) {
                for frame in &frames {
                    let mut frame = frame.clone();
                    pipeline::run(&mut Packet::from_slice(&mut frame), INGRESS, &tables);
                }
            }
        });
        start.wait();
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut rounds = 0..u16::MAX;
        while rounds.start < 60 || adopted.load(Relaxed) < 500 {
            let late = Instant::now() > deadline;
            if late || !rounds.next().is_some_and(|round| replace_a_member(&mut side, round, deadline)) {
                break;
            }
        }
        done.store(true, Relaxed);
        assert!(rounds.start >= 60, "stopped in round {}", rounds.start);
    });
    println!("{adopted:?} taken in");
    assert!(adopted.into_inner() >= 500);
    // Two threads may have begun a flow with the same ends; the one that is not
    // found first is alone soon.
    for _ in 0..3 {
        side.host.wait(u64::from(IDLE.unconfirmed) + 3);
        side.host.dataplane.sweep();
    }
    // One that was taken in as confirmed is alone when it has been idle for as long as such.
    if check(&side.host).is_err() {
        for _ in 0..3 {
            side.host.wait(u64::from(IDLE.tcp) + 3);
            side.host.dataplane.sweep();
        }
    }
    check(&side.host).unwrap();
    // And it goes on working.
    side.host.tamper(&|arrays| arrays.config().snat_ports.store(u64::from(SNAT_PORTS.0) | 5000 << 16, Relaxed));
    let talk = Talk::about(Version::V4, Kind::OneArm, Transport::Tcp);
    side.ask(&talk, &talk.ask(flags::SYN));
}
