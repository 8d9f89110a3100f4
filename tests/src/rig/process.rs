//! A process of the rig that is gone when its guard is.

use std::{
    fs::File,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};

use super::{netns, record::Recorder, wait};

const TAIL_LINES: usize = 40;

/// A running program, in its own process group and with its output in a file.
/// Dropping it kills the group.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program inside a namespace. Its output is appended to `log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(
        recorder: &Recorder,
        namespace: &str,
        name: &str,
        program: &Path,
        arguments: &[&str],
        log: &Path,
    ) -> Result<Self> {
        let output = File::options().create(true).append(true).open(log).with_context(|| format!("open {log:?}"))?;
        // nsenter rather than `ip netns exec`: that one mounts a fresh /sys, without the bpffs in it.
        // nsenter becomes the program, so the child's id is the program's.
        let child = Command::new("nsenter")
            .arg(format!("--net={}", netns::path_of(namespace).display()))
            .arg("--")
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone().context("duplicate a log file")?)
            .stderr(output)
            // Its own group: an interrupt at the terminal is for us alone, and a group can be killed with its children.
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {} in {namespace}", program.display()))?;
        let process = Self { name: name.to_owned(), child, log: log.to_owned() };
        recorder.add_process(process.pid(), name)?;
        Ok(process)
    }

    /// What it is called in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap_or(i32::MAX)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it is not there any more.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(self.pid()), signal).with_context(|| format!("send {signal} to {}", self.name))
    }

    /// Kills it and its children at once and waits for its end.
    pub fn kill(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // It may have ended in between, and then all is as wished.
            let _ = killpg(Pid::from_raw(self.pid()), Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }

    /// Its status if it has ended.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("look after {}", self.name))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it still runs after `limit`; the message ends with its log.
    pub fn wait_end(&mut self, limit: Duration) -> Result<ExitStatus> {
        let what = format!("{} to end", self.name);
        wait::until(&what, limit, || self.ended()).map(|(status, _)| status).with_context(|| self.log_tail())
    }

    /// Fails if it has ended.
    ///
    /// # Errors
    /// When it has: with its status and the end of its log.
    pub fn check_running(&mut self) -> Result<()> {
        if let Some(status) = self.ended()? {
            let how = status.signal().map_or_else(|| status.to_string(), |number| format!("signal {number}"));
            bail!("{} has ended ({how})\n{}", self.name, self.log_tail());
        }
        Ok(())
    }

    /// The last lines it wrote, with a headline.
    #[must_use]
    pub fn log_tail(&self) -> String {
        log_tail(&self.name, &self.log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The last lines of a log file, with a headline.
#[must_use]
pub fn log_tail(name: &str, log: &Path) -> String {
    match std::fs::read(log) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let lines: Vec<&str> = text.lines().collect();
            let from = lines.len().saturating_sub(TAIL_LINES);
            format!("--- the last lines of {name} ({}):\n{}\n---", log.display(), lines[from..].join("\n"))
        }
        Err(error) => format!("--- no log of {name}: read {}: {error}", log.display()),
    }
}
