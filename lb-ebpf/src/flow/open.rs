//! Opening a flow: which member, which SNAT port, which two entries.

use lb_common::atomic::Ordering::Relaxed;

use lb_common::{
    drop_reason::DropReason,
    flow::{self, Ctl, Stage},
    hash,
    limits::{SLOTS_PER_LINE, SNAT_CANDIDATES},
    listener::{self, ListenerEntry},
    member::{Member, MemberState, NO_MEMBER, NextHop},
    pool::PoolEntry,
};

use super::{Moment, Willingness, evict_back, evict_forward};
use crate::{
    family::{Family, ForwardEntry, ReturnEntry, replace},
    headers::{Ethernet, Ports},
    lookup,
    packet::Packet,
    tables::Tables,
};

/// What of an opening packet is not in the packet, in one word.
#[derive(Clone, Copy, Debug)]
pub struct Opener(u64);

impl Opener {
    /// VIP id and transport, the number of the port the frame came in by, and
    /// the digest of its way (see [`flow::last_hop_digest`]).
    #[inline(always)]
    #[must_use]
    pub const fn new(vip_and_transport: u16, ingress_port: u16, digest: u16) -> Self {
        Self(vip_and_transport as u64 | (ingress_port as u64) << 16 | (digest as u64) << 32)
    }
}

/// What a flow is opened from.
#[derive(Clone, Copy, Debug)]
struct Opening<A> {
    /// The client's address.
    client: A,
    /// The VIP's address.
    vip: A,
    /// The listener.
    listener: ListenerEntry,
    /// Who sent the client's frame, and below the number of the port it came in
    /// by, as the return entry keeps it.
    last_hop: u64,
    /// Whom it was addressed to, and below the listener's port in host order.
    own: u64,
    /// The client's port, host order.
    client_port: u16,
    /// The VIP's id and the listener's transport.
    vip_and_transport: u16,
    /// Digest of last hop and own address.
    digest: u16,
}

/// Reads an opening packet, whose ports are at `offset`.
#[inline(always)]
fn opening<F: Family>(
    packet: &Packet<'_>,
    offset: usize,
    listener: ListenerEntry,
    opener: Opener,
) -> Option<Opening<F::Address>> {
    let ethernet = packet.view::<Ethernet>(0)?;
    let ports = packet.view::<Ports>(offset)?;
    Some(Opening {
        client: F::source(packet)?,
        vip: F::destination(packet)?,
        listener,
        last_hop: ethernet.source.to_high() | opener.0 >> 16 & 0xffff,
        own: ethernet.destination.to_high() | u64::from(u16::from_be(ports.destination)),
        client_port: u16::from_be(ports.source),
        vip_and_transport: opener.0 as u16,
        digest: (opener.0 >> 32) as u16,
    })
}

impl<A> Opening<A> {
    /// The listener's port, host order.
    #[inline(always)]
    const fn port(&self) -> u16 {
        self.own as u16
    }
}

/// A flow that was opened, or why it was not. All of it always has a value, so
/// that it can travel in one register: the verifier does not accept that a part
/// of one is left as it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome(u64);

impl Outcome {
    #[inline(always)]
    const fn opened(member: u16, snat_port: u16) -> Self {
        Self(member as u64 | (snat_port as u64) << 16)
    }

    #[inline(always)]
    const fn refused(reason: DropReason) -> Self {
        Self((reason as u64) << 32)
    }

    /// The member's id and the SNAT port (host order).
    ///
    /// # Errors
    /// The reason the flow is refused.
    #[inline(always)]
    pub const fn get(self) -> Result<(u16, u16), DropReason> {
        const CONFIGURED: u64 = DropReason::NotConfigured as u64;
        const VIP: u64 = DropReason::SourceIsVip as u64;
        const MALFORMED: u64 = DropReason::MalformedTransport as u64;
        const EMPTY: u64 = DropReason::PoolEmpty as u64;
        const MISSING: u64 = DropReason::MemberMissing as u64;
        const UNRESOLVED: u64 = DropReason::MemberUnresolved as u64;
        const EXHAUSTED: u64 = DropReason::SnatPortsExhausted as u64;
        match self.0 >> 32 {
            0 => Ok((self.0 as u16, (self.0 >> 16) as u16)),
            CONFIGURED => Err(DropReason::NotConfigured),
            VIP => Err(DropReason::SourceIsVip),
            MALFORMED => Err(DropReason::MalformedTransport),
            EMPTY => Err(DropReason::PoolEmpty),
            MISSING => Err(DropReason::MemberMissing),
            UNRESOLVED => Err(DropReason::MemberUnresolved),
            EXHAUSTED => Err(DropReason::SnatPortsExhausted),
            _ => Err(DropReason::FlowTableFull),
        }
    }
}

