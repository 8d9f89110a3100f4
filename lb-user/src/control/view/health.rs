//! Health monitors and what they find, as records: `lbctl health`, and the
//! monitor in `lbctl pool`.
//!
//! Fields that the API has are called and written as there. Lengths of time are
//! seconds where the pool file has them, else whole microseconds or milliseconds,
//! as the field's name says; moments are RFC 3339 with milliseconds, UTC.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::OperatingStatus;

/// A health monitor.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct HealthMonitorView {
    /// `PING`, `TCP`, `HTTP`, `HTTPS`, `TLS-HELLO`, `UDP-CONNECT`, `SCTP` or `GRPC`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Seconds between probes.
    pub delay: f64,
    /// Seconds a probe may take.
    pub timeout: f64,
    /// Successes in a row that bring a member up.
    pub max_retries: u8,
    /// Failures in a row that take a member down.
    pub max_retries_down: u8,
    /// Whether it runs.
    pub admin_state_up: bool,
    /// `ONLINE` while it runs, whatever it finds; `OFFLINE` when it or what it
    /// watches is switched off.
    pub operating_status: OperatingStatus,
    /// Why, unless it is `ONLINE`.
    #[serde(default)]
    pub status_reason: Option<String>,
    /// Since when.
    #[serde(default)]
    pub status_since: Option<String>,
    /// Whether a member that flaps needs more successes.
    #[serde(default)]
    pub flap_damping: bool,
    /// `member` or `vip`: whose address is probed.
    #[serde(default)]
    pub probe_path: String,
    /// What is asked.
    #[serde(flatten)]
    pub question: QuestionView,
}

// The numbers are finite: they come from durations.
impl Eq for HealthMonitorView {}

/// What of a question depends on its type; `null` where the type has no such thing.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct QuestionView {
    /// TCP: `half` or `full`.
    pub tcp_handshake: Option<String>,
    /// HTTP and HTTPS: the method.
    pub http_method: Option<String>,
    /// HTTP and HTTPS: `1.0` or `1.1`.
    pub http_version: Option<String>,
    /// HTTP and HTTPS: the path.
    pub url_path: Option<String>,
    /// HTTP and HTTPS: such as `200`, `200,202` or `200-204`.
    pub expected_codes: Option<String>,
    /// HTTP, HTTPS, TLS-HELLO, GRPC: the name the member is asked by.
    pub domain_name: Option<String>,
    /// GRPC: the service; empty is the server as a whole.
    pub grpc_service: Option<String>,
}

/// What a monitor says of a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum VerdictView {
    /// It answers.
    Up,
    /// It does not.
    Down,
}

impl VerdictView {
    /// The word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Up => "UP",
            Self::Down => "DOWN",
        }
    }
}

/// What came of a probe.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ResultKind {
    /// The member answered as it should.
    Success,
    /// It did not.
    Failure,
    /// It was not asked, for something that this host lacks.
    NotAsked,
}

impl ResultKind {
    /// The word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Success => "SUCCESS",
            Self::Failure => "FAILURE",
            Self::NotAsked => "NOT_ASKED",
        }
    }
}

/// What came of one probe.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ResultView {
    /// When it ended.
    pub time: String,
    /// What it says of the member.
    pub result: ResultKind,
    /// How long it took.
    pub took_micros: u64,
    /// What it met, in words.
    pub text: String,
}

/// A change of a verdict, or the first one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TransitionView {
    /// When.
    pub time: String,
    /// To what.
    pub verdict: VerdictView,
    /// What the probe met that decided it.
    pub text: String,
}

/// A member as its monitor sees it, on one line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MemberHealthView {
    /// Its label, `load_balancer/pool/member`.
    pub name: String,
    /// The monitor's type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The address that is probed.
    pub monitor_address: IpAddr,
    /// The port that is probed; `null` for `PING`, which has none.
    pub monitor_port: Option<u16>,
    /// HTTP and HTTPS: the path that is asked for.
    pub url_path: Option<String>,
    /// What the monitor says; `null` before it knows, which counts as up.
    pub verdict: Option<VerdictView>,
    /// Since when it says so; `null` before it knows.
    pub since: Option<String>,
    /// What the member is fit for.
    pub operating_status: OperatingStatus,
    /// Why, unless it is `ONLINE`.
    pub status_reason: Option<String>,
    /// What came of the last probe; `null` before the first has ended.
    pub last: Option<ResultView>,
    /// Answers in a row that speak against the verdict.
    pub against: u16,
    /// Answers in a row that change the verdict, damping included.
    pub needed: u16,
    /// How often the successes that it needs are doubled because it flaps.
    pub damping: u8,
}

/// What the monitors as a whole are doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct HealthSummaryView {
    /// Members that are watched.
    pub members: usize,
    /// Of those, the ones found up.
    pub up: usize,
    /// The ones found down.
    pub down: usize,
    /// The ones about which nothing is known yet; they count as up.
    pub unknown: usize,
    /// The ones that need more successes to come up because they flap.
    pub damped: usize,
    /// Probes under way.
    pub in_flight: usize,
    /// Most probes that have been under way at once.
    pub most_in_flight: usize,
    /// Probes that did not start for something that this host lacks.
    pub not_asked: u64,
    /// Probes that started since lbd did.
    pub probes: u64,
    /// Of those, the ones that started late by more than 5 % of their delay.
    pub late: u64,
    /// The latest start.
    pub late_max_micros: u64,
    /// The latest start in thousandths of its delay.
    pub late_max_per_mille: u64,
}

/// Members as their monitors see them.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct HealthListView {
    /// What the monitors as a whole are doing.
    pub summary: HealthSummaryView,
    /// How many members match.
    pub matching: usize,
    /// The first of them by name, up to the limit asked for.
    pub members: Vec<MemberHealthView>,
}

/// Everything about a member's health.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HealthView {
    /// It on one line.
    #[serde(flatten)]
    pub member: MemberHealthView,
    /// Where clients are sent to.
    pub address: IpAddr,
    /// The port they are sent to.
    pub protocol_port: u16,
    /// Its pool's monitor; what it asks, and how often.
    pub health_monitor: HealthMonitorView,
    /// Whether its packets go to the VIP, in frames to the member.
    pub to_vip: bool,
    /// Whether a probe is under way.
    pub asking: bool,
    /// Probes that ended since the member is watched.
    pub probes: u64,
    /// Of those, the ones that failed.
    pub failures: u64,
    /// Why frames of the data path cannot reach it, if they cannot.
    pub next_hop_missing: Option<String>,
    /// The last results, the newest first, 16 at most.
    pub results: Vec<ResultView>,
    /// The last transitions, the newest first, 8 at most.
    pub transitions: Vec<TransitionView>,
}
