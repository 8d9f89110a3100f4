//! A round of looking whether the maps still say what was last written to them, a part
//! at a time. Pure.
//!
//! To read and compile everything takes a tenth of a second with ten thousand members,
//! and twice the memory of what is kept. So between two whole comparisons (after a start,
//! a reload, an error) the maps are compared with what is kept: since that is what should
//! be, whatever differs is what the whole comparison would find, and is left to it.
//!
//! What must not be here: the maps, clocks, what is done about a difference.
//!
//! Invariant others rely on: the parts of one round are everything there is, also what
//! nobody has written; and a part is read in about a millisecond, as long as nobody has
//! written many entries that are not kept.

use std::ops::Range;

use lb_common::limits::{MAX_MEMBERS, MAX_POOLS, MAX_TABLE_SLOTS};

use crate::dataplane::{MemberId, Observed, Part, PoolId};

/// Most members of a part.
const MEMBERS: usize = 1024;

/// Most slots of a part's tables. One table may have as many.
const SLOTS: usize = MAX_TABLE_SLOTS as usize;

/// Most pools of a part.
const POOLS: usize = 1024;

/// What is to be done next in a round.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// Compare a part.
    Compare(Part),
    /// Free the ids of retired members whose flows have ended.
    Release,
}

/// How far a round has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Round {
    /// Members from this id on.
    Members(u16),
    /// Pools from this id on.
    Pools(u16),
    /// Everything else.
    Rest,
    /// Retired members.
    Release,
    /// Nothing.
    #[default]
    Over,
}

impl Round {
    /// The beginning of one.
    pub(super) const BEGIN: Self = Self::Members(0);

    /// Whether nothing is left.
    pub(super) fn is_over(self) -> bool {
        self == Self::Over
    }

    /// What is to be done next, if anything is. `kept` is what the maps should say.
    pub(super) fn step(&mut self, kept: &Observed) -> Option<Step> {
        let step = match *self {
            Self::Members(from) => {
                let ids = kept.members.range(MemberId(from)..).map(|(id, _)| id.0).take(MEMBERS);
                let to = ids.last().filter(|id| u32::from(*id) < MAX_MEMBERS).map(|id| id + 1);
                // Those behind the last one, too: nobody is to be there.
                let more = to.filter(|to| kept.members.range(MemberId(*to)..).next().is_some());
                *self = more.map_or(Self::Pools(0), Self::Members);
                Part::Members(from..more.unwrap_or(u16::MAX))
            }
            Self::Pools(from) => {
                let more = self.next_pool(from, kept);
                *self = more.map_or(Self::Rest, Self::Pools);
                Part::Pools(from..more.unwrap_or(u16::MAX))
            }
            Self::Rest => {
                *self = Self::Release;
                Part::Rest
            }
            Self::Release => {
                *self = Self::Over;
                return Some(Step::Release);
            }
            Self::Over => return None,
        };
        Some(Step::Compare(step))
    }

    /// The pool that a part which begins with another leaves for the next part.
    fn next_pool(self, from: u16, kept: &Observed) -> Option<u16> {
        let mut slots = 0;
        let pools = kept.pools.range(PoolId(from)..).filter(|(id, _)| u32::from(id.0) < MAX_POOLS);
        for (number, (id, pool)) in pools.enumerate() {
            slots += pool.table.len();
            if id.0 > from && number > 0 && (slots > SLOTS || number >= POOLS) {
                return Some(id.0);
            }
        }
        None
    }
}

/// Whether a part of the maps says what is kept of it. Whether an instance is Active is
/// not the controller's to write.
pub(super) fn agrees(part: &Part, kept: &Observed, seen: &Observed) -> bool {
    match part {
        Part::Everything => {
            agrees(&Part::Members(ALL), kept, seen)
                && agrees(&Part::Pools(ALL), kept, seen)
                && agrees(&Part::Rest, kept, seen)
        }
        Part::Members(ids) => kept.members.range(MemberId(ids.start)..MemberId(ids.end)).eq(&seen.members),
        Part::Pools(ids) => kept.pools.range(PoolId(ids.start)..PoolId(ids.end)).eq(&seen.pools),
        Part::Rest => {
            let instances = |observed: &Observed| -> Vec<_> {
                observed.instances.iter().map(|(id, it)| (*id, it.label.clone(), it.mac)).collect()
            };
            kept.vips == seen.vips
                && kept.listeners == seen.listeners
                && kept.advert_sources == seen.advert_sources
                && kept.snat_ports == seen.snat_ports
                && instances(kept) == instances(seen)
        }
    }
}

const ALL: Range<u16> = 0..u16::MAX;

#[cfg(test)]
#[path = "resync_tests.rs"]
mod tests;
