//! A fill that is changed where its members change, and not made anew. Pure.
//!
//! What must not be here: an order of pairs of its own. It is that of the fill.
//!
//! Invariant others rely on: what comes of a change is what a new fill would be, to the
//! slot. Members and slots agree in whom they like best: a pair that comes earlier in the
//! order suits both better. So there is one stable matching (no slot and member that
//! would both rather have each other than what they have; Gale and Shapley, "College
//! admissions and the stability of marriage", 1962), and the fill, which goes through
//! the pairs in their order, makes it. Here whoever would rather have somebody else gets
//! him, until nobody would. Each such step puts a pair in the place of later ones, so
//! it ends.

use super::{Fill, Party, Walk, lift, lot_of, moment_of, reach, scale_of};

/// No party.
const NOBODY: u16 = u16::MAX;

/// No place.
const NOWHERE: u32 = u32::MAX;

/// When more of the members than one in so many are others, a new fill is less work.
const FEW: usize = 8;

/// A stable matching of slots and parties: a fill before [`lift`].
#[derive(Clone, Debug)]
pub(in crate::spread) struct Matching {
    slots: u32,
    parties: Vec<Party>,
    seats: Vec<Seat>,
    owners: Vec<u16>,
    held: Vec<u32>,
    /// As far as they were needed.
    quantiles: Vec<u64>,
    /// No pair of the matching comes at a later moment.
    latest: u32,
}

/// What says when a party comes to a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Seat {
    /// The walk before its first step.
    walk: Walk,
    /// By how much a walk has to be multiplied to become its number of steps: the
    /// inverse of its skip, modulo the number of slots.
    inverse: u32,
    scale: u64,
}

impl Seat {
    fn of(party: &Party, slots: u32) -> Self {
        let walk = Walk::new(party.identity, slots);
        Self { walk, inverse: inverse(walk.skip, slots), scale: scale_of(party.weight) }
    }

    /// The place of a slot in the walk.
    fn place_of(&self, slot: u32, slots: u32) -> u32 {
        let ahead = if slot >= self.walk.position { slot } else { slot + slots } - self.walk.position;
        (u64::from(ahead) * u64::from(self.inverse) % u64::from(slots)) as u32
    }
}

/// The number that gives one when multiplied by `number` modulo a prime above it: its
/// power of two less than the prime (Fermat).
fn inverse(number: u32, prime: u32) -> u32 {
    let prime = u64::from(prime);
    let (mut power, mut square, mut left) = (1, u64::from(number) % prime, prime - 2);
    while left > 0 {
        if left & 1 == 1 {
            power = power * square % prime;
        }
        square = square * square % prime;
        left >>= 1;
    }
    power as u32
}

/// Where a pair of a slot stands among the others of the slot: moment and lot, then
/// the party.
type Rank = (u64, u16);

/// What is left to be done, and what was found out on the way.
struct Work {
    free: Vec<u32>,
    /// Parties that may get a slot which they could not have before.
    eager: Vec<u16>,
    /// For each party from which place of its walk on such slots are looked for;
    /// [`NOWHERE`] for those that are not eager. At all places before, a slot is the
    /// party's, or would rather keep whom it has.
    from: Vec<u32>,
    /// For each party the place in its walk of its last slot, where it is known.
    last: Vec<Option<u32>>,
    /// For each party how many places of its walk come before `until` is over.
    limits: Vec<u32>,
    until: u32,
    candidates: Vec<(Rank, u32)>,
}

impl Matching {
    /// Makes one, as [`super::fill`] does.
    pub(in crate::spread) fn new(parties: Vec<Party>, slots: u32) -> Self {
        let Fill { owners, held, quantiles, latest, .. } = Fill::in_order(&parties, slots);
        let seats = parties.iter().map(|party| Seat::of(party, slots)).collect();
        Self { slots, seats, owners, held, quantiles, latest, parties }
    }

    /// How many slots there are.
    pub(in crate::spread) const fn slots(&self) -> u32 {
        self.slots
    }

    /// The table: the party of each slot.
    pub(in crate::spread) fn table(&self) -> Vec<u16> {
        let (mut owners, mut held) = (self.owners.clone(), self.held.clone());
        lift(&self.parties, self.slots, &mut owners, &mut held);
        owners
    }

