//! What tables of slots do when the members change: how many slots of others move,
//! how far shares are from what they should be, and how long a table takes to make.
//!
//! Ours, Maglev's fill and rendezvous hashing without bounds stand side by side.
//! All are functions of the members alone, so all but the time is the same wherever
//! it is run.

use std::{cell::RefCell, collections::HashMap, hint::black_box, net::Ipv4Addr, time::Duration};

use anyhow::Result;
use clap::Args;
use lb_common::{hash, limits::MAX_TABLE_SLOTS, pool::Algorithm};
use lb_user::spread::{self, Candidate, KeptTables, slots_for};
use nix::time::{ClockId, clock_gettime};

use super::{machine::Machine, section::Section};

mod maglev;
mod plain;

/// What was typed.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Tables made of each kind to take the time
    #[arg(long, default_value_t = 31, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Replace the table in docs/performance.md
    #[arg(long)]
    write: bool,
}

/// A way to make a table of so many slots for a pool with so many members configured.
struct Build {
    name: &'static str,
    make: fn(u32, &[Candidate], usize) -> Vec<u16>,
    /// How many members fail, join and get half their weight, one at a time. The
    /// unbounded one hashes every member for every slot: it is given fewer.
    changes: usize,
    /// How many of the rounds take the time.
    rounds: fn(u32) -> u32,
}

const BUILDS: [Build; 3] = [
    Build {
        name: "Maglev",
        make: |slots, candidates, _| maglev::table(candidates, slots),
        changes: 20,
        rounds: |all| all,
    },
    Build {
        name: "rendezvous, no bounds",
        make: |slots, candidates, _| plain::table(candidates, slots),
        changes: 3,
        rounds: |all| all.min(3),
    },
    Build { name: "Krater", make: spread::table_of, changes: 20, rounds: |all| all },
];

/// Members of the pools that are measured.
const SIZES: [u32; 4] = [10, 100, 400, 1000];

/// Members with fewer slots than this to their share say nothing about shares.
const TELLING: f64 = 20.0;

/// Measures all and prints what came out.
pub(super) fn carry_out(arguments: &Arguments) -> Result<()> {
    let machine = Machine::read()?;
    let header = vec![
        "members",
        "slots",
        "table",
        "one fails %: mean",
        "most",
        "one joins %: mean",
        "most",
        "half a weight %: mean",
        "most",
        "most:share",
        "least:share",
        "build ms",
    ];
    let meaning =
        "Slots of members that nothing happened to and that change hands all the same, in per cent of the slots \
                   of such members; the largest and the smallest count of slots as a multiple of the exact share, with \
                   all members and after each failure; and the median of the CPU time to make a table."
            .to_owned();
    let mut section = Section::new("tables".to_owned(), meaning, header).with_text_columns(3);
    for members in SIZES {
        let own = slots_for(members as usize);
        for slots in if own == MAX_TABLE_SLOTS { vec![own] } else { vec![MAX_TABLE_SLOTS, own] } {
            add(&mut section, members.to_string(), &pool(members, |_| 2), slots, arguments.rounds)?;
        }
    }
    let mixed = pool(100, |n| 1 + (hash::one(5, u64::from(n)) % 256) as u16);
    add(&mut section, "100, weights 1 to 256".to_owned(), &mixed, MAX_TABLE_SLOTS, arguments.rounds)?;
    section.note(sequence(arguments.rounds)?);
    section.note(kept(arguments.rounds)?);
    section.note(if cfg!(debug_assertions) {
        "The times are of a program that was not built for release.".to_owned()
    } else {
        "The program was built for release.".to_owned()
    });
    section.print(&machine);
    if arguments.write {
        println!("wrote {}", section.write(&machine)?.display());
    }
    Ok(())
}

fn pool(members: u32, weight: impl Fn(u32) -> u16) -> Vec<Candidate> {
    (1..=members).map(|n| member(n, weight(n))).collect()
}

fn member(n: u32, weight: u16) -> Candidate {
    Candidate { identity: spread::identity(Ipv4Addr::from(0x0a00_0000 + n).into(), 8080), weight }
}

/// A row for each build.
fn add(section: &mut Section, members: String, pool: &[Candidate], slots: u32, rounds: u32) -> Result<()> {
    for build in &BUILDS {
        eprintln!("measuring {members} members in {slots} slots: {}", build.name);
        let figures = measure(build, pool, slots, rounds)?;
        let per_cent = |share: f64| format!("{:.3}", share * 100.0);
        let mut row = vec![members.clone(), slots.to_string(), build.name.to_owned()];
        for moved in [figures.fails, figures.joins, figures.halved] {
            row.extend([per_cent(moved.mean()), per_cent(moved.most)]);
        }
        row.extend([figures.shares.1, figures.shares.0].map(|share| format!("{share:.3}")));
        row.push(format!("{:.2}", figures.millis));
        section.add_row(row);
    }
    Ok(())
}

struct Figures {
    fails: Moved,
    joins: Moved,
    halved: Moved,
    /// The smallest and the largest.
    shares: (f64, f64),
    millis: f64,
}

/// Shares of slots that moved, of several changes.
#[derive(Clone, Copy, Default)]
struct Moved {
    sum: f64,
    most: f64,
    changes: f64,
}

impl Moved {
    /// Compares who has each slot, apart from the one that something happened to.
    fn add(&mut self, before: &[u64], after: &[u64], whom: u64) {
        let others = before.iter().filter(|owner| **owner != whom).count();
        let moved = before.iter().zip(after).filter(|(b, a)| **b != whom && **a != whom && b != a).count();
        let share = moved as f64 / others.max(1) as f64;
        *self = Self { sum: self.sum + share, most: self.most.max(share), changes: self.changes + 1.0 };
    }

