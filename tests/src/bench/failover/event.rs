//! What happens to a pair, and what its client sees of it.

use std::{fmt, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};

use super::contender::Contender;
use crate::rig::{
    Side,
    duo::{active_down, skew},
    pool_file::priority,
    prober::{self, Figures, Target},
};

/// Before it happens, at least.
const LEAD: Duration = Duration::from_millis(300);
/// After everything should be over.
const TAIL: Duration = Duration::from_millis(500);
/// How long a daemon that was killed is gone.
const GONE: Duration = Duration::from_millis(50);
/// How long clients are watched after a split brain has healed: a black hole is longer than that.
const HEALED: Duration = Duration::from_secs(2);
/// How long both are Active before it heals, in milliseconds and in turn: short
/// is where one may give way before the other one knew of it.
const BOTH_ACTIVE: [u64; 6] = [2, 300, 20, 110, 60, 700];

/// Something that happens to the Active balancer, or between the two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Event {
    HostDeath,
    GracefulStop,
    DaemonKilled,
    SplitBrain,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Event {
    /// What it is called on the command line and in markers.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::HostDeath => "host-death",
            Self::GracefulStop => "graceful-stop",
            Self::DaemonKilled => "daemon-killed",
            Self::SplitBrain => "split-brain",
        }
    }

    /// What is done, in a sentence.
    pub(super) const fn meaning(self) -> &'static str {
        match self {
            Self::HostDeath => "The switch ports of the Active balancer's host go down.",
            Self::GracefulStop => "The Active balancer's daemon gets SIGTERM.",
            Self::DaemonKilled => {
                "The Active balancer's daemon gets SIGKILL, with all its processes, and is started again 50 ms later."
            }
            Self::SplitBrain => {
                "The balancers cannot hear each other until both are Active, and then for 2 to 700 ms more; \
                 clients reach both. It heals, and clients are watched for two more seconds."
            }
        }
    }

    /// What the protocol says that it takes at most, if the one that stands by has to find out for itself.
    pub(super) fn limit(self, interval: Duration) -> Option<Duration> {
        match self {
            Self::HostDeath => Some(active_down(interval, priority(Side::B))),
            Self::GracefulStop => Some(skew(interval, priority(Side::B))),
            Self::DaemonKilled | Self::SplitBrain => None,
        }
    }

    /// How long a run takes, about.
    pub(super) fn expected(self, interval: Duration) -> Duration {
        let down = active_down(interval, priority(Side::B));
        let around = settling(interval) + LEAD + interval / 2 + TAIL + Duration::from_millis(1500);
        around
            + match self {
                Self::HostDeath => down + interval * 2,
                Self::GracefulStop => interval * 3,
                Self::DaemonKilled => down + Duration::from_secs(1),
                Self::SplitBrain => down + HEALED,
            }
    }

    /// Does it to `A`, and waits until it is over by all that is known of it.
    /// Nobody is asked meanwhile: on a small machine, asking is a load.
    fn provoke(self, contender: &mut dyn Contender, interval: Duration, run: u32) -> Result<()> {
        let down = active_down(interval, priority(Side::B));
        match self {
            Self::HostDeath => {
                contender.pair().unplug(Side::A)?;
                thread::sleep(down);
            }
            Self::GracefulStop => {
                contender.ask_to_end(Side::A)?;
                thread::sleep(interval);
            }
            Self::DaemonKilled => {
                contender.kill(Side::A)?;
                thread::sleep(GONE);
                contender.start(Side::A)?;
                thread::sleep(down);
            }
            Self::SplitBrain => {
                contender.pair().part()?;
                let more = BOTH_ACTIVE[usize::try_from(run)? % BOTH_ACTIVE.len()];
                thread::sleep(down + Duration::from_millis(more));
                contender.pair().rejoin()?;
                thread::sleep(HEALED);
            }
        }
        Ok(())
    }

    /// Undoes it.
    fn undo(self, contender: &mut dyn Contender) -> Result<()> {
        match self {
            Self::HostDeath => contender.pair().plug_in(Side::A),
            Self::GracefulStop => {
                contender.wait_end(Side::A)?;
                contender.start(Side::A)
            }
            Self::DaemonKilled | Self::SplitBrain => Ok(()),
        }
    }
}

/// Until both sides have heard of each other.
pub(super) fn settling(interval: Duration) -> Duration {
    interval * 2 + Duration::from_millis(200)
}

/// Lets it happen once to a pair in order; returns what the client saw.
pub(super) fn run(
    event: Event,
    contender: &mut dyn Contender,
    interval: Duration,
    run: u32,
) -> Result<Vec<(Target, Figures)>> {
    contender.restore().context("bring the pair to order")?;
    thread::sleep(settling(interval));
    let client = contender.pair().client().name().to_owned();
    let probes = contender.probes();
    let around = [LEAD + interval.mul_f64(phase(run)), TAIL];
    let (traces, ()) = prober::around(&client, &probes, around, || event.provoke(contender, interval, run))?;
    let moved = contender.is_active(Side::B);
    event.undo(contender).context("undo what was done to the pair")?;
    if event.limit(interval).is_some() {
        ensure!(moved.context("ask the other side")?, "the other side did not take over");
    }
    Ok(traces.iter().map(|trace| (trace.target, trace.figures())).collect())
}

/// Where between two adverts it happens: runs are spread evenly, whatever their number is.
fn phase(run: u32) -> f64 {
    const GOLDEN: f64 = 0.618_033_988_749_894_9;
    (f64::from(run) * GOLDEN).fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_spread_over_the_time_between_two_adverts() {
        let mut phases: Vec<f64> = (0..20).map(phase).collect();
        phases.sort_by(f64::total_cmp);
        assert!(phases.windows(2).all(|pair| pair[1] - pair[0] < 0.1), "{phases:?}");
        assert!(phases[0] < 0.1 && phases[19] > 0.9);
    }
}
