#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{num::NonZeroU16, time::Duration};

use lb_common::{mac::Mac, member::NextHop, protocol::Transport};
use lb_health::Handshake;

use super::*;
use crate::{
    compile::MemberOverride,
    model::{
        Algorithm, ForwardMode, LoadBalancer, MonitorKind, MssClamp, Name, OnMemberDown, Pool, ProbePath, Topology,
        TransitionHold, Weight,
    },
};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn port(port: u16) -> NonZeroU16 {
    NonZeroU16::new(port).unwrap()
}

fn member(last: u8) -> Member {
    Member {
        name: name(&format!("m{last}")),
        address: IpAddr::from([10, 0, 0, last]),
        protocol_port: port(8080),
        weight: Weight::default(),
        backup: false,
        connection_limit: None,
        admin_state_up: true,
        monitor_address: None,
        monitor_port: None,
    }
}

fn pool(pool: &str, members: Vec<Member>) -> Pool {
    let (second, kind) = (Duration::from_secs(1), MonitorKind::Tcp(Handshake::Half));
    Pool {
        name: name(pool),
        protocol: Transport::Tcp,
        lb_algorithm: Algorithm::SourceIpPort,
        forward_mode: ForwardMode::Nat,
        session_persistence: None,
        mss_clamp: MssClamp::Off,
        transition_hold: TransitionHold::default(),
        admin_state_up: true,
        members,
        health_monitor: Some(HealthMonitor {
            kind,
            delay: 5 * second,
            timeout: 3 * second,
            max_retries: 2,
            max_retries_down: 4,
            flap_damping: true,
            probe_path: ProbePath::Member,
            admin_state_up: true,
        }),
        on_member_down: OnMemberDown::Keep,
        panic_threshold: None,
    }
}

fn model(pools: Vec<Pool>) -> Model {
    let lb = LoadBalancer {
        name: name("web"),
        vip_address: "10.0.0.1".parse().unwrap(),
        topology: Topology::Single,
        admin_state_up: true,
        listeners: Vec::new(),
        pools,
    };
    let off = LoadBalancer {
        name: name("off"),
        vip_address: "10.0.0.2".parse().unwrap(),
        admin_state_up: false,
        ..lb.clone()
    };
    Model::new(vec![lb, off]).unwrap()
}

/// Of no member is it known how frames reach it.
fn nowhere() -> Ways<'static> {
    static NONE: std::sync::LazyLock<NextHops> = std::sync::LazyLock::new(NextHops::new);
    Ways { next_hops: &NONE, interfaces: BTreeMap::new() }
}

#[test]
fn probes_to_the_vip_go_the_way_of_the_members_frames() {
    let mut app = pool("app", vec![member(11), member(12), member(13)]);
    app.members[0].monitor_port = Some(port(9000));
    app.forward_mode = ForwardMode::Dsr;
    app.health_monitor.as_mut().unwrap().probe_path = ProbePath::Vip;
    let model = model(vec![app, pool("other", vec![member(11)])]);
    assert!(asks_vips(&model));
    let hop = |last: u8, port: u16| NextHop { destination: Mac([4, 0, 0, 0, 0, last]), source: Mac([2; 6]), port };
    // Of the third one nothing is known, and the second one's interface is none of ours.
    let hops = [(IpAddr::from([10, 0, 0, 11]), hop(11, 1)), (IpAddr::from([10, 0, 0, 12]), hop(12, 2))];
    let hops: NextHops = hops.into_iter().collect();
    let ways = Ways { next_hops: &hops, interfaces: [(1, 7)].into_iter().collect() };
    let questions: Vec<_> = targets(&model, &Overrides::default(), &ways).into_iter().map(|t| t.question).collect();
    let link = |interface, source, destination| Delivery::Link { interface, source, destination };
    let there = link(7, [2; 6], [4, 0, 0, 0, 0, 11]);
    let nowhere = link(0, [0; 6], [0; 6]);
    let expected = [
        ("10.0.0.1:9000", there),
        ("10.0.0.1:8080", nowhere),
        ("10.0.0.1:8080", nowhere),
        ("10.0.0.11:8080", Delivery::Routed),
    ];
    let found: Vec<_> = questions.iter().map(|question| (question.to.to_string(), question.delivery)).collect();
    assert_eq!(found, expected.map(|(to, delivery)| (to.to_owned(), delivery)));
}

