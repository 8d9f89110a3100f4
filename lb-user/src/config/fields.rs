//! Every table and field of the pool file but those of [`failover`](super::failover),
//! [`forward`](super::forward), [`guard`](super::guard) and [`monitor`](super::monitor),
//! which have theirs beside them.

use lb_common::{
    limits::{
        DEFAULT_MAX_FLOWS, MAX_LISTENERS, MAX_MAX_FLOWS, MAX_MEMBERS, MAX_POOLS, MAX_PORTS, MAX_SLOTS, MAX_VIPS,
        MIN_MAX_FLOWS, SNAT_CANDIDATES,
    },
    names,
};

use super::{
    DEFAULT_SOCKET, DEFAULT_STATE_DIR,
    failover::fields::{MAX_ROUTERS, SYNC, VRRP},
    forward::fields::{FORWARD_MODE, LB_ALGORITHM, MSS_CLAMP, SESSION_PERSISTENCE, TRANSITION_HOLD},
    guard::fields::{ALLOWED_CIDRS, ENCAP_SOURCES, LISTENER_LIMIT, MEMBER_LIMIT, NEW_FLOWS_PER_SOURCE},
    monitor::fields::{HEALTHMONITOR, ON_MEMBER_DOWN, PANIC_THRESHOLD},
    schema::{Fallback, Field, Kind, Table},
};
use crate::model::{MAX_CIDRS, Weight};

/// The longest idle limit in seconds. The data path keeps sixteen bits of ticks
/// of 0.85 s and more, which wrap after fifteen hours; twelve leave room for a
/// sweep.
pub(super) const MAX_IDLE_SECONDS: u64 = 12 * 3600;
/// The lowest SNAT port: below are those that only root may listen on.
pub(super) const MIN_SNAT_PORT: u16 = 1024;
/// The fewest SNAT ports: as many as are tried for one flow.
pub(super) const MIN_SNAT_PORTS: u16 = SNAT_CANDIDATES as u16;
/// The most interfaces.
pub(super) const MAX_INTERFACES: usize = MAX_PORTS as usize;
/// The kernel's limit on a path.
pub(super) const MAX_PATH: usize = 4095;
/// The kernel's limit on the path of a unix socket.
const MAX_SOCKET_PATH: usize = 107;

const PORT: Kind = Kind::Integer { min: 1, max: u16::MAX as u64 };
const IDLE: Kind = Kind::Integer { min: 1, max: MAX_IDLE_SECONDS };
/// What `admin_state_up` is unless something else is written.
pub(super) const ON: Fallback = Fallback::Flag(true);

/// The file as a whole.
pub(super) static FILE: Table = Table {
    key: "",
    header: "",
    about: "",
    fields: &[],
    tables: &[&DATAPLANE, &CONTROL, &VRRP, &SYNC, &LOADBALANCER],
    later: &[],
};

/// `[dataplane]`.
pub(super) static DATAPLANE: Table = Table {
    key: "dataplane",
    header: "[dataplane]",
    about: "The program in the kernel and its tables. Required, once.",
    fields: &[&INTERFACES, &XDP_MODE, &PIN_PATH, &MAX_FLOWS, &SNAT_PORTS, &HASH_SEED, &ENCAP_SOURCES, &ON_EXIT],
    tables: &[&IDLE_TIMEOUT],
    later: &[],
};

pub(super) static INTERFACES: Field = Field {
    key: "interfaces",
    kind: Kind::Interfaces,
    default: Fallback::Required,
    example: "[\"eth0\", \"eth1\"]",
    meaning: "The interfaces that the program is attached to: those that clients' packets come in by and those that \
              members' answers come in by. One is enough where both are on one network.",
};

pub(super) static XDP_MODE: Field = Field {
    key: "xdp_mode",
    kind: Kind::Word { now: &["auto", "native", "generic"], later: &[] },
    default: Fallback::Text("auto"),
    example: "\"native\"",
    meaning: "How the program is attached: `native` in the driver, `generic` in the kernel's stack, which every \
              interface can do and which costs several times as much, `auto` in the driver if it can and else in the \
              stack. Where it is attached already, `auto` leaves the mode as it is, so that no packet is lost.",
};

pub(super) static PIN_PATH: Field = Field {
    key: "pin_path",
    kind: Kind::Path { max: MAX_PATH },
    default: Fallback::Text(names::DEFAULT_PIN_PATH),
    example: "\"/sys/fs/bpf/krater-two\"",
    meaning: "The directory, on a bpffs, that keeps the program and its tables alive while lbd does not run. Two \
              balancers on one host need two. Below `/sys/fs/bpf` names have no dots.",
};

