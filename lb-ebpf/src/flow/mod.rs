//! The flow table: finding, opening, confirming and giving up NAT flows.
//!
//! It is an ordinary data structure over slices of atomics: no helper calls, no
//! locks. Entries are claimed by a compare-and-swap of their control word and
//! published by a store of it. What may be displaced by a new flow, in this
//! order: what has been idle for too long, what is closed, what is unconfirmed.
//! A confirmed flow in use is never displaced.

use lb_common::atomic::{Ordering::Relaxed, blur, opaque};

use lb_common::{
    config::{Config, IdleLimits},
    flow::{self, Ctl, Stage},
    flow_note::{FlowNote, is_news},
    listener,
    protocol::Transport,
    time::Tick,
};

use crate::{
    family::{Family, ForwardEntry, ReturnEntry, replace},
    live,
    tables::Tables,
};

#[cfg(any(test, feature = "host"))]
pub mod adopt;
mod open;

pub(crate) use open::{claim_back_far, claim_forward_far, open};

/// What a packet's handling needs to know besides the packet.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'t> {
    /// The numbers.
    pub config: &'t Config,
    /// Now.
    pub now: Tick,
}

impl<'t> Moment<'t> {
    /// Reads configuration and clock.
    #[inline(always)]
    pub fn read<T: Tables>(tables: &'t T) -> Option<Self> {
        let config = tables.config()?;
        if !config.is_set() {
            return None;
        }
        let now = Tick::from_jiffies(tables.jiffies(), config.tick_shift());
        Some(Self { config, now })
    }

    /// Seed of the flow hashes.
    #[inline(always)]
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.config.seed.load(Relaxed)
    }
}

/// A forward entry that was found, and its control word at that time.
#[derive(Debug)]
pub struct Found<'t, F: Family> {
    /// The entry.
    pub entry: &'t F::Forward,
    /// Its control word.
    pub ctl: Ctl,
}

/// Where a forward entry is, and its control word at that time.
#[derive(Clone, Copy, Debug)]
pub struct Spot {
    /// Number of its line.
    line: u32,
    /// Its number in the line.
    way: u16,
    /// Its control word.
    pub ctl: Ctl,
}

impl Spot {
    /// The entry. That it is reached by its number leaves the verifier one way
    /// to follow from here, where it would follow one for each entry that was
    /// looked at.
    #[inline(always)]
    pub fn entry<F: Family, T: Tables>(self, tables: &T) -> Option<&F::Forward> {
        F::way(F::line(tables, self.line)?, self.way)
    }
}

/// Finds the forward entry of a flow: usually in the first line it looks at.
#[inline(always)]
pub fn locate<F: Family, T: Tables>(tables: &T, moment: &Moment<'_>, key: F::Key) -> Option<Spot> {
    let first = F::hash(moment.seed(), key) as u32 & F::line_mask(moment.config);
    for neighbour in 0..F::LINES {
        let index = first ^ neighbour;
        let line = F::line(tables, index)?;
        for (way, entry) in F::ways(line).iter().enumerate() {
            let ctl = flow::ctl(entry.ctl());
            // The word is read again after the key: in between, the entry may
            // have been given to another flow.
            if ctl.is_live() && entry.holds(key) && flow::ctl(entry.ctl()).same_flow(ctl) {
                // Which way it was is the same to whoever goes on with it.
                let spot = blur(u64::from(index) | (way as u64) << 32, moment.seed());
                return Some(Spot { line: spot as u32, way: (spot >> 32) as u16, ctl });
            }
        }
    }
    None
}

/// The same with the entry itself.
#[inline(always)]
pub fn find<'t, F: Family, T: Tables>(tables: &'t T, moment: &Moment<'_>, key: F::Key) -> Option<Found<'t, F>> {
    let spot = locate::<F, T>(tables, moment, key)?;
    Some(Found { entry: spot.entry::<F, T>(tables)?, ctl: spot.ctl })
}

