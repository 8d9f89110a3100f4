//! The words on lbd's socket: one JSON object a line, each way.
//!
//! A request carries the protocol's version beside its own fields:
//! `{"protocol":1,"request":"members","select":"web/app/app-1"}`. The answer
//! carries the same version: `{"protocol":1,"response":"members","content":[…]}`.
//! Requests of another version and unknown ones are refused with a message
//! that names both versions, so that an old `lbctl` says what is wrong.

use std::{net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};

use super::view::{
    DataplaneView, DropView, FlowCountView, FlowsView, ListenerView, LoadBalancerView, MemberSetView, MemberView,
    PoolView, StatsView, StatusView,
    events::EventsView,
    explain::ExplainView,
    health::{HealthListView, HealthView},
    sync::SyncView,
    vrrp::{VrrpCommandView, VrrpView},
};

/// The version of this protocol. It changes only when an old word gets another
/// meaning; new requests and new fields do not change it.
pub const PROTOCOL: u32 = 1;

/// Longest request in bytes, its newline included.
pub const MAX_REQUEST_BYTES: usize = 1 << 20;

/// Most flows in one answer: at about 300 bytes each, some 20 MB.
pub const MAX_FLOWS_LISTED: u32 = 65_536;

/// Most members in one answer about health: at about 700 bytes each, some 20 MB.
pub const MAX_HEALTH_LISTED: u32 = 32_768;

/// Longest wait for an event: a question that may wait longer is answered after
/// this time that nothing has happened.
pub const MAX_EVENT_WAIT: Duration = Duration::from_secs(25);

/// Requests that may wait for something to happen at once; half of lbd's
/// clients, so that followers of events never keep everybody else out.
pub const MAX_WAITING: usize = 16;

/// What an operator asks for. `select` names one thing by its label or by a
/// suffix of it that only one has; without it the answer lists all.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// The whole on one screen.
    Status,
    /// Load balancers.
    LoadBalancers {
        /// One of them.
        select: Option<String>,
    },
    /// Listeners.
    Listeners {
        /// One of them.
        select: Option<String>,
    },
    /// Pools.
    Pools {
        /// One of them.
        select: Option<String>,
    },
    /// Members.
    Members {
        /// One of them.
        select: Option<String>,
        /// Those of this pool only.
        pool: Option<String>,
    },
    /// Changes a member until it is reset, whatever the pool file says.
    SetMember {
        /// Its label or a suffix only it has.
        member: String,
        /// What to change.
        change: MemberChange,
    },
    /// What the health monitors find, and how they fare.
    ListHealth {
        /// Members of this pool only.
        #[serde(default)]
        pool: Option<String>,
        /// Members that are down, or failed when they were asked last, only.
        #[serde(default)]
        failing: bool,
        /// How many members at most, up to [`MAX_HEALTH_LISTED`]; with 0 only how
        /// the monitors fare.
        limit: u32,
    },
    /// Everything a health monitor knows about a member.
    ShowHealth {
        /// Its label or a suffix only it has.
        member: String,
    },
    /// Traffic of every listener and member.
    Stats,
    /// Flows.
    Flows {
        /// Which.
        filter: FlowFilter,
        /// How many at most, up to [`MAX_FLOWS_LISTED`].
        limit: u32,
    },
    /// How many flows there are.
    FlowCount {
        /// Which.
        filter: FlowFilter,
    },
    /// The data path in the kernel.
    Dataplane,
    /// Removes the data path and ends the daemon.
    Detach,
    /// Every reason to drop and every answer, with its count.
    Drops,
    /// What would become of packets.
    Explain {
        /// Which packets.
        packets: PacketsAsked,
        /// The interface they come in by; without it the one that is told in the
        /// answer.
        interface: Option<String>,
    },
    /// VRRP instances.
    Vrrp {
        /// One of them.
        select: Option<String>,
    },
    /// Moves a VRRP instance, or has it stay out or take part again.
    VrrpCommand {
        /// Its name.
        select: String,
        /// What it is to do.
        command: VrrpCommand,
    },
    /// Flow sync with the other node of the pair.
    Sync,
    /// What has happened after some event.
    Events {
        /// The number of that event; without it all that are kept.
        after: Option<u64>,
        /// The life of lbd that the number is from, as an earlier answer said.
        epoch: Option<u64>,
        /// How long to wait for an event when there is none, in milliseconds,
        /// up to [`MAX_EVENT_WAIT`].
        #[serde(default)]
        wait_ms: u32,
    },
}

