//! Pools: their tables and slots, and what a change of them leaves behind until
//! the flows it moved away from are over.
//!
//! Others rely on this: the slots of [`Pool::previous`] are nobody else's for as
//! long as the word is there, and the words of a pool are stored in the order that
//! [`lb_common::pool`] asks for.

use std::{
    collections::BTreeSet,
    ops::Range,
    time::{Duration, Instant},
};

use lb_common::{
    atomic::Ordering::{Relaxed, Release},
    config::IdleLimits,
    label::Labelled,
    limits::{MAX_TABLE_SLOTS, SLOTS_PER_LINE},
    member::NO_MEMBER,
    pool::{ForwardMode, NO_POOL, Persistence, Pool, PoolEntry, Until},
    time::{Tick, tick_millis},
};
use lb_ebpf::host::Arrays;

use super::{
    super::{DataplaneError, MemberId, ObservedPool, PoolId, PoolRecord},
    GRACE, Left, TableWriter, index, is_valid_member, label_of, pool_of, refused,
};
use lb_common::listener::ListenerEntry;

/// Ticks in so many seconds, at least one.
fn ticks(arrays: &impl Arrays, seconds: u64) -> u16 {
    let tick = u64::from(tick_millis(arrays.config().hz.load(Relaxed) as u32)).max(1);
    u16::try_from((seconds * 1000).div_ceil(tick)).unwrap_or(u16::MAX).max(1)
}

/// When a hold that begins now ends. A datagram does not say whether it is the
/// first of its flow: after the idle limit of UDP it is.
pub(super) fn hold(arrays: &impl Arrays, hold: Duration, now: Tick) -> Until {
    if hold.is_zero() {
        return Until { tcp: now, udp: now };
    }
    // Half the range of ticks tells before from after.
    let tcp = ticks(arrays, hold.as_secs()).min(0x7fff);
    let IdleLimits { udp, .. } = arrays.config().idle_limits();
    let after = |ticks: u16| Tick(now.0.wrapping_add(ticks));
    Until { tcp: after(tcp), udp: after(tcp.min(udp)) }
}

impl TableWriter {
    /// Writes a table aside and switches the pool to it.
    pub(super) fn put_pool(
        &mut self,
        arrays: &impl Arrays,
        id: PoolId,
        record: &PoolRecord,
        table: &[MemberId],
        until: Until,
    ) -> Result<(), DataplaneError> {
        let slot = arrays.pools().get(usize::from(id.0)).filter(|_| id.0 != NO_POOL);
        let pool = slot.ok_or_else(|| refused("put pool", format!("id {} is out of range", id.0)))?;
        if let Some(member) = named_in(table).find(|member| !is_valid_member(arrays, *member)) {
            return Err(refused("put pool", format!("member {} does not exist", member.0)));
        }
        let length = u32::try_from(table.len()).unwrap_or(u32::MAX);
        if length > MAX_TABLE_SLOTS {
            return Err(DataplaneError::Full { table: "SLOTS", limit: MAX_TABLE_SLOTS });
        }
        let same_pool = label_of(arrays, Labelled::Pool(id.0)) == record.label;
        if !same_pool {
            // Another pool by the same number: its members are none of those who
            // came for the one before.
            self.disown(id);
        }
        let before = pool.entry();
        let flags = record.flags & !PoolEntry::CHANGING;
        let as_before = before.is_valid() && same_pool && before.length() == length && is_table(arrays, before, table);
        let first = match length {
            0 => 0,
            _ if as_before => before.first(),
            _ => self.write_table(arrays, id, length, table)?,
        };
        let mut entry = PoolEntry::new(first, length, record.mode, record.algorithm, flags);
        let moves = !as_before || before.mode() != entry.mode() || before.algorithm() != entry.algorithm();
        let changing = before.is_valid() && before.has(PoolEntry::CHANGING) && same_pool;
        // The flow table knows the flows of `nat`, whatever the pool's table says.
        let is_nat = |entry: PoolEntry| matches!(entry.mode(), ForwardMode::Nat);
        let begins = before.is_valid() && same_pool && before.length() > 0 && !(is_nat(before) && is_nat(entry));
        if changing || begins && moves {
            entry = entry.with_flags(entry.flags() | PoolEntry::CHANGING);
            if moves {
                pool.until.store(until.to_word(), Relaxed);
            }
            if !changing {
                pool.previous.store(before.with_flags(before.flags() & !PoolEntry::CHANGING).0, Release);
            }
        }
        arrays.labels()[Labelled::Pool(id.0).index() as usize].set(&record.label);
        let Persistence { timeout, prefix4, prefix6 } = record.persistence;
        let timeout_ticks = if timeout == 0 { 0 } else { ticks(arrays, u64::from(timeout)) };
        pool.persistence.store(Persistence { timeout: timeout_ticks, prefix4, prefix6 }.to_word(), Relaxed);
        pool.options.store(u64::from(record.mss) | u64::from(timeout) << 16, Relaxed);
        pool.entry.store(entry.0, Release);
        if !entry.has(PoolEntry::CHANGING) {
            self.leave_previous(pool);
        }
        if first != before.first() || length != before.length() {
            // Until the first change is over, its table is what `previous` names.
            let is_previous =
                PoolEntry(pool.previous.load(Relaxed)).first() == before.first() && pool.previous.load(Relaxed) != 0;
            if !is_previous {
                // A packet in flight that finds a slot of a newer table finds a
                // member of the pool, which is good enough for a new flow, and
                // not for one that the table itself tells.
                self.leave(before, is_nat(before).then_some(id));
            }
        }
        Ok(())
    }

