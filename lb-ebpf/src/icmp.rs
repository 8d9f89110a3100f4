//! ICMP and ICMPv6 messages to a VIP: echo, neighbours who ask by unicast, and
//! errors, which go to whom they concern.
//!
//! An error quotes the packet that it is about, and that packet's source is the
//! VIP. It went either to a client (the listener's port is its source port: the
//! member who sent it, through us or by itself, is to know) or, in a `nat` pool,
//! to a member (its source port is a flow's SNAT port: the client is to know).
//! What is quoted becomes what its sender sent, as far as it is there: as little
//! as the eight bytes behind the IP header that RFC 792 asks for. Lengths of a
//! path (RFC 1191, RFC 8201) are told on as they are, for a translated packet is
//! as long as it was.
//!
//! Not here: errors about what a `dnat` pool's members are sent come to the
//! clients' addresses, and those about encapsulated packets to the address that
//! these are sent from, which is no VIP.
//!
//! Each step is a far call of its own, and they are made one after the other.

use core::mem::offset_of;

use lb_common::{
    atomic::{Ordering::Relaxed, opaque},
    checksum::Sum,
    counters::Event,
    drop_reason::DropReason,
    flow,
    limits::MAX_EXTENSION_HEADERS,
    listener::{self, ListenerEntry},
    member::{MemberState, NextHop},
    pool::{ForwardMode, Pool, PoolEntry},
    vip::VipEntry,
};

use crate::{
    control, deliver,
    family::{Family, Fragment, Network, ReturnEntry},
    far::{Call, Choice, Facts, of_family},
    flow::Moment,
    headers::{Ethernet, Extension, FragmentHeader, Icmp, Ipv4, Ipv6, Ports, Station, Tcp, Udp, protocol},
    icmp_answer::ICMP_HEADER,
    ingress::Ingress,
    lookup,
    packet::Packet,
    select::{self, Ends},
    tables::{Tables, Verdict},
};

/// Bit above [`Facts`] of a transport header: they are those of a quoted packet,
/// and the word is no verdict.
const QUOTED: u64 = 1 << 50;

/// Bit above a [`Choice`] of a member whose address is translated: the word is no
/// verdict.
const TRANSLATED: u64 = 1 << 60;

/// Whom an error concerns, in the upper four bits of a word.
mod concerns {
    /// Below is a [`Choice`](crate::far::Choice): a member, or a reason.
    pub(super) const MEMBER: u64 = 0;
    /// Below are the place of a return entry (bits 0–31), VIP and transport
    /// (32–47).
    pub(super) const CLIENT: u64 = 1;
    /// The member that the pool's table has.
    pub(super) const TABLE: u64 = 2;
}

/// An ICMP message to a VIP: what becomes of it. The words are those of
/// [`Call::Icmp4`].
#[inline(always)]
pub(crate) fn arrived<F: Family, T: Tables>(packet: &mut Packet<'_>, tables: &T, words: [u64; 4]) -> Verdict {
    let [facts, vip, ingress, _] = words;
    let quoted = tables.far(packet, of_family::<F>(Call::Icmp4, Call::Icmp6), words);
    if quoted & QUOTED == 0 {
        return Verdict::from_word(quoted);
    }
    let find = of_family::<F>(Call::IcmpFind4, Call::IcmpFind6);
    let found = tables.far(packet, find, [facts, quoted, vip, 0]);
    if found >> 60 == concerns::CLIENT {
        let call = of_family::<F>(Call::IcmpToClient4, Call::IcmpToClient6);
        return Verdict::from_word(tables.far(packet, call, [facts, quoted, found, ingress]));
    }
    let mut choice = found;
    if found >> 60 == concerns::TABLE {
        let call = of_family::<F>(Call::IcmpByTable4, Call::IcmpByTable6);
        choice = tables.far(packet, call, [facts, quoted, vip, ingress]);
        if choice & TRANSLATED == 0 {
            return Verdict::from_word(choice);
        }
    }
    let call = of_family::<F>(Call::IcmpToMember4, Call::IcmpToMember6);
    Verdict::from_word(tables.far(packet, call, [facts, quoted, choice, ingress]))
}

