//! How a pool chooses members and how packets get to them, as types that cannot hold
//! nonsense.
//!
//! What must not be here: rules that need more than one value. They are in
//! [`modes`](super::modes).

use std::time::Duration;

pub use lb_common::pool::{Algorithm, ForwardMode};

/// Session persistence of type SOURCE_IP: a client's new flows go to the member that its
/// former ones went to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Persistence {
    timeout: u16,
    prefix4: u8,
    prefix6: u8,
}

impl Persistence {
    /// The longest timeout in seconds: twelve hours, as of flows. The data path keeps
    /// sixteen bits of ticks of 0.85 s and more, which wrap after fifteen hours.
    pub const MAX_TIMEOUT: u16 = 12 * 3600;
    /// The timeout in seconds where none is said (Octavia's).
    pub const DEFAULT_TIMEOUT: u16 = 360;

    /// For so many seconds after a client's last new flow, clients being told apart by so
    /// many bits of their address. `None` when the timeout is zero or above
    /// [`Self::MAX_TIMEOUT`], or a prefix is not 1 to 32 or 1 to 128.
    #[must_use]
    pub const fn new(timeout: u16, prefix4: u8, prefix6: u8) -> Option<Self> {
        let is_good = timeout >= 1
            && timeout <= Self::MAX_TIMEOUT
            && prefix4 >= 1
            && prefix4 <= 32
            && prefix6 >= 1
            && prefix6 <= 128;
        if is_good { Some(Self { timeout, prefix4, prefix6 }) } else { None }
    }

    /// How long after its last new flow a client stays with its member, in seconds.
    #[must_use]
    pub const fn timeout(self) -> u16 {
        self.timeout
    }

    /// Bits of an IPv4 address that tell clients apart, 1 to 32.
    #[must_use]
    pub const fn prefix4(self) -> u8 {
        self.prefix4
    }

    /// The same of an IPv6 address, 1 to 128.
    #[must_use]
    pub const fn prefix6(self) -> u8 {
        self.prefix6
    }
}

impl Default for Persistence {
    fn default() -> Self {
        Self { timeout: Self::DEFAULT_TIMEOUT, prefix4: 32, prefix6: 128 }
    }
}

/// What becomes of the largest segment that a SYN announces (the MSS option, RFC 9293
/// §3.7.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum MssClamp {
    /// Nothing.
    #[default]
    Off,
    /// It is lowered to what the way to the member takes.
    Auto,
    /// It is lowered to this.
    At(Mss),
}

/// A largest segment in bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Mss(u16);

impl Mss {
    /// The least: Linux refuses to send less (`TCP_MIN_MSS`, include/net/tcp.h).
    pub const MIN: u16 = 88;
    /// The most: an IPv4 packet of 65,535 bytes without its headers.
    pub const MAX: u16 = u16::MAX - 40;

    /// A segment size, or `None` outside of [`Mss::MIN`] to [`Mss::MAX`].
    #[must_use]
    pub const fn new(bytes: u16) -> Option<Self> {
        if bytes >= Self::MIN && bytes <= Self::MAX { Some(Self(bytes)) } else { None }
    }

    /// In bytes.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// How long flows that a change of a pool's table, algorithm or mode moved away from their
/// member, and that nothing has recorded, stay with it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TransitionHold(Duration);

impl TransitionHold {
    /// The longest: seven hours. The data path tells before from after by half the range of
    /// sixteen bits of ticks, which is 7.7 hours where a tick is shortest (0.85 s, of kernels
    /// with 300 jiffies a second).
    pub const MAX: Duration = Duration::from_secs(7 * 3600);

    /// A hold, or `None` above [`TransitionHold::MAX`].
    #[must_use]
    pub fn new(hold: Duration) -> Option<Self> {
        (hold <= Self::MAX).then_some(Self(hold))
    }

    /// How long.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl Default for TransitionHold {
    fn default() -> Self {
        Self(Duration::from_secs(300))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_bounds_cannot_be_made() {
        assert!(Persistence::new(1, 1, 1).is_some() && Persistence::new(Persistence::MAX_TIMEOUT, 32, 128).is_some());
        for (timeout, prefix4, prefix6) in
            [(0, 24, 64), (Persistence::MAX_TIMEOUT + 1, 24, 64), (1, 0, 64), (1, 33, 64), (1, 24, 0), (1, 24, 129)]
        {
            assert_eq!(Persistence::new(timeout, prefix4, prefix6), None);
        }
        let default = Persistence::default();
        assert_eq!(Persistence::new(default.timeout(), default.prefix4(), default.prefix6()), Some(default));
        assert_eq!(Mss::new(Mss::MIN - 1), None);
        assert_eq!(Mss::new(Mss::MAX + 1), None);
        assert_eq!(Mss::new(1400).map(Mss::get), Some(1400));
        assert_eq!(TransitionHold::new(TransitionHold::MAX + Duration::from_nanos(1)), None);
        assert_eq!(TransitionHold::new(Duration::ZERO).map(TransitionHold::get), Some(Duration::ZERO));
    }

    #[test]
    fn a_hold_is_over_before_the_data_paths_clock_takes_it_for_past() {
        // The jiffies a second that Linux can be built with (kernel/Kconfig.hz).
        let shortest =
            [100u32, 250, 300, 1000].map(|hz| f64::from(1 << lb_common::time::shift_for_hz(hz)) / f64::from(hz));
        let ticks = TransitionHold::MAX.as_secs_f64() / shortest.into_iter().fold(f64::INFINITY, f64::min);
        assert!(ticks < f64::from(0x8000), "{ticks}");
    }
}
