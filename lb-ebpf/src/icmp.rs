//! ICMP and ICMPv6 messages to a VIP.

use lb_common::vip::VipEntry;

use crate::{
    control,
    family::Family,
    far::Facts,
    ingress::Ingress,
    packet::Packet,
    tables::{Tables, Verdict},
};

/// Answers what asks, and sends on what is about a flow. A far call.
#[inline(always)]
pub(crate) fn message<F: Family, T: Tables>(
    packet: &mut Packet<'_>,
    tables: &T,
    facts: Facts,
    vip: VipEntry,
    ingress: Ingress,
) -> Verdict {
    let network = match facts.network() {
        Ok(network) => network,
        Err(reason) => return Verdict::Drop(reason),
    };
    // A neighbour may ask for the VIP itself by unicast, to see whether it is
    // still there (RFC 4861 §7.3.3).
    if control::is_solicitation::<F>(packet, &network) {
        return control::neighbour(packet, tables, ingress);
    }
    control::echo::<F, T>(packet, tables, &network, vip)
}
