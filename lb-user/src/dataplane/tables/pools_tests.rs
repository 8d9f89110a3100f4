#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::Duration;

use lb_common::{
    atomic::Ordering::Relaxed,
    config::IdleLimits,
    member::MemberState,
    placement::{PlacementStage, PlacementWord},
    pool::{Algorithm, ForwardMode, PoolEntry, Until},
    protocol::Transport,
    time::Tick,
};
use lb_ebpf::host::Arrays as _;
use proptest::prelude::*;

use super::{super::frames::connect, *};
use crate::dataplane::{
    Dataplane as _, DataplaneError, ListenerId, ListenerRules, MemberPath, MemberRecord, Op, Statistics as _, VipId,
    kernel::KernelOptions,
    memory::{HZ, MemoryDataplane},
};

const POOL: PoolId = PoolId(1);
const LISTENER: ListenerId = ListenerId(4);
const HOLD: Duration = Duration::from_secs(100);

fn dataplane(slots: u32) -> MemoryDataplane {
    let options = KernelOptions {
        pin_path: "unused".into(),
        max_flows: 1024,
        hash_seed: 0x5eed,
        snat_ports: (16384, 65535),
        idle_seconds: IdleLimits { unconfirmed: 10, tcp: 600, tcp_closing: 20, udp: 60 },
    };
    let mut dataplane = MemoryDataplane::new(&options, slots);
    connect(&dataplane);
    for n in 1..=9u8 {
        let record = MemberRecord {
            label: format!("web/app/m{n}"),
            address: [10, 0, 0, n].into(),
            port: 80,
            pool: POOL,
            flags: MemberState::UP,
            weight: 1,
            next_hop: None,
            path: MemberPath::default(),
            connection_limit: 0,
        };
        dataplane.apply(&Op::PutMember { id: MemberId(n.into()), record }).unwrap();
    }
    let vip = Op::PutVip {
        id: VipId(1),
        address: [192, 0, 2, 1].into(),
        label: "web".to_owned(),
        active: true,
        instance: None,
    };
    dataplane.apply(&vip).unwrap();
    dataplane
}

fn put(mode: ForwardMode, flags: u64, members: &[u16]) -> Op {
    let record = PoolRecord { mode, flags, ..PoolRecord::named("web/app") };
    let table = members.iter().copied().map(MemberId).cycle().take(members.len() * 40).collect();
    Op::PutPool { id: POOL, record, table, hold: HOLD }
}

fn listen(dataplane: &mut MemoryDataplane) {
    let op = Op::PutListener {
        id: LISTENER,
        vip: VipId(1),
        transport: Transport::Tcp,
        port: 80,
        label: "web/tcp".to_owned(),
        pool: POOL,
        in_snat_range: false,
        rules: ListenerRules::default(),
    };
    dataplane.apply(&op).unwrap();
}

/// Members of the present and of the previous table.
fn tables_of(dataplane: &MemoryDataplane) -> [Vec<MemberId>; 2] {
    let arrays = &dataplane.tables.arrays;
    let pool = &arrays.pools()[usize::from(POOL.0)];
    [pool.entry(), PoolEntry(pool.previous.load(Relaxed))].map(|entry| {
        let mut members = table_of(arrays, entry);
        members.sort_unstable();
        members.dedup();
        members
    })
}

fn now(dataplane: &MemoryDataplane) -> Tick {
    Tick::from_jiffies(dataplane.tables.jiffies.get(), dataplane.tables.arrays.config().tick_shift())
}

fn wait(dataplane: &MemoryDataplane, seconds: u64) {
    dataplane.tables.jiffies.set(dataplane.tables.jiffies.get() + seconds * u64::from(HZ));
}

fn ids(members: &[u16]) -> Vec<MemberId> {
    members.iter().copied().map(MemberId).collect()
}

/// Records a flow as the data path does.
fn place(dataplane: &MemoryDataplane, way: usize, member: u16, stage: PlacementStage) {
    let word = PlacementWord::new(stage, member, LISTENER.0, ForwardMode::Dsr, Transport::Tcp, now(dataplane));
    dataplane.tables.arrays.placements()[way].ways[0].word.store(word.counted(true).0, Relaxed);
}

