//! A balancer in memory for tests: a model compiled and written into tables by
//! real operations, and real frames through the pipeline.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    num::NonZeroU16,
    path::PathBuf,
    time::Duration,
};

use lb_common::{config::IdleLimits, mac::Mac};
use lb_ebpf::{host::Arrays as _, packet::Packet, pipeline, tables::Verdict};

use super::{HealthKnowledge, Intent, Knowledge, answer};
use crate::{
    compile::{DesiredVip, HealthView, MemberKey, NextHops, Overrides, compile},
    control::protocol::{Request, Response},
    controller::standing::Standings,
    dataplane::{
        Dataplane as _, InstanceId, ListenerId, MemberId, MemberRecord, NextHop, Op, PoolId, Transport, VipId,
        kernel::KernelOptions, memory::MemoryDataplane,
    },
    model::{
        Algorithm, ForwardMode, HealthMonitor, Listener, LoadBalancer, Member, Model, MonitorKind, MssClamp, Name,
        OnMemberDown, Pool, ProbePath, Topology, TransitionHold, Weight,
    },
};
use lb_health::Handshake;

/// Indices of the two interfaces, and their numbers in the data path.
const FRONT: (u32, u16) = (7, 0);
const BACK: (u32, u16) = (8, 1);
const CLIENT_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const OWN_MAC: Mac = Mac([2, 0, 0, 0, 0, 2]);
const MEMBER_MAC: Mac = Mac([2, 0, 0, 0, 0, 3]);

pub(in crate::control) const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
pub(in crate::control) const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn port(port: u16) -> NonZeroU16 {
    NonZeroU16::new(port).unwrap()
}

pub(in crate::control) fn member(called: &str, last: u8) -> Member {
    Member {
        name: name(called),
        address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)),
        protocol_port: port(8080),
        weight: Weight::default(),
        backup: false,
        connection_limit: None,
        admin_state_up: true,
        monitor_address: None,
        monitor_port: None,
    }
}

pub(in crate::control) fn pool(called: &str, protocol: Transport, members: Vec<Member>) -> Pool {
    Pool {
        name: name(called),
        protocol,
        lb_algorithm: Algorithm::SourceIpPort,
        forward_mode: ForwardMode::Nat,
        session_persistence: None,
        mss_clamp: MssClamp::Off,
        transition_hold: TransitionHold::default(),
        admin_state_up: true,
        members,
        health_monitor: None,
        on_member_down: OnMemberDown::Keep,
        panic_threshold: None,
    }
}

fn monitor() -> HealthMonitor {
    HealthMonitor {
        kind: MonitorKind::Tcp(Handshake::Half),
        delay: Duration::from_millis(2500),
        timeout: Duration::from_secs(2),
        max_retries: 2,
        max_retries_down: 3,
        admin_state_up: true,
        flap_damping: true,
        probe_path: ProbePath::Member,
    }
}

fn listener(called: &str, protocol: Transport, at: u16, pool: &str) -> Listener {
    Listener {
        name: name(called),
        protocol,
        protocol_port: port(at),
        default_pool: Some(name(pool)),
        allowed_cidrs: Vec::new(),
        connection_limit: None,
        new_flows_per_source: None,
        admin_state_up: true,
    }
}

/// A balancer `web` at [`VIP`]: `web/http` (TCP 80) to `web/app` with `m1`,
/// `m2` and `m3`, which is watched, and `web/dns` (UDP 53) to `web/names` with
/// `m1` and `n2`, which is not.
pub(in crate::control) struct Scene {
    pub(in crate::control) model: Vec<LoadBalancer>,
    pub(in crate::control) overrides: Overrides,
    pub(in crate::control) health: HealthView,
    pub(in crate::control) health_reasons: BTreeMap<MemberKey, String>,
    pub(in crate::control) hops: NextHops,
    pub(in crate::control) hops_missing: BTreeMap<IpAddr, String>,
    pub(in crate::control) standings: Standings,
    pub(in crate::control) monitors: HealthKnowledge,
    pub(in crate::control) dataplane: MemoryDataplane,
    built: Model,
}

impl Scene {
    /// The balancer as it runs.
    pub(in crate::control) fn new() -> Self {
        let mut scene = Self::empty();
        scene.settle();
        scene
    }

