//! What an operator is shown of a pool. The promise of [`view`](super) holds here, too.

use serde::{Deserialize, Serialize};

use super::{OperatingStatus, health::HealthMonitorView};

/// A pool.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PoolView {
    /// Its label, `load_balancer/pool`.
    pub name: String,
    /// `TCP`, `UDP` or `SCTP`; `null` offline when no listener names the pool.
    pub protocol: Option<String>,
    /// `SOURCE_IP_PORT`, `SOURCE_IP`, `ROUND_ROBIN` or `LEAST_CONNECTIONS`.
    pub lb_algorithm: String,
    /// `nat`, `dnat`, `dsr`, `ipip` or `gue`.
    pub forward_mode: String,
    /// As configured; `null` offline.
    pub admin_state_up: Option<bool>,
    /// `ERROR` when it has no member to offer, `DEGRADED` when one is in error.
    pub operating_status: OperatingStatus,
    /// Why, unless it is `ONLINE`.
    #[serde(default)]
    pub status_reason: Option<String>,
    /// Since when, in RFC 3339 with milliseconds, UTC; at the earliest since lbd
    /// started. `null` offline, and in the moment after a change.
    #[serde(default)]
    pub status_since: Option<String>,
    /// Its health monitor; `null` without one, and offline.
    pub health_monitor: Option<HealthMonitorView>,
    /// Labels of its listeners.
    pub listeners: Vec<String>,
    /// Members in all.
    pub members: usize,
    /// Members that new flows go to.
    pub members_in_use: usize,
    /// Slots of its table; 0 means that every new flow is refused.
    pub table_slots: usize,
    /// Whether a client's flows stay together; `null` without it, and offline.
    #[serde(default)]
    pub session_persistence: Option<SessionPersistenceView>,
    /// `off`, `auto` or a number of bytes; `null` offline.
    #[serde(default)]
    pub mss_clamp: Option<String>,
    /// Seconds that flows stay with their member after a change that gives them to another;
    /// `null` offline.
    #[serde(default)]
    pub transition_hold: Option<f64>,
    /// Whether some flows still go by what the pool was before its last change; `null` where
    /// that is not known.
    #[serde(default)]
    pub changing: Option<bool>,
}

// Its seconds are a pool file's, which are never NaN.
impl Eq for PoolView {}

/// Session persistence as Octavia shows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SessionPersistenceView {
    /// `SOURCE_IP`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Seconds after a client's last new flow.
    pub persistence_timeout: u16,
    /// What of an address counts: a mask for a VIP of IPv4, a prefix length for one of IPv6.
    pub persistence_granularity: String,
}
