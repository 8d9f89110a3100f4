//! A data path of its own with one listener, a pool and as many confirmed
//! flows as wanted, in a network namespace that nobody else is in.

use std::{
    cell::RefCell,
    fs,
    path::{Path, PathBuf},
    process,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lb_common::{
    config::IdleLimits, counters::Event, drop_reason::DropReason, flow_note::RING_NOTES, mac::Mac, member::MemberState,
};
use lb_user::dataplane::{
    Dataplane as _, FlowRecord, ListenerId, ListenerRules, MemberId, MemberPath, MemberRecord, NextHop, Op, PoolId,
    PoolRecord, Statistics as _, VipId,
    exchange::{FlowExchange as _, KernelExchange},
    kernel::{KernelDataplane, KernelOptions},
};

use super::{
    cases::Setting,
    frames::{self, Kind, Protocols, Template},
    harness::{Harness, Order, Stream, Target},
};

/// Members of the pool.
pub(super) const MEMBERS: u16 = 100;
/// Slots of the pool's table: the smallest prime above a hundred times as many.
pub(super) const SLOTS: usize = 10_007;

const BPFFS: &str = "/sys/fs/bpf";
const PIN_PREFIX: &str = "krater-bench-";
/// The loopback interface of a network namespace, where test runs come in.
const LOOPBACK: u32 = 1;
const LISTENER: ListenerId = ListenerId(1);

/// Nothing expires while it is being measured.
const IDLE_SECONDS: IdleLimits = IdleLimits { unconfirmed: 300, tcp: 3600, tcp_closing: 300, udp: 3600 };

/// A loaded data path. Dropping it unloads it.
pub(super) struct Scene {
    dataplane: KernelDataplane,
    exchange: RefCell<KernelExchange>,
    pins: Pins,
    protocols: Protocols,
}

/// What the data path has counted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Counts {
    pub(super) packets_in: u64,
    pub(super) packets_out: u64,
    pub(super) flows_new: u64,
    /// Of every reason.
    pub(super) drops: u64,
    /// Of [`DropReason::NoListener`].
    pub(super) no_listener: u64,
}

impl Counts {
    pub(super) const NONE: Self = Self { packets_in: 0, packets_out: 0, flows_new: 0, drops: 0, no_listener: 0 };

    /// What has been counted since.
    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            packets_in: self.packets_in - before.packets_in,
            packets_out: self.packets_out - before.packets_out,
            flows_new: self.flows_new - before.flows_new,
            drops: self.drops - before.drops,
            no_listener: self.no_listener - before.no_listener,
        }
    }
}

impl Scene {
    /// Loads a data path with room for `max_flows` flows.
    pub(super) fn new(setting: &Setting) -> Result<Self> {
        let Setting { protocols, max_flows, noting, .. } = *setting;
        let pins = Pins::new();
        let options = KernelOptions {
            pin_path: pins.0.clone(),
            max_flows,
            hash_seed: 0x6a09_e667_f3bc_c908,
            snat_ports: (lb_common::limits::DEFAULT_SNAT_PORT_LOW, lb_common::limits::DEFAULT_SNAT_PORT_HIGH),
            idle_seconds: IDLE_SECONDS,
        };
        let (dataplane, _) = KernelDataplane::load(&options).context("load the data path")?;
        dataplane.set_noting(noting);
        let exchange = RefCell::new(dataplane.exchange()?);
        let mut scene = Self { dataplane, exchange, pins, protocols };
        scene.dataplane.enter_port(0, LOOPBACK, false, Mac(frames::BALANCER_MAC))?;
        for op in operations(setting) {
            scene.dataplane.apply(&op)?;
        }
        Ok(scene)
    }

    /// Where the data path is pinned.
    pub(super) fn pin_path(&self) -> &Path {
        &self.pins.0
    }

    /// Opens and confirms flows with the packets that a client and a member
    /// exchange, and lists what a member's packets need, in an order that has
    /// nothing to do with where the entries lie.
    pub(super) fn open_flows(&self, harness: &mut Harness, flows: u32) -> Result<()> {
        // A flow that another one displaced before it was confirmed gets a
        // second chance.
        for _ in 0..2 {
            self.send(harness, Kind::Opening, Order::Sequence, flows)?;
            let listed = self.list_replies(harness, |_| true)?;
            self.send(harness, Kind::Answer, Order::Listed, listed)?;
            self.send(harness, Kind::Request, Order::Sequence, flows)?;
            if self.confirmed()? == flows {
                break;
            }
        }
        let confirmed = self.list_replies(harness, |flow| flow.confirmed)?;
        ensure!(
            u64::from(confirmed) * 100_000 >= u64::from(flows) * 99_999,
            "only {confirmed} of {flows} flows could be opened and confirmed"
        );
        Ok(())
    }

    fn send(&self, harness: &mut Harness, kind: Kind, order: Order, flows: u32) -> Result<()> {
        let mut stream = Stream::new(Template::new(self.protocols, kind)?, order, flows);
        harness.run(Target::Krater, &mut stream, flows).with_context(|| format!("send {kind:?} packets")).map(drop)
    }

    fn confirmed(&self) -> Result<u32> {
        let mut confirmed = 0;
        self.dataplane.for_each_flow(&mut |flow| confirmed += u32::from(flow.confirmed))?;
        Ok(confirmed)
    }

