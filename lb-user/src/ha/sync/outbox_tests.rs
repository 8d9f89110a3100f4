#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use super::*;
use crate::ha::sync::{rehearsal::flow, window::Window};

const MS: Duration = Duration::from_millis(1);

fn send(outbox: &mut Outbox, now: Duration, sequence: u64) -> Option<Parcel> {
    let parcel = outbox.next(now)?;
    outbox.sent(now, sequence, parcel.clone());
    Some(parcel)
}

fn report(sequences: impl IntoIterator<Item = u64>) -> Arrived {
    let mut window = Window::default();
    sequences.into_iter().for_each(|sequence| window.mark(sequence));
    Arrived::of(&window)
}

#[test]
fn what_was_lost_goes_first_then_changes_then_the_pass() {
    let mut outbox = Outbox::default();
    let second = Duration::from_secs(1);
    outbox.push_bulk(Shared::Flow(flow(1)));
    outbox.push_live(second, Shared::Flow(flow(2)));
    outbox.begin_pass(1);
    assert_eq!(send(&mut outbox, second, 1).unwrap().kind, Kind::Live);
    outbox.push_live(second, Shared::Flow(flow(3)));
    outbox.arrived(&report(40..60));
    let again = send(&mut outbox, second, 2).unwrap();
    assert_eq!((again.kind, again.tries, again.flows), (Kind::Live, 1, 1));
    assert_eq!(send(&mut outbox, second, 3).unwrap().kind, Kind::Live);
    let bulk = send(&mut outbox, second, 4).unwrap();
    let records: Vec<_> = record::read(&bulk.body).collect();
    assert_eq!(records, [record::Record::PassBegins { pass: 1 }, record::Record::Flow(flow(1))]);
    assert_eq!(outbox.next(second), None);
}

#[test]
fn a_little_disorder_is_no_loss() {
    let mut outbox = Outbox::default();
    outbox.push_live(MS, Shared::Flow(flow(1)));
    send(&mut outbox, MS, 10);
    outbox.arrived(&report([9, 10 + REORDER - 1]));
    assert_eq!((outbox.losses.missed, outbox.under_way()), (0, 1));
    outbox.arrived(&report([9, 10 + REORDER]));
    assert_eq!(outbox.losses.missed, 1);
}

#[test]
fn silence_is_waited_for_longer_each_time_and_then_given_up() {
    let mut outbox = Outbox::default();
    outbox.push_live(Duration::ZERO, Shared::Flow(flow(1)));
    let (mut sequence, mut sent_at) = (0, Vec::new());
    let mut given_up = None;
    for now in (0..10_000).map(|n| n * MS) {
        if outbox.find_overdue(now) {
            given_up = Some(now);
        }
        sequence += 1;
        if send(&mut outbox, now, sequence).is_some() {
            sent_at.push(now.as_millis());
        }
    }
    assert_eq!(sent_at, [0, 100, 300, 700, 1500]);
    assert_eq!(given_up, Some(3100 * MS));
    assert_eq!((outbox.losses.missed, outbox.losses.resent, outbox.losses.given_up), (5, 4, 1));
    assert_eq!((outbox.under_way(), outbox.lag(Duration::from_secs(9))), (0, Duration::ZERO));
}

#[test]
fn a_pass_leaves_room_for_changes_and_is_sent_in_measure() {
    let mut outbox = Outbox::default();
    let mut sequence = 0;
    let mut at_once = 0;
    for now in (1000..2000).map(|n| n * MS) {
        (0..outbox.bulk_room() as u32).for_each(|n| outbox.push_bulk(Shared::Flow(flow(n))));
        let before = sequence;
        while send(&mut outbox, now, sequence + 1).is_some() {
            sequence += 1;
        }
        at_once = at_once.max(sequence - before);
        // The other one is slow and tells nothing for the first hundred.
        if now > 1100 * MS {
            outbox.arrived(&report(1..=sequence));
        } else {
            assert!(outbox.under_way() <= BULK_FLIGHT);
        }
    }
    assert!((at_once as f64 - BULK_BURST).abs() < 1.0, "{at_once}");
    assert!((10_000..13_000).contains(&sequence), "{sequence}");
    outbox.push_live(Duration::from_secs(2), Shared::Flow(flow(1)));
    assert_eq!(outbox.next(Duration::from_secs(2)).unwrap().kind, Kind::Live);
}

#[test]
fn the_pass_has_arrived_when_all_of_it_has() {
    let mut outbox = Outbox::default();
    let second = Duration::from_secs(1);
    outbox.begin_pass(1);
    assert!(!outbox.pass_has_arrived());
    outbox.push_bulk(Shared::Flow(flow(1)));
    send(&mut outbox, second, 1);
    assert!(!outbox.pass_has_arrived(), "it is under way");
    outbox.arrived(&report(100..140));
    assert!(!outbox.pass_has_arrived(), "it waits to be sent again");
    send(&mut outbox, second, 2);
    outbox.arrived(&report([2]));
    assert!(outbox.pass_has_arrived());
    outbox.end_pass(1, 1, 2);
    assert!(!outbox.pass_has_arrived());
    let end = send(&mut outbox, second, 3).unwrap();
    let records: Vec<_> = record::read(&end.body).collect();
    assert_eq!(records, [record::Record::PassEnds { pass: 1, flows: 1, placements: 2 }]);
}

#[test]
fn full_queues_drop_and_count() {
    let mut outbox = Outbox::default();
    (0..LIVE_FLOWS as u32 + 3).for_each(|n| outbox.push_live(MS, Shared::Flow(flow(n))));
    (0..BULK_FLOWS as u32 + 4).for_each(|n| outbox.push_bulk(Shared::Flow(flow(n))));
    assert_eq!((outbox.losses.dropped, outbox.waiting()), (7, LIVE_FLOWS + BULK_FLOWS));
    outbox.clear();
    assert_eq!((outbox.losses.dropped, outbox.waiting()), (7, 0));
}