    fn write_table(
        &mut self,
        arrays: &impl Arrays,
        id: PoolId,
        length: u32,
        table: &[MemberId],
    ) -> Result<u32, DataplaneError> {
        let first = self.free_slots(arrays, id, length)?;
        for (line, members) in (first / SLOTS_PER_LINE..).zip(table.chunks(SLOTS_PER_LINE as usize)) {
            let line = arrays.slot_line(line);
            let line = line.ok_or_else(|| refused("put pool", "SLOTS cannot be mapped: is there memory left?"))?;
            for (number, four) in (0..).zip(members.chunks(4)) {
                line.set_four(number, std::array::from_fn(|at| four.get(at).map_or(NO_MEMBER, |member| member.0)));
            }
        }
        Ok(first)
    }

    /// Ends a change: from now on the table before it is forgotten.
    pub(super) fn settle_pool(&mut self, arrays: &impl Arrays, id: PoolId) -> Result<(), DataplaneError> {
        let entry =
            pool_of(arrays, id).ok_or_else(|| refused("settle pool", format!("pool {} does not exist", id.0)))?;
        let pool = &arrays.pools()[usize::from(id.0)];
        pool.entry.store(entry.with_flags(entry.flags() & !PoolEntry::CHANGING).0, Release);
        self.leave_previous(pool);
        Ok(())
    }

    fn leave_previous(&mut self, pool: &Pool) {
        let previous = PoolEntry(pool.previous.load(Relaxed));
        if previous.is_valid() {
            pool.previous.store(0, Release);
            // The pool may have gone back to that very table.
            let now = pool.entry();
            if now.length() == 0 || now.first() != previous.first() {
                self.leave(previous, None);
            }
        }
    }

    pub(super) fn remove_pool(&mut self, arrays: &impl Arrays, id: PoolId) -> Result<(), DataplaneError> {
        let pool = pool_of(arrays, id).ok_or_else(|| refused("remove pool", "no such id"))?;
        if index::iter(arrays.listeners()).any(|(_, entry)| ListenerEntry(entry).pool() == id.0) {
            return Err(refused("remove pool", format!("a listener uses pool {}", id.0)));
        }
        let words = &arrays.pools()[usize::from(id.0)];
        words.entry.store(0, Release);
        self.leave_previous(words);
        arrays.labels()[Labelled::Pool(id.0).index() as usize].clear();
        self.leave(pool, None);
        self.disown(id);
        Ok(())
    }

