//! Figures on the terminal and in `docs/performance.md`.

use std::{fmt::Write as _, path::PathBuf};

use anyhow::Result;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use super::{
    cases::Case,
    machine::Machine,
    measure::{Effort, Figure},
    page,
};

/// Its part of the page.
const PART: &str = "measured";

/// Everything that was measured.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) machine: Machine,
    pub(super) cpu: usize,
    pub(super) effort: Effort,
    pub(super) figures: Vec<(Case, Figure)>,
}

/// One row of either table.
fn cells(case: &Case, figure: &Figure) -> [String; 6] {
    let Figure { no_op, net } = figure;
    [
        case.name.clone(),
        case.meaning.to_owned(),
        format!("{:.0}", net.median),
        format!("{:.0} – {:.0}", net.min, net.max),
        format!("{:.1}", net.median / no_op.median),
        format!("{:.0}", no_op.median),
    ]
}

const HEADER: [&str; 6] = ["case", "packets", "net ns", "min – max", "× no-op", "no-op ns"];
const TEXT_COLUMNS: usize = 2;

impl Report {
    /// The conditions, in a sentence.
    fn conditions(&self) -> String {
        let Self { machine, cpu, effort, .. } = self;
        format!(
            "{}, Linux {}, {}, CPU {cpu}; medians of {} rounds of {} packets.",
            machine.date, machine.kernel, machine.cpu, effort.rounds, effort.packets
        )
    }

    /// Prints it.
    pub(super) fn print(&self) {
        let mut table = Table::new();
        table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(HEADER);
        for (case, figure) in &self.figures {
            table.add_row(cells(case, figure));
        }
        for index in TEXT_COLUMNS..table.column_count() {
            if let Some(column) = table.column_mut(index) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        println!("{table}\n{}", self.conditions());
    }

    /// Replaces the figures in `docs/performance.md`.
    pub(super) fn write(&self) -> Result<PathBuf> {
        page::write(PART, &self.markdown()?)
    }

    fn markdown(&self) -> Result<String> {
        let mut text = format!("{}\n\n", self.conditions());
        let row = |cells: [&str; 6]| format!("| {} |", cells.join(" | "));
        writeln!(text, "{}\n| --- | --- | ---: | ---: | ---: | ---: |", row(HEADER))?;
        for (case, figure) in &self.figures {
            writeln!(text, "{}", row(cells(case, figure).each_ref().map(String::as_str)))?;
        }
        Ok(text)
    }
}
