//! Our own addresses towards members: the checksum of a SYN over IPv4 is made with it, and
//! the kernel is told to use just that one.
//!
//! An address that is remembered may be gone meanwhile. Then sending fails, and it is
//! looked up anew; so it is after each probe that fails, in case the route has changed.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use foldhash::HashMap;
use nix::{ifaddrs::getifaddrs, net::if_::if_nametoindex, sys::socket::SockaddrStorage};
use socket2::{Domain, Socket, Type};

use super::net::Family;

/// Addresses that are remembered: more members than can be probed.
const MOST: usize = 65_536;

/// How long the address of an interface is remembered.
const LINK_MEMORY: Duration = Duration::from_secs(10);

/// Any port: nothing is sent there.
const DISCARD: u16 = 9;

/// Source addresses by where the packets go.
#[derive(Debug, Default)]
pub(super) struct Sources {
    known: HashMap<Ipv4Addr, Ipv4Addr>,
    links: HashMap<(u32, Family), (Duration, IpAddr)>,
}

impl Sources {
    /// The address that packets to there are sent from.
    ///
    /// # Errors
    /// What the kernel says, as that there is no route.
    pub(super) fn towards(&mut self, to: Ipv4Addr) -> io::Result<Ipv4Addr> {
        if let Some(source) = self.known.get(&to) {
            return Ok(*source);
        }
        let source = ask(to)?;
        if self.known.len() >= MOST {
            self.known.clear();
        }
        self.known.insert(to, source);
        Ok(source)
    }

    /// An address of ours on an interface, of the family of `to` and not `to` itself, so
    /// that answers come to us. It is looked up anew after ten seconds.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn on(&mut self, interface: u32, to: IpAddr, now: Duration) -> io::Result<IpAddr> {
        let place = (interface, Family::of(to));
        if let Some((until, source)) = self.links.get(&place)
            && *until > now
            && *source != to
        {
            return Ok(*source);
        }
        let source = ask_interface(interface, to)?;
        self.links.insert(place, (now + LINK_MEMORY, source));
        Ok(source)
    }

    /// Looks the address up anew next time.
    pub(super) fn forget(&mut self, to: IpAddr) {
        if let IpAddr::V4(to) = to {
            self.known.remove(&to);
        }
    }
}

/// Which source address the routes choose. No packet is sent for that.
fn ask(to: Ipv4Addr) -> io::Result<Ipv4Addr> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    socket.connect(&SocketAddr::from((to, DISCARD)).into())?;
    match socket.local_addr()?.as_socket_ipv4() {
        Some(source) => Ok(*source.ip()),
        None => Err(io::Error::from_raw_os_error(libc::EADDRNOTAVAIL)),
    }
}

/// The address of an interface that is most like the host's own: one with a network around
/// it rather than a single one (as VIPs are added), and no link-local one if it can be.
fn ask_interface(interface: u32, to: IpAddr) -> io::Result<IpAddr> {
    let mut best = None;
    for address in getifaddrs()? {
        if !if_nametoindex(address.interface_name.as_str()).is_ok_and(|index| index == interface) {
            continue;
        }
        let Some(ip) = address.address.as_ref().and_then(ip_of) else { continue };
        if Family::of(ip) != Family::of(to) || ip == to {
            continue;
        }
        let single = address.netmask.as_ref().and_then(ip_of).is_some_and(|mask| match mask {
            IpAddr::V4(mask) => mask.is_broadcast(),
            IpAddr::V6(mask) => mask.to_bits() == u128::MAX,
        });
        let link_local = matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
        let rank = (link_local, single);
        if best.is_none_or(|(other, _)| rank < other) {
            best = Some((rank, ip));
        }
    }
    best.map(|(_, ip)| ip).ok_or_else(|| io::Error::from_raw_os_error(libc::EADDRNOTAVAIL))
}

fn ip_of(address: &SockaddrStorage) -> Option<IpAddr> {
    match address.as_sockaddr_in() {
        Some(v4) => Some(IpAddr::V4(v4.ip())),
        None => address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())),
    }
}