    /// Opens the flows that a stream's next packets belong to and has their
    /// members answer them.
    pub(super) fn answer_flows(&self, harness: &mut Harness, stream: &Stream, packets: u32) -> Result<()> {
        let mut opening = stream.like(Template::new(self.protocols, Kind::Opening)?);
        harness.run(Target::Krater, &mut opening, packets).context("open flows")?;
        let listed = self.list_replies(harness, |flow| !flow.confirmed)?;
        // Some may have found no place, or displaced another that was not
        // confirmed either.
        ensure!(listed >= packets - packets / 200, "only {listed} of {packets} flows could be opened");
        self.send(harness, Kind::Answer, Order::Listed, listed)
    }

    /// Reads the notes about flows, of which there must be nearly so many.
    pub(super) fn check_notes(&self, expected: u32) -> Result<()> {
        let drained = self.exchange.borrow_mut().drain(usize::MAX, &mut |_| {});
        let (found, expected) = (drained.notes, expected as usize);
        // Of two hundred flows one may not have been there to be confirmed.
        ensure!(
            found <= expected && found >= expected - expected / 200,
            "{found} notes were read and {expected} should be there; the ring holds {RING_NOTES}"
        );
        Ok(())
    }

    /// Lists some of the flows as their members see them.
    fn list_replies(&self, harness: &mut Harness, which: impl Fn(&FlowRecord) -> bool) -> Result<u32> {
        let mut list = Vec::new();
        let protocols = self.protocols;
        self.dataplane.for_each_flow(&mut |flow| {
            if which(&flow) {
                let address = frames::low_bits(protocols.member(flow.member.0));
                list.push(u64::from(address) | u64::from(flow.snat_port) << 32);
            }
        })?;
        shuffle(&mut list);
        harness.set_list(&list)?;
        Ok(u32::try_from(list.len())?)
    }

    /// Reads the counters.
    pub(super) fn counts(&self) -> Result<Counts> {
        let listener = self.dataplane.listener_counters(LISTENER)?;
        let events = self.dataplane.events()?;
        let of = |reason| events.get(Event::Drop(reason).index() as usize).copied().unwrap_or(0);
        Ok(Counts {
            packets_in: listener.packets_in,
            packets_out: listener.packets_out,
            flows_new: listener.flows_new,
            drops: DropReason::ALL.iter().map(|reason| of(*reason)).sum(),
            no_listener: of(DropReason::NoListener),
        })
    }
}

/// What makes the listener, its pool and its members.
fn operations(setting: &Setting) -> Vec<Op> {
    let (protocols, to) = (setting.protocols, setting.member_protocols());
    // The last sixteen bits of where wrapped packets come from differ.
    let source = setting.grows().then(|| (to.address(u32::from_be_bytes([172, 16, 0, 0])), 16));
    let (vip, pool) = (VipId(1), PoolId(1));
    let next_hop = NextHop { destination: Mac(frames::MEMBER_MAC), source: Mac(frames::BALANCER_MAC), port: 0 };
    let member = |id| Op::PutMember {
        id: MemberId(id),
        record: MemberRecord {
            label: format!("bench/pool/{id}"),
            address: to.member(id),
            port: if setting.mode.is_direct() { frames::LISTENER_PORT } else { frames::MEMBER_PORT },
            pool,
            flags: MemberState::UP,
            weight: 1,
            next_hop: Some(next_hop),
            path: MemberPath { mtu: 1500, source },
            connection_limit: 0,
        },
    };
    let mut operations: Vec<Op> = (1..=MEMBERS).map(member).collect();
    let table = (1..=MEMBERS).map(MemberId).cycle().take(SLOTS).collect();
    let record = PoolRecord { mode: setting.mode, ..PoolRecord::named("bench/pool") };
    operations.push(Op::PutPool { id: pool, record, table, hold: Duration::ZERO });
    operations.push(Op::PutVip {
        id: vip,
        address: protocols.vip(),
        label: "bench".to_owned(),
        active: true,
        instance: None,
    });
    operations.push(Op::PutListener {
        id: LISTENER,
        vip,
        transport: protocols.transport,
        port: frames::LISTENER_PORT,
        label: "bench/listener".to_owned(),
        pool,
        in_snat_range: false,
        rules: ListenerRules::default(),
    });
    operations
}

/// Fisher and Yates' shuffle, the same every time.
fn shuffle(list: &mut [u64]) {
    let mut random = 0x243f_6a88_85a3_08d3u64;
    for last in (1..list.len()).rev() {
        random = lb_common::hash::mix(random.wrapping_add(0x9e37_79b9_7f4a_7c15));
        let other = lb_common::hash::scale(random, u32::try_from(last + 1).unwrap_or(u32::MAX));
        list.swap(last, other as usize);
    }
}

/// The pin directory of one data path.
pub(super) struct Pins(pub(super) PathBuf);

impl Pins {
    pub(super) fn new() -> Self {
        Self(Path::new(BPFFS).join(format!("{PIN_PREFIX}{}", process::id())))
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        if self.0.exists()
            && let Err(error) = KernelDataplane::remove(&self.0)
        {
            eprintln!("krater-bench: {error}");
        }
    }
}

/// Removes what a bench that was interrupted has left pinned.
pub(super) fn remove_leftovers() {
    let entries = fs::read_dir(BPFFS).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(pid) = name.strip_prefix(PIN_PREFIX) else { continue };
        if !Path::new("/proc").join(pid).exists() {
            eprintln!("removing {}, which an interrupted bench left behind", entry.path().display());
            drop(Pins(entry.path()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shuffle_keeps_everything_and_moves_most_of_it() {
        let mut list: Vec<u64> = (0..1000).collect();
        shuffle(&mut list);
        let in_place = list.iter().zip(0..).filter(|(is, was)| **is == *was).count();
        assert!(in_place < 20, "{in_place} of 1000 stayed where they were");
        list.sort_unstable();
        assert!(list.into_iter().eq(0..1000));
    }
}
