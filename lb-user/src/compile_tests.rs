#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::{num::NonZeroU16, time::Duration};

use lb_common::{mac::Mac, member::MemberState, protocol::Transport};

use super::*;
use crate::model::{
    Algorithm, ForwardMode, HealthMonitor, Listener, MonitorKind, MssClamp, Name, OnMemberDown, ProbePath, Topology,
    TransitionHold,
};
use lb_health::Handshake;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(super) fn member(n: u8) -> Member {
    Member {
        name: name(&format!("m{n}")),
        address: format!("10.0.0.{n}").parse().unwrap(),
        protocol_port: NonZeroU16::new(8080).unwrap(),
        weight: Weight::default(),
        backup: false,
        connection_limit: None,
        admin_state_up: true,
        monitor_address: None,
        monitor_port: None,
    }
}

fn pool(members: Vec<Member>) -> Pool {
    Pool {
        name: name("app"),
        protocol: Transport::Tcp,
        lb_algorithm: Algorithm::SourceIpPort,
        forward_mode: ForwardMode::Nat,
        session_persistence: None,
        mss_clamp: MssClamp::Off,
        transition_hold: TransitionHold::default(),
        admin_state_up: true,
        members,
        health_monitor: Some(HealthMonitor {
            kind: MonitorKind::Tcp(Handshake::Half),
            delay: Duration::from_secs(5),
            timeout: Duration::from_secs(3),
            max_retries: 3,
            max_retries_down: 3,
            admin_state_up: true,
            flap_damping: true,
            probe_path: ProbePath::Member,
        }),
        on_member_down: OnMemberDown::Keep,
        panic_threshold: None,
    }
}

fn listener(port: u16) -> Listener {
    Listener {
        name: name(&format!("tcp-{port}")),
        protocol: Transport::Tcp,
        protocol_port: NonZeroU16::new(port).unwrap(),
        default_pool: Some(name("app")),
        allowed_cidrs: Vec::new(),
        connection_limit: None,
        new_flows_per_source: None,
        admin_state_up: true,
    }
}

fn load_balancer(pool: Pool) -> LoadBalancer {
    LoadBalancer {
        name: name("web"),
        vip_address: "192.0.2.10".parse().unwrap(),
        topology: Topology::Single,
        admin_state_up: true,
        listeners: vec![listener(80), listener(443)],
        pools: vec![pool],
    }
}

pub(super) fn key(n: u8) -> MemberKey {
    MemberKey { pool: "web/app".to_owned(), address: format!("10.0.0.{n}").parse().unwrap(), port: 8080 }
}

fn hop() -> NextHop {
    NextHop { destination: Mac([2, 0, 0, 0, 0, 1]), source: Mac([2, 0, 0, 0, 0, 2]), port: 1 }
}

fn hops(members: &[u8]) -> NextHops {
    members.iter().map(|n| (key(*n).address, hop())).collect()
}

/// One pool, and all that is said about its members.
#[derive(Clone)]
pub(super) struct Given {
    pub(super) pool: Pool,
    pub(super) overrides: Overrides,
    pub(super) health: HealthView,
    pub(super) hops: NextHops,
}

impl Given {
    pub(super) fn members(members: Vec<Member>) -> Self {
        let hops = members.iter().map(|m| (m.address, hop())).collect();
        Self { pool: pool(members), overrides: Overrides::default(), health: HealthView::new(), hops }
    }

    pub(super) fn load_balancer(&self) -> LoadBalancer {
        load_balancer(self.pool.clone())
    }

    pub(super) fn compile(&self) -> Desired {
        let model = Model::new(vec![self.load_balancer()]).unwrap();
        compile(&model, &self.overrides, &self.health, &self.hops, &[])
    }

    /// Last octets of the members that the pool's table names.
    pub(super) fn in_table(&self) -> Vec<u8> {
        let desired = self.compile();
        let pool = &desired.pools["web/app"];
        let mut named: Vec<u8> = pool
            .table
            .iter()
            .map(|slot| match pool.members[usize::from(*slot)].address {
                IpAddr::V4(a) => a.octets()[3],
                IpAddr::V6(a) => a.octets()[15],
            })
            .collect();
        named.sort_unstable();
        named.dedup();
        named
    }

