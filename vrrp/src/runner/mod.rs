//! The thread around the state machines: sockets, timers and a clock.
//!
//! One thread carries every virtual router of the process. It has a real-time
//! place where it may, does nothing else, and is never made to wait: whoever
//! has something to tell it puts that into a mailbox. What its routers decide
//! takes effect through a [`World`]. It lives in the network namespace of
//! whoever starts it.
//!
//! What must not be here: rules of the protocol. Those are
//! [`Router`](crate::router::Router)'s and [`parse`](crate::packet::parse)'s.

use std::{
    collections::BTreeSet,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

mod acting;
mod announcer;
mod clock;
mod engine;
mod frame;
mod hearing;
mod instance;
mod lateness;
mod limiter;
mod mailbox;
mod outbox;
mod punctuality;
mod realtime;
mod report;
mod station;
mod sys;
mod waker;
mod wire;
mod wishes;

pub use clock::now;
use engine::Engine;
pub use instance::{
    Announced, Command, Instance, Link, MAX_ANNOUNCED, MAX_INSTANCES, MAX_PEERS, Pacing, RouterKey, WishFlaw,
};
use mailbox::{Ending, Mailbox};
pub use report::{Counters, Delays, Peer, Report, Snapshot, World};

/// How long a thread that has been told to end may take over its last turn.
const LAST_TURN: Duration = Duration::from_secs(1);

/// What the thread asks of the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Whether it asks for a real-time place and locked memory. Locking is for
    /// the whole process.
    pub realtime: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { realtime: true }
    }
}

/// Why a command was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommandError {
    /// No router has that key.
    #[error("there is no virtual router with the key {0}")]
    Unknown(RouterKey),
    /// Too many wait already.
    #[error("too many commands wait already; try again")]
    Busy,
    /// The thread has ended.
    #[error("the thread of the virtual routers has ended")]
    Ended,
}

/// The running thread. Dropping it is [`Handle::abandon`].
#[derive(Debug)]
pub struct Handle {
    mailbox: Arc<Mailbox>,
    known: Mutex<BTreeSet<RouterKey>>,
    thread: Option<Thread>,
}

#[derive(Debug)]
struct Thread {
    join: JoinHandle<()>,
    /// Closed when the thread is over; behind a mutex because a handle is shared.
    over: Mutex<Receiver<io::Error>>,
}

impl Handle {
    /// Starts the thread, without any router yet.
    ///
    /// # Errors
    /// When a socket that every router needs cannot be opened, which takes
    /// `CAP_NET_RAW`, or no thread can be started.
    pub fn start<W: World>(world: W, options: Options) -> io::Result<Self> {
        let mailbox = Arc::new(Mailbox::new()?);
        let engine = Engine::new(world, Arc::clone(&mailbox))?;
        let (ended, over) = sync_channel(1);
        let join = thread::Builder::new().name("vrrp".to_owned()).spawn(move || {
            if let Err(error) = engine.run(options) {
                let _ = ended.try_send(error);
            }
        })?;
        let thread = Some(Thread { join, over: Mutex::new(over) });
        Ok(Self { mailbox, known: Mutex::default(), thread })
    }

    /// Asks for exactly these routers. Those that are as they were are not
    /// disturbed; those that are missing leave gracefully.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] around a [`WishFlaw`] when they cannot
    /// be, and then nothing changes; the thread's own error when it has ended.
    pub fn set(&self, instances: Vec<Instance>) -> io::Result<()> {
        instance::check(&instances).map_err(|flaw| io::Error::new(io::ErrorKind::InvalidInput, flaw))?;
        self.check_running()?;
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = instances.iter().map(|i| i.key).collect();
        self.mailbox.post(|mail| mail.wish = Some(instances));
        Ok(())
    }

    /// Passes an operator's word on.
    ///
    /// # Errors
    /// As [`CommandError`] says.
    pub fn command(&self, key: RouterKey, command: Command) -> Result<(), CommandError> {
        if !self.known.lock().unwrap_or_else(PoisonError::into_inner).contains(&key) {
            return Err(CommandError::Unknown(key));
        }
        self.check_running().map_err(|_| CommandError::Ended)?;
        if self.mailbox.post_command(key, command) { Ok(()) } else { Err(CommandError::Busy) }
    }

    /// How every router stands; those that still leave are among them. `None`
    /// when the thread does not answer in time.
    #[must_use]
    pub fn snapshot(&self, patience: Duration) -> Option<Vec<Snapshot>> {
        let (answer, question) = sync_channel(1);
        if !self.mailbox.post_question(answer) {
            return None;
        }
        question.recv_timeout(patience).ok()
    }

    /// Lets every router leave gracefully, then ends the thread. What has not
    /// been taken over when `limit` is over is let go.
    pub fn stop(mut self, limit: Duration) {
        let by = clock::now().plus(limit);
        self.end(Ending::Graceful { by }, limit.saturating_add(LAST_TURN));
    }

    /// Ends the thread without a word on the network and without a change to
    /// the data path: the one that follows can go on where it ended.
    pub fn abandon(mut self) {
        self.end(Ending::Silent, LAST_TURN);
    }

    fn end(&mut self, ending: Ending, limit: Duration) {
        let Some(Thread { join, over }) = self.thread.take() else { return };
        self.mailbox.post(|mail| mail.ending = Some(ending));
        let over = over.into_inner().unwrap_or_else(PoisonError::into_inner);
        // A thread that hangs in its world is not waited for: it must not take
        // the rest of the daemon with it.
        if !matches!(over.recv_timeout(limit), Err(RecvTimeoutError::Timeout)) {
            // One that panicked has said so.
            let _ = join.join();
        }
    }

    fn check_running(&self) -> io::Result<()> {
        let Some(thread) = &self.thread else { return Err(io::ErrorKind::NotConnected.into()) };
        if !thread.join.is_finished() {
            return Ok(());
        }
        let over = thread.over.lock().unwrap_or_else(PoisonError::into_inner);
        Err(over.try_recv().unwrap_or_else(|_| io::Error::other("the thread of the virtual routers has ended")))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.end(Ending::Silent, LAST_TURN);
    }
}
