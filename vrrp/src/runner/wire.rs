//! The sockets of one interface in one family, shared by every virtual router
//! there.

use std::{
    io::{self, IoSliceMut, Read as _},
    net::{IpAddr, Ipv6Addr, SocketAddrV4, SocketAddrV6},
    os::fd::{AsFd, AsRawFd as _, BorrowedFd},
};

use nix::{
    errno::Errno,
    sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg, setsockopt, sockopt},
};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};

use super::{frame::PROTOCOL, instance::Link, sys};
use crate::{announce::multicast_group, types::Family};

/// Datagrams are read up to here. Adverts fit an Ethernet frame; what is cut
/// off has a length that is not the one it says, and is refused for that.
const DATAGRAM: usize = 2048;

/// What the kernel queues first where it queues at all, short of what only
/// whoever administers the network may say.
const PRIORITY: u32 = 6;

/// Raw IP sockets on one interface.
#[derive(Debug)]
pub(super) struct Wire {
    ifindex: u32,
    family: Family,
    receiver: Socket,
    sender: Option<Socket>,
    in_group: bool,
}

/// A buffer for one datagram and what the kernel says of it.
#[derive(Debug)]
pub(super) struct Inbox {
    bytes: Box<[u8; DATAGRAM]>,
    control: Vec<u8>,
}

/// What was read.
#[derive(Debug)]
pub(super) enum Datagram<'a> {
    /// With its IPv4 header.
    V4(&'a [u8]),
    /// Without its IPv6 header, and what was in there.
    V6 { message: &'a [u8], source: Ipv6Addr, destination: Ipv6Addr, hops: u8 },
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self { bytes: Box::new([0; DATAGRAM]), control: nix::cmsg_space!(libc::in6_pktinfo, libc::c_int) }
    }
}

impl Wire {
    /// Opens the socket that receives.
    pub(super) fn open(link: &Link, family: Family) -> io::Result<Self> {
        let receiver = raw(family, PROTOCOL.into(), link)?;
        match family {
            Family::V4 => {
                // Adverts are heard by whoever joined the group here, not by whoever did so anywhere on the machine.
                receiver.set_multicast_all_v4(false)?;
            }
            Family::V6 => {
                receiver.set_multicast_all_v6(false)?;
                setsockopt(&receiver, sockopt::Ipv6RecvPacketInfo, &true)?;
                setsockopt(&receiver, sockopt::Ipv6RecvHopLimit, &true)?;
            }
        }
        Ok(Self { ifindex: link.ifindex, family, receiver, sender: None, in_group: false })
    }

    /// The interface and family it is for.
    pub(super) fn place(&self) -> (u32, Family) {
        (self.ifindex, self.family)
    }

    /// Hears what is sent to the group of virtual routers, or no longer.
    pub(super) fn set_in_group(&mut self, in_group: bool) -> io::Result<()> {
        if self.in_group == in_group {
            return Ok(());
        }
        let v4 = InterfaceIndexOrAddress::Index(self.ifindex);
        match (multicast_group(self.family), in_group) {
            (IpAddr::V4(group), true) => self.receiver.join_multicast_v4_n(&group, &v4)?,
            (IpAddr::V4(group), false) => self.receiver.leave_multicast_v4_n(&group, &v4)?,
            (IpAddr::V6(group), true) => self.receiver.join_multicast_v6(&group, self.ifindex)?,
            (IpAddr::V6(group), false) => self.receiver.leave_multicast_v6(&group, self.ifindex)?,
        }
        self.in_group = in_group;
        Ok(())
    }

    /// The next datagram, if one waits.
    pub(super) fn receive<'a>(&self, inbox: &'a mut Inbox) -> io::Result<Option<Datagram<'a>>> {
        let read = match self.family {
            Family::V4 => {
                (&self.receiver).read(inbox.bytes.as_mut_slice()).map(|length| Datagram::V4(&inbox.bytes[..length]))
            }
            Family::V6 => self.receive_v6(inbox),
        };
        match read {
            Ok(datagram) => Ok(Some(datagram)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn receive_v6<'a>(&self, inbox: &'a mut Inbox) -> io::Result<Datagram<'a>> {
        let mut parts = [IoSliceMut::new(inbox.bytes.as_mut_slice())];
        let (descriptor, flags) = (self.receiver.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
        let message = recvmsg::<SockaddrIn6>(descriptor, &mut parts, Some(&mut inbox.control), flags)?;
        let source = message.address.ok_or(Errno::EAFNOSUPPORT)?.ip();
        // What the kernel does not tell is what no advert can have.
        let (mut destination, mut hops) = (Ipv6Addr::UNSPECIFIED, 0);
        for part in message.cmsgs()? {
            match part {
                ControlMessageOwned::Ipv6PacketInfo(info) => destination = Ipv6Addr::from(info.ipi6_addr.s6_addr),
                ControlMessageOwned::Ipv6HopLimit(limit) => hops = u8::try_from(limit).unwrap_or(0),
                _ => {}
            }
        }
        let length = message.bytes;
        Ok(Datagram::V6 { message: &inbox.bytes[..length], source, destination, hops })
    }

    /// Sends a packet, with its IP header, by way of the stack: it finds the
    /// peer's MAC address.
    pub(super) fn send_to(&mut self, link: &Link, peer: IpAddr, packet: &[u8]) -> io::Result<()> {
        let sender = match &mut self.sender {
            Some(sender) => sender,
            // Of this protocol nothing is ever received, and the header is ours to write.
            none => none.insert(raw(self.family, libc::IPPROTO_RAW, link)?),
        };
        let address = match peer {
            IpAddr::V4(peer) => SocketAddrV4::new(peer, 0).into(),
            IpAddr::V6(peer) => SocketAddrV6::new(peer, 0, 0, self.ifindex).into(),
        };
        sender.send_to(packet, &address).map(drop)
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }
}

fn raw(family: Family, protocol: libc::c_int, link: &Link) -> io::Result<Socket> {
    let domain = match family {
        Family::V4 => Domain::IPV4,
        Family::V6 => Domain::IPV6,
    };
    let socket = Socket::new(domain, Type::RAW.nonblocking().cloexec(), Some(Protocol::from(protocol)))?;
    socket.bind_device(Some(link.name.as_bytes()))?;
    socket.set_priority(PRIORITY)?;
    Ok(socket)
}

/// Sends whole frames by any interface. It receives nothing.
#[derive(Debug)]
pub(super) struct FrameSocket {
    socket: Socket,
}

impl FrameSocket {
    pub(super) fn open() -> io::Result<Self> {
        let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking().cloexec(), Some(Protocol::from(0)))?;
        socket.set_priority(PRIORITY)?;
        Ok(Self { socket })
    }

    /// Sends a frame, from its Ethernet header on.
    pub(super) fn send(&self, ifindex: u32, frame: &[u8]) -> io::Result<()> {
        self.socket.send_to(frame, &sys::link_address(ifindex)?).map(drop)
    }
}
