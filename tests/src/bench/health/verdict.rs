//! From the probe that decides to the first packet that goes elsewhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail, ensure};
use lb_user::control::moment;

use super::{
    beat::{self, Beat, Flow},
    capture::{Capture, Seen, What},
    ground::{Ground, INTERFACES, service, wait_up},
    pool::{Monitor, PROBED_PORT, PoolFile, UDP_PORT, address, label},
    servants::{self, Servants},
};
use crate::rig::{lbd::Lbd, wait};

/// Of the pool whose members die; the way from a verdict to the tables does not depend
/// on it.
const DELAY: Duration = Duration::from_millis(200);
/// Probes that a member must fail to be down.
const FALL: u32 = 2;
/// Flows that are watched, at most.
const WATCHED: usize = 8;
/// How long flows send before their member dies: they are confirmed by then.
const LEAD: Duration = Duration::from_millis(100);
/// How long packets are watched after the first one elsewhere.
const TAIL: Duration = Duration::from_millis(40);
const PATIENCE: Duration = Duration::from_secs(10);

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    /// Members of the pool in which one dies.
    pub(super) pool: u32,
    /// Members in all.
    pub(super) members: u32,
    /// How often those of other pools are probed.
    pub(super) delay: Duration,
    pub(super) rounds: u32,
}

/// One death.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Round {
    /// From the refusal of the deciding probe, where it left the member, to the first
    /// packet at another member.
    first: Duration,
    /// The same to the packet that was the first elsewhere of the last flow.
    last: Duration,
    /// From lbd's own time of the verdict to the first packet; it may be negative, as
    /// lbd tells whole milliseconds.
    told_micros: i128,
    /// Probes that were refused until then.
    refusals: usize,
}

/// Measures one case; returns its row.
///
/// # Errors
/// When something does not come up, or a round does not end.
pub(super) fn measure(ground: &Ground, case: Case, progress: &mut dyn FnMut(String)) -> Result<Vec<String>> {
    let mut servants = Servants::start(ground.members().name(), case.pool)?;
    let mut file = PoolFile::new(ground.paths(), INTERFACES);
    file.add(case.pool, Monitor { kind: "TCP", delay: DELAY, port: servants::PORT });
    file.fill(case.members, Monitor { kind: "TCP", delay: case.delay, port: PROBED_PORT });
    let lbd = ground.start(&file.text())?;
    let rounds = all(ground, &lbd, case, &mut servants, progress).with_context(|| lbd.log_tail());
    drop(lbd);
    ground.clear()?;
    Ok(row(case, &rounds?))
}

fn all(
    ground: &Ground,
    lbd: &Lbd,
    case: Case,
    servants: &mut Servants,
    progress: &mut dyn FnMut(String),
) -> Result<Vec<Round>> {
    wait_up(lbd, case.members)?;
    let mut capture = Capture::start(ground.members().name())?;
    let mut rounds = Vec::new();
    for number in 1..=case.rounds {
        let round = one(ground, lbd, case, servants, &capture).with_context(|| format!("round {number}"))?;
        capture.check()?;
        rounds.push(round);
        progress(format!("round {number} of {}: {:.2} ms", case.rounds, round.first.as_secs_f64() * 1e3));
    }
    Ok(rounds)
}

fn one(ground: &Ground, lbd: &Lbd, case: Case, servants: &mut Servants, capture: &Capture) -> Result<Round> {
    // Enough for the busiest member to have several.
    let flows = beat::open(ground.client().name(), service(), 0..case.pool * 3 + 64)?;
    let (victim, numbers) = wait::until("a flow to arrive at a member", PATIENCE, || {
        drop(capture.take());
        flows.iter().for_each(Flow::send);
        thread::sleep(LEAD);
        Ok(busiest(&capture.take(), case.pool))
    })
    .with_context(|| format!("what the data path counts: {:?}", counted(lbd)))?
    .0;
    let watched = flows.into_iter().filter(|flow| numbers.contains(&flow.number)).collect();
    let beat = Beat::start(watched);
    thread::sleep(LEAD);
    drop(capture.take());
    let killed = now()?;
    servants.kill(victim);
    let mut seen = Vec::new();
    let begun = Instant::now();
    let moved = loop {
        thread::sleep(Duration::from_millis(2));
        seen.extend(capture.take());
        if let Some(at) = first_elsewhere(&seen, victim, &numbers).values().min() {
            break *at;
        }
        ensure!(begun.elapsed() < PATIENCE, "no packet left {} in {PATIENCE:?}", address(victim));
    };
    thread::sleep(TAIL);
    seen.extend(capture.take());
    drop(beat);
    let round = judge(&seen, victim, &numbers, killed, moved, told(lbd, victim)?);
    servants.revive(victim)?;
    wait::until_true("the member to be up again", PATIENCE, || {
        Ok(lbd.ctl().json(&["health", "show", &label(victim)])?["verdict"] == "UP")
    })?;
    round
}

/// What `lbctl drops` counts, and how often.
fn counted(lbd: &Lbd) -> BTreeMap<String, u64> {
    lbd.ctl().events().unwrap_or_default().into_iter().filter(|(_, count)| *count > 0).collect()
}

fn now() -> Result<Duration> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?)
}

/// When lbd says that the member went down.
fn told(lbd: &Lbd, victim: u32) -> Result<Duration> {
    let shown = lbd.ctl().json(&["health", "show", &label(victim)])?;
    let last = &shown["transitions"][0];
    ensure!(last["verdict"] == "DOWN", "`lbctl health show` says {shown}");
    let time = last["time"].as_str().and_then(moment::read);
    Ok(time.with_context(|| format!("no time in {last}"))?.duration_since(UNIX_EPOCH)?)
}