pub(super) static MAX_FLOWS: Field = Field {
    key: "max_flows",
    kind: Kind::Integer { min: MIN_MAX_FLOWS as u64, max: MAX_MAX_FLOWS as u64 },
    default: Fallback::Integer(DEFAULT_MAX_FLOWS as u64),
    example: "65536",
    meaning: "Flows of each address family that are kept at once, rounded up to a power of two. One costs 192 bytes \
              of kernel memory for IPv4 and 256 for IPv6. Fixed while the tables are pinned.",
};

pub(super) static SNAT_PORTS: Field = Field {
    key: "snat_ports",
    kind: Kind::PortRange,
    default: Fallback::Text("16384-65535"),
    example: "\"20000-60999\"",
    meaning: "The lowest and the highest source port that members see. Each flow to one member's port needs one of \
              them. Ports of listeners may lie in between: they are left out.",
};

pub(super) static HASH_SEED: Field = Field {
    key: "hash_seed",
    kind: Kind::Integer { min: 0, max: u64::MAX },
    default: Fallback::None("chosen at random"),
    example: "7640891576956012809",
    meaning: "What flows are hashed with. Leave it to chance unless two balancers have to choose the same members: \
              then it must be the same on both, and nobody else's business.",
};

pub(super) static ON_EXIT: Field = Field {
    key: "on_exit",
    kind: Kind::Word { now: &["keep", "remove"], later: &[] },
    default: Fallback::Text("keep"),
    example: "\"remove\"",
    meaning: "What becomes of the program when lbd ends: `keep` goes on balancing with what it was told last, \
              `remove` detaches it and ends every flow.",
};

/// `[dataplane.idle_timeout]`.
pub(super) static IDLE_TIMEOUT: Table = Table {
    key: "idle_timeout",
    header: "[dataplane.idle_timeout]",
    about: "How many seconds a flow may be silent before it is forgotten. At most twelve hours: the data path keeps \
            sixteen bits of time, which wrap after fifteen hours.",
    fields: &[&IDLE_UNCONFIRMED, &IDLE_TCP, &IDLE_TCP_CLOSING, &IDLE_UDP],
    tables: &[],
    later: &[],
};

pub(super) static IDLE_UNCONFIRMED: Field = Field {
    key: "unconfirmed",
    kind: IDLE,
    default: Fallback::Integer(10),
    example: "5",
    meaning: "A flow that nobody has answered, or whose TCP handshake has not finished.",
};

pub(super) static IDLE_TCP: Field = Field {
    key: "tcp",
    kind: IDLE,
    default: Fallback::Integer(7440),
    example: "3600",
    meaning: "An established TCP connection. The default is a little more than the two hours after which TCP's own \
              keepalive speaks up.",
};

pub(super) static IDLE_TCP_CLOSING: Field = Field {
    key: "tcp_closing",
    kind: IDLE,
    default: Fallback::Integer(30),
    example: "10",
    meaning: "A TCP connection that one side has closed or reset.",
};

pub(super) static IDLE_UDP: Field = Field {
    key: "udp",
    kind: IDLE,
    default: Fallback::Integer(120),
    example: "60",
    meaning: "A UDP flow with packets in both directions.",
};

/// `[control]`.
pub(super) static CONTROL: Table = Table {
    key: "control",
    header: "[control]",
    about: "Where lbd is spoken to and what it remembers.",
    fields: &[&SOCKET, &STATE_DIR],
    tables: &[],
    later: &[],
};

pub(super) static SOCKET: Field = Field {
    key: "socket",
    kind: Kind::Path { max: MAX_SOCKET_PATH },
    default: Fallback::Text(DEFAULT_SOCKET),
    example: "\"/run/krater/two.sock\"",
    meaning: "The unix socket that lbctl speaks to.",
};

pub(super) static STATE_DIR: Field = Field {
    key: "state_dir",
    kind: Kind::Path { max: MAX_PATH },
    default: Fallback::Text(DEFAULT_STATE_DIR),
    example: "\"/var/lib/krater-two\"",
    meaning: "The directory for what operators changed with lbctl, which holds over a restart.",
};

