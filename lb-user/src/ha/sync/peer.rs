//! The other balancer as this one knows it. Pure.

use std::time::Duration;

use super::{
    record::{Arrived, Who},
    window::{Place, Window},
    wire::{Header, Refusal},
};

/// A peer that is silent for so long is lost.
const SILENCE: Duration = Duration::from_secs(1);
/// A datagram whose sender had not heard of us for so long, in milliseconds, is stale.
const FRESH: u32 = 5000;
/// A report is made after so much data, or so long after the first of it.
const REPORT_AFTER: u32 = 32;
const REPORT_WITHIN: Duration = Duration::from_millis(10);

/// The run of the other balancer that was met last.
pub(super) struct Peer {
    pub(super) epoch: u64,
    /// The challenge it gave last.
    pub(super) challenge: u64,
    /// The newest of its clock.
    pub(super) clock: u32,
    /// Whether it has met this run of us and hears it.
    pub(super) hears_us: bool,
    pub(super) window: Window,
    pub(super) heard: Duration,
    pub(super) is_first_time: bool,
    pub(super) seed: u64,
    pub(super) flows: Option<u64>,
    /// What it told last.
    pub(super) told: Option<Arrived>,
    /// Data that came since the last report, and when the first of it did.
    pub(super) unreported: u32,
    pub(super) unreported_since: Duration,
    /// Its pass that is coming in.
    pub(super) pass: Option<u32>,
    pub(super) passes: u64,
    pub(super) pass_flows: Option<u64>,
    pub(super) pass_placements: Option<u64>,
}

impl Peer {
    /// Somebody whose hello shows that it is there now.
    pub(super) fn new(now: Duration, header: &Header, who: &Who) -> Self {
        Self {
            epoch: header.sender,
            challenge: who.challenge,
            clock: header.clock,
            hears_us: false,
            window: Window::default(),
            heard: now,
            is_first_time: true,
            seed: who.seed,
            flows: who.flows,
            told: None,
            unreported: 0,
            unreported_since: now,
            pass: None,
            passes: 0,
            pass_flows: None,
            pass_placements: None,
        }
    }

    /// Whether what it sent is welcome at the run `own`.
    pub(super) fn welcome(&self, now: Duration, header: &Header, own: u64) -> Result<(), Refusal> {
        if header.receiver != own {
            return Err(Refusal::OtherEpoch);
        }
        match self.window.place(header.sequence) {
            Place::Seen => return Err(Refusal::Replayed),
            Place::Forgotten => return Err(Refusal::TooOld),
            Place::New => {}
        }
        if millis(now).wrapping_sub(header.echo) > FRESH { Err(Refusal::Stale) } else { Ok(()) }
    }

    /// A datagram came that is welcome. True: none that came was sent later.
    pub(super) fn arrives(&mut self, now: Duration, header: &Header) -> bool {
        self.hear(now, header);
        self.window.mark(header.sequence);
        let is_newest = self.window.highest() == header.sequence;
        if is_newest {
            self.hears_us = header.hears;
        }
        if header.kind.is_data() {
            if self.unreported == 0 {
                self.unreported_since = now;
            }
            self.unreported = self.unreported.saturating_add(1);
        }
        is_newest
    }

    /// Something shows that it is there.
    pub(super) fn hear(&mut self, now: Duration, header: &Header) {
        self.heard = now;
        if header.clock.wrapping_sub(self.clock) < u32::MAX / 2 {
            self.clock = header.clock;
        }
    }

    pub(super) fn is_heard(&self, now: Duration) -> bool {
        now.saturating_sub(self.heard) < SILENCE
    }

    pub(super) fn is_report_due(&self, now: Duration) -> bool {
        self.unreported >= REPORT_AFTER || (self.unreported > 0 && now >= self.unreported_since + REPORT_WITHIN)
    }
}

/// A clock of milliseconds that wraps.
pub(super) fn millis(now: Duration) -> u32 {
    now.as_millis() as u32
}
