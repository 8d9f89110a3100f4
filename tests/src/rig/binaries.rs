//! Where the project's programs are.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use lb_common::names::{PASS_PROGRAM, UNWRAP_PROGRAM};

use super::netns::NetNs;

/// The variable that names the directory of the programs.
pub const VARIABLE: &str = "KRATER_BIN_DIR";

/// Finds a program of the project: in the directory [`VARIABLE`] names, else
/// beside this program (a test's executable lies one directory deeper).
///
/// # Errors
/// When it is not there.
pub fn find(name: &str) -> Result<PathBuf> {
    let directory = match env::var_os(VARIABLE) {
        Some(directory) => PathBuf::from(directory),
        None => {
            let own = env::current_exe().context("find this program's own path")?;
            let mut directory = own.parent().map(PathBuf::from).unwrap_or_default();
            if directory.ends_with("deps") {
                directory.pop();
            }
            directory
        }
    };
    let path = directory.join(name);
    if !path.is_file() {
        bail!(
            "{} is not there: build it with `cargo xtask build`, or name its directory in {VARIABLE}",
            path.display()
        );
    }
    Ok(path)
}

/// A BPF object by name.
///
/// # Errors
/// When it has not been built.
pub fn bpf_object(name: &str) -> Result<PathBuf> {
    let built = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bpf/bpfel-unknown-none/bpf");
    let path = Path::new(built).join(name);
    let path = path
        .canonicalize()
        .with_context(|| format!("find {}; build it with `cargo xtask build-ebpf`", path.display()))?;
    Ok(path)
}

/// Attaches the program that passes everything, without which an end of a veth
/// does not receive what XDP transmits at the other.
///
/// # Errors
/// When the object has not been built or the kernel refuses.
pub fn attach_pass(namespace: &NetNs, interface: &str) -> Result<()> {
    attach(namespace, interface, PASS_PROGRAM)
}

/// Attaches the program that takes outer headers off, as a member's tunnel devices
/// do, which not every kernel has.
///
/// # Errors
/// When the object has not been built or the kernel refuses.
pub fn attach_unwrap(namespace: &NetNs, interface: &str) -> Result<()> {
    attach(namespace, interface, UNWRAP_PROGRAM)
}

fn attach(namespace: &NetNs, interface: &str, program: &str) -> Result<()> {
    let object = bpf_object("pass")?;
    let object = object.to_string_lossy();
    let link = ["link", "set", "dev", interface, "xdpdrv", "object", &object, "program", program];
    namespace.run("ip", &link).map(drop)
}
