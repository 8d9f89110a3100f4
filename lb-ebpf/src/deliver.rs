//! The end of a packet's way to a member: the frame is translated or wrapped,
//! addressed, counted and sent.

use lb_common::{
    atomic::Ordering::Relaxed,
    drop_reason::DropReason,
    member::{Member, NextHop},
    pool::ForwardMode,
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
    tables::{Direction, Tables, Verdict},
};

/// A packet and where it goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parcel<'p> {
    /// The packet.
    pub(crate) arrival: &'p Arrival,
    /// The member and how it is reached. No refusal.
    pub(crate) choice: Choice,
    /// A hash of the flow, for those who spread encapsulated packets by their
    /// outer header.
    pub(crate) spread: u32,
}

/// Sends a packet to a member.
#[inline(always)]
pub(crate) fn to_member<F: Family, T: Tables>(packet: &mut Packet<'_>, tables: &T, parcel: &Parcel<'_>) -> Verdict {
    match sent::<F, T>(packet, tables, parcel) {
        Ok(verdict) => verdict,
        Err(reason) => Verdict::Drop(reason),
    }
}

#[inline(always)]
fn sent<F: Family, T: Tables>(packet: &mut Packet<'_>, tables: &T, parcel: &Parcel<'_>) -> Result<Verdict, DropReason> {
    let Parcel { arrival, choice, spread } = parcel;
    let Arrival { network, segment, listener, ingress, .. } = arrival;
    let member = tables.member(choice.id()).ok_or(DropReason::MemberMissing)?;
    let hop = member.next_hop_words();
    if !matches!(network.fragment, Fragment::Whole) {
        let call = of_family::<F>(Call::Remember4, Call::Remember6);
        tables.far(packet, call, [Facts::of(network, segment).0, choice.0, listener.0, u64::from(*spread)]);
    }
    let bytes = network.total();
    match choice.mode() {
        ForwardMode::Dsr => address(packet, hop),
        ForwardMode::Ipip | ForwardMode::Gue => {
            let mtu = usize::from(encap::room(member, choice.mode()));
            if bytes as usize > mtu {
                let call = of_family::<F>(Call::TooBig4, Call::TooBig6);
                let arguments = [Facts::of(network, segment).0, mtu as u64, 0, 0];
                return Ok(Verdict::from_word(tables.far(packet, call, arguments)));
            }
            encap::wrap::<F, T>(packet, tables, arrival, member, choice, *spread)?;
        }
        mode => {
            let kept = if matches!(mode, ForwardMode::Dnat) { segment.ports(packet) } else { None };
            let translated = translation::<F>(packet, choice, member, hop, kept);
            let translated = translated.ok_or(DropReason::MalformedTransport)?;
            translate::<F, T>(packet, tables, network, segment, &translated)?;
        }
    }
    tables.count_listener(listener.id(), Direction::In, bytes);
    tables.count_member(choice.id(), Direction::In, bytes);
    let port = NextHop::port_in(hop).ok_or(DropReason::MemberUnresolved)?;
    leave(packet, tables, port, *ingress).ok_or(DropReason::MemberUnresolved)
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
    choice: &Choice,
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
