//! The thread that looks for flows that are over, a part of the tables at a time: what is
//! to follow a verdict at once does not wait for it.
//!
//! What must not be here: what is over, and what follows from it (the data plane's to say).

use std::{
    io,
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    thread::{Builder, JoinHandle},
    time::Duration,
};

use tokio::sync::mpsc::{Receiver, Sender as AsyncSender, channel as async_channel, error::TrySendError};

use super::Daemon;
use crate::{
    causes::chain,
    dataplane::{Sweeper, Swept},
    heap,
};

/// How often a part of the flow tables is looked through. Tables of the usual size have
/// fourteen parts and are gone through in five seconds, the largest ones in eleven. The
/// data path reclaims what it needs by itself; this keeps counts honest and ages from
/// wrapping.
const SWEEP: Duration = Duration::from_millis(350);

/// How much nicer than the rest of lbd the thread is: as nice as can be.
const GENTLE: i32 = 19;

/// Sweeps until it is dropped.
#[derive(Debug)]
pub(super) struct Sweeping {
    /// Dropped to end the thread.
    going: Option<Sender<()>>,
    found: Receiver<Swept>,
    /// Whether it is known that nothing comes any more.
    ended: bool,
    thread: Option<JoinHandle<()>>,
}

impl Sweeping {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there can be none.
    pub(super) fn start(mut sweeper: Sweeper) -> io::Result<Self> {
        let (going, told) = channel::<()>();
        // One that was not taken yet says what the next one will.
        let (finds, found) = async_channel(1);
        let thread = Builder::new().name("sweep".to_owned()).spawn(move || {
            give_way();
            while told.recv_timeout(SWEEP) == Err(RecvTimeoutError::Timeout) {
                if !sweep(&mut sweeper, &finds) {
                    return;
                }
            }
        })?;
        Ok(Self { going: Some(going), found, ended: false, thread: Some(thread) })
    }

    /// Waits for what a sweep through everything has found. `None`, once: there will be
    /// no more. Nothing is lost when this is dropped while it waits.
    pub(super) async fn swept(&mut self) -> Option<Swept> {
        if self.ended {
            return std::future::pending().await;
        }
        let found = self.found.recv().await;
        self.ended = found.is_none();
        found
    }
}

/// Has this thread wait for every other one: where there is one CPU for all of lbd, a
/// verdict would wait for its turn else, which is some milliseconds.
fn give_way() {
    // Of a thread, on Linux: nice(2).
    if let Err(error) = rustix::process::nice(GENTLE) {
        tracing::debug!(%error, "have the thread that looks for idle flows give way");
    }
}

/// Goes on by a step; says whether anybody wants to know.
fn sweep(sweeper: &mut Sweeper, finds: &AsyncSender<Swept>) -> bool {
    match sweeper.step() {
        Ok(Some(swept)) => {
            // As good a rhythm as any.
            heap::give_back();
            !matches!(finds.try_send(swept), Err(TrySendError::Closed(_)))
        }
        Ok(None) => true,
        Err(error) => {
            tracing::warn!("free idle flows: {}; trying again later", chain(&error));
            true
        }
    }
}

impl Drop for Sweeping {
    fn drop(&mut self) {
        drop(self.going.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Daemon {
    /// Ends changes of pools that a sweep has found to be over.
    pub(super) fn take_swept(&mut self, swept: Option<Swept>) {
        let Some(swept) = swept else {
            let lost = "the thread that looks for idle flows ended, which is a defect to be reported: changes of \
                        pools do not end, and counts of live flows may drift, until lbd is started again";
            self.controller.note_error(lost.to_owned());
            return;
        };
        if let Err(error) = self.controller.dataplane_mut().tend(&swept) {
            tracing::warn!("end changes of pools: {}; trying again later", chain(&error));
        }
    }
}
