#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    net::SocketAddr,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use lb_common::{limits::MAX_TABLE_SLOTS, member::MemberState};
use proptest::{prelude::*, sample::Index};

use super::{
    super::{
        Checked, Controller,
        plan::plan,
        reconcile::{
            packets_tests::{address, some_override, world},
            world::{Flat, World, dataplane, key, small_dataplane, web},
        },
    },
    *,
};
use crate::{
    compile::{Desired, MemberKey, MemberOverride, Overrides, Verdict, compile},
    control::{protocol::MemberChange, view::DaemonView},
    dataplane::{
        MemberId, Op, Transport,
        memory::MemoryDataplane,
        tables::frames::{Frame, Sent, next_hop, send, shake_hands},
    },
    health::HealthEvent,
    net::Hops,
    spread::KeptTables,
};

/// Something that happens to a daemon.
#[derive(Clone, Debug)]
enum Step {
    /// The pool file is read again.
    Reload(World),
    /// Monitors find members up or down.
    Verdicts(Vec<(Index, bool)>),
    /// An operator changes a member.
    Set(Index, MemberOverride),
    /// These members are not reached; all others are.
    Ways(Vec<u8>),
    /// All is compared.
    Resync,
    /// All is compared with what is kept, in parts.
    Round,
}

fn step() -> impl Strategy<Value = Step> {
    let verdicts = prop::collection::vec((any::<Index>(), prop::bool::weighted(0.4)), 1..4);
    prop_oneof![
        2 => world().prop_map(Step::Reload),
        5 => verdicts.prop_map(Step::Verdicts),
        3 => (any::<Index>(), some_override()).prop_map(|(member, change)| Step::Set(member, change)),
        3 => prop::collection::vec(1u8..=4, 0..3).prop_map(Step::Ways),
        1 => Just(Step::Resync),
        2 => Just(Step::Round),
    ]
}

pub(in crate::controller) fn controller(
    dataplane: MemoryDataplane,
    lbs: Vec<crate::model::LoadBalancer>,
) -> Controller<MemoryDataplane> {
    let model = Model::new(lbs).unwrap();
    let mut controller = Controller::new(dataplane, model, Overrides::default(), DaemonView::default()).unwrap();
    watch_all(&mut controller);
    controller.set_hops(&hops(&controller, &[]));
    controller
}

fn watch_all(controller: &mut Controller<MemoryDataplane>) {
    let keys = controller.member_keys().collect();
    controller.watch(keys);
}

fn hops(controller: &Controller<MemoryDataplane>, unreached: &[u8]) -> Hops {
    let lost = |at: &IpAddr| unreached.iter().any(|n| [address(*n, true), address(*n, false)].contains(at));
    let reached = controller.member_addresses().into_iter().filter(|address| !lost(address));
    Hops { next_hops: reached.map(|address| (address, next_hop())).collect(), ..Hops::default() }
}

fn judge(controller: &mut Controller<MemoryDataplane>, member: MemberKey, up: bool) {
    controller.set_verdict(&HealthEvent {
        member,
        verdict: if up { Verdict::Up } else { Verdict::Down },
        outcome: lb_health::Outcome::Fails(lb_health::Failure::Told("test")),
        at: UNIX_EPOCH,
        decided: Instant::now(),
    });
}

fn take(controller: &mut Controller<MemoryDataplane>, step: &Step) {
    let keys: Vec<MemberKey> = controller.member_keys().collect();
    match step {
        Step::Reload(world) => {
            controller.set_model(Model::new(world.load_balancers.clone()).unwrap(), SystemTime::now());
            controller.set_instances(world.instances.clone());
            watch_all(controller);
            controller.set_hops(&hops(controller, &[]));
        }
        Step::Verdicts(verdicts) if !keys.is_empty() => {
            verdicts.iter().for_each(|(member, up)| judge(controller, member.get(&keys).clone(), *up));
        }
        Step::Set(member, change) if !keys.is_empty() => {
            let key = member.get(&keys);
            let select = format!("{}/{}", key.pool, SocketAddr::new(key.address, key.port));
            let MemberOverride { weight, admin_state_up, drain } = *change;
            let weight = weight.map(|w| w.get());
            let change = MemberChange { weight, admin_state_up, drain: Some(drain), reset: true };
            controller.set_member(&select, &change, |_| Ok(()));
        }
        Step::Ways(unreached) => controller.set_hops(&hops(controller, unreached)),
        Step::Resync => drop(controller.converge()),
        Step::Round => {
            controller.begin_round();
            while let Checked::GoesOn = controller.check() {}
        }
        Step::Verdicts(_) | Step::Set(..) => {}
    }
}

