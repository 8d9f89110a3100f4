#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
};

use super::{
    scene::{CLIENT, DATAGRAM, Scene, VIP, member},
    *,
};
use crate::{
    compile::Verdict,
    control::{
        protocol::{FlowFilter, MAX_FLOWS_LISTED, MemberChange},
        view::{
            EventKind, FlowState, FlowsView, ListenerView, LoadBalancerView, MemberView, OperatingStatus, PoolView,
            Role, StatsView, StatusView, TrafficView,
        },
    },
    dataplane::{Op, VipId},
    model::{Name, Topology, Weight},
};

/// Takes the expected kind of answer apart.
macro_rules! content {
    ($answer:expr, $kind:ident) => {
        match $answer {
            Response::$kind(content) => content,
            other => panic!("{other:?}"),
        }
    };
}

fn members(answer: Response) -> Vec<MemberView> {
    content!(answer, Members)
}

fn all_members() -> Request {
    Request::Members { select: None, pool: None }
}

fn one_member(select: &str) -> Request {
    Request::Members { select: Some(select.to_owned()), pool: None }
}

fn show(scene: &Scene, select: &str) -> MemberView {
    let mut found = members(scene.ask(&one_member(select)));
    assert_eq!(found.len(), 1);
    found.remove(0)
}

fn show_offline(scene: &Scene, select: &str) -> MemberView {
    let mut found = members(scene.ask_offline(&one_member(select)));
    assert_eq!(found.len(), 1);
    found.remove(0)
}

fn load_balancer(answer: Response) -> LoadBalancerView {
    content!(answer, LoadBalancers).remove(0)
}

fn all_load_balancers() -> Request {
    Request::LoadBalancers { select: None }
}

fn listeners(answer: Response) -> Vec<ListenerView> {
    content!(answer, Listeners)
}

fn pools(answer: Response) -> Vec<PoolView> {
    content!(answer, Pools)
}

fn pool(scene: &Scene, select: &str) -> PoolView {
    pools(scene.ask(&Request::Pools { select: Some(select.to_owned()) })).remove(0)
}

fn status(scene: &Scene) -> StatusView {
    *content!(scene.ask(&Request::Status), Status)
}

fn stats(answer: Response) -> StatsView {
    content!(answer, Stats)
}

fn flows(scene: &Scene, filter: FlowFilter, limit: u32) -> FlowsView {
    content!(scene.ask(&Request::Flows { filter, limit }), Flows)
}

fn refused(answer: Response) -> Refusal {
    content!(answer, Refused)
}

fn names<T>(rows: &[T], name: impl Fn(&T) -> &str) -> Vec<&str> {
    rows.iter().map(name).collect()
}

/// What both sides must agree about: the same record, less what only the pool
/// file says.
fn without_intent(mut member: MemberView) -> MemberView {
    member.weight = None;
    member.connection_limit = None;
    if member.operating_status == OperatingStatus::NoMonitor {
        member.operating_status = OperatingStatus::Online;
        member.status_reason = None;
    }
    member
}

#[test]
fn members_are_listed_by_label_and_alike_with_and_without_lbd() {
    let scene = Scene::new();
    let online = members(scene.ask(&all_members()));
    assert_eq!(names(&online, |m| &m.name), ["web/app/m1", "web/app/m2", "web/app/m3", "web/names/m1", "web/names/n2"]);
    assert!(online.iter().all(|m| m.in_dataplane && !m.retired && m.next_hop.is_some() && m.active_flows.is_none()));
    assert!(online.iter().all(|m| (m.weight, m.effective_weight) == (Some(1), 1)));
    assert_eq!(online[0].operating_status, OperatingStatus::Online);
    assert_eq!(online[3].operating_status, OperatingStatus::NoMonitor);
    let shares: f64 = online[..3].iter().map(|m| f64::from(m.share_percent)).sum();
    assert!((99.9..=100.1).contains(&shares), "{shares}");
    let offline = members(scene.ask_offline(&all_members()));
    assert_eq!(offline, online.into_iter().map(without_intent).collect::<Vec<_>>());
}

