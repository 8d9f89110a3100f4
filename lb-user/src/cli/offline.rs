//! Answers from the pinned maps, for the hour when lbd is down.
//!
//! What must not be here: what an answer consists of; that is
//! `control::answer`, which lbd uses too.

use std::path::Path;

use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::failure::Failure;
use crate::{
    control::{
        answer::answer_offline,
        protocol::{Request, Response},
    },
    dataplane::{DataplaneError, kernel::KernelDataplane},
};

/// Asks the maps pinned under `pin_path`.
pub(super) fn ask(pin_path: &Path, request: &Request) -> Result<Response, Failure> {
    if *request == Request::Detach {
        return detach(pin_path);
    }
    let mut dataplane = KernelDataplane::open_pinned(pin_path).map_err(Failure::Pinned)?;
    Ok(answer_offline(&mut dataplane, request))
}

/// Removes the data path, of whichever version it is.
fn detach(pin_path: &Path) -> Result<Response, Failure> {
    let is_bpffs = statfs(pin_path).is_ok_and(|fs| fs.filesystem_type() == BPF_FS_MAGIC);
    if !is_bpffs {
        return Err(Failure::NothingPinned { pin_path: pin_path.to_owned() });
    }
    let interfaces = match KernelDataplane::open_pinned(pin_path) {
        Ok(dataplane) => {
            let attachments = dataplane.attachments().map_err(Failure::Pinned)?;
            attachments.into_iter().map(|attachment| attachment.interface).collect()
        }
        // Another version is removed as well: that is what its remedy says.
        Err(DataplaneError::AbiVersion { .. }) => Vec::new(),
        Err(error) => return Err(Failure::Pinned(error)),
    };
    KernelDataplane::remove(pin_path).map_err(Failure::Pinned)?;
    Ok(Response::Detached { interfaces })
}
