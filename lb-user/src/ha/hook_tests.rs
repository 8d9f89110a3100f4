//! Real programs, run as lbd runs them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    fs,
    os::fd::AsRawFd as _,
    process::Command as StdCommand,
    sync::{Arc, Mutex},
};

use tempfile::TempDir;
use tokio::time::sleep;

use super::*;

const SOON: Duration = Duration::from_secs(20);

/// A directory with a notify program in it, and the file it writes.
struct Place {
    directory: TempDir,
    program: PathBuf,
}

impl Place {
    /// The script finds the directory as `$D`.
    fn new(script: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (text, program) = (directory.path().join("text"), directory.path().join("notify"));
        fs::write(&text, format!("#!/bin/sh\nD={}\n{script}\n", directory.path().display())).unwrap();
        // Another process writes the program: while one of ours had it open for
        // that, a program started just then would keep it from being run.
        let installed = StdCommand::new("install").args(["-m", "755"]).args([&text, &program]).status().unwrap();
        assert!(installed.success());
        Self { directory, program }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// What a file says once it says something that passes the test.
    async fn wait_for(&self, name: &str, test: impl Fn(&str) -> bool) -> String {
        eventually(|| Some(self.read(name)).filter(|text| test(text))).await
    }
}

async fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let limit = Instant::now() + SOON;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < limit, "it did not come about");
        sleep(Duration::from_millis(10)).await;
    }
}

fn hooks() -> (Hooks, mpsc::Receiver<Event>) {
    let (sender, failures) = mpsc::channel(8);
    (Hooks::new(sender), failures)
}

fn transition(state: VrrpState) -> Transition {
    Transition {
        name: "front".to_owned(),
        state,
        previous: VrrpState::Backup,
        reason: "no advert for 369 ms".to_owned(),
        vrid: 51,
        interface: "eth0".to_owned(),
        priority: 100,
    }
}

async fn failure(failures: &mut mpsc::Receiver<Event>) -> Event {
    let event = timeout(SOON, failures.recv()).await.unwrap().unwrap();
    assert_eq!((event.kind, event.subject.as_str()), (Kind::NotifyFailed, "front"));
    event
}

