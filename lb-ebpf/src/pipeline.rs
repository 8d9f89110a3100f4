//! The way of a packet, on one screen.
//!
//! ```text
//! Ethernet ─ VLAN tags ────► off, if the frame is for us
//!          ─ ARP ──────────► answer for an active VIP, or pass
//!          ─ IPv4 / IPv6 ──► is the destination a VIP? no: pass, untouched
//!                              (but see who sends VRRP adverts, and what
//!                              members of dnat pools send)
//!                            to a virtual router that is not Active: drop
//!                            parse ─ ICMP ─► echo, or an error about a flow
//!                                  ─ a later fragment ─► after its first one
//!                                  ─ TCP, UDP, SCTP ─► a listener's port: to a member (client.rs)
//!                                                      a flow's SNAT port: to its client (member.rs)
//!                                                      neither: drop
//! ```

use lb_common::{
    atomic::{Ordering::Relaxed, opaque},
    config::Config,
    counters::Event,
    drop_reason::DropReason,
    listener::{self, ListenerEntry},
    protocol::Transport,
    vip::VipEntry,
};

use crate::{
    client::{self, Arrival},
    family::{Family, Fragment, V4, V6},
    far::{Call, Facts, of_family},
    guard,
    headers::{ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_QINQ, ETHERTYPE_VLAN, Ethernet, protocol},
    icmp,
    ingress::Ingress,
    lookup, member,
    packet::Packet,
    tables::{Tables, Verdict},
    transport::Segment,
};

/// Decides about a frame that came in by the interface `ifindex`, rewriting it
/// where it is to be sent on. Each frame is counted once: as passed, as
/// forwarded, as answered, or by the reason it was dropped for.
#[inline(always)]
pub fn run<T: Tables>(packet: &mut Packet<'_>, ifindex: u32, tables: &T) -> Verdict {
    let mut ingress = Ingress::untagged(ifindex);
    // Asked twice rather than remembered: a flag that is carried along would have
    // the verifier go every way twice.
    if is_traced(tables) {
        tables.far(packet, Call::TraceBegin, [ingress.0, 0, 0, 0]);
    }
    let mut verdict = decide(packet, &mut ingress, tables);
    match verdict {
        Verdict::Pass | Verdict::Answer => {
            // It stays in the network it came from, and gets the tags back that
            // it had there.
            if ingress.is_tagged() && tables.far(packet, Call::Retag, [ingress.0, 0, 0, 0]) == 0 {
                verdict = Verdict::Drop(DropReason::NoHeadroom);
                tables.count(Event::Drop(DropReason::NoHeadroom));
            } else if matches!(verdict, Verdict::Pass) {
                tables.count(Event::Passed);
            }
        }
        Verdict::Drop(reason) => tables.count(Event::Drop(reason)),
        Verdict::Transmit | Verdict::Redirect(_) => tables.count(Event::Forwarded),
    }
    if is_traced(tables) {
        tables.far(packet, Call::Trace, [verdict.to_word(), 0, 0, 0]);
    }
    verdict
}

/// Whether anything is traced.
#[inline(always)]
fn is_traced<T: Tables>(tables: &T) -> bool {
    tables.config().is_some_and(|config| config.has(Config::TRACE))
}

/// What becomes of a frame.
#[inline(always)]
fn decide<T: Tables>(packet: &mut Packet<'_>, from: &mut Ingress, tables: &T) -> Verdict {
    let Some(mut ethertype) = packet.view::<Ethernet>(0).map(|e| e.ethertype) else { return Verdict::Pass };
    let mut ingress = *from;
    if ethertype == ETHERTYPE_VLAN || ethertype == ETHERTYPE_QINQ {
        ingress = Ingress(tables.far(packet, Call::Untag, [ingress.0, 0, 0, 0]));
        if !ingress.is_tagged() {
            return Verdict::Pass;
        }
        *from = ingress;
        let Some(ethernet) = packet.view::<Ethernet>(0) else { return Verdict::Pass };
        ethertype = ethernet.ethertype;
    }
    match ethertype {
        ETHERTYPE_IPV4 => ip::<V4, T>(packet, ingress, tables),
        ETHERTYPE_IPV6 => ip::<V6, T>(packet, ingress, tables),
        ETHERTYPE_ARP => Verdict::from_word(tables.far(packet, Call::Arp, [ingress.0, 0, 0, 0])),
        _ => Verdict::Pass,
    }
}

