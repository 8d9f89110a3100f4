//! What can be wrong with a model, where, and what to do about it.

use std::{collections::HashSet, fmt, net::IpAddr};

use lb_common::limits::LABEL_BYTES;

use super::{Cidr, ForwardMode, Name, Transport, monitor};

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
    #[error(
        "{address} is an {} address and the VIP {vip} an {} one; use members of the VIP's family, or forward_mode \
         \"ipip\" or \"gue\"",
        family(.address), family(.vip)
    )]
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
        "members of a {} pool do not hold the VIP, so that none could answer for it; write probe_path = \"member\", \
         or remove this",
        .mode.name()
    )]
    VipIsNotOnMembers {
        /// The pool's mode.
        mode: ForwardMode,
    },
    /// Probes to the VIP on members that only wrapped packets reach.
    #[error(
        "probes are not wrapped as the packets of {} pools are, so that none could reach the VIP on a member: not \
         available yet; write probe_path = \"member\", or remove this",
        .mode.name()
    )]
    VipBehindTunnel {
        /// The pool's mode.
        mode: ForwardMode,
    },
    /// Probes to the VIP of a type that cannot be steered to one member.
    #[error(
        "a {kind} probe is a connection of this host's, which cannot be led to one member's VIP; use PING, TCP with \
         tcp_handshake = \"half\", UDP-CONNECT or SCTP, or write probe_path = \"member\""
    )]
    VipNeedsPackets {
        /// The type.
        kind: &'static str,
    },
    /// A monitor address beside probes to the VIP.
    #[error(
        "with probe_path = \"vip\" probes go to the VIP on the member; remove this, or write probe_path = \"member\""
    )]
    MonitorAddressAndVip {
        /// The monitor.
        at: Place,
    },
    /// A network of the other family than the VIP.
    #[error("{cidr} is {} and the VIP {vip} {}, so that no client comes from there; remove it", article(.cidr.is_ipv4()), article(.vip.is_ipv4()))]
    CidrOfOtherFamily {
        /// The network.
        cidr: Cidr,
        /// The VIP.
        vip: IpAddr,
    },
    /// A member whose port is not the listener's, in a mode that translates no ports.
    #[error(
        "packets reach members of a {} pool with the port of the listener, {port} of \"{of}\"; write \
         protocol_port = {port}, or forward_mode = \"nat\" or \"dnat\"",
        .mode.name()
    )]
    PortOfDirectMember {
        /// The pool's mode.
        mode: ForwardMode,
        /// The listener's port.
        port: u16,
        /// The listener.
        of: Name,
        /// Its place.
        at: Place,
    },
    /// A pool that only one listener can have, and two name.
    #[error(
        "pool \"{pool}\" is {} and belongs to listener \"{of}\": {}; give each listener a pool of its own, or use nat",
        .mode.name(),
        if .mode.is_direct() { "its members have that listener's port" } else { "answers would not say whose they are" }
    )]
    PoolTaken {
        /// The pool.
        pool: Name,
        /// Its place.
        at: Place,
        /// Its mode.
        mode: ForwardMode,
        /// The listener that has it.
        of: Name,
        /// Its place.
        first: Place,
    },
    /// A member whose answers belong to another listener already.
    #[error(
        "{address} port {port} answers for a listener of load balancer \"{of}\" already, as a member of a dnat pool, and \
         answers do not say whose they are; use another port or address, or forward_mode = \"nat\""
    )]
    DnatMemberTaken {
        /// The member's address.
        address: IpAddr,
        /// Its port.
        port: u16,
        /// The load balancer.
        of: Name,
        /// The member that is there already.
        first: Place,
    },
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
            ModelErrorKind::VipIsNotOnMembers { .. }
            | ModelErrorKind::VipBehindTunnel { .. }
            | ModelErrorKind::VipNeedsPackets { .. } => Some("probe_path"),
            ModelErrorKind::MonitorAddressAndVip { .. } => Some("monitor_address"),
            ModelErrorKind::CidrOfOtherFamily { .. } => Some("allowed_cidrs"),
            ModelErrorKind::PortOfDirectMember { .. } => Some("protocol_port"),
            ModelErrorKind::PoolTaken { .. } => Some("default_pool"),
            ModelErrorKind::DnatMemberTaken { .. } => Some("address"),
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
            | ModelErrorKind::MemberTaken { first, .. }
            | ModelErrorKind::PoolTaken { first, .. }
            | ModelErrorKind::DnatMemberTaken { first, .. } => Some(first),
            ModelErrorKind::OtherProtocol { at, .. }
            | ModelErrorKind::MemberIsVip { at, .. }
            | ModelErrorKind::MonitorIsVip { at, .. }
            | ModelErrorKind::PortOfDirectMember { at, .. }
            | ModelErrorKind::MonitorAddressAndVip { at } => Some(at),
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
            ModelErrorKind::OtherFamily { .. } => {
                &[(self.place.load_balancer(), "vip_address"), (self.place.pool(), "forward_mode")]
            }
            ModelErrorKind::CidrOfOtherFamily { .. } => &[(self.place.load_balancer(), "vip_address")],
            ModelErrorKind::PortOfDirectMember { .. } => {
                &[(self.place.pool(), "forward_mode"), (other, "protocol_port"), (other, "default_pool")]
            }
            ModelErrorKind::PoolTaken { at, .. } => &[
                (Some(*at), "forward_mode"),
                (Some(self.place), "protocol_port"),
                (other, "protocol_port"),
                (other, "default_pool"),
            ],
            ModelErrorKind::DnatMemberTaken { first, .. } => &[
                (self.place.pool(), "forward_mode"),
                (first.pool(), "forward_mode"),
                (self.place.pool(), "protocol"),
                (first.pool(), "protocol"),
                (Some(self.place), "protocol_port"),
                (other, "address"),
                (other, "protocol_port"),
            ],
            ModelErrorKind::MemberTaken { .. } => {
                &[(Some(self.place), "protocol_port"), (other, "address"), (other, "protocol_port")]
            }
            ModelErrorKind::MonitorOfOtherProtocol { .. } => &[(self.place.pool(), "protocol")],
            ModelErrorKind::HostOfHttp10 => &[(Some(self.place), "type"), (Some(self.place), "http_version")],
            ModelErrorKind::VipIsNotOnMembers { .. } | ModelErrorKind::VipBehindTunnel { .. } => {
                &[(self.place.pool(), "forward_mode")]
            }
            ModelErrorKind::VipNeedsPackets { .. } => {
                &[(Some(self.place), "type"), (Some(self.place), "tcp_handshake")]
            }
            ModelErrorKind::MonitorAddressAndVip { at } => &[(Some(*at), "probe_path")],
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

fn family(address: &IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

fn listed(names: &[Name]) -> String {
    let unique: HashSet<&Name> = names.iter().collect();
    let mut unique: Vec<String> = unique.into_iter().map(|name| format!("\"{name}\"")).collect();
    unique.sort();
    unique.join(", ")
}

fn article(is_ipv4: bool) -> &'static str {
    if is_ipv4 { "one of IPv4" } else { "one of IPv6" }
}
