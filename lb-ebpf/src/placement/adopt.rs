//! Taking in what another balancer has recorded: where a flow goes that the pool's
//! table does not tell, and which member a client has. This half of the table runs
//! outside the kernel only, beside the program that uses the same ways at the same
//! time.
//!
//! The protocol is that of [`super::record`], with what [`crate::flow::adopt`] says
//! of a process that may end between claim and publication: a claim made here has
//! a member and a tick, [`is_abandoned`] tells one that is to be given up, and
//! publication is a compare-and-swap. Listener and member are looked at again after
//! it.
//!
//! Others rely on this: what is in use here is displaced by nothing of another
//! balancer's, but for a record of the same flow that is younger.

use lb_common::{
    atomic::{Ordering::Relaxed, compare_and_swap},
    config::IdleLimits,
    limits::PLACEMENT_LINES,
    listener::{self, ListenerEntry},
    member::MemberState,
    placement::{self, Placement, PlacementStage, PlacementWord},
    pool::{ForwardMode, Persistence},
    protocol::Transport,
    time::Tick,
};

use super::{LINES, Spot, idle_limit, rank};
pub use crate::flow::adopt::Taken;
use crate::{family::Family, flow::Moment, live, lookup, tables::Tables};

/// Two balancers' ticks begin at different moments: an age that is told may be
/// this much off.
const SLACK: u32 = 1;
/// The least rank of what a flow that is about to end may displace: something that
/// has been idle for too long.
const IDLE: u64 = 5 << 16;
/// How often a record is tried to be taken back whose tick packets change.
const TRIES: usize = 16;

/// A record of another balancer, in the numbers of this one. `A`: an address of the
/// VIP's family.
#[derive(Clone, Copy, Debug)]
pub struct Foreign<A> {
    /// What it is found by; not zero.
    pub fingerprint: u64,
    /// `Established`, `Closing` or `Session`.
    pub stage: PlacementStage,
    /// The VIP.
    pub vip: A,
    /// The VIP's id and the transport.
    pub vip_and_transport: u16,
    /// The listener's port, host order.
    pub listener_port: u16,
    /// The listener.
    pub listener: ListenerEntry,
    /// The transport.
    pub transport: Transport,
    /// How the member is reached.
    pub mode: ForwardMode,
    /// The member's id.
    pub member: u16,
    /// The member's address, as its entry has it.
    pub member_address: [u64; 2],
    /// Whether that is one of IPv6.
    pub member_is_ipv6: bool,
    /// The member's port, host order.
    pub member_port: u16,
    /// Whether the flow is one of those in the live counts.
    pub counted: bool,
    /// Ticks since it was last used.
    pub idle: u32,
}

impl<A: Copy> Foreign<A> {
    /// The word that says so, for a flow that has come so far.
    fn word(&self, stage: PlacementStage, seen: Tick) -> PlacementWord {
        let word = PlacementWord::new(stage, self.member, self.listener.id(), self.mode, self.transport, seen);
        // Only of clients that were heard of again does anybody tell.
        let known = matches!(stage, PlacementStage::Session);
        word.counted(self.counted && matches!(stage, PlacementStage::Established)).known(known)
    }

    fn seen(&self, moment: &Moment<'_>) -> Tick {
        moment.now.before(self.idle.min(0xffff) as u16)
    }

    /// Whether a record is about the same member, reached in the same way.
    fn agrees(&self, word: PlacementWord) -> bool {
        word.member() == self.member && word.mode() == self.mode && word.listener() == self.listener.id()
    }

    /// How long its pool's clients stay, in ticks.
    fn timeout<T: Tables>(&self, tables: &T) -> u16 {
        let pool = tables.pool(self.listener.pool());
        Persistence::from_word(pool.map_or(0, |pool| pool.persistence.load(Relaxed))).timeout
    }

    /// Whether it is not worth a way: nothing would keep it.
    fn is_spent<T: Tables>(&self, tables: &T, moment: &Moment<'_>) -> bool {
        let word = self.word(self.stage, moment.now);
        self.idle > u32::from(idle_limit(moment.config.idle_limits(), word, self.timeout(tables)))
    }

