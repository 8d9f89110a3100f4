//! The data plane in ordinary memory: the same tables, written by the same
//! writer and read by the same pipeline, that can be told to fail.

use std::sync::Arc;

use lb_common::{
    atomic::Ordering::Relaxed,
    config::{ABI_VERSION, Config},
    port::Port,
    time::shift_for_hz,
};
use lb_ebpf::{
    family::{Family as _, V4, V6},
    host::{Arrays, FlowSizes, HostTables, OwnedArrays},
};

use super::{
    Attachment, Dataplane, DataplaneError, DataplaneInfo, Describe, FlowRecord, ListenerId, MemberId, Observed, Op,
    Part, PoolId, Statistics, Switchboard, TrafficCounters, XdpMode,
    exchange::MemoryExchange,
    flows::Flows,
    kernel::KernelOptions,
    rehearsal::{self, Arriving, Rehearse, Rehearsed},
    sweeper::Swept,
    tables::{TableWriter, changing, filter_vips, live, observe, snat_ports},
};

/// `CONFIG_HZ` of the imagined kernel.
pub const HZ: u32 = 250;

/// A data plane without kernel.
#[derive(Debug)]
pub struct MemoryDataplane {
    /// What the pipeline runs on: give it packets with
    /// [`lb_ebpf::pipeline::run`].
    pub tables: HostTables<Arc<OwnedArrays>>,
    writer: TableWriter,
    fail_in: Option<usize>,
}

/// Fills `CONFIG` in.
pub(super) fn configure(arrays: &impl Arrays, options: &KernelOptions, sizes: FlowSizes, hz: u32) {
    let config = arrays.config();
    let two = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    let (low, high) = options.snat_ports;
    config.seed.store(options.hash_seed, Relaxed);
    config.flow_masks.store(two(sizes.flow4_lines - 1, sizes.flow6_lines - 1), Relaxed);
    config.return_masks.store(two(sizes.returns - 1, sizes.returns - 1), Relaxed);
    let count = u64::from(high.saturating_sub(low)) + 1;
    config.snat_ports.store(u64::from(low) | count << 16, Relaxed);
    config.idle_limits.store(super::kernel::idle_ticks(options.idle_seconds, hz).to_word(), Relaxed);
    config.hz.store(u64::from(hz), Relaxed);
    filter_vips(arrays);
    let version = two(ABI_VERSION, shift_for_hz(hz));
    config.version.store(version, lb_common::atomic::Ordering::Release);
}

/// The sizes of the flow tables, once `CONFIG` has been filled in.
pub(super) fn flow_sizes(arrays: &impl Arrays) -> FlowSizes {
    let config = arrays.config();
    let entries = |mask: u32| mask.saturating_add(1);
    FlowSizes {
        flow4_lines: entries(V4::line_mask(config)),
        flow6_lines: entries(V6::line_mask(config)),
        returns: entries(V4::return_mask(config)),
    }
}

impl MemoryDataplane {
    /// A data plane as it is after a first start. `slots` bounds the slots of
    /// all tables together.
    #[must_use]
    pub fn new(options: &KernelOptions, slots: u32) -> Self {
        let arrays = OwnedArrays::new(options.max_flows, slots);
        configure(&arrays, options, FlowSizes::for_flows(options.max_flows), HZ);
        Self { tables: HostTables::new(Arc::new(arrays), 1 << 20), writer: TableWriter::default(), fail_in: None }
    }

    /// Makes the operation after the next `operations` fail, once.
    pub fn fail_after(&mut self, operations: usize) {
        self.fail_in = Some(operations);
    }

    /// What turns instances on and off.
    #[must_use]
    pub fn switchboard(&self) -> Switchboard {
        Switchboard::owned(self.tables.arrays.shared_instances())
    }

    /// Switches on or off that flows are noted for another balancer.
    pub fn set_noting(&self, on: bool) {
        self.tables.arrays.config().set(Config::NOTE_FLOWS, on);
    }

    /// The flows, for whoever carries them to another balancer.
    #[must_use]
    pub fn exchange(&self) -> MemoryExchange {
        MemoryExchange::of(&self.tables)
    }

