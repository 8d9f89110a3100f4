#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use lb_common::{
    atomic::Ordering::Relaxed,
    label::Labelled,
    limits::SLOTS_PER_LINE,
    mac::Mac,
    member::MemberState,
    pool::{NO_POOL, PoolEntry},
};
use lb_ebpf::host::Arrays as _;
use proptest::{prelude::*, sample::Index};

use super::{
    super::{
        Checked, Controller,
        kept::tests::{controller, desired, some_world},
        plan::plan,
        reconcile::world::{Flat, World, dataplane, listener, load_balancer, name, pool, web},
    },
    *,
};
use crate::{
    compile::InstanceIntent,
    dataplane::{
        Algorithm, Dataplane as _, InstanceId, ListenerKey, ListenerRules, MemberPath, MemberRecord, ObservedPool, Op,
        PoolRecord, Transport, VipId, memory::MemoryDataplane,
    },
    model::Topology,
};

/// What somebody who is not lbd does to a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Damage {
    MemberGone,
    MemberFlags,
    MemberWeight,
    MemberWay,
    MemberAddress,
    MemberLabel,
    PoolGone,
    PoolHash,
    PoolTable,
    PoolSlot,
    PoolLabel,
    VipGone,
    VipOff,
    VipLabel,
    ListenerGone,
    ListenerPool,
    ListenerLabel,
    InstanceGone,
    InstanceMac,
    InstanceLabel,
    AdvertSources,
    StrangeMember,
    StrangePool,
    StrangeVip,
    StrangeListener,
    StrangeInstance,
}

const DAMAGES: [Damage; 26] = [
    Damage::MemberGone,
    Damage::MemberFlags,
    Damage::MemberWeight,
    Damage::MemberWay,
    Damage::MemberAddress,
    Damage::MemberLabel,
    Damage::PoolGone,
    Damage::PoolHash,
    Damage::PoolTable,
    Damage::PoolSlot,
    Damage::PoolLabel,
    Damage::VipGone,
    Damage::VipOff,
    Damage::VipLabel,
    Damage::ListenerGone,
    Damage::ListenerPool,
    Damage::ListenerLabel,
    Damage::InstanceGone,
    Damage::InstanceMac,
    Damage::InstanceLabel,
    Damage::AdvertSources,
    Damage::StrangeMember,
    Damage::StrangePool,
    Damage::StrangeVip,
    Damage::StrangeListener,
    Damage::StrangeInstance,
];

/// Something of what is there, if anything is.
fn some<T>(all: impl IntoIterator<Item = T>, which: Index) -> Option<T> {
    let mut all: Vec<T> = all.into_iter().collect();
    (!all.is_empty()).then(|| all.swap_remove(which.index(all.len())))
}

impl Damage {
    /// Does it to one of those that there are. Says whether it could.
    fn on(self, dataplane: &mut MemoryDataplane, which: Index) -> bool {
        let observed = dataplane.observe().unwrap();
        self.try_on(dataplane, &observed, which).is_some()
    }

