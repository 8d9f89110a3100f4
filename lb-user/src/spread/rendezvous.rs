//! The fill of a table: rendezvous hashing (Thaler and Ravishankar, "Using
//! name-based mappings to increase hit rates", IEEE/ACM ToN 6(1), 1998) with
//! weights and bounded loads (Mirrokni, Thorup and Zadimoghaddam, "Consistent
//! Hashing with Bounded Loads", SODA 2018). Pure.
//!
//! What must not be here: who may get slots, and how many a table has.
//!
//! Others rely on this: who gets a slot follows from an order of all pairs of a
//! member and a slot, in which the place of a pair depends on nothing but the
//! two and the member's weight. The pairs are gone through in this order; a pair
//! is a match if the slot is free and the member below its most. So a member
//! that leaves frees its own slots, and moves others only where they go to
//! somebody who has his most: he gives up his last one for it.
//!
//! The order is by moments. A member walks over all slots in an order of its
//! own, Maglev's permutation, and is at the k-th of `slots` when an
//! exponentially distributed time of its weight passes the quantile
//! k ÷ `slots`. Slots then go to members in proportion to their weights
//! exactly as in weighted rendezvous, but each member draws every quantile once,
//! which halves the variance of what it gets; and the walk needs no hash.

use std::ops::Range;

use lb_common::hash;

mod repair;

pub(super) use repair::Matching;

/// Somebody who gets slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Party {
    /// Who it is.
    pub(super) identity: u64,
    /// Not zero.
    pub(super) weight: u16,
    /// Slots that it gets at least. All of them together are no more than there are.
    pub(super) least: u32,
    /// Slots that it gets at most. All of them together are at least as many as there are.
    pub(super) most: u32,
}

/// Free slots that are looked for before they are put in order: enough for the
/// walkers to take some steps each, and few enough to stay in a near cache.
const BATCH: u64 = 2048;

/// Steps of all walkers together that a batch has at most: near the end, when
/// hardly a slot is free, more would lead far past the last one.
const STEPS: u64 = 16_384;

/// Gives each slot to a party, named by its index. `parties` are in an order that
/// follows from the set alone, not empty and less than 2¹⁶.
pub(super) fn fill(parties: &[Party], slots: u32) -> Vec<u16> {
    let Fill { mut owners, mut held, .. } = Fill::in_order(parties, slots);
    lift(parties, slots, &mut owners, &mut held);
    owners
}

/// When members of a weight are where.
struct Pace {
    weight: u16,
    /// 2²⁰ ÷ weight.
    scale: u64,
    /// The place in their walks that they have reached.
    place: u32,
    /// And where they are to go before the next batch is sorted.
    until: u32,
}

/// A party's walk over all slots: Maglev's permutation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Walk {
    position: u32,
    skip: u32,
}

impl Walk {
    /// `slots` is a prime above one, so any skip below it visits every slot.
    fn new(identity: u64, slots: u32) -> Self {
        let (offset, skip) = (hash::one(1, identity), hash::one(2, identity));
        Self { position: hash::scale(offset, slots), skip: hash::scale(skip, slots - 1) + 1 }
    }

    /// The slot at a place of the walk, from here.
    fn ahead(&self, place: u32, slots: u32) -> u32 {
        let ahead = u64::from(place) * u64::from(self.skip) + u64::from(self.position);
        (ahead % u64::from(slots)) as u32
    }

    fn step(&mut self, slots: u32) -> u32 {
        let slot = self.position;
        self.position += self.skip;
        if self.position >= slots {
            self.position -= slots;
        }
        slot
    }
}

impl Walk {
    /// Goes on to other places and finds those whose slots are free: puts place
    /// and slot of each at the front of `seen`, and says how many they are. Each
    /// is put down and most are written over again, because a branch that is
    /// taken now and then costs more than the rest of a step.
    fn look(&mut self, places: Range<u32>, slots: u32, taken: &[u64], seen: &mut Vec<(u32, u32)>) -> usize {
        if seen.len() <= places.len() {
            seen.resize(places.len() + 1, (0, 0));
        }
        let (mut walk, mut found) = (*self, 0);
        for place in places {
            let slot = walk.step(slots);
            seen[found] = (place, slot);
            found += usize::from(taken[slot as usize / 64] >> (slot % 64) & 1 == 0);
        }
        *self = walk;
        found
    }
}

struct Walker {
    walk: Walk,
    /// Index into the paces.
    pace: u16,
    party: u16,
}

struct Fill<'a> {
    parties: &'a [Party],
    slots: u32,
    /// The unit exponential distribution's quantiles k ÷ slots, times 2⁴⁰, as
    /// far as they were needed.
    quantiles: Vec<u64>,
    /// A bit for each slot that is taken: nearly all steps of a walk lead to one
    /// that is, and the bits of the largest table stay in the nearest cache.
    taken: Vec<u64>,
    free: u32,
    owners: Vec<u16>,
    held: Vec<u32>,
    /// The moment of the last match.
    latest: u32,
}

/// 2²⁰ ÷ weight.
fn scale_of(weight: u16) -> u64 {
    (1 << 20) / u64::from(weight.max(1))
}

/// Has the quantiles reach as far as this one, of `slots`.
fn reach(quantiles: &mut Vec<u64>, place: u32, slots: u32) {
    while quantiles.len() <= place as usize {
        let (last, k) = (quantiles.last().copied().unwrap_or(0), quantiles.len() as u64);
        quantiles.push(if k == 0 { 0 } else { last + (1 << 40) / (u64::from(slots) - k + 1) });
    }
}

