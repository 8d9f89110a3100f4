//! The end of a packet's way to a member: the frame is translated or wrapped,
//! addressed, counted and sent.

use lb_common::{
    atomic::Ordering::Relaxed,
    drop_reason::DropReason,
    member::{Member, NextHop},
    pool::{ForwardMode, Pool, PoolEntry},
    port::Tags,
};

use crate::{
    client::Arrival,
    encap,
    family::{Family, Fragment},
    far::{Call, Choice, Facts, of_family},
    headers::{Ethernet, Station},
    ingress::Ingress,
    packet::Packet,
    rewrite::{Translation, translate},
    select::Ends,
    tables::{Direction, Tables, Verdict},
};

/// Sends a packet to a member that is reached directly. `spread` is a hash of the flow,
/// for those who spread encapsulated packets by their outer header.
#[inline(always)]
pub(crate) fn directly<F: Family, T: Tables>(
    packet: &mut Packet<'_>,
    tables: &T,
    arrival: &Arrival,
    choice: Choice,
    spread: u32,
) -> Result<Verdict, DropReason> {
    let member = tables.member(choice.id()).ok_or(DropReason::MemberMissing)?;
    let hop = member.next_hop_words();
    let bytes = arrival.network.total();
    if matches!(choice.mode(), ForwardMode::Dsr) {
        address(packet, hop);
    } else {
        let mtu = usize::from(encap::room(member, choice.mode()));
        if bytes as usize > mtu {
            let call = of_family::<F>(Call::TooBig4, Call::TooBig6);
            let facts = Facts::of(&arrival.network, &arrival.segment).0;
            return Ok(Verdict::from_word(tables.far(packet, call, [facts, mtu as u64, 0, 0])));
        }
        encap::wrap::<F, T>(packet, tables, arrival, member, choice, spread)?;
    }
    sent(packet, tables, arrival, choice, member)
}

/// Sends a packet to a member in a mode that translates.
#[inline(always)]
pub(crate) fn translated<F: Family, T: Tables>(
    packet: &mut Packet<'_>,
    tables: &T,
    arrival: &Arrival,
    choice: Choice,
) -> Result<Verdict, DropReason> {
    let Arrival { network, segment, .. } = arrival;
    let member = tables.member(choice.id()).ok_or(DropReason::MemberMissing)?;
    let hop = member.next_hop_words();
    remember::<F, T>(packet, tables, arrival, choice, 0);
    let kept = if matches!(choice.mode(), ForwardMode::Dnat) { segment.ports(packet) } else { None };
    let translation = translation::<F>(packet, choice, member, hop, kept).ok_or(DropReason::MalformedTransport)?;
    translate::<F, T>(packet, tables, network, segment, &translation)?;
    sent(packet, tables, arrival, choice, member)
}

/// [`directly`] for packets that are not like most. A far call.
#[inline(always)]
pub(crate) fn directly_far<F: Family, T: Tables>(
    packet: &mut Packet<'_>,
    tables: &T,
    arrival: &Arrival,
    choice: Choice,
) -> Verdict {
    let Some(ends) = Ends::<F>::of(packet, arrival) else { return Verdict::Drop(DropReason::MalformedTransport) };
    let Some(config) = tables.config() else { return Verdict::Drop(DropReason::NotConfigured) };
    let algorithm = tables.pool(arrival.listener.pool()).map_or(PoolEntry::default(), Pool::entry).algorithm();
    let spread = ends.spread(ends.chosen_by(config.seed.load(Relaxed), algorithm));
    remember::<F, T>(packet, tables, arrival, choice, spread);
    directly::<F, T>(packet, tables, arrival, choice, spread).unwrap_or_else(Verdict::Drop)
}

/// Remembers where the first fragment of a datagram goes, for the others.
#[inline(always)]
fn remember<F: Family, T: Tables>(packet: &mut Packet<'_>, tables: &T, arrival: &Arrival, choice: Choice, spread: u32) {
    if !matches!(arrival.network.fragment, Fragment::Whole) {
        let facts = Facts::of(&arrival.network, &arrival.segment).0;
        let call = of_family::<F>(Call::Remember4, Call::Remember6);
        tables.far(packet, call, [facts, choice.0, arrival.listener.0, u64::from(spread)]);
    }
}

