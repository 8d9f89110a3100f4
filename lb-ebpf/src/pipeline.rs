//! The way of a packet, on one screen.
//!
//! ```text
//! Ethernet ─ ARP ──────────► answer for an active VIP, or pass
//!          ─ IPv4 / IPv6 ──► is the destination a VIP? no: pass, untouched
//!                              (but see who sends VRRP adverts: guard.rs)
//!                            to a virtual router that is not Active: drop
//!                            parse ─ ICMP ─► echo
//!                                  ─ TCP, UDP ─► a listener's port: to a member (client.rs)
//!                                                a flow's SNAT port: to its client (member.rs)
//!                                                neither: drop
//! ```

use lb_common::{
    atomic::{Ordering::Relaxed, opaque},
    drop_reason::DropReason,
    listener::{self, ListenerEntry},
    protocol::Transport,
    vip::VipEntry,
};

use crate::{
    client::{self, Arrival, dropped},
    control,
    family::{Family, Network, V4, V6},
    flow::Moment,
    guard,
    headers::{ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ethernet, protocol},
    lookup, member,
    packet::Packet,
    tables::{Tables, Verdict},
    transport::Segment,
};

/// ICMP echo request and reply (RFC 792).
const ECHO4: (u8, u8) = (8, 0);
/// ICMPv6 echo request and reply (RFC 4443 §4.1).
const ECHO6: (u8, u8) = (128, 129);

/// Decides about a frame that came in by the interface `ingress`, rewriting it
/// where it is to be sent on.
#[inline(always)]
pub fn run<T: Tables>(packet: &mut Packet<'_>, ingress: u32, tables: &T) -> Verdict {
    let Some(ethertype) = packet.view::<Ethernet>(0).map(|e| e.ethertype) else { return Verdict::Pass };
    let verdict = match ethertype {
        ETHERTYPE_IPV4 => match destination::<V4, T>(packet, tables) {
            Some(vip) => to_vip::<V4, T>(packet, ingress, tables, vip, (protocol::ICMP, ECHO4)),
            None if guard::is_advert::<V4>(packet) => guard::advert::<V4, T>(packet, tables),
            None => return Verdict::Pass,
        },
        ETHERTYPE_IPV6 => match destination::<V6, T>(packet, tables) {
            Some(vip) => to_vip::<V6, T>(packet, ingress, tables, vip, (protocol::ICMPV6, ECHO6)),
            None if guard::is_advert::<V6>(packet) => guard::advert::<V6, T>(packet, tables),
            None if is_multicast(packet) => control::neighbour(packet, tables, ingress),
            None => return Verdict::Pass,
        },
        ETHERTYPE_ARP => control::arp(packet, tables, ingress),
        _ => return Verdict::Pass,
    };
    match verdict {
        Verdict::Drop(reason) => dropped(tables, reason),
        other => other,
    }
}

/// The VIP a packet is for.
#[inline(always)]
fn destination<F: Family, T: Tables>(packet: &Packet<'_>, tables: &T) -> Option<VipEntry> {
    F::vip(tables, F::destination(packet)?)
}

/// Whether an IPv6 packet is for a group: neighbour solicitations are.
#[inline(always)]
fn is_multicast(packet: &Packet<'_>) -> bool {
    V6::destination(packet).is_some_and(|d| d[0].to_ne_bytes()[0] == 0xff)
}

/// A frame that is addressed to a virtual router is for the Active one alone,
/// and for no VIP but its own (RFC 9568 §6.4.2): a switch may hand it to both
/// balancers of a pair.
#[inline(always)]
fn check_router<T: Tables>(packet: &Packet<'_>, tables: &T, vip: VipEntry) -> Result<(), DropReason> {
    let Some(to) = packet.view::<Ethernet>(0).map(|ethernet| ethernet.destination) else { return Ok(()) };
    if !to.is_virtual_router() {
        return Ok(());
    }
    // That of no instance has no address.
    let instance = tables.instance(vip.instance()).ok_or(DropReason::OtherStation)?;
    if (instance.mac.load(Relaxed) ^ to.to_high()) >> 16 != 0 {
        return Err(DropReason::OtherStation);
    }
    if instance.is_active() { Ok(()) } else { Err(DropReason::NotActive) }
}

/// A packet to one of our addresses.
#[inline(always)]
fn to_vip<F: Family, T: Tables>(
    packet: &mut Packet<'_>,
    ingress: u32,
    tables: &T,
    vip: VipEntry,
    (icmp, echo): (u8, (u8, u8)),
) -> Verdict {
    if let Err(reason) = check_router(packet, tables, vip) {
        return Verdict::Drop(reason);
    }
    let network = match F::parse(packet) {
        Ok(network) => network,
        Err(reason) => return Verdict::Drop(reason),
    };
    let transport = match network.protocol {
        protocol::TCP => Transport::Tcp,
        protocol::UDP => Transport::Udp,
        p if p == icmp => {
            // A neighbour may ask for the VIP itself by unicast, to see
            // whether it is still there (RFC 4861 §7.3.3).
            if control::is_solicitation::<F>(packet, &network) {
                return control::neighbour(packet, tables, ingress);
            }
            return control::echo::<F, T>(packet, tables, &network, vip, echo);
        }
        _ => return Verdict::Drop(DropReason::UnsupportedProtocol),
    };
    let segment = match Segment::parse(packet, transport, network.offset, network.length) {
        Ok(segment) => segment,
        Err(reason) => return Verdict::Drop(reason),
    };
    let Some(moment) = Moment::read(tables) else { return Verdict::Drop(DropReason::NotConfigured) };

    let vip = segment.with_vip(vip.id());
    let Some((_, port)) = segment.ports(packet) else { return Verdict::Drop(DropReason::MalformedTransport) };
    let listener = lookup::listener(tables, listener::key_of(vip, port)).unwrap_or_default();
    let listener = ListenerEntry(opaque(listener.0));
    if listener.may_get_replies()
        && let Some(verdict) = member::give_back::<F, T>(packet, tables, &moment, &network, &segment, vip, ingress)
    {
        return verdict;
    }
    if !listener.is_valid() {
        return Verdict::Drop(DropReason::NoListener);
    }
    let arrival = Arrival { network: &network, segment: &segment, vip, listener, ingress };
    client::forward::<F, T>(packet, tables, &moment, &arrival)
}

/// A network header's facts, for those who look at packets without forwarding
/// them.
///
/// # Errors
/// The reason the data path would drop it for.
pub fn parse<F: Family>(packet: &Packet<'_>) -> Result<Network, DropReason> {
    F::parse(packet)
}
