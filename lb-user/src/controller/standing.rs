//! Since when everything has the status it has, and what is to be told when one
//! changes. Pure: the time is handed in.
//!
//! Objects are known by kind and label, so that a reload which leaves an object
//! where it is leaves its time alone. What is not shown any more is forgotten:
//! this is never larger than the pool file. The first sight of an object tells
//! nothing: it begins its time.
//!
//! What must not be here: what a status follows from (`control::status`).

use std::{collections::HashMap, time::SystemTime};

use crate::control::{
    events::{Event, Kind},
    status::{Object, PanicFacts},
    survey::Sighting,
    view::OperatingStatus,
};

/// Most changes of one look that are told one by one; of more it is told how many
/// there were. The log of events keeps 1024, and others are to find a place there.
const MAX_TOLD: usize = 128;

/// Most changes of members among them, so that those of pools are told first.
const MAX_MEMBERS_TOLD: usize = 64;

/// How an object stands.
#[derive(Clone, Debug)]
struct Stand {
    status: OperatingStatus,
    since: SystemTime,
    down: bool,
    panic: bool,
    /// The look that saw it last.
    look: u64,
}

/// How everything that the pool file names stands, and since when.
#[derive(Clone, Debug, Default)]
pub struct Standings {
    known: HashMap<Object, HashMap<String, Stand>>,
    look: u64,
}

impl Standings {
    /// Since when an object has had this status; nothing when it had another one
    /// at the last look, or was not there.
    #[must_use]
    pub fn since(&self, object: Object, label: &str, status: OperatingStatus) -> Option<SystemTime> {
        let stand = self.known.get(&object)?.get(label)?;
        (stand.status == status).then_some(stand.since)
    }

    /// How many objects are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.values().map(HashMap::len).sum()
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes a look at everything, which `show_all` shows one by one, and returns
    /// what is to be told: changes of status, and panics that begin and end. A
    /// member that a monitor found up or down has an event of its own already.
    pub fn look(&mut self, now: SystemTime, show_all: impl FnOnce(&mut dyn FnMut(&Sighting<'_>))) -> Vec<Event> {
        self.look += 1;
        let mut news = News::default();
        show_all(&mut |sighting| self.see(sighting, now, &mut news));
        let look = self.look;
        for known in self.known.values_mut() {
            known.retain(|_, stand| stand.look == look);
        }
        news.into_events(now)
    }

    fn see(&mut self, sighting: &Sighting<'_>, now: SystemTime, news: &mut News) {
        let Sighting { object, label, status, down, panic, .. } = *sighting;
        let known = self.known.entry(object).or_default();
        let seen = Stand { status, since: now, down, panic: panic.is_some(), look: self.look };
        let Some(stand) = known.get_mut(label) else {
            known.insert(label.to_owned(), seen);
            return;
        };
        stand.look = self.look;
        match (stand.panic, panic) {
            (false, Some(panic)) => news.panics.push(panic_begins(label, panic)),
            (true, None) => news.panics.push(panic_ends(label)),
            _ => {}
        }
        stand.panic = panic.is_some();
        // That a monitor looks no more is nothing that it told.
        let looks = !matches!(status, OperatingStatus::NoMonitor | OperatingStatus::Offline);
        let told_by_monitor = stand.down != down && looks;
        stand.down = down;
        if stand.status != status {
            if !told_by_monitor {
                news.changed(stand.status, sighting);
            }
            (stand.status, stand.since) = (status, now);
        }
    }
}

/// What one look finds.
#[derive(Default)]
struct News {
    panics: Vec<Event>,
    changes: Vec<Event>,
    members: Vec<Event>,
    /// Changes that are not told one by one.
    more: usize,
}

impl News {
    fn changed(&mut self, from: OperatingStatus, sighting: &Sighting<'_>) {
        let (told, most) = match sighting.object {
            Object::Member => (&mut self.members, MAX_MEMBERS_TOLD),
            _ => (&mut self.changes, MAX_TOLD - MAX_MEMBERS_TOLD),
        };
        if told.len() < most {
            told.push(change(from, sighting));
        } else {
            self.more += 1;
        }
    }

    fn into_events(self, now: SystemTime) -> Vec<Event> {
        let Self { mut panics, changes, members, more } = self;
        panics.truncate(MAX_TOLD);
        let mut events: Vec<Event> = panics.into_iter().chain(changes).chain(members).map(|e| e.at(now)).collect();
        if more > 0 {
            let text = format!(
                "{more} more changed their status at once; `lbctl member list` and `lbctl status` tell how all is"
            );
            events.push(Event::new(Kind::StatusChanged, "", text).at(now).with("more", more));
        }
        events
    }
}

fn change(from: OperatingStatus, sighting: &Sighting<'_>) -> Event {
    let Sighting { object, label, status, reason, .. } = *sighting;
    let reason = reason.map(ToString::to_string);
    let mut text = format!("{} went from {} to {}", object.name(), from.word(), status.word());
    if let Some(reason) = &reason {
        text.push_str(": ");
        text.push_str(reason);
    }
    Event::new(Kind::StatusChanged, label, text)
        .with("object", object.word())
        .with("from", from.word())
        .with("to", status.word())
        .with("reason", reason)
}

fn panic_begins(pool: &str, panic: PanicFacts) -> Event {
    let event = Event::new(Kind::PoolPanic, pool, panic.to_string());
    event.with("down", panic.down).with("of", panic.of).with("threshold", panic.threshold)
}

fn panic_ends(pool: &str) -> Event {
    let text = "few enough members are down again, or nobody counts them: traffic goes to those that are up";
    Event::new(Kind::PoolPanicOver, pool, text)
}

#[cfg(test)]
#[path = "standing_tests.rs"]
mod tests;
