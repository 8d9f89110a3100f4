//! How others speak to the thread: it is never made to wait for them.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::{Mutex, MutexGuard, PoisonError, TryLockError, mpsc::SyncSender},
};

use nix::{
    errno::Errno,
    sys::eventfd::{EfdFlags, EventFd},
};

use super::{
    instance::{Command, Instance, RouterKey},
    report::Snapshot,
};
use crate::time::Instant;

/// Commands that may wait. An operator who is faster than the thread has to
/// ask again.
const COMMANDS: usize = 64;

/// Snapshots that may be asked for at a time.
const QUESTIONS: usize = 16;

/// What the thread has been told and has not done yet.
#[derive(Debug)]
pub(super) struct Mailbox {
    mail: Mutex<Mail>,
    bell: EventFd,
}

/// Everything that waits. Of wishes only the last counts.
#[derive(Debug, Default)]
pub(super) struct Mail {
    pub(super) wish: Option<Vec<Instance>>,
    pub(super) commands: Vec<(RouterKey, Command)>,
    pub(super) questions: Vec<SyncSender<Vec<Snapshot>>>,
    pub(super) ending: Option<Ending>,
}

/// How the thread is to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ending {
    /// Every router leaves, and the thread waits for that, but no longer.
    Graceful { by: Instant },
    /// At once, and nobody hears of it.
    Silent,
}

impl Mailbox {
    pub(super) fn new() -> io::Result<Self> {
        let bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self { mail: Mutex::default(), bell })
    }

    /// Puts something in, from any thread, and rings.
    pub(super) fn post(&self, put: impl FnOnce(&mut Mail)) {
        put(&mut self.lock());
        // The one error is a counter that is full, and then it rings already.
        let _ = self.bell.write(1);
    }

    /// Adds a command; `false` if too many wait.
    pub(super) fn post_command(&self, key: RouterKey, command: Command) -> bool {
        let mut taken = false;
        self.post(|mail| {
            taken = mail.commands.len() < COMMANDS;
            if taken {
                mail.commands.push((key, command));
            }
        });
        taken
    }

    /// Adds a question; `false` if too many wait.
    pub(super) fn post_question(&self, answer: SyncSender<Vec<Snapshot>>) -> bool {
        let mut taken = false;
        self.post(|mail| {
            taken = mail.questions.len() < QUESTIONS;
            if taken {
                mail.questions.push(answer);
            }
        });
        taken
    }

    /// Takes everything out. `None`: somebody is putting something in just
    /// now. The thread comes back then rather than wait for one that may not
    /// be running, because the thread itself has its place.
    pub(super) fn take(&self) -> Option<Mail> {
        match self.mail.try_lock() {
            Ok(mut mail) => Some(std::mem::take(&mut *mail)),
            Err(TryLockError::Poisoned(poisoned)) => Some(std::mem::take(&mut *poisoned.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Silences the bell.
    pub(super) fn hear(&self) -> io::Result<()> {
        match self.bell.read() {
            Ok(_) | Err(Errno::EAGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Mail> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for Mailbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}
