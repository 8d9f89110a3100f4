//! Tables that are kept, so that a member more or less costs what it moves.
//!
//! What must not be here: another table than [`for_algorithm`] makes. What is kept
//! saves work and changes nothing.

use std::collections::HashMap;

use lb_common::pool::Algorithm;

use super::{Candidate, for_algorithm, named, parties, rendezvous::Matching, slots_for, turns};

/// Slots from which on a table is kept. A smaller one is made in about a millisecond,
/// and keeping it would take two bytes for each of its slots.
const WORTH_KEEPING: u32 = 1 << 15;

/// The large tables of pools, by label.
#[derive(Debug, Default)]
pub struct KeptTables(HashMap<String, Matching>);

impl KeptTables {
    /// What [`for_algorithm`] makes. For a pool whose table is kept, it takes time in
    /// proportion to what moves: a quarter of a millisecond where one of a thousand
    /// members fails, and as long as there where one in eight does.
    #[must_use]
    pub fn for_algorithm(
        &mut self,
        pool: &str,
        algorithm: Algorithm,
        candidates: &[Candidate],
        configured: usize,
    ) -> Vec<u16> {
        let slots = slots_for(configured.max(candidates.len()));
        if slots < WORTH_KEEPING || matches!(algorithm, Algorithm::RoundRobin) {
            self.0.remove(pool);
            return for_algorithm(algorithm, candidates, configured);
        }
        let turns = turns(candidates);
        if turns.is_empty() {
            self.0.remove(pool);
            return Vec::new();
        }
        let parties = parties(&turns, configured, slots);
        let table = match self.0.get_mut(pool).filter(|kept| kept.slots() == slots) {
            Some(kept) => {
                kept.change(parties);
                kept.table()
            }
            None => {
                let fresh = Matching::new(parties, slots);
                let table = fresh.table();
                self.0.insert(pool.to_owned(), fresh);
                table
            }
        };
        named(table, &turns)
    }

    /// Keeps those of these pools only.
    pub fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        self.0.retain(|pool, _| is_there(pool));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spread::slots_for;

    #[test]
    fn a_kept_table_is_the_one_that_would_be_made_anew() {
        let member = |n: u64| Candidate { identity: lb_common::hash::one(5, n), weight: 1 + (n % 3) as u16 };
        let mut all: Vec<Candidate> = (0..400).map(member).collect();
        assert!(slots_for(400) >= WORTH_KEEPING);
        let mut kept = KeptTables::default();
        let algorithm = Algorithm::SourceIpPort;
        for round in 0..12 {
            match round % 4 {
                0 => drop(all.remove(round * 7)),
                1 => all.swap(3, 90),
                2 => all[round].weight = if all[round].weight == 0 { 2 } else { 0 },
                _ => all.push(member(1000 + round as u64)),
            }
            let table = kept.for_algorithm("lb/pool", algorithm, &all, 401);
            assert_eq!(table, for_algorithm(algorithm, &all, 401), "round {round}");
        }
        assert_eq!(kept.0.len(), 1);
        // Another length, nobody, turns, and a pool that is gone.
        let few = all[..100].to_vec();
        assert_eq!(kept.for_algorithm("lb/pool", algorithm, &few, 513), for_algorithm(algorithm, &few, 513));
        assert!(kept.for_algorithm("lb/pool", algorithm, &[], 513).is_empty());
        assert!(kept.0.is_empty());
        let _ = kept.for_algorithm("lb/pool", algorithm, &all, 401);
        let turns = kept.for_algorithm("lb/pool", Algorithm::RoundRobin, &all, 401);
        assert_eq!((turns, kept.0.len()), (for_algorithm(Algorithm::RoundRobin, &all, 401), 0));
        let _ = kept.for_algorithm("lb/pool", algorithm, &all, 401);
        kept.retain(|pool| pool != "lb/pool");
        assert!(kept.0.is_empty());
    }
}