    /// Frees flows that have been idle for too long.
    pub fn sweep(&self) -> u64 {
        // Memory that is there can be looked at.
        self.flows().sweep().unwrap_or_default()
    }

    /// What a sweep does when it has gone through everything.
    pub fn tend(&mut self) {
        let arrays = Arc::clone(&self.tables.arrays);
        let flows = Flows::new(&arrays, &*arrays, self.tables.jiffies.get());
        // Memory that is there can be looked at.
        if let Ok(swept) = Swept::of(&arrays, &flows) {
            let _ = self.writer.tend(&arrays, &swept, flows.now());
        }
    }

    fn flows(&self) -> Flows<'_> {
        Flows::new(&self.tables.arrays, &*self.tables.arrays, self.tables.jiffies.get())
    }
}

impl Dataplane for MemoryDataplane {
    fn observe_part(&self, part: &Part) -> Result<Observed, DataplaneError> {
        observe(&self.tables.arrays, self.tables.arrays.cidrs(), part)
    }

    fn apply(&mut self, op: &Op) -> Result<(), DataplaneError> {
        match self.fail_in {
            Some(0) => {
                self.fail_in = None;
                return Err(DataplaneError::Kernel {
                    what: "fail as told".to_owned(),
                    source: Box::new(std::io::Error::other("injected")),
                });
            }
            Some(left) => self.fail_in = Some(left - 1),
            None => {}
        }
        let arrays = &self.tables.arrays;
        let flows = Flows::new(arrays, &**arrays, self.tables.jiffies.get());
        self.writer.apply(arrays, op, &flows, arrays.cidrs())
    }
}

impl Statistics for MemoryDataplane {
    fn listener_counters(&self, id: ListenerId) -> Result<TrafficCounters, DataplaneError> {
        Ok(self.tables.counts.borrow().listeners.get(&id.0).copied().unwrap_or_default())
    }

    fn member_counters(&self, id: MemberId) -> Result<TrafficCounters, DataplaneError> {
        Ok(self.tables.counts.borrow().members.get(&id.0).copied().unwrap_or_default())
    }

    fn live(&self, listener: Option<ListenerId>, member: Option<MemberId>) -> u64 {
        live(&self.tables.arrays, listener, member)
    }

    fn changing(&self) -> Vec<PoolId> {
        changing(&self.tables.arrays)
    }

    fn events(&self) -> Result<Vec<u64>, DataplaneError> {
        Ok(self.tables.counts.borrow().events.clone())
    }

    fn for_each_flow(&self, each: &mut dyn FnMut(FlowRecord)) -> Result<(), DataplaneError> {
        self.flows().for_each(each)
    }
}

/// The interfaces that have a number, which are not to be had by name.
fn attachments(arrays: &impl Arrays) -> Vec<Attachment> {
    let numbered = arrays.ports().iter().zip(0..);
    let attachment = |(port, number): (&Port, u16)| {
        let (ifindex, mac) = port.get()?;
        let mode = if port.is_generic() { XdpMode::Generic } else { XdpMode::Native };
        Some(Attachment { interface: format!("#{ifindex}"), ifindex, port: number, mac, mode, fallback: None })
    };
    numbered.filter_map(attachment).collect()
}

impl Describe for MemoryDataplane {
    fn describe(&self) -> Result<DataplaneInfo, DataplaneError> {
        let arrays = &self.tables.arrays;
        Ok(DataplaneInfo {
            pin_path: std::path::PathBuf::new(),
            abi_version: ABI_VERSION,
            program_id: 0,
            jited_bytes: 0,
            verified_instructions: 0,
            max_flows: flow_sizes(arrays).flows(),
            snat_ports: snat_ports(arrays),
            attachments: attachments(&**arrays),
            maps: Vec::new(),
        })
    }
}

impl Rehearse for MemoryDataplane {
    fn rehearse(&self, arriving: &[Arriving]) -> Result<Vec<Rehearsed>, DataplaneError> {
        let arrays = &self.tables.arrays;
        rehearsal::rehearse(arrays, &**arrays, self.tables.jiffies.get(), arriving)
    }
}