#[test]
fn a_member_is_meant_by_its_label_its_end_or_its_address() {
    let scene = Scene::new();
    for (select, name) in [
        ("web/app/m1", "web/app/m1"),
        ("app/m1", "web/app/m1"),
        ("names/m1", "web/names/m1"),
        ("n2", "web/names/n2"),
        ("10.0.0.12:8080", "web/names/n2"),
        ("web/app/10.0.0.1:8080", "web/app/m1"),
        ("names/10.0.0.1:8080", "web/names/m1"),
    ] {
        assert_eq!(show(&scene, select).name, name, "{select}");
        assert_eq!(show_offline(&scene, select).name, name, "{select}");
        let key = find_member(scene.knowledge(&BTreeMap::new()).intent.unwrap().model, select).unwrap();
        assert_eq!((key.address, key.pool.as_str()), (show(&scene, select).address, name.rsplit_once('/').unwrap().0));
    }
    for (select, code, words) in [
        ("m1", RefusalCode::Ambiguous, "web/app/m1, web/names/m1"),
        ("10.0.0.1:8080", RefusalCode::Ambiguous, "web/app/m1, web/names/m1"),
        ("m9", RefusalCode::NotFound, "did you mean"),
        ("10.0.0.1", RefusalCode::NotFound, "member"),
        ("web/app", RefusalCode::NotFound, "web/app/m1"),
    ] {
        for refusal in [
            refused(scene.ask(&one_member(select))),
            refused(scene.ask_offline(&one_member(select))),
            find_member(scene.knowledge(&BTreeMap::new()).intent.unwrap().model, select).unwrap_err(),
        ] {
            assert_eq!(refusal.code, code, "{select}: {refusal}");
            assert!(refusal.message.contains(words), "{select}: {refusal}");
        }
    }
}

#[test]
fn members_of_one_pool_are_listed_and_meant_within_it() {
    let scene = Scene::new();
    let of = |select: Option<&str>, pool: &str| Request::Members {
        select: select.map(str::to_owned),
        pool: Some(pool.to_owned()),
    };
    let listed = members(scene.ask(&of(None, "names")));
    assert_eq!(names(&listed, |m| &m.name), ["web/names/m1", "web/names/n2"]);
    assert_eq!(members(scene.ask_offline(&of(None, "web/names"))).len(), 2);
    assert_eq!(members(scene.ask(&of(Some("m1"), "app")))[0].name, "web/app/m1");
    assert_eq!(refused(scene.ask(&of(Some("n2"), "app"))).code, RefusalCode::NotFound);
    let refusal = refused(scene.ask(&of(None, "nams")));
    assert!(refusal.code == RefusalCode::NotFound && refusal.message.contains("web/names"), "{refusal}");
}

#[test]
fn a_member_that_is_down_says_what_the_monitor_met() {
    let mut scene = Scene::new();
    let key = Scene::key("web/app", 2);
    scene.health.insert(key.clone(), Verdict::Down);
    scene.settle();
    let met = show(&scene, "m2");
    assert_eq!((met.operating_status, f64::from(met.share_percent)), (OperatingStatus::Error, 0.0));
    scene.health_reasons.insert(key, "connect: connection refused".to_owned());
    assert_eq!(show(&scene, "m2").status_reason.as_deref(), Some("connect: connection refused"));
    assert_eq!(show_offline(&scene, "m2").operating_status, OperatingStatus::Error);
    assert_eq!(pool(&scene, "app").operating_status, OperatingStatus::Degraded);
    let listed = listeners(scene.ask(&Request::Listeners { select: Some("http".into()) }));
    assert_eq!(listed[0].operating_status, OperatingStatus::Degraded);
    assert_eq!(load_balancer(scene.ask(&all_load_balancers())).operating_status, OperatingStatus::Degraded);
    assert_eq!(load_balancer(scene.ask_offline(&all_load_balancers())).operating_status, OperatingStatus::Degraded);
    assert_eq!(status(&scene).operating_status, OperatingStatus::Degraded);
}