#[test]
fn a_target_is_where_the_monitor_is_told_to_look_and_as_it_is_told() {
    let elsewhere =
        Member { monitor_address: Some("10.9.9.9".parse().unwrap()), monitor_port: Some(port(9000)), ..member(12) };
    let found = targets(&model(vec![pool("app", vec![member(11), elsewhere])]), &Overrides::default(), &nowhere());
    let key = |last: u8| MemberKey { pool: "web/app".to_owned(), address: [10, 0, 0, last].into(), port: 8080 };
    let pace = Pace { delay: Duration::from_secs(5), timeout: Duration::from_secs(3), rise: 2, fall: 4, damping: true };
    let expected = |member, address: &str| Target {
        member,
        question: Question {
            kind: MonitorKind::Tcp(Handshake::Half),
            to: address.parse().unwrap(),
            delivery: Delivery::Routed,
        },
        pace,
    };
    assert_eq!(found, [expected(key(11), "10.0.0.11:8080"), expected(key(12), "10.9.9.9:9000")]);
}

#[test]
fn what_is_switched_off_anywhere_above_is_not_probed() {
    let off = || Member { admin_state_up: false, ..member(12) };
    let mut unwatched = pool("unwatched", vec![member(11)]);
    unwatched.health_monitor = None;
    let mut paused = pool("paused", vec![member(11)]);
    paused.health_monitor.as_mut().unwrap().admin_state_up = false;
    let mut closed = pool("closed", vec![member(11)]);
    closed.admin_state_up = false;
    let pools = vec![pool("app", vec![member(11), off()]), unwatched, paused, closed, pool("more", vec![member(11)])];
    let found: Vec<_> = targets(&model(pools), &Overrides::default(), &nowhere())
        .into_iter()
        .map(|t| format!("{} {}", t.member.pool, t.question.to))
        .collect();
    assert_eq!(found, ["web/app 10.0.0.11:8080", "web/more 10.0.0.11:8080"]);
}

#[test]
fn an_operators_word_about_a_member_outweighs_the_pool_files() {
    let key = |last: u8| MemberKey { pool: "web/app".to_owned(), address: [10, 0, 0, last].into(), port: 8080 };
    let off = Member { admin_state_up: false, ..member(12) };
    let word = |up| MemberOverride { admin_state_up: Some(up), ..MemberOverride::default() };
    let overrides = [(key(11), word(false)), (key(12), word(true))].into_iter().collect();
    let found = targets(&model(vec![pool("app", vec![member(11), off])]), &overrides, &nowhere());
    assert_eq!(found.into_iter().map(|t| t.member).collect::<Vec<_>>(), [key(12)]);
}

#[test]
fn a_member_that_is_asked_the_same_in_a_pool_by_another_name_keeps_its_number() {
    let of = |pools: Vec<(&str, Vec<Member>)>| {
        let pools = pools.into_iter().map(|(name, members)| pool(name, members)).collect();
        targets(&model(pools), &Overrides::default(), &nowhere())
    };
    let key = |pool: &str, last: u8| MemberKey { pool: pool.to_owned(), address: [10, 0, 0, last].into(), port: 8080 };
    let mut numbers = Numbers::default();
    let take = |numbers: &mut Numbers, targets: &[Target]| -> (Vec<(MemberKey, MemberKey)>, Vec<u32>) {
        let renamed = numbers.keep(targets);
        let ids = targets.iter().map(|target| numbers.of(&target.member, &target.question).0).collect();
        assert_eq!(numbers.ids.len(), numbers.members.len());
        (renamed, ids)
    };
    let first = of(vec![("app", vec![member(11), member(12)])]);
    assert_eq!(take(&mut numbers, &first), (vec![], vec![0, 1]));
    // One is asked at another port now, and one is new.
    let elsewhere = Member { monitor_port: Some(port(9000)), ..member(12) };
    let second = of(vec![("shop", vec![member(11), elsewhere, member(13)])]);
    assert_eq!(take(&mut numbers, &second), (vec![(key("web/app", 11), key("web/shop", 11))], vec![0, 2, 3]));
    // A pool that comes to one that stays is another one.
    let third = of(vec![("shop", vec![member(11)]), ("more", vec![member(11)])]);
    assert_eq!(take(&mut numbers, &third), (vec![], vec![0, 4]));
    // Of two that go, one is found again.
    let fourth = of(vec![("last", vec![member(11)])]);
    let (renamed, ids) = take(&mut numbers, &fourth);
    assert_eq!((renamed.len(), ids.len(), &renamed[0].1), (1, 1, &key("web/last", 11)));
    assert!(ids[0] == 0 || ids[0] == 4);
    assert_eq!(numbers.members.len(), 1);
}
