//! What one virtual router is told to be on this node, and whether it can be
//! that.

use core::fmt;
use core::net::IpAddr;
use core::time::Duration;
use std::collections::BTreeSet;

use crate::types::{Family, Priority, Secret, Version, Vrid};

/// The unit of intervals in a packet of version 3.
pub(crate) const CENTISECOND: Duration = Duration::from_millis(10);
/// The longest interval that 12 bits of centiseconds hold.
pub(crate) const MAX_INTERVAL_V3: Duration = Duration::from_millis(40_950);
/// How long a key of an HMAC may be, in bytes.
pub const HMAC_KEY_LEN: core::ops::RangeInclusive<usize> = 32..=64;

/// One virtual router as this node takes part in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RouterConfig {
    /// Its number, the same on every node.
    pub vrid: Vrid,
    /// The family of its addresses and of the packets.
    pub family: Family,
    /// The version of the protocol, the same on every node.
    pub version: Version,
    /// This node's priority, before anything that is tracked lowers it.
    pub priority: Priority,
    /// How often an Active says that it is there: 10 ms to 40.95 s in steps of
    /// 10 ms, in version 2 whole seconds from 1 to 255.
    pub interval: Duration,
    /// Whether a Backup of higher priority takes over from a lower Active.
    pub preempt: bool,
    /// How long it hears the lower Active before it does.
    pub preempt_delay: Duration,
    /// The addresses that adverts carry, in order; see
    /// [`Family::max_addresses`]. The first of IPv6 is link-local.
    pub addresses: Vec<IpAddr>,
    /// The longest interval that is learned from the adverts of others; what
    /// is longer counts as this. `None`: as the RFC, whatever they say. Below
    /// the interval of an honest Active it makes this node take over from it.
    pub learned_interval_limit: Option<Duration>,
}

impl RouterConfig {
    /// Whether a router can be that.
    ///
    /// # Errors
    /// The first flaw that is found.
    pub fn check(&self) -> Result<(), ConfigFlaw> {
        if self.version == Version::V2 && self.family == Family::V6 {
            return Err(ConfigFlaw::VersionOfFamily);
        }
        if !interval_fits(self.version, self.interval) {
            return Err(ConfigFlaw::Interval { version: self.version, interval: self.interval });
        }
        self.check_addresses()?;
        match self.learned_interval_limit {
            Some(limit) if limit < self.interval => Err(ConfigFlaw::LearnedIntervalLimit { limit }),
            _ => Ok(()),
        }
    }

    fn check_addresses(&self) -> Result<(), ConfigFlaw> {
        let most = self.family.max_addresses();
        if self.addresses.is_empty() || self.addresses.len() > most {
            return Err(ConfigFlaw::AddressCount { count: self.addresses.len(), most });
        }
        let mut seen = BTreeSet::new();
        for address in &self.addresses {
            if Family::of(*address) != self.family {
                return Err(ConfigFlaw::AddressFamily { address: *address, family: self.family });
            }
            if address.is_unspecified() || address.is_multicast() || !seen.insert(*address) {
                return Err(ConfigFlaw::Address { address: *address });
            }
        }
        match self.addresses.first() {
            Some(IpAddr::V6(first)) if !first.is_unicast_link_local() => {
                Err(ConfigFlaw::FirstNotLinkLocal { address: IpAddr::V6(*first) })
            }
            _ => Ok(()),
        }
    }
}

/// Whether that version of the packet can say that interval.
fn interval_fits(version: Version, interval: Duration) -> bool {
    match version {
        Version::V2 => interval.subsec_nanos() == 0 && (1..=255).contains(&interval.as_secs()),
        Version::V3 => {
            interval.as_nanos().is_multiple_of(CENTISECOND.as_nanos())
                && (CENTISECOND..=MAX_INTERVAL_V3).contains(&interval)
        }
    }
}

/// How an advert shows who sent it.
#[derive(Clone, PartialEq, Eq)]
pub enum Authentication {
    /// Not at all: whoever reaches the network may send.
    None,
    /// The password of RFC 2338, in clear in every packet, filled up with
    /// zeros. Version 2 only.
    Password([u8; 8]),
    /// A trailer of draft-cassen-vrrp-auth-hmac-00. Version 3 only.
    Hmac(HmacKeys),
}

impl fmt::Debug for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Password(_) => f.write_str("Password(..)"),
            Self::Hmac(keys) => f.debug_tuple("Hmac").field(keys).finish(),
        }
    }
}

/// The steps by which a group of routers comes to sign its adverts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum HmacMode {
    /// Sends no trailer; takes adverts with a good one and without any.
    ReceiveOnly,
    /// Sends a trailer; takes adverts with a good one and without any.
    Permissive,
    /// Sends a trailer; takes adverts with a good one only.
    Enforce,
}

/// The keys of a group of routers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HmacKeys {
    /// Whether to sign, and whether to insist.
    pub mode: HmacMode,
    /// The number of the key to sign with.
    pub send: u8,
    /// Keys by number, each of [`HMAC_KEY_LEN`] bytes; all are good to verify
    /// with, so that a new one is given to every router before any sends it.
    pub keys: Vec<(u8, Secret)>,
    /// How far a stamp may be from the own clock. `None`: the larger of three
    /// intervals and five seconds. A length no clock is off by turns the check
    /// off, and leaves the order of the stamps alone against replay.
    pub freshness: Option<Duration>,
}