#[test]
fn what_an_operator_changed_is_shown_beside_what_the_file_says() {
    let mut scene = Scene::new();
    scene.overrides.set_weight(Scene::key("web/app", 1), Weight::new(6));
    scene.overrides.set_drain(Scene::key("web/app", 2), true);
    scene.overrides.set_admin_state_up(Scene::key("web/app", 3), Some(false));
    scene.settle();
    let weighed = show(&scene, "app/m1");
    assert_eq!((weighed.weight, weighed.effective_weight), (Some(1), 6));
    assert_eq!(weighed.overridden.unwrap().weight, Some(6));
    assert_eq!(weighed.share_percent.to_string(), "100.00");
    let drained = show(&scene, "m2");
    assert_eq!(drained.operating_status, OperatingStatus::Draining);
    assert!(drained.overridden.unwrap().drain);
    let off = show(&scene, "m3");
    assert_eq!((off.operating_status, off.admin_state_up), (OperatingStatus::Offline, false));
    assert_eq!(off.overridden.unwrap().admin_state_up, Some(false));

    let offline = members(scene.ask_offline(&all_members()));
    let words: Vec<_> = offline[..3].iter().map(|m| m.operating_status.word()).collect();
    assert_eq!(words, ["ONLINE", "DRAINING", "OFFLINE"]);
    assert!(offline[0].effective_weight == 6 && !offline[2].admin_state_up && offline[0].overridden.is_none());
    let counts = status(&scene).counts;
    assert_eq!((counts.members_online, counts.members_draining, counts.members_offline), (3, 1, 1));
    assert_eq!((counts.members, counts.members_overridden, counts.members_error), (5, 3, 0));
}

#[test]
fn a_member_out_of_reach_is_in_error_and_says_why() {
    let mut scene = Scene::new();
    let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
    let hop = scene.hops.remove(&address);
    scene.settle();
    let fresh = show(&scene, "m2");
    assert_eq!((fresh.operating_status, fresh.next_hop), (OperatingStatus::Error, None));
    assert!(fresh.next_hop_missing.unwrap().contains("not been looked up yet"));
    scene.hops_missing.insert(address, "no route to 10.0.0.2".to_owned());
    let missing = show(&scene, "m2");
    assert_eq!(missing.next_hop_missing.as_deref(), Some("no route to 10.0.0.2"));
    assert!(missing.status_reason.unwrap().contains("no route to 10.0.0.2"));
    assert_eq!(show_offline(&scene, "m2").operating_status, OperatingStatus::Error);
    assert_eq!(pool(&scene, "app").members_in_use, 2);

    scene.hops.extend(hop.map(|hop| (address, hop)));
    scene.settle();
    let back = show(&scene, "m2");
    assert_eq!((back.operating_status, back.next_hop_missing), (OperatingStatus::Online, None));
    assert_eq!(back.next_hop.unwrap().destination, "02:00:00:00:00:03");
}

#[test]
fn when_nobody_can_be_reached_the_pool_is_in_error_though_its_table_is_full() {
    let mut scene = Scene::empty();
    scene.hops.clear();
    scene.settle();
    let app = pool(&scene, "app");
    assert!(app.operating_status == OperatingStatus::Error && app.table_slots > 0 && app.members_in_use == 3);
}

#[test]
fn what_is_switched_off_appears_though_no_packet_meets_it() {
    let mut scene = Scene::new();
    scene.model[0].listeners[1].admin_state_up = false;
    scene.settle();
    let listed = listeners(scene.ask(&Request::Listeners { select: None }));
    assert_eq!(names(&listed, |l| &l.name), ["web/dns", "web/http"]);
    let dns = &listed[0];
    assert_eq!((dns.admin_state_up, dns.in_dataplane, dns.counters), (Some(false), false, None));
    assert_eq!(dns.operating_status, OperatingStatus::Offline);
    let names_pool = pool(&scene, "names");
    assert_eq!((names_pool.operating_status, names_pool.table_slots), (OperatingStatus::Offline, 0));
    assert_eq!((names_pool.members, names_pool.listeners), (2, vec!["web/dns".to_owned()]));
    let unused = show(&scene, "n2");
    assert!(unused.operating_status == OperatingStatus::Offline && !unused.retired);
    assert!(unused.status_reason.unwrap().contains("no listener"));
    // What is left works: what the operator switched off is no failure.
    assert_eq!(load_balancer(scene.ask(&all_load_balancers())).operating_status, OperatingStatus::Online);

    scene.model[0].admin_state_up = false;
    let mut off = Scene::empty();
    off.model.clone_from(&scene.model);
    off.settle();
    let web = load_balancer(off.ask(&all_load_balancers()));
    assert_eq!((web.admin_state_up, web.operating_status, web.role), (Some(false), OperatingStatus::Offline, None));
    assert_eq!(web.listeners, ["web/dns", "web/http"]);
    assert!(members(off.ask(&all_members())).iter().all(|m| !m.in_dataplane && m.counters.is_none()));
    let whole = status(&off);
    assert_eq!((whole.operating_status, whole.role), (OperatingStatus::Offline, None));
    assert_eq!((whole.counts.listeners, whole.counts.members_offline), (2, 5));
    // The maps alone know of nothing.
    assert!(members(off.ask_offline(&all_members())).is_empty());
}

