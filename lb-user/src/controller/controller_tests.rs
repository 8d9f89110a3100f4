#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::Duration;

use super::{
    reconcile::world::{key, small_dataplane, web},
    *,
};
use crate::dataplane::memory::MemoryDataplane;

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
    controller.set_verdict(HealthEvent { member: key("web/dns", 1), ..event(1, Verdict::Down) });
    assert!(controller.follow() && controller.failed_at().is_none());
    controller.set_verdict(event(2, Verdict::Down));
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
    controller.set_verdict(event(1, Verdict::Down));
    controller.set_verdict(event(2, Verdict::Down));
    assert_eq!(controller.health, HealthView::from([(key("web/app", 1), Verdict::Down)]));
    // Watched no more, it is forgotten, and an event that was on its way comes too late.
    controller.watch(BTreeSet::new());
    controller.set_verdict(event(1, Verdict::Down));
    assert!(controller.health.is_empty() && controller.health_reasons.is_empty());
}
