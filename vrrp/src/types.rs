//! The small values that configuration, packets and routers speak in.

use core::fmt;
use core::net::IpAddr;
use core::num::NonZeroU8;
use core::time::Duration;

/// The family of a virtual router's addresses. IPv4 and IPv6 are separate
/// virtual routers, even on one interface and with one number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of that address.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// Bytes of one address.
    #[must_use]
    pub const fn address_len(self) -> usize {
        match self {
            Self::V4 => 4,
            Self::V6 => 16,
        }
    }

    /// The most addresses that one virtual router may have: its advert, with
    /// an HMAC trailer, fits a packet of 1500 bytes, and the count one byte.
    #[must_use]
    pub const fn max_addresses(self) -> usize {
        match self {
            Self::V4 => 255,
            Self::V6 => 89,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        })
    }
}

/// The version of the protocol.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Version {
    /// RFC 3768, with the password of RFC 2338: IPv4, whole seconds.
    V2,
    /// RFC 9568: IPv4 and IPv6, steps of 10 ms.
    V3,
}

impl Version {
    /// Its number in the packet.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::V2 => 2,
            Self::V3 => 3,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number())
    }
}

/// The number of a virtual router on its network: 1 to 255.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Vrid(NonZeroU8);

impl Vrid {
    /// The virtual router of that number; none has the number 0.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        match NonZeroU8::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0.get()
    }
}

impl fmt::Display for Vrid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.get())
    }
}

/// A node's priority for a virtual router: 1 to 255, higher ones first. The 0
/// of an Active that leaves exists in packets only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Priority(NonZeroU8);

impl Priority {
    /// That of the router whose own addresses the virtual ones are.
    pub const OWNER: Self = Self(NonZeroU8::MAX);
    /// The highest of a router that does not own the addresses.
    pub const HIGHEST: Self = Self(match NonZeroU8::new(254) {
        Some(highest) => highest,
        None => NonZeroU8::MIN,
    });
    /// The lowest.
    pub const LOWEST: Self = Self(NonZeroU8::MIN);

    /// That priority; 0 is none.
    #[must_use]
    pub const fn new(priority: u8) -> Option<Self> {
        match NonZeroU8::new(priority) {
            Some(priority) => Some(Self(priority)),
            None => None,
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0.get()
    }

    /// Whether it says that the addresses are the node's own.
    #[must_use]
    pub fn is_owner(self) -> bool {
        self == Self::OWNER
    }

    /// `Skew_Time`: how much longer than three intervals a router of this
    /// priority waits, so that of several the highest comes first. In VRRPv2
    /// the interval plays no part.
    #[must_use]
    pub fn skew(self, version: Version, interval: Duration) -> Duration {
        let unit = match version {
            Version::V2 => Duration::from_secs(1),
            Version::V3 => interval,
        };
        unit * (256 - u32::from(self.get())) / 256
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.get())
    }
}

/// Where a node stands in a virtual router.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum State {
    /// It takes no part.
    Initialize,
    /// It listens, ready to take over.
    Backup,
    /// It is the one that says so to the others.
    Active,
}

impl State {
    /// The name in logs, events and on the command line.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Initialize => "initialize",
            Self::Backup => "backup",
            Self::Active => "active",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// Bytes that are never shown: the key of an HMAC.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Keeps those bytes.
    #[must_use]
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes, for whoever signs with them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_neither_a_number_nor_a_priority() {
        assert_eq!(Vrid::new(0), None);
        assert_eq!(Priority::new(0), None);
        assert_eq!(Vrid::new(255).map(Vrid::get), Some(255));
        assert_eq!(Priority::new(255), Some(Priority::OWNER));
        assert_eq!(Priority::HIGHEST.get(), 254);
    }

    #[test]
    fn skew_time_is_a_fraction_of_the_interval_even_of_the_shortest() {
        let centisecond = Duration::from_millis(10);
        assert_eq!(Priority::HIGHEST.skew(Version::V3, centisecond), Duration::from_nanos(78_125));
        assert_eq!(Priority::LOWEST.skew(Version::V3, Duration::from_secs(1)), Duration::from_nanos(996_093_750));
        assert_eq!(Priority::OWNER.skew(Version::V3, Duration::from_secs(1)), Duration::from_nanos(3_906_250));
    }

    #[test]
    fn skew_time_of_version_2_is_a_fraction_of_a_second_whatever_the_interval() {
        let skew = Priority::LOWEST.skew(Version::V2, Duration::from_secs(30));
        assert_eq!(skew, Duration::from_nanos(996_093_750));
    }

    #[test]
    fn a_secret_does_not_show_itself() {
        let secret = Secret::new(b"hunter2".to_vec());
        assert_eq!(format!("{secret:?}"), "Secret(7 bytes)");
    }
}
