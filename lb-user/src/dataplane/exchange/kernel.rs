//! The exchange of the flows in the kernel.

use std::{
    cell::Cell,
    path::Path,
    time::{Duration, Instant},
};

use aya::maps::{Map, MapData, PerCpuArray, RingBuf};
use lb_common::{counters::Event, flow_note::FlowNote, names};
use lb_ebpf::host::HostTables;

use super::{
    super::{DataplaneError, clock::Clock, kernel::kernel, mapped::WholeArrays},
    Adopted, ArrivalPath, Drained, FlowExchange, ScanCursor, Shared, SharedFlow, SharedPlacement,
    over::{Exchange, Source},
};

/// How long a reading of the clock serves: a tick is about a second, and a
/// reading is a system call.
const READING: Duration = Duration::from_millis(50);

/// The flows of a pinned data path. It shares nothing but mapped memory with the
/// data plane it came from, so it can be given to another thread. Only one of them may drain at a time: notes
/// are read once.
#[derive(Debug)]
pub struct KernelExchange(Exchange<WholeArrays, Pinned>);

/// What is pinned beside the arrays.
struct Pinned {
    clock: Clock,
    read: Cell<Option<Instant>>,
    notes: RingBuf<MapData>,
    events: PerCpuArray<MapData, u64>,
}

impl std::fmt::Debug for Pinned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pinned").finish_non_exhaustive()
    }
}

impl KernelExchange {
    /// Opens what is pinned beside these arrays.
    pub(in super::super) fn open(pin_path: &Path, arrays: WholeArrays) -> Result<Self, DataplaneError> {
        let pinned = |name: &str| {
            MapData::from_pin(pin_path.join(name)).map_err(kernel(format!("open map {name} at {}", pin_path.display())))
        };
        let wrong = |name: &str| kernel(format!("use map {name} at {}", pin_path.display()));
        let source = Pinned {
            clock: Clock::open_pinned(&pin_path.join(names::CLOCK_PROGRAM))?,
            read: Cell::default(),
            notes: Map::RingBuf(pinned(names::FLOW_NOTES)?).try_into().map_err(wrong(names::FLOW_NOTES))?,
            events: Map::PerCpuArray(pinned(names::EVENTS)?).try_into().map_err(wrong(names::EVENTS))?,
        };
        let tables = HostTables::new(arrays, source.clock.jiffies()?);
        Ok(Self(Exchange::new(tables, source)))
    }
}

impl Source for Pinned {
    fn jiffies(&self) -> Option<u64> {
        if self.read.get().is_some_and(|read| read.elapsed() < READING) {
            return None;
        }
        let jiffies = self.clock.jiffies().ok()?;
        self.read.set(Some(Instant::now()));
        Some(jiffies)
    }

    fn next_note(&mut self) -> Option<FlowNote> {
        loop {
            let item = self.notes.next()?;
            // Whatever is of another length is not ours.
            if let Ok(word) = <[u8; 8]>::try_from(&item[..]) {
                return Some(FlowNote(u64::from_ne_bytes(word)));
            }
        }
    }

    fn lost(&self) -> u64 {
        self.events.get(&Event::FlowNotesLost.index(), 0).map_or(0, |of_cpus| of_cpus.iter().sum())
    }
}

impl FlowExchange for KernelExchange {
    fn drain(&mut self, limit: usize, each: &mut dyn FnMut(Shared)) -> Drained {
        self.0.drain(limit, each)
    }

    fn scan(&self, cursor: &mut ScanCursor, lines: u32, each: &mut dyn FnMut(Shared)) -> bool {
        self.0.scan(cursor, lines, each)
    }

    fn adopt(&self, flow: &SharedFlow, path: ArrivalPath) -> Adopted {
        self.0.adopt(flow, path)
    }
    fn adopt_placement(&self, placement: &SharedPlacement) -> Adopted {
        self.0.adopt_placement(placement)
    }
}
