//! Figures on the terminal and in `docs/performance.md`: of paths, and of counters.

use std::path::PathBuf;

use anyhow::Result;

use super::{
    cases::Case,
    harness::Target,
    machine::Machine,
    measure::{Effort, Figure, Spread},
    section::Section,
};

/// Everything that was measured.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) machine: Machine,
    pub(super) cpu: usize,
    pub(super) effort: Effort,
    pub(super) figures: Vec<(Case, Figure)>,
}

const PATHS: [&str; 7] = ["case", "packets", "net ns", "min – max", "× no-op", "no-op ns", "× floor"];
const COUNTERS: [&str; 6] = ["case", "packets", "counted ns", "not counted ns", "counters cost ns", "min – max"];

/// What has no floor of its own.
const NO_FLOOR: &str = "–";

/// Rows of a case: its bare balancers, then the data path.
fn rows(case: &Case, figure: &Figure) -> Vec<Vec<String>> {
    let row = |name: String, meaning: &str, net: &Spread, floor: String| {
        let spread = format!("{:.0} – {:.0}", net.min, net.max);
        let multiple = format!("{:.1}", net.median / figure.no_op.median);
        let no_op = format!("{:.0}", figure.no_op.median);
        vec![name, meaning.to_owned(), format!("{:.0}", net.median), spread, multiple, no_op, floor]
    };
    let floors = figure.beside.iter().filter_map(|beside| match beside.target {
        Target::Floor(floor) => Some((floor, beside)),
        _ => None,
    });
    let mut rows: Vec<_> = floors
        .clone()
        .map(|(floor, beside)| {
            let name = format!("{} / {}", case.name, floor.name());
            row(name, floor.meaning(), &beside.net, NO_FLOOR.to_owned())
        })
        .collect();
    let first = case.floors.first();
    let own = floors.into_iter().find(|(floor, _)| Some(floor) == first);
    let multiple = own.map_or(NO_FLOOR.to_owned(), |(_, beside)| format!("{:.2}", beside.multiple.median));
    rows.push(row(case.name.clone(), case.meaning, &figure.net, multiple));
    rows
}

/// The row of a case that is measured with counters and without them.
fn counters_row(case: &Case, figure: &Figure) -> Option<Vec<String>> {
    let beside = figure.beside.iter().find(|beside| beside.target == Target::Uncounted)?;
    Some(vec![
        case.name.clone(),
        case.meaning.to_owned(),
        format!("{:.1}", figure.net.median),
        format!("{:.1}", beside.net.median),
        format!("{:.1}", beside.more.median),
        format!("{:.1} – {:.1}", beside.more.min, beside.more.max),
    ])
}

impl Report {
    /// The tables, without those that have no row.
    fn sections(&self) -> Vec<Section> {
        let Self { cpu, effort, .. } = self;
        let conditions = format!("CPU {cpu}; medians of {} rounds of {} packets.", effort.rounds, effort.packets);
        let meaning = "Nanoseconds a packet, net of the harness.".to_owned();
        let mut paths = Section::new("measured".to_owned(), meaning, PATHS.to_vec()).with_text_columns(2);
        let meaning =
            "The data path with its counters and without, in the same passes, in turns; aim: ≤ 15 ns.".to_owned();
        let mut counters = Section::new("counters".to_owned(), meaning, COUNTERS.to_vec()).with_text_columns(2);
        for (case, figure) in &self.figures {
            match counters_row(case, figure) {
                Some(row) => counters.add_row(row),
                None => rows(case, figure).into_iter().for_each(|row| paths.add_row(row)),
            }
        }
        let mut sections = vec![paths, counters];
        sections.retain(|section| !section.is_empty());
        sections.iter_mut().for_each(|section| section.note(conditions.clone()));
        sections
    }

    /// Prints it.
    pub(super) fn print(&self) {
        self.sections().iter().for_each(|section| section.print(&self.machine));
    }

    /// Replaces the figures in `docs/performance.md`.
    pub(super) fn write(&self) -> Result<Vec<PathBuf>> {
        self.sections().iter().map(|section| section.write(&self.machine)).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::{
        super::{cases, floor::Floor, measure::Beside},
        *,
    };

    const fn at(median: f64) -> Spread {
        Spread { min: median - 1.0, median, max: median + 1.0 }
    }

    fn case(name: &str) -> Case {
        cases::all().into_iter().find(|case| case.name == name).unwrap()
    }

    fn figure(beside: Vec<(Target, f64)>) -> Figure {
        let net = at(60.0);
        let of = |(target, median): (Target, f64)| Beside {
            target,
            net: at(median),
            multiple: at(net.median / median),
            more: at(net.median - median),
        };
        Figure { no_op: at(20.0), net, beside: beside.into_iter().map(of).collect() }
    }

    #[test]
    fn a_multiple_of_the_floor_is_that_of_the_floor_that_does_the_same() {
        let measured = figure(vec![
            (Target::Floor(Floor::Constant), 10.0),
            (Target::Floor(Floor::Ipip), 50.0),
            (Target::Floor(Floor::Lru), 80.0),
        ]);
        let rows = rows(&case("v4-ipip-1"), &measured);
        let of = |at: usize| rows.iter().map(|row| row[at].as_str()).collect::<Vec<_>>();
        assert_eq!(of(0), ["v4-ipip-1 / constant", "v4-ipip-1 / floor", "v4-ipip-1 / lru", "v4-ipip-1"]);
        assert_eq!(of(2), ["10", "50", "80", "60"]);
        assert_eq!(of(4), ["0.5", "2.5", "4.0", "3.0"]);
        assert_eq!(of(6), ["–", "–", "–", "1.20"]);
        assert!(rows.iter().all(|row| row.len() == PATHS.len()));
    }

    #[test]
    fn a_path_that_no_bare_balancer_does_has_no_multiple_of_one() {
        let rows = rows(&case("v4-gue-1"), &figure(Vec::new()));
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0][6], "–");
    }

    #[test]
    fn counters_have_a_table_of_their_own() {
        let counted = (case("counters-v4-dsr-1"), figure(vec![(Target::Uncounted, 52.0)]));
        let row = counters_row(&counted.0, &counted.1).unwrap();
        assert_eq!(row[2..], ["60.0", "52.0", "8.0", "7.0 – 9.0"]);
        assert_eq!(row.len(), COUNTERS.len());
        let machine = Machine { kernel: "6.18".into(), cpu: "a CPU".into(), date: "2026-12-01".into() };
        let effort = Effort { rounds: 3, packets: 1000 };
        let report = Report { machine: machine.clone(), cpu: 1, effort, figures: vec![counted] };
        let sections = report.sections();
        assert_eq!(sections.len(), 1, "no table without a row");
        assert!(sections[0].markdown(&machine).contains("| counters-v4-dsr-1 | client to member, one flow | 60.0 |"));
    }
}
