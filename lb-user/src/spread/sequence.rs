//! Taking turns by weight: the smooth weighted round robin that nginx has, as a
//! table to walk through. Pure.
//!
//! What must not be here: who is walking through it.
//!
//! Others rely on this: in every beginning of the sequence the count of each
//! member differs from its exact share by less than one. So turns are as even as
//! they can be, and whoever starts anywhere sees each member's share to less than two.
//!
//! A member's k-th turn is due in a window, from when its exact share passes k to
//! when it passes k + 1. Whose window ends first is next: that meets all windows,
//! since the exact shares, which are a schedule in fractions, do (Baruah et al.,
//! "Proportionate progress", Algorithmica 15, 1996; one resource is the easy case).

use std::{cmp::Reverse, collections::BinaryHeap};

use lb_common::limits::MAX_TABLE_SLOTS;

use super::{Candidate, turns};

/// The turns of one round, as indices into `candidates`; empty when nobody has a
/// weight. The order of the candidates makes no difference.
///
/// Each has its weight in turns, divided by what divides all of them. Only when
/// that is more than [`MAX_TABLE_SLOTS`] in all, each has its share of so many,
/// rounded to a neighbouring whole number, but at least one. That is at most 256
/// slots a member, as weights are: no more than all pools together may have.
/// Time is O(turns × ln members).
#[must_use]
pub fn sequence(candidates: &[Candidate]) -> Vec<u16> {
    let turns = turns(candidates);
    let weights: Vec<u16> = turns.iter().map(|t| t.weight).collect();
    let shares = shares(&weights);
    in_turn(&shares).into_iter().map(|turn| turns[turn as usize].index).collect()
}

/// How many turns each weight gets.
fn shares(weights: &[u16]) -> Vec<u32> {
    let divisor = weights.iter().fold(0, |a, b| gcd(a, *b)).max(1);
    let total: u64 = weights.iter().map(|w| u64::from(w / divisor)).sum();
    if total <= u64::from(MAX_TABLE_SLOTS) {
        weights.iter().map(|w| u32::from(w / divisor)).collect()
    } else {
        scaled(weights, MAX_TABLE_SLOTS)
    }
}

const fn gcd(mut a: u16, mut b: u16) -> u16 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// How many of `slots` each weight gets: they sum up to `slots` and differ from the
/// exact share by less than one (largest remainders), except that nobody gets
/// less than one slot at the expense of those who have most.
///
/// No weight may be zero and there may be no more weights than slots.
fn scaled(weights: &[u16], slots: u32) -> Vec<u32> {
    let total: u64 = weights.iter().map(|w| u64::from(*w)).sum();
    let exact = |w: u16| u64::from(w) * u64::from(slots);
    let mut shares: Vec<u32> = weights.iter().map(|w| (exact(*w) / total) as u32).collect();
    let left = slots - shares.iter().sum::<u32>();

    let mut by_remainder: Vec<usize> = (0..weights.len()).collect();
    by_remainder.sort_by_key(|i| Reverse(exact(weights[*i]) % total));
    by_remainder.into_iter().take(left as usize).for_each(|i| shares[i] += 1);

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

/// Nobody, at the end of a list.
const NONE: u32 = u32::MAX;

/// Everybody as often as its share says, each turn in its window.
fn in_turn(shares: &[u32]) -> Vec<u32> {
    let total = shares.iter().sum::<u32>();
    // Where the exact share of one with this share passes k turns.
    let passes = |share: u32, k: u32| u64::from(k) * u64::from(total) / u64::from(share);
    let ends = |share: u32, k: u32| (u64::from(k) * u64::from(total)).div_ceil(u64::from(share));

    // Whose windows open when: a list for each moment, threaded through `next`,
    // since each waits for one window at a time.
    let mut opens = vec![NONE; total as usize];
    let mut next = vec![NONE; shares.len()];
    let mut taken = vec![0; shares.len()];
    // Those whose windows are open, by their ends.
    let mut open: BinaryHeap<Reverse<(u64, u32)>> = shares
        .iter()
        .zip(0..)
        .filter(|(share, _)| **share > 0)
        .map(|(share, who)| Reverse((ends(*share, 1), who)))
        .collect();
    let mut order = Vec::with_capacity(total as usize);
    for now in 0..total {
        let mut who = opens[now as usize];
        while who != NONE {
            let at = who as usize;
            open.push(Reverse((ends(shares[at], taken[at] + 1), who)));
            who = next[at];
        }
        let Some(Reverse((_, who))) = open.pop() else { continue };
        order.push(who);
        let at = who as usize;
        taken[at] += 1;
        if taken[at] < shares[at] {
            let moment = passes(shares[at], taken[at]).max(u64::from(now) + 1) as usize;
            next[at] = opens[moment];
            opens[moment] = who;
        }
    }
    order
}

#[cfg(test)]
#[path = "sequence_tests.rs"]
mod tests;