    /// The balancer, with nothing in the data path yet.
    pub(in crate::control) fn empty() -> Self {
        let app = vec![member("m1", 1), member("m2", 2), member("m3", 3)];
        let names = vec![member("m1", 1), member("n2", 12)];
        let lb = LoadBalancer {
            name: name("web"),
            vip_address: IpAddr::V4(VIP),
            topology: Topology::Single,
            admin_state_up: true,
            listeners: vec![listener("http", Transport::Tcp, 80, "app"), listener("dns", Transport::Udp, 53, "names")],
            pools: vec![
                Pool { health_monitor: Some(monitor()), ..pool("app", Transport::Tcp, app) },
                pool("names", Transport::Udp, names),
            ],
        };
        let options = KernelOptions {
            pin_path: PathBuf::new(),
            max_flows: 1024,
            hash_seed: 1,
            snat_ports: (16384, 65535),
            idle_seconds: IdleLimits { unconfirmed: 5, tcp: 60, tcp_closing: 5, udp: 60 },
        };
        let dataplane = MemoryDataplane::new(&options, 1 << 14);
        for ((ifindex, number), mac) in [(FRONT, OWN_MAC), (BACK, OWN_MAC)] {
            dataplane.tables.arrays.ports()[usize::from(number)].set(ifindex, false, mac);
        }
        let hop = NextHop { destination: MEMBER_MAC, source: OWN_MAC, port: BACK.1 };
        let hops = lb.pools.iter().flat_map(|pool| &pool.members).map(|member| (member.address, hop)).collect();
        Self {
            model: vec![lb],
            overrides: Overrides::default(),
            health: HealthView::new(),
            health_reasons: BTreeMap::new(),
            hops,
            hops_missing: BTreeMap::new(),
            standings: Standings::default(),
            monitors: HealthKnowledge::default(),
            dataplane,
            built: Model::default(),
        }
    }

    /// The pool with this place in the pool file.
    pub(in crate::control) fn pool(&mut self, at: usize) -> &mut Pool {
        &mut self.model[0].pools[at]
    }

