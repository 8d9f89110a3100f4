//! Adverts by hand, right and wrong, knowing nothing of how the crate builds
//! them.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    time::Duration,
};

use anyhow::{Context as _, Result};
use socket2::{Domain, Protocol, Socket, Type};
use vrrp::Family;

use super::{
    capture::Seen,
    node::{VRID, addresses},
    segment::{INTERFACE, Segment, address},
};

/// What an advert is summed over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sum {
    PseudoHeader,
    MessageOnly,
    Wrong,
}

/// An advert, field by field.
#[derive(Clone, Debug)]
pub(crate) struct Crafted {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) hops: u8,
    pub(crate) version_and_type: u8,
    pub(crate) vrid: u8,
    pub(crate) priority: u8,
    /// What the count says, if not the truth.
    pub(crate) count: Option<u8>,
    /// Of version 3: the interval; of version 2: authentication and interval.
    pub(crate) interval: [u8; 2],
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) tail: Vec<u8>,
    /// How long the message is, if it is cut off.
    pub(crate) length: Option<usize>,
    pub(crate) sum: Sum,
}

impl Crafted {
    /// A right advert of version 3 by multicast, from that host.
    pub(crate) fn from_host(host: u8, family: Family, priority: u8, interval: Duration) -> Self {
        let centiseconds = u16::try_from(interval.as_millis() / 10).unwrap_or(u16::MAX);
        Self {
            source: address(family, host),
            destination: match family {
                Family::V4 => IpAddr::from([224, 0, 0, 18]),
                Family::V6 => IpAddr::from([0xff02, 0, 0, 0, 0, 0, 0, 0x12]),
            },
            hops: 255,
            version_and_type: 0x31,
            vrid: VRID,
            priority,
            count: None,
            interval: centiseconds.to_be_bytes(),
            addresses: addresses(family),
            tail: Vec::new(),
            length: None,
            sum: Sum::PseudoHeader,
        }
    }

    /// The packet from its IP header on.
    fn bytes(&self) -> Vec<u8> {
        let message = self.message();
        let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
        let mut packet = match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut header = vec![0x45, 0xc0];
                header.extend((length + 20).to_be_bytes());
                // The kernel fills in the checksum.
                header.extend([0, 1, 0, 0, self.hops, 112, 0, 0]);
                header.extend(source.octets());
                header.extend(destination.octets());
                header
            }
            (source, destination) => {
                let mut header = vec![0x6c, 0, 0, 0];
                header.extend(length.to_be_bytes());
                header.extend([112, self.hops]);
                header.extend(octets(source));
                header.extend(octets(destination));
                header
            }
        };
        packet.extend(message);
        packet
    }

    fn message(&self) -> Vec<u8> {
        let count = self.count.unwrap_or_else(|| u8::try_from(self.addresses.len()).unwrap_or(u8::MAX));
        let mut message = vec![self.version_and_type, self.vrid, self.priority, count];
        message.extend(self.interval);
        message.extend([0, 0]);
        self.addresses.iter().for_each(|address| message.extend(octets(*address)));
        message.extend(&self.tail);
        message.truncate(self.length.unwrap_or(message.len()));
        let sum = match self.sum {
            Sum::PseudoHeader => {
                let mut summed = octets(self.source);
                summed.extend(octets(self.destination));
                summed.extend([0, 112]);
                summed.extend(u16::try_from(message.len()).unwrap_or(u16::MAX).to_be_bytes());
                summed.extend(&message);
                checksum(&summed)
            }
            Sum::MessageOnly => checksum(&message),
            Sum::Wrong => checksum(&message) ^ 0x0101,
        };
        if let Some(field) = message.get_mut(6..8) {
            field.copy_from_slice(&sum.to_be_bytes());
        }
        message
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

/// A host that sends whatever it likes.
pub(crate) struct Sender {
    v4: Socket,
    v6: Socket,
    ifindex: u32,
}

impl Sender {
    /// Opens the sockets on that host.
    pub(crate) fn on(segment: &Segment, host: u8) -> Result<Self> {
        let host = segment.host(host);
        let ifindex = host.link.ifindex;
        let raw = |domain| -> Result<Socket> {
            let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(nix::libc::IPPROTO_RAW)))?;
            socket.bind_device(Some(INTERFACE.as_bytes()))?;
            Ok(socket)
        };
        let (v4, v6) = host.namespace.enter(|| Ok((raw(Domain::IPV4)?, raw(Domain::IPV6)?)))?;
        Ok(Self { v4, v6, ifindex })
    }

    /// Sends an advert.
    pub(crate) fn send(&self, advert: &Crafted) -> Result<()> {
        self.send_bytes(advert.destination, &advert.bytes())
    }

    /// Sends so many copies as fast as it goes; returns how many left.
    pub(crate) fn send_many(&self, advert: &Crafted, copies: usize) -> usize {
        let bytes = advert.bytes();
        (0..copies).filter(|_| self.send_bytes(advert.destination, &bytes).is_ok()).count()
    }

    /// Sends the packet of a frame that was seen once more.
    pub(crate) fn replay(&self, seen: &Seen) -> Result<()> {
        let advert = seen.advert().context("no advert in that frame")?;
        let packet = seen.frame.get(14..).context("no packet in that frame")?;
        let destination = Crafted::from_host(1, Family::of(advert.source), 1, Duration::ZERO).destination;
        self.send_bytes(destination, packet)
    }

    fn send_bytes(&self, destination: IpAddr, bytes: &[u8]) -> Result<()> {
        let sent = match destination {
            IpAddr::V4(_) => self.v4.send_to(bytes, &SocketAddr::new(destination, 0).into()),
            IpAddr::V6(to) => self.v6.send_to(bytes, &SocketAddrV6::new(to, 0, 0, self.ifindex).into()),
        };
        sent.map(drop).context("send an advert by hand")
    }
}

/// An address that nobody has.
pub(crate) fn nobody(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::new(10, 78, 0, 200)),
        Family::V6 => IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xdead)),
    }
}