impl Request {
    /// Whether carrying it out changes anything.
    #[must_use]
    pub const fn is_read_only(&self) -> bool {
        !matches!(self, Self::SetMember { .. } | Self::Detach | Self::VrrpCommand { .. })
    }

    /// Whether its answer may wait until something happens.
    #[must_use]
    pub const fn may_wait(&self) -> bool {
        matches!(self, Self::Events { wait_ms: 1.., .. })
    }

    /// Whether the answer tells how VRRP and flow sync are, so that they have
    /// to be asked first.
    #[must_use]
    pub const fn is_about_the_pair(&self) -> bool {
        matches!(self, Self::Status | Self::Vrrp { .. } | Self::VrrpCommand { .. } | Self::Sync)
    }

    /// Whether the answer tells what the health monitors know, so that they have
    /// to be asked first.
    #[must_use]
    pub const fn is_about_health(&self) -> bool {
        matches!(self, Self::ListHealth { .. } | Self::ShowHealth { .. })
    }

    /// Whether it asks how all members are and wants to see none of them: whoever asks
    /// again and again need not have everything looked at.
    #[must_use]
    pub const fn asks_how_all_are(&self) -> bool {
        matches!(self, Self::ListHealth { pool: None, failing: false, limit: 0 })
    }
}

/// Most packets in one question, and the longest of them in bytes.
pub const MAX_PACKETS_EXPLAINED: usize = 1000;
/// See [`MAX_PACKETS_EXPLAINED`].
pub const MAX_FRAME_BYTES: usize = 9216;

/// Packets of which is asked what would become of them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PacketsAsked {
    /// One, described.
    Described(PacketSketch),
    /// Ethernet frames in hexadecimal digits, in the order they come: later ones
    /// meet what earlier ones have left.
    Frames(Vec<String>),
}

/// A packet in an operator's words.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PacketSketch {
    /// What it carries.
    pub protocol: SketchedProtocol,
    /// Where it comes from.
    pub source: IpAddr,
    /// Its source port; 0 for an echo request.
    pub source_port: u16,
    /// Where it is sent.
    pub destination: IpAddr,
    /// Its destination port; 0 for an echo request.
    pub destination_port: u16,
    /// Flags of TCP as they lie in its header: FIN is 1, SYN 2, RST 4, PSH 8, ACK
    /// 16, URG 32.
    pub tcp_flags: u8,
    /// Bytes behind the transport header.
    pub payload: u16,
}

/// What a sketched packet carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SketchedProtocol {
    /// A TCP segment.
    Tcp,
    /// A UDP datagram.
    Udp,
    /// An SCTP packet with an INIT chunk.
    Sctp,
    /// An echo request.
    Icmp,
}

/// What a VRRP instance can be told to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VrrpCommand {
    /// The Active gives its place to another router, once: it carries its
    /// addresses until that one has taken over.
    Failover,
    /// Stay out until resumed; an Active leaves as with a failover.
    Pause,
    /// Take part again, by priority and preemption as ever.
    Resume,
}

impl VrrpCommand {
    /// The word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Failover => "failover",
            Self::Pause => "pause",
            Self::Resume => "resume",
        }
    }
}

/// What `member set` changes. Fields left out stay as they are; `reset` is
/// applied first and forgets every earlier change.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MemberChange {
    /// Back to what the pool file says.
    pub reset: bool,
    /// The weight, 0 to 256.
    pub weight: Option<u16>,
    /// On or off.
    pub admin_state_up: Option<bool>,
    /// Whether it drains: keeps its flows, takes no new ones.
    pub drain: Option<bool>,
}

