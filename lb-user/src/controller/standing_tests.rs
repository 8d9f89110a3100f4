//! Times and events of statuses, by a clock that the test sets.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::control::view::OperatingStatus::{Degraded, Draining, Error, NoMonitor, Offline, Online};

fn at(second: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(second)
}

/// An object as it is shown.
#[derive(Clone, Copy)]
struct Shown {
    object: Object,
    label: &'static str,
    status: OperatingStatus,
    down: bool,
    panic: Option<PanicFacts>,
}

fn shown(object: Object, label: &'static str, status: OperatingStatus) -> Shown {
    Shown { object, label, status, down: false, panic: None }
}

fn pool(status: OperatingStatus) -> Shown {
    shown(Object::Pool, "web/app", status)
}

fn member(status: OperatingStatus, down: bool) -> Shown {
    Shown { down, ..shown(Object::Member, "web/app/m1", status) }
}

fn look(standings: &mut Standings, second: u64, all: &[Shown]) -> Vec<Event> {
    standings.look(at(second), |see| {
        for Shown { object, label, status, down, panic } in all.iter().copied() {
            let reason = "a reason".to_owned();
            let reason = (status != Online).then_some(&reason as &dyn std::fmt::Display);
            see(&Sighting { object, label, status, reason, down, panic });
        }
    })
}

fn told(events: &[Event]) -> Vec<(Kind, &str, &str)> {
    events.iter().map(|event| (event.kind, event.subject.as_str(), event.text.as_str())).collect()
}

#[test]
fn the_first_sight_tells_nothing_and_begins_the_time() {
    let mut standings = Standings::default();
    let panic = Some(PanicFacts { down: 2, of: 3, threshold: Some(50) });
    let first = [Shown { panic, ..pool(Degraded) }, member(Error, true)];
    assert_eq!(look(&mut standings, 10, &first), []);
    assert_eq!(standings.since(Object::Pool, "web/app", Degraded), Some(at(10)));
    assert_eq!(standings.since(Object::Member, "web/app/m1", Error), Some(at(10)));
    assert_eq!(standings.since(Object::Listener, "web/app", Degraded), None, "labels are of one kind each");
    assert_eq!(standings.since(Object::Pool, "web/app", Online), None, "a status that it had not at the last look");
}

#[test]
fn a_change_is_told_once_with_both_words_and_the_reason() {
    let mut standings = Standings::default();
    look(&mut standings, 10, &[pool(Online)]);
    let events = look(&mut standings, 20, &[pool(Degraded)]);
    assert_eq!(told(&events), [(Kind::StatusChanged, "web/app", "pool went from ONLINE to DEGRADED: a reason")]);
    assert_eq!(events[0].at, at(20));
    let detail = serde_json::to_value(&events[0].detail).unwrap();
    let expected = serde_json::json!({"object": "pool", "from": "ONLINE", "to": "DEGRADED", "reason": "a reason"});
    assert_eq!(detail, expected);
    assert_eq!(look(&mut standings, 30, &[pool(Degraded)]), []);
    assert_eq!(standings.since(Object::Pool, "web/app", Degraded), Some(at(20)), "looking again changes no time");
    let events = look(&mut standings, 40, &[pool(Online)]);
    assert_eq!(told(&events), [(Kind::StatusChanged, "web/app", "pool went from DEGRADED to ONLINE")]);
    assert_eq!(standings.since(Object::Pool, "web/app", Online), Some(at(40)));
}

#[test]
fn what_a_monitor_found_of_a_member_is_not_told_twice() {
    let mut standings = Standings::default();
    look(&mut standings, 1, &[member(Online, false)]);
    assert_eq!(look(&mut standings, 2, &[member(Error, true)]), [], "its event is that of the monitor");
    assert_eq!(standings.since(Object::Member, "web/app/m1", Error), Some(at(2)));
    assert_eq!(look(&mut standings, 3, &[member(Online, false)]), []);
    let drained = look(&mut standings, 4, &[member(Draining, false)]);
    assert_eq!(told(&drained), [(Kind::StatusChanged, "web/app/m1", "member went from ONLINE to DRAINING: a reason")]);
    let unreachable = look(&mut standings, 5, &[member(Error, false)]);
    assert_eq!(unreachable.len(), 1, "no monitor told that frames cannot reach it");
}

