//! Sleeping until something comes or a point in time does, to the microsecond.

use std::{io, os::fd::AsFd};

use nix::sys::{
    epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
    time::TimeSpec,
    timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
};

use crate::time::Instant;

/// More than these in one turn come in the next.
const EVENTS: usize = 32;

/// The thread's one place to wait at.
#[derive(Debug)]
pub(super) struct Waker {
    epoll: Epoll,
    timer: TimerFd,
}

/// Who woke the thread: the tokens they were watched by.
#[derive(Debug, Default)]
pub(super) struct Awoken {
    tokens: [u64; EVENTS],
    count: usize,
}

const TIMER: u64 = u64::MAX;

impl Waker {
    pub(super) fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        // Unlike the timeout of a poll it counts the time asleep, and no slack
        // is added to it.
        let timer = TimerFd::new(ClockId::CLOCK_BOOTTIME, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?;
        epoll.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, TIMER))?;
        Ok(Self { epoll, timer })
    }

    /// Wakes when that has something to read. It is forgotten when it is closed.
    pub(super) fn watch(&self, what: impl AsFd, token: u64) -> io::Result<()> {
        Ok(self.epoll.add(what, EpollEvent::new(EpollFlags::EPOLLIN, token))?)
    }

    /// Waits until then, or for ever.
    pub(super) fn wait(&self, until: Option<Instant>, awoken: &mut Awoken) -> io::Result<()> {
        // Setting it also takes back that it has gone off.
        match until {
            Some(until) => {
                let at = TimeSpec::from_duration(std::time::Duration::from_micros(until.as_micros().max(1)));
                self.timer.set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
            }
            None => self.timer.unset()?,
        }
        let mut events = [EpollEvent::empty(); EVENTS];
        awoken.count = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
            Ok(count) => count,
            Err(nix::errno::Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        for (token, event) in awoken.tokens.iter_mut().zip(&events[..awoken.count]) {
            *token = event.data();
        }
        Ok(())
    }
}

impl Awoken {
    pub(super) fn by(&self, token: u64) -> bool {
        self.tokens[..self.count].contains(&token)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nix::sys::eventfd::EventFd;

    use super::*;
    use crate::runner::clock;

    #[test]
    fn it_wakes_at_the_time_and_not_before() -> io::Result<()> {
        let waker = Waker::new()?;
        let mut awoken = Awoken::default();
        for wait in [Duration::ZERO, Duration::from_micros(700), Duration::from_millis(20)] {
            let until = clock::now().plus(wait);
            waker.wait(Some(until), &mut awoken)?;
            assert!(clock::now() >= until, "{wait:?}");
            assert!(!awoken.by(7));
        }
        Ok(())
    }

    #[test]
    fn a_time_long_past_does_not_wait_at_all() -> io::Result<()> {
        let waker = Waker::new()?;
        waker.wait(Some(Instant::from_micros(0)), &mut Awoken::default())
    }

    #[test]
    fn what_is_watched_wakes_it_by_its_token() -> io::Result<()> {
        let waker = Waker::new()?;
        let bell = EventFd::new()?;
        waker.watch(&bell, 7)?;
        bell.write(1)?;
        let mut awoken = Awoken::default();
        waker.wait(None, &mut awoken)?;
        assert!(awoken.by(7) && !awoken.by(8));
        Ok(())
    }
}
