//! Wrapping a packet for a member that unwraps it: IP in IP (RFC 2003, RFC 2473)
//! and Generic UDP Encapsulation in its variant 1, whose payload is an IP packet.
//!
//! The inner packet is not touched: its hops are its own, for a member takes the
//! balancer for a part of the wire. DSCP and ECN are carried to the outer header
//! (RFC 6040 §4.1, "normal mode"), and so is "don't fragment". The outer source
//! of IP in IP, or the outer UDP port, differs from flow to flow, because what
//! spreads packets over a receiver's queues sees no more than that.

use lb_common::{
    atomic::{Ordering::Relaxed, opaque},
    checksum::Sum,
    drop_reason::DropReason,
    limits::GUE_PORT,
    member::{Member, MemberState, Path},
    pool::ForwardMode,
};

use crate::{
    client::Arrival,
    deliver::address,
    family::{Family, NETWORK_OFFSET, Network},
    far::{Call, Choice, Facts, of_family},
    headers::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ethernet, Ipv4, Ipv6, Udp, protocol},
    packet::Packet,
    tables::Tables,
};

const OWN_HOPS: u8 = 64;
const DONT_FRAGMENT: u16 = 0x4000u16.to_be();
/// The lowest outer UDP source port: those from here on are nobody's (RFC 6335
/// §6, "dynamic ports").
const LOWEST_PORT: u16 = 0xc000;

/// Bytes that a mode puts in front of a packet to a member.
#[inline(always)]
const fn overhead(ipv6: bool, mode: ForwardMode) -> usize {
    let ip = if ipv6 { size_of::<Ipv6>() } else { size_of::<Ipv4>() };
    if matches!(mode, ForwardMode::Gue) { ip + size_of::<Udp>() } else { ip }
}

/// The largest packet that still fits the path to a member once it is wrapped.
#[inline(always)]
pub(crate) fn room(member: &Member, mode: ForwardMode) -> u16 {
    let mtu = Path(member.path.load(Relaxed)).mtu();
    mtu.saturating_sub(overhead(member.state().has(MemberState::IPV6), mode) as u16)
}

/// Wraps a packet that has [`room`], and addresses the frame. What most packets
/// are wrapped into, IP of their own family, is done here; the rest is a far
/// call.
#[inline(always)]
pub(crate) fn wrap<F: Family, T: Tables>(
    packet: &mut Packet<'_>,
    tables: &T,
    arrival: &Arrival,
    member: &Member,
    choice: Choice,
    spread: u32,
) -> Result<(), DropReason> {
    let facts = Facts::of(&arrival.network, &arrival.segment);
    if member.state().has(MemberState::IPV6) == F::IS_V6 && matches!(choice.mode(), ForwardMode::Ipip) {
        return put::<F>(packet, &arrival.network, member, spread, F::IS_V6, false, Sum::default());
    }
    let arguments = [facts.0, u64::from(choice.id()), u64::from(spread), choice.mode() as u64];
    match tables.far(packet, of_family::<F>(Call::Wrap4, Call::Wrap6), arguments) {
        0 => Ok(()),
        number => Err(DropReason::from_number(number as u8)),
    }
}

/// Wraps a packet for any member. Returns 0, or the number of a reason.
#[inline(always)]
pub(crate) fn wrap_far<F: Family, T: Tables>(
    packet: &mut Packet<'_>,
    tables: &T,
    facts: Facts,
    member: u16,
    spread: u32,
    mode: ForwardMode,
) -> u64 {
    let Some(member) = tables.member(member) else { return DropReason::MemberMissing as u64 };
    let (network, segment) = facts.headers();
    let inner = inner_sum::<F>(packet, &network, segment.is_sctp());
    let wrapped = match (member.state().has(MemberState::IPV6), matches!(mode, ForwardMode::Gue)) {
        (false, false) => put::<F>(packet, &network, member, spread, false, false, inner),
        (true, false) => put::<F>(packet, &network, member, spread, true, false, inner),
        (false, true) => put::<F>(packet, &network, member, spread, false, true, inner),
        (true, true) => put::<F>(packet, &network, member, spread, true, true, inner),
    };
    wrapped.map_or_else(|reason| reason as u64, |()| 0)
}

/// The sum of a whole packet whose checksums are right, without looking at its
/// payload: a message and its pseudo header come to zero, so the packet comes to
/// its header less the pseudo header. Zero where that does not hold: then the
/// outer datagram has no checksum (RFC 6935 allows it for tunnels).
#[inline(always)]
fn inner_sum<F: Family>(packet: &Packet<'_>, network: &Network, sctp: bool) -> Sum {
    let plain = NETWORK_OFFSET + if F::IS_V6 { size_of::<Ipv6>() } else { size_of::<Ipv4>() };
    if network.offset != plain || !matches!(network.fragment, crate::family::Fragment::Whole) || sctp {
        return Sum::default();
    }
    if network.protocol == protocol::UDP {
        let none = packet.view::<Udp>(network.offset).is_none_or(|udp| udp.checksum == 0);
        if none {
            return Sum::default();
        }
    }
    if F::IS_V6 {
        // Addresses and length stand in both headers; so does the protocol,
        // beside the hop limit in one of them.
        let Some(ip) = packet.view::<Ipv6>(NETWORK_OFFSET) else { return Sum::default() };
        Sum::default()
            .add32(ip.version_class_flow)
            .add16(u16::from_ne_bytes([0, ip.hop_limit]))
            .add16(u16::from_ne_bytes([ip.next_header, 0]))
            .sub16(u16::from_ne_bytes([0, ip.next_header]))
    } else {
        // ICMP has no pseudo header, so all of it comes to zero; as all ones, for
        // no bits at all say that there is no sum.
        if network.protocol == protocol::ICMP {
            return Sum::default().add16(0xffff);
        }
        // A header with its checksum comes to zero.
        let Some(ip) = packet.view::<Ipv4>(NETWORK_OFFSET) else { return Sum::default() };
        let length = (network.length as u16).to_be();
        Sum::default().sub32(ip.source).sub32(ip.destination).sub16(u16::from_ne_bytes([0, ip.protocol])).sub16(length)
    }
}

