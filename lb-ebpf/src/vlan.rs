//! VLAN tags (IEEE 802.1Q, 802.1ad): off before a frame is looked at, on before
//! it leaves.
//!
//! Only frames that may be for us lose their tags: everything else is passed as
//! it came, and costs one look at where it would go. What nobody here has use
//! for after all gets the same tags back, priority included.

use lb_common::{
    atomic::{Ordering::Relaxed, opaque},
    config::Config,
    port::{Place, Tags},
};

use crate::{
    control,
    family::{Family, NETWORK_OFFSET, V4, V6},
    headers::{
        Arp, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_QINQ, ETHERTYPE_VLAN, Ethernet, Ipv4, Ipv6,
        Neighbour, Tag, protocol,
    },
    ingress::Ingress,
    lookup,
    packet::Packet,
    tables::Tables,
};

/// Where the first tag is: in an untagged frame the EtherType.
const TAG_OFFSET: usize = size_of::<Ethernet>() - size_of::<u16>();

/// Takes the tags off a frame that came in at a port with such tags and is for a
/// VIP, or asks for one. `None`: it is not ours, and nothing has changed. A far
/// call.
#[inline(always)]
pub(crate) fn untag<T: Tables>(packet: &mut Packet<'_>, tables: &T, ingress: Ingress) -> Option<Ingress> {
    let outer = packet.read::<Tag>(TAG_OFFSET)?;
    if outer.kind != ETHERTYPE_VLAN && outer.kind != ETHERTYPE_QINQ {
        return None;
    }
    let first = (u16::from_be(outer.kind), u16::from_be(outer.control));
    let follows = u16::from_ne_bytes(packet.read(TAG_OFFSET + size_of::<Tag>())?);
    // Not for each number of tags apart: the verifier goes through the rest once.
    let (tags, bytes) = if follows == ETHERTYPE_VLAN {
        let inner = packet.read::<Tag>(TAG_OFFSET + size_of::<Tag>())?;
        let second = (u16::from_be(inner.kind), u16::from_be(inner.control));
        (Tags::new(first, Some(second)), 2 * size_of::<Tag>())
    } else {
        (Tags::new(first, None), size_of::<Tag>())
    };
    let (tags, bytes) = (Tags(opaque(tags.0)), opaque(bytes as u64) as usize & 0xf);
    let port = tables.port_at(Place::new(ingress.ifindex(), tags))?;
    if !concerns_us(packet, tables, bytes)? {
        return None;
    }
    let ethernet = packet.read::<Ethernet>(0)?;
    let moved = packet.view_mut::<Ethernet>(bytes)?;
    moved.destination = ethernet.destination;
    moved.source = ethernet.source;
    if packet.shrink(bytes) { Some(Ingress::tagged(ingress.ifindex(), port, tags)) } else { None }
}

/// Whether a frame that has `bytes` bytes of tags may be for us: what is behind
/// them is for a VIP, asks for one, or is one of the few others that are looked
/// at.
#[inline(always)]
fn concerns_us<T: Tables>(packet: &Packet<'_>, tables: &T, bytes: usize) -> Option<bool> {
    let network = bytes + NETWORK_OFFSET;
    let any = tables.config().is_some_and(|config| config.has(Config::DNAT));
    match u16::from_ne_bytes(packet.read(bytes + TAG_OFFSET)?) {
        ETHERTYPE_ARP => Some(V4::vip(tables, packet.view::<Arp>(network)?.target).is_some()),
        ETHERTYPE_IPV4 => {
            let ip = packet.view::<Ipv4>(network)?;
            Some(any || ip.protocol == protocol::VRRP || lookup::vip4(tables, ip.destination).is_some())
        }
        ETHERTYPE_IPV6 => {
            let ip = packet.view::<Ipv6>(network)?;
            if any || ip.next_header == protocol::VRRP {
                return Some(true);
            }
            // Neighbour solicitations are for groups: then their target counts.
            let mut address = ip.destination;
            if address[0].to_ne_bytes()[0] == 0xff {
                let message = packet.view::<Neighbour>(network + size_of::<Ipv6>())?;
                if ip.next_header != protocol::ICMPV6 || message.kind != control::NEIGHBOUR_SOLICITATION {
                    return Some(false);
                }
                address = message.target;
            }
            Some(V6::vip(tables, address).is_some())
        }
        _ => Some(false),
    }
}

/// Puts tags on a frame. False: there is no room, and nothing has changed. A far
/// call.
#[inline(always)]
pub(crate) fn tag(packet: &mut Packet<'_>, tags: Tags) -> bool {
    let two = tags.inner().is_some();
    let bytes = if two { 2 * size_of::<Tag>() } else { size_of::<Tag>() };
    let bytes = opaque(bytes as u64) as usize & 0xf;
    packet.grow(bytes) && write(packet, tags, bytes).is_some()
}

/// Puts the tags on that [`untag`] took off, priority included: for a frame that
/// stays in the network it came from. False: there is no room. A far call.
#[inline(always)]
pub(crate) fn retag<T: Tables>(packet: &mut Packet<'_>, tables: &T, ingress: Ingress) -> bool {
    let port = ingress.port(tables).ok().and_then(|number| tables.port(number));
    // The port may have been given up meanwhile: then nobody knows the tags.
    port.is_some_and(|port| tag(packet, Tags(port.tags.load(Relaxed) | ingress.priorities())))
}

/// Fills the beginning of a frame that has grown by `bytes`. A frame has an
/// Ethernet header, so nothing is missing here.
#[inline(always)]
fn write(packet: &mut Packet<'_>, tags: Tags, bytes: usize) -> Option<()> {
    let old = packet.read::<Ethernet>(bytes)?;
    let ethernet = packet.view_mut::<Ethernet>(0)?;
    ethernet.destination = old.destination;
    ethernet.source = old.source;
    let (kind, control) = tags.outer()?;
    *packet.view_mut::<Tag>(TAG_OFFSET)? = Tag { kind: kind.to_be(), control: control.to_be() };
    if let Some((kind, control)) = tags.inner() {
        *packet.view_mut::<Tag>(TAG_OFFSET + size_of::<Tag>())? = Tag { kind: kind.to_be(), control: control.to_be() };
    }
    Some(())
}

#[cfg(test)]
#[path = "vlan_tests.rs"]
mod tests;
