//! Our own addresses towards members: the checksum of a SYN over IPv4 is made with it, and
//! the kernel is told to use just that one.
//!
//! An address that is remembered may be gone meanwhile. Then sending fails, and it is
//! looked up anew; so it is after each probe that fails, in case the route has changed.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use socket2::{Domain, Socket, Type};

/// Addresses that are remembered: more members than can be probed.
const MOST: usize = 65_536;

/// Any port: nothing is sent there.
const DISCARD: u16 = 9;

/// Source addresses by where the packets go.
#[derive(Debug, Default)]
pub(super) struct Sources {
    known: HashMap<Ipv4Addr, Ipv4Addr>,
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
        None => Err(io::ErrorKind::AddrNotAvailable.into()),
    }
}
