//! Every field of a pool about how it chooses members and how packets get there.

use crate::{
    config::schema::{Fallback, Field, Kind, Table},
    model::{Mss, Persistence, TransitionHold},
};

pub(in crate::config) static LB_ALGORITHM: Field = Field {
    key: "lb_algorithm",
    kind: Kind::Word { now: &["SOURCE_IP_PORT", "SOURCE_IP", "ROUND_ROBIN", "LEAST_CONNECTIONS"], later: &[] },
    default: Fallback::Text("SOURCE_IP_PORT"),
    example: "\"SOURCE_IP\"",
    meaning: "How a new flow's member is chosen. `SOURCE_IP_PORT`: by the addresses and ports of client and \
              listener, so that flows spread by weight. `SOURCE_IP`: by the client's address, so that a client stays \
              with a member. `ROUND_ROBIN`: one after the other, each as often as its weight says. \
              `LEAST_CONNECTIONS`: of two members, the one with fewer flows for its weight.",
};

pub(in crate::config) static FORWARD_MODE: Field = Field {
    key: "forward_mode",
    kind: Kind::Word { now: &["nat", "dnat", "dsr", "ipip", "gue"], later: &[] },
    default: Fallback::Text("nat"),
    example: "\"nat\"",
    meaning: "How packets get to members. `nat`: members see the VIP as their client and need no configuration. \
              `dnat`: they see their clients and route back through the balancer. `dsr`, `ipip`, `gue`: they hold \
              the VIP and answer clients themselves. What each needs is under [forward modes](#forward-modes).",
};

pub(in crate::config) static MSS_CLAMP: Field = Field {
    key: "mss_clamp",
    kind: Kind::WordOrInteger { words: &["off", "auto"], min: Mss::MIN as u64, max: Mss::MAX as u64 },
    default: Fallback::Text("off"),
    example: "\"auto\"",
    meaning: "The largest TCP segment (MSS) that a handshake may announce on its way through. What a client announces \
              bounds what members send it; what a member announces bounds what clients send, and passes here in \
              `nat` only. `off`: it is left as it is. `auto`: no more than an Ethernet frame takes, with what `ipip` \
              or `gue` put around it. A number of bytes: no more than that. It is never raised.",
};

pub(in crate::config) static TRANSITION_HOLD: Field = Field {
    key: "transition_hold",
    kind: Kind::Seconds {
        min: 0.0,
        max: TransitionHold::MAX.as_secs() as f64,
        why: "the data path's clock does not tell moments further apart before from after",
    },
    default: Fallback::Integer(300),
    example: "60",
    meaning: "How long after a change of the pool its established flows stay with the member that they had, though \
              nothing has been heard from them meanwhile and the change gives them to another. Those that are heard \
              from stay for as long as they live. Matters where flows are not remembered: in the modes other than \
              `nat`, and when the mode changes.",
};

/// `[loadbalancer.pool.session_persistence]`.
pub(in crate::config) static SESSION_PERSISTENCE: Table = Table {
    key: "session_persistence",
    header: "[loadbalancer.pool.session_persistence]",
    about: "Keeps a client's flows together: its new flows go to the member that its last one went to, as long as that \
            member can take them. Without it each flow is placed for itself.",
    fields: &[&PERSISTENCE_TYPE, &PERSISTENCE_TIMEOUT, &PERSISTENCE_GRANULARITY],
    tables: &[],
    later: &["cookie_name"],
};

pub(in crate::config) static PERSISTENCE_TYPE: Field = Field {
    key: "type",
    kind: Kind::Word { now: &["SOURCE_IP"], later: &["HTTP_COOKIE", "APP_COOKIE"] },
    default: Fallback::Required,
    example: "\"SOURCE_IP\"",
    meaning: "What a client is known by. `SOURCE_IP`: its address.",
};

pub(in crate::config) static PERSISTENCE_TIMEOUT: Field = Field {
    key: "persistence_timeout",
    kind: Kind::Integer { min: 1, max: Persistence::MAX_TIMEOUT as u64 },
    default: Fallback::Integer(Persistence::DEFAULT_TIMEOUT as u64),
    example: "300",
    meaning: "How many seconds after a client's last new flow its member is remembered. Octavia has this for UDP and \
              SCTP only; here TCP has it, too.",
};

pub(in crate::config) static PERSISTENCE_GRANULARITY: Field = Field {
    key: "persistence_granularity",
    kind: Kind::Text {
        what: "a mask or a prefix length in quotes",
        can_be: "of an IPv4 VIP a mask, as in `\"255.255.255.0\"`; of an IPv6 VIP a prefix length, as in `\"64\"`",
    },
    default: Fallback::None("the whole address"),
    example: "\"255.255.255.0\"",
    meaning: "What part of the address counts: clients that have it in common count as one.",
};
