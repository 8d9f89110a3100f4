//! Network address translation of one packet, checksums included.
//!
//! Checksums are updated from the difference (RFC 1624), so a wrong one stays
//! wrong and is found by its receiver. One case needs more: a sender on the
//! same machine may have left the transport checksum to hardware that this
//! frame will never meet. Its field then holds the folded pseudo-header sum and
//! nothing else, which is recognised by computing that sum; the whole checksum
//! is then made here. (A complete checksum equals that value once in 65536
//! times; completing it again is correct.)

use core::mem::offset_of;

use lb_common::{atomic::opaque, checksum::Sum, counters::Event, drop_reason::DropReason};

use crate::{
    family::{Family, Network},
    headers::{Ethernet, Ports, Station, Tcp, Udp},
    packet::Packet,
    tables::Tables,
    transport::Segment,
};

/// Longest message whose checksum can be completed, in bytes. XDP frames
/// without fragments are shorter.
const MAX_COMPLETED: usize = 4096;

/// What a packet is to become. Its source is the VIP, which it came to.
#[derive(Clone, Copy, Debug)]
pub struct Translation<A> {
    /// New destination address.
    pub destination: A,
    /// New source port, host order.
    pub source_port: u16,
    /// New destination port, host order.
    pub destination_port: u16,
    /// New Ethernet destination, in the upper 48 bits.
    pub to: u64,
    /// New Ethernet source, in the upper 48 bits.
    pub from: u64,
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
    network: &Network,
    segment: &Segment,
    new: &Translation<F::Address>,
) -> Result<(), DropReason> {
    const BAD: DropReason = DropReason::MalformedTransport;
    let tcp = segment.is_tcp();
    let place = segment.offset + if tcp { offset_of!(Tcp, checksum) } else { offset_of!(Udp, checksum) };
    let before = u16::from_ne_bytes(packet.read(place).ok_or(BAD)?);

    let (source, vip) = F::address_sums(packet).ok_or(BAD)?;
    let incomplete = opaque(source.plus(vip).plus(message_facts(network, segment)).fold().into());
    let destination = F::words(new.destination);
    let ports = packet.view_mut::<Ports>(segment.offset).ok_or(BAD)?;
    let old_ports = Sum::default().add16(ports.source).add16(ports.destination);
    let new_ports = Sum::default().add16(new.source_port.to_be()).add16(new.destination_port.to_be());
    ports.source = new.source_port.to_be();
    ports.destination = new.destination_port.to_be();
    // The VIP was the destination and becomes the source: in the sum it stays.
    let change = new_ports.add64(destination[0]).add64(destination[1]).minus(source.plus(old_ports));
    let after = opaque(change.update(before).into()) as u16;

    // Zero says that a datagram has no checksum (RFC 768), and then none is made.
    let has_one = tcp || before != 0;
    if has_one {
        let field = packet.view_mut::<[u8; 2]>(place).ok_or(BAD)?;
        *field = (if tcp { after } else { nonzero(after) }).to_ne_bytes();
    }
    F::readdress(packet, new.destination);
    if let Some(ethernet) = packet.view_mut::<Ethernet>(0) {
        ethernet.source = Station::from_high(new.from);
        ethernet.destination = Station::from_high(new.to);
    }
    if has_one && u64::from(before) == incomplete {
        let (source, destination) = F::address_sums(packet).ok_or(BAD)?;
        let pseudo = source.plus(destination).plus(message_facts(network, segment));
        let checksum = complete(packet, segment.offset, network.length, place, pseudo)?;
        let field = packet.view_mut::<[u8; 2]>(place).ok_or(BAD)?;
        *field = (if tcp { checksum } else { nonzero(checksum) }).to_ne_bytes();
        tables.count(Event::ChecksumCompleted);
    }
    Ok(())
}

/// What a pseudo header has besides the addresses.
#[inline(always)]
fn message_facts(network: &Network, segment: &Segment) -> Sum {
    Sum::default().add16(u16::from(segment.ip_protocol()).to_be()).add16((network.length as u16).to_be())
}

/// A UDP checksum that comes out as zero is sent as all ones (RFC 768).
#[inline(always)]
const fn nonzero(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}

/// The checksum of a message, whose field for it at `place` does not count.
#[cfg_attr(target_arch = "bpf", inline(never))]
fn complete(packet: &Packet<'_>, offset: usize, length: usize, place: usize, pseudo: Sum) -> Result<u16, DropReason> {
    let field = packet.read::<[u8; 2]>(place).ok_or(DropReason::MalformedTransport)?;
    let sum = message_sum(packet, offset, length).ok_or(DropReason::ChecksumTooLong)?;
    Ok(pseudo.plus(sum).sub16(u16::from_ne_bytes(field)).finish())
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
    // wherever it ends. And each part of the end at a place that follows from
    // the length alone, not from the parts before it: the ways through here then
    // meet again, which is what the verifier has to follow.
    let from = |size: usize| offset + (length & !(2 * size - 1));
    if length & 16 != 0 {
        let bytes = packet.read::<[u8; 16]>(from(16))?;
        sum = sum.add64(word(&bytes, 0)).add64(word(&bytes, 8));
    }
    if length & 8 != 0 {
        sum = sum.add64(u64::from_ne_bytes(packet.read(from(8))?));
    }
    if length & 4 != 0 {
        sum = sum.add32(u32::from_ne_bytes(packet.read(from(4))?));
    }
    if length & 2 != 0 {
        sum = sum.add16(u16::from_ne_bytes(packet.read(from(2))?));
    }
    if length & 1 != 0 {
        sum = sum.add16(u16::from_ne_bytes([packet.read::<u8>(from(1))?, 0]));
    }
    let whole = length & !(CHUNK - 1);
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
fn word<const N: usize>(bytes: &[u8; N], at: usize) -> u64 {
    let b = bytes;
    u64::from_ne_bytes([b[at], b[at + 1], b[at + 2], b[at + 3], b[at + 4], b[at + 5], b[at + 6], b[at + 7]])
}