    pub(in crate::control) fn key(pool: &str, last: u8) -> MemberKey {
        MemberKey { pool: pool.to_owned(), address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)), port: 8080 }
    }

    pub(in crate::control) fn apply(&mut self, op: Op) {
        self.dataplane.apply(&op).unwrap();
    }

    /// Writes what is wanted into the tables: ids stay what they are, what is
    /// no longer wanted goes.
    pub(in crate::control) fn settle(&mut self) {
        self.built = Model::new(self.model.clone()).unwrap();
        let desired = compile(&self.built, &self.overrides, &self.health, &self.hops, &[]);
        let observed = self.dataplane.observe().unwrap();
        let mut free = (1..).filter(|id| !observed.pools.contains_key(&PoolId(*id)));
        let pools: BTreeMap<String, PoolId> = desired
            .pools
            .keys()
            .map(|label| {
                let known = observed.pools.iter().find(|(_, pool)| pool.record.label == *label).map(|(id, _)| *id);
                (label.clone(), known.unwrap_or_else(|| PoolId(free.next().unwrap())))
            })
            .collect();
        let mut free = (1..).filter(|id| !observed.members.contains_key(&MemberId(*id)));
        let members: BTreeMap<MemberKey, MemberId> = desired
            .members
            .iter()
            .map(|(key, member)| {
                let known = observed.members.iter().find(|(_, seen)| {
                    seen.label == member.label && (seen.address, seen.port) == (key.address, key.port)
                });
                (key.clone(), known.map_or_else(|| MemberId(free.next().unwrap()), |(id, _)| *id))
            })
            .collect();
        for (key, member) in desired.members {
            let record = MemberRecord {
                label: member.label,
                address: key.address,
                port: key.port,
                pool: pools[&key.pool],
                flags: member.flags,
                weight: member.weight,
                next_hop: member.next_hop,
                path: member.path,
                connection_limit: member.connection_limit,
            };
            self.apply(Op::PutMember { id: members[&key], record });
        }
        for (label, pool) in desired.pools {
            let table = pool.table.iter().map(|slot| members[&pool.members[usize::from(*slot)]]).collect();
            self.apply(Op::PutPool { id: pools[&label], record: pool.record, table, hold: pool.hold });
        }
        let ids = desired.instances.keys().zip((1..).map(InstanceId));
        let instances: BTreeMap<String, InstanceId> = ids.map(|(label, id)| (label.clone(), id)).collect();
        for (label, id) in &instances {
            self.apply(Op::PutInstance { id: *id, label: label.clone(), mac: None });
        }
        for (address, vip) in desired.vips {
            let DesiredVip { label, active, instance } = vip;
            let instance = instance.map(|name| instances[&name]);
            self.apply(Op::PutVip { id: VipId(0), address, label, active, instance });
        }
        for (key, seen) in &observed.listeners {
            if !desired.listeners.contains_key(key) {
                let (id, transport, port) = (seen.id, key.transport, key.port);
                self.apply(Op::RemoveListener { id, vip: VipId(0), transport, port });
            }
        }
        for (key, listener) in desired.listeners {
            let pool = listener.pool.map_or(PoolId(0), |label| pools[&label]);
            let (transport, port, label) = (key.transport, key.port, listener.label);
            let id = ListenerId(key.port);
            self.apply(Op::PutListener {
                id,
                vip: VipId(0),
                transport,
                port,
                label,
                pool,
                in_snat_range: false,
                rules: listener.rules,
            });
        }
        for id in observed.pools.keys().filter(|id| !pools.values().any(|kept| kept == *id)) {
            self.apply(Op::RemovePool { id: *id });
        }
        for id in observed.members.keys().filter(|id| !members.values().any(|kept| kept == *id)) {
            self.apply(Op::RetireMember { id: *id });
        }
    }

    /// What lbd answers.
    pub(in crate::control) fn ask(&self, request: &Request) -> Response {
        let fallbacks = BTreeMap::new();
        answer(&self.knowledge(&fallbacks), request)
    }

    /// What lbd knows.
    pub(in crate::control) fn knowledge<'a>(&'a self, fallbacks: &'a BTreeMap<u32, String>) -> Knowledge<'a> {
        let intent = Intent {
            model: &self.built,
            overrides: &self.overrides,
            health: &self.health,
            health_reasons: &self.health_reasons,
            hops_missing: &self.hops_missing,
            interfaces: &[],
            fallbacks,
            standings: &self.standings,
        };
        Knowledge { intent: Some(intent), health: Some(&self.monitors), ..Knowledge::of_maps(&self.dataplane) }
    }

    /// What the maps alone answer.
    pub(in crate::control) fn ask_offline(&self, request: &Request) -> Response {
        answer(&Knowledge::of_maps(&self.dataplane), request)
    }

    /// Sends a datagram from a port of [`CLIENT`] to `web/dns` and returns the
    /// address it went to with the source port it had there.
    pub(in crate::control) fn datagram(&self, client_port: u16) -> Option<(Ipv4Addr, u16)> {
        let mut frame = udp(CLIENT_MAC, (CLIENT, client_port), (VIP, 53));
        match pipeline::run(&mut Packet::from_slice(&mut frame), FRONT.0, &self.dataplane.tables) {
            Verdict::Redirect(number) => {
                assert_eq!(number, BACK.1);
                Some((address(&frame, 30), u16::from_be_bytes([frame[34], frame[35]])))
            }
            _ => None,
        }
    }

    /// A member's answer to a datagram that came to it from `snat_port`.
    pub(in crate::control) fn reply(&self, member: Ipv4Addr, snat_port: u16) {
        let mut frame = udp(MEMBER_MAC, (member, 8080), (VIP, snat_port));
        let verdict = pipeline::run(&mut Packet::from_slice(&mut frame), BACK.0, &self.dataplane.tables);
        assert_eq!(verdict, Verdict::Redirect(FRONT.1));
        assert_eq!(address(&frame, 30), CLIENT);
    }

    /// Sends something to the VIP that no listener takes.
    pub(in crate::control) fn stray(&self) {
        let mut frame = udp(CLIENT_MAC, (CLIENT, 1), (VIP, 9));
        let verdict = pipeline::run(&mut Packet::from_slice(&mut frame), FRONT.0, &self.dataplane.tables);
        assert!(matches!(verdict, Verdict::Drop(_)), "{verdict:?}");
    }
}

/// Bytes of a datagram's IP packet.
pub(in crate::control) const DATAGRAM: u64 = 20 + 8 + 4;

fn address(frame: &[u8], at: usize) -> Ipv4Addr {
    let octets: [u8; 4] = frame[at..at + 4].try_into().unwrap();
    Ipv4Addr::from(octets)
}

/// A UDP datagram without checksum, in an Ethernet frame to us.
fn udp(from: Mac, source: (Ipv4Addr, u16), destination: (Ipv4Addr, u16)) -> Vec<u8> {
    let mut ip = vec![0x45, 0, 0, DATAGRAM as u8, 0, 0, 0x40, 0, 64, 17, 0, 0];
    ip.extend(source.0.octets());
    ip.extend(destination.0.octets());
    let sum: u32 = ip.chunks(2).map(|two| u32::from(two[0]) << 8 | u32::from(two[1])).sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut frame: Vec<u8> = [&OWN_MAC.0[..], &from.0, &[8, 0]].concat();
    frame.extend(ip);
    for word in [source.1, destination.1, 12, 0] {
        frame.extend(word.to_be_bytes());
    }
    frame.extend(*b"ping");
    frame
}
