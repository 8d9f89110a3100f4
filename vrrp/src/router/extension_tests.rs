//! What a router does beyond the RFC: it gives up nothing before another has
//! it, ends conflicts in the open, and comes back from the dead.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use super::table::{Bench, DOWN, HANDOVER, SECOND, SKEW, advert_from, config, moved, other_active, send};
use super::*;
use crate::packet::AdvertNotes;

use State::{Active, Backup, Initialize};

fn passive() -> RouterConfig {
    RouterConfig { preempt: false, ..config() }
}

#[test]
fn a_stopped_active_carries_until_another_is_heard() {
    let mut bench = Bench::active(config());
    assert_eq!(bench.give(Input::Shutdown), [send(0), moved(Active, Initialize, Reason::Shutdown)]);
    assert!(bench.router.is_carrying());
    bench.pass(SECOND / 10);
    assert_eq!(bench.hear(advert_from(9, 0)), [], "one that leaves too takes nothing over");
    assert_eq!(bench.hear(advert_from(1, 90)), [Action::SetActive(false), Action::Finished]);
    assert_eq!((bench.router.is_carrying(), bench.router.deadline()), (false, None));
}

#[test]
fn a_stopped_active_that_hears_nobody_waits_as_long_as_the_slowest_backup_needs() {
    let mut bench = Bench::active(config());
    bench.give(Input::Shutdown);
    assert_eq!(bench.left(), Some(HANDOVER));
    bench.pass(HANDOVER - Duration::from_micros(1));
    assert_eq!(bench.give(Input::Timeout), []);
    let given_up = [Action::SetActive(false), Action::Noticed(Anomaly::NobodyTookOver), Action::Finished];
    assert_eq!(bench.run_out(), given_up);
    assert_eq!(bench.give(Input::Shutdown), [Action::Finished], "again");
}

#[test]
fn a_start_during_the_handover_listens_and_goes_on_carrying() {
    let mut bench = Bench::active(config());
    bench.give(Input::Shutdown);
    assert_eq!(bench.give(Input::Startup), [moved(Initialize, Backup, Reason::Startup)]);
    assert!(bench.router.is_carrying());
    assert_eq!(bench.left(), Some(DOWN), "the handover has ended");
    assert_eq!(bench.hear(advert_from(9, 200)), [Action::SetActive(false)], "and Finished is not told");
}

#[test]
fn a_fault_hands_over_like_a_stop_and_its_end_is_like_a_start() {
    let mut bench = Bench::active(config());
    bench.give(Input::Fault(true));
    assert!(bench.router.is_carrying());
    assert_eq!(bench.hear(advert_from(9, 90)), [Action::SetActive(false)]);
    assert_eq!(bench.give(Input::Startup), [], "it is started, and has its fault");
    assert_eq!(bench.give(Input::Fault(false)), [moved(Initialize, Backup, Reason::FaultOver)]);
    assert_eq!(bench.left(), Some(DOWN));
}

#[test]
fn a_stop_during_the_handover_of_a_fault_finishes_with_it() {
    let mut bench = Bench::active(config());
    bench.give(Input::Fault(true));
    assert_eq!(bench.give(Input::Shutdown), []);
    assert_eq!(bench.hear(advert_from(9, 90)), [Action::SetActive(false), Action::Finished]);
}

#[test]
fn a_router_started_with_a_fault_waits_for_its_end() {
    let mut bench = Bench::new(config());
    assert_eq!(bench.give(Input::Fault(true)), []);
    assert_eq!(bench.give(Input::Startup), []);
    assert_eq!(bench.give(Input::Fault(false)), [moved(Initialize, Backup, Reason::FaultOver)]);
}

#[test]
fn a_paused_router_stays_out_whatever_else_happens_until_it_is_resumed() {
    let mut bench = Bench::active(config());
    assert_eq!(bench.give(Input::Pause), [send(0), moved(Active, Initialize, Reason::Paused)]);
    assert_eq!(bench.hear(advert_from(9, 90)), [Action::SetActive(false)]);
    for input in [Input::Fault(true), Input::Fault(false), Input::Startup, Input::Pause, Input::Timeout] {
        assert_eq!(bench.give(input), []);
    }
    assert!(bench.router.facts().paused);
    assert_eq!(bench.give(Input::Resumed), [moved(Initialize, Backup, Reason::Unpaused)]);
}