    pub(super) fn flags(&self, n: u8) -> u64 {
        self.compile().members[&key(n)].flags
    }
}

#[test]
fn a_pool_behind_two_listeners_is_there_once() {
    let desired = Given::members(vec![member(1), member(2)]).compile();
    assert_eq!(desired.vips.len(), 1);
    assert_eq!(desired.listeners.len(), 2);
    assert!(desired.listeners.values().all(|l| l.pool.as_deref() == Some("web/app")));
    assert_eq!(desired.pools.len(), 1);
    assert_eq!(desired.pools["web/app"].table.len(), 211);
    let labels: Vec<_> = desired.members.values().map(|m| m.label.as_str()).collect();
    assert_eq!(labels, ["web/app/m1", "web/app/m2"]);
    assert_eq!(desired.members[&key(1)].flags, MemberState::UP);
}

#[test]
fn a_member_that_is_down_is_not_up_and_out_of_the_table() {
    let mut given = Given::members(vec![member(1), member(2)]);
    given.health.insert(key(1), Verdict::Down);
    given.health.insert(key(2), Verdict::Up);
    assert_eq!(given.in_table(), [2]);
    assert_eq!(given.flags(1), MemberState::UNHEALTHY);
    assert_eq!(given.flags(2), MemberState::UP);
}

#[test]
fn the_flows_of_a_member_that_is_down_are_reset_where_the_pool_says_so_and_of_no_other() {
    let mut given = Given::members((1..=4).map(member).collect());
    given.pool.on_member_down = OnMemberDown::Reset;
    given.health.insert(key(1), Verdict::Down);
    given.overrides.set_drain(key(2), true);
    given.overrides.set_admin_state_up(key(3), Some(false));
    let down = MemberState::UNHEALTHY | MemberState::RESETS_FLOWS;
    assert_eq!(given.flags(1), down);
    assert_eq!(given.flags(2), MemberState::UP | MemberState::DRAINING);
    assert_eq!(given.flags(3), MemberState::DISABLED);
    assert_eq!(given.flags(4), MemberState::UP);
    // Whoever drains a member that is down has no more of its flows for it.
    given.overrides.set_drain(key(1), true);
    assert_eq!(given.flags(1), down | MemberState::DRAINING);
    given.pool.on_member_down = OnMemberDown::Keep;
    assert_eq!(given.flags(1), MemberState::UNHEALTHY | MemberState::DRAINING);
    given.pool.on_member_down = OnMemberDown::Reset;
    given.pool.health_monitor = None;
    assert_eq!(given.flags(1), MemberState::UP | MemberState::DRAINING);
}

#[test]
fn a_table_keeps_its_length_when_members_fail() {
    let mut given = Given::members((1..=9).map(member).collect());
    let before = given.compile().pools["web/app"].table.len();
    for n in 1..=8 {
        given.health.insert(key(n), Verdict::Down);
    }
    assert_eq!(given.compile().pools["web/app"].table.len(), before);
}

#[test]
fn verdicts_count_only_while_a_monitor_is_on() {
    let mut given = Given::members(vec![member(1)]);
    given.health.insert(key(1), Verdict::Down);
    given.pool.health_monitor.as_mut().unwrap().admin_state_up = false;
    assert_eq!(given.flags(1), MemberState::UP);
    given.pool.health_monitor = None;
    assert_eq!(given.flags(1), MemberState::UP);
}

#[test]
fn all_members_down_leave_an_empty_table() {
    let mut given = Given::members(vec![member(1)]);
    given.health.insert(key(1), Verdict::Down);
    let desired = given.compile();
    assert!(desired.pools["web/app"].table.is_empty());
    assert!(desired.pools["web/app"].members.is_empty());
    assert_eq!(desired.members.len(), 1);
}

