//! The data path once more without its counters, over the maps of a scene's own
//! data path: whatever they forward, both look up the same.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf, EbpfLoader,
    programs::{ProgramFd, Xdp},
};
use lb_common::names;
use lb_user::dataplane::kernel::ResolvedObject;

/// The loaded program. It is gone when this is dropped; the maps are the scene's.
pub(super) struct Uncounted {
    _object: Ebpf,
    program: ProgramFd,
}

impl Uncounted {
    /// Loads the program that `cargo xtask bench` built, with the maps that are
    /// pinned there.
    pub(super) fn load(pin_path: &Path) -> Result<Self> {
        let path = object_path();
        let object = fs::read(&path).with_context(|| {
            format!("read the data path without counters at {}; `cargo xtask bench` builds it", path.display())
        })?;
        let object = ResolvedObject::new(&object, pin_path)?;
        let mut object = EbpfLoader::new()
            .default_map_pin_directory(pin_path)
            .load(object.bytes())
            .with_context(|| format!("load {} over the maps at {}", path.display(), pin_path.display()))?;
        let program: &mut Xdp =
            object.program_mut(names::PROGRAM).context("the object lacks its program")?.try_into()?;
        program.load().context("load the data path without counters")?;
        let program = program.info()?.fd()?;
        Ok(Self { _object: object, program })
    }

    pub(super) const fn program(&self) -> &ProgramFd {
        &self.program
    }
}

fn object_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bpf-uncounted/bpfel-unknown-none/bpf/krater")
}
