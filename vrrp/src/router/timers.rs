//! The timers of a router, and the one deadline they come down to.

use crate::time::Instant;

/// When what is due. A timer that does not run is `None`.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Timers {
    /// Active: the next advert.
    pub(super) advert: Option<Instant>,
    /// Backup: nobody has been heard for too long.
    pub(super) down: Option<Instant>,
    /// Active: another announcement.
    pub(super) announce: Option<Instant>,
    /// Whoever was to take over has had its time.
    pub(super) leave: Option<Instant>,
}

impl Timers {
    pub(super) fn earliest(&self) -> Option<Instant> {
        [self.advert, self.down, self.announce, self.leave].into_iter().flatten().min()
    }

    /// Whether the timer is due; if so it runs no more.
    pub(super) fn take(timer: &mut Option<Instant>, now: Instant) -> bool {
        timer.take_if(|due| *due <= now).is_some()
    }
}
