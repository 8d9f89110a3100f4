//! Sections about events: a row for each series of runs.

use std::{path::PathBuf, time::Duration};

use anyhow::Result;

use super::{
    Machine,
    event::Event,
    series::{Series, spread},
};
use crate::{bench::section, rig::prober::Figures};

/// What is measured, and what came out.
#[derive(Clone, Debug)]
pub(super) struct Section {
    table: section::Section,
    event: Option<Event>,
    failed: u32,
    coarsest: Duration,
}

impl Section {
    /// Of an event, with nothing in it yet.
    pub(super) fn of_event(event: Event) -> Self {
        let mut header = vec!["adverts every", "balancer", "probe", "runs", "gap ms: min", "median", "p99", "max"];
        header.extend(["lost: min", "median", "max"]);
        if event.limit(Duration::ZERO).is_some() {
            header.push(if event == Event::HostDeath { "Active_Down ms" } else { "Skew_Time ms" });
        }
        let Self { table, .. } = Self::new(event.name(), event.meaning().to_owned(), header);
        Self { table: table.with_text_columns(3), event: Some(event), failed: 0, coarsest: Duration::ZERO }
    }

    /// With other columns; the first one is text.
    pub(super) fn new(name: &str, meaning: String, header: Vec<&'static str>) -> Self {
        let table = section::Section::new(format!("failover {name}"), meaning, header);
        Self { table, event: None, failed: 0, coarsest: Duration::ZERO }
    }

    /// Adds the runs at an interval.
    pub(super) fn add(&mut self, all: Vec<Series>) {
        for series in all {
            for (target, runs) in &series.probes {
                let row = self.row(&series, &target.to_string(), runs);
                self.table.add_row(row);
            }
            if series.failed > 0 {
                let Series { contender, interval, failed, .. } = &series;
                self.note(format!("{failed} runs of {contender} at {interval:?} could not be carried out."));
            }
            self.failed += series.failed;
            self.coarsest = self.coarsest.max(series.coarsest());
        }
    }

    /// Adds a row.
    pub(super) fn add_row(&mut self, row: Vec<String>) {
        self.table.add_row(row);
    }

    /// Adds a sentence below.
    pub(super) fn note(&mut self, note: String) {
        self.table.note(note);
    }

    /// How many runs could not be carried out.
    pub(super) const fn failed(&self) -> u32 {
        self.failed
    }

    fn row(&self, series: &Series, probe: &str, runs: &[Figures]) -> Vec<String> {
        let gaps = spread(runs, |run| millis(run.gap));
        #[expect(clippy::cast_precision_loss, reason = "probes are far fewer than 2^53")]
        let lost = spread(runs, |run| run.lost as f64);
        let never = runs.iter().filter(|run| !run.recovered).count();
        let count = if never > 0 { format!("{} ({never} never back)", runs.len()) } else { runs.len().to_string() };
        let mut row = vec![format!("{:?}", series.interval), series.contender.to_owned(), probe.to_owned(), count];
        row.extend([gaps.min, gaps.median, gaps.p99, gaps.max].map(|gap| format!("{gap:.0}")));
        row.extend([lost.min, lost.median, lost.max].map(|lost| format!("{lost:.0}")));
        if let Some(limit) = self.event.and_then(|event| event.limit(series.interval)) {
            row.push(format!("{:.0}", millis(limit)));
        }
        row
    }

    /// The table, with what is known only at the end.
    fn finished(&self) -> section::Section {
        let mut table = self.table.clone();
        if !self.coarsest.is_zero() {
            table.note(format!("The prober itself was away for {:.1} ms at most.", millis(self.coarsest)));
        }
        table
    }

    /// Prints it.
    pub(super) fn print(&self, machine: &Machine) {
        self.finished().print(machine);
    }

    /// Replaces its part of the page; returns where.
    pub(super) fn write(&self, machine: &Machine) -> Result<PathBuf> {
        self.finished().write(machine)
    }
}

pub(super) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rig::prober::{Probe, Target};

    #[test]
    fn a_row_has_a_cell_for_each_column_and_tells_what_never_came_back() {
        let lost = Figures {
            sent: 1000,
            lost: 500,
            gap: Duration::from_millis(501),
            gap_at: Duration::ZERO,
            recovered: false,
            duplicates: 0,
            p99: Duration::ZERO,
            coarsest: Duration::from_micros(1500),
        };
        for event in [Event::HostDeath, Event::GracefulStop, Event::DaemonKilled, Event::SplitBrain] {
            let mut series = Series::new("Krater", Duration::from_millis(100));
            series.add(&[(Target { probe: Probe::Icmp, address: [10, 77, 0, 10].into() }, lost)]);
            let mut section = Section::of_event(event);
            section.add(vec![series]);
            let machine = Machine { kernel: "6.18".into(), cpu: "a CPU".into(), date: "2026-11-24".into() };
            let text = section.finished().markdown(&machine);
            assert!(text.contains(" | 1 (1 never back) | 501 | "), "{text}");
            let pipes = |line: &str| line.matches('|').count();
            let table: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
            assert!(table.len() == 3 && table.iter().all(|line| pipes(line) == pipes(table[0])), "{text}");
            assert!(text.contains("away for 1.5 ms at most"), "{text}");
        }
    }
}
