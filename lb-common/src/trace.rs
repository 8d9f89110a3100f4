//! `TRACE_FILTER` and `TRACES`: what becomes of packets that an operator wants
//! to watch.
//!
//! While [`crate::config::Config::TRACE`] is set, packets that the filter
//! matches leave a record in a ring buffer when their verdict is known. Switched
//! off it costs the test of one bit in a word that is loaded anyway.

use crate::atomic::AtomicU64;

/// Bytes of the ring buffer.
pub const RING_BYTES: u32 = 1 << 20;

/// The one entry of `TRACE_FILTER`. A field that is zero matches everything.
/// Addresses of IPv4 stand in the lower half of the first word.
#[repr(C)]
#[derive(Debug, Default)]
pub struct TraceFilter {
    /// Address of either end, as its bytes lie in memory.
    pub address: [AtomicU64; 2],
    /// Mask over that address.
    pub mask: [AtomicU64; 2],
    /// Port of either end in host order (bits 0–15), IP protocol (16–23),
    /// family 4 or 6 (24–31), verdict class (32–39): 0 any, else
    /// [`TraceRecord`]'s class plus one.
    pub rest: AtomicU64,
    /// Records still to be written, a signed number that the data path counts
    /// down; at zero nothing is written any more.
    pub budget: AtomicU64,
    /// Room.
    pub reserved: [AtomicU64; 2],
}

const _: () = assert!(size_of::<TraceFilter>() == 64);

/// A record of the ring buffer, eight words.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TraceRecord {
    /// Jiffies.
    pub jiffies: u64,
    /// Source as its bytes lay in memory when the packet came.
    pub source: [u64; 2],
    /// Destination.
    pub destination: [u64; 2],
    /// Source port (bits 0–15, host order), destination port (16–31), IP
    /// protocol (32–39), TCP flags (40–47), family 4 or 6 (48–55).
    pub transport: u64,
    /// Interface index (bits 0–31), frame length (32–47).
    pub frame: u64,
    /// Verdict class (bits 0–7): 0 passed, 1 dropped, 2 transmitted, 3
    /// redirected; drop reason or port number (8–23).
    pub verdict: u64,
}

const _: () = assert!(size_of::<TraceRecord>() == 64);

impl TraceRecord {
    /// What `verdict` is while the packet has none yet.
    pub const PENDING: u64 = 1 << 63;

    /// A record from its words, in the order they lie in.
    #[must_use]
    pub const fn from_words(words: [u64; 8]) -> Self {
        let [jiffies, source0, source1, destination0, destination1, transport, frame, verdict] = words;
        Self {
            jiffies,
            source: [source0, source1],
            destination: [destination0, destination1],
            transport,
            frame,
            verdict,
        }
    }
}
