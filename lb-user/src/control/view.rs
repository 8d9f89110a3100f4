//! What an operator is shown, as records with Octavia's field names.
//!
//! The same records are the answers on the socket and the output of
//! `lbctl -o json`, so a field here is a promise: fields are added, never
//! renamed or given another meaning. Absent knowledge is `null`, not a guess.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub mod events;
pub mod explain;
pub mod health;
mod pool;
pub mod sync;
pub mod vrrp;

pub use pool::{PoolView, SessionPersistenceView};

/// Octavia's operating status.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OperatingStatus {
    /// Works.
    Online,
    /// Takes new flows, and no health monitor watches it.
    NoMonitor,
    /// Keeps the flows it has and takes no new ones.
    Draining,
    /// Works, though a part of it does not.
    Degraded,
    /// Does not work: the health monitor found it down, or nothing behind it is left.
    Error,
    /// Switched off by the operator.
    Offline,
}

impl OperatingStatus {
    /// The word as Octavia spells it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Online => "ONLINE",
            Self::NoMonitor => "NO_MONITOR",
            Self::Draining => "DRAINING",
            Self::Degraded => "DEGRADED",
            Self::Error => "ERROR",
            Self::Offline => "OFFLINE",
        }
    }
}

/// Traffic counted since the data path was loaded. `in` is towards the members.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct CountersView {
    /// Packets from clients.
    pub packets_in: u64,
    /// Bytes from clients, from the IP header on.
    pub bytes_in: u64,
    /// Packets to clients.
    pub packets_out: u64,
    /// Bytes to clients, from the IP header on.
    pub bytes_out: u64,
    /// Flows begun.
    pub flows_new: u64,
    /// New flows refused; `lbctl drops` has the reasons.
    pub flows_refused: u64,
}

/// A load balancer: a VIP and what stands behind it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LoadBalancerView {
    /// Its label.
    pub name: String,
    /// The address clients talk to.
    pub vip_address: IpAddr,
    /// As configured; `null` offline.
    pub admin_state_up: Option<bool>,
    /// The worst of its listeners and pools.
    pub operating_status: OperatingStatus,
    /// Why, unless it is `ONLINE`.
    #[serde(default)]
    pub status_reason: Option<String>,
    /// Since when, in RFC 3339 with milliseconds, UTC; at the earliest since lbd
    /// started. `null` offline, and in the moment after a change.
    #[serde(default)]
    pub status_since: Option<String>,
    /// `ACTIVE` when this balancer answers for the VIP, `BACKUP` when it only
    /// forwards what reaches it, `null` when the VIP is not in the data path.
    pub role: Option<Role>,
    /// Labels of its listeners.
    pub listeners: Vec<String>,
    /// Labels of its pools.
    pub pools: Vec<String>,
}

/// Which node of a pair this is, for one VIP or for all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Role {
    /// Answers for the VIP.
    Active,
    /// Forwards what reaches it and answers nothing.
    Backup,
    /// Active for some VIPs and Backup for others.
    Mixed,
}

impl Role {
    /// The word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Backup => "BACKUP",
            Self::Mixed => "MIXED",
        }
    }
}

/// A listener.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ListenerView {
    /// Its label, `load_balancer/listener`.
    pub name: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// Its VIP.
    pub vip_address: IpAddr,
    /// Its port.
    pub protocol_port: u16,
    /// Label of its pool.
    pub default_pool: Option<String>,
    /// As configured; `null` offline.
    pub admin_state_up: Option<bool>,
    /// `OFFLINE` when switched off, else its pool's (`ERROR` without one).
    pub operating_status: OperatingStatus,
    /// Why, unless it is `ONLINE`.
    #[serde(default)]
    pub status_reason: Option<String>,
    /// Since when, in RFC 3339 with milliseconds, UTC; at the earliest since lbd
    /// started. `null` offline, and in the moment after a change.
    #[serde(default)]
    pub status_since: Option<String>,
    /// Whether packets meet it now.
    pub in_dataplane: bool,
    /// Its traffic; `null` while it is not in the data path.
    pub counters: Option<CountersView>,
    /// Its flows now; filled in by `show` only.
    pub active_flows: Option<u64>,
    /// From where it may be reached; empty: from everywhere. `null` offline.
    #[serde(default)]
    pub allowed_cidrs: Option<Vec<String>>,
    /// How many flows it may have at once; -1: no limit. `null` offline.
    #[serde(default)]
    pub connection_limit: Option<i64>,
    /// How many flows count against the limit now; `null` where they are not counted.
    #[serde(default)]
    pub live_connections: Option<u64>,
    /// How many flows one source address may open a second; 0: no limit. `null` offline.
    #[serde(default)]
    pub new_flows_per_source: Option<u32>,
}

