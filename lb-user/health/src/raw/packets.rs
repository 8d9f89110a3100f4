//! The bytes of probes: what IP carries, and whole frames for members that are reached by
//! their Ethernet address. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    checksum::Sum,
    icmp,
    net::{Family, Protocol},
    sctp, tcp,
};

const ETHERNET: usize = 14;
const UDP: usize = 8;
/// The longest of what IP carries here.
const LONGEST_PAYLOAD: usize = sctp::INIT_LEN;
const TTL: u8 = 64;

/// The addresses that checksums are made with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ends {
    /// IPv4.
    V4 {
        /// Ours.
        source: Ipv4Addr,
        /// The member's, or its VIP.
        to: Ipv4Addr,
    },
    /// IPv6.
    V6 {
        /// Ours.
        source: Ipv6Addr,
        /// The member's, or its VIP.
        to: Ipv6Addr,
    },
    /// The kernel chooses the source and makes the checksum.
    Kernel,
}

impl Ends {
    /// Both of one family; `None` otherwise.
    pub(super) const fn of(source: IpAddr, to: IpAddr) -> Option<Self> {
        match (source, to) {
            (IpAddr::V4(source), IpAddr::V4(to)) => Some(Self::V4 { source, to }),
            (IpAddr::V6(source), IpAddr::V6(to)) => Some(Self::V6 { source, to }),
            _ => None,
        }
    }

    /// The sum of the pseudo header; `None` when the kernel makes the checksum.
    pub(super) fn sum(self, protocol: u8, length: u16) -> Option<Sum> {
        match self {
            Self::V4 { source, to } => Some(Sum::default().v4(source, to, protocol, length)),
            Self::V6 { source, to } => Some(Sum::default().v6(source, to, protocol, length)),
            Self::Kernel => None,
        }
    }
}

/// A few bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Bytes<N> {
    const fn new() -> Self {
        Self { bytes: [0; N], length: 0 }
    }

    /// With these; what is more than fits is left out.
    fn with(mut self, more: &[u8]) -> Self {
        let end = (self.length + more.len()).min(N);
        self.bytes[self.length..end].copy_from_slice(&more[..end - self.length]);
        self.length = end;
        self
    }

    /// All of them.
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// What IP carries.
pub(super) type Payload = Bytes<LONGEST_PAYLOAD>;
/// A whole frame.
pub(super) type Frame = Bytes<{ ETHERNET + 40 + LONGEST_PAYLOAD }>;

/// What a probe's packet says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words {
    /// TCP, UDP, SCTP: our port. PING: our identifier.
    pub(super) ours: u16,
    /// TCP, UDP, SCTP: the member's port. PING: the sequence number.
    pub(super) theirs: u16,
    /// What the answer must carry: of TCP the acknowledgment, of SCTP the tag, of PING the
    /// random bytes.
    pub(super) token: u64,
    /// Another number that nobody else knows.
    pub(super) random: u32,
}

/// What IP carries. Of a datagram whose header the kernel makes, that is nothing.
pub(super) fn payload(protocol: Protocol, family: Family, ends: Ends, words: Words) -> Payload {
    let Words { ours, theirs, token, random } = words;
    let low = u32::try_from(token & 0xffff_ffff).unwrap_or_default();
    let payload = Payload::new();
    match protocol {
        Protocol::Tcp => payload.with(&tcp::syn(ends, (ours, theirs), low.wrapping_sub(1))),
        Protocol::Udp if ends == Ends::Kernel => payload,
        Protocol::Udp => payload.with(&datagram(ends, ours, theirs)),
        Protocol::Icmp => payload.with(&icmp::request(icmp::Types::of(family), ends, (ours, theirs), token)),
        Protocol::Sctp => payload.with(&sctp::init(ours, theirs, low, random)),
    }
}

/// What makes a member forget a probe that it has accepted: a RST, or with the tag of an INIT
/// ACK an ABORT.
pub(super) fn farewell(ends: Ends, words: Words, tag: Option<u32>) -> Payload {
    let Words { ours, theirs, token, .. } = words;
    let acknowledged = u32::try_from(token & 0xffff_ffff).unwrap_or_default();
    match tag {
        Some(tag) => Payload::new().with(&sctp::abort(ours, theirs, tag)),
        None => Payload::new().with(&tcp::reset(ends, (ours, theirs), acknowledged)),
    }
}

/// An empty datagram.
fn datagram(ends: Ends, source_port: u16, port: u16) -> [u8; UDP] {
    let mut datagram = [0; UDP];
    datagram[..2].copy_from_slice(&source_port.to_be_bytes());
    datagram[2..4].copy_from_slice(&port.to_be_bytes());
    datagram[4..6].copy_from_slice(&8u16.to_be_bytes());
    if let Some(sum) = ends.sum(17, 8) {
        // 0 would say that there is no checksum (RFC 768).
        let checksum = match sum.bytes(&datagram).folded() {
            0 => u16::MAX,
            checksum => checksum,
        };
        datagram[6..8].copy_from_slice(&checksum.to_be_bytes());
    }
    datagram
}

/// A frame to an Ethernet address, from one. `None` without the ends.
pub(super) fn frame(
    destination: [u8; 6],
    source: [u8; 6],
    ends: Ends,
    protocol: u8,
    payload: &Payload,
) -> Option<Frame> {
    let payload = payload.as_slice();
    let length = u16::try_from(payload.len()).ok()?;
    let frame = Frame::new().with(&destination).with(&source);
    Some(match ends {
        Ends::V4 { source, to } => {
            let mut header = [0; 20];
            header[0] = 0x45;
            header[2..4].copy_from_slice(&length.checked_add(20)?.to_be_bytes());
            // Do not fragment; then the identification means nothing (RFC 6864 §4).
            header[6] = 0x40;
            header[8] = TTL;
            header[9] = protocol;
            header[12..16].copy_from_slice(&source.octets());
            header[16..20].copy_from_slice(&to.octets());
            let checksum = Sum::default().bytes(&header).folded();
            header[10..12].copy_from_slice(&checksum.to_be_bytes());
            frame.with(&[0x08, 0x00]).with(&header).with(payload)
        }
        Ends::V6 { source, to } => {
            let mut header = [0; 40];
            header[0] = 0x60;
            header[4..6].copy_from_slice(&length.to_be_bytes());
            header[6] = protocol;
            header[7] = TTL;
            header[8..24].copy_from_slice(&source.octets());
            header[24..40].copy_from_slice(&to.octets());
            frame.with(&[0x86, 0xdd]).with(&header).with(payload)
        }
        Ends::Kernel => return None,
    })
}

#[cfg(test)]
#[path = "packets_tests.rs"]
mod tests;