/// Answers what asks, and reads what an error is about. A far call; returns a
/// verdict, or the facts of the quoted transport header with [`QUOTED`].
#[inline(always)]
pub(crate) fn message<F: Family, T: Tables>(
    packet: &mut Packet<'_>,
    tables: &T,
    facts: Facts,
    vip: VipEntry,
    ingress: Ingress,
) -> u64 {
    let (network, _) = facts.headers();
    // Neither an answer nor an error is so long, and its end would not follow.
    if !matches!(network.fragment, Fragment::Whole) {
        return Verdict::Drop(DropReason::Fragment).to_word();
    }
    // A neighbour may ask for the VIP itself by unicast, to see whether it is
    // still there (RFC 4861 §7.3.3).
    if control::is_solicitation::<F>(packet, &network) {
        return control::neighbour(packet, tables, ingress).to_word();
    }
    let Some(icmp) = packet.view::<Icmp>(network.offset) else {
        return Verdict::Drop(DropReason::MalformedControl).to_word();
    };
    if !is_error::<F>(icmp.kind) {
        return control::echo::<F, T>(packet, tables, &network, vip).to_word();
    }
    match quoted::<F>(packet, &network) {
        Ok(quoted) => quoted.0 | QUOTED,
        Err(reason) => Verdict::Drop(reason).to_word(),
    }
}

/// Whether a type is that of an error that is told on: unreachable, time exceeded
/// and parameter problem, and ICMPv6's packet too big. Source quench is obsolete
/// (RFC 6633), and redirects are for neighbours.
#[inline(always)]
const fn is_error<F: Family>(kind: u8) -> bool {
    // Bit by bit, and not one by one.
    const ERRORS4: u64 = 1 << 3 | 1 << 11 | 1 << 12;
    const ERRORS6: u64 = 0b1_1110;
    kind < 64 && (if F::IS_V6 { ERRORS6 } else { ERRORS4 }) >> (kind & 63) & 1 != 0
}

/// Reads the headers of a quoted packet, of which the ports must be there. The
/// length among its facts is how much is there from the transport header on.
#[inline(always)]
fn quoted<F: Family>(packet: &Packet<'_>, outer: &Network) -> Result<Facts, DropReason> {
    const BAD: DropReason = DropReason::MalformedControl;
    let at = outer.offset + ICMP_HEADER;
    let (source, _) = quoted_ends::<F>(packet, at).ok_or(BAD)?;
    // An error goes to whose packet it is about.
    if source != F::destination(packet).ok_or(BAD)? {
        return Err(BAD);
    }
    let end = outer.offset + outer.length;
    let mut network = if F::IS_V6 {
        let ip = packet.view::<Ipv6>(at).ok_or(BAD)?;
        let version = u32::from_be(ip.version_class_flow) >> 28;
        if version != 6 {
            return Err(BAD);
        }
        let offset = at + size_of::<Ipv6>();
        Network { protocol: ip.next_header, offset, length: 0, fragment: Fragment::Whole }
    } else {
        let ip = packet.view::<Ipv4>(at).ok_or(BAD)?;
        let header = usize::from(ip.version_ihl & 0xf) * 4;
        if ip.version_ihl >> 4 != 4 || header < size_of::<Ipv4>() {
            return Err(BAD);
        }
        // Behind the first fragment there are no ports.
        if ip.fragment & 0x1fffu16.to_be() != 0 {
            return Err(DropReason::IcmpUnknownFlow);
        }
        Network { protocol: ip.protocol, offset: at + header, length: 0, fragment: Fragment::Whole }
    };
    if F::IS_V6 {
        behind_extensions(packet, &mut network)?;
    }
    network.offset = opaque(network.offset as u64) as usize & 0x3fff;
    let code: u64 = match network.protocol {
        protocol::TCP => 1,
        protocol::UDP => 2,
        protocol::SCTP => 3,
        _ => return Err(DropReason::IcmpUnknownFlow),
    };
    // RFC 792's minimum.
    if network.offset + 8 > end {
        return Err(BAD);
    }
    network.length = end - network.offset;
    Ok(Facts(Facts::of_network(&network).0 | code << 48))
}

/// Looks through the extension headers of a quoted packet.
#[inline(always)]
fn behind_extensions(packet: &Packet<'_>, network: &mut Network) -> Result<(), DropReason> {
    for _ in 0..MAX_EXTENSION_HEADERS {
        let is_fragment = match network.protocol {
            protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS => false,
            protocol::FRAGMENT => true,
            _ => return Ok(()),
        };
        let extension = packet.read::<Extension>(network.offset).ok_or(DropReason::MalformedControl)?;
        let field = extension.fragment;
        if is_fragment && field & 0xfff8u16.to_be() != 0 {
            return Err(DropReason::IcmpUnknownFlow);
        }
        let size = if is_fragment { size_of::<FragmentHeader>() } else { (usize::from(extension.length) + 1) * 8 };
        network.protocol = extension.next_header;
        network.offset = opaque((network.offset + size) as u64) as usize & 0x3fff;
    }
    Ok(())
}

