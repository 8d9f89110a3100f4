//! Where it was measured.

use std::fs;

use anyhow::{Context as _, Result};
use nix::{
    sched::{CloneFlags, CpuSet, sched_getaffinity, sched_setaffinity, unshare},
    unistd::Pid,
};

use crate::rig::command;

/// What a figure depends on besides the code.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    pub(super) kernel: String,
    pub(super) cpu: String,
    pub(super) date: String,
}

impl Machine {
    /// Asks the kernel.
    pub(super) fn read() -> Result<Self> {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").context("read the kernel's version")?;
        let cpus = fs::read_to_string("/proc/cpuinfo").context("read /proc/cpuinfo")?;
        Ok(Self {
            kernel: kernel.trim().to_owned(),
            cpu: cpu_model(&cpus),
            date: command::run("date", &["-u", "+%F"])?.trim().to_owned(),
        })
    }
}

fn cpu_model(cpuinfo: &str) -> String {
    let value = |key| {
        let line = cpuinfo.lines().find(|line| line.split(':').next().is_some_and(|name| name.trim() == key))?;
        line.split_once(':').map(|(_, value)| value.trim())
    };
    let model = value("model name").unwrap_or("unknown CPU");
    match (value("cpu family"), value("model")) {
        (Some(family), Some(number)) => format!("{model} (family {family}, model {number})"),
        _ => model.to_owned(),
    }
}

/// Ties this thread to a CPU, the last it may use unless one is given, and
/// says to which.
pub(super) fn pin(cpu: Option<usize>) -> Result<usize> {
    let own = Pid::from_raw(0);
    let allowed = sched_getaffinity(own).context("ask which CPUs may be used")?;
    let last = (0..CpuSet::count()).rev().find(|cpu| allowed.is_set(*cpu).unwrap_or(false));
    let cpu = cpu.or(last).context("no CPU may be used")?;
    let mut set = CpuSet::new();
    set.set(cpu).with_context(|| format!("there is no CPU {cpu}"))?;
    sched_setaffinity(own, &set).with_context(|| format!("run on CPU {cpu}"))?;
    Ok(cpu)
}

/// Moves this thread into a network namespace of its own, which ends with it.
pub(super) fn leave_the_network() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).context("make a network namespace (this needs root)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_is_named_by_model_and_numbers_where_they_are_known() {
        let text = "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n";
        assert_eq!(cpu_model(text), "AMD EPYC (family 25, model 17)");
        assert_eq!(cpu_model("Processor : x\n"), "unknown CPU");
    }
}
