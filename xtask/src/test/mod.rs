//! `test`: every tier, one after the other, and one summary at the end.
//!
//! The test programs are built once and run directly, not by way of
//! `cargo test`: so each is known by its tier, and a failing one stops nobody.
//!
//! Invariant others rely on: the last line on standard output is
//! `N passed, N failed`, with `, N skipped` behind it where a tier could not
//! run; and a failure anywhere is a failure of the whole.

mod libtest;
mod programs;
mod runner;
mod tiers;

use std::{process::ExitCode, time::Instant};

use anyhow::Result;

pub(crate) use self::libtest::Counts;
use self::{
    programs::Program,
    tiers::{HOST, Selection, Tier},
};
use crate::{build, ci, shell::Cmd, toolchain, workspace::Workspace};

/// A line of the summary.
pub(crate) struct Row {
    /// The tier.
    pub name: String,
    /// What its tests did.
    pub counts: Counts,
    /// How long it ran.
    pub seconds: f64,
}

/// `cargo xtask test [TIER] [NAME]`.
pub(crate) fn run(workspace: &Workspace, tier: Option<String>, name: Option<String>) -> Result<ExitCode> {
    let selection = tiers::select(tiers::existing(workspace), tier, name)?;
    let rows = run_selection(workspace, &selection)?;
    Ok(summarise(&rows))
}

/// Runs every tier.
pub(crate) fn run_all(workspace: &Workspace) -> Result<Vec<Row>> {
    run_selection(workspace, &Selection { tiers: tiers::existing(workspace), name: None })
}

/// Prints the table and the closing line.
pub(crate) fn summarise(rows: &[Row]) -> ExitCode {
    let mut total = Counts::default();
    println!("\n{:<8} {:>8} {:>8} {:>8} {:>9}", "tier", "passed", "failed", "ignored", "seconds");
    for Row { name, counts, seconds } in rows {
        let state = if counts.skipped > 0 { "  NOT RUN" } else { "" };
        let Counts { passed, failed, ignored, .. } = counts;
        println!("{name:<8} {passed:>8} {failed:>8} {ignored:>8} {seconds:>9.1}{state}");
        total.add(counts.clone());
    }
    println!();
    for Row { name, counts, .. } in rows {
        counts.failures.iter().for_each(|failure| println!("failed: {name}: {failure}"));
    }
    println!("{}", closing_line(&total));
    if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn closing_line(total: &Counts) -> String {
    let skipped = if total.skipped > 0 { format!(", {} skipped", total.skipped) } else { String::new() };
    format!("{} passed, {} failed{skipped}", total.passed, total.failed)
}

fn run_selection(workspace: &Workspace, selection: &Selection) -> Result<Vec<Row>> {
    // The host tier alone takes neither root nor a BPF compiler.
    if selection.tiers.iter().any(|t| t.name != HOST) {
        build::ebpf(workspace, &toolchain::ensure(workspace)?)?;
    }
    let programs = programs::build(workspace, &selection.tiers)?;
    let mut rows = Vec::new();
    for tier in &selection.tiers {
        rows.push(run_tier(workspace, tier, &programs, selection.name.as_deref())?);
    }
    if let Some(name) = &selection.name
        && rows.iter().all(|r| r.counts == Counts::default())
    {
        rows.push(row("-", Instant::now(), Counts::failure(format!("no test has `{name}` in its path"))));
    }
    Ok(rows)
}

fn run_tier(workspace: &Workspace, tier: &Tier, programs: &[Program], name: Option<&str>) -> Result<Row> {
    println!("\n== {}", tier.name);
    let started = Instant::now();
    if let Some(obstacle) = tier.needs_kernel().then(toolchain::obstacle).flatten() {
        return Ok(row(&tier.name, started, not_run(tier, &obstacle)));
    }
    let mut counts = Counts::default();
    for program in programs.iter().filter(|p| p.tier == tier.name) {
        counts.add(runner::run(&program.label, command(tier, program, name), runner::TIME_LIMIT)?);
    }
    if tier.name == HOST {
        counts.add(runner::run("documentation", documentation(workspace, name), runner::TIME_LIMIT)?);
    }
    Ok(row(&tier.name, started, counts))
}

/// In CI a tier that cannot run proves nothing and must not look green.
fn not_run(tier: &Tier, obstacle: &str) -> Counts {
    eprintln!("\n!!! THE TIER {} WAS NOT RUN: {obstacle}\n", tier.name);
    if ci::is_ci() {
        Counts::failure(format!("not run: {obstacle}"))
    } else {
        Counts { skipped: 1, ..Counts::default() }
    }
}

fn command(tier: &Tier, program: &Program, name: Option<&str>) -> Cmd {
    let threads = tier.at_a_time().map(|count| format!("--test-threads={count}"));
    // As cargo does it: a test may look for its files by either.
    let cmd = Cmd::new(&program.executable).dir(&program.dir).env("CARGO_MANIFEST_DIR", &program.dir);
    cmd.args(name).args(threads)
}

/// The examples in the documentation, which only cargo knows how to build.
fn documentation(workspace: &Workspace, name: Option<&str>) -> Cmd {
    let cmd = Cmd::cargo().args(["test", "--workspace", "--doc", "--no-fail-fast", "--quiet"]);
    cmd.args(build::locked()).arg("--").args(name).dir(&workspace.root)
}

fn row(name: &str, started: Instant, counts: Counts) -> Row {
    Row { name: name.to_owned(), counts, seconds: started.elapsed().as_secs_f64() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_line_speaks_of_skipped_tiers_only_where_there_are_any() {
        let mut total = Counts { passed: 12, ..Counts::default() };
        assert_eq!(closing_line(&total), "12 passed, 0 failed");
        total.add(Counts { skipped: 1, ..Counts::failure("x") });
        assert_eq!(closing_line(&total), "12 passed, 1 failed, 1 skipped");
    }
}