/// A member.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MemberView {
    /// Its label, `load_balancer/pool/member`.
    pub name: String,
    /// Where it is.
    pub address: IpAddr,
    /// Its port.
    pub protocol_port: u16,
    /// The weight in the pool file; `null` offline.
    pub weight: Option<u16>,
    /// The weight in force: the pool file's, or an operator's override.
    pub effective_weight: u16,
    /// Whether it is switched on, overrides included.
    pub admin_state_up: bool,
    /// Used only while no other member can be.
    pub backup: bool,
    /// What it is fit for now.
    pub operating_status: OperatingStatus,
    /// Why it is not `ONLINE`, where there is more to say.
    pub status_reason: Option<String>,
    /// Since when, in RFC 3339 with milliseconds, UTC; at the earliest since lbd
    /// started. `null` offline, and in the moment after a change.
    #[serde(default)]
    pub status_since: Option<String>,
    /// How frames reach it.
    pub next_hop: Option<NextHopView>,
    /// Why `next_hop` is missing.
    pub next_hop_missing: Option<String>,
    /// What an operator changed by `member set`.
    #[serde(rename = "override")]
    pub overridden: Option<OverrideView>,
    /// Its share of the pool's table in per cent: the share of new flows it gets.
    pub share_percent: Percent,
    /// Gone from the pool file and kept until its flows have ended.
    pub retired: bool,
    /// Whether the data path knows it.
    pub in_dataplane: bool,
    /// Its traffic; `null` while it is not in the data path.
    pub counters: Option<CountersView>,
    /// Its flows now; filled in by `show` only.
    pub active_flows: Option<u64>,
    /// How many flows it may have at once; -1: no limit. `null` offline, and when it is
    /// gone from the pool file.
    #[serde(default)]
    pub connection_limit: Option<i64>,
}

/// A percentage in hundredths, written as a number with two decimals.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
#[serde(from = "f64", into = "f64")]
pub struct Percent {
    hundredths: u32,
}

impl Percent {
    /// `part` of `whole`; zero of nothing.
    #[must_use]
    pub fn of(part: usize, whole: usize) -> Self {
        if whole == 0 {
            return Self::default();
        }
        let hundredths = (part as u64 * 10_000 + whole as u64 / 2) / whole as u64;
        Self { hundredths: u32::try_from(hundredths).unwrap_or(u32::MAX) }
    }
}

impl From<Percent> for f64 {
    fn from(percent: Percent) -> Self {
        Self::from(percent.hundredths) / 100.0
    }
}

impl From<f64> for Percent {
    #[expect(
        clippy::cast_sign_loss,
        clippy::cast_possible_truncation,
        reason = "clamped to 0 and above; `as` saturates"
    )]
    fn from(percent: f64) -> Self {
        Self { hundredths: (percent.max(0.0) * 100.0).round() as u32 }
    }
}

impl std::fmt::Display for Percent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:02}", self.hundredths / 100, self.hundredths % 100)
    }
}

/// How frames to a member leave.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NextHopView {
    /// The link-layer address they are sent to.
    pub destination: String,
    /// The link-layer address they are sent from.
    pub source: String,
    /// The interface they leave by, when it is known by name.
    pub interface: Option<String>,
    /// That interface's number in the data path.
    pub port: u16,
}

/// What an operator changed about a member.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OverrideView {
    /// The weight in place of the pool file's.
    pub weight: Option<u16>,
    /// On or off in place of the pool file's word.
    pub admin_state_up: Option<bool>,
    /// Whether it drains.
    pub drain: bool,
}

/// Traffic of one listener or one member.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TrafficView {
    /// Its label.
    pub name: String,
    /// What it carried since the data path was loaded.
    #[serde(flatten)]
    pub counters: CountersView,
    /// Its flows now.
    pub active_flows: u64,
}

/// Traffic of every listener and member at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct StatsView {
    /// Every listener in the data path.
    pub listeners: Vec<TrafficView>,
    /// Every member in the data path, retired ones included.
    pub members: Vec<TrafficView>,
}

/// How far a flow has come, both directions together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FlowState {
    /// The client has sent, nobody has answered.
    New,
    /// The member has answered, the client not yet again.
    Answered,
    /// Traffic in both directions.
    Established,
    /// A side has sent FIN.
    Closing,
    /// A side has sent RST.
    Reset,
}

impl FlowState {
    /// The word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::New => "NEW",
            Self::Answered => "ANSWERED",
            Self::Established => "ESTABLISHED",
            Self::Closing => "CLOSING",
            Self::Reset => "RESET",
        }
    }
}

/// A NAT flow.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FlowView {
    /// `TCP` or `UDP`; `null` when its listener is gone.
    pub protocol: Option<String>,
    /// The client's address.
    pub client_address: IpAddr,
    /// The client's port.
    pub client_port: u16,
    /// Label of its listener; `#id` when the listener is gone.
    pub listener: String,
    /// Label of its member; `#id` when the member is unknown.
    pub member: String,
    /// The member's address.
    pub member_address: Option<IpAddr>,
    /// The member's port.
    pub member_port: Option<u16>,
    /// The source port the member sees.
    pub snat_port: u16,
    /// How far it has come.
    pub state: FlowState,
    /// Whether nothing can displace it.
    pub confirmed: bool,
    /// Seconds since its last packet, to about a second.
    pub idle_seconds: u64,
}

