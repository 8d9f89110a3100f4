//! Measures what a packet costs in the data path, in nanoseconds on one CPU; what a
//! failover costs clients, in milliseconds and lost probes; and what health monitors
//! cost, and how soon packets follow them; how soon an operator's changes are live; and
//! what tables of slots do when members change.
//!
//! `docs/performance.md` says how and what came out. Nothing here judges a
//! figure: a machine that is busy must not make anything fail.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};

mod cases;
mod changes;
mod failover;
mod floor;
mod frames;
mod harness;
mod health;
mod load;
mod machine;
mod measure;
mod page;
mod report;
mod scene;
mod section;
mod tables;
mod uncounted;
mod verdicts;

use cases::{Case, Setting, Table};
use frames::{Kind, Template};
use harness::{Harness, Order, Stream, Target};
use machine::Machine;
use measure::{Effort, measure};
use report::Report;
use scene::Scene;

/// What was typed.
#[derive(Parser, Debug)]
#[command(name = "krater-bench", about = "Measure what a packet costs in the data path", version)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    other: Option<Other>,
    /// Only cases whose name contains this; may be given several times
    #[arg(long = "case", value_name = "NAME")]
    cases: Vec<String>,
    /// Name the cases and measure nothing
    #[arg(long)]
    list: bool,
    /// A third of the rounds
    #[arg(long)]
    quick: bool,
    /// Rounds, in each of which all that is compared is run by turns
    #[arg(long, default_value_t = 21, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Packets of a round
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1000..=1_000_000))]
    packets: u32,
    /// The CPU to measure on; the last one unless given
    #[arg(long)]
    cpu: Option<usize>,
    /// Replace the figures in docs/performance.md, all of them
    #[arg(long, conflicts_with = "cases")]
    write: bool,
}

/// What else can be measured.
#[derive(Subcommand, Debug)]
enum Other {
    /// Measure how soon a change that an operator makes is in the maps
    Changes(changes::Arguments),
    /// Measure what clients lose when the VIP moves, with keepalived beside it
    Failover(failover::Arguments),
    /// Measure what health monitors cost, and how soon packets follow their verdicts
    Health(health::Arguments),
    /// Measure what loading and verifying the data path takes
    Load(load::Arguments),
    /// Measure what tables of slots move, how even they are, and what they take to make
    Tables(tables::Arguments),
    /// Measure how long a verdict of a health monitor takes to the tables
    Verdicts(verdicts::Arguments),
}

/// Does what was typed.
#[must_use]
pub fn main(arguments: &Arguments) -> ExitCode {
    match carry_out(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("krater-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out(arguments: &Arguments) -> Result<()> {
    match &arguments.other {
        Some(Other::Changes(arguments)) => return changes::carry_out(arguments),
        Some(Other::Failover(arguments)) => return failover::carry_out(arguments),
        Some(Other::Health(arguments)) => return health::carry_out(arguments),
        Some(Other::Load(arguments)) => return load::carry_out(arguments),
        Some(Other::Tables(arguments)) => return tables::carry_out(arguments),
        Some(Other::Verdicts(arguments)) => return verdicts::carry_out(arguments),
        None => {}
    }
    let wanted = |case: &Case| arguments.cases.is_empty() || arguments.cases.iter().any(|c| case.name.contains(c));
    let cases: Vec<Case> = cases::all().into_iter().filter(wanted).collect();
    ensure!(!cases.is_empty(), "no case has such a name; `--list` names them all");
    if arguments.list {
        for case in &cases {
            println!("{:<26} {}", case.name, case.meaning);
        }
        return Ok(());
    }
    let rounds = if arguments.quick { arguments.rounds.div_ceil(3) } else { arguments.rounds };
    let effort = Effort { rounds, packets: arguments.packets };
    let machine = Machine::read()?;
    machine::leave_the_network()?;
    let cpu = machine::pin(arguments.cpu)?;
    scene::remove_leftovers();
    let figures = run(cases, effort)?;
    let report = Report { machine, cpu, effort, figures };
    report.print();
    if arguments.write {
        for path in report.write()? {
            println!("wrote {}", path.display());
        }
    }
    Ok(())
}

/// Measures cases, each set of neighbours with the same setting in one scene.
fn run(cases: Vec<Case>, effort: Effort) -> Result<Vec<(Case, measure::Figure)>> {
    let mut harness = Harness::load()?;
    let mut figures = Vec::with_capacity(cases.len());
    for neighbours in cases.chunk_by(|a, b| a.setting == b.setting) {
        let Some(first) = neighbours.first() else { continue };
        let scene = set(&mut harness, &first.setting)?;
        for case in neighbours {
            eprintln!("measuring {}: {}", case.name, case.meaning);
            figures.push((case.clone(), measure(&mut harness, &scene, case, effort)?));
        }
        harness.let_go()?;
    }
    Ok(figures)
}

/// Brings about what cases need.
fn set(harness: &mut Harness, setting: &Setting) -> Result<Scene> {
    let Setting { max_flows, table, protocols, .. } = *setting;
    eprintln!("loading a data path for {max_flows} flows");
    let scene = Scene::new(setting)?;
    harness.aim_at(scene.pin_path(), setting.uncounted)?;
    match table {
        Table::Empty | Table::Answered => {}
        Table::Confirmed(flows) => {
            eprintln!("opening and confirming {flows} flows");
            scene.open_flows(harness, flows)?;
        }
        Table::Flooded => {
            let packets = setting.flood();
            eprintln!("flooding it with {packets} new flows");
            let mut stream = Stream::new(Template::new(protocols, Kind::Opening)?, Order::Sequence, packets);
            harness.run(Target::Krater, &mut stream, packets)?;
        }
    }
    Ok(scene)
}
