//! Running pinned programs through `BPF_PROG_TEST_RUN`: one frame, or none,
//! for the kernel's jiffies.

use std::{
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use aya::programs::{TestRun, TestRunOptions, Xdp};
use aya_obj::programs::XdpAttachType;

use super::DataplaneError;

/// The jiffies, as the data path sees them.
#[derive(Debug)]
pub(super) struct Clock {
    program: Xdp,
}

/// A frame of zeros: the shortest that the kernel runs an XDP program on.
const EMPTY_FRAME: [u8; 14] = [0; 14];

impl Clock {
    /// Opens the pinned clock program.
    pub(super) fn open_pinned(path: &Path) -> Result<Self, DataplaneError> {
        let program = Xdp::from_pin(path, XdpAttachType::Interface).map_err(|e| DataplaneError::Kernel {
            what: format!("open clock program {}", path.display()),
            source: Box::new(e),
        })?;
        Ok(Self { program })
    }

    /// The low 32 bits of the jiffies.
    pub(super) fn jiffies(&self) -> Result<u64, DataplaneError> {
        run_frame(&self.program, &EMPTY_FRAME).map(|(jiffies, _)| u64::from(jiffies))
    }

    /// Reads the jiffies and the time, for [`HzMeasurement::end`].
    pub(super) fn begin(&self) -> Result<HzMeasurement, DataplaneError> {
        let (start, first) = (Instant::now(), self.jiffies()?);
        Ok(HzMeasurement { start, first })
    }
}

/// A measurement of `CONFIG_HZ` that has begun: kernels do not tell it, so jiffies are
/// counted while something else is done.
#[derive(Clone, Copy, Debug)]
pub(super) struct HzMeasurement {
    start: Instant,
    first: u64,
}

/// What kernels are configured with.
const KNOWN_HZ: [u32; 4] = [100, 250, 300, 1000];

impl HzMeasurement {
    /// What is counted for less says too little.
    const SHORTEST: Duration = Duration::from_millis(60);
    /// A reading that was held up in between is far from every known rate; the nearest
    /// of three counts.
    const MOST: usize = 3;

    /// Ends it, after waiting if too little time has passed.
    pub(super) fn end(self, clock: &Clock) -> Result<u32, DataplaneError> {
        let (mut measured, mut best) = (self, (f64::MAX, KNOWN_HZ[0]));
        for _ in 0..Self::MOST {
            sleep(Self::SHORTEST.saturating_sub(measured.start.elapsed()));
            let (elapsed, last) = (measured.start.elapsed(), clock.jiffies()?);
            best = [best, nearest(last as u32, measured.first as u32, elapsed)]
                .into_iter()
                .min_by(|a, b| a.0.total_cmp(&b.0))
                .unwrap_or(best);
            if best.0 < 0.08 {
                break;
            }
            measured = clock.begin()?;
        }
        Ok(best.1)
    }
}

/// The known rate that is nearest to what was counted, and how far it is from it.
fn nearest(last: u32, first: u32, elapsed: Duration) -> (f64, u32) {
    let rate = f64::from(last.wrapping_sub(first)) / elapsed.as_secs_f64();
    let errors = KNOWN_HZ.map(|hz| ((rate / f64::from(hz) - 1.0).abs(), hz));
    errors.into_iter().min_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((f64::MAX, KNOWN_HZ[0]))
}

/// Runs a program once over a frame; returns the XDP action and the frame as
/// the program left it. The frame comes in by the loopback interface of the
/// caller's network namespace.
pub(super) fn run_frame(program: &Xdp, frame: &[u8]) -> Result<(u32, Vec<u8>), DataplaneError> {
    // Programs may grow a frame by what headroom there is.
    let mut out = vec![0; frame.len() + 256];
    let options = TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ..TestRunOptions::new() };
    let result = program
        .test_run(options)
        .map_err(|e| DataplaneError::Kernel { what: "run program over a frame".to_owned(), source: Box::new(e) })?;
    out.truncate(result.data_size_out as usize);
    Ok((result.return_value, out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_known_rate_is_told_and_how_far_it_is() {
        let counted =
            |jiffies: u32, millis| nearest(jiffies.wrapping_sub(3), u32::MAX - 2, Duration::from_millis(millis));
        for (jiffies, millis, hz) in [(30, 300, 100), (76, 300, 250), (90, 301, 300), (61, 60, 1000)] {
            let (error, told) = counted(jiffies, millis);
            assert!(told == hz && error < 0.08, "{jiffies} in {millis} ms: {told}, {error}");
        }
        assert!(counted(20, 300).0 > 0.08, "a reading that was held up");
    }
}
