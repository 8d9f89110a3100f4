//! Maglev's permutation fill (Eisenbud et al., "Maglev: A Fast and Reliable Software
//! Network Load Balancer", NSDI 2016, §3.4), with weights, to compare with: this is
//! what pools had before, and what most balancers have. Shares are exact to a slot.

use std::collections::BinaryHeap;

use lb_common::hash;
use lb_user::spread::Candidate;

/// Each slot holds an index into `candidates`; the table is empty when nobody has a
/// weight. `slots` is a prime, and no less than there are candidates.
pub(super) fn table(candidates: &[Candidate], slots: u32) -> Vec<u16> {
    // Turns are taken in the order of identities, so the order given is of no
    // consequence. Two of the same identity (one pair in 2⁶⁴) share a
    // permutation and are told apart by weight, then by place.
    let mut turns: Vec<(u64, u16, u16)> = candidates
        .iter()
        .zip(0u16..)
        .filter(|(c, _)| c.weight > 0)
        .map(|(c, index)| (c.identity, c.weight, index))
        .collect();
    turns.sort_unstable();
    if turns.is_empty() {
        return Vec::new();
    }
    let shares = shares(&turns.iter().map(|t| t.1).collect::<Vec<_>>(), slots);
    let mut walks: Vec<Walk> = turns.iter().map(|t| Walk::new(t.0, slots)).collect();

    let mut filled = Filled::new(slots);
    let mut table = vec![0; slots as usize];
    for turn in order_of_turns(&shares) {
        // The shares sum up to the slots, so every slot is taken once.
        table[walks[turn as usize].next_free(&mut filled)] = turns[turn as usize].2;
    }
    table
}

/// Which slots are taken, a bit for each: nearly all steps of a walk lead to one
/// that is, and the bits of the largest table stay in the nearest cache.
struct Filled(Vec<u64>);

impl Filled {
    fn new(slots: u32) -> Self {
        Self(vec![0; slots.div_ceil(64) as usize])
    }

    /// Takes a slot, if nobody has.
    fn take(&mut self, slot: usize) -> bool {
        let (word, bit) = (&mut self.0[slot / 64], 1 << (slot % 64));
        let free = *word & bit == 0;
        *word |= bit;
        free
    }
}

/// How many slots each weight gets: they sum up to `slots` and differ from the
/// exact share by less than one (largest remainders), except that nobody gets
/// less than one slot at the expense of those who have most.
///
/// No weight may be zero and there may be no more weights than slots.
fn shares(weights: &[u16], slots: u32) -> Vec<u32> {
    let total: u64 = weights.iter().map(|w| u64::from(*w)).sum();
    let exact = |w: u16| u64::from(w) * u64::from(slots);
    let mut shares: Vec<u32> = weights.iter().map(|w| (exact(*w) / total) as u32).collect();
    let mut left = slots - shares.iter().sum::<u32>();

    let mut by_remainder: Vec<usize> = (0..weights.len()).collect();
    by_remainder.sort_by_key(|i| std::cmp::Reverse(exact(weights[*i]) % total));
    for i in by_remainder {
        if left == 0 {
            break;
        }
        shares[i] += 1;
        left -= 1;
    }

    let poor: Vec<usize> = (0..shares.len()).filter(|i| shares[*i] == 0).collect();
    let mut rich: BinaryHeap<(u32, usize)> = shares.iter().copied().zip(0..).filter(|(share, _)| *share > 1).collect();
    for i in poor {
        let Some((share, from)) = rich.pop() else { break };
        shares[i] = 1;
        shares[from] = share - 1;
        if share > 2 {
            rich.push((share - 1, from));
        }
    }
    shares
}

/// Who takes a slot when: as many turns for each as its share, spread evenly
/// from the first to the last, which is the paper's round robin when all shares
/// are equal. A counting sort of the moment of each turn.
fn order_of_turns(shares: &[u32]) -> Vec<u32> {
    let rounds = shares.iter().copied().max().unwrap_or(0);
    let mut starts = vec![0u32; rounds as usize + 1];
    for share in shares {
        rounds_of(*share, rounds).for_each(|round| starts[round + 1] += 1);
    }
    for round in 1..starts.len() {
        starts[round] += starts[round - 1];
    }
    let mut order = vec![0; shares.iter().map(|s| *s as usize).sum()];
    for (turn, share) in (0..).zip(shares) {
        for round in rounds_of(*share, rounds) {
            let place = &mut starts[round];
            order[*place as usize] = turn;
            *place += 1;
        }
    }
    order
}

/// The rounds in which somebody with a share takes turns: for the k-th turn the
/// whole part of k × rounds ÷ share, with one division for all of them.
fn rounds_of(share: u32, rounds: u32) -> impl Iterator<Item = usize> {
    let (step, part) = (rounds / share.max(1), rounds % share.max(1));
    let (mut round, mut rest) = (0, 0);
    (0..share).map(move |_| {
        let this = round as usize;
        round += step;
        rest += part;
        if rest >= share {
            rest -= share;
            round += 1;
        }
        this
    })
}

/// A candidate's own order of all slots.
struct Walk {
    position: u32,
    skip: u32,
    slots: u32,
}

impl Walk {
    /// `slots` is a prime above one, so any skip below it visits every slot.
    fn new(identity: u64, slots: u32) -> Self {
        let (offset, skip) = (hash::one(1, identity), hash::one(2, identity));
        Self { position: hash::scale(offset, slots), skip: hash::scale(skip, slots - 1) + 1, slots }
    }

    /// Takes the first slot in this order, from where it stopped, that is free.
    /// There must be one.
    fn next_free(&mut self, filled: &mut Filled) -> usize {
        loop {
            let slot = self.position as usize;
            self.position += self.skip;
            if self.position >= self.slots {
                self.position -= self.slots;
            }
            if filled.take(slot) {
                return slot;
            }
        }
    }
}
