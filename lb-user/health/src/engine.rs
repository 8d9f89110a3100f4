//! The thread that all probes run on, and the handle of whoever wants them.

use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    sync::Arc,
    time::{Instant, SystemTime},
};

use crate::{
    machine::{Pace, Verdict},
    outcome::Outcome,
    question::Question,
    record::{Record, Workload},
};

/// Probes under way at once. Far above what intervals and timeouts of a sane
/// configuration add up to; it keeps an insane one from taking every file
/// descriptor and port.
pub const MAX_IN_FLIGHT: usize = 16_384;

/// A member, as whoever sets the targets numbers it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TargetId(pub u32);

/// A member to be probed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// Who it is. Two pools with the same member probe it separately.
    pub id: TargetId,
    /// Its address in the data path, whose next hop must be known: see
    /// [`Monitors::set_unreachable`].
    pub member: IpAddr,
    /// What it is asked, and where.
    pub question: Question,
    /// How often, and how many answers make a verdict.
    pub pace: Pace,
    /// Its place in the interval, in 2³² parts.
    pub place: u32,
}

/// A member has come up or gone down, or was looked at for the first time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// Who.
    pub id: TargetId,
    /// Up or down.
    pub verdict: Verdict,
    /// What the probe met that decided it.
    pub outcome: Outcome,
    /// When it was decided.
    pub at: SystemTime,
    /// The same by the clock that nobody sets.
    pub decided: Instant,
}

/// Probes that go on until this is dropped.
#[derive(Debug)]
pub struct Monitors {}

impl Monitors {
    /// Starts the thread, with nobody to probe.
    ///
    /// # Errors
    /// When there can be no thread, or no event queue for it.
    pub fn start() -> io::Result<Self> {
        Ok(Self {})
    }

    /// Replaces whom to probe. Members that stay keep their verdict, what they
    /// answered last and their place in the interval; nothing is found about those
    /// that are gone any more. When a member is asked something else, or elsewhere,
    /// what is known of it starts over.
    pub fn set(&self, targets: Vec<Target>) {
        let _ = targets;
    }

    /// Replaces the addresses that frames of the data path cannot reach, and why:
    /// probes of members there fail for that reason, whatever they meet.
    pub fn set_unreachable(&self, addresses: BTreeMap<IpAddr, Arc<str>>) {
        let _ = addresses;
    }

    /// Waits until something is found, and takes all of it: of each member the latest.
    pub async fn findings(&self) -> Vec<Finding> {
        std::future::pending().await
    }

    /// What is known of a member.
    #[must_use]
    pub fn record(&self, id: TargetId) -> Option<Record> {
        let _ = id;
        None
    }

    /// What is known of every member.
    #[must_use]
    pub fn records(&self) -> BTreeMap<TargetId, Record> {
        BTreeMap::new()
    }

    /// What the monitors as a whole are doing.
    #[must_use]
    pub fn workload(&self) -> Workload {
        Workload::default()
    }
}
