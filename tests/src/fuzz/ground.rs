//! The balancers that fuzzed packets come to: a few configurations that between
//! them have every forward mode, algorithm, guard and transport, each made once
//! and put back to its beginning before every input.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::atomic::Ordering::Relaxed,
    time::Duration,
};

use lb_common::{
    config::Config,
    counters::{EVENTS, Event},
    mac::Mac,
    member::MemberState,
    pool::{Algorithm, ForwardMode, Persistence, PoolEntry},
    protocol::Transport,
};
use lb_ebpf::{
    host::Arrays as _,
    packet::Packet,
    pipeline,
    tables::{Verdict, Way},
};
use lb_user::dataplane::{ListenerId, ListenerRules, MemberId, MemberPath, Observed, Op, PoolId, PoolRecord, VipId};

use super::tracked::{Touched, Tracked};
use crate::packets::{
    scene::{self, Kind, Member, OTHER_ROUTER, OWN, ROUTER, Version},
    world::{Fate, Host, INGRESS, Outcome, World as _, counted},
};

/// Ports of the SCTP listeners.
pub(super) const SCTP_PORT: u16 = 38;
/// Bytes around the frame's buffer that nobody may touch.
const GUARD: usize = 64;
/// What they hold.
const CANARY: u8 = 0xc5;
/// Bytes in front of a frame that it may grow into.
const HEADROOM: usize = 256;
/// The largest packet that fits the way to members that packets are wrapped for.
pub(super) const MTU: u16 = 1500;

/// What a configuration is like.
#[derive(Clone, Debug)]
struct Profile {
    /// What the pools are, by a pool of the other family's members if `crossed`.
    record: PoolRecord,
    crossed: bool,
    /// The pools were this before, and are changing.
    before: Option<PoolRecord>,
    /// Rules of all listeners.
    rules: ListenerRules,
    /// How many flows a member may have.
    member_limit: u32,
    /// Frames are traced, and flows noted.
    traced: bool,
}

fn record(mode: ForwardMode, algorithm: Algorithm, flags: u64) -> PoolRecord {
    let persistence = Persistence { timeout: 60, prefix4: 30, prefix6: 127 };
    PoolRecord { mode, algorithm, flags, persistence, mss: 0, ..PoolRecord::named("lb/pool") }
}

/// How many configurations there are.
pub(super) const PROFILES: usize = 16;

fn profile(number: usize) -> Profile {
    use Algorithm::{LeastConnections, RoundRobin, SourceIp, SourceIpPort};
    use ForwardMode::{Dnat, Dsr, Gue, Ipip, Nat};
    const CLAMPS: u64 = PoolEntry::CLAMPS_MSS;
    const RECORDS: u64 = PoolEntry::RECORDS;
    const STAYS: u64 = PoolEntry::RECORDS | PoolEntry::PERSISTENT;
    const LIMITS: u64 = PoolEntry::LIMITS_MEMBERS | PoolEntry::RECORDS;
    let plain = |mode, algorithm, flags| Profile {
        record: record(mode, algorithm, flags),
        crossed: false,
        before: None,
        rules: ListenerRules::default(),
        member_limit: 0,
        traced: false,
    };
    let changing =
        |from: PoolRecord, to: PoolRecord| Profile { before: Some(from), ..plain(to.mode, to.algorithm, to.flags) };
    let guarded = ListenerRules { guarded: true, connection_limit: 3, new_flows_per_source: 2 };
    match number {
        // 0 is the one that the judge of the property tests knows.
        1 => plain(Dsr, SourceIpPort, CLAMPS),
        2 => plain(Ipip, SourceIpPort, CLAMPS),
        3 => Profile { crossed: true, ..plain(Ipip, SourceIp, CLAMPS) },
        4 => plain(Gue, SourceIpPort, CLAMPS),
        5 => Profile { crossed: true, ..plain(Gue, SourceIpPort, 0) },
        6 => plain(Dnat, SourceIpPort, CLAMPS),
        7 => plain(Dsr, RoundRobin, STAYS),
        8 => Profile { member_limit: 3, ..plain(Ipip, LeastConnections, LIMITS) },
        9 => Profile { rules: guarded, member_limit: 2, ..plain(Nat, RoundRobin, LIMITS) },
        10 => Profile { rules: guarded, ..plain(Gue, SourceIpPort, RECORDS) },
        11 => changing(record(Nat, SourceIp, 0), record(Ipip, SourceIpPort, 0)),
        12 => changing(record(Dsr, SourceIpPort, 0), record(Nat, LeastConnections, RECORDS)),
        13 => changing(record(Gue, SourceIp, 0), record(Dnat, RoundRobin, STAYS)),
        14 => Profile { traced: true, ..plain(Nat, SourceIpPort, CLAMPS | STAYS) },
        _ => plain(Nat, SourceIpPort, 0),
    }
}

