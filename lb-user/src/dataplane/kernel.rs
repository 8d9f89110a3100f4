//! The data plane in the kernel: loads or adopts the pinned program and maps,
//! attaches it to interfaces, and writes its tables through mapped memory.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{HashMap as BpfHashMap, Map, MapData, PerCpuArray, xdp::DevMap},
    programs::{
        Xdp,
        links::{FdLink, PinnedLink},
        xdp::XdpLink,
    },
};
use lb_common::{
    array::FixedArray,
    atomic::Ordering::Relaxed,
    config::{Config, IdleLimits},
    counters::TRAFFIC_WORDS,
    flow_note::RING_NOTES,
    names,
    time::tick_millis,
};
use lb_ebpf::host::{Arrays, FlowSizes};

use super::{
    Dataplane, DataplaneError, DataplaneInfo, Describe, FlowRecord, ListenerId, MapInfo, MemberId, Observed, Op, Part,
    PoolId, Statistics, Switchboard, TrafficCounters,
    clock::Clock,
    exchange::KernelExchange,
    flows::Flows,
    mapped::{MappedArrays, PinnedFlows},
    memory::{configure, flow_sizes},
    pins::{self, PROGRAM_PIN, check_adoptable, check_version, link_pin, linked_interfaces},
    rehearsal::{self, Arriving, Rehearse, Rehearsed},
    sweeper::{Sweeper, Swept},
    tables::{TableWriter, changing, is_valid_member, live, observe, snat_ports},
};
use crate::causes::chain;

mod attach;
mod fixed;

pub use fixed::ResolvedObject;

/// The BPF object, made by `cargo xtask build-ebpf`; empty if it has not been.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/krater.bpf.o"));

/// What the program is loaded with. All of it is part of what is adopted: a
/// pinned data path with other sizes is refused, not resized.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KernelOptions {
    /// Directory for pins, on a bpffs.
    pub pin_path: PathBuf,
    /// Flows of each family; rounded up to a power of two.
    pub max_flows: u32,
    /// Seed of the flow hashes; equal on both nodes of a pair.
    pub hash_seed: u64,
    /// The lowest and highest SNAT port.
    pub snat_ports: (u16, u16),
    /// Idle limits in seconds, in the fields of [`IdleLimits`].
    pub idle_seconds: IdleLimits,
}

/// What became of a request to load.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// Nothing was pinned: everything is new and empty.
    Created,
    /// Maps and their content were taken over, the program was replaced.
    Adopted,
}

/// The data plane in the kernel.
pub struct KernelDataplane {
    pin_path: PathBuf,
    arrays: Arc<MappedArrays>,
    flows: Arc<PinnedFlows>,
    clock: Clock,
    listener_counts: PerCpuArray<MapData, [u64; TRAFFIC_WORDS]>,
    member_counts: PerCpuArray<MapData, [u64; TRAFFIC_WORDS]>,
    events: PerCpuArray<MapData, u64>,
    /// By the two words of a [`lb_common::port::Place`].
    ports: BpfHashMap<MapData, [u64; 2], u32>,
    tx_ports: DevMap<MapData>,
    writer: TableWriter,
    /// Absent where the data path was opened and not loaded.
    loaded: Option<Loaded>,
}

/// What only the process that forwards has.
struct Loaded {
    program: Ebpf,
    /// Keeps a second daemon away for as long as this one lives.
    _owner: pins::Owner,
}

impl std::fmt::Debug for KernelDataplane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KernelDataplane").field("pin_path", &self.pin_path).finish_non_exhaustive()
    }
}

pub(super) fn kernel<E: std::error::Error + Send + Sync + 'static>(
    what: impl Into<String>,
) -> impl FnOnce(E) -> DataplaneError {
    let what = what.into();
    move |source| DataplaneError::Kernel { what, source: Box::new(source) }
}

/// Idle limits in ticks from limits in seconds; never zero, so that a flow lives
/// at least until the next tick.
pub(super) fn idle_ticks(seconds: IdleLimits, hz: u32) -> IdleLimits {
    let tick = tick_millis(hz).max(1);
    let ticks = |s: u16| u16::try_from((u32::from(s) * 1000).div_ceil(tick)).unwrap_or(u16::MAX).max(1);
    IdleLimits {
        unconfirmed: ticks(seconds.unconfirmed),
        tcp: ticks(seconds.tcp),
        tcp_closing: ticks(seconds.tcp_closing),
        udp: ticks(seconds.udp),
    }
}

