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
    family::{Family, Fragment, Network},
    far::{Call, Facts},
    headers::{Ethernet, Ports, Station, Tcp, Udp},
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
/// [`DropReason::ChecksumTooLong`], [`DropReason::MalformedTransport`],
/// [`DropReason::Fragment`] for SCTP; the frame must not be used then.
#[inline(always)]
pub fn translate<F: Family, T: Tables>(
    packet: &mut Packet<'_>,
    tables: &T,
    network: &Network,
    segment: &Segment,
    new: &Translation<F::Address>,
) -> Result<(), DropReason> {
    const BAD: DropReason = DropReason::MalformedTransport;
    let ports = packet.view::<Ports>(segment.offset).ok_or(BAD)?;
    let (old_source, old_destination) = (ports.source, ports.destination);
    let (new_source, new_destination) = (new.source_port.to_be(), new.destination_port.to_be());
    if segment.is_sctp() {
        // Its checksum has no pseudo header, and is no sum.
        if new_source != old_source || new_destination != old_destination {
            if !matches!(network.fragment, Fragment::Whole) {
                // How it changes depends on how much is behind the ports.
                return Err(DropReason::Fragment);
            }
            let ports = u64::from(new_source) | u64::from(new_destination) << 16;
            tables.far(packet, Call::SctpPorts, [Facts::of(network, segment).0, ports, 0, 0]);
        }
        readdress::<F>(packet, new);
        return Ok(());
    }
    let tcp = segment.is_tcp();
    let place = segment.offset + if tcp { offset_of!(Tcp, checksum) } else { offset_of!(Udp, checksum) };
    let before = u16::from_ne_bytes(packet.read(place).ok_or(BAD)?);

    let (source, destination) = F::address_sums(packet).ok_or(BAD)?;
    let incomplete = opaque(source.plus(destination).plus(message_facts(network, segment)).fold().into());
    let old = source.plus(destination).add16(old_source).add16(old_destination);
    let (s, d) = (F::words(new.source), F::words(new.destination));
    let sum = Sum::default().add16(new_source).add16(new_destination);
    let change = sum.add64(s[0]).add64(s[1]).add64(d[0]).add64(d[1]).minus(old);
    let after = opaque(change.update(before).into()) as u16;
    if let Some(ports) = packet.view_mut::<Ports>(segment.offset) {
        ports.source = new_source;
        ports.destination = new_destination;
    }

    // Zero says that a datagram has no checksum (RFC 768), and then none is made.
    let has_one = tcp || before != 0;
    if has_one {
        let field = packet.view_mut::<[u8; 2]>(place).ok_or(BAD)?;
        *field = (if tcp { after } else { nonzero(after) }).to_ne_bytes();
    }
    readdress::<F>(packet, new);
    if has_one && u64::from(before) == incomplete && matches!(network.fragment, Fragment::Whole) {
        let (source, destination) = F::address_sums(packet).ok_or(BAD)?;
        let pseudo = source.plus(destination).plus(message_facts(network, segment));
        let spot = segment.offset as u64 | (network.length as u64) << 16;
        let made = tables.far(packet, Call::Complete, [spot, place as u64, pseudo.0, 0]);
        if made >> 16 != 0 {
            return Err(DropReason::from_number((made >> 16) as u8));
        }
        let field = packet.view_mut::<[u8; 2]>(place).ok_or(BAD)?;
        *field = (if tcp { made as u16 } else { nonzero(made as u16) }).to_ne_bytes();
        tables.count(Event::ChecksumCompleted);
    }
    Ok(())
}

/// New addresses for the packet and its frame.
#[inline(always)]
fn readdress<F: Family>(packet: &mut Packet<'_>, new: &Translation<F::Address>) {
    F::readdress(packet, new.source, new.destination);
    if let Some(ethernet) = packet.view_mut::<Ethernet>(0) {
        ethernet.source = Station::from_high(new.from);
        ethernet.destination = Station::from_high(new.to);
    }
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

/// The checksum of a message, whose field for it at `place` does not count, or
/// above sixteen bits the number of a reason. `spot` is its offset (bits 0–15)
/// and length (16–31). A far call.
#[inline(always)]
pub(crate) fn complete(packet: &Packet<'_>, spot: u64, place: usize, pseudo: u64) -> u64 {
    let (offset, length) = (spot as usize & 0x3fff, (spot >> 16) as usize & 0xffff);
    let Some(field) = packet.read::<[u8; 2]>(place) else { return (DropReason::MalformedTransport as u64) << 16 };
    let Some(sum) = message_sum(packet, offset, length) else { return (DropReason::ChecksumTooLong as u64) << 16 };
    // The sum of a pseudo header: ten words at most.
    let pseudo = Sum(pseudo & 0xff_ffff_ffff);
    u64::from(pseudo.plus(sum).sub16(u16::from_ne_bytes(field)).finish())
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
