//! Flow sync as a record: `lbctl sync show`. Its makers keep the whole of it;
//! here is what of it is said in short.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

pub use crate::ha::sync::view::{
    AdoptedView, LossView, PassView, PeerPassView, PeerState as SyncState, SyncView, TrafficView as SyncTrafficView,
};

/// Flow sync in short.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SyncStatusView {
    /// The other node.
    pub peer: SocketAddr,
    /// Whether it is there.
    pub state: SyncState,
    /// Milliseconds since it was heard; `null`: never.
    pub heard_millis: Option<u64>,
    /// Milliseconds since the oldest change that it is not known to have.
    pub lag_millis: u64,
    /// Whether every flow of it has come here since it appeared, so that this
    /// node can take over.
    pub complete: bool,
    /// Why there is no socket; `null`: there is one.
    pub socket_problem: Option<String>,
}

impl From<&SyncView> for SyncStatusView {
    fn from(view: &SyncView) -> Self {
        Self {
            peer: view.peer,
            state: view.state,
            heard_millis: view.heard_millis,
            lag_millis: view.lag_millis,
            complete: view.state == SyncState::Present && view.peer_passes.finished > 0,
            socket_problem: view.socket_problem.clone(),
        }
    }
}