impl KernelDataplane {
    /// Loads the program. Maps pinned under `pin_path` by the same ABI version
    /// and with the same sizes are adopted with their content; the new program
    /// takes the place of the old one on every attached interface at once.
    ///
    /// # Errors
    /// [`DataplaneError::AbiVersion`] when another version is pinned,
    /// [`DataplaneError::Refused`] when sizes differ or another daemon owns the
    /// data path, [`DataplaneError::Kernel`] when the kernel refuses the program.
    pub fn load(options: &KernelOptions) -> Result<(Self, Origin), DataplaneError> {
        if OBJECT.is_empty() {
            return Err(DataplaneError::Refused {
                op: "load program",
                reason: "this lbd was built without the BPF object; build it with `cargo xtask build`".to_owned(),
            });
        }
        let pin_path = &options.pin_path;
        let sizes = FlowSizes::for_flows(options.max_flows);
        let owner = pins::Owner::claim(pin_path)?;
        let origin = if pin_path.join(names::CONFIG).exists() {
            check_adoptable(pin_path, sizes)?;
            Origin::Adopted
        } else {
            Origin::Created
        };
        let loaded = Self::load_into(options, sizes, origin, owner);
        if loaded.is_err() && origin == Origin::Created {
            // Leave nothing half made behind.
            let _ = Self::remove(pin_path);
        }
        loaded.map(|dataplane| (dataplane, origin))
    }

    fn load_into(
        options: &KernelOptions,
        sizes: FlowSizes,
        origin: Origin,
        owner: pins::Owner,
    ) -> Result<Self, DataplaneError> {
        let pin_path = &options.pin_path;
        let object = ResolvedObject::new(OBJECT, pin_path)?;
        let mut ebpf = EbpfLoader::new()
            .default_map_pin_directory(pin_path)
            .map_max_entries(names::FLOWS4, sizes.flow4_lines)
            .map_max_entries(names::FLOWS6, sizes.flow6_lines)
            .map_max_entries(names::RETURNS4, sizes.returns)
            .map_max_entries(names::RETURNS6, sizes.returns)
            .load(object.bytes())
            .map_err(kernel(format!("load BPF object with pins at {}", pin_path.display())))?;
        let clock_pin = pin_path.join(names::CLOCK_PROGRAM);
        load_and_pin(&mut ebpf, names::CLOCK_PROGRAM, &clock_pin)?;
        let clock = Clock::open_pinned(&clock_pin)?;
        // Jiffies are counted while the verifier is at work.
        let measured = clock.begin()?;
        load_and_pin(&mut ebpf, names::PROGRAM, &pin_path.join(PROGRAM_PIN))?;
        let arrays = MappedArrays::open(pin_path)?;
        let known_hz = arrays.config().hz.load(Relaxed) as u32;
        let hz = if origin == Origin::Adopted && known_hz != 0 { known_hz } else { measured.end(&clock)? };
        configure(&arrays, options, sizes, hz);
        let mut dataplane = Self::open(pin_path, arrays, clock)?;
        for ifindex in linked_interfaces(pin_path)? {
            if let Err(e) = replace_program(&mut ebpf, pin_path, ifindex) {
                // The interface is gone and its link with it (ENOLINK).
                tracing::warn!(ifindex, error = chain(&e), "drop the link of an interface that is gone");
                dataplane.detach_index(ifindex)?;
            }
        }
        dataplane.loaded = Some(Loaded { program: ebpf, _owner: owner });
        Ok(dataplane)
    }

    /// Opens what is pinned without loading anything (`lbctl --offline`).
    ///
    /// # Errors
    /// When nothing is pinned there, or another version.
    pub fn open_pinned(pin_path: &Path) -> Result<Self, DataplaneError> {
        check_version(pin_path)?;
        let clock = Clock::open_pinned(&pin_path.join(names::CLOCK_PROGRAM))?;
        Self::open(pin_path, MappedArrays::open(pin_path)?, clock)
    }

