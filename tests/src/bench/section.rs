//! A table of figures on the terminal and in `docs/performance.md`.

use std::{fmt::Write as _, path::PathBuf};

use anyhow::Result;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use super::{machine::Machine, page};

/// What is measured, and what came out.
#[derive(Clone, Debug)]
pub(super) struct Section {
    /// The part of the page that it is, such as `failover host-death`.
    name: String,
    meaning: String,
    header: Vec<&'static str>,
    /// Columns of text; those behind them are figures.
    text_columns: usize,
    rows: Vec<Vec<String>>,
    notes: Vec<String>,
}

impl Section {
    /// With nothing in it yet; the first column is text.
    pub(super) const fn new(name: String, meaning: String, header: Vec<&'static str>) -> Self {
        Self { name, meaning, header, text_columns: 1, rows: Vec::new(), notes: Vec::new() }
    }

    /// With more columns of text.
    pub(super) fn with_text_columns(mut self, columns: usize) -> Self {
        self.text_columns = columns;
        self
    }

    /// Adds a row.
    pub(super) fn add_row(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    /// Whether it has no row.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Adds a sentence below.
    pub(super) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// The conditions, in sentences.
    fn conditions(&self, machine: &Machine) -> String {
        let mut text = format!("{}, Linux {}, {}.", machine.date, machine.kernel, machine.cpu);
        for note in &self.notes {
            let _ = write!(text, " {note}");
        }
        text
    }

    /// Prints it.
    pub(super) fn print(&self, machine: &Machine) {
        let mut table = Table::new();
        table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(&self.header);
        for row in &self.rows {
            table.add_row(row);
        }
        for index in self.text_columns..table.column_count() {
            if let Some(column) = table.column_mut(index) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        println!("\n{}: {}\n{table}\n{}", self.name, self.meaning, self.conditions(machine));
    }

    /// Replaces its part of the page; returns where.
    pub(super) fn write(&self, machine: &Machine) -> Result<PathBuf> {
        page::write(&self.name, &self.markdown(machine))
    }

    /// As the page has it.
    pub(super) fn markdown(&self, machine: &Machine) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let header: Vec<String> = self.header.iter().map(|&cell| cell.to_owned()).collect();
        let rule: Vec<String> =
            (0..self.header.len()).map(|at| if at < self.text_columns { "---" } else { "---:" }.to_owned()).collect();
        let rows: String = self.rows.iter().map(|row| line(row)).collect();
        format!("{}\n\n{}{}{rows}\n{}\n", self.meaning, line(&header), line(&rule), self.conditions(machine))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_gets_a_table_with_its_rule_and_conditions() {
        let mut section =
            Section::new("a b".into(), "Meaning.".into(), vec!["what", "aim", "seen"]).with_text_columns(2);
        section.add_row(["x", "≤ 1", "0.5"].map(str::to_owned).into());
        section.note("A note.".into());
        let machine = Machine { kernel: "6.18".into(), cpu: "a CPU".into(), date: "2026-11-24".into() };
        let text = "Meaning.\n\n| what | aim | seen |\n| --- | --- | ---: |\n| x | ≤ 1 | 0.5 |\n\n2026-11-24, Linux 6.18, a \
                    CPU. A note.\n";
        assert_eq!(section.markdown(&machine), text);
    }
}
