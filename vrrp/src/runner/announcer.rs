//! When which address is announced: so many a millisecond, several times over,
//! and again now and then.
//!
//! A switch or a neighbour that misses one announcement must hear another; a
//! thousand addresses announced at once would delay the next advert and cost
//! the very address they announce. Pure: it says whom to announce, when asked
//! with a time.

use std::time::Duration;

use super::instance::{Announced, Pacing};
use crate::time::Instant;

const MILLISECOND: Duration = Duration::from_millis(1);

/// After the first round of a promotion the second comes so soon. The router that
/// had the addresses may have answered a last frame after it, and by that have
/// taught the switch the way to itself again.
const ONCE_MORE: Duration = Duration::from_millis(2);

/// The announcements of one virtual router.
#[derive(Debug, Default)]
pub(super) struct Announcer {
    /// Every address, as after a promotion or at a refresh.
    all: Option<Job>,
    /// Addresses that were added meanwhile.
    added: Vec<Announced>,
    extra: Option<Job>,
    refresh_at: Option<Instant>,
}

#[derive(Debug)]
struct Job {
    rounds_left: u8,
    /// What comes before the next round, if it is not the usual pause.
    once_more: Option<Duration>,
    /// Addresses of this round that are done.
    done: usize,
    next_at: Instant,
}

/// What one [`Announcer::burst`] has come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Burst {
    /// There is more, at [`Announcer::deadline`].
    More,
    /// Every address has been announced as often as it is to be, for now.
    Complete,
}

impl Announcer {
    /// Announces every address from now on. Begun again while it lasts, it
    /// starts over.
    pub(super) fn start(&mut self, now: Instant, pacing: &Pacing) {
        let job = Job::new(now, pacing.repeats.max(1));
        self.all = job.map(|job| Job { once_more: Some(ONCE_MORE), ..job });
        self.forget_added();
        self.refresh_at = pacing.refresh.map(|gap| now.plus(gap.max(MILLISECOND)));
    }

    /// Announces addresses that are new.
    pub(super) fn add(&mut self, now: Instant, pacing: &Pacing, addresses: impl IntoIterator<Item = Announced>) {
        self.added.extend(addresses);
        if !self.added.is_empty() {
            self.extra = Job::new(now, pacing.repeats.max(1));
        }
    }

    /// Announces nothing any more.
    pub(super) fn cancel(&mut self) {
        self.all = None;
        self.refresh_at = None;
        self.forget_added();
    }

    /// Takes a changed pacing over: only when the next refresh comes changes.
    pub(super) fn repace(&mut self, now: Instant, pacing: &Pacing) {
        self.refresh_at = pacing.refresh.map(|gap| now.plus(gap.max(MILLISECOND)));
    }

    /// When there is something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let jobs = self.all.iter().chain(&self.extra).map(|job| job.next_at);
        jobs.chain(self.refresh_at).min()
    }

    /// Hands out the addresses whose turn it is, at most a millisecond's worth
    /// of each job. `announce` returns whether there is time for another.
    pub(super) fn burst(
        &mut self,
        now: Instant,
        pacing: &Pacing,
        announced: &[Announced],
        mut announce: impl FnMut(&Announced) -> bool,
    ) -> Burst {
        if self.refresh_at.is_some_and(|at| at <= now) {
            self.refresh_at = pacing.refresh.map(|gap| now.plus(gap.max(MILLISECOND)));
            // A round that is going on is worth a refresh.
            if self.all.is_none() {
                self.all = Job::new(now, pacing.refresh_repeats);
            }
        }
        step(&mut self.all, now, pacing, announced, &mut announce);
        step(&mut self.extra, now, pacing, &self.added, &mut announce);
        if self.extra.is_none() {
            self.added.clear();
        }
        if self.all.is_none() && self.extra.is_none() { Burst::Complete } else { Burst::More }
    }

    fn forget_added(&mut self) {
        self.extra = None;
        self.added.clear();
    }
}

impl Job {
    fn new(now: Instant, rounds: u8) -> Option<Self> {
        (rounds > 0).then_some(Self { rounds_left: rounds, once_more: None, done: 0, next_at: now })
    }
}

fn step(
    job: &mut Option<Job>,
    now: Instant,
    pacing: &Pacing,
    addresses: &[Announced],
    announce: &mut impl FnMut(&Announced) -> bool,
) {
    let Some(current) = job.as_mut().filter(|job| job.next_at <= now) else { return };
    let mut left = pacing.per_millisecond.max(1);
    // The list may have become shorter since the last time.
    while let Some(address) = addresses.get(current.done) {
        if left == 0 {
            current.next_at = now.plus(MILLISECOND);
            return;
        }
        left -= 1;
        current.done += 1;
        if !announce(address) && current.done < addresses.len() {
            current.next_at = now;
            return;
        }
    }
    current.rounds_left -= 1;
    current.done = 0;
    let pause = current.once_more.take().unwrap_or(pacing.repeat_gap).min(pacing.repeat_gap);
    current.next_at = now.plus(pause.max(MILLISECOND));
    if current.rounds_left == 0 {
        *job = None;
    }
}

#[cfg(test)]
#[path = "announcer_tests.rs"]
mod tests;