/// Ids of members of the other family than their VIP.
fn far_member(version: Version, number: u16) -> Member {
    let of = if version == Version::V4 { Version::V6 } else { Version::V4 };
    let id = if version == Version::V4 { 100 } else { 110 };
    Member { id: id + number, ..of.member(number) }
}

/// The kinds of pools that have a table of their own.
const FILLED: [Kind; 6] = [Kind::OneArm, Kind::TwoArms, Kind::Empty, Kind::Unresolved, Kind::Spread, Kind::Sticky];
/// The ports that somebody listens at.
const LISTENED: [Kind; 8] = [
    Kind::OneArm,
    Kind::TwoArms,
    Kind::Empty,
    Kind::Unresolved,
    Kind::Spread,
    Kind::Sticky,
    Kind::Poolless,
    Kind::InSnatRange,
];

/// A member with the way to it.
fn put_member(member: Member, resolved: bool, limit: u32) -> Op {
    let source: (IpAddr, u8) = match member.address {
        IpAddr::V4(_) => (IpAddr::from([172, 16, 0, 0]), 16),
        IpAddr::V6(_) => (IpAddr::from([0x100, 0, 0, 0, 0, 0, 0, 0]), 32),
    };
    let Op::PutMember { id, mut record } = scene::put_member(member, MemberState::UP, resolved) else {
        unreachable!("a member is put");
    };
    record.path = MemberPath { mtu: MTU, source: Some(source) };
    record.connection_limit = limit;
    Op::PutMember { id, record }
}

/// The operations that turn the standard tables into a profile's.
fn operations(profile: &Profile) -> Vec<Op> {
    let mut ops = Vec::new();
    let mut dnat = BTreeMap::new();
    for version in Version::BOTH {
        let members: Vec<Member> =
            (0..3).map(|n| if profile.crossed { far_member(version, n) } else { version.member(n) }).collect();
        ops.extend(
            members.iter().zip([true, true, false]).map(|(m, known)| put_member(*m, known, profile.member_limit)),
        );
        let table = |kind, turned: bool| -> Vec<MemberId> {
            let slots = version.slots(kind);
            let number = |id: &MemberId| (0..3).find(|n| version.member(*n).id == id.0).unwrap_or(0);
            let turn = |n: u16| if turned && n < 2 { 1 - n } else { n };
            slots.iter().map(|id| MemberId(members[usize::from(turn(number(id)))].id)).collect()
        };
        for kind in FILLED {
            let put = |record: &PoolRecord, turned, hold| Op::PutPool {
                id: PoolId(version.pool_id(kind)),
                record: record.clone(),
                table: table(kind, turned),
                hold: Duration::from_secs(hold),
            };
            ops.extend(profile.before.iter().map(|before| put(before, true, 0)));
            ops.push(put(&profile.record, false, if profile.before.is_some() { 300 } else { 0 }));
        }
        for transport in [Transport::Tcp, Transport::Udp] {
            for kind in LISTENED {
                let Op::PutListener { id, vip, port, label, pool, in_snat_range, .. } =
                    scene::put_listener(version, kind, transport)
                else {
                    unreachable!("a listener is put");
                };
                if profile.rules.guarded {
                    let bits = if version == Version::V4 { 29 } else { 126 };
                    let prefixes = BTreeSet::from([(version.numbered_client(4), bits)]);
                    ops.push(Op::SetAllowedCidrs { listener: id, prefixes });
                }
                ops.push(Op::PutListener {
                    id,
                    vip,
                    transport,
                    port,
                    label,
                    pool,
                    in_snat_range,
                    rules: profile.rules,
                });
                if kind == Kind::Spread {
                    for member in &members[..2] {
                        dnat.insert((member.address, member.port, transport), (id, MemberId(member.id)));
                    }
                }
            }
        }
        ops.push(Op::PutListener {
            id: ListenerId(300 + version.vip_id()),
            vip: VipId(version.vip_id()),
            transport: Transport::Sctp,
            port: SCTP_PORT,
            label: "lb/sctp".to_owned(),
            pool: PoolId(version.pool_id(Kind::Spread)),
            in_snat_range: false,
            rules: profile.rules,
        });
    }
    let uses_dnat = |record: &PoolRecord| record.mode == ForwardMode::Dnat;
    if uses_dnat(&profile.record) || profile.before.as_ref().is_some_and(uses_dnat) {
        ops.push(Op::SetDnatMembers { members: dnat });
    }
    ops
}