/// Mixed into the selection hash once a candidate, so that each candidate port
/// is independent of the slot and of the others.
const CANDIDATE: u64 = 0x9e37_79b9_7f4a_7c15;

/// Opens the flow of a packet to a listener, whose ports are at `offset`. In the
/// kernel this is a function of its own: a call costs nothing beside the two
/// cold lines it touches, and the packet path keeps its registers. It is given
/// the packet rather than what was read of it, because the stacks of caller
/// and callee together are short.
#[cfg_attr(target_arch = "bpf", inline(never))]
pub fn open<F: Family, T: Tables>(
    tables: &T,
    packet: &Packet<'_>,
    offset: usize,
    listener: ListenerEntry,
    opener: Opener,
) -> Outcome {
    let Some(moment) = &Moment::read(tables) else { return Outcome::refused(DropReason::NotConfigured) };
    let Some(opening) = &opening::<F>(packet, offset, listener, opener) else {
        return Outcome::refused(DropReason::MalformedTransport);
    };
    if F::vip(tables, opening.client).is_some() {
        return Outcome::refused(DropReason::SourceIsVip);
    }
    let pool = PoolEntry(tables.pool(opening.listener.pool()).map_or(0, |p| p.entry.load(Relaxed)));
    if pool.length() == 0 {
        return Outcome::refused(DropReason::PoolEmpty);
    }
    let (selection, of_source) = hashes::<F>(moment.seed(), opening);
    let member_id = pick(tables, pool, if pool.hashes_source_only() { of_source } else { selection });
    let Some(member) = tables.member(member_id) else { return Outcome::refused(DropReason::MemberMissing) };
    if !member.state().has(MemberState::VALID) {
        return Outcome::refused(DropReason::MemberMissing);
    }
    if NextHop::port_in(member.next_hop_words()).is_none() {
        return Outcome::refused(DropReason::MemberUnresolved);
    }
    let key = F::key(opening.client, opening.client_port, opening.listener.id());
    let Some((back, snat_port)) = claim_back::<F, T>(tables, moment, opening, member, member_id, selection, key) else {
        return Outcome::refused(DropReason::SnatPortsExhausted);
    };
    let Some(forward) = claim_forward::<F, T>(tables, moment, key) else {
        back.ctl().store(Ctl::FREE.0, Relaxed);
        return Outcome::refused(DropReason::FlowTableFull);
    };

    let address = F::from_words([member.address[0].load(Relaxed), member.address[1].load(Relaxed)]);
    back.fill(key, address, member.state().port(), opening.vip_and_transport);
    back.last_hop().store(opening.last_hop, Relaxed);
    back.own().store(opening.own, Relaxed);
    publish(back.ctl(), Ctl::new(Stage::New, snat_port, member_id, moment.now, 0));
    forward.set_key(key);
    publish(forward.ctl(), Ctl::new(Stage::New, snat_port, member_id, moment.now, opening.digest));
    Outcome::opened(member_id, snat_port)
}

/// Makes a claimed entry visible, after everything that was stored into it.
#[inline(always)]
fn publish(word: &lb_common::atomic::AtomicU64, ctl: Ctl) {
    // A plain store would be enough on x86 only.
    word.swap(ctl.0, lb_common::atomic::Ordering::SeqCst);
}

/// Hashes of the flow and of its client's address alone.
#[inline(always)]
fn hashes<F: Family>(seed: u64, opening: &Opening<F::Address>) -> (u64, u64) {
    let client = F::words(opening.client);
    let vip = F::words(opening.vip);
    let ports = (u64::from(opening.client_port) << 32)
        | (u64::from(opening.port()) << 16)
        | u64::from(opening.vip_and_transport >> 14);
    (hash::selection(seed, client, vip, ports), hash::selection(seed, client, vip, 0))
}

