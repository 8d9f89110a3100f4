//! Who is asked: lbd at its socket, or, when it is down, the maps it left
//! pinned.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use lb_common::names::DEFAULT_PIN_PATH;

use super::{
    failure::{Failure, tell},
    offline,
};
use crate::control::{
    client::{Client, DEFAULT_PATIENCE},
    protocol::{Request, Response},
};

/// Where lbd listens unless its pool file says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/krater/lbd.sock";

/// Names the socket when `--socket` does not.
pub(super) const SOCKET_VARIABLE: &str = "KRATER_SOCKET";

/// Heading of the options that every command takes.
pub(super) const GLOBAL_OPTIONS: &str = "Global options";

/// Longest patience, in seconds.
const MAX_TIMEOUT: u64 = 3600;

/// What an operator says about whom to ask.
#[derive(Clone, PartialEq, Eq, Debug, Args)]
#[command(next_help_heading = GLOBAL_OPTIONS)]
pub(super) struct Reach {
    /// Where lbd listens [env: KRATER_SOCKET] [default: /run/krater/lbd.sock]
    #[arg(long, global = true, value_name = "PATH")]
    pub(super) socket: Option<PathBuf>,

    /// Read and edit the pinned maps instead, when lbd is down
    #[arg(long, global = true)]
    pub(super) offline: bool,

    /// Where the maps are pinned, with --offline
    #[arg(long, global = true, value_name = "PATH", default_value = DEFAULT_PIN_PATH)]
    pub(super) pin_path: PathBuf,

    /// How long lbd may take to answer, in seconds
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = DEFAULT_PATIENCE.as_secs(),
          value_parser = clap::value_parser!(u64).range(1..=MAX_TIMEOUT))]
    pub(super) timeout: u64,
}

/// Whom to ask.
#[derive(Debug)]
pub(super) enum Source {
    /// The daemon.
    Lbd(Client),
    /// What it left in the kernel.
    PinnedMaps {
        /// Where.
        pin_path: PathBuf,
        /// The daemon, should it run after all.
        lbd: Client,
    },
}

impl Source {
    /// What the options and the environment mean.
    pub(super) fn new(reach: &Reach, variable: Option<OsString>) -> Self {
        let variable = variable.filter(|path| !path.is_empty()).map(PathBuf::from);
        let socket = reach.socket.clone().or(variable).unwrap_or_else(|| DEFAULT_SOCKET.into());
        let lbd = Client::new(&socket, Duration::from_secs(reach.timeout));
        if reach.offline { Self::PinnedMaps { pin_path: reach.pin_path.clone(), lbd } } else { Self::Lbd(lbd) }
    }

    /// Says on standard error what an answer is worth that does not come from lbd.
    pub(super) fn announce(&self) {
        let Self::PinnedMaps { pin_path, lbd } = self else { return };
        tell(&format!("offline: the maps pinned at {} are used, lbd is not asked", pin_path.display()));
        if lbd.is_answered() {
            let socket = lbd.path().display();
            tell(&format!("note: lbd answers at {socket}; without `--offline` it tells more"));
        }
    }

    /// Asks; a refusal is a failure.
    pub(super) fn ask(&self, request: &Request) -> Result<Response, Failure> {
        self.ask_and_wait(request, Duration::ZERO)
    }

    /// Asks for what may come later by `wait`; a refusal is a failure.
    pub(super) fn ask_and_wait(&self, request: &Request, wait: Duration) -> Result<Response, Failure> {
        let response = match self {
            Self::Lbd(lbd) => lbd.ask_and_wait(request, wait)?,
            Self::PinnedMaps { pin_path, lbd } => {
                if !request.is_read_only() {
                    refuse_behind_its_back(lbd, pin_path)?;
                }
                offline::ask(pin_path, request)?
            }
        };
        match response {
            Response::Refused(refusal) => Err(refusal.into()),
            response => Ok(response),
        }
    }
}

/// Lbd puts back what is edited behind its back, unless the maps are another's.
fn refuse_behind_its_back(lbd: &Client, pin_path: &Path) -> Result<(), Failure> {
    if !lbd.is_answered() {
        return Ok(());
    }
    match lbd.ask(&Request::Dataplane) {
        Ok(Response::Dataplane(its)) if Path::new(&its.pin_path) != pin_path => Ok(()),
        _ => Err(Failure::LbdRuns { socket: lbd.path().to_owned() }),
    }
}

#[cfg(test)]
#[path = "reach_tests.rs"]
mod tests;
