//! Flow sync as a record: `lbctl sync show`.

use std::{collections::BTreeMap, net::SocketAddr};

use serde::{Deserialize, Serialize};

/// How far flow sync has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SyncState {
    /// The other node has not been heard, or not for too long.
    Waiting,
    /// It has been heard, and every flow there is goes over.
    Bulk,
    /// Flows go over as they change.
    Streaming,
}

impl SyncState {
    /// The word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Waiting => "WAITING",
            Self::Bulk => "BULK",
            Self::Streaming => "STREAMING",
        }
    }
}

/// Flow sync with the other node of the pair. Everything is counted since lbd
/// started.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SyncView {
    /// Where this node sends from and listens.
    pub local: SocketAddr,
    /// Where the other node does.
    pub peer: SocketAddr,
    /// How far it has come.
    pub state: SyncState,
    /// How long it has been in this state, in milliseconds.
    pub in_state_ms: u64,
    /// Milliseconds since the other node was heard; `null` if it never was.
    pub last_heard_ms: Option<u64>,
    /// How old the last flow that came from the other node was when it was
    /// taken in, in milliseconds; `null` before the first.
    pub lag_ms: Option<u64>,
    /// Sent to the other node.
    pub sent: SyncTrafficView,
    /// Received from the other node and found genuine.
    pub received: SyncTrafficView,
    /// Flows taken in that were new here.
    pub adopted: u64,
    /// Flows taken in that were known here.
    pub refreshed: u64,
    /// Flows whose end was taken in.
    pub ended: u64,
    /// Flows not taken in, by reason; reasons that none had are left out.
    pub refused: BTreeMap<String, u64>,
    /// Datagrams not believed, by reason; reasons that none had are left out.
    pub rejected: BTreeMap<String, u64>,
    /// Datagrams of the other node that never came, by the gaps in their numbers.
    pub datagrams_lost: u64,
    /// Changes of flows that the data path could not note for want of room;
    /// the next rescan brings those flows over.
    pub notes_lost: u64,
    /// Flows that were to be sent and were not, for want of room in the queue.
    pub queue_dropped: u64,
    /// Times that every flow was sent, when the other node appeared or by the
    /// clock.
    pub rescans: u64,
}

/// What went one way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SyncTrafficView {
    /// Datagrams.
    pub datagrams: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Flows in them.
    pub flows: u64,
    /// Records in them of kinds that the receiver does not know.
    pub unknown_records: u64,
}

/// Flow sync in short.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SyncStatusView {
    /// The other node.
    pub peer: SocketAddr,
    /// How far it has come.
    pub state: SyncState,
    /// Milliseconds since the other node was heard; `null` if it never was.
    pub last_heard_ms: Option<u64>,
    /// How old the last flow that came from the other node was.
    pub lag_ms: Option<u64>,
}

impl From<&SyncView> for SyncStatusView {
    fn from(view: &SyncView) -> Self {
        Self { peer: view.peer, state: view.state, last_heard_ms: view.last_heard_ms, lag_ms: view.lag_ms }
    }
}
