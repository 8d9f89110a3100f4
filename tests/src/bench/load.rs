//! Measures what it takes to load the data path: object, maps and verification, as `lbd`
//! does it when it starts.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Args;
use lb_user::dataplane::{
    Describe as _,
    kernel::{KernelDataplane, KernelOptions},
};

use super::{
    machine::{self, Machine},
    scene,
    section::Section,
    verdicts,
};

/// What was typed.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// How often it is loaded
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Replace the figures in docs/performance.md
    #[arg(long)]
    write: bool,
}

/// Loads the data path anew, and once more over the maps that are pinned then.
pub(super) fn carry_out(arguments: &Arguments) -> Result<()> {
    machine::leave_the_network()?;
    scene::remove_leftovers();
    let mut section = Section::new(
        "load".to_owned(),
        "Milliseconds from an object in memory to a program that can be attached, with all of its maps; aim: ≤ 150 ms. \
         The verifier has gone through *verified* instructions, of which the program has *instructions*."
            .to_owned(),
        vec!["what", "median ms", "min – max", "verified", "instructions", "machine code KiB"],
    );
    let (mut anew, mut adopted, mut sizes) = (Vec::new(), Vec::new(), [0; 3]);
    for round in 0..arguments.rounds {
        eprintln!("loading {} of {}", round + 1, arguments.rounds);
        let pins = scene::Pins::new();
        let options = KernelOptions { pin_path: pins.0.clone(), max_flows: 131_072, ..verdicts::options() };
        for times in [&mut anew, &mut adopted] {
            let began = Instant::now();
            let (dataplane, _) = KernelDataplane::load(&options).context("load the data path")?;
            times.push(began.elapsed());
            let told = dataplane.describe()?;
            let pinned = aya::programs::ProgramInfo::from_pin(pins.0.join("program"))?;
            sizes = [
                u64::from(told.verified_instructions),
                u64::from(pinned.size_translated().unwrap_or(0)) / 8,
                u64::from(told.jited_bytes) / 1024,
            ];
        }
    }
    for (what, times) in [("nothing was there", anew), ("over the maps of another lbd", adopted)] {
        let mut row = vec![what.to_owned()];
        row.extend(figures(times));
        row.extend(sizes.map(|size| size.to_string()));
        section.add_row(row);
    }
    section.note(format!("{} rounds.", arguments.rounds));
    let machine = Machine::read()?;
    section.print(&machine);
    if arguments.write {
        println!("wrote {}", section.write(&machine)?.display());
    }
    Ok(())
}

/// Median, and the range.
fn figures(mut times: Vec<Duration>) -> [String; 2] {
    times.sort_unstable();
    let millis = |time: Option<&Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1000.0);
    let [least, middle, most] = [times.first(), times.get(times.len() / 2), times.last()].map(millis);
    [format!("{middle:.0}"), format!("{least:.0} – {most:.0}")]
}