pub(in crate::controller) fn desired(controller: &Controller<MemoryDataplane>) -> Desired {
    let Controller { model, overrides, health, next_hops, instances, .. } = controller;
    compile(model, overrides, health, next_hops, instances)
}

/// Some world, without what is said about its members.
pub(in crate::controller) fn some_world() -> impl Strategy<Value = World> {
    world()
}

/// Opens a connection at each TCP listener, so that members that go are not gone.
fn connect(controller: &Controller<MemoryDataplane>, number: u16) {
    for key in desired(controller).listeners.keys().filter(|key| key.transport == Transport::Tcp) {
        let client: IpAddr =
            if key.vip.is_ipv4() { [198, 51, 100, 1].into() } else { [0x2001, 0xdb8, 1, 0, 0, 0, 0, 1].into() };
        shake_hands(controller.dataplane(), (client, 1024 + number).into(), (key.vip, key.port).into());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 400, ..ProptestConfig::default() })]

    /// Whatever happens in whatever order, and wherever an operation fails: what
    /// follows from changes alone is what follows from everything.
    #[test]
    fn to_follow_changes_leads_where_to_compile_everything_anew_does(
        first in world(),
        steps in prop::collection::vec((step(), prop::option::weighted(0.15, 0usize..4)), 1..16),
    ) {
        let mut controller = controller(dataplane(), first.load_balancers);
        controller.set_instances(first.instances);
        prop_assert!(controller.follow());
        for (number, (step, failure)) in (0..).zip(&steps) {
            connect(&controller, number);
            if let Some(operations) = failure {
                controller.dataplane_mut().fail_after(*operations);
            }
            take(&mut controller, step);
            if !controller.follow() {
                prop_assert!(failure.is_some() && controller.kept.is_none());
                controller.dataplane_mut().fail_after(usize::MAX);
                prop_assert!(controller.follow());
            }
            controller.dataplane_mut().fail_after(usize::MAX);
            let (observed, desired) = (controller.dataplane().observe().unwrap(), desired(&controller));
            prop_assert_eq!(Flat::observed(&observed), Flat::desired(&desired), "after {:?}", step);
            let more = plan(&desired, &observed).unwrap();
            prop_assert!(more.iter().all(|op| matches!(op, Op::ReleaseMember { .. })), "{:?} after {:?}", more, step);
            prop_assert_eq!(controller.kept.as_ref().unwrap().observed(), &observed, "after {:?}", step);
            prop_assert_eq!(controller.load_balancers_down(), &desired.load_balancers_down());
        }
    }
}

/// Members of `web/app` that its table names, by the last octet of their address.
fn in_table(controller: &Controller<MemoryDataplane>) -> BTreeSet<u8> {
    let observed = controller.dataplane().observe().unwrap();
    let table = &observed.pools.values().find(|pool| pool.record.label == "web/app").unwrap().table;
    let octet = |id: &MemberId| match observed.members[id].address {
        IpAddr::V4(a) => a.octets()[3],
        IpAddr::V6(_) => panic!("{id:?} is of another family"),
    };
    table.iter().map(octet).collect()
}

/// Where the SYNs of many clients go.
fn went(controller: &Controller<MemoryDataplane>, round: u8) -> BTreeSet<u8> {
    let to = |n: u8| {
        let client = SocketAddr::from(([198, 51, round, n], 40_000));
        match send(controller.dataplane(), &Frame::first(Transport::Tcp, client, ([192, 0, 2, 1], 80).into())) {
            Sent::On(frame) if frame.destination.port() == 8080 => match frame.destination.ip() {
                IpAddr::V4(a) => Some(a.octets()[3]),
                IpAddr::V6(_) => None,
            },
            Sent::On(_) => None,
            other => panic!("{other:?}"),
        }
    };
    (0..200).filter_map(to).collect()
}