#[test]
fn after_a_failover_the_other_is_let_be_until_it_falls_silent() {
    let mut bench = Bench::active(config());
    assert_eq!(bench.give(Input::Failover), [send(0), moved(Active, Backup, Reason::Failover)]);
    assert!(bench.router.is_carrying());
    bench.pass(SKEW);
    assert_eq!(bench.hear(advert_from(9, 90)), [Action::SetActive(false)]);
    for _ in 0..10 {
        bench.pass(SECOND);
        assert_eq!(bench.hear(advert_from(9, 90)), [], "it would have preempted by now");
        assert_eq!(bench.left(), Some(DOWN));
    }
    assert!(bench.router.facts().yielded);
    assert_eq!(bench.run_out()[3], moved(Backup, Active, Reason::Silence));
    assert!(!bench.router.facts().yielded, "once");
}

#[test]
fn after_a_failover_resumed_brings_preemption_back() {
    let mut bench = Bench::active(config());
    bench.give(Input::Failover);
    bench.hear(advert_from(9, 90));
    assert_eq!(bench.give(Input::Resumed), []);
    for _ in 0..3 {
        bench.pass(SECOND);
        bench.hear(advert_from(9, 90));
    }
    assert_eq!(bench.run_out()[3], moved(Backup, Active, Reason::Preempted));
}

#[test]
fn a_failover_to_nobody_costs_nothing() {
    let mut bench = Bench::active(config());
    bench.give(Input::Failover);
    bench.pass(DOWN - Duration::from_micros(1));
    assert_eq!(bench.give(Input::Timeout), []);
    assert!(bench.router.is_carrying());
    let back = [send(100), Action::SetActive(true), Action::Announce, moved(Backup, Active, Reason::Silence)];
    assert_eq!(bench.run_out(), back);
}

#[test]
fn an_owner_that_was_moved_away_stays_away_even_over_a_fault() {
    let mut bench = Bench::new(RouterConfig { priority: Priority::OWNER, ..config() });
    bench.give(Input::Startup);
    bench.give(Input::Failover);
    bench.give(Input::Fault(true));
    assert_eq!(bench.give(Input::Fault(false)), [moved(Initialize, Backup, Reason::FaultOver)]);
    assert_eq!(bench.hear(advert_from(9, 90)), [Action::SetActive(false)]);
    assert_eq!(bench.left(), Some(Duration::from_micros(3_003_906)), "it is heard, not discarded");
}

#[test]
fn the_loser_of_a_conflict_speaks_once_more_and_the_winner_announces_again() {
    let mut winner = Bench::active(config());
    let mut loser = Bench::active(RouterConfig { priority: Priority::new(90).unwrap(), ..config() });
    let last_word = loser.hear(advert_from(2, 100));
    assert_eq!(last_word[..2], [send(90), Action::SetActive(false)]);
    winner.pass(SECOND / 2);
    assert_eq!(winner.hear(advert_from(9, 90)), [send(100), Action::Announce, other_active(9, 90)]);
    assert_eq!(winner.run_out(), [Action::Announce], "once more, after the loser's last frames");
    assert_eq!(winner.run_out(), [send(100)], "and then all is as before");
}

#[test]
fn a_flood_of_lower_adverts_neither_floods_the_wire_nor_starves_the_beat() {
    for priority in [0, 99] {
        let mut bench = Bench::active(config());
        let began = bench.now;
        let (mut sent, mut announced, mut noticed) = (0, 0, 0);
        while bench.now.since(began) < SECOND {
            bench.pass(Duration::from_micros(50));
            let actions = bench.hear(advert_from(9, priority));
            for action in actions.into_iter().chain(bench.give(Input::Timeout)) {
                match action {
                    Action::Send { priority: 100 } => sent += 1,
                    Action::Announce => announced += 1,
                    Action::Noticed(_) => noticed += 1,
                    other => panic!("{other:?}"),
                }
            }
        }
        assert!((90..=101).contains(&sent), "{sent} adverts for 20 000");
        assert!((9..=11).contains(&announced), "{announced}");
        assert_eq!(noticed, 1);
        assert_eq!(bench.router.state(), Active);
    }
}

