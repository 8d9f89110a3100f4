//! The quick walk over the pool file finds what a look at the maps finds.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use super::*;
use crate::control::{
    answer::{
        scene::{Scene, member, pool},
        survey_of_maps,
    },
    protocol::{Request, Response},
    view::OperatingStatus::{Degraded, Error, NoMonitor, Offline, Online},
};
use crate::{
    dataplane::{Dataplane as _, Transport},
    model::{Name, Percent, Weight},
};

/// What is remembered of a sighting.
type Found = (OperatingStatus, Option<String>, bool, Option<PanicFacts>);

fn take(found: &mut BTreeMap<(Object, String), Found>) -> impl FnMut(&Sighting<'_>) {
    |sighting| {
        let Sighting { object, label, status, reason, down, panic } = *sighting;
        let before = found.insert((object, label.to_owned()), (status, reason.map(ToString::to_string), down, panic));
        assert_eq!(before, None, "{object:?} {label} is shown once");
    }
}

/// What both ways find in a scene, which must be the same.
fn look(scene: &Scene) -> BTreeMap<(Object, String), Found> {
    let fallbacks = BTreeMap::new();
    let intent = scene.knowledge(&fallbacks).intent.unwrap();
    let (mut quick, mut of_maps) = (BTreeMap::new(), BTreeMap::new());
    survey(&intent, &scene.hops, &mut take(&mut quick));
    survey_of_maps(&scene.dataplane.observe().unwrap(), &intent, &mut take(&mut of_maps));
    assert_eq!(quick, of_maps);
    quick
}

fn status(scene: &Scene, object: Object, label: &str) -> (OperatingStatus, String) {
    let found = look(scene);
    let Some((status, reason, ..)) = found.get(&(object, label.to_owned())) else { panic!("no {label} in {found:?}") };
    (*status, reason.clone().unwrap_or_default())
}

fn down(scene: &mut Scene, last: u8, reason: &str) {
    scene.health.insert(Scene::key("web/app", last), Verdict::Down);
    scene.health_reasons.insert(Scene::key("web/app", last), reason.to_owned());
}

