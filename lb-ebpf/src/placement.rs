//! The table of placements: flows whose member the pool's table does not tell, and
//! clients that stay with theirs.
//!
//! An ordinary data structure over slices of atomics, as the flow table is. A way
//! is claimed by a compare-and-swap of its word and published by a store of it.
//! What may be displaced, in this order: what has been idle for too long, what is
//! closing, what is new (flows of which only the opening packet was seen, and clients
//! that have no other), what a change of the table moved and was heard once. What is
//! established and in use never is.

use lb_common::{
    atomic::{Ordering::Relaxed, blur, compare_and_swap},
    config::{Config, IdleLimits},
    flow_note::FlowNote,
    limits::PLACEMENT_LINES,
    placement::{self, Placement, PlacementStage, PlacementWord, is_news},
};

use crate::{flow::Moment, live, tables::Tables};

#[cfg(any(test, feature = "host"))]
pub mod adopt;

/// Lines of a bucket, neighbours in memory: a fingerprint has eight ways.
const LINES: u32 = 2;

/// Where a placement is: number of its line (bits 0–31), its way (32–47), and
/// that there is one (63).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot(pub(crate) u64);

impl Spot {
    /// Nowhere.
    pub(crate) const NONE: Self = Self(0);

    #[inline(always)]
    const fn new(line: u32, way: usize) -> Self {
        Self(line as u64 | (way as u64) << 32 | 1 << 63)
    }

    /// Packed above a word's lower sixteen bits.
    #[inline(always)]
    pub(crate) const fn over(self, low: u16) -> u64 {
        let line = self.0 & (PLACEMENT_LINES as u64 - 1);
        low as u64 | line << 16 | (self.0 >> 32 & 3) << 48 | self.0 >> 63 << 63
    }

    /// Back from there.
    #[inline(always)]
    pub(crate) const fn above(word: u64) -> Self {
        Self(word >> 16 & (PLACEMENT_LINES as u64 - 1) | (word >> 48 & 3) << 32 | word >> 63 << 63)
    }

    /// Notes for another balancer what is recorded there, if notes are wanted.
    #[inline(always)]
    pub(crate) fn tell<T: Tables>(self, tables: &T) {
        if tables.config().is_some_and(Config::notes_flows) {
            tables.note(FlowNote::of_placement(self.0 as u32, (self.0 >> 32) as u32));
        }
    }

    /// The placement.
    #[inline(always)]
    pub(crate) fn placement<T: Tables>(self, tables: &T) -> Option<&Placement> {
        if self.0 >> 63 == 0 {
            return None;
        }
        tables.placement_line(self.0 as u32)?.ways.get((self.0 >> 32) as usize % 4)
    }
}

/// How long a placement may be idle. `session` is how long clients stay.
#[inline(always)]
const fn idle_limit(limits: IdleLimits, word: PlacementWord, session: u16) -> u16 {
    match word.stage() {
        PlacementStage::Established | PlacementStage::Moved if word.is_udp() => limits.udp,
        PlacementStage::Established | PlacementStage::Moved => limits.tcp,
        PlacementStage::Closing => limits.tcp_closing,
        PlacementStage::Session => session,
        _ => limits.unconfirmed,
    }
}

/// Whether a placement is too old to count. `session` is its pool's persistence
/// timeout in ticks, for those of clients.
#[inline(always)]
#[must_use]
pub(crate) fn is_idle(moment: &Moment<'_>, word: PlacementWord, session: u16) -> bool {
    moment.now.age(word.seen()) > idle_limit(moment.config.idle_limits(), word, session)
}

/// Finds the placement with a fingerprint, however old. A far call; returns a
/// [`Spot`].
#[inline(always)]
pub(crate) fn find<T: Tables>(tables: &T, fingerprint: u64) -> u64 {
    let Some(moment) = Moment::read(tables) else { return Spot::NONE.0 };
    let first = placement::line(fingerprint, PLACEMENT_LINES);
    for neighbour in 0..LINES {
        let Some(line) = tables.placement_line(first ^ neighbour) else { return Spot::NONE.0 };
        for (number, way) in line.ways.iter().enumerate() {
            if way.fingerprint.load(Relaxed) == fingerprint && way.word().is_live() {
                return blur(Spot::new(first ^ neighbour, number).0, moment.seed());
            }
        }
    }
    Spot::NONE.0
}

