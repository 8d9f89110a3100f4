//! Running one test program: its output streams through while it is counted,
//! and it cannot hang for ever.

use std::{
    io::{self, Read as _, Write},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::libtest::{Counts, Reader};
use crate::shell::Cmd;

/// Longer than any tier takes on a small machine; a test that waits for ever
/// must not hide the results of the others.
pub(super) const TIME_LIMIT: Duration = Duration::from_secs(20 * 60);

/// How long to read on after the program has ended: something that it left
/// running may hold the other end of the pipe open.
const READ_ON: Duration = Duration::from_secs(2);

const POLL: Duration = Duration::from_millis(20);

/// Runs a test program, or several in a row by way of cargo, and counts.
pub(super) fn run(what: &str, cmd: Cmd, time_limit: Duration) -> Result<Counts> {
    run_into(io::stdout(), what, cmd, time_limit)
}

fn run_into(sink: impl Write + Send + 'static, what: &str, cmd: Cmd, time_limit: Duration) -> Result<Counts> {
    let mut command: Command = cmd.announced();
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start the tests of {what}"))?;
    let reader = Arc::new(Mutex::new(Reader::default()));
    let streaming = child.stdout.take().map(|out| stream(out, sink, Arc::clone(&reader)));
    let ended = wait(&mut child, time_limit)?;
    finish(streaming);
    let reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(judge(what, &reader, ended, time_limit))
}

/// What the counts and the way it ended say together.
fn judge(what: &str, reader: &Reader, ended: Option<ExitStatus>, time_limit: Duration) -> Counts {
    let mut counts = reader.counts.clone();
    match ended {
        None => {
            let minutes = time_limit.as_secs() / 60;
            counts.add(Counts::failure(format!(
                "{what} was stopped after {minutes} minutes; `cargo xtask rig down` removes what it left behind"
            )));
        }
        Some(status) if !status.success() && counts.failed == 0 => {
            counts.add(Counts::failure(format!("{what} broke off: {status}")));
        }
        Some(_) if reader.results == 0 => {
            counts.add(Counts::failure(format!("{what} ended without a result; is it built with the test harness?")));
        }
        Some(_) => {}
    }
    counts
}

/// Waits for the end; `None` when it had to be stopped.
fn wait(child: &mut Child, time_limit: Duration) -> Result<Option<ExitStatus>> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if started.elapsed() > time_limit {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(POLL);
    }
}

/// Copies the output as it comes, also half a line: where a test hangs, its
/// name is already there to see.
fn stream(mut out: ChildStdout, mut sink: impl Write + Send + 'static, reader: Arc<Mutex<Reader>>) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut chunk = [0; 8192];
        let mut line = Vec::new();
        while let Ok(n @ 1..) = out.read(&mut chunk) {
            // Nobody to read it is no reason to stop counting.
            let _ = sink.write_all(&chunk[..n]).and_then(|()| sink.flush());
            for byte in &chunk[..n] {
                if *byte == b'\n' {
                    let text = String::from_utf8_lossy(&line).into_owned();
                    reader.lock().unwrap_or_else(PoisonError::into_inner).line(text.trim_end_matches('\r'));
                    line.clear();
                } else {
                    line.push(*byte);
                }
            }
        }
    })
}

fn finish(streaming: Option<JoinHandle<()>>) {
    let Some(streaming) = streaming else { return };
    let started = Instant::now();
    while !streaming.is_finished() && started.elapsed() < READ_ON {
        thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn shell(script: &str) -> Cmd {
        Cmd::new("sh").args(["-c", script])
    }

    /// What these commands print must not be counted by whoever runs us.
    fn run_quietly(cmd: Cmd, time_limit: Duration) -> Result<Counts> {
        run_into(io::sink(), "it", cmd, time_limit)
    }

    #[test]
    fn a_good_run_is_counted() -> Result<()> {
        let counts = run_quietly(shell("echo 'test result: ok. 2 passed; 0 failed; 0 ignored'"), LIMIT)?;
        assert_eq!(counts, Counts { passed: 2, ..Counts::default() });
        Ok(())
    }

    #[test]
    fn a_run_that_dies_is_a_failure() -> Result<()> {
        let counts = run_quietly(shell("kill -9 $$"), LIMIT)?;
        assert_eq!(counts.failed, 1);
        assert!(counts.failures[0].starts_with("it broke off: signal: 9"), "{counts:?}");
        Ok(())
    }

    #[test]
    fn a_run_that_says_nothing_is_a_failure() -> Result<()> {
        assert_eq!(run_quietly(shell("true"), LIMIT)?.failed, 1);
        Ok(())
    }

    #[test]
    fn a_run_that_hangs_is_stopped_and_what_it_had_counted_stays() -> Result<()> {
        let script = "echo 'test result: ok. 2 passed; 0 failed; 0 ignored'; exec sleep 60";
        let counts = run_quietly(shell(script), Duration::from_millis(300))?;
        assert_eq!((counts.passed, counts.failed), (2, 1));
        Ok(())
    }

    #[test]
    fn something_left_running_does_not_hold_the_result_up() -> Result<()> {
        let started = Instant::now();
        let counts = run_quietly(shell("sleep 20 & echo 'test result: ok. 1 passed; 0 failed; 0 ignored'"), LIMIT)?;
        assert_eq!(counts.passed, 1);
        assert!(started.elapsed() < Duration::from_secs(10));
        Ok(())
    }
}
