//! Network address translation of one packet, checksums included.
//!
//! Checksums are updated from the difference (RFC 1624), so a wrong one stays
//! wrong and is found by its receiver. One case needs more: a sender on the
//! same machine may have left the transport checksum to hardware that this
//! frame will never meet. Its field then holds the folded pseudo-header sum and
//! nothing else, which is recognised by computing that sum; the whole checksum
//! is then made here. (A complete checksum equals that value once in 65536
//! times; completing it again is correct.)

use lb_common::{checksum::Sum, counters::Event, drop_reason::DropReason, mac::Mac};

use crate::{
    family::{Family, Network},
    headers::{Ethernet, Tcp, Udp},
    packet::Packet,
    tables::Tables,
    transport::Segment,
};

/// Longest message whose checksum can be completed, in bytes. XDP frames
/// without fragments are shorter.
const MAX_COMPLETED: usize = 4096;

/// What a packet is to become.
#[derive(Clone, Copy, Debug)]
pub struct Translation<A> {
    /// New source address.
    pub source: A,
    /// New destination address.
    pub destination: A,
    /// New source port, host order.
    pub source_port: u16,
    /// New destination port, host order.
    pub destination_port: u16,
    /// New Ethernet source.
    pub source_mac: Mac,
    /// New Ethernet destination.
    pub destination_mac: Mac,
}

/// The sum of a pseudo header (RFC 793 §3.1, RFC 8200 §8.1).
#[inline(always)]
pub fn pseudo_header<F: Family>(source: F::Address, destination: F::Address, protocol: u8, length: usize) -> Sum {
    let s = F::words(source);
    let d = F::words(destination);
    Sum::default()
        .add64(s[0])
        .add64(s[1])
        .add64(d[0])
        .add64(d[1])
        .add16(u16::from(protocol).to_be())
        .add16((length as u16).to_be())
}

/// Translates a packet that [`Family::parse`] and [`Segment::parse`] accepted,
/// takes one hop off, and addresses the frame.
///
/// # Errors
/// [`DropReason::ChecksumTooLong`], [`DropReason::MalformedTransport`]; the
/// frame must not be used then.
#[inline(always)]
pub fn translate<F: Family, T: Tables>(
    packet: &mut Packet<'_>,
    tables: &T,
    network: &Network<F::Address>,
    segment: &Segment,
    new: &Translation<F::Address>,
) -> Result<(), DropReason> {
    let incomplete = pseudo_header::<F>(network.source, network.destination, network.protocol, network.length).fold();
    let (old_source, old_destination) = (F::words(network.source), F::words(network.destination));
    let (new_source, new_destination) = (F::words(new.source), F::words(new.destination));
    let change = Sum::default()
        .sub64(old_source[0])
        .sub64(old_source[1])
        .sub64(old_destination[0])
        .sub64(old_destination[1])
        .add64(new_source[0])
        .add64(new_source[1])
        .add64(new_destination[0])
        .add64(new_destination[1])
        .sub16(segment.source.to_be())
        .sub16(segment.destination.to_be())
        .add16(new.source_port.to_be())
        .add16(new.destination_port.to_be());

    let left_to_hardware = if segment.is_tcp() {
        let tcp = packet.view_mut::<Tcp>(network.offset).ok_or(DropReason::MalformedTransport)?;
        tcp.source = new.source_port.to_be();
        tcp.destination = new.destination_port.to_be();
        let before = tcp.checksum;
        tcp.checksum = change.update(before);
        before == incomplete
    } else {
        let udp = packet.view_mut::<Udp>(network.offset).ok_or(DropReason::MalformedTransport)?;
        udp.source = new.source_port.to_be();
        udp.destination = new.destination_port.to_be();
        let before = udp.checksum;
        // Zero says that there is no checksum (RFC 768), and then none is made.
        if before != 0 {
            udp.checksum = nonzero(change.update(before));
        }
        before != 0 && before == incomplete
    };
    F::readdress(packet, new.source, new.destination);
    if let Some(ethernet) = packet.view_mut::<Ethernet>(0) {
        ethernet.source = new.source_mac;
        ethernet.destination = new.destination_mac;
    }
    if left_to_hardware {
        let pseudo = pseudo_header::<F>(new.source, new.destination, network.protocol, network.length);
        complete(packet, network.offset, network.length, segment.is_tcp(), pseudo)?;
        tables.count(Event::ChecksumCompleted);
    }
    Ok(())
}

/// A UDP checksum that comes out as zero is sent as all ones (RFC 768).
#[inline(always)]
const fn nonzero(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}

/// Computes the transport checksum of a message from scratch.
#[cfg_attr(target_arch = "bpf", inline(never))]
fn complete(packet: &mut Packet<'_>, offset: usize, length: usize, tcp: bool, pseudo: Sum) -> Result<(), DropReason> {
    set_checksum(packet, offset, tcp, 0)?;
    let sum = message_sum(packet, offset, length).ok_or(DropReason::ChecksumTooLong)?;
    let checksum = pseudo.plus(sum).finish();
    set_checksum(packet, offset, tcp, if tcp { checksum } else { nonzero(checksum) })
}

#[inline(always)]
fn set_checksum(packet: &mut Packet<'_>, offset: usize, tcp: bool, checksum: u16) -> Result<(), DropReason> {
    if tcp {
        packet.view_mut::<Tcp>(offset).ok_or(DropReason::MalformedTransport)?.checksum = checksum;
    } else {
        packet.view_mut::<Udp>(offset).ok_or(DropReason::MalformedTransport)?.checksum = checksum;
    }
    Ok(())
}

/// The sum of `length` bytes from `offset`; `None` where the frame ends before
/// them or they are too many.
#[inline(always)]
pub fn message_sum(packet: &Packet<'_>, offset: usize, length: usize) -> Option<Sum> {
    const CHUNK: usize = 32;
    if length > MAX_COMPLETED {
        return None;
    }
    let mut sum = Sum::default();
    // The odd end first: the loop over whole chunks then ends the function
    // wherever it ends, which is what the verifier has to follow.
    let whole = length / CHUNK * CHUNK;
    let mut at = offset + whole;
    let end = offset + length;
    for _ in 0..CHUNK / 2 - 1 {
        if at + 2 > end {
            break;
        }
        sum = sum.add16(u16::from_ne_bytes(packet.read::<[u8; 2]>(at)?));
        at += 2;
    }
    if at < end {
        sum = sum.add16(u16::from_ne_bytes([packet.read::<u8>(at)?, 0]));
    }
    for chunk in 0..MAX_COMPLETED / CHUNK {
        if chunk * CHUNK >= whole {
            break;
        }
        let bytes = packet.read::<[u8; CHUNK]>(offset + chunk * CHUNK)?;
        sum = sum.add64(word(&bytes, 0)).add64(word(&bytes, 8)).add64(word(&bytes, 16)).add64(word(&bytes, 24));
    }
    Some(sum)
}

#[inline(always)]
fn word(bytes: &[u8; 32], at: usize) -> u64 {
    let b = bytes;
    u64::from_ne_bytes([b[at], b[at + 1], b[at + 2], b[at + 3], b[at + 4], b[at + 5], b[at + 6], b[at + 7]])
}
