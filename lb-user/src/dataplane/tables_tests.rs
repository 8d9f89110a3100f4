#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, net::SocketAddr, thread::sleep};

use lb_common::{config::IdleLimits, flow::Stage, limits::LISTENER_LINES, protocol::Transport};

use super::pools::table_of;
use super::{
    frames::{Frame, Sent, connect, next_hop, send, shake_hands},
    *,
};
use crate::dataplane::{
    Algorithm, Dataplane, DropReason, FlowRecord, ListenerRules, ObservedPool, PoolRecord, Statistics,
    kernel::KernelOptions, memory::MemoryDataplane,
};
use lb_common::pool::NO_POOL;

const VIP: VipId = VipId(3);
const POOL: PoolId = PoolId(1);
const LISTENER: ListenerId = ListenerId(4);
const TICK: u64 = 256;

fn dataplane(slots: u32) -> MemoryDataplane {
    let options = KernelOptions {
        pin_path: "unused".into(),
        max_flows: 1024,
        hash_seed: 0x5eed,
        snat_ports: (16384, 65535),
        idle_seconds: IdleLimits { unconfirmed: 10, tcp: 600, tcp_closing: 20, udp: 60 },
    };
    let dataplane = MemoryDataplane::new(&options, slots);
    connect(&dataplane);
    dataplane
}

fn record(n: u8, pool: PoolId) -> MemberRecord {
    MemberRecord {
        label: format!("web/app/m{n}"),
        address: IpAddr::from([10, 0, 0, n]),
        port: 8080,
        pool,
        flags: MemberState::UP,
        weight: 1,
        next_hop: Some(next_hop()),
        path: MemberPath::default(),
        connection_limit: 0,
    }
}

fn put_member(n: u8) -> Op {
    Op::PutMember { id: MemberId(n.into()), record: record(n, POOL) }
}

fn put_pool(id: PoolId, table: Vec<MemberId>) -> Op {
    Op::PutPool { id, record: PoolRecord::named(format!("web/{}", id.0)), table, hold: Duration::ZERO }
}

fn put_vip(id: VipId, last: u8) -> Op {
    Op::PutVip { id, address: IpAddr::from([192, 0, 2, last]), label: "web".to_owned(), active: true, instance: None }
}

fn put_listener(id: ListenerId, transport: Transport, port: u16, pool: PoolId) -> Op {
    let label = format!("web/{transport}-{port}");
    Op::PutListener {
        id,
        vip: VIP,
        transport,
        port,
        label,
        pool,
        in_snat_range: false,
        rules: ListenerRules::default(),
    }
}

/// One VIP, a TCP and a UDP listener, a pool whose table names the members.
fn serving(members: &[u8], slots: u32) -> MemoryDataplane {
    let mut dataplane = dataplane(slots);
    let table = members.iter().map(|n| MemberId((*n).into())).cycle().take(32).collect();
    let members = members.iter().map(|n| put_member(*n));
    let rest = [
        put_pool(POOL, table),
        put_vip(VIP, 1),
        put_listener(LISTENER, Transport::Tcp, 80, POOL),
        put_listener(ListenerId(5), Transport::Udp, 53, POOL),
    ];
    for op in members.chain(rest) {
        dataplane.apply(&op).unwrap();
    }
    dataplane
}

fn client(n: u16) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 7], 20_000 + n))
}