/// What a packet met and what came of it.
#[derive(Debug)]
pub(super) struct Sent {
    /// The pipeline's word.
    pub(super) verdict: Verdict,
    /// The same as the judge wants it.
    pub(super) outcome: Outcome,
}

/// A configured balancer.
pub(super) struct Ground {
    host: Host,
    /// What the tables say at the beginning.
    pub(super) tables: Observed,
    /// Words that are put back: each pool's entry, previous, until and turn; each member's state.
    pools: Vec<(u16, [u64; 4])>,
    members: Vec<(u16, u64)>,
    touched: RefCell<Touched>,
    jiffies: u64,
    /// The judge of the property tests knows what is to become of every packet.
    pub(super) judged: bool,
    /// No flow goes on that was not let in: in direct modes one does whose opening
    /// another balancer may have seen.
    pub(super) limits_hold: bool,
}

impl Ground {
    /// A balancer configured as a profile says.
    pub(super) fn new(number: usize) -> Self {
        let mut host = Host::standard();
        scene::moved().iter().for_each(|op| host.apply(op));
        let judged = number == 0;
        let limits_hold =
            !judged && profile(number).record.mode == ForwardMode::Nat && profile(number).before.is_none();
        if !judged {
            let profile = profile(number);
            operations(&profile).iter().for_each(|op| host.apply(op));
            host.apply(&Op::SetAdvertSources {
                sources: Version::BOTH.iter().map(|version| (51, version.numbered_client(200))).collect(),
            });
            if profile.traced {
                host.dataplane.set_noting(true);
                host.tables().arrays.config().set(Config::TRACE, true);
            }
            let mut routes = host.tables().routes.borrow_mut();
            for version in Version::BOTH {
                for client in 0..8u16 {
                    let way =
                        Way { ifindex: INGRESS + u32::from(client & 1), to: ROUTER.with_low(0), from: OWN.with_low(0) };
                    let way = if client == 3 { Way { ifindex: 0, ..way } } else { way };
                    if client != 2 {
                        routes.insert(words(version.numbered_client(client)), way);
                    }
                }
            }
        }
        let tables = host.observe();
        let arrays = &host.tables().arrays;
        let pool = |id: u16| {
            let pool = &arrays.pools()[usize::from(id)];
            [&pool.entry, &pool.previous, &pool.until, &pool.turn].map(|word| word.load(Relaxed))
        };
        let pools = tables.pools.keys().map(|id| (id.0, pool(id.0))).collect();
        let state = |id: u16| arrays.members()[usize::from(id)].state.load(Relaxed);
        let members = tables.members.keys().map(|id| (id.0, state(id.0))).collect();
        let jiffies = host.tables().jiffies.get();
        Self { host, tables, pools, members, touched: RefCell::default(), jiffies, judged, limits_hold }
    }

    /// Makes everything as it was at the beginning.
    pub(super) fn begin(&mut self, active: [bool; 2]) {
        let tables = self.host.tables();
        let arrays = &tables.arrays;
        self.touched.borrow_mut().clear(arrays);
        for (id, words) in &self.pools {
            let pool = &arrays.pools()[usize::from(*id)];
            for (word, value) in [&pool.entry, &pool.previous, &pool.until, &pool.turn].into_iter().zip(words) {
                word.store(*value, Relaxed);
            }
        }
        for (id, state) in &self.members {
            arrays.members()[usize::from(*id)].state.store(*state, Relaxed);
        }
        arrays.trace_filter().budget.store(1 << 20, Relaxed);
        tables.jiffies.set(self.jiffies);
        tables.traces.borrow_mut().clear();
        tables.kept_trace.take();
        while tables.notes.read().is_some() {}
        *tables.counts.borrow_mut() = Default::default();
        for (version, active) in Version::BOTH.iter().zip(active) {
            self.host.turn(version.instance(), active);
        }
    }

    /// Lets time pass.
    pub(super) fn wait(&self, seconds: u64) {
        self.host.wait(seconds);
    }

    /// Turns an instance on or off.
    pub(super) fn turn(&mut self, version: Version, active: bool) {
        self.host.turn(version.instance(), active);
    }

    /// A member's flags change, as the moment before its pool's table does.
    pub(super) fn set_member(&mut self, number: u8, flags: u64) {
        let (id, state) = self.members[usize::from(number) % self.members.len()];
        let kept =
            state & !(MemberState::UP | MemberState::UNHEALTHY | MemberState::RESETS_FLOWS | MemberState::DRAINING);
        self.host.tables().arrays.members()[usize::from(id)].state.store(kept | flags, Relaxed);
    }

