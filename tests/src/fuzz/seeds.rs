//! What the corpora began as: the fixtures' frames, in the order in which they
//! are sent, to a balancer that is configured much like the fixture's.

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
};

use lb_ebpf::host::Arrays;
use lb_user::dataplane::{FlowRecord, ForwardMode, InstanceId, Observed, Op, TrafficCounters};

use super::packets;
use crate::packets::{
    case::{Case, prepare},
    fixtures::GROUPS,
    world::{Host, Outcome, World},
};

/// Bytes of one seed: short inputs are mutated to better effect.
const MOST_BYTES: usize = 3000;

/// A world that notes what is sent to it.
struct Recorder {
    host: Host,
    frames: Vec<Vec<u8>>,
    modes: BTreeSet<u8>,
}

impl World for Recorder {
    fn apply(&mut self, op: &Op) {
        if let Op::PutPool { record, .. } = op
            && record.mode != ForwardMode::Nat
        {
            self.modes.insert(record.mode as u8);
        }
        self.host.apply(op);
    }

    fn send(&mut self, frame: &[u8]) -> Outcome {
        self.frames.push(frame.to_vec());
        self.host.send(frame)
    }

    fn turn(&mut self, instance: InstanceId, active: bool) {
        self.host.turn(instance, active);
    }

    fn tamper(&mut self, change: &dyn Fn(&dyn Arrays)) {
        self.host.tamper(change);
    }

    fn observe(&self) -> Observed {
        self.host.observe()
    }

    fn flows(&self) -> Vec<FlowRecord> {
        self.host.flows()
    }

    fn listener(&self, id: u16) -> TrafficCounters {
        self.host.listener(id)
    }

    fn member(&self, id: u16) -> TrafficCounters {
        self.host.member(id)
    }

    fn is_kernel(&self) -> bool {
        false
    }
}

/// The balancers that are configured with a mode.
fn profiles(mode: u8) -> &'static [usize] {
    match mode {
        m if m == ForwardMode::Dnat as u8 => &[6, 13],
        m if m == ForwardMode::Dsr as u8 => &[1, 7, 12],
        m if m == ForwardMode::Ipip as u8 => &[2, 3, 8, 11],
        m if m == ForwardMode::Gue as u8 => &[4, 5, 10],
        _ => &[0, 9, 14, 15],
    }
}

/// Seeds of `packets`, with names.
pub(super) fn of_packets() -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    let mut world = Recorder { host: Host::new(true), frames: Vec::new(), modes: BTreeSet::new() };
    for fixture in GROUPS.iter().flat_map(|group| group.fixtures) {
        prepare(&mut world);
        (world.frames, world.modes) = (Vec::new(), BTreeSet::new());
        let mut case = Case::new(&mut world);
        // Whether it holds is another test's business.
        let _ = catch_unwind(AssertUnwindSafe(|| (fixture.run)(&mut case)));
        let mut sent = BTreeSet::new();
        let frames: Vec<_> = world.frames.iter().filter(|frame| sent.insert(frame.to_vec())).collect();
        let modes = if world.modes.is_empty() { vec![u8::MAX] } else { world.modes.iter().copied().collect() };
        for profile in modes.into_iter().flat_map(profiles) {
            let (mut seed, mut parts) = (packets::header(*profile), 0);
            for event in frames.iter().filter_map(|frame| packets::written(frame)) {
                if parts < 3 && seed.len() + event.len() > MOST_BYTES {
                    seeds.push((format!("{}-{profile}-{parts}", fixture.name.replace(' ', "-")), seed));
                    (seed, parts) = (packets::header(*profile), parts + 1);
                }
                if seed.len() + event.len() <= MOST_BYTES {
                    seed.extend(event);
                }
            }
            seeds.push((format!("{}-{profile}-{parts}", fixture.name.replace([' ', ',', '/'], "-")), seed));
        }
    }
    // What is made from a few bytes, of every kind.
    seeds.extend(arbitrary("made", 400, 300));
    seeds
}

/// Seeds of `flow_table`.
pub(super) fn of_flow_table() -> Vec<(String, Vec<u8>)> {
    arbitrary("history", 200, 300)
}

/// Bytes without a plan, always the same.
fn arbitrary(name: &str, count: usize, length: usize) -> Vec<(String, Vec<u8>)> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut byte = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (state >> 56) as u8
    };
    (0..count)
        .map(|n| {
            let mut bytes: Vec<u8> = (0..length).map(|_| byte()).collect();
            // Frames that are written out eat up what follows.
            bytes.iter_mut().skip(2).filter(|b| **b % 16 % 11 == 0).for_each(|b| *b += 1);
            bytes[0] = n as u8;
            (format!("{name}-{n}"), bytes)
        })
        .collect()
}
