//! Opening a flow: which member, which SNAT port, which two entries.

use lb_common::atomic::{Ordering::Relaxed, blur};

use lb_common::{
    drop_reason::DropReason,
    flow::{self, Ctl, Stage},
    hash,
    limits::SNAT_CANDIDATES,
    listener::{self, ListenerEntry},
    member::{Member, MemberState, NextHop},
    pool::ForwardMode,
    time::Tick,
};

use super::{Moment, Willingness, evict_back, evict_forward};
use crate::{
    client::{Arrival, Path},
    family::{Family, ForwardEntry, ReturnEntry, replace},
    far::{Call, Choice, Facts, of_family},
    ingress::Ingress,
    live, lookup,
    packet::Packet,
    select::Ends,
    tables::Tables,
};

/// Opens the flow of a packet to a listener of a `nat` pool, whose return entry
/// has been claimed (see [`claim_back_far`]). `whose` is the
/// listener's id (bits 0–15), VIP and transport (16–31) and the member's id
/// (32–47). A far call.
#[inline(always)]
pub(crate) fn open<F: Family, T: Tables>(
    packet: &mut Packet<'_>,
    tables: &T,
    facts: Facts,
    whose: u64,
    ingress: Ingress,
    claim: u64,
) -> Choice {
    match opened::<F, T>(packet, tables, facts, whose, ingress, Claim(claim)) {
        Ok(choice) => choice,
        Err(reason) => {
            tables.count_refused(whose as u16);
            Choice::refused(reason)
        }
    }
}

#[inline(always)]
fn opened<F: Family, T: Tables>(
    packet: &mut Packet<'_>,
    tables: &T,
    facts: Facts,
    whose: u64,
    ingress: Ingress,
    back: Claim,
) -> Result<Choice, DropReason> {
    let member_id = (whose >> 32) as u16;
    let entry = back.entry(|index| F::back(tables, index)).ok_or(DropReason::SnatPortsExhausted)?;
    let Some(member) = tables.member(member_id).filter(|member| member.state().has(MemberState::VALID)) else {
        entry.ctl().store(Ctl::FREE.0, Relaxed);
        return Err(DropReason::MemberMissing);
    };
    if NextHop::port_in(member.next_hop_words()).is_none() {
        entry.ctl().store(Ctl::FREE.0, Relaxed);
        return Err(DropReason::MemberUnresolved);
    }
    let claim = of_family::<F>(Call::ClaimForward4, Call::ClaimForward6);
    let forward = Claim(tables.far(packet, claim, [facts.0, whose, 0, 0]));
    let line = forward.entry(|index| F::line(tables, index));
    let Some(forward) = line.and_then(|line| F::way(line, forward.extra())) else {
        entry.ctl().store(Ctl::FREE.0, Relaxed);
        return Err(DropReason::FlowTableFull);
    };
    let filled = fill::<F, T>(packet, tables, facts, whose, ingress, (entry, forward), member);
    let Some((now, digest)) = filled else {
        // The frame was read before; it cannot have become shorter.
        entry.ctl().store(Ctl::FREE.0, Relaxed);
        forward.ctl().store(Ctl::FREE.0, Relaxed);
        return Err(DropReason::MalformedTransport);
    };
    let snat_port = back.extra();
    publish(entry.ctl(), Ctl::new(Stage::New, snat_port, member_id, now, 0));
    publish(forward.ctl(), Ctl::new(Stage::New, snat_port, member_id, now, digest));
    // A listener that was removed meanwhile has had its flows forgotten: either
    // this one was seen then, or its listener is seen to be gone now.
    if !stands(packet, tables, facts, whose) {
        replace(forward.ctl(), Ctl::new(Stage::New, snat_port, member_id, now, digest), Ctl::FREE);
        replace(entry.ctl(), Ctl::new(Stage::New, snat_port, member_id, now, 0), Ctl::FREE);
        return Err(DropReason::NoListener);
    }
    live::began(tables, whose as u16, member_id);
    tables.count_new_flow(whose as u16, member_id);
    Ok(Choice::member(member_id, snat_port, ForwardMode::Nat))
}

