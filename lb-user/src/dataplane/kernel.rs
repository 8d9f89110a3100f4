//! The data plane in the kernel: loads or adopts the pinned program and maps,
//! attaches it to interfaces, and writes its tables through mapped memory.

use std::path::{Path, PathBuf};

use lb_common::{config::IdleLimits, mac::Mac};

use super::{
    Dataplane, DataplaneError, FlowRecord, ListenerId, MemberId, Observed, Op, Statistics, TrafficCounters,
};

/// How the program is attached to an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum XdpMode {
    /// In the driver, or not at all.
    Native,
    /// In the stack, after an skb was made: works everywhere, costs several times as much.
    Generic,
    /// In the driver if it can, else in the stack.
    Auto,
}

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

/// An interface the program is attached to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attachment {
    /// The interface's name at the time it was attached.
    pub interface: String,
    /// Its index.
    pub ifindex: u32,
    /// Its number in `PORTS`.
    pub port: u16,
    /// Its address.
    pub mac: Mac,
    /// `Native` or `Generic`.
    pub mode: XdpMode,
    /// With `Auto`: why the driver did not take it.
    pub fallback: Option<String>,
}

/// A map and what it occupies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MapInfo {
    /// Its name.
    pub name: String,
    /// Its entries.
    pub entries: u32,
    /// Its memory in bytes (values only, all CPUs).
    pub bytes: u64,
}

/// What `lbctl dataplane show` shows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DataplaneInfo {
    /// The pin directory.
    pub pin_path: PathBuf,
    /// ABI version of the maps.
    pub abi_version: u32,
    /// Kernel id of the program.
    pub program_id: u32,
    /// Its instructions after verification, in bytes of machine code.
    pub jited_bytes: u32,
    /// Instructions the verifier looked at.
    pub verified_instructions: u32,
    /// Flows of each family the tables are sized for.
    pub max_flows: u32,
    /// The lowest and highest SNAT port.
    pub snat_ports: (u16, u16),
    /// Where it is attached.
    pub attachments: Vec<Attachment>,
    /// Its maps.
    pub maps: Vec<MapInfo>,
}

/// The data plane in the kernel.
#[derive(Debug)]
pub struct KernelDataplane {}

#[allow(clippy::todo, unused_variables, missing_docs, reason = "signatures first, bodies follow")]
impl KernelDataplane {
    /// Loads the program. Maps pinned under `pin_path` by the same ABI version
    /// and with the same sizes are adopted with their content; the new program
    /// takes the place of the old one on every attached interface at once.
    ///
    /// # Errors
    /// [`DataplaneError::AbiVersion`] when another version is pinned,
    /// [`DataplaneError::Refused`] when sizes differ, [`DataplaneError::Kernel`]
    /// when the kernel refuses the program.
    pub fn load(options: &KernelOptions) -> Result<(Self, Origin), DataplaneError> {
        todo!()
    }

    /// Opens what is pinned without loading anything (`lbctl --offline`).
    ///
    /// # Errors
    /// When nothing is pinned there, or another version.
    pub fn open_pinned(pin_path: &Path) -> Result<Self, DataplaneError> {
        todo!()
    }

    /// Attaches the program to an interface, pins the link and enters the
    /// interface into `PORTS`. An interface attached by an earlier daemon is
    /// switched to the new program without a gap.
    ///
    /// # Errors
    /// When the kernel refuses (in `Auto`: refuses both modes).
    pub fn attach(&mut self, interface: &str, ifindex: u32, mac: Mac, mode: XdpMode) -> Result<Attachment, DataplaneError> {
        todo!()
    }

    /// Detaches one interface.
    ///
    /// # Errors
    /// When the link cannot be removed.
    pub fn detach(&mut self, interface: &str) -> Result<(), DataplaneError> {
        todo!()
    }

    /// Where the program is attached.
    ///
    /// # Errors
    /// When pins cannot be read.
    pub fn attachments(&self) -> Result<Vec<Attachment>, DataplaneError> {
        todo!()
    }

    /// What there is.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn describe(&self) -> Result<DataplaneInfo, DataplaneError> {
        todo!()
    }

    /// Frees forward and return entries of flows that have been idle for too
    /// long; returns how many. Call it every few seconds: the program reclaims
    /// in place only what it needs.
    pub fn sweep(&self) -> u64 {
        todo!()
    }

    /// Detaches every interface and removes every pin under `pin_path`.
    ///
    /// # Errors
    /// When a pin cannot be removed.
    pub fn remove(pin_path: &Path) -> Result<(), DataplaneError> {
        todo!()
    }
}

#[allow(clippy::todo, unused_variables, reason = "signatures first, bodies follow")]
impl Dataplane for KernelDataplane {
    fn observe(&self) -> Result<Observed, DataplaneError> {
        todo!()
    }

    fn apply(&mut self, op: &Op) -> Result<(), DataplaneError> {
        todo!()
    }
}

#[allow(clippy::todo, unused_variables, reason = "signatures first, bodies follow")]
impl Statistics for KernelDataplane {
    fn listener_counters(&self, id: ListenerId) -> Result<TrafficCounters, DataplaneError> {
        todo!()
    }

    fn member_counters(&self, id: MemberId) -> Result<TrafficCounters, DataplaneError> {
        todo!()
    }

    fn events(&self) -> Result<Vec<u64>, DataplaneError> {
        todo!()
    }

    fn for_each_flow(&self, each: &mut dyn FnMut(FlowRecord)) -> Result<(), DataplaneError> {
        todo!()
    }
}
