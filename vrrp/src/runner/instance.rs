//! What is asked of the runner: virtual routers, and where they stand.

use std::{
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use crate::{
    config::{ConfigFlaw, Exchange, RouterConfig},
    types::{Family, Priority},
};

/// How many virtual routers one runner carries.
pub const MAX_INSTANCES: usize = 256;

/// How many addresses one virtual router announces.
pub const MAX_ANNOUNCED: usize = 4096;

/// How many unicast peers one virtual router sends to.
pub const MAX_PEERS: usize = 64;

/// Names a virtual router; chosen by the caller, and the same for as long as
/// it is meant to be the same router.
pub type RouterKey = u32;

/// Everything about one virtual router.
#[derive(Clone, PartialEq, Debug)]
pub struct Instance {
    /// Its key.
    pub key: RouterKey,
    /// What a person calls it.
    pub name: String,
    /// What the protocol needs to know.
    pub router: RouterConfig,
    /// With whom and how adverts are exchanged.
    pub exchange: Exchange,
    /// The interface that adverts leave and enter by.
    pub interface: Link,
    /// The address that adverts come from: the interface's primary address or
    /// its link-local one. While there is none the router stays in Initialize.
    pub source: Option<IpAddr>,
    /// Whether multicast adverts leave with the virtual MAC address as their
    /// source rather than the interface's. Unicast adverts go through the
    /// stack and carry the interface's.
    pub virtual_mac: bool,
    /// What is announced on becoming Active.
    pub announced: Vec<Announced>,
    /// How that is spread over time.
    pub announce: Pacing,
    /// The priority as tracking leaves it; the configured one is the router's.
    pub priority: Priority,
    /// Why it must not take part just now.
    pub fault: Option<String>,
    /// Asked only when the router is new here: how long ago the one before it
    /// last showed signs of life as Active.
    pub resume: Option<Duration>,
    /// Asked only when the router is new here: whether the data path still
    /// carries its addresses.
    pub carrying: bool,
}

/// An interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Its index.
    pub ifindex: u32,
    /// Its own MAC address.
    pub mac: [u8; 6],
}

/// An address, where and as what it is announced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Announced {
    /// The address.
    pub address: IpAddr,
    /// The interface it is announced on.
    pub ifindex: u32,
    /// The MAC address that is told: the virtual one, or the interface's own.
    pub mac: [u8; 6],
    /// The MAC address that the frame comes from.
    pub sender: [u8; 6],
}

/// How announcements are spread over time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pacing {
    /// How often every address is announced on becoming Active; at least once.
    pub repeats: u8,
    /// The pause between two rounds; at least a millisecond.
    pub repeat_gap: Duration,
    /// How often all of that is refreshed while Active; never if absent.
    pub refresh: Option<Duration>,
    /// How often every address is announced at a refresh.
    pub refresh_repeats: u8,
    /// How many announcements may leave in one millisecond; at least one.
    pub per_millisecond: u16,
}

impl Default for Pacing {
    fn default() -> Self {
        Self {
            repeats: 5,
            repeat_gap: Duration::from_millis(200),
            refresh: None,
            refresh_repeats: 2,
            per_millisecond: 8,
        }
    }
}

/// What an operator can ask of one virtual router.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// Give the addresses to the other router, and do not take them back
    /// before it has failed.
    Failover,
    /// Stay out until told otherwise.
    Pause,
    /// Take part again.
    Resume,
}

/// Why a wish cannot be carried out. Nothing of it is then.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum WishFlaw {
    /// More routers than [`MAX_INSTANCES`].
    #[error("{0} virtual routers; at most {MAX_INSTANCES} are carried")]
    TooMany(usize),
    /// Two instances have one key.
    #[error("two virtual routers have the key {0}")]
    SameKey(RouterKey),
    /// Two instances could not be told apart on the wire.
    #[error("{one} and {other} have one VRID, family and interface: give one of them another VRID")]
    SameRouter {
        /// The one's name.
        one: String,
        /// The other's name.
        other: String,
    },
    /// The router's own parameters contradict each other.
    #[error("{name}")]
    Config {
        /// The instance's name.
        name: String,
        /// What is wrong.
        source: ConfigFlaw,
    },
    /// An address of the other family, where only the router's own can be.
    #[error("{name}: {address} is not of its family")]
    OtherFamily {
        /// The instance's name.
        name: String,
        /// The address.
        address: IpAddr,
    },
    /// Adverts of an IPv6 router come from a link-local address.
    #[error("{name}: adverts come from {address}, which is not link-local")]
    SourceNotLinkLocal {
        /// The instance's name.
        name: String,
        /// The address.
        address: Ipv6Addr,
    },
    /// More unicast peers than [`MAX_PEERS`].
    #[error("{name}: {count} unicast peers; at most {MAX_PEERS} are sent to")]
    TooManyPeers {
        /// The instance's name.
        name: String,
        /// How many there are.
        count: usize,
    },
    /// More addresses than [`MAX_ANNOUNCED`].
    #[error("{name}: {count} addresses to announce; at most {MAX_ANNOUNCED} are")]
    TooManyAnnounced {
        /// The instance's name.
        name: String,
        /// How many there are.
        count: usize,
    },
}

/// Finds what is wrong with a wish.
pub(super) fn check(wish: &[Instance]) -> Result<(), WishFlaw> {
    if wish.len() > MAX_INSTANCES {
        return Err(WishFlaw::TooMany(wish.len()));
    }
    for (index, instance) in wish.iter().enumerate() {
        for other in &wish[..index] {
            if other.key == instance.key {
                return Err(WishFlaw::SameKey(instance.key));
            }
            if other.identity() == instance.identity() {
                return Err(WishFlaw::SameRouter { one: other.name.clone(), other: instance.name.clone() });
            }
        }
        instance.check()?;
    }
    Ok(())
}

impl Instance {
    /// What a receiver tells this router from others by.
    pub(super) fn identity(&self) -> (u32, Family, u8) {
        (self.interface.ifindex, self.router.family, self.router.vrid.get())
    }

    /// Whether adverts go to the family's multicast group.
    pub(super) fn is_multicast(&self) -> bool {
        self.exchange.peers.is_empty()
    }

    fn check(&self) -> Result<(), WishFlaw> {
        let name = || self.name.clone();
        self.router.check().map_err(|source| WishFlaw::Config { name: name(), source })?;
        self.exchange.check(&self.router).map_err(|source| WishFlaw::Config { name: name(), source })?;
        if let Some(address) = self.source.filter(|source| Family::of(*source) != self.router.family) {
            return Err(WishFlaw::OtherFamily { name: name(), address });
        }
        // Between unicast peers any address will do that the peers know.
        if let Some(IpAddr::V6(address)) = self.source
            && self.is_multicast()
            && !address.is_unicast_link_local()
        {
            return Err(WishFlaw::SourceNotLinkLocal { name: name(), address });
        }
        if self.exchange.peers.len() > MAX_PEERS {
            return Err(WishFlaw::TooManyPeers { name: name(), count: self.exchange.peers.len() });
        }
        if self.announced.len() > MAX_ANNOUNCED {
            return Err(WishFlaw::TooManyAnnounced { name: name(), count: self.announced.len() });
        }
        Ok(())
    }
}
