//! Lowering the MSS of a TCP SYN (RFC 9293 §3.7.1), so that no segment is longer
//! than its path takes.
//!
//! An MSS says what its sender wants to receive. That of a client's SYN bounds
//! what the member sends; that of a member's SYN-ACK bounds what the client sends,
//! and passes here only in a `nat` pool. Where members answer directly, what
//! clients send is bounded by the MSS that the members say themselves (a route's
//! `advmss`), and by [`too_big`](crate::too_big).
//!
//! An MSS is lowered and never raised, and none is put where there was none.

use lb_common::{
    atomic::{Ordering::Relaxed, opaque},
    checksum::Sum,
    pool::{ForwardMode, Pool, PoolEntry},
};

use crate::{
    family::{Family, NETWORK_OFFSET, V4, V6},
    far::Call,
    headers::{ETHERTYPE_IPV6, Ethernet, Ipv4, Ipv6, Tcp, Udp, protocol},
    lookup,
    packet::Packet,
    rewrite::pseudo_header,
    tables::Tables,
    transport::Segment,
};

/// Kinds of options (RFC 9293 §3.1).
const END: u8 = 0;
const NOTHING: u8 = 1;
const MSS: u8 = 2;
/// Bytes of options there can be, and so options.
const MAX_OPTIONS: usize = 40;
/// What "auto" takes a path to hold, in bytes of IP: Ethernet's payload.
const PATH: u16 = 1500;

/// Lowers the MSS of a client's SYN to what its pool says, if it says anything.
#[inline(always)]
pub(crate) fn clamp_for<T: Tables>(
    packet: &mut Packet<'_>,
    tables: &T,
    segment: &Segment,
    pool: Option<&Pool>,
    mode: ForwardMode,
) {
    if let Some(pool) = pool.filter(|pool| segment.is_tcp() && pool.entry().has(PoolEntry::CLAMPS_MSS)) {
        let most = pool.options.load(Relaxed) as u16;
        tables.far(packet, Call::LowerMss, [segment.offset as u64, u64::from(most), mode as u64, 0]);
    }
}

/// The same for a member's answer in a flow of a listener.
#[inline(always)]
pub(crate) fn clamp_back<T: Tables>(packet: &mut Packet<'_>, tables: &T, segment: &Segment, listener: u16) {
    let key = tables.listener_of(listener).map_or(0, |of| of.key.load(Relaxed));
    let entry = lookup::listener(tables, key).unwrap_or_default();
    clamp_for(packet, tables, segment, tables.pool(entry.pool()), ForwardMode::Nat);
}

/// Lowers the MSS of the segment at `offset` to `most`, or where that is zero to
/// what Ethernet's 1500 bytes hold of it: less 40 bytes of IPv4 and TCP or 60 of
/// IPv6 and TCP, and less what the mode puts in front (40 bytes for `ipip`, 48 for
/// `gue`: IPv6, for which member it will be is not known yet). A far call; returns
/// 0.
///
/// A checksum that the sender left to its hardware is left as it is: whoever
/// completes it ([`rewrite`](crate::rewrite)) sums up what lies here then.
#[inline(always)]
pub(crate) fn lower(packet: &mut Packet<'_>, offset: usize, most: u16, mode: ForwardMode) -> u64 {
    let _ = lowered(packet, offset & 0x3fff, most, mode);
    0
}

#[inline(always)]
fn lowered(packet: &mut Packet<'_>, offset: usize, most: u16, mode: ForwardMode) -> Option<()> {
    let ipv6 = packet.view::<Ethernet>(0)?.ethertype == ETHERTYPE_IPV6;
    let most = if most == 0 { automatic(ipv6, mode) } else { most };
    let (at, at_odd) = find(packet, offset)?;
    let value = packet.view_mut::<[u8; 2]>(at)?;
    let before = u16::from_be_bytes(*value);
    if before <= most {
        return None;
    }
    *value = most.to_be_bytes();
    let place = offset + core::mem::offset_of!(Tcp, checksum);
    let checksum = u16::from_ne_bytes(packet.read(place)?);
    if checksum == left_to_hardware(packet, ipv6, offset)? {
        return Some(());
    }
    // At an odd place the two bytes lie in two words of the sum, crosswise.
    let (before, after) = (before.to_be(), most.to_be());
    let change = Sum::default().sub16(before).add16(after);
    let swapped = Sum::default().sub16(before.swap_bytes()).add16(after.swap_bytes());
    let after = if at_odd { swapped.update(checksum) } else { change.update(checksum) };
    *packet.view_mut::<[u8; 2]>(place)? = after.to_ne_bytes();
    Some(())
}

/// What "auto" means.
const fn automatic(ipv6: bool, mode: ForwardMode) -> u16 {
    let headers = size_of::<Tcp>() + if ipv6 { size_of::<Ipv6>() } else { size_of::<Ipv4>() };
    let front = match mode {
        ForwardMode::Ipip => size_of::<Ipv6>(),
        ForwardMode::Gue => size_of::<Ipv6>() + size_of::<Udp>(),
        _ => 0,
    };
    PATH - (headers + front) as u16
}

/// Where the value of the MSS option of a segment lies in the frame, and whether
/// that is an odd number of bytes into the segment.
#[inline(always)]
fn find(packet: &Packet<'_>, offset: usize) -> Option<(usize, bool)> {
    let header = usize::from(packet.view::<Tcp>(offset)?.offset >> 4) * 4;
    let end = offset + header;
    let mut at = offset + size_of::<Tcp>();
    for _ in 0..MAX_OPTIONS {
        // The verifier is not to know how the option before was skipped.
        at = opaque(at as u64) as usize & 0x3fff;
        // What does not fit behind here is no MSS.
        if at + 4 > end {
            return None;
        }
        let [kind, length] = packet.read::<[u8; 2]>(at)?;
        if kind == MSS && length == 4 {
            return Some((at + 2, (at - offset) & 1 != 0));
        }
        let step = if kind == NOTHING { 1 } else { usize::from(length) };
        if kind == END || step == 0 || kind != NOTHING && step == 1 {
            return None;
        }
        at += step;
    }
    None
}

/// The checksum field of a segment whose checksum its sender left to hardware:
/// the sum of its pseudo header.
#[inline(always)]
fn left_to_hardware(packet: &Packet<'_>, ipv6: bool, offset: usize) -> Option<u16> {
    let before = offset - NETWORK_OFFSET;
    let sum = if ipv6 {
        let total = usize::from(u16::from_be(packet.view::<Ipv6>(NETWORK_OFFSET)?.payload_length)) + size_of::<Ipv6>();
        pseudo_header::<V6>(V6::source(packet)?, V6::destination(packet)?, protocol::TCP, total.wrapping_sub(before))
    } else {
        let total = usize::from(u16::from_be(packet.view::<Ipv4>(NETWORK_OFFSET)?.total_length));
        pseudo_header::<V4>(V4::source(packet)?, V4::destination(packet)?, protocol::TCP, total.wrapping_sub(before))
    };
    Some(sum.fold())
}

#[cfg(test)]
#[path = "mss_tests.rs"]
mod tests;