    fn open(pin_path: &Path, arrays: MappedArrays, clock: Clock) -> Result<Self, DataplaneError> {
        let pinned = |name: &str| {
            MapData::from_pin(pin_path.join(name)).map_err(kernel(format!("open map {name} at {}", pin_path.display())))
        };
        let wrong = |name: &str| kernel(format!("use map {name} at {}", pin_path.display()));
        let per_cpu = |name: &str| Ok::<_, DataplaneError>(Map::PerCpuArray(pinned(name)?));
        Ok(Self {
            pin_path: pin_path.to_owned(),
            arrays: Arc::new(arrays),
            flows: Arc::new(PinnedFlows::open(pin_path)?),
            clock,
            listener_counts: per_cpu(names::LISTENER_COUNTERS)?.try_into().map_err(wrong(names::LISTENER_COUNTERS))?,
            member_counts: per_cpu(names::MEMBER_COUNTERS)?.try_into().map_err(wrong(names::MEMBER_COUNTERS))?,
            events: per_cpu(names::EVENTS)?.try_into().map_err(wrong(names::EVENTS))?,
            ports: Map::HashMap(pinned(names::PORT_OF_INTERFACE)?)
                .try_into()
                .map_err(wrong(names::PORT_OF_INTERFACE))?,
            tx_ports: Map::DevMap(pinned(names::TX_PORTS)?).try_into().map_err(wrong(names::TX_PORTS))?,
            writer: TableWriter::default(),
            loaded: None,
        })
    }

    /// What turns instances on and off. It goes on when the data plane is
    /// dropped: the memory is the kernel's.
    #[must_use]
    pub fn switchboard(&self) -> Switchboard {
        Switchboard::mapped(self.arrays.shared_instances())
    }

    /// What looks for flows that are over, for a thread of its own.
    ///
    /// # Errors
    /// When the clock program cannot be opened.
    pub fn sweeper(&self) -> Result<Sweeper, DataplaneError> {
        let clock = Clock::open_pinned(&self.pin_path.join(names::CLOCK_PROGRAM))?;
        Ok(Sweeper::new(self.pin_path.clone(), Arc::clone(&self.arrays), Arc::clone(&self.flows), clock))
    }

    /// Does what is to be done about pools after a sweep.
    ///
    /// # Errors
    /// When the clock cannot be read, or a pool cannot be written.
    pub fn tend(&mut self, swept: &Swept) -> Result<(), DataplaneError> {
        let now = self.flows()?.now();
        self.writer.tend(&*self.arrays, swept, now)
    }

