//! Runs the operator's program when a VRRP instance goes into another state.
//!
//! The program is called with the instance's name and its state, as `notify
//! front ACTIVE`, and finds more in `KRATER_VRRP_…` variables. It has nothing
//! else of ours: no other variable but `PATH`, no input, no open file. What it
//! writes goes to the log, up to a limit; what it leaves running in the
//! background should write elsewhere, for nobody reads that any more.
//!
//! Nobody waits for it. Each instance has one run at a time; what happens during
//! a run is told by the next one, and of several states only the latest is. A
//! run that takes longer than [`LIMIT`] is killed with all it has started and
//! not set apart.
//!
//! What must not be here: whether a state is worth telling, and any effect of
//! the program on it.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::{Child, Command},
    sync::{mpsc, watch},
    task::{JoinSet, spawn_blocking},
    time::{Instant, timeout, timeout_at},
};

use crate::control::{
    events::{Event, Kind},
    view::vrrp::VrrpState,
};

/// How long a run may take.
pub const LIMIT: Duration = Duration::from_secs(10);

/// How long output is waited for after the program has ended: something it
/// started may keep the pipe open for ever.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Bytes of output that are logged, of each run and stream.
const MAX_OUTPUT: usize = 4096;

/// Path of programs where ours is not set.
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the program is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transition {
    /// The instance.
    pub name: String,
    /// The state it is in.
    pub state: VrrpState,
    /// The state it was in before.
    pub previous: VrrpState,
    /// Why it changed.
    pub reason: String,
    /// The number of its virtual router.
    pub vrid: u8,
    /// Its interface.
    pub interface: String,
    /// Its priority in force.
    pub priority: u8,
}

impl Transition {
    fn variables(&self) -> [(&'static str, String); 7] {
        [
            ("KRATER_VRRP_NAME", self.name.clone()),
            ("KRATER_VRRP_STATE", self.state.word().to_owned()),
            ("KRATER_VRRP_PREVIOUS", self.previous.word().to_owned()),
            ("KRATER_VRRP_REASON", self.reason.clone()),
            ("KRATER_VRRP_VRID", self.vrid.to_string()),
            ("KRATER_VRRP_INTERFACE", self.interface.clone()),
            ("KRATER_VRRP_PRIORITY", self.priority.to_string()),
        ]
    }
}

/// Why a run did not end well.
#[derive(Debug, thiserror::Error)]
enum HookError {
    /// It did not begin.
    #[error("run {}: {source}; is it there, executable, and does its first line name an interpreter?", .program.display())]
    Start { program: PathBuf, source: io::Error },
    /// It could not be waited for.
    #[error("wait for {}: {source}", .program.display())]
    Wait { program: PathBuf, source: io::Error },
    /// It says so itself.
    #[error("{} ended with {status}", .program.display())]
    Failed { program: PathBuf, status: ExitStatus },
    /// It took too long.
    #[error("{} was killed: it had not ended after {} s; have it start what takes long in the background", .program.display(), .limit.as_secs_f64())]
    TooLong { program: PathBuf, limit: Duration },
}

/// What is to be run for an instance: the latest, if not done yet.
type Latest = Option<(PathBuf, Transition)>;

/// The programs of all instances. Dropping it kills those that run.
#[derive(Debug)]
pub struct Hooks {
    limit: Duration,
    failures: mpsc::Sender<Event>,
    instances: BTreeMap<String, watch::Sender<Latest>>,
    tasks: JoinSet<()>,
}

impl Hooks {
    /// No instance yet. Runs that fail are logged, and become events of
    /// [`Kind::NotifyFailed`] here; while the channel is full they are logged
    /// only.
    #[must_use]
    pub fn new(failures: mpsc::Sender<Event>) -> Self {
        Self { limit: LIMIT, failures, instances: BTreeMap::new(), tasks: JoinSet::new() }
    }

    /// Has an instance's program told of a transition, as soon as the run
    /// before is over. Never blocks. Call it within a tokio runtime.
    pub fn notify(&mut self, program: &Path, transition: Transition) {
        while self.tasks.try_join_next().is_some() {}
        let (limit, failures) = (self.limit, self.failures.clone());
        let latest = self.instances.entry(transition.name.clone()).or_insert_with(|| {
            let (sender, latest) = watch::channel(None);
            self.tasks.spawn(serve(latest, limit, failures));
            sender
        });
        latest.send_replace(Some((program.to_owned(), transition)));
    }

    /// Forgets every instance but these; what is under way for the others goes
    /// on.
    pub fn keep_only(&mut self, known: impl Fn(&str) -> bool) {
        self.instances.retain(|name, _| known(name));
    }

