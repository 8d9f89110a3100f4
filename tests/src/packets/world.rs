//! Where frames are decided about: what every world can do, and the world on
//! the host.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use lb_common::{
    atomic::Ordering::Relaxed,
    config::IdleLimits,
    counters::{EVENTS, Event},
    drop_reason::DropReason,
    mac::Mac,
    port::Tags,
};
use lb_ebpf::{
    host::{Arrays, FlowArrays as _, HostTables, OwnedArrays},
    packet::Packet,
    pipeline,
    tables::Verdict,
};
use lb_user::dataplane::{
    Dataplane, FlowRecord, InstanceId, ListenerId, MemberId, Observed, Op, Statistics, TrafficCounters, VipId,
    kernel::KernelOptions, memory::MemoryDataplane,
};

use super::{
    crowd::Road,
    scene::{OWN, OWN_BACK, SNAT_PORTS},
};

/// Idle limits in seconds, no two alike.
pub const IDLE: IdleLimits = IdleLimits { unconfirmed: 6, tcp: 3600, tcp_closing: 20, udp: 60 };

/// Bytes in front of a frame that it may grow into, as the kernel leaves them.
const HEADROOM: usize = 256;

/// Index of the interface that every frame comes in by: that of
/// `BPF_PROG_TEST_RUN`, which is the loopback interface.
pub const INGRESS: u32 = 1;
/// Ports of the networks that come in by the same interface, with tags: one
/// tag, one of priority alone, two with each outer kind.
pub const TRUNK: [(u16, Tags); 4] = [
    (2, Tags::vlan(1000)),
    (3, Tags::vlan(0)),
    (4, Tags::new((Tags::SERVICE, 20), Some((Tags::CUSTOMER, 3000)))),
    (5, Tags::new((Tags::CUSTOMER, 20), Some((Tags::CUSTOMER, 3001)))),
];

/// What became of a frame, as both worlds can tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// The stack gets it.
    Pass,
    /// It ended.
    Drop,
    /// It went back out.
    Transmit,
    /// It went out by another interface.
    Redirect,
}

/// A verdict with what came of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// What became of the frame.
    pub fate: Fate,
    /// The frame as it was left.
    pub frame: Vec<u8>,
    /// What was counted: indices of [`lb_common::counters::Event`] and how often.
    pub events: Vec<(usize, u64)>,
}

/// A data path under test.
pub trait World {
    /// Carries out an operation.
    ///
    /// # Panics
    /// When it is refused.
    fn apply(&mut self, op: &Op);

    /// Runs the pipeline over a frame.
    fn send(&mut self, frame: &[u8]) -> Outcome;

    /// Turns a VRRP instance on or off.
    ///
    /// # Panics
    /// When it is not there.
    fn turn(&mut self, instance: InstanceId, active: bool);

    /// Does something to the tables that no operation does.
    fn tamper(&mut self, change: &dyn Fn(&dyn Arrays));

    /// What is in the tables.
    fn observe(&self) -> Observed;

    /// The flows, in order, with an idle time of zero.
    fn flows(&self) -> Vec<FlowRecord>;

    /// Traffic of a listener.
    fn listener(&self, id: u16) -> TrafficCounters;

    /// Traffic of a member.
    fn member(&self, id: u16) -> TrafficCounters;

    /// Whether frames go through the kernel too, which takes none of more than
    /// [`MAX_KERNEL_FRAME`] bytes and none without an Ethernet header.
    fn is_kernel(&self) -> bool;

    /// Removes everything but the ports.
    fn reset(&mut self) {
        let found = self.observe();
        for (key, listener) in &found.listeners {
            let vip = found.vips.get(&key.vip).map_or(VipId(0), |v| v.id);
            self.apply(&Op::RemoveListener { id: listener.id, vip, transport: key.transport, port: key.port });
        }
        for (address, vip) in &found.vips {
            self.apply(&Op::RemoveVip { id: vip.id, address: *address });
        }
        for id in found.instances.keys() {
            self.apply(&Op::RemoveInstance { id: *id });
        }
        self.apply(&Op::SetAdvertSources { sources: BTreeSet::new() });
        for id in found.pools.keys() {
            self.apply(&Op::RemovePool { id: *id });
        }
        for id in found.members.keys() {
            self.apply(&Op::RetireMember { id: *id });
            self.apply(&Op::ReleaseMember { id: *id });
        }
    }
}

