//! Measures what health monitors cost, whether their probes are on time, and how soon
//! packets follow a verdict.
//!
//! `docs/performance.md` says what is done and what came out. Nothing here judges a
//! figure; the aims stand beside them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::{machine::Machine, section::Section};

mod arrivals;
mod beat;
mod burden;
mod capture;
mod ground;
mod load;
mod pool;
mod servants;
mod verdict;

use ground::Ground;
use load::Load;
use verdict::Case;

/// What was typed.
#[derive(Args, Debug)]
#[command(after_help = "\
A client, a balancer and a host that is all members, in network namespaces. With
probes of one kind after the other, lbd's CPU time, memory and descriptors are read
from /proc, how late probes are from `lbctl health summary` and once more from when
they arrive at the members. Then members die, one at a time, while flows send once a
millisecond: what is measured is the time from the probe that decides to the first
packet at another member.

lbd is the one that `cargo xtask build --release` makes. It needs root, and nginx.

Examples:
  cargo xtask bench health                              everything, a quarter of an hour
  cargo xtask bench health --only http --members 1000   one kind, fewer members
  cargo xtask bench health --only verdict --rounds 20   how soon packets move
  cargo xtask bench health --write                      and replace the tables of the page")]
pub(super) struct Arguments {
    /// Only these
    #[arg(long, value_name = "KIND", value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Members that are probed
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=16_000))]
    members: u32,
    /// Milliseconds between probes of a member
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    delay_ms: u64,
    /// Seconds to measure for, after a warm-up
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Members that die, in each pool
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
    /// Replace the figures of what was measured in docs/performance.md
    #[arg(long, conflicts_with_all = ["members", "delay_ms"])]
    write: bool,
}

/// What can be measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Part {
    /// Monitors of type TCP: SYN, SYN-ACK, RST
    Tcp,
    /// Monitors of type HTTP: GET / over a connection each
    Http,
    /// From the deciding probe to the first packet elsewhere
    Verdict,
}

impl Part {
    const fn kind(self) -> Option<&'static str> {
        match self {
            Self::Tcp => Some("TCP"),
            Self::Http => Some("HTTP"),
            Self::Verdict => None,
        }
    }
}

/// Does what was typed.
pub(super) fn carry_out(arguments: &Arguments) -> Result<()> {
    let wanted = |part: &Part| arguments.only.is_empty() || arguments.only.contains(part);
    let machine = Machine::read()?;
    raise_limits()?;
    let ground = Ground::up()?;
    let delay = Duration::from_millis(arguments.delay_ms);
    let kinds: Vec<&'static str> =
        [Part::Tcp, Part::Http].iter().filter(|part| wanted(part)).filter_map(|part| part.kind()).collect();
    if !kinds.is_empty() {
        let section = load_section(&ground, arguments, &kinds, delay)?;
        section.print(&machine);
        // A table without one of its columns would say less than the one before.
        if arguments.write && kinds.len() == 2 {
            println!("wrote {}", section.write(&machine)?.display());
        }
    }
    if wanted(&Part::Verdict) {
        let section = verdict_section(&ground, arguments, delay)?;
        section.print(&machine);
        if arguments.write {
            println!("wrote {}", section.write(&machine)?.display());
        }
    }
    Ok(())
}

fn load_section(ground: &Ground, arguments: &Arguments, kinds: &[&'static str], delay: Duration) -> Result<Section> {
    let Arguments { members, seconds, .. } = *arguments;
    let meaning = format!("{members} members, each probed every {delay:?}; {seconds} s are measured, after a warm-up.");
    let header: Vec<&str> = ["figure", "aim"].into_iter().chain(kinds.iter().copied()).collect();
    let mut section = Section::new("health load".to_owned(), meaning, header).with_text_columns(2);
    let mut all = Vec::new();
    for kind in kinds {
        eprintln!("measuring {kind}: {members} members every {delay:?}");
        let load = Load { kind, members, delay, span: Duration::from_secs(seconds) };
        all.push(load::measure(ground, load).with_context(|| format!("measure monitors of type {kind}"))?);
    }
    for row in load::rows(&all) {
        section.add_row(row);
    }
    section.note(load::remark());
    Ok(section)
}

fn verdict_section(ground: &Ground, arguments: &Arguments, delay: Duration) -> Result<Section> {
    let meaning = "A member dies: it refuses what it is asked. Up to eight UDP flows that it has send once a \
                   millisecond each. The time is from the moment the refusal of the deciding probe leaves the member \
                   to the moment a flow's packet arrives at another one; aim: p99 ≤ 10 ms."
        .to_owned();
    let mut section = Section::new("health verdict".to_owned(), meaning, verdict::HEADER.to_vec());
    let mut cases = vec![(3, 3), (1000.min(arguments.members), 1000.min(arguments.members))];
    if arguments.members > 1000 {
        cases.push((1000, arguments.members));
    }
    for (pool, members) in cases {
        let case = Case { pool, members, delay, rounds: arguments.rounds };
        let mut told = Instant::now();
        let mut progress = |text: String| {
            if told.elapsed() > Duration::from_secs(5) {
                told = Instant::now();
                eprintln!("a member of {pool} dies, {members} in all, {text}");
            }
        };
        section.add_row(verdict::measure(ground, case, &mut progress).with_context(|| format!("a pool of {pool}"))?);
    }
    Ok(section)
}

/// Every member that can die has a socket, and every flow.
fn raise_limits() -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("ask how many files may be open")?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("raise how many files may be open")
}
