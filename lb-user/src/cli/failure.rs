//! Why a command was not carried out, and the exit code that says so.

use std::{io, path::PathBuf, process::ExitCode};

use super::table::plain;
use crate::{
    causes::chain,
    control::{
        client::ClientError,
        protocol::{Refusal, RefusalCode},
    },
    dataplane::DataplaneError,
};

/// Not carried out, for any reason.
pub(super) const REFUSED: u8 = 1;
/// What was typed means nothing.
pub(super) const USAGE: u8 = 2;
/// There is no lbd to ask.
pub(super) const UNREACHABLE: u8 = 3;

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Lbd, or what stands in for it offline, said no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Lbd did not answer.
    #[error(transparent)]
    Unanswered(#[from] ClientError),
    /// The answer is to another question.
    #[error("lbd answered another question than the one asked: use an lbctl and an lbd of the same version")]
    OffTopic,
    /// The pinned maps cannot be opened.
    #[error("cannot use the pinned maps: {}{}", chain(.0), remedy_for(.0))]
    Pinned(#[source] DataplaneError),
    /// An edit past a daemon that would undo it.
    #[error(
        "lbd answers at {}: ask it without `--offline`, or stop it first; what is edited behind its back it puts back",
        .socket.display()
    )]
    LbdRuns {
        /// Its socket.
        socket: PathBuf,
    },
    /// There is no data path to remove.
    #[error("{} holds no data path of Krater: nothing was removed; is this lbd's pin_path?", .pin_path.display())]
    NothingPinned {
        /// Where it was looked for.
        pin_path: PathBuf,
    },
    /// Nobody can be asked whether to go on.
    #[error("detaching ends balancing: say `--yes` where there is no terminal to ask at")]
    NobodyToAsk,
    /// The operator said no.
    #[error("nothing was detached")]
    Declined,
    /// A VRRP instance was told to go, and nobody has taken its place.
    #[error("{0}")]
    NobodyTookOver(String),
    /// A capture that packets cannot be taken from.
    #[error("cannot use the capture {}: {reason}", .path.display())]
    Capture {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Packets cannot be waited for.
    #[error("wait for traced packets: {0}")]
    Trace(io::Error),
    /// A file of generated text could not be written.
    #[error("write {}: {source}; choose another place with `--out`", .path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Standard output refused what was written.
    #[error("write to standard output: {0}")]
    Output(io::Error),
    /// Whoever read standard output has seen enough.
    #[error("nobody reads standard output any more")]
    ReaderGone,
}

impl Failure {
    /// The exit code.
    pub(super) fn code(&self) -> ExitCode {
        match self {
            Self::ReaderGone => ExitCode::SUCCESS,
            // An answer that is not understood was an answer.
            Self::Unanswered(ClientError::Connect { .. } | ClientError::Broken { .. }) => ExitCode::from(UNREACHABLE),
            _ => ExitCode::from(REFUSED),
        }
    }

    /// Whether it may pass by itself: lbd restarts, or has many clients.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Unanswered(error) => !matches!(error, ClientError::Misunderstood { .. }),
            Self::Refused(refusal) => refusal.code == RefusalCode::Busy,
            _ => false,
        }
    }

    /// Tells the operator, unless it is none of their business.
    pub(super) fn tell(&self) {
        if !matches!(self, Self::ReaderGone) {
            tell(&self.to_string());
        }
    }
}

impl From<io::Error> for Failure {
    /// For what was written to standard output.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::ReaderGone } else { Self::Output(error) }
    }
}

/// Says something beside the answer: on standard error, with our name.
pub(super) fn tell(message: &str) {
    eprintln!("lbctl: {}", plain(message.trim_end()));
}

fn remedy_for(error: &DataplaneError) -> &'static str {
    match error {
        DataplaneError::AbiVersion { .. } => {
            "; use the lbctl that came with the lbd that loaded it, or remove it with `lbctl --offline dataplane detach`"
        }
        _ if !nix::unistd::Uid::effective().is_root() => "; reading pinned maps takes root: try again with sudo",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect() -> ClientError {
        ClientError::Connect { path: "/run/x".into(), source: io::Error::from(io::ErrorKind::NotFound) }
    }

    #[test]
    fn each_failure_has_its_exit_code() {
        let refusal = Refusal::new(RefusalCode::NotFound, "no");
        let misunderstood = ClientError::Misunderstood { path: "/run/x".into(), refusal: refusal.clone() };
        for (failure, code) in [
            (Failure::Refused(refusal), REFUSED),
            (Failure::Unanswered(misunderstood), REFUSED),
            (Failure::Unanswered(connect()), UNREACHABLE),
            (Failure::NobodyToAsk, REFUSED),
            (Failure::NobodyTookOver("no".to_owned()), REFUSED),
            (Failure::from(io::Error::from(io::ErrorKind::BrokenPipe)), 0),
            (Failure::from(io::Error::from(io::ErrorKind::StorageFull)), REFUSED),
        ] {
            assert_eq!(format!("{:?}", failure.code()), format!("{:?}", ExitCode::from(code)), "{failure}");
        }
    }

    #[test]
    fn a_cause_is_named_once() {
        let error = DataplaneError::Kernel { what: "open CONFIG".into(), source: Box::new(connect()) };
        let text = chain(&error);
        assert_eq!(text.matches("entity not found").count(), 1, "{text}");
        assert!(text.starts_with("open CONFIG: cannot reach lbd at /run/x"), "{text}");
    }
}