#[test]
fn a_pool_that_is_switched_off_shows_in_the_maps_too() {
    let mut scene = Scene::new();
    scene.pool(0).admin_state_up = false;
    scene.settle();
    assert_eq!(pool(&scene, "app").operating_status, OperatingStatus::Offline);
    let offline = pools(scene.ask_offline(&Request::Pools { select: None }));
    assert_eq!(offline[0].operating_status, OperatingStatus::Offline);
    let reason = |m: MemberView| (m.operating_status, m.status_reason.unwrap());
    assert_eq!(reason(show(&scene, "app/m1")), reason(show_offline(&scene, "app/m1")));
}

#[test]
fn what_is_wanted_and_not_yet_there_is_in_error() {
    let mut scene = Scene::new();
    scene.pool(0).members.push(member("m4", 4));
    // Read, and not carried out.
    let model = Model::new(scene.model.clone()).unwrap();
    let fallbacks = BTreeMap::new();
    let mut knowledge = scene.knowledge(&fallbacks);
    knowledge.intent.as_mut().unwrap().model = &model;
    let view = members(answer(&knowledge, &one_member("m4"))).remove(0);
    assert_eq!((view.operating_status, view.in_dataplane), (OperatingStatus::Error, false));
    assert!(view.status_reason.unwrap().contains("data path"));
}

#[test]
fn load_balancers_name_what_belongs_to_them() {
    let scene = Scene::new();
    let online = load_balancer(scene.ask(&all_load_balancers()));
    assert_eq!(online.vip_address, IpAddr::V4(VIP));
    assert_eq!((online.admin_state_up, online.role), (Some(true), Some(Role::Active)));
    assert_eq!(online.operating_status, OperatingStatus::Online);
    assert_eq!((online.listeners.len(), online.pools.len()), (2, 2));
    let offline = load_balancer(scene.ask_offline(&Request::LoadBalancers { select: Some("web".into()) }));
    assert_eq!(offline, LoadBalancerView { admin_state_up: None, ..online });
    let refusal = refused(scene.ask(&Request::LoadBalancers { select: Some("wep".into()) }));
    assert!(refusal.message.contains("did you mean web?"), "{refusal}");
}

#[test]
fn a_load_balancer_of_a_pair_is_active_where_its_instance_is() {
    let mut scene = Scene::new();
    scene.model[0].topology = Topology::ActiveStandby { vrrp: Name::new("front").unwrap() };
    scene.settle();
    let role = |scene: &Scene| load_balancer(scene.ask(&all_load_balancers())).role;
    assert_eq!(role(&scene), Some(Role::Backup));
    let (id, _) = scene.dataplane.observe().unwrap().instances.pop_first().unwrap();
    assert!(scene.dataplane.switchboard().set_active(id, true));
    assert_eq!(role(&scene), Some(Role::Active));
    // An address without listeners is no load balancer.
    let own = Op::PutVip {
        id: VipId(9),
        address: "192.0.2.254".parse().unwrap(),
        label: "vrrp front".to_owned(),
        active: true,
        instance: Some(id),
    };
    scene.apply(own);
    assert_eq!(load_balancer(scene.ask(&all_load_balancers())).name, "web");
    assert_eq!(load_balancer(scene.ask_offline(&all_load_balancers())).name, "web");
}

#[test]
fn pools_show_their_monitor_and_what_of_them_is_in_use() {
    let scene = Scene::new();
    let online = pools(scene.ask(&Request::Pools { select: None }));
    assert_eq!(names(&online, |p| &p.name), ["web/app", "web/names"]);
    let app = &online[0];
    assert_eq!((app.protocol.as_deref(), app.lb_algorithm.as_str()), (Some("TCP"), "SOURCE_IP_PORT"));
    assert_eq!((app.members, app.members_in_use, app.listeners.len()), (3, 3, 1));
    assert!(app.table_slots > 300);
    let monitor = app.health_monitor.clone().unwrap();
    assert_eq!((monitor.kind.as_str(), monitor.max_retries, monitor.max_retries_down), ("TCP", 2, 3));
    assert!((monitor.delay - 2.5).abs() < 1e-9);
    assert!(online[1].health_monitor.is_none());
    let offline = pools(scene.ask_offline(&Request::Pools { select: None }));
    let expected = online.into_iter().map(|p| PoolView {
        health_monitor: None,
        admin_state_up: None,
        mss_clamp: None,
        transition_hold: None,
        ..p
    });
    assert_eq!(offline, expected.collect::<Vec<_>>());
}

