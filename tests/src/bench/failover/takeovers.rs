//! Nothing happens, and all CPUs are busy: whoever takes over now is wrong.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{
    Effort,
    contender::Contender,
    event::settling,
    pace::Pace,
    report::{Section, millis},
};
use crate::rig::process::Process;

const INTERVAL: Duration = Duration::from_millis(100);
const TICK: Duration = Duration::from_secs(15);
/// As many as a small machine has CPUs.
const WORKERS: &str = "2";

/// Keeps all CPUs busy beside everybody at once, and counts changes of state.
pub(super) fn measure(effort: &Effort, pace: &mut Pace) -> Result<Section> {
    let mut contenders = effort.raise(INTERVAL, pace)?;
    for contender in &mut contenders {
        contender.restore()?;
    }
    thread::sleep(settling(INTERVAL));

    let changes =
        |contenders: &[Box<dyn Contender>]| contenders.iter().map(|c| c.changes()).collect::<Result<Vec<_>>>();
    let before = changes(&contenders)?;
    let pair = contenders.first().context("nobody is measured")?.pair();
    let seconds = format!("{}s", effort.stress.as_secs() + 60);
    let mut stress = Process::spawn(
        pair.recorder(),
        pair.client().name(),
        "stress-ng",
        Path::new("stress-ng"),
        &["--cpu", WORKERS, "--timeout", &seconds],
        &pair.recorder().snapshot().directory.join("stress-ng.log"),
    )?;
    let begun = Instant::now();
    while begun.elapsed() < effort.stress {
        let pause = TICK.min(effort.stress.saturating_sub(begun.elapsed()));
        thread::sleep(pause);
        stress.check_running()?;
        pace.did(pause, pause);
        eprintln!(
            "false-takeovers: {:.0} s of {:.0}; {}",
            begun.elapsed().as_secs_f64(),
            effort.stress.as_secs_f64(),
            pace.left()
        );
    }
    let after = changes(&contenders)?;
    stress.kill();

    let meaning = format!(
        "Adverts every {INTERVAL:?}, `stress-ng --cpu {WORKERS}` for {:.0} minutes beside both pairs at once. Any \
         change of state, on either side, is one too many.",
        effort.stress.as_secs_f64() / 60.0
    );
    let mut section = Section::new(
        "false-takeovers",
        meaning,
        vec!["balancer", "changes of state", "latest timer ms, by its own account"],
    );
    for ((contender, before), after) in contenders.iter().zip(before).zip(after) {
        let latest = contender.latest().map_or_else(|| "–".to_owned(), |latest| format!("{:.1}", millis(latest)));
        section.add_row(vec![contender.name().to_owned(), after.saturating_sub(before).to_string(), latest]);
    }
    Ok(section)
}