#[test]
fn packets_go_to_backups_from_the_last_primary_down_to_the_first_one_up() {
    let mut lb = web(&[1, 2, 3, 4, 5]);
    lb.pools[0].members[3].backup = true;
    lb.pools[0].members[4].backup = true;
    let mut controller = controller(dataplane(), vec![lb]);
    assert!(controller.converge());
    let ways: [(u8, bool, &[u8]); 8] = [
        (2, false, &[1, 3]),
        (1, false, &[3]),
        (3, false, &[4, 5]),
        (4, false, &[5]),
        (5, false, &[]),
        (4, true, &[4]),
        (2, true, &[2]),
        (1, true, &[1, 2]),
    ];
    assert_eq!(went(&controller, 0), [1, 2, 3].into());
    for (round, (member, up, expected)) in (1..).zip(ways) {
        judge(&mut controller, key("web/app", member), up);
        assert!(controller.follow());
        assert_eq!(in_table(&controller), expected.iter().copied().collect(), "after member {member}");
        assert_eq!(went(&controller, round), expected.iter().copied().collect(), "after member {member}");
        assert!(controller.load_balancers_down().is_empty(), "the other pool has members");
    }
}

#[test]
fn a_verdict_is_two_operations_in_the_order_in_which_no_flow_comes_back() {
    let mut controller = controller(dataplane(), vec![web(&[1, 2, 3])]);
    assert!(controller.converge());
    let words = |controller: &mut Controller<MemoryDataplane>| -> Vec<&'static str> {
        let kept = controller.kept.as_ref().unwrap();
        let said = Said { overrides: &controller.overrides, health: &controller.health, hops: &controller.next_hops };
        let (lb, place) = (&controller.model.load_balancers()[0], &kept.places["web/app"]);
        let ops =
            plan_pool(&Lineup::of(lb, &lb.pools[0], &said, &mut KeptTables::default()), place, &kept.observed).unwrap();
        assert!(controller.follow());
        let word = |op: &Op| match op {
            Op::PutMember { record, .. } if record.flags & MemberState::UP != 0 => "up",
            Op::PutMember { .. } => "down",
            Op::PutPool { .. } => "table",
            _ => "other",
        };
        ops.iter().map(word).collect()
    };
    judge(&mut controller, key("web/app", 1), false);
    assert_eq!(words(&mut controller), ["table", "down"]);
    judge(&mut controller, key("web/app", 2), false);
    judge(&mut controller, key("web/app", 1), true);
    assert_eq!(words(&mut controller), ["up", "table", "down"]);
    judge(&mut controller, key("web/app", 1), true);
    assert!(words(&mut controller).is_empty(), "nothing is new");
}

#[test]
fn however_fast_members_of_a_pool_fail_its_table_has_room() {
    // The largest table, and room for three of them and the other pool's.
    let mut lb = web(&[]);
    lb.pools[0].members = (0..1000u16)
        .map(|n| {
            let [high, low] = n.to_be_bytes();
            let member = super::super::reconcile::world::member(1);
            let name = super::super::reconcile::world::name(format!("m{n}"));
            crate::model::Member { name, address: [10, 1, high, low].into(), ..member }
        })
        .collect();
    let mut controller = controller(small_dataplane(MAX_TABLE_SLOTS.next_multiple_of(16) * 3), vec![lb]);
    assert!(controller.converge());
    let keys: Vec<MemberKey> = controller.member_keys().filter(|key| key.pool == "web/app").collect();
    for key in keys.iter().take(40) {
        judge(&mut controller, key.clone(), false);
        assert!(controller.follow(), "{:?}", controller.behind());
    }
    let observed = controller.dataplane().observe().unwrap();
    assert_eq!(Flat::observed(&observed), Flat::desired(&desired(&controller)));
}