    /// Becomes the matching of other parties, which are in the same order as those
    /// before.
    pub(in crate::spread) fn change(&mut self, parties: Vec<Party>) {
        let stay = staying(&self.parties, &parties);
        let stayed = stay.iter().filter(|stays| stays.is_some()).count();
        let others = self.parties.len() + parties.len() - 2 * stayed;
        if others > parties.len() / FEW {
            *self = Self::new(parties, self.slots);
            return;
        }
        let mut work = self.move_in(parties, &stay);
        while let Some(slot) = work.free.pop() {
            self.give_away(slot, &mut work);
        }
        while let Some(party) = work.eager.pop() {
            let from = std::mem::replace(&mut work.from[usize::from(party)], NOWHERE);
            self.claim(party, from, &mut work);
            while let Some(slot) = work.free.pop() {
                self.give_away(slot, &mut work);
            }
        }
    }

    /// Puts other parties in the place of those there are. `stay` says for each of
    /// these which one it is now.
    fn move_in(&mut self, parties: Vec<Party>, stay: &[Option<u16>]) -> Work {
        let before = std::mem::replace(&mut self.parties, parties);
        let count = self.parties.len();
        let mut seats: Vec<Option<Seat>> = vec![None; count];
        let mut most_before = vec![None; count];
        for ((party, seat), now) in before.iter().zip(&self.seats).zip(stay) {
            if let Some(now) = now {
                seats[usize::from(*now)] = Some(*seat);
                most_before[usize::from(*now)] = Some(party.most);
            }
        }
        let slots = self.slots;
        let seated = seats.into_iter().zip(&self.parties);
        self.seats = seated.map(|(seat, party)| seat.unwrap_or_else(|| Seat::of(party, slots))).collect();
        let mut work = Work {
            free: Vec::new(),
            eager: Vec::new(),
            from: vec![NOWHERE; count],
            last: vec![None; count],
            limits: Vec::new(),
            until: 0,
            candidates: Vec::new(),
        };
        self.held = vec![0; count];
        for (owner, slot) in self.owners.iter_mut().zip(0..) {
            match stay[usize::from(*owner)] {
                Some(now) => {
                    *owner = now;
                    self.held[usize::from(now)] += 1;
                }
                None => {
                    *owner = NOBODY;
                    work.free.push(slot);
                }
            }
        }
        for (party, most_before) in (0u16..).zip(most_before) {
            let most = self.parties[usize::from(party)].most;
            while self.held[usize::from(party)] > most {
                self.give_up_last(party, &mut work);
            }
            match most_before {
                None => work.push_eager(party, 0),
                // Whoever had room could have had every slot that would have had him.
                Some(before) if before < most && self.held[usize::from(party)] == before => {
                    let from = if before == 0 { 0 } else { self.last_of(party, &mut work).0 + 1 };
                    work.push_eager(party, from);
                }
                Some(_) => {}
            }
        }
        self.look_until(self.latest, &mut work);
        work
    }

    /// Looks for the candidates of slots among pairs up to a moment.
    fn look_until(&mut self, until: u32, work: &mut Work) {
        work.until = until;
        let (mut scales, slots): (Vec<(u64, u32)>, u32) = (Vec::new(), self.slots);
        work.limits.clear();
        for seat in &self.seats {
            let known = scales.binary_search_by_key(&seat.scale, |(scale, _)| *scale);
            let at = known.unwrap_or_else(|at| {
                while self.quantiles.len() < slots as usize
                    && self.quantiles.last().is_none_or(|last| moment_of(*last, seat.scale) <= until)
                {
                    let further = self.quantiles.len() as u32;
                    reach(&mut self.quantiles, further, slots);
                }
                let limit = self.quantiles.partition_point(|quantile| moment_of(*quantile, seat.scale) <= until);
                scales.insert(at, (seat.scale, limit as u32));
                at
            });
            work.limits.push(scales[at].1);
        }
    }

    fn rank(&mut self, party: u16, slot: u32, place: u32) -> Rank {
        reach(&mut self.quantiles, place, self.slots);
        let moment = moment_of(self.quantiles[place as usize], self.seats[usize::from(party)].scale);
        (u64::from(moment) << 32 | lot_of(self.parties[usize::from(party)].identity, slot), party)
    }

    fn take(&mut self, party: u16, slot: u32, rank: Rank, work: &mut Work) {
        let owner = std::mem::replace(&mut self.owners[slot as usize], party);
        if owner != NOBODY {
            // Whoever had room could have had every slot that would have had him. Who had
            // not looks beyond his last one, which is this one or a later one.
            if !self.has_room(owner) {
                let place = self.seats[usize::from(owner)].place_of(slot, self.slots);
                work.push_eager(owner, place + 1);
            }
            self.held[usize::from(owner)] -= 1;
            work.last[usize::from(owner)] = None;
        }
        self.held[usize::from(party)] += 1;
        work.last[usize::from(party)] = None;
        self.latest = self.latest.max((rank.0 >> 32) as u32);
    }

