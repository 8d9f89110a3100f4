//! PING: an echo request to send, and what answers it. Pure, and total over bytes.
//!
//! An answer counts when it carries the random bytes of the request, which only who
//! received the request knows.

use super::{checksum::Sum, net::Family, packets::Ends};

/// A header and the random bytes.
pub(super) const ECHO_LEN: usize = 24;

/// What the bytes after the header begin with, for whoever reads a capture.
const MARK: &[u8; 8] = b"krater\0\0";

/// Types of ICMP (RFC 792) and ICMPv6 (RFC 4443).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Types {
    request: u8,
    /// An echo reply.
    pub(super) reply: u8,
}

impl Types {
    /// Those of a family.
    pub(super) const fn of(family: Family) -> Self {
        match family {
            Family::V4 => V4,
            Family::V6 => V6,
        }
    }
}

/// Those of ICMP.
const V4: Types = Types { request: 8, reply: 0 };
/// Those of ICMPv6.
const V6: Types = Types { request: 128, reply: 129 };

/// An echo, from either side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Echo {
    /// Which prober.
    pub(super) identifier: u16,
    /// Which probe.
    pub(super) sequence: u16,
    /// The random bytes; of a request that was cut off on its way back, none.
    pub(super) cookie: Option<u64>,
}

/// An echo request. That of ICMP has a checksum whatever the ends are; that of ICMPv6 has
/// none when the kernel makes it.
pub(super) fn request(types: Types, ends: Ends, (identifier, sequence): (u16, u16), cookie: u64) -> [u8; ECHO_LEN] {
    let mut echo = [0; ECHO_LEN];
    echo[0] = types.request;
    echo[4..6].copy_from_slice(&identifier.to_be_bytes());
    echo[6..8].copy_from_slice(&sequence.to_be_bytes());
    echo[8..16].copy_from_slice(MARK);
    echo[16..24].copy_from_slice(&cookie.to_be_bytes());
    // Only ICMPv6 has a pseudo header (RFC 4443 §2.3).
    let sum = if types == V6 { ends.sum(58, 24) } else { Some(Sum::default()) };
    if let Some(sum) = sum {
        let checksum = sum.bytes(&echo).folded();
        echo[2..4].copy_from_slice(&checksum.to_be_bytes());
    }
    echo
}

/// Reads an echo reply. `None` when it is none, or none to a request of ours.
pub(super) fn read(types: Types, bytes: &[u8]) -> Option<Echo> {
    read_type(types.reply, bytes).filter(|echo| echo.cookie.is_some())
}

/// Reads the request that an ICMP message brings back, the random bytes if they are there.
/// `None` too where there is room for them and something else is there.
pub(super) fn read_sent(types: Types, bytes: &[u8]) -> Option<Echo> {
    read_type(types.request, bytes).filter(|echo| echo.cookie.is_some() || bytes.len() < ECHO_LEN)
}

fn read_type(wanted: u8, bytes: &[u8]) -> Option<Echo> {
    let header: &[u8; 8] = bytes.first_chunk()?;
    if header[0] != wanted || header[1] != 0 {
        return None;
    }
    let cookie = bytes.get(8..ECHO_LEN).and_then(|data| {
        let cookie = data.strip_prefix(MARK.as_slice())?;
        Some(u64::from_be_bytes(cookie.try_into().ok()?))
    });
    Some(Echo {
        identifier: u16::from_be_bytes([header[4], header[5]]),
        sequence: u16::from_be_bytes([header[6], header[7]]),
        cookie,
    })
}