/// Whether the listener that a flow was opened for is still there.
#[inline(always)]
fn stands<T: Tables>(packet: &Packet<'_>, tables: &T, facts: Facts, whose: u64) -> bool {
    let Some((_, port)) = facts.headers().1.ports(packet) else { return false };
    lookup::listener(tables, listener::key_of((whose >> 16) as u16, port)).is_some_and(|l| l.id() == whose as u16)
}

/// Stores all of both entries but their control words, for which it returns the
/// tick and the digest of the client's last hop.
#[inline(always)]
fn fill<F: Family, T: Tables>(
    packet: &Packet<'_>,
    tables: &T,
    facts: Facts,
    whose: u64,
    ingress: Ingress,
    (entry, forward): (&F::Return, &F::Forward),
    member: &Member,
) -> Option<(Tick, u16)> {
    let (client_port, port) = facts.headers().1.ports(packet)?;
    let key = F::key(F::source(packet)?, client_port, whose as u16);
    let path = Path::of(packet)?;
    let ingress_port = ingress.port(tables).ok()?;
    let address = F::from_words([member.address[0].load(Relaxed), member.address[1].load(Relaxed)]);
    entry.fill(key, address, member.state().port(), (whose >> 16) as u16);
    entry.last_hop().store(path.last_hop(ingress_port), Relaxed);
    entry.own().store(path.own(port), Relaxed);
    forward.set_key(key);
    Some((Moment::read(tables)?.now, path.digest(ingress)))
}

/// An entry that was claimed: its index or that of its line (bits 0–31), its
/// SNAT port or its way (32–47), and that there is one (63).
#[derive(Clone, Copy, Debug)]
struct Claim(u64);

impl Claim {
    #[inline(always)]
    const fn new(index: u32, extra: u16) -> Self {
        Self(index as u64 | (extra as u64) << 32 | 1 << 63)
    }

    #[inline(always)]
    const fn extra(self) -> u16 {
        (self.0 >> 32) as u16
    }

    #[inline(always)]
    fn entry<E>(self, at: impl FnOnce(u32) -> Option<E>) -> Option<E> {
        if self.0 >> 63 == 0 { None } else { at(self.0 as u32) }
    }
}

/// Claims the return entry of a packet's flow; `whose` as for [`open`]. A far
/// call; returns a [`Claim`], or 0.
#[inline(always)]
pub(crate) fn claim_back_far<F: Family, T: Tables>(packet: &Packet<'_>, tables: &T, facts: Facts, whose: u64) -> u64 {
    let (network, segment) = facts.headers();
    let (listener, vip, member_id) = (whose as u16, (whose >> 16) as u16, (whose >> 32) as u16);
    let (ingress, listener) = (Ingress(0), ListenerEntry(u64::from(listener)));
    let arrival = Arrival { network, segment, vip, listener, ingress };
    let claimed = (|| {
        let moment = Moment::read(tables)?;
        let ends = Ends::<F>::of(packet, &arrival)?;
        claim_back::<F, T>(tables, &moment, &ends, &arrival, member_id)
    })();
    claimed.map_or(0, |claim| claim.0)
}

/// Claims the forward entry of a packet's flow. A far call; returns a [`Claim`],
/// or 0.
#[inline(always)]
pub(crate) fn claim_forward_far<F: Family, T: Tables>(
    packet: &Packet<'_>,
    tables: &T,
    facts: Facts,
    listener: u16,
) -> u64 {
    let (_, segment) = facts.headers();
    let claimed = (|| {
        let moment = Moment::read(tables)?;
        let key = F::key(F::source(packet)?, segment.ports(packet)?.0, listener);
        claim_place::<F, T>(tables, &moment, key)
    })();
    claimed.map_or(0, |claim| claim.0)
}

/// Makes a claimed entry visible, after everything that was stored into it.
#[inline(always)]
fn publish(word: &lb_common::atomic::AtomicU64, ctl: Ctl) {
    // A plain store would be enough on x86 only.
    word.swap(ctl.0, lb_common::atomic::Ordering::SeqCst);
}