#[test]
fn a_member_that_was_down_and_is_looked_at_no_more_is_told() {
    for status in [NoMonitor, Offline] {
        let mut standings = Standings::default();
        look(&mut standings, 1, &[member(Error, true)]);
        let events = look(&mut standings, 2, &[member(status, false)]);
        let text = format!("member went from ERROR to {}: a reason", status.word());
        assert_eq!(told(&events), [(Kind::StatusChanged, "web/app/m1", text.as_str())]);
    }
}

#[test]
fn a_panic_is_told_when_it_begins_and_when_it_is_over() {
    let mut standings = Standings::default();
    let panic = |down| Shown { panic: Some(PanicFacts { down, of: 8, threshold: Some(50) }), ..pool(Degraded) };
    look(&mut standings, 1, &[pool(Degraded)]);
    let events = look(&mut standings, 2, &[panic(5)]);
    assert_eq!(
        told(&events),
        [(Kind::PoolPanic, "web/app", "5 of 8 members are down, more than 50 %: traffic goes to all")]
    );
    assert!(events[0].kind.is_trouble());
    let detail = serde_json::to_value(&events[0].detail).unwrap();
    assert_eq!(detail, serde_json::json!({"down": 5, "of": 8, "threshold": 50}));
    assert_eq!(look(&mut standings, 3, &[panic(7)]), [], "it goes on");
    let events = look(&mut standings, 4, &[pool(Degraded)]);
    assert_eq!(events.iter().map(|event| event.kind).collect::<Vec<_>>(), [Kind::PoolPanicOver]);
    assert_eq!(standings.since(Object::Pool, "web/app", Degraded), Some(at(1)), "its status has been the same");
}

#[test]
fn what_goes_is_forgotten_and_is_new_when_it_comes_back() {
    let mut standings = Standings::default();
    look(&mut standings, 1, &[pool(Online), member(Online, false)]);
    assert_eq!(standings.len(), 2);
    assert_eq!(look(&mut standings, 2, &[pool(Online)]), []);
    assert_eq!(standings.len(), 1);
    assert_eq!(look(&mut standings, 3, &[pool(Online), member(Error, false)]), [], "a first sight again");
    assert_eq!(standings.since(Object::Pool, "web/app", Online), Some(at(1)));
    assert_eq!(standings.since(Object::Member, "web/app/m1", Error), Some(at(3)));
    look(&mut standings, 4, &[]);
    assert!(standings.is_empty());
}

#[test]
fn when_everything_changes_at_once_pools_come_first_and_the_rest_is_counted() {
    let labels: Vec<String> = (0..10_000).map(|n| format!("web/app/m{n}")).collect();
    let show = |status| {
        let labels = &labels;
        move |see: &mut dyn FnMut(&Sighting<'_>)| {
            for label in labels {
                let object = Object::Member;
                see(&Sighting { object, label, status, reason: None, down: false, panic: None });
            }
            let object = Object::Pool;
            see(&Sighting { object, label: "web/app", status, reason: None, down: false, panic: None });
        }
    };
    let mut standings = Standings::default();
    assert_eq!(standings.look(at(1), show(Online)), []);
    let events = standings.look(at(2), show(Error));
    assert_eq!(events.len(), 1 + MAX_MEMBERS_TOLD + 1);
    assert_eq!(events[0].subject, "web/app");
    let last = events.last().unwrap();
    assert!(last.text.starts_with("9936 more changed their status at once"), "{}", last.text);
    assert_eq!(standings.len(), 10_001);
}