    fn try_on(self, dataplane: &mut MemoryDataplane, observed: &Observed, which: Index) -> Option<()> {
        match self {
            Self::MemberGone
            | Self::MemberFlags
            | Self::MemberWeight
            | Self::MemberWay
            | Self::MemberAddress
            | Self::MemberLabel => return self.on_member(dataplane, observed, which),
            Self::PoolGone | Self::PoolHash | Self::PoolTable | Self::PoolSlot | Self::PoolLabel => {
                return self.on_pool(dataplane, observed, which);
            }
            _ => {}
        }
        let op = match self {
            Self::VipOff | Self::VipLabel => {
                let (address, vip) = some(observed.vips.clone(), which)?;
                let (label, active) =
                    if self == Self::VipOff { (vip.label, !vip.active) } else { ("other".to_owned(), vip.active) };
                Op::PutVip { id: vip.id, address, label, active, instance: vip.instance }
            }
            Self::VipGone => {
                let used: BTreeSet<IpAddr> = observed.listeners.keys().map(|key| key.vip).collect();
                let (address, vip) = some(observed.vips.iter().filter(|(at, _)| !used.contains(at)), which)?;
                Op::RemoveVip { id: vip.id, address: *address }
            }
            Self::ListenerGone | Self::ListenerPool | Self::ListenerLabel => {
                let (key, there) = some(observed.listeners.clone(), which)?;
                let (vip, ListenerKey { transport, port, .. }) = (observed.vips.get(&key.vip)?.id, key);
                if self == Self::ListenerGone {
                    Op::RemoveListener { id: there.id, vip, transport, port }
                } else if self == Self::ListenerLabel {
                    let (pool, in_snat_range) = (there.pool, there.in_snat_range);
                    Op::PutListener {
                        id: there.id,
                        vip,
                        transport,
                        port,
                        label: "other".to_owned(),
                        pool,
                        in_snat_range,
                        rules: there.rules,
                    }
                } else {
                    let (label, in_snat_range) = (there.label, there.in_snat_range);
                    let pool = Some(PoolId(NO_POOL)).filter(|none| *none != there.pool)?;
                    Op::PutListener {
                        id: there.id,
                        vip,
                        transport,
                        port,
                        label,
                        pool,
                        in_snat_range,
                        rules: there.rules,
                    }
                }
            }
            Self::InstanceGone => {
                let (id, _) = some(&observed.instances, which)?;
                dataplane.tables.arrays.instances()[usize::from(id.0)].state.store(0, Relaxed);
                return Some(());
            }
            Self::InstanceMac | Self::InstanceLabel => {
                let (id, there) = some(observed.instances.clone(), which)?;
                let mac = Some(Mac([2, 9, 9, 9, 9, 9]));
                let (label, mac) =
                    if self == Self::InstanceMac { (there.label, mac) } else { ("other".to_owned(), there.mac) };
                Op::PutInstance { id, label, mac }
            }
            Self::AdvertSources => {
                let mut sources = observed.advert_sources.clone();
                if sources.pop_first().is_none() {
                    sources.insert((9, [192, 0, 2, 99].into()));
                }
                Op::SetAdvertSources { sources }
            }
            Self::StrangePool => Op::PutPool {
                id: PoolId(4000),
                record: PoolRecord::named("x/y"),
                table: Vec::new(),
                hold: Duration::ZERO,
            },
            Self::StrangeMember => {
                let (_, there) = some(observed.members.clone(), which)?;
                Op::PutMember { id: MemberId(16_000), record: MemberRecord { port: 4711, ..there } }
            }
            Self::StrangeVip => {
                let (address, label) = ([192, 0, 2, 200].into(), "x".to_owned());
                Op::PutVip { id: VipId(1000), address, label, active: true, instance: None }
            }
            Self::StrangeListener => {
                let (_, vip) = some(observed.vips.clone(), which)?;
                let (id, label, pool) = (crate::dataplane::ListenerId(4000), "x/l".to_owned(), PoolId(NO_POOL));
                let transport = Transport::Tcp;
                Op::PutListener {
                    id,
                    vip: vip.id,
                    transport,
                    port: 4711,
                    label,
                    pool,
                    in_snat_range: false,
                    rules: ListenerRules::default(),
                }
            }
            _ => Op::PutInstance { id: InstanceId(60), label: "x".to_owned(), mac: None },
        };
        // What other damage made impossible is none.
        dataplane.apply(&op).ok()
    }

    fn on_member(self, dataplane: &mut MemoryDataplane, observed: &Observed, which: Index) -> Option<()> {
        let (id, mut record) = some(observed.members.clone(), which)?;
        let words = &dataplane.tables.arrays.members()[usize::from(id.0)];
        match self {
            Self::MemberGone => words.state.store(0, Relaxed),
            Self::MemberAddress => words.address[0].store(!words.address[0].load(Relaxed), Relaxed),
            Self::MemberWay => words.set_next_hop(record.next_hop.is_none().then(super::super::reconcile::world::way)),
            _ => {
                match self {
                    Self::MemberFlags => record.flags ^= MemberState::UP,
                    Self::MemberWeight => record.weight ^= 1,
                    _ => record.label = "x/y/z".to_owned(),
                }
                dataplane.apply(&Op::PutMember { id, record }).ok()?;
            }
        }
        Some(())
    }

