#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, net::Ipv4Addr};

use proptest::prelude::*;

use super::*;
use crate::{
    machine::Verdict,
    outcome::Answer,
    question::{Delivery, Handshake, Kind},
};

const SECOND: Duration = Duration::from_secs(1);

fn good() -> Outcome {
    Outcome::Answers(Answer::Accepts)
}

fn bad() -> Outcome {
    Outcome::Fails(Failure::Kernel(libc::ECONNREFUSED))
}

fn address(id: u32) -> IpAddr {
    Ipv4Addr::from(0x0a00_0000 | id).into()
}

fn target(id: u32) -> Target {
    let to = (address(id), 80).into();
    Target {
        id: TargetId(id),
        member: address(id),
        question: Question { kind: Kind::Tcp(Handshake::Half), to, delivery: Delivery::Routed },
        pace: Pace { delay: SECOND, timeout: SECOND, rise: 2, fall: 3, damping: true },
        place: id.wrapping_mul(0x9e37_79b9),
    }
}

/// A roster and its clock.
struct Scene {
    roster: Roster,
    clock: Duration,
    origin: Instant,
}

impl Scene {
    fn new(targets: impl IntoIterator<Item = Target>) -> Self {
        let mut roster = Roster::default();
        assert_eq!(roster.set(Duration::ZERO, targets.into_iter().collect()), []);
        Self { roster, clock: Duration::ZERO, origin: Instant::now() }
    }

    fn now(&self) -> Now {
        Now { since_epoch: self.clock, instant: self.origin + self.clock, wall: SystemTime::UNIX_EPOCH + self.clock }
    }

    /// Goes to when somebody is due.
    fn next_start(&mut self) -> Start {
        self.clock = self.roster.next_due().unwrap();
        self.roster.start_due(self.clock).unwrap()
    }

    /// Asks one member once, which takes a millisecond.
    fn ask(&mut self, outcome: Outcome) -> Vec<(u32, Verdict)> {
        let start = self.next_start();
        self.clock += Duration::from_millis(1);
        self.roster.end(self.now(), start.ticket, outcome);
        self.found()
    }

    fn found(&mut self) -> Vec<(u32, Verdict)> {
        self.roster.take_findings().into_iter().map(|finding| (finding.id.0, finding.verdict)).collect()
    }
}

#[test]
fn a_member_that_fails_and_recovers_is_found_out_and_what_it_met_is_kept() {
    let mut scene = Scene::new([target(1)]);
    assert_eq!(scene.ask(good()), [(1, Verdict::Up)]);
    assert_eq!([scene.ask(bad()), scene.ask(bad())].concat(), []);
    assert_eq!(scene.ask(bad()), [(1, Verdict::Down)]);
    assert_eq!(scene.ask(good()), []);
    assert_eq!(scene.ask(good()), [(1, Verdict::Up)]);

    let record = scene.roster.record(TargetId(1)).unwrap();
    assert_eq!((record.probes, record.failures, record.against, record.needed), (6, 3, 0, 3));
    assert_eq!(record.verdict, Some(Verdict::Up));
    let verdicts: Vec<_> = record.transitions.iter().map(|t| (t.verdict, t.outcome.clone())).collect();
    assert_eq!(verdicts, [(Verdict::Up, good()), (Verdict::Down, bad()), (Verdict::Up, good())]);
    assert_eq!(record.last().unwrap().took, Duration::from_millis(1));
    let times: Vec<_> = record.results.iter().map(|result| result.at).collect();
    assert!(times.is_sorted_by(|one, other| one > other), "newest first: {times:?}");
}

#[test]
fn what_is_kept_of_a_member_is_bounded() {
    let mut scene =
        Scene::new([Target { pace: Pace { rise: 1, fall: 1, damping: false, ..target(1).pace }, ..target(1) }]);
    for n in 0..200 {
        scene.ask(if n % 2 == 0 { good() } else { bad() });
    }
    let record = scene.roster.record(TargetId(1)).unwrap();
    assert_eq!((record.results.len(), record.transitions.len()), (RESULTS, TRANSITIONS));
    assert!(scene.roster.members[0].as_ref().unwrap().results.capacity() <= RESULTS + 1);
}

