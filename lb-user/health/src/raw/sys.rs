//! Sending and receiving many packets with one system call each, and waiting for many
//! sockets as if they were one. The only unsafe file of the crate: the safe wrappers of the
//! calls give all packets of a batch the same source address, and do not say how many were
//! sent; that tokio may watch a descriptor takes a promise.
//!
//! Invariant others rely on: whatever the kernel writes, a length is never above the size
//! of the buffer it is about.
#![allow(unsafe_code)]

use std::{
    io, mem,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    os::fd::{AsRawFd, BorrowedFd, RawFd},
    ptr,
};

use nix::sys::epoll::{Epoll, EpollCreateFlags};
use tokio::{
    io::{Interest, unix::AsyncFd},
    runtime::Handle,
};

/// Packets that go into one system call.
pub(super) const BATCH: usize = 128;

/// The longest packet that is sent: an Ethernet, an IPv6 and an SCTP header with an INIT.
pub(super) const LONGEST: usize = 96;

/// As much of a packet as is looked at: the longest IPv4 header and the part of an INIT
/// ACK or of an echo that matters.
pub(super) const LOOKED_AT: usize = 128;

/// A socket address as the kernel has it, made of bytes.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub(super) struct Name {
    bytes: [u8; 32],
    length: u32,
}

impl Name {
    const EMPTY: Self = Self { bytes: [0; 32], length: 32 };

    /// An address and a port of IP (`sockaddr_in`, `sockaddr_in6`).
    pub(super) fn of_ip(address: SocketAddr) -> Self {
        let mut name = Self::EMPTY;
        name.bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
        match address {
            SocketAddr::V4(v4) => {
                name.set_family(libc::AF_INET);
                name.bytes[4..8].copy_from_slice(&v4.ip().octets());
                name.length = 16;
            }
            SocketAddr::V6(v6) => {
                name.set_family(libc::AF_INET6);
                name.bytes[8..24].copy_from_slice(&v6.ip().octets());
                name.bytes[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                name.length = 28;
            }
        }
        name
    }

    /// An interface that a whole frame leaves by (`sockaddr_ll`).
    pub(super) fn of_interface(index: u32) -> Self {
        let mut name = Self::EMPTY;
        name.set_family(libc::AF_PACKET);
        name.bytes[4..8].copy_from_slice(&index.to_ne_bytes());
        name.length = 20;
        name
    }

    fn set_family(&mut self, family: i32) {
        let family = u16::try_from(family).unwrap_or_default();
        self.bytes[..2].copy_from_slice(&family.to_ne_bytes());
    }

    /// The address and port of IP, if that is what it is.
    pub(super) fn ip(&self) -> Option<SocketAddr> {
        let family = i32::from(u16::from_ne_bytes([self.bytes[0], self.bytes[1]]));
        let port = u16::from_be_bytes([self.bytes[2], self.bytes[3]]);
        if family == libc::AF_INET && self.length >= 16 {
            let octets: [u8; 4] = self.bytes[4..8].try_into().ok()?;
            return Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(octets)), port));
        }
        if family == libc::AF_INET6 && self.length >= 28 {
            let octets: [u8; 16] = self.bytes[8..24].try_into().ok()?;
            let scope = u32::from_ne_bytes(self.bytes[24..28].try_into().ok()?);
            return Some(SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::from(octets), port, 0, scope)));
        }
        None
    }
}

/// A packet to send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outgoing {
    /// Where to.
    pub(super) to: Name,
    /// The source address that the kernel must use; its own choice without.
    pub(super) source: Option<Ipv4Addr>,
    bytes: [u8; LONGEST],
    length: usize,
}

impl Outgoing {
    /// A packet with these bytes; what is longer than [`LONGEST`] is cut off.
    pub(super) fn new(to: Name, source: Option<Ipv4Addr>, packet: &[u8]) -> Self {
        let mut bytes = [0; LONGEST];
        let length = packet.len().min(LONGEST);
        bytes[..length].copy_from_slice(&packet[..length]);
        Self { to, source, bytes, length }
    }
}

/// One control message that names a source address, laid out as `CMSG_SPACE` lays it out.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct SourceControl {
    header: libc::cmsghdr,
    info: libc::in_pktinfo,
}