    /// Whether VIP, listener and member are still what they were. A member that is
    /// retired gets no flow: it is released as soon as none names it.
    fn stands<F: Family<Address = A>, T: Tables>(&self, tables: &T) -> bool {
        let vip = F::vip(tables, self.vip).map(|vip| vip.id());
        let listener = lookup::listener(tables, listener::key_of(self.vip_and_transport, self.listener_port));
        let same_listener = listener.is_some_and(|l| l.id() == self.listener.id() && l.pool() == self.listener.pool());
        vip == Some(self.vip_and_transport & 0x3fff) && same_listener && self.has_member(tables)
    }

    fn has_member<T: Tables>(&self, tables: &T) -> bool {
        let Some(member) = tables.member(self.member) else { return false };
        let (state, address) = (member.state(), &member.address);
        state.has(MemberState::VALID)
            && !state.has(MemberState::RETIRED)
            && state.has(MemberState::IPV6) == self.member_is_ipv6
            && (state.pool(), state.port()) == (self.listener.pool(), self.member_port)
            && [address[0].load(Relaxed), address[1].load(Relaxed)] == self.member_address
    }
}

/// Takes a record in. Its listener and its member were there a moment ago.
pub fn adopt<F: Family, T: Tables>(tables: &T, moment: &Moment<'_>, foreign: &Foreign<F::Address>) -> Taken {
    let found = ways(tables, foreign.fingerprint).find(|(_, way)| is_of(way, foreign.fingerprint));
    if let Some((_, way)) = found
        && let word = way.word()
        && word.is_live()
        && u32::from(moment.now.age(word.seen())) <= limit(tables, moment, foreign, word)
    {
        return refresh::<F, T>(tables, moment, foreign, way, word);
    }
    if foreign.is_spent(tables, moment) {
        return Taken::Ended;
    }
    if !foreign.stands::<F, T>(tables) {
        return Taken::Gone;
    }
    match found {
        // Its own way, where it has been idle for too long.
        Some((_, way)) => put_over::<F, T>(tables, moment, foreign, way, way.word()),
        None => insert::<F, T>(tables, moment, foreign),
    }
}

fn limit<A: Copy, T: Tables>(tables: &T, moment: &Moment<'_>, foreign: &Foreign<A>, word: PlacementWord) -> u32 {
    u32::from(idle_limit(moment.config.idle_limits(), word, foreign.timeout(tables)))
}

/// The ways that a fingerprint may have, with where they are.
fn ways<T: Tables>(tables: &T, fingerprint: u64) -> impl Iterator<Item = (Spot, &Placement)> {
    let first = placement::line(fingerprint, PLACEMENT_LINES);
    let lines = (0..LINES).map(move |neighbour| first ^ neighbour);
    let lines = lines.filter_map(|number| Some((number, tables.placement_line(number)?)));
    lines.flat_map(|(number, line)| (0..).zip(&line.ways).map(move |(way, found)| (Spot::new(number, way), found)))
}

fn is_of(way: &Placement, fingerprint: u64) -> bool {
    way.fingerprint.load(Relaxed) == fingerprint && way.word().is_live()
}

/// Gives a record that is there, and in use, what is news in the other one.
///
/// The younger of the two knows better. If both are of about the same age and name
/// the same member, the flow has come as far as either says; a flow of which only
/// the opening packet was seen here, or one since a change, or which is about to end,
/// gives way to one
/// that goes on elsewhere.
fn refresh<F: Family, T: Tables>(
    tables: &T,
    moment: &Moment<'_>,
    foreign: &Foreign<F::Address>,
    way: &Placement,
    here: PlacementWord,
) -> Taken {
    use PlacementStage::{Closing, Established, Moved, New, Session};
    let (ours, theirs) = (u32::from(moment.now.age(here.seen())), foreign.idle);
    let agrees = foreign.agrees(here);
    if theirs > ours + SLACK || (here.stage() == Session) != (foreign.stage == Session) {
        return if agrees { Taken::Refreshed } else { Taken::Place };
    }
    let is_younger = theirs + SLACK < ours;
    if !agrees {
        let yields = matches!(here.stage(), New | Moved | Closing) && foreign.stage == Established;
        if !is_younger && !yields {
            return Taken::Place;
        }
        if !foreign.stands::<F, T>(tables) {
            return Taken::Gone;
        }
        return put_over::<F, T>(tables, moment, foreign, way, here);
    }
    let stage = match here.stage() {
        stage if is_younger || matches!(stage, New | Moved) => foreign.stage,
        stage => stage.max(foreign.stage),
    };
    let seen = if theirs < ours { foreign.seen(moment) } else { here.seen() };
    let counted = stage == Established && (here.is_counted() || foreign.counted);
    let after = here.with(stage, seen).counted(counted).known(stage == Session);
    if after != here && compare_and_swap(&way.word, here.0, after.0) {
        match (here.is_counted(), counted) {
            (false, true) => live::began(tables, here.listener(), here.member()),
            (true, false) => live::ended(tables, here.listener(), here.member()),
            _ => {}
        }
    }
    // Losing the race means that a packet has brought later news.
    if stage == Closing && here.stage() != Closing { Taken::Ended } else { Taken::Refreshed }
}

