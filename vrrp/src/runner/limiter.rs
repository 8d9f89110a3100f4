//! Keeps what somebody outside can cause from filling the log.

use std::time::Duration;

use crate::time::Instant;

/// How long one report speaks for those like it.
pub(super) const WINDOW: Duration = Duration::from_secs(10);

/// Subjects that are told apart. Beyond them everything is one subject: a
/// sender that invents sources gets one line a window, not one a source.
const SUBJECTS: usize = 64;

/// At most one report a subject and window; the rest is counted and the count
/// is told when the window ends.
#[derive(Debug)]
pub(super) struct Limiter<K> {
    open: Vec<Window<K>>,
    /// Everything that found no place in `open`.
    others: Option<Window<K>>,
}

#[derive(Debug)]
struct Window<K> {
    /// Of the others: the latest of them, as an example.
    subject: K,
    ends: Instant,
    suppressed: u64,
}

impl<K: Copy + PartialEq> Limiter<K> {
    /// Nothing reported yet.
    pub(super) fn new() -> Self {
        Self { open: Vec::with_capacity(SUBJECTS), others: None }
    }

    /// Whether to report this now. If not, it is counted.
    pub(super) fn admits(&mut self, now: Instant, subject: K) -> bool {
        if let Some(window) = self.open.iter_mut().find(|window| window.subject == subject) {
            window.suppressed += 1;
            return false;
        }
        let fresh = Window { subject, ends: now.plus(WINDOW), suppressed: 0 };
        if self.open.len() < SUBJECTS {
            self.open.push(fresh);
            return true;
        }
        match &mut self.others {
            Some(window) => {
                window.subject = subject;
                window.suppressed += 1;
                false
            }
            none => {
                *none = Some(fresh);
                true
            }
        }
    }

    /// When the next window ends.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.open.iter().chain(&self.others).map(|window| window.ends).min()
    }

    /// Ends the windows that are over. `tell` is given each subject that was
    /// held back meanwhile and how often; such a subject's next window begins.
    pub(super) fn expire(&mut self, now: Instant, mut tell: impl FnMut(K, u64)) {
        let mut goes_on = |window: &mut Window<K>| {
            if window.ends > now {
                return true;
            }
            if window.suppressed == 0 {
                return false;
            }
            tell(window.subject, window.suppressed);
            window.suppressed = 0;
            window.ends = now.plus(WINDOW);
            true
        };
        self.open.retain_mut(&mut goes_on);
        if let Some(window) = &mut self.others
            && !goes_on(window)
        {
            self.others = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    fn expired(limiter: &mut Limiter<u32>, now: Instant) -> Vec<(u32, u64)> {
        let mut told = Vec::new();
        limiter.expire(now, |subject, suppressed| told.push((subject, suppressed)));
        told
    }

    #[test]
    fn the_first_is_reported_and_the_rest_counted_until_the_window_ends() {
        let mut limiter = Limiter::new();
        assert_eq!(limiter.deadline(), None);
        assert!(limiter.admits(at(0), 1));
        assert_eq!(limiter.deadline(), Some(at(10)));
        for _ in 0..99_999 {
            assert!(!limiter.admits(at(1), 1));
        }
        assert!(limiter.admits(at(2), 2), "another subject is not held back");
        assert_eq!(expired(&mut limiter, at(9)), []);
        assert_eq!(expired(&mut limiter, at(10)), [(1, 99_999)]);
        assert!(!limiter.admits(at(11), 1), "its next window has begun");
        assert_eq!(expired(&mut limiter, at(20)), [(1, 1)]);
        assert_eq!(expired(&mut limiter, at(30)), []);
        assert_eq!(limiter.deadline(), None, "a quiet subject is forgotten");
        assert!(limiter.admits(at(31), 1));
    }

    #[test]
    fn a_million_invented_subjects_are_one_report_a_window() {
        let mut limiter = Limiter::new();
        let admitted = (0..1_000_000).filter(|subject| limiter.admits(at(0), *subject)).count();
        assert_eq!(admitted, SUBJECTS + 1);
        let told = expired(&mut limiter, at(10));
        assert_eq!(told, [(999_999, 999_999 - SUBJECTS as u64)]);
        assert_eq!(expired(&mut limiter, at(20)), []);
        assert_eq!(limiter.deadline(), None);
    }
}
