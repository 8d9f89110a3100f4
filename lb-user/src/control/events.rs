//! What has happened, for operators: the last events with their numbers, and
//! those who wait for the next one.
//!
//! What must not be here: sockets and tasks. A follower is a question with a
//! place for its answer; whoever owns the [`EventDesk`] hands questions in,
//! tells it what happens and what time it is, and is never kept waiting.
//!
//! Everything is bounded: the events kept, their length, the followers.

use std::{
    collections::VecDeque,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::{Map, Value};
use tokio::sync::oneshot;

use super::{
    moment::rfc3339,
    protocol::{MAX_EVENT_WAIT, MAX_WAITING, Refusal, RefusalCode, Response},
    view::events::{EventView, EventsView},
};

/// Events kept. At a few hundred bytes each this is a third of a megabyte, and
/// hours of a pair that has trouble.
pub const MAX_EVENTS: usize = 1024;

/// Longest subject, text or text of a detail, in bytes.
const MAX_TEXT: usize = 1024;

/// Most details of an event.
const MAX_DETAILS: usize = 32;

/// What kind of event it is. The list is open: kinds are added, never renamed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// Lbd serves.
    LbdReady,
    /// Lbd ends.
    LbdStopping,
    /// A VRRP instance went into another state.
    VrrpTransition,
    /// Something about VRRP that an operator should look at: another Active,
    /// another interval than ours, a runner that was late.
    VrrpAnomaly,
    /// Adverts were refused.
    VrrpRefusal,
    /// An operator moved, paused or resumed a VRRP instance.
    VrrpCommand,
    /// The program that is told of transitions could not do its work.
    NotifyFailed,
    /// A member became fit for new flows.
    MemberUp,
    /// A member became unfit for new flows.
    MemberDown,
    /// An operator changed a member.
    MemberSet,
    /// Something has another operating status. Members that a monitor found up or
    /// down have the two kinds of their own.
    StatusChanged,
    /// So many members of a pool are down that traffic goes to all of them.
    PoolPanic,
    /// Traffic goes to the members that are up again.
    PoolPanicOver,
    /// Another pool file is in force.
    PoolFileReloaded,
    /// A pool file was refused; the one before stays in force.
    PoolFileRefused,
    /// Packets of an interface meet the data path.
    InterfaceAttached,
    /// An interface is gone, and with it its packets.
    InterfaceLost,
    /// The other node of the pair takes part in flow sync.
    SyncPeerAppeared,
    /// The other node of the pair was not heard for too long.
    SyncPeerLost,
    /// The data path could not be brought to what it should be.
    DataPathError,
    /// The data path is as it should be again.
    DataPathMended,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 21] = [
        Self::LbdReady,
        Self::LbdStopping,
        Self::VrrpTransition,
        Self::VrrpAnomaly,
        Self::VrrpRefusal,
        Self::VrrpCommand,
        Self::NotifyFailed,
        Self::MemberUp,
        Self::MemberDown,
        Self::MemberSet,
        Self::StatusChanged,
        Self::PoolPanic,
        Self::PoolPanicOver,
        Self::PoolFileReloaded,
        Self::PoolFileRefused,
        Self::InterfaceAttached,
        Self::InterfaceLost,
        Self::SyncPeerAppeared,
        Self::SyncPeerLost,
        Self::DataPathError,
        Self::DataPathMended,
    ];

    /// Its name where programs read it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::LbdReady => "lbd_ready",
            Self::LbdStopping => "lbd_stopping",
            Self::VrrpTransition => "vrrp_transition",
            Self::VrrpAnomaly => "vrrp_anomaly",
            Self::VrrpRefusal => "vrrp_refusal",
            Self::VrrpCommand => "vrrp_command",
            Self::NotifyFailed => "notify_failed",
            Self::MemberUp => "member_up",
            Self::MemberDown => "member_down",
            Self::MemberSet => "member_set",
            Self::StatusChanged => "status_changed",
            Self::PoolPanic => "pool_panic",
            Self::PoolPanicOver => "pool_panic_over",
            Self::PoolFileReloaded => "pool_file_reloaded",
            Self::PoolFileRefused => "pool_file_refused",
            Self::InterfaceAttached => "interface_attached",
            Self::InterfaceLost => "interface_lost",
            Self::SyncPeerAppeared => "sync_peer_appeared",
            Self::SyncPeerLost => "sync_peer_lost",
            Self::DataPathError => "data_path_error",
            Self::DataPathMended => "data_path_mended",
        }
    }

    /// Whether somebody should look at it: such events are logged as warnings.
    #[must_use]
    pub const fn is_trouble(self) -> bool {
        matches!(
            self,
            Self::VrrpAnomaly
                | Self::VrrpRefusal
                | Self::NotifyFailed
                | Self::MemberDown
                | Self::PoolPanic
                | Self::PoolFileRefused
                | Self::InterfaceLost
                | Self::SyncPeerLost
                | Self::DataPathError
        )
    }
}

