//! Rounds: the no-op, then bare balancers and the data path, over the same packets.
//!
//! A figure exists only if every round did what its case says: right verdict,
//! right counters, and a last packet that an independent parser finds right.

use anyhow::{Context as _, Result, ensure};

use super::{
    cases::{Case, Setting, Table},
    floor::Floor,
    frames::{self, Kind, LISTENER_PORT, MEMBER_PORT},
    harness::{Harness, Order, Ran, Stream, Target},
    scene::{Counts, MEMBERS, Scene},
};

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;

/// Parts of a round, in each of which everything is run once, where something is measured
/// beside the data path. The machine changes its pace within a second: what is compared
/// must lie closer together than that.
const PASSES: u32 = 5;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    /// Runs of each.
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
#[derive(Clone, Debug)]
pub(super) struct Figure {
    /// The harness and the no-op.
    pub(super) no_op: Spread,
    /// The data path, with each pass's no-op taken off.
    pub(super) net: Spread,
    /// What was measured in the same rounds.
    pub(super) beside: Vec<Beside>,
}

/// A program that was measured beside the data path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beside {
    pub(super) target: Target,
    /// With each pass's no-op taken off.
    pub(super) net: Spread,
    /// The data path as a multiple of it, pass by pass.
    pub(super) multiple: Spread,
    /// What the data path took more, pass by pass.
    pub(super) more: Spread,
}

/// What targets took in each pass, net.
#[derive(Debug, Default)]
struct Rounds {
    no_op: Vec<f64>,
    /// In the order of the passes.
    net: Vec<(Target, Vec<f64>)>,
}

impl Rounds {
    fn add(&mut self, pass: &Pass) {
        self.no_op.push(pass.no_op);
        for (target, nanos) in &pass.net {
            match self.net.iter_mut().find(|(one, _)| one == target) {
                Some((_, values)) => values.push(*nanos),
                None => self.net.push((*target, vec![*nanos])),
            }
        }
    }

    fn figure(self) -> Option<Figure> {
        let of = |wanted| self.net.iter().find(|(target, _)| *target == wanted).map(|(_, values)| values);
        let krater = of(Target::Krater)?;
        let mut beside = Vec::new();
        for (target, values) in self.net.iter().filter(|(target, _)| *target != Target::Krater) {
            let by_pass = |of: fn((&f64, &f64)) -> f64| Spread::of(krater.iter().zip(values).map(of).collect());
            beside.push(Beside {
                target: *target,
                net: Spread::of(values.clone())?,
                multiple: by_pass(|(krater, other)| krater / other)?,
                more: by_pass(|(krater, other)| krater - other)?,
            });
        }
        Some(Figure { net: Spread::of(krater.clone())?, no_op: Spread::of(self.no_op)?, beside })
    }
}

/// Measures one case in its scene.
pub(super) fn measure(harness: &mut Harness, scene: &Scene, case: &Case, effort: Effort) -> Result<Figure> {
    let template = frames::Template::new(case.setting.protocols, case.kind)?;
    let mut stream = Stream::new(template, case.order, case.flows).after(case.setting.flood());
    let mut rounds = Rounds::default();
    let passes = if case.is_compared() { PASSES } else { 1 };
    if case.floors.contains(&Floor::Lru) && case.order == Order::Random {
        // Its flows have to be there, as they are in a balancer that has run for a while.
        let mut all = Stream::new(stream.template().clone(), Order::Sequence, case.flows);
        harness.run(Target::Floor(Floor::Lru), &mut all, case.flows)?;
    }
    for round in 0..=effort.rounds {
        if case.setting.table == Table::Answered {
            scene.answer_flows(harness, &stream, effort.packets)?;
        }
        for pass in 0..passes {
            let turn = round * passes + pass;
            let taken = one_pass(harness, scene, case, turn, &mut stream, effort.packets / passes)
                .with_context(|| format!("round {round} did not do what {} is about", case.name))?;
            // The first round is for the caches.
            if round > 0 {
                rounds.add(&taken);
            }
        }
        scene.check_notes(if case.setting.noting { effort.packets } else { 0 })?;
    }
    rounds.figure().context("no round was measured")
}

/// What a pass took: the no-op, then each target, net.
struct Pass {
    no_op: f64,
    net: Vec<(Target, f64)>,
}

/// Runs the no-op and every target of the case once.
fn one_pass(
    harness: &mut Harness,
    scene: &Scene,
    case: &Case,
    turn: u32,
    stream: &mut Stream,
    packets: u32,
) -> Result<Pass> {
    let nothing = harness.run(Target::NoOp, stream, packets)?;
    ensure!(nothing.action == XDP_TX, "the no-op gave action {}", nothing.action);
    let grow = if case.setting.grows() { Some(harness.run(Target::Grow, stream, packets)?) } else { None };
    // The harness cuts the frame to its length again: half of what it takes
    // to make it longer and shorter.
    let cutting = grow.map_or(0.0, |grow| (grow.nanos - nothing.nanos).max(0.0) / 2.0);
    let mut net = Vec::new();
    for target in case.targets(turn) {
        let ran = one(harness, scene, case, target, stream, packets).with_context(|| format!("{target:?}"))?;
        net.push((target, ran.nanos - nothing.nanos - cutting));
    }
    Ok(Pass { no_op: nothing.nanos, net })
}