/// Flows that match a filter.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct FlowsView {
    /// How many match.
    pub matching: u64,
    /// The first of them, up to the limit asked for.
    pub flows: Vec<FlowView>,
}

/// How many flows match a filter, by state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct FlowCountView {
    /// All that match.
    pub matching: u64,
    /// Those that nothing can displace.
    pub confirmed: u64,
    /// Those that another new flow may displace.
    pub unconfirmed: u64,
    /// Those that a side has closed or reset.
    pub closing: u64,
}

/// A reason to drop a packet, or an answer the program gave itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DropView {
    /// Its index in the data path, which never changes.
    pub number: u32,
    /// Its name, also the label of its metric.
    pub label: String,
    /// Whether packets were dropped or answered.
    pub kind: EventKind,
    /// How many since the data path was loaded.
    pub count: u64,
    /// What it means and what to look at.
    pub meaning: String,
}

/// What became of the packets an event counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// They ended here.
    Drop,
    /// They were answered or completed.
    Answer,
}

/// The data path in the kernel.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DataplaneView {
    /// The pin directory.
    pub pin_path: String,
    /// ABI version of the maps.
    pub abi_version: u32,
    /// Kernel id of the program.
    pub program_id: u32,
    /// Its machine code in bytes.
    pub jited_bytes: u32,
    /// Instructions the verifier looked at.
    pub verified_instructions: u32,
    /// Flows of each address family the tables are sized for.
    pub max_flows: u32,
    /// The lowest and the highest SNAT port.
    pub snat_ports: (u16, u16),
    /// Where it is attached.
    pub interfaces: Vec<InterfaceView>,
    /// Its maps.
    pub maps: Vec<MapView>,
}

/// An interface the data path is attached to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct InterfaceView {
    /// Its name.
    pub name: String,
    /// Its index.
    pub ifindex: u32,
    /// Its number in the data path.
    pub port: u16,
    /// Its link-layer address.
    pub mac: String,
    /// `native` or `generic`.
    pub xdp_mode: String,
    /// Why the driver did not take the program, when it did not.
    pub fallback: Option<String>,
}

/// A map of the data path.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MapView {
    /// Its name.
    pub name: String,
    /// Its entries.
    pub entries: u32,
    /// Its memory in bytes.
    pub bytes: u64,
}

/// The daemon, as it knows itself. The controller fills it in.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct DaemonView {
    /// Its process.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// Seconds since it started.
    pub uptime_seconds: u64,
    /// The pool file.
    pub config_file: String,
    /// Successful loads of the pool file after the first.
    pub reloads: u64,
    /// When the pool file in force was read, in seconds since 1970.
    pub loaded_at: u64,
    /// The last thing that went wrong and still matters.
    pub last_error: Option<ErrorView>,
}

/// Something that went wrong.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ErrorView {
    /// When, in seconds since 1970.
    pub at: u64,
    /// What.
    pub message: String,
}

/// How many there are of everything.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct CountsView {
    /// Load balancers.
    pub load_balancers: usize,
    /// Listeners.
    pub listeners: usize,
    /// Pools.
    pub pools: usize,
    /// Members, retired ones left out.
    pub members: usize,
    /// Members that are `ONLINE` or `NO_MONITOR`.
    pub members_online: usize,
    /// Members in `ERROR`.
    pub members_error: usize,
    /// Members that drain.
    pub members_draining: usize,
    /// Members switched off.
    pub members_offline: usize,
    /// Members gone from the pool file whose flows have not ended.
    pub members_retired: usize,
    /// Members with an override in force.
    pub members_overridden: usize,
}

/// The whole on one screen.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StatusView {
    /// Who answers: `lbd`, or `pinned maps` for `lbctl --offline`.
    pub source: String,
    /// The daemon; `null` offline.
    pub daemon: Option<DaemonView>,
    /// The worst operating status of any load balancer, and at best `DEGRADED`
    /// while an interface is missing; `OFFLINE` without any load balancer.
    pub operating_status: OperatingStatus,
    /// Why, unless it is `ONLINE`.
    #[serde(default)]
    pub status_reason: Option<String>,
    /// Which node of a pair this is; `null` without VIPs.
    pub role: Option<Role>,
    /// How many there are of everything.
    pub counts: CountsView,
    /// Where the data path is attached.
    pub interfaces: Vec<InterfaceView>,
    /// Interfaces that the pool file names and that the data path is not
    /// attached to; empty offline, where nobody knows the pool file.
    #[serde(default)]
    pub interfaces_missing: Vec<String>,
    /// Packets dropped for any reason since the data path was loaded.
    pub packets_dropped: u64,
    /// VRRP instances in short; empty without any, and offline.
    #[serde(default)]
    pub vrrp: Vec<vrrp::VrrpStatusView>,
    /// Flow sync in short; `null` without it, and offline.
    #[serde(default)]
    pub sync: Option<sync::SyncStatusView>,
}

/// What became of `member set`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MemberSetView {
    /// The member as it is now.
    pub member: MemberView,
    /// What the operator should know beside it, such as that the pool has no
    /// member left.
    pub notes: Vec<String>,
}