/// `[[loadbalancer]]`.
pub(super) static LOADBALANCER: Table = Table {
    key: "loadbalancer",
    header: "[[loadbalancer]]",
    about: "A VIP and what stands behind it.",
    fields: &[&LB_NAME, &VIP_ADDRESS, &TOPOLOGY, &CARRIER, &LB_UP],
    tables: &[&LISTENER, &POOL],
    later: &["additional_vips"],
};

pub(super) static LB_NAME: Field = Field {
    key: "name",
    kind: Kind::Name,
    default: Fallback::Required,
    example: "\"web\"",
    meaning: "Unique in the file.",
};

pub(super) static VIP_ADDRESS: Field = Field {
    key: "vip_address",
    kind: Kind::Address,
    default: Fallback::Required,
    example: "\"192.0.2.10\"",
    meaning: "The address that clients talk to, unique in the file. No interface needs to have it: the data path \
              answers for it. Members in the modes `dsr`, `ipip` and `gue` have it, too, and announce it to nobody.",
};

pub(super) static TOPOLOGY: Field = Field {
    key: "topology",
    kind: Kind::Word { now: &["SINGLE", "ACTIVE_STANDBY"], later: &[] },
    default: Fallback::Text("SINGLE"),
    example: "\"ACTIVE_STANDBY\"",
    meaning: "`SINGLE`: this balancer answers for the VIP, always. `ACTIVE_STANDBY`: it is one of a pair, and answers \
              while its virtual router is active.",
};

pub(super) static CARRIER: Field = Field {
    key: "vrrp",
    kind: Kind::Name,
    default: Fallback::None("the only `[[vrrp]]`, or the only one of the VIP's family"),
    example: "\"pair\"",
    meaning: "The name of the virtual router that an `ACTIVE_STANDBY` VIP moves with. Several may move with one.",
};

pub(super) static LB_UP: Field = Field {
    key: "admin_state_up",
    kind: Kind::Flag,
    default: ON,
    example: "false",
    meaning: "`false`: the VIP is neither answered for nor balanced.",
};

/// `[[loadbalancer.listener]]`.
pub(super) static LISTENER: Table = Table {
    key: "listener",
    header: "[[loadbalancer.listener]]",
    about: "A port of the VIP.",
    fields: &[
        &LISTENER_NAME,
        &LISTENER_PROTOCOL,
        &LISTENER_PORT,
        &DEFAULT_POOL,
        &ALLOWED_CIDRS,
        &LISTENER_LIMIT,
        &NEW_FLOWS_PER_SOURCE,
        &LISTENER_UP,
    ],
    tables: &[],
    later: &["timeout_client_data", "timeout_member_data"],
};

pub(super) static LISTENER_NAME: Field = Field {
    key: "name",
    kind: Kind::Name,
    default: Fallback::None("protocol and port, as in `tcp-80`"),
    example: "\"http\"",
    meaning: "Unique among the load balancer's listeners.",
};

pub(super) static LISTENER_PROTOCOL: Field = Field {
    key: "protocol",
    kind: Kind::Word { now: &["TCP", "UDP", "SCTP"], later: &["HTTP", "HTTPS", "TERMINATED_HTTPS"] },
    default: Fallback::Required,
    example: "\"TCP\"",
    meaning: "What it accepts. Whatever is spoken over TCP passes through a `TCP` listener untouched.",
};

pub(super) static LISTENER_PORT: Field = Field {
    key: "protocol_port",
    kind: PORT,
    default: Fallback::Required,
    example: "80",
    meaning: "The port it accepts it at. No two listeners of a load balancer have the same protocol and port.",
};

pub(super) static DEFAULT_POOL: Field = Field {
    key: "default_pool",
    kind: Kind::Name,
    default: Fallback::None("no pool: clients are refused"),
    example: "\"app\"",
    meaning: "The name of a pool of the same load balancer and protocol. Listeners may share one whose mode is `nat`.",
};

pub(super) static LISTENER_UP: Field = Field {
    key: "admin_state_up",
    kind: Kind::Flag,
    default: ON,
    example: "false",
    meaning: "`false`: as if the listener were not there.",
};

/// `[[loadbalancer.pool]]`.
pub(super) static POOL: Table = Table {
    key: "pool",
    header: "[[loadbalancer.pool]]",
    about: "Members that share an algorithm and a health monitor.",
    fields: &[
        &POOL_NAME,
        &POOL_PROTOCOL,
        &LB_ALGORITHM,
        &FORWARD_MODE,
        &MSS_CLAMP,
        &TRANSITION_HOLD,
        &ON_MEMBER_DOWN,
        &PANIC_THRESHOLD,
        &POOL_UP,
    ],
    tables: &[&SESSION_PERSISTENCE, &MEMBER, &HEALTHMONITOR],
    later: &[],
};