    fn flows(&self) -> Result<Flows<'_>, DataplaneError> {
        Ok(Flows::new(&self.arrays, &*self.flows, self.clock.jiffies()?))
    }

    /// Changes what can be changed about a loaded data path: its SNAT ports and
    /// idle limits. Sizes, pins and seed stay.
    pub fn reconfigure(&mut self, options: &KernelOptions) {
        let config = self.arrays.config();
        let (seed, hz) = (config.seed.load(Relaxed), config.hz.load(Relaxed) as u32);
        let kept = KernelOptions { hash_seed: seed, ..options.clone() };
        configure(&*self.arrays, &kept, flow_sizes(&*self.arrays), hz);
    }

    /// The seed that flows are hashed with.
    #[must_use]
    pub fn hash_seed(&self) -> u64 {
        self.arrays.config().seed.load(Relaxed)
    }

    /// Switches on or off that the program notes flows for another balancer. It
    /// outlives this process, as the rest of the data path does.
    pub fn set_noting(&self, on: bool) {
        self.arrays.config().set(Config::NOTE_FLOWS, on);
    }

    /// The flows, for whoever carries them to another balancer: a handle of its
    /// own, for whichever thread. As long as it is there, the whole of the flow
    /// tables is mapped.
    ///
    /// # Errors
    /// When what is pinned cannot be opened.
    pub fn exchange(&self) -> Result<KernelExchange, DataplaneError> {
        KernelExchange::open(&self.pin_path, self.flows.whole(Arc::clone(&self.arrays))?)
    }

    /// Detaches every interface and removes every pin of the data path under
    /// `pin_path`; anything else in that directory is left alone, and then so is
    /// the directory.
    ///
    /// # Errors
    /// When a pin cannot be removed.
    pub fn remove(pin_path: &Path) -> Result<(), DataplaneError> {
        pins::remove(pin_path)
    }

    /// The seed that the data path pinned under `pin_path` hashes flows with, if
    /// there is one that this program can adopt.
    #[must_use]
    pub fn pinned_seed(pin_path: &Path) -> Option<u64> {
        pins::pinned_seed(pin_path)
    }

    /// Runs the forwarding program once over a frame, through
    /// `BPF_PROG_TEST_RUN`, as if it had come in by the loopback interface. Returns
    /// the XDP action and the frame as the program left it.
    ///
    /// # Errors
    /// When the kernel refuses the run.
    pub fn test_run(&self, frame: &[u8]) -> Result<(u32, Vec<u8>), DataplaneError> {
        let ebpf = self.loaded.as_ref().and_then(|l| l.program.program(names::PROGRAM));
        let xdp: &Xdp = ebpf.and_then(|p| p.try_into().ok()).ok_or_else(|| DataplaneError::Refused {
            op: "test run",
            reason: "the data path was opened for reading, not loaded".to_owned(),
        })?;
        super::clock::run_frame(xdp, frame)
    }

    /// The tables, flows aside.
    #[must_use]
    pub fn arrays(&self) -> &impl Arrays {
        &self.arrays
    }

    /// The jiffies now, low 32 bits.
    ///
    /// # Errors
    /// When the clock program cannot be run.
    pub fn jiffies(&self) -> Result<u64, DataplaneError> {
        self.clock.jiffies()
    }

    fn reset_counters(map: &mut PerCpuArray<MapData, [u64; TRAFFIC_WORDS]>, id: u16) -> Result<(), DataplaneError> {
        let cpus = aya::util::nr_cpus().map_err(|(what, source)| kernel(what)(source))?;
        let zeros =
            aya::maps::PerCpuValues::try_from(vec![[0; TRAFFIC_WORDS]; cpus]).map_err(kernel("make per-CPU values"))?;
        map.set(u32::from(id), zeros, 0).map_err(kernel(format!("reset counters {id}")))
    }
}

fn program<'e>(ebpf: &'e mut Ebpf, name: &str) -> Result<&'e mut Xdp, DataplaneError> {
    let missing =
        || DataplaneError::Refused { op: "load program", reason: format!("the BPF object has no XDP program {name}") };
    ebpf.program_mut(name).ok_or_else(missing)?.try_into().map_err(|_| missing())
}

/// Loads a program and pins it in the place of whichever was pinned before.
fn load_and_pin(ebpf: &mut Ebpf, name: &str, path: &Path) -> Result<(), DataplaneError> {
    let xdp = program(ebpf, name)?;
    xdp.load().map_err(kernel(format!("load program {name}")))?;
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            return Err(kernel(format!("remove pin {}", path.display()))(e));
        }
        _ => {}
    }
    xdp.pin(path).map_err(kernel(format!("pin program at {}", path.display())))
}

/// Puts the new program behind a pinned link, atomically (Linux 5.9,
/// `BPF_LINK_UPDATE`).
fn replace_program(ebpf: &mut Ebpf, pin_path: &Path, ifindex: u32) -> Result<(), DataplaneError> {
    let pin = link_pin(pin_path, ifindex);
    let link = PinnedLink::from_pin(&pin).map_err(kernel(format!("open link {}", pin.display())))?;
    let link = XdpLink::try_from(FdLink::from(link)).map_err(kernel(format!("use link {}", pin.display())))?;
    let xdp = program(ebpf, names::PROGRAM)?;
    let id = xdp.attach_to_link(link).map_err(kernel(format!("replace program on interface {ifindex}")))?;
    // The pin holds the link; our own handle may go.
    drop(xdp.take_link(id));
    Ok(())
}

fn total(values: &[[u64; TRAFFIC_WORDS]]) -> TrafficCounters {
    values
        .iter()
        .map(|words| TrafficCounters::from_words(*words))
        .fold(TrafficCounters::default(), TrafficCounters::plus)
}

impl Dataplane for KernelDataplane {
    fn observe_part(&self, part: &Part) -> Result<Observed, DataplaneError> {
        observe(&*self.arrays, self.arrays.cidrs(), part)
    }

