//! A network namespace that is gone when its guard is.

use std::{fs::File, path::PathBuf, thread};

use anyhow::{Context as _, Result, anyhow};
use nix::sched::{CloneFlags, setns};

use super::{command, record::Recorder};

/// A named network namespace. Dropping it deletes it.
#[derive(Debug)]
pub struct NetNs {
    name: String,
}

impl NetNs {
    /// Creates the namespace, entered in the rig's record first.
    ///
    /// # Errors
    /// When `ip` refuses, which it does without root.
    pub fn create(recorder: &Recorder, name: &str) -> Result<Self> {
        recorder.add_namespace(name)?;
        command::run("ip", &["netns", "add", name])?;
        let namespace = Self { name: name.to_owned() };
        namespace.ip_batch("link set lo up\n")?;
        Ok(namespace)
    }

    /// Its name, as `ip netns` knows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs lines of `ip` commands inside, all or (from the first error on) none.
    ///
    /// # Errors
    /// When `ip` refuses a line.
    pub fn ip_batch(&self, lines: &str) -> Result<()> {
        command::run_with_input("ip", &["-n", &self.name, "-batch", "-"], lines).map(drop)
    }

    /// Runs a program inside and returns its standard output.
    ///
    /// # Errors
    /// As [`command::run`].
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let net = format!("--net={}", path_of(&self.name).display());
        let mut all = vec![net.as_str(), "--", program];
        all.extend_from_slice(arguments);
        command::run("nsenter", &all)
    }

    /// Runs `work` on a thread that has entered the namespace: sockets it
    /// opens, threads it starts and `/proc/sys/net` are the namespace's.
    ///
    /// # Errors
    /// When the namespace cannot be entered, and those of `work`.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        enter(&self.name, work)
    }

    /// Writes kernel parameters, given as paths below `/proc/sys/net` and values.
    ///
    /// # Errors
    /// When one is not there or refuses the value.
    pub fn set_parameters(&self, parameters: &[(&str, &str)]) -> Result<()> {
        self.enter(|| {
            for (name, value) in parameters {
                std::fs::write(format!("/proc/sys/net/{name}"), value)
                    .with_context(|| format!("set net/{name} to {value} in {}", self.name))?;
            }
            Ok(())
        })
    }

    /// Makes the kernel doubt what it knows of neighbours at an interface, and find
    /// out, within a few seconds instead of a minute.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn hurry_neighbours(&self, interface: &str) -> Result<()> {
        let parameters = ["ipv4", "ipv6"].into_iter().flat_map(|family| {
            [("base_reachable_time_ms", "1000"), ("delay_first_probe_time", "1"), ("retrans_time_ms", "200")]
                .map(|(name, value)| (format!("{family}/neigh/{interface}/{name}"), value))
        });
        let parameters: Vec<_> = parameters.collect();
        let parameters: Vec<_> = parameters.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        self.set_parameters(&parameters)
    }
}

impl Drop for NetNs {
    fn drop(&mut self) {
        if let Err(error) = delete(&self.name) {
            eprintln!("rig: {error:#}");
        }
    }
}

/// Where a namespace of that name can be opened.
#[must_use]
pub fn path_of(name: &str) -> PathBuf {
    PathBuf::from("/run/netns").join(name)
}

/// Deletes a namespace if it is there.
///
/// # Errors
/// When `ip` refuses.
pub fn delete(name: &str) -> Result<()> {
    if path_of(name).exists() {
        command::run("ip", &["netns", "del", name])?;
    }
    Ok(())
}

/// [`NetNs::enter`] by name.
///
/// # Errors
/// As there.
pub fn enter<T: Send>(name: &str, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let file = File::open(path_of(name)).with_context(|| format!("open namespace {name}"))?;
    thread::scope(|scope| {
        let thread = scope.spawn(move || {
            setns(&file, CloneFlags::CLONE_NEWNET).with_context(|| format!("enter namespace {name}"))?;
            work()
        });
        thread.join().unwrap_or_else(|panic| Err(anyhow!("work in namespace {name} panicked: {}", text_of(&*panic))))
    })
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("(no message)")
}