/// Puts the outer headers in front of a packet, and addresses the frame.
/// `inner` is [`inner_sum`], which only UDP over IPv6 asks for.
#[inline(always)]
fn put<F: Family>(
    packet: &mut Packet<'_>,
    network: &Network,
    member: &Member,
    spread: u32,
    ipv6: bool,
    gue: bool,
    inner: Sum,
) -> Result<(), DropReason> {
    const BAD: DropReason = DropReason::NoHeadroom;
    let path = Path(member.path.load(Relaxed));
    if !path.has_source() {
        return Err(DropReason::EncapSourceMissing);
    }
    let (tos, keeps_whole) = F::service(packet).ok_or(BAD)?;
    let mode = if gue { ForwardMode::Gue } else { ForwardMode::Ipip };
    if !packet.grow(overhead(ipv6, mode)) {
        return Err(DropReason::NoHeadroom);
    }
    let length = network.total() as usize + if gue { size_of::<Udp>() } else { 0 };
    let carried = match (gue, F::IS_V6) {
        (true, _) => protocol::UDP,
        (false, true) => protocol::IPV6,
        (false, false) => protocol::IPIP,
    };
    let own = [member.source[0].load(Relaxed), member.source[1].load(Relaxed)];
    let to = [member.address[0].load(Relaxed), member.address[1].load(Relaxed)];
    let low = (spread & path.source_mask()).to_be();
    let mut sum = Sum::default();
    if ipv6 {
        let source = [own[0], own[1] ^ u64::from(low) << 32];
        let ip = packet.view_mut::<Ipv6>(NETWORK_OFFSET).ok_or(BAD)?;
        ip.version_class_flow = (6 << 28 | u32::from(tos) << 20 | spread & 0xf_ffff).to_be();
        ip.payload_length = (length as u16).to_be();
        ip.next_header = carried;
        ip.hop_limit = OWN_HOPS;
        ip.source[0] = source[0];
        ip.source[1] = source[1];
        ip.destination[0] = to[0];
        ip.destination[1] = to[1];
        sum = sum.add64(source[0]).add64(source[1]).add64(to[0]).add64(to[1]);
    } else {
        let source = own[0] as u32 ^ low;
        let ip = packet.view_mut::<Ipv4>(NETWORK_OFFSET).ok_or(BAD)?;
        let total = ((length + size_of::<Ipv4>()) as u16).to_be();
        let fragment = if keeps_whole { DONT_FRAGMENT } else { 0 };
        // Names the datagram for those who may cut it.
        let identification = spread as u16;
        let head = u16::from_ne_bytes([0x45, tos]);
        let hops = u16::from_ne_bytes([OWN_HOPS, carried]);
        let header = Sum::default()
            .add16(head)
            .add16(total)
            .add16(identification)
            .add16(fragment)
            .add16(hops)
            .add32(source)
            .add32(to[0] as u32);
        ip.version_ihl = 0x45;
        ip.tos = tos;
        ip.total_length = total;
        ip.identification = identification;
        ip.fragment = fragment;
        ip.ttl = OWN_HOPS;
        ip.protocol = carried;
        ip.checksum = header.finish();
        ip.source = source;
        ip.destination = to[0] as u32;
    }
    if gue {
        let at = NETWORK_OFFSET + overhead(ipv6, ForwardMode::Ipip);
        let udp = packet.view_mut::<Udp>(at).ok_or(BAD)?;
        udp.source = (LOWEST_PORT | (spread as u16 & 0x3fff)).to_be();
        udp.destination = GUE_PORT.to_be();
        udp.length = (length as u16).to_be();
        let whole = sum
            .plus(inner)
            .add16(u16::from_ne_bytes([0, protocol::UDP]))
            .add16(udp.length)
            .add16(udp.length)
            .add16(udp.source)
            .add16(udp.destination);
        let checksum = whole.finish();
        let has_one = ipv6 && opaque(inner.0) != 0;
        udp.checksum = match (has_one, checksum) {
            (false, _) => 0,
            (true, 0) => 0xffff,
            (true, checksum) => checksum,
        };
    }
    if let Some(ethernet) = packet.view_mut::<Ethernet>(0) {
        ethernet.ethertype = if ipv6 { ETHERTYPE_IPV6 } else { ETHERTYPE_IPV4 };
    }
    address(packet, member.next_hop_words());
    Ok(())
}
