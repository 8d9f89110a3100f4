//! Measures what clients lose when the VIP moves: Krater and keepalived beside
//! it, on the same network, by the same prober, run by run in turn.
//!
//! `docs/performance.md` says what is done and what came out. Nothing here
//! judges a figure.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};

use super::machine::Machine;

mod contender;
mod event;
mod held;
mod pace;
mod report;
mod series;
mod takeovers;

use contender::{Contender, KeepalivedPair, KraterPair};
use event::Event;
use pace::Pace;
use report::Section;
use series::Series;

/// What was typed.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Only these
    #[arg(long, value_name = "EVENT", value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Runs of each event, at each interval, of each contender
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// Three runs of each, a minute of stress, a thousand connections
    #[arg(long)]
    quick: bool,
    /// Milliseconds between adverts
    #[arg(long, value_name = "MS", value_delimiter = ',', default_values_t = [1000, 100, 10],
          value_parser = clap::value_parser!(u64).range(10..=40_950))]
    advert_ms: Vec<u64>,
    /// How long both stand by while all CPUs are kept busy
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1440))]
    minutes: u64,
    /// Connections to hold open while their balancer's host dies
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(10..=50_000))]
    connections: u32,
    /// Measure only one of the two
    #[arg(long, value_name = "BALANCER", value_enum)]
    alone: Option<Who>,
    /// Replace the figures of what was measured in docs/performance.md
    #[arg(long, conflicts_with_all = ["quick", "advert_ms", "alone"])]
    write: bool,
}

/// Who can be measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Who {
    Krater,
    Keepalived,
}

/// A section of the report.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Part {
    /// The host of the Active balancer loses its network
    HostDeath,
    /// The Active balancer is asked to end
    GracefulStop,
    /// The Active balancer is killed and started again
    DaemonKilled,
    /// The balancers cannot hear each other for a while
    SplitBrain,
    /// Nothing happens, and all CPUs are busy
    FalseTakeovers,
    /// The host of the Active balancer loses its network under very many open connections
    Connections,
}

impl Part {
    const fn event(self) -> Option<Event> {
        match self {
            Self::HostDeath => Some(Event::HostDeath),
            Self::GracefulStop => Some(Event::GracefulStop),
            Self::DaemonKilled => Some(Event::DaemonKilled),
            Self::SplitBrain => Some(Event::SplitBrain),
            Self::FalseTakeovers | Self::Connections => None,
        }
    }
}

/// How much to measure.
#[derive(Clone, Debug)]
struct Effort {
    runs: u32,
    intervals: Vec<Duration>,
    stress: Duration,
    connections: u32,
    rounds_of_connections: u32,
    who: Vec<Who>,
}

impl Effort {
    /// Raises everybody who is measured.
    fn raise(&self, interval: Duration, pace: &mut Pace) -> Result<Vec<Box<dyn Contender>>> {
        let begun = Instant::now();
        let mut contenders: Vec<Box<dyn Contender>> = Vec::new();
        for who in &self.who {
            contenders.push(match who {
                Who::Krater => Box::new(KraterPair::up(interval)?),
                Who::Keepalived => Box::new(KeepalivedPair::up(interval)?),
            });
        }
        pace.did(self.raising(), begun.elapsed());
        Ok(contenders)
    }

    /// How long that takes, about.
    fn raising(&self) -> Duration {
        contender::RAISING * self.count()
    }

    fn count(&self) -> u32 {
        u32::try_from(self.who.len()).unwrap_or(1)
    }
}

/// Does what was typed.
pub(super) fn carry_out(arguments: &Arguments) -> Result<()> {
    let parts = if arguments.only.is_empty() { Part::value_variants().to_vec() } else { arguments.only.clone() };
    let effort = Effort {
        runs: if arguments.quick { 3 } else { arguments.runs },
        intervals: arguments.advert_ms.iter().copied().map(Duration::from_millis).collect(),
        stress: if arguments.quick { Duration::from_secs(60) } else { Duration::from_secs(60 * arguments.minutes) },
        connections: if arguments.quick { 1000 } else { arguments.connections },
        rounds_of_connections: if arguments.quick { 1 } else { 3 },
        who: arguments.alone.map_or_else(|| Who::value_variants().to_vec(), |one| vec![one]),
    };
    let machine = Machine::read()?;
    let mut pace = Pace::new();
    for part in &parts {
        pace.expect(expected(*part, &effort));
    }
    eprintln!("measuring {}", pace.left());
    let mut failed = 0;
    for part in parts {
        let section = match part {
            Part::FalseTakeovers => takeovers::measure(&effort, &mut pace)?,
            // keepalived has no connections.
            Part::Connections if !effort.who.contains(&Who::Krater) => continue,
            Part::Connections => held::measure(&effort, &mut pace)?,
            _ => match part.event() {
                Some(event) => measure(event, &effort, &mut pace)?,
                None => continue,
            },
        };
        section.print(&machine);
        failed += section.failed();
        if arguments.write {
            println!("wrote {}", section.write(&machine)?.display());
        }
    }
    ensure!(failed == 0, "{failed} runs could not be carried out: see above");
    Ok(())
}

/// How long a part takes, about.
fn expected(part: Part, effort: &Effort) -> Duration {
    match part.event() {
        Some(event) => {
            let each =
                |interval: &Duration| effort.raising() + event.expected(*interval) * effort.runs * effort.count();
            effort.intervals.iter().map(each).sum()
        }
        None if part == Part::FalseTakeovers => effort.raising() + effort.stress,
        None => held::expected(effort.connections) * effort.rounds_of_connections,
    }
}

/// Measures an event at every interval.
fn measure(event: Event, effort: &Effort, pace: &mut Pace) -> Result<Section> {
    let mut section = Section::of_event(event);
    for interval in &effort.intervals {
        let mut contenders = effort.raise(*interval, pace)?;
        let mut series: Vec<Series> = contenders.iter().map(|c| Series::new(c.name(), *interval)).collect();
        for run in 0..effort.runs {
            for (contender, series) in contenders.iter_mut().zip(&mut series) {
                let begun = Instant::now();
                let told = match event::run(event, contender.as_mut(), *interval, run) {
                    Ok(probes) => series.add(&probes),
                    Err(error) => {
                        series.failed += 1;
                        // One that is in disorder would spoil every run after this one.
                        contender.renew()?;
                        format!("failed: {error:#}")
                    }
                };
                pace.did(event.expected(*interval), begun.elapsed());
                eprintln!(
                    "{event}, adverts every {interval:?}, run {} of {}, {}: {told}; {}",
                    run + 1,
                    effort.runs,
                    contender.name(),
                    pace.left()
                );
            }
        }
        section.add(series);
    }
    Ok(section)
}
