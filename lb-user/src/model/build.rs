//! The checks that need the whole model.
//!
//! Every violation is found in one pass, and each says which values it rests
//! on, so that a caller who already refused one of them need not repeat what
//! only follows from it.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    hash::Hash,
    net::IpAddr,
};

use lb_common::limits::{LABEL_BYTES, MAX_LISTENERS, MAX_MEMBERS, MAX_POOLS, MAX_SLOTS, MAX_VIPS, SLOTS_PER_LINE};

use super::{LoadBalancer, Member, Name, Pool, Transport, monitor};
use crate::spread::slots_for;

/// Where in the model something is wrong, as indices.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Place {
    /// A load balancer.
    LoadBalancer(usize),
    /// A listener of a load balancer.
    Listener(usize, usize),
    /// A pool of a load balancer.
    Pool(usize, usize),
    /// A member of a pool of a load balancer.
    Member(usize, usize, usize),
    /// The health monitor of a pool of a load balancer.
    Monitor(usize, usize),
}

/// What is wrong, and what to do about it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ModelErrorKind {
    /// Two of a kind have one name.
    #[error("the name \"{name}\" is taken; give each {} of one {} a name of its own", .what.0, .what.1)]
    NameTaken {
        /// The name.
        name: Name,
        /// What has it, and within what it has to be unique.
        what: (&'static str, &'static str),
        /// Who has it already.
        first: Place,
    },
    /// Two load balancers have one VIP.
    #[error("{address} is the VIP of load balancer \"{of}\" already; put its listeners there, or use another address")]
    VipTaken {
        /// The VIP.
        address: IpAddr,
        /// The load balancer that has it.
        of: Name,
        /// Its place.
        first: Place,
    },
    /// A VIP that no packet can be sent to.
    #[error("{address} is {flaw}; use an address that clients can reach over the network")]
    VipUnusable {
        /// The VIP.
        address: IpAddr,
        /// Why.
        flaw: AddressFlaw,
    },
    /// Two listeners of a VIP have one protocol and port.
    #[error("{protocol} port {port} of this VIP belongs to listener \"{of}\" already; use another protocol_port")]
    PortTaken {
        /// The transport.
        protocol: Transport,
        /// The port.
        port: u16,
        /// The listener that has it.
        of: Name,
        /// Its place.
        first: Place,
    },
    /// A listener names a pool that is not there.
    #[error(
        "the load balancer has no pool \"{name}\"; {}",
        if .some.is_empty() { "add one of that name".to_owned() } else { format!("it has {}", listed(.some)) }
    )]
    NoSuchPool {
        /// What it names.
        name: Name,
        /// The first few pools there are.
        some: Vec<Name>,
    },
    /// A listener and its pool speak different transports.
    #[error("the listener speaks {listener} and its pool \"{name}\" speaks {pool}; name a {listener} pool")]
    OtherProtocol {
        /// The pool.
        name: Name,
        /// The listener's transport.
        listener: Transport,
        /// The pool's.
        pool: Transport,
        /// The pool's place.
        at: Place,
    },
    /// A member of the other address family.
    #[error("{address} is an {} address and the VIP {vip} an {} one; use members of the VIP's family", family(.address), family(.vip))]
    OtherFamily {
        /// The member's address.
        address: IpAddr,
        /// The VIP.
        vip: IpAddr,
    },
    /// A pool has a member twice.
    #[error("member \"{of}\" of this pool has {address} port {port} already; remove one of the two")]
    MemberTaken {
        /// The address.
        address: IpAddr,
        /// The port.
        port: u16,
        /// The member that has both.
        of: Name,
        /// Its place.
        first: Place,
    },
    /// A member's address that nothing can be forwarded to.
    #[error("{address} is {flaw}; use the address of a server that the balancer reaches over the network")]
    MemberUnusable {
        /// The address.
        address: IpAddr,
        /// Why.
        flaw: AddressFlaw,
    },
    /// A monitor address that nothing can be sent to.
    #[error("{address} is {flaw}; use an address that answers the probes of this member")]
    MonitorUnusable {
        /// The address.
        address: IpAddr,
        /// Why.
        flaw: AddressFlaw,
    },
    /// A member that is a VIP: what is forwarded to it would come back.
    #[error(
        "{address} is the VIP of load balancer \"{of}\", and a balancer cannot forward to itself; use a server's own address"
    )]
    MemberIsVip {
        /// The address.
        address: IpAddr,
        /// The load balancer whose VIP it is.
        of: Name,
        /// Its place.
        at: Place,
    },
    /// A monitor address that is a VIP.
    #[error(
        "{address} is the VIP of load balancer \"{of}\", which says nothing about one member; use the member's own address"
    )]
    MonitorIsVip {
        /// The address.
        address: IpAddr,
        /// The load balancer whose VIP it is.
        of: Name,
        /// Its place.
        at: Place,
    },
    /// A type of health monitor that pools of the transport cannot have.
    #[error("a pool that speaks {pool} has no {kind} monitor; use one of {}", monitor::monitors_of(*.pool).join(", "))]
    MonitorOfOtherProtocol {
        /// The type.
        kind: &'static str,
        /// What the pool speaks.
        pool: Transport,
    },
    /// A name to ask for, and a version of HTTP that cannot.
    #[error(
        "it goes into the Host header, which comes with HTTP/1.1; write http_version = \"1.1\" beside it, or remove it"
    )]
    HostOfHttp10,
    /// Probes to the VIP on members that do not have it.
    #[error(
        "members of a nat pool do not hold the VIP, so that none could answer for it; write probe_path = \"member\", \
         or remove this"
    )]
    VipIsNotOnMembers,
    /// The names on the way to something are too long together.
    #[error("\"{label}\" has {} characters, and at most {LABEL_BYTES} can be kept; shorten its names", .label.len())]
    LabelTooLong {
        /// `load_balancer/…`.
        label: String,
    },
    /// More of something than there is room for.
    #[error("there are {found} {what} and room for {limit}; spread them over several balancers")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there can be.
        limit: usize,
    },
    /// The pools' tables need more slots than there is room for.
    #[error(
        "the pools' tables have {found} slots together and room for {limit}; use fewer members, or spread the pools over \
         several balancers"
    )]
    TooManySlots {
        /// How many there are.
        found: u64,
        /// How many there can be.
        limit: u64,
    },
}