/// Counts a packet that has become what its member gets, and sends it out.
#[inline(always)]
fn sent<T: Tables>(
    packet: &mut Packet<'_>,
    tables: &T,
    arrival: &Arrival,
    choice: Choice,
    member: &Member,
) -> Result<Verdict, DropReason> {
    let bytes = arrival.network.total();
    tables.count_listener(arrival.listener.id(), Direction::In, bytes);
    tables.count_member(choice.id(), Direction::In, bytes);
    let port = NextHop::port_in(member.next_hop_words()).ok_or(DropReason::MemberUnresolved)?;
    leave(packet, tables, port, arrival.ingress).ok_or(DropReason::MemberUnresolved)
}

/// Sends a packet to a member that is reached directly (`dsr`, `ipip`, `gue`)
/// without looking at what it carries: something that belongs to a flow and has
/// no ports of it, a later fragment or an ICMP error. `facts` may be those of the
/// network header alone. It is counted for the member and the listener.
///
/// For a far call: a packet that is wrapped is handed to another one.
#[allow(clippy::too_many_arguments, reason = "they are what a word in a table says, taken apart")]
#[inline(always)]
pub(crate) fn as_it_is<F: Family, T: Tables>(
    packet: &mut Packet<'_>,
    tables: &T,
    facts: Facts,
    member_id: u16,
    listener_id: u16,
    mode: ForwardMode,
    spread: u32,
    ingress: Ingress,
) -> Verdict {
    let Some(member) = tables.member(member_id) else { return Verdict::Drop(DropReason::MemberMissing) };
    let hop = member.next_hop_words();
    let bytes = facts.headers().0.total();
    if matches!(mode, ForwardMode::Ipip | ForwardMode::Gue) {
        // Nobody is told: neither of what is sent so may be answered with an
        // error (RFC 1122 §3.2.2, RFC 4443 §2.4), and whoever sent the datagram
        // was told by its first fragment.
        if bytes > u64::from(encap::room(member, mode)) {
            return Verdict::Drop(DropReason::TooBig);
        }
        let arguments = [facts.0, u64::from(member_id), u64::from(spread), mode as u64];
        let refused = tables.far(packet, of_family::<F>(Call::Wrap4, Call::Wrap6), arguments);
        if refused != 0 {
            return Verdict::Drop(DropReason::from_number(refused as u8));
        }
    } else {
        address(packet, hop);
    }
    tables.count_listener(listener_id, Direction::In, bytes);
    tables.count_member(member_id, Direction::In, bytes);
    let port = NextHop::port_in(hop);
    let left = port.and_then(|port| leave(packet, tables, port, ingress));
    left.unwrap_or(Verdict::Drop(DropReason::MemberUnresolved))
}

/// What a packet that is translated becomes. In mode `dnat` its source stays,
/// and `kept` are its ports.
#[inline(always)]
fn translation<F: Family>(
    packet: &Packet<'_>,
    choice: Choice,
    member: &Member,
    hop: [u64; 2],
    kept: Option<(u16, u16)>,
) -> Option<Translation<F::Address>> {
    let (source, source_port) = match kept {
        Some((client_port, _)) => (F::source(packet)?, client_port),
        None => (F::destination(packet)?, choice.snat_port()),
    };
    Some(Translation {
        source,
        destination: F::from_words([member.address[0].load(Relaxed), member.address[1].load(Relaxed)]),
        source_port,
        destination_port: member.state().port(),
        to: hop[0],
        from: hop[1],
    })
}

/// Addresses a frame to a next hop.
#[inline(always)]
pub(crate) fn address(packet: &mut Packet<'_>, hop: [u64; 2]) {
    if let Some(ethernet) = packet.view_mut::<Ethernet>(0) {
        ethernet.source = Station::from_high(hop[1]);
        ethernet.destination = Station::from_high(hop[0]);
    }
}

/// Sends a frame out by a port, with the tags it has there. `None`: there is no
/// such port.
#[inline(always)]
pub(crate) fn leave<T: Tables>(packet: &mut Packet<'_>, tables: &T, number: u16, ingress: Ingress) -> Option<Verdict> {
    let port = tables.port(number)?;
    let (out, _) = port.get()?;
    let tags = port.tags.load(Relaxed);
    if tags != Tags::NONE.0 && tables.far(packet, Call::Tag, [tags, 0, 0, 0]) == 0 {
        return Some(Verdict::Drop(DropReason::NoHeadroom));
    }
    Some(if out == ingress.ifindex() { Verdict::Transmit } else { Verdict::Redirect(number) })
}