/// What becomes of an IP packet.
#[inline(always)]
fn ip<F: Family, T: Tables>(packet: &mut Packet<'_>, ingress: Ingress, tables: &T) -> Verdict {
    let Some(destination) = F::destination(packet) else { return Verdict::Pass };
    match F::vip(tables, destination) {
        Some(vip) => to_vip::<F, T>(packet, ingress, tables, vip).unwrap_or_else(Verdict::Drop),
        None => not_to_vip::<F, T>(packet, ingress, tables, destination),
    }
}

/// A packet to none of our addresses: most are passed at once.
#[inline(always)]
fn not_to_vip<F: Family, T: Tables>(
    packet: &mut Packet<'_>,
    ingress: Ingress,
    tables: &T,
    destination: F::Address,
) -> Verdict {
    let is_group = F::IS_V6 && F::words(destination)[0].to_ne_bytes()[0] == 0xff;
    let call = if guard::is_advert::<F>(packet) {
        of_family::<F>(Call::Advert4, Call::Advert6)
    } else if is_group {
        // Neighbour solicitations are for groups.
        Call::Neighbour
    } else if tables.config().is_some_and(|config| config.has(Config::DNAT)) {
        let origin = tables.far(packet, of_family::<F>(Call::DnatOrigin4, Call::DnatOrigin6), [ingress.0, 0, 0, 0]);
        if origin == 0 {
            return Verdict::Pass;
        }
        let back = of_family::<F>(Call::DnatBack4, Call::DnatBack6);
        return Verdict::from_word(tables.far(packet, back, [origin, 0, 0, 0]));
    } else {
        return Verdict::Pass;
    };
    Verdict::from_word(tables.far(packet, call, [ingress.0, 0, 0, 0]))
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
    ingress: Ingress,
    tables: &T,
    vip: VipEntry,
) -> Result<Verdict, DropReason> {
    check_router(packet, tables, vip)?;
    let network = F::parse(packet, tables)?;
    if matches!(network.fragment, Fragment::Later) {
        let call = of_family::<F>(Call::Later4, Call::Later6);
        let facts = Facts::of_network(&network).0;
        return Ok(Verdict::from_word(tables.far(packet, call, [facts, ingress.0, 0, 0])));
    }
    let transport = match network.protocol {
        protocol::TCP => Transport::Tcp,
        protocol::UDP => Transport::Udp,
        protocol::SCTP => Transport::Sctp,
        icmp if icmp == F::ICMP => {
            return Ok(icmp::arrived::<F, T>(packet, tables, [Facts::of_network(&network).0, vip.0, ingress.0, 0]));
        }
        _ => return Err(DropReason::UnsupportedProtocol),
    };
    let whole = matches!(network.fragment, Fragment::Whole);
    let config = tables.config().filter(|config| config.is_set()).ok_or(DropReason::NotConfigured)?;
    let seed = config.seed.load(Relaxed);
    let segment = Segment::parse(packet, transport, network.offset, network.length, whole)?;
    let segment = segment.blurred(seed);

    let vip = segment.with_vip(vip.id());
    let (_, port) = segment.ports(packet).ok_or(DropReason::MalformedTransport)?;
    let listener = lookup::listener(tables, listener::key_of(vip, port)).unwrap_or_default();
    let listener = ListenerEntry(opaque(listener.0));
    if listener.may_get_replies()
        && let Some(verdict) = member::give_back::<F, T>(packet, tables, &network, &segment, vip, ingress)
    {
        return Ok(verdict);
    }
    if !listener.is_valid() {
        return Err(DropReason::NoListener);
    }
    let arrival = Arrival { network, segment, vip, listener, ingress };
    client::forward::<F, T>(packet, tables, seed, &arrival)
}
