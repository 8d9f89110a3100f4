//! Every field of `[loadbalancer.pool.healthmonitor]`, and what a pool says about
//! members that go down.

use crate::config::{
    fields::ON,
    schema::{Fallback, Field, Kind, Table},
};

const RETRIES: Kind = Kind::Integer { min: 1, max: 10 };

/// `[loadbalancer.pool.healthmonitor]`.
pub(in crate::config) static HEALTHMONITOR: Table = Table {
    key: "healthmonitor",
    header: "[loadbalancer.pool.healthmonitor]",
    about: "How the pool's members are watched. Without it they are taken to be healthy. What a probe of each type \
            sends and takes for an answer, and what follows from it, is in [health.md](health.md). A field of another \
            type than the monitor's is a mistake.",
    fields: &[
        &TYPE,
        &DELAY,
        &TIMEOUT,
        &MAX_RETRIES,
        &MAX_RETRIES_DOWN,
        &HTTP_METHOD,
        &HTTP_VERSION,
        &URL_PATH,
        &EXPECTED_CODES,
        &DOMAIN_NAME,
        &GRPC_SERVICE,
        &TCP_HANDSHAKE,
        &FLAP_DAMPING,
        &PROBE_PATH,
        &MONITOR_UP,
    ],
    tables: &[],
    later: &[],
};

/// The fields that only some types have, and which types those are.
static OF_TYPES: [(&Field, &[&str]); 7] = [
    (&HTTP_METHOD, &["HTTP", "HTTPS"]),
    (&HTTP_VERSION, &["HTTP", "HTTPS"]),
    (&URL_PATH, &["HTTP", "HTTPS"]),
    (&EXPECTED_CODES, &["HTTP", "HTTPS"]),
    (&DOMAIN_NAME, &["HTTP", "HTTPS", "TLS-HELLO", "GRPC"]),
    (&GRPC_SERVICE, &["GRPC"]),
    (&TCP_HANDSHAKE, &["TCP"]),
];

/// The types that have a field; `None` where all have it.
pub(in crate::config) fn types_of(field: &Field) -> Option<&'static [&'static str]> {
    OF_TYPES.iter().find(|(of_some, _)| std::ptr::eq(*of_some, field)).map(|(_, types)| *types)
}

/// The fields that only some types have.
pub(in crate::config) fn of_some_types() -> impl Iterator<Item = &'static Field> {
    OF_TYPES.iter().map(|(field, _)| *field)
}

pub(in crate::config) static TYPE: Field = Field {
    key: "type",
    kind: Kind::Word { now: &["PING", "TCP", "HTTP", "HTTPS", "TLS-HELLO", "UDP-CONNECT", "SCTP", "GRPC"], later: &[] },
    default: Fallback::Required,
    example: "\"TCP\"",
    meaning: "What a probe asks. A TCP pool has `PING`, `TCP`, `HTTP`, `HTTPS`, `TLS-HELLO` or `GRPC`, a UDP pool \
              `UDP-CONNECT`, `SCTP`, `TCP` or `HTTP`. Members of a UDP pool that are probed over TCP need a \
              `monitor_port` where something answers it.",
};

pub(in crate::config) static DELAY: Field = Field {
    key: "delay",
    kind: Kind::Seconds {
        min: 0.05,
        max: 3600.0,
        why: "probes closer than 0.05 s load the members more than they tell, and further apart than an hour they \
              tell nothing",
    },
    default: Fallback::Required,
    example: "5",
    meaning: "From the start of one probe of a member to the start of the next.",
};

pub(in crate::config) static TIMEOUT: Field = Field {
    key: "timeout",
    kind: Kind::Seconds {
        min: 0.01,
        max: 3600.0,
        why: "a healthy member may need 0.01 s to answer, and one that needs an hour is not healthy",
    },
    default: Fallback::Required,
    example: "3",
    meaning: "How long a probe may take. More than `delay` is allowed, with a warning.",
};

pub(in crate::config) static MAX_RETRIES: Field = Field {
    key: "max_retries",
    kind: RETRIES,
    default: Fallback::Required,
    example: "2",
    meaning: "Successes in a row that bring a member up.",
};

pub(in crate::config) static MAX_RETRIES_DOWN: Field = Field {
    key: "max_retries_down",
    kind: RETRIES,
    default: Fallback::Integer(3),
    example: "2",
    meaning: "Failures in a row that take a member down.",
};

pub(in crate::config) static HTTP_METHOD: Field = Field {
    key: "http_method",
    kind: Kind::Word {
        now: &["GET", "HEAD", "POST", "PUT", "DELETE", "TRACE", "OPTIONS", "PATCH", "CONNECT"],
        later: &[],
    },
    default: Fallback::Text("GET"),
    example: "\"HEAD\"",
    meaning: "The method of the request.",
};