/// Whether a process is there and has not ended.
fn runs(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

#[tokio::test]
async fn the_program_is_told_what_happened_and_nothing_else() {
    let place = Place::new("echo \"$# $1 $2\" > $D/said; pwd >> $D/said; env > $D/env; mv $D/env $D/environment");
    let (mut hooks, _failures) = hooks();
    hooks.notify(&place.program, Transition { reason: "a\0b c".to_owned(), ..transition(VrrpState::Active) });
    let variables = place.wait_for("environment", |text| !text.is_empty()).await;
    assert_eq!(place.read("said"), "2 front ACTIVE\n/\n");
    for line in [
        "KRATER_VRRP_NAME=front",
        "KRATER_VRRP_STATE=ACTIVE",
        "KRATER_VRRP_PREVIOUS=BACKUP",
        "KRATER_VRRP_REASON=ab c",
        "KRATER_VRRP_VRID=51",
        "KRATER_VRRP_INTERFACE=eth0",
        "KRATER_VRRP_PRIORITY=100",
    ] {
        assert!(variables.lines().any(|l| l == line), "no {line} in {variables}");
    }
    let others: BTreeSet<&str> = variables
        .lines()
        .filter_map(|line| line.split('=').next())
        .filter(|name| !name.starts_with("KRATER_VRRP_"))
        .collect();
    // The shell's own, and the path.
    let known = BTreeSet::from(["PATH", "PWD", "OLDPWD", "SHLVL", "_"]);
    assert!(others.contains("PATH") && others.is_subset(&known), "{others:?}");
}

#[tokio::test]
async fn the_program_has_no_input_and_no_file_of_ours() {
    let place = Place::new("ls -l /proc/$$/fd > $D/list; cat; mv $D/list $D/files");
    let ours = fs::File::create(place.path("secret")).unwrap();
    assert!(ours.as_raw_fd() > 2);
    let (mut hooks, _failures) = hooks();
    hooks.notify(&place.program, transition(VrrpState::Active));
    let files = place.wait_for("files", |text| !text.is_empty()).await;
    assert!(files.contains("0 -> /dev/null") && !files.contains("secret"), "{files}");
}

#[tokio::test]
async fn one_run_at_a_time_and_of_what_happens_meanwhile_only_the_latest() {
    let place = Place::new("echo $2 >> $D/said; while [ ! -e $D/go ]; do sleep 0.01; done; echo done >> $D/said");
    let (mut hooks, _failures) = hooks();
    hooks.notify(&place.program, transition(VrrpState::Active));
    place.wait_for("said", |text| text == "ACTIVE\n").await;
    for state in [VrrpState::Backup, VrrpState::Active, VrrpState::Backup, VrrpState::Initialize] {
        hooks.notify(&place.program, transition(state));
    }
    // Another instance has a run of its own.
    let other = Place::new("echo $1 $2 > $D/said");
    hooks.notify(&other.program, Transition { name: "inside".to_owned(), ..transition(VrrpState::Active) });
    other.wait_for("said", |text| text == "inside ACTIVE\n").await;
    assert_eq!(place.read("said"), "ACTIVE\n");
    fs::write(place.path("go"), "").unwrap();
    hooks.finish(SOON).await;
    assert_eq!(place.read("said"), "ACTIVE\ndone\nINITIALIZE\ndone\n");
}

#[tokio::test]
async fn a_run_that_takes_too_long_is_killed_with_what_it_started() {
    let place = Place::new("sleep 300 & echo $! > $D/pid; wait");
    let (mut hooks, mut failures) = hooks();
    hooks.limit = Duration::from_secs(1);
    hooks.notify(&place.program, transition(VrrpState::Active));
    let pid = place.wait_for("pid", |text| text.ends_with('\n')).await;
    assert!(runs(&pid));
    let event = failure(&mut failures).await;
    assert!(event.text.contains("had not ended after 1 s"), "{}", event.text);
    assert_eq!(event.detail["state"], "ACTIVE");
    eventually(|| (!runs(&pid)).then_some(())).await;
    // And the instance goes on.
    let next = Place::new("echo $2 > $D/said");
    hooks.notify(&next.program, transition(VrrpState::Backup));
    next.wait_for("said", |text| text == "BACKUP\n").await;
}

#[tokio::test]
async fn a_run_that_fails_or_cannot_begin_is_told_with_its_reason() {
    let place = Place::new("exit 3");
    let (mut hooks, mut failures) = hooks();
    hooks.notify(&place.program, transition(VrrpState::Active));
    let event = failure(&mut failures).await;
    assert!(event.text.contains("exit status: 3"), "{}", event.text);
    for program in [place.path("nobody"), place.path("text"), place.directory.path().to_owned()] {
        hooks.notify(&program, transition(VrrpState::Active));
        let event = failure(&mut failures).await;
        assert!(event.text.contains("is it there, executable"), "{}", event.text);
        assert_eq!(event.detail["program"], program.display().to_string());
    }
}

#[tokio::test]
async fn nobody_who_takes_failures_is_no_obstacle() {
    let place = Place::new("echo $2 >> $D/said; exit 1");
    let (sender, failures) = mpsc::channel(1);
    drop(failures);
    let mut hooks = Hooks::new(sender);
    for state in [VrrpState::Active, VrrpState::Backup] {
        hooks.notify(&place.program, transition(state));
        place.wait_for("said", |text| text.ends_with(&format!("{}\n", state.word()))).await;
    }
}

#[tokio::test]
async fn a_program_that_says_much_is_not_stopped_by_it() {
    let place = Place::new("head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2; echo $2 > $D/said");
    let (mut hooks, _failures) = hooks();
    hooks.notify(&place.program, transition(VrrpState::Active));
    place.wait_for("said", |text| text == "ACTIVE\n").await;
}

#[tokio::test]
async fn what_it_leaves_running_is_not_waited_for_and_not_killed() {
    let place = Place::new("sleep 300 & echo $! > $D/pid; echo $2 >> $D/said");
    let (mut hooks, mut failures) = hooks();
    hooks.notify(&place.program, transition(VrrpState::Active));
    let pid = place.wait_for("pid", |text| text.ends_with('\n')).await;
    place.wait_for("said", |text| text == "ACTIVE\n").await;
    let begun = Instant::now();
    hooks.finish(SOON).await;
    assert!(begun.elapsed() < SOON, "it was waited for");
    assert!(runs(&pid) && failures.try_recv().is_err());
    nix::sys::signal::kill(Pid::from_raw(pid.trim().parse().unwrap()), Signal::SIGKILL).unwrap();
}

#[tokio::test]
async fn whoever_has_not_ended_when_lbd_ends_is_killed() {
    let place = Place::new("echo $$ > $D/pid; sleep 300");
    let (mut hooks, _failures) = hooks();
    hooks.notify(&place.program, transition(VrrpState::Active));
    let pid = place.wait_for("pid", |text| text.ends_with('\n')).await;
    hooks.finish(Duration::from_millis(100)).await;
    eventually(|| (!runs(&pid)).then_some(())).await;
}

#[tokio::test]
async fn output_is_told_by_lines_printable_and_up_to_a_limit() {
    let told = async |output: &[u8]| {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let say = {
            let lines = Arc::clone(&lines);
            move |line: &str| lines.lock().unwrap().push(line.to_owned())
        };
        relay(output, say).await;
        lines.lock().unwrap().clone()
    };
    assert_eq!(told(b"one\n\n \ntwo \x1b[2J\xff\r\nthree").await, ["one", "two  [2J\u{fffd}", "three"]);
    assert_eq!(told(b"").await, Vec::<String>::new());
    let lines = told(&b"0123456789abcde\n".repeat(1000)).await;
    assert_eq!(lines.len(), MAX_OUTPUT / 16 + 1);
    assert!(lines.last().unwrap().contains("left out"));
    let line = told(&vec![b'x'; 3 * MAX_OUTPUT]).await;
    assert_eq!((line.len(), line[0].len()), (2, MAX_OUTPUT));
}