impl MemberChange {
    /// Whether nothing would change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Which flows. Empty: all.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FlowFilter {
    /// To this member, by label or unique suffix.
    pub member: Option<String>,
    /// Of this listener, by label or unique suffix.
    pub listener: Option<String>,
    /// From this client.
    pub client: Option<IpAddr>,
}

/// The answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "response", content = "content", rename_all = "snake_case")]
pub enum Response {
    /// To [`Request::Status`].
    Status(Box<StatusView>),
    /// To [`Request::LoadBalancers`].
    LoadBalancers(Vec<LoadBalancerView>),
    /// To [`Request::Listeners`].
    Listeners(Vec<ListenerView>),
    /// To [`Request::Pools`].
    Pools(Vec<PoolView>),
    /// To [`Request::Members`].
    Members(Vec<MemberView>),
    /// To [`Request::SetMember`].
    MemberSet(Box<MemberSetView>),
    /// To [`Request::ListHealth`].
    HealthList(HealthListView),
    /// To [`Request::ShowHealth`].
    Health(Box<HealthView>),
    /// To [`Request::Stats`].
    Stats(StatsView),
    /// To [`Request::Flows`].
    Flows(FlowsView),
    /// To [`Request::FlowCount`].
    FlowCount(FlowCountView),
    /// To [`Request::Dataplane`].
    Dataplane(Box<DataplaneView>),
    /// To [`Request::Detach`]: interfaces that packets no longer meet us at.
    Detached {
        /// Their names.
        interfaces: Vec<String>,
    },
    /// To [`Request::Drops`].
    Drops(Vec<DropView>),
    /// To [`Request::Explain`].
    Explained(ExplainView),
    /// To [`Request::Vrrp`].
    Vrrp(Vec<VrrpView>),
    /// To [`Request::VrrpCommand`].
    VrrpCommanded(Box<VrrpCommandView>),
    /// To [`Request::Sync`]; nothing where no flow sync is configured.
    Sync(Option<Box<SyncView>>),
    /// To [`Request::Events`].
    Events(EventsView),
    /// To any request: it was not carried out.
    Refused(Refusal),
}

/// Why a request was not carried out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What kind of refusal, for programs.
    pub code: RefusalCode,
    /// What an operator reads: what is wrong and what to do.
    pub message: String,
}

/// Kinds of refusal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalCode {
    /// The request is of another protocol version or unknown.
    Protocol,
    /// Nothing has that name.
    NotFound,
    /// Several things have that name.
    Ambiguous,
    /// A value is out of range, or the change is none.
    Invalid,
    /// Lbd serves as many clients as it does at once, or is stopping.
    Busy,
    /// The kernel or a file refused.
    Failed,
}

