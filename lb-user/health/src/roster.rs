//! Whom to probe, when, and what came of it. Pure: moments are durations since an epoch
//! of the caller's, and nothing here meets the network.
//!
//! Call order: [`Roster::set`] whenever targets change; [`Roster::start_due`] until it
//! gives nobody, and begin a probe for each it gives; [`Roster::end`] for each probe that
//! ended; then [`Roster::take_findings`]; sleep until [`Roster::next_due`].
//!
//! Invariant others rely on: a slot has at most one probe under way, and a probe that
//! nobody waits for any more (another ticket) changes nothing.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use crate::{
    engine::{Finding, MAX_IN_FLIGHT, Target, TargetId},
    machine::{Machine, Pace, Verdict},
    outcome::{Failure, Outcome},
    plan::{Plan, Planned},
    question::Question,
    raw::Slot,
    record::{Kept, Lateness, RESULTS, Record, TRANSITIONS, Transition, Workload},
    schedule::Schedule,
};

/// How long an address has to be out of reach before that is held against its member: a
/// first look-up, or one anew after an interface came back, is given that much time. The
/// kernel asks a neighbour three times in three seconds before it says that nobody answers.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

/// A probe starts late when it starts later than this many thousandths of its delay.
const LATE_PER_MILLE: u64 = 50;

/// A moment by three clocks: the caller's epoch, and those that others reckon by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) since_epoch: Duration,
    pub(crate) instant: Instant,
    pub(crate) wall: SystemTime,
}

/// Names one probe of one member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ticket {
    pub(crate) slot: Slot,
    serial: u64,
}

/// A probe to begin.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    pub(crate) ticket: Ticket,
    pub(crate) question: Arc<Question>,
    pub(crate) patience: Duration,
}

/// Everybody who is probed.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    members: Vec<Option<Member>>,
    free: Vec<Slot>,
    slots: HashMap<TargetId, Slot>,
    /// Starts to come. An entry whose member has another plan meanwhile is passed over.
    plan: Plan,
    unreachable: BTreeMap<IpAddr, Unreachable>,
    findings: BTreeMap<TargetId, Finding>,
    /// Without what is counted when somebody looks.
    workload: Workload,
    /// Whether it was said that too many probes are under way.
    full: bool,
    serial: u64,
}

#[derive(Debug)]
struct Unreachable {
    why: Arc<str>,
    since: Duration,
}

#[derive(Debug)]
struct Member {
    id: TargetId,
    address: IpAddr,
    question: Arc<Question>,
    pace: Pace,
    schedule: Schedule,
    machine: Machine,
    /// When its next probe starts; meaningless while one is under way.
    due: Duration,
    /// Of the plan's entry, or of the probe under way.
    serial: u64,
    asked_at: Option<Duration>,
    asked_before: Option<Duration>,
    /// Whether it was said that it cannot be asked.
    complained: bool,
    probes: u64,
    failures: u64,
    results: VecDeque<Kept>,
    transitions: VecDeque<Transition>,
}

impl Roster {
    /// Replaces whom to probe. Returns the slots whose probe under way nobody waits for
    /// any more.
    pub(crate) fn set(&mut self, now: Duration, targets: Vec<Target>) -> Vec<Slot> {
        let mut abandoned = Vec::new();
        let mut gone: HashMap<TargetId, Slot> = self.slots.clone();
        for target in targets {
            match gone.remove(&target.id) {
                Some(slot) => abandoned.extend(self.change(now, slot, target)),
                None if self.slots.contains_key(&target.id) => {
                    tracing::warn!(id = target.id.0, "a member is to be probed twice under one number");
                }
                None => self.add(now, target),
            }
        }
        for (id, slot) in gone {
            self.slots.remove(&id);
            self.findings.remove(&id);
            if let Some(member) = self.members[slot as usize].take()
                && member.asked_at.is_some()
            {
                self.workload.in_flight -= 1;
                abandoned.push(slot);
            }
            self.free.push(slot);
        }
        self.workload.members = self.slots.len();
        abandoned
    }

    fn add(&mut self, now: Duration, target: Target) {
        let Target { id, member: address, question, pace, place } = target;
        let schedule = Schedule::new(place, pace.delay);
        let member = Member {
            id,
            address,
            question: Arc::new(question),
            pace,
            schedule,
            machine: Machine::default(),
            due: Duration::ZERO,
            serial: 0,
            asked_at: None,
            asked_before: None,
            complained: false,
            probes: 0,
            failures: 0,
            results: VecDeque::new(),
            transitions: VecDeque::new(),
        };
        let slot = self.free.pop().unwrap_or_else(|| {
            self.members.push(None);
            (self.members.len() - 1) as Slot
        });
        self.members[slot as usize] = Some(member);
        self.slots.insert(id, slot);
        self.schedule(slot, schedule.first(now));
    }

