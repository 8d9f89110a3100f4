//! A data path that writes down what it is told, and when.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use krater_tests::rig::wait;
use vrrp::{
    Anomaly, Reason, Refusal, State,
    runner::{Report, RouterKey, World},
};

use super::segment::LONG;

/// How often a thread of any node came late by more than an interval or so.
static LATE: AtomicUsize = AtomicUsize::new(0);

/// Plays a scene, and once more if it went wrong while the machine kept a
/// thread waiting: on one that does not preempt its kernel, whatever another
/// process does there can hold up even a real-time thread for half a second,
/// and then routers rightly believe each other dead.
pub(crate) fn undisturbed(scene: impl Fn() -> Result<()>) -> Result<()> {
    for _ in 0..4 {
        let before = LATE.load(Ordering::Relaxed);
        let played = scene();
        if played.is_ok() || LATE.load(Ordering::Relaxed) == before {
            return played;
        }
        println!("once more, because a thread came late: {played:?}");
    }
    scene()
}

/// What happened.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Entry {
    Carries(bool),
    Moved(State, State, Reason),
    Noticed(Anomaly),
    Refused { refusal: Refusal, suppressed: u64 },
    Announced(u64),
    Realtime(Result<(), String>),
    Late(Duration),
    Trouble(String),
}

/// The journal of one node. Clones write into the same one.
#[derive(Clone, Default)]
pub(crate) struct Journal {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    entries: Vec<(Instant, RouterKey, Entry)>,
    alive: Option<Instant>,
    /// How long the next report of a refusal takes.
    hesitation: Option<Duration>,
    /// How long the next sign of life takes.
    faint: Option<Duration>,
}

impl Journal {
    /// Everything so far.
    pub(crate) fn entries(&self) -> Vec<(Instant, RouterKey, Entry)> {
        self.lock().entries.clone()
    }

    /// Everything of one router, without the times.
    pub(crate) fn of(&self, key: RouterKey) -> Vec<Entry> {
        self.lock().entries.iter().filter(|(_, of, _)| *of == key).map(|(_, _, entry)| entry.clone()).collect()
    }

    /// When the data path was turned on and off, of any router.
    pub(crate) fn carrying(&self) -> Vec<(Instant, bool)> {
        let entries = self.entries();
        entries
            .iter()
            .filter_map(|(at, _, e)| if let Entry::Carries(on) = e { Some((*at, *on)) } else { None })
            .collect()
    }

    /// Whether it is on.
    pub(crate) fn is_carrying(&self) -> bool {
        self.carrying().last().is_some_and(|(_, on)| *on)
    }

    /// Waits until it is.
    pub(crate) fn wait_carrying(&self, on: bool) -> Result<()> {
        let what = format!("the node to {}", if on { "carry" } else { "carry no longer" });
        wait::until_true(&what, LONG, || Ok(self.is_carrying() == on))
            .map(drop)
            .map_err(|e| e.context(self.to_string()))
    }

    /// Waits for an entry of that kind.
    pub(crate) fn wait_for(&self, what: &str, is_it: impl Fn(&Entry) -> bool) -> Result<()> {
        let found = wait::until_true(what, LONG, || Ok(self.entries().iter().any(|(_, _, entry)| is_it(entry))));
        found.map(drop).map_err(|e| e.context(self.to_string()))
    }

    /// When an Active of this node last showed a sign of life.
    pub(crate) fn alive(&self) -> Option<Instant> {
        self.lock().alive
    }

    /// Makes the thread hang in its next report of a refused packet.
    pub(crate) fn hesitate(&self, how_long: Duration) {
        self.lock().hesitation = Some(how_long);
    }

    /// Makes the thread hang at its next advert.
    pub(crate) fn faint(&self, how_long: Duration) {
        self.lock().faint = Some(how_long);
    }

    fn push(&self, key: RouterKey, entry: Entry) {
        self.lock().entries.push((Instant::now(), key, entry));
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Everything, for a test that failed.
impl fmt::Display for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.entries();
        let Some((start, _, _)) = entries.first() else { return f.write_str("(an empty journal)") };
        for (at, key, entry) in &entries {
            writeln!(f, "{:9.3} ms  {key}  {entry:?}", (*at - *start).as_secs_f64() * 1e3)?;
        }
        Ok(())
    }
}

impl World for Journal {
    fn set_active(&mut self, key: RouterKey, active: bool) {
        self.push(key, Entry::Carries(active));
    }

    fn alive(&mut self, _: RouterKey, _: vrrp::Instant) {
        let faint = {
            let mut shared = self.lock();
            shared.alive = Some(Instant::now());
            shared.faint.take()
        };
        thread::sleep(faint.unwrap_or_default());
    }

    fn report(&mut self, report: Report) {
        match report {
            Report::Moved { key, from, to, reason, .. } => self.push(key, Entry::Moved(from, to, reason)),
            Report::Noticed { key, anomaly } => self.push(key, Entry::Noticed(anomaly)),
            Report::Refused { key, refusal, suppressed, .. } => {
                self.push(key.unwrap_or_default(), Entry::Refused { refusal, suppressed });
                let hesitation = self.lock().hesitation.take();
                thread::sleep(hesitation.unwrap_or_default());
            }
            Report::Announced { key, frames } => self.push(key, Entry::Announced(frames)),
            Report::Realtime(result) => self.push(0, Entry::Realtime(result)),
            Report::Late { by } => {
                LATE.fetch_add(1, Ordering::Relaxed);
                self.push(0, Entry::Late(by));
            }
            Report::SendFailed { key, error } => self.push(key, Entry::Trouble(format!("send: {error}"))),
            Report::Deaf { key, error } => self.push(key, Entry::Trouble(format!("deaf: {error}"))),
        }
    }
}
