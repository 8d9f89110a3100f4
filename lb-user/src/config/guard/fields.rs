//! Every field about who may open flows and how many, and where outer packets come from.

use crate::{
    config::schema::{Fallback, Field, Kind},
    model::MAX_CIDRS,
};

const LIMIT: Kind = Kind::Signed { min: -1, max: u32::MAX as i64 };
/// What a limit is that nobody has set.
const NO_LIMIT: Fallback = Fallback::None("`-1`: none");

pub(in crate::config) static ALLOWED_CIDRS: Field = Field {
    key: "allowed_cidrs",
    kind: Kind::Cidrs { max: MAX_CIDRS },
    default: Fallback::None("everybody"),
    example: "[\"192.0.2.0/24\", \"198.51.100.7\"]",
    meaning: "From where the listener may be reached, in networks of the VIP's family. Flows that others want to open \
              are dropped in silence; a change does not end those that are open.",
};

pub(in crate::config) static LISTENER_LIMIT: Field = Field {
    key: "connection_limit",
    kind: LIMIT,
    default: NO_LIMIT,
    example: "10000",
    meaning: "How many flows the listener may have at once; more are refused. -1: as many as there are.",
};

pub(in crate::config) static NEW_FLOWS_PER_SOURCE: Field = Field {
    key: "new_flows_per_source",
    kind: Kind::Integer { min: 0, max: u32::MAX as u64 },
    default: Fallback::Integer(0),
    example: "100",
    meaning: "How many flows one source address may open a second; that many may come at once after a silence. More \
              are dropped. 0: as many as it likes.",
};

pub(in crate::config) static MEMBER_LIMIT: Field = Field {
    key: "connection_limit",
    kind: LIMIT,
    default: NO_LIMIT,
    example: "1000",
    meaning: "How many flows the member may have at once; more go to other members, or are refused if none has room. \
              -1: as many as there are.",
};

pub(in crate::config) static ENCAP_SOURCES: Field = Field {
    key: "encap_sources",
    kind: Kind::Cidrs { max: 2 },
    default: Fallback::None("`[\"172.16.0.0/16\", \"100::/64\"]`"),
    example: "[\"198.18.0.0/16\", \"fd00:0:0:1::/64\"]",
    meaning: "One network of each family, out of which `ipip` packets have their source: up to 32 bits beyond the \
              prefix vary with the flow, so that a member's network card spreads them over its CPUs. Nothing needs to \
              be reachable there; members and what filters between must let it pass. What is not given of a family \
              has its default. `gue` has the balancer's own address, and a source port that varies.",
};
