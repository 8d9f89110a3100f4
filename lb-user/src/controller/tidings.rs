//! What is told of verdicts: one by one as long as they are few, and by their number when
//! very many come at once. Pure: the time is handed in.
//!
//! A rack that loses its switch is ten thousand verdicts in a second. Each of them as a
//! line and an event would keep packets waiting, and push everything else out of the log of
//! events, which keeps 1024.
//!
//! What must not be here: what a verdict changes.

use std::time::{Duration, Instant, SystemTime};

use crate::{
    compile::Verdict,
    control::events::{Event, Kind},
    health::HealthEvent,
};

/// Most verdicts that are told one by one in a [`WINDOW`].
const MAX_TOLD: usize = 64;

/// How long verdicts count as having come at once.
const WINDOW: Duration = Duration::from_secs(1);

/// Verdicts of the last second.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Tidings {
    since: Option<Instant>,
    told: usize,
    more_up: usize,
    more_down: usize,
}

impl Tidings {
    /// Takes a verdict about a member with this label. Returns what is to be told of it;
    /// nothing when it is one of too many.
    pub(super) fn take(&mut self, now: Instant, label: &str, event: &HealthEvent) -> Option<Event> {
        self.since.get_or_insert(now);
        if self.told >= MAX_TOLD {
            match event.verdict {
                Verdict::Up => self.more_up += 1,
                Verdict::Down => self.more_down += 1,
            }
            return None;
        }
        self.told += 1;
        let (member, reason) = (&event.member, event.outcome.to_string());
        let (kind, text) = match event.verdict {
            Verdict::Up => (Kind::MemberUp, format!("it answers: {reason}")),
            Verdict::Down => (Kind::MemberDown, reason),
        };
        let told = Event::new(kind, label, text).at(event.at).with("pool", member.pool.clone());
        Some(told.with("address", member.address.to_string()).with("port", member.port))
    }

    /// When [`Tidings::over`] is to be called, if it is.
    pub(super) fn due(&self) -> Option<Instant> {
        self.since.map(|since| since + WINDOW)
    }

    /// Ends the second, if it is over, and returns what is to be told of those that were
    /// too many.
    pub(super) fn over(&mut self, now: Instant, wall: SystemTime) -> Vec<Event> {
        if self.due().is_none_or(|due| now < due) {
            return Vec::new();
        }
        let Self { more_up, more_down, .. } = std::mem::take(self);
        let told = |kind, more: usize, text: String| {
            (more > 0).then(|| Event::new(kind, "", text).at(wall).with("more", more))
        };
        let down = format!("{more_down} more went down within a second; `lbctl health list --failing` names them");
        let up = format!("{more_up} more came up within a second; `lbctl health summary` counts them");
        [told(Kind::MemberDown, more_down, down), told(Kind::MemberUp, more_up, up)].into_iter().flatten().collect()
    }
}

/// Logs what is told.
pub(super) fn log(event: &Event) {
    let (member, text) = (&event.subject, &event.text);
    match event.kind {
        Kind::MemberDown => tracing::warn!(%member, "member is down: {text}"),
        _ => tracing::info!(%member, "member is up: {text}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::controller::reconcile::world::key;

    fn event(verdict: Verdict) -> HealthEvent {
        HealthEvent {
            member: key("web/app", 1),
            verdict,
            outcome: lb_health::Outcome::Fails(lb_health::Failure::Told("test")),
            at: UNIX_EPOCH,
            decided: Instant::now(),
        }
    }

    #[test]
    fn of_very_many_verdicts_the_first_are_told_one_by_one_and_the_rest_by_their_number() {
        let (start, mut tidings) = (Instant::now(), Tidings::default());
        let take = |tidings: &mut Tidings, verdict| tidings.take(start, "web/app/m1", &event(verdict));
        let told = (0..10_000).filter_map(|_| take(&mut tidings, Verdict::Down)).count();
        assert_eq!(told, MAX_TOLD);
        for _ in 0..7 {
            assert_eq!(take(&mut tidings, Verdict::Up), None);
        }
        assert_eq!(tidings.due(), Some(start + WINDOW));
        assert_eq!(tidings.over(start + WINDOW / 2, UNIX_EPOCH), [], "others may follow");
        let events = tidings.over(start + WINDOW, UNIX_EPOCH);
        let more: Vec<_> = events.iter().map(|event| (event.kind, event.detail["more"].clone())).collect();
        assert_eq!(more, [(Kind::MemberDown, (10_000 - MAX_TOLD).into()), (Kind::MemberUp, 7.into())]);
        // The next second begins with the next verdict.
        assert_eq!((tidings.due(), tidings.over(start + 2 * WINDOW, UNIX_EPOCH)), (None, Vec::new()));
        assert!(take(&mut tidings, Verdict::Up).is_some());
        assert_eq!(tidings.over(start + 3 * WINDOW, UNIX_EPOCH), [], "all were told");
    }
}
