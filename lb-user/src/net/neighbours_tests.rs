#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use super::*;

const MAC: Mac = Mac([2, 0, 0, 0, 0, 9]);

fn place(last: u8) -> Place {
    Place { ifindex: 1, neighbour: [10, 0, 0, last].into() }
}

/// One neighbour that is kept and that the kernel was asked about.
fn one(report: Report) -> Neighbours {
    let mut neighbours = Neighbours::default();
    assert_eq!(neighbours.keep(&BTreeSet::from([place(1)])), [place(1)]);
    assert!(neighbours.hear(place(1), report, Instant::now()));
    neighbours
}

#[test]
fn only_kept_places_are_heard_of_and_only_new_ones_are_reported_as_new() {
    let mut neighbours = one(Report::Fresh(MAC));
    assert!(!neighbours.hear(place(2), Report::Fresh(MAC), Instant::now()));
    assert_eq!(neighbours.keep(&BTreeSet::from([place(1), place(3)])), [place(3)]);
    assert_eq!(neighbours.places(), [place(1), place(3)]);
    assert_eq!(neighbours.keep(&BTreeSet::from([place(3)])), []);
    assert_eq!(neighbours.knowledge(place(1)), Knowledge::Asking);
}

#[test]
fn silence_lasts_until_an_address_is_heard_so_that_the_reason_does_not_flicker() {
    let mut neighbours = one(Report::Unknown);
    assert_eq!(neighbours.knowledge(place(1)), Knowledge::Asking);
    let start = Instant::now();
    // The kernel asks in vain, again and again, and clears up once.
    for (seconds, report) in
        (0..).zip([Report::Failed, Report::Unknown, Report::Failed, Report::Removed, Report::Unknown])
    {
        neighbours.hear(place(1), report, start + Duration::from_secs(seconds));
        assert_eq!(neighbours.knowledge(place(1)), Knowledge::Silent, "{report:?}");
    }
    neighbours.hear(place(1), Report::Fresh(MAC), start);
    assert_eq!(neighbours.knowledge(place(1)), Knowledge::Address(MAC));
    neighbours.hear(place(1), Report::Unknown, start);
    assert_eq!(neighbours.knowledge(place(1)), Knowledge::Asking);
}

#[test]
fn an_entry_that_fails_only_because_it_is_removed_is_not_silence() {
    let (mut neighbours, now) = (one(Report::Fresh(MAC)), Instant::now());
    neighbours.hear(place(1), Report::Failed, now);
    neighbours.hear(place(1), Report::Removed, now);
    assert_eq!(neighbours.knowledge(place(1)), Knowledge::Asking);
    assert_eq!(neighbours.take_due(now), [place(1)]);
}

#[test]
fn an_unknown_neighbour_is_asked_once_a_second_and_an_old_one_every_five() {
    for (report, pause) in [
        (Report::Unknown, Duration::from_secs(1)),
        (Report::Failed, Duration::from_secs(1)),
        (Report::Stale(MAC), Duration::from_secs(5)),
    ] {
        let mut neighbours = one(report);
        let start = Instant::now();
        let asked: Vec<_> = (0..120u32)
            .map(|tenth| start + tenth * Duration::from_millis(100))
            .filter(|now| {
                // Hearing the same again is no reason to ask again.
                neighbours.hear(place(1), report, Instant::now());
                !neighbours.take_due(*now).is_empty()
            })
            .collect();
        let expected: Vec<_> =
            (0..).map(|n| start + n * pause).take_while(|at| *at < start + Duration::from_secs(12)).collect();
        assert_eq!(asked, expected, "{report:?}");
    }
}

#[test]
fn nobody_is_asked_whom_the_kernel_looks_after_or_of_whom_it_said_nothing_yet() {
    for report in [Report::Fresh(MAC), Report::Fixed(MAC)] {
        assert_eq!(one(report).take_due(Instant::now()), [], "{report:?}");
    }
    // It could be a permanent entry, which asking would undo.
    let mut neighbours = Neighbours::default();
    neighbours.keep(&BTreeSet::from([place(1)]));
    assert_eq!(neighbours.take_due(Instant::now()), []);
}

#[test]
fn a_dead_network_is_asked_in_turns() {
    let places: BTreeSet<_> = (0..u32::try_from(MAX_ASKED).unwrap() * 2 + 1)
        .map(|n| Place { ifindex: 1, neighbour: std::net::Ipv4Addr::from(n).into() })
        .collect();
    let mut neighbours = Neighbours::default();
    for place in neighbours.keep(&places) {
        neighbours.hear(place, Report::Failed, Instant::now());
    }
    let start = Instant::now();
    let mut asked = BTreeSet::new();
    for second in 0..3 {
        let turn = neighbours.take_due(start + second * ASK_UNKNOWN);
        assert!(turn.len() <= MAX_ASKED);
        asked.extend(turn);
    }
    assert_eq!(asked, places);
}
