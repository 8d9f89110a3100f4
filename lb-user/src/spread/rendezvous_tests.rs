#![allow(clippy::expect_used, reason = "a test stops where it fails")]

use proptest::prelude::*;

use super::*;

/// The fill as its definition has it: all pairs, sorted, one after the other.
fn by_the_book(parties: &[Party], slots: u32) -> Vec<u16> {
    let mut pairs: Vec<(u64, u64, u32, u16)> = Vec::new();
    for (party, index) in parties.iter().zip(0u16..) {
        let offset = u64::from(hash::scale(hash::one(1, party.identity), slots));
        let skip = u64::from(hash::scale(hash::one(2, party.identity), slots - 1)) + 1;
        let mut quantile = 0;
        for k in 0..u64::from(slots) {
            let slot = (offset + k * skip) % u64::from(slots);
            let moment = (quantile * ((1 << 20) / u64::from(party.weight))) >> 32;
            pairs.push((moment, hash::two(3, party.identity, slot) >> 32, slot as u32, index));
            quantile += (1 << 40) / (u64::from(slots) - k);
        }
    }
    pairs.sort_unstable();
    let mut owners = vec![None; slots as usize];
    let mut held = vec![0u32; parties.len()];
    for (.., slot, index) in pairs {
        let (owner, held) = (&mut owners[slot as usize], &mut held[usize::from(index)]);
        if owner.is_none() && *held < parties[usize::from(index)].most {
            *owner = Some(index);
            *held += 1;
        }
    }
    let mut owners: Vec<u16> = owners.into_iter().map(|owner| owner.expect("somebody has room")).collect();
    for (party, index) in parties.iter().zip(0u16..) {
        let mut walk = Walk::new(party.identity, slots);
        while held[usize::from(index)] < party.least {
            let owner = &mut owners[walk.step(slots) as usize];
            let from = usize::from(*owner);
            if *owner != index && held[from] > parties[from].least {
                held[from] -= 1;
                held[usize::from(index)] += 1;
                *owner = index;
            }
        }
    }
    owners
}

fn counts(parties: &[Party], owners: &[u16]) -> Vec<u32> {
    let mut counts = vec![0; parties.len()];
    owners.iter().for_each(|owner| counts[usize::from(*owner)] += 1);
    counts
}

/// Parties with bounds that can be met: each has a share of the slots, and bounds
/// so far below and above.
fn parties(slots: u32) -> impl Strategy<Value = Vec<Party>> {
    let one = (any::<u64>(), 1u16..=256, 0u32..20, 1u32..20);
    (prop::collection::vec(one, 1..30), any::<bool>()).prop_map(move |(all, equal)| {
        let total: u32 = all.iter().map(|one| if equal { 1 } else { u32::from(one.1) }).sum();
        let party = |(identity, weight, below, above): (u64, u16, u32, u32)| {
            let weight = if equal { 1 } else { weight };
            let share = slots * u32::from(weight) / total;
            Party { identity, weight, least: share.saturating_sub(below), most: share + above }
        };
        all.into_iter().map(party).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn batches_give_what_going_through_all_pairs_gives(all in prop_oneof![
        parties(401).prop_map(|all| (401, all)),
        parties(3203).prop_map(|all| (3203, all)),
    ]) {
        let (slots, parties) = all;
        prop_assert_eq!(fill(&parties, slots), by_the_book(&parties, slots));
    }

    #[test]
    fn everybody_is_within_his_bounds(parties in parties(809)) {
        for (party, count) in parties.iter().zip(counts(&parties, &fill(&parties, 809))) {
            prop_assert!(party.least <= count && count <= party.most, "{party:?}: {count}");
        }
    }

    #[test]
    fn while_nobody_meets_a_bound_only_the_slots_of_who_leaves_move(
        mut parties in parties(809),
        leaves in any::<prop::sample::Index>(),
    ) {
        parties.iter_mut().for_each(|party| (party.least, party.most) = (0, 809));
        let before = fill(&parties, 809);
        let leaves = leaves.index(parties.len()) as u16;
        parties.remove(usize::from(leaves));
        if !parties.is_empty() {
            for (before, after) in before.iter().zip(fill(&parties, 809)) {
                let after = if after >= leaves { after + 1 } else { after };
                prop_assert!(*before == leaves || *before == after);
            }
        }
    }

    #[test]
    fn a_walk_visits_every_slot_once(identity in any::<u64>()) {
        let mut walk = Walk::new(identity, 401);
        let mut seen: Vec<u32> = (0..401).map(|_| walk.step(401)).collect();
        seen.sort_unstable();
        prop_assert!(seen.into_iter().eq(0..401));
    }
}

#[test]
fn without_bounds_shares_follow_the_weights() {
    // 20 draws of each weight; a single one has a standard deviation of 1 % (w = 4) to 3 % (w = 1).
    let mut sums = [0f64; 3];
    for round in 0..20u64 {
        let party =
            |(weight, n): (u16, u64)| Party { identity: hash::two(9, round, n), weight, least: 0, most: 12_809 };
        let parties: Vec<Party> = [1, 2, 4].into_iter().zip(0..).map(party).collect();
        for (sum, count) in sums.iter_mut().zip(counts(&parties, &fill(&parties, 12_809))) {
            *sum += f64::from(count) / 12_809.0 / 20.0;
        }
    }
    for (sum, share) in sums.into_iter().zip([1.0 / 7.0, 2.0 / 7.0, 4.0 / 7.0]) {
        assert!((sum / share - 1.0).abs() < 0.03, "{sum} for {share}");
    }
}
