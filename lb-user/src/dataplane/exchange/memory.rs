//! The exchange of the flows in ordinary memory.

use std::sync::Arc;

use lb_common::flow_note::FlowNote;
use lb_ebpf::host::{HostTables, Notes, OwnedArrays};

use super::{
    Adopted, ArrivalPath, Drained, FlowExchange, ScanCursor, Shared, SharedFlow, SharedPlacement,
    over::{Exchange, Source},
};

/// The flows of a data plane in memory, which shares tables, clock and notes with
/// it.
#[derive(Debug)]
pub struct MemoryExchange(Exchange<Arc<OwnedArrays>, Notes>);

impl MemoryExchange {
    /// The exchange of what these tables hold.
    pub(in super::super) fn of(tables: &HostTables<Arc<OwnedArrays>>) -> Self {
        let shared = HostTables {
            jiffies: tables.jiffies.clone(),
            notes: tables.notes.clone(),
            ..HostTables::new(Arc::clone(&tables.arrays), 0)
        };
        Self(Exchange::new(shared, tables.notes.clone()))
    }
}

impl Source for Notes {
    fn jiffies(&self) -> Option<u64> {
        None
    }

    fn next_note(&mut self) -> Option<FlowNote> {
        self.read()
    }

    fn lost(&self) -> u64 {
        Self::lost(self)
    }
}

impl FlowExchange for MemoryExchange {
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