/// Something that has happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// When.
    pub at: SystemTime,
    /// What kind of event it is.
    pub kind: Kind,
    /// What it happened to: a label, the name of an interface, or empty.
    pub subject: String,
    /// What happened, in words.
    pub text: String,
    /// What programs want to know of it.
    pub detail: Map<String, Value>,
}

impl Event {
    /// Something that happens now. Texts longer than a kilobyte are cut.
    #[must_use]
    pub fn new(kind: Kind, subject: impl Into<String>, text: impl Into<String>) -> Self {
        let (subject, text) = (cut(subject.into()), cut(text.into()));
        Self { at: SystemTime::now(), kind, subject, text, detail: Map::new() }
    }

    /// With a detail more, up to 32 of them; a text longer than a kilobyte is
    /// cut.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        if self.detail.len() < MAX_DETAILS {
            let value = match value.into() {
                Value::String(text) => Value::String(cut(text)),
                value => value,
            };
            self.detail.insert(key.to_owned(), value);
        }
        self
    }

    /// With another moment, for what has been noticed late.
    #[must_use]
    pub const fn at(mut self, moment: SystemTime) -> Self {
        self.at = moment;
        self
    }
}

fn cut(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        let mark = "…";
        text.truncate(text.floor_char_boundary(MAX_TEXT - mark.len()));
        text.push_str(mark);
    }
    text
}

/// The last events, oldest first.
#[derive(Debug)]
pub struct EventLog {
    epoch: u64,
    /// The number of the last event, 0 before the first.
    last: u64,
    kept: VecDeque<EventView>,
}

impl EventLog {
    /// An empty log of a life of lbd that began at this moment.
    #[must_use]
    pub fn new(started: SystemTime) -> Self {
        let since = started.duration_since(UNIX_EPOCH).unwrap_or_default();
        // Fifty-three bits, which every reader of JSON takes, last until 2255.
        let epoch = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
        Self { epoch, last: 0, kept: VecDeque::with_capacity(MAX_EVENTS) }
    }

    /// Takes an event and returns its number; the oldest one makes room.
    pub fn push(&mut self, event: Event) -> u64 {
        if self.kept.len() == MAX_EVENTS {
            self.kept.pop_front();
        }
        self.last += 1;
        self.kept.push_back(EventView {
            seq: self.last,
            time: rfc3339(event.at),
            kind: event.kind.label().to_owned(),
            subject: event.subject,
            text: event.text,
            detail: event.detail,
        });
        self.last
    }

    /// The events after a number, or all that are kept.
    #[must_use]
    pub fn after(&self, after: Option<u64>) -> EventsView {
        let first_kept = self.last - self.kept.len() as u64 + 1;
        let from = after.map_or(first_kept, |after| after.saturating_add(1));
        let lost = first_kept.saturating_sub(from);
        let skipped = usize::try_from(from.saturating_sub(first_kept)).unwrap_or(usize::MAX);
        EventsView {
            epoch: self.epoch,
            events: self.kept.iter().skip(skipped).cloned().collect(),
            next: self.last,
            lost,
        }
    }