    fn on_pool(self, dataplane: &mut MemoryDataplane, observed: &Observed, which: Index) -> Option<()> {
        let (id, ObservedPool { record, table }) = some(observed.pools.clone(), which)?;
        let op = match self {
            Self::PoolGone => {
                dataplane.tables.arrays.pools()[usize::from(id.0)].entry.store(0, Relaxed);
                return Some(());
            }
            Self::PoolLabel => {
                dataplane.tables.arrays.labels()[Labelled::Pool(id.0).index() as usize].set("x/y");
                return Some(());
            }
            Self::PoolSlot => {
                let first = *table.first()?;
                let other = *table.iter().find(|member| **member != first)?;
                let arrays = &dataplane.tables.arrays;
                let entry = PoolEntry(arrays.pools()[usize::from(id.0)].entry.load(Relaxed));
                let line = arrays.slot_line(entry.first() / SLOTS_PER_LINE)?;
                line.set_four(0, [other.0, line.get(1), line.get(2), line.get(3)]);
                return Some(());
            }
            Self::PoolHash => {
                let is_sticky = record.algorithm == Algorithm::SourceIp;
                let record = record.picked_by(if is_sticky { Algorithm::SourceIpPort } else { Algorithm::SourceIp });
                Op::PutPool { id, record, table, hold: Duration::ZERO }
            }
            _ if table.is_empty() => return None,
            _ => Op::PutPool { id, record, table: Vec::new(), hold: Duration::ZERO },
        };
        // What other damage made impossible is none.
        dataplane.apply(&op).ok()
    }
}

/// One of everything, a VIP without listeners among it.
fn everything() -> World {
    let mut lb = web(&[1, 2, 3]);
    lb.topology = Topology::ActiveStandby { vrrp: name("left") };
    let other = load_balancer("spare", "2001:db8::1", vec![], vec![]);
    let third = load_balancer(
        "third",
        "192.0.2.3",
        vec![listener(Transport::Tcp, 20_000, Some("p"))],
        vec![pool("p", Transport::Tcp, &[4])],
    );
    let instance = |label: &str, mac, vrid| InstanceIntent {
        name: name(label),
        mac,
        addresses: Vec::new(),
        advert_sources: [(vrid, [10, 0, 0, 9].into())].into(),
    };
    World {
        instances: vec![instance("left", None, 7), instance("right", Some(Mac([2, 0, 0, 0, 0, 1])), 8)],
        ..World::of(vec![lb, other, third])
    }
}

/// Takes all steps of a round, and says what came of it.
fn round(controller: &mut Controller<MemoryDataplane>) -> Checked {
    controller.begin_round();
    loop {
        match controller.check() {
            Checked::GoesOn => {}
            end => return end,
        }
    }
}

fn assert_as_desired(controller: &Controller<MemoryDataplane>, after: &dyn std::fmt::Debug) {
    let (observed, desired) = (controller.dataplane().observe().unwrap(), desired(controller));
    assert_eq!(Flat::observed(&observed), Flat::desired(&desired), "after {after:?}");
    let more = plan(&desired, &observed).unwrap();
    assert!(more.iter().all(|op| matches!(op, Op::ReleaseMember { .. })), "{more:?} after {after:?}");
}

#[test]
fn whatever_is_damaged_in_the_maps_is_found_and_mended_by_a_round() {
    for damage in DAMAGES {
        let world = everything();
        let mut controller = controller(dataplane(), world.load_balancers);
        controller.set_instances(world.instances);
        assert!(controller.converge());
        assert_eq!(round(&mut controller), Checked::Over, "nothing is wrong");
        let before = controller.dataplane().observe().unwrap();
        assert!(damage.on(controller.dataplane_mut(), any_index()), "{damage:?} has nothing to damage");
        assert_ne!(controller.dataplane().observe().unwrap(), before, "{damage:?} does nothing");
        assert_eq!(round(&mut controller), Checked::Mended, "{damage:?}");
        assert_as_desired(&controller, &damage);
        assert_eq!(round(&mut controller), Checked::Over, "{damage:?} is mended");
    }
}

