//! Frames: drawn from an operator's sketch, and said in words.
//!
//! Others rely on this: words are found for any bytes.

use std::{fmt::Write as _, net::IpAddr};

use etherparse::{
    EtherType, IpNumber, LaxNetSlice, LaxSlicedPacket, LinkSlice, PacketBuilder, TcpHeader, TransportSlice,
};
use lb_common::{limits::GUE_PORT, mac::Mac};

use crate::control::protocol::{PacketSketch, SketchedProtocol};

/// The address of nobody that a sketched packet's last hop has.
const LAST_HOP: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
/// Hops that a sketched packet has left.
const HOPS: u8 = 64;
/// An SCTP INIT chunk that says as little as it may (RFC 9260 §3.3.2): tag 1, a
/// window of 65535 bytes, one stream each way, first TSN 1.
const INIT: [u8; 20] = [1, 0, 0, 20, 0, 0, 0, 1, 0, 0, 0xff, 0xff, 0, 1, 0, 1, 0, 0, 0, 1];
/// What lies behind how many bytes of an outer header is a matter of wrapping no
/// deeper than this.
const DEPTH: usize = 4;

/// The frame that a sketch describes, to the interface with an address.
///
/// # Errors
/// Why there is none, for the operator.
pub(super) fn drawn(sketch: &PacketSketch, to: Mac) -> Result<Vec<u8>, String> {
    let link = PacketBuilder::ethernet2(LAST_HOP, to.0);
    let ip = match (sketch.source.to_canonical(), sketch.destination.to_canonical()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => link.ipv4(source.octets(), destination.octets(), HOPS),
        (IpAddr::V6(source), IpAddr::V6(destination)) => link.ipv6(source.octets(), destination.octets(), HOPS),
        (source, destination) => {
            return Err(format!("{source} and {destination} are of two families: no packet has both"));
        }
    };
    let payload = vec![0; usize::from(sketch.payload)];
    let (source, destination) = (sketch.source_port, sketch.destination_port);
    let mut frame = Vec::new();
    let written = match sketch.protocol {
        SketchedProtocol::Tcp => {
            let flag = |bit: u8| sketch.tcp_flags & bit != 0;
            let mut tcp = TcpHeader::new(source, destination, 1, u16::MAX);
            (tcp.fin, tcp.syn, tcp.rst) = (flag(1), flag(2), flag(4));
            (tcp.psh, tcp.ack, tcp.urg) = (flag(8), flag(16), flag(32));
            ip.tcp_header(tcp).write_to_vec(&mut frame, &payload)
        }
        SketchedProtocol::Udp => ip.udp(source, destination).write_to_vec(&mut frame, &payload),
        SketchedProtocol::Sctp => {
            let mut packet = [&source.to_be_bytes()[..], &destination.to_be_bytes(), &[0; 8], &INIT, &payload].concat();
            let checksum = crc32c::crc32c(&packet).to_le_bytes();
            packet[8..12].copy_from_slice(&checksum);
            ip.write_to_vec(&mut frame, IpNumber::SCTP, &packet)
        }
        SketchedProtocol::Icmp if sketch.destination.is_ipv4() => {
            ip.icmpv4_echo_request(1, 1).write_to_vec(&mut frame, &payload)
        }
        SketchedProtocol::Icmp => ip.icmpv6_echo_request(1, 1).write_to_vec(&mut frame, &payload),
    };
    written.map_err(|error| format!("no such packet can be: {error}"))?;
    Ok(frame)
}

/// Bytes from pairs of hexadecimal digits; `None` where these are none.
pub(super) fn from_hex(digits: &str) -> Option<Vec<u8>> {
    let digit = |d: &u8| char::from(*d).to_digit(16);
    let (pairs, []) = digits.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| u8::try_from(digit(high)? << 4 | digit(low)?).ok()).collect()
}

