//! The frames that are measured: headers with holes where the flow belongs,
//! and what must be true of them after the data path had them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result, bail, ensure};
use etherparse::{NetHeaders, PacketBuilder, PacketHeaders, TransportHeader};
use lb_common::protocol::Transport;

/// Words of a template, as `lb-ebpf/src/harness.rs` has them: six bytes in the
/// first, eight in each other.
pub(super) const WORDS: usize = 10;

/// Every frame's length: a small packet that has room for every header.
const FRAME_BYTES: usize = 96;

pub(super) const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(super) const BALANCER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub(super) const MEMBER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 3];

pub(super) const LISTENER_PORT: u16 = 443;
pub(super) const MEMBER_PORT: u16 = 8080;
const CLOSED_PORT: u16 = 81;

/// Upper bits of the last 32 bits of a client's address: the lower 24 are the
/// flow's.
pub(super) const CLIENTS: u32 = u32::from_be_bytes([10, 0, 0, 0]);
/// The last 32 bits of the address before the first member's.
const MEMBERS: u32 = u32::from_be_bytes([198, 18, 0, 0]);

/// Where the client's sequence numbers and the member's begin.
const CLIENT_SEQUENCE: u32 = 0x1000_0000;
const MEMBER_SEQUENCE: u32 = 0x2000_0000;

/// Which network and which transport protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Protocols {
    /// IPv6 instead of IPv4.
    pub(super) ipv6: bool,
    /// TCP or UDP.
    pub(super) transport: Transport,
}

/// What a packet is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// A client's first: a SYN, or a datagram.
    Opening,
    /// A member's first: a SYN-ACK, or a datagram.
    Answer,
    /// A client's later one: an ACK, or a datagram.
    Request,
    /// A member's later one: an ACK, or a datagram.
    Reply,
    /// A client's, to a port of the VIP that nobody listens at.
    ClosedPort,
    /// To an address that is no VIP.
    Stranger,
}

impl Kind {
    /// Whether it comes from a member.
    pub(super) fn is_from_member(self) -> bool {
        matches!(self, Self::Answer | Self::Reply)
    }
}

impl Protocols {
    /// The VIP.
    pub(super) fn vip(self) -> IpAddr {
        self.address(u32::from_be_bytes([192, 0, 2, 10]))
    }

    /// A member by its id, which begins with one.
    pub(super) fn member(self, id: u16) -> IpAddr {
        self.address(MEMBERS + u32::from(id))
    }

    fn stranger(self) -> IpAddr {
        self.address(u32::from_be_bytes([192, 0, 2, 99]))
    }

    /// The address with the given last 32 bits; the others never vary.
    pub(super) fn address(self, low: u32) -> IpAddr {
        if self.ipv6 {
            let [a, b] = [(low >> 16) as u16, (low & 0xffff) as u16];
            IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, a, b))
        } else {
            IpAddr::V4(Ipv4Addr::from(low))
        }
    }
}

/// The last 32 bits of an address, as a number that has its bytes in memory.
pub(super) fn low_bits(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(a) => u32::from_ne_bytes(a.octets()),
        IpAddr::V6(a) => {
            let bytes = a.octets();
            u32::from_ne_bytes([bytes[12], bytes[13], bytes[14], bytes[15]])
        }
    }
}

/// A frame with holes.
#[derive(Clone, Debug)]
pub(super) struct Template {
    pub(super) protocols: Protocols,
    pub(super) kind: Kind,
    /// The frame as it is handed in, holes included.
    pub(super) frame: Vec<u8>,
    /// Its headers, with zeros also where the checksums belong.
    pub(super) words: [u64; WORDS],
    /// The IPv4 header's checksum, the holes being zero.
    pub(super) network_checksum: u16,
    /// The transport checksum, the holes being zero.
    pub(super) transport_checksum: u16,
}

impl Template {
    /// The template of a kind of packet.
    pub(super) fn new(protocols: Protocols, kind: Kind) -> Result<Self> {
        let frame = build(protocols, kind).context("build a frame")?;
        let transport_at = if protocols.ipv6 { 54 } else { 34 };
        let checksum_at = transport_at + if protocols.transport == Transport::Tcp { 16 } else { 6 };
        let mut headers = frame.clone();
        let mut take =
            |at: usize| u16::from_ne_bytes([std::mem::take(&mut headers[at]), std::mem::take(&mut headers[at + 1])]);
        let transport_checksum = take(checksum_at);
        let network_checksum = if protocols.ipv6 { 0 } else { take(24) };
        let word = |index: usize| {
            let mut bytes = [0; 8];
            match index {
                0 => bytes[..6].copy_from_slice(&headers[..6]),
                _ => bytes.copy_from_slice(&headers[index * 8 - 2..index * 8 + 6]),
            }
            u64::from_ne_bytes(bytes)
        };
        let words = std::array::from_fn(word);
        Ok(Self { protocols, kind, frame, words, network_checksum, transport_checksum })
    }
}

