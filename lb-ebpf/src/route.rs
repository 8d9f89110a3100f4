//! Asking the kernel's routes.
#![allow(unsafe_code, reason = "a helper of the kernel's")]

use aya_ebpf::bindings::xdp_md;
use lb_ebpf::{ingress::Ingress, packet::Packet};

/// Where a packet is to go by the host's routes and neighbours: see
/// [`Tables::route`](lb_ebpf::tables::Tables::route).
#[inline(always)]
pub(crate) fn route(_context: *mut xdp_md, _packet: &mut Packet<'_>, _ingress: Ingress) -> Option<u32> {
    None
}