/// Runs one target and looks whether it did what the case is about.
fn one(
    harness: &mut Harness,
    scene: &Scene,
    case: &Case,
    target: Target,
    stream: &mut Stream,
    packets: u32,
) -> Result<Ran> {
    let (before, floors_before) = (scene.counts()?, harness.floors_counted()?);
    let ran = harness.run(target, stream, packets)?;
    let (after, floors_after) = (scene.counts()?, harness.floors_counted()?);
    let grown = after.since(&before);
    let floors: [u64; 2] = std::array::from_fn(|at| floors_after[at] - floors_before[at]);
    match target {
        Target::Floor(floor) => {
            let forwards = case.kind != Kind::Stranger;
            let expected = if floor.counts() && forwards { u64::from(packets) } else { 0 };
            ensure!(floors == [expected; 2], "of {packets} packets {floors:?} were counted, of VIP and members");
            ensure!(grown == Counts::NONE, "the data path counted {grown:?} meanwhile");
        }
        Target::Uncounted => ensure!(grown == Counts::NONE, "it counted {grown:?} all the same"),
        _ => check_counts(case, &grown, packets)?,
    }
    let action = action_of(case.kind);
    ensure!(ran.action == action, "the last packet got XDP action {} and not {action}", ran.action);
    check_last(case, &ran)?;
    Ok(ran)
}

fn action_of(kind: Kind) -> u32 {
    match kind {
        Kind::Request | Kind::Answer | Kind::Reply | Kind::Opening => XDP_TX,
        Kind::ClosedPort => XDP_DROP,
        Kind::Stranger => XDP_PASS,
    }
}

/// So many packets of a pass, however short, may meet a flow that found no place.
const FEW: u64 = 5;

fn check_counts(case: &Case, grown: &Counts, packets: u32) -> Result<()> {
    let packets = u64::from(packets);
    let none = Counts::NONE;
    let expected = match case.kind {
        // Of a million flows one in a hundred thousand may not have found a place,
        // and not find one now; of those begun beside a million confirmed ones,
        // more: their members have few SNAT ports left.
        Kind::Request => {
            let few = if case.setting.table == Table::Answered { packets / 200 } else { (packets / 10_000).max(FEW) };
            let (flows_new, drops) = (grown.flows_new.min(few), grown.drops.min(few));
            Counts { packets_in: packets - drops, flows_new, drops, ..none }
        }
        Kind::Answer | Kind::Reply => Counts { packets_out: packets, ..none },
        Kind::Opening => {
            let flows_new = if case.setting.mode.is_direct() { 0 } else { packets };
            Counts { packets_in: packets, flows_new, ..none }
        }
        Kind::ClosedPort => Counts { drops: packets, no_listener: packets, ..none },
        Kind::Stranger => none,
    };
    ensure!(*grown == expected, "of {packets} packets were counted {grown:?}, and it should be {expected:?}");
    Ok(())
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

    #[test]
    fn multiples_and_differences_are_taken_pass_by_pass() {
        let mut rounds = Rounds::default();
        // The machine is half as fast in the second pass: a ratio of medians would be one
        // of figures from different passes.
        for (slower, krater, floor) in [(1.0, 12.0, 10.0), (2.0, 11.0, 10.0), (1.0, 13.0, 10.0)] {
            let net = vec![(Target::Floor(Floor::Ipip), floor * slower), (Target::Krater, krater * slower)];
            rounds.add(&Pass { no_op: 5.0 * slower, net });
        }
        let Some(figure) = rounds.figure() else { unreachable!("three passes") };
        assert_eq!((figure.net.median, figure.no_op.median), (13.0, 5.0));
        let [beside] = figure.beside[..] else { unreachable!("one floor") };
        assert_eq!((beside.target, beside.net.median), (Target::Floor(Floor::Ipip), 10.0));
        assert_eq!(beside.multiple, Spread { min: 1.1, median: 1.2, max: 1.3 });
        assert_eq!(beside.more, Spread { min: 2.0, median: 2.0, max: 3.0 });
    }

    #[test]
    fn without_a_pass_of_the_data_path_there_is_no_figure() {
        let mut rounds = Rounds::default();
        rounds.add(&Pass { no_op: 1.0, net: vec![(Target::Floor(Floor::Dsr), 1.0)] });
        assert!(rounds.figure().is_none());
    }
}
