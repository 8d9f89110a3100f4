//! What keeps a VIP reachable: answers to ARP, neighbour solicitation and
//! echo, given here because the kernel's stack does not hold the VIP.

use lb_common::{
    atomic::{Ordering::Relaxed, opaque},
    checksum::Sum,
    counters::Event,
    drop_reason::DropReason,
    instance::NO_INSTANCE,
    mac::Mac,
    vip::VipEntry,
};

use crate::{
    family::{Family, NETWORK_OFFSET, Network, V6},
    headers::{Arp, ETHERTYPE_IPV4, Ethernet, Icmp, Ipv6, LinkLayerOption, Neighbour, Station, protocol},
    ingress::Ingress,
    lookup,
    packet::Packet,
    rewrite::pseudo_header,
    tables::{Tables, Verdict},
};

/// ICMP echo request and reply (RFC 792).
const ECHO4: (u8, u8) = (8, 0);
/// ICMPv6 echo request and reply (RFC 4443 §4.1).
const ECHO6: (u8, u8) = (128, 129);
const OWN_HOPS: u8 = 64;
const ARP_REQUEST: u16 = 1u16.to_be();
const ARP_REPLY: u16 = 2u16.to_be();
const ETHERNET_HARDWARE: u16 = 1u16.to_be();
pub(crate) const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const TARGET_LINK_LAYER: u8 = 2;
/// Hop limit that proves a neighbour discovery message comes from this link
/// (RFC 4861 §7.1).
const ON_LINK: u8 = 255;
/// Flags of an advertisement (RFC 4861 §4.4).
const SOLICITED: u32 = 0x4000_0000u32.to_be();
const OVERRIDE: u32 = 0x2000_0000u32.to_be();
/// Set for what moves by VRRP, as in the announcements of it (RFC 9568 §6.4.1).
const ROUTER: u32 = 0x8000_0000u32.to_be();
/// ff02::1, and the station of that group.
const ALL_NODES: [u64; 2] = [0xff02_0000_0000_0000u64.to_be(), 1u64.to_be()];
const ALL_NODES_STATION: Mac = Mac([0x33, 0x33, 0, 0, 0, 1]);

/// Whether this balancer answers for a VIP, and if so with which Ethernet
/// address: the virtual router's, in the upper 48 bits of a word, or zero for
/// the one of the interface that was asked.
#[inline(always)]
fn carried<T: Tables>(tables: &T, vip: VipEntry) -> Option<u64> {
    if !vip.is_active() {
        return None;
    }
    if vip.instance() == NO_INSTANCE {
        return Some(0);
    }
    let instance = tables.instance(vip.instance())?;
    if instance.is_active() { Some(opaque(instance.mac.load(Relaxed))) } else { None }
}

/// Where a VIP that this balancer carries is, for whoever asks by an interface.
#[inline(always)]
fn told_mac<T: Tables>(tables: &T, carried: u64, ingress: Ingress) -> Option<Mac> {
    let port = ingress.port(tables).ok()?;
    let (_, own) = tables.port(port)?.get()?;
    let own = opaque(own.with_low(0));
    Some(Mac::from_high(opaque(if carried == 0 { own } else { carried })))
}

/// Answers an ARP request for an active VIP; passes all other ARP, and what
/// looks like a request but announces that the VIP is with its sender.
#[inline(always)]
pub(crate) fn arp<T: Tables>(packet: &mut Packet<'_>, tables: &T, ingress: Ingress) -> Verdict {
    let Some(arp) = packet.view_mut::<Arp>(NETWORK_OFFSET) else { return Verdict::Pass };
    if arp.operation != ARP_REQUEST
        || arp.hardware != ETHERNET_HARDWARE
        || arp.protocol != ETHERTYPE_IPV4
        || arp.hardware_length != 6
        || arp.protocol_length != 4
        || arp.sender == arp.target
    {
        return Verdict::Pass;
    }
    let Some(vip) = lookup::vip4(tables, arp.target) else { return Verdict::Pass };
    let Some(carried) = carried(tables, vip) else { return Verdict::Pass };
    let Some(own) = told_mac(tables, carried, ingress) else { return Verdict::Drop(DropReason::InterfaceUnknown) };
    let asker = arp.sender_mac;
    arp.operation = ARP_REPLY;
    arp.target_mac = asker;
    let (vip_address, asker_address) = (arp.target, arp.sender);
    arp.sender = vip_address;
    arp.target = asker_address;
    arp.sender_mac = own;
    if let Some(ethernet) = packet.view_mut::<Ethernet>(0) {
        ethernet.destination = asker.into();
        ethernet.source = own.into();
    }
    tables.count(Event::AnsweredArp);
    Verdict::Answer
}