#[test]
fn a_member_asked_otherwise_starts_over_and_the_probe_under_way_counts_for_nothing() {
    let mut scene = Scene::new([target(1)]);
    for _ in 0..3 {
        scene.ask(bad());
    }
    let start = scene.next_start();
    let elsewhere = Question { to: (address(1), 81).into(), ..target(1).question };
    let abandoned = scene.roster.set(scene.clock, vec![Target { question: elsewhere, ..target(1) }]);
    assert_eq!(abandoned, [start.ticket.slot]);
    assert_eq!(scene.roster.workload().in_flight, 0);
    scene.roster.end(scene.now(), start.ticket, bad());
    assert_eq!(scene.roster.record(TargetId(1)).unwrap().probes, 0);
    assert_eq!(scene.ask(good()), [(1, Verdict::Up)], "one success is enough, although it was down");
}

#[test]
fn another_pace_keeps_the_verdict_and_what_it_waits_for() {
    let hour = Duration::from_secs(3600);
    let slow = Target { pace: Pace { delay: hour, ..target(1).pace }, ..target(1) };
    let mut scene = Scene::new([slow]);
    assert_eq!(scene.ask(good()), [(1, Verdict::Up)]);
    assert!(scene.roster.next_due().unwrap() > scene.clock + SECOND);
    let quick = Target { pace: Pace { fall: 1, ..target(1).pace }, ..target(1) };
    assert_eq!(scene.roster.set(scene.clock, vec![quick]), []);
    assert!(scene.roster.next_due().unwrap() <= scene.clock + 2 * SECOND, "an hour is not waited for");
    assert_eq!(scene.ask(bad()), [(1, Verdict::Down)]);
}

#[test]
fn a_member_that_is_gone_is_forgotten_and_its_place_serves_another() {
    let mut scene = Scene::new([target(1), target(2)]);
    let start = scene.next_start();
    let gone = if start.ticket.slot == scene.roster.slots[&TargetId(1)] { 1 } else { 2 };
    assert_eq!(scene.roster.set(scene.clock, vec![target(3 - gone)]), [start.ticket.slot]);
    assert_eq!(scene.roster.record(TargetId(gone)), None);
    scene.roster.set(scene.clock, vec![target(3 - gone), target(7)]);
    assert_eq!(scene.roster.slots[&TargetId(7)], start.ticket.slot);
    let seventh = std::iter::repeat_with(|| scene.next_start()).find(|s| s.ticket.slot == start.ticket.slot).unwrap();
    // What was asked of the first one says nothing about the new one.
    scene.roster.end(scene.now(), start.ticket, bad());
    assert_eq!(scene.roster.ticket(seventh.ticket.slot), Some(seventh.ticket));
    assert_eq!(scene.roster.members.len(), 2);
}

#[test]
fn of_each_member_the_latest_finding_waits() {
    let mut scene = Scene::new([Target { pace: Pace { rise: 1, fall: 1, ..target(1).pace }, ..target(1) }]);
    for outcome in [good(), bad(), good(), bad()] {
        let start = scene.next_start();
        scene.roster.end(scene.now(), start.ticket, outcome);
    }
    assert!(scene.roster.has_findings());
    assert_eq!(scene.found(), [(1, Verdict::Down)]);
    assert!(!scene.roster.has_findings());
}

#[test]
fn what_is_not_asked_changes_no_verdict_and_is_counted() {
    let mut scene = Scene::new([target(1)]);
    scene.ask(good());
    for _ in 0..10 {
        assert_eq!(scene.ask(Outcome::NotAsked("no descriptors".into())), []);
    }
    let record = scene.roster.record(TargetId(1)).unwrap();
    assert_eq!((record.verdict, record.probes), (Some(Verdict::Up), 1));
    assert_eq!(record.last().unwrap().outcome.to_string(), "not probed: no descriptors");
    assert_eq!(scene.roster.workload().not_asked, 10);
}