#[test]
fn a_direct_pool_that_changes_keeps_the_table_of_its_first_change_until_the_hold_is_over() {
    let mut dataplane = dataplane(4096);
    dataplane.apply(&put(ForwardMode::Dsr, 0, &[1, 2])).unwrap();
    assert_eq!((dataplane.changing(), tables_of(&dataplane)), (vec![], [ids(&[1, 2]), vec![]]));
    dataplane.apply(&put(ForwardMode::Dsr, 0, &[1, 3])).unwrap();
    dataplane.apply(&put(ForwardMode::Dsr, 0, &[4])).unwrap();
    assert_eq!((dataplane.changing(), tables_of(&dataplane)), (vec![POOL], [ids(&[4]), ids(&[1, 2])]));
    let until = Until::from_word(dataplane.tables.arrays.pools()[1].until.load(Relaxed));
    assert!(until.holds(false, now(&dataplane)) && until.holds(true, now(&dataplane)));
    wait(&dataplane, 70);
    assert!(
        until.holds(false, now(&dataplane)) && !until.holds(true, now(&dataplane)),
        "a datagram may be a first one"
    );
    dataplane.tend();
    assert_eq!(dataplane.changing(), [POOL]);
    wait(&dataplane, 40);
    dataplane.tend();
    assert_eq!((dataplane.changing(), tables_of(&dataplane)), (vec![], [ids(&[4]), vec![]]));
}

#[test]
fn nat_needs_no_previous_table_and_every_other_change_of_mode_does() {
    for (before, after, changes) in [
        (ForwardMode::Nat, ForwardMode::Nat, false),
        (ForwardMode::Nat, ForwardMode::Gue, true),
        (ForwardMode::Ipip, ForwardMode::Nat, true),
        (ForwardMode::Dnat, ForwardMode::Dsr, true),
    ] {
        let mut dataplane = dataplane(4096);
        dataplane.apply(&put(before, 0, &[1, 2])).unwrap();
        let same_members = if changes { &[1, 2] } else { &[1, 3] };
        dataplane.apply(&put(after, 0, same_members)).unwrap();
        assert_eq!(dataplane.changing().len(), usize::from(changes), "{before:?} to {after:?}");
    }
}

#[test]
fn what_moves_no_flow_begins_no_change() {
    let mut dataplane = dataplane(4096);
    dataplane.apply(&put(ForwardMode::Dsr, 0, &[1, 2])).unwrap();
    let first = dataplane.tables.arrays.pools()[1].entry().first();
    dataplane.apply(&put(ForwardMode::Dsr, PoolEntry::CLAMPS_MSS, &[1, 2])).unwrap();
    let entry = dataplane.tables.arrays.pools()[1].entry();
    assert_eq!((entry.first(), entry.flags()), (first, PoolEntry::CLAMPS_MSS));
}

#[test]
fn a_recorded_flow_keeps_the_change_of_a_hashed_pool_open_and_not_that_of_one_that_records_all() {
    for (flags, open) in [(0, true), (PoolEntry::RECORDS, false)] {
        let mut dataplane = dataplane(4096);
        dataplane.apply(&put(ForwardMode::Dsr, flags, &[1, 2])).unwrap();
        listen(&mut dataplane);
        dataplane.apply(&put(ForwardMode::Dsr, flags, &[3])).unwrap();
        place(&dataplane, 7, 1, PlacementStage::Established);
        wait(&dataplane, 110);
        dataplane.tend();
        assert_eq!(dataplane.changing().is_empty(), !open);
        // Nine hours later the ticks have come half round, and the hold is still over.
        for _ in 0..40 {
            wait(&dataplane, 1000);
            place(&dataplane, 7, 1, PlacementStage::Established);
            dataplane.tend();
            let until = Until::from_word(dataplane.tables.arrays.pools()[1].until.load(Relaxed));
            assert!(!open || !until.holds(false, now(&dataplane)));
        }
        wait(&dataplane, 700);
        dataplane.tend();
        assert_eq!(dataplane.changing(), []);
    }
}

