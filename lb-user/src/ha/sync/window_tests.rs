#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[test]
fn what_arrives_twice_is_noticed() {
    let mut window = Window::default();
    assert_eq!(window.place(5), Place::New);
    window.mark(5);
    assert_eq!(window.place(5), Place::Seen);
    window.mark(7);
    assert_eq!(window.place(6), Place::New);
    assert_eq!((window.missing(0..SIZE), window.lost), (1, 0));
    window.mark(6);
    assert_eq!((window.place(6), window.missing(0..SIZE)), (Place::Seen, 0));
}

#[test]
fn what_was_sent_before_the_first_is_taken_and_not_missed() {
    let mut window = Window::default();
    window.mark(100);
    assert_eq!(window.place(99), Place::New);
    assert_eq!(window.missing(0..SIZE), 0);
    window.mark(100 + 2 * SIZE);
    assert_eq!(window.lost, SIZE, "101 to 100 + SIZE");
}

#[test]
fn what_is_long_overdue_counts_as_lost_and_is_taken_all_the_same() {
    let mut window = Window::default();
    window.mark(1);
    window.mark(2 + PATIENCE - 1);
    assert_eq!(window.lost(), 0, "2 may still come");
    window.mark(2 + PATIENCE);
    assert_eq!((window.lost(), window.place(2)), (1, Place::New));
    window.mark(2);
    assert_eq!(window.lost(), 0);
}

#[test]
fn the_farthest_jump_is_counted_at_once() {
    let mut window = Window::default();
    window.mark(1);
    window.mark(u64::MAX);
    assert_eq!(window.lost, u64::MAX - 1 - SIZE);
    assert_eq!(window.place(u64::MAX), Place::Seen);
    assert_eq!(window.place(1), Place::Forgotten);
}

proptest! {
    /// Against a set of all numbers that ever arrived.
    #[test]
    fn a_window_remembers_what_a_set_would(
        start in 1u64..5000,
        steps in prop::collection::vec(prop_oneof![8 => -40i64..60, 1 => -1500i64..1500], 1..400),
    ) {
        let (mut window, mut set) = (Window::default(), BTreeSet::new());
        let (mut at, mut highest) = (start, 0);
        for step in steps {
            at = at.saturating_add_signed(step).max(1);
            let expected = if highest >= SIZE && at <= highest - SIZE {
                Place::Forgotten
            } else if set.contains(&at) {
                Place::Seen
            } else {
                Place::New
            };
            prop_assert_eq!(window.place(at), expected);
            if expected == Place::New {
                window.mark(at);
                set.insert(at);
                highest = highest.max(at);
            }
        }
        let known = set.iter().filter(|number| **number > highest.saturating_sub(SIZE)).count() as u64;
        let bits: u64 = window.bits().iter().map(|word| u64::from(word.count_ones())).sum();
        prop_assert_eq!(bits, known);
        let began = window.first;
        let late = set.iter().filter(|number| **number < began).count() as u64;
        let arrived = set.len() as u64 - late;
        prop_assert_eq!(window.lost + window.missing(0..SIZE) + arrived, highest - began + 1);
    }
}
