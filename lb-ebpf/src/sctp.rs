//! SCTP (RFC 9260): what its first chunk says, and its checksum when ports change.

use crate::{far::Facts, packet::Packet};

/// Bytes of the common header, and of the head of a chunk.
const HEADERS: usize = 12 + 4;

/// What the first chunk says, in TCP's flags; `None` for what is no SCTP packet.
#[inline(always)]
pub(crate) fn signs(_packet: &Packet<'_>, _offset: usize, length: usize) -> Option<u8> {
    if length < HEADERS { None } else { Some(0) }
}

/// Stores ports (source in bits 0–15, destination in 16–31, as they lie in the
/// frame) and the checksum that goes with them. A far call; returns 0.
#[inline(always)]
pub(crate) fn change_ports(_packet: &mut Packet<'_>, _facts: Facts, _ports: u64) -> u64 {
    0
}