/// Source and destination of the packet that is quoted at an offset.
#[inline(always)]
fn quoted_ends<F: Family>(packet: &Packet<'_>, at: usize) -> Option<(F::Address, F::Address)> {
    if F::IS_V6 {
        let ip = packet.view::<Ipv6>(at)?;
        Some((F::from_words(ip.source), F::from_words(ip.destination)))
    } else {
        let ip = packet.view::<Ipv4>(at)?;
        Some((F::from_words([u64::from(ip.source), 0]), F::from_words([u64::from(ip.destination), 0])))
    }
}

/// Finds whom an error concerns. A far call; see [`concerns`].
#[inline(always)]
pub(crate) fn find<F: Family, T: Tables>(
    packet: &Packet<'_>,
    tables: &T,
    facts: Facts,
    quoted: Facts,
    vip: VipEntry,
) -> u64 {
    match found::<F, T>(packet, tables, facts, quoted, vip) {
        Ok(word) => word,
        Err(reason) => Choice::refused(reason).0,
    }
}

#[inline(always)]
fn found<F: Family, T: Tables>(
    packet: &Packet<'_>,
    tables: &T,
    facts: Facts,
    quoted: Facts,
    vip: VipEntry,
) -> Result<u64, DropReason> {
    const BAD: DropReason = DropReason::MalformedControl;
    let moment = Moment::read(tables).ok_or(DropReason::NotConfigured)?;
    let (outer, segment) = (facts.headers().0, quoted.headers().1);
    let (own_port, far_port) = segment.ports(packet).ok_or(BAD)?;
    let vip = segment.with_vip(vip.id());
    let listener = lookup::listener(tables, listener::key_of(vip, own_port)).unwrap_or_default();
    let listener = ListenerEntry(opaque(listener.0));
    let (_, far) = quoted_ends::<F>(packet, outer.offset + ICMP_HEADER).ok_or(BAD)?;
    if listener.may_get_replies() {
        let place = F::return_place(moment.config, far, flow::return_ports(far_port, vip, own_port));
        if let Some(entry) = F::back(tables, place) {
            let ctl = flow::ctl(entry.ctl());
            if ctl.is_live() && ctl.snat_port() == own_port && entry.is_from(far, far_port, vip) {
                return Ok(u64::from(place) | u64::from(vip) << 32 | concerns::CLIENT << 60);
            }
        }
    }
    if !listener.is_valid() {
        return Err(DropReason::IcmpUnknownFlow);
    }
    if let Some(flow) = crate::flow::find::<F, T>(tables, &moment, F::key(far, far_port, listener.id())) {
        let choice = Choice::member(flow.ctl.member(), flow.ctl.snat_port(), ForwardMode::Nat);
        return Ok(choice.0 | concerns::MEMBER << 60);
    }
    let pool = tables.pool(listener.pool()).map_or(PoolEntry::default(), Pool::entry);
    if matches!(pool.mode(), ForwardMode::Nat) && !pool.has(PoolEntry::CHANGING) {
        return Err(DropReason::IcmpUnknownFlow);
    }
    Ok(concerns::TABLE << 60)
}

/// Sends an error to the client whose packet it is about. `whose` is what
/// [`find`] returned. A far call.
#[inline(always)]
pub(crate) fn to_client<F: Family, T: Tables>(
    packet: &mut Packet<'_>,
    tables: &T,
    facts: Facts,
    quoted: Facts,
    whose: u64,
    ingress: Ingress,
) -> Verdict {
    returned::<F, T>(packet, tables, facts, quoted, whose, ingress).unwrap_or_else(Verdict::Drop)
}

#[inline(always)]
fn returned<F: Family, T: Tables>(
    packet: &mut Packet<'_>,
    tables: &T,
    facts: Facts,
    quoted: Facts,
    whose: u64,
    ingress: Ingress,
) -> Result<Verdict, DropReason> {
    const CHANGED: DropReason = DropReason::FlowChanged;
    let outer = facts.headers().0;
    let (snat_port, member_port) = quoted.headers().1.ports(packet).ok_or(CHANGED)?;
    let (_, member) = quoted_ends::<F>(packet, outer.offset + ICMP_HEADER).ok_or(CHANGED)?;
    let entry = F::back(tables, whose as u32).ok_or(CHANGED)?;
    let ctl = flow::ctl(entry.ctl());
    // Another flow may have got the place since it was found.
    if !ctl.is_live() || ctl.snat_port() != snat_port || !entry.is_from(member, member_port, (whose >> 32) as u16) {
        return Err(CHANGED);
    }
    let (client, client_port, _) = F::key_parts(entry.key());
    let (last_hop, own) = (entry.last_hop().load(Relaxed), entry.own().load(Relaxed));
    if !ctl.same_flow(flow::ctl(entry.ctl())) {
        return Err(CHANGED);
    }
    let turn = Turn { peer: client, peer_port: client_port, vip_port: Some(own as u16), to: last_hop, from: own };
    turned::<F>(packet, &outer, quoted, &turn)?;
    tables.count(Event::IcmpTranslated);
    deliver::leave(packet, tables, last_hop as u16, ingress).ok_or(DropReason::ClientPathGone)
}