#[test]
fn an_address_out_of_reach_fails_its_member_with_the_reason_after_a_while() {
    let mut scene = Scene::new([Target { pace: Pace { fall: 1, ..target(1).pace }, ..target(1) }]);
    let missing = || BTreeMap::from([(address(1), Arc::from("10.0.0.9 does not answer"))]);
    assert_eq!(scene.ask(good()), [(1, Verdict::Up)]);
    scene.roster.set_unreachable(scene.clock, missing());
    let since = scene.clock;
    let mut said = Vec::new();
    while scene.clock < since + GRACE {
        // Told again, it is out of reach since then all the same.
        scene.roster.set_unreachable(scene.clock, missing());
        assert_eq!(said, [], "too early");
        said = scene.ask(good());
    }
    assert_eq!(said, [(1, Verdict::Down)]);
    let text = scene.roster.record(TargetId(1)).unwrap().last().unwrap().outcome.to_string();
    assert_eq!(text, "frames cannot reach it: 10.0.0.9 does not answer");
    scene.roster.set_unreachable(scene.clock, BTreeMap::new());
    assert_eq!([scene.ask(good()), scene.ask(good())].concat(), [(1, Verdict::Up)]);
}

#[test]
fn who_is_out_of_reach_and_silent_is_silent_for_that_reason_from_the_first_probe_on() {
    let pace = Pace { fall: 1, ..target(1).pace };
    for failure in [
        Failure::Timeout { patience: SECOND, missing: "SYN-ACK" },
        Failure::Kernel(libc::EHOSTUNREACH),
        Failure::Kernel(libc::ENETUNREACH),
    ] {
        let mut scene = Scene::new([Target { pace, ..target(1) }]);
        let missing = BTreeMap::from([(address(1), Arc::from("10.0.0.9 does not answer"))]);
        scene.roster.set_unreachable(scene.clock, missing);
        assert_eq!(scene.ask(Outcome::Fails(failure)), [(1, Verdict::Down)]);
        let record = scene.roster.record(TargetId(1)).unwrap();
        assert_eq!(record.transitions[0].outcome.to_string(), "frames cannot reach it: 10.0.0.9 does not answer");
        // Who says no was reached.
        scene.ask(Outcome::Fails(Failure::Kernel(libc::ECONNREFUSED)));
        let record = scene.roster.record(TargetId(1)).unwrap();
        assert_eq!(record.last().unwrap().outcome.to_string(), "connection refused");
    }
}

#[test]
fn no_more_probes_are_under_way_than_there_may_be_and_the_others_come_in_turn() {
    let count = MAX_IN_FLIGHT as u32 + 50;
    let mut scene = Scene::new((0..count).map(target));
    scene.clock = 2 * SECOND;
    let mut under_way: VecDeque<_> = std::iter::from_fn(|| scene.roster.start_due(scene.clock)).collect();
    assert_eq!(under_way.len(), MAX_IN_FLIGHT);
    assert_eq!(scene.roster.next_due(), None, "whoever is due waits for an end, not for a moment");
    let mut asked: BTreeSet<_> = under_way.iter().map(|start| start.ticket.slot).collect();
    for _ in 0..50 {
        let ended = under_way.pop_front().unwrap();
        scene.roster.end(scene.now(), ended.ticket, good());
        let start = scene.roster.start_due(scene.clock).unwrap();
        assert!(asked.insert(start.ticket.slot), "those that wait come before those that were asked");
    }
    assert_eq!(scene.roster.workload().most_in_flight, MAX_IN_FLIGHT);
    assert!(scene.roster.workload().lateness.late > 0);
}

