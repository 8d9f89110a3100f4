//! The sockets that probes are sent by and answered to, and the local ports they have.
//!
//! A few serve all members. The kernel does not know of connections here: it answers a
//! SYN-ACK with RST by itself, so that the member keeps nothing.

use std::{
    io,
    net::{IpAddr, SocketAddr, SocketAddrV6},
    ops::RangeInclusive,
};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol as Number, SockAddr, Socket, Type};

use super::{
    filter::Filter,
    icmp,
    net::{Dice, Ear, Family, Protocol},
    outbox::Outbox,
    sys::Name,
    tcp,
};

/// Local ports in a row for TCP and for SCTP, per family: as many pools can have the same
/// member and probe it at once.
pub(super) const PORTS: u16 = 32;

/// Sockets of UDP per family, for the same reason.
const UDP_SOCKETS: u16 = 16;

/// How often a row of free ports is looked for.
const ROWS_TRIED: usize = 64;

/// What may arrive before it is looked at: answers to all probes that can be under way,
/// with what the kernel counts for each.
const RECEIVE_BUFFER: usize = 8 << 20;

/// The same for each socket of UDP, at which anybody's datagrams may arrive.
const UDP_RECEIVE_BUFFER: usize = 1 << 20;

/// What may wait to be sent: packets to members that do not answer ARP wait in the kernel
/// for seconds, and must not keep those to others from being sent.
const SEND_BUFFER: usize = 16 << 20;

/// A socket, and what goes through it.
#[derive(Debug)]
pub(super) struct Line {
    /// What arrives there.
    pub(super) ear: Ear,
    /// The socket.
    pub(super) socket: Socket,
    /// UDP: its local port.
    pub(super) port: u16,
    /// Packets that wait for the end of a batch.
    pub(super) outbox: Outbox,
    /// They hold the ports, and do nothing else.
    _reserved: Vec<Socket>,
}

impl Line {
    /// How many probes to one place it can tell apart (for UDP: all sockets together).
    pub(super) const fn lanes(protocol: Protocol) -> u32 {
        match protocol {
            Protocol::Tcp | Protocol::Sctp => PORTS as u32,
            Protocol::Udp => UDP_SOCKETS as u32,
            Protocol::Icmp => 1 << 16,
        }
    }
}

/// Opens the sockets of a protocol and a family.
///
/// # Errors
/// When the kernel refuses, above all for want of `CAP_NET_RAW`.
pub(super) fn open(protocol: Protocol, family: Family, dice: &mut Dice) -> io::Result<Vec<Line>> {
    if protocol == Protocol::Udp {
        return (0..UDP_SOCKETS).map(|lane| open_udp(family, lane)).collect();
    }
    let socket = new(family, Type::RAW, Some(Number::from(i32::from(protocol.number(family)))))?;
    let (first, reserved) = match protocol {
        Protocol::Tcp => reserve(family)?,
        // The lowest bits are a port's place in the row.
        Protocol::Sctp => (49_152 | (low_half(dice.roll()) & 0x3fe0), Vec::new()),
        Protocol::Icmp | Protocol::Udp => (low_half(dice.roll()), Vec::new()),
    };
    let filter = match protocol {
        Protocol::Tcp => Filter::tcp(family, &row(first)),
        Protocol::Sctp => Filter::sctp(family, &row(first)),
        Protocol::Icmp | Protocol::Udp => Filter::icmp(family, icmp::Types::of(family), first),
    };
    socket.attach_filter(&filter.program())?;
    if (protocol, family) == (Protocol::Tcp, Family::V6) {
        let at = i32::try_from(tcp::CHECKSUM_AT).unwrap_or_default();
        setsockopt(&socket, ChecksumAt, &at)?;
    }
    Ok(vec![line(protocol, family, socket, first, reserved)])
}

fn row(first: u16) -> RangeInclusive<u16> {
    first..=first.saturating_add(PORTS - 1)
}

fn low_half(number: u64) -> u16 {
    u16::try_from(number & 0xffff).unwrap_or_default()
}

fn line(protocol: Protocol, family: Family, socket: Socket, first: u16, reserved: Vec<Socket>) -> Line {
    Line { ear: Ear { protocol, family, first }, socket, port: 0, outbox: Outbox::default(), _reserved: reserved }
}

fn open_udp(family: Family, lane: u16) -> io::Result<Line> {
    let socket = new(family, Type::DGRAM, None)?;
    if family == Family::V6 {
        socket.set_only_v6(true)?;
    }
    socket.bind(&any(family, 0))?;
    let port = socket.local_addr()?.as_socket().map_or(0, |address| address.port());
    Ok(Line { port, ..line(Protocol::Udp, family, socket, lane, Vec::new()) })
}

