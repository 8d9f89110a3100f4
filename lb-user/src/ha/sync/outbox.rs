//! What is still to be sent, and what was sent and is not known to have arrived.
//! Pure.
//!
//! Placements are sent as flows are, and counted apart. Flows as they change go before flows of a pass, and what was lost goes before
//! both. Everything here is bounded: where more comes, it is dropped and counted,
//! and the session looks through the whole table again.

use std::{collections::VecDeque, time::Duration};

use super::{
    record::{self, Arrived, NotWritten},
    window,
    wire::{Kind, MAX_BODY},
};
use crate::dataplane::exchange::Shared;

/// Flows that changed and are not sent yet: a third of a second of the busiest
/// balancer this is made for. Beyond it, they wait as notes in the kernel.
pub(super) const LIVE_FLOWS: usize = 16384;
/// Flows of a pass that are not sent yet.
pub(super) const BULK_FLOWS: usize = 4096;
/// Datagrams that may be under way. The receiver's window tells of as many.
const FLIGHT: usize = window::SIZE as usize;
/// Datagrams of a pass that may be under way: what a receive buffer of the usual
/// size and a reader that comes every few milliseconds can stand. The rest of
/// [`FLIGHT`] is for flows as they change.
const BULK_FLIGHT: usize = 192;
/// Datagrams of a pass a second, and at once.
const BULK_RATE: f64 = 12_800.0;
const BULK_BURST: f64 = 64.0;
/// A datagram is missed when one sent so much later has arrived.
const REORDER: u64 = 16;
/// Or when nothing was heard of it for so long, twice as long each time.
const OVERDUE: Duration = Duration::from_millis(100);
/// A datagram is sent so many times at most.
const TRIES: u8 = 5;

/// A datagram of data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Parcel {
    pub(super) kind: Kind,
    pub(super) body: Vec<u8>,
    /// Flows in it.
    pub(super) flows: u32,
    /// Placements in it.
    pub(super) placements: u32,
    /// When its first flow began to wait.
    since: Duration,
    tries: u8,
}

impl Parcel {
    /// Flows and placements in it.
    const fn said(&self) -> usize {
        (self.flows + self.placements) as usize
    }
}

struct Flight {
    sequence: u64,
    sent: Duration,
    parcel: Parcel,
}

/// What went wrong, since the start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Losses {
    /// Datagrams that did not arrive, as far as one can know.
    pub(super) missed: u64,
    /// Datagrams that were sent again.
    pub(super) resent: u64,
    /// Datagrams that were not sent again, because it had been done often enough.
    pub(super) given_up: u64,
    /// Flows that found a queue full.
    pub(super) dropped: u64,
    /// Flows that no record can say.
    pub(super) unsayable: u64,
}

/// The outbox.
#[derive(Default)]
pub(super) struct Outbox {
    live: VecDeque<(Shared, Duration)>,
    bulk: VecDeque<Shared>,
    /// Written in front of the next flows of a pass.
    begin: Option<u32>,
    /// Sent next.
    end: Option<(u32, [u64; 2])>,
    again: VecDeque<Parcel>,
    /// In the order of their sequence.
    flight: VecDeque<Flight>,
    tokens: f64,
    filled: Duration,
    pub(super) losses: Losses,
}

impl Outbox {
    /// Forgets all that waits and all that is under way.
    pub(super) fn clear(&mut self) {
        *self = Self { losses: self.losses, filled: self.filled, ..Self::default() };
    }

    pub(super) fn live_room(&self) -> usize {
        LIVE_FLOWS - self.live.len()
    }

    pub(super) fn bulk_room(&self) -> usize {
        BULK_FLOWS - self.bulk.len()
    }

    /// Flows that wait.
    pub(super) fn waiting(&self) -> usize {
        self.live.len() + self.bulk.len()
    }

    /// Datagrams under way or to be sent again.
    pub(super) fn under_way(&self) -> usize {
        self.flight.len() + self.again.len()
    }

    /// How long the flow that has waited longest has waited.
    pub(super) fn lag(&self, now: Duration) -> Duration {
        let flying = self.flight.iter().map(|flight| flight.parcel.since);
        let again = self.again.iter().map(|parcel| parcel.since);
        let queued = self.live.front().map(|(_, since)| *since);
        flying.chain(again).chain(queued).min().map_or(Duration::ZERO, |since| now.saturating_sub(since))
    }

    /// A flow changed.
    pub(super) fn push_live(&mut self, now: Duration, shared: Shared) {
        if self.live_room() == 0 {
            self.losses.dropped += 1;
        } else {
            self.live.push_back((shared, now));
        }
    }

    /// A pass begins.
    pub(super) fn begin_pass(&mut self, pass: u32) {
        self.begin = Some(pass);
    }

    /// A flow of a pass.
    pub(super) fn push_bulk(&mut self, shared: Shared) {
        if self.bulk_room() == 0 {
            self.losses.dropped += 1;
        } else {
            self.bulk.push_back(shared);
        }
    }

    /// All of a pass has arrived, so many flows and placements: the other one is to be
    /// told.
    pub(super) fn end_pass(&mut self, pass: u32, flows: u64, placements: u64) {
        self.end = Some((pass, [flows, placements]));
    }