/// Longest frame of `BPF_PROG_TEST_RUN`: what a page holds beside head room and
/// the kernel's own notes.
pub const MAX_KERNEL_FRAME: usize = 3520;

/// What both worlds are loaded with.
#[must_use]
pub fn options(pin_path: PathBuf) -> KernelOptions {
    KernelOptions { pin_path, max_flows: 1024, hash_seed: 0x5eed_0f7e_5715, snat_ports: SNAT_PORTS, idle_seconds: IDLE }
}

/// Puts flows into an order that both worlds share.
#[must_use]
pub fn in_order(mut flows: Vec<FlowRecord>) -> Vec<FlowRecord> {
    for flow in &mut flows {
        flow.idle_millis = 0;
    }
    flows.sort_by_key(|f| (f.client, f.client_port, f.listener, f.member, f.snat_port));
    flows
}

/// Differences between two readings of the events, those aside that say no more
/// than the frame's fate does.
///
/// # Panics
/// When a frame had not exactly one outcome: passed, sent on, answered, dropped.
#[must_use]
pub fn counted(fate: Fate, before: &[u64], after: &[u64]) -> Vec<(usize, u64)> {
    let all: Vec<_> = (0..EVENTS as usize).map(|i| (i, after[i] - before[i])).filter(|(_, n)| *n > 0).collect();
    let times = |event: Event| after[event.index() as usize] - before[event.index() as usize];
    let dropped: u64 = DropReason::ALL.iter().map(|reason| times(Event::Drop(*reason))).sum();
    let [passed, forwarded] = [Event::Passed, Event::Forwarded].map(times);
    let outcomes = match fate {
        Fate::Pass => [1, 0, 0],
        Fate::Drop => [0, 0, 1],
        Fate::Redirect => [0, 1, 0],
        // Sent on, or answered: a refusal that answers has its reason counted.
        Fate::Transmit if forwarded == 1 => [0, 1, 0],
        Fate::Transmit => [0, 0, dropped.min(1)],
    };
    assert_eq!([passed, forwarded, dropped], outcomes, "passed, forwarded, dropped of a {fate:?}: {all:?}");
    let told_by_fate = [Event::Passed, Event::Forwarded].map(|event| event.index() as usize);
    all.into_iter().filter(|(event, _)| !told_by_fate.contains(event)).collect()
}

/// The world on the host.
#[derive(Debug)]
pub struct Host {
    /// The tables with their writer.
    pub dataplane: MemoryDataplane,
}

impl Host {
    /// A data path that has two ports, or none yet.
    #[must_use]
    pub fn new(with_ports: bool) -> Self {
        Self::with_options(&options(PathBuf::new()), with_ports)
    }

    /// A data path loaded with other numbers.
    #[must_use]
    pub fn with_options(options: &KernelOptions, with_ports: bool) -> Self {
        // Room for tables that change faster than their places are free again.
        let dataplane = MemoryDataplane::new(options, 1 << 18);
        let host = Self { dataplane };
        if with_ports {
            host.enter_port(0, INGRESS, OWN);
            host.enter_port(1, INGRESS + 1, OWN_BACK);
            host.enter_trunk();
        }
        host
    }

    /// A data path with the standard tables.
    #[must_use]
    pub fn standard() -> Self {
        let mut host = Self::new(true);
        super::scene::standard().iter().for_each(|op| host.apply(op));
        host
    }

    /// Enters an interface.
    pub fn enter_port(&self, port: u16, ifindex: u32, mac: Mac) {
        self.tables().arrays.ports()[usize::from(port)].set(ifindex, false, mac);
    }

    /// Enters [`TRUNK`] on the interface that frames come in by.
    pub fn enter_trunk(&self) {
        for (port, tags) in TRUNK {
            self.enter_port(port, INGRESS, OWN);
            self.tables().arrays.ports()[usize::from(port)].tags.store(tags.0, Relaxed);
        }
    }

    /// What the pipeline runs on.
    #[must_use]
    pub const fn tables(&self) -> &HostTables<Arc<OwnedArrays>> {
        &self.dataplane.tables
    }