#[test]
fn a_draining_member_stays_up_outside_the_table() {
    let mut given = Given::members(vec![member(1), member(2), member(3)]);
    given.pool.members[0].weight = Weight::new(0).unwrap();
    given.overrides.set_drain(key(2), true);
    assert_eq!(given.in_table(), [3]);
    assert_eq!(given.flags(1), MemberState::UP | MemberState::DRAINING);
    assert_eq!(given.flags(2), MemberState::UP | MemberState::DRAINING);
}

#[test]
fn a_disabled_member_is_not_up() {
    let mut given = Given::members(vec![member(1), member(2), member(3)]);
    given.pool.members[0].admin_state_up = false;
    given.overrides.set_admin_state_up(key(2), Some(false));
    assert_eq!(given.in_table(), [3]);
    assert_eq!(given.flags(1), MemberState::DISABLED);
    assert_eq!(given.flags(2), MemberState::DISABLED);
    given.overrides.set_admin_state_up(key(1), Some(true));
    assert_eq!(given.in_table(), [1, 3]);
}

#[test]
fn an_overridden_weight_counts_in_place_of_the_files() {
    let mut given = Given::members(vec![member(1), member(2)]);
    given.overrides.set_weight(key(1), Weight::new(3));
    let desired = given.compile();
    assert_eq!(desired.members[&key(1)].weight, 3);
    let pool = &desired.pools["web/app"];
    let first = pool.table.iter().filter(|s| pool.members[usize::from(**s)] == key(1)).count();
    assert_eq!((first, pool.table.len()), (158, 211));
}

#[test]
fn backups_serve_together_when_no_primary_can() {
    let mut given = Given::members((1..=4).map(member).collect());
    given.pool.members[2].backup = true;
    given.pool.members[3].backup = true;
    assert_eq!(given.in_table(), [1, 2]);
    given.health.insert(key(1), Verdict::Down);
    assert_eq!(given.in_table(), [2]);
    given.overrides.set_drain(key(2), true);
    assert_eq!(given.in_table(), [3, 4]);
    assert_eq!(given.flags(3), MemberState::UP | MemberState::BACKUP);
}

#[test]
fn a_member_without_next_hop_waits_until_nobody_else_can_be_reached() {
    let mut given = Given::members((1..=3).map(member).collect());
    given.pool.members[2].backup = true;
    given.hops = hops(&[1, 3]);
    assert_eq!(given.in_table(), [1]);
    given.hops = hops(&[3]);
    assert_eq!(given.in_table(), [3]);
    given.hops = hops(&[]);
    assert_eq!(given.in_table(), [1, 2]);
    assert_eq!(given.flags(1), MemberState::UP);
}

#[test]
fn what_is_switched_off_is_left_out() {
    let mut given = Given::members(vec![member(1)]);
    given.pool.admin_state_up = false;
    let desired = given.compile();
    assert!(desired.pools["web/app"].table.is_empty());
    assert_eq!(desired.members[&key(1)].flags, 0);

    let mut lb = load_balancer(pool(vec![member(1)]));
    lb.listeners[0].admin_state_up = false;
    let none = || (Overrides::default(), HealthView::new(), NextHops::new());
    let run = |lb: &LoadBalancer| {
        let (overrides, health, hops) = none();
        compile(&Model::new(vec![lb.clone()]).unwrap(), &overrides, &health, &hops, &[])
    };
    assert_eq!(run(&lb).listeners.len(), 1);
    lb.listeners[1].admin_state_up = false;
    let desired = run(&lb);
    assert_eq!((desired.vips.len(), desired.listeners.len(), desired.pools.len(), desired.members.len()), (1, 0, 0, 0));
    lb.admin_state_up = false;
    assert_eq!(run(&lb), Desired::default());
}