/// Bytes as pairs of hexadecimal digits.
pub(super) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut digits, byte| {
        // A string takes everything.
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}

/// A frame in words: stations, tags, packets from the outermost on, length.
pub(super) fn in_words(frame: &[u8]) -> String {
    let mut words = match LaxSlicedPacket::from_ethernet(frame) {
        Ok(sliced) => {
            let stations = match &sliced.link {
                Some(LinkSlice::Ethernet2(link)) => {
                    format!("{} → {} ", Mac(link.source()), Mac(link.destination()))
                }
                _ => String::new(),
            };
            let tags: String = sliced.vlan_ids().iter().map(|id| format!("VLAN {} ", id.value())).collect();
            format!("{stations}{tags}{}", packet_in_words(&sliced, DEPTH))
        }
        Err(_) => "no Ethernet frame".to_owned(),
    };
    // A string takes everything.
    let _ = write!(words, ", {} bytes", frame.len());
    words
}

/// A packet in words.
fn packet_in_words(sliced: &LaxSlicedPacket<'_>, depth: usize) -> String {
    let (source, destination, payload): (IpAddr, IpAddr, _) = match &sliced.net {
        Some(LaxNetSlice::Ipv4(ip)) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into(), ip.payload())
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into(), ip.payload())
        }
        Some(LaxNetSlice::Arp(_)) => return "ARP".to_owned(),
        None => return "no IP packet".to_owned(),
    };
    let ports = |name: &str, from: u16, to: u16, rest: &str| {
        format!("{name} {} → {}{rest}", place(source, from), place(destination, to))
    };
    match &sliced.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            let set = [
                (tcp.syn(), "SYN"),
                (tcp.fin(), "FIN"),
                (tcp.rst(), "RST"),
                (tcp.psh(), "PSH"),
                (tcp.ack(), "ACK"),
                (tcp.urg(), "URG"),
            ];
            let flags: String = set.iter().filter(|(is_set, _)| *is_set).map(|(_, name)| format!(" {name}")).collect();
            ports("TCP", tcp.source_port(), tcp.destination_port(), &flags)
        }
        Some(TransportSlice::Udp(udp)) => {
            let outer = ports("UDP", udp.source_port(), udp.destination_port(), "");
            if udp.destination_port() == GUE_PORT { around(outer, "GUE", udp.payload(), depth) } else { outer }
        }
        Some(TransportSlice::Icmpv4(icmp)) => {
            format!("ICMP {source} → {destination} type {} code {}", icmp.type_u8(), icmp.code_u8())
        }
        Some(TransportSlice::Icmpv6(icmp)) => {
            format!("ICMPv6 {source} → {destination} type {} code {}", icmp.type_u8(), icmp.code_u8())
        }
        _ => match (payload.ip_number, payload.payload) {
            (IpNumber::IPV4 | IpNumber::IPV6, inner) => {
                around(format!("IP {source} → {destination}"), "IP", inner, depth)
            }
            (IpNumber::SCTP, [a, b, c, d, ..]) => {
                ports("SCTP", u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]), "")
            }
            (number, _) if payload.fragmented => {
                format!("IP {source} → {destination} fragment of protocol {}", number.0)
            }
            (number, _) => format!("IP {source} → {destination} protocol {}", number.0),
        },
    }
}

/// A packet that has another one in it.
fn around(outer: String, kind: &str, inner: &[u8], depth: usize) -> String {
    let kind_of_ip = match inner.first().map(|byte| byte >> 4) {
        Some(4) => EtherType::IPV4,
        Some(6) => EtherType::IPV6,
        _ => return outer,
    };
    match depth.checked_sub(1) {
        Some(depth) => {
            let inner = packet_in_words(&LaxSlicedPacket::from_ether_type(kind_of_ip, inner), depth);
            format!("{outer} {kind} [{inner}]")
        }
        None => format!("{outer} {kind} […]"),
    }
}

fn place(address: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(address, port).to_string()
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