impl Refusal {
    /// A refusal of some kind.
    #[must_use]
    pub fn new(code: RefusalCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl From<Refusal> for Response {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

#[derive(Serialize)]
struct Envelope<'a, T> {
    protocol: u32,
    #[serde(flatten)]
    content: &'a T,
}

/// A request as a line, its newline included.
///
/// # Errors
/// When serde refuses, which these types give it no cause to.
pub fn encode_request(request: &Request) -> serde_json::Result<Vec<u8>> {
    encode(request)
}

/// An answer as a line, its newline included.
///
/// # Errors
/// When serde refuses, which these types give it no cause to.
pub fn encode_response(response: &Response) -> serde_json::Result<Vec<u8>> {
    encode(response)
}

fn encode<T: Serialize>(content: &T) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(&Envelope { protocol: PROTOCOL, content })?;
    line.push(b'\n');
    Ok(line)
}

/// Reads a request from a line.
///
/// # Errors
/// The refusal to send back.
pub fn decode_request(line: &[u8]) -> Result<Request, Refusal> {
    decode(line, "request")
}

/// Reads an answer from a line.
///
/// # Errors
/// A refusal that says what does not fit.
pub fn decode_response(line: &[u8]) -> Result<Response, Refusal> {
    decode(line, "response")
}

fn decode<T: for<'de> Deserialize<'de>>(line: &[u8], what: &str) -> Result<T, Refusal> {
    let refuse = |message: String| Refusal::new(RefusalCode::Protocol, message);
    let value: serde_json::Value =
        serde_json::from_slice(line).map_err(|e| refuse(format!("read {what}: no JSON object on the line: {e}")))?;
    let version = value.get("protocol").and_then(serde_json::Value::as_u64);
    match version {
        Some(version) if version == u64::from(PROTOCOL) => {}
        Some(version) => {
            return Err(refuse(format!(
                "the {what} is of protocol {version}, this side speaks protocol {PROTOCOL}: use an lbctl and an lbd \
                 of the same version"
            )));
        }
        None => {
            return Err(refuse(format!(
                "the {what} does not say its protocol; expected \"protocol\": {PROTOCOL} in it"
            )));
        }
    }
    serde_json::from_value(value).map_err(|e| {
        refuse(format!(
            "{what} not understood: {e}; this side is version {} and speaks protocol {PROTOCOL}: use an lbctl and an \
             lbd of the same version",
            env!("CARGO_PKG_VERSION")
        ))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_request_is_one_line_and_comes_back() {
        let requests = [
            Request::Status,
            Request::Members { select: Some("web/app/app-1".into()), pool: None },
            Request::SetMember {
                member: "app-1".into(),
                change: MemberChange { weight: Some(3), drain: Some(true), ..MemberChange::default() },
            },
            Request::Flows {
                filter: FlowFilter { client: "2001:db8::1".parse().ok(), ..FlowFilter::default() },
                limit: 5,
            },
            Request::VrrpCommand { select: "front".into(), command: VrrpCommand::Failover },
            Request::Sync,
            Request::Events { after: Some(7), epoch: Some(1_700_000_000_000_000), wait_ms: 25_000 },
        ];
        for request in requests {
            let line = encode_request(&request).unwrap();
            assert_eq!(line.iter().filter(|b| **b == b'\n').count(), 1);
            assert_eq!(decode_request(&line).unwrap(), request);
        }
    }

    #[test]
    fn the_wire_form_is_the_documented_one() {
        let line = encode_request(&Request::Members { select: Some("a".into()), pool: None }).unwrap();
        assert_eq!(
            String::from_utf8(line).unwrap(),
            "{\"protocol\":1,\"request\":\"members\",\"select\":\"a\",\"pool\":null}\n"
        );
        let line = encode_response(&Refusal::new(RefusalCode::NotFound, "no").into()).unwrap();
        assert_eq!(
            String::from_utf8(line).unwrap(),
            "{\"protocol\":1,\"response\":\"refused\",\"content\":{\"code\":\"not_found\",\"message\":\"no\"}}\n"
        );
    }

    #[test]
    fn fields_left_out_are_taken_as_absent() {
        assert_eq!(
            decode_request(br#"{"protocol":1,"request":"members"}"#).unwrap(),
            Request::Members { select: None, pool: None }
        );
        assert_eq!(
            decode_request(br#"{"protocol":1,"request":"events"}"#).unwrap(),
            Request::Events { after: None, epoch: None, wait_ms: 0 }
        );
    }

    #[test]
    fn only_a_question_for_events_may_wait_and_only_if_it_says_so() {
        let events = |wait_ms| Request::Events { after: None, epoch: None, wait_ms };
        assert!(events(1).may_wait() && !events(0).may_wait() && !Request::Status.may_wait());
    }

    #[test]
    fn another_version_and_an_unknown_request_are_refused_by_name() {
        let refusal = decode_request(br#"{"protocol":2,"request":"status"}"#).unwrap_err();
        assert_eq!(refusal.code, RefusalCode::Protocol);
        assert!(refusal.message.contains("protocol 2") && refusal.message.contains("protocol 1"), "{refusal}");
        let refusal = decode_request(br#"{"protocol":1,"request":"dance"}"#).unwrap_err();
        assert!(refusal.message.contains("dance") && refusal.message.contains("protocol 1"), "{refusal}");
        for line in [&b"{}"[..], b"", b"hello", b"[]", b"\xff\xfe", br#"{"protocol":"1"}"#] {
            assert_eq!(decode_request(line).unwrap_err().code, RefusalCode::Protocol);
        }
    }
}
