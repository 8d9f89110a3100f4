//! Fragments: those with a transport header go where their flow goes and are
//! remembered, the others follow.
//!
//! Nothing can wait here. So a fragment that overtakes the first one of its
//! datagram is dropped, counted as such, and the sender has to send the datagram
//! again; those behind the first find its record. How fragments fit together
//! (gaps, overlaps, too many of them) is the receiver's business, as it would be
//! without us.

use lb_common::{
    atomic::{Ordering::Relaxed, compare_and_swap, opaque},
    counters::Event,
    drop_reason::DropReason,
    flow,
    fragment::{self, Fragment, FragmentWord, LIFETIME},
    limits::FRAGMENT_ENTRIES,
    listener::ListenerEntry,
    member::NextHop,
    pool::ForwardMode,
    time::Tick,
};

use crate::{
    deliver,
    family::{Family, Network, ReturnEntry},
    far::{Choice, Facts},
    flow::Moment,
    ingress::Ingress,
    packet::Packet,
    tables::{Direction, Tables, Verdict},
};

/// What is kept of a datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<A> {
    /// Who and how.
    pub(crate) word: FragmentWord,
    /// New source, or zero.
    pub(crate) source: A,
    /// New destination, or zero.
    pub(crate) destination: A,
    /// [`Fragment::to`].
    pub(crate) to: u64,
    /// [`Fragment::from`].
    pub(crate) from: u64,
}

/// What tells a packet's datagram from others.
#[inline(always)]
fn fingerprint<F: Family>(packet: &Packet<'_>, moment: &Moment<'_>, network: &Network) -> Option<u64> {
    let identification = F::identification(packet)?;
    let (source, destination) = (F::words(F::source(packet)?), F::words(F::destination(packet)?));
    let protocol = if F::IS_V6 { 0 } else { network.protocol };
    Some(fragment::fingerprint(moment.seed(), source, destination, identification, protocol))
}

/// How willingly a record is given up for another: the greatest for the one of
/// the same datagram, then for one that is free or too old, then the older, and
/// zero for one that somebody is writing.
#[inline(always)]
fn willingness(record: &Fragment, fingerprint: u64, now: Tick) -> u32 {
    let word = record.word();
    if word == FragmentWord::CLAIMED {
        0
    } else if record.fingerprint.load(Relaxed) == fingerprint {
        0x3_0000
    } else if !word.is_valid() || now.age(word.seen()) > LIFETIME {
        0x2_0000
    } else {
        0x1_0000 + u32::from(now.age(word.seen()))
    }
}

/// Writes the record of a datagram whose first fragment this is, before anything
/// of it is changed.
#[inline(always)]
pub(crate) fn write<F: Family, T: Tables>(
    packet: &Packet<'_>,
    tables: &T,
    network: &Network,
    record: impl FnOnce(Tick) -> Record<F::Address>,
) -> Option<()> {
    let moment = Moment::read(tables)?;
    let fingerprint = fingerprint::<F>(packet, &moment, network)?;
    let [first, second] = fragment::places(fingerprint, FRAGMENT_ENTRIES);
    let (a, b) = (tables.fragment(first)?, tables.fragment(second)?);
    let prefers_second = willingness(b, fingerprint, moment.now) > willingness(a, fingerprint, moment.now);
    let entry = tables.fragment(opaque(u64::from(if prefers_second { second } else { first })) as u32)?;
    let before = entry.word();
    if before == FragmentWord::CLAIMED || !compare_and_swap(&entry.word, before.0, FragmentWord::CLAIMED.0) {
        return None;
    }
    let Record { word, source, destination, to, from } = record(moment.now);
    entry.fingerprint.store(fingerprint, Relaxed);
    let (source, destination) = (F::words(source), F::words(destination));
    entry.source[0].store(source[0], Relaxed);
    entry.source[1].store(source[1], Relaxed);
    entry.destination[0].store(destination[0], Relaxed);
    entry.destination[1].store(destination[1], Relaxed);
    entry.to.store(to, Relaxed);
    entry.from.store(from, Relaxed);
    // A swap, because the others must be seen before it.
    let _ = compare_and_swap(&entry.word, FragmentWord::CLAIMED.0, word.0);
    Some(())
}

/// What was kept of the datagram that a later fragment belongs to.
#[inline(always)]
pub(crate) fn read<F: Family, T: Tables>(
    packet: &Packet<'_>,
    tables: &T,
    network: &Network,
) -> Option<Record<F::Address>> {
    let moment = Moment::read(tables)?;
    let fingerprint = fingerprint::<F>(packet, &moment, network)?;
    let [first, second] = fragment::places(fingerprint, FRAGMENT_ENTRIES);
    let is_first = tables.fragment(first)?.fingerprint.load(Relaxed) == fingerprint;
    let entry = tables.fragment(opaque(u64::from(if is_first { first } else { second })) as u32)?;
    let word = entry.word();
    if !word.is_valid() || entry.fingerprint.load(Relaxed) != fingerprint || moment.now.age(word.seen()) > LIFETIME {
        return None;
    }
    let record = Record {
        word,
        source: F::from_words([entry.source[0].load(Relaxed), entry.source[1].load(Relaxed)]),
        destination: F::from_words([entry.destination[0].load(Relaxed), entry.destination[1].load(Relaxed)]),
        to: entry.to.load(Relaxed),
        from: entry.from.load(Relaxed),
    };
    // In between it may have become another datagram's.
    if entry.word().0 == word.0 && entry.fingerprint.load(Relaxed) == fingerprint { Some(record) } else { None }
}

