//! What there is of a data path, for an operator: where it is attached, its
//! program and its maps.

use std::path::PathBuf;

use lb_common::mac::Mac;

use super::DataplaneError;

/// Tells what there is.
pub trait Describe {
    /// Where the data path is attached, its program and its maps.
    ///
    /// # Errors
    /// When the kernel does not tell.
    fn describe(&self) -> Result<DataplaneInfo, DataplaneError>;
}

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
