//! Frames of a client and of members on one link, for tests that look at the
//! tables as a packet does.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use lb_common::{checksum::Sum, mac::Mac, protocol::Transport};
use lb_ebpf::{
    headers::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, tcp_flags},
    host::Arrays,
    packet::Packet,
    pipeline,
    tables::Verdict,
};

use crate::dataplane::{DropReason, NextHop, memory::MemoryDataplane};

const INTERFACE: u32 = 7;
const PORT: u16 = 1;
const OWN: Mac = Mac([2, 0, 0, 0, 0, 1]);
const OTHER: Mac = Mac([2, 0, 0, 0, 0, 2]);
const TCP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;

/// A TCP segment or UDP datagram without data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Frame {
    pub(crate) transport: Transport,
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) flags: u8,
    pub(crate) sequence: u32,
    pub(crate) acknowledgment: u32,
}

/// What became of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sent {
    /// Sent on: to a member, to a client, or a reset back to its sender.
    On(Frame),
    /// Ended.
    Dropped(DropReason),
    /// Left to the stack.
    Passed,
}

/// The way to everybody on the link.
pub(crate) fn next_hop() -> NextHop {
    NextHop { destination: OTHER, source: OWN, port: PORT }
}

/// Connects a data plane to the link.
pub(crate) fn connect(dataplane: &MemoryDataplane) {
    dataplane.tables.arrays.ports()[usize::from(PORT)].set(INTERFACE, false, OWN);
}

/// Lets a frame come in.
pub(crate) fn send(dataplane: &MemoryDataplane, frame: &Frame) -> Sent {
    let mut bytes = frame.bytes();
    match pipeline::run(&mut Packet::from_slice(&mut bytes), INTERFACE, &dataplane.tables) {
        Verdict::Pass => Sent::Passed,
        Verdict::Drop(reason) => Sent::Dropped(reason),
        Verdict::Transmit | Verdict::Redirect(_) | Verdict::Answer => Sent::On(Frame::read(&bytes)),
    }
}

/// Lets a frame come in; the station that it was sent on to.
pub(crate) fn station_of(dataplane: &MemoryDataplane, frame: &Frame) -> Option<Mac> {
    let mut bytes = frame.bytes();
    match pipeline::run(&mut Packet::from_slice(&mut bytes), INTERFACE, &dataplane.tables) {
        Verdict::Transmit | Verdict::Redirect(_) => bytes.first_chunk().copied().map(Mac),
        Verdict::Pass | Verdict::Drop(_) | Verdict::Answer => None,
    }
}

/// Opens a TCP connection: the three segments of its handshake. The last one as
/// the member sees it; `None` where the client was refused.
pub(crate) fn shake_hands(dataplane: &MemoryDataplane, client: SocketAddr, listener: SocketAddr) -> Option<Frame> {
    let Sent::On(syn) = send(dataplane, &Frame::syn(client, listener)) else { return None };
    if syn.flags & tcp_flags::RST != 0 {
        return None;
    }
    let answer = Frame { flags: tcp_flags::SYN | tcp_flags::ACK, sequence: 4000, ..syn.reversed() };
    let Sent::On(_) = send(dataplane, &answer) else { return None };
    match send(dataplane, &Frame { acknowledgment: 4001, ..Frame::ack(client, listener) }) {
        Sent::On(ack) => Some(ack),
        _ => None,
    }
}

impl Frame {
    pub(crate) fn udp(source: SocketAddr, destination: SocketAddr) -> Self {
        Self { transport: Transport::Udp, source, destination, flags: 0, sequence: 0, acknowledgment: 0 }
    }

    pub(crate) fn syn(source: SocketAddr, destination: SocketAddr) -> Self {
        Self { transport: Transport::Tcp, flags: tcp_flags::SYN, sequence: 1000, ..Self::udp(source, destination) }
    }

    pub(crate) fn ack(source: SocketAddr, destination: SocketAddr) -> Self {
        Self { flags: tcp_flags::ACK, sequence: 1001, ..Self::syn(source, destination) }
    }

    /// A frame that opens a flow.
    pub(crate) fn first(transport: Transport, source: SocketAddr, destination: SocketAddr) -> Self {
        match transport {
            Transport::Tcp => Self::syn(source, destination),
            Transport::Udp => Self::udp(source, destination),
            Transport::Sctp => panic!("frames of SCTP are written by the packets' own fixtures"),
        }
    }