#[test]
fn reloads_leave_no_heap_of_plans_behind() {
    let mut scene = Scene::new((0..10).map(target));
    for n in 0..1000 {
        let pace = Pace { delay: SECOND * (3000 + n), ..target(0).pace };
        scene.roster.set(scene.clock, (0..10).map(|id| Target { pace, ..target(id) }).collect());
    }
    assert!(scene.roster.plan.len() <= 2 * 10 + 64);
}

/// What happens to a roster.
#[derive(Clone, Debug)]
enum Step {
    /// These members, asked at that port, every so many tenths of a second.
    Set { members: BTreeSet<u32>, port: u16, delay: u64 },
    /// Time passes (milliseconds) and whoever is due is asked.
    Pass(u64),
    /// One of the probes under way ends.
    End { which: usize, answers: bool },
    /// Somebody is out of reach, or nobody.
    Unreachable(Option<u32>),
}

fn step() -> impl Strategy<Value = Step> {
    let set = (proptest::collection::btree_set(0u32..12, 0..12), 80u16..82, 1u64..30);
    prop_oneof![
        1 => set.prop_map(|(members, port, delay)| Step::Set { members, port, delay }),
        4 => (0u64..2000).prop_map(Step::Pass),
        6 => (any::<usize>(), any::<bool>()).prop_map(|(which, answers)| Step::End { which, answers }),
        1 => proptest::option::of(0u32..12).prop_map(Step::Unreachable),
    ]
}

proptest! {
    /// Whatever happens, no member has two probes under way, numbers add up, nobody is
    /// forgotten, and nothing is found about those that are gone.
    #[test]
    fn everybody_is_asked_in_turn_and_never_twice_at_once(steps in proptest::collection::vec(step(), 1..120)) {
        let mut scene = Scene::new([]);
        let mut present = BTreeSet::new();
        let mut under_way: Vec<Start> = Vec::new();
        for step in steps {
            match step {
                Step::Set { members, port, delay } => {
                    let target = |id: &u32| {
                        let question = Question { to: (address(*id), port).into(), ..target(*id).question };
                        let pace = Pace { delay: Duration::from_millis(100 * delay), ..target(*id).pace };
                        Target { question, pace, ..target(*id) }
                    };
                    let abandoned = scene.roster.set(scene.clock, members.iter().map(target).collect());
                    under_way.retain(|start| !abandoned.contains(&start.ticket.slot));
                    present = members;
                }
                Step::Pass(milliseconds) => {
                    scene.clock += Duration::from_millis(milliseconds);
                    while let Some(start) = scene.roster.start_due(scene.clock) {
                        let twice = under_way.iter().any(|other| other.ticket.slot == start.ticket.slot);
                        prop_assert!(!twice, "asked while it is asked");
                        under_way.push(start);
                    }
                }
                Step::End { which, answers } if !under_way.is_empty() => {
                    let start = under_way.swap_remove(which % under_way.len());
                    scene.roster.end(scene.now(), start.ticket, if answers { good() } else { bad() });
                }
                Step::End { .. } => {}
                Step::Unreachable(who) => {
                    let addresses = who.into_iter().map(|id| (address(id), Arc::from("gone"))).collect();
                    scene.roster.set_unreachable(scene.clock, addresses);
                }
            }
            prop_assert_eq!(scene.roster.workload().in_flight, under_way.len());
            prop_assert_eq!(scene.roster.workload().members, present.len());
            let asked: BTreeSet<_> = under_way.iter().map(|start| start.ticket.slot).collect();
            let records = scene.roster.records();
            prop_assert_eq!(records.keys().map(|id| id.0).collect::<BTreeSet<_>>(), present.clone());
            for (id, record) in records {
                prop_assert_eq!(record.asking, asked.contains(&scene.roster.slots[&id]));
            }
            for (id, _) in scene.found() {
                prop_assert!(present.contains(&id), "found about one that is gone");
            }
            // Whoever is not asked has a plan.
            let idle = present.len() - under_way.len();
            prop_assert_eq!(idle > 0, scene.roster.next_due().is_some());
        }
    }
}