fn build(protocols: Protocols, kind: Kind) -> Result<Vec<u8>> {
    let hole = protocols.address(0);
    let (source_mac, source_port, destination_port) = match kind {
        Kind::Answer | Kind::Reply => (MEMBER_MAC, MEMBER_PORT, 0),
        Kind::ClosedPort => (CLIENT_MAC, 0, CLOSED_PORT),
        _ => (CLIENT_MAC, 0, LISTENER_PORT),
    };
    let destination = if kind == Kind::Stranger { protocols.stranger() } else { protocols.vip() };
    let ethernet = PacketBuilder::ethernet2(source_mac, BALANCER_MAC);
    let network = match (hole, destination) {
        (IpAddr::V4(s), IpAddr::V4(d)) => ethernet.ipv4(s.octets(), d.octets(), 64),
        (IpAddr::V6(s), IpAddr::V6(d)) => ethernet.ipv6(s.octets(), d.octets(), 64),
        _ => bail!("addresses of two families"),
    };
    let mut frame = Vec::with_capacity(FRAME_BYTES);
    let payload = [b'k'; FRAME_BYTES];
    let network_bytes = if protocols.ipv6 { 54 } else { 34 };
    match protocols.transport {
        Transport::Tcp => {
            let (own, other) = if kind.is_from_member() {
                (MEMBER_SEQUENCE, CLIENT_SEQUENCE)
            } else {
                (CLIENT_SEQUENCE, MEMBER_SEQUENCE)
            };
            let segment = |sequence| network.tcp(source_port, destination_port, sequence, 512);
            let segment = match kind {
                Kind::Opening | Kind::ClosedPort | Kind::Stranger => segment(own).syn(),
                Kind::Answer => segment(own).syn().ack(other + 1),
                Kind::Request | Kind::Reply => segment(own + 1).ack(other + 1),
            };
            segment.write(&mut frame, &payload[network_bytes + 20..])?;
        }
        // No case is one of SCTP.
        Transport::Udp | Transport::Sctp => {
            network.udp(source_port, destination_port).write(&mut frame, &payload[network_bytes + 8..])?;
        }
    }
    ensure!(frame.len() == FRAME_BYTES, "a frame has {} bytes instead of {FRAME_BYTES}", frame.len());
    Ok(frame)
}

/// Addresses, ports and hops of a frame whose checksums are right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Facts {
    pub(super) source: (IpAddr, u16),
    pub(super) destination: (IpAddr, u16),
    pub(super) hops: u8,
}

/// Reads a frame with a parser that knows nothing of the data path's.
///
/// # Errors
/// When it is no whole packet or a checksum is wrong.
pub(super) fn read(frame: &[u8]) -> Result<Facts> {
    let headers = PacketHeaders::from_ethernet_slice(frame).context("parse a frame")?;
    let (Some(network), Some(transport)) = (headers.net, headers.transport) else { bail!("not TCP or UDP over IP") };
    let payload = headers.payload.slice();
    let (ports, found) = match &transport {
        TransportHeader::Tcp(h) => ((h.source_port, h.destination_port), h.checksum),
        TransportHeader::Udp(h) => ((h.source_port, h.destination_port), h.checksum),
        _ => bail!("neither TCP nor UDP"),
    };
    let (source, destination, hops, right) = match &network {
        NetHeaders::Ipv4(ip, _) => {
            ensure!(ip.header_checksum == ip.calc_header_checksum(), "the IPv4 header's checksum is wrong");
            let right = match &transport {
                TransportHeader::Tcp(h) => h.calc_checksum_ipv4(ip, payload)?,
                TransportHeader::Udp(h) => h.calc_checksum_ipv4(ip, payload)?,
                _ => found,
            };
            (IpAddr::from(ip.source), IpAddr::from(ip.destination), ip.time_to_live, right)
        }
        NetHeaders::Ipv6(ip, _) => {
            let right = match &transport {
                TransportHeader::Tcp(h) => h.calc_checksum_ipv6(ip, payload)?,
                TransportHeader::Udp(h) => h.calc_checksum_ipv6(ip, payload)?,
                _ => found,
            };
            (IpAddr::from(ip.source), IpAddr::from(ip.destination), ip.hop_limit, right)
        }
        _ => bail!("not IP"),
    };
    ensure!(found == right, "the transport checksum is {found:#06x} and should be {right:#06x}");
    Ok(Facts { source: (source, ports.0), destination: (destination, ports.1), hops })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

    use super::*;

    const ALL: [Protocols; 4] = [
        Protocols { ipv6: false, transport: Transport::Tcp },
        Protocols { ipv6: false, transport: Transport::Udp },
        Protocols { ipv6: true, transport: Transport::Tcp },
        Protocols { ipv6: true, transport: Transport::Udp },
    ];

    #[test]
    fn every_template_is_a_right_packet_before_its_holes_are_filled() {
        for protocols in ALL {
            let template = Template::new(protocols, Kind::Request).unwrap();
            let facts = read(&template.frame).unwrap();
            assert_eq!(facts.source, (protocols.address(0), 0));
            assert_eq!(facts.destination, (protocols.vip(), LISTENER_PORT));
        }
    }

    #[test]
    fn a_changed_byte_of_any_header_or_of_the_data_is_noticed() {
        for protocols in ALL {
            let frame = Template::new(protocols, Kind::Reply).unwrap().frame;
            let before = read(&frame).unwrap();
            for at in if protocols.ipv6 { 22 } else { 14 }..FRAME_BYTES {
                let mut changed = frame.clone();
                changed[at] ^= 0x10;
                assert!(read(&changed).map_or(true, |facts| facts != before), "byte {at} of {protocols:?}");
            }
        }
    }

    #[test]
    fn a_template_has_its_frames_bytes_but_for_the_checksums() {
        for protocols in ALL {
            let template = Template::new(protocols, Kind::Opening).unwrap();
            let bytes = template
                .words
                .iter()
                .enumerate()
                .flat_map(|(index, word)| word.to_ne_bytes().into_iter().take(if index == 0 { 6 } else { 8 }));
            let differing = bytes.zip(&template.frame).filter(|(a, b)| a != *b).count();
            assert!(differing <= 4, "{differing} bytes differ for {protocols:?}");
        }
    }
}
