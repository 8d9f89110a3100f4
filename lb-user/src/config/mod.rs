//! The pool file: TOML in Octavia's words, read into a [`Config`].
//!
//! A file is either taken as a whole or refused as a whole, with every mistake
//! in it at once, each with its line, field, reason and remedy. Nothing is
//! ignored: a key that is not known is a mistake too.
//!
//! What must not be here: whether things exist. Interfaces, directories and
//! members are looked for by those who use them; the same text gives the same
//! answer everywhere, but for files that belong to this one: those that keep
//! its secrets are read with it, and the program to run at a failover is looked
//! at for a warning.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use lb_common::{config::IdleLimits, names};
use toml::de::DeTable;

use crate::{dataplane::XdpMode, model::Model};

mod balancers;
mod daemon;
mod failover;
mod fields;
mod forward;
mod guard;
mod mistake;
mod monitor;
mod nearest;
mod page;
mod reader;
mod schema;

pub use failover::{AnnounceConfig, DEFAULT_SYNC_PORT, SyncConfig, Track, TrackKind, VirtualAddress, VrrpConfig};
pub use guard::EncapSources;
pub use mistake::{LoadError, Mistake, Refused, Warning};
pub use page::page;

/// Where the pins are unless configured otherwise.
pub const DEFAULT_PIN_PATH: &str = names::DEFAULT_PIN_PATH;
/// Where lbd listens unless configured otherwise.
pub const DEFAULT_SOCKET: &str = "/run/krater/lbd.sock";
/// Where lbd keeps what operators changed unless configured otherwise.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/krater";
/// The largest pool file in bytes. One with as many members as there can be,
/// every field of each written, has about five megabytes.
pub const MAX_FILE_BYTES: u64 = 8 << 20;

/// Everything a pool file says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// `[dataplane]`.
    pub dataplane: DataplaneConfig,
    /// `[control]`.
    pub control: ControlConfig,
    /// `[[vrrp]]`, in the file's order.
    pub vrrp: Vec<VrrpConfig>,
    /// `[sync]`.
    pub sync: Option<SyncConfig>,
    /// `[[loadbalancer]]`. Whatever is [`crate::model::Topology::ActiveStandby`]
    /// names one of [`Self::vrrp`].
    pub model: Model,
    /// What is allowed and probably not meant, by line.
    pub warnings: Vec<Warning>,
}

/// `[dataplane]`: the program in the kernel and its tables.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DataplaneConfig {
    /// Interfaces to attach to: at least one, each once.
    pub interfaces: Vec<String>,
    /// How to attach.
    pub xdp_mode: XdpMode,
    /// Directory of the pins, absolute.
    pub pin_path: PathBuf,
    /// Flows of each address family, within [`lb_common::limits`].
    pub max_flows: u32,
    /// The lowest and the highest SNAT port.
    pub snat_ports: (u16, u16),
    /// Seed of the flow hashes; to be chosen at random where there is none.
    pub hash_seed: Option<u64>,
    /// What becomes of the data path when the daemon ends.
    pub on_exit: OnExit,
    /// Where packets that carry others come from.
    pub encap_sources: EncapSources,
    /// Idle limits in seconds.
    pub idle_seconds: IdleLimits,
}

/// What becomes of the data path when the daemon ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnExit {
    /// It stays and balances on.
    #[default]
    Keep,
    /// It is detached and its pins are removed.
    Remove,
}

/// `[control]`: where the daemon is spoken to and what it remembers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ControlConfig {
    /// The unix socket, absolute.
    pub socket: PathBuf,
    /// The directory for state, absolute.
    pub state_dir: PathBuf,
}

/// Reads a pool file.
///
/// # Errors
/// When it cannot be read, is larger than [`MAX_FILE_BYTES`], or is refused.
/// The error's text is what an operator should see.
pub fn load(path: &Path) -> Result<Config, LoadError> {
    let unreadable = |reason: io::Error| LoadError::Unreadable { path: path.to_owned(), reason };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    let open_to_everybody = file.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0);
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(LoadError::TooLarge { path: path.to_owned(), limit: MAX_FILE_BYTES });
    }
    let name = path.display().to_string();
    let text = String::from_utf8(bytes).map_err(|error| not_text(&error, &name))?;
    Ok(read(&text, &name, open_to_everybody)?)
}

/// Reads the text of a pool file; `file_name` stands in the complaints.
///
/// # Errors
/// Every mistake in the text. Only the first one where it is no TOML: what
/// follows a broken line can mean anything.
pub fn parse(text: &str, file_name: &str) -> Result<Config, Refused> {
    read(text, file_name, false)
}

fn read(text: &str, file_name: &str, open_to_everybody: bool) -> Result<Config, Refused> {
    let complaints = mistake::Complaints::about(text, open_to_everybody);
    let parts = match DeTable::parse(text) {
        Ok(table) => {
            let file = reader::Reader::of_file(&complaints, &fields::FILE, table.get_ref());
            let table = file.table_or_empty(&fields::DATAPLANE);
            let interfaces = daemon::interfaces(&table);
            let dataplane = daemon::dataplane(&table, interfaces.clone());
            let control = daemon::control(&file.table_or_empty(&fields::CONTROL));
            let failover = failover::Failover::read(&complaints, &file, interfaces.as_deref());
            let balancers = balancers::Balancers::read(&complaints, &file, &failover.carriers());
            failover.check(&complaints, &balancers);
            Some((dataplane, control, failover, balancers.model(&complaints)))
        }
        Err(error) => {
            let line = complaints.line_of(error.span().map_or(0, |span| span.start));
            complaints.mistake(line, "", "", not_toml(error.message()));
            None
        }
    };
    let warnings = complaints.settle(file_name)?;
    match parts {
        Some((Some(dataplane), Some(control), failover, Some(model))) => {
            let (vrrp, sync) = failover.into_parts();
            Ok(Config { dataplane, control, vrrp, sync, model, warnings })
        }
        // Whoever has no value to give has complained, so that this is never
        // reached; it is an answer nevertheless.
        _ => Err(Refused {
            file: file_name.to_owned(),
            mistakes: vec![Mistake {
                line: 1,
                place: String::new(),
                field: String::new(),
                text: "cannot be understood; compare it with docs/pool-file.md".to_owned(),
            }],
            more: 0,
        }),
    }
}

fn not_toml(reason: &str) -> String {
    format!("this is no TOML: {reason}; correct this line, what follows it is not looked at before")
}

fn not_text(error: &std::string::FromUtf8Error, file: &str) -> Refused {
    let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
    let mistake = Mistake {
        line: 1 + good.iter().filter(|byte| **byte == b'\n').count(),
        place: String::new(),
        field: String::new(),
        text: "this is no UTF-8 text; write the file with an editor for text, in UTF-8".to_owned(),
    };
    Refused { file: file.to_owned(), mistakes: vec![mistake], more: 0 }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

#[cfg(test)]
#[path = "property_tests.rs"]
mod property_tests;
