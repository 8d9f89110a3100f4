//! What lies in the directory of pins: its names, whether it can be adopted,
//! and its removal.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use aya::maps::{Array, Map, MapData};
use lb_common::{config::ABI_VERSION, names};
use lb_ebpf::host::FlowSizes;
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

use super::{DataplaneError, kernel::kernel, trace};

/// Every map, so that removing a data path removes nothing else.
const MAPS: [&str; 34] = [
    names::CONFIG,
    names::VIPS4,
    names::VIPS6,
    names::VIP_FILTER,
    names::INSTANCES,
    names::ADVERT_GUARD,
    names::ADVERT_SOURCES,
    names::LISTENERS,
    names::LISTENER_KEYS,
    names::POOLS,
    names::SLOTS,
    names::MEMBERS,
    names::FLOWS4,
    names::FLOWS6,
    names::RETURNS4,
    names::RETURNS6,
    names::PORTS,
    names::PORT_OF_INTERFACE,
    names::TX_PORTS,
    names::LISTENER_COUNTERS,
    names::MEMBER_COUNTERS,
    names::EVENTS,
    names::FLOW_NOTES,
    names::LABELS,
    names::PLACEMENTS,
    names::LISTENER_LOADS,
    names::MEMBER_LOADS,
    names::SOURCES,
    names::FRAGMENTS,
    names::DNAT_MEMBERS,
    names::CIDRS4,
    names::CIDRS6,
    names::TRACE_FILTER,
    names::TRACES,
];

/// Links are pinned by interface index: bpffs allows no dots in names,
/// interfaces do.
pub(super) fn link_pin(pin_path: &Path, ifindex: u32) -> PathBuf {
    pin_path.join(format!("{LINK_PREFIX}{ifindex}"))
}

const LINK_PREFIX: &str = "link_";
pub(super) const PROGRAM_PIN: &str = "program";

pub(super) fn linked_interfaces(pin_path: &Path) -> Result<Vec<u32>, DataplaneError> {
    let entries = fs::read_dir(pin_path).map_err(kernel(format!("list pins at {}", pin_path.display())))?;
    let names = entries.flatten().filter_map(|e| e.file_name().to_str().map(str::to_owned));
    let mut interfaces: Vec<u32> = names.filter_map(|n| n.strip_prefix(LINK_PREFIX)?.parse().ok()).collect();
    interfaces.sort_unstable();
    Ok(interfaces)
}

/// The claim of one process to a directory of pins: a lock on the directory,
/// which ends with the process, however it ends.
#[derive(Debug)]
pub(super) struct Owner {
    _directory: Flock<File>,
}

impl Owner {
    /// Makes the directory if it is missing, and claims it.
    pub(super) fn claim(pin_path: &Path) -> Result<Self, DataplaneError> {
        let on_bpffs =
            pin_path.ancestors().find_map(|p| statfs(p).ok()).is_some_and(|fs| fs.filesystem_type() == BPF_FS_MAGIC);
        if !on_bpffs {
            return Err(DataplaneError::Refused {
                op: "claim data path",
                reason: format!(
                    "{} is not on a BPF file system: mount one with `mount -t bpf bpf /sys/fs/bpf`, or choose another pin_path",
                    pin_path.display()
                ),
            });
        }
        fs::create_dir_all(pin_path).map_err(kernel(format!("create pin directory {}", pin_path.display())))?;
        let directory = File::open(pin_path).map_err(kernel(format!("open pin directory {}", pin_path.display())))?;
        match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
            Ok(directory) => Ok(Self { _directory: directory }),
            Err((_, Errno::EWOULDBLOCK)) => Err(DataplaneError::Refused {
                op: "claim data path",
                reason: format!("another lbd owns {}: stop it, or choose another pin_path", pin_path.display()),
            }),
            Err((_, error)) => Err(kernel(format!("lock pin directory {}", pin_path.display()))(error)),
        }
    }
}

/// The ABI version of a pinned data path.
pub(super) fn pinned_version(pin_path: &Path) -> Result<u32, DataplaneError> {
    pinned_config(pin_path).map(|words| words[0] as u32)
}

/// Refuses what another version has pinned.
pub(super) fn check_version(pin_path: &Path) -> Result<(), DataplaneError> {
    match pinned_version(pin_path)? {
        ABI_VERSION => Ok(()),
        version => Err(wrong_version(pin_path, version)),
    }
}

fn pinned_config(pin_path: &Path) -> Result<[u64; 8], DataplaneError> {
    let path = pin_path.join(names::CONFIG);
    let data = MapData::from_pin(&path)
        .map_err(kernel(format!("open {} (is the data path loaded, and is this its pin_path?)", path.display())))?;
    let config = Array::<_, [u64; 8]>::try_from(Map::Array(data)).map_err(kernel(format!("use {}", path.display())))?;
    config.get(&0, 0).map_err(kernel(format!("read {}", path.display())))
}

pub(super) fn wrong_version(pin_path: &Path, found: u32) -> DataplaneError {
    DataplaneError::AbiVersion { path: pin_path.display().to_string(), found, expected: ABI_VERSION }
}

/// Refuses to adopt maps of another version or size.
pub(super) fn check_adoptable(pin_path: &Path, sizes: FlowSizes) -> Result<(), DataplaneError> {
    let version = pinned_version(pin_path)?;
    // Zero: a start that was cut off before it configured anything.
    if version != ABI_VERSION && version != 0 {
        return Err(wrong_version(pin_path, version));
    }
    let wanted = [
        (names::FLOWS4, sizes.flow4_lines),
        (names::FLOWS6, sizes.flow6_lines),
        (names::RETURNS4, sizes.returns),
        (names::RETURNS6, sizes.returns),
    ];
    for (name, entries) in wanted {
        let info = MapData::from_pin(pin_path.join(name))
            .and_then(|m| m.info())
            .map_err(kernel(format!("open map {name} at {}", pin_path.display())))?;
        if info.max_entries() != entries {
            return Err(DataplaneError::Refused {
                op: "adopt data path",
                reason: format!(
                    "{name} at {} has {} entries and max_flows asks for {entries}: set max_flows back, or remove the \
                     data path with `lbctl --offline dataplane detach` (established flows are lost)",
                    pin_path.display(),
                    info.max_entries()
                ),
            });
        }
    }
    Ok(())
}

/// The seed that a pinned data path hashes flows with.
pub(super) fn pinned_seed(pin_path: &Path) -> Option<u64> {
    pinned_config(pin_path).ok().filter(|words| words[0] as u32 == ABI_VERSION).map(|words| words[1])
}

/// Detaches every interface and removes every pin of a data path, and nothing
/// else that may lie in the directory.
pub(super) fn remove(pin_path: &Path) -> Result<(), DataplaneError> {
    // Links first: a program without its maps must not see a packet.
    for ifindex in linked_interfaces(pin_path)? {
        remove_pin(&link_pin(pin_path, ifindex))?;
    }
    for name in [PROGRAM_PIN, names::CLOCK_PROGRAM].into_iter().chain(MAPS) {
        remove_pin(&pin_path.join(name))?;
    }
    match fs::remove_dir(trace::claim_path(pin_path)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(kernel("remove the claim to the trace filter")(e)),
        _ => {}
    }
    fs::remove_dir(pin_path).map_err(kernel(format!("remove pin directory {}", pin_path.display())))
}

fn remove_pin(path: &Path) -> Result<(), DataplaneError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(kernel(format!("remove pin {}", path.display()))(e)),
        _ => Ok(()),
    }
}