/// Claims a return entry: the first free one among the flow's candidate ports,
/// or the one that goes most willingly.
#[inline(always)]
fn claim_back<F: Family, T: Tables>(
    tables: &T,
    moment: &Moment<'_>,
    ends: &Ends<F>,
    arrival: &Arrival,
    member_id: u16,
) -> Option<Claim> {
    let member = tables.member(member_id)?;
    let key = ends.key(arrival.listener.id());
    let address = F::from_words([member.address[0].load(Relaxed), member.address[1].load(Relaxed)]);
    let member_port = member.state().port();
    let vip_and_transport = arrival.vip;
    let (low, count) = moment.config.snat_ports();
    let willingness = Willingness::new(moment.config.idle_limits(), moment.now);
    let mut best = 0;
    let mut best_port = 0;
    let mut candidate = ends.selection(moment.seed(), ends.ports());
    for _ in 0..SNAT_CANDIDATES {
        candidate = hash::mix(candidate.wrapping_add(hash::SPREAD));
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
            if !is_listened(tables, vip_and_transport, port) && replace(entry.ctl(), ctl, Ctl::CLAIMED) {
                return Some(Claim::new(place, port));
            }
            continue;
        }
        let willing = willingness.of(ctl);
        if willing > best {
            best = willing;
            best_port = port;
        }
        let both = blur(u64::from(best) << 16 | u64::from(best_port), moment.seed());
        (best, best_port) = ((both >> 16) as u32, both as u16);
    }
    if best == 0 || is_listened(tables, vip_and_transport, best_port) {
        return None;
    }
    let ports = flow::return_ports(member_port, vip_and_transport, best_port);
    let place = F::return_place(moment.config, address, ports);
    let entry = F::back(tables, place)?;
    let ctl = flow::ctl(entry.ctl());
    let goes = ctl.is_live() && evict_back::<F, T>(tables, moment, entry, ctl);
    goes.then(|| Claim::new(place, best_port))
}

/// Whether a listener of the same VIP and transport has this port: replies to
/// it would be taken for its clients' packets.
#[inline(always)]
fn is_listened<T: Tables>(tables: &T, vip_and_transport: u16, port: u16) -> bool {
    lookup::listener(tables, listener::key_of(vip_and_transport, port)).is_some()
}

/// Claims a forward entry: a free way of the flow's bucket, or the one that
/// goes most willingly.
#[cfg(any(test, feature = "host"))]
pub(super) fn claim_forward<'t, F: Family, T: Tables>(
    tables: &'t T,
    moment: &Moment<'_>,
    key: F::Key,
) -> Option<&'t F::Forward> {
    let claim = claim_place::<F, T>(tables, moment, key)?;
    F::way(claim.entry(|index| F::line(tables, index))?, claim.extra())
}

#[inline(always)]
fn claim_place<F: Family, T: Tables>(tables: &T, moment: &Moment<'_>, key: F::Key) -> Option<Claim> {
    let first = F::hash(moment.seed(), key) as u32 & F::line_mask(moment.config);
    let willingness = Willingness::new(moment.config.idle_limits(), moment.now);
    let mut best = 0;
    let mut chosen = 0;
    for neighbour in 0..F::LINES {
        let line = F::line(tables, first ^ neighbour)?;
        for (way, entry) in F::ways(line).iter().enumerate() {
            let ctl = flow::ctl(entry.ctl());
            let spot = u64::from(neighbour) << 8 | way as u64;
            if ctl == Ctl::FREE && replace(entry.ctl(), ctl, Ctl::CLAIMED) {
                return Some(Claim::new(first ^ neighbour, way as u16));
            }
            let willing = willingness.of(ctl);
            if willing > best {
                best = willing;
                chosen = spot;
            }
            let both = blur(u64::from(best) << 16 | chosen, moment.seed());
            (best, chosen) = ((both >> 16) as u32, both & 0xffff);
        }
    }
    if best == 0 {
        return None;
    }
    let (index, way) = (first ^ (chosen >> 8) as u32, chosen as u16 & 0xff);
    let entry = F::way(F::line(tables, index)?, way)?;
    let ctl = flow::ctl(entry.ctl());
    let goes = ctl.is_live() && evict_forward::<F, T>(tables, moment, entry, ctl);
    goes.then(|| Claim::new(index, way))
}
