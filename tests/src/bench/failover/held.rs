//! Very many open connections across the death of the host that carries them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::{
    Effort,
    contender::{KraterPair, RAISING},
    pace::Pace,
    report::{Section, millis},
};
use crate::rig::{Family, Side, connections::Connections, duo::Duo, prober};

const INTERVAL: Duration = Duration::from_millis(100);
/// TCP tries again after ever longer pauses.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between the host's death and the last question to every connection.
const AFTER: Duration = Duration::from_secs(2);
const LEAD: Duration = Duration::from_millis(500);

/// How long a round takes, about.
pub(super) fn expected(connections: u32) -> Duration {
    RAISING + Duration::from_secs(6) + Duration::from_millis(1) * connections
}

/// Opens connections, a tenth of them busy, and lets the host die that carries them.
pub(super) fn measure(effort: &Effort, pace: &mut Pace) -> Result<Section> {
    let meaning = format!(
        "{} TCP connections through the VIP, a tenth of them with a line to echo every second and the rest idle. The \
         switch ports of the Active balancer's host go down (adverts every {INTERVAL:?}); {AFTER:?} later every \
         connection is asked for one more line. Every byte that comes back is compared.",
        effort.connections
    );
    let header = vec![
        "round",
        "open",
        "busy",
        "told to the other side",
        "gap ms",
        "reset",
        "ended otherwise",
        "wrong bytes",
        "unanswered",
        "resumed",
        "last one after ms",
        "longest wait of any ms",
    ];
    let mut section = Section::new("connections", meaning, header);
    for round in 1..=effort.rounds_of_connections {
        let begun = Instant::now();
        // Each on a pair of its own: the flows of an earlier round have no end at a balancer that was not there then.
        let krater = KraterPair::up(INTERVAL)?;
        let row = one_round(&krater, usize::try_from(effort.connections)?).context("a round of connections")?;
        pace.did(expected(effort.connections), begun.elapsed());
        eprintln!(
            "connections, round {round} of {}: {}; {}",
            effort.rounds_of_connections,
            row.join(", "),
            pace.left()
        );
        section.add_row([vec![round.to_string()], row].concat());
    }
    Ok(section)
}

fn one_round(krater: &KraterPair, count: usize) -> Result<Vec<String>> {
    let duo = krater.duo();
    let client = duo.pair().client().name();
    let before = duo.adopted(Side::B)?;
    let held =
        Connections::open(client, Duo::connections(Family::V4, count, count / 10)).with_context(|| duo.account())?;
    // Those that it was not told of are part of the figures.
    if let Err(error) = duo.wait_adopted(Side::B, before + u64::try_from(count)?) {
        eprintln!("connections: {error:#}");
    }
    // Opening them all is a load, under which it may have moved.
    duo.settle(Side::A)?;
    let known = duo.adopted(Side::B)?.saturating_sub(before);
    let (traces, ()) = prober::around(client, &Duo::probes(Family::V4), [LEAD, AFTER], || duo.pair().unplug(Side::A))?;
    let outcome = held.settle(PATIENCE)?;
    let gap = traces.iter().map(|trace| trace.figures().gap).max().unwrap_or_default();
    let ended: usize = outcome.ended.values().sum();
    Ok(vec![
        outcome.opened.to_string(),
        outcome.busy.to_string(),
        known.to_string(),
        format!("{:.0}", millis(gap)),
        outcome.resets.to_string(),
        (ended - outcome.resets).to_string(),
        outcome.wrong.to_string(),
        outcome.unanswered.to_string(),
        outcome.resumed.to_string(),
        format!("{:.0}", millis(outcome.slowest)),
        format!("{:.0}", millis(outcome.longest_wait)),
    ])
}
