//! `LISTENER_LOADS`, `MEMBER_LOADS`: how many flows there are, and how many
//! there may be.
//!
//! The data path counts a flow when it opens it and takes it out when it is
//! closed, displaced or given up. What ends silently is found by userspace, which
//! counts all flows now and then and adds the difference.

use crate::atomic::{AtomicU64, Ordering::Relaxed};

/// Flows of one listener or of one member.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Load {
    /// Flows that live, as a signed number: two CPUs may pass each other.
    pub live: AtomicU64,
    /// How many may live; 0: as many as there are.
    pub limit: AtomicU64,
    /// Listeners: a [`SourceRate`], 0 for none.
    pub source_rate: AtomicU64,
    /// Listeners: the flows per second that the rate was made of, for userspace.
    pub reserved: AtomicU64,
}

const _: () = assert!(size_of::<Load>() == 32);

impl Load {
    /// Whether there is no room for another flow.
    #[inline(always)]
    #[must_use]
    pub fn is_full(&self) -> bool {
        let limit = self.limit.load(Relaxed);
        limit != 0 && self.live.load(Relaxed) as i64 >= limit as i64
    }

    /// Flows that live.
    #[must_use]
    pub fn live(&self) -> u64 {
        (self.live.load(Relaxed) as i64).max(0).unsigned_abs()
    }

    /// One more flow.
    #[inline(always)]
    pub fn begin(&self) {
        self.live.fetch_add(1, Relaxed);
    }

    /// One less.
    #[inline(always)]
    pub fn end(&self) {
        self.live.fetch_add(u64::MAX, Relaxed);
    }
}

/// How fast one source may open flows (the generic cell rate algorithm: each
/// source has a moment before which it has used up what it may).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SourceRate {
    /// 1/1024 jiffies between two flows at the full rate, at least 1.
    pub interval: u32,
    /// How far ahead of that rate a source may be, 1/1024 jiffies.
    pub burst: u32,
}

impl SourceRate {
    /// `flows` a second, `burst` of them at once, for a kernel with so many
    /// jiffies a second. Rates beyond one flow in 1/1024 jiffy are that.
    #[must_use]
    pub fn new(flows: u32, burst: u32, hz: u32) -> Self {
        let interval = (u64::from(hz.max(1)) * 1024 / u64::from(flows.max(1))).max(1);
        let ahead = interval.saturating_mul(u64::from(burst.max(1) - 1));
        Self { interval: u32::try_from(interval).unwrap_or(u32::MAX), burst: u32::try_from(ahead).unwrap_or(u32::MAX) }
    }

    /// As one word.
    #[must_use]
    pub const fn to_word(self) -> u64 {
        self.interval as u64 | (self.burst as u64) << 32
    }

    /// From that word.
    #[inline(always)]
    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        Self { interval: word as u32, burst: (word >> 32) as u32 }
    }
}

/// A source's cell in `SOURCES`: the moment until which its flows are paid for,
/// in 1/1024 jiffies (lower 40 bits), and a digest of who it is (upper 24).
#[repr(C)]
#[derive(Debug, Default)]
pub struct SourceCell {
    /// Both.
    pub word: AtomicU64,
}

const _: () = assert!(size_of::<SourceCell>() == 8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_full_at_its_limit_and_never_without_one() {
        let load = Load::default();
        load.end();
        assert_eq!(load.live(), 0);
        load.begin();
        load.begin();
        assert!(!load.is_full());
        load.limit.store(1, Relaxed);
        assert!(load.is_full());
        load.end();
        assert!(!load.is_full());
    }

    #[test]
    fn a_rate_is_an_interval() {
        let rate = SourceRate::new(100, 10, 250);
        assert_eq!((rate.interval, rate.burst), (2560, 23040));
        assert_eq!(SourceRate::from_word(rate.to_word()), rate);
        assert_eq!(SourceRate::new(u32::MAX, 1, 100), SourceRate { interval: 1, burst: 0 });
    }
}