/// Chooses the member: the one in the slot that the hash names.
#[inline(always)]
fn pick<T: Tables>(tables: &T, pool: PoolEntry, hash: u64) -> u16 {
    let slot = pool.first().wrapping_add(hash::scale(hash, pool.length()));
    tables.slot_line(slot / SLOTS_PER_LINE).map_or(NO_MEMBER, |line| line.get(slot).current())
}

/// Claims a return entry: the first free one among the flow's candidate ports,
/// or the one that goes most willingly.
#[inline(always)]
fn claim_back<'t, F: Family, T: Tables>(
    tables: &'t T,
    moment: &Moment<'_>,
    opening: &Opening<F::Address>,
    member: &Member,
    member_id: u16,
    selection: u64,
    key: F::Key,
) -> Option<(&'t F::Return, u16)> {
    let address = F::from_words([member.address[0].load(Relaxed), member.address[1].load(Relaxed)]);
    let member_port = member.state().port();
    let vip_and_transport = opening.vip_and_transport;
    let (low, count) = moment.config.snat_ports();
    let willingness = Willingness::new(moment.config.idle_limits(), moment.now);
    let mut best = 0;
    let mut best_port = 0;
    let mut candidate = selection;
    for _ in 0..SNAT_CANDIDATES {
        candidate = hash::mix(candidate.wrapping_add(CANDIDATE));
        let port = low.wrapping_add(hash::scale(candidate, count) as u16);
        let ports = flow::return_ports(member_port, vip_and_transport, port);
        let place = F::return_place(moment.config, address, ports);
        let entry = F::back(tables, place)?;
        let ctl = flow::ctl(entry.ctl());
        // The same flow's own entry, whose forward half got lost or is being
        // opened by another CPU: take the same port again.
        let own = ctl.is_live()
            && ctl.snat_port() == port
            && ctl.member() == member_id
            && entry.key() == key
            && entry.is_from(address, member_port, vip_and_transport);
        if own || ctl == Ctl::FREE {
            if !is_listened(tables, opening, port) && replace(entry.ctl(), ctl, Ctl::CLAIMED) {
                return Some((entry, port));
            }
            continue;
        }
        let willing = willingness.of(ctl);
        if willing > best {
            best = willing;
            best_port = port;
        }
    }
    if best == 0 || is_listened(tables, opening, best_port) {
        return None;
    }
    let ports = flow::return_ports(member_port, vip_and_transport, best_port);
    let entry = F::back(tables, F::return_place(moment.config, address, ports))?;
    let ctl = flow::ctl(entry.ctl());
    if ctl.is_live() && evict_back::<F, T>(tables, moment, entry, ctl) {
        return Some((entry, best_port));
    }
    None
}

/// Whether a listener of the same VIP and transport has this port: replies to
/// it would be taken for its clients' packets.
#[inline(always)]
fn is_listened<F, T: Tables>(tables: &T, opening: &Opening<F>, port: u16) -> bool {
    lookup::listener(tables, listener::key_of(opening.vip_and_transport, port)).is_some()
}

/// Claims a forward entry: a free way of the flow's bucket, or the one that
/// goes most willingly.
#[inline(always)]
pub(super) fn claim_forward<'t, F: Family, T: Tables>(
    tables: &'t T,
    moment: &Moment<'_>,
    key: F::Key,
) -> Option<&'t F::Forward> {
    let first = F::hash(moment.seed(), key) as u32 & F::line_mask(moment.config);
    let willingness = Willingness::new(moment.config.idle_limits(), moment.now);
    let mut best = 0;
    let mut chosen: Option<&'t F::Forward> = None;
    for neighbour in 0..F::LINES {
        let line = F::line(tables, first ^ neighbour)?;
        for entry in F::ways(line) {
            let ctl = flow::ctl(entry.ctl());
            if ctl == Ctl::FREE && replace(entry.ctl(), ctl, Ctl::CLAIMED) {
                return Some(entry);
            }
            let willing = willingness.of(ctl);
            if willing > best {
                best = willing;
                chosen = Some(entry);
            }
        }
    }
    let entry = chosen?;
    let ctl = flow::ctl(entry.ctl());
    if ctl.is_live() && evict_forward::<F, T>(tables, moment, entry, ctl) { Some(entry) } else { None }
}
