//! What `lbctl explain` says against what the kernel does then.
//!
//! Each packet of a random history (flows of both families begin, go on and end; pools
//! change their mode, their algorithm and their members; listeners have rules) is
//! first tried out on copies of the kernel's own tables, then run by the kernel. Verdict,
//! counted events and every byte of the frame must be the same.
//!
//! `KRATER_AGREEMENT=1000000` has a million packets in place of the few thousand of the
//! ordinary run; each hundred thousand has a data path and random numbers of its own.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use krater_tests::packets::{
    case::prepare,
    kernel::{Kernel, apart},
    random::{self, Delivery, Event},
    scene::{Kind, Version, moved, put_listener, put_pool, stand},
    world::{Fate, MAX_KERNEL_FRAME, Outcome, World as _},
};
use lb_common::{
    counters,
    pool::{Algorithm, ForwardMode, Persistence, PoolEntry},
    protocol::Transport,
};
use lb_ebpf::tables::Verdict;
use lb_user::dataplane::{ListenerRules, MemberPath, Op, Rehearsed, Step};
use proptest::{
    strategy::{Strategy as _, ValueTree as _},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

/// Packets of the ordinary run.
const FEW: usize = 15_000;

/// Packets with one data path.
const LOT: usize = 100_000;

/// Packets between two changes of pools.
const CHANGE: usize = 250;

/// What became of all packets.
#[derive(Debug, Default)]
struct Tally {
    packets: usize,
    by_fate: BTreeMap<String, usize>,
    /// A tick of the clock lay between the two, and they differed.
    ticked: usize,
    /// The host's own routes decide, which are not asked when trying out.
    routed: usize,
}

/// One wish for a pool: how its members are reached, and who of them gets a flow.
fn wish(number: usize) -> (ForwardMode, Algorithm, u64) {
    const MODES: [ForwardMode; 5] =
        [ForwardMode::Nat, ForwardMode::Dsr, ForwardMode::Ipip, ForwardMode::Gue, ForwardMode::Dnat];
    const ALGORITHMS: [Algorithm; 4] =
        [Algorithm::SourceIpPort, Algorithm::SourceIp, Algorithm::RoundRobin, Algorithm::LeastConnections];
    let (mode, algorithm) = (MODES[number % 5], ALGORITHMS[number / 5 % 4]);
    let told = matches!(algorithm, Algorithm::SourceIpPort | Algorithm::SourceIp);
    let mut flags = 0;
    if number.is_multiple_of(3) {
        flags |= PoolEntry::PERSISTENT;
    }
    if !matches!(mode, ForwardMode::Nat) && !told {
        flags |= PoolEntry::RECORDS;
    }
    if number % 4 == 1 {
        flags |= PoolEntry::CLAMPS_MSS;
    }
    (mode, algorithm, flags)
}

/// Changes a pool of either family.
fn change(kernel: &mut Kernel, number: usize) {
    for version in Version::BOTH {
        let kind = [Kind::Spread, Kind::OneArm, Kind::TwoArms][number % 3];
        let mut slots = version.slots(kind);
        if number % 7 == 3 {
            slots.truncate(1);
        }
        let (mode, algorithm, flags) = wish(number / 3 + usize::from(version == Version::V6));
        if let Op::PutPool { id, mut record, table, .. } = put_pool(version, kind, slots) {
            (record.mode, record.algorithm, record.flags) = (mode, algorithm, flags);
            record.mss = if flags & PoolEntry::CLAMPS_MSS != 0 { 1000 } else { 0 };
            if flags & PoolEntry::PERSISTENT != 0 {
                record.persistence = Persistence { timeout: 30, prefix4: 32, prefix6: 64 };
            }
            let hold = std::time::Duration::from_secs(number as u64 % 4 * 10);
            kernel.apply(&Op::PutPool { id, record, table, hold });
        }
        if let Op::PutListener { id, vip, transport, port, label, pool, in_snat_range, .. } =
            put_listener(version, kind, Transport::Tcp)
        {
            let rules = match number % 4 {
                0 => ListenerRules { connection_limit: 3, ..ListenerRules::default() },
                1 => ListenerRules { new_flows_per_source: 5, ..ListenerRules::default() },
                2 => ListenerRules { guarded: true, ..ListenerRules::default() },
                _ => ListenerRules::default(),
            };
            kernel.apply(&Op::PutListener { id, vip, transport, port, label, pool, in_snat_range, rules });
        }
    }
}

/// Takes members of a family up and down, who can be reached through a tunnel too.
fn take(kernel: &mut Kernel, version: Version, flags: [u64; 2]) {
    for op in stand(version, flags).into_iter().filter(|op| matches!(op, Op::PutMember { .. })) {
        if let Op::PutMember { id, mut record } = op {
            let source = if version == Version::V4 { "172.16.0.0" } else { "100::" };
            record.path = MemberPath { mtu: 1400, source: source.parse().ok().map(|source| (source, 16)) };
            kernel.apply(&Op::PutMember { id, record });
        }
    }
}

fn fate_of(verdict: Verdict) -> Fate {
    match verdict {
        Verdict::Pass => Fate::Pass,
        Verdict::Drop(_) => Fate::Drop,
        Verdict::Transmit | Verdict::Answer => Fate::Transmit,
        Verdict::Redirect(_) => Fate::Redirect,
    }
}

/// Whether the kernel did what was foretold.
fn agrees(foretold: &Rehearsed, outcome: &Outcome) -> bool {
    let told = foretold.steps.iter().filter_map(|step| match step {
        Step::Event(event) => Some(event.index() as usize),
        _ => None,
    });
    let mut told: Vec<usize> = told.filter(|event| !is_ordinary(*event)).collect();
    told.sort_unstable();
    let counted: Vec<usize> =
        outcome.events.iter().map(|(event, _)| *event).filter(|event| !is_ordinary(*event)).collect();
    fate_of(foretold.verdict) == outcome.fate && told == counted && foretold.frame == outcome.frame
}

/// Whether an event says no more than the fate does, or is of what trying out leaves out:
/// notes for another balancer.
fn is_ordinary(event: usize) -> bool {
    [counters::Event::Passed, counters::Event::Forwarded, counters::Event::FlowNotesLost]
        .iter()
        .any(|ordinary| ordinary.index() as usize == event)
}

/// Trying out leaves everything as it is, and says the same thing twice.
fn nothing_changes(kernel: &mut Kernel, frame: &[u8]) -> Result<()> {
    let before = kernel.dataplane().jiffies()?;
    let (flows, tables, told) = (kernel.flows(), kernel.observe(), kernel.foretell(frame)?);
    let (flows_after, tables_after, told_after) = (kernel.flows(), kernel.observe(), kernel.foretell(frame)?);
    let as_it_was = flows == flows_after && tables == tables_after && told == told_after;
    // Flows end with time.
    let passed = kernel.dataplane().jiffies()? != before;
    ensure!(as_it_was || passed, "trying {frame:02x?} out changes the tables");
    Ok(())
}

fn history(packets: usize, seed: u8, tally: &mut Tally) -> Result<()> {
    let mut kernel = Kernel::load()?;
    kernel.enter_ports()?;
    prepare(&mut kernel);
    moved().iter().for_each(|op| kernel.apply(op));
    Version::BOTH.iter().for_each(|version| kernel.turn(version.instance(), true));
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let (events, mut deliveries, mut done, mut changes) = (random::event(), Vec::new(), 0, usize::from(seed) * 7);
    while done < packets {
        if done % CHANGE == 0 {
            changes += 1;
            change(&mut kernel, changes);
        }
        let event = events.new_tree(&mut runner).map_err(|e| anyhow::anyhow!("{e}"))?.current();
        if let Event::Stand { version, flags } = event {
            take(&mut kernel, version, flags);
        }
        let recent = deliveries.len().saturating_sub(50);
        let Some(frame) = event.frame(&deliveries[recent..]) else { continue };
        if !(14..=MAX_KERNEL_FRAME).contains(&frame.len()) {
            continue;
        }
        let before = kernel.dataplane().jiffies()?;
        let foretold = kernel.foretell(&frame)?;
        if done % 1000 == 0 {
            nothing_changes(&mut kernel, &frame)?;
        }
        let outcome = kernel.send(&frame);
        let after = kernel.dataplane().jiffies()?;
        done += 1;
        if !agrees(&foretold, &outcome) {
            if foretold.steps.contains(&Step::HostRoutes) {
                tally.routed += 1;
            } else {
                ensure!(
                    before != after,
                    "packet {done} of history {seed}, {frame:02x?}: foretold was {:?}, {:?}, {:02x?}; the kernel did {:?}, \
                     counted {:?}, left {:02x?}",
                    foretold.verdict,
                    foretold.steps,
                    foretold.frame,
                    outcome.fate,
                    outcome.events,
                    outcome.frame
                );
                tally.ticked += 1;
            }
        }
        let name = match foretold.verdict {
            Verdict::Drop(reason) => format!("drop: {reason:?}"),
            Verdict::Redirect(_) => "Redirect".to_owned(),
            other => format!("{other:?}"),
        };
        *tally.by_fate.entry(name).or_default() += 1;
        if matches!(outcome.fate, Fate::Transmit | Fate::Redirect) {
            deliveries.extend(Delivery::of(&frame, &outcome.frame));
        }
    }
    tally.packets += done;
    Ok(())
}

#[test]
fn explain_foretells_what_the_kernel_does() -> Result<()> {
    let asked = std::env::var("KRATER_AGREEMENT").ok();
    let wanted = asked.map(|text| text.parse()).transpose().context("KRATER_AGREEMENT is how many packets")?;
    let wanted: usize = wanted.unwrap_or(FEW);
    let mut tally = Tally::default();
    for (seed, begun) in (1u8..).zip((0..wanted).step_by(LOT)) {
        apart(|| history(LOT.min(wanted - begun), seed, &mut tally))?;
        println!("{} packets: {:?}", tally.packets, tally.by_fate);
    }
    println!("{tally:?}");
    let of = |name: &str| tally.by_fate.get(name).copied().unwrap_or_default();
    assert!(of("Transmit") > wanted / 20 && of("Redirect") > wanted / 50 && of("Pass") > wanted / 100, "{tally:?}");
    assert!(tally.by_fate.keys().filter(|name| name.starts_with("drop")).count() >= 15, "{tally:?}");
    // A tick of the clock is four milliseconds at most, and a packet takes half of one.
    assert!(tally.ticked * 100 <= tally.packets && tally.routed * 10 <= tally.packets, "{tally:?}");
    Ok(())
}