#[test]
fn a_flood_of_leaving_adverts_does_not_hold_a_backup_off() {
    let mut bench = Bench::backup(config());
    let began = bench.now;
    while bench.router.state() == Backup {
        bench.pass(SECOND / 100);
        bench.hear(advert_from(9, 0));
        bench.give(Input::Timeout);
        assert!(bench.now.since(began) < SKEW + SECOND / 50);
    }
}

#[test]
fn a_flood_of_oddities_is_a_line_a_minute_for_each_kind() {
    let mut bench = Bench::backup(config());
    let mut lines = 0;
    for n in 0..600 {
        bench.pass(SECOND / 10);
        let notes = AdvertNotes {
            interval_differs: true,
            interval_limited: n % 2 == 0,
            addresses_differ: true,
            unsigned: true,
        };
        lines += bench.hear(Advert { notes, ..advert_from(9, 100) }).len();
    }
    assert_eq!(lines, 5);
}

#[test]
fn preempt_delay_lets_a_lower_active_be_for_so_long_and_no_longer() {
    let mut bench = Bench::backup(RouterConfig { preempt_delay: SECOND * 60, ..config() });
    let began = bench.now;
    while bench.router.state() == Backup {
        let next = bench.now.plus(SECOND);
        while bench.router.deadline().is_some_and(|deadline| deadline <= next) && bench.router.state() == Backup {
            bench.run_out();
        }
        bench.now = bench.now.max(next);
        bench.hear(advert_from(9, 90));
        assert!(bench.now.since(began) < SECOND * 70);
    }
    let facts = bench.router.facts();
    assert_eq!((facts.reason, facts.since.since(began)), (Reason::Preempted, SECOND * 61));
}

#[test]
fn preempt_delay_does_not_delay_the_death_of_the_lower_active() {
    let mut bench = Bench::backup(RouterConfig { preempt_delay: SECOND * 60, ..config() });
    for _ in 0..10 {
        bench.pass(SECOND);
        bench.hear(advert_from(9, 90));
    }
    assert_eq!(bench.left(), Some(DOWN));
    assert_eq!(bench.run_out()[3], moved(Backup, Active, Reason::Silence));
}

#[test]
fn a_preempt_delay_shorter_than_active_down_changes_nothing() {
    let mut bench = Bench::backup(RouterConfig { preempt_delay: SECOND, ..config() });
    for passed in 1..=3 {
        bench.pass(SECOND);
        bench.hear(advert_from(9, 90));
        assert_eq!(bench.left(), Some(DOWN - SECOND * passed));
    }
}

#[test]
fn resumed_in_time_it_is_active_before_anybody_else() {
    let mut bench = Bench::new(config());
    let actions = bench.give(Input::Resume { held: DOWN - Duration::from_micros(1) });
    let expected = [send(100), Action::SetActive(true), Action::Announce, moved(Initialize, Active, Reason::Resumed)];
    assert_eq!(actions, expected);
}

#[test]
fn resumed_too_late_it_carries_until_it_hears_another() {
    let resumed = || {
        let mut bench = Bench::new(config());
        bench.give(Input::Resume { held: DOWN });
        assert_eq!((bench.router.state(), bench.router.is_carrying()), (Backup, true));
        bench
    };
    let mut bench = resumed();
    bench.pass(SECOND);
    assert_eq!(bench.hear(advert_from(9, 90)), [Action::SetActive(false)], "even a lower one");
    let mut bench = resumed();
    assert_eq!(bench.run_out()[3], moved(Backup, Active, Reason::Silence), "nobody");
    assert!(bench.router.is_carrying());
}

#[test]
fn resumed_with_a_fault_it_hands_over() {
    let mut bench = Bench::new(config());
    bench.give(Input::Fault(true));
    assert_eq!(bench.give(Input::Resume { held: SECOND }), [Action::SetActive(true), send(0)]);
    assert_eq!(bench.left(), Some(HANDOVER));
    assert_eq!(bench.hear(advert_from(9, 90)), [Action::SetActive(false)]);
}

