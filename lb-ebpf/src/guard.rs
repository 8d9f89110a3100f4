//! What reaches the host's stack of VRRP: adverts to a guarded virtual router
//! only from those who are listed for it, and only from this link.
//!
//! Whoever speaks VRRP checks all of this again. Here it costs a stranger's
//! flood nothing but this look, where it would cost the daemon a wakeup each.

use lb_common::{advert::VirtualRouter, drop_reason::DropReason};

use crate::{
    family::{Family, NETWORK_OFFSET},
    headers::{Advert, Ipv4, Ipv6, protocol},
    lookup,
    packet::Packet,
    tables::{Tables, Verdict},
};

/// TTL or hop limit that proves an advert comes from this link (RFC 9568 §7.1).
const ON_LINK: u8 = 255;

/// Whether a packet is an advert. Behind IPv6 extension headers none is looked
/// for: no router sends one so.
#[inline(always)]
pub(crate) fn is_advert<F: Family>(packet: &Packet<'_>) -> bool {
    let carried = if F::IS_V6 {
        packet.view::<Ipv6>(NETWORK_OFFSET).map(|ip| ip.next_header)
    } else {
        packet.view::<Ipv4>(NETWORK_OFFSET).map(|ip| ip.protocol)
    };
    carried == Some(protocol::VRRP)
}

/// Passes an advert on to the stack, unless its virtual router is guarded and
/// it should not be here.
#[inline(always)]
pub(crate) fn advert<F: Family, T: Tables>(packet: &Packet<'_>, tables: &T) -> Verdict {
    match verdict::<F, T>(packet, tables) {
        Some(reason) => Verdict::Drop(reason),
        None => Verdict::Pass,
    }
}

#[inline(always)]
fn verdict<F: Family, T: Tables>(packet: &Packet<'_>, tables: &T) -> Option<DropReason> {
    let header = if F::IS_V6 {
        size_of::<Ipv6>()
    } else {
        usize::from(packet.view::<Ipv4>(NETWORK_OFFSET)?.version_ihl & 0xf) * 4
    };
    let advert = packet.view::<Advert>(NETWORK_OFFSET + header)?;
    let router = VirtualRouter::new(advert.vrid, F::IS_V6);
    if !tables.advert_guard()?.has(router) {
        return None;
    }
    if F::hops(packet)? != ON_LINK {
        return Some(DropReason::AdvertTtl);
    }
    match lookup::advert_source(tables, router, F::words(F::source(packet)?)) {
        Some(_) => None,
        None => Some(DropReason::AdvertStranger),
    }
}
