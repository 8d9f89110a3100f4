//! A real lbd in a rig, and lbctl to speak to it.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    net::IpAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;
use serde::Deserialize;
use serde_json::Value;

use super::{Paths, Rig, binaries, netns::NetNs, process::Process, record::Recorder, wait};

// Loading takes a second, and many on a machine that does much else.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// A running lbd. Dropping it kills it; the data path stays until the rig goes.
#[derive(Debug)]
pub struct Lbd {
    process: Process,
    namespace: String,
    paths: Paths,
    recorder: Recorder,
    ready_in: Duration,
}

/// A member as `lbctl member list -o json` shows it, as far as tests look.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct MemberStatus {
    /// `load_balancer/pool/member`.
    pub name: String,
    /// Where it is.
    pub address: IpAddr,
    /// The weight in force.
    pub effective_weight: u64,
    /// Octavia's word.
    pub operating_status: String,
    /// Why it is not `ONLINE`.
    pub status_reason: Option<String>,
    /// Its share of new flows.
    pub share_percent: f64,
    /// How frames reach it; `null` when that is unknown.
    pub next_hop: Option<Value>,
    /// Gone from the pool file.
    #[serde(default)]
    pub retired: bool,
}

impl MemberStatus {
    /// Whether the monitor, if any, found it working and frames reach it.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        ["ONLINE", "NO_MONITOR"].contains(&self.operating_status.as_str()) && self.next_hop.is_some()
    }
}

/// What lbctl did.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its exit status.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// Lbctl with the options that reach a rig's lbd.
#[derive(Clone, Debug)]
pub struct Ctl {
    socket: PathBuf,
    pin_path: PathBuf,
}

impl Ctl {
    /// For a rig.
    #[must_use]
    pub fn new(paths: &Paths) -> Self {
        Self { socket: paths.socket.clone(), pin_path: paths.pin_path.clone() }
    }

    /// Runs it; any exit status is an answer.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run(&self, arguments: &[&str]) -> Result<Answer> {
        let socket = self.socket.to_string_lossy();
        run_lbctl(&[&["--socket", &socket], arguments].concat())
    }

    /// Runs it on the pinned maps.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run_offline(&self, arguments: &[&str]) -> Result<Answer> {
        let pin_path = self.pin_path.to_string_lossy();
        run_lbctl(&[&["--offline", "--pin-path", &pin_path], arguments].concat())
    }

    /// Runs it with `-o json` and reads what it says.
    ///
    /// # Errors
    /// When it fails or says something else.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        self.run(&[&["-o", "json"], arguments].concat())?.json()
    }

    /// [`Ctl::json`] on the pinned maps.
    ///
    /// # Errors
    /// As there.
    pub fn json_offline(&self, arguments: &[&str]) -> Result<Value> {
        self.run_offline(&[&["-o", "json"], arguments].concat())?.json()
    }

    /// Every member.
    ///
    /// # Errors
    /// As [`Ctl::json`].
    pub fn members(&self) -> Result<Vec<MemberStatus>> {
        members_in(self.json(&["member", "list"])?)
    }

    /// Waits for the members to be as `holds` wishes; returns how long it took.
    ///
    /// # Errors
    /// When they are not within `limit`: with what they were last.
    pub fn wait_members(
        &self,
        what: &str,
        limit: Duration,
        holds: impl Fn(&[MemberStatus]) -> bool,
    ) -> Result<Duration> {
        wait::until_true(what, limit, || {
            let members = self.members()?;
            if holds(&members) {
                return Ok(true);
            }
            let seen: Vec<String> = members
                .iter()
                .map(|m| {
                    let hop = if m.next_hop.is_some() { "" } else { ", no next hop" };
                    format!("{} {} {} %{hop}", m.name, m.operating_status, m.share_percent)
                })
                .collect();
            bail!("the members are: {}", seen.join("; "))
        })
    }

    /// What `lbctl drops` counts, by label.
    ///
    /// # Errors
    /// As [`Ctl::json`].
    pub fn events(&self) -> Result<BTreeMap<String, u64>> {
        let drops = self.json(&["drops"])?;
        let rows = drops.as_array().context("`lbctl drops -o json` is no list")?;
        Ok(rows.iter().filter_map(|row| Some((row["label"].as_str()?.to_owned(), row["count"].as_u64()?))).collect())
    }
}

/// Reads members from lbctl's JSON.
///
/// # Errors
/// When it is something else.
pub fn members_in(json: Value) -> Result<Vec<MemberStatus>> {
    serde_json::from_value(json).context("read `lbctl member list -o json`")
}

/// Runs lbctl with nothing but these arguments.
///
/// # Errors
/// When it cannot be started.
pub fn run_lbctl(arguments: &[&str]) -> Result<Answer> {
    run_program("lbctl", arguments)
}

/// Runs a program of the project to its end.
///
/// # Errors
/// When it cannot be started.
pub fn run_program(name: &str, arguments: &[&str]) -> Result<Answer> {
    let program = binaries::find(name)?;
    let output =
        Command::new(&program).args(arguments).output().with_context(|| format!("start {}", program.display()))?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Answer { status: output.status, stdout: text(output.stdout), stderr: text(output.stderr) })
}