#[test]
fn a_listener_without_pool_is_there_and_refuses() {
    let mut lb = load_balancer(pool(vec![]));
    lb.listeners[0].default_pool = None;
    let model = Model::new(vec![lb]).unwrap();
    let desired = compile(&model, &Overrides::default(), &HealthView::new(), &NextHops::new(), &[]);
    let pools: Vec<_> = desired.listeners.values().map(|l| l.pool.as_deref()).collect();
    assert_eq!(pools, [None, Some("web/app")]);
}

#[test]
fn an_override_that_changes_nothing_is_forgotten() {
    let mut overrides = Overrides::default();
    overrides.set_weight(key(1), Weight::new(5));
    overrides.set_drain(key(1), true);
    assert_eq!(overrides.get(&key(1)).unwrap().weight, Weight::new(5));
    overrides.set_weight(key(1), None);
    overrides.set_drain(key(1), false);
    assert!(overrides.is_empty());
    overrides.set_drain(key(2), true);
    assert_eq!(overrides.iter().count(), 1);
    assert!(overrides.clear(&key(2)).is_some_and(|o| o.drain));
    assert_eq!(overrides.len(), 0);
}

fn intent(text: &str, addresses: &[&str]) -> InstanceIntent {
    InstanceIntent {
        name: name(text),
        mac: Some(Mac([0, 0, 0x5e, 0, 1, 51])),
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        advert_sources: BTreeSet::new(),
    }
}

fn compile_with(lb: LoadBalancer, instances: &[InstanceIntent]) -> Desired {
    let model = Model::new(vec![lb]).unwrap();
    compile(&model, &Overrides::default(), &HealthView::new(), &NextHops::new(), instances)
}

#[test]
fn a_vip_is_moved_by_the_instance_its_load_balancer_names() {
    let mut lb = load_balancer(pool(vec![]));
    let front = intent("front", &[]);
    let alone = compile_with(lb.clone(), std::slice::from_ref(&front));
    let web = DesiredVip { label: "web".to_owned(), active: true, instance: None };
    assert_eq!(alone.vips, [(lb.vip_address, web.clone())].into());
    assert_eq!(alone.instances, [("front".to_owned(), DesiredInstance { mac: front.mac })].into());
    lb.topology = Topology::ActiveStandby { vrrp: name("front") };
    let moved = DesiredVip { instance: Some("front".to_owned()), ..web };
    assert_eq!(compile_with(lb.clone(), &[front]).vips, [(lb.vip_address, moved.clone())].into());
    // Nobody runs it: then nobody answers.
    let lost = compile_with(lb.clone(), &[]);
    assert_eq!(lost.vips, [(lb.vip_address, moved)].into());
    assert_eq!(lost.instances, [("front".to_owned(), DesiredInstance { mac: None })].into());
}

#[test]
fn an_instance_brings_addresses_of_its_own_and_those_it_hears() {
    let lb = load_balancer(pool(vec![]));
    let source = |vrid, address: &str| (vrid, address.parse::<IpAddr>().unwrap());
    let mut front = intent("front", &["10.0.0.254", "192.0.2.10"]);
    let mut back = intent("back", &["fe80::1"]);
    front.advert_sources = [source(51, "192.0.2.3")].into();
    back.advert_sources = [source(51, "192.0.2.4"), source(51, "fe80::3")].into();
    let desired = compile_with(lb.clone(), &[front, back]);
    let own = |name: &str| DesiredVip { label: format!("vrrp {name}"), active: true, instance: Some(name.to_owned()) };
    let vip = |address: &str| desired.vips[&address.parse::<IpAddr>().unwrap()].clone();
    assert_eq!((vip("10.0.0.254"), vip("fe80::1")), (own("front"), own("back")));
    // What a load balancer has is the load balancer's.
    assert_eq!((vip("192.0.2.10").label.as_str(), desired.vips.len()), ("web", 3));
    assert!(is_instance_label("vrrp front") && !is_instance_label("vrrp"));
    let heard = [source(51, "192.0.2.3"), source(51, "192.0.2.4"), source(51, "fe80::3")];
    assert_eq!(desired.advert_sources, heard.into());
}
