//! `[[vrrp]]` and `[sync]`: what makes two balancers one.
//!
//! What a value of these types says has been checked against the rest of the
//! file: interfaces are the data path's, load balancers name routers that
//! exist, nobody's address is there twice, and what is advertised fits.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use vrrp::{Authentication, ChecksumForm, Exchange, Family, Priority, RouterConfig, Secret, Version, Vrid};

use super::{
    Config,
    balancers::{Balancers, Carriers},
    mistake::Complaints,
    reader::Reader,
};
use crate::model::{LoadBalancer, Name, Topology};

mod authentication;
pub(super) mod fields;
mod routers;
mod secrets;
mod sync;
mod together;

/// The UDP port of flow sync unless configured otherwise: nobody's by IANA's
/// list, and below the ports that the kernel gives to connections.
pub const DEFAULT_SYNC_PORT: u16 = 10112;

/// A virtual router, of which this balancer is one of two or more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VrrpConfig {
    /// Unique among virtual routers.
    pub name: Name,
    /// The interface that adverts go out by and come in by, one of
    /// [`super::DataplaneConfig::interfaces`].
    pub interface: String,
    /// Unique with the interface and the family.
    pub virtual_router_id: Vrid,
    /// The family of the adverts.
    pub family: Family,
    /// The version of the adverts; 2 with IPv4 only.
    pub version: Version,
    /// 1 to 254: a VIP is nobody's own address.
    pub priority: Priority,
    /// From one advert to the next. Version 3: 10 ms to 40.95 s, in steps of
    /// 10 ms. Version 2: 1 to 255 whole seconds.
    pub advert_interval: Duration,
    /// Whether it takes over from a router of lower priority.
    pub preempt: bool,
    /// How long it waits before it does.
    pub preempt_delay: Duration,
    /// Whether the VIPs are at the virtual router's MAC address; otherwise
    /// they are at the interface's own.
    pub virtual_mac: bool,
    /// The address that adverts come from, where it is not the interface's first.
    pub unicast_source: Option<IpAddr>,
    /// Whom adverts are sent to, of the family; nobody in particular
    /// (multicast) where there is none.
    pub unicast_peers: Vec<IpAddr>,
    /// Whose adverts are taken, of the family; see [`Self::sources`].
    pub allowed_sources: Vec<IpAddr>,
    /// Whether the data path drops everybody else's. Then [`Self::sources`]
    /// knows who they are.
    pub guard: bool,
    /// How the checksum of IPv4 adverts of version 3 is sent.
    pub checksum: ChecksumForm,
    /// How the other router is known to be the other router.
    pub authentication: Authentication,
    /// The longest interval that is believed of an advert; any that can be
    /// written where there is none.
    pub learned_interval_limit: Option<Duration>,
    /// What moves beside the load balancers' VIPs.
    pub addresses: Vec<VirtualAddress>,
    /// The link-local address of the virtual router, which adverts of IPv6
    /// begin with; `None` for IPv4.
    pub link_local: Option<Ipv6Addr>,
    /// What the priority depends on.
    pub track: Vec<Track>,
    /// How the network is told where the addresses are.
    pub announce: AnnounceConfig,
    /// The program to run when the state changes, absolute.
    pub notify: Option<PathBuf>,
    /// Whether the thread that keeps the timers asks for real time.
    pub realtime: bool,
}

/// An address that moves with a virtual router and has no listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VirtualAddress {
    /// Unique, and no load balancer's.
    pub address: IpAddr,
    /// The interface it is announced at, one of
    /// [`super::DataplaneConfig::interfaces`]; the router's own where there is none.
    pub interface: Option<String>,
    /// Whether adverts name it, where they are of its family.
    pub advertised: bool,
}

/// Something that the priority depends on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Track {
    /// What it is.
    pub kind: TrackKind,
    /// −253 to 253. Below 0 it is taken off the priority while the thing is
    /// down, above 0 it is added while the thing is up; 0: the virtual router
    /// is given up while the thing is down.
    pub weight: i16,
}

/// What can be tracked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TrackKind {
    /// An interface of this host, up while it has a carrier.
    Interface(String),
    /// The program in the kernel, up while it is attached and its tables are
    /// what they should be.
    DataPath,
    /// A load balancer of this file, up while it has a member to offer.
    LoadBalancer(Name),
}

/// How the network is told where the addresses are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AnnounceConfig {
    /// Announcements of each address on becoming active, at least 1.
    pub repeat: u8,
    /// From one of them to the next.
    pub repeat_gap: Duration,
    /// How often it is said again while active; `None`: never.
    pub refresh: Option<Duration>,
    /// Announcements of each address then, at least 1.
    pub refresh_repeat: u8,
    /// Announcements sent in one millisecond at most, at least 1.
    pub per_millisecond: u16,
}

