//! Reports beside the weights, as a table.

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use crate::rig::{load::Report, spread};

/// Requests to one listener.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// What was sent, such as `HTTP`.
    pub(super) protocol: &'static str,
    /// Over which family.
    pub(super) family: &'static str,
    /// What became of it.
    pub(super) report: Report,
    /// The weights that should show, by member.
    pub(super) weights: BTreeMap<String, u64>,
}

impl Row {
    /// What is wrong with it, in words; empty when nothing is.
    pub(super) fn complaints(&self) -> String {
        let mut words = Vec::new();
        if self.report.errors > 0 {
            let kinds: Vec<String> = self.report.error_kinds.iter().map(|(kind, n)| format!("{n} × {kind}")).collect();
            words.push(format!(
                "{} of {} requests failed ({})",
                self.report.errors,
                self.report.requests,
                kinds.join(", ")
            ));
        }
        let spread = spread::complaints(&spread::shares(&self.report.members, &self.weights));
        if !spread.is_empty() {
            words.push(spread);
        }
        if words.is_empty() {
            String::new()
        } else {
            format!("{} over {}: {}", self.protocol, self.family, words.join("; "))
        }
    }
}

/// Prints rows; the columns of members are their requests, the share they got
/// and the share their weight is.
pub(super) fn print(rows: &[Row]) {
    let mut names: Vec<&String> =
        rows.iter().flat_map(|row| row.weights.keys().chain(row.report.members.keys())).collect();
    names.sort();
    names.dedup();
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Disabled);
    let mut header = ["", "", "requests", "errors"].map(str::to_owned).to_vec();
    header.extend(names.iter().map(|name| format!("{name}: got / weight %")));
    header.extend(["p50 µs", "p99 µs"].map(str::to_owned));
    table.set_header(header);
    for row in rows {
        let shares = spread::shares(&row.report.members, &row.weights);
        let answered: u64 = row.report.members.values().sum();
        let mut cells = vec![
            row.protocol.to_owned(),
            row.family.to_owned(),
            row.report.requests.to_string(),
            row.report.errors.to_string(),
        ];
        for name in &names {
            let share = shares.iter().find(|share| &share.member == *name);
            cells.push(share.map_or_else(String::new, |share| {
                let got = percent(share.count, answered);
                let due = percent(row.weights.get(*name).copied().unwrap_or(0), row.weights.values().sum());
                format!("{} = {got} / {due}", share.count)
            }));
        }
        cells.push(row.report.p50_micros.to_string());
        cells.push(row.report.p99_micros.to_string());
        table.add_row(cells);
    }
    for index in 2..table.column_count() {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    println!("{table}");
}

/// A percentage with one decimal.
fn percent(part: u64, whole: u64) -> String {
    let tenths = (part * 1000 + whole / 2).checked_div(whole).unwrap_or(0);
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_rounded_to_a_decimal() {
        assert_eq!(percent(1, 3), "33.3");
        assert_eq!(percent(2, 3), "66.7");
        assert_eq!(percent(0, 0), "0.0");
    }

    #[test]
    fn a_row_complains_about_errors_and_about_its_spread() {
        let mut row = Row {
            protocol: "HTTP",
            family: "IPv4",
            report: Report { requests: 200, members: [("m1".to_owned(), 200)].into(), ..Report::default() },
            weights: [("m1".to_owned(), 1)].into(),
        };
        assert_eq!(row.complaints(), "");
        row.weights.insert("m2".to_owned(), 1);
        row.report.errors = 2;
        assert!(row.complaints().contains("2 of 200 requests failed") && row.complaints().contains("m2 got 0"));
    }
}