#[test]
fn after_a_stall_a_preempting_active_listens_then_speaks_then_announces() {
    let mut bench = Bench::active(config());
    bench.pass(SECOND * 5);
    bench.give(Input::Stalled(SECOND * 5));
    let stalled = bench.now;
    assert_eq!(bench.give(Input::Timeout), [], "it listens");
    assert_eq!(bench.run_out(), [send(100)]);
    assert_eq!(bench.now.since(stalled), SECOND);
    assert_eq!(bench.run_out(), [Action::Announce]);
    assert_eq!(bench.now.since(stalled), SECOND + GRACE);
}

#[test]
fn after_a_stall_a_higher_active_is_not_disturbed() {
    let mut bench = Bench::active(config());
    bench.pass(SECOND * 5);
    bench.give(Input::Stalled(SECOND * 5));
    bench.pass(SECOND / 2);
    let actions = bench.hear(advert_from(9, 200));
    assert!(!actions.contains(&Action::Announce), "{actions:?}");
    assert_eq!((bench.router.state(), bench.router.is_carrying()), (Backup, false));
}

#[test]
fn after_a_stall_an_active_that_does_not_preempt_leaves_the_addresses_to_who_has_them() {
    let mut bench = Bench::active(passive());
    bench.pass(SECOND * 5);
    let actions = bench.give(Input::Stalled(SECOND * 5));
    assert_eq!(actions[1], moved(Active, Backup, Reason::Stalled));
    assert!(bench.router.is_carrying());
    let mut alone = Bench { router: bench.router.clone(), now: bench.now };
    bench.pass(SECOND / 2);
    assert_eq!(bench.hear(advert_from(9, 90)), [Action::SetActive(false)]);
    assert_eq!(bench.left(), Some(DOWN));
    assert_eq!(alone.run_out()[3], moved(Backup, Active, Reason::Silence));
}

#[test]
fn a_stalled_backup_listens_a_whole_active_down_before_it_claims() {
    let mut bench = Bench::backup(config());
    bench.pass(SECOND * 60);
    bench.give(Input::Stalled(SECOND * 60));
    assert_eq!(bench.give(Input::Timeout), []);
    assert_eq!(bench.left(), Some(DOWN));
}

#[test]
fn a_timeout_that_is_late_or_told_twice_does_nothing() {
    let mut bench = Bench::backup(config());
    bench.pass(DOWN - Duration::from_micros(1));
    bench.hear(advert_from(9, 200));
    bench.pass(Duration::from_micros(1));
    assert_eq!(bench.give(Input::Timeout), [], "that expiry is of before the advert");
    bench.run_out();
    assert_eq!(bench.give(Input::Timeout), []);
}

#[test]
fn a_configuration_of_an_owner_makes_a_backup_active() {
    let mut bench = Bench::backup(config());
    let actions = bench.give(Input::Configure(RouterConfig { priority: Priority::OWNER, ..config() }));
    assert_eq!(actions[3], moved(Backup, Active, Reason::Configured));
}

#[test]
fn a_learned_interval_outlives_a_new_configuration() {
    let mut bench = Bench::backup(config());
    bench.hear(Advert { interval: SECOND * 2, ..advert_from(9, 200) });
    let left = bench.left();
    let new = RouterConfig { interval: SECOND * 5, preempt: false, ..config() };
    assert_eq!(bench.give(Input::Configure(new)), []);
    assert_eq!(bench.left(), left);
}

#[test]
fn the_facts_say_why_since_when_and_whom_it_heard() {
    let mut bench = Bench::active(config());
    bench.pass(SECOND / 2);
    bench.hear(Advert { interval: SECOND * 2, ..advert_from(9, 200) });
    let facts = bench.router.facts();
    let heard = Heard { source: IpAddr::from([192, 0, 2, 9]), priority: 200, at: bench.now };
    assert_eq!((facts.state, facts.reason, facts.since), (Backup, Reason::HigherPriority, bench.now));
    assert_eq!(facts.heard, Some(heard));
    assert_eq!((facts.learned_interval, facts.skew, facts.active_down), (SECOND * 2, SKEW * 2, DOWN * 2));
    assert_eq!(facts.deadline, bench.router.deadline());
    assert!(!facts.carrying && !facts.leaving);
}
