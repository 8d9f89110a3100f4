//! Looking through the flow tables for what is over, beside whoever writes the tables:
//! it takes milliseconds at a time, and a verdict is not to wait for it.
//!
//! What must not be here: anything that only the writer of the tables may do. What a
//! sweep finds out about pools is handed to it ([`Swept`]).
//!
//! Invariant others rely on: entries are freed by compare-and-swap, as the data path
//! itself does it, so it matters to nobody that a sweep goes on while he writes.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use lb_ebpf::host::Arrays;

use super::{
    DataplaneError, PoolId,
    clock::Clock,
    flows::{Flows, SweepCursor},
    mapped::{MappedArrays, PinnedFlows},
    tables, trace,
};

/// What a sweep through everything found out about pools.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Swept {
    /// Those that a flow is recorded of.
    pub(super) placed: BTreeSet<PoolId>,
    /// Those with a change whose hold was over before the records were looked at.
    pub(super) over: BTreeSet<PoolId>,
}

impl Swept {
    /// Frees records that are over, counts live flows anew, and finds out about pools.
    pub(super) fn of(arrays: &impl Arrays, flows: &Flows<'_>) -> Result<Self, DataplaneError> {
        let over = tables::held(arrays, flows.now()).into_iter().map(|(id, _)| id).collect();
        Ok(Self { over, placed: flows.tend()? })
    }
}

/// Whoever sweeps. It may be on any thread.
pub struct Sweeper {
    pin_path: PathBuf,
    arrays: Arc<MappedArrays>,
    flows: Arc<PinnedFlows>,
    clock: Clock,
    cursor: SweepCursor,
}

impl std::fmt::Debug for Sweeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sweeper").field("cursor", &self.cursor).finish_non_exhaustive()
    }
}

impl Sweeper {
    pub(super) fn new(pin_path: PathBuf, arrays: Arc<MappedArrays>, flows: Arc<PinnedFlows>, clock: Clock) -> Self {
        Self { pin_path, arrays, flows, clock, cursor: SweepCursor::default() }
    }

    /// Frees forward and return entries of flows that have been idle for too long, in
    /// a part of the tables that is gone through in a few milliseconds; the next time
    /// in the next part. After the last one it does what is to be done now and then,
    /// and says what it found. Call it a few times a second: the program reclaims in
    /// place only what it needs.
    ///
    /// # Errors
    /// When the clock or the flow tables cannot be looked at.
    pub fn step(&mut self) -> Result<Option<Swept>, DataplaneError> {
        let flows = Flows::new(&self.arrays, &*self.flows, self.clock.jiffies()?);
        flows.sweep_some(&mut self.cursor)?;
        if self.cursor != SweepCursor::default() {
            return Ok(None);
        }
        let swept = Swept::of(&*self.arrays, &flows)?;
        let (config, filter) = (self.arrays.config(), self.arrays.trace_filter());
        if trace::switch_off_if_abandoned(&self.pin_path, config, filter)? {
            tracing::info!("switch tracing off, which somebody who is gone has left on");
        }
        Ok(Some(swept))
    }
}