/// The return entry of a flow, if it is still there. Another flow may have got
/// the place in between, and then has the same member and SNAT port; the client
/// tells them apart.
#[inline(always)]
pub fn back_of<'t, F: Family, T: Tables>(
    tables: &'t T,
    moment: &Moment<'_>,
    key: F::Key,
    forward: Ctl,
    vip_and_transport: u16,
) -> Option<(&'t F::Return, Ctl)> {
    let found = back_at::<F, T>(tables, moment, forward, vip_and_transport);
    found.filter(|(entry, _)| opaque(entry.key_differs(key)) == 0)
}

/// The return entry of whoever has this member and SNAT port.
#[inline(always)]
pub fn back_at<'t, F: Family, T: Tables>(
    tables: &'t T,
    moment: &Moment<'_>,
    forward: Ctl,
    vip_and_transport: u16,
) -> Option<(&'t F::Return, Ctl)> {
    let member = tables.member(forward.member())?;
    let address = F::from_words([member.address[0].load(Relaxed), member.address[1].load(Relaxed)]);
    let ports = flow::return_ports(member.state().port(), vip_and_transport, forward.snat_port());
    let entry = F::back(tables, F::return_place(moment.config, address, ports))?;
    let ctl = flow::ctl(entry.ctl());
    if ctl.same_flow(forward) && forward.same_flow(ctl) { Some((entry, ctl)) } else { None }
}

/// Whether a flow with these two control words may be displaced.
#[inline(always)]
fn may_go(limits: IdleLimits, tcp: bool, now: Tick, forward: Ctl, back: Ctl) -> bool {
    let idle = now.age(forward.seen()).min(now.age(back.seen()));
    if idle > flow::idle_limit(limits, tcp, forward.stage(), back.stage()) {
        return true;
    }
    if tcp && is_over(forward.stage(), back.stage()) {
        return true;
    }
    forward.is_unconfirmed() && back.is_unconfirmed()
}

/// Whether a connection of TCP or SCTP is over: reset, or closed from both sides.
#[inline(always)]
#[must_use]
pub fn is_over(forward: Stage, back: Stage) -> bool {
    let closed = |s: Stage| matches!(s, Stage::Closing | Stage::Reset);
    (closed(forward) && closed(back)) || matches!(forward, Stage::Reset) || matches!(back, Stage::Reset)
}

/// Notes for another balancer that a direction has gone from one control word to
/// the other, if that is news and notes are wanted. It is asked only where a
/// word was replaced, at most once a tick for each direction of a flow.
#[inline(always)]
pub(crate) fn note<F: Family, T: Tables>(tables: &T, before: Ctl, after: Ctl, vip_and_transport: u16) {
    if is_news(before, after) && tables.config().is_some_and(Config::notes_flows) {
        tables.note(FlowNote::new(after, vip_and_transport, F::IS_V6));
    }
}

/// How willingly entries would be displaced, from their own control words
/// alone.
///
/// It is computed without a branch: the verifier goes through the loops that
/// ask for it once for every path, and a path that knows a class would be
/// followed apart from the others all the way.
#[derive(Clone, Copy, Debug)]
struct Willingness {
    now: Tick,
    /// Four idle limits of sixteen bits, for the stages as [`LIMIT_OF`] says.
    limits: u64,
}

/// Which of the four limits each stage has, two bits a stage.
const LIMIT_OF: u64 = by_stage([3, 3, 0, 0, 1, 2, 2, 2], 2);
/// The class of each stage within its limit, and past it: four bits a stage.
const CLASS_WITHIN: u64 = by_stage([4, 0, 1, 1, 0, 2, 2, 2], 4);
const CLASS_PAST: u64 = by_stage([4, 0, 3, 3, 3, 3, 3, 3], 4);