    fn apply(&mut self, op: &Op) -> Result<(), DataplaneError> {
        match op {
            Op::PutMember { id, .. } if !is_valid_member(&self.arrays, *id) => {
                Self::reset_counters(&mut self.member_counts, id.0)?;
            }
            Op::RemoveListener { id, .. } => Self::reset_counters(&mut self.listener_counts, id.0)?,
            _ => {}
        }
        // Only who asks about flows needs the time, which costs a system call.
        let asks = matches!(op, Op::ReleaseMember { .. } | Op::RemoveListener { .. } | Op::PutPool { .. });
        let jiffies = if asks { self.clock.jiffies()? } else { 0 };
        let flows = Flows::new(&self.arrays, &*self.flows, jiffies);
        self.writer.apply(&*self.arrays, op, &flows, self.arrays.cidrs())
    }
}

impl Statistics for KernelDataplane {
    fn listener_counters(&self, id: ListenerId) -> Result<TrafficCounters, DataplaneError> {
        let values = self.listener_counts.get(&u32::from(id.0), 0);
        values.map(|v| total(&v)).map_err(kernel(format!("read counters of listener {}", id.0)))
    }

    fn member_counters(&self, id: MemberId) -> Result<TrafficCounters, DataplaneError> {
        let values = self.member_counts.get(&u32::from(id.0), 0);
        values.map(|v| total(&v)).map_err(kernel(format!("read counters of member {}", id.0)))
    }

    fn live(&self, listener: Option<ListenerId>, member: Option<MemberId>) -> u64 {
        live(&*self.arrays, listener, member)
    }

    fn changing(&self) -> Vec<PoolId> {
        changing(&*self.arrays)
    }

    fn events(&self) -> Result<Vec<u64>, DataplaneError> {
        self.events.iter().map(|v| v.map(|v| v.iter().sum()).map_err(kernel("read EVENTS"))).collect()
    }

    fn for_each_flow(&self, each: &mut dyn FnMut(FlowRecord)) -> Result<(), DataplaneError> {
        self.flows()?.for_each(each)
    }
}

impl Describe for KernelDataplane {
    fn describe(&self) -> Result<DataplaneInfo, DataplaneError> {
        let pin = self.pin_path.join(PROGRAM_PIN);
        let program =
            aya::programs::ProgramInfo::from_pin(&pin).map_err(kernel(format!("read program {}", pin.display())))?;
        let cpus = aya::util::nr_cpus().map_or(1, |n| n as u64);
        let mut maps = Vec::new();
        for entry in
            fs::read_dir(&self.pin_path).map_err(kernel(format!("list pins at {}", self.pin_path.display())))?.flatten()
        {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_map = name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
            let Some(info) = is_map.then(|| aya::maps::MapInfo::from_pin(entry.path()).ok()).flatten() else {
                continue;
            };
            // A ring buffer has no entries, its size is in bytes.
            if name == names::FLOW_NOTES {
                maps.push(MapInfo { name, entries: RING_NOTES as u32, bytes: u64::from(info.max_entries()) });
                continue;
            }
            let copies = if name.ends_with("_COUNTS") || name == names::EVENTS { cpus } else { 1 };
            let bytes = u64::from(info.max_entries()) * u64::from(info.value_size().next_multiple_of(8)) * copies;
            let fixed = FixedArray::ALL.iter().find(|array| array.name() == name);
            maps.push(MapInfo { entries: fixed.map_or(info.max_entries(), |array| array.entries()), name, bytes });
        }
        maps.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(DataplaneInfo {
            pin_path: self.pin_path.clone(),
            abi_version: self.arrays.config().version.load(Relaxed) as u32,
            program_id: program.id(),
            jited_bytes: program.size_jitted(),
            verified_instructions: program.verified_instruction_count().unwrap_or(0),
            max_flows: flow_sizes(&*self.arrays).flows(),
            snat_ports: snat_ports(&*self.arrays),
            attachments: self.attachments()?,
            maps,
        })
    }
}

impl Rehearse for KernelDataplane {
    fn rehearse(&self, arriving: &[Arriving]) -> Result<Vec<Rehearsed>, DataplaneError> {
        rehearsal::rehearse(&self.arrays, &*self.flows, self.clock.jiffies()?, arriving)
    }
}
