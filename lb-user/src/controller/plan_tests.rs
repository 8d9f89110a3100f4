#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use lb_common::{
    limits::{MAX_LISTENERS, MAX_MEMBERS, MAX_VIPS},
    mac::Mac,
    protocol::Transport,
};

use super::*;
use crate::{
    compile::{DesiredListener, DesiredMember, DesiredVip, InstanceIntent, Verdict},
    controller::reconcile::world::{World, id_of, key, listener, load_balancer, name, pool, web},
    dataplane::{ListenerId, ListenerRules, MemberPath, NextHop, PoolRecord},
    model::{LoadBalancer, Topology, Weight},
};

/// What is observed after operations.
fn after(mut observed: Observed, ops: &[Op]) -> Observed {
    for op in ops.iter().cloned() {
        if let Op::PutVip { instance, .. } = &op {
            assert!(instance.is_none_or(|id| observed.instances.contains_key(&id)), "{observed:?}");
        }
        observed.follow(op);
    }
    observed
}

fn empty() -> Observed {
    Observed { snat_ports: (16384, 65535), ..Observed::default() }
}

fn observed_of(world: &World) -> Observed {
    after(empty(), &plan(&world.desired(), &empty()).unwrap())
}

/// The words of the operations between two worlds, in order.
fn words(from: &Observed, to: &World) -> Vec<&'static str> {
    plan(&to.desired(), from).unwrap().iter().map(word).collect()
}

fn word(op: &Op) -> &'static str {
    match op {
        Op::PutMember { .. } => "put member",
        Op::PutPool { .. } => "put pool",
        Op::PutInstance { .. } => "put instance",
        Op::RemoveInstance { .. } => "remove instance",
        Op::SetAdvertSources { .. } => "set advert sources",
        Op::PutVip { .. } => "put vip",
        Op::SetAllowedCidrs { .. } => "set allowed cidrs",
        Op::SetDnatMembers { .. } => "set dnat members",
        Op::PutListener { .. } => "put listener",
        Op::RemoveListener { .. } => "remove listener",
        Op::RemoveVip { .. } => "remove vip",
        Op::RemovePool { .. } => "remove pool",
        Op::RetireMember { .. } => "retire",
        Op::ReleaseMember { .. } => "release",
    }
}

fn two_pools() -> LoadBalancer {
    let listeners = vec![listener(Transport::Tcp, 80, Some("p")), listener(Transport::Tcp, 443, Some("q"))];
    let pools = vec![pool("p", Transport::Tcp, &[1, 2]), pool("q", Transport::Tcp, &[1, 3])];
    load_balancer("web", "192.0.2.1", listeners, pools)
}

#[test]
fn what_is_as_desired_has_no_operation() {
    let world = World::of(vec![web(&[1, 2])]);
    assert_eq!(words(&observed_of(&world), &world), [""; 0]);
}

#[test]
fn everything_new_is_built_from_the_members_up() {
    let ops = plan(&World::of(vec![web(&[1])]).desired(), &empty()).unwrap();
    let words: Vec<_> = ops.iter().map(word).collect();
    assert_eq!(words, ["put member", "put member", "put pool", "put pool", "put vip", "put listener", "put listener"]);
    let (Op::PutMember { id: member, .. }, Op::PutPool { id: pool, .. }) = (&ops[0], &ops[2]) else {
        panic!("{ops:?}")
    };
    assert_eq!((member.0, pool.0), (1, 1), "0 means nobody");
}

#[test]
fn everything_is_taken_down_from_the_listeners_down_and_released_a_round_later() {
    let observed = observed_of(&World::of(vec![web(&[1])]));
    let nothing = World::default();
    let expected =
        ["remove listener", "remove listener", "remove vip", "remove pool", "remove pool", "retire", "retire"];
    assert_eq!(words(&observed, &nothing), expected);
    let retired = after(observed, &plan(&nothing.desired(), &empty()).unwrap());
    let retired = after(retired.clone(), &plan(&nothing.desired(), &retired).unwrap());
    assert_eq!(words(&retired, &nothing), ["release", "release"]);
    assert_eq!(after(retired.clone(), &plan(&nothing.desired(), &retired).unwrap()), empty());
}

