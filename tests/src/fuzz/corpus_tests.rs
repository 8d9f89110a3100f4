//! The functions that fuzzers call, over the corpora that are kept.
//!
//! With `KRATER_WRITE_SEEDS` set to a folder, the seeds are written there, a
//! folder for each target; `cargo xtask fuzz TARGET --merge` takes what they add
//! into the corpus.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use lb_common::{counters::Event, drop_reason::DropReason};

use super::{flow_table, packets, seeds};

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 50, "{} has {} entries", folder.display(), paths.len());
    paths.into_iter().map(|path| (path.clone(), std::fs::read(&path).unwrap())).collect()
}

#[test]
fn no_packets_of_the_corpus_break_anything_and_they_reach_nearly_every_end() {
    let mut reached = BTreeSet::new();
    for (path, data) in corpus("packets") {
        println!("{}", path.display());
        reached.extend(packets::run(&data));
    }
    let is_reached = |event: Event| reached.contains(&(event.index() as usize));
    let answers = [
        Event::AnsweredArp,
        Event::AnsweredNeighbour,
        Event::AnsweredEcho,
        Event::AnsweredReset,
        Event::AnsweredUnreachable,
        Event::AnsweredTooBig,
        Event::IcmpTranslated,
        Event::FragmentFollowed,
        Event::ChecksumCompleted,
        Event::Passed,
        Event::Forwarded,
    ];
    let missing: Vec<_> = answers.into_iter().filter(|event| !is_reached(*event)).collect();
    assert!(missing.is_empty(), "the corpus never reaches {missing:?}");
    let missing: Vec<_> = DropReason::ALL.iter().filter(|reason| !is_reached(Event::Drop(**reason))).collect();
    println!("never: {missing:?}");
    assert!(missing.len() <= NEVER, "the corpus never reaches {missing:?}");
}

/// Reasons that need tables which the balancers of `packets` do not have: not
/// configured, a missing member, and the like.
const NEVER: usize = 12;

#[test]
fn no_history_of_the_corpus_breaks_a_flow_table() {
    for (path, data) in corpus("flow_table") {
        println!("{}", path.display());
        flow_table::run(&data);
    }
}

#[test]
fn no_seed_breaks_anything() {
    let all = [("packets", seeds::of_packets()), ("flow_table", seeds::of_flow_table())];
    let folder = std::env::var_os("KRATER_WRITE_SEEDS").map(PathBuf::from);
    for (target, seeds) in all {
        for (name, bytes) in seeds {
            if let Some(folder) = &folder {
                std::fs::create_dir_all(folder.join(target)).unwrap();
                std::fs::write(folder.join(target).join(&name), &bytes).unwrap();
            }
            println!("{target} {name}");
            match target {
                "packets" => drop(packets::run(&bytes)),
                _ => flow_table::run(&bytes),
            }
        }
    }
}