#[test]
fn a_listener_without_pool_is_in_error() {
    let mut scene = Scene::new();
    scene.model[0].listeners[0].default_pool = None;
    scene.settle();
    let request = Request::Listeners { select: Some("http".into()) };
    for view in [listeners(scene.ask(&request)).remove(0), listeners(scene.ask_offline(&request)).remove(0)] {
        assert_eq!((view.operating_status, view.default_pool), (OperatingStatus::Error, None));
        assert_eq!((view.protocol.as_str(), view.protocol_port, view.in_dataplane), ("TCP", 80, true));
    }
}

#[test]
fn a_member_gone_from_the_file_is_shown_as_retired_until_it_is_released() {
    let mut scene = Scene::new();
    let to_n2 = (1000..1100).find(|port| scene.datagram(*port).unwrap().0 == Ipv4Addr::new(10, 0, 0, 12)).unwrap();
    scene.pool(1).members.pop();
    scene.settle();
    for view in [show(&scene, "n2"), show_offline(&scene, "web/names/n2"), show(&scene, "10.0.0.12:8080")] {
        assert!(view.retired && view.in_dataplane);
        assert_eq!((view.operating_status, view.active_flows), (OperatingStatus::Draining, Some(1)));
        assert_eq!(view.share_percent.to_string(), "0.00");
    }
    assert_eq!(pool(&scene, "names").members, 1);
    let counts = status(&scene).counts;
    assert_eq!((counts.members, counts.members_retired, counts.members_draining), (4, 1, 0));
    assert!(
        stats(scene.ask(&Request::Stats)).members.iter().any(|m| m.name == "web/names/n2" && m.counters.flows_new == 1)
    );

    // A new member with the name of the old one goes before it.
    scene.pool(1).members.push(member("n2", 13));
    scene.settle();
    assert_eq!(members(scene.ask(&all_members())).iter().filter(|m| m.name == "web/names/n2").count(), 2);
    assert!(!show(&scene, "n2").retired);
    assert!(show(&scene, "10.0.0.12:8080").retired);
    let gone = find_member(&Model::new(scene.model.clone()).unwrap(), "10.0.0.12:8080").unwrap_err();
    assert_eq!(gone.code, RefusalCode::NotFound);
    // Its datagrams have moved: it is not up.
    assert_ne!(scene.datagram(to_n2).unwrap().0, Ipv4Addr::new(10, 0, 0, 12));
}

#[test]
fn stats_of_the_listener_are_the_sum_of_its_members() {
    const SENT: u64 = 50;
    let scene = Scene::new();
    for port in 1000..1000 + SENT as u16 {
        let (to, snat) = scene.datagram(port).unwrap();
        if port % 2 == 0 {
            scene.reply(to, snat);
        }
    }
    let online = stats(scene.ask(&Request::Stats));
    assert_eq!(online, stats(scene.ask_offline(&Request::Stats)));
    assert_eq!((online.listeners.len(), online.members.len()), (2, 5));
    let dns = online.listeners.iter().find(|l| l.name == "web/dns").unwrap();
    let behind: Vec<_> = online.members.iter().filter(|m| m.name.starts_with("web/names/")).collect();
    assert!(behind.iter().all(|m| m.counters.flows_new > 0), "one member got everything: {behind:?}");
    let sum = |of: fn(&TrafficView) -> u64| -> u64 { behind.iter().map(|m| of(m)).sum() };
    assert_eq!((dns.active_flows, sum(|m| m.active_flows)), (SENT, SENT));
    assert_eq!((dns.counters.flows_new, sum(|m| m.counters.flows_new)), (SENT, SENT));
    assert_eq!((dns.counters.packets_in, sum(|m| m.counters.packets_in)), (SENT, SENT));
    assert_eq!((dns.counters.bytes_in, sum(|m| m.counters.bytes_in)), (SENT * DATAGRAM, SENT * DATAGRAM));
    assert_eq!((dns.counters.packets_out, sum(|m| m.counters.packets_out)), (SENT / 2, SENT / 2));
    assert!(online.members.iter().filter(|m| m.name.starts_with("web/app/")).all(|m| m.counters.flows_new == 0));
    let shown = listeners(scene.ask(&Request::Listeners { select: Some("dns".into()) })).remove(0);
    assert_eq!((shown.active_flows, shown.counters), (Some(SENT), Some(dns.counters)));
    assert_eq!(show(&scene, "n2").active_flows, Some(behind[1].active_flows));
}