/// Sends an error to a member of a `nat` or `dnat` pool, whose packet it is about.
/// A far call.
#[inline(always)]
pub(crate) fn to_member<F: Family, T: Tables>(
    packet: &mut Packet<'_>,
    tables: &T,
    facts: Facts,
    quoted: Facts,
    choice: Choice,
    ingress: Ingress,
) -> Verdict {
    if let Some(reason) = choice.reason() {
        return Verdict::Drop(reason);
    }
    let Some(member) = tables.member(choice.id()).filter(|member| member.state().has(MemberState::VALID)) else {
        return Verdict::Drop(DropReason::MemberMissing);
    };
    let hop = member.next_hop_words();
    let Some(port) = NextHop::port_in(hop) else { return Verdict::Drop(DropReason::MemberUnresolved) };
    let keeps_client = matches!(choice.mode(), ForwardMode::Dnat);
    let turn = Turn {
        peer: F::from_words([member.address[0].load(Relaxed), member.address[1].load(Relaxed)]),
        peer_port: member.state().port(),
        vip_port: if keeps_client { None } else { Some(choice.snat_port()) },
        to: hop[0],
        from: hop[1],
    };
    let outer = facts.headers().0;
    if let Err(reason) = turned::<F>(packet, &outer, quoted, &turn) {
        return Verdict::Drop(reason);
    }
    tables.count(Event::IcmpTranslated);
    deliver::leave(packet, tables, port, ingress).unwrap_or(Verdict::Drop(DropReason::MemberUnresolved))
}

/// Sends an error to the member that its pool's table has for the flow, as it is,
/// if clients and members know the same addresses. A far call; returns a verdict,
/// or with [`TRANSLATED`] the choice for [`to_member`].
#[inline(always)]
pub(crate) fn by_table<F: Family, T: Tables>(
    packet: &mut Packet<'_>,
    tables: &T,
    facts: Facts,
    quoted: Facts,
    vip: VipEntry,
    ingress: Ingress,
) -> u64 {
    const UNKNOWN: Verdict = Verdict::Drop(DropReason::IcmpUnknownFlow);
    let placed = placed::<F, T>(packet, tables, facts, quoted, vip);
    let Some((choice, listener, spread)) = placed else { return UNKNOWN.to_word() };
    let mode = choice.mode();
    if choice.reason().is_some() || matches!(mode, ForwardMode::Nat) {
        return UNKNOWN.to_word();
    }
    if matches!(mode, ForwardMode::Dnat) {
        return choice.0 | TRANSLATED;
    }
    let verdict = deliver::as_it_is::<F, T>(packet, tables, facts, choice.id(), listener, mode, spread, ingress);
    if !matches!(verdict, Verdict::Drop(_)) {
        tables.count(Event::IcmpTranslated);
    }
    verdict.to_word()
}

/// The member of a flow that is not in the flow table, the listener's id, and a
/// hash of the flow.
#[inline(always)]
fn placed<F: Family, T: Tables>(
    packet: &Packet<'_>,
    tables: &T,
    facts: Facts,
    quoted: Facts,
    vip: VipEntry,
) -> Option<(Choice, u16, u32)> {
    let moment = Moment::read(tables)?;
    let (outer, segment) = (facts.headers().0, quoted.headers().1);
    let (port, client_port) = segment.ports(packet)?;
    let (vip_address, client) = quoted_ends::<F>(packet, outer.offset + ICMP_HEADER)?;
    let whose = segment.with_vip(vip.id());
    let listener = lookup::listener(tables, listener::key_of(whose, port))?;
    let ends = Ends::<F> { client, vip: vip_address, client_port, port, transport: whose >> 14 };
    let spread = opaque(ends.selection(moment.seed(), ends.ports())) as u32;
    Some((select::of_known::<F, T>(tables, &moment, listener.pool(), &ends), listener.id(), spread))
}