/// Puts the record where another one of the same fingerprint is.
fn put_over<F: Family, T: Tables>(
    tables: &T,
    moment: &Moment<'_>,
    foreign: &Foreign<F::Address>,
    way: &Placement,
    here: PlacementWord,
) -> Taken {
    let word = foreign.word(foreign.stage, foreign.seen(moment));
    begin(tables, word);
    if !here.is_live() || !compare_and_swap(&way.word, here.0, word.0) {
        end(tables, word);
        return Taken::Place;
    }
    end(tables, here);
    confirm::<F, T>(tables, foreign, way)
}

/// Enters a record that is not there.
fn insert<F: Family, T: Tables>(tables: &T, moment: &Moment<'_>, foreign: &Foreign<F::Address>) -> Taken {
    let limits = moment.config.idle_limits();
    let least = if foreign.stage == PlacementStage::Closing { IDLE } else { 1 };
    let ranked = ways(tables, foreign.fingerprint).map(|(_, way)| (rank(moment, limits, way.word()), way));
    let Some((_, way)) = ranked.filter(|(rank, _)| *rank >= least).max_by_key(|(rank, _)| *rank) else {
        return Taken::Full;
    };
    let found = way.word();
    let claim = foreign.word(PlacementStage::Claimed, moment.now);
    // It may have been taken in the moment since.
    if rank(moment, limits, found) < least || !compare_and_swap(&way.word, found.0, claim.0) {
        return Taken::Full;
    }
    end(tables, found);
    way.fingerprint.store(foreign.fingerprint, Relaxed);
    let word = foreign.word(foreign.stage, foreign.seen(moment));
    begin(tables, word);
    if !compare_and_swap(&way.word, claim.0, word.0) {
        end(tables, word);
        return Taken::Place;
    }
    // A packet may have recorded its flow between the first look and now.
    let others = ways(tables, foreign.fingerprint).filter(|(_, other)| !core::ptr::eq(*other, way));
    if others.into_iter().any(|(_, other)| is_of(other, foreign.fingerprint)) {
        give_up(tables, foreign, way);
        return Taken::Place;
    }
    confirm::<F, T>(tables, foreign, way)
}

/// Whoever removes a listener or releases a member has looked at what was
/// published, or is seen here.
fn confirm<F: Family, T: Tables>(tables: &T, foreign: &Foreign<F::Address>, way: &Placement) -> Taken {
    if foreign.stands::<F, T>(tables) {
        return Taken::New;
    }
    give_up(tables, foreign, way);
    Taken::Gone
}

/// Frees a way that was published a moment ago, if it still says the same.
fn give_up<A: Copy, T: Tables>(tables: &T, foreign: &Foreign<A>, way: &Placement) {
    for _ in 0..TRIES {
        let word = way.word();
        if !is_of(way, foreign.fingerprint) || !foreign.agrees(word) {
            return;
        }
        if compare_and_swap(&way.word, word.0, PlacementWord::FREE.0) {
            return end(tables, word);
        }
    }
}

fn begin<T: Tables>(tables: &T, word: PlacementWord) {
    if word.is_counted() {
        live::began(tables, word.listener(), word.member());
    }
}

fn end<T: Tables>(tables: &T, word: PlacementWord) {
    if word.is_counted() {
        live::ended(tables, word.listener(), word.member());
    }
}

/// Whether a way was claimed by a process that has not come back for it. The
/// program's own claims name no member, and last for less than a microsecond.
#[must_use]
pub fn is_abandoned(now: Tick, limits: IdleLimits, word: PlacementWord) -> bool {
    matches!(word.stage(), PlacementStage::Claimed)
        && word != PlacementWord::CLAIMED
        && now.age(word.seen()) > limits.unconfirmed
}