    fn leave(&mut self, table: PoolEntry, pool: Option<PoolId>) {
        if table.length() > 0 {
            self.left.push(Left { since: Instant::now(), range: range_of(table), pool });
        }
    }

    /// What a pool has left waits for everybody alike.
    fn disown(&mut self, id: PoolId) {
        self.left.iter_mut().filter(|left| left.pool == Some(id)).for_each(|left| left.pool = None);
    }

    /// The slots that the pool has left itself, if the table fits them, or the
    /// first gap of `length` slots that no table has or has just left.
    fn free_slots(&mut self, arrays: &impl Arrays, id: PoolId, length: u32) -> Result<u32, DataplaneError> {
        self.left.retain(|left| left.since.elapsed() < GRACE);
        let lines = length.next_multiple_of(SLOTS_PER_LINE) as usize;
        let fits = |left: &Left| left.pool == Some(id) && left.range.len() == lines;
        if let Some(own) = self.left.iter().position(fits) {
            return Ok(self.left.swap_remove(own).range.start);
        }
        let total = arrays.slot_lines() * SLOTS_PER_LINE;
        let mut used: Vec<Range<u32>> = self.left.iter().map(|left| left.range.clone()).collect();
        used.extend(tables(arrays).map(|(_, table)| range_of(table)));
        used.sort_by_key(|range| range.start);
        let mut start = 0;
        for range in used {
            if range.start.saturating_sub(start) >= length {
                break;
            }
            start = start.max(range.end);
        }
        if start + length <= total { Ok(start) } else { Err(DataplaneError::Full { table: "SLOTS", limit: total }) }
    }
}

/// Every table that has slots, previous ones among them.
fn tables(arrays: &impl Arrays) -> impl Iterator<Item = (u16, PoolEntry)> {
    let of = |pool: &Pool| [pool.entry(), PoolEntry(pool.previous.load(Relaxed))];
    let all = (0..).zip(arrays.pools()).flat_map(move |(id, pool)| of(pool).map(|table| (id, table)));
    all.filter(|(_, table)| table.is_valid() && table.length() > 0)
}

/// The slots a pool occupies, whole lines.
fn range_of(pool: PoolEntry) -> Range<u32> {
    pool.first()..pool.first() + pool.length().next_multiple_of(SLOTS_PER_LINE)
}

/// Which members the pools' present tables name, by id.
pub(super) fn named(arrays: &impl Arrays) -> Vec<bool> {
    let mut named = vec![false; arrays.members().len()];
    for table in arrays.pools().iter().map(Pool::entry).filter(|table| table.is_valid() && table.length() > 0) {
        for member in table_of(arrays, table) {
            if let Some(named) = named.get_mut(usize::from(member.0)) {
                *named = true;
            }
        }
    }
    named
}

/// Marks the members that tables of unfinished changes name.
pub(in super::super) fn name_previous(arrays: &dyn Arrays, named: &mut [bool]) {
    for pool in arrays.pools() {
        let previous = PoolEntry(pool.previous.load(Relaxed));
        if !previous.is_valid() {
            continue;
        }
        for slot in previous.first()..previous.first() + previous.length() {
            let member = arrays.slot_line(slot / SLOTS_PER_LINE).map_or(NO_MEMBER, |line| line.get(slot));
            if let Some(named) = named.get_mut(usize::from(member)) {
                *named = true;
            }
        }
    }
}

/// The members that a table names, each once.
fn named_in(table: &[MemberId]) -> impl Iterator<Item = MemberId> {
    let mut seen = vec![0u64; usize::from(u16::MAX) / 64 + 1];
    table.iter().copied().filter(move |member| {
        let (word, bit) = (&mut seen[usize::from(member.0) / 64], 1 << (member.0 % 64));
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    })
}

/// Whether a pool's slots say what this table says; it is as long.
fn is_table(arrays: &impl Arrays, pool: PoolEntry, table: &[MemberId]) -> bool {
    let mut lines = (pool.first() / SLOTS_PER_LINE..).zip(table.chunks(SLOTS_PER_LINE as usize));
    lines.all(|(line, members)| {
        let line = arrays.slot_line(line);
        line.is_some_and(|line| (0..).zip(members).all(|(at, member)| line.get(at) == member.0))
    })
}