    /// Where somebody is who has read up to `after` in the life `epoch`: the
    /// number when it is of this life, nowhere when it is of another. A number
    /// that has not been reached is of another life too.
    fn place(&self, question: &Question) -> Option<u64> {
        let same_life = question.epoch.is_none_or(|epoch| epoch == self.epoch);
        question.after.filter(|after| same_life && *after <= self.last)
    }
}

/// What a follower asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Question {
    /// The number after which events are wanted; none: all that are kept.
    pub after: Option<u64>,
    /// The life of lbd that the number belongs to, where it is known. In
    /// another one everything is new.
    pub epoch: Option<u64>,
    /// How long to wait for an event when there is none. It is waited for
    /// [`MAX_EVENT_WAIT`] at most.
    pub wait: Duration,
}

/// Somebody who waits for the next event.
#[derive(Debug)]
struct Follower {
    after: u64,
    until: Instant,
    reply: oneshot::Sender<Response>,
}

/// The event log and those who wait for more of it.
#[derive(Debug)]
pub struct EventDesk {
    log: EventLog,
    followers: Vec<Follower>,
}

impl EventDesk {
    /// A desk without followers, over an empty log.
    #[must_use]
    pub fn new(started: SystemTime) -> Self {
        Self { log: EventLog::new(started), followers: Vec::with_capacity(MAX_WAITING) }
    }

    /// What has happened.
    #[must_use]
    pub const fn log(&self) -> &EventLog {
        &self.log
    }

    /// Answers a question: at once if there is something to tell or nothing to
    /// wait for, else when something happens or the wait is over. With
    /// [`MAX_WAITING`] followers already, one more is refused as busy.
    pub fn ask(&mut self, question: Question, now: Instant, reply: oneshot::Sender<Response>) {
        let place = self.log.place(&question);
        let after = match place {
            Some(after) if after == self.log.last && !question.wait.is_zero() => after,
            // Whoever asks for everything waits for the first event there is.
            None if self.log.last == 0 && !question.wait.is_zero() => 0,
            _ => return answer(reply, Response::Events(self.log.after(place))),
        };
        self.followers.retain(|follower| !follower.reply.is_closed());
        if self.followers.len() >= MAX_WAITING {
            let message = format!("{MAX_WAITING} clients follow events already; ask without waiting, or end one");
            return answer(reply, Refusal::new(RefusalCode::Busy, message).into());
        }
        self.followers.push(Follower { after, until: now + question.wait.min(MAX_EVENT_WAIT), reply });
    }

    /// Takes an event, tells it to everybody who waits, and returns its number.
    pub fn push(&mut self, event: Event) -> u64 {
        let number = self.log.push(event);
        for follower in self.followers.drain(..) {
            answer(follower.reply, Response::Events(self.log.after(Some(follower.after))));
        }
        number
    }

    /// As [`EventDesk::push`], and logs the event: for what nobody else logs.
    pub fn tell(&mut self, event: Event) -> u64 {
        let Event { kind, subject, text, detail, .. } = &event;
        let kind_label = kind.label();
        let detail = Value::Object(detail.clone());
        if kind.is_trouble() {
            tracing::warn!(kind = kind_label, %subject, %detail, "{text}");
        } else {
            tracing::info!(kind = kind_label, %subject, %detail, "{text}");
        }
        self.push(event)
    }

    /// Tells those whose wait is over that nothing has happened.
    pub fn expire(&mut self, now: Instant) {
        for follower in self.followers.extract_if(.., |follower| follower.until <= now) {
            answer(follower.reply, Response::Events(self.log.after(Some(follower.after))));
        }
    }

    /// When [`EventDesk::expire`] has something to do next, unless something
    /// happens before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.followers.iter().map(|follower| follower.until).min()
    }
}

/// Whoever asked may have left.
fn answer(reply: oneshot::Sender<Response>, response: Response) {
    let _ = reply.send(response);
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
