//! What a packet that has come, or one that came back, says of which probe. Pure, and total
//! over bytes: the last word has whoever compares the number with that of the probe.

use std::net::SocketAddr;

use super::{
    icmp,
    net::{Ear, Family, Key, Protocol, ipv4_payload, plain},
    sctp,
    sockets::PORTS,
    tcp,
};
use crate::{
    outcome::{Answer, Failure, Outcome},
    question::Delivery,
};

/// What a packet says.
#[derive(Debug)]
pub(super) struct Meaning {
    /// Of which probe, as far as an answer tells ([`Key::of_answer`]).
    pub(super) key: Key,
    /// The number it must have for that.
    pub(super) token: u64,
    /// What comes of it.
    pub(super) outcome: Outcome,
    /// SCTP: the tag that the member wants to be answered with.
    pub(super) tag: Option<u32>,
}

/// The meaning of a packet that has arrived.
pub(super) fn of_packet(ear: Ear, from: SocketAddr, bytes: &[u8]) -> Option<Meaning> {
    let from = plain(from);
    let key = |port, lane| Key { protocol: ear.protocol, ip: from.ip(), port, lane, delivery: Delivery::Routed };
    let payload = match (ear.protocol, ear.family) {
        (Protocol::Udp, _) | (_, Family::V6) => bytes,
        (protocol, Family::V4) => ipv4_payload(bytes, protocol.number(Family::V4))?,
    };
    let refused = Outcome::Fails(Failure::Kernel(libc::ECONNREFUSED));
    let aborts = Outcome::Fails(Failure::Told("refuses associations (ABORT)"));
    Some(match ear.protocol {
        Protocol::Tcp => {
            let segment = tcp::read(payload)?;
            let outcome = if segment.accepts { Outcome::Answers(Answer::Accepts) } else { refused };
            let key = key(segment.from, lane(ear, segment.to)?);
            Meaning { key, token: segment.acknowledged.into(), outcome, tag: None }
        }
        Protocol::Udp => Meaning {
            key: key(from.port(), ear.first),
            token: 0,
            outcome: Outcome::Answers(Answer::Datagram),
            tag: None,
        },
        Protocol::Icmp => {
            let echo = icmp::read(icmp::Types::of(ear.family), payload).filter(|echo| echo.identifier == ear.first)?;
            Meaning {
                key: key(0, echo.sequence),
                token: echo.cookie?,
                outcome: Outcome::Answers(Answer::Echo),
                tag: None,
            }
        }
        Protocol::Sctp => {
            let answer = sctp::read(payload)?;
            let outcome = if answer.accepts.is_some() { Outcome::Answers(Answer::InitAck) } else { aborts };
            Meaning {
                key: key(answer.from, lane(ear, answer.to)?),
                token: answer.tag.into(),
                outcome,
                tag: answer.accepts,
            }
        }
    })
}

/// Of which probe a packet was that came back, and its number, if that came back too.
/// What is long enough to have it must have it.
pub(super) fn of_error(ear: Ear, to: SocketAddr, bytes: &[u8]) -> Option<(Key, Option<u64>)> {
    let to = plain(to);
    let key = |port, lane| Key { protocol: ear.protocol, ip: to.ip(), port, lane, delivery: Delivery::Routed };
    Some(match ear.protocol {
        Protocol::Tcp => {
            let sent = tcp::read_sent(bytes)?;
            (key(sent.to, lane(ear, sent.from)?), Some(sent.sequence.wrapping_add(1).into()))
        }
        // The kernel has found the socket by the ports.
        Protocol::Udp => (key(to.port(), ear.first), None),
        Protocol::Icmp => {
            let echo =
                icmp::read_sent(icmp::Types::of(ear.family), bytes).filter(|echo| echo.identifier == ear.first)?;
            (key(0, echo.sequence), echo.cookie)
        }
        Protocol::Sctp => {
            let sent = sctp::read_sent(bytes)?;
            // Without a tag it could be anybody's word (RFC 9260 §10).
            (key(sent.to, lane(ear, sent.from)?), Some(sent.tag?.into()))
        }
    })
}

fn lane(ear: Ear, port: u16) -> Option<u16> {
    port.checked_sub(ear.first).filter(|lane| *lane < PORTS)
}

#[cfg(test)]
#[path = "meaning_tests.rs"]
mod tests;