    /// The place in its walk of a party's last slot, and the slot. It has one.
    fn last_of(&self, party: u16, work: &mut Work) -> (u32, u32) {
        let Seat { mut walk, .. } = self.seats[usize::from(party)];
        if let Some(place) = work.last[usize::from(party)] {
            return (place, walk.ahead(place, self.slots));
        }
        let (mut left, mut last) = (self.held[usize::from(party)], (0, walk.position));
        for place in 0..self.slots {
            if left == 0 {
                break;
            }
            let slot = walk.step(self.slots);
            if self.owners[slot as usize] == party {
                (left, last) = (left - 1, (place, slot));
            }
        }
        work.last[usize::from(party)] = Some(last.0);
        last
    }

    fn give_up_last(&mut self, party: u16, work: &mut Work) {
        let (_, slot) = self.last_of(party, work);
        self.owners[slot as usize] = NOBODY;
        self.held[usize::from(party)] -= 1;
        work.last[usize::from(party)] = None;
        work.free.push(slot);
    }

    fn has_room(&self, party: u16) -> bool {
        self.held[usize::from(party)] < self.parties[usize::from(party)].most
    }

    /// Gives a free slot to the first that would have it: who has room, or comes to it
    /// earlier than to the last one that he has.
    fn give_away(&mut self, slot: u32, work: &mut Work) {
        while self.owners[slot as usize] == NOBODY {
            let mut candidates = std::mem::take(&mut work.candidates);
            candidates.clear();
            for party in 0..self.parties.len() {
                let place = self.seats[party].place_of(slot, self.slots);
                if place < work.limits[party] {
                    candidates.push((self.rank(party as u16, slot, place), place));
                }
            }
            candidates.sort_unstable();
            for (rank, place) in &candidates {
                let party = rank.1;
                let has_room = self.has_room(party);
                if has_room || *place < self.last_of(party, work).0 {
                    if !has_room {
                        self.give_up_last(party, work);
                    }
                    self.take(party, slot, *rank, work);
                    break;
                }
            }
            work.candidates = candidates;
            if self.owners[slot as usize] == NOBODY {
                // All of them together may have as many as there are: somebody has room.
                let until = work.until;
                self.look_until(until.saturating_mul(2).max(until.saturating_add(1 << 12)), work);
            }
        }
    }

    /// Has a party take what it comes to before whoever has it, as far as it has room,
    /// and beyond that for its last ones. It looks from a place of its walk on.
    fn claim(&mut self, party: u16, from: u32, work: &mut Work) {
        let Seat { mut walk, scale, .. } = self.seats[usize::from(party)];
        walk.position = walk.ahead(from, self.slots);
        for place in from..self.slots {
            let slot = walk.step(self.slots);
            let owner = self.owners[slot as usize];
            if owner == party {
                continue;
            }
            let has_room = self.has_room(party);
            reach(&mut self.quantiles, place, self.slots);
            let moment = moment_of(self.quantiles[place as usize], scale);
            if moment > self.latest || !has_room && place > self.last_of(party, work).0 {
                return;
            }
            let rank = self.rank(party, slot, place);
            if owner != NOBODY {
                let theirs = self.seats[usize::from(owner)].place_of(slot, self.slots);
                if self.rank(owner, slot, theirs) < rank {
                    continue;
                }
            }
            if !has_room {
                self.give_up_last(party, work);
            }
            self.take(party, slot, rank, work);
        }
    }
}

impl Work {
    fn push_eager(&mut self, party: u16, from: u32) {
        let place = &mut self.from[usize::from(party)];
        if *place == NOWHERE {
            self.eager.push(party);
        }
        *place = from.min(*place);
    }
}

/// For each of the parties before which one it is now, with the same weight. Both are in
/// the order of identity and weight.
fn staying(before: &[Party], now: &[Party]) -> Vec<Option<u16>> {
    let key = |party: &Party| (party.identity, party.weight);
    let mut rest = (0u16..).zip(now).peekable();
    let mut find = |party: &Party| {
        while rest.next_if(|(_, other)| key(other) < key(party)).is_some() {}
        rest.next_if(|(_, other)| key(other) == key(party)).map(|(at, _)| at)
    };
    before.iter().map(&mut find).collect()
}

#[cfg(test)]
#[path = "repair_tests.rs"]
mod tests;
