//! Maglev as its paper has it (Eisenbud et al., "Maglev: A Fast and Reliable Software
//! Network Load Balancer", NSDI 2016, §3.4), with weights: what a pool's table is held
//! against.
//!
//! What must not be here: anything of ours. A balancer that has this table and nothing
//! besides sends each packet to whom the table names.

use lb_common::hash::mix;

/// Slots: the paper's own number, a prime.
const SLOTS: usize = 65537;

/// A table.
#[derive(Clone, Debug, Default)]
pub struct Maglev {
    slots: Vec<u16>,
}

impl Maglev {
    /// A table of members, each with a weight. One with twice the weight takes two
    /// turns where another takes one.
    #[must_use]
    pub fn of(members: &[(u16, u16)]) -> Self {
        if members.iter().all(|(_, weight)| *weight == 0) {
            return Self::default();
        }
        let place = |member: u16, nth: u64| mix(u64::from(member) ^ nth << 32) as usize;
        let ways: Vec<(usize, usize)> =
            members.iter().map(|(m, _)| (place(*m, 1) % SLOTS, place(*m, 2) % (SLOTS - 1) + 1)).collect();
        let (mut slots, mut taken) = (vec![None; SLOTS], 0);
        let mut next = vec![0; members.len()];
        'filling: loop {
            for (at, (member, weight)) in members.iter().enumerate() {
                for _ in 0..*weight {
                    let slot = loop {
                        let slot = (ways[at].0 + next[at] * ways[at].1) % SLOTS;
                        next[at] += 1;
                        if slots[slot].is_none() {
                            break slot;
                        }
                    };
                    slots[slot] = Some(*member);
                    taken += 1;
                    if taken == SLOTS {
                        break 'filling;
                    }
                }
            }
        }
        Self { slots: slots.into_iter().flatten().collect() }
    }

    /// The member of a flow.
    #[must_use]
    pub fn pick(&self, flow: u64) -> Option<u16> {
        self.slots.get(mix(flow) as usize % self.slots.len().max(1)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_as_weights_say_and_one_that_leaves_moves_little_besides() {
        let members: Vec<(u16, u16)> = (1..=10).map(|n| (n, if n == 1 { 3 } else { 1 })).collect();
        let (all, less) = (Maglev::of(&members), Maglev::of(&members[..9]));
        let share = |n| all.slots.iter().filter(|slot| **slot == n).count();
        assert_eq!((all.slots.len(), less.slots.len()), (SLOTS, SLOTS));
        assert!(share(1).abs_diff(share(2) * 3) < 10, "{} {}", share(1), share(2));
        let moved = all.slots.iter().zip(&less.slots).filter(|(a, b)| **a != 10 && a != b).count();
        assert!(moved > 0 && moved < SLOTS / 50, "{moved}");
        assert_eq!(Maglev::of(&[]).pick(1), None);
    }
}