#[test]
fn a_member_that_goes_down_is_told_after_the_table_and_before_it_when_it_comes_back() {
    let mut world = World::of(vec![web(&[1, 2])]);
    let observed = observed_of(&world);
    world.health.insert(key("web/app", 1), Verdict::Down);
    assert_eq!(words(&observed, &world), ["put pool", "put member"]);
    let observed = observed_of(&world);
    world.health.clear();
    assert_eq!(words(&observed, &world), ["put member", "put pool"]);
}

#[test]
fn a_member_whose_next_hop_is_lost_is_told_after_the_table() {
    let mut world = World::of(vec![web(&[1, 2])]);
    let observed = observed_of(&world);
    world.unreached.insert("10.0.0.1".parse().unwrap());
    assert_eq!(words(&observed, &world), ["put pool", "put pool", "put member", "put member"]);
    let observed = observed_of(&world);
    world.unreached.clear();
    assert_eq!(words(&observed, &world), ["put member", "put member", "put pool", "put pool"]);
}

#[test]
fn a_pool_that_loses_everybody_is_emptied_after_listeners_have_left_it() {
    let mut lb = two_pools();
    let observed = observed_of(&World::of(vec![lb.clone()]));
    lb.listeners[0].default_pool = Some(name("q"));
    lb.listeners[1].default_pool = Some(name("p"));
    lb.pools[0].admin_state_up = false;
    let expected = ["put listener", "put listener", "put pool", "put member", "put member"];
    assert_eq!(words(&observed, &World::of(vec![lb])), expected);
}

#[test]
fn a_weight_of_zero_takes_a_member_out_of_the_table_and_keeps_it() {
    let mut world = World::of(vec![web(&[1, 2])]);
    let observed = observed_of(&world);
    world.overrides.set_weight(key("web/app", 1), Weight::new(0));
    let ops = plan(&world.desired(), &observed).unwrap();
    let drained = after(observed.clone(), &ops);
    let id = id_of(&observed, "web/app", 1).unwrap();
    assert_eq!(ops.iter().map(word).collect::<Vec<_>>(), ["put member", "put pool"]);
    assert!(drained.pools.values().any(|p| p.record.label == "web/app" && !p.table.contains(&id)));
    assert_eq!(drained.members[&id].flags, MemberState::UP | MemberState::DRAINING);
}

#[test]
fn another_name_of_a_member_or_listener_is_a_label_and_nothing_else() {
    let mut lb = web(&[1, 2]);
    let observed = observed_of(&World::of(vec![lb.clone()]));
    lb.pools[0].members[0].name = name("first");
    lb.listeners[0].name = name("front");
    let ops = plan(&World::of(vec![lb]).desired(), &observed).unwrap();
    let [Op::PutMember { id, record }, Op::PutListener { id: listener, label, .. }] = &ops[..] else {
        panic!("{ops:?}")
    };
    assert_eq!((record.label.as_str(), label.as_str()), ("web/app/first", "web/front"));
    assert_eq!(observed.members[id].label, "web/app/m1");
    assert!(observed.listeners.values().any(|l| l.id == *listener && l.label == "web/TCP-80"));
}

#[test]
fn a_load_balancer_under_another_name_keeps_every_id() {
    let mut lb = web(&[1, 2]);
    let before = observed_of(&World::of(vec![lb.clone()]));
    lb.name = name("shop");
    let ops = plan(&World::of(vec![lb]).desired(), &before).unwrap();
    assert!(ops.iter().all(|op| word(op).starts_with("put")), "{ops:?}");
    let renamed = after(before.clone(), &ops);
    assert_eq!(renamed.members.len(), before.members.len());
    for pool in ["app", "dns"] {
        for n in 1..=2 {
            let ids = [&before, &renamed].map(|o| o.members.keys().copied().collect::<Vec<_>>());
            assert_eq!(ids[0], ids[1]);
            let (old, new) = (format!("web/{pool}"), format!("shop/{pool}"));
            assert_eq!(id_of(&before, &old, n), id_of(&renamed, &new, n));
        }
    }
    let tables = |o: &Observed| o.pools.iter().map(|(id, p)| (*id, p.table.clone())).collect::<BTreeMap<_, _>>();
    assert_eq!(tables(&before), tables(&renamed));
}

