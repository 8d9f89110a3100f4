//! Every field of `[[vrrp]]` and `[sync]`.

use super::DEFAULT_SYNC_PORT;
use lb_common::limits::MAX_INSTANCES;
use vrrp::config::HMAC_KEY_LEN;

use crate::config::{
    fields::MAX_PATH,
    schema::{Fallback, Field, Kind, Table},
};

/// The most virtual routers: instance 0 of the data path is nobody's.
pub(in crate::config) const MAX_ROUTERS: usize = MAX_INSTANCES as usize - 1;
/// The most addresses of one virtual router without listeners.
pub(in crate::config) const MAX_ADDRESSES: usize = 256;
/// The most that one virtual router tracks.
pub(in crate::config) const MAX_TRACKED: usize = 32;
/// The most peers that adverts are sent to one by one.
const MAX_PEERS: usize = 16;
/// The most senders that are known by their addresses.
const MAX_SOURCES: usize = 32;
/// The most keys of one virtual router.
pub(in crate::config) const MAX_KEYS: usize = 8;

/// Milliseconds between adverts: twelve bits of hundredths of a second in
/// version 3, eight bits of seconds in version 2.
const INTERVAL: Kind = Kind::Integer { min: 10, max: 255_000 };
const REPEATS: Kind = Kind::Integer { min: 1, max: 100 };
/// What an HMAC key has.
const KEY: Kind = Kind::Secret { min: *HMAC_KEY_LEN.start(), max: *HMAC_KEY_LEN.end() };

/// `[[vrrp]]`.
pub(in crate::config) static VRRP: Table = Table {
    key: "vrrp",
    header: "[[vrrp]]",
    about: "A virtual router: this balancer and another one, of which one at a time carries the VIPs that are \
            `ACTIVE_STANDBY`. Everything here may change at a reload: routers that stay as they were are not disturbed.",
    fields: &[
        &NAME,
        &INTERFACE,
        &VIRTUAL_ROUTER_ID,
        &FAMILY,
        &VERSION,
        &PRIORITY,
        &ADVERT_INTERVAL,
        &PREEMPT,
        &PREEMPT_DELAY,
        &VIRTUAL_MAC,
        &UNICAST_SOURCE,
        &UNICAST_PEERS,
        &ALLOWED_SOURCES,
        &GUARD,
        &CHECKSUM,
        &PASSWORD,
        &HMAC_MODE,
        &HMAC_SEND,
        &HMAC_FRESHNESS,
        &LEARNED_INTERVAL_LIMIT,
        &LINK_LOCAL,
        &NOTIFY,
        &REALTIME,
    ],
    tables: &[&HMAC_KEY, &ADDRESS, &TRACK, &ANNOUNCE],
    later: &[],
};

pub(super) static NAME: Field = Field {
    key: "name",
    kind: Kind::Name,
    default: Fallback::Required,
    example: "\"pair\"",
    meaning: "Unique among virtual routers. It is for operators: the other balancer may call it otherwise.",
};

pub(super) static INTERFACE: Field = Field {
    key: "interface",
    kind: Kind::Interface,
    default: Fallback::None("the only one of `[dataplane]`"),
    example: "\"eth0\"",
    meaning: "The interface that adverts go out by and come in by, one of `[dataplane]`'s. It needs an address of its \
              own, of the family.",
};

pub(super) static VIRTUAL_ROUTER_ID: Field = Field {
    key: "virtual_router_id",
    kind: Kind::Integer { min: 1, max: 255 },
    default: Fallback::Required,
    example: "51",
    meaning: "The same on both balancers, and no other virtual router's on their network. Unique with the interface \
              and the family.",
};

pub(super) static FAMILY: Field = Field {
    key: "family",
    kind: Kind::Word { now: &["ipv4", "ipv6"], later: &[] },
    default: Fallback::Text("ipv4"),
    example: "\"ipv4\"",
    meaning: "What adverts are sent over, and which addresses they name. A VIP of the other family may belong to the \
              router all the same: it moves and is announced with the others, but no advert names it (what Octavia \
              writes as `virtual_ipaddress_excluded`).",
};