    /// A member's flags in tables that somebody else reads.
    pub(super) fn tell(&self, tables: &mut Observed, number: u8, flags: u64) {
        let (id, _) = self.members[usize::from(number) % self.members.len()];
        if let Some(member) = tables.members.get_mut(&MemberId(id)) {
            member.flags = flags;
        }
    }

    /// Ends the change of a pool, or begins it again.
    pub(super) fn change(&mut self, number: u8, changing: bool) {
        let (id, words) = self.pools[usize::from(number) % self.pools.len()];
        let pool = &self.host.tables().arrays.pools()[usize::from(id)];
        let still = words[0] & PoolEntry::CHANGING != 0 && changing;
        pool.entry.store(if still { words[0] } else { words[0] & !PoolEntry::CHANGING }, Relaxed);
        pool.previous.store(if still { words[1] } else { 0 }, Relaxed);
    }

    /// How many flows and records of each kind are counted as alive, and may be.
    pub(super) fn loads(&self) -> Vec<(u64, u64)> {
        let arrays = &self.host.tables().arrays;
        let load = |load: &lb_common::load::Load| (load.live.load(Relaxed), load.limit.load(Relaxed));
        let listeners = self.tables.listeners.values().map(|l| load(&arrays.listener_loads()[usize::from(l.id.0)]));
        let members = self.tables.members.keys().map(|id| load(&arrays.member_loads()[usize::from(id.0)]));
        listeners.chain(members).collect()
    }

    /// Runs the pipeline over a frame that came in by an interface.
    ///
    /// # Panics
    /// When it had not exactly one end, or something around it changed.
    pub(super) fn send(&self, ingress: u32, frame: &[u8]) -> Sent {
        let tables = self.host.tables();
        let before = tables.counts.borrow().events.clone();
        let mut buffer = vec![CANARY; GUARD + HEADROOM + frame.len() + GUARD];
        let end = GUARD + HEADROOM + frame.len();
        buffer[end - frame.len()..end].copy_from_slice(frame);
        let (verdict, left) = {
            let mut packet = Packet::within(&mut buffer[GUARD..end], HEADROOM);
            let tracked = Tracked { tables, touched: &self.touched };
            let verdict = pipeline::run(&mut packet, ingress, &tracked);
            (verdict, packet.bytes().to_vec())
        };
        let around = buffer[..GUARD].iter().chain(&buffer[end..]);
        assert!(around.into_iter().all(|byte| *byte == CANARY), "bytes around the frame changed");
        let fate = match verdict {
            Verdict::Pass => Fate::Pass,
            Verdict::Drop(_) => Fate::Drop,
            Verdict::Transmit | Verdict::Answer => Fate::Transmit,
            Verdict::Redirect(_) => Fate::Redirect,
        };
        let after = tables.counts.borrow().events.clone();
        let events = counted(fate, &before, &after);
        one_end(verdict, &before, &after);
        if let Verdict::Redirect(port) = verdict {
            assert!(arrays_port(tables, port), "a frame leaves by port {port}, which is not there");
        }
        Sent { verdict, outcome: Outcome { fate, frame: left, events } }
    }
}

fn arrays_port(tables: &lb_ebpf::host::HostTables<std::sync::Arc<lb_ebpf::host::OwnedArrays>>, port: u16) -> bool {
    tables.arrays.ports().get(usize::from(port)).is_some_and(|port| port.get().is_some())
}

/// What is answered is counted as one answer, and nothing else is.
fn one_end(verdict: Verdict, before: &[u64], after: &[u64]) {
    let times = |event: Event| after[event.index() as usize] - before[event.index() as usize];
    let answers = [
        Event::AnsweredArp,
        Event::AnsweredNeighbour,
        Event::AnsweredEcho,
        Event::AnsweredReset,
        Event::AnsweredUnreachable,
        Event::AnsweredTooBig,
    ];
    let answered: u64 = answers.map(times).iter().sum();
    assert_eq!(answered, u64::from(verdict == Verdict::Answer), "answers counted for {verdict:?}");
    assert!(after.iter().zip(before).all(|(after, before)| after - before <= 1), "something is counted twice");
    assert!(after.len() == EVENTS as usize);
}

/// An address as its bytes lie in memory.
pub(super) fn words(address: IpAddr) -> [u64; 2] {
    let mut bytes = [0; 16];
    match address {
        IpAddr::V4(address) => bytes[..4].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => bytes.copy_from_slice(&address.octets()),
    }
    let half = |at: usize| u64::from_ne_bytes(std::array::from_fn(|n| bytes[at + n]));
    [half(0), half(8)]
}

/// Stations that frames are for and from.
pub(super) const STATIONS: [Mac; 4] = [OWN, ROUTER, OTHER_ROUTER, Mac([0x33, 0x33, 0, 0, 0, 1])];
