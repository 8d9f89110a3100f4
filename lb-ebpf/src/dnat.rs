//! The way back in forward mode `dnat`: a packet that is for no VIP may come from
//! a member, and then goes on as if the VIP had sent it.

use crate::{
    family::Family,
    ingress::Ingress,
    packet::Packet,
    tables::{Tables, Verdict},
};

/// Translates a member's packet back, or passes what is none. A far call.
#[inline(always)]
pub(crate) fn back<F: Family, T: Tables>(_packet: &mut Packet<'_>, _tables: &T, _ingress: Ingress) -> Verdict {
    Verdict::Pass
}
