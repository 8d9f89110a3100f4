//! What the rig and the tests use of the machine they run on.

use std::fs;

use anyhow::{Result, bail};

use super::debian;
use crate::shell::{Cmd, find_program, is_root};

const BPFFS: &str = "/sys/fs/bpf";

/// A program and the Debian package it is in.
struct Program {
    name: &'static str,
    package: &'static str,
    /// For looking around and for measuring under load only: the rig and the
    /// tests do without it.
    optional: bool,
}

const PROGRAMS: &[Program] = &[
    Program { name: "ip", package: "iproute2", optional: false },
    Program { name: "nsenter", package: "util-linux", optional: false },
    Program { name: "ethtool", package: "ethtool", optional: false },
    Program { name: "curl", package: "curl", optional: false },
    Program { name: "nginx", package: "nginx-light", optional: false },
    Program { name: "keepalived", package: "keepalived", optional: false },
    Program { name: "bpftool", package: "bpftool", optional: true },
    Program { name: "tcpdump", package: "tcpdump", optional: true },
    Program { name: "stress-ng", package: "stress-ng", optional: true },
];

/// Installs the programs that are missing.
pub(super) fn ensure_programs() -> Result<()> {
    let required = missing(false);
    if !required.is_empty() {
        if !debian::can_install(&required) {
            bail!(
                "programs for the namespace rig are missing; as root run `apt-get install {}` \
                 (or what your system calls these packages)",
                required.join(" "),
            );
        }
        debian::install("programs for the namespace rig", &required)?;
    }
    let optional = missing(true);
    if !optional.is_empty()
        && debian::can_install_at_once(&optional)
        && let Err(error) = debian::install("programs to look around with", &optional)
    {
        eprintln!("warning: {error:#}; going on without");
    }
    Ok(())
}

/// The programs that are there.
pub(super) fn present() -> Vec<&'static str> {
    PROGRAMS.iter().map(|p| p.name).filter(|name| find_program(name).is_some()).collect()
}

/// Mounts the BPF file system, where maps and programs outlive the daemon.
/// Without it the tiers that need it say so; everything else goes on.
pub(super) fn ensure_bpffs() {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    if is_bpffs_mounted(&mounts) {
        return;
    }
    let mount = Cmd::new("mount").args(["-t", "bpf", "bpf", BPFFS]);
    let mounted = mount.remedy("it takes root and a kernel with BPF").run("mounting the BPF file system");
    if let Err(error) = mounted {
        eprintln!("warning: {error:#}");
    }
}

/// Why tests that load BPF programs and make namespaces cannot run here.
pub(crate) fn obstacle() -> Option<String> {
    if !is_root() {
        return Some("it needs root: run it with sudo".to_owned());
    }
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    if !is_bpffs_mounted(&mounts) {
        return Some(format!("no BPF file system at {BPFFS}: does this kernel have BPF?"));
    }
    if fs::metadata("/proc/self/ns/net").is_err() {
        return Some("this kernel has no network namespaces".to_owned());
    }
    None
}

fn missing(optional: bool) -> Vec<&'static str> {
    let absent = PROGRAMS.iter().filter(|p| p.optional == optional && find_program(p.name).is_none());
    absent.map(|p| p.package).collect()
}

fn is_bpffs_mounted(proc_mounts: &str) -> bool {
    proc_mounts.lines().any(|line| {
        let mut fields = line.split(' ').skip(1);
        fields.next() == Some(BPFFS) && fields.next() == Some("bpf")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bpf_file_system_is_found_among_the_mounts() {
        assert!(is_bpffs_mounted("proc /proc proc rw 0 0\nbpf /sys/fs/bpf bpf rw 0 0\n"));
        assert!(!is_bpffs_mounted("sysfs /sys sysfs rw 0 0\ntmpfs /sys/fs/bpf tmpfs rw 0 0\n"));
    }
}