/// Sends packets, [`BATCH`] at most. Returns how many were sent, which is at least one.
///
/// # Errors
/// What sending the first of them met.
pub(super) fn send(socket: BorrowedFd<'_>, packets: &[Outgoing]) -> io::Result<usize> {
    let packets = &packets[..packets.len().min(BATCH)];
    // SAFETY: the three are made of integers and pointers, for which zeroes are valid.
    let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
    // SAFETY: as above.
    let mut pieces: [libc::iovec; BATCH] = unsafe { mem::zeroed() };
    // SAFETY: as above.
    let mut controls: [SourceControl; BATCH] = unsafe { mem::zeroed() };
    for (((packet, header), piece), control) in packets.iter().zip(&mut headers).zip(&mut pieces).zip(&mut controls) {
        *piece = libc::iovec { iov_base: packet.bytes.as_ptr().cast_mut().cast(), iov_len: packet.length };
        let header = &mut header.msg_hdr;
        header.msg_name = packet.to.bytes.as_ptr().cast_mut().cast();
        header.msg_namelen = packet.to.length;
        header.msg_iov = ptr::from_mut(piece);
        header.msg_iovlen = 1;
        if let Some(source) = packet.source {
            control.header.cmsg_level = libc::IPPROTO_IP;
            control.header.cmsg_type = libc::IP_PKTINFO;
            let length = mem::offset_of!(SourceControl, info) + mem::size_of::<libc::in_pktinfo>();
            control.header.cmsg_len = length as _;
            control.info.ipi_spec_dst.s_addr = u32::from_ne_bytes(source.octets());
            header.msg_control = ptr::from_mut(control).cast();
            header.msg_controllen = mem::size_of::<SourceControl>() as _;
        }
    }
    let count = libc::c_uint::try_from(packets.len()).unwrap_or(0);
    // SAFETY: the first `count` headers are filled in. What they point to (names, pieces,
    // controls and, through the pieces, bytes) outlives the call, has the lengths that are
    // given with it, and is only read by the kernel, though its types say otherwise.
    let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count, libc::MSG_DONTWAIT) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Room for one batch of received packets.
pub(super) struct Inbox {
    bytes: Box<[[u8; LOOKED_AT]; BATCH]>,
    names: Box<[Name; BATCH]>,
    lengths: [usize; BATCH],
    count: usize,
}

impl Inbox {
    /// An empty one.
    pub(super) fn new() -> Self {
        Self {
            bytes: Box::new([[0; LOOKED_AT]; BATCH]),
            names: Box::new([Name::EMPTY; BATCH]),
            lengths: [0; BATCH],
            count: 0,
        }
    }

    /// Replaces its content by what has arrived at the socket, [`BATCH`] packets at most.
    /// What is longer than [`LOOKED_AT`] is cut off.
    ///
    /// # Errors
    /// `WouldBlock` when nothing has arrived, and what else the kernel says: of a raw
    /// socket, that can be an error that an earlier packet met.
    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        self.count = 0;
        // SAFETY: both are made of integers and pointers, for which zeroes are valid.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        // SAFETY: as above.
        let mut pieces: [libc::iovec; BATCH] = unsafe { mem::zeroed() };
        let room = self.bytes.iter_mut().zip(self.names.iter_mut());
        for (((bytes, name), header), piece) in room.zip(&mut headers).zip(&mut pieces) {
            *name = Name::EMPTY;
            *piece = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: LOOKED_AT };
            let header = &mut header.msg_hdr;
            header.msg_name = name.bytes.as_mut_ptr().cast();
            header.msg_namelen = 32;
            header.msg_iov = ptr::from_mut(piece);
            header.msg_iovlen = 1;
        }
        let (flags, forever) = (libc::MSG_DONTWAIT, ptr::null_mut());
        // SAFETY: all headers are filled in. What they point to is borrowed mutably by this
        // function, outlives the call, and has the lengths that are given with it. The
        // kernel does not keep any of it, and takes no time limit here.
        let got =
            unsafe { libc::recvmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), BATCH as libc::c_uint, flags, forever) };
        let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
        self.count = got.min(BATCH);
        for (n, header) in headers.iter().enumerate().take(self.count) {
            self.lengths[n] = usize::try_from(header.msg_len).unwrap_or(0).min(LOOKED_AT);
            self.names[n].length = header.msg_hdr.msg_namelen.min(32);
        }
        Ok(())
    }

    /// What was received last: from whom, and its bytes.
    pub(super) fn packets(&self) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        let each = self.names.iter().zip(self.bytes.iter()).zip(&self.lengths).take(self.count);
        each.filter_map(|((name, bytes), length)| Some((name.ip()?, bytes.get(..*length)?)))
    }

    /// Whether a batch was full, so that more may be waiting.
    pub(super) const fn is_full(&self) -> bool {
        self.count == BATCH
    }
}

impl std::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbox").field("count", &self.count).finish_non_exhaustive()
    }
}

/// An epoll that tokio waits for.
#[derive(Debug)]
pub(super) struct Queue(Epoll);

impl Queue {
    /// A new one. Needs a tokio runtime around it.
    ///
    /// # Errors
    /// When there is no runtime, or no descriptor.
    pub(super) fn watched() -> io::Result<AsyncFd<Self>> {
        Handle::try_current().map_err(io::Error::other)?;
        let queue = Self(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?);
        // SAFETY: the epoll owns its descriptor, which stays open until it is dropped, and
        // nothing can put another one in its place: the field is private to this file.
        let watched = unsafe { AsyncFd::register_with_interest(queue, Interest::READABLE) };
        watched.map_err(|error| io::Error::other(error.to_string()))
    }

    /// The epoll.
    pub(super) const fn epoll(&self) -> &Epoll {
        &self.0
    }
}

impl AsRawFd for Queue {
    fn as_raw_fd(&self) -> RawFd {
        self.0.0.as_raw_fd()
    }
}
