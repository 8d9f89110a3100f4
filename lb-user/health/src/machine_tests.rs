#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use proptest::prelude::*;

use super::*;

fn pace(rise: u8, fall: u8) -> Pace {
    let second = Duration::from_secs(1);
    Pace { delay: second, timeout: second, rise, fall, damping: false }
}

/// What the machine says to each answer: `+` and `-` for a new verdict, `.` for none.
fn said(rise: u8, fall: u8, answers: &str) -> String {
    let pace = pace(rise, fall);
    let mut machine = Machine::default();
    let say = |answer| match machine.take(Duration::ZERO, &pace, answer == 'y') {
        Some(Verdict::Up) => '+',
        Some(Verdict::Down) => '-',
        None => '.',
    };
    answers.chars().map(say).collect()
}

#[test]
fn the_first_success_says_up_and_the_first_failures_need_to_be_as_many_as_ever() {
    assert_eq!(said(3, 3, "y"), "+");
    assert_eq!(said(3, 3, "nnn"), "..-");
    assert_eq!(said(3, 3, "nny"), "..+");
    assert_eq!(said(3, 3, "nnynn"), "..+..");
}

#[test]
fn only_answers_in_a_row_change_a_verdict() {
    assert_eq!(said(2, 3, "ynnynnynnn"), "+........-");
    assert_eq!(said(2, 3, "nnnynynyy"), "..-.....+");
    assert_eq!(said(1, 1, "ynyny"), "+-+-+");
}

#[test]
fn a_verdict_is_said_once() {
    assert_eq!(said(2, 2, "yyyynnnnnyyyy"), "+....-....+..");
}

#[test]
fn thresholds_of_zero_count_as_one() {
    assert_eq!(said(0, 0, "nyn"), "-+-");
}

#[test]
fn lower_thresholds_count_from_the_next_answer_on() {
    let mut machine = Machine::default();
    let mut take = |fall, answers| machine.take(Duration::ZERO, &pace(3, fall), answers);
    assert_eq!(take(5, true), Some(Verdict::Up));
    assert_eq!((take(5, false), take(5, false)), (None, None));
    assert_eq!(take(2, false), Some(Verdict::Down));
}

proptest! {
    /// The definition, read off the whole history each time.
    #[test]
    fn it_says_what_a_look_at_all_answers_says(
        rise in 1u8..=10,
        fall in 1u8..=10,
        answers in proptest::collection::vec((any::<bool>(), 1usize..12), 1..40),
    ) {
        let answers: Vec<bool> = answers.into_iter().flat_map(|(answer, times)| vec![answer; times]).collect();
        let pace = pace(rise, fall);
        let mut machine = Machine::default();
        let mut verdict = None;
        for end in 1..=answers.len() {
            let last = answers[end - 1];
            let row = answers[..end].iter().rev().take_while(|answer| **answer == last).count();
            let changed = match (verdict, last) {
                (None, true) => Some(Verdict::Up),
                (Some(Verdict::Down), true) if row >= usize::from(rise) => Some(Verdict::Up),
                (None | Some(Verdict::Up), false) if row >= usize::from(fall) => Some(Verdict::Down),
                _ => None,
            };
            verdict = changed.or(verdict);
            prop_assert_eq!(machine.take(Duration::ZERO, &pace, last), changed, "after {} answers", end);
        }
    }
}
