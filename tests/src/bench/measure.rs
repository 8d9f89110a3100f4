//! Rounds: the no-op, then the data path, over the same packets.
//!
//! A figure exists only if every round did what its case says: right verdict,
//! right counters, and a last packet that an independent parser finds right.

use anyhow::{Context as _, Result, ensure};

use super::{
    cases::{Case, Setting, Table},
    frames::{self, Kind, LISTENER_PORT, MEMBER_PORT},
    harness::{Harness, Ran, Stream, Target},
    scene::{Counts, MEMBERS, Scene},
};

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    /// Pairs of runs.
    pub(super) rounds: u32,
    /// Packets of a run.
    pub(super) packets: u32,
}

/// Nanoseconds a packet.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Spread {
    pub(super) min: f64,
    pub(super) median: f64,
    pub(super) max: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let (below, above) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Some(Self { min, median: (below + above) / 2.0, max })
    }
}

/// What came out of a case.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figure {
    /// The harness and the no-op.
    pub(super) no_op: Spread,
    /// The data path, with each round's no-op taken off.
    pub(super) net: Spread,
}

/// Measures one case in its scene.
pub(super) fn measure(harness: &mut Harness, scene: &Scene, case: &Case, effort: Effort) -> Result<Figure> {
    let template = frames::Template::new(case.setting.protocols, case.kind)?;
    let mut stream = Stream::new(template, case.order, case.flows).after(case.setting.flood());
    let (mut no_op, mut net) = (Vec::new(), Vec::new());
    for round in 0..=effort.rounds {
        if case.setting.table == Table::Answered {
            scene.answer_flows(harness, &stream, effort.packets)?;
        }
        let nothing = harness.run(Target::NoOp, &mut stream, effort.packets)?;
        ensure!(nothing.action == XDP_TX, "the no-op gave action {}", nothing.action);
        let before = scene.counts()?;
        let grow =
            if case.setting.grows() { Some(harness.run(Target::Grow, &mut stream, effort.packets)?) } else { None };
        let krater = harness.run(Target::Krater, &mut stream, effort.packets)?;
        let after = scene.counts()?;
        check(case, &krater, &before, &after, effort.packets)
            .with_context(|| format!("round {round} did not do what {} is about", case.name))?;
        scene.check_notes(if case.setting.noting { effort.packets } else { 0 })?;
        // The first round is for the caches.
        if round > 0 {
            no_op.push(nothing.nanos);
            // The harness cuts the frame to its length again: half of what it takes
            // to make it longer and shorter.
            let cutting = grow.map_or(0.0, |grow| (grow.nanos - nothing.nanos).max(0.0) / 2.0);
            net.push(krater.nanos - nothing.nanos - cutting);
        }
    }
    let spread = |values| Spread::of(values).context("no round was measured");
    Ok(Figure { no_op: spread(no_op)?, net: spread(net)? })
}

fn check(case: &Case, ran: &Ran, before: &Counts, after: &Counts, packets: u32) -> Result<()> {
    let packets = u64::from(packets);
    let grown = Counts {
        packets_in: after.packets_in - before.packets_in,
        packets_out: after.packets_out - before.packets_out,
        flows_new: after.flows_new - before.flows_new,
        drops: after.drops - before.drops,
        no_listener: after.no_listener - before.no_listener,
    };
    let none = Counts { packets_in: 0, packets_out: 0, flows_new: 0, drops: 0, no_listener: 0 };
    let (action, expected) = match case.kind {
        // Of a million flows one in a hundred thousand may not have found a place,
        // and not find one now; of those begun beside a million confirmed ones,
        // more: their members have few SNAT ports left.
        Kind::Request => {
            let few = packets / if case.setting.table == Table::Answered { 200 } else { 10_000 };
            let (flows_new, drops) = (grown.flows_new.min(few), grown.drops.min(few));
            (XDP_TX, Counts { packets_in: packets - drops, flows_new, drops, ..none })
        }
        Kind::Answer | Kind::Reply => (XDP_TX, Counts { packets_out: packets, ..none }),
        Kind::Opening => {
            let flows_new = if case.setting.mode.is_direct() { 0 } else { packets };
            (XDP_TX, Counts { packets_in: packets, flows_new, ..none })
        }
        Kind::ClosedPort => (XDP_DROP, Counts { drops: packets, no_listener: packets, ..none }),
        Kind::Stranger => (XDP_PASS, none),
    };
    ensure!(ran.action == action, "the last packet got XDP action {} and not {action}", ran.action);
    ensure!(grown == expected, "of {packets} packets were counted {grown:?}, and it should be {expected:?}");
    check_last(case, ran)
}

/// Looks at the last packet of a run.
fn check_last(case: &Case, ran: &Ran) -> Result<()> {
    let protocols = case.setting.protocols;
    if case.setting.mode.is_direct() {
        return check_direct(&case.setting, ran);
    }
    let facts = frames::read(&ran.frame)?;
    let is_member = |(address, port)| port == MEMBER_PORT && (1..=MEMBERS).any(|id| protocols.member(id) == address);
    let vip = protocols.vip();
    let (right, hops) = match case.kind {
        Kind::Opening | Kind::Request => (facts.source.0 == vip && is_member(facts.destination), 63),
        Kind::Answer | Kind::Reply => {
            (facts.source == (vip, LISTENER_PORT) && !is_member(facts.destination) && facts.destination.0 != vip, 63)
        }
        Kind::ClosedPort => (facts.destination.0 == vip, 64),
        Kind::Stranger => (facts.destination.0 != vip, 64),
    };
    ensure!(right && facts.hops == hops, "the last packet is wrong: {facts:?}");
    Ok(())
}

/// Looks at the last packet of a run to members that are reached directly: it is
/// what it was, in its wrapping.
fn check_direct(setting: &Setting, ran: &Ran) -> Result<()> {
    let inner = frames::unwrap(&ran.frame, setting)?;
    let facts = frames::read(&inner)?;
    ensure!(
        facts.destination == (setting.protocols.vip(), LISTENER_PORT) && facts.hops == 64,
        "the last packet is wrong: {facts:?}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_is_between_the_two_in_the_middle() {
        let spread = Spread::of(vec![9.0, 1.0, 4.0, 2.0]);
        assert_eq!(spread, Some(Spread { min: 1.0, median: 3.0, max: 9.0 }));
        assert_eq!(Spread::of(Vec::new()), None);
    }
}
