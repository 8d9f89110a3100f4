//! Who has which address in a rig. Everything here is private to its
//! namespaces: any number of rigs can be up at once.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Members of a rig, `m1` to `m3`.
pub const MEMBERS: usize = 3;
/// The port members serve HTTP at.
pub const HTTP_PORT: u16 = 8080;
/// The port members answer UDP at.
pub const UDP_PORT: u16 = 5353;
/// The port of the VIPs' TCP listeners.
pub const LISTENER_TCP: u16 = 80;
/// The port of the VIPs' UDP listeners.
pub const LISTENER_UDP: u16 = 53;
/// The VIPs. No interface has them: the data path answers for them.
pub const VIP4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 10));
/// See [`VIP4`].
pub const VIP6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0x10));
/// The balancer's own addresses towards clients.
pub const FRONT4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1));
/// See [`FRONT4`].
pub const FRONT6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1));
/// The balancer's own addresses towards members, with two arms.
pub const BACK4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 1, 1));
/// See [`BACK4`].
pub const BACK6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd77, 1, 0, 0, 0, 0, 0, 1));
/// The client's addresses.
pub const CLIENT4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 2));
/// See [`CLIENT4`].
pub const CLIENT6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2));

/// The port members echo TCP at, in a pair.
pub const ECHO_PORT: u16 = 7007;
/// The port of the VIPs' listeners in front of those, in a pair.
pub const LISTENER_ECHO: u16 = 7;
/// The port balancers tell each other about flows at.
pub const SYNC_PORT: u16 = 3780;

/// More IPv4 addresses of the client of a pair, for more connections than one
/// has ports.
#[must_use]
pub fn more_clients() -> [IpAddr; 4] {
    [101, 102, 103, 104].map(|host| Ipv4Addr::new(10, 77, 0, host).into())
}

/// How the balancer stands in the network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Topology {
    /// Clients at `front0`, members at `back0`.
    TwoArmed,
    /// Clients and members on one network, at `front0`.
    OneArmed,
}

impl Topology {
    /// The interfaces the data path is attached to.
    #[must_use]
    pub const fn interfaces(self) -> &'static [&'static str] {
        match self {
            Self::TwoArmed => &["front0", "back0"],
            Self::OneArmed => &["front0"],
        }
    }

    /// The address of member `index` (from 0).
    #[must_use]
    pub fn member(self, family: Family, index: usize) -> IpAddr {
        let host = 11 + u8::try_from(index).unwrap_or(u8::MAX - 11);
        // Written as hexadecimal digits that look like the decimal ones: ::11, ::12, ::13.
        let host6 = u16::from(host / 10 * 16 + host % 10);
        match (self, family) {
            (Self::TwoArmed, Family::V4) => Ipv4Addr::new(10, 77, 1, host).into(),
            (Self::OneArmed, Family::V4) => Ipv4Addr::new(10, 77, 0, host).into(),
            (Self::TwoArmed, Family::V6) => Ipv6Addr::new(0xfd77, 1, 0, 0, 0, 0, 0, host6).into(),
            (Self::OneArmed, Family::V6) => Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, host6).into(),
        }
    }
}

/// An address family.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// Its VIP.
    #[must_use]
    pub const fn vip(self) -> IpAddr {
        match self {
            Self::V4 => VIP4,
            Self::V6 => VIP6,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

/// One of the two balancers of a pair. `A` is the one with the higher priority.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Side {
    /// The one that is preferred.
    A,
    /// The one that stands by.
    B,
}

impl Side {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// 0 and 1.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::A => 0,
            Self::B => 1,
        }
    }

    /// Its namespace's name within the rig.
    #[must_use]
    pub const fn node(self) -> &'static str {
        match self {
            Self::A => "lb-a",
            Self::B => "lb-b",
        }
    }

    /// Its own address towards clients and members.
    #[must_use]
    pub const fn front(self, family: Family) -> IpAddr {
        let host = match self {
            Self::A => 3,
            Self::B => 4,
        };
        match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::new(10, 77, 0, host)),
            Family::V6 => IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, host as u16)),
        }
    }

    /// Its own address towards the other one.
    #[must_use]
    pub const fn sync(self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(
            10,
            77,
            9,
            match self {
                Self::A => 1,
                Self::B => 2,
            },
        ))
    }

    /// The switch's port towards its clients and members.
    #[must_use]
    pub const fn front_port(self) -> &'static str {
        match self {
            Self::A => "lba",
            Self::B => "lbb",
        }
    }

    /// The switch's port towards the other one.
    #[must_use]
    pub const fn sync_port(self) -> &'static str {
        match self {
            Self::A => "synca",
            Self::B => "syncb",
        }
    }
}

/// The name of member `index` (from 0).
#[must_use]
pub fn member_name(index: usize) -> String {
    format!("m{}", index + 1)
}