/// `[sync]`: where the balancers tell each other of flows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SyncConfig {
    /// This balancer's address and UDP port.
    pub local: SocketAddr,
    /// The other one's, of the same family.
    pub peer: SocketAddr,
    /// What both know and nobody else: at least 16 bytes, at most 256.
    pub secret: Secret,
    /// How often every flow is told again.
    pub rescan: Duration,
}

impl VrrpConfig {
    /// Whose adverts are taken: those who are allowed, or else those who are
    /// sent to; `None`: anybody's.
    #[must_use]
    pub fn sources(&self) -> Option<BTreeSet<IpAddr>> {
        let known = if self.allowed_sources.is_empty() { &self.unicast_peers } else { &self.allowed_sources };
        (!known.is_empty()).then(|| known.iter().copied().collect())
    }

    /// How its adverts are exchanged.
    #[must_use]
    pub fn exchange(&self) -> Exchange {
        Exchange {
            peers: self.unicast_peers.clone(),
            sources: self.sources(),
            checksum: self.checksum,
            authentication: self.authentication.clone(),
        }
    }

    /// Whether adverts can name an address.
    fn can_name(&self, address: IpAddr) -> bool {
        Family::of(address) == self.family
    }
}

impl Config {
    /// The load balancers that a virtual router carries, in the file's order.
    pub fn carried<'c>(&'c self, vrrp: &'c VrrpConfig) -> impl Iterator<Item = &'c LoadBalancer> {
        self.model.load_balancers().iter().filter(
            move |lb| matches!(&lb.topology, Topology::ActiveStandby { vrrp: carrier } if *carrier == vrrp.name),
        )
    }

    /// Every address that moves with a virtual router: the link-local one, the
    /// load balancers' VIPs, and those without listeners. No address is there
    /// twice, in all virtual routers together.
    #[must_use]
    pub fn virtual_addresses(&self, vrrp: &VrrpConfig) -> Vec<VirtualAddress> {
        let at_the_router = |address| VirtualAddress { address, interface: None, advertised: true };
        let first = vrrp.link_local.map(IpAddr::V6);
        let vips = self.carried(vrrp).map(|lb| lb.vip_address);
        first.into_iter().chain(vips).map(at_the_router).chain(vrrp.addresses.iter().cloned()).collect()
    }

    /// What the state machine of a virtual router is to be told; `None` where
    /// it carries no address of its family, so that it has nothing to
    /// advertise. The addresses are the first ones that an advert has room
    /// for, in the order of [`Self::virtual_addresses`].
    #[must_use]
    pub fn router(&self, vrrp: &VrrpConfig) -> Option<RouterConfig> {
        let advertised = |one: &VirtualAddress| one.advertised && vrrp.can_name(one.address);
        let all = self.virtual_addresses(vrrp).into_iter().filter(advertised);
        let addresses: Vec<IpAddr> = all.map(|one| one.address).take(vrrp.family.max_addresses()).collect();
        (!addresses.is_empty()).then_some(RouterConfig {
            vrid: vrrp.virtual_router_id,
            family: vrrp.family,
            version: vrrp.version,
            priority: vrrp.priority,
            interval: vrrp.advert_interval,
            preempt: vrrp.preempt,
            preempt_delay: vrrp.preempt_delay,
            addresses,
            learned_interval_limit: vrrp.learned_interval_limit,
        })
    }
}

/// What a file says of failover, while it is read.
pub(super) struct Failover {
    routers: Vec<routers::Router>,
    /// Whether these are all that the file has.
    complete: bool,
    sync: Option<sync::Sync>,
}

impl Failover {
    /// Reads `[[vrrp]]` and `[sync]`. `interfaces` are the data path's, if they
    /// could be read.
    pub(super) fn read(complaints: &Complaints, file: &Reader<'_>, interfaces: Option<&[String]>) -> Self {
        let mut tables = file.tables(&fields::VRRP);
        let complete = together::there_is_room(complaints, &mut tables);
        let routers: Vec<_> = tables.into_iter().map(|table| routers::router(table, interfaces)).collect();
        together::routers(complaints, &routers);
        Self { routers, complete, sync: file.table(&fields::SYNC).map(sync::sync) }
    }

    /// What load balancers may name.
    pub(super) fn carriers(&self) -> Carriers {
        together::carriers(&self.routers, self.complete)
    }

    /// Complains about what only shows beside the load balancers.
    pub(super) fn check(&self, complaints: &Complaints, balancers: &Balancers) {
        together::everything(complaints, &self.routers, self.sync.as_ref(), balancers);
    }

    /// What it says, if there was no complaint.
    pub(super) fn into_parts(self) -> (Vec<VrrpConfig>, Option<SyncConfig>) {
        (self.routers.into_iter().map(|router| router.vrrp).collect(), self.sync.and_then(|sync| sync.config))
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
#[cfg(test)]
pub(super) use tests::PAIR;

#[cfg(test)]
#[path = "refusals_tests.rs"]
mod refusals_tests;

#[cfg(test)]
#[path = "property_tests.rs"]
mod property_tests;