    /// Whether nothing of a pass is left to be sent or to arrive.
    pub(super) fn pass_has_arrived(&self) -> bool {
        let nothing_waits = self.bulk.is_empty() && self.begin.is_none() && self.end.is_none();
        nothing_waits && self.bulk_under_way() == 0 && self.again.iter().all(|parcel| parcel.kind != Kind::Bulk)
    }

    fn bulk_under_way(&self) -> usize {
        self.flight.iter().filter(|flight| flight.parcel.kind == Kind::Bulk).count()
    }

    /// The next datagram, if one may be sent now.
    pub(super) fn next(&mut self, now: Duration) -> Option<Parcel> {
        if self.flight.len() >= FLIGHT {
            return None;
        }
        if let Some(mut parcel) = self.again.pop_front() {
            parcel.tries += 1;
            self.losses.resent += 1;
            return Some(parcel);
        }
        if let Some(since) = self.live.front().map(|(_, since)| *since) {
            let (parcel, taken) = pack(Kind::Live, since, Vec::new(), self.live.iter().map(|(shared, _)| shared));
            self.losses.unsayable += (taken - parcel.said()) as u64;
            self.live.drain(..taken);
            return Some(parcel);
        }
        self.next_of_pass(now)
    }

    fn next_of_pass(&mut self, now: Duration) -> Option<Parcel> {
        let waits = self.begin.is_some() || self.end.is_some() || !self.bulk.is_empty();
        if !waits || self.bulk_under_way() >= BULK_FLIGHT || !self.take_token(now) {
            return None;
        }
        let mut body = Vec::with_capacity(MAX_BODY);
        if let Some(pass) = self.begin.take() {
            record::write_pass_begins(pass, &mut body);
        }
        if let Some((pass, [flows, placements])) = self.end.take() {
            record::write_pass_ends(pass, flows, placements, &mut body);
        }
        let (parcel, taken) = pack(Kind::Bulk, now, body, self.bulk.iter());
        self.losses.unsayable += (taken - parcel.said()) as u64;
        self.bulk.drain(..taken);
        Some(parcel)
    }

    fn take_token(&mut self, now: Duration) -> bool {
        let earned = now.saturating_sub(self.filled).as_secs_f64() * BULK_RATE;
        self.filled = now;
        self.tokens = (self.tokens + earned).min(BULK_BURST);
        let enough = self.tokens >= 1.0;
        if enough {
            self.tokens -= 1.0;
        }
        enough
    }

    /// A datagram has been sent under that sequence, which is higher than all before.
    pub(super) fn sent(&mut self, now: Duration, sequence: u64, parcel: Parcel) {
        self.flight.push_back(Flight { sequence, sent: now, parcel });
    }

    /// The other one tells what has arrived. True: something was given up.
    pub(super) fn arrived(&mut self, arrived: &Arrived) -> bool {
        self.settle(|flight| match arrived.has(flight.sequence) {
            Some(true) => Fate::Arrived,
            Some(false) if arrived.highest - flight.sequence < REORDER => Fate::Open,
            None if arrived.highest < flight.sequence => Fate::Open,
            _ => Fate::Missed,
        })
    }

    /// Looks for datagrams nothing was heard of. True: something was given up.
    pub(super) fn find_overdue(&mut self, now: Duration) -> bool {
        // Those that were sent once come first, and are first to be overdue:
        // usually the oldest alone has to be looked at.
        if self.flight.front().is_none_or(|flight| now.saturating_sub(flight.sent) < OVERDUE) {
            return false;
        }
        self.settle(|flight| {
            let patience = OVERDUE * (1 << flight.parcel.tries.min(TRIES));
            if now.saturating_sub(flight.sent) < patience { Fate::Open } else { Fate::Missed }
        })
    }

    fn settle(&mut self, fate: impl Fn(&Flight) -> Fate) -> bool {
        let given_up = self.losses.given_up;
        for flight in std::mem::take(&mut self.flight) {
            match fate(&flight) {
                Fate::Arrived => {}
                Fate::Open => self.flight.push_back(flight),
                Fate::Missed => {
                    self.losses.missed += 1;
                    if flight.parcel.tries + 1 >= TRIES {
                        self.losses.given_up += 1;
                    } else {
                        self.again.push_back(flight.parcel);
                    }
                }
            }
        }
        self.losses.given_up != given_up
    }
}

enum Fate {
    Arrived,
    Open,
    Missed,
}

/// A datagram with as many of the flows and placements as have room, and how many
/// were taken.
fn pack<'a>(kind: Kind, since: Duration, mut body: Vec<u8>, all: impl Iterator<Item = &'a Shared>) -> (Parcel, usize) {
    let (mut flows, mut placements, mut taken) = (0, 0, 0);
    for shared in all {
        match (record::write(shared, &mut body), shared) {
            (Ok(()), Shared::Flow(_)) => flows += 1,
            (Ok(()), Shared::Placement(_)) => placements += 1,
            (Err(NotWritten::MixedFamilies), _) => {}
            (Err(NotWritten::NoRoom), _) => break,
        }
        taken += 1;
    }
    (Parcel { kind, body, flows, placements, since, tries: 0 }, taken)
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
