//! How exactly adverts keep their beat, and how soon an expiry is on the wire.
//! The bounds are generous; what was measured is printed.

use std::{
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use vrrp::{Family, State};

use super::{
    capture::{Capture, adverts},
    journal::Entry,
    node::{Node, instance},
    segment::Segment,
};

/// Both cores busy for as long as this is held.
struct Load(Child);

impl Load {
    fn start() -> Option<Self> {
        let mut stress = Command::new("stress-ng");
        stress.args(["--cpu", "2", "--timeout", "60s", "--quiet"]).stdin(Stdio::null()).stdout(Stdio::null());
        stress.spawn().ok().map(Self)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // It ends its workers itself when it is asked to.
        let pid = i32::try_from(self.0.id()).unwrap_or(i32::MAX);
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

fn percentile(sorted: &[Duration], per_mille: usize) -> Duration {
    sorted.get((sorted.len() * per_mille / 1000).min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// Watches adverts of 10 ms; returns how far each pause was from that, sorted.
fn jitter(what: &str) -> Result<Vec<Duration>> {
    let interval = Duration::from_millis(10);
    let segment = Segment::with_hosts(2)?;
    let node = Node::start(&segment, 1, vec![instance(&segment, 1, Family::V4, 100, interval)])?;
    node.journal.wait_carrying(true)?;
    thread::sleep(interval * 50);
    let capture = Capture::on(&segment, 2)?;
    thread::sleep(Duration::from_secs(5));
    let all = adverts(&capture.finish()?);
    ensure!(all.len() > 400, "{} adverts in 5 s", all.len());
    let mut off: Vec<Duration> = all.windows(2).map(|pair| (pair[1].at - pair[0].at).abs_diff(interval)).collect();
    off.sort();
    let lateness = node.snapshot()?.lateness;
    let above = |limit| off.iter().filter(|d| **d > Duration::from_millis(limit)).count();
    println!(
        "{} pauses: {} off by more than 1 ms, {} by more than 5 ms, the last {:?}",
        off.len(),
        above(1),
        above(5),
        &off[off.len() - 6..]
    );
    println!(
        "10 ms adverts, {what}: pauses off by p50 {:?}, p99 {:?}, max {:?}; deadline to sent: p99 {:?}, max {:?} ({})",
        percentile(&off, 500),
        percentile(&off, 990),
        percentile(&off, 1000),
        lateness.p99,
        lateness.max,
        lateness.count,
    );
    Ok(off)
}

#[test]
fn adverts_of_ten_milliseconds_keep_their_beat_while_both_cores_are_busy() -> Result<()> {
    let idle = jitter("idle")?;
    ensure!(percentile(&idle, 500) < Duration::from_millis(5), "{:?}", percentile(&idle, 500));
    let Some(_load) = Load::start() else {
        println!("stress-ng is not here: only measured idle");
        return Ok(());
    };
    let busy = jitter("stress-ng --cpu 2")?;
    ensure!(percentile(&busy, 500) < Duration::from_millis(5), "{:?}", percentile(&busy, 500));
    Ok(())
}

#[test]
fn the_thread_has_its_name_and_a_real_time_place_or_says_why_not() -> Result<()> {
    let segment = Segment::with_hosts(1)?;
    let node = Node::start(&segment, 1, vec![instance(&segment, 1, Family::V4, 100, Duration::from_secs(1))])?;
    let mut said = None;
    node.journal.wait_for("the word on real time", |entry| matches!(entry, Entry::Realtime(_)))?;
    for (_, _, entry) in node.journal.entries() {
        if let Entry::Realtime(result) = entry {
            ensure!(said.replace(result).is_none(), "it is said once");
        }
    }
    let stat = std::fs::read_dir("/proc/self/task")?
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok())
        .find(|stat| stat.contains("(vrrp)"))
        .context("no thread is called vrrp")?;
    let (_, fields) = stat.rsplit_once(')').context("an odd stat")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    // Fields 40 and 41 of the whole line: priority and policy; the third is the first here.
    let place = (fields.get(37).copied(), fields.get(38).copied());
    match said.context("nothing was said")? {
        Ok(()) => ensure!(place == (Some("20"), Some("1")), "SCHED_FIFO, 20: {place:?}"),
        Err(why) => ensure!(why.contains("CAP_"), "no remedy in: {why}"),
    }
    Ok(())
}

#[test]
fn an_expiry_is_on_the_wire_within_a_fraction_of_the_interval() -> Result<()> {
    let interval = Duration::from_millis(100);
    let segment = Segment::with_hosts(3)?;
    let mut beyond = Vec::new();
    for _ in 0..10 {
        let node = |host, priority| {
            Node::start(&segment, host, vec![instance(&segment, host, Family::V4, priority, interval)])
        };
        let (high, low) = (node(1, 200)?, node(2, 100)?);
        high.journal.wait_carrying(true)?;
        low.wait_state(State::Backup)?;
        thread::sleep(interval * 4);
        let capture = Capture::on(&segment, 3)?;
        thread::sleep(interval * 2);
        let down = low.snapshot()?.active_down;
        segment.cut(1)?;
        low.journal.wait_for("the announcements", |entry| matches!(entry, Entry::Announced(_)))?;
        let seen = capture.finish()?;
        segment.mend(1)?;
        let all = adverts(&seen);
        let last = all.iter().filter(|a| a.priority == 200).map(|a| a.at).max().context("no advert of the Active")?;
        let first = all.iter().filter(|a| a.priority == 100).map(|a| a.at).min().context("nobody took over")?;
        let announced = seen.iter().filter(|s| s.at > first && s.announcement().is_some()).map(|s| s.at).min();
        let announced = announced.context("nothing was announced")?;
        beyond.push((first - last).saturating_sub(down) + (announced - first));
        ensure!(first - last >= down - Duration::from_millis(1), "it took over after {:?}", first - last);
    }
    beyond.sort();
    println!(
        "from Active_Down to the first announcement on the wire: min {:?}, median {:?}, max {:?}",
        beyond[0], beyond[5], beyond[9]
    );
    ensure!(beyond[5] < interval, "{beyond:?}");
    Ok(())
}