#[test]
fn flows_are_listed_up_to_the_limit_and_all_counted() {
    let scene = Scene::new();
    let opened: Vec<_> = (1000..1060).map(|port| (port, scene.datagram(port).unwrap())).collect();
    // The answer and what the client says after it confirm a flow.
    for (port, (to, snat)) in &opened[..20] {
        scene.reply(*to, *snat);
        scene.datagram(*port).unwrap();
    }
    for (_, (to, snat)) in &opened[20..30] {
        scene.reply(*to, *snat);
    }
    let listed = flows(&scene, FlowFilter::default(), u32::MAX);
    assert_eq!((listed.matching, listed.flows.len()), (60, 60));
    for flow in &listed.flows {
        let (_, (to, snat)) = opened.iter().find(|(port, _)| *port == flow.client_port).unwrap();
        assert_eq!((flow.client_address, flow.snat_port), (IpAddr::V4(CLIENT), *snat));
        assert_eq!((flow.member_address, flow.member_port), (Some(IpAddr::V4(*to)), Some(8080)));
        assert_eq!((flow.protocol.as_deref(), flow.listener.as_str()), (Some("UDP"), "web/dns"));
        assert!(flow.member.starts_with("web/names/") && flow.idle_seconds == 0);
        let state = match flow.client_port {
            1000..1020 => FlowState::Established,
            1020..1030 => FlowState::Answered,
            _ => FlowState::New,
        };
        assert_eq!((flow.state, flow.confirmed), (state, state == FlowState::Established));
    }
    let some = flows(&scene, FlowFilter::default(), 7);
    assert_eq!((some.matching, some.flows), (60, listed.flows[..7].to_vec()));
    assert_eq!(flows(&scene, FlowFilter::default(), 0).flows.len(), 0);
    let count = content!(scene.ask(&Request::FlowCount { filter: FlowFilter::default() }), FlowCount);
    assert_eq!((count.matching, count.confirmed, count.unconfirmed, count.closing), (60, 20, 40, 0));
    let offline = scene.ask_offline(&Request::Flows { filter: FlowFilter::default(), limit: MAX_FLOWS_LISTED });
    assert_eq!(content!(offline, Flows), listed);
}

#[test]
fn flows_are_filtered_by_member_listener_and_client() {
    let scene = Scene::new();
    for port in 1000..1060 {
        scene.datagram(port).unwrap();
    }
    let matching = |filter: FlowFilter| flows(&scene, filter, 100).matching;
    let member = |select: &str| FlowFilter { member: Some(select.to_owned()), ..FlowFilter::default() };
    let listener = |select: &str| FlowFilter { listener: Some(select.to_owned()), ..FlowFilter::default() };
    let client = |address: &str| FlowFilter { client: address.parse().ok(), ..FlowFilter::default() };
    assert_eq!(matching(member("names/m1")) + matching(member("n2")), 60);
    assert!(matching(member("n2")) > 0);
    assert_eq!((matching(member("app/m1")), matching(listener("http"))), (0, 0));
    assert_eq!((matching(listener("dns")), matching(client("198.51.100.1"))), (60, 60));
    assert_eq!((matching(client("198.51.100.2")), matching(client("::ffff:198.51.100.1"))), (0, 60));
    let listed = flows(&scene, member("n2"), 100).flows;
    assert_eq!(listed.iter().map(|f| f.member.as_str()).collect::<BTreeSet<_>>(), BTreeSet::from(["web/names/n2"]));
    let request = Request::Flows { filter: member("m1"), limit: 1 };
    assert_eq!(refused(scene.ask(&request)).code, RefusalCode::Ambiguous);
    let request = Request::FlowCount { filter: listener("nobody") };
    assert_eq!(refused(scene.ask(&request)).code, RefusalCode::NotFound);
}

