//! The clocks of this machine. Nothing else in the crate looks at one.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::time::Instant;

/// Now, on the clock that the runner goes by: microseconds since the boot, the
/// time that the machine was suspended included. A node that slept must know
/// that it did.
#[must_use]
pub fn now() -> Instant {
    Instant::from_micros(u64::try_from(read(ClockId::CLOCK_BOOTTIME).as_micros()).unwrap_or(u64::MAX))
}

/// Time since 1970, for the stamps of authenticated adverts only.
pub(super) fn utc() -> Duration {
    read(ClockId::CLOCK_REALTIME)
}

fn read(clock: ClockId) -> Duration {
    // Both clocks have been in the kernel for longer than it has run this
    // program: reading them cannot fail.
    clock_gettime(clock).map(Duration::from).unwrap_or_default()
}