pub(in crate::config) static HTTP_VERSION: Field = Field {
    key: "http_version",
    kind: Kind::Version { now: &["1.0", "1.1"] },
    default: Fallback::Text("1.0"),
    example: "\"1.1\"",
    meaning: "The version of the request. 1.1 has a Host header, and is needed with `domain_name`.",
};

pub(in crate::config) static URL_PATH: Field = Field {
    key: "url_path",
    kind: Kind::Text {
        what: "a URL path in quotes",
        can_be: "a URL path of at most 2048 characters, beginning with `/`, perhaps with a query",
    },
    default: Fallback::Text("/"),
    example: "\"/healthz\"",
    meaning: "What is requested.",
};

pub(in crate::config) static EXPECTED_CODES: Field = Field {
    key: "expected_codes",
    kind: Kind::Text {
        what: "a text with codes in quotes",
        can_be: "`\"200\"`, a list as in `\"200, 202\"`, or a range as in `\"200-204\"`; at most 64 characters",
    },
    default: Fallback::Text("200"),
    example: "\"200-204\"",
    meaning: "The status codes that are a success.",
};

pub(in crate::config) static DOMAIN_NAME: Field = Field {
    key: "domain_name",
    kind: Kind::Text { what: "a host name in quotes", can_be: "a host name of at most 253 characters" },
    default: Fallback::None("none"),
    example: "\"www.example.com\"",
    meaning: "The name that is asked for: the Host header of `HTTP` and `HTTPS`, which need `http_version = \"1.1\"` \
              with it; the server name (SNI) of `HTTPS` and `TLS-HELLO`; the `:authority` of `GRPC`.",
};

pub(in crate::config) static GRPC_SERVICE: Field = Field {
    key: "grpc_service",
    kind: Kind::Text {
        what: "a service's name in quotes",
        can_be: "at most 255 letters, digits and signs of ASCII, without blanks",
    },
    default: Fallback::Text(""),
    example: "\"shop.v1.Cart\"",
    meaning: "The service whose health is asked for; empty is the server as a whole.",
};

pub(in crate::config) static TCP_HANDSHAKE: Field = Field {
    key: "tcp_handshake",
    kind: Kind::Word { now: &["half", "full"], later: &[] },
    default: Fallback::Text("half"),
    example: "\"full\"",
    meaning: "`half`: SYN, SYN-ACK, RST, so that the member's server never hears of it. `full`: the whole handshake, \
              and then RST.",
};

pub(in crate::config) static FLAP_DAMPING: Field = Field {
    key: "flap_damping",
    kind: Kind::Flag,
    default: ON,
    example: "false",
    meaning: "`true`: a member that comes up and soon goes down again needs twice as many successes the next time, up \
              to 32 times as many, until it has stayed up for a while.",
};

pub(in crate::config) static PROBE_PATH: Field = Field {
    key: "probe_path",
    kind: Kind::Word { now: &["member", "vip"], later: &[] },
    default: Fallback::Text("member"),
    example: "\"member\"",
    meaning: "`member`: probes go to the member's address. `vip`: they go to the VIP on the member, the way its traffic \
              does, so that a member that has lost its VIP is found out. That is for `forward_mode = \"dsr\"`, for types \
              `PING`, `TCP` with `tcp_handshake = \"half\"`, `UDP-CONNECT` and `SCTP`, and for members without \
              `monitor_address`; `ipip` and `gue` are not available yet.",
};

pub(in crate::config) static MONITOR_UP: Field = Field {
    key: "admin_state_up",
    kind: Kind::Flag,
    default: ON,
    example: "false",
    meaning: "`false`: nobody is probed, and members are taken to be healthy.",
};

/// Of `[[loadbalancer.pool]]`.
pub(in crate::config) static ON_MEMBER_DOWN: Field = Field {
    key: "on_member_down",
    kind: Kind::Word { now: &["keep", "reset"], later: &[] },
    default: Fallback::Text("keep"),
    example: "\"reset\"",
    meaning: "What becomes of the established TCP connections of a member that the health monitor takes down. `keep`: \
              they stay with it, and go on if it comes back. `reset`: they are answered with RST, so that clients come \
              again and get another member. UDP flows move in any case.",
};

/// Of `[[loadbalancer.pool]]`.
pub(in crate::config) static PANIC_THRESHOLD: Field = Field {
    key: "panic_threshold",
    kind: Kind::Integer { min: 1, max: 99 },
    default: Fallback::None("off"),
    example: "60",
    meaning: "In percent: while more than this share of the members is down at once, the health monitor is not \
              believed, and traffic goes to all of them.",
};