#[test]
fn a_flow_of_a_member_that_is_not_in_the_data_path_is_none() {
    let mut scene = Scene::new();
    scene.datagram(1000).unwrap();
    scene.pool(0).members.push(member("m4", 4));
    scene.model[0].listeners[0].admin_state_up = false;
    scene.settle();
    let filter = FlowFilter { member: Some("m4".into()), ..FlowFilter::default() };
    assert!(!show(&scene, "m4").in_dataplane);
    assert_eq!(flows(&scene, filter, 10).matching, 0);
}

#[test]
fn every_reason_and_every_answer_is_there_with_its_count() {
    let scene = Scene::new();
    for _ in 0..3 {
        scene.stray();
    }
    let drops = content!(scene.ask(&Request::Drops), Drops);
    assert_eq!(drops, content!(scene.ask_offline(&Request::Drops), Drops));
    assert!(drops.is_sorted_by_key(|drop| drop.number));
    assert!(drops.iter().all(|drop| !drop.meaning.is_empty()));
    let of = |kind| drops.iter().filter(move |drop| drop.kind == kind);
    assert_eq!(of(EventKind::Drop).count(), crate::dataplane::DropReason::ALL.len());
    assert_eq!(of(EventKind::Answer).count(), lb_common::counters::Event::ANSWERS.len());
    let stray = drops.iter().find(|drop| drop.label == "no_listener").unwrap();
    assert_eq!((stray.number, stray.count), (7, 3));
    assert_eq!(drops.iter().map(|drop| drop.count).sum::<u64>(), 3);
    assert_eq!(status(&scene).packets_dropped, 3);
}

#[test]
fn status_says_who_answers() {
    let scene = Scene::new();
    let online = status(&scene);
    assert_eq!((online.source.as_str(), online.role), ("lbd", Some(Role::Active)));
    assert_eq!(online.operating_status, OperatingStatus::Online);
    let counts = online.counts;
    assert_eq!((counts.load_balancers, counts.listeners, counts.pools, counts.members_online), (1, 2, 2, 5));
    let offline = content!(scene.ask_offline(&Request::Status), Status);
    assert_eq!((offline.source.as_str(), offline.daemon), ("pinned maps", None));
    assert_eq!(offline.counts, counts);

    let fallbacks = BTreeMap::new();
    let daemon = DaemonView { pid: 42, ..DaemonView::default() };
    let knowledge = Knowledge { daemon: Some(&daemon), ..scene.knowledge(&fallbacks) };
    assert_eq!(content!(answer(&knowledge, &Request::Status), Status).daemon.unwrap().pid, 42);

    let empty = content!(Scene::empty().ask_offline(&Request::Status), Status);
    assert_eq!((empty.operating_status, empty.role, empty.counts.members), (OperatingStatus::Offline, None, 0));
}

#[test]
fn the_data_path_is_described() {
    let scene = Scene::new();
    let view = content!(scene.ask(&Request::Dataplane), Dataplane);
    assert_eq!((view.abi_version, view.max_flows), (lb_common::config::ABI_VERSION, 1024));
    assert_eq!(view.snat_ports, (16384, 65535));
}

#[test]
fn whatever_would_change_something_is_refused() {
    let scene = Scene::new();
    let change = MemberChange { drain: Some(true), ..MemberChange::default() };
    for request in [Request::SetMember { member: "n2".into(), change }, Request::Detach] {
        assert!(!request.is_read_only());
        for refusal in [refused(scene.ask(&request)), refused(scene.ask_offline(&request))] {
            assert_eq!(refusal.code, RefusalCode::Invalid);
            assert!(refusal.message.contains("--offline"), "{refusal}");
        }
    }
}

#[test]
fn after_a_change_the_member_comes_with_a_note_if_it_was_the_last() {
    let mut scene = Scene::new();
    let fallbacks = BTreeMap::new();
    let set = |scene: &mut Scene, last| {
        let key = Scene::key("web/names", last);
        scene.overrides.set_drain(key.clone(), true);
        scene.settle();
        member_set_view(&scene.knowledge(&fallbacks), &key).unwrap()
    };
    let first = set(&mut scene, 1);
    assert_eq!((first.member.operating_status, first.notes.len()), (OperatingStatus::Draining, 0));
    let last = set(&mut scene, 12);
    assert!(last.notes.len() == 1 && last.notes[0].contains("web/names"), "{:?}", last.notes);
    let nobody = member_set_view(&scene.knowledge(&fallbacks), &Scene::key("web/names", 99)).unwrap_err();
    assert_eq!(nobody.code, RefusalCode::NotFound);
}
