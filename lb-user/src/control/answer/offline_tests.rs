#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::net::{IpAddr, Ipv4Addr};

use super::{super::scene::Scene, *};
use crate::{
    control::{protocol::Request, view::OperatingStatus},
    dataplane::Dataplane as _,
    model::Algorithm,
};

const DRAIN: MemberChange = MemberChange { reset: false, weight: None, admin_state_up: None, drain: Some(true) };
const UNDRAIN: MemberChange = MemberChange { drain: Some(false), ..DRAIN };
const DISABLE: MemberChange = MemberChange { admin_state_up: Some(false), drain: None, ..DRAIN };
const ENABLE: MemberChange = MemberChange { admin_state_up: Some(true), ..DISABLE };

const fn weight(weight: u16) -> MemberChange {
    MemberChange { weight: Some(weight), drain: None, ..DRAIN }
}

fn edit(scene: &mut Scene, member: &str, change: &MemberChange) -> MemberSetView {
    edit_offline(&mut scene.dataplane, member, change).unwrap_or_else(|refusal| panic!("{refusal}"))
}

fn refusal(scene: &mut Scene, member: &str, change: &MemberChange) -> Refusal {
    let before = scene.dataplane.observe().unwrap();
    let refusal = edit_offline(&mut scene.dataplane, member, change).unwrap_err();
    assert_eq!(scene.dataplane.observe().unwrap(), before, "refused, and yet something changed: {refusal}");
    refusal
}

/// Sends from many ports and counts who gets them.
fn spread(scene: &Scene, ports: std::ops::Range<u16>) -> Vec<(Ipv4Addr, u16, u16)> {
    ports.map(|port| scene.datagram(port).map(|(to, snat)| (to, port, snat)).unwrap()).collect()
}

const N1: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const N2: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 12);

#[test]
fn a_drained_member_keeps_its_flows_and_new_ones_go_elsewhere() {
    let mut scene = Scene::new();
    let flows = spread(&scene, 1000..1100);
    assert!([N1, N2].iter().all(|one| flows.iter().any(|(to, ..)| to == one)), "one member got everything");
    for (to, _, snat) in &flows {
        scene.reply(*to, *snat);
    }

    let view = edit(&mut scene, "n2", &DRAIN);
    assert_eq!(view.member.name, "web/names/n2");
    assert_eq!(view.member.operating_status, OperatingStatus::Draining);
    assert_eq!(view.member.active_flows, Some(flows.iter().filter(|(to, ..)| *to == N2).count() as u64));
    assert!(view.notes.iter().any(|note| note.contains("until lbd starts again")), "{:?}", view.notes);

    assert_eq!(spread(&scene, 1000..1100), flows, "a flow moved");
    assert!(spread(&scene, 2000..2100).iter().all(|(to, ..)| *to == N1), "a new flow went to the drained member");

    edit(&mut scene, "n2", &UNDRAIN);
    assert!(spread(&scene, 3000..3100).iter().any(|(to, ..)| *to == N2));
}

#[test]
fn a_disabled_member_loses_its_datagrams_too() {
    let mut scene = Scene::new();
    let flows = spread(&scene, 1000..1100);
    let view = edit(&mut scene, "names/n2", &DISABLE);
    assert_eq!(view.member.operating_status, OperatingStatus::Offline);
    let after = spread(&scene, 1000..1100);
    assert!(after.iter().all(|(to, ..)| *to == N1));
    assert!(flows.iter().zip(&after).all(|(before, now)| before.0 == N2 || before == now));
    let view = edit(&mut scene, "names/n2", &ENABLE);
    assert_eq!(view.member.operating_status, OperatingStatus::Online);
}