/// Why an address cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AddressFlaw {
    /// `0.0.0.0/8` or `::`.
    Unspecified,
    /// `127.0.0.0/8` or `::1`.
    Loopback,
    /// `224.0.0.0/4` or `ff00::/8`.
    Multicast,
    /// `255.255.255.255`.
    Broadcast,
    /// `fe80::/10`, which means nothing without an interface.
    LinkLocal,
    /// `::ffff:0:0/96`, which is IPv4 in other words.
    Mapped,
}

impl fmt::Display for AddressFlaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "no host's address",
            Self::Loopback => "a loopback address",
            Self::Multicast => "a multicast address",
            Self::Broadcast => "the broadcast address",
            Self::LinkLocal => "a link-local address",
            Self::Mapped => "an IPv4 address written as IPv6",
        })
    }
}

impl AddressFlaw {
    /// Why no host, or none across a network, has an address; `None` where one may.
    #[must_use]
    pub fn of(address: IpAddr) -> Option<Self> {
        let flaws = match address {
            IpAddr::V4(a) => [
                (Self::Unspecified, a.octets()[0] == 0),
                (Self::Loopback, a.is_loopback()),
                (Self::Multicast, a.is_multicast()),
                (Self::Broadcast, a.is_broadcast()),
            ],
            IpAddr::V6(a) => [
                (Self::Unspecified, a.is_unspecified()),
                (Self::Loopback, a.is_loopback()),
                (Self::Multicast, a.is_multicast()),
                (Self::LinkLocal, a.is_unicast_link_local()),
            ],
        };
        let mapped = matches!(address, IpAddr::V6(a) if a.to_ipv4_mapped().is_some());
        flaws.iter().chain([&(Self::Mapped, mapped)]).find(|(_, holds)| *holds).map(|(flaw, _)| *flaw)
    }
}

/// A violation and its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ModelError {
    /// Where.
    pub place: Place,
    /// What.
    pub kind: ModelErrorKind,
}