#[test]
fn a_vip_that_moves_to_another_load_balancer_keeps_its_id_and_its_listeners() {
    let (mut web, mut shop) = (web(&[1]), web(&[2]));
    (shop.name, shop.vip_address) = (name("shop"), "192.0.2.2".parse().unwrap());
    let before = observed_of(&World::of(vec![web.clone(), shop.clone()]));
    std::mem::swap(&mut web.vip_address, &mut shop.vip_address);
    let world = World::of(vec![web, shop]);
    let ops = plan(&world.desired(), &before).unwrap();
    assert_eq!(ops.iter().map(word).collect::<Vec<_>>(), [["put vip"; 2].as_slice(), &["put listener"; 4]].concat());
    let moved = after(before.clone(), &ops);
    let ids = |o: &Observed| {
        let vips = o.vips.iter().map(|(address, vip)| (*address, vip.id)).collect::<Vec<_>>();
        (vips, o.listeners.iter().map(|(key, l)| (*key, l.id)).collect::<Vec<_>>())
    };
    assert_eq!(ids(&before), ids(&moved));
    assert_eq!(words(&moved, &world), [""; 0]);
}

#[test]
fn a_pool_that_only_some_of_its_listeners_follow_is_not_renamed() {
    let mut lb = two_pools();
    lb.listeners[1].default_pool = Some(name("p"));
    lb.pools.truncate(1);
    let before = observed_of(&World::of(vec![lb.clone()]));
    let old = before.pools.keys().next().copied().unwrap();
    lb.pools = vec![pool("new", Transport::Tcp, &[1, 2]), pool("other", Transport::Tcp, &[4])];
    lb.listeners[0].default_pool = Some(name("new"));
    lb.listeners[1].default_pool = Some(name("other"));
    let ops = plan(&World::of(vec![lb]).desired(), &before).unwrap();
    assert!(ops.contains(&Op::RemovePool { id: old }), "{ops:?}");
    assert!(!ops.iter().any(|op| matches!(op, Op::PutPool { id, .. } if *id == old)));
}

#[test]
fn a_member_that_comes_back_while_it_is_retired_gets_its_id_back() {
    let world = World::of(vec![web(&[1, 2])]);
    let before = observed_of(&world);
    let id = id_of(&before, "web/app", 1).unwrap();
    let fewer = World::of(vec![web(&[2])]);
    let without = after(before.clone(), &plan(&fewer.desired(), &before).unwrap());
    assert_ne!(without.members[&id].flags & MemberState::RETIRED, 0);
    let again = after(without.clone(), &plan(&world.desired(), &without).unwrap());
    assert_eq!(again, before);
}

#[test]
fn flows_of_a_retired_member_follow_it_to_another_next_hop() {
    let observed = observed_of(&World::of(vec![web(&[1, 2])]));
    let world = World::of(vec![web(&[2])]);
    let retired = after(observed.clone(), &plan(&world.desired(), &observed).unwrap());
    let before = retired.members.values().find(|m| m.flags & MemberState::RETIRED != 0).unwrap().clone();
    let moved = NextHop { port: 7, ..before.next_hop.unwrap() };
    let mut desired = world.desired();
    desired.next_hops.insert(before.address, moved);
    let ops = plan(&desired, &retired).unwrap();
    assert!(ops.iter().any(|op| matches!(op, Op::PutMember { record, .. }
        if *record == MemberRecord { next_hop: Some(moved), ..before.clone() })));
    // A way that is lost is kept: it may be the old one still.
    desired.next_hops.remove(&before.address);
    assert!(plan(&desired, &retired).unwrap().iter().all(|op| !matches!(op, Op::PutMember { .. })));
}

#[test]
fn a_load_balancer_that_comes_back_gets_the_ids_of_its_retired_members_back() {
    let world = World::of(vec![web(&[1, 2])]);
    let before = observed_of(&world);
    let nothing = after(before.clone(), &plan(&Desired::default(), &before).unwrap());
    assert!(nothing.pools.is_empty() && nothing.members.len() == 4);
    let mut stranger = web(&[7]);
    (stranger.name, stranger.vip_address) = (name("a-stranger"), "192.0.2.9".parse().unwrap());
    let both = World::of(vec![web(&[1, 2]), stranger]);
    let again = after(nothing.clone(), &plan(&both.desired(), &nothing).unwrap());
    for (pool, n) in [("web/app", 1), ("web/app", 2), ("web/dns", 1), ("web/dns", 2)] {
        assert_eq!(id_of(&again, pool, n), id_of(&before, pool, n));
    }
}

