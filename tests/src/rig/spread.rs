//! Whether requests were spread as the weights say, within what chance allows.

use std::collections::BTreeMap;

/// Standard deviations a count may be off. With a dozen counts a run, chance
/// alone exceeds this about once in twenty thousand runs.
const DEVIATIONS: f64 = 5.0;
/// How far a member's share of the table may be off its weight, of all
/// requests: tables are at least a hundred slots a member.
const TABLE_TOLERANCE: f64 = 0.015;

/// A count beside what the weights promise.
#[derive(Clone, PartialEq, Debug)]
pub struct Share {
    /// The member.
    pub member: String,
    /// What it got.
    pub count: u64,
    /// What its weight promises, of the same total.
    pub expected: f64,
    /// How far the count may be off.
    pub tolerance: f64,
}

impl Share {
    /// Whether the count is within the tolerance. Without weight nothing may come.
    #[must_use]
    pub fn holds(&self) -> bool {
        if self.expected == 0.0 { self.count == 0 } else { (real(self.count) - self.expected).abs() <= self.tolerance }
    }
}

/// Compares counts with weights, by member. Members without weight are
/// expected to get nothing, and so is anybody not named in `weights`.
#[must_use]
pub fn shares(counts: &BTreeMap<String, u64>, weights: &BTreeMap<String, u64>) -> Vec<Share> {
    let total = real(counts.values().sum());
    let weight_total = real(weights.values().sum()).max(1.0);
    let mut names: Vec<&String> = counts.keys().chain(weights.keys()).collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .map(|name| {
            let part = real(weights.get(name).copied().unwrap_or(0)) / weight_total;
            Share {
                member: name.clone(),
                count: counts.get(name).copied().unwrap_or(0),
                expected: total * part,
                tolerance: DEVIATIONS * (total * part * (1.0 - part)).sqrt() + TABLE_TOLERANCE * total,
            }
        })
        .collect()
}

/// The shares that do not hold, in words; empty when all do.
#[must_use]
pub fn complaints(shares: &[Share]) -> String {
    let wrong: Vec<String> = shares
        .iter()
        .filter(|share| !share.holds())
        .map(|s| format!("{} got {} where {:.0} ± {:.0} were expected", s.member, s.count, s.expected, s.tolerance))
        .collect();
    wrong.join("; ")
}

/// Exact up to 2⁵³ requests.
#[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^53")]
fn real(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, u64)]) -> BTreeMap<String, u64> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }

    #[test]
    fn an_even_spread_holds_and_a_skewed_one_does_not() {
        let weights = map(&[("m1", 1), ("m2", 1), ("m3", 2)]);
        assert_eq!(complaints(&shares(&map(&[("m1", 240), ("m2", 265), ("m3", 495)]), &weights)), "");
        let skewed = complaints(&shares(&map(&[("m1", 400), ("m2", 300), ("m3", 300)]), &weights));
        assert!(skewed.contains("m1 got 400") && skewed.contains("m3 got 300"), "{skewed}");
    }

    #[test]
    fn nothing_may_come_to_whom_nothing_is_due() {
        let weights = map(&[("m1", 1), ("m2", 0)]);
        assert_eq!(complaints(&shares(&map(&[("m1", 100)]), &weights)), "");
        assert!(complaints(&shares(&map(&[("m1", 99), ("m2", 1)]), &weights)).contains("m2 got 1"));
        assert!(complaints(&shares(&map(&[("m1", 99), ("m9", 1)]), &weights)).contains("m9 got 1"));
    }

    #[test]
    fn a_member_that_gets_nothing_is_noticed() {
        assert!(!complaints(&shares(&map(&[("m1", 300)]), &map(&[("m1", 1), ("m2", 1)]))).is_empty());
    }
}