impl ModelError {
    /// The attribute of what is at [`Self::place`] that is wrong, in Octavia's
    /// words; `None` where it is not one attribute.
    #[must_use]
    pub const fn field(&self) -> Option<&'static str> {
        match self.kind {
            ModelErrorKind::NameTaken { .. } | ModelErrorKind::LabelTooLong { .. } => Some("name"),
            ModelErrorKind::VipTaken { .. } | ModelErrorKind::VipUnusable { .. } => Some("vip_address"),
            ModelErrorKind::PortTaken { .. } => Some("protocol_port"),
            ModelErrorKind::NoSuchPool { .. } | ModelErrorKind::OtherProtocol { .. } => Some("default_pool"),
            ModelErrorKind::OtherFamily { .. }
            | ModelErrorKind::MemberTaken { .. }
            | ModelErrorKind::MemberUnusable { .. }
            | ModelErrorKind::MemberIsVip { .. } => Some("address"),
            ModelErrorKind::MonitorUnusable { .. } | ModelErrorKind::MonitorIsVip { .. } => Some("monitor_address"),
            ModelErrorKind::MonitorOfOtherProtocol { .. } => Some("type"),
            ModelErrorKind::HostOfHttp10 => Some("domain_name"),
            ModelErrorKind::VipIsNotOnMembers => Some("probe_path"),
            ModelErrorKind::TooMany { .. } | ModelErrorKind::TooManySlots { .. } => None,
        }
    }

    /// What was there first, where the violation is that something is there
    /// twice, and what else it is at odds with.
    #[must_use]
    pub const fn other(&self) -> Option<Place> {
        match self.kind {
            ModelErrorKind::NameTaken { first, .. }
            | ModelErrorKind::VipTaken { first, .. }
            | ModelErrorKind::PortTaken { first, .. }
            | ModelErrorKind::MemberTaken { first, .. } => Some(first),
            ModelErrorKind::OtherProtocol { at, .. }
            | ModelErrorKind::MemberIsVip { at, .. }
            | ModelErrorKind::MonitorIsVip { at, .. } => Some(at),
            _ => None,
        }
    }

    /// The values without which there would be no such violation: whoever
    /// knows one of them to be made up knows that this one is.
    #[must_use]
    pub fn rests_on(&self) -> Vec<(Place, &'static str)> {
        let own = self.field().map(|field| (self.place, field));
        let other = self.other();
        let more: &[(Option<Place>, &'static str)] = match &self.kind {
            ModelErrorKind::NameTaken { .. } => &[(other, "name")],
            ModelErrorKind::VipTaken { .. }
            | ModelErrorKind::MemberIsVip { .. }
            | ModelErrorKind::MonitorIsVip { .. } => &[(other, "vip_address")],
            ModelErrorKind::PortTaken { .. } => {
                &[(Some(self.place), "protocol"), (other, "protocol"), (other, "protocol_port")]
            }
            ModelErrorKind::OtherProtocol { .. } => &[(Some(self.place), "protocol"), (other, "protocol")],
            ModelErrorKind::NoSuchPool { .. } => &[(self.place.load_balancer(), "pool")],
            ModelErrorKind::OtherFamily { .. } => &[(self.place.load_balancer(), "vip_address")],
            ModelErrorKind::MemberTaken { .. } => {
                &[(Some(self.place), "protocol_port"), (other, "address"), (other, "protocol_port")]
            }
            ModelErrorKind::MonitorOfOtherProtocol { .. } => &[(self.place.pool(), "protocol")],
            ModelErrorKind::HostOfHttp10 => &[(Some(self.place), "type"), (Some(self.place), "http_version")],
            ModelErrorKind::VipIsNotOnMembers => &[(self.place.pool(), "forward_mode")],
            _ => &[],
        };
        own.into_iter().chain(more.iter().filter_map(|(place, field)| Some(((*place)?, *field)))).collect()
    }
}

impl Place {
    /// The load balancer it belongs to or is.
    #[must_use]
    pub const fn load_balancer(self) -> Option<Self> {
        match self {
            Self::LoadBalancer(lb)
            | Self::Listener(lb, _)
            | Self::Pool(lb, _)
            | Self::Member(lb, _, _)
            | Self::Monitor(lb, _) => Some(Self::LoadBalancer(lb)),
        }
    }

    /// The pool it belongs to or is.
    #[must_use]
    pub const fn pool(self) -> Option<Self> {
        match self {
            Self::Pool(lb, pool) | Self::Member(lb, pool, _) | Self::Monitor(lb, pool) => Some(Self::Pool(lb, pool)),
            Self::LoadBalancer(_) | Self::Listener(..) => None,
        }
    }
}

/// How many pools a complaint about a missing one names.
const POOLS_NAMED: usize = 8;

