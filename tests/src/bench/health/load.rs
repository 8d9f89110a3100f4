//! What ten thousand probed members cost, and whether their probes are on time.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result};
use nix::unistd::{SysconfVar, sysconf};
use serde_json::Value;

use super::{
    arrivals::{self, Arrivals},
    burden::{Memory, Ran, descriptors},
    capture::Capture,
    ground::{Ground, INTERFACES, summary, wait_up},
    pool::{Monitor, PROBED_PORT, PoolFile},
};
use crate::rig::lbd::Lbd;

/// Between the moment all members are up and the first figure.
const WARM_UP: Duration = Duration::from_secs(10);

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) kind: &'static str,
    pub(super) members: u32,
    pub(super) delay: Duration,
    pub(super) span: Duration,
}

/// What came out.
#[derive(Clone, Debug)]
pub(super) struct Figures {
    /// Until lbd answered.
    ready: Duration,
    /// From then until every member was found up.
    up: Duration,
    /// Per cent of a CPU, and the busiest threads.
    cpu: f64,
    threads: String,
    /// Of the second in the middle, and of the one with the most.
    memory: [Memory; 2],
    descriptors: usize,
    /// Lbd's own account of the span.
    probes: u64,
    late: u64,
    /// Lbd's own account since it started.
    late_max: Duration,
    not_asked: u64,
    in_flight: u64,
    most_in_flight: u64,
    arrivals: Arrivals,
    failures: u64,
}

/// Measures one kind of monitor.
///
/// # Errors
/// When lbd does not come up, or fails meanwhile.
pub(super) fn measure(ground: &Ground, load: Load) -> Result<Figures> {
    let mut file = PoolFile::new(ground.paths(), INTERFACES);
    file.fill(load.members, Monitor { kind: load.kind, delay: load.delay, port: PROBED_PORT });
    let lbd = ground.start(&file.text())?;
    let up = wait_up(&lbd, load.members)?;
    thread::sleep(WARM_UP);
    let mut capture = Capture::start(ground.members().name())?;
    let figures = watch(&lbd, load, up, &mut capture).with_context(|| lbd.log_tail());
    drop(lbd);
    ground.clear()?;
    figures
}

fn watch(lbd: &Lbd, load: Load, up: Duration, capture: &mut Capture) -> Result<Figures> {
    let pid = lbd.pid();
    let before = summary(lbd)?;
    let (mut memory, mut most_open) = (Vec::new(), 0);
    drop(capture.take());
    let ran = Ran::read(pid)?;
    // Nobody asks lbd anything meanwhile: an answer is work, too.
    let seconds = u32::try_from(load.span.as_secs()).unwrap_or(u32::MAX).max(1);
    for _ in 0..seconds {
        thread::sleep(load.span / seconds);
        memory.push(Memory::read(pid)?);
        most_open = most_open.max(descriptors(pid)?);
    }
    let (cpu, threads) = Ran::read(pid)?.since(&ran);
    capture.check()?;
    let seen = capture.take();
    let after = summary(lbd)?;
    memory.sort_by_key(|memory| memory.resident);
    let memory = [memory.get(memory.len() / 2), memory.last()].map(|memory| memory.copied().unwrap_or_default());
    let mut threads: Vec<(String, f64)> = threads.into_iter().collect();
    threads.sort_by(|a, b| b.1.total_cmp(&a.1));
    let threads: Vec<String> = threads.iter().take(3).map(|(name, share)| format!("{name} {share:.1}")).collect();
    let number = |of: &Value, name: &str| of[name].as_u64().with_context(|| format!("no {name} in {of}"));
    let grown = |name| Ok::<_, anyhow::Error>(number(&after, name)?.saturating_sub(number(&before, name)?));
    Ok(Figures {
        ready: lbd.ready_in(),
        up,
        cpu,
        threads: threads.join(", "),
        memory,
        descriptors: most_open,
        probes: grown("probes")?,
        late: grown("late")?,
        late_max: Duration::from_micros(number(&after, "late_max_micros")?),
        not_asked: grown("not_asked")?,
        in_flight: number(&after, "in_flight")?,
        most_in_flight: number(&after, "most_in_flight")?,
        arrivals: arrivals::of(&seen, PROBED_PORT, load.delay),
        failures: number(&after, "down")?,
    })
}

/// The rows of the table: what, the aim, and what each kind came to.
pub(super) fn rows(all: &[Figures]) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut row = |what: &str, aim: &str, of: &dyn Fn(&Figures) -> String| {
        rows.push([what.to_owned(), aim.to_owned()].into_iter().chain(all.iter().map(of)).collect());
    };
    let mebibytes = |kibibytes: u64| format!("{:.1}", kibibytes as f64 / 1024.0);
    let millis = |time: Duration| format!("{:.2}", time.as_secs_f64() * 1e3);
    row("CPU of lbd, % of one core", "≤ 10 TCP, ≤ 40 HTTP", &|f| format!("{:.1}", f.cpu));
    row("of that, by thread", "", &|f| f.threads.clone());
    row("VmRSS, MiB: median of the seconds", "≤ 60", &|f| mebibytes(f.memory[0].resident));
    row("of that, heap and stacks", "", &|f| mebibytes(f.memory[0].anonymous));
    row("of that, program and mapped tables", "", &|f| mebibytes(f.memory[0].mapped));
    row("VmRSS, most of any second", "≤ 60", &|f| mebibytes(f.memory[1].resident));
    row("VmHWM: most since the start", "", &|f| mebibytes(f.memory[1].most));
    row("file descriptors, most", "bounded", &|f| f.descriptors.to_string());
    row("probes started (lbd)", "", &|f| f.probes.to_string());
    row("probes that arrived (members)", "the same", &|f| f.arrivals.probes.to_string());
    row("late by more than 5 % (lbd)", "0", &|f| f.late.to_string());
    row("latest since the start (lbd), ms", "", &|f| millis(f.late_max));
    row("late by more than 5 % (members)", "0", &|f| f.arrivals.late.to_string());
    row("latest (members), ms", "", &|f| millis(f.arrivals.latest));
    row("missing (members)", "0", &|f| f.arrivals.missing.to_string());
    row("not asked for want of something here", "0", &|f| f.not_asked.to_string());
    row("under way at the end, most at once", "bounded", &|f| format!("{}, {}", f.in_flight, f.most_in_flight));
    row("overlapping probes of a member (members)", "0", &|f| f.arrivals.overlapping.to_string());
    row("most and mean arrivals in 1 % of the delay", "even", &|f| {
        format!("{}, {:.0}", f.arrivals.burst.0, f.arrivals.burst.1)
    });
    row("members probed, down at the end", "all, 0", &|f| format!("{}, {}", f.arrivals.members, f.failures));
    row("start until lbd answers, s", "", &|f| format!("{:.2}", f.ready.as_secs_f64()));
    row("from there until all are up, s", "", &|f| format!("{:.2}", f.up.as_secs_f64()));
    rows
}

/// Whether the kernel charges a process for interrupts that it is held up by.
pub(super) fn remark() -> String {
    let cpus = sysconf(SysconfVar::_NPROCESSORS_ONLN).ok().flatten().unwrap_or(1);
    format!(
        "CPU time is the scheduler's account of all threads, and holds the network's work that is done in the \
         probes' system calls. lbd has one of {cpus} CPUs to itself; what the members do is done on the others."
    )
}