pub(super) static POOL_NAME: Field = Field {
    key: "name",
    kind: Kind::Name,
    default: Fallback::Required,
    example: "\"app\"",
    meaning: "Unique among the load balancer's pools.",
};

pub(super) static POOL_PROTOCOL: Field = Field {
    key: "protocol",
    kind: Kind::Word { now: &["TCP", "UDP", "SCTP"], later: &["HTTP", "HTTPS", "PROXY", "PROXYV2"] },
    default: Fallback::Required,
    example: "\"TCP\"",
    meaning: "What its members speak: the protocol of the listeners that use it.",
};

pub(super) static POOL_UP: Field = Field {
    key: "admin_state_up",
    kind: Kind::Flag,
    default: ON,
    example: "false",
    meaning: "`false`: the pool offers no member, so that clients are refused.",
};

/// `[[loadbalancer.pool.member]]`.
pub(super) static MEMBER: Table = Table {
    key: "member",
    header: "[[loadbalancer.pool.member]]",
    about: "A server. No two members of a pool have the same address and port.",
    fields: &[
        &MEMBER_NAME,
        &MEMBER_ADDRESS,
        &MEMBER_PORT,
        &WEIGHT,
        &BACKUP,
        &MEMBER_LIMIT,
        &MEMBER_UP,
        &MONITOR_ADDRESS,
        &MONITOR_PORT,
    ],
    tables: &[],
    later: &[],
};

pub(super) static MEMBER_NAME: Field = Field {
    key: "name",
    kind: Kind::Name,
    default: Fallback::None("address and port, as in `192.0.2.21:8080`"),
    example: "\"m1\"",
    meaning: "Unique in the pool.",
};

pub(super) static MEMBER_ADDRESS: Field = Field {
    key: "address",
    kind: Kind::Address,
    default: Fallback::Required,
    example: "\"192.0.2.21\"",
    meaning: "Where it is, of the VIP's family; in the modes `ipip` and `gue` of either. It must not be a VIP of this file.",
};

pub(super) static MEMBER_PORT: Field = Field {
    key: "protocol_port",
    kind: PORT,
    default: Fallback::Required,
    example: "8080",
    meaning: "Its port, which may differ from the listener's in the modes `nat` and `dnat` and is the listener's in others.",
};

pub(super) static WEIGHT: Field = Field {
    key: "weight",
    kind: Kind::Integer { min: 0, max: Weight::MAX as u64 },
    default: Fallback::Integer(1),
    example: "2",
    meaning: "Its share of new flows, beside the other members' weights. 0 drains it: it keeps the flows it has and \
              gets no new ones.",
};

pub(super) static BACKUP: Field = Field {
    key: "backup",
    kind: Kind::Flag,
    default: Fallback::Flag(false),
    example: "true",
    meaning: "`true`: it is used only while no other member can be.",
};

pub(super) static MEMBER_UP: Field = Field {
    key: "admin_state_up",
    kind: Kind::Flag,
    default: ON,
    example: "false",
    meaning: "`false`: it gets no new flows, and its UDP flows move to others.",
};

pub(super) static MONITOR_ADDRESS: Field = Field {
    key: "monitor_address",
    kind: Kind::Address,
    default: Fallback::None("`address`"),
    example: "\"192.0.2.31\"",
    meaning: "Where it is probed instead.",
};

pub(super) static MONITOR_PORT: Field = Field {
    key: "monitor_port",
    kind: PORT,
    default: Fallback::None("`protocol_port`"),
    example: "8081",
    meaning: "The port it is probed at instead.",
};

/// How much a file can hold, for the page.
pub(super) const COUNTS: [(&str, u32); 9] = [
    ("load balancers", MAX_VIPS),
    ("virtual routers", MAX_ROUTERS as u32),
    ("VIPs and other addresses that move, together", MAX_VIPS),
    ("listeners", MAX_LISTENERS),
    ("networks in `allowed_cidrs` of all listeners together", MAX_CIDRS as u32),
    ("pools", MAX_POOLS - 1),
    ("members", MAX_MEMBERS - 1),
    ("interfaces", MAX_PORTS),
    ("slots of all pools' tables together", MAX_SLOTS / 2),
];

#[cfg(test)]
#[path = "fields_tests.rs"]
mod tests;