    /// The same with source and destination exchanged.
    pub(crate) fn reversed(self) -> Self {
        Self { source: self.destination, destination: self.source, ..self }
    }

    fn bytes(&self) -> Vec<u8> {
        let transport = self.transport_header();
        let length = u16::try_from(transport.len()).unwrap();
        let protocol = self.transport.ip_protocol();
        let mut frame = [OWN.0, OTHER.0].concat();
        match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                frame.extend(ETHERTYPE_IPV4.to_ne_bytes());
                let mut ip = vec![0x45, 0];
                ip.extend((20 + length).to_be_bytes());
                ip.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
                ip.extend(source.octets());
                ip.extend(destination.octets());
                let checksum = sum(&ip).finish();
                ip[10..12].copy_from_slice(&checksum.to_ne_bytes());
                frame.extend(ip);
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                frame.extend(ETHERTYPE_IPV6.to_ne_bytes());
                frame.extend([0x60, 0, 0, 0]);
                frame.extend(length.to_be_bytes());
                frame.extend([protocol, 64]);
                frame.extend(source.octets());
                frame.extend(destination.octets());
            }
            families => panic!("{families:?} are not of one family"),
        }
        frame.extend(transport);
        frame
    }

    fn transport_header(&self) -> Vec<u8> {
        let mut header = [self.source.port().to_be_bytes(), self.destination.port().to_be_bytes()].concat();
        let checksum_at = match self.transport {
            Transport::Tcp => {
                header.extend(self.sequence.to_be_bytes());
                header.extend(self.acknowledgment.to_be_bytes());
                header.extend([0x50, self.flags, 0xff, 0xff, 0, 0, 0, 0]);
                16
            }
            Transport::Udp => {
                header.extend(u16::try_from(UDP_HEADER).unwrap().to_be_bytes());
                header.extend([0, 0]);
                6
            }
            Transport::Sctp => panic!("frames of SCTP are written by the packets' own fixtures"),
        };
        let pseudo = Sum::default()
            .plus(sum(&octets(self.source.ip())))
            .plus(sum(&octets(self.destination.ip())))
            .add16(u16::from(self.transport.ip_protocol()).to_be())
            .add16(u16::try_from(header.len()).unwrap().to_be());
        let checksum = pseudo.plus(sum(&header)).finish();
        header[checksum_at..checksum_at + 2].copy_from_slice(&checksum.to_ne_bytes());
        header
    }

    /// Reads what [`Frame::bytes`] writes, and checks that it is still whole.
    fn read(bytes: &[u8]) -> Self {
        let ethertype = u16::from_ne_bytes(bytes[12..14].try_into().unwrap());
        let (source, destination, protocol, at): (IpAddr, IpAddr, u8, usize) = if ethertype == ETHERTYPE_IPV4 {
            let ip = &bytes[14..34];
            assert_eq!(sum(ip).fold(), 0xffff, "checksum of the IPv4 header");
            let address = |at: usize| Ipv4Addr::from(<[u8; 4]>::try_from(&ip[at..at + 4]).unwrap()).into();
            (address(12), address(16), ip[9], 34)
        } else {
            let ip = &bytes[14..54];
            let address = |at: usize| Ipv6Addr::from(<[u8; 16]>::try_from(&ip[at..at + 16]).unwrap()).into();
            (address(8), address(24), ip[6], 54)
        };
        let header = &bytes[at..];
        let port = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let word = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
        let frame = Self::udp((source, port(0)).into(), (destination, port(2)).into());
        let read = if protocol == Transport::Tcp.ip_protocol() {
            assert_eq!(header.len(), TCP_HEADER);
            let (sequence, acknowledgment) = (word(4), word(8));
            Self { transport: Transport::Tcp, flags: header[13], sequence, acknowledgment, ..frame }
        } else {
            frame
        };
        let pseudo = Sum::default()
            .plus(sum(&octets(source)))
            .plus(sum(&octets(destination)))
            .add16(u16::from(protocol).to_be())
            .add16(u16::try_from(header.len()).unwrap().to_be());
        assert_eq!(pseudo.plus(sum(header)).fold(), 0xffff, "checksum of the transport header");
        read
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn sum(bytes: &[u8]) -> Sum {
    bytes.chunks(2).fold(Sum::default(), |sum, two| sum.add16(u16::from_ne_bytes([two[0], two[1]])))
}
