//! VRRP instances as records: `lbctl vrrp`.
//!
//! Lengths of time are whole microseconds or milliseconds, as the field's name
//! says.

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};

/// State of a virtual router (RFC 9568, 6.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum VrrpState {
    /// Takes no part.
    Initialize,
    /// Listens, ready to take over.
    Backup,
    /// Answers for the addresses and sends adverts.
    Active,
}

impl VrrpState {
    /// The word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Initialize => "INITIALIZE",
            Self::Backup => "BACKUP",
            Self::Active => "ACTIVE",
        }
    }
}

/// A VRRP instance: this node's part in one virtual router.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VrrpView {
    /// Its name.
    pub name: String,
    /// The interface it speaks at.
    pub interface: String,
    /// The number of the virtual router, 1 to 255.
    pub virtual_router_id: u8,
    /// `ipv4` or `ipv6`.
    pub family: String,
    /// VRRP's version, 2 or 3.
    pub version: u8,
    /// Its state.
    pub state: VrrpState,
    /// Why it is in this state.
    pub reason: String,
    /// How long it has been in this state, in milliseconds.
    pub state_millis: u64,
    /// Whether this node answers for the addresses. It does so for a moment
    /// longer than it is Active, until the next one has taken over.
    pub carrying: bool,
    /// The priority in force: the configured one, less what tracking takes off.
    pub priority: u8,
    /// The priority as configured.
    pub configured_priority: u8,
    /// Whether it takes the place of an Active with a lower priority.
    pub preempt: bool,
    /// How long it leaves such an Active its place, in milliseconds.
    pub preempt_delay_millis: u64,
    /// Whether an operator paused it.
    pub paused: bool,
    /// Whether an operator moved it away: it takes over only when no other
    /// Active is heard.
    pub yielded: bool,
    /// What keeps it out, such as an interface that is down.
    pub fault: Option<String>,
    /// `multicast`, or `unicast` to configured peers.
    pub mode: String,
    /// The address its adverts are sent from; `null` while the interface has none.
    pub source_address: Option<IpAddr>,
    /// Where its adverts go in unicast mode.
    pub unicast_peers: Vec<IpAddr>,
    /// The virtual router's link-layer address; `null` when the interface's own
    /// is used.
    pub virtual_mac: Option<String>,
    /// The addresses in its adverts, in their order.
    pub addresses: Vec<IpAddr>,
    /// The addresses that neighbours are told about when it becomes Active.
    pub announced: Vec<AnnouncedView>,
    /// Load balancers whose VIPs move with it.
    pub load_balancers: Vec<String>,
    /// Its timers.
    pub timers: TimersView,
    /// Other routers that were heard, in the order of their addresses.
    pub peers: Vec<PeerView>,
    /// What its priority depends on.
    pub tracking: Vec<TrackView>,
    /// What it has counted since lbd started.
    pub counters: VrrpCountersView,
    /// The thread that serves every instance.
    pub runner: RunnerView,
}

impl VrrpView {
    /// The router that was heard last, those that only said goodbye left out.
    #[must_use]
    pub fn heard_last(&self) -> Option<&PeerView> {
        let peers = self.peers.iter().filter(|peer| peer.priority > 0);
        peers.min_by_key(|peer| (peer.heard_millis, peer.address))
    }
}

/// An address that neighbours are told about.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AnnouncedView {
    /// The address.
    pub address: IpAddr,
    /// The interface it is told at.
    pub interface: String,
    /// The link-layer address that is told.
    pub mac: String,
}

/// Timers of an instance, in microseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TimersView {
    /// Between its own adverts.
    pub advert_interval_micros: u64,
    /// Between the adverts of the Active, as that one says.
    pub learned_interval_micros: u64,
    /// What it waits longer than others, by its priority.
    pub skew_micros: u64,
    /// The silence after which it takes over.
    pub active_down_micros: u64,
    /// Until its next advert as Active, until it takes over as Backup; `null`
    /// when it waits for nothing.
    pub deadline_micros: Option<u64>,
}

/// Another router that was heard.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PeerView {
    /// Its address.
    pub address: IpAddr,
    /// The priority in its last advert; 0: it was leaving.
    pub priority: u8,
    /// The interval in its last advert, in microseconds.
    pub advert_interval_micros: u64,
    /// Milliseconds since its last advert.
    pub heard_millis: u64,
    /// Its adverts that were accepted.
    pub adverts: u64,
    /// What its checksums cover: `pseudo_header` or `message_only`; `null`
    /// where there is only one form.
    pub checksum: Option<String>,
}

/// Something that the priority of an instance depends on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TrackView {
    /// `interface`, `data_path` or `load_balancer`.
    pub kind: String,
    /// The name of the interface or load balancer; `null` for the data path.
    pub name: Option<String>,
    /// What is added while it is well, or taken off while it is not, by sign;
    /// 0: the instance is out while it is not well.
    pub weight: i16,
    /// Whether it is well; `null` until that is known.
    pub well: Option<bool>,
    /// Why it is not.
    pub reason: Option<String>,
}

/// What an instance has counted since lbd started.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct VrrpCountersView {
    /// Adverts sent.
    pub adverts_sent: u64,
    /// Adverts that could not be sent.
    pub adverts_not_sent: u64,
    /// Adverts accepted.
    pub adverts_received: u64,
    /// Adverts refused, by reason; reasons that none had are left out.
    pub adverts_refused: BTreeMap<String, u64>,
    /// Changes of state.
    pub transitions: u64,
    /// Frames that told neighbours where an address is.
    pub announcements: u64,
}

/// The thread that serves every instance.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RunnerView {
    /// Whether it has real-time priority and locked memory.
    pub realtime: bool,
    /// Why not.
    pub realtime_refused: Option<String>,
    /// How late it was at most for anything, in microseconds.
    pub late_max_micros: u64,
    /// How late it was in the hundredth part of cases that was worst, at best,
    /// in microseconds.
    pub late_p99_micros: u64,
}

/// A VRRP instance in short.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VrrpStatusView {
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: VrrpState,
    /// How long it has been in this state, in milliseconds.
    pub state_millis: u64,
    /// Whether this node answers for the addresses.
    pub carrying: bool,
    /// Whether an operator paused it.
    pub paused: bool,
    /// What keeps it out.
    pub fault: Option<String>,
    /// The router that was heard last, and how many milliseconds ago.
    pub heard_last: Option<(IpAddr, u64)>,
}

impl From<&VrrpView> for VrrpStatusView {
    fn from(view: &VrrpView) -> Self {
        Self {
            name: view.name.clone(),
            state: view.state,
            state_millis: view.state_millis,
            carrying: view.carrying,
            paused: view.paused,
            fault: view.fault.clone(),
            heard_last: view.heard_last().map(|peer| (peer.address, peer.heard_millis)),
        }
    }
}

/// What became of `vrrp failover`, `pause` or `resume`: it has begun.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VrrpCommandView {
    /// The instance as it was when it was told.
    pub instance: VrrpView,
    /// What the operator should know beside it.
    pub notes: Vec<String>,
}
