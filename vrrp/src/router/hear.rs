//! What a router makes of the adverts of others.

use super::words::{Action, Anomaly, Heard, Reason};
use super::{ANNOUNCE_GAP, ANSWER_GAP, NOTICE_GAP, Router};
use crate::packet::Advert;
use crate::time::Instant;
use crate::types::State;

impl Router {
    pub(super) fn hear(&mut self, now: Instant, advert: &Advert, out: &mut Vec<Action>) {
        self.heard = Some(Heard { source: advert.source, priority: advert.priority, at: now });
        if self.state != State::Active && self.carrying && advert.priority != 0 {
            self.set_active(false, out);
            self.timers.leave = None;
            self.finish(out);
        }
        match self.state {
            State::Initialize => return,
            State::Backup => self.hear_as_backup(now, advert),
            State::Active => self.hear_as_active(now, advert, out),
        }
        self.notice_all(now, advert, out);
    }

    fn hear_as_backup(&mut self, now: Instant, advert: &Advert) {
        if advert.priority == 0 {
            // Never later than it was: a flood of these must not hold it off.
            let skewed = now.plus(self.skew());
            self.timers.down = Some(self.timers.down.map_or(skewed, |down| down.min(skewed)));
            self.expiry = Reason::ActiveLeft;
        } else if advert.priority >= self.priority().get() || !self.preempts() {
            self.preempt_from = None;
            self.follow(now, advert);
        } else {
            self.hear_lower(now, advert);
        }
    }

    /// A lower Active is let be until it was heard for as long as configured.
    /// From then on its adverts count for nothing, and the timer runs out.
    fn hear_lower(&mut self, now: Instant, advert: &Advert) {
        let from = *self.preempt_from.get_or_insert(now.plus(self.config.preempt_delay));
        if now >= from {
            self.expiry = Reason::Preempted;
            return;
        }
        let down_before = self.timers.down;
        self.follow(now, advert);
        let soonest = down_before.map_or(from, |down| down.max(from));
        if self.timers.down.is_some_and(|down| down >= soonest) {
            self.timers.down = Some(soonest);
            self.expiry = Reason::Preempted;
        }
    }

    fn hear_as_active(&mut self, now: Instant, advert: &Advert, out: &mut Vec<Action>) {
        let ours = self.priority().get();
        if advert.priority > ours {
            self.yield_to(now, advert, Reason::HigherPriority, out);
        } else if advert.priority == ours && advert.source > self.primary {
            self.yield_to(now, advert, Reason::HigherAddress, out);
        } else {
            self.answer(now, advert.priority == 0, out);
            self.announce_again(now, out);
        }
        let other = Anomaly::OtherActive { source: advert.source, priority: advert.priority };
        self.notice(now, other, out);
    }

    /// Leaves to a higher Active, but not without a word: the other one hears
    /// that there were two, and announces itself again.
    fn yield_to(&mut self, now: Instant, advert: &Advert, reason: Reason, out: &mut Vec<Action>) {
        out.push(Action::Send { priority: self.priority().get() });
        self.set_active(false, out);
        self.listen(now, reason, out);
        self.follow(now, advert);
    }

    /// Says at once that this node is Active, if it did not just do so.
    pub(super) fn answer(&mut self, now: Instant, restart: bool, out: &mut Vec<Action>) {
        let gap = ANSWER_GAP.min(self.config.interval / 4);
        match self.answered.map(|last| last.plus(gap)) {
            Some(next) if now < next => {
                self.timers.advert = Some(self.timers.advert.map_or(next, |advert| advert.min(next)));
                self.owes_answer = true;
            }
            _ => {
                self.answered = Some(now);
                out.push(Action::Send { priority: self.priority().get() });
                // An answer that was owed is given with this one.
                if core::mem::take(&mut self.owes_answer) || restart {
                    self.timers.advert = Some(now.plus(self.config.interval));
                }
            }
        }
    }

    /// Announces because another may have done so: now unless it just did, and
    /// once more after the last one that was heard.
    fn announce_again(&mut self, now: Instant, out: &mut Vec<Action>) {
        if self.announced.is_none_or(|last| now >= last.plus(ANNOUNCE_GAP)) {
            self.announce(now, out);
            self.timers.announce = None;
        }
        self.timers.announce.get_or_insert(now.plus(ANNOUNCE_GAP));
    }

    fn notice_all(&mut self, now: Instant, advert: &Advert, out: &mut Vec<Action>) {
        let source = advert.source;
        if advert.priority == self.priority().get() {
            let both_own = self.priority().is_owner();
            let anomaly = if both_own { Anomaly::SecondOwner { source } } else { Anomaly::EqualPriority { source } };
            self.notice(now, anomaly, out);
        }
        if advert.notes.interval_limited {
            self.notice(now, Anomaly::IntervalLimited { source }, out);
        } else if advert.notes.interval_differs {
            self.notice(now, Anomaly::IntervalDiffers { source, interval: advert.interval }, out);
        }
        if advert.notes.addresses_differ {
            self.notice(now, Anomaly::AddressesDiffer { source }, out);
        }
        if advert.notes.unsigned {
            self.notice(now, Anomaly::Unsigned { source }, out);
        }
    }

    fn notice(&mut self, now: Instant, anomaly: Anomaly, out: &mut Vec<Action>) {
        let last = &mut self.noticed[anomaly.kind()];
        if last.is_none_or(|last| now >= last.plus(NOTICE_GAP)) {
            *last = Some(now);
            out.push(Action::Noticed(anomaly));
        }
    }
}
