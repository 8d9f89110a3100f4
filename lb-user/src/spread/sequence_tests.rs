use std::net::Ipv4Addr;

use lb_common::{
    hash,
    limits::{MAX_MEMBERS, MAX_SLOTS, SLOTS_PER_LINE},
};
use proptest::prelude::*;

use super::*;
use crate::spread::identity;

fn members(weights: &[u16]) -> Vec<Candidate> {
    let member = |(weight, n): (&u16, u32)| Candidate {
        identity: identity(Ipv4Addr::from(0x0a00_0000 + n).into(), 8080),
        weight: *weight,
    };
    weights.iter().zip(1..).map(member).collect()
}

/// How far the counts of any beginning of the sequence are from the exact shares, at most,
/// in turns; exact shares are as `shares` says. `O(turns × members)`.
fn farthest(turns: &[u16], shares: &[u32]) -> f64 {
    let mut counts = vec![0u32; shares.len()];
    let total: u32 = shares.iter().sum();
    let mut farthest = 0f64;
    for (turn, so_far) in turns.iter().zip(1u32..) {
        counts[usize::from(*turn)] += 1;
        for (count, share) in counts.iter().zip(shares) {
            let exact = f64::from(so_far) * f64::from(*share) / f64::from(total);
            farthest = farthest.max((f64::from(*count) - exact).abs());
        }
    }
    farthest
}

fn counts(turns: &[u16], members: usize) -> Vec<u32> {
    let mut counts = vec![0; members];
    turns.iter().for_each(|turn| counts[usize::from(*turn)] += 1);
    counts
}

#[test]
fn equal_weights_take_turns_and_nothing_else() {
    let turns = sequence(&members(&[256; 5]));
    assert_eq!(counts(&turns, 5), [1; 5]);
    assert_eq!(turns.len(), 5);
}

#[test]
fn a_heavy_member_is_spread_between_the_light_ones() {
    // nginx has a a b a c a a for 5, 1, 1.
    let turns = sequence(&members(&[5, 1, 1]));
    assert_eq!(counts(&turns, 3), [5, 1, 1]);
    let light: Vec<usize> = (0..7).filter(|at| turns[*at] != 0).collect();
    assert!(light[1] - light[0] >= 2, "{turns:?}");
}

#[test]
fn nobody_with_a_weight_is_an_empty_sequence() {
    assert!(sequence(&[]).is_empty());
    assert!(sequence(&members(&[0, 0])).is_empty());
    assert_eq!(sequence(&members(&[0, 3])), [1]);
}

#[test]
fn too_many_turns_are_scaled_and_everybody_keeps_one() {
    let mut weights: Vec<u16> = (0..1000).map(|n| 200 + n % 57).collect();
    weights.push(1);
    let turns = sequence(&members(&weights));
    assert_eq!(turns.len(), MAX_TABLE_SLOTS as usize);
    let counts = counts(&turns, weights.len());
    assert_eq!(counts[1000], 1);
    let total: u32 = weights.iter().map(|w| u32::from(*w)).sum();
    for (count, weight) in counts.iter().zip(&weights).take(1000) {
        let exact = f64::from(*weight) * 65537.0 / f64::from(total);
        assert!((f64::from(*count) - exact).abs() <= 1.0, "{count} for {exact}");
    }
    assert!(farthest(&turns, &counts) < 1.0);
}

#[test]
fn the_sequences_of_every_model_fit_the_slots() {
    // A member's weight is 256 at most, so that is what it costs at most.
    let longest = |members: u32| (256 * members).min(MAX_TABLE_SLOTS).next_multiple_of(SLOTS_PER_LINE);
    assert!((1..=MAX_MEMBERS).all(|members| longest(members) * (MAX_MEMBERS / members) <= MAX_SLOTS));
    let dearest = members(&[256, 255]);
    assert!(sequence(&dearest).len() as u32 <= longest(2));
}

#[test]
fn as_many_members_as_there_can_be_all_get_turns() {
    let weights: Vec<u16> = (0..MAX_MEMBERS).map(|n| if n % 2 == 0 { 1 } else { 256 }).collect();
    let turns = sequence(&members(&weights));
    assert_eq!(turns.len(), MAX_TABLE_SLOTS as usize);
    assert!(counts(&turns, weights.len()).iter().all(|count| *count >= 1));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn in_every_beginning_each_count_is_within_one_turn_of_its_share(
        weights in prop_oneof![
            prop::collection::vec(1u16..=256, 1..30),
            prop::collection::vec(prop::sample::select(vec![1u16, 2, 3, 100, 255, 256]), 1..60),
        ],
    ) {
        let turns = sequence(&members(&weights));
        let divisor = weights.iter().fold(0, |a, b| gcd(a, *b));
        let shares: Vec<u32> = weights.iter().map(|w| u32::from(w / divisor)).collect();
        prop_assert_eq!(counts(&turns, weights.len()), shares.clone());
        prop_assert!(farthest(&turns, &shares) < 1.0);
    }

    #[test]
    fn the_order_of_members_does_not_matter(weights in prop::collection::vec(0u16..=256, 0..60), seed in any::<u64>()) {
        let all = members(&weights);
        let mut shuffled = all.clone();
        shuffled.sort_by_key(|c| hash::one(seed, c.identity));
        let who = |all: &[Candidate]| -> Vec<u64> {
            sequence(all).into_iter().map(|turn| all[usize::from(turn)].identity).collect()
        };
        prop_assert_eq!(who(&all), who(&shuffled));
    }

    #[test]
    fn scaled_shares_sum_up_and_nobody_gets_none(weights in prop::collection::vec(1u16..=256, 1..400), spare in 0u32..2000) {
        let slots = weights.len() as u32 + spare;
        let shares = scaled(&weights, slots);
        prop_assert_eq!(shares.iter().sum::<u32>(), slots);
        prop_assert!(shares.iter().all(|share| *share >= 1));
    }
}
