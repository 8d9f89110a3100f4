#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::Duration;

use super::{
    reconcile::world::{key, small_dataplane, web},
    *,
};
use crate::{
    control::{events::Kind, status::Object, view::OperatingStatus},
    dataplane::{memory::MemoryDataplane, tables::frames::next_hop},
};

fn event(n: u8, verdict: Verdict) -> HealthEvent {
    HealthEvent {
        member: key("web/app", n),
        verdict,
        outcome: lb_health::Outcome::Fails(lb_health::Failure::Told("test")),
        at: UNIX_EPOCH,
        decided: Instant::now(),
    }
}

#[test]
fn a_table_that_is_full_for_a_moment_is_told_once_and_got_over_by_another_try() {
    let members: Vec<u8> = (1..=8).collect();
    let model = Model::new(vec![web(&members)]).unwrap();
    // Room for one table more than there are pools. What a pool has left is given
    // to another only after a while.
    let mut controller =
        Controller::new(small_dataplane(2500), model, Overrides::default(), DaemonView::default()).unwrap();
    assert!(controller.converge() && controller.failed_at().is_none());

    let of = |pool: &'static str| members.iter().map(move |n| key(pool, *n));
    controller.watch(of("web/app").chain(of("web/dns")).collect());
    controller.set_verdict(&HealthEvent { member: key("web/dns", 1), ..event(1, Verdict::Down) });
    assert!(controller.follow() && controller.failed_at().is_none());
    controller.set_verdict(&event(2, Verdict::Down));
    assert!(!controller.follow() && controller.failed_at().is_some());
    let told = controller.daemon.last_error.take().unwrap();
    assert!(told.message.contains("SLOTS is full"), "{}", told.message);
    assert!(!controller.follow() && controller.failed_at().is_some());
    assert_eq!(controller.daemon.last_error, None, "the same again is nothing new");

    let table = |controller: &Controller<MemoryDataplane>| {
        let observed = controller.dataplane().observe().unwrap();
        observed.pools.values().find(|pool| pool.label == "web/app").unwrap().table.clone()
    };
    let before = table(&controller);
    for _ in 0..100 {
        std::thread::sleep(Duration::from_millis(50));
        if controller.converge() {
            break;
        }
    }
    assert!(controller.failed_at().is_none());
    assert_ne!(table(&controller), before, "the member that is down is still named");
}

#[test]
fn verdicts_about_members_that_are_not_watched_count_for_nothing() {
    let model = Model::new(vec![web(&[1, 2])]).unwrap();
    let mut controller =
        Controller::new(small_dataplane(2500), model, Overrides::default(), DaemonView::default()).unwrap();
    controller.watch([key("web/app", 1)].into());
    controller.set_verdict(&event(1, Verdict::Down));
    controller.set_verdict(&event(2, Verdict::Down));
    assert_eq!(controller.health, HealthView::from([(key("web/app", 1), Verdict::Down)]));
    // Watched no more, it is forgotten, and an event that was on its way comes too late.
    controller.watch(BTreeSet::new());
    controller.set_verdict(&event(1, Verdict::Down));
    assert!(controller.health.is_empty() && controller.health_reasons.is_empty());
}

/// Next hops of the members 10.0.0.n.
fn hops(members: &[u8]) -> NextHops {
    members.iter().map(|n| (IpAddr::from([10, 0, 0, *n]), next_hop())).collect()
}

fn told(events: &[Event]) -> Vec<(Kind, &str, &str)> {
    events.iter().map(|event| (event.kind, event.subject.as_str(), event.text.as_str())).collect()
}

#[test]
fn members_of_a_pool_by_another_name_keep_what_was_found_about_them() {
    let model = Model::new(vec![web(&[1, 2])]).unwrap();
    let mut controller =
        Controller::new(small_dataplane(5000), model, Overrides::default(), DaemonView::default()).unwrap();
    controller.watch([key("web/app", 1), key("web/app", 2)].into());
    controller.set_verdict(&event(1, Verdict::Down));
    let renamed = [1, 2].map(|n| (key("web/app", n), key("shop/app", n)));
    let mut shop = web(&[1, 2]);
    shop.name = super::reconcile::world::name("shop");
    controller.set_model(Model::new(vec![shop]).unwrap(), UNIX_EPOCH);
    controller.rename(&renamed);
    controller.watch([key("shop/app", 1), key("shop/app", 2)].into());
    assert_eq!(controller.health, HealthView::from([(key("shop/app", 1), Verdict::Down)]));
    assert_eq!(controller.health_reasons, BTreeMap::from([(key("shop/app", 1), "test".to_owned())]));
}

