use lb_common::hash;
use proptest::prelude::*;

use super::*;
use crate::spread::{Candidate, parties, rendezvous::fill, turns};

const SLOTS: u32 = 3203;

/// What happens to the members of a pool.
#[derive(Clone, Debug)]
enum Change {
    Leave(prop::sample::Index),
    Join(u64, u16),
    Weigh(prop::sample::Index, u16),
    /// So many members are configured beside those there are.
    Spare(usize),
}

fn change() -> impl Strategy<Value = Change> {
    let weight = prop_oneof![Just(1u16), Just(2), 1u16..=256];
    prop_oneof![
        3 => any::<prop::sample::Index>().prop_map(Change::Leave),
        3 => (any::<u64>(), weight.clone()).prop_map(|(identity, weight)| Change::Join(identity, weight)),
        2 => (any::<prop::sample::Index>(), weight).prop_map(|(which, weight)| Change::Weigh(which, weight)),
        1 => (0usize..4).prop_map(Change::Spare),
    ]
}

fn members(count: u64, equal: bool) -> Vec<Candidate> {
    let weight = |n: u64| if equal { 1 } else { 1 + (hash::one(8, n) % 8) as u16 };
    (0..count).map(|n| Candidate { identity: hash::one(7, n), weight: weight(n) }).collect()
}

fn parties_of(members: &[Candidate], spare: usize, slots: u32) -> Vec<Party> {
    parties(&turns(members), members.len() + spare, slots)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_matching_is_what_a_new_one_would_be(
        (count, equal) in (20u64..300, any::<bool>()),
        changes in prop::collection::vec(prop::collection::vec(change(), 1..3), 1..8),
    ) {
        let (mut all, mut spare) = (members(count, equal), 0);
        let mut matching = Matching::new(parties_of(&all, spare, SLOTS), SLOTS);
        for together in changes {
            for one in together {
                match one {
                    Change::Leave(which) => drop(all.remove(which.index(all.len()))),
                    Change::Join(identity, weight) => all.push(Candidate { identity, weight }),
                    Change::Weigh(which, weight) => {
                        let which = which.index(all.len());
                        all[which].weight = weight;
                    }
                    Change::Spare(now) => spare = now,
                }
            }
            let parties = parties_of(&all, spare, SLOTS);
            matching.change(parties.clone());
            prop_assert_eq!(matching.table(), fill(&parties, SLOTS));
        }
    }

    #[test]
    fn bounds_may_be_any_that_can_be_met(
        count in 20usize..60,
        bounds in prop::collection::vec(prop::collection::vec(0u32..6, 60), 2..5),
    ) {
        // Tight ones, in which nearly everybody has his most.
        let all = |above: &[u32]| {
            let all = members(count as u64, true);
            let share = SLOTS.div_ceil(count as u32);
            let mut all: Vec<Party> = all
                .iter()
                .zip(above)
                .map(|(member, above)| Party { identity: member.identity, weight: 1, least: 0, most: share + above })
                .collect();
            all.sort_unstable_by_key(|party| party.identity);
            all
        };
        let mut matching: Option<Matching> = None;
        for above in &bounds {
            let parties = all(above);
            let matching = match &mut matching {
                Some(matching) => {
                    matching.change(parties.clone());
                    matching
                }
                none => none.insert(Matching::new(parties.clone(), SLOTS)),
            };
            prop_assert_eq!(matching.table(), fill(&parties, SLOTS));
        }
    }
}

#[test]
fn one_of_a_thousand_leaves_and_comes_back() {
    let (slots, mut all) = (65_537, members(1000, true));
    let whole = Matching::new(parties_of(&all, 0, slots), slots);
    let mut matching = whole.clone();
    for which in [17, 500, 998] {
        let gone = all.remove(which);
        let parties = parties_of(&all, 1, slots);
        matching.change(parties.clone());
        assert_eq!(matching.table(), fill(&parties, slots));
        all.insert(which, gone);
        matching.change(parties_of(&all, 0, slots));
        assert_eq!(matching.table(), whole.table());
    }
}

#[test]
fn an_inverse_leads_back_from_a_slot_to_its_place() {
    let party = Party { identity: 9, weight: 1, least: 0, most: 401 };
    let seat = Seat::of(&party, 401);
    let mut walk = seat.walk;
    assert!((0..401).all(|place| seat.place_of(walk.step(401), 401) == place));
}