#[test]
fn the_maps_come_out_as_lbd_would_have_written_them() {
    type SameByLbd = fn(&mut Scene);
    let changes: [(&str, MemberChange, SameByLbd); 5] = [
        ("app/m2", DRAIN, |scene| scene.overrides.set_drain(Scene::key("web/app", 2), true)),
        ("app/m2", DISABLE, |scene| scene.overrides.set_admin_state_up(Scene::key("web/app", 2), Some(false))),
        ("app/m2", weight(7), |scene| scene.overrides.set_weight(Scene::key("web/app", 2), Weight::new(7))),
        ("app/m2", weight(0), |scene| scene.overrides.set_weight(Scene::key("web/app", 2), Weight::new(0))),
        ("names/m1", DISABLE, |scene| scene.overrides.set_admin_state_up(Scene::key("web/names", 1), Some(false))),
    ];
    // Everything a table follows from is there: a backup, a member that is
    // down, one out of reach.
    let start = |algorithm| {
        let mut scene = Scene::empty();
        scene.pool(0).lb_algorithm = algorithm;
        scene.pool(0).members.extend((4..=6).map(|n| super::super::scene::member(&format!("m{n}"), n)));
        scene.pool(0).members[3].backup = true;
        for n in [4, 5, 6] {
            let hop = scene.hops.values().copied().next().unwrap();
            scene.hops.insert(IpAddr::V4(Ipv4Addr::new(10, 0, 0, n)), hop);
        }
        scene.hops.remove(&IpAddr::V4(Ipv4Addr::new(10, 0, 0, 5)));
        scene.health.insert(Scene::key("web/app", 6), crate::compile::Verdict::Down);
        scene.settle();
        scene
    };
    let with_each = |change| Algorithm::ALL.map(|algorithm| (algorithm, change));
    for (algorithm, (member, change, same)) in changes.into_iter().flat_map(with_each) {
        let mut by_hand = start(algorithm);
        edit(&mut by_hand, member, &change);
        let mut by_lbd = start(algorithm);
        same(&mut by_lbd);
        by_lbd.settle();
        let (by_hand, by_lbd) = (by_hand.dataplane.observe().unwrap(), by_lbd.dataplane.observe().unwrap());
        assert_eq!(by_hand, by_lbd, "{algorithm:?} {member} {change:?}");
    }
}

#[test]
fn changes_follow_one_another_and_come_back_to_where_they_began() {
    let mut scene = Scene::new();
    let before = scene.dataplane.observe().unwrap();
    for change in [weight(9), DRAIN, DISABLE, weight(0), ENABLE, weight(1), UNDRAIN] {
        edit(&mut scene, "app/m1", &change);
    }
    assert_eq!(scene.dataplane.observe().unwrap(), before);
}

#[test]
fn the_last_member_to_go_leaves_a_pool_that_refuses_and_a_note() {
    let mut scene = Scene::new();
    let view = edit(&mut scene, "names/m1", &DISABLE);
    assert!(!view.notes.iter().any(|note| note.contains("no member left")), "{:?}", view.notes);
    let view = edit(&mut scene, "n2", &DISABLE);
    assert!(view.notes.iter().any(|note| note.contains("web/names has no member left")), "{:?}", view.notes);
    assert_eq!(scene.datagram(4000), None);
    edit(&mut scene, "n2", &ENABLE);
    assert!(scene.datagram(4000).is_some());
}

#[test]
fn what_still_stands_in_the_way_is_noted() {
    let mut scene = Scene::new();
    let noted = |view: MemberSetView, words: &str| {
        assert!(view.notes.iter().any(|note| note.contains(words)), "no {words:?} in {:?}", view.notes);
    };
    edit(&mut scene, "n2", &DRAIN);
    noted(edit(&mut scene, "n2", &weight(4)), "an operator drains it");
    edit(&mut scene, "n2", &DISABLE);
    noted(edit(&mut scene, "n2", &UNDRAIN), "still switched off");
    edit(&mut scene, "n2", &weight(0));
    noted(edit(&mut scene, "n2", &ENABLE), "weight is 0");
    noted(edit(&mut scene, "n2", &weight(4)), "drained by hand");

    scene.health.insert(Scene::key("web/app", 3), crate::compile::Verdict::Down);
    scene.settle();
    noted(edit(&mut scene, "m3", &weight(2)), "found the member down");
    assert_eq!(edit(&mut scene, "m3", &weight(2)).member.operating_status, OperatingStatus::Error);
}