/// A socket that does not block, hears of ICMP errors and has large buffers.
fn new(family: Family, kind: Type, protocol: Option<Number>) -> io::Result<Socket> {
    let domain = match family {
        Family::V4 => Domain::IPV4,
        Family::V6 => Domain::IPV6,
    };
    let socket = Socket::new(domain, kind.nonblocking().cloexec(), protocol)?;
    match family {
        Family::V4 => setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?,
        Family::V6 => setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?,
    }
    let receive = if kind == Type::DGRAM { UDP_RECEIVE_BUFFER } else { RECEIVE_BUFFER };
    // What is sent here fits whatever way it goes, in one piece, so it need not be numbered
    // (RFC 6864 §4): the kernel's numbers are shared by all CPUs, and each costs as much as a
    // lookup of a route.
    if family == Family::V4 {
        setsockopt(&socket, MtuDiscovery, &libc::IP_PMTUDISC_PROBE)?;
    }
    // Above the limit of the system with CAP_NET_ADMIN, else up to it.
    if setsockopt(&socket, sockopt::RcvBufForce, &receive).is_err() {
        socket.set_recv_buffer_size(receive)?;
    }
    if setsockopt(&socket, sockopt::SndBufForce, &SEND_BUFFER).is_err() {
        socket.set_send_buffer_size(SEND_BUFFER)?;
    }
    Ok(socket)
}

fn any(family: Family, port: u16) -> SockAddr {
    match family {
        Family::V4 => SocketAddr::from(([0; 4], port)).into(),
        Family::V6 => SocketAddr::from(([0u16; 8], port)).into(),
    }
}

/// A socket that frames leave by; nothing arrives there.
///
/// # Errors
/// When the kernel refuses, above all for want of `CAP_NET_RAW`.
pub(super) fn open_link() -> io::Result<Socket> {
    let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking().cloexec(), Some(Number::from(0)))?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    Ok(socket)
}

/// Takes a row of ports of TCP, so that the kernel gives them to nobody. The row begins at
/// a multiple of its length.
fn reserve(family: Family) -> io::Result<(u16, Vec<Socket>)> {
    let bound = |port| -> io::Result<Socket> {
        let domain = if family == Family::V4 { Domain::IPV4 } else { Domain::IPV6 };
        let socket = Socket::new(domain, Type::STREAM.cloexec(), None)?;
        if family == Family::V6 {
            socket.set_only_v6(true)?;
        }
        socket.bind(&any(family, port))?;
        Ok(socket)
    };
    // Those that were of no use are kept until one was, or the kernel would offer them again.
    let mut refused = Vec::new();
    for _ in 0..ROWS_TRIED {
        // Which one it offers is its own choice: it knows which are set apart.
        let offered = bound(0)?;
        let port = offered.local_addr()?.as_socket().map_or(0, |address| address.port());
        let first = port - port % PORTS;
        let others = row(first).filter(|other| *other != port).map(bound);
        match others.collect::<io::Result<Vec<_>>>() {
            Ok(mut sockets) => {
                sockets.push(offered);
                return Ok((first, sockets));
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => refused.push(offered),
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

nix::setsockopt_impl!(ChecksumAt, libc::IPPROTO_IPV6, libc::IPV6_CHECKSUM, i32, sockopt::SetStruct<'_, i32>);

nix::setsockopt_impl!(MtuDiscovery, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, i32, sockopt::SetStruct<'_, i32>);

/// Whether packets may be cut in pieces on their way, and what the path is known to carry is
/// asked for (`ip(7)`).
#[derive(Clone, Copy, Debug)]
struct MtuDiscovery;

/// Where IPv6 has a checksum that the kernel makes and checks (RFC 3542 §3.1).
#[derive(Clone, Copy, Debug)]
struct ChecksumAt;

/// The name that a raw socket sends to: it has no port.
pub(super) fn raw_name(ip: IpAddr, scope: u32) -> Name {
    named(ip, 0, scope)
}

/// The name of an address, a port and a scope.
pub(super) fn named(ip: IpAddr, port: u16, scope: u32) -> Name {
    Name::of_ip(match ip {
        IpAddr::V4(_) => SocketAddr::new(ip, port),
        IpAddr::V6(v6) => SocketAddrV6::new(v6, port, 0, scope).into(),
    })
}
