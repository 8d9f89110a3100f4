//! When to look through the whole flow table, and how far a look has come. Pure.
//!
//! The other balancer gets all flows when it appears, and again when something
//! was lost that was not sent again, and every so often: then flows that live
//! long stay young over there, and whatever went unnoticed is mended.

use std::time::Duration;

use crate::dataplane::exchange::ScanCursor;

/// After a loss, others may follow: wait for them.
const SOON: Duration = Duration::from_millis(100);
/// Passes for losses begin so far apart at least.
const APART: Duration = Duration::from_secs(2);

/// Why a pass was made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It was time for one.
    Regular,
    /// Something was lost.
    Loss,
    /// The other balancer appeared.
    PeerAppeared,
}

/// A pass that is being made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Pass {
    pub(super) number: u32,
    pub(super) reason: Reason,
    pub(super) began: Duration,
    pub(super) cursor: ScanCursor,
    /// Flows found.
    pub(super) flows: u64,
    /// Placements found.
    pub(super) placements: u64,
    /// Whether the end of the table was reached.
    pub(super) is_through: bool,
    /// Whether the other one was told that all of it has arrived.
    pub(super) is_told: bool,
    /// Whether some of it will not arrive.
    pub(super) has_failed: bool,
}

/// A pass that all of has arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Finished {
    pub(super) reason: Reason,
    pub(super) flows: u64,
    pub(super) placements: u64,
    pub(super) took: Duration,
}

/// The passes.
pub(super) struct Passes {
    every: Duration,
    count: u32,
    pub(super) current: Option<Pass>,
    wanted: Option<(Reason, Duration)>,
    pub(super) last: Option<Finished>,
    pub(super) finished: u64,
    /// When the last one began.
    began: Option<Duration>,
}

impl Passes {
    /// A pass is made that long after the last one ended.
    pub(super) fn new(every: Duration) -> Self {
        Self { every, count: 0, current: None, wanted: None, last: None, finished: 0, began: None }
    }

    /// The other one is gone: nothing is to be done until it comes back.
    pub(super) fn clear(&mut self) {
        (self.current, self.wanted) = (None, None);
    }

    /// The other one is there.
    pub(super) fn peer_appeared(&mut self, now: Duration) {
        self.current = None;
        self.wanted = Some((Reason::PeerAppeared, now));
    }

    /// Something was lost.
    pub(super) fn something_was_lost(&mut self, now: Duration) {
        let due = self.began.map_or(now, |began| began + APART).max(now + SOON);
        match &mut self.wanted {
            Some((_, already)) if *already <= due => {}
            wanted => *wanted = Some((Reason::Loss, due)),
        }
    }

    /// Begins a pass if it is time for one and none is being made.
    pub(super) fn begin(&mut self, now: Duration) -> Option<u32> {
        let (reason, _) = self.wanted.filter(|(_, due)| self.current.is_none() && *due <= now)?;
        self.wanted = None;
        self.count = self.count.wrapping_add(1);
        let (number, cursor) = (self.count, ScanCursor::default());
        self.began = Some(now);
        self.current = Some(Pass {
            number,
            reason,
            began: now,
            cursor,
            flows: 0,
            placements: 0,
            is_through: false,
            is_told: false,
            has_failed: false,
        });
        Some(number)
    }

    /// Some of the pass did not arrive and will not: another one follows.
    pub(super) fn abandon(&mut self, now: Duration) {
        self.current = None;
        self.something_was_lost(now);
    }

    /// All of the pass has arrived.
    pub(super) fn finish(&mut self, now: Duration) {
        let Some(pass) = self.current.take() else { return };
        let Pass { reason, flows, placements, began, .. } = pass;
        self.last = Some(Finished { reason, flows, placements, took: now.saturating_sub(began) });
        self.finished += 1;
        let regular = now + self.every;
        self.wanted = Some(self.wanted.unwrap_or((Reason::Regular, regular)));
    }
}
