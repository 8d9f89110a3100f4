//! What lbd does once, before and around its work: reading the pool file,
//! loading the data path, limits and signals of the process.

use std::{io, path::Path};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::daemon::DaemonError;
use crate::{
    causes::chain,
    config::{self, Config, LoadError},
    dataplane::{
        DataplaneError,
        kernel::{KernelDataplane, KernelOptions, Origin},
    },
    ha,
    model::Topology,
    net::{self, Interface, NetError},
    store::{self, StoreError},
};

/// Probes of thousands of members at once need as many descriptors: takes what
/// the system's hard limit allows.
pub(super) fn raise_file_limit() {
    let raised =
        getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "raise the limit of open files");
    }
}

/// What the process is told from outside.
pub(super) struct Signals {
    pub(super) hangup: Signal,
    pub(super) terminate: Signal,
    pub(super) interrupt: Signal,
    pub(super) quit: Signal,
}

impl Signals {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
        })
    }
}

/// Reads the pool file. What is no file may have its reader wait for ever (a
/// pipe that nobody writes into), and with it everything that waits for lbd.
pub(super) fn read(config_file: &Path) -> Result<Config, LoadError> {
    match std::fs::metadata(config_file) {
        Ok(metadata) if !metadata.is_file() => Err(LoadError::Unreadable {
            path: config_file.to_owned(),
            reason: io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"),
        }),
        _ => config::load(config_file),
    }
}

/// Loads or adopts the data path. One of another version cannot be adopted: it
/// is replaced.
pub(super) fn load(options: &KernelOptions) -> Result<(KernelDataplane, Origin), DataplaneError> {
    match KernelDataplane::load(options) {
        Err(error @ DataplaneError::AbiVersion { .. }) => {
            tracing::warn!("{error}: it is replaced, and the flows it has are lost");
            KernelDataplane::remove(&options.pin_path)?;
            KernelDataplane::load(options)
        }
        loaded => loaded,
    }
}

/// An error that ended the start, with a remedy where there is one to add.
#[must_use]
pub fn explain(error: &DaemonError) -> String {
    let text = chain(error);
    let refused = ["not permitted", "permission denied"].iter().any(|words| text.to_lowercase().contains(words));
    if refused && !nix::unistd::geteuid().is_root() {
        return format!("{text}; run lbd as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON");
    }
    text
}

/// Tells what of a pool file is in order and still hardly meant.
pub(super) fn warn_of(config: &Config) {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
}

/// Tells of VIPs that leave a virtual MAC address without anybody who would
/// announce where they are now.
pub(super) fn warn_of_moves(before: &Config, after: &Config) {
    for vrrp in before.vrrp.iter().filter(|vrrp| vrrp.virtual_mac) {
        for vip in before.carried(vrrp).map(|lb| lb.vip_address) {
            let mut there = after.model.load_balancers().iter();
            if there.any(|lb| lb.vip_address == vip && lb.topology == Topology::Single) {
                tracing::warn!(
                    "{vip} leaves the virtual MAC address of {} and is announced by nobody: neighbours reach it again \
                     when their entries for it expire; set `virtual_mac = false` and reload before `topology` becomes \
                     SINGLE, or flush the entry in the neighbours",
                    vrrp.name
                );
            }
        }
    }
}

/// Looks the interfaces of a pool file up.
pub(super) async fn find_interfaces(names: &[String]) -> Result<Vec<Interface>, NetError> {
    let mut found = Vec::new();
    for name in names {
        found.push(net::interface(name).await?);
    }
    Ok(found)
}

/// What the data path is loaded with. Without a seed in the pool file, a data
/// path that is there keeps its own, so that its flows are found again.
pub(super) fn options(config: &Config) -> Result<KernelOptions, StoreError> {
    let dataplane = &config.dataplane;
    let pinned = KernelDataplane::pinned_seed(&dataplane.pin_path);
    let hash_seed = match (dataplane.hash_seed, pinned) {
        (Some(wanted), Some(pinned)) if wanted != pinned => {
            tracing::warn!("hash_seed differs from the data path's: the flows it has are not found again");
            wanted
        }
        (Some(seed), _) | (None, Some(seed)) => seed,
        (None, None) => match &config.sync {
            Some(sync) => ha::shared_seed(&sync.secret),
            None => store::hash_seed(&config.control.state_dir)?,
        },
    };
    Ok(KernelOptions {
        pin_path: dataplane.pin_path.clone(),
        max_flows: dataplane.max_flows,
        hash_seed,
        snat_ports: dataplane.snat_ports,
        idle_seconds: dataplane.idle_seconds,
    })
}

/// The first field that differs and cannot be changed by a reload.
pub(super) fn fixed_field(before: &Config, after: &Config) -> Option<&'static str> {
    let (old, new) = (&before.dataplane, &after.dataplane);
    [
        ("[dataplane] pin_path", old.pin_path == new.pin_path),
        ("[dataplane] max_flows", old.max_flows == new.max_flows),
        ("[dataplane] hash_seed", old.hash_seed == new.hash_seed),
        ("[control] socket", before.control.socket == after.control.socket),
        ("[control] state_dir", before.control.state_dir == after.control.state_dir),
    ]
    .into_iter()
    .find_map(|(field, same)| (!same).then_some(field))
}