#[test]
fn what_a_probe_met_is_the_text_of_a_members_events() {
    let model = Model::new(vec![web(&[1, 2])]).unwrap();
    let mut controller =
        Controller::new(small_dataplane(5000), model, Overrides::default(), DaemonView::default()).unwrap();
    controller.watch([key("web/app", 1)].into());
    let mut tidings = tidings::Tidings::default();
    let mut tell = |event: &HealthEvent| {
        let label = controller.set_verdict(event).unwrap();
        tidings.take(Instant::now(), label, event).unwrap()
    };
    let down = tell(&event(1, Verdict::Down));
    assert_eq!((down.kind, down.text.as_str(), down.at), (Kind::MemberDown, "test", UNIX_EPOCH));
    assert_eq!(down.subject, "web/app/m1", "its label, as everywhere else");
    assert_eq!((&down.detail["address"], &down.detail["port"]), (&"10.0.0.1".into(), &8080.into()));
    let outcome = lb_health::Outcome::Answers(lb_health::Answer::Status(204));
    let up = tell(&HealthEvent { outcome, ..event(1, Verdict::Up) });
    assert_eq!((up.kind, up.text.as_str()), (Kind::MemberUp, "it answers: status 204"));
}

#[test]
fn statuses_are_told_when_they_change_and_keep_their_time_through_a_reload() {
    let at = |second| UNIX_EPOCH + Duration::from_secs(second);
    let model = Model::new(vec![web(&[1, 2])]).unwrap();
    let mut controller =
        Controller::new(small_dataplane(5000), model, Overrides::default(), DaemonView::default()).unwrap();
    controller.set_hops(&Hops { next_hops: hops(&[1, 2, 3]), ..Hops::default() });
    controller.converge();
    assert_eq!(controller.statuses(at(1)), [], "a first sight");
    controller.watch([key("web/app", 1), key("web/app", 2)].into());
    controller.set_verdict(&event(1, Verdict::Down));
    controller.converge();
    let events = controller.statuses(at(2));
    let mut labels: Vec<_> = told(&events).into_iter().map(|(kind, label, _)| (kind, label)).collect();
    labels.sort_by_key(|(_, label)| *label);
    let changed = Kind::StatusChanged;
    assert_eq!(labels, [(changed, "web"), (changed, "web/TCP-80"), (changed, "web/app")]);
    assert!(events.iter().all(|event| event.text.contains("from ONLINE to DEGRADED: ") && event.at == at(2)));

    // A reload that adds a member leaves the others' times alone.
    controller.set_model(Model::new(vec![web(&[1, 2, 3])]).unwrap(), at(3));
    controller.watch([1, 2, 3].map(|n| key("web/app", n)).into());
    controller.converge();
    assert_eq!(controller.statuses(at(3)), []);
    let since = |label, status| controller.standings.since(Object::Member, label, status);
    assert_eq!(since("web/app/m1", OperatingStatus::Error), Some(at(2)));
    assert_eq!(since("web/app/m2", OperatingStatus::Online), Some(at(1)));
    assert_eq!(since("web/app/m3", OperatingStatus::Online), Some(at(3)));
    // And what is shown has them.
    let request = Request::Members { select: Some("web/app/m1".to_owned()), pool: None };
    let Response::Members(shown) = controller.answer(&request, &[], None, None) else { panic!() };
    assert_eq!(shown[0].status_since.as_deref(), Some("1970-01-01T00:00:02.000Z"));
    assert_eq!((shown[0].operating_status, shown[0].status_reason.as_deref()), (OperatingStatus::Error, Some("test")));
}

#[test]
fn while_the_maps_are_not_as_they_should_be_statuses_are_those_of_the_maps() {
    let at = |second| UNIX_EPOCH + Duration::from_secs(second);
    let model = Model::new(vec![web(&[1, 2])]).unwrap();
    let mut controller =
        Controller::new(small_dataplane(5000), model, Overrides::default(), DaemonView::default()).unwrap();
    controller.set_hops(&Hops { next_hops: hops(&[1, 2]), ..Hops::default() });
    controller.dataplane_mut().fail_after(0);
    assert!(!controller.converge());
    assert_eq!(controller.statuses(at(1)), []);
    let pool = |controller: &Controller<_>, status| controller.standings.since(Object::Pool, "web/app", status);
    assert_eq!(pool(&controller, OperatingStatus::Error), Some(at(1)), "it has no table");
    assert!(controller.converge());
    let events = controller.statuses(at(2));
    assert!(told(&events).contains(&(Kind::StatusChanged, "web/app", "pool went from ERROR to ONLINE")));
    assert_eq!(pool(&controller, OperatingStatus::Online), Some(at(2)));
}