pub(super) fn check(load_balancers: &[LoadBalancer]) -> Result<(), Vec<ModelError>> {
    let mut errors = Errors(Vec::new());
    let mut names = Firsts::default();
    let mut vips = Firsts::default();
    for (at, lb) in load_balancers.iter().enumerate() {
        let place = Place::LoadBalancer(at);
        errors.name_taken(&mut names, place, &lb.name, ("load balancer", "pool file"));
        if let Some(flaw) = AddressFlaw::of(lb.vip_address) {
            errors.add(place, ModelErrorKind::VipUnusable { address: lb.vip_address, flaw });
        }
        if let Some((first, of)) = vips.find_or_add(lb.vip_address, place, &lb.name) {
            errors.add(place, ModelErrorKind::VipTaken { address: lb.vip_address, of, first });
        }
    }
    for (at, lb) in load_balancers.iter().enumerate() {
        listeners(at, lb, &mut errors);
        pools(at, lb, &vips, &mut errors);
    }
    room(load_balancers, &mut errors);
    if errors.0.is_empty() { Ok(()) } else { Err(errors.0) }
}

fn listeners(at: usize, lb: &LoadBalancer, errors: &mut Errors) {
    let mut names = Firsts::default();
    let mut ports = Firsts::default();
    let mut pools: HashMap<&Name, (usize, &Pool)> = HashMap::new();
    for (index, pool) in lb.pools.iter().enumerate() {
        pools.entry(&pool.name).or_insert((index, pool));
    }
    for (index, listener) in lb.listeners.iter().enumerate() {
        let place = Place::Listener(at, index);
        errors.name_taken(&mut names, place, &listener.name, ("listener", "load balancer"));
        errors.label(place, || lb.label_of_listener(listener), &[&lb.name, &listener.name]);
        let (protocol, port) = (listener.protocol, listener.protocol_port.get());
        if let Some((first, of)) = ports.find_or_add((protocol, port), place, &listener.name) {
            errors.add(place, ModelErrorKind::PortTaken { protocol, port, of, first });
        }
        let Some(name) = &listener.default_pool else { continue };
        match pools.get(name) {
            None => {
                let some = lb.pools.iter().take(POOLS_NAMED).map(|pool| pool.name.clone()).collect();
                errors.add(place, ModelErrorKind::NoSuchPool { name: name.clone(), some });
            }
            Some((_, pool)) if pool.protocol == protocol => {}
            Some((pool_at, pool)) => {
                let at = Place::Pool(at, *pool_at);
                let kind =
                    ModelErrorKind::OtherProtocol { name: name.clone(), listener: protocol, pool: pool.protocol, at };
                errors.add(place, kind);
            }
        }
    }
}

fn pools(at: usize, lb: &LoadBalancer, vips: &Firsts<IpAddr>, errors: &mut Errors) {
    let mut names = Firsts::default();
    for (index, pool) in lb.pools.iter().enumerate() {
        let place = Place::Pool(at, index);
        errors.name_taken(&mut names, place, &pool.name, ("pool", "load balancer"));
        errors.label(place, || lb.label_of_pool(pool), &[&lb.name, &pool.name]);
        let mut names = Firsts::default();
        let mut ends = Firsts::default();
        for (member_at, member) in pool.members.iter().enumerate() {
            let place = Place::Member(at, index, member_at);
            errors.name_taken(&mut names, place, &member.name, ("member", "pool"));
            errors.label(place, || lb.label_of_member(pool, member), &[&lb.name, &pool.name, &member.name]);
            let (address, port) = (member.address, member.protocol_port.get());
            if let Some((first, of)) = ends.find_or_add((address, port), place, &member.name) {
                errors.add(place, ModelErrorKind::MemberTaken { address, port, of, first });
            }
            addresses(place, lb, member, vips, errors);
        }
        if let Some(health_monitor) = &pool.health_monitor {
            monitor::check(Place::Monitor(at, index), pool, health_monitor, errors);
        }
    }
}

fn addresses(place: Place, lb: &LoadBalancer, member: &Member, vips: &Firsts<IpAddr>, errors: &mut Errors) {
    let (address, vip) = (member.address, lb.vip_address);
    if let Some(flaw) = AddressFlaw::of(address) {
        errors.add(place, ModelErrorKind::MemberUnusable { address, flaw });
    } else if address.is_ipv4() != vip.is_ipv4() {
        errors.add(place, ModelErrorKind::OtherFamily { address, vip });
    } else if let Some((at, of)) = vips.get(&address) {
        errors.add(place, ModelErrorKind::MemberIsVip { address, of, at });
    }
    let Some(address) = member.monitor_address else { return };
    // A probe is an ordinary connection of this host, so that loopback is an
    // address it can go to: something there may know how the member is.
    match AddressFlaw::of(address) {
        None | Some(AddressFlaw::Loopback) => {}
        Some(flaw) => errors.add(place, ModelErrorKind::MonitorUnusable { address, flaw }),
    }
    if let Some((at, of)) = vips.get(&address) {
        errors.add(place, ModelErrorKind::MonitorIsVip { address, of, at });
    }
}