/// The member with the most flows, and their numbers, up to [`WATCHED`].
fn busiest(seen: &[Seen], pool: u32) -> Option<(u32, BTreeSet<u32>)> {
    let mut flows: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    for (member, number, _) in datagrams(seen) {
        if member < pool {
            flows.entry(member).or_default().insert(number);
        }
    }
    let (member, numbers) = flows.into_iter().max_by_key(|(_, numbers)| numbers.len())?;
    Some((member, numbers.into_iter().take(WATCHED).collect()))
}

/// Datagrams at members: member, flow, time.
fn datagrams(seen: &[Seen]) -> impl Iterator<Item = (u32, u32, Duration)> {
    let first = u32::from(address(0));
    seen.iter().filter_map(move |one| match one.what {
        What::Udp(number) if one.to.port() == UDP_PORT => {
            Some((u32::from(*one.to.ip()).checked_sub(first)?, number, one.at))
        }
        _ => None,
    })
}

/// When each flow was first seen at another member.
fn first_elsewhere(seen: &[Seen], victim: u32, numbers: &BTreeSet<u32>) -> BTreeMap<u32, Duration> {
    let mut first = BTreeMap::new();
    for (member, number, at) in datagrams(seen) {
        if member != victim && numbers.contains(&number) {
            first.entry(number).or_insert(at);
        }
    }
    first
}

fn judge(
    seen: &[Seen],
    victim: u32,
    numbers: &BTreeSet<u32>,
    killed: Duration,
    moved: Duration,
    told: Duration,
) -> Result<Round> {
    let address: Ipv4Addr = address(victim);
    let refusals: Vec<Duration> = seen
        .iter()
        .filter(|one| one.what == What::Reset && *one.from.ip() == address && one.from.port() == servants::PORT)
        .map(|one| one.at)
        .filter(|at| *at >= killed && *at <= moved)
        .collect();
    let Some(deciding) = refusals.last() else { bail!("packets left {address} without a probe that was refused") };
    let first = first_elsewhere(seen, victim, numbers);
    let last = first.values().max().copied().unwrap_or(moved);
    ensure!(first.len() == numbers.len(), "{} of {} flows left {address}", first.len(), numbers.len());
    let micros = |time: Duration| time.as_micros() as i128;
    Ok(Round {
        first: moved.saturating_sub(*deciding),
        last: last.saturating_sub(*deciding),
        told_micros: micros(moved) - micros(told),
        refusals: refusals.len(),
    })
}

/// The columns of [`row`].
pub(super) const HEADER: [&str; 13] = [
    "pool of",
    "members in all",
    "rounds",
    "first packet, ms: median",
    "p99",
    "max",
    "last flow, ms: median",
    "p99",
    "max",
    "from lbd's own time, ms: median",
    "p99",
    "max",
    "refused probes",
];

fn row(case: Case, rounds: &[Round]) -> Vec<String> {
    let three = |of: &dyn Fn(&Round) -> f64| {
        let mut all: Vec<f64> = rounds.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        let rank = |share: usize| all.get((all.len() * share).div_ceil(100).saturating_sub(1)).copied();
        [rank(50), rank(99), rank(100)].map(|value| format!("{:.2}", value.unwrap_or_default()))
    };
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    #[expect(clippy::cast_precision_loss, reason = "microseconds between two packets")]
    let told = three(&|round| round.told_micros as f64 / 1e3);
    let refusals: BTreeSet<usize> = rounds.iter().map(|round| round.refusals).collect();
    let refusals: Vec<String> = refusals.iter().map(ToString::to_string).collect();
    [case.pool.to_string(), case.members.to_string(), rounds.len().to_string()]
        .into_iter()
        .chain(three(&|round| millis(round.first)))
        .chain(three(&|round| millis(round.last)))
        .chain(told)
        .chain([format!("{} ({FALL} expected)", refusals.join(", "))])
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::net::SocketAddrV4;

    use super::*;

    fn udp(millis: u64, flow: u32, member: u32) -> Seen {
        let (from, to) =
            (SocketAddrV4::new([10, 77, 0, 10].into(), 20_000), SocketAddrV4::new(address(member), UDP_PORT));
        Seen { at: Duration::from_millis(millis), what: What::Udp(flow), from, to }
    }

    fn reset(millis: u64, member: u32) -> Seen {
        let (from, to) =
            (SocketAddrV4::new(address(member), servants::PORT), SocketAddrV4::new([10, 60, 0, 1].into(), 9));
        Seen { at: Duration::from_millis(millis), what: What::Reset, from, to }
    }

    #[test]
    fn the_last_refusal_before_the_first_packet_elsewhere_decides() {
        let seen = [
            udp(1, 7, 0),
            udp(1, 8, 0),
            reset(100, 0),
            reset(290, 1),
            reset(300, 0),
            udp(302, 7, 0),
            udp(303, 7, 2),
            udp(304, 8, 1),
            udp(305, 7, 2),
            reset(500, 0),
        ];
        let (victim, numbers) = busiest(&seen[..2], 3).unwrap();
        assert_eq!((victim, numbers.clone()), (0, [7, 8].into()));
        let moved = *first_elsewhere(&seen, victim, &numbers).values().min().unwrap();
        let round = judge(&seen, victim, &numbers, Duration::from_millis(50), moved, Duration::from_millis(301));
        let expected =
            Round { first: Duration::from_millis(3), last: Duration::from_millis(4), told_micros: 2000, refusals: 2 };
        assert_eq!(round.unwrap(), expected);
        let late = judge(&seen, victim, &numbers, Duration::from_millis(303), moved, moved);
        assert!(late.unwrap_err().to_string().contains("without a probe that was refused"));
    }
}