#[test]
fn everything_that_the_pool_file_names_is_shown_once() {
    let found = look(&Scene::new());
    let of = |object| found.keys().filter(move |(kind, _)| *kind == object).map(|(_, label)| label.as_str());
    assert_eq!(of(Object::LoadBalancer).collect::<Vec<_>>(), ["web"]);
    assert_eq!(of(Object::Listener).collect::<Vec<_>>(), ["web/dns", "web/http"]);
    assert_eq!(of(Object::Pool).collect::<Vec<_>>(), ["web/app", "web/names"]);
    assert_eq!(of(Object::HealthMonitor).collect::<Vec<_>>(), ["web/app"]);
    assert_eq!(of(Object::Member).count(), 5);
    let wrong: Vec<_> = found.values().filter(|(status, ..)| !matches!(status, Online | NoMonitor)).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn a_member_that_is_down_is_blamed_all_the_way_up() {
    let mut scene = Scene::new();
    down(&mut scene, 2, "status 503, expected 200");
    scene.settle();
    let why = "1 of 3 members is down: m2 (status 503, expected 200)";
    assert_eq!(status(&scene, Object::Member, "web/app/m2"), (Error, "status 503, expected 200".to_owned()));
    assert_eq!(status(&scene, Object::Pool, "web/app"), (Degraded, why.to_owned()));
    assert_eq!(status(&scene, Object::Listener, "web/http"), (Degraded, format!("pool web/app: {why}")));
    assert_eq!(status(&scene, Object::LoadBalancer, "web"), (Degraded, format!("pool web/app: {why}")));
    assert_eq!(status(&scene, Object::Listener, "web/dns").0, Online);
    assert!(look(&scene)[&(Object::Member, "web/app/m2".to_owned())].2, "it is found down");
}

#[test]
fn a_panic_leaves_members_in_error_and_says_that_they_get_traffic() {
    let mut scene = Scene::new();
    scene.pool(0).panic_threshold = Percent::new(50);
    down(&mut scene, 1, "connection refused");
    scene.settle();
    assert_eq!(look(&scene)[&(Object::Pool, "web/app".to_owned())].3, None, "one of three is no panic");
    down(&mut scene, 3, "connection refused");
    scene.settle();
    let (found, reason, _, panic) = look(&scene)[&(Object::Pool, "web/app".to_owned())].clone();
    assert_eq!(panic, Some(PanicFacts { down: 2, of: 3, threshold: Some(50) }));
    let words = "panic: 2 of 3 members are down, more than 50 %: traffic goes to all";
    assert_eq!((found, reason.as_deref()), (Degraded, Some(words)));
    let (found, reason) = status(&scene, Object::Member, "web/app/m3");
    let words = "connection refused; its pool is in panic, so it gets traffic all the same";
    assert_eq!((found, reason.as_str()), (Error, words));
    assert_eq!(status(&scene, Object::Member, "web/app/m2"), (Online, String::new()));
}

/// Changes that a balancer may meet, one by one and together.
#[test]
fn whatever_is_switched_drained_lost_or_emptied_both_ways_agree() {
    type Change = fn(&mut Scene);
    let changes: [Change; 12] = [
        |scene| scene.model[0].listeners[0].admin_state_up = false,
        |scene| scene.model[0].listeners[1].default_pool = None,
        |scene| scene.pool(1).admin_state_up = false,
        |scene| scene.pool(0).members[0].admin_state_up = false,
        |scene| scene.pool(0).members[1].weight = Weight::new(0).unwrap(),
        |scene| scene.overrides.set_drain(Scene::key("web/app", 3), true),
        |scene| scene.overrides.set_admin_state_up(Scene::key("web/names", 12), Some(false)),
        |scene| down(scene, 2, "connection refused"),
        |scene| scene.pool(0).panic_threshold = Percent::new(20),
        |scene| {
            scene.hops.remove(&member("n2", 12).address);
            scene.hops_missing.insert(member("n2", 12).address, "no route".to_owned());
        },
        |scene| {
            scene.hops.remove(&member("m1", 1).address);
        },
        |scene| {
            let monitor = scene.pool(0).health_monitor.as_mut().unwrap();
            monitor.admin_state_up = false;
        },
    ];
    for together in 0..1u32 << changes.len() {
        // All pairs and triples, and all of them together.
        if together.count_ones() > 3 && together.count_ones() < 12 {
            continue;
        }
        let mut scene = Scene::empty();
        for (at, change) in changes.iter().enumerate().filter(|(at, _)| together >> at & 1 == 1) {
            assert!(at < changes.len());
            change(&mut scene);
        }
        scene.settle();
        let found = look(&scene);
        for ((object, label), (status, reason, ..)) in found {
            assert_eq!(reason.is_none(), status == Online, "{together:b}: {object:?} {label}: {status:?} {reason:?}");
        }
    }
}

#[test]
fn a_balancer_that_is_switched_off_and_a_pool_that_nobody_uses_are_shown_too() {
    let mut scene = Scene::empty();
    scene.model[0].admin_state_up = false;
    scene.settle();
    let found = look(&scene);
    assert!(found.len() == 11 && found.values().all(|(status, ..)| *status == Offline), "{found:?}");
    let mut scene = Scene::empty();
    scene.model[0].pools.push(pool("spare", Transport::Tcp, vec![member("s1", 40)]));
    scene.settle();
    let words = "no listener that is switched on uses it";
    assert_eq!(status(&scene, Object::Pool, "web/spare"), (Offline, words.to_owned()));
    assert_eq!(status(&scene, Object::LoadBalancer, "web").0, Online);
}

#[test]
fn a_name_is_no_more_than_a_name() {
    // Two members whose labels would be one if labels were joined without care.
    let mut scene = Scene::empty();
    scene.pool(0).name = Name::new("app").unwrap();
    scene.pool(0).members[0].name = Name::new("n:1.x_y-z").unwrap();
    scene.settle();
    assert_eq!(status(&scene, Object::Member, "web/app/n:1.x_y-z").0, Online);
}

#[test]
fn from_the_maps_alone_members_that_are_down_and_a_panic_are_seen() {
    let pool = |scene: &Scene| match scene.ask_offline(&Request::Pools { select: Some("app".to_owned()) }) {
        Response::Pools(found) => (found[0].operating_status, found[0].status_reason.clone().unwrap_or_default()),
        other => panic!("{other:?}"),
    };
    let mut scene = Scene::new();
    scene.pool(0).panic_threshold = Percent::new(50);
    down(&mut scene, 1, "connection refused");
    scene.settle();
    let words = "1 of 3 members is down: m1 (the health monitor found it down)";
    assert_eq!(pool(&scene), (Degraded, words.to_owned()));
    down(&mut scene, 2, "connection refused");
    scene.settle();
    assert_eq!(pool(&scene), (Degraded, "panic: 2 of 3 members are down: traffic goes to all".to_owned()));
    let request = Request::Members { select: Some("web/app/m2".to_owned()), pool: None };
    let Response::Members(found) = scene.ask_offline(&request) else { panic!() };
    assert_eq!((found[0].operating_status, &found[0].status_since), (Error, &None));
    let words = "the health monitor found it down; its pool is in panic, so it gets traffic all the same";
    assert_eq!(found[0].status_reason.as_deref(), Some(words));
    assert!(f64::from(found[0].share_percent) > 30.0, "{:?}", found[0].share_percent);
}

#[test]
fn each_member_that_is_down_has_its_own_reason_and_those_without_one_have_none() {
    let key = |last| Scene::key("web/app", last);
    let health = HealthView::from([
        (key(1), Verdict::Down),
        (key(2), Verdict::Up),
        (key(3), Verdict::Down),
        (key(5), Verdict::Down),
        (Scene::key("web/names", 1), Verdict::Down),
    ]);
    let reason = |key, text: &str| (key, text.to_owned());
    let reasons = BTreeMap::from([
        reason(Scene::key("api/first", 9), "of nobody"),
        reason(key(1), "one"),
        reason(key(2), "two"),
        reason(key(4), "of nobody"),
        reason(key(5), "five"),
        reason(Scene::key("web/zone", 1), "of nobody"),
    ]);
    let found = super::down(&health, &reasons);
    let of = |key: &MemberKey| found.get(&place(key)).copied();
    assert_eq!(of(&key(1)), Some(Some("one")));
    assert_eq!(of(&key(2)), None);
    assert_eq!(of(&key(3)), Some(None));
    assert_eq!(of(&key(5)), Some(Some("five")));
    assert_eq!(of(&Scene::key("web/names", 1)), Some(None));
    assert_eq!(found.len(), 4);
}
