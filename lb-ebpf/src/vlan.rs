//! VLAN tags: off before a frame is looked at, on before it leaves.

use lb_common::port::Tags;

use crate::{ingress::Ingress, packet::Packet, tables::Tables};

/// Takes the tags off a frame that came in at a port with such tags and is for a
/// VIP, or asks for one. `None`: it is not ours, and nothing has changed. A far
/// call.
#[inline(always)]
pub(crate) fn untag<T: Tables>(_packet: &mut Packet<'_>, _tables: &T, _ingress: Ingress) -> Option<Ingress> {
    None
}

/// Puts tags on a frame. False: there is no room, and nothing has changed. A far
/// call.
#[inline(always)]
pub(crate) fn tag(_packet: &mut Packet<'_>, _tags: Tags) -> bool {
    false
}
