//! What a process costs its host, by the kernel's account.

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::ground::threads;

/// Processor time of each thread so far.
#[derive(Clone, Debug)]
pub(super) struct Ran {
    at: Instant,
    threads: BTreeMap<i32, (String, Duration)>,
}

impl Ran {
    /// Of a process by now.
    ///
    /// # Errors
    /// When it is not there.
    pub(super) fn read(pid: i32) -> Result<Self> {
        let mut all = BTreeMap::new();
        for thread in threads(pid)? {
            let directory = format!("/proc/{pid}/task/{thread}");
            let read = |file: &str| fs::read_to_string(format!("{directory}/{file}"));
            // It may have ended since.
            let (Ok(name), Ok(text)) = (read("comm"), read("schedstat")) else { continue };
            let nanos = text.split(' ').next().and_then(|nanos| nanos.parse().ok());
            let nanos = nanos.with_context(|| format!("read {directory}/schedstat: {text:?}"))?;
            all.insert(thread, (name.trim().to_owned(), Duration::from_nanos(nanos)));
        }
        Ok(Self { at: Instant::now(), threads: all })
    }

    /// The share of one CPU in per cent since then: of the process, and of its threads by
    /// name.
    pub(super) fn since(&self, then: &Self) -> (f64, BTreeMap<String, f64>) {
        let whole = self.at.saturating_duration_since(then.at).as_secs_f64();
        let mut shares = BTreeMap::new();
        for (thread, (name, now)) in &self.threads {
            let before = then.threads.get(thread).map_or(Duration::ZERO, |(_, before)| *before);
            *shares.entry(name.clone()).or_insert(0.0) += now.saturating_sub(before).as_secs_f64() / whole * 100.0;
        }
        (shares.values().sum(), shares)
    }
}

/// Memory of a process in KiB, as `/proc/PID/status` has it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Memory {
    /// `VmRSS`.
    pub(super) resident: u64,
    /// `VmHWM`: the most that was ever resident.
    pub(super) most: u64,
    /// `RssAnon`: heap and stacks.
    pub(super) anonymous: u64,
    /// `RssFile`: programs, libraries and mapped tables of the data path.
    pub(super) mapped: u64,
}

impl Memory {
    /// Of a process now.
    ///
    /// # Errors
    /// When it is not there.
    pub(super) fn read(pid: i32) -> Result<Self> {
        let path = format!("/proc/{pid}/status");
        Self::parse(&fs::read_to_string(&path).with_context(|| format!("read {path}"))?)
    }

    fn parse(status: &str) -> Result<Self> {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let number = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
            number.with_context(|| format!("a process's status has no {name}"))
        };
        let (resident, most) = (field("VmRSS")?, field("VmHWM")?);
        Ok(Self { resident, most, anonymous: field("RssAnon")?, mapped: field("RssFile")? })
    }
}

/// How many descriptors a process has open.
///
/// # Errors
/// When it is not there.
pub(super) fn descriptors(pid: i32) -> Result<usize> {
    let path = format!("/proc/{pid}/fd");
    Ok(fs::read_dir(&path).with_context(|| format!("list {path}"))?.count())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn memory_is_read_by_name() {
        let status =
            "Name:\tlbd\nVmHWM:\t   61000 kB\nVmRSS:\t   60000 kB\nRssAnon:\t   20000 kB\nRssFile:\t   40000 kB\n";
        let memory = Memory { resident: 60_000, most: 61_000, anonymous: 20_000, mapped: 40_000 };
        assert_eq!(Memory::parse(status).unwrap(), memory);
        assert!(Memory::parse("VmRSS:\t1 kB\n").is_err());
    }

    #[test]
    fn a_busy_thread_is_accounted_for() {
        let own = i32::try_from(std::process::id()).unwrap();
        let before = Ran::read(own).unwrap();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(100) {
            std::hint::spin_loop();
        }
        let (share, threads) = Ran::read(own).unwrap().since(&before);
        assert!(share > 0.0 && threads.values().any(|share| *share > 0.0), "{threads:?}");
    }
}