    fn mean(self) -> f64 {
        self.sum / self.changes.max(1.0)
    }
}

fn measure(build: &Build, pool: &[Candidate], slots: u32, rounds: u32) -> Result<Figures> {
    let configured = pool.len();
    let owners = |pool: &[Candidate], configured: usize| -> Vec<u64> {
        let table = (build.make)(slots, pool, configured);
        table.into_iter().map(|slot| pool[usize::from(slot)].identity).collect()
    };
    let before = owners(pool, configured);
    let mut figures = Figures {
        fails: Moved::default(),
        joins: Moved::default(),
        halved: Moved::default(),
        shares: shares(pool, &before),
        millis: millis((build.rounds)(rounds), || (build.make)(slots, pool, configured))?,
    };
    for place in (0..configured).step_by(configured.div_ceil(build.changes)) {
        let mut fewer = pool.to_vec();
        let gone = fewer.remove(place);
        let after = owners(&fewer, configured);
        figures.fails.add(&before, &after, gone.identity);
        let (least, most) = shares(&fewer, &after);
        figures.shares = (figures.shares.0.min(least), figures.shares.1.max(most));

        let mut more = pool.to_vec();
        let newcomer = member(1_000_000 + place as u32, gone.weight);
        more.push(newcomer);
        figures.joins.add(&before, &owners(&more, configured + 1), newcomer.identity);

        let mut changed = pool.to_vec();
        changed[place].weight = gone.weight.div_ceil(2);
        figures.halved.add(&before, &owners(&changed, configured), gone.identity);
    }
    Ok(figures)
}

/// The smallest and the largest count of slots as a multiple of the exact share.
fn shares(pool: &[Candidate], owners: &[u64]) -> (f64, f64) {
    let mut counts: HashMap<u64, f64> = HashMap::new();
    owners.iter().for_each(|owner| *counts.entry(*owner).or_default() += 1.0);
    let total: f64 = pool.iter().map(|c| f64::from(c.weight)).sum();
    let mut range = (f64::INFINITY, 0.0f64);
    for candidate in pool {
        let exact = owners.len() as f64 * f64::from(candidate.weight) / total;
        if exact >= TELLING {
            let share = counts.get(&candidate.identity).copied().unwrap_or_default() / exact;
            range = (range.0.min(share), range.1.max(share));
        }
    }
    range
}

/// The median of so many runs, in CPU time of this thread: what else the machine does
/// is not in it, but for the caches.
fn millis<T>(rounds: u32, make: impl Fn() -> T) -> Result<f64> {
    let now = || clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from);
    let mut times = Vec::new();
    for _ in 0..rounds {
        let began = now()?;
        black_box(make());
        times.push((now()? - began).as_secs_f64() * 1000.0);
    }
    times.sort_unstable_by(f64::total_cmp);
    Ok(times.get(times.len() / 2).copied().unwrap_or_default())
}

/// What a sequence for taking turns costs.
fn sequence(rounds: u32) -> Result<String> {
    let pool = pool(1000, |n| 1 + (hash::one(6, u64::from(n)) % 256) as u16);
    let turns = spread::sequence(&pool).len();
    let took = millis(rounds, || spread::sequence(&pool))?;
    Ok(format!(
        "A sequence for taking turns of 1000 members with weights from 1 to 256 ({turns} turns) takes {took:.2} ms."
    ))
}

/// What the table of a pool costs that is kept, where one of its members fails and comes
/// back.
fn kept(rounds: u32) -> Result<String> {
    let whole = pool(1000, |_| 1);
    let mut less = whole.clone();
    less.remove(500);
    let tables = RefCell::new(KeptTables::default());
    let make =
        |pool: &[Candidate]| tables.borrow_mut().for_algorithm("lb/pool", Algorithm::SourceIpPort, pool, whole.len());
    black_box(make(&whole));
    let both = millis(rounds, || (make(&less), make(&whole)))?;
    Ok(format!("Kept and changed, the table of 1000 members takes {:.2} ms when one fails or comes back.", both / 2.0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

    use super::*;

    #[test]
    fn only_slots_between_others_count_as_moved() {
        let mut moved = Moved::default();
        moved.add(&[1, 1, 2, 2, 3, 3], &[1, 2, 2, 2, 2, 1], 3);
        assert!((moved.mean() - 0.25).abs() < 1e-9);
        moved.add(&[1, 1, 2, 2], &[1, 3, 2, 2], 3);
        assert!((moved.mean() - 0.125).abs() < 1e-9 && (moved.most - 0.25).abs() < 1e-9);
    }

    #[test]
    fn every_build_fills_every_slot_in_any_order_of_members() {
        let there = pool(7, |n| n as u16);
        let mut back = there.clone();
        back.reverse();
        for build in &BUILDS {
            let who = |pool: &[Candidate]| -> Vec<u64> {
                (build.make)(809, pool, 7).into_iter().map(|slot| pool[usize::from(slot)].identity).collect()
            };
            assert_eq!(who(&there).len(), 809, "{}", build.name);
            assert_eq!(who(&there), who(&back), "{}", build.name);
        }
    }

    #[test]
    fn without_bounds_nobody_else_moves() {
        let figures = measure(&BUILDS[1], &pool(10, |_| 2), 401, 1).unwrap();
        assert!(figures.fails.most + figures.joins.most + figures.halved.most < 1e-9);
    }
}