    /// Takes what a member is to be asked from now on. Returns its slot when the probe
    /// under way asks something else.
    fn change(&mut self, now: Duration, slot: Slot, target: Target) -> Option<Slot> {
        let member = self.members[slot as usize].as_mut()?;
        let same_question = *member.question == target.question;
        if same_question && member.pace == target.pace && member.address == target.member {
            return None;
        }
        member.address = target.member;
        member.pace = target.pace;
        member.schedule = Schedule::new(target.place, target.pace.delay);
        let first = member.schedule.first(now);
        if !same_question {
            member.question = Arc::new(target.question);
            member.machine = Machine::default();
            (member.probes, member.failures) = (0, 0);
            member.results.clear();
            member.transitions.clear();
            self.findings.remove(&target.id);
            let abandoned = member.asked_at.take().is_some();
            self.workload.in_flight -= usize::from(abandoned);
            self.schedule(slot, first);
            return abandoned.then_some(slot);
        }
        if member.asked_at.is_none() {
            let due = member.asked_before.map_or(first, |started| member.schedule.next(started, now));
            self.schedule(slot, due);
        }
        None
    }

    /// Replaces the addresses that frames cannot reach.
    pub(crate) fn set_unreachable(&mut self, now: Duration, addresses: BTreeMap<IpAddr, Arc<str>>) {
        let mut before = std::mem::take(&mut self.unreachable);
        let entry = |(address, why)| {
            let since = before.remove(&address).map_or(now, |before: Unreachable| before.since);
            (address, Unreachable { why, since })
        };
        self.unreachable = addresses.into_iter().map(entry).collect();
    }

    fn schedule(&mut self, slot: Slot, due: Duration) {
        self.serial += 1;
        if let Some(member) = self.members[slot as usize].as_mut() {
            (member.due, member.serial) = (due, self.serial);
            self.plan.push(Planned::new(due, slot, self.serial));
        }
        // Entries that are passed over may be due hours from now.
        if self.plan.len() > 2 * self.members.len() + 64 {
            let mut plan = std::mem::take(&mut self.plan);
            plan.retain(|planned| self.is_planned(planned));
            self.plan = plan;
        }
    }

    /// When somebody is to be asked next. `None`: nobody is, or nobody can be before a
    /// probe under way has ended.
    pub(crate) fn next_due(&mut self) -> Option<Duration> {
        if self.workload.in_flight >= MAX_IN_FLIGHT {
            return None;
        }
        while let Some(planned) = self.plan.first() {
            if self.is_planned(&planned) {
                return Some(planned.due());
            }
            self.plan.pop();
        }
        None
    }

    fn is_planned(&self, planned: &Planned) -> bool {
        let member = self.members.get(planned.slot as usize).and_then(Option::as_ref);
        member.is_some_and(|member| member.serial == planned.serial && member.asked_at.is_none())
    }

    /// The next member that is to be asked now; its probe is under way from here on.
    pub(crate) fn start_due(&mut self, now: Duration) -> Option<Start> {
        let Some(due) = self.next_due() else {
            self.complain();
            return None;
        };
        if due > now {
            return None;
        }
        let Planned { slot, serial, .. } = self.plan.pop()?;
        let member = self.members[slot as usize].as_mut()?;
        member.asked_at = Some(now);
        self.workload.in_flight += 1;
        self.workload.most_in_flight = self.workload.most_in_flight.max(self.workload.in_flight);
        self.workload.lateness.note(now.saturating_sub(due), member.pace.delay);
        let question = Arc::clone(&member.question);
        Some(Start { ticket: Ticket { slot, serial }, question, patience: member.pace.timeout })
    }

    /// Has the memory of those who are due brought near: with thousands of members it is
    /// far away, and where nothing else is done meanwhile that of many comes at once.
    pub(crate) fn fetch(&self, now: Duration) {
        let touch = |slot: Slot| {
            let member = self.members.get(slot as usize)?.as_ref()?;
            let kept = member.results.back().map_or(0, Kept::touch);
            Some(member.serial ^ u64::from(member.question.to.port()) ^ member.probes ^ kept)
        };
        std::hint::black_box(self.plan.due(now).filter_map(touch).fold(0, |all, one| all ^ one));
    }

    /// Says once that members are not asked in time, until half as many probes are under way.
    fn complain(&mut self) {
        let in_flight = self.workload.in_flight;
        if in_flight >= MAX_IN_FLIGHT && !self.full {
            tracing::warn!(
                "{in_flight} probes are under way, which is as many as can be: members are asked late until some of \
                 them end; give monitors shorter timeouts or longer delays"
            );
        }
        self.full = in_flight >= MAX_IN_FLIGHT || self.full && in_flight > MAX_IN_FLIGHT / 2;
    }

    /// The ticket of the probe that a slot has under way.
    pub(crate) fn ticket(&self, slot: Slot) -> Option<Ticket> {
        let member = self.members.get(slot as usize)?.as_ref()?;
        member.asked_at.map(|_| Ticket { slot, serial: member.serial })
    }

