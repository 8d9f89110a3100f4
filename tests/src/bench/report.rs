//! Figures on the terminal and in `docs/performance.md`.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use super::{
    cases::Case,
    machine::Machine,
    measure::{Effort, Figure},
};

const BEGIN: &str = "<!-- measured: begin -->";
const END: &str = "<!-- measured: end -->";

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
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/performance.md");
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let text = replaced(&text, &self.markdown()?)
            .with_context(|| format!("{} has no lines {BEGIN} and {END}", path.display()))?;
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        Ok(path.canonicalize().unwrap_or(path))
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

/// The text with other lines between the markers.
fn replaced(text: &str, between: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{between}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_is_replaced() {
        let text = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        assert_eq!(replaced(&text, "new\n"), Some(format!("a\n{BEGIN}\nnew\n{END}\nb\n")));
        assert_eq!(replaced("no markers", "new\n"), None);
    }
}
