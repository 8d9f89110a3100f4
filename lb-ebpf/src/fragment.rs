//! Fragments: those with a transport header go where their flow goes and are
//! remembered, the others follow.

use lb_common::{drop_reason::DropReason, listener::ListenerEntry, vip::VipEntry};

use crate::{
    family::Family,
    far::{Choice, Facts},
    ingress::Ingress,
    packet::Packet,
    tables::{Tables, Verdict},
};

/// Sends a later fragment after its first one. A far call.
#[inline(always)]
pub(crate) fn later<F: Family, T: Tables>(
    _packet: &mut Packet<'_>,
    _tables: &T,
    _facts: Facts,
    _vip: VipEntry,
    _ingress: Ingress,
) -> Verdict {
    Verdict::Drop(DropReason::FragmentUnknown)
}

/// Remembers where the first fragment of a client's datagram goes. A far call;
/// returns 0.
#[inline(always)]
pub(crate) fn remember<F: Family, T: Tables>(
    _packet: &mut Packet<'_>,
    _tables: &T,
    _facts: Facts,
    _choice: Choice,
    _listener: ListenerEntry,
) -> u64 {
    0
}

/// The same for a member's datagram, whose flow's return entry lies at `place`
/// and had the control word `ctl`.
#[inline(always)]
pub(crate) fn remember_back<F: Family, T: Tables>(
    _packet: &mut Packet<'_>,
    _tables: &T,
    _facts: Facts,
    _place: u32,
    _ctl: u64,
    _listener: u16,
) -> u64 {
    0
}