pub(super) static VERSION: Field = Field {
    key: "version",
    kind: Kind::Integer { min: 2, max: 3 },
    default: Fallback::Integer(3),
    example: "3",
    meaning: "VRRP's version, the same on both balancers. 2 is for IPv4 only, counts in whole seconds, and is there \
              for a peer that speaks nothing else, as Octavia's amphorae do.",
};

pub(super) static PRIORITY: Field = Field {
    key: "priority",
    kind: Kind::Integer { min: 1, max: 254 },
    default: Fallback::Integer(100),
    example: "200",
    meaning: "The balancer with the higher one carries the VIPs. Give each its own: between equals the address \
              decides. The higher both are, the sooner a silent one is missed: after three intervals and \
              (256 − priority)/256 of one. 255 is for a router whose own address the VIP is, which a balancer never \
              is.",
};

pub(super) static ADVERT_INTERVAL: Field = Field {
    key: "advert_interval_ms",
    kind: INTERVAL,
    default: Fallback::Integer(1000),
    example: "2000",
    meaning: "Milliseconds from one advert to the next. Version 3: 10 to 40950, in steps of 10. Version 2: whole \
              seconds, the same on both balancers.",
};

pub(super) static PREEMPT: Field = Field {
    key: "preempt",
    kind: Kind::Flag,
    default: Fallback::Flag(true),
    example: "true",
    meaning: "`true`: it takes the VIPs over from a balancer of lower priority. `false`: it leaves them where they \
              are until that one fails.",
};

pub(super) static PREEMPT_DELAY: Field = Field {
    key: "preempt_delay",
    kind: Kind::Seconds {
        min: 0.0,
        max: 3600.0,
        why: "whoever should wait longer is better told with preempt = false",
    },
    default: Fallback::Integer(0),
    example: "30",
    meaning: "How long it hears a balancer of lower priority before it takes over from it.",
};

pub(super) static VIRTUAL_MAC: Field = Field {
    key: "virtual_mac",
    kind: Kind::Flag,
    default: Fallback::None("`true`; `false` with `unicast_peers`"),
    example: "false",
    meaning: "Which MAC address the VIPs are at. `true`: at the virtual router's own, which moves with them, so that \
              nobody's ARP table changes. `false`: at the interface's, for networks that let no other through, as \
              clouds do.",
};

pub(super) static UNICAST_SOURCE: Field = Field {
    key: "unicast_source",
    kind: Kind::Address,
    default: Fallback::None("the interface's first address; IPv6: its link-local one"),
    example: "\"192.0.2.2\"",
    meaning: "The address of the interface that adverts to `unicast_peers` come from.",
};

pub(super) static UNICAST_PEERS: Field = Field {
    key: "unicast_peers",
    kind: Kind::Addresses { max: MAX_PEERS },
    default: Fallback::None("none: adverts are multicast"),
    example: "[\"192.0.2.3\"]",
    meaning: "The other balancers' addresses, of the family. Adverts go to each of them, and only unicast ones are \
              taken. Both balancers do it or neither.",
};

pub(super) static ALLOWED_SOURCES: Field = Field {
    key: "allowed_sources",
    kind: Kind::Addresses { max: MAX_SOURCES },
    default: Fallback::None("`unicast_peers`; without these anybody"),
    example: "[\"192.0.2.3\", \"192.0.2.4\"]",
    meaning: "Whose adverts are taken, of the family. Others' are refused and counted. This balancer's own address may be \
              among them, so that all have the same list.",
};

pub(super) static GUARD: Field = Field {
    key: "guard",
    kind: Kind::Flag,
    default: Fallback::None("`true` with `allowed_sources` or `unicast_peers`"),
    example: "true",
    meaning: "`true`: the data path drops what claims to be this router's advert and comes from anybody else, or from \
              beyond this network, before the kernel sees it.",
};

