//! TCP half-open: a SYN to send, and what answers it. Pure, and total over bytes.
//!
//! What the member answers is checked against the sequence number of the SYN, which
//! nobody else knows (RFC 9293 §3.10.7.3). Checksums of what arrives are not: over a veth
//! they are unfinished, and 32 bits that match are proof enough.

use super::packets::Ends;

/// A header with one option.
const SYN_LEN: usize = 24;
/// A header.
const RST_LEN: usize = 20;

/// Where the checksum is in a header.
pub(super) const CHECKSUM_AT: usize = 16;

/// What a host that has nothing special offers to receive.
const WINDOW: u16 = 64_240;

/// The largest segment over Ethernet is this less the headers of IP and TCP.
const MTU: u16 = 1500;

const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// A SYN.
pub(super) fn syn(ends: Ends, ports: (u16, u16), sequence: u32) -> [u8; SYN_LEN] {
    let mut syn = [0; SYN_LEN];
    begin(&mut syn, ports, sequence, SYN);
    syn[14..16].copy_from_slice(&WINDOW.to_be_bytes());
    // The option of a largest segment: kind 2, four bytes (RFC 9293 §3.2).
    let segment = MTU - if matches!(ends, Ends::V4 { .. }) { 40 } else { 60 };
    syn[20] = 2;
    syn[21] = 4;
    syn[22..24].copy_from_slice(&segment.to_be_bytes());
    seal(&mut syn, ends);
    syn
}

/// The RST that ends what a SYN-ACK has half opened, with the number that it acknowledged.
pub(super) fn reset(ends: Ends, ports: (u16, u16), acknowledged: u32) -> [u8; RST_LEN] {
    let mut reset = [0; RST_LEN];
    begin(&mut reset, ports, acknowledged, RST);
    seal(&mut reset, ends);
    reset
}

fn begin(segment: &mut [u8], (source_port, port): (u16, u16), sequence: u32, flags: u8) {
    segment[..2].copy_from_slice(&source_port.to_be_bytes());
    segment[2..4].copy_from_slice(&port.to_be_bytes());
    segment[4..8].copy_from_slice(&sequence.to_be_bytes());
    // The length in words of four bytes: 6 at most.
    segment[12] = u8::try_from(segment.len() / 4).unwrap_or_default() << 4;
    segment[13] = flags;
}

fn seal(segment: &mut [u8], ends: Ends) {
    if let Some(sum) = ends.sum(6, u16::try_from(segment.len()).unwrap_or_default()) {
        let checksum = sum.bytes(segment).folded();
        segment[CHECKSUM_AT..CHECKSUM_AT + 2].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// What a segment from a member says to a SYN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Segment {
    /// Its port.
    pub(super) from: u16,
    /// Ours.
    pub(super) to: u16,
    /// Which sequence number it expects next: that of the SYN and one.
    pub(super) acknowledged: u32,
    /// Whether it accepts (SYN-ACK) or refuses (RST).
    pub(super) accepts: bool,
}

/// Reads a segment. `None` when it is no answer to a SYN, or no segment.
pub(super) fn read(bytes: &[u8]) -> Option<Segment> {
    let header: &[u8; 20] = bytes.first_chunk()?;
    let length = usize::from(header[12] >> 4) * 4;
    let accepts = match header[13] & (SYN | RST | ACK) {
        flags if flags == SYN | ACK => true,
        flags if flags == RST | ACK => false,
        _ => return None,
    };
    (length >= 20).then(|| Segment {
        from: u16::from_be_bytes([header[0], header[1]]),
        to: u16::from_be_bytes([header[2], header[3]]),
        acknowledged: u32::from_be_bytes([header[8], header[9], header[10], header[11]]),
        accepts,
    })
}

/// The first bytes of a segment of ours, as an ICMP message brings them back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Sent {
    /// Our port.
    pub(super) from: u16,
    /// The member's.
    pub(super) to: u16,
    /// Its sequence number.
    pub(super) sequence: u32,
}

/// Reads what an ICMP message brings back (RFC 792: eight bytes at least).
pub(super) fn read_sent(bytes: &[u8]) -> Option<Sent> {
    let header: &[u8; 8] = bytes.first_chunk()?;
    Some(Sent {
        from: u16::from_be_bytes([header[0], header[1]]),
        to: u16::from_be_bytes([header[2], header[3]]),
        sequence: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
    })
}

#[cfg(test)]
#[path = "tcp_tests.rs"]
mod tests;