#[test]
fn no_pool_inherits_the_retired_members_of_another() {
    let observed = observed_of(&World::of(vec![web(&[1])]));
    let retired = after(observed.clone(), &plan(&Desired::default(), &observed).unwrap());
    let mut other = web(&[1]);
    other.name = name("other");
    let ops = plan(&World::of(vec![other]).desired(), &retired).unwrap();
    let put: Vec<_> =
        ops.iter().filter_map(|op| if let Op::PutMember { id, .. } = op { Some(*id) } else { None }).collect();
    assert_eq!(put.len(), 2);
    assert!(put.iter().all(|id| !retired.members.contains_key(id)), "{put:?}");
}

#[test]
fn a_pool_of_the_other_family_is_another_pool() {
    let before = observed_of(&World::of(vec![web(&[1])]));
    let mut lb = web(&[]);
    lb.vip_address = "2001:db8::1".parse().unwrap();
    let ops = plan(&World::of(vec![lb]).desired(), &before).unwrap();
    let new_pools = ops.iter().filter(|op| matches!(op, Op::PutPool { id, .. } if !before.pools.contains_key(id)));
    assert_eq!(new_pools.count(), 2);
}

#[test]
fn a_listener_in_the_snat_range_is_marked() {
    let mut observed = empty();
    observed.snat_ports = (100, 200);
    let ports = [99, 100, 200, 201];
    let listeners = ports.iter().map(|port| listener(Transport::Udp, *port, None)).collect();
    let world = World::of(vec![load_balancer("web", "192.0.2.1", listeners, vec![])]);
    let observed = after(observed.clone(), &plan(&world.desired(), &observed).unwrap());
    let marked: Vec<_> = observed.listeners.iter().filter(|(_, l)| l.in_snat_range).map(|(key, _)| key.port).collect();
    assert_eq!(marked, [100, 200]);
    // Another range: the listeners are marked anew.
    let wider = Observed { snat_ports: (1, 65535), ..observed };
    assert_eq!(words(&wider, &world), ["put listener", "put listener"]);
}

#[test]
fn garbage_in_the_maps_is_replaced_or_removed() {
    let world = World::of(vec![web(&[1, 2])]);
    let good = observed_of(&world);
    let mut bad = good.clone();
    let (first, second) = (PoolId(1), PoolId(2));
    // A table that names nobody, a pool without name, a pool that is there
    // twice, a listener to nowhere, a member of no pool, an id twice.
    bad.pools.get_mut(&first).unwrap().table[3] = MemberId(999);
    bad.pools.insert(PoolId(77), ObservedPool { record: PoolRecord::named(""), table: vec![MemberId(0)] });
    let twice = bad.pools[&second].clone();
    bad.pools.insert(PoolId(78), twice);
    bad.listeners.values_mut().next().unwrap().pool = PoolId(500);
    let orphan = MemberRecord { pool: PoolId(600), label: "nonsense".to_owned(), ..bad.members[&MemberId(1)].clone() };
    bad.members.insert(MemberId(50), orphan);
    for listener in bad.listeners.values_mut() {
        listener.id = ListenerId(3);
    }
    let ops = plan(&world.desired(), &bad).unwrap();
    let mended = after(bad, &ops);
    assert_eq!(mended.pools, good.pools);
    let in_service = mended.members.iter().filter(|(_, m)| m.flags & MemberState::RETIRED == 0);
    assert_eq!(in_service.map(|(id, m)| (*id, m.clone())).collect::<BTreeMap<_, _>>(), good.members);
    let ids: BTreeSet<_> = mended.listeners.values().map(|l| l.id).collect();
    assert_eq!(ids.len(), 2);
    assert!(plan(&world.desired(), &mended).unwrap().iter().all(|op| word(op) == "release"));
}

/// `count` VIPs from `first` on, each with a listener without pool.
fn many_vips(first: u32, count: u32) -> Desired {
    let addresses = (first..first + count).map(|n| IpAddr::from(n.to_be_bytes()));
    let vip = |address| (address, DesiredVip { label: format!("lb-{address}"), active: true, instance: None });
    let listener = |vip| {
        let key = ListenerKey { vip, transport: Transport::Tcp, port: 80 };
        (
            key,
            DesiredListener {
                label: format!("lb-{vip}/tcp"),
                pool: None,
                rules: ListenerRules::default(),
                allowed_cidrs: BTreeSet::new(),
            },
        )
    };
    Desired {
        vips: addresses.clone().map(vip).collect(),
        listeners: addresses.map(listener).collect(),
        ..Desired::default()
    }
}

