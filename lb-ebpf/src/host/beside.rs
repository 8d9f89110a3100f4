//! What is beside the arrays in ordinary memory: networks, counters, the clock and
//! the notes.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use lb_common::{
    counters::{EVENTS, TrafficCounters},
    flow_note::{FlowNote, RING_NOTES},
};

/// Prefixes that listeners may be reached from, in ordinary memory.
#[derive(Debug, Default)]
pub struct Cidrs(Mutex<BTreeSet<(u16, IpAddr, u8)>>);

impl Cidrs {
    /// Replaces a listener's prefixes: addresses with their lengths in bits.
    pub fn set(&self, listener: u16, prefixes: &[(IpAddr, u8)]) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(of, ..)| *of != listener);
        all.extend(prefixes.iter().map(|(address, length)| (listener, *address, *length)));
    }

    /// A listener's prefixes.
    #[must_use]
    pub fn of(&self, listener: u16) -> Vec<(IpAddr, u8)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(|(of, ..)| *of == listener).map(|(_, address, length)| (*address, *length)).collect()
    }

    /// All prefixes: listeners, addresses and lengths.
    #[must_use]
    pub fn everything(&self) -> Vec<(u16, IpAddr, u8)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    /// Whether an address lies in one of them.
    #[must_use]
    pub fn allows(&self, listener: u16, address: IpAddr) -> bool {
        self.of(listener).into_iter().any(|(network, length)| match (network, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                (network.to_bits() ^ address.to_bits()).checked_shr(32 - u32::from(length.min(32))).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                (network.to_bits() ^ address.to_bits()).checked_shr(128 - u32::from(length.min(128))).unwrap_or(0) == 0
            }
            _ => false,
        })
    }
}

/// Counters in ordinary memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counts {
    /// By listener id.
    pub listeners: BTreeMap<u16, TrafficCounters>,
    /// By member id.
    pub members: BTreeMap<u16, TrafficCounters>,
    /// By [`lb_common::counters::Event::index`].
    pub events: Vec<u64>,
}

impl Default for Counts {
    fn default() -> Self {
        Self { listeners: BTreeMap::new(), members: BTreeMap::new(), events: vec![0; EVENTS as usize] }
    }
}

/// A count of jiffies that whoever has a copy may read and change.
#[derive(Clone, Debug, Default)]
pub struct Jiffies(Arc<AtomicU64>);

impl Jiffies {
    /// Now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// From now on it is so late.
    pub fn set(&self, jiffies: u64) {
        self.0.store(jiffies, Relaxed);
    }
}

/// What `FLOW_NOTES` is in the kernel: notes that wait to be read by whoever has
/// a copy, as many of them as fit there.
#[derive(Clone, Debug, Default)]
pub struct Notes(Arc<(Mutex<VecDeque<FlowNote>>, AtomicU64)>);

impl Notes {
    /// Writes a note. False: there was no room, and it is lost.
    #[must_use]
    pub fn write(&self, note: FlowNote) -> bool {
        let (waiting, lost) = &*self.0;
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= RING_NOTES {
            lost.fetch_add(1, Relaxed);
            return false;
        }
        waiting.push_back(note);
        true
    }

    /// Takes the oldest note.
    #[must_use]
    pub fn read(&self) -> Option<FlowNote> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// How many were lost.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.0.1.load(Relaxed)
    }
}
