//! Telling an operator what became of packets.

use crate::{
    ingress::Ingress,
    packet::Packet,
    tables::{Tables, Verdict},
};

/// Keeps what a trace of this packet needs. A far call; returns 1 if it matches
/// the filter.
#[inline(always)]
pub(crate) fn begin<T: Tables>(_packet: &mut Packet<'_>, _tables: &T, _ingress: Ingress) -> u64 {
    0
}

/// Writes the trace of a packet that matched. A far call; returns 0.
#[inline(always)]
pub(crate) fn end<T: Tables>(_packet: &mut Packet<'_>, _tables: &T, _ingress: Ingress, _verdict: Verdict) -> u64 {
    0
}