#[test]
fn a_pool_that_is_switched_off_stays_so() {
    let mut scene = Scene::new();
    scene.pool(1).admin_state_up = false;
    scene.settle();
    let view = edit(&mut scene, "n2", &weight(3));
    assert_eq!(view.member.operating_status, OperatingStatus::Offline);
    assert!(view.notes.iter().any(|note| note.contains("switched off")), "{:?}", view.notes);
    assert_eq!(scene.datagram(4000), None);
}

#[test]
fn new_flows_leave_a_member_before_it_stops_and_come_after_it_has_begun() {
    let mut scene = Scene::new();
    let steps = |scene: &Scene, change: &MemberChange| -> Vec<&'static str> {
        let observed = scene.dataplane.observe().unwrap();
        let edit = Edit::plan(&observed, &select(&observed, "n2").unwrap(), change).unwrap();
        let name = |step: &Step| match step.ahead {
            Op::PutPool { .. } => "table",
            Op::PutMember { .. } => "member",
            _ => "other",
        };
        edit.steps.iter().map(name).collect()
    };
    assert_eq!(steps(&scene, &DISABLE), ["table", "member"]);
    assert_eq!(steps(&scene, &DRAIN), ["table", "member"]);
    assert_eq!(steps(&scene, &weight(5)), ["member", "table"]);
    edit(&mut scene, "n2", &DISABLE);
    assert_eq!(steps(&scene, &ENABLE), ["member", "table"]);
    assert_eq!(steps(&scene, &DRAIN), ["member"], "the table stays as it is");
}

#[test]
fn what_cannot_be_done_is_refused_and_changes_nothing() {
    let mut scene = Scene::new();
    for (member, change, code, words) in [
        ("n2", MemberChange { reset: true, ..MemberChange::default() }, RefusalCode::Invalid, "start lbd"),
        ("n2", MemberChange::default(), RefusalCode::Invalid, "nothing"),
        ("n2", weight(257), RefusalCode::Invalid, "256"),
        ("m1", DRAIN, RefusalCode::Ambiguous, "web/app/m1, web/names/m1"),
        ("n3", DRAIN, RefusalCode::NotFound, "web/names/n2"),
    ] {
        let refusal = refusal(&mut scene, member, &change);
        assert_eq!(refusal.code, code, "{refusal}");
        assert!(refusal.message.contains(words), "{refusal}");
    }
    scene.pool(1).members.pop();
    scene.settle();
    let refusal = refusal(&mut scene, "n2", &DRAIN);
    assert_eq!(refusal.code, RefusalCode::Invalid);
    assert!(refusal.message.contains("gone from the pool file"), "{refusal}");
}

#[test]
fn a_step_that_fails_takes_the_ones_before_it_back() {
    for (change, after) in [(DRAIN, 0), (DRAIN, 1), (weight(5), 0), (weight(5), 1)] {
        let mut scene = Scene::new();
        scene.dataplane.fail_after(after);
        let refusal = refusal(&mut scene, "n2", &change);
        assert_eq!(refusal.code, RefusalCode::Failed);
        assert!(refusal.message.contains("fail as told"), "{refusal}");
        // The failure is spent: the same change works now.
        edit(&mut scene, "n2", &change);
    }
}

#[test]
fn a_record_of_the_maps_is_what_member_show_shows() {
    let mut scene = Scene::new();
    let view = edit(&mut scene, "n2", &weight(3)).member;
    let request = Request::Members { select: Some("n2".into()), pool: None };
    match scene.ask_offline(&request) {
        crate::control::protocol::Response::Members(shown) => assert_eq!(shown, [view]),
        other => panic!("{other:?}"),
    }
}