const fn by_stage(values: [u64; 8], bits: u32) -> u64 {
    let (mut word, mut stage) = (0, 0);
    while stage < 8 {
        word |= values[stage as usize] << (stage * bits);
        stage += 1;
    }
    word
}

impl Willingness {
    #[inline(always)]
    fn new(limits: IdleLimits, now: Tick) -> Self {
        // Either protocol's limit for an established flow: the exact one is
        // checked with both its entries.
        let established = if limits.tcp < limits.udp { limits.tcp } else { limits.udp };
        let limits = u64::from(limits.unconfirmed) | u64::from(established) << 16 | u64::from(limits.tcp_closing) << 32;
        Self { now, limits: limits | 0xffff << 48 }
    }

    /// 0 for never, the higher the sooner: the class comes first, then the age.
    #[inline(always)]
    fn of(self, ctl: Ctl) -> u32 {
        let stage = (ctl.0 >> 60) as u32 & 7;
        let idle = u32::from(self.now.since(ctl.seen()));
        let limit = (self.limits >> ((LIMIT_OF >> (stage * 2) & 3) * 16)) as u32 & 0xffff;
        // Not to be known as a comparison, of which a branch would be made.
        let past = opaque(u64::from(limit).wrapping_sub(u64::from(idle))) >> 63;
        let class = (CLASS_WITHIN + past * (CLASS_PAST - CLASS_WITHIN)) >> (stage * 4) & 0xf;
        // Age counts only within a class that may go at all.
        (class as u32 * 0x1_0000) + (idle & (class as u32).wrapping_neg() >> 16)
    }
}

/// Takes a forward entry away from its flow, with the return entry, if the
/// flow may go. True: the entry is claimed.
#[inline(always)]
fn evict_forward<F: Family, T: Tables>(tables: &T, moment: &Moment<'_>, entry: &F::Forward, ctl: Ctl) -> bool {
    let (_, _, id) = F::key_parts(entry.key());
    let key = tables.listener_of(id).map_or(0, |l| l.key.load(Relaxed));
    if let Some((vip, transport, _)) = listener::parts(key) {
        let vip_and_transport = lb_common::protocol::vip_and_transport(vip, transport);
        if let Some((back, back_ctl)) = back_of::<F, T>(tables, moment, entry.key(), ctl, vip_and_transport) {
            let tcp = !matches!(transport, Transport::Udp);
            if !may_go(moment.config.idle_limits(), tcp, moment.now, ctl, back_ctl) {
                return false;
            }
            if !replace(entry.ctl(), ctl, Ctl::CLAIMED) {
                return false;
            }
            replace(back.ctl(), back_ctl, Ctl::FREE);
            live::given_up(tables, id, ctl.member(), ctl.stage(), back_ctl.stage());
            return true;
        }
    }
    // The other half is gone: the entry serves nobody.
    replace(entry.ctl(), ctl, Ctl::CLAIMED)
}

/// Takes a return entry away from its flow, with the forward entry, if the
/// flow may go. True: the entry is claimed.
#[inline(always)]
fn evict_back<F: Family, T: Tables>(tables: &T, moment: &Moment<'_>, entry: &F::Return, ctl: Ctl) -> bool {
    if let Some(forward) = find::<F, T>(tables, moment, entry.key())
        && forward.ctl.same_flow(ctl)
    {
        let tcp = entry.vip_and_transport() >> 14 != Transport::Udp.code();
        if !may_go(moment.config.idle_limits(), tcp, moment.now, forward.ctl, ctl) {
            return false;
        }
        if !replace(entry.ctl(), ctl, Ctl::CLAIMED) {
            return false;
        }
        replace(forward.entry.ctl(), forward.ctl, Ctl::FREE);
        live::given_up(tables, F::key_parts(entry.key()).2, ctl.member(), forward.ctl.stage(), ctl.stage());
        return true;
    }
    replace(entry.ctl(), ctl, Ctl::CLAIMED)
}
