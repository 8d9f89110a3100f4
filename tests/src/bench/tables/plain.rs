//! Rendezvous hashing with weights and without bounds, to compare with: each slot
//! goes to whoever draws the earliest exponentially distributed time for it.
//! Nothing moves that need not, and shares are as even as chance makes them.

use lb_common::hash;
use lb_user::spread::Candidate;

/// Each slot holds an index into `candidates`, of whom one must have a weight.
pub(super) fn table(candidates: &[Candidate], slots: u32) -> Vec<u16> {
    let time = |candidate: &Candidate, slot: u32| {
        let draw = (hash::two(7, candidate.identity, u64::from(slot)) >> 11) as f64 + 0.5;
        -(draw / (1u64 << 53) as f64).ln() / f64::from(candidate.weight)
    };
    let winner = |slot| {
        let able = candidates.iter().zip(0u16..).filter(|(c, _)| c.weight > 0);
        able.map(|(c, index)| (time(c, slot), index)).min_by(|a, b| a.0.total_cmp(&b.0)).map_or(0, |(_, index)| index)
    };
    (0..slots).map(winner).collect()
}
