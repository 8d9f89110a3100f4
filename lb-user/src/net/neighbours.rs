//! What the kernel said about the neighbours that matter, and when to make it
//! ask them again. Pure: it takes `now`.
//!
//! Only places that members are reached through are kept, so a network full of
//! other hosts costs nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use lb_common::mac::Mac;

use super::resolve::{Knowledge, Place};

/// The shortest time between two questions to a neighbour that is not known.
const ASK_UNKNOWN: Duration = Duration::from_secs(1);

/// The same for one whose address is known but old. The kernel waits five
/// seconds for a sign of life before it asks, and says nothing meanwhile.
const ASK_STALE: Duration = Duration::from_secs(5);

/// Neighbours that are asked at once. A network that died must not be answered
/// by a storm of broadcasts; whoever waited longest is asked first.
const MAX_ASKED: usize = 512;

/// What the kernel says about a neighbour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Report {
    /// It has no entry, or one that says nothing, or it is asking right now.
    Unknown,
    /// It has just removed its entry.
    Removed,
    /// It asked in vain, or is about to remove its entry.
    Failed,
    /// It knows the address and looks after it.
    Fresh(Mac),
    /// It knows the address, but did not hear from the neighbour for a while.
    Stale(Mac),
    /// An operator or the kind of link said so; never to be asked. The kernel
    /// would forget a permanent entry when told to use it.
    Fixed(Mac),
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    report: Report,
    /// Since when no answer has come.
    silent: Option<Instant>,
    asked: Option<Instant>,
}

/// The neighbours that matter.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    entries: BTreeMap<Place, Option<Entry>>,
}

impl Neighbours {
    /// Keeps exactly these places and returns those that were not kept before.
    pub(super) fn keep(&mut self, places: &BTreeSet<Place>) -> Vec<Place> {
        self.entries.retain(|place, _| places.contains(place));
        let new: Vec<_> = places.iter().filter(|place| !self.entries.contains_key(place)).copied().collect();
        self.entries.extend(new.iter().map(|place| (*place, None)));
        new
    }

    /// The places that are kept.
    pub(super) fn places(&self) -> Vec<Place> {
        self.entries.keys().copied().collect()
    }

    /// Takes what the kernel said. Returns whether it is about a place that is kept.
    pub(super) fn hear(&mut self, place: Place, report: Report, now: Instant) -> bool {
        let Some(slot) = self.entries.get_mut(&place) else { return false };
        let asked = slot.and_then(|before| before.asked);
        let silent = slot.and_then(|before| before.silent);
        let silent = match report {
            Report::Failed => silent.or(Some(now)),
            Report::Unknown => silent,
            // An entry that is removed by hand fails first.
            Report::Removed => silent.filter(|since| now.duration_since(*since) >= ASK_UNKNOWN),
            Report::Fresh(_) | Report::Stale(_) | Report::Fixed(_) => None,
        };
        *slot = Some(Entry { report, silent, asked });
        true
    }

    /// What is known of a place.
    pub(super) fn knowledge(&self, place: Place) -> Knowledge {
        match self.entries.get(&place).copied().flatten() {
            Some(Entry { report: Report::Fresh(mac) | Report::Stale(mac) | Report::Fixed(mac), .. }) => {
                Knowledge::Address(mac)
            }
            Some(Entry { silent: Some(_), .. }) => Knowledge::Silent,
            _ => Knowledge::Asking,
        }
    }

    /// Whom to ask now; they count as asked.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<Place> {
        let due = |(place, entry): (&Place, &Option<Entry>)| {
            // What the kernel knows of a place that was never heard of is not
            // known: it could be a permanent entry.
            let entry = entry.as_ref()?;
            let pause = match entry.report {
                Report::Unknown | Report::Removed | Report::Failed => ASK_UNKNOWN,
                Report::Stale(_) => ASK_STALE,
                Report::Fresh(_) | Report::Fixed(_) => return None,
            };
            entry.asked.is_none_or(|asked| now.duration_since(asked) >= pause).then_some((entry.asked, *place))
        };
        let mut due: Vec<_> = self.entries.iter().filter_map(due).collect();
        due.sort_unstable();
        due.truncate(MAX_ASKED);
        let asked: Vec<_> = due.into_iter().map(|(_, place)| place).collect();
        for place in &asked {
            if let Some(Some(entry)) = self.entries.get_mut(place) {
                entry.asked = Some(now);
            }
        }
        asked
    }
}

#[cfg(test)]
#[path = "neighbours_tests.rs"]
mod tests;