impl Answer {
    /// What it said as JSON.
    ///
    /// # Errors
    /// When it failed, or said something else.
    pub fn json(&self) -> Result<Value> {
        if !self.status.success() {
            bail!("lbctl: {}: {}", self.status, self.stderr.trim());
        }
        serde_json::from_str(&self.stdout).with_context(|| format!("read lbctl's JSON: {:?}", self.stdout))
    }
}

impl Lbd {
    /// Starts lbd with a pool file of this text and waits until it answers.
    ///
    /// # Errors
    /// When it ends or does not answer in time: with the end of its log.
    pub fn start(rig: &Rig, pool_file: &str) -> Result<Self> {
        Self::start_in(rig.recorder(), rig.lb(), rig.paths(), pool_file)
    }

    /// [`Lbd::start`] in any namespace of a rig.
    ///
    /// # Errors
    /// As there.
    pub fn start_in(recorder: &Recorder, namespace: &NetNs, paths: &Paths, pool_file: &str) -> Result<Self> {
        write_private(&paths.config, pool_file)?;
        let namespace = namespace.name().to_owned();
        let process = spawn(recorder, &namespace, paths)?;
        let (paths, recorder) = (paths.clone(), recorder.clone());
        let mut lbd = Self { process, namespace, paths, recorder, ready_in: Duration::ZERO };
        lbd.wait_ready()?;
        Ok(lbd)
    }

    /// Starts it again, after it was killed or has ended.
    ///
    /// # Errors
    /// As [`Lbd::start`].
    pub fn restart(&mut self) -> Result<()> {
        self.start_again()?;
        self.wait_ready()
    }

    /// [`Lbd::restart`] without waiting for it to answer.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_again(&mut self) -> Result<()> {
        self.process = spawn(&self.recorder, &self.namespace, &self.paths)?;
        Ok(())
    }

    /// How long the last start took until it answered.
    #[must_use]
    pub const fn ready_in(&self) -> Duration {
        self.ready_in
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// Lbctl for it.
    #[must_use]
    pub fn ctl(&self) -> Ctl {
        Ctl::new(&self.paths)
    }

    /// Its whole log so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(&self.paths.log).map_or_else(|_| String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The end of its log, with a headline.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.process.log_tail()
    }

    /// Replaces the pool file and asks for it to be read.
    ///
    /// # Errors
    /// When the file cannot be written or lbd is gone.
    pub fn reload(&self, pool_file: &str) -> Result<()> {
        fs::write(&self.paths.config, pool_file).with_context(|| format!("write {}", self.paths.config.display()))?;
        self.signal_reload()
    }

    /// Asks for the pool file to be read as it is.
    ///
    /// # Errors
    /// When lbd is gone.
    pub fn signal_reload(&self) -> Result<()> {
        self.process.signal(Signal::SIGHUP)
    }

    /// Kills it without a chance to do anything.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Asks it to end and waits for that.
    ///
    /// # Errors
    /// When it does not within `limit`.
    pub fn terminate(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.ask_to_end()?;
        self.wait_end(limit)
    }

    /// Asks it to end and does not wait.
    ///
    /// # Errors
    /// When it is gone.
    pub fn ask_to_end(&self) -> Result<()> {
        self.process.signal(Signal::SIGTERM)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it still runs after `limit`.
    pub fn wait_end(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.process.wait_end(limit)
    }

    /// Waits until every member is usable.
    ///
    /// # Errors
    /// When they are not in time: with the end of the log.
    pub fn wait_all_usable(&self) -> Result<Duration> {
        self.wait_members("every member to be usable", Duration::from_secs(10), |members| {
            !members.is_empty() && members.iter().all(MemberStatus::is_usable)
        })
    }

    /// [`Ctl::wait_members`], with the end of the log when it fails.
    ///
    /// # Errors
    /// As there.
    pub fn wait_members(
        &self,
        what: &str,
        limit: Duration,
        holds: impl Fn(&[MemberStatus]) -> bool,
    ) -> Result<Duration> {
        self.ctl().wait_members(what, limit, holds).with_context(|| self.log_tail())
    }

    /// Leaves it running when this process ends.
    pub fn keep(self) {
        std::mem::forget(self);
    }

    /// Waits until it answers.
    ///
    /// # Errors
    /// When it ends or does not answer in time: with the end of its log.
    pub fn wait_ready(&mut self) -> Result<()> {
        let ctl = self.ctl();
        let process = &mut self.process;
        let waited = wait::until("lbd to answer `lbctl status`", READY_LIMIT, || {
            // Ended is an answer too: there is nothing to wait for.
            if process.ended()?.is_some() {
                return Ok(Some(false));
            }
            ctl.json(&["status"]).map(|_| Some(true))
        });
        let (answers, took) = waited.with_context(|| self.process.log_tail())?;
        self.ready_in = took;
        if !answers {
            self.process.check_running()?;
        }
        Ok(())
    }
}

/// Writes a file that may have secrets in it.
fn write_private(path: &Path, text: &str) -> Result<()> {
    let file = fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).with_context(|| format!("write {}", path.display()))
}

fn spawn(recorder: &Recorder, namespace: &str, paths: &Paths) -> Result<Process> {
    let config = paths.config.to_string_lossy();
    Process::spawn(recorder, namespace, "lbd", &binaries::find("lbd")?, &["--config", &config], &paths.log)
}