#[test]
fn a_member_that_a_record_or_a_previous_table_names_is_not_released() {
    let mut dataplane = dataplane(4096);
    dataplane.apply(&put(ForwardMode::Dsr, 0, &[1, 2])).unwrap();
    listen(&mut dataplane);
    dataplane.apply(&put(ForwardMode::Dsr, 0, &[3])).unwrap();
    place(&dataplane, 9, 5, PlacementStage::Established);
    for member in [1, 5] {
        dataplane.apply(&Op::RetireMember { id: MemberId(member) }).unwrap();
        let error = dataplane.apply(&Op::ReleaseMember { id: MemberId(member) }).unwrap_err();
        assert!(matches!(error, DataplaneError::MemberInUse(_)), "{error}");
    }
    wait(&dataplane, 700);
    dataplane.tend();
    std::thread::sleep(super::super::ANSWER);
    for member in [1, 5] {
        dataplane.apply(&Op::ReleaseMember { id: MemberId(member) }).unwrap();
    }
}

#[test]
fn live_flows_are_counted_anew_and_those_of_a_removed_listener_forgotten() {
    let mut dataplane = dataplane(4096);
    dataplane.apply(&put(ForwardMode::Dsr, PoolEntry::RECORDS, &[1, 2])).unwrap();
    listen(&mut dataplane);
    (0..5).for_each(|way| place(&dataplane, way, 1, PlacementStage::Established));
    place(&dataplane, 5, 2, PlacementStage::New);
    dataplane.tables.arrays.listener_loads()[usize::from(LISTENER.0)].live.store(99, Relaxed);
    dataplane.tend();
    let live = |n| dataplane.live(None, Some(MemberId(n)));
    assert_eq!((dataplane.live(Some(LISTENER), None), live(1), live(2)), (6, 5, 1));
    wait(&dataplane, 20);
    dataplane.tend();
    assert_eq!(dataplane.live(None, Some(MemberId(2))), 0, "an opening that nobody followed is forgotten");
    let (vip, transport, port) = (VipId(1), Transport::Tcp, 80);
    dataplane.apply(&Op::RemoveListener { id: LISTENER, vip, transport, port }).unwrap();
    dataplane.tend();
    assert_eq!(dataplane.live(None, Some(MemberId(1))), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever changes follow one another, every slot of a pool's two tables names
    /// a member that is there, and no two tables share a slot.
    #[test]
    fn no_table_names_a_stranger(changes in prop::collection::vec(
        (1u16..4, 0usize..5, prop::collection::vec(1u16..10, 0..6), any::<bool>()), 1..24,
    )) {
        let mut dataplane = dataplane(16384);
        for (id, mode, members, pause) in changes {
            let record = PoolRecord { mode: ForwardMode::ALL[mode], ..PoolRecord::named(format!("web/{id}")) }
                .picked_by(Algorithm::SourceIp);
            let table: Vec<_> = members.iter().copied().map(MemberId).cycle().take(members.len() * 20).collect();
            let op = Op::PutPool { id: PoolId(id), record, table: table.clone(), hold: HOLD };
            dataplane.apply(&op).unwrap();
            if pause {
                wait(&dataplane, 110);
                dataplane.tend();
            }
            let arrays = &dataplane.tables.arrays;
            prop_assert_eq!(table_of(arrays, arrays.pools()[usize::from(id)].entry()), table);
            let mut ranges: Vec<_> = tables(arrays).map(|(_, table)| range_of(table)).collect();
            ranges.sort_by_key(|range| range.start);
            ranges.dedup();
            prop_assert!(ranges.windows(2).all(|two| two[0].end <= two[1].start), "{ranges:?}");
            for (_, table) in tables(arrays) {
                prop_assert!(table_of(arrays, table).iter().all(|member| (1..10).contains(&member.0)));
            }
        }
    }
}
