//! Installing packages where apt is.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::shell::{Cmd, find_program, is_root};

/// Asked by Debian before it starts a service of a package.
const SERVICE_POLICY: &str = "/usr/sbin/policy-rc.d";

const POLICY_TEXT: &str = "#!/bin/sh\n\
    # Written by Krater's `cargo xtask setup` while it installs packages, so that\n\
    # none of them starts a service. Left behind only by a crash: delete it.\n\
    exit 101\n";

/// Whether these packages can be installed from here; refreshes the package
/// lists when they do not know one of them.
pub(super) fn can_install(packages: &[&str]) -> bool {
    if !has_apt() {
        return false;
    }
    if all_known(packages) {
        return true;
    }
    // A machine that has never asked has no lists at all.
    let refreshed = Cmd::new("apt-get").args(["update", "-q"]).run("refreshing apt's package lists");
    if let Err(error) = refreshed {
        eprintln!("warning: {error:#}");
    }
    all_known(packages)
}

/// Whether these packages can be installed without asking the archive first.
pub(super) fn can_install_at_once(packages: &[&str]) -> bool {
    has_apt() && all_known(packages)
}

/// Installs packages; none of them gets to start a service.
pub(super) fn install(what: &str, packages: &[&str]) -> Result<()> {
    let _policy = NoServices::impose()?;
    let attempt = || {
        Cmd::new("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["install", "-q", "-y", "--no-install-recommends"])
            .args(packages)
            .remedy("see apt's message above")
            .run(&format!("installing {what}"))
    };
    // Old lists name package files that the archive has replaced since.
    attempt().or_else(|_| {
        Cmd::new("apt-get").args(["update", "-q"]).run("refreshing apt's package lists")?;
        attempt()
    })
}

fn has_apt() -> bool {
    is_root() && find_program("apt-get").is_some()
}

fn all_known(packages: &[&str]) -> bool {
    packages.iter().all(|package| {
        let policy = Cmd::new("apt-cache").env("LC_ALL", "C").args(["policy", package]).probe();
        policy.is_some_and(|p| has_candidate(&p))
    })
}

fn has_candidate(apt_cache_policy: &str) -> bool {
    let candidate = apt_cache_policy.lines().find_map(|l| l.trim().strip_prefix("Candidate:"));
    candidate.is_some_and(|version| version.trim() != "(none)")
}

/// While it lives, packages do not start services: a web server that we need
/// as a program must not come up on port 80 of somebody's machine.
struct NoServices {
    /// `None` where the machine has a policy of its own, which we leave alone.
    ours: Option<PathBuf>,
}

impl NoServices {
    fn impose() -> Result<Self> {
        let policy = Path::new(SERVICE_POLICY);
        if policy.exists() && fs::read_to_string(policy).is_ok_and(|text| text != POLICY_TEXT) {
            return Ok(Self { ours: None });
        }
        let write = || {
            fs::write(policy, POLICY_TEXT)?;
            fs::set_permissions(policy, fs::Permissions::from_mode(0o755))
        };
        write()
            .with_context(|| format!("cannot write {SERVICE_POLICY}, which keeps packages from starting services"))?;
        Ok(Self { ours: Some(policy.to_owned()) })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Some(policy) = &self.ours
            && let Err(error) = fs::remove_file(policy)
        {
            eprintln!("warning: cannot remove {}: {error}; delete it by hand", policy.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_known_when_it_has_a_candidate() {
        assert!(has_candidate("rustc-web:\n  Installed: (none)\n  Candidate: 1.96.0\n"));
        assert!(!has_candidate("rustc-web:\n  Installed: (none)\n  Candidate: (none)\n"));
        assert!(!has_candidate(""));
    }
}