#[test]
fn all_ids_there_are_can_be_used() {
    let vips = plan(&many_vips(0x0a00_0000, MAX_VIPS), &empty()).unwrap();
    assert_eq!(vips.len() as u32, 2 * MAX_VIPS);
    assert_eq!(plan(&many_members(MAX_MEMBERS - 1), &empty()).unwrap().len() as u32, MAX_MEMBERS);
}

fn many_members(count: u32) -> Desired {
    let keys = (0..count).map(|n| MemberKey {
        pool: "web/app".to_owned(),
        address: IpAddr::from((0x0a00_0000 + n).to_be_bytes()),
        port: 80,
    });
    let member = DesiredMember {
        label: "m".to_owned(),
        flags: MemberState::UP,
        weight: 1,
        next_hop: None,
        path: MemberPath::default(),
        connection_limit: 0,
    };
    let pool =
        DesiredPool { record: PoolRecord::named(""), members: vec![], table: vec![], hold: std::time::Duration::ZERO };
    Desired {
        pools: [("web/app".to_owned(), pool)].into(),
        members: keys.map(|key| (key, member.clone())).collect(),
        ..Desired::default()
    }
}

#[test]
fn running_out_of_ids_names_the_limit_and_a_remedy() {
    let error = plan(&many_vips(0x0a00_0000, MAX_VIPS + 1), &empty()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot number 1025 more VIPs: 0 of 1024 VIP ids are in use, counting what is about to go; \
         use fewer load balancers"
    );
    let error = plan(&many_members(MAX_MEMBERS), &empty()).unwrap_err().to_string();
    assert!(error.contains("16383 member ids") && error.contains("in two steps"), "{error}");
    let listeners = vec![(); MAX_LISTENERS as usize + 1];
    let mut desired = many_vips(0x0a00_0000, 1);
    let (key, listener) = desired.listeners.pop_first().unwrap();
    desired.listeners =
        listeners.iter().zip(1..).map(|(_, port)| (ListenerKey { port, ..key }, listener.clone())).collect();
    assert!(matches!(plan(&desired, &empty()), Err(PlanError::NoIdLeft { kind: "listener", .. })));
}

#[test]
fn room_is_made_by_what_goes_anyway() {
    let before = after(empty(), &plan(&many_vips(0x0a00_0000, 600), &empty()).unwrap());
    let desired = many_vips(0x0b00_0000, 600);
    assert!(matches!(plan(&desired, &before), Err(PlanError::NoIdLeft { kind: "VIP", .. })));
    let room = after(before.clone(), &make_room(&desired, &before));
    assert_eq!(room, empty());
    // What is desired is not touched by it.
    assert_eq!(make_room(&many_vips(0x0a00_0000, 600), &before), []);
    let world = World::of(vec![web(&[1, 2])]);
    assert_eq!(make_room(&world.desired(), &observed_of(&world)), []);
    let mut renamed = web(&[1, 2]);
    renamed.name = name("shop");
    assert_eq!(make_room(&World::of(vec![renamed]).desired(), &observed_of(&world)), []);
}

#[test]
fn a_desired_state_that_is_not_whole_is_refused() {
    let whole = World::of(vec![web(&[1])]).desired();
    let broken: [fn(&mut Desired); 5] = [
        |d| d.vips.clear(),
        |d| drop(d.pools.pop_first()),
        |d| drop(d.members.pop_first()),
        |d| d.pools.values_mut().for_each(|pool| pool.table[0] = 9),
        |d| d.listeners.values_mut().for_each(|l| l.pool = Some("web/none".to_owned())),
    ];
    for (n, breaks) in broken.iter().enumerate() {
        let mut desired = whole.clone();
        breaks(&mut desired);
        assert!(matches!(plan(&desired, &empty()), Err(PlanError::Contradiction(_))), "{n}");
    }
}

