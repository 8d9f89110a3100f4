//! The life of one member's probes: wait for its turn, ask, judge, tell.

use std::{sync::Arc, time::SystemTime};

use tokio::{sync::watch, time::sleep_until};

use super::{
    HealthEvent, Shared, Target,
    machine::Machine,
    probe::{Outcome, probe},
    schedule::Schedule,
};

/// Probes until nobody wants it any more.
pub(super) async fn run(mut targets: watch::Receiver<Target>, shared: Arc<Shared>) {
    let mut target = targets.borrow_and_update().clone();
    let mut machine = Machine::new(target.rise, target.fall);
    let mut schedule = Schedule::new(&target.member, target.delay);
    // Running out of something of our own is told once, not once a probe.
    let mut complained = false;
    let mut started = None;
    let mut next = schedule.first(shared.epoch.elapsed());
    loop {
        let changed = tokio::select! {
            changed = targets.changed() => {
                if changed.is_err() {
                    return;
                }
                true
            }
            () = sleep_until(shared.epoch + next) => false,
        };
        let outcome = if changed {
            None
        } else {
            // Never closed, so there is always a permit some time.
            let Ok(_permit) = shared.permits.acquire().await else { return };
            started = Some(shared.epoch.elapsed());
            ask(&target, &mut targets).await
        };

        let before = std::mem::replace(&mut target, targets.borrow_and_update().clone());
        let same_question = is_same_question(&before, &target);
        if !same_question {
            machine = Machine::new(target.rise, target.fall);
        }
        machine.set_thresholds(target.rise, target.fall);
        schedule = Schedule::new(&target.member, target.delay);

        if let Some(outcome) = outcome.filter(|_| same_question) {
            let judged = judge(&mut machine, &target, outcome, &mut complained);
            if let Some(event) = judged
                && shared.events.send(event).await.is_err()
            {
                return;
            }
        }
        let now = shared.epoch.elapsed();
        next = started.map_or_else(|| schedule.first(now), |started| schedule.next(started, now));
        if !same_question {
            next = next.min(schedule.first(now));
        }
    }
}

/// Asks once; `None` when something else is to be asked meanwhile.
async fn ask(target: &Target, targets: &mut watch::Receiver<Target>) -> Option<Outcome> {
    let mut probe = std::pin::pin!(probe(target.kind, target.address, target.timeout));
    loop {
        tokio::select! {
            outcome = &mut probe => return Some(outcome),
            changed = targets.changed() => {
                if changed.is_err() || !is_same_question(target, &targets.borrow()) {
                    return None;
                }
            }
        }
    }
}

fn is_same_question(one: &Target, other: &Target) -> bool {
    (one.kind, one.address) == (other.kind, other.address)
}

/// What an outcome changes.
fn judge(machine: &mut Machine, target: &Target, outcome: Outcome, complained: &mut bool) -> Option<HealthEvent> {
    let (answers, reason) = match outcome {
        Outcome::Answers => (true, "answers".to_owned()),
        Outcome::Fails(failure) => (false, failure.to_string()),
        Outcome::NotAsked(error) => {
            if !*complained {
                let pool = &target.member.pool;
                tracing::warn!(%error, pool, address = %target.address, "cannot probe a member, its last verdict stays");
                *complained = true;
            }
            return None;
        }
    };
    *complained = false;
    let verdict = machine.take(answers)?;
    Some(HealthEvent { member: target.member.clone(), verdict, reason, at: SystemTime::now() })
}