    /// Waits until everything has been told, for as long as this; what is not
    /// over then is killed. How lbd ends: the last transition is one of them.
    pub async fn finish(mut self, patience: Duration) {
        self.instances.clear();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(patience, all).await.is_err() {
            tracing::warn!("a notify program has not ended in time");
        }
    }
}

/// One run after another, until nobody has anything more to tell.
async fn serve(mut latest: watch::Receiver<Latest>, limit: Duration, failures: mpsc::Sender<Event>) {
    while latest.changed().await.is_ok() {
        let Some((program, transition)) = latest.borrow_and_update().clone() else { continue };
        match run(&program, &transition, limit).await {
            Ok(()) => {
                tracing::debug!(instance = %transition.name, state = transition.state.word(), "notify program done")
            }
            Err(error) => {
                let name = transition.name;
                tracing::warn!(instance = %name, "notify program: {error}");
                let event = Event::new(Kind::NotifyFailed, name, error.to_string())
                    .with("state", transition.state.word())
                    .with("program", program.display().to_string());
                if failures.try_send(event).is_err() {
                    tracing::debug!("too many events at once: one is in the log only");
                }
            }
        }
    }
}

async fn run(program: &Path, transition: &Transition, limit: Duration) -> Result<(), HookError> {
    let deadline = Instant::now() + limit;
    let too_long = || HookError::TooLong { program: program.to_owned(), limit };
    let mut child = timeout_at(deadline, start(command(program, transition)))
        .await
        .map_err(|_| too_long())?
        .map_err(|source| HookError::Start { program: program.to_owned(), source })?;
    let group = Group::of(&child);
    let mut outputs = JoinSet::new();
    if let Some(stdout) = child.stdout.take() {
        outputs.spawn(relay(stdout, log_of(&transition.name)));
    }
    if let Some(stderr) = child.stderr.take() {
        outputs.spawn(relay(stderr, log_of(&transition.name)));
    }
    let result = match timeout_at(deadline, child.wait()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(HookError::Failed { program: program.to_owned(), status }),
        Ok(Err(source)) => Err(HookError::Wait { program: program.to_owned(), source }),
        Err(_) => {
            group.kill();
            let _ = child.wait().await;
            Err(too_long())
        }
    };
    // What it left running is its own affair.
    group.leave();
    let _ = timeout(LAST_WORDS, async { while outputs.join_next().await.is_some() {} }).await;
    result
}

/// Starts a program on a thread of its own: on a file system that hangs, this
/// never returns.
async fn start(mut command: Command) -> io::Result<Child> {
    spawn_blocking(move || command.spawn()).await.map_err(io::Error::other)?
}

fn command(program: &Path, transition: &Transition) -> Command {
    let path = std::env::var_os("PATH").filter(|path| !path.is_empty());
    let mut command = Command::new(program);
    command
        .arg(&transition.name)
        .arg(transition.state.word())
        .env_clear()
        .env("PATH", path.unwrap_or_else(|| OsString::from(USUAL_PATH)))
        // A variable ends at a zero byte.
        .envs(transition.variables().map(|(name, value)| (name, value.replace('\0', ""))))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    command
}

/// The process group of a run. It is killed with the run that is given up, be
/// it for its time or because lbd ends.
#[derive(Debug)]
struct Group {
    leader: Option<Pid>,
}

impl Group {
    fn of(child: &Child) -> Self {
        Self { leader: child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw) }
    }

    /// Only as long as its leader has not been waited for: then the number may
    /// be another's.
    fn kill(&self) {
        if let Some(leader) = self.leader {
            let _ = killpg(leader, Signal::SIGKILL);
        }
    }

    fn leave(mut self) {
        self.leader = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

fn log_of(name: &str) -> impl FnMut(&str) + Send + 'static {
    let name = name.to_owned();
    move |line| tracing::info!(instance = %name, "notify program says: {line}")
}

/// Says what a program writes, line by line, up to the limit, and reads on
/// after that, so that a full pipe does not stop it.
async fn relay(mut output: impl AsyncRead + Unpin, mut say: impl FnMut(&str)) {
    let mut room = MAX_OUTPUT;
    let mut line = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(length @ 1..) = output.read(&mut buffer).await {
        if room == 0 {
            continue;
        }
        let taken = &buffer[..length.min(room)];
        room -= taken.len();
        for piece in taken.split_inclusive(|byte| *byte == b'\n') {
            line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                say_line(&mut line, &mut say);
            }
        }
        if room == 0 {
            say_line(&mut line, &mut say);
            say(&format!("(what follows its first {MAX_OUTPUT} bytes is left out)"));
        }
    }
    say_line(&mut line, &mut say);
}

/// Says a line without what would command whoever reads the log at a terminal.
fn say_line(line: &mut Vec<u8>, say: &mut impl FnMut(&str)) {
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    let text: String = String::from_utf8_lossy(line).chars().map(visible).collect();
    if !text.trim().is_empty() {
        say(text.trim_end());
    }
    line.clear();
}

#[cfg(test)]
#[path = "hook_tests.rs"]
mod tests;