/// Sends a later fragment after its first one. A far call.
#[inline(always)]
pub(crate) fn later<F: Family, T: Tables>(
    packet: &mut Packet<'_>,
    tables: &T,
    facts: Facts,
    ingress: Ingress,
) -> Verdict {
    match followed::<F, T>(packet, tables, facts, ingress) {
        Ok(verdict) => verdict,
        Err(reason) => Verdict::Drop(reason),
    }
}

#[inline(always)]
fn followed<F: Family, T: Tables>(
    packet: &mut Packet<'_>,
    tables: &T,
    facts: Facts,
    ingress: Ingress,
) -> Result<Verdict, DropReason> {
    const BAD: DropReason = DropReason::MalformedTransport;
    let network = facts.network()?;
    let record = read::<F, T>(packet, tables, &network).ok_or(DropReason::FragmentUnknown)?;
    let word = record.word;
    tables.count(Event::FragmentFollowed);
    if word.mode().is_direct() {
        let (member, listener, spread) = (word.member(), word.listener(), record.from as u32);
        return Ok(deliver::as_it_is::<F, T>(packet, tables, facts, member, listener, word.mode(), spread, ingress));
    }
    if F::hops(packet).is_none_or(|hops| hops <= 1) {
        return Err(DropReason::TtlExpired);
    }
    let bytes = network.total();
    if word.is_to_client() {
        F::readdress(packet, record.source, record.destination);
        deliver::address(packet, [record.to, record.from]);
        tables.count_listener(word.listener(), Direction::Out, bytes);
        tables.count_member(word.member(), Direction::Out, bytes);
        let left = deliver::leave(packet, tables, (record.to as u16).wrapping_sub(1), ingress);
        return left.ok_or(DropReason::ClientPathGone);
    }
    let member = tables.member(word.member()).ok_or(DropReason::MemberMissing)?;
    let hop = member.next_hop_words();
    let keeps_source = matches!(word.mode(), ForwardMode::Dnat);
    let source = if keeps_source { F::source(packet) } else { F::destination(packet) };
    let to = F::from_words([member.address[0].load(Relaxed), member.address[1].load(Relaxed)]);
    F::readdress(packet, source.ok_or(BAD)?, to);
    deliver::address(packet, hop);
    tables.count_listener(word.listener(), Direction::In, bytes);
    tables.count_member(word.member(), Direction::In, bytes);
    let port = NextHop::port_in(hop).ok_or(DropReason::MemberUnresolved)?;
    deliver::leave(packet, tables, port, ingress).ok_or(DropReason::MemberUnresolved)
}

/// Remembers where the first fragment of a client's datagram goes. A far call;
/// returns 0.
#[inline(always)]
pub(crate) fn remember<F: Family, T: Tables>(
    packet: &mut Packet<'_>,
    tables: &T,
    facts: Facts,
    choice: Choice,
    listener: ListenerEntry,
    spread: u32,
) -> u64 {
    let (network, _) = facts.headers();
    let none = F::from_words([0, 0]);
    let _ = write::<F, T>(packet, tables, &network, |now| Record {
        word: FragmentWord::new(choice.id(), listener.id(), choice.mode(), false, now),
        source: none,
        destination: none,
        to: 0,
        from: u64::from(spread),
    });
    0
}

/// The same for a member's datagram, whose flow's return entry lies at `place`
/// and had the control word `ctl`.
#[inline(always)]
pub(crate) fn remember_back<F: Family, T: Tables>(
    packet: &mut Packet<'_>,
    tables: &T,
    facts: Facts,
    place: u32,
    ctl: u64,
    listener: u16,
) -> u64 {
    let (network, _) = facts.headers();
    let ctl = flow::Ctl(ctl);
    let (Some(entry), Some(vip)) = (F::back(tables, place), F::destination(packet)) else { return 0 };
    let (client, ..) = F::key_parts(entry.key());
    let (last_hop, own) = (entry.last_hop().load(Relaxed), entry.own().load(Relaxed));
    if !ctl.same_flow(flow::ctl(entry.ctl())) {
        return 0;
    }
    let _ = write::<F, T>(packet, tables, &network, |now| Record {
        word: FragmentWord::new(ctl.member(), listener, ForwardMode::Nat, true, now),
        source: vip,
        destination: client,
        // A port's number is far below the largest.
        to: last_hop.wrapping_add(1),
        from: own,
    });
    0
}
