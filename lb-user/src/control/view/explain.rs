//! What would become of packets, as records: `lbctl explain`.

use serde::{Deserialize, Serialize};

/// What would become of packets.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ExplainView {
    /// The interface they come in by.
    pub interface: String,
    /// Each of them, in the order they come.
    pub packets: Vec<ExplanationView>,
}

/// What would become of a packet, and why.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ExplanationView {
    /// The packet in words.
    pub packet: String,
    /// What becomes of it.
    pub verdict: Outcome,
    /// Dropped: the reason's label, as `lbctl drops` has it.
    pub reason: Option<String>,
    /// Dropped: what that means, and what to look at.
    pub meaning: Option<String>,
    /// Label of the listener that it is for, or that it is an answer of.
    pub listener: Option<String>,
    /// Label of the listener's pool.
    pub pool: Option<String>,
    /// Label of the member that it goes to, or comes from.
    pub member: Option<String>,
    /// How the pool's members are reached.
    pub forward_mode: Option<String>,
    /// The interface that what becomes of it leaves by.
    pub leaves_by: Option<String>,
    /// What leaves, in words.
    pub sent: Option<String>,
    /// What leaves, in hexadecimal digits from its Ethernet header on.
    pub sent_frame: Option<String>,
    /// What was done on the way to the verdict.
    pub steps: Vec<String>,
}

/// What becomes of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It goes on, to a member or to a client.
    Forwarded,
    /// The balancer answers it by itself.
    Answered,
    /// It ends here.
    Dropped,
    /// It is left to the host's own network stack.
    Passed,
    /// A `dnat` member's packet, which goes where the host's routes lead.
    HostRoutes,
}

impl Outcome {
    /// The word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::Answered => "answered",
            Self::Dropped => "dropped",
            Self::Passed => "passed to the host",
            Self::HostRoutes => "sent by the host's routes",
        }
    }
}
