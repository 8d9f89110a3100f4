//! Running other programs: what is about to run is printed, long work says
//! how long it has been at it, and a failure names the command and a remedy.
//!
//! What must not be here: anything that knows what a command is for.
//!
//! Invariant others rely on: a child `cargo` never sees the variables that the
//! outer `cargo xtask` made for this program alone.

use std::{
    convert::Infallible,
    env,
    ffi::OsStr,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};

/// How often long work says that it is still going on.
const TICK: Duration = Duration::from_secs(15);

/// Work shorter than this does not say how long it took.
const WORTH_TELLING: Duration = Duration::from_secs(3);

/// What `cargo run` sets for the program it starts. A build script that names
/// one of them as an input would otherwise run again whenever the builds under
/// `cargo xtask` and by hand alternate.
const OF_THIS_PROGRAM: &[&str] = &["CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];

/// What else must not reach another tool chain's cargo: settings made for the
/// host's compiler, and the loader path to its libraries.
const OF_THE_HOST: &[&str] = &[
    "CARGO_BUILD_",
    "CARGO_ENCODED_",
    "CARGO_PROFILE_",
    "CARGO_TARGET_",
    "CARGO_UNSTABLE_",
    "LD_LIBRARY_PATH",
    "MAKEFLAGS",
    "RUSTC",
    "RUSTDOC",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
    "RUST_RECURSION_COUNT",
];

/// A command to run, and what to tell when it fails.
pub(crate) struct Cmd {
    inner: Command,
    shown_env: Vec<(String, String)>,
    remedy: Option<String>,
}

impl Cmd {
    /// A command with the environment of this program.
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        Self { inner: Command::new(program), shown_env: Vec::new(), remedy: None }
    }

    /// The host's `cargo`, as if it were called by hand.
    pub(crate) fn cargo() -> Self {
        let mut cmd = Self::new("cargo");
        cmd.forget(OF_THIS_PROGRAM);
        cmd
    }

    /// A program of a tool chain other than the one that runs us.
    pub(crate) fn foreign(program: &Path) -> Self {
        let mut cmd = Self::new(program);
        cmd.forget(OF_THIS_PROGRAM);
        cmd.forget(OF_THE_HOST);
        cmd.inner.env_remove("CARGO");
        cmd
    }

    fn forget(&mut self, prefixes: &[&str]) {
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy();
            if prefixes.iter().any(|p| text.starts_with(p)) {
                self.inner.env_remove(&name);
            }
        }
    }

    /// Adds an argument.
    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.inner.arg(arg);
        self
    }

    /// Adds arguments.
    pub(crate) fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.inner.args(args);
        self
    }

    /// Sets a variable; it is shown in front of the command.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        // Cargo's separator is no printable character.
        self.shown_env.push((name.to_owned(), value.as_ref().to_string_lossy().replace('\u{1f}', " ")));
        self.inner.env(name, value);
        self
    }

    /// Runs in another directory.
    pub(crate) fn dir(mut self, dir: &Path) -> Self {
        self.inner.current_dir(dir);
        self
    }

    /// What to do when the command fails, as the end of a sentence.
    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Runs it, printing the command and, while it lasts, the time.
    pub(crate) fn run(mut self, what: &str) -> Result<()> {
        self.announce();
        let started = Instant::now();
        let status = with_progress(what, || self.inner.stdin(Stdio::null()).status());
        let status = status.with_context(|| self.cannot_start())?;
        if started.elapsed() >= WORTH_TELLING {
            eprintln!("  {what}: {} s", started.elapsed().as_secs());
        }
        self.judge(what, status)
    }

    /// Runs it, printing the command, and hands back its standard output.
    pub(crate) fn run_and_read(mut self, what: &str) -> Result<String> {
        self.announce();
        let output = with_progress(what, || self.inner.stdin(Stdio::null()).stderr(Stdio::inherit()).output());
        let output = output.with_context(|| self.cannot_start())?;
        self.judge(what, output.status)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// A look at the machine: silent, and `None` when it fails in any way.
    pub(crate) fn probe(mut self) -> Option<String> {
        let output = self.inner.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Becomes the command: its exit status is ours, signals go straight to it.
    pub(crate) fn exec(mut self) -> Result<Infallible> {
        self.announce();
        let error = self.inner.exec();
        Err(error).with_context(|| self.cannot_start())
    }

    /// Prints the command and gives it away, for a caller that wires its pipes.
    pub(crate) fn announced(self) -> Command {
        self.announce();
        self.inner
    }

    fn announce(&self) {
        eprintln!("$ {}", self.line());
    }

    fn line(&self) -> String {
        let env = self.shown_env.iter().map(|(k, v)| format!("{k}={}", quote(v)));
        let words = std::iter::once(self.inner.get_program()).chain(self.inner.get_args());
        env.chain(words.map(|w| quote(&w.to_string_lossy()))).collect::<Vec<_>>().join(" ")
    }

    fn judge(&self, what: &str, status: ExitStatus) -> Result<()> {
        if status.success() {
            return Ok(());
        }
        let remedy = self.remedy.as_ref().map(|r| format!("; {r}")).unwrap_or_default();
        Err(anyhow!("{what} failed: `{}` ended with {status}{remedy}", self.line()))
    }

    fn cannot_start(&self) -> String {
        let program = self.inner.get_program().to_string_lossy();
        let remedy = self.remedy.as_ref().map(|r| format!("; {r}")).unwrap_or_default();
        format!("cannot start `{program}`{remedy}")
    }
}

/// Does `work` and says every while how long it has been going on.
fn with_progress<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let (done, wait) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            while wait.recv_timeout(TICK) == Err(mpsc::RecvTimeoutError::Timeout) {
                eprintln!("  … {what}: {} s", started.elapsed().as_secs());
            }
        });
        let result = work();
        drop(done);
        result
    })
}

