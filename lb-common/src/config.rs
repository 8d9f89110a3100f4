//! `CONFIG`: the numbers the program needs that are not in its code.

use crate::atomic::{AtomicU64, Ordering::Relaxed};

/// Version of every layout in this crate. A daemon that finds another one
/// pinned replaces the data path instead of adopting it.
pub const ABI_VERSION: u32 = 6;

/// Idle limits of flows, in ticks (see [`crate::time`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IdleLimits {
    /// A flow nobody has answered, or whose handshake has not finished.
    pub unconfirmed: u16,
    /// An established TCP connection.
    pub tcp: u16,
    /// A TCP connection one side has closed or that was reset.
    pub tcp_closing: u16,
    /// A UDP flow with packets in both directions.
    pub udp: u16,
}

impl IdleLimits {
    /// Packs the limits into one word.
    #[must_use]
    pub const fn to_word(self) -> u64 {
        self.unconfirmed as u64 | (self.tcp as u64) << 16 | (self.tcp_closing as u64) << 32 | (self.udp as u64) << 48
    }

    /// Unpacks them.
    #[inline(always)]
    #[must_use]
    pub const fn from_word(w: u64) -> Self {
        Self { unconfirmed: w as u16, tcp: (w >> 16) as u16, tcp_closing: (w >> 32) as u16, udp: (w >> 48) as u16 }
    }
}

/// The one entry of the map, 64 bytes.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Config {
    /// [`ABI_VERSION`] in the lower half, the tick shift (see
    /// [`crate::time::shift_for_hz`]) in the upper. Zero: not configured. Stored last.
    pub version: AtomicU64,
    /// Seed of every hash over what clients can choose.
    pub seed: AtomicU64,
    /// Lines of `FLOWS4` (lower half) and of `FLOWS6` (upper half), less one:
    /// both counts are powers of two.
    pub flow_masks: AtomicU64,
    /// Entries of `RETURNS4` (lower half) and `RETURNS6` (upper half), less one.
    pub return_masks: AtomicU64,
    /// The lowest SNAT port in bits 0–15, how many there are in bits 16–32.
    pub snat_ports: AtomicU64,
    /// [`IdleLimits`].
    pub idle_limits: AtomicU64,
    /// `CONFIG_HZ` of the kernel the program was loaded into.
    pub hz: AtomicU64,
    /// What is switched on: see [`Config::NOTE_FLOWS`].
    pub features: AtomicU64,
}

const _: () = assert!(size_of::<Config>() == 64);

impl Config {
    /// Bit of `features`: confirmed flows are noted for another balancer (see
    /// [`crate::flow_note`]).
    pub const NOTE_FLOWS: u64 = 1;
    /// Bit of `features`: packets that match `TRACE_FILTER` are traced.
    pub const TRACE: u64 = 1 << 1;
    /// Bit of `features`: some pool forwards by `dnat`, so packets that are for
    /// no VIP may be members'.
    pub const DNAT: u64 = 1 << 2;

    /// Whether any bit of `feature` is on.
    #[inline(always)]
    #[must_use]
    pub fn has(&self, feature: u64) -> bool {
        self.features.load(Relaxed) & feature != 0
    }

    /// Switches a feature on or off, and leaves the others as they are. Several
    /// processes may do so at a time, each with features of its own; the data path
    /// itself never does.
    #[cfg(not(target_arch = "bpf"))]
    pub fn set(&self, feature: u64, on: bool) {
        if on {
            self.features.fetch_or(feature, Relaxed);
        } else {
            self.features.fetch_and(!feature, Relaxed);
        }
    }

    /// Whether userspace has filled the entry in.
    #[inline(always)]
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.version.load(Relaxed) as u32 == ABI_VERSION
    }

    /// Whether flows are noted for another balancer.
    #[inline(always)]
    #[must_use]
    pub fn notes_flows(&self) -> bool {
        self.has(Self::NOTE_FLOWS)
    }

    /// Jiffies are shifted right by this for ticks.
    #[inline(always)]
    #[must_use]
    pub fn tick_shift(&self) -> u32 {
        (self.version.load(Relaxed) >> 32) as u32
    }

    /// The lowest SNAT port and the number of them.
    #[inline(always)]
    #[must_use]
    pub fn snat_ports(&self) -> (u16, u32) {
        let w = self.snat_ports.load(Relaxed);
        (w as u16, (w >> 16) as u32)
    }

    /// The idle limits.
    #[inline(always)]
    #[must_use]
    pub fn idle_limits(&self) -> IdleLimits {
        IdleLimits::from_word(self.idle_limits.load(Relaxed))
    }
}
