//! What came out of the runs of one contender at one interval.

use std::time::Duration;

use crate::rig::prober::{Figures, Target};

/// Runs.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) contender: &'static str,
    pub(super) interval: Duration,
    /// By kind of probe.
    pub(super) probes: Vec<(Target, Vec<Figures>)>,
    /// Runs that could not be carried out.
    pub(super) failed: u32,
}

/// Smallest, middle, 99th percentile and largest.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Spread {
    pub(super) min: f64,
    pub(super) median: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

impl Series {
    pub(super) const fn new(contender: &'static str, interval: Duration) -> Self {
        Self { contender, interval, probes: Vec::new(), failed: 0 }
    }

    /// Adds a run; returns what it was, in words.
    pub(super) fn add(&mut self, run: &[(Target, Figures)]) -> String {
        let mut words = Vec::new();
        for (target, figures) in run {
            words.push(format!("{target}: {figures}"));
            match self.probes.iter_mut().find(|(known, _)| known == target) {
                Some((_, all)) => all.push(*figures),
                None => self.probes.push((*target, vec![*figures])),
            }
        }
        words.join("; ")
    }

    /// The longest that the prober itself was away, in all runs.
    pub(super) fn coarsest(&self) -> Duration {
        self.probes.iter().flat_map(|(_, runs)| runs).map(|run| run.coarsest).max().unwrap_or_default()
    }
}

/// The spread of a figure over runs; zero without any.
pub(super) fn spread(runs: &[Figures], figure: impl Fn(&Figures) -> f64) -> Spread {
    let mut values: Vec<f64> = runs.iter().map(figure).collect();
    values.sort_by(f64::total_cmp);
    let rank = |percent: usize| {
        let rank = (values.len() * percent).div_ceil(100).saturating_sub(1);
        values.get(rank).copied().unwrap_or(0.0)
    };
    Spread { min: rank(0), median: rank(50), p99: rank(99), max: rank(100) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rig::prober::Probe;

    fn run(gap: u64) -> Figures {
        Figures {
            sent: 1000,
            lost: gap.saturating_sub(1),
            gap: Duration::from_millis(gap),
            gap_at: Duration::ZERO,
            recovered: true,
            duplicates: 0,
            p99: Duration::ZERO,
            coarsest: Duration::from_millis(gap / 10),
        }
    }

    #[test]
    fn the_spread_is_of_values_that_occurred() {
        let runs: Vec<Figures> = [30, 10, 20, 50, 40].map(run).to_vec();
        let gaps = spread(&runs, |run| run.gap.as_secs_f64() * 1e3);
        assert_eq!(gaps, Spread { min: 10.0, median: 30.0, p99: 50.0, max: 50.0 });
        assert_eq!(spread(&[], |_| 1.0), Spread { min: 0.0, median: 0.0, p99: 0.0, max: 0.0 });
    }

    #[test]
    fn runs_are_kept_by_kind_of_probe() {
        let target = |probe| Target { probe, address: [10, 77, 0, 10].into() };
        let mut series = Series::new("Krater", Duration::from_secs(1));
        for gap in [10, 90] {
            let told = series.add(&[(target(Probe::Icmp), run(gap)), (target(Probe::Udp), run(gap + 1))]);
            assert!(told.contains("ICMP over IPv4") && told.contains("UDP over IPv4"), "{told}");
        }
        assert_eq!(series.probes.iter().map(|(_, runs)| runs.len()).collect::<Vec<_>>(), [2, 2]);
        assert_eq!(series.coarsest(), Duration::from_millis(9));
    }
}
