//! What the controller's tests are about: small models and all that surrounds
//! them, a data plane to bring to them, and a view of both without ids.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
    time::Duration,
};

use lb_common::{config::IdleLimits, mac::Mac, member::MemberState, pool::NO_POOL, protocol::Transport};

use crate::{
    compile::{Desired, HealthView, InstanceIntent, MemberKey, NextHops, Overrides, compile},
    dataplane::{
        ListenerKey, MemberId, NextHop, Observed,
        kernel::KernelOptions,
        memory::MemoryDataplane,
        tables::frames::{connect, next_hop},
    },
    model::{
        Algorithm, ForwardMode, HealthMonitor, Listener, LoadBalancer, Member, Model, MonitorKind, MssClamp, Name,
        OnMemberDown, Pool, ProbePath, Topology, TransitionHold, Weight,
    },
};
use lb_health::Handshake;

/// The SNAT range: the listener port 20000 lies in it, 80 does not.
pub(crate) const SNAT_PORTS: (u16, u16) = (16384, 65535);

/// A data plane as after a first start, on its link.
pub(crate) fn dataplane() -> MemoryDataplane {
    small_dataplane(1 << 18)
}

/// One with room for so many slots.
pub(crate) fn small_dataplane(slots: u32) -> MemoryDataplane {
    let options = KernelOptions {
        pin_path: "unused".into(),
        max_flows: 1024,
        hash_seed: 0x5eed,
        snat_ports: SNAT_PORTS,
        idle_seconds: IdleLimits { unconfirmed: 10, tcp: 600, tcp_closing: 20, udp: 60 },
    };
    let dataplane = MemoryDataplane::new(&options, slots);
    connect(&dataplane);
    dataplane
}

/// Everything that [`compile`] looks at.
#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    pub(crate) load_balancers: Vec<LoadBalancer>,
    pub(crate) overrides: Overrides,
    pub(crate) health: HealthView,
    pub(crate) unreached: BTreeSet<IpAddr>,
    pub(crate) instances: Vec<InstanceIntent>,
}

impl World {
    pub(crate) fn of(load_balancers: Vec<LoadBalancer>) -> Self {
        Self { load_balancers, ..Self::default() }
    }

    pub(crate) fn desired(&self) -> Desired {
        let members = self.load_balancers.iter().flat_map(|lb| &lb.pools).flat_map(|pool| &pool.members);
        let reached = members.map(|m| m.address).filter(|address| !self.unreached.contains(address));
        let hops: NextHops = reached.map(|address| (address, next_hop())).collect();
        let model = Model::new(self.load_balancers.clone()).unwrap();
        compile(&model, &self.overrides, &self.health, &hops, &self.instances)
    }
}

pub(crate) fn name(text: impl Into<String>) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn port(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).unwrap()
}

/// The member 10.0.0.n:8080.
pub(crate) fn member(n: u8) -> Member {
    Member {
        name: name(format!("m{n}")),
        address: IpAddr::from([10, 0, 0, n]),
        protocol_port: port(8080),
        weight: Weight::default(),
        backup: false,
        connection_limit: None,
        admin_state_up: true,
        monitor_address: None,
        monitor_port: None,
    }
}

pub(crate) fn pool(label: &str, protocol: Transport, members: &[u8]) -> Pool {
    Pool {
        name: name(label),
        protocol,
        lb_algorithm: Algorithm::SourceIpPort,
        forward_mode: ForwardMode::Nat,
        session_persistence: None,
        mss_clamp: MssClamp::Off,
        transition_hold: TransitionHold::default(),
        admin_state_up: true,
        members: members.iter().copied().map(member).collect(),
        health_monitor: Some(HealthMonitor {
            kind: MonitorKind::Tcp(Handshake::Half),
            delay: Duration::from_secs(5),
            timeout: Duration::from_secs(3),
            max_retries: 3,
            max_retries_down: 3,
            admin_state_up: true,
            flap_damping: true,
            probe_path: ProbePath::Member,
        }),
        on_member_down: OnMemberDown::Keep,
        panic_threshold: None,
    }
}

pub(crate) fn listener(protocol: Transport, number: u16, pool: Option<&str>) -> Listener {
    Listener {
        name: name(format!("{protocol}-{number}")),
        protocol,
        protocol_port: port(number),
        default_pool: pool.map(name),
        allowed_cidrs: Vec::new(),
        connection_limit: None,
        new_flows_per_source: None,
        admin_state_up: true,
    }
}

pub(crate) fn load_balancer(label: &str, vip: &str, listeners: Vec<Listener>, pools: Vec<Pool>) -> LoadBalancer {
    LoadBalancer {
        name: name(label),
        vip_address: vip.parse().unwrap(),
        topology: Topology::Single,
        admin_state_up: true,
        listeners,
        pools,
    }
}

