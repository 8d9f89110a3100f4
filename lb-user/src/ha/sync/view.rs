//! What an operator is shown of flow sync. As with all records that are shown,
//! fields are added, never renamed or given another meaning.

use std::{collections::BTreeMap, net::SocketAddr};

use serde::{Deserialize, Serialize};

use super::passes::Reason;

/// Whether the other balancer is there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PeerState {
    /// Nothing is heard of it.
    Absent,
    /// Both hear each other.
    Present,
}

impl PeerState {
    /// The word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Absent => "ABSENT",
            Self::Present => "PRESENT",
        }
    }
}

/// Datagrams in one direction, since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TrafficView {
    /// Datagrams.
    pub datagrams: u64,
    /// Their bytes, without UDP and IP headers.
    pub bytes: u64,
    /// Flows in them.
    pub flows: u64,
    /// Placements in them.
    #[serde(default)]
    pub placements: u64,
}

/// What became of the other balancer's flows, or of its placements, since the start.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct AdoptedView {
    /// Flows taken into the table.
    pub new: u64,
    /// Flows that were there and are younger now.
    pub refreshed: u64,
    /// Flows that were there and are closing now.
    pub ended: u64,
    /// Flows not taken, by reason.
    pub refused: BTreeMap<String, u64>,
}

/// What did not arrive, since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LossView {
    /// Datagrams of flows sent from here that did not arrive in time.
    pub sent: u64,
    /// Datagrams that were sent again.
    pub resent: u64,
    /// Datagrams that were sent again too often: the whole table was sent again.
    pub given_up: u64,
    /// Datagrams sent from here that the other balancer says never came.
    pub told: u64,
    /// Datagrams sent from there that never came.
    pub received: u64,
    /// Notes of the data path that were overwritten before they were read.
    pub notes: u64,
    /// Notes that were read while nobody was there to be told.
    pub untold: u64,
    /// Flows that found a queue full.
    pub dropped: u64,
    /// Flows with addresses of both families, which cannot be sent.
    pub unsayable: u64,
    /// Datagrams the host's network did not take.
    pub not_sent: u64,
}

/// Looks through the whole table, from here to there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PassView {
    /// Why the one that is being made is made; `null`: none is.
    pub running: Option<Reason>,
    /// Flows of it that were found so far.
    pub running_flows: u64,
    /// Placements of it that were found so far.
    #[serde(default)]
    pub running_placements: u64,
    /// Passes that have arrived whole.
    pub finished: u64,
    /// Why the last of them was made.
    pub last: Option<Reason>,
    /// Flows of it.
    pub last_flows: Option<u64>,
    /// Placements of it.
    #[serde(default)]
    pub last_placements: Option<u64>,
    /// Milliseconds it took until all of it had arrived.
    pub last_millis: Option<u64>,
}

/// The other balancer's looks through its table, as seen from here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PeerPassView {
    /// Whether one is coming in.
    pub running: bool,
    /// Passes that arrived whole from the run of it that is there now. From the
    /// first on, this balancer knows all flows.
    pub finished: u64,
    /// Flows of the last of them.
    pub last_flows: Option<u64>,
    /// Placements of the last of them.
    #[serde(default)]
    pub last_placements: Option<u64>,
}

/// Flow sync, whole.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SyncView {
    /// Where this balancer listens.
    pub local: SocketAddr,
    /// Where the other one does.
    pub peer: SocketAddr,
    /// Why there is no socket; `null`: there is one.
    pub socket_problem: Option<String>,
    /// Whether the other one is there.
    pub state: PeerState,
    /// Milliseconds since it is.
    pub state_millis: u64,
    /// Milliseconds since something was heard of it; `null`: never.
    pub heard_millis: Option<u64>,
    /// The run of this balancer, as sixteen hexadecimal digits.
    pub epoch: String,
    /// The run of the other one.
    pub peer_epoch: Option<String>,
    /// Runs of the other one since the start here.
    pub peer_starts: u64,
    /// Whether both hash flows the same way; if not, flows that were lost find
    /// other SNAT ports on the other balancer.
    pub seeds_match: Option<bool>,
    /// Confirmed flows of the other one, by its last look through its table.
    pub peer_flows: Option<u64>,
    /// What was sent.
    pub sent: TrafficView,
    /// What was received and welcome.
    pub received: TrafficView,
    /// What became of flows that were received.
    pub adopted: AdoptedView,
    /// What became of placements that were received.
    #[serde(default)]
    pub adopted_placements: AdoptedView,
    /// Flows the other one took, by its own account.
    pub peer_adopted: u64,
    /// Flows the other one did not take, by its own account.
    pub peer_refused: u64,
    /// What did not arrive.
    pub lost: LossView,
    /// Milliseconds since the oldest change that the other one is not known to have.
    pub lag_millis: u64,
    /// Flows and placements that wait to be sent.
    pub queued: u64,
    /// Datagrams that are not known to have arrived yet.
    pub under_way: u64,
    /// Looks through the whole table here.
    pub passes: PassView,
    /// Those of the other one.
    pub peer_passes: PeerPassView,
    /// Records of kinds not known here, which a later version sends.
    pub unknown_records: u64,
    /// Records of known kinds that made no sense.
    pub malformed_records: u64,
    /// Datagrams not looked at, by reason.
    pub refused: BTreeMap<String, u64>,
}