fn moved(vrrp: &str) -> World {
    let mut world = World::of(vec![web(&[1])]);
    world.load_balancers[0].topology = Topology::ActiveStandby { vrrp: name(vrrp) };
    world.instances = vec![InstanceIntent {
        name: name(vrrp),
        mac: Some(Mac([0, 0, 0x5e, 0, 1, 51])),
        addresses: vec!["10.0.0.254".parse().unwrap()],
        advert_sources: [(51, "192.0.2.3".parse().unwrap())].into(),
    }];
    world
}

#[test]
fn an_instance_comes_before_its_vips_and_goes_after_them() {
    let (alone, pair) = (World::of(vec![web(&[1])]), moved("front"));
    let single = observed_of(&alone);
    assert_eq!(words(&single, &pair), ["put instance", "put vip", "put vip", "set advert sources"]);
    let paired = observed_of(&pair);
    assert_eq!(paired.instances.keys().map(|id| id.0).collect::<Vec<_>>(), [1], "0 is none");
    assert_eq!(words(&paired, &alone), ["put vip", "remove vip", "remove instance", "set advert sources"]);
    let gone = words(&paired, &World::default());
    assert_eq!(gone[2..5], ["remove vip", "remove vip", "remove instance"]);
}

#[test]
fn a_plan_switches_no_instance_and_keeps_its_number() {
    let mut world = moved("front");
    let mut observed = observed_of(&world);
    let id = *observed.instances.keys().next().unwrap();
    observed.instances.get_mut(&id).unwrap().active = true;
    assert_eq!(words(&observed, &world), [""; 0]);
    world.instances[0].mac = None;
    let ops = plan(&world.desired(), &observed).unwrap();
    assert_eq!(ops, [Op::PutInstance { id, label: "front".to_owned(), mac: None }]);
    assert!(after(observed.clone(), &ops).instances[&id].active);
    // Under another name it is another instance, which has to be Active first.
    let other = moved("other");
    let ops = plan(&other.desired(), &observed).unwrap();
    let words: Vec<_> = ops.iter().map(word).collect();
    assert_eq!(words, ["put instance", "put vip", "put vip", "remove instance"]);
    let renamed = after(observed, &ops);
    assert!(!renamed.instances.contains_key(&id) && renamed.instances.values().all(|instance| !instance.active));
}

#[test]
fn there_are_63_instances_and_old_ones_make_room() {
    let intents = |prefix: &str, count: usize| -> Vec<InstanceIntent> {
        let intent = |n| InstanceIntent {
            name: name(format!("{prefix}{n}")),
            mac: None,
            addresses: Vec::new(),
            advert_sources: BTreeSet::new(),
        };
        (0..count).map(intent).collect()
    };
    let many = |prefix: &str, count| World { instances: intents(prefix, count), ..World::default() };
    let full = observed_of(&many("a", 63));
    assert_eq!(full.instances.len(), 63);
    let error = plan(&many("a", 64).desired(), &empty()).unwrap_err();
    assert!(matches!(error, PlanError::NoIdLeft { kind: "VRRP instance", limit: 63, .. }), "{error}");
    let others = many("b", 63).desired();
    assert!(plan(&others, &full).is_err());
    let room = after(full.clone(), &make_room(&others, &full));
    assert_eq!(after(room.clone(), &plan(&others, &room).unwrap()).instances.len(), 63);
}

#[test]
fn what_names_an_instance_keeps_it_while_room_is_made() {
    let observed = observed_of(&moved("front"));
    let ops = make_room(&World::of(vec![web(&[1])]).desired(), &observed);
    assert_eq!(ops.iter().map(word).collect::<Vec<_>>(), ["remove vip"], "the other VIP still names it");
}

#[test]
fn a_vip_has_the_same_number_on_two_balancers_whatever_came_before_it() {
    let numbered = |order: [u8; 3]| {
        let mut observed = empty();
        for count in 1..=order.len() {
            let vip = |n: &u8| load_balancer(&format!("lb{n}"), &format!("192.0.2.{n}"), Vec::new(), Vec::new());
            let world = World::of(order[..count].iter().map(vip).collect());
            let ops = plan(&world.desired(), &observed).unwrap();
            observed = after(observed, &ops);
        }
        observed.vips.into_iter().map(|(address, vip)| (address, vip.id)).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(numbered([1, 2, 3]), numbered([3, 1, 2]));
}