    /// Takes what came of a probe.
    pub(crate) fn end(&mut self, now: Now, ticket: Ticket, outcome: Outcome) {
        if self.ticket(ticket.slot) != Some(ticket) {
            return;
        }
        let Some(member) = self.members[ticket.slot as usize].as_mut() else { return };
        let Some(started) = member.asked_at.take() else { return };
        self.workload.in_flight -= 1;
        member.asked_before = Some(started);

        let unreachable = self.unreachable.get(&member.address);
        // Who could not be reached anyway is told why at once.
        let lost = matches!(&outcome, Outcome::Fails(failure) if failure.is_silence());
        let held_against = unreachable.filter(|one| lost || now.since_epoch.saturating_sub(one.since) >= GRACE);
        let outcome = held_against.map_or(outcome, |one| Outcome::Fails(Failure::NextHop(Arc::clone(&one.why))));
        if let Some(finding) = member.take(now, started, outcome, &mut self.workload) {
            self.findings.insert(member.id, finding);
        }
        let due = member.schedule.next(started, now.since_epoch);
        self.schedule(ticket.slot, due);
    }

    /// What was found since the last call: of each member the latest.
    pub(crate) fn take_findings(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.findings).into_values().collect()
    }

    /// Whether something was found.
    pub(crate) fn has_findings(&self) -> bool {
        !self.findings.is_empty()
    }

    /// What is known of a member.
    pub(crate) fn record(&self, id: TargetId) -> Option<Record> {
        let slot = *self.slots.get(&id)?;
        self.members[slot as usize].as_ref().map(|member| member.record(usize::MAX))
    }

    /// What is known of everybody, with the last result and transition only: it is many
    /// members that are looked at, and whoever looks keeps probes waiting.
    pub(crate) fn records(&self) -> BTreeMap<TargetId, Record> {
        self.members.iter().flatten().map(|member| (member.id, member.record(1))).collect()
    }

    /// What the monitors as a whole are doing.
    pub(crate) fn workload(&self) -> Workload {
        let mut workload = self.workload;
        for machine in self.members.iter().flatten().map(|member| &member.machine) {
            workload.up += usize::from(machine.verdict() == Some(Verdict::Up));
            workload.down += usize::from(machine.verdict() == Some(Verdict::Down));
            workload.damped += usize::from(machine.damping() > 0);
        }
        workload
    }
}

impl Member {
    fn take(&mut self, now: Now, started: Duration, outcome: Outcome, workload: &mut Workload) -> Option<Finding> {
        let at = now.wall;
        let answers = match &outcome {
            Outcome::Answers(_) => Some(true),
            Outcome::Fails(_) => Some(false),
            Outcome::NotAsked(why) => {
                workload.not_asked += 1;
                // Running out of something of our own is told once, not once a probe.
                if !std::mem::replace(&mut self.complained, true) {
                    tracing::warn!(%why, to = %self.question.to, "cannot probe a member, its last verdict stays");
                }
                None
            }
        };
        let took = now.since_epoch.saturating_sub(started);
        keep(&mut self.results, RESULTS, RESULTS, || Kept::new(at, took, &outcome));
        let answers = answers?;
        self.complained = false;
        self.probes += 1;
        self.failures += u64::from(!answers);
        let verdict = self.machine.take(now.since_epoch, &self.pace, answers)?;
        // Most members have one for ever.
        keep(&mut self.transitions, TRANSITIONS, 1, || Transition { at, verdict, outcome: outcome.clone() });
        Some(Finding { id: self.id, verdict, outcome, at, decided: now.instant })
    }

    /// With at most so many results and transitions.
    fn record(&self, most: usize) -> Record {
        Record {
            question: Arc::clone(&self.question),
            pace: self.pace,
            verdict: self.machine.verdict(),
            against: self.machine.against(),
            needed: self.machine.needed(&self.pace),
            damping: self.machine.damping(),
            asking: self.asked_at.is_some(),
            probes: self.probes,
            failures: self.failures,
            results: self.results.iter().take(most).map(Kept::result).collect(),
            transitions: self.transitions.iter().take(most).cloned().collect(),
        }
    }
}

/// Puts a value before the others, and lets the oldest go. Room is made for `step` of
/// them at once, and never for more than `most`.
fn keep<T>(kept: &mut VecDeque<T>, most: usize, step: usize, value: impl FnOnce() -> T) {
    if kept.len() >= most {
        kept.pop_back();
    } else if kept.len() == kept.capacity() {
        kept.reserve_exact(step.min(most - kept.len()));
    }
    kept.push_front(value());
}

impl Lateness {
    fn note(&mut self, late: Duration, delay: Duration) {
        let late_us = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
        let delay_us = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX).max(1);
        let per_mille = late_us.saturating_mul(1000) / delay_us;
        self.probes += 1;
        self.late += u64::from(per_mille > LATE_PER_MILLE);
        self.max_us = self.max_us.max(late_us);
        self.max_per_mille = self.max_per_mille.max(per_mille);
    }
}

#[cfg(test)]
#[path = "roster_tests.rs"]
mod tests;