    /// Forgets every flow.
    pub fn forget_flows(&self) {
        let arrays = &self.tables().arrays;
        let ways4 = arrays.flows4().iter().flat_map(|line| &line.ways).map(|way| &way.ctl);
        let ways6 = arrays.flows6().iter().flat_map(|line| &line.ways).map(|way| &way.ctl);
        let returns4 = arrays.returns4().iter().map(|entry| &entry.ctl);
        let returns6 = arrays.returns6().iter().map(|entry| &entry.ctl);
        ways4.chain(ways6).chain(returns4).chain(returns6).for_each(|ctl| ctl.store(0, Relaxed));
    }

    /// Lets time pass.
    pub fn wait(&self, seconds: u64) {
        let (tables, hz) = (self.tables(), self.tables().arrays.config().hz.load(Relaxed));
        tables.jiffies.set(tables.jiffies.get() + seconds * hz);
    }

    /// Runs the pipeline over a frame that came in by an interface.
    pub fn send_by(&mut self, ingress: u32, frame: &[u8]) -> (Verdict, Vec<u8>) {
        let mut buffer = vec![0; HEADROOM];
        buffer.extend_from_slice(frame);
        let mut packet = Packet::within(&mut buffer, HEADROOM);
        let verdict = pipeline::run(&mut packet, ingress, self.tables());
        (verdict, packet.bytes().to_vec())
    }
}

impl Road for Host {
    fn reader(&self) -> &(impl Dataplane + Statistics) {
        &self.dataplane
    }

    fn writer(&mut self) -> &mut impl Dataplane {
        &mut self.dataplane
    }

    fn arrays(&self) -> &dyn Arrays {
        &self.tables().arrays
    }

    fn drive(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        let (verdict, frame) = self.send_by(INGRESS, frame);
        (verdict == Verdict::Transmit).then_some(frame)
    }

    fn pass(&mut self, seconds: u64) {
        self.wait(seconds);
    }

    fn outlive_the_ended(&mut self) {
        self.wait(u64::from(IDLE.tcp_closing.max(IDLE.unconfirmed)) + 3);
    }

    fn tend(&mut self) {
        self.dataplane.sweep();
        self.dataplane.tend();
    }
}

impl World for Host {
    fn apply(&mut self, op: &Op) {
        self.dataplane.apply(op).unwrap_or_else(|e| panic!("{op:?}: {e}"));
        // The kernel's side forgets what was counted with whom it was about.
        let mut counts = self.tables().counts.borrow_mut();
        match op {
            Op::RemoveListener { id, .. } => drop(counts.listeners.remove(&id.0)),
            Op::ReleaseMember { id } => drop(counts.members.remove(&id.0)),
            _ => {}
        }
    }

    fn send(&mut self, frame: &[u8]) -> Outcome {
        let before = self.tables().counts.borrow().events.clone();
        let (verdict, frame) = self.send_by(INGRESS, frame);
        let fate = match verdict {
            Verdict::Pass => Fate::Pass,
            Verdict::Drop(_) => Fate::Drop,
            Verdict::Transmit | Verdict::Answer => Fate::Transmit,
            Verdict::Redirect(_) => Fate::Redirect,
        };
        let events = counted(fate, &before, &self.tables().counts.borrow().events);
        Outcome { fate, frame, events }
    }

    fn turn(&mut self, instance: InstanceId, active: bool) {
        assert!(self.dataplane.switchboard().set_active(instance, active), "{instance:?} is not there");
    }

    fn tamper(&mut self, change: &dyn Fn(&dyn Arrays)) {
        change(&self.tables().arrays);
    }

    fn observe(&self) -> Observed {
        self.dataplane.observe().unwrap()
    }

    fn flows(&self) -> Vec<FlowRecord> {
        let mut flows = Vec::new();
        self.dataplane.for_each_flow(&mut |flow| flows.push(flow)).unwrap();
        in_order(flows)
    }

    fn listener(&self, id: u16) -> TrafficCounters {
        self.dataplane.listener_counters(ListenerId(id)).unwrap()
    }

    fn member(&self, id: u16) -> TrafficCounters {
        self.dataplane.member_counters(MemberId(id)).unwrap()
    }

    fn is_kernel(&self) -> bool {
        false
    }
}
