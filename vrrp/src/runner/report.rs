//! What the runner does to the world, and what it tells of itself.

use std::{io, net::IpAddr, time::Duration};

use super::instance::RouterKey;
use crate::{
    config::ChecksumForm,
    packet::refusal::Refusal,
    router::{Anomaly, Reason, RouterFacts},
    time::Instant,
    types::{Priority, State},
};

/// What the runner's decisions take effect on. All of it is called on the
/// runner's thread, between one deadline and the next: it must neither wait
/// for anybody nor take long.
pub trait World: Send + 'static {
    /// Lets the data path answer for the router's addresses, or no longer.
    fn set_active(&mut self, key: RouterKey, active: bool);

    /// The router is Active and well; called with each of its adverts. What is
    /// kept of it is what [`Instance::resume`](super::Instance::resume) asks
    /// for when the next runner starts.
    fn alive(&mut self, key: RouterKey, now: Instant);

    /// Something that somebody may want to know. What others on the network
    /// can cause comes at a limited rate.
    fn report(&mut self, report: Report);
}

/// Something that somebody may want to know.
#[derive(Debug)]
pub enum Report {
    /// A router changed its state.
    Moved {
        /// The router.
        key: RouterKey,
        /// The state it had.
        from: State,
        /// The state it has.
        to: State,
        /// Why.
        reason: Reason,
        /// When.
        at: Instant,
    },
    /// A router saw something that should not be.
    Noticed {
        /// The router.
        key: RouterKey,
        /// What.
        anomaly: Anomaly,
    },
    /// A packet was refused.
    Refused {
        /// The router it was for; none that is here, if absent.
        key: Option<RouterKey>,
        /// Who sent it, as far as that can be believed.
        source: IpAddr,
        /// Why.
        refusal: Refusal,
        /// How many like it have been refused since the last report without
        /// one of their own.
        suppressed: u64,
    },
    /// Whether the thread has a real-time place and its memory is locked; said
    /// once.
    Realtime(Result<(), String>),
    /// The thread was not scheduled in time.
    Late {
        /// By how much.
        by: Duration,
    },
    /// A packet could not be sent.
    SendFailed {
        /// The router it was of.
        key: RouterKey,
        /// Why.
        error: io::Error,
    },
    /// A router cannot hear adverts on its interface, and takes no part until
    /// it can.
    Deaf {
        /// The router.
        key: RouterKey,
        /// Why.
        error: io::Error,
    },
    /// Every address has been announced as often as it is to be.
    Announced {
        /// The router.
        key: RouterKey,
        /// In how many frames.
        frames: u64,
    },
}

/// One router at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Its key.
    pub key: RouterKey,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub state: State,
    /// Whether the data path answers for its addresses.
    pub carrying: bool,
    /// The priority it has just now.
    pub priority: Priority,
    /// How long it waits for an advert before it takes over.
    pub active_down: Duration,
    /// What else the state machine knows; absent while it has no address to
    /// send from.
    pub facts: Option<RouterFacts>,
    /// Why it does not take part: what the caller said, or what is missing.
    pub fault: Option<String>,
    /// Whom it has heard.
    pub peers: Vec<Peer>,
    /// What it has counted.
    pub counters: Counters,
    /// How late its timers were acted on: from the deadline to the moment
    /// that the packet had been handed to the kernel.
    pub lateness: Delays,
}

/// Another router of the same group, as this one hears it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Its address.
    pub address: IpAddr,
    /// The priority of its last advert; 0: it was leaving.
    pub priority: u8,
    /// The interval it said.
    pub interval: Duration,
    /// What its checksums cover.
    pub checksum: ChecksumForm,
    /// When its last advert came.
    pub heard: Instant,
    /// How many came.
    pub adverts: u64,
}

/// What a router counts from its first appearance on.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Counters {
    /// Packets sent; a unicast advert is one for each peer.
    pub sent: u64,
    /// Packets that could not be sent.
    pub send_failures: u64,
    /// Adverts accepted.
    pub received: u64,
    /// Packets refused, for each reason for which there was one.
    pub refused: Vec<(Refusal, u64)>,
    /// Changes of state.
    pub transitions: u64,
    /// Announcements sent.
    pub announcements: u64,
}

/// A distribution of delays.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Delays {
    /// How many there were.
    pub count: u64,
    /// The longest.
    pub max: Duration,
    /// What 99 of 100 did not exceed, to an eighth.
    pub p99: Duration,
}