fn vip(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

/// The last octets of the members that new clients meet.
fn met(dataplane: &MemoryDataplane, clients: std::ops::Range<u16>) -> BTreeSet<u8> {
    let member = |n| match send(dataplane, &Frame::syn(client(n), vip(80))) {
        Sent::On(Frame { destination: SocketAddr::V4(member), .. }) => member.ip().octets()[3],
        other => panic!("client {n}: {other:?}"),
    };
    clients.map(member).collect()
}

fn pass(dataplane: &MemoryDataplane, ticks: u64) {
    dataplane.tables.jiffies.set(dataplane.tables.jiffies.get() + ticks * TICK);
}

fn flows(dataplane: &MemoryDataplane) -> Vec<FlowRecord> {
    let mut flows = Vec::new();
    dataplane.for_each_flow(&mut |flow| flows.push(flow)).unwrap();
    flows
}

fn assert_refused(dataplane: &mut MemoryDataplane, op: &Op, reason: &str) {
    let before = dataplane.observe().unwrap();
    let error = dataplane.apply(op).unwrap_err();
    assert!(matches!(error, DataplaneError::Refused { .. }), "{error:?}");
    assert!(error.to_string().contains(reason), "{error}");
    assert_eq!(dataplane.observe().unwrap(), before);
}

#[test]
fn what_was_put_is_observed() {
    let mut dataplane = dataplane(1024);
    let down = MemberState::DISABLED | MemberState::UNHEALTHY | MemberState::BACKUP | MemberState::DRAINING;
    let v6 = MemberRecord {
        label: "six/app/m".to_owned(),
        address: "2001:db8::7".parse().unwrap(),
        port: 65535,
        pool: PoolId(4095),
        flags: down,
        weight: 256,
        next_hop: None,
        path: MemberPath::default(),
        connection_limit: 0,
    };
    let last = MemberId((MAX_MEMBERS - 1) as u16);
    let table = vec![MemberId(1), MemberId(1), MemberId(2)];
    let six = VipId((MAX_VIPS - 1) as u16);
    let ops = [
        put_member(1),
        put_member(2),
        Op::PutMember { id: last, record: v6.clone() },
        put_pool(POOL, table.clone()),
        Op::PutPool {
            id: PoolId(4095),
            record: PoolRecord::named("six/app").picked_by(Algorithm::SourceIp),
            table: vec![last],
            hold: Duration::ZERO,
        },
        put_pool(PoolId(7), vec![]),
        put_vip(VIP, 1),
        Op::PutVip {
            id: six,
            address: "2001:db8::1".parse().unwrap(),
            label: "six".to_owned(),
            active: false,
            instance: None,
        },
        put_listener(LISTENER, Transport::Tcp, 80, POOL),
        Op::PutListener {
            id: ListenerId((MAX_LISTENERS - 1) as u16),
            vip: six,
            transport: Transport::Udp,
            port: 65535,
            label: "six/udp".to_owned(),
            pool: PoolId(NO_POOL),
            in_snat_range: true,
            rules: ListenerRules::default(),
        },
    ];
    for op in &ops {
        dataplane.apply(op).unwrap();
    }
    let observed = dataplane.observe().unwrap();
    assert_eq!(observed.snat_ports, (16384, 65535));
    let pool =
        |label: &str, algorithm, table| ObservedPool { record: PoolRecord::named(label).picked_by(algorithm), table };
    let pools = [
        (POOL, pool("web/1", Algorithm::SourceIpPort, table)),
        (PoolId(7), pool("web/7", Algorithm::SourceIpPort, vec![])),
        (PoolId(4095), pool("six/app", Algorithm::SourceIp, vec![last])),
    ];
    assert_eq!(observed.pools, pools.into());
    assert_eq!(observed.members, [(MemberId(1), record(1, POOL)), (MemberId(2), record(2, POOL)), (last, v6)].into());
    let vip = |id, label: &str, active| ObservedVip { id, label: label.to_owned(), active, instance: None };
    let (four, six_address) = (IpAddr::from([192, 0, 2, 1]), "2001:db8::1".parse().unwrap());
    assert_eq!(observed.vips, [(four, vip(VIP, "web", true)), (six_address, vip(six, "six", false))].into());
    let at = |vip, transport, port| ListenerKey { vip, transport, port };
    let listener = |id, label: &str, pool, in_snat_range| ObservedListener {
        id,
        label: label.to_owned(),
        pool,
        in_snat_range,
        rules: ListenerRules::default(),
    };
    let listeners = [
        (at(four, Transport::Tcp, 80), listener(LISTENER, "web/TCP-80", POOL, false)),
        (at(six_address, Transport::Udp, 65535), listener(ListenerId(4095), "six/udp", PoolId(NO_POOL), true)),
    ];
    assert_eq!(observed.listeners, listeners.into());
}

#[test]
fn a_table_is_switched_as_a_whole() {
    let mut dataplane = serving(&[1, 2], 1024);
    assert_eq!(met(&dataplane, 0..60), [1, 2].into());
    for n in [3, 4] {
        dataplane.apply(&put_member(n)).unwrap();
    }
    let before = PoolEntry(dataplane.tables.arrays.pools()[1].entry.load(Relaxed));
    // A packet that has read the pool's word still finds the old table.
    dataplane.apply(&put_pool(POOL, [MemberId(3), MemberId(4)].repeat(16))).unwrap();
    assert_eq!(table_of(&dataplane.tables.arrays, before), [MemberId(1), MemberId(2)].repeat(16));
    assert_eq!(met(&dataplane, 100..160), [3, 4].into());
}

#[test]
fn slots_that_were_left_are_used_again_only_after_a_while_but_by_the_pool_that_left_them() {
    // Room for two tables of 32.
    let mut dataplane = serving(&[1, 2], 64);
    let (one, two) = (vec![MemberId(1); 32], vec![MemberId(2); 32]);
    let first = |dataplane: &MemoryDataplane, pool: usize| {
        PoolEntry(dataplane.tables.arrays.pools()[pool].entry.load(Relaxed)).first()
    };
    let is_full = |refused: Result<(), DataplaneError>| {
        matches!(refused, Err(DataplaneError::Full { table: "SLOTS", limit: 64 }))
    };
    assert_eq!(first(&dataplane, 1), 0);
    for (table, place) in [(&one, 32), (&two, 0), (&one, 32)] {
        dataplane.apply(&put_pool(POOL, table.clone())).unwrap();
        assert_eq!(first(&dataplane, 1), place, "a pool has two places, however often it changes");
    }
    let other = PoolId(2);
    let before = dataplane.observe().unwrap();
    assert!(is_full(dataplane.apply(&put_pool(other, two.clone()))));
    assert_eq!(dataplane.observe().unwrap(), before);
    sleep(GRACE + Duration::from_millis(50));
    dataplane.apply(&put_pool(other, two.clone())).unwrap();
    assert_eq!(first(&dataplane, 2), 0);
    // An empty table needs no room, and what it leaves is still the pool's own.
    dataplane.apply(&put_pool(other, vec![])).unwrap();
    assert!(is_full(dataplane.apply(&put_pool(PoolId(3), one.clone()))));
    dataplane.apply(&put_pool(other, one.clone())).unwrap();
    // Another pool by the same number is another pool: under another name, or after it was removed.
    dataplane.apply(&put_pool(other, vec![])).unwrap();
    let renamed = |table| match put_pool(other, table) {
        Op::PutPool { id, table, hold, .. } => {
            Op::PutPool { id, record: PoolRecord::named("web/renamed"), table, hold }
        }
        op => op,
    };
    assert!(is_full(dataplane.apply(&renamed(two.clone()))));
    sleep(GRACE + Duration::from_millis(50));
    dataplane.apply(&renamed(two.clone())).unwrap();
    dataplane.apply(&Op::RemovePool { id: other }).unwrap();
    assert!(is_full(dataplane.apply(&renamed(one.clone()))));
    sleep(GRACE + Duration::from_millis(50));
    dataplane.apply(&renamed(one)).unwrap();
}

#[test]
fn a_pool_without_members_answers_with_a_reset() {
    let mut dataplane = serving(&[1], 1024);
    dataplane.apply(&put_pool(POOL, vec![])).unwrap();
    let Sent::On(reset) = send(&dataplane, &Frame::syn(client(1), vip(80))) else { panic!("dropped") };
    assert_eq!((reset.source, reset.destination), (vip(80), client(1)));
    assert_eq!(send(&dataplane, &Frame::udp(client(1), vip(53))), Sent::Dropped(DropReason::PoolEmpty));
}

#[test]
fn a_retired_member_keeps_its_connections_and_is_released_after_the_last() {
    let mut dataplane = serving(&[1], 1024);
    shake_hands(&dataplane, client(1), vip(80)).unwrap();
    dataplane.apply(&put_member(2)).unwrap();
    let id = MemberId(1);
    assert_refused(&mut dataplane, &Op::RetireMember { id }, "a table names member 1");
    assert_refused(&mut dataplane, &Op::ReleaseMember { id }, "is not retired");
    dataplane.apply(&put_pool(POOL, vec![MemberId(2); 32])).unwrap();
    dataplane.apply(&Op::RetireMember { id }).unwrap();
    assert_eq!(dataplane.observe().unwrap().members[&id].flags, MemberState::RETIRED);

    let in_use = dataplane.apply(&Op::ReleaseMember { id }).unwrap_err();
    assert!(matches!(in_use, DataplaneError::MemberInUse(MemberId(1))), "{in_use:?}");
    let Sent::On(ack) = send(&dataplane, &Frame::ack(client(1), vip(80))) else { panic!("the connection ended") };
    assert_eq!(ack.destination, SocketAddr::from(([10, 0, 0, 1], 8080)));
    assert_eq!(met(&dataplane, 100..160), [2].into());

    pass(&dataplane, 700);
    assert!(dataplane.sweep() > 0);
    sleep(2 * ANSWER);
    dataplane.apply(&Op::ReleaseMember { id }).unwrap();
    assert!(!dataplane.observe().unwrap().members.contains_key(&id));
    assert_refused(&mut dataplane, &Op::ReleaseMember { id }, "is not retired");
}

#[test]
fn udp_flows_and_unanswered_handshakes_leave_a_retired_member() {
    let mut dataplane = serving(&[1], 1024);
    dataplane.apply(&put_member(2)).unwrap();
    let first = |transport, port| {
        let frame = Frame::first(transport, client(1), vip(port));
        move |dataplane: &MemoryDataplane| match send(dataplane, &frame) {
            Sent::On(frame) => frame.destination.ip(),
            other => panic!("{other:?}"),
        }
    };
    let (tcp, udp) = (first(Transport::Tcp, 80), first(Transport::Udp, 53));
    let (one, two) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
    assert_eq!((tcp(&dataplane), udp(&dataplane)), (one, one));
    dataplane.apply(&put_pool(POOL, vec![MemberId(2); 32])).unwrap();
    assert_eq!((tcp(&dataplane), udp(&dataplane)), (one, one), "a switched table alone moves no flow");
    dataplane.apply(&Op::RetireMember { id: MemberId(1) }).unwrap();
    assert_eq!((tcp(&dataplane), udp(&dataplane)), (two, two));
    dataplane.apply(&Op::ReleaseMember { id: MemberId(1) }).unwrap();
    assert_eq!((tcp(&dataplane), udp(&dataplane)), (two, two));
}

#[test]
fn a_removed_listener_forgets_its_flows_and_no_others() {
    let mut dataplane = serving(&[1, 2], 1024);
    for n in 0..20 {
        shake_hands(&dataplane, client(n), vip(80)).unwrap();
        send(&dataplane, &Frame::udp(client(n), vip(53)));
    }
    assert_eq!(flows(&dataplane).len(), 40);
    let remove = Op::RemoveListener { id: LISTENER, vip: VIP, transport: Transport::Tcp, port: 80 };
    dataplane.apply(&remove).unwrap();
    assert_refused(&mut dataplane, &remove, "is not there");
    let left = flows(&dataplane);
    assert!(left.len() == 20 && left.iter().all(|flow| flow.listener == ListenerId(5)), "{left:?}");
    assert_eq!(send(&dataplane, &Frame::ack(client(1), vip(80))), Sent::Dropped(DropReason::NoListener));
    // Both halves are gone: nothing is left for a sweep.
    assert_eq!(dataplane.sweep(), 0);
}

#[test]
fn flows_are_swept_after_their_own_idle_limit() {
    let dataplane = serving(&[1, 2], 1024);
    shake_hands(&dataplane, client(1), vip(80)).unwrap();
    send(&dataplane, &Frame::syn(client(2), vip(80)));
    let Sent::On(request) = send(&dataplane, &Frame::udp(client(3), vip(53))) else { panic!("dropped") };
    send(&dataplane, &request.reversed());
    send(&dataplane, &Frame::udp(client(3), vip(53)));
    let count = || flows(&dataplane).len();
    assert_eq!((dataplane.sweep(), count()), (0, 3));
    let confirmed =
        |n: u16| flows(&dataplane).iter().any(|flow| flow.client_port == client(n).port() && flow.confirmed);
    assert_eq!([confirmed(1), confirmed(2), confirmed(3)], [true, false, true]);
    // The limits are 10, 60 and 600 seconds, a tick 1.024.
    pass(&dataplane, 12);
    assert_eq!(count(), 2, "what is idle for too long is not told of");
    assert_eq!((dataplane.sweep(), count()), (1, 2));
    pass(&dataplane, 50);
    assert_eq!((dataplane.sweep(), count()), (1, 1));
    pass(&dataplane, 500);
    assert_eq!((dataplane.sweep(), count()), (0, 1));
    assert_eq!(flows(&dataplane)[0].forward, Stage::Established);
    pass(&dataplane, 100);
    assert_eq!((dataplane.sweep(), count()), (1, 0));
    assert_eq!(dataplane.sweep(), 0, "both halves went at once");
}

#[test]
fn what_contradicts_the_maps_is_refused() {
    let mut dataplane = serving(&[1, 2], 1024);
    let mut moved = record(9, POOL);
    assert_refused(
        &mut dataplane,
        &Op::PutMember { id: MemberId(1), record: moved.clone() },
        "another address or port",
    );
    moved = MemberRecord { port: 81, ..record(1, POOL) };
    assert_refused(&mut dataplane, &Op::PutMember { id: MemberId(1), record: moved }, "another address or port");
    assert_refused(&mut dataplane, &Op::PutMember { id: MemberId(0), record: record(1, POOL) }, "out of range");
    let past = MemberId(MAX_MEMBERS as u16);
    assert_refused(&mut dataplane, &Op::PutMember { id: past, record: record(1, POOL) }, "out of range");
    assert_refused(&mut dataplane, &put_pool(POOL, vec![MemberId(1), MemberId(3)]), "member 3 does not exist");
    assert_refused(&mut dataplane, &put_pool(PoolId(0), vec![]), "out of range");
    assert_refused(&mut dataplane, &put_vip(VipId(MAX_VIPS as u16), 9), "out of range");
    assert_refused(&mut dataplane, &put_listener(LISTENER, Transport::Tcp, 80, PoolId(9)), "pool 9 does not exist");
    let past = ListenerId(MAX_LISTENERS as u16);
    assert_refused(&mut dataplane, &put_listener(past, Transport::Tcp, 81, POOL), "out of range");
    assert_refused(&mut dataplane, &Op::RemovePool { id: POOL }, "a listener uses pool 1");
    assert_refused(&mut dataplane, &Op::RemovePool { id: PoolId(2) }, "no such id");
    let address = IpAddr::from([192, 0, 2, 1]);
    assert_refused(&mut dataplane, &Op::RemoveVip { id: VIP, address }, "has listeners");
    let nobody = IpAddr::from([192, 0, 2, 77]);
    assert_refused(&mut dataplane, &Op::RemoveVip { id: VipId(77), address: nobody }, "is not there");
    assert_refused(&mut dataplane, &Op::RetireMember { id: MemberId(0) }, "no such id");
    assert_refused(&mut dataplane, &Op::RetireMember { id: MemberId(3) }, "member 3 is not there");
}

#[test]
fn a_listener_that_finds_no_room_leaves_no_trace() {
    let mut dataplane = serving(&[1], 1024);
    let line = |port: u16| listener::line(listener::key(VIP.0, Transport::Udp, port), LISTENER_LINES);
    // Nine ports whose listeners belong in one line: that and the next hold
    // eight. Another VIP's listeners would do as well.
    let here = line(1000);
    let mut ports = Vec::new();
    let mut ops = Vec::new();
    for vip in 100..200u16 {
        dataplane.apply(&put_vip(VipId(vip), (vip - 50) as u8)).unwrap();
        for port in (1..=u16::MAX).step_by(7) {
            if listener::line(listener::key(vip, Transport::Udp, port), LISTENER_LINES) == here && ports.len() < 9 {
                ports.push((vip, port));
                let id = ListenerId(100 + ports.len() as u16);
                let label = format!("crowd/{}", id.0);
                let pool = POOL;
                let vip = VipId(vip);
                ops.push(Op::PutListener {
                    id,
                    vip,
                    transport: Transport::Udp,
                    port,
                    label,
                    pool,
                    in_snat_range: false,
                    rules: ListenerRules::default(),
                });
            }
        }
    }
    assert_eq!(ops.len(), 9);
    for op in &ops[..8] {
        dataplane.apply(op).unwrap();
    }
    let error = dataplane.apply(&ops[8]).unwrap_err();
    assert!(matches!(error, DataplaneError::Full { table: "LISTENERS", .. }), "{error:?}");
    let arrays = &dataplane.tables.arrays;
    assert_eq!(arrays.listener_keys()[109].key.load(Relaxed), 0);
    let mut buffer = [0; LABEL_BYTES];
    assert_eq!(arrays.labels()[Labelled::Listener(109).index() as usize].get(&mut buffer), None);
}

#[test]
fn a_member_retired_after_others_were_released_is_looked_for_anew() {
    let mut dataplane = serving(&[1, 2, 3], 1024);
    let opened = (0..60).filter_map(|n| Some((n, shake_hands(&dataplane, client(n), vip(80))?.destination.ip())));
    let opened: Vec<_> = opened.collect();
    dataplane.apply(&put_pool(POOL, vec![MemberId(3); 32])).unwrap();
    for (n, member) in &opened {
        // Member 2 loses its connections, member 1 keeps them.
        if *member == IpAddr::from([10, 0, 0, 2]) {
            send(&dataplane, &Frame { flags: 0x04, ..Frame::ack(client(*n), vip(80)) });
        }
    }
    for n in [1, 2] {
        dataplane.apply(&Op::RetireMember { id: MemberId(n) }).unwrap();
        let in_use = dataplane.apply(&Op::ReleaseMember { id: MemberId(n) });
        assert!(matches!(in_use, Err(DataplaneError::MemberInUse(_))), "{n}: {in_use:?}");
    }
    pass(&dataplane, 30);
    dataplane.sweep();
    sleep(2 * ANSWER);
    assert!(dataplane.apply(&Op::ReleaseMember { id: MemberId(1) }).is_err());
    dataplane.apply(&Op::ReleaseMember { id: MemberId(2) }).unwrap();
}