/// What an error becomes on its way to whose packet it is about.
#[derive(Clone, Copy, Debug)]
struct Turn<A> {
    /// The address of that one.
    peer: A,
    /// Its port, host order.
    peer_port: u16,
    /// The VIP's port that it knows the other end by, host order. `None`: it
    /// knows that end's own address and port.
    vip_port: Option<u16>,
    /// New Ethernet destination, in the upper 48 bits.
    to: u64,
    /// New Ethernet source, in the upper 48 bits.
    from: u64,
}

/// Translates an error and what it quotes, with all checksums (RFC 1624: a wrong
/// one stays wrong), takes one hop off, and addresses the frame.
#[inline(always)]
fn turned<F: Family>(
    packet: &mut Packet<'_>,
    outer: &Network,
    quoted: Facts,
    turn: &Turn<F::Address>,
) -> Result<(), DropReason> {
    if F::hops(packet).is_none_or(|hops| hops <= 1) {
        return Err(DropReason::TtlExpired);
    }
    turned_whole::<F>(packet, outer, quoted, turn).ok_or(DropReason::MalformedControl)
}

#[inline(always)]
fn turned_whole<F: Family>(
    packet: &mut Packet<'_>,
    outer: &Network,
    quoted: Facts,
    turn: &Turn<F::Address>,
) -> Option<()> {
    let at = outer.offset + ICMP_HEADER;
    let inner = quoted.headers().0;
    let (vip, far) = quoted_ends::<F>(packet, at)?;
    let router = F::source(packet)?;
    let (source, far_now) = if turn.vip_port.is_some() { (vip, vip) } else { (router, far) };
    let addresses = sum_of::<F>(turn.peer).plus(sum_of::<F>(far_now));
    let addresses = Sum(opaque(addresses.minus(sum_of::<F>(vip).plus(sum_of::<F>(far))).0));

    let ports = packet.view_mut::<Ports>(inner.offset)?;
    let before = *ports;
    ports.source = turn.peer_port.to_be();
    if let Some(port) = turn.vip_port {
        ports.destination = port.to_be();
    }
    let change = addresses.add16(ports.source).add16(ports.destination).sub16(before.source).sub16(before.destination);
    let mut whole = change;

    // SCTP's is no sum, and whoever hears of an error does not look at it.
    let tcp = inner.protocol == protocol::TCP;
    let place = if tcp { offset_of!(Tcp, checksum) } else { offset_of!(Udp, checksum) };
    if inner.protocol != protocol::SCTP && place + 2 <= inner.length {
        let field = packet.view_mut::<[u8; 2]>(inner.offset + place)?;
        let before = u16::from_ne_bytes(*field);
        // Zero says that a datagram has no checksum (RFC 768).
        if tcp || before != 0 {
            let after = change.update(before);
            let after = if !tcp && after == 0 { 0xffff } else { after };
            *field = after.to_ne_bytes();
            whole = whole.sub16(before).add16(after);
        }
    }
    let (peer, far_now) = (F::words(turn.peer), F::words(far_now));
    if F::IS_V6 {
        let ip = packet.view_mut::<Ipv6>(at)?;
        ip.source[0] = peer[0];
        ip.source[1] = peer[1];
        ip.destination[0] = far_now[0];
        ip.destination[1] = far_now[1];
        // ICMPv6 has a pseudo header.
        let outer = sum_of::<F>(source).plus(sum_of::<F>(turn.peer));
        whole = whole.plus(outer.minus(sum_of::<F>(router).plus(sum_of::<F>(vip))));
    } else {
        let ip = packet.view_mut::<Ipv4>(at)?;
        let before = ip.checksum;
        ip.checksum = addresses.update(before);
        ip.source = peer[0] as u32;
        ip.destination = far_now[0] as u32;
        whole = whole.sub16(before).add16(ip.checksum);
    }
    let icmp = packet.view_mut::<Icmp>(outer.offset)?;
    icmp.checksum = whole.update(icmp.checksum);
    F::readdress(packet, source, turn.peer);
    let ethernet = packet.view_mut::<Ethernet>(0)?;
    ethernet.source = Station::from_high(turn.from);
    ethernet.destination = Station::from_high(turn.to);
    Some(())
}

#[inline(always)]
fn sum_of<F: Family>(address: F::Address) -> Sum {
    let words = F::words(address);
    Sum::default().add64(words[0]).add64(words[1])
}

#[cfg(test)]
#[path = "icmp_tests.rs"]
mod tests;
