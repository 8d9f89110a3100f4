//! Words that everything here uses: protocol, family, random numbers. Pure.

use std::{
    hash::{BuildHasher, RandomState},
    net::{IpAddr, SocketAddr},
};

use crate::question::Delivery;

/// What a probe is made of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Protocol {
    /// A SYN.
    Tcp,
    /// A datagram.
    Udp,
    /// An echo request.
    Icmp,
    /// An INIT.
    Sctp,
}

/// IPv4 or IPv6.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// That of an address.
    pub(super) const fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// What it is called.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

impl Protocol {
    /// What it is called.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Icmp => "ICMP",
            Self::Sctp => "SCTP",
        }
    }

    /// Its number in an IP header of that family.
    pub(super) const fn number(self, family: Family) -> u8 {
        match (self, family) {
            (Self::Tcp, _) => 6,
            (Self::Udp, _) => 17,
            (Self::Icmp, Family::V4) => 1,
            (Self::Icmp, Family::V6) => 58,
            (Self::Sctp, _) => 132,
        }
    }

    /// What its probe waits for.
    pub(super) const fn awaited(self) -> &'static str {
        match self {
            Self::Tcp => "SYN-ACK",
            Self::Udp => "datagram",
            Self::Icmp => "echo reply",
            Self::Sctp => "INIT ACK",
        }
    }
}

/// What was sent where and how: no two probes under way have the same. Answers and errors
/// carry all of it but the last: see [`Key::of_answer`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Key {
    /// Of what it is made.
    pub(super) protocol: Protocol,
    /// Whom it asks.
    pub(super) ip: IpAddr,
    /// At which port; 0 for PING.
    pub(super) port: u16,
    /// What keeps it apart from other probes to the same place: which of our ports, which
    /// of our sockets, which sequence number of an echo.
    pub(super) lane: u16,
    /// How it gets there: many members can hold one VIP.
    pub(super) delivery: Delivery,
}

impl Key {
    /// As an answer tells it, which does not say how it was asked for.
    pub(super) const fn of_answer(self) -> Self {
        Self { delivery: Delivery::Routed, ..self }
    }
}

/// What arrives at a socket of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ear {
    /// Of which protocol.
    pub(super) protocol: Protocol,
    /// Of which family.
    pub(super) family: Family,
    /// TCP, SCTP: to which ports, of which this is the first. PING: with which identifier.
    /// UDP: of which lane.
    pub(super) first: u16,
}

/// The address in its own family: one of IPv4 that is written as one of IPv6 is of IPv4.
pub(super) fn plain(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        IpAddr::V6(_) => address,
    }
}

/// What an IPv4 packet carries, if it is that protocol.
pub(super) fn ipv4_payload(packet: &[u8], protocol: u8) -> Option<&[u8]> {
    let header: &[u8; 20] = packet.first_chunk()?;
    let length = usize::from(header[0] & 0x0f) * 4;
    if header[0] >> 4 != 4 || header[9] != protocol || length < 20 {
        return None;
    }
    packet.get(length..)
}

/// Numbers that nobody outside can guess: a keyed hash (SipHash) of a counter.
#[derive(Debug, Default)]
pub(super) struct Dice {
    key: RandomState,
    rolled: u64,
}

impl Dice {
    /// The next number.
    pub(super) fn roll(&mut self) -> u64 {
        self.rolled = self.rolled.wrapping_add(1);
        self.key.hash_one(self.rolled)
    }
}