/// The first program of that name in `PATH` or where administrators' tools are.
pub(crate) fn find_program(name: &str) -> Option<std::path::PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(Into::into);
    env::split_paths(&path).chain(system).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// Whether this program runs as root, which the kernel's side of the work needs.
pub(crate) fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    effective_uid(&status) == Some(0)
}

fn effective_uid(proc_status: &str) -> Option<u32> {
    proc_status.lines().find_map(|l| l.strip_prefix("Uid:"))?.split_whitespace().nth(1)?.parse().ok()
}

/// A word as a shell would need it.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+./:,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_command_can_be_pasted_into_a_shell() {
        let cmd = Cmd::new("echo").env("FLAGS", "-C\u{1f}x=\"y\"").arg("it's").arg("plain-word").arg("");
        assert_eq!(cmd.line(), r#"FLAGS='-C x="y"' echo 'it'\''s' plain-word ''"#);
    }

    #[test]
    fn a_failure_names_the_command_and_the_remedy() {
        let error = Cmd::new("false").remedy("try again").run("the work").err().map(|e| e.to_string());
        assert_eq!(error.as_deref(), Some("the work failed: `false` ended with exit status: 1; try again"));
        let error = Cmd::new("no-such-program").remedy("install it").run("the work").err().map(|e| e.to_string());
        assert_eq!(error.as_deref(), Some("cannot start `no-such-program`; install it"));
    }

    #[test]
    fn a_probe_that_fails_is_silence() {
        assert_eq!(Cmd::new("no-such-program").probe(), None);
        assert_eq!(Cmd::new("false").probe(), None);
        assert_eq!(Cmd::new("echo").arg("here").probe().as_deref(), Some("here\n"));
    }

    #[test]
    fn the_effective_uid_is_the_second_number() {
        assert_eq!(effective_uid("Name:\tx\nUid:\t1000\t0\t1000\t1000\n"), Some(0));
        assert_eq!(effective_uid("Name:\tx\n"), None);
    }
}
