//! Refusing a flow such that its client knows at once.

use lb_common::{checksum::Sum, counters::Event, drop_reason::DropReason};

use crate::{
    family::{Family, Fragment, Network},
    far::Facts,
    headers::{Ethernet, Tcp, tcp_flags},
    icmp_answer::{Problem, answer, may_be_answered},
    packet::Packet,
    rewrite::pseudo_header,
    tables::{Tables, Verdict},
    transport::Segment,
};

/// TTL and hop limit of what the balancer itself sends.
const OWN_HOPS: u8 = 64;

/// Ends a packet that no flow could be opened for, or whose flow has ended.
///
/// Where the pool has no member, the flow's member is down, or there are as many
/// flows as there may be, a TCP client is answered with a reset (RFC 9293
/// §3.10.7.1, "CLOSED STATE"); where the pool has no member, any other with "port
/// unreachable". The reason is counted all the same. Whoever may not come, or
/// comes too fast, hears nothing: who forges sources would have us bother them.
/// No reset, and no SCTP packet that ends an association, is answered.
#[inline(always)]
pub(crate) fn refuse<F: Family, T: Tables>(
    packet: &mut Packet<'_>,
    tables: &T,
    facts: Facts,
    reason: DropReason,
) -> Verdict {
    const EMPTY: DropReason = DropReason::PoolEmpty;
    let (network, segment) = facts.headers();
    let answered = if segment.has(tcp_flags::RST) || !may_be_answered::<F>(packet, &network) {
        None
    } else if segment.is_tcp() {
        let is_told = matches!(
            reason,
            EMPTY | DropReason::MemberDownReset | DropReason::ConnectionLimit | DropReason::MemberConnectionLimit
        );
        let whole = matches!(network.fragment, Fragment::Whole);
        if is_told && whole { reset::<F>(packet, &network, &segment).map(|()| Event::AnsweredReset) } else { None }
    } else if matches!(reason, EMPTY) {
        let answered = answer::<F, T>(packet, tables, &network, Problem::port_unreachable::<F>());
        answered.map(|()| Event::AnsweredUnreachable)
    } else {
        None
    };
    let Some(event) = answered else { return Verdict::Drop(reason) };
    tables.count(Event::Drop(reason));
    tables.count(event);
    Verdict::Answer
}

/// Turns a segment into the reset that answers it, in place: the frame keeps
/// its length, what is left over lies behind the datagram as padding does.
#[inline(always)]
fn reset<F: Family>(packet: &mut Packet<'_>, network: &Network, segment: &Segment) -> Option<()> {
    let (client, vip) = (F::source(packet)?, F::destination(packet)?);
    let header_words = packet.view::<Tcp>(network.offset)?.offset >> 4;
    let tcp = packet.view_mut::<Tcp>(network.offset)?;
    let data = network.length.wrapping_sub(usize::from(header_words) * 4) as u32;
    let counted =
        data.wrapping_add(u32::from(segment.has(tcp_flags::SYN))).wrapping_add(u32::from(segment.has(tcp_flags::FIN)));
    let (source, destination) = (tcp.source, tcp.destination);
    tcp.source = destination;
    tcp.destination = source;
    if segment.has(tcp_flags::ACK) {
        tcp.sequence = tcp.acknowledgment;
        tcp.acknowledgment = 0;
        tcp.flags = tcp_flags::RST;
    } else {
        tcp.acknowledgment = u32::from_be(tcp.sequence).wrapping_add(counted).to_be();
        tcp.sequence = 0;
        tcp.flags = tcp_flags::RST | tcp_flags::ACK;
    }
    tcp.offset = (size_of::<Tcp>() as u8 / 4) << 4;
    tcp.window = 0;
    tcp.urgent = 0;
    tcp.checksum = 0;
    let ports = Sum::default().add16(tcp.source).add16(tcp.destination);
    let sum = ports.add32(tcp.sequence).add32(tcp.acknowledgment).add16(u16::from_ne_bytes([tcp.offset, tcp.flags]));
    let pseudo = pseudo_header::<F>(vip, client, segment.ip_protocol(), size_of::<Tcp>());
    tcp.checksum = sum.plus(pseudo).finish();

    F::swap_addresses(packet);
    F::resize(packet, network, size_of::<Tcp>(), OWN_HOPS);
    let ethernet = packet.view_mut::<Ethernet>(0)?;
    (ethernet.source, ethernet.destination) = (ethernet.destination, ethernet.source);
    Some(())
}
