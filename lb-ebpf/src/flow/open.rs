//! Opening a flow: which member, which SNAT port, which two entries.

use lb_common::atomic::Ordering::Relaxed;

use lb_common::{
    drop_reason::DropReason,
    flow::{self, Ctl, Stage},
    hash,
    limits::{SLOTS_PER_LINE, SNAT_CANDIDATES},
    listener::{self, ListenerEntry},
    mac::Mac,
    member::{Member, MemberState},
    pool::PoolEntry,
    protocol::{Transport, vip_and_transport},
};

use super::{Moment, evict_back, evict_forward, willingness};
use crate::{
    family::{Family, ForwardEntry, ReturnEntry, replace},
    lookup,
    tables::Tables,
};

/// What a flow is opened from.
#[derive(Clone, Copy, Debug)]
pub struct Opening<A> {
    /// The client's address.
    pub client: A,
    /// The client's port, host order.
    pub client_port: u16,
    /// The VIP's address.
    pub vip: A,
    /// The VIP's id.
    pub vip_id: u16,
    /// The listener's transport.
    pub transport: Transport,
    /// The listener's port, host order.
    pub port: u16,
    /// The listener.
    pub listener: ListenerEntry,
    /// Who sent the client's frame.
    pub last_hop: Mac,
    /// Whom it was addressed to.
    pub own: Mac,
    /// The number of the port it came in by.
    pub ingress_port: u16,
    /// Digest of the three, see [`flow::last_hop_digest`].
    pub digest: u16,
}

/// A flow that was opened.
#[derive(Debug)]
pub struct Opened<'t> {
    /// Its member.
    pub member: &'t Member,
    /// The member's id.
    pub member_id: u16,
    /// Its SNAT port, host order.
    pub snat_port: u16,
}

/// Mixed into the selection hash once a candidate, so that each candidate port
/// is independent of the slot and of the others.
const CANDIDATE: u64 = 0x9e37_79b9_7f4a_7c15;

/// Opens a flow. In the kernel this is a function of its own: a call costs
/// nothing beside the two cold lines it touches, and the packet path keeps its
/// registers.
///
/// # Errors
/// The reason the flow is refused.
#[cfg_attr(target_arch = "bpf", inline(never))]
pub fn open<'t, F: Family, T: Tables>(
    tables: &'t T,
    moment: &Moment<'_>,
    opening: &Opening<F::Address>,
) -> Result<Opened<'t>, DropReason> {
    let (member_id, member, selection) = pick::<F, T>(tables, moment, opening)?;
    if member.next_hop().is_none() {
        return Err(DropReason::MemberUnresolved);
    }
    let key = F::key(opening.client, opening.client_port, opening.listener.id());
    let (back, snat_port) = claim_back::<F, T>(tables, moment, opening, member, member_id, selection, key)?;
    let Some(forward) = claim_forward::<F, T>(tables, moment, key) else {
        back.ctl().store(Ctl::FREE.0, Relaxed);
        return Err(DropReason::FlowTableFull);
    };

    let address = F::from_words([member.address[0].load(Relaxed), member.address[1].load(Relaxed)]);
    back.fill(key, address, member.state().port(), vip_and_transport(opening.vip_id, opening.transport));
    back.last_hop().store(opening.last_hop.with_low(opening.ingress_port), Relaxed);
    back.own().store(opening.own.with_low(opening.port), Relaxed);
    publish(back.ctl(), Ctl::new(Stage::New, snat_port, member_id, moment.now, 0));
    forward.set_key(key);
    publish(forward.ctl(), Ctl::new(Stage::New, snat_port, member_id, moment.now, opening.digest));
    Ok(Opened { member, member_id, snat_port })
}

/// Makes a claimed entry visible, after everything that was stored into it.
#[inline(always)]
fn publish(word: &lb_common::atomic::AtomicU64, ctl: Ctl) {
    // A plain store would be enough on x86 only.
    word.swap(ctl.0, lb_common::atomic::Ordering::SeqCst);
}

