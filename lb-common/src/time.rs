//! Time in the data path: jiffies scaled to ticks of about one second.
//!
//! `bpf_jiffies64` is the only clock the JIT inlines (2 ns, where
//! `bpf_ktime_get_ns` costs 40). Sixteen bits of ticks are kept in a flow, and
//! an age is their difference modulo 2¹⁶: about 18 hours. A flow older than
//! that would look young again, so userspace sweeps far more often.

/// Ages as close to 2¹⁶ as this are stamps that have not come yet: four minutes,
/// which nobody takes to look through the tables.
const FUTURE: u16 = 256;

/// A moment, in ticks, modulo 2¹⁶.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub struct Tick(pub u16);

impl Tick {
    /// The tick of a jiffies count; `shift` is [`shift_for_hz`].
    #[inline(always)]
    #[must_use]
    pub const fn from_jiffies(jiffies: u64, shift: u32) -> Self {
        Self((jiffies >> (shift & 31)) as u16)
    }

    /// Ticks from `earlier` to `self`, for moments in this order: see
    /// [`Tick::age`] for those that may not be.
    #[inline(always)]
    #[must_use]
    pub const fn since(self, earlier: Self) -> u16 {
        self.0.wrapping_sub(earlier.0)
    }

    /// How old a stamp is at `self`. Whoever looks at an entry read the clock
    /// before, and a packet may have stamped it since with a tick that has just
    /// begun: a stamp from the near future is as old as now, not eighteen hours.
    #[inline(always)]
    #[must_use]
    pub const fn age(self, stamp: Self) -> u16 {
        let age = self.since(stamp);
        if age > u16::MAX - FUTURE { 0 } else { age }
    }

    /// The tick so many ticks before `self`.
    #[must_use]
    pub const fn before(self, ticks: u16) -> Self {
        Self(self.0.wrapping_sub(ticks))
    }
}

/// How far to shift jiffies right for ticks nearest to one second (0.85 to
/// 1.28 s for every `CONFIG_HZ` there is).
#[must_use]
pub const fn shift_for_hz(hz: u32) -> u32 {
    match hz {
        0..=191 => 7,
        192..=511 => 8,
        _ => 10,
    }
}

/// The length of a tick in milliseconds.
#[must_use]
pub const fn tick_millis(hz: u32) -> u32 {
    let hz = if hz == 0 { 1 } else { hz };
    (1000 << shift_for_hz(hz)) / hz
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_is_about_a_second_at_every_hz() {
        for hz in [100, 250, 300, 1000] {
            assert!((850..=1280).contains(&tick_millis(hz)), "{hz}: {}", tick_millis(hz));
        }
    }

    #[test]
    fn ages_survive_the_wrap() {
        assert_eq!(Tick(3).since(Tick(0xffff)), 4);
    }

    #[test]
    fn a_stamp_that_is_newer_than_the_clock_that_was_read_is_no_age() {
        for (now, stamp) in [(9, 10), (0xffff, 0), (0, 256), (0xff80, 0x7f)] {
            assert_eq!(Tick(now).age(Tick(stamp)), 0, "{now} {stamp}");
        }
        assert_eq!(Tick(0).age(Tick(257)), 0xfeff);
        assert_eq!(Tick(0).age(Tick(0)), 0);
    }
}
