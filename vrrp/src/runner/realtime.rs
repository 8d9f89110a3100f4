//! What keeps the thread on time while the machine is busy.

use std::{fs, io};

use nix::{
    errno::Errno,
    sys::{
        mman::{MlockAllFlags, mlockall},
        resource::{RLIM_INFINITY, Resource, getrlimit},
    },
};

use super::sys;

/// Low among real-time priorities: what the kernel itself runs there, and what
/// an operator puts there on purpose, comes first.
const PRIORITY: i32 = 20;

/// Asks for everything; what is refused is said in one sentence with its
/// remedy, and the rest is kept.
pub(super) fn claim() -> Result<(), String> {
    let scheduling = sys::schedule_first_in_first_out(PRIORITY).map_err(|error| {
        format!("real-time scheduling: {error} (allow it with CAP_SYS_NICE or LimitRTPRIO={PRIORITY})")
    });
    let memory = lock_memory()
        .map_err(|error| format!("locked memory: {error} (allow it with CAP_IPC_LOCK or LimitMEMLOCK=infinity)"));
    match (scheduling, memory) {
        (Ok(()), Ok(())) => Ok(()),
        (Err(one), Ok(())) | (Ok(()), Err(one)) => Err(one),
        (Err(one), Err(other)) => Err(format!("{one}; {other}")),
    }
}

/// Keeps what the process has mapped in memory, and what it maps later from
/// the moment it is first touched: the code of a takeover is not read from
/// disk when the takeover comes, and a thread's stack costs no more than it
/// uses.
fn lock_memory() -> io::Result<()> {
    // With a limit on what may be locked, a lock on all that comes would fail
    // some later allocation of the daemon instead of failing here.
    if !may_lock_everything()? {
        return Err(Errno::EPERM.into());
    }
    mlockall(MlockAllFlags::MCL_CURRENT)?;
    let later = MlockAllFlags::MCL_FUTURE | MlockAllFlags::from_bits_retain(libc::MCL_ONFAULT);
    mlockall(later)?;
    Ok(())
}

fn may_lock_everything() -> io::Result<bool> {
    let (soft, _) = getrlimit(Resource::RLIMIT_MEMLOCK)?;
    if soft == RLIM_INFINITY {
        return Ok(true);
    }
    Ok(has_ipc_lock(&fs::read_to_string("/proc/thread-self/status")?))
}

fn has_ipc_lock(status: &str) -> bool {
    const CAP_IPC_LOCK: u32 = 14;
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    bits.is_some_and(|bits| bits >> CAP_IPC_LOCK & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_to_lock_memory_is_read_from_the_effective_set() {
        assert!(has_ipc_lock("Name:\tlbd\nCapPrm:\t0\nCapEff:\t0000000000004000\n"));
        assert!(!has_ipc_lock("CapPrm:\tffffffffffffffff\nCapEff:\t000001ffffffbfff\n"));
        assert!(!has_ipc_lock("CapEff:\tzzz\n"));
        assert!(!has_ipc_lock(""));
    }

    #[test]
    fn this_process_is_told_the_truth_about_its_own_rights() -> io::Result<()> {
        let is_root = nix::unistd::geteuid().is_root();
        let may = may_lock_everything()?;
        // Root without the capability is a container; anybody else has a limit or none.
        assert!(may || !is_root || !has_ipc_lock(&fs::read_to_string("/proc/thread-self/status")?));
        Ok(())
    }
}
