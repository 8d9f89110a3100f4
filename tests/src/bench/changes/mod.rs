//! Measures how soon a change that an operator makes is live: from the call, within
//! lbd, to the last word in the kernel's maps that packets go by.
//!
//! The controller is the one that lbd has, over the kernel's data path, and is called
//! as lbd calls it for `lbctl member set` and for a reload of the pool file. What is
//! not in it is the way of a request through the socket.

use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::{machine, machine::Machine, scene, section::Section};

mod file;
mod subject;
mod timed;

use file::PoolFile;
use subject::Subject;

/// What was typed.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Changes of each kind
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
    /// Replace the table in docs/performance.md
    #[arg(long)]
    write: bool,
}

/// What is changed. Each second change takes the one before back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Change {
    /// `lbctl member set --weight`.
    Weight,
    /// `lbctl member set --drain`.
    Drain,
    /// `lbctl member set --disable`.
    Disable,
    /// A pool file in which every member of the pool is another one.
    Replace,
    /// A pool file in which every listener has another pool.
    Switch,
}

impl Change {
    fn meaning(self) -> &'static str {
        match self {
            Self::Weight => "a member's weight",
            Self::Drain => "a member drains, or no longer",
            Self::Disable => "a member is disabled, or enabled",
            Self::Replace => "reload: all members are others",
            Self::Switch => "reload: all listeners have another pool",
        }
    }

    /// What the time may be.
    fn aim(self, listeners: u16) -> &'static str {
        if listeners > 1 { "≤ 250" } else { "≤ 5" }
    }
}

/// A row.
#[derive(Clone, Copy, Debug)]
struct Case {
    change: Change,
    listeners: u16,
    mode: &'static str,
}

/// Members of each pool.
const MEMBERS: u32 = 1000;

const CASES: [Case; 8] = [
    Case { change: Change::Weight, listeners: 1, mode: "nat" },
    Case { change: Change::Drain, listeners: 1, mode: "nat" },
    Case { change: Change::Disable, listeners: 1, mode: "nat" },
    Case { change: Change::Weight, listeners: 1, mode: "ipip" },
    Case { change: Change::Drain, listeners: 1, mode: "ipip" },
    Case { change: Change::Weight, listeners: 500, mode: "nat" },
    Case { change: Change::Replace, listeners: 500, mode: "nat" },
    Case { change: Change::Switch, listeners: 500, mode: "nat" },
];

const HEADER: [&str; 15] = [
    "change",
    "listeners",
    "mode",
    "aim, p99 ms",
    "changes",
    "live after ms: min",
    "median",
    "p99",
    "max",
    "of it: file",
    "tables",
    "maps read",
    "maps written",
    "rest",
    "all done after",
];

/// One change.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Took {
    /// From the call to the last word that packets go by.
    live: Duration,
    /// Of that: the pool file read and parsed, or the operator's change kept on the disk.
    file: Duration,
    /// Of that: making the tables of slots.
    tables: Duration,
    /// Of that: reading the maps.
    reads: Duration,
    /// Of that: writing the maps.
    writes: Duration,
    /// From the call to its return.
    done: Duration,
}

/// Measures all kinds and prints what came out.
pub(super) fn carry_out(arguments: &Arguments) -> Result<()> {
    let machine = Machine::read()?;
    machine::leave_the_network()?;
    scene::remove_leftovers();
    let meaning = format!(
        "From the call to the last word in the maps that packets go by. Pools have {MEMBERS} members; each second \
         change takes the one before back. The parts and *all done* are medians, in milliseconds."
    );
    let mut section = Section::new("changes".to_owned(), meaning, HEADER.to_vec()).with_text_columns(4);
    for case in CASES {
        eprintln!("measuring {} ({} listeners, {})", case.change.meaning(), case.listeners, case.mode);
        section.add_row(row(case, &measure(case, arguments.rounds)?));
    }
    section.note(if cfg!(debug_assertions) {
        "The program was not built for release.".to_owned()
    } else {
        "The program was built for release, as lbd is.".to_owned()
    });
    section.print(&machine);
    if arguments.write {
        println!("wrote {}", section.write(&machine)?.display());
    }
    Ok(())
}

fn measure(case: Case, rounds: u32) -> Result<Vec<Took>> {
    let pools = if case.change == Change::Switch { 2 } else { 1 };
    let file = PoolFile { listeners: case.listeners, members: MEMBERS, mode: case.mode, pools, pool: 0, list: 0 };
    let mut subject = Subject::start(file)?;
    let mut all = Vec::new();
    for round in 0..rounds {
        // A step that is prime to the number of members meets all of them.
        let number = round / 2 * 7919 % MEMBERS;
        let odd = round % 2 == 1;
        let took = match case.change {
            Change::Weight | Change::Drain | Change::Disable => subject.set_member(case.change, number, !odd)?,
            Change::Replace => subject.reload(PoolFile { list: u32::from(!odd), ..file })?,
            Change::Switch => subject.reload(PoolFile { pool: u32::from(!odd), ..file })?,
        };
        all.push(took);
    }
    Ok(all)
}

fn row(case: Case, all: &[Took]) -> Vec<String> {
    let millis = |time: Duration| format!("{:.2}", time.as_secs_f64() * 1e3);
    let rank = |of: &dyn Fn(&Took) -> Duration, share: usize| {
        let mut sorted: Vec<Duration> = all.iter().map(of).collect();
        sorted.sort_unstable();
        millis(sorted.get((sorted.len() * share).div_ceil(100).saturating_sub(1)).copied().unwrap_or_default())
    };
    let rest = |took: &Took| took.live.saturating_sub(took.file + took.tables + took.reads + took.writes);
    vec![
        case.change.meaning().to_owned(),
        case.listeners.to_string(),
        case.mode.to_owned(),
        case.change.aim(case.listeners).to_owned(),
        all.len().to_string(),
        rank(&|took| took.live, 0),
        rank(&|took| took.live, 50),
        rank(&|took| took.live, 99),
        rank(&|took| took.live, 100),
        rank(&|took| took.file, 50),
        rank(&|took| took.tables, 50),
        rank(&|took| took.reads, 50),
        rank(&|took| took.writes, 50),
        rank(&rest, 50),
        rank(&|took| took.done, 50),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_extremes_and_what_no_part_explains() {
        let of = |millis: u64| Took {
            live: Duration::from_millis(millis),
            file: Duration::from_millis(1),
            tables: Duration::from_millis(2),
            reads: Duration::ZERO,
            writes: Duration::from_millis(1),
            done: Duration::from_millis(millis + 1),
        };
        let all: Vec<Took> = (10..=109).map(of).collect();
        let row = row(CASES[0], &all);
        assert_eq!(row.len(), HEADER.len());
        assert_eq!(row[3..9], ["≤ 5", "100", "10.00", "59.00", "108.00", "109.00"]);
        assert_eq!(row[9..], ["1.00", "2.00", "0.00", "1.00", "55.00", "60.00"]);
    }
}