/// Answers a neighbour solicitation for an active VIP (RFC 4861 §7.2.4);
/// passes all other multicast.
///
/// The frame keeps its length, so the answer says the VIP's Ethernet address if
/// the question had room for one. Who asked by unicast knows it anyway, and who
/// probes for duplicates (RFC 4862 §5.4) wants to hear no more than that there
/// is one.
#[inline(always)]
pub(crate) fn neighbour<T: Tables>(packet: &mut Packet<'_>, tables: &T, ingress: Ingress) -> Verdict {
    const OFFSET: usize = NETWORK_OFFSET + size_of::<Ipv6>();
    const OPTION: usize = OFFSET + size_of::<Neighbour>();
    let Some(ip) = packet.read::<Ipv6>(NETWORK_OFFSET) else { return Verdict::Pass };
    let Some(message) = packet.read::<Neighbour>(OFFSET) else { return Verdict::Pass };
    if ip.next_header != protocol::ICMPV6 || message.kind != NEIGHBOUR_SOLICITATION {
        return Verdict::Pass;
    }
    let Some(vip) = lookup::vip6(tables, message.target) else { return Verdict::Pass };
    let Some(carried) = carried(tables, vip) else { return Verdict::Pass };
    let probes = ip.source[0] == 0 && ip.source[1] == 0;
    let to_group = ip.destination[0].to_ne_bytes()[0] == 0xff;
    let has_room = packet.view::<LinkLayerOption>(OPTION).is_some();
    let whole = packet.length().wrapping_sub(OFFSET);
    let length = usize::from(u16::from_be(ip.payload_length));
    if u32::from_be(ip.version_class_flow) >> 28 != 6 || length < size_of::<Neighbour>() || length > whole {
        return Verdict::Drop(DropReason::MalformedControl);
    }
    if ip.hop_limit != ON_LINK || message.code != 0 || probes && !to_group || !probes && to_group && !has_room {
        return Verdict::Drop(DropReason::MalformedControl);
    }
    let Some(own) = told_mac(tables, carried, ingress) else {
        return Verdict::Drop(DropReason::InterfaceUnknown);
    };
    let router = if vip.instance() == NO_INSTANCE { 0 } else { ROUTER };
    let (asker, flags) = if probes { (ALL_NODES, OVERRIDE) } else { (ip.source, OVERRIDE | SOLICITED) };
    let flags = opaque(u64::from(flags | router)) as u32;
    let asker = [opaque(asker[0]), opaque(asker[1])];
    let mac = own.with_low(0).to_le_bytes();
    let option = Sum::default()
        .add16(u16::from_ne_bytes([TARGET_LINK_LAYER, 1]))
        .add16(u16::from_ne_bytes([mac[2], mac[3]]))
        .add16(u16::from_ne_bytes([mac[4], mac[5]]))
        .add16(u16::from_ne_bytes([mac[6], mac[7]]));
    let (length, option) = if has_room {
        (size_of::<Neighbour>() + size_of::<LinkLayerOption>(), option)
    } else {
        (size_of::<Neighbour>(), Sum::default())
    };
    let length = opaque(length as u64) as usize;
    let sum = pseudo_header::<V6>(message.target, asker, protocol::ICMPV6, length)
        .plus(option)
        .add16(u16::from_ne_bytes([NEIGHBOUR_ADVERTISEMENT, 0]))
        .add32(flags)
        .add64(message.target[0])
        .add64(message.target[1]);
    if let Some(answer) = packet.view_mut::<Neighbour>(OFFSET) {
        answer.kind = NEIGHBOUR_ADVERTISEMENT;
        answer.code = 0;
        answer.flags = flags;
        answer.checksum = sum.finish();
    }
    if let Some(option) = packet.view_mut::<LinkLayerOption>(OPTION) {
        *option = LinkLayerOption { kind: TARGET_LINK_LAYER, length: 1, address: own };
    }
    if let Some(header) = packet.view_mut::<Ipv6>(NETWORK_OFFSET) {
        header.destination = asker;
        header.source = message.target;
        header.payload_length = (length as u16).to_be();
        header.hop_limit = ON_LINK;
    }
    if let Some(ethernet) = packet.view_mut::<Ethernet>(0) {
        ethernet.destination = if probes { Station::from(ALL_NODES_STATION) } else { ethernet.source };
        ethernet.source = own.into();
    }
    tables.count(Event::AnsweredNeighbour);
    Verdict::Answer
}

/// Whether an ICMPv6 message asks for a neighbour.
#[inline(always)]
pub(crate) fn is_solicitation<F: Family>(packet: &Packet<'_>, network: &Network) -> bool {
    F::IS_V6 && packet.view::<Icmp>(network.offset).is_some_and(|m| m.kind == NEIGHBOUR_SOLICITATION)
}

/// Answers an echo request to an active VIP (RFC 792, RFC 4443 §4.2).
#[inline(always)]
pub(crate) fn echo<F: Family, T: Tables>(
    packet: &mut Packet<'_>,
    tables: &T,
    network: &Network,
    vip: VipEntry,
) -> Verdict {
    let (request, reply) = if F::IS_V6 { ECHO6 } else { ECHO4 };
    let Some(icmp) = packet.view_mut::<Icmp>(network.offset) else {
        return Verdict::Drop(DropReason::MalformedControl);
    };
    if network.length < 8 {
        return Verdict::Drop(DropReason::MalformedControl);
    }
    if icmp.kind != request || icmp.code != 0 || carried(tables, vip).is_none() {
        return Verdict::Drop(DropReason::IcmpUnsupported);
    }
    let change = Sum::default().sub16(u16::from_ne_bytes([request, 0])).add16(u16::from_ne_bytes([reply, 0]));
    icmp.kind = reply;
    icmp.checksum = change.update(icmp.checksum);
    F::swap_addresses(packet);
    F::resize(packet, network, network.length, OWN_HOPS);
    if let Some(ethernet) = packet.view_mut::<Ethernet>(0) {
        (ethernet.source, ethernet.destination) = (ethernet.destination, ethernet.source);
    }
    tables.count(Event::AnsweredEcho);
    Verdict::Answer
}