pub(super) static CHECKSUM: Field = Field {
    key: "checksum",
    kind: Kind::Word { now: &["pseudo_header", "message_only"], later: &[] },
    default: Fallback::Text("pseudo_header"),
    example: "\"pseudo_header\"",
    meaning: "What the checksum of an IPv4 advert of version 3 is made of when it is sent. RFC 9568 has the message \
              alone; keepalived and most others take nothing without the pseudo header. Both are taken.",
};

pub(super) static PASSWORD: Field = Field {
    key: "password",
    kind: Kind::Password { max: 8 },
    default: Fallback::None("none"),
    example: "\"8charPwd\"",
    meaning: "Version 2 only: what keepalived has as `auth_type PASS`. Everybody on the network can read it: it keeps \
              strangers' mistakes out and nobody's intent.",
};

pub(super) static HMAC_MODE: Field = Field {
    key: "hmac_mode",
    kind: Kind::Word { now: &["enforce", "permissive", "receive_only"], later: &[] },
    default: Fallback::Text("enforce"),
    example: "\"permissive\"",
    meaning: "Version 3, with `[[vrrp.hmac_key]]`. `enforce`: adverts are signed, and only signed ones are taken. \
              `permissive`: they are signed, and those without a signature are taken too. `receive_only`: they are \
              not signed, and signatures that there are must be good. The last two are for taking a pair from none to \
              all, one balancer after the other.",
};

pub(super) static HMAC_SEND: Field = Field {
    key: "hmac_send",
    kind: Kind::Integer { min: 0, max: 255 },
    default: Fallback::None("the first `[[vrrp.hmac_key]]`"),
    example: "1",
    meaning: "The id of the key that adverts are signed with. All keys are taken.",
};

pub(super) static HMAC_FRESHNESS: Field = Field {
    key: "hmac_freshness",
    kind: Kind::Seconds {
        min: 1.0,
        max: 3600.0,
        why: "clocks differ by about a second, and an advert that is older than an hour is a recording",
    },
    default: Fallback::None("three intervals, at least 5 s"),
    example: "10",
    meaning: "How far the time in a signature may be from this host's. Both hosts need a clock that is set.",
};

pub(super) static LEARNED_INTERVAL_LIMIT: Field = Field {
    key: "learned_interval_limit_ms",
    kind: Kind::Integer { min: 10, max: 40_950 },
    default: Fallback::None("none, as in RFC 9568"),
    example: "3000",
    meaning: "Version 3: a Backup waits by the interval of the adverts that it hears. This is the longest one that it \
              believes, in milliseconds, so that nobody can make it wait for two minutes.",
};

pub(super) static LINK_LOCAL: Field = Field {
    key: "link_local",
    kind: Kind::Address,
    default: Fallback::None("made of the id: `fe80::200:5eff:fe00:233` for 51"),
    example: "\"fe80::51\"",
    meaning: "IPv6 only: the virtual router's link-local address, which its adverts name first. The same on both \
              balancers.",
};

pub(super) static NOTIFY: Field = Field {
    key: "notify",
    kind: Kind::Path { max: MAX_PATH },
    default: Fallback::None("none"),
    example: "\"/usr/local/sbin/on-failover\"",
    meaning: "A program to run when the state changes, with the name and the new state as its arguments.",
};

pub(super) static REALTIME: Field = Field {
    key: "realtime",
    kind: Kind::Flag,
    default: Fallback::Flag(true),
    example: "false",
    meaning: "`true`: the thread that keeps the timers asks for real-time priority and locked memory. There is one \
              for all virtual routers, and it asks if any of them says so when lbd starts.",
};

/// `[[vrrp.hmac_key]]`.
pub(in crate::config) static HMAC_KEY: Table = Table {
    key: "hmac_key",
    header: "[[vrrp.hmac_key]]",
    about: "A key that adverts of version 3 are signed with (draft-cassen-vrrp-auth-hmac-00). With several, keys are \
            changed without a gap: add the new one on both balancers, then have both send it, then remove the old \
            one. At most 8.",
    fields: &[&KEY_ID, &KEY_SECRET, &KEY_SECRET_FILE],
    tables: &[],
    later: &[],
};