/// Records a placement, in the way that the fingerprint has already or in one
/// that is free or may be displaced. A far call; returns its [`Spot`], or 0 where
/// there is none.
#[inline(always)]
pub(crate) fn record<T: Tables>(tables: &T, fingerprint: u64, word: u64) -> u64 {
    let Some(moment) = Moment::read(tables) else { return 0 };
    let limits = moment.config.idle_limits();
    let first = placement::line(fingerprint, PLACEMENT_LINES);
    let (mut best, mut spot) = (0, Spot::NONE.0);
    for neighbour in 0..LINES {
        let Some(line) = tables.placement_line(first ^ neighbour) else { return 0 };
        for (number, way) in line.ways.iter().enumerate() {
            let found = way.word();
            let own = found.is_live() && way.fingerprint.load(Relaxed) == fingerprint;
            let rank = if own { 7 << 16 } else { rank(&moment, limits, found) };
            if rank > best {
                (best, spot) = (rank, Spot::new(first ^ neighbour, number).0);
            }
            best = blur(best, moment.seed());
            spot = blur(spot, moment.seed());
        }
    }
    let Some(way) = Spot(spot).placement(tables).filter(|_| best != 0) else { return 0 };
    let found = way.word();
    if matches!(found.stage(), PlacementStage::Claimed)
        || !compare_and_swap(&way.word, found.0, PlacementWord::CLAIMED.0)
    {
        return 0;
    }
    if found.is_counted() {
        live::ended(tables, found.listener(), found.member());
    }
    way.fingerprint.store(fingerprint, Relaxed);
    way.word.swap(word, lb_common::atomic::Ordering::SeqCst);
    spot
}

/// How willingly a way is given to another flow: 0 for never, the higher the
/// sooner; the class comes first, then the age.
#[inline(always)]
fn rank(moment: &Moment<'_>, limits: IdleLimits, word: PlacementWord) -> u64 {
    let age = moment.now.age(word.seen());
    // Whose persistence timeout it is nobody knows here; userspace does, and takes
    // out what has gone past it.
    let is_idle = age > idle_limit(limits, word, limits.tcp);
    let class = match word.stage() {
        PlacementStage::Free => return 6 << 16,
        PlacementStage::Claimed => return 0,
        _ if is_idle => 5,
        PlacementStage::Closing => 4,
        PlacementStage::New => 3,
        PlacementStage::Session if !word.is_known() => 3,
        PlacementStage::Moved => 2,
        PlacementStage::Established | PlacementStage::Session => return 0,
    };
    (class << 16) + u64::from(age)
}

/// Notes what a packet says about its flow: that it goes on, or ends. `ends`: it
/// has FIN or RST; `opens`: it is like the first one. What is news is told. True:
/// it is the first packet by which the flow goes on.
#[inline(always)]
pub(crate) fn note<T: Tables>(
    tables: &T,
    moment: &Moment<'_>,
    spot: Spot,
    (way, before): (&Placement, PlacementWord),
    opens: bool,
    ends: bool,
) -> bool {
    let stage = match before.stage() {
        _ if ends => PlacementStage::Closing,
        stage @ (PlacementStage::New | PlacementStage::Moved) if opens => stage,
        PlacementStage::New | PlacementStage::Moved => PlacementStage::Established,
        stage => stage,
    };
    let closes = ends && before.is_counted();
    let after = before.with(stage, moment.now).counted(before.is_counted() && !ends);
    if after != before && compare_and_swap(&way.word, before.0, after.0) {
        if closes {
            live::ended(tables, before.listener(), before.member());
        }
        if is_news(before, after) {
            spot.tell(tables);
        }
    }
    matches!(before.stage(), PlacementStage::New | PlacementStage::Moved)
        && matches!(stage, PlacementStage::Established)
}

#[cfg(test)]
#[path = "placement_tests.rs"]
mod tests;