/// Chooses the member: the slot that the flow's hash names.
#[inline(always)]
fn pick<'t, F: Family, T: Tables>(
    tables: &'t T,
    moment: &Moment<'_>,
    opening: &Opening<F::Address>,
) -> Result<(u16, &'t Member, u64), DropReason> {
    let pool = tables.pool(opening.listener.pool()).map_or(0, |p| p.entry.load(Relaxed));
    let pool = PoolEntry(pool);
    if pool.length() == 0 {
        return Err(DropReason::PoolEmpty);
    }
    let client = F::words(opening.client);
    let vip = F::words(opening.vip);
    let ports =
        (u64::from(opening.client_port) << 32) | (u64::from(opening.port) << 16) | u64::from(opening.transport.code());
    let flow_hash = hash::selection(moment.seed, client, vip, ports);
    let slot_hash = if pool.hashes_source_only() { hash::selection(moment.seed, client, vip, 0) } else { flow_hash };
    let slot = pool.first().wrapping_add(hash::scale(slot_hash, pool.length()));
    let line = tables.slot_line(slot / SLOTS_PER_LINE).ok_or(DropReason::MemberMissing)?;
    let slot = line.get(slot);
    let member = tables.member(slot.current()).ok_or(DropReason::MemberMissing)?;
    if !member.state().has(MemberState::VALID) {
        return Err(DropReason::MemberMissing);
    }
    Ok((slot.current(), member, flow_hash))
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
) -> Result<(&'t F::Return, u16), DropReason> {
    let address = F::from_words([member.address[0].load(Relaxed), member.address[1].load(Relaxed)]);
    let member_port = member.state().port();
    let vip_and_transport = vip_and_transport(opening.vip_id, opening.transport);
    let (low, count) = moment.config.snat_ports();
    let limits = moment.config.idle_limits();
    let mut best = 0;
    let mut best_port = 0;
    let mut candidate = selection;
    for _ in 0..SNAT_CANDIDATES {
        candidate = hash::mix(candidate.wrapping_add(CANDIDATE));
        let port = low.wrapping_add(hash::scale(candidate, count) as u16);
        let ports = flow::return_ports(member_port, vip_and_transport, port);
        let place = F::return_place(moment.config, address, ports);
        let entry = F::back(tables, place).ok_or(DropReason::NotConfigured)?;
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
                return Ok((entry, port));
            }
            continue;
        }
        let willing = willingness(limits, moment.now, ctl);
        if willing > best {
            best = willing;
            best_port = port;
        }
    }
    if best == 0 || is_listened(tables, opening, best_port) {
        return Err(DropReason::SnatPortsExhausted);
    }
    let ports = flow::return_ports(member_port, vip_and_transport, best_port);
    let entry = F::back(tables, F::return_place(moment.config, address, ports)).ok_or(DropReason::NotConfigured)?;
    let ctl = flow::ctl(entry.ctl());
    if ctl.is_live() && evict_back::<F, T>(tables, moment, entry, ctl) {
        return Ok((entry, best_port));
    }
    Err(DropReason::SnatPortsExhausted)
}

/// Whether a listener of the same VIP and transport has this port: replies to
/// it would be taken for its clients' packets.
#[inline(always)]
fn is_listened<F, T: Tables>(tables: &T, opening: &Opening<F>, port: u16) -> bool {
    lookup::listener(tables, listener::key(opening.vip_id, opening.transport, port)).is_some()
}

/// Claims a forward entry: a free way of the flow's bucket, or the one that
/// goes most willingly.
#[inline(always)]
fn claim_forward<'t, F: Family, T: Tables>(tables: &'t T, moment: &Moment<'_>, key: F::Key) -> Option<&'t F::Forward> {
    let first = F::hash(moment.seed, key) as u32 & F::line_mask(moment.config);
    let limits = moment.config.idle_limits();
    let mut best = 0;
    let mut chosen: Option<&'t F::Forward> = None;
    for neighbour in 0..F::LINES {
        let line = F::line(tables, first ^ neighbour)?;
        for entry in F::ways(line) {
            let ctl = flow::ctl(entry.ctl());
            if ctl == Ctl::FREE && replace(entry.ctl(), ctl, Ctl::CLAIMED) {
                return Some(entry);
            }
            let willing = willingness(limits, moment.now, ctl);
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