/// `web`: 192.0.2.1, TCP 80 and UDP 53, each with a pool of the members.
pub(crate) fn web(members: &[u8]) -> LoadBalancer {
    let listeners = vec![listener(Transport::Tcp, 80, Some("app")), listener(Transport::Udp, 53, Some("dns"))];
    let pools = vec![pool("app", Transport::Tcp, members), pool("dns", Transport::Udp, members)];
    load_balancer("web", "192.0.2.1", listeners, pools)
}

pub(crate) fn key(pool: &str, n: u8) -> MemberKey {
    MemberKey { pool: pool.to_owned(), address: IpAddr::from([10, 0, 0, n]), port: 8080 }
}

/// A way to a member.
pub(crate) fn way() -> NextHop {
    next_hop()
}

/// The id of a member in service.
pub(crate) fn id_of(observed: &Observed, pool: &str, n: u8) -> Option<MemberId> {
    let key = key(pool, n);
    let is_it = |m: &crate::dataplane::MemberRecord| {
        m.flags & MemberState::RETIRED == 0
            && (m.address, m.port) == (key.address, key.port)
            && observed.pools.get(&m.pool).is_some_and(|p| p.record.label == pool)
    };
    observed.members.iter().find(|(_, m)| is_it(m)).map(|(id, _)| *id)
}

/// Maps without ids. Retired members are left out.
#[derive(PartialEq, Eq, Debug, Default)]
pub(crate) struct Flat {
    instances: BTreeMap<String, Option<Mac>>,
    advert_sources: BTreeSet<(u8, IpAddr)>,
    /// Label, whether switched on, instance.
    vips: BTreeMap<IpAddr, (String, bool, Option<String>)>,
    /// Label, pool, whether in the SNAT range.
    listeners: BTreeMap<ListenerKey, (String, Option<String>, bool)>,
    pools: BTreeMap<String, (Algorithm, Vec<SocketAddr>)>,
    members: BTreeMap<MemberKey, (String, u64, u16, Option<NextHop>)>,
}

impl Flat {
    pub(crate) fn desired(desired: &Desired) -> Self {
        let listeners = desired.listeners.iter().map(|(key, listener)| {
            let in_range = (SNAT_PORTS.0..=SNAT_PORTS.1).contains(&key.port);
            (*key, (listener.label.clone(), listener.pool.clone(), in_range))
        });
        let pools = desired.pools.iter().map(|(label, pool)| {
            let members: Vec<SocketAddr> = pool.members.iter().map(|key| (key.address, key.port).into()).collect();
            (
                label.clone(),
                (pool.record.algorithm, pool.table.iter().map(|slot| members[usize::from(*slot)]).collect()),
            )
        });
        let members =
            desired.members.iter().map(|(key, m)| (key.clone(), (m.label.clone(), m.flags, m.weight, m.next_hop)));
        let vips = desired.vips.iter();
        Self {
            instances: desired.instances.iter().map(|(label, instance)| (label.clone(), instance.mac)).collect(),
            advert_sources: desired.advert_sources.clone(),
            vips: vips.map(|(at, vip)| (*at, (vip.label.clone(), vip.active, vip.instance.clone()))).collect(),
            listeners: listeners.collect(),
            pools: pools.collect(),
            members: members.collect(),
        }
    }

    pub(crate) fn observed(observed: &Observed) -> Self {
        let label_of = |id: &crate::dataplane::PoolId| observed.pools[id].record.label.clone();
        let listeners = observed.listeners.iter().map(|(key, listener)| {
            let pool = (listener.pool.0 != NO_POOL).then(|| label_of(&listener.pool));
            (*key, (listener.label.clone(), pool, listener.in_snat_range))
        });
        let pools = observed.pools.values().map(|pool| {
            let at = |id: &MemberId| (observed.members[id].address, observed.members[id].port).into();
            (pool.record.label.clone(), (pool.record.algorithm, pool.table.iter().map(at).collect()))
        });
        let in_service = observed.members.values().filter(|m| m.flags & MemberState::RETIRED == 0);
        let members = in_service.map(|m| {
            let key = MemberKey { pool: label_of(&m.pool), address: m.address, port: m.port };
            (key, (m.label.clone(), m.flags, m.weight, m.next_hop))
        });
        let vips = observed.vips.iter().map(|(address, vip)| {
            let instance = vip.instance.map(|id| observed.instances[&id].label.clone());
            (*address, (vip.label.clone(), vip.active, instance))
        });
        let flat = Self {
            instances: observed.instances.values().map(|i| (i.label.clone(), i.mac)).collect(),
            advert_sources: observed.advert_sources.clone(),
            vips: vips.collect(),
            listeners: listeners.collect(),
            pools: pools.collect(),
            members: members.collect(),
        };
        // Nothing is there twice.
        let in_service = observed.members.values().filter(|m| m.flags & MemberState::RETIRED == 0).count();
        assert_eq!((flat.pools.len(), flat.members.len()), (observed.pools.len(), in_service));
        flat
    }
}
