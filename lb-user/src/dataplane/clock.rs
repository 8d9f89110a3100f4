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

    /// `CONFIG_HZ`, by counting jiffies for a moment: kernels do not tell it.
    pub(super) fn measure_hz(&self) -> Result<u32, DataplaneError> {
        const MOMENT: Duration = Duration::from_millis(60);
        const KNOWN: [u32; 4] = [100, 250, 300, 1000];
        let mut best = (f64::MAX, KNOWN[0]);
        // A reading that was held up in between is far from every known rate;
        // the nearest of three counts.
        for _ in 0..3 {
            let (start, first) = (Instant::now(), self.jiffies()?);
            sleep(MOMENT);
            let (elapsed, last) = (start.elapsed(), self.jiffies()?);
            let counted = (last as u32).wrapping_sub(first as u32);
            let rate = f64::from(counted) / elapsed.as_secs_f64();
            for hz in KNOWN {
                let error = (rate / f64::from(hz) - 1.0).abs();
                if error < best.0 {
                    best = (error, hz);
                }
            }
            if best.0 < 0.08 {
                break;
            }
        }
        Ok(best.1)
    }
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
