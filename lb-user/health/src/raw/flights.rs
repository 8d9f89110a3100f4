//! Which probes are under way, whose they are, and until when. Pure: moments are durations
//! since the epoch of the caller's clock.
//!
//! Invariant others rely on: a slot has one probe at most, and a probe that was taken out
//! is in none of the four tables any more.

use std::{collections::BTreeSet, time::Duration};

use foldhash::HashMap;

use super::{
    Slot,
    net::{Key, Protocol},
};
use crate::question::Delivery;

/// How long it takes until a packet is sent again, first (RFC 6298 §2, RFC 9260 §16);
/// then twice as long, and so on.
const FIRST_RESEND: Duration = Duration::from_secs(1);

/// Lanes that are tried until one is free.
const LANES_TRIED: u32 = 64;

/// A probe under way.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    /// Whose it is.
    pub(super) slot: Slot,
    /// What was sent where.
    pub(super) key: Key,
    /// The scope of a link-local address.
    pub(super) scope: u32,
    /// What an answer must carry.
    pub(super) token: u64,
    /// When it is given up.
    pub(super) deadline: Duration,
    /// How long that was from when it began.
    pub(super) patience: Duration,
    /// When it is looked at again: to send it again or to give it up.
    due: Duration,
    /// How long after that.
    pause: Duration,
}

impl Flight {
    /// A probe that begins.
    pub(super) fn new(
        slot: Slot,
        (key, scope): (Key, u32),
        token: u64,
        (deadline, patience): (Duration, Duration),
    ) -> Self {
        let resend = deadline.saturating_sub(patience) + FIRST_RESEND;
        // A datagram that is lost is a silence; that is no failure.
        let due = if key.protocol == Protocol::Udp { deadline } else { resend.min(deadline) };
        Self { slot, key, scope, token, deadline, patience, due, pause: FIRST_RESEND }
    }
}

/// Probes under way.
#[derive(Debug, Default)]
pub(super) struct Flights {
    by_key: HashMap<Key, Flight>,
    /// How those to one place get there that are not routed.
    links: HashMap<Key, Vec<Delivery>>,
    by_slot: HashMap<Slot, Key>,
    due: BTreeSet<(Duration, Slot)>,
}

/// What is to be done about a probe whose time has come.
#[derive(Debug)]
pub(super) enum Due {
    /// Nothing has come of it.
    GiveUp(Flight),
    /// It may have been lost.
    SendAgain(Flight),
}

impl Flights {
    /// Which lane to that place is free, beginning with one; `key.lane` is of no account.
    pub(super) fn free_lane(&self, key: Key, lanes: u32, first: u64) -> Option<u16> {
        tried(lanes, first).find(|lane| !self.is_taken(&Key { lane: *lane, ..key }))
    }

    /// Whether another probe's answers could be taken for those of this one: in TCP and SCTP
    /// they carry a number, whatever comes back.
    fn is_taken(&self, key: &Key) -> bool {
        match key.protocol {
            Protocol::Tcp | Protocol::Sctp => self.by_key.contains_key(key),
            Protocol::Udp | Protocol::Icmp => {
                let place = key.of_answer();
                self.by_key.contains_key(&place) || self.links.contains_key(&place)
            }
        }
    }

    /// The probes on the lanes to that place, beginning with one; `key.lane` is of no
    /// account.
    pub(super) fn on_lanes(&self, key: Key, lanes: u32, first: u64) -> impl Iterator<Item = &Flight> {
        tried(lanes, first).filter_map(move |lane| self.by_key.get(&Key { lane, ..key }))
    }

    /// Takes a probe in; a former one of its slot is forgotten.
    pub(super) fn begin(&mut self, flight: Flight) {
        self.end_slot(flight.slot);
        self.end_key(&flight.key);
        self.due.insert((flight.due, flight.slot));
        self.by_slot.insert(flight.slot, flight.key);
        if flight.key.delivery != Delivery::Routed {
            self.links.entry(flight.key.of_answer()).or_default().push(flight.key.delivery);
        }
        self.by_key.insert(flight.key, flight);
    }

    /// Takes the probe out that an answer is to, of those that were sent so the one that is
    /// meant; how they got there is of no account.
    pub(super) fn end_if(&mut self, key: &Key, is_meant: impl Fn(&Flight) -> bool) -> Option<Flight> {
        let place = key.of_answer();
        let links = self.links.get(&place).into_iter().flatten();
        let mut keys = std::iter::once(place).chain(links.map(|delivery| Key { delivery: *delivery, ..place }));
        let key = keys.find(|key| self.by_key.get(key).is_some_and(&is_meant))?;
        self.end_key(&key)
    }

    /// The probe of that slot.
    pub(super) fn of_slot(&self, slot: Slot) -> Option<&Flight> {
        self.by_slot.get(&slot).and_then(|key| self.by_key.get(key))
    }

    /// Takes the probe out that was sent so.
    pub(super) fn end_key(&mut self, key: &Key) -> Option<Flight> {
        let flight = self.by_key.remove(key)?;
        self.by_slot.remove(&flight.slot);
        self.due.remove(&(flight.due, flight.slot));
        let place = key.of_answer();
        if key.delivery != Delivery::Routed
            && let Some(links) = self.links.get_mut(&place)
        {
            links.retain(|delivery| *delivery != key.delivery);
            if links.is_empty() {
                self.links.remove(&place);
            }
        }
        Some(flight)
    }

    /// Takes the probe of that slot out.
    pub(super) fn end_slot(&mut self, slot: Slot) -> Option<Flight> {
        let key = *self.by_slot.get(&slot)?;
        self.end_key(&key)
    }

    /// When the next probe is to be looked at.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.due.first().map(|(due, _)| *due)
    }

    /// The next probe whose time has come. One that is given up is taken out.
    pub(super) fn take_due(&mut self, now: Duration) -> Option<Due> {
        let (due, slot) = *self.due.first().filter(|(due, _)| *due <= now)?;
        let flight = self.by_slot.get(&slot).and_then(|key| self.by_key.get_mut(key));
        let Some(flight) = flight.filter(|flight| flight.deadline > now) else {
            self.due.remove(&(due, slot));
            return self.end_slot(slot).map(Due::GiveUp);
        };
        flight.pause = flight.pause.saturating_mul(2);
        flight.due = (now + flight.pause).min(flight.deadline);
        let again = flight.clone();
        self.due.remove(&(due, slot));
        self.due.insert((again.due, slot));
        Some(Due::SendAgain(again))
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.by_key.len(), self.by_slot.len());
        assert_eq!(self.by_key.len(), self.due.len());
        let routed = self.by_key.keys().filter(|key| key.delivery == Delivery::Routed).count();
        assert_eq!(self.by_key.len(), routed + self.links.values().map(Vec::len).sum::<usize>());
        assert!(self.links.values().all(|links| !links.is_empty()));
        self.by_key.len()
    }
}

/// The lanes that are looked at, in turn.
fn tried(lanes: u32, first: u64) -> impl Iterator<Item = u16> {
    let lanes = u64::from(lanes.max(1));
    let count = LANES_TRIED.min(u32::try_from(lanes).unwrap_or(u32::MAX));
    (0..count).filter_map(move |n| u16::try_from(first.wrapping_add(n.into()) % lanes).ok())
}

#[cfg(test)]
#[path = "flights_tests.rs"]
mod tests;