impl HmacKeys {
    /// The key of that number.
    #[must_use]
    pub fn key(&self, number: u8) -> Option<&Secret> {
        self.keys.iter().find(|(known, _)| *known == number).map(|(_, key)| key)
    }
}

/// What the checksum of a version 3 advert over IPv4 covers. The two readings
/// of the RFCs are both in the field; both are accepted, one is sent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ChecksumForm {
    /// The message behind a pseudo header, as keepalived and most others do.
    PseudoHeader,
    /// The message alone, as RFC 9568 says.
    MessageOnly,
}

impl ChecksumForm {
    /// The name in views and in the configuration.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::PseudoHeader => "pseudo_header",
            Self::MessageOnly => "message_only",
        }
    }
}

/// How adverts are exchanged with the others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exchange {
    /// Whom to send to one by one; empty: everybody, by multicast.
    pub peers: Vec<IpAddr>,
    /// Who may send; `None`: anybody on the network.
    pub sources: Option<BTreeSet<IpAddr>>,
    /// What the checksum of adverts that are sent covers (version 3, IPv4).
    pub checksum: ChecksumForm,
    /// How adverts show who sent them.
    pub authentication: Authentication,
}

impl Exchange {
    /// Whether a router like that can exchange its adverts like this.
    ///
    /// # Errors
    /// The first flaw that is found.
    pub fn check(&self, router: &RouterConfig) -> Result<(), ConfigFlaw> {
        let others = self.peers.iter().chain(self.sources.iter().flatten());
        for address in others {
            if Family::of(*address) != router.family {
                return Err(ConfigFlaw::AddressFamily { address: *address, family: router.family });
            }
            if address.is_unspecified() || address.is_multicast() {
                return Err(ConfigFlaw::Address { address: *address });
            }
        }
        match (&self.authentication, router.version) {
            (Authentication::None, _) | (Authentication::Password(_), Version::V2) => Ok(()),
            (Authentication::Hmac(keys), Version::V3) => check_keys(keys),
            (_, version) => Err(ConfigFlaw::AuthenticationOfVersion { version }),
        }
    }
}

fn check_keys(keys: &HmacKeys) -> Result<(), ConfigFlaw> {
    let mut seen = BTreeSet::new();
    for (number, key) in &keys.keys {
        if !HMAC_KEY_LEN.contains(&key.expose().len()) {
            return Err(ConfigFlaw::KeyLength { number: *number, length: key.expose().len() });
        }
        if !seen.insert(*number) {
            return Err(ConfigFlaw::KeyTwice { number: *number });
        }
    }
    if seen.contains(&keys.send) { Ok(()) } else { Err(ConfigFlaw::SendKeyMissing { number: keys.send }) }
}

/// Why a virtual router cannot be what it is told to be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigFlaw {
    /// VRRPv2 for IPv6.
    #[error("version 2 knows IPv4 only: use version 3 for IPv6")]
    VersionOfFamily,
    /// An interval the packet cannot say.
    #[error(
        "an interval of {interval:?} cannot be sent in version {version}: it takes {}",
        match version { Version::V2 => "whole seconds from 1 to 255", Version::V3 => "10 ms to 40.95 s in steps of 10 ms" }
    )]
    Interval {
        /// The version that cannot say it.
        version: Version,
        /// The interval.
        interval: Duration,
    },
    /// No address, or more than an advert holds.
    #[error("{count} addresses: an advert carries 1 to {most}")]
    AddressCount {
        /// How many there are.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// An address of the other family.
    #[error("{address} is not of the virtual router's family, {family}")]
    AddressFamily {
        /// The address.
        address: IpAddr,
        /// What it should be.
        family: Family,
    },
    /// An address that no host can have, or the same one again.
    #[error("{address} is no host's address, or is there twice")]
    Address {
        /// The address.
        address: IpAddr,
    },
    /// The first IPv6 address is not link-local.
    #[error("the first address of an IPv6 virtual router is link-local (fe80::/10), which {address} is not")]
    FirstNotLinkLocal {
        /// The address.
        address: IpAddr,
    },
    /// A limit below the own interval.
    #[error("a learned interval limit of {limit:?} is below the own interval")]
    LearnedIntervalLimit {
        /// The limit.
        limit: Duration,
    },
    /// A password in version 3, or an HMAC in version 2.
    #[error(
        "version {version} cannot carry that authentication: passwords are version 2, an HMAC trailer is version 3"
    )]
    AuthenticationOfVersion {
        /// The version that cannot.
        version: Version,
    },
    /// A key that is too short or too long.
    #[error("key {number} has {length} bytes: a key has 32 to 64")]
    KeyLength {
        /// The key's number.
        number: u8,
        /// Its length in bytes.
        length: usize,
    },
    /// Two keys with one number.
    #[error("key {number} is there twice")]
    KeyTwice {
        /// The key's number.
        number: u8,
    },
    /// The key to send with is not among the keys.
    #[error("key {number} is to be sent with, and is not among the keys")]
    SendKeyMissing {
        /// The key's number.
        number: u8,
    },
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
