//! SCTP (RFC 9260): what its first chunk says, and its checksum when ports change.
//!
//! Only the first chunk of a packet is looked at. What opens or ends an
//! association stands first or alone (RFC 9260 §6.10); an ABORT behind data is
//! taken for data, and its flow then ends by being idle.

use lb_common::atomic::opaque;

use crate::{
    far::Facts,
    headers::{SctpChunk, SctpCommon, tcp_flags},
    packet::Packet,
};

/// Bytes of the common header, and of the head of a chunk.
const HEADERS: usize = size_of::<SctpCommon>() + size_of::<SctpChunk>();

/// Chunk types (RFC 9260 §3.2).
mod chunk {
    pub(super) const INIT: u64 = 1;
    pub(super) const INIT_ACK: u64 = 2;
    pub(super) const ABORT: u64 = 6;
    pub(super) const SHUTDOWN: u64 = 7;
    pub(super) const SHUTDOWN_ACK: u64 = 8;
    pub(super) const SHUTDOWN_COMPLETE: u64 = 14;
}

/// TCP's flags for each of the first sixteen kinds of chunk, four bits a kind: the
/// lower three as they are, and the highest for ACK. What comes later is like the
/// last of them.
const SIGNS: u64 = ALL_ACK
    ^ instead_of_ack(chunk::INIT, tcp_flags::SYN as u64)
    ^ instead_of_ack(chunk::INIT_ACK, tcp_flags::SYN as u64 | ACK)
    ^ instead_of_ack(chunk::ABORT, tcp_flags::RST as u64)
    ^ instead_of_ack(chunk::SHUTDOWN, tcp_flags::FIN as u64)
    ^ instead_of_ack(chunk::SHUTDOWN_ACK, tcp_flags::FIN as u64)
    ^ instead_of_ack(chunk::SHUTDOWN_COMPLETE, tcp_flags::FIN as u64);
const ACK: u64 = 8;
const ALL_ACK: u64 = 0x8888_8888_8888_8888;

const fn instead_of_ack(kind: u64, sign: u64) -> u64 {
    (sign ^ ACK) << (kind * 4)
}

/// What the first chunk says, in TCP's flags; `None` for what is no SCTP packet:
/// headers cut short, a chunk that contradicts the packet's length, or an INIT
/// that is not alone (RFC 9260 §3.2). `whole` says that the packet is not the
/// first part of a longer one.
#[inline(always)]
pub(crate) fn signs(packet: &Packet<'_>, offset: usize, length: usize, whole: bool) -> Option<u8> {
    let first = packet.view::<SctpChunk>(offset + size_of::<SctpCommon>())?;
    let claimed = usize::from(u16::from_be(first.length));
    let room = length.wrapping_sub(size_of::<SctpCommon>());
    if length < HEADERS || claimed < size_of::<SctpChunk>() || whole && claimed > room {
        return None;
    }
    // Without a branch for each kind, or the verifier would go through the rest
    // of the pipeline once for each.
    let kind = opaque(first.kind.into());
    let beyond = opaque(15u64.wrapping_sub(kind)) >> 63;
    let sign = (SIGNS >> (((kind | beyond.wrapping_neg()) & 15) * 4)) & 0xf;
    // The padding behind a chunk is none of its length (RFC 9260 §3.2).
    let is_init = (kind ^ chunk::INIT).wrapping_sub(1) >> 63;
    let has_more = ((claimed + 3) as u64).wrapping_sub(room as u64) >> 63;
    if whole && opaque(is_init & has_more) != 0 {
        return None;
    }
    Some((sign & 7 | (sign & 8) << 1) as u8)
}

/// The verification tag of a packet: the receiver gave it in its INIT or INIT ACK.
#[inline(always)]
pub(crate) fn tag(packet: &Packet<'_>, offset: usize) -> u32 {
    packet.view::<SctpCommon>(offset).map_or(0, |header| u32::from_be(header.tag))
}

/// The tag that an INIT ACK gives: what a client that saw it puts into its packets.
#[inline(always)]
pub(crate) fn tag_given(packet: &Packet<'_>, offset: usize) -> u32 {
    packet.read::<[u8; 4]>(offset + HEADERS).map_or(0, u32::from_be_bytes)
}

/// Stores ports (source in bits 0–15, destination in 16–31, as they lie in the
/// frame) and the checksum that goes with them. A far call; returns 0.
///
/// The checksum is a CRC (RFC 9260 appendix A), which is linear: it changes by
/// the CRC of what has changed, four bytes with the rest of the packet as zeros
/// behind them. So it is right after if it was right before, and else as wrong.
#[inline(always)]
pub(crate) fn change_ports(packet: &mut Packet<'_>, facts: Facts, ports: u64) -> u64 {
    let (network, _) = facts.headers();
    let Some(header) = packet.view_mut::<SctpCommon>(network.offset) else { return 0 };
    let after = ports as u32;
    // The wire's first bit is the CRC's highest coefficient, and the lowest bit
    // of a word that is read as little-endian.
    let change = u32::from_le(header.ports ^ after);
    header.ports = after;
    let by = multiply(change, power(network.length as u32));
    header.checksum ^= by.to_le();
    0
}

/// CRC32C's polynomial (Castagnoli), its highest coefficient in the lowest bit
/// as that of every other here.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// The polynomial 1.
const ONE: u32 = 1 << 31;

/// x^(8·2^k) modulo the polynomial.
const POWERS: [u32; 16] = {
    let mut powers = [ONE >> 8; 16];
    let mut k = 1;
    while k < 16 {
        powers[k] = multiply(powers[k - 1], powers[k - 1]);
        k += 1;
    }
    powers
};

/// The product of two polynomials. Without a branch, so that the verifier has one
/// way through.
const fn multiply(a: u32, b: u32) -> u32 {
    let (mut a, mut b, mut product) = (a, b, 0);
    let mut step = 0;
    while step < 32 {
        product ^= b & (a >> 31).wrapping_neg();
        a <<= 1;
        b = b >> 1 ^ POLYNOMIAL & (b & 1).wrapping_neg();
        step += 1;
    }
    product
}

/// The same, not as a part of its caller: it is called up to sixteen times.
#[inline(never)]
fn times(a: u32, b: u32) -> u32 {
    multiply(a, b)
}

/// x^(8·bytes): what the CRC of something is multiplied by when so many bytes
/// stand from its first on to the end, and the 32 bits of a CRC behind it are
/// those of itself.
#[inline(always)]
fn power(bytes: u32) -> u32 {
    let mut power = ONE;
    // One after the other, so that each constant is a part of the code.
    macro_rules! bits {
        ($($k:literal)+) => {$(
            if bytes >> $k & 1 != 0 {
                power = times(power, const { POWERS[$k] });
            }
        )+};
    }
    bits!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    power
}

#[cfg(test)]
#[path = "sctp_tests.rs"]
mod tests;