pub(super) fn table_of(arrays: &impl Arrays, pool: PoolEntry) -> Vec<MemberId> {
    let mut table = Vec::with_capacity(pool.length() as usize);
    let (mut slot, end) = (pool.first(), pool.first() + pool.length());
    while slot < end {
        let next = end.min((slot / SLOTS_PER_LINE + 1) * SLOTS_PER_LINE);
        if let Some(line) = arrays.slot_line(slot / SLOTS_PER_LINE) {
            table.extend((slot..next).map(|slot| MemberId(line.get(slot))));
        }
        slot = next;
    }
    table
}

/// A pool as it is.
pub(super) fn observe(arrays: &impl Arrays, id: u16, entry: PoolEntry) -> ObservedPool {
    let words = &arrays.pools()[usize::from(id)];
    let options = words.options.load(Relaxed);
    let persistence = Persistence::from_word(words.persistence.load(Relaxed));
    let record = PoolRecord {
        label: label_of(arrays, Labelled::Pool(id)),
        mode: entry.mode(),
        algorithm: entry.algorithm(),
        flags: entry.flags() & !PoolEntry::CHANGING,
        persistence: Persistence { timeout: (options >> 16) as u16, ..persistence },
        mss: options as u16,
    };
    ObservedPool { record, table: table_of(arrays, entry) }
}

/// Pools that have an unfinished change.
pub(in super::super) fn changing(arrays: &impl Arrays) -> Vec<PoolId> {
    let pools = (0..).zip(arrays.pools()).map(|(id, pool)| (PoolId(id), pool.entry()));
    pools.filter(|(_, entry)| entry.is_valid() && entry.has(PoolEntry::CHANGING)).map(|(id, _)| id).collect()
}

/// Whether packets of a pool look at what is recorded, even with no change under
/// way. Those to a pool of `nat` look into the flow table.
const fn looks_at_records(entry: PoolEntry) -> bool {
    entry.has(PoolEntry::RECORDS | PoolEntry::PERSISTENT) && !matches!(entry.mode(), ForwardMode::Nat)
}

/// Has pools look at what is recorded of them, if they do not: another balancer,
/// which has the change behind it or is in the middle of it, told where flows go
/// that the table here gives to others. It is a change from the table to itself,
/// with nothing to hold: new flows go by the table and are not recorded, and it is
/// over as every other one when no recorded flow is left.
pub(super) fn heed(arrays: &impl Arrays, placed: &BTreeSet<PoolId>, now: Tick) {
    for pool in placed.iter().filter_map(|id| arrays.pools().get(usize::from(id.0))) {
        let entry = pool.entry();
        if !entry.is_valid() || entry.has(PoolEntry::CHANGING) || looks_at_records(entry) {
            continue;
        }
        pool.previous.store(entry.0, Release);
        pool.until.store(Until { tcp: now, udp: now }.to_word(), Relaxed);
        pool.entry.store(entry.with_flags(entry.flags() | PoolEntry::CHANGING).0, Release);
    }
}

/// Pools with an unfinished change whose hold is over, and whether packets of each
/// look at records anyway. A hold that ended long ago is renewed: ticks come round, and
/// must not find it in the future again.
pub(in super::super) fn held(arrays: &impl Arrays, now: Tick) -> Vec<(PoolId, bool)> {
    let mut over = Vec::new();
    for (id, pool) in (0..).zip(arrays.pools()) {
        let entry = pool.entry();
        if !entry.is_valid() || !entry.has(PoolEntry::CHANGING) {
            continue;
        }
        let until = Until::from_word(pool.until.load(Relaxed));
        if until.holds(false, now) || until.holds(true, now) {
            continue;
        }
        pool.until.store(Until { tcp: now, udp: now }.to_word(), Relaxed);
        over.push((PoolId(id), looks_at_records(entry)));
    }
    over
}

#[cfg(test)]
#[path = "pools_tests.rs"]
mod tests;
