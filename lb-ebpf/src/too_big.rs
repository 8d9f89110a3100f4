//! Telling a client that its packet does not fit the path to its member.

use lb_common::{counters::Event, drop_reason::DropReason};

use crate::{
    family::Family,
    far::Facts,
    icmp_answer::{self, Problem, may_be_answered},
    packet::Packet,
    tables::{Tables, Verdict},
};

/// Answers a packet with ICMP "fragmentation needed" (RFC 1191) or ICMPv6 "packet
/// too big" (RFC 4443 §3.2), saying `mtu`. A far call.
///
/// A packet that might be cut (IPv4 without "don't fragment") is answered too: it
/// is not cut here, and its sender learns of the path all the same. Of IPv6 no
/// less than 1280 is said: over a path that takes less, tunnels have to be cut
/// and joined by somebody else.
#[inline(always)]
pub(crate) fn answer<F: Family, T: Tables>(packet: &mut Packet<'_>, tables: &T, facts: Facts, mtu: u16) -> Verdict {
    const REASON: DropReason = DropReason::TooBig;
    let (network, _) = facts.headers();
    if !may_be_answered::<F>(packet, &network)
        || icmp_answer::answer::<F, T>(packet, tables, &network, Problem::too_big::<F>(mtu)).is_none()
    {
        return Verdict::Drop(REASON);
    }
    tables.count(Event::Drop(REASON));
    tables.count(Event::AnsweredTooBig);
    Verdict::Answer
}