pub(super) static KEY_ID: Field = Field {
    key: "id",
    kind: Kind::Integer { min: 0, max: 255 },
    default: Fallback::Required,
    example: "1",
    meaning: "What the key is called in adverts, the same on both balancers and unique among the router's keys.",
};

pub(super) static KEY_SECRET: Field = Field {
    key: "secret",
    kind: KEY,
    default: Fallback::None("`secret_file`"),
    example: "\"hex:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\"",
    meaning: "The key itself. Then nobody else should be able to read this file.",
};

pub(super) static KEY_SECRET_FILE: Field = Field {
    key: "secret_file",
    kind: Kind::Path { max: MAX_PATH },
    default: Fallback::None("`secret`"),
    example: "\"/etc/krater/vrrp.key\"",
    meaning: "A file with nothing but the key, written as `secret` is.",
};

/// `[[vrrp.address]]`.
pub(in crate::config) static ADDRESS: Table = Table {
    key: "address",
    header: "[[vrrp.address]]",
    about: "An address without listeners that moves with the VIPs: the gateway of the members' network, for example. \
            At most 256.",
    fields: &[&ADDRESS_ADDRESS, &ADDRESS_INTERFACE, &ADVERTISED],
    tables: &[],
    later: &[],
};

pub(super) static ADDRESS_ADDRESS: Field = Field {
    key: "address",
    kind: Kind::Address,
    default: Fallback::Required,
    example: "\"198.51.100.1\"",
    meaning: "Unique in the file, and nobody's VIP. Of either family. It is answered for, and so are echo requests.",
};

pub(super) static ADDRESS_INTERFACE: Field = Field {
    key: "interface",
    kind: Kind::Interface,
    default: Fallback::None("the router's"),
    example: "\"eth1\"",
    meaning: "The interface it is announced at, one of `[dataplane]`'s.",
};

pub(super) static ADVERTISED: Field = Field {
    key: "advertised",
    kind: Kind::Flag,
    default: Fallback::Flag(true),
    example: "false",
    meaning: "`false`: no advert names it, as none names those of the other family. keepalived has these as \
              `virtual_ipaddress_excluded`, and some of its versions refuse an advert that does not name what they \
              name.",
};

/// `[[vrrp.track]]`.
pub(in crate::config) static TRACK: Table = Table {
    key: "track",
    header: "[[vrrp.track]]",
    about: "Something that the priority depends on, so that a balancer that cannot do its work leaves it to the \
            other. At most 32.",
    fields: &[&TRACK_KIND, &TRACK_NAME, &TRACK_WEIGHT],
    tables: &[],
    later: &[],
};

pub(super) static TRACK_KIND: Field = Field {
    key: "kind",
    kind: Kind::Word { now: &["interface", "data_path", "load_balancer"], later: &[] },
    default: Fallback::Required,
    example: "\"interface\"",
    meaning: "`interface`: up while it has a carrier. `data_path`: up while the program is attached and its tables are \
              as they should be. `load_balancer`: up while it has a member to offer.",
};

pub(super) static TRACK_NAME: Field = Field {
    key: "name",
    kind: Kind::Name,
    default: Fallback::None("none: there is one data path"),
    example: "\"eth1\"",
    meaning: "The interface or the load balancer.",
};

pub(super) static TRACK_WEIGHT: Field = Field {
    key: "weight",
    kind: Kind::Signed { min: -253, max: 253 },
    default: Fallback::Integer(0),
    example: "-60",
    meaning: "Below 0 it is taken off the priority while the thing is down, above 0 it is added while the thing is \
              up; the priority stays within 1 to 254. 0: while it is down, the VIPs are given up altogether, whether \
              anybody takes them or not.",
};

/// `[vrrp.announce]`.
pub(in crate::config) static ANNOUNCE: Table = Table {
    key: "announce",
    header: "[vrrp.announce]",
    about: "How the network is told where the VIPs are: gratuitous ARP, and unsolicited neighbour advertisements. They \
            never delay an advert.",
    fields: &[&REPEAT, &REPEAT_GAP, &REFRESH, &REFRESH_REPEAT, &PER_MILLISECOND],
    tables: &[],
    later: &[],
};

