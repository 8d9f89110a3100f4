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

/// A member that is asked every second, and what it says.
struct Flapping {
    machine: Machine,
    now: Duration,
    pace: Pace,
}

impl Flapping {
    fn new(rise: u8, fall: u8) -> Self {
        Self { machine: Machine::default(), now: Duration::ZERO, pace: Pace { damping: true, ..pace(rise, fall) } }
    }

    fn take(&mut self, answers: bool) -> Option<Verdict> {
        self.now += self.pace.delay;
        self.machine.take(self.now, &self.pace, answers)
    }

    /// Answers of one kind until the verdict is another one, and how many that took.
    fn until(&mut self, verdict: Verdict) -> u32 {
        (1..).find(|_| self.take(verdict == Verdict::Up) == Some(verdict)).unwrap()
    }

    fn stay_up(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            assert_eq!(self.take(true), None);
        }
    }
}

#[test]
fn a_member_that_flaps_needs_twice_as_many_successes_each_time_and_goes_down_as_fast_as_ever() {
    let mut member = Flapping::new(2, 3);
    member.until(Verdict::Up);
    let rounds: Vec<_> = (0..8).map(|_| (member.until(Verdict::Down), member.until(Verdict::Up))).collect();
    // The first time it goes down it had not come up before: that is no flapping.
    let expected = [(3, 2), (3, 4), (3, 8), (3, 16), (3, 32), (3, 64), (3, 64), (3, 64)];
    assert_eq!(rounds, expected);
    assert_eq!(member.machine.damping(), MAX_DAMPING);
}

#[test]
fn a_member_that_stays_up_is_forgiven_step_by_step() {
    let mut member = Flapping::new(1, 1);
    member.until(Verdict::Up);
    for _ in 0..4 {
        member.until(Verdict::Down);
        member.until(Verdict::Up);
    }
    assert_eq!(member.machine.damping(), 3);
    let quiet = member.pace.quiet_period();
    let mut left = Vec::new();
    for _ in 0..4 {
        member.stay_up(quiet);
        left.push(member.machine.damping());
    }
    assert_eq!(left, [2, 1, 0, 0]);
    // Steady for long: when it goes down now, that is no flapping either.
    assert_eq!((member.until(Verdict::Down), member.until(Verdict::Up)), (1, 1));
}

#[test]
fn one_quiet_period_up_is_no_flapping_and_a_shorter_one_is() {
    for (up, needed) in [(58, 2), (62, 1)] {
        let mut member = Flapping::new(1, 1);
        member.until(Verdict::Up);
        member.until(Verdict::Down);
        member.until(Verdict::Up);
        member.stay_up(Duration::from_secs(up));
        member.until(Verdict::Down);
        assert_eq!(member.until(Verdict::Up), needed, "after {up} s");
    }
}

#[test]
fn quiet_is_reckoned_in_probes_where_they_are_rare() {
    let rare = Pace { delay: Duration::from_secs(30), ..pace(1, 1) };
    assert_eq!((pace(1, 1).quiet_period(), rare.quiet_period()), (Duration::from_secs(60), Duration::from_secs(600)));
}

#[test]
fn without_damping_nothing_grows_and_switching_it_off_forgives_at_once() {
    let mut member = Flapping::new(2, 1);
    member.until(Verdict::Up);
    for _ in 0..3 {
        member.until(Verdict::Down);
        member.until(Verdict::Up);
    }
    member.until(Verdict::Down);
    assert_eq!(member.machine.needed(&member.pace), 16);
    member.pace.damping = false;
    assert_eq!(member.machine.needed(&member.pace), 2);
    assert_eq!(member.until(Verdict::Up), 2);
    member.pace.damping = true;
    assert_eq!(member.machine.damping(), 0);
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

    /// Damping delays coming up, by a bounded number of answers, and nothing else.
    #[test]
    fn damping_only_delays_coming_up(
        rise in 1u8..=10,
        fall in 1u8..=10,
        answers in proptest::collection::vec((any::<bool>(), 1usize..40), 1..40),
    ) {
        let mut damped = Flapping::new(rise, fall);
        let mut row = 0u16;
        let mut last = None;
        for answer in answers.into_iter().flat_map(|(answer, times)| vec![answer; times]) {
            row = if last == Some(answer) { row + 1 } else { 1 };
            last = Some(answer);
            let before = damped.machine.verdict();
            let said = damped.take(answer);
            match said {
                Some(Verdict::Down) => prop_assert!(row >= u16::from(fall)),
                Some(Verdict::Up) if before.is_some() => prop_assert!(row >= u16::from(rise)),
                Some(Verdict::Up) => {}
                None if before == Some(Verdict::Down) => {
                    prop_assert!(!answer || row < u16::from(rise) << MAX_DAMPING);
                }
                None => prop_assert!(answer || row < u16::from(fall)),
            }
        }
    }
}
