//! Which member a new flow gets, where that is more than the slot of a hash.

use lb_common::{
    atomic::{Ordering::Relaxed, opaque},
    drop_reason::DropReason,
    hash,
    limits::SLOTS_PER_LINE,
    member::MemberState,
    pool::{Algorithm, Persistence, Pool, PoolEntry},
};

use crate::{
    client::slot,
    far::Choice,
    flow::Moment,
    placement::{self, Spot},
    tables::Tables,
};

/// Slots looked at for a member below its limit.
const TRIES: u32 = 8;

/// Mixed into a hash for the next one.
const NEXT: u64 = 0xd6e8_feb8_6659_fd93;

/// The member of a new flow of a client that stays with its member; `session` is
/// the client's fingerprint.
///
/// # Errors
/// The reason that nobody takes it.
#[inline(always)]
pub(crate) fn of_client<T: Tables>(
    tables: &T,
    moment: &Moment<'_>,
    pool_id: u16,
    pool: &Pool,
    hash: u64,
    session: u64,
) -> Result<Choice, DropReason> {
    let entry = pool.entry();
    let spot = Spot(placement::find(tables, session));
    if let Some(way) = spot.placement(tables) {
        let word = way.word();
        let timeout = Persistence::from_word(pool.persistence.load(Relaxed)).timeout;
        let is_own = word.is_live() && way.fingerprint.load(Relaxed) == session;
        if is_own && !placement::is_idle(moment, word, timeout) && takes(tables, word.member(), pool_id) {
            placement::note(tables, moment, spot, (way, word), true, false);
            return Ok(Choice::member(word.member(), 0, entry.mode()));
        }
    }
    let member = fresh(tables, pool, entry, hash)?;
    Ok(Choice::member(member, 0, entry.mode()).of_client_to_record())
}

/// Whether a client may go on with a member that it had before.
#[inline(always)]
fn takes<T: Tables>(tables: &T, id: u16, pool: u16) -> bool {
    let state = tables.member(id).map_or(MemberState::default(), |member| member.state());
    let stands = state.has(MemberState::VALID | MemberState::UP) && state.0 & MemberState::DRAINING == 0;
    stands && state.pool() == pool && !tables.member_load(id).is_some_and(|load| load.is_full())
}

/// A member by the pool's algorithm, below its limit.
///
/// # Errors
/// [`DropReason::PoolEmpty`], [`DropReason::MemberConnectionLimit`].
#[inline(always)]
pub(crate) fn fresh<T: Tables>(tables: &T, pool: &Pool, entry: PoolEntry, hash: u64) -> Result<u16, DropReason> {
    if entry.length() == 0 {
        return Err(DropReason::PoolEmpty);
    }
    let limited = entry.has(PoolEntry::LIMITS_MEMBERS);
    let turns = matches!(entry.algorithm(), Algorithm::RoundRobin);
    let mut turn = if turns { pool.turn.fetch_add(1, Relaxed) } else { 0 };
    let mut hash = hash;
    // Not unrolled: each turn would have its own lookups, and the kernel rewrites the
    // program once for each of those.
    for _ in 0..opaque(u64::from(TRIES)) {
        let member = if turns {
            by_turn(tables, entry, turn)
        } else if matches!(entry.algorithm(), Algorithm::LeastConnections) {
            by_load(tables, entry, hash)
        } else {
            slot(tables, entry, hash)
        };
        if !limited || !tables.member_load(member).is_some_and(|load| load.is_full()) {
            return Ok(member);
        }
        turn = turn.wrapping_add(1);
        hash = hash::mix(hash.wrapping_add(NEXT));
    }
    Err(DropReason::MemberConnectionLimit)
}

/// The member whose turn it is.
#[inline(always)]
fn by_turn<T: Tables>(tables: &T, entry: PoolEntry, turn: u64) -> u16 {
    let length = entry.length();
    let place = entry.first().wrapping_add(if length == 0 { 0 } else { turn as u32 % length });
    tables.slot_line(place / SLOTS_PER_LINE).map_or(0, |line| line.get(place))
}

/// Of two members the one with fewer flows for its weight (Mitzenmacher, "The
/// Power of Two Choices in Randomized Load Balancing", 2001).
#[inline(always)]
fn by_load<T: Tables>(tables: &T, entry: PoolEntry, hash: u64) -> u16 {
    let one = slot(tables, entry, hash);
    let other = slot(tables, entry, hash::mix(hash ^ NEXT));
    let of = |id| {
        // Less than none, as two CPUs may leave it for a moment, is none.
        let live = tables.member_load(id).map_or(0, |load| load.live.load(Relaxed));
        let weight = tables.member(id).map_or(1, |member| member.state().weight());
        (if live >> 63 != 0 { 0 } else { live & 0xffff_ffff_ffff }, u64::from(weight))
    };
    let ((live, weight), (other_live, other_weight)) = (of(one), of(other));
    if other_live * weight < live * other_weight { other } else { one }
}