/// The limits on how much there is of everything. The place of a violation is
/// the first thing for which there is no room.
fn room(load_balancers: &[LoadBalancer], errors: &mut Errors) {
    let listeners = |lb: &LoadBalancer| lb.listeners.len();
    let pools = |lb: &LoadBalancer| lb.pools.len();
    // Id 0 means no pool and no member.
    let (pool_limit, member_limit) = (MAX_POOLS as usize - 1, MAX_MEMBERS as usize - 1);
    if load_balancers.len() > MAX_VIPS as usize {
        let (found, limit) = (load_balancers.len(), MAX_VIPS as usize);
        errors.add(Place::LoadBalancer(limit), ModelErrorKind::TooMany { what: "load balancers", found, limit });
    }
    let all = || load_balancers.iter().enumerate();
    let every_listener = all().flat_map(|(at, lb)| (0..listeners(lb)).map(move |l| Place::Listener(at, l)));
    errors.too_many("listeners", every_listener, MAX_LISTENERS as usize);
    let every_pool = all().flat_map(|(at, lb)| (0..pools(lb)).map(move |p| Place::Pool(at, p)));
    errors.too_many("pools", every_pool, pool_limit);
    let every_member = all().flat_map(|(at, lb)| {
        let pools = lb.pools.iter().enumerate();
        pools.flat_map(move |(p, pool)| (0..pool.members.len()).map(move |m| Place::Member(at, p, m)))
    });
    errors.too_many("members", every_member, member_limit);

    // A table is replaced by one that is written beside it. Halving leaves room
    // for all to be replaced at once, and for the gaps between them.
    let limit = u64::from(MAX_SLOTS / 2);
    let mut found = 0;
    let mut first_beyond = None;
    for (at, lb) in all() {
        for (index, pool) in lb.pools.iter().enumerate() {
            found += u64::from(slots_for(pool.members.len()).next_multiple_of(SLOTS_PER_LINE));
            if found > limit && first_beyond.is_none() {
                first_beyond = Some(Place::Pool(at, index));
            }
        }
    }
    if let Some(place) = first_beyond {
        errors.add(place, ModelErrorKind::TooManySlots { found, limit });
    }
}

/// What was found so far.
pub(super) struct Errors(Vec<ModelError>);

impl Errors {
    pub(super) fn add(&mut self, place: Place, kind: ModelErrorKind) {
        self.0.push(ModelError { place, kind });
    }

    fn name_taken<'n>(
        &mut self,
        names: &mut Firsts<'n, &'n Name>,
        place: Place,
        name: &'n Name,
        what: (&'static str, &'static str),
    ) {
        if let Some((first, name)) = names.find_or_add(name, place, name) {
            self.add(place, ModelErrorKind::NameTaken { name, what, first });
        }
    }

    /// `parts` are the names the label is made of, with a character between two.
    fn label(&mut self, place: Place, label: impl FnOnce() -> String, parts: &[&Name]) {
        let length = parts.iter().map(|name| name.as_str().len()).sum::<usize>() + parts.len() - 1;
        if length > LABEL_BYTES {
            self.add(place, ModelErrorKind::LabelTooLong { label: label() });
        }
    }

    fn too_many(&mut self, what: &'static str, mut places: impl Iterator<Item = Place>, limit: usize) {
        if let Some(place) = places.by_ref().nth(limit) {
            let found = limit + 1 + places.count();
            self.add(place, ModelErrorKind::TooMany { what, found, limit });
        }
    }
}

/// Who had something first.
struct Firsts<'n, K>(HashMap<K, (Place, &'n Name)>);

impl<K> Default for Firsts<'_, K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<'n, K: Hash + Eq> Firsts<'n, K> {
    fn get(&self, key: &K) -> Option<(Place, Name)> {
        self.0.get(key).map(|(place, name)| (*place, (*name).clone()))
    }

    /// Who has it already; otherwise it is this one's.
    fn find_or_add(&mut self, key: K, place: Place, name: &'n Name) -> Option<(Place, Name)> {
        let found = self.get(&key);
        self.0.entry(key).or_insert((place, name));
        found
    }
}

fn family(address: &IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

fn listed(names: &[Name]) -> String {
    let unique: HashSet<&Name> = names.iter().collect();
    let mut unique: Vec<String> = unique.into_iter().map(|name| format!("\"{name}\"")).collect();
    unique.sort();
    unique.join(", ")
}

#[cfg(test)]
#[path = "build_tests.rs"]
mod tests;