pub(super) static REPEAT: Field = Field {
    key: "repeat",
    kind: REPEATS,
    default: Fallback::Integer(5),
    example: "3",
    meaning: "Announcements of each address on becoming active.",
};

pub(super) static REPEAT_GAP: Field = Field {
    key: "repeat_gap_ms",
    kind: Kind::Integer { min: 1, max: 10_000 },
    default: Fallback::Integer(100),
    example: "200",
    meaning: "Milliseconds from one of them to the next.",
};

pub(super) static REFRESH: Field = Field {
    key: "refresh",
    kind: Kind::Seconds { min: 0.0, max: 86_400.0, why: "a table that remembers longer than a day is nobody's" },
    default: Fallback::None("`5`; `0` with `virtual_mac`"),
    example: "60",
    meaning: "How often they are sent again while active; `0`: never.",
};

pub(super) static REFRESH_REPEAT: Field = Field {
    key: "refresh_repeat",
    kind: REPEATS,
    default: Fallback::Integer(2),
    example: "1",
    meaning: "Announcements of each address then.",
};

pub(super) static PER_MILLISECOND: Field = Field {
    key: "per_millisecond",
    kind: Kind::Integer { min: 1, max: 1000 },
    default: Fallback::Integer(10),
    example: "50",
    meaning: "Announcements of all addresses that are sent in one millisecond at most.",
};

/// `[sync]`.
pub(in crate::config) static SYNC: Table = Table {
    key: "sync",
    header: "[sync]",
    about: "Where the two balancers of a pair tell each other of established flows, so that a failover ends none, and \
            of clients that stay with their member. Give both the same `hash_seed`: what is remembered in modes other \
            than `nat` is found by it, so with another one it is refused (`other_seed` in `lbctl sync show`), and with \
            the same they choose the same members and ports for what was not told yet. Without it, flows end that the \
            other balancer would have treated otherwise. Everything here may change at a reload.",
    fields: &[&LOCAL, &PEER, &SYNC_SECRET, &SYNC_SECRET_FILE, &RESCAN],
    tables: &[],
    later: &[],
};

pub(super) static LOCAL: Field = Field {
    key: "local",
    kind: Kind::Endpoint { port: DEFAULT_SYNC_PORT },
    default: Fallback::Required,
    example: "\"192.0.2.2:10112\"",
    meaning: "This balancer's own address, and a UDP port. A link of their own between the two is best.",
};

pub(super) static PEER: Field = Field {
    key: "peer",
    kind: Kind::Endpoint { port: DEFAULT_SYNC_PORT },
    default: Fallback::Required,
    example: "\"192.0.2.3:10112\"",
    meaning: "The other balancer's, of the same family.",
};

pub(super) static SYNC_SECRET: Field = Field {
    key: "secret",
    kind: Kind::Secret { min: 16, max: 256 },
    default: Fallback::None("`secret_file`"),
    example: "\"sixteen bytes and more of chance\"",
    meaning: "The same on both balancers: what they say is signed with it. One of `secret` and `secret_file` is \
              required. With `secret`, nobody else should be able to read this file.",
};

pub(super) static SYNC_SECRET_FILE: Field = Field {
    key: "secret_file",
    kind: Kind::Path { max: MAX_PATH },
    default: Fallback::None("`secret`"),
    example: "\"/etc/krater/sync.key\"",
    meaning: "A file with nothing but the secret, written as `secret` is.",
};

pub(super) static RESCAN: Field = Field {
    key: "rescan",
    kind: Kind::Seconds {
        min: 1.0,
        max: 3600.0,
        why: "reading the whole table more often than once a second costs more than it mends, and what was lost an \
              hour ago has ended",
    },
    default: Fallback::Integer(60),
    example: "30",
    meaning: "How often every flow is told again, for what was lost on the way.",
};