/// The moment of a quantile for members of a weight. All that is compared are these 32
/// bits, and the pair's hash if they are equal: sixteen units for each step of the
/// largest weight in the largest table.
fn moment_of(quantile: u64, scale: u64) -> u32 {
    // At most 2⁴⁰ × ln(65537) × 2²⁰ before it is cut: below 2⁶⁴.
    ((quantile * scale) >> 32) as u32
}

/// What decides between members who are at a slot at the same moment.
fn lot_of(identity: u64, slot: u32) -> u64 {
    hash::two(3, identity, u64::from(slot)) >> 32
}

impl<'a> Fill<'a> {
    fn new(parties: &'a [Party], slots: u32) -> Self {
        Self {
            parties,
            slots,
            quantiles: Vec::new(),
            taken: vec![0; slots.div_ceil(64) as usize],
            free: slots,
            owners: vec![0; slots as usize],
            held: vec![0; parties.len()],
            latest: 0,
        }
    }

    /// The moment at which the k-th step of a walk is taken by members of a pace.
    fn moment(&mut self, place: u32, scale: u64) -> u32 {
        reach(&mut self.quantiles, place, self.slots);
        moment_of(self.quantiles[place as usize], scale)
    }

    /// Goes through all pairs in their order.
    fn in_order(parties: &'a [Party], slots: u32) -> Self {
        let mut fill = Self::new(parties, slots);
        fill.go_through();
        fill
    }

    /// Goes through all pairs batch by batch. Where a batch ends makes no difference,
    /// since it holds all pairs of its moments.
    fn go_through(&mut self) {
        let (mut paces, mut walkers) = self.start();
        let total: u64 = self.parties.iter().map(|p| u64::from(p.weight)).sum();
        let mut end = 0u64;
        let (mut hits, mut seen): (Vec<(u64, u32, u16)>, _) = (Vec::new(), Vec::new());
        while self.free > 0 && !walkers.is_empty() {
            // A step of weight one takes at least 2²⁸ ÷ slots units of time.
            let steps = (BATCH * u64::from(self.slots) / u64::from(self.free)).min(STEPS);
            end += ((steps << 28) / u64::from(self.slots) / total).max(1);
            let end = u32::try_from(end).unwrap_or(u32::MAX);
            for pace in &mut paces {
                pace.place = pace.until;
                while pace.until < self.slots && self.moment(pace.until, pace.scale) <= end {
                    pace.until += 1;
                }
            }
            hits.clear();
            for walker in &mut walkers {
                let pace = &paces[usize::from(walker.pace)];
                let found = walker.walk.look(pace.place..pace.until, self.slots, &self.taken, &mut seen);
                let identity = self.parties[usize::from(walker.party)].identity;
                for &(place, slot) in &seen[..found] {
                    let moment = u64::from(self.moment(place, pace.scale));
                    hits.push((moment << 32 | lot_of(identity, slot), slot, walker.party));
                }
            }
            hits.sort_unstable();
            for &(rank, slot, party) in &hits {
                self.offer((rank >> 32) as u32, slot, party);
            }
            walkers.retain(|w| self.held[usize::from(w.party)] < self.parties[usize::from(w.party)].most);
            if end == u32::MAX {
                break;
            }
        }
    }

    fn start(&self) -> (Vec<Pace>, Vec<Walker>) {
        let mut weights: Vec<u16> = self.parties.iter().map(|p| p.weight).collect();
        weights.sort_unstable();
        weights.dedup();
        let pace = |&weight: &u16| Pace { weight, scale: scale_of(weight), place: 0, until: 0 };
        let paces: Vec<Pace> = weights.iter().map(pace).collect();
        let walker = |(party, p): (u16, &Party)| Walker {
            walk: Walk::new(p.identity, self.slots),
            pace: paces.partition_point(|pace| pace.weight < p.weight) as u16,
            party,
        };
        let walkers = (0..).zip(self.parties).map(walker).collect();
        (paces, walkers)
    }

    fn offer(&mut self, moment: u32, slot: u32, party: u16) {
        let (word, bit) = (&mut self.taken[slot as usize / 64], 1 << (slot % 64));
        let held = &mut self.held[usize::from(party)];
        if *word & bit == 0 && *held < self.parties[usize::from(party)].most {
            *word |= bit;
            *held += 1;
            self.owners[slot as usize] = party;
            self.free -= 1;
            self.latest = moment;
        }
    }
}

/// Those who got less than their least take the first slots of their walks
/// that belong to somebody with more than his. There always are some, since
/// what all get at least is no more than there is.
fn lift(parties: &[Party], slots: u32, owners: &mut [u16], held: &mut [u32]) {
    for (party, index) in parties.iter().zip(0u16..) {
        let mut walk = Walk::new(party.identity, slots);
        for _ in 0..slots {
            if held[usize::from(index)] >= party.least {
                break;
            }
            let owner = &mut owners[walk.step(slots) as usize];
            let from = usize::from(*owner);
            if *owner != index && held[from] > parties[from].least {
                held[from] -= 1;
                held[usize::from(index)] += 1;
                *owner = index;
            }
        }
    }
}

#[cfg(test)]
#[path = "rendezvous_tests.rs"]
mod tests;