fn any_index() -> Index {
    use proptest::{strategy::ValueTree as _, test_runner::TestRunner};
    any::<Index>().new_tree(&mut TestRunner::deterministic()).unwrap().current()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 400, ..ProptestConfig::default() })]

    /// What the parts of a round find is what a look at everything would.
    #[test]
    fn a_round_finds_what_differs_and_mends_all_that_a_whole_comparison_would(
        world in some_world(),
        damages in prop::collection::vec((any::<Index>(), any::<Index>()), 0..5),
        late in any::<bool>(),
    ) {
        let mut controller = controller(dataplane(), world.load_balancers);
        controller.set_instances(world.instances);
        prop_assert!(controller.converge());
        controller.begin_round();
        if late {
            controller.check();
        }
        for (damage, which) in &damages {
            damage.get(&DAMAGES).on(controller.dataplane_mut(), *which);
        }
        let wrong = !agrees(
            &Part::Everything,
            controller.kept.as_ref().unwrap().observed(),
            &controller.dataplane().observe().unwrap(),
        );
        // What is damaged behind a round's back is for the next one.
        let ends = [round(&mut controller), round(&mut controller)];
        prop_assert_eq!(ends.contains(&Checked::Mended), wrong, "{:?}", damages);
        prop_assert_eq!(round(&mut controller), Checked::Over);
        assert_as_desired(&controller, &damages);
    }
}

fn kept_of(members: u16, pools: u16, slots: usize) -> Observed {
    let mut observed = Observed::default();
    for id in 1..=members {
        let record = MemberRecord {
            label: "m".to_owned(),
            address: [10, 0, 0, 1].into(),
            port: 80,
            pool: PoolId(1),
            flags: 0,
            weight: 1,
            next_hop: None,
            path: MemberPath::default(),
            connection_limit: 0,
        };
        observed.members.insert(MemberId(id), record);
    }
    for id in 1..=pools {
        let pool = ObservedPool { record: PoolRecord::named("p"), table: vec![MemberId(1); slots] };
        observed.pools.insert(PoolId(id), pool);
    }
    observed
}

#[test]
fn the_parts_of_a_round_are_small_and_are_everything() {
    for (members, pools, slots, parts) in
        [(0, 0, 0, 3), (1, 1, 211, 3), (10_000, 100, 10_007, 10 + 17 + 1), (16_383, 64, 65_537, 16 + 64 + 1)]
    {
        let kept = kept_of(members, pools, slots);
        let (mut round, mut steps) = (Round::BEGIN, Vec::new());
        while let Some(step) = round.step(&kept) {
            steps.push(step);
        }
        assert!(round.is_over() && round.step(&kept).is_none());
        assert_eq!(steps.pop(), Some(Step::Release));
        assert_eq!(steps.len(), parts, "{members} members, {pools} pools");
        let (mut next_member, mut next_pool, mut rest) = (0, 0, 0);
        for step in &steps {
            match step {
                Step::Compare(Part::Members(ids)) => {
                    assert_eq!(ids.start, next_member);
                    assert!(kept.members.range(MemberId(ids.start)..MemberId(ids.end)).count() <= MEMBERS);
                    next_member = ids.end;
                }
                Step::Compare(Part::Pools(ids)) => {
                    assert_eq!(ids.start, next_pool);
                    let of_it = kept.pools.range(PoolId(ids.start)..PoolId(ids.end));
                    assert!(of_it.map(|(_, pool)| pool.table.len()).sum::<usize>() <= SLOTS);
                    next_pool = ids.end;
                }
                Step::Compare(Part::Rest) => rest += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((next_member, next_pool, rest), (u16::MAX, u16::MAX, 1));
    }
}

#[test]
fn a_round_frees_members_whose_flows_have_ended() {
    let mut controller = controller(dataplane(), vec![web(&[1, 2])]);
    assert!(controller.converge());
    let ids = |controller: &Controller<MemoryDataplane>| controller.dataplane().observe().unwrap().members.len();
    controller.set_model(crate::model::Model::new(vec![web(&[2])]).unwrap(), std::time::SystemTime::now());
    assert!(controller.converge());
    assert_eq!(ids(&controller), 4, "two of them retired");
    assert_eq!(round(&mut controller), Checked::Over);
    assert_eq!(ids(&controller), 2);
    assert_eq!(round(&mut controller), Checked::Over, "what is kept followed");
}
