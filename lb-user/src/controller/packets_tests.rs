//! Random ways from one desired state to the next, seen by packets between all
//! steps.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use lb_common::{mac::Mac, member::MemberState, pool::NO_POOL};
use proptest::{prelude::*, sample::Index};

use crate::{
    compile::{Desired, InstanceIntent, MemberKey, MemberOverride, Verdict},
    controller::{
        plan::plan,
        reconcile::{
            Outcome, ReconcileError, reconcile,
            world::{Flat, World, dataplane, listener, load_balancer, member, name, pool},
        },
    },
    dataplane::{
        Dataplane, DataplaneError, DropReason, ListenerKey, MemberId, MemberRecord, Observed, Op, Part, PoolId,
        Transport,
        memory::MemoryDataplane,
        tables::frames::{Frame, Sent, send, shake_hands},
    },
    model::{Algorithm, LoadBalancer, Member, Pool, Topology, Weight},
};

const NAMES: [&str; 2] = ["a", "b"];
const VIPS: [&str; 3] = ["192.0.2.1", "192.0.2.2", "2001:db8::ff"];
/// The second VIP may be an address of either.
const INSTANCES: [&str; 2] = ["left", "right"];
const POOLS: [&str; 3] = ["p", "q", "r"];
const PORTS: [u16; 2] = [80, 20_000];
const MEMBERS: u8 = 4;

/// A data plane that is looked at before and after every operation.
struct Watched<'a> {
    dataplane: &'a mut MemoryDataplane,
    /// What was desired since everything was last as desired, and what is.
    desired: &'a [Desired],
    clients: &'a mut Clients,
}

/// Who has sent something.
#[derive(Default)]
struct Clients {
    /// So many new ones have come.
    new: u32,
    /// The members of open connections, by listener. There is one for each.
    connections: BTreeMap<ListenerKey, SocketAddr>,
}

/// A client that comes again and again.
const KNOWN: u32 = 1 << 24;
/// The client that has a connection.
const CONNECTED: u32 = KNOWN + 1;

/// Its address, of the listener's family, and port.
fn source(client: u32, key: &ListenerKey) -> SocketAddr {
    let [a, b, c, d] = client.to_be_bytes();
    let address = if key.vip.is_ipv4() {
        IpAddr::from([198, a, b, c])
    } else {
        IpAddr::from([0x2001, 0xdb8, 1, 0, 0, 0, u16::from_be_bytes([a, b]), u16::from(c)])
    };
    (address, 1024 + u16::from(d)).into()
}

impl Dataplane for Watched<'_> {
    fn observe_part(&self, part: &Part) -> Result<Observed, DataplaneError> {
        self.dataplane.observe_part(part)
    }

    fn apply(&mut self, op: &Op) -> Result<(), DataplaneError> {
        let before = self.dataplane.observe()?;
        let applied = self.dataplane.apply(op);
        match &applied {
            Ok(()) => {}
            Err(DataplaneError::MemberInUse(_) | DataplaneError::Kernel { .. }) => {
                assert_eq!(self.dataplane.observe()?, before, "a failed operation changed something");
            }
            Err(defect) => panic!("{op:?}: {defect}"),
        }
        self.look(op);
        applied
    }
}

impl Watched<'_> {
    fn look(&mut self, op: &Op) {
        let observed = self.dataplane.observe().unwrap();
        for (key, listener) in &observed.listeners {
            let there = listener.pool.0 == NO_POOL || observed.pools.contains_key(&listener.pool);
            assert!(there, "{key:?} points to nothing after {op:?}");
        }
        for (address, vip) in &observed.vips {
            let there = vip.instance.is_none_or(|id| observed.instances.contains_key(&id));
            assert!(there, "{address} is moved by nothing after {op:?}");
        }
        for (id, pool) in &observed.pools {
            let named: BTreeSet<&MemberId> = pool.table.iter().collect();
            for member in named {
                let flags =
                    observed.members.get(member).unwrap_or_else(|| panic!("{id:?} names nobody after {op:?}")).flags;
                assert_eq!(flags & MemberState::RETIRED, 0, "{id:?} names a retired member after {op:?}");
            }
        }
        let always = self.desired[0].listeners.keys();
        let always: Vec<_> = always.filter(|key| self.desired.iter().all(|d| d.listeners.contains_key(key))).collect();
        self.clients.connections.retain(|key, _| always.contains(&key));
        for key in always {
            self.clients.new += 1;
            self.send_as(key, self.clients.new, op);
            self.send_as(key, KNOWN, op);
            self.go_on(key, op);
        }
    }

    /// A first packet must not be refused or lost on the way.
    fn send_as(&self, key: &ListenerKey, client: u32, op: &Op) {
        let source = source(client, key);
        let what = || format!("{key:?}, from client {client}, after {op:?}");
        match send(self.dataplane, &Frame::first(key.transport, source, (key.vip, key.port).into())) {
            Sent::On(reset) if reset.destination == source => assert!(self.may_be_empty(key), "refused: {}", what()),
            Sent::Dropped(DropReason::PoolEmpty) => assert!(self.may_be_empty(key), "refused: {}", what()),
            // A UDP flow that was there may stay with a member of another time;
            // a new one goes by the tables alone.
            Sent::On(_) | Sent::Dropped(DropReason::MemberUnresolved) if client == KNOWN => {}
            Sent::On(frame) => {
                let offered = self.offered(key);
                let is_offered = offered.contains_key(&frame.destination);
                assert!(is_offered, "to {}, not to {offered:?}: {}", frame.destination, what());
            }
            Sent::Dropped(DropReason::MemberUnresolved) => {
                assert!(self.offered(key).values().any(|reached| !reached), "unresolved: {}", what());
            }
            other => panic!("{other:?}: {}", what()),
        }
    }

    /// An open connection stays with its member, whatever becomes of it.
    fn go_on(&self, key: &ListenerKey, op: &Op) {
        let Some(member) = self.clients.connections.get(key) else { return };
        match send(self.dataplane, &Frame::ack(source(CONNECTED, key), (key.vip, key.port).into())) {
            Sent::On(frame) => assert_eq!(frame.destination, *member, "{key:?} after {op:?}"),
            Sent::Dropped(DropReason::MemberUnresolved) => {
                let observed = self.dataplane.observe().unwrap();
                let lost =
                    |m: &MemberRecord| (m.address, m.port) == (member.ip(), member.port()) && m.next_hop.is_none();
                assert!(observed.members.values().any(lost), "{key:?} lost the way to {member} after {op:?}");
            }
            other => panic!("{other:?}: connection of {key:?} to {member} after {op:?}"),
        }
    }

    /// Whether the listener has an empty pool, or none, in any of the states.
    fn may_be_empty(&self, key: &ListenerKey) -> bool {
        self.desired.iter().any(|desired| {
            let pool = desired.listeners[key].pool.as_ref();
            pool.is_none_or(|label| desired.pools[label].table.is_empty())
        })
    }

    /// The members that the listener's pools offer in any of the states, and
    /// whether they are always reached.
    fn offered(&self, key: &ListenerKey) -> BTreeMap<SocketAddr, bool> {
        let labels: BTreeSet<_> = self.desired.iter().filter_map(|d| d.listeners[key].pool.as_ref()).collect();
        let mut offered = BTreeMap::new();
        for desired in self.desired {
            for pool in labels.iter().filter_map(|label| desired.pools.get(*label)) {
                for key in &pool.members {
                    let reached = desired.members[key].next_hop.is_some();
                    *offered.entry(SocketAddr::from((key.address, key.port))).or_insert(true) &= reached;
                }
            }
        }
        offered
    }
}

/// One round. Afterwards `since` is what may be seen by packets.
fn round(
    dataplane: &mut MemoryDataplane,
    since: &mut Vec<Desired>,
    desired: &Desired,
    clients: &mut Clients,
) -> Result<Outcome, ReconcileError> {
    since.push(desired.clone());
    let outcome = reconcile(&mut Watched { dataplane, desired: since, clients }, desired)?;
    *since = vec![desired.clone()];
    for key in desired.listeners.keys().filter(|key| key.transport == Transport::Tcp) {
        if !clients.connections.contains_key(key)
            && let Some(opened) = shake_hands(dataplane, source(CONNECTED, key), (key.vip, key.port).into())
        {
            clients.connections.insert(*key, opened.destination);
        }
    }
    Ok(outcome)
}

fn ids_of(observed: &Observed) -> BTreeMap<(PoolId, IpAddr, u16), MemberId> {
    observed.members.iter().map(|(id, m)| ((m.pool, m.address, m.port), *id)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 400, ..ProptestConfig::default() })]

    /// Whatever changes, and wherever a round fails: packets always have their
    /// way, members keep their ids while flows may name them, and in the end
    /// everything is as desired and stays so.
    #[test]
    fn packets_have_their_way_while_everything_changes(
        steps in prop::collection::vec((world(), prop::option::weighted(0.3, 0usize..30)), 2..7),
    ) {
        let mut dataplane = dataplane();
        let (mut since, mut clients) = (vec![Desired::default()], Clients::default());
        for (world, failure) in &steps {
            let desired = world.desired();
            dataplane.tables.jiffies.set(dataplane.tables.jiffies.get() + 1000);
            let before = ids_of(&dataplane.observe().unwrap());
            if let Some(operations) = failure {
                dataplane.fail_after(*operations);
                match round(&mut dataplane, &mut since, &desired, &mut clients) {
                    Err(ReconcileError::Apply { done, .. }) => prop_assert!(done <= *operations),
                    Err(other) => panic!("{other}"),
                    Ok(outcome) => prop_assert!(outcome.done <= *operations),
                }
                // Told off in case the round was shorter than that.
                dataplane.fail_after(usize::MAX);
            }
            round(&mut dataplane, &mut since, &desired, &mut clients).unwrap();
            let observed = dataplane.observe().unwrap();
            prop_assert_eq!(Flat::observed(&observed), Flat::desired(&desired));
            for (identity, id) in ids_of(&observed) {
                prop_assert!(before.get(&identity).is_none_or(|kept| *kept == id), "{:?} changed its id", identity);
            }
            let more = plan(&desired, &observed).unwrap();
            prop_assert!(more.iter().all(|op| matches!(op, Op::ReleaseMember { .. })), "{:?}", more);
        }
    }
}

#[derive(Clone, Debug)]
struct SomePool {
    protocol: Transport,
    algorithm: Algorithm,
    up: bool,
    members: Vec<Option<(u16, bool, bool, bool)>>,
}

#[derive(Clone, Debug)]
struct SomeLoadBalancer {
    up: bool,
    /// The instance that moves it.
    moved: Option<usize>,
    pools: Vec<Option<SomePool>>,
    /// For each transport and port: the pool and whether it is on.
    listeners: Vec<Option<(usize, bool)>>,
}

impl SomeLoadBalancer {
    fn build(self, label: &str, vip: &str) -> LoadBalancer {
        let is_v4 = !vip.contains(':');
        let pools: Vec<Pool> =
            self.pools.into_iter().zip(POOLS).filter_map(|(pool, label)| Some(pool?.build(label, is_v4))).collect();
        let places = [Transport::Tcp, Transport::Udp].into_iter().flat_map(|t| PORTS.map(|port| (t, port)));
        let listeners = self.listeners.into_iter().zip(places).filter_map(|(spec, (transport, port))| {
            let (pool, up) = spec?;
            let pool = pools.get(pool).filter(|pool| pool.protocol == transport).map(|pool| pool.name.as_str());
            let mut listener = listener(transport, port, pool);
            listener.admin_state_up = up;
            Some(listener)
        });
        let mut load_balancer = load_balancer(label, vip, listeners.collect(), pools.clone());
        load_balancer.admin_state_up = self.up;
        if let Some(instance) = self.moved {
            load_balancer.topology = Topology::ActiveStandby { vrrp: name(INSTANCES[instance]) };
        }
        load_balancer
    }
}

impl SomePool {
    fn build(self, label: &str, is_v4: bool) -> Pool {
        let members = self.members.into_iter().zip(1..).filter_map(|(spec, n)| {
            let (weight, backup, up, renamed) = spec?;
            let base = member(n);
            Some(Member {
                name: if renamed { name(format!("other-{n}")) } else { base.name.clone() },
                address: address(n, is_v4),
                weight: Weight::new(weight).unwrap(),
                backup,
                admin_state_up: up,
                ..base
            })
        });
        let mut pool = pool(label, self.protocol, &[]);
        pool.members = members.collect();
        pool.lb_algorithm = self.algorithm;
        pool.admin_state_up = self.up;
        pool
    }
}

pub(in crate::controller) fn address(n: u8, is_v4: bool) -> IpAddr {
    if is_v4 { IpAddr::from([10, 0, 0, n]) } else { IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(n)]) }
}

fn often() -> impl Strategy<Value = bool> {
    prop::bool::weighted(0.9)
}

fn some_pool() -> impl Strategy<Value = SomePool> {
    let protocol = prop_oneof![Just(Transport::Tcp), Just(Transport::Udp)];
    let algorithm = prop_oneof![Just(Algorithm::SourceIpPort), Just(Algorithm::SourceIp)];
    let weight = prop_oneof![Just(0u16), Just(1), Just(1), Just(5)];
    let member = (weight, prop::bool::weighted(0.2), often(), prop::bool::weighted(0.1));
    let members = prop::collection::vec(prop::option::weighted(0.7, member), usize::from(MEMBERS));
    (protocol, algorithm, often(), members).prop_map(|(protocol, algorithm, up, members)| SomePool {
        protocol,
        algorithm,
        up,
        members,
    })
}

fn some_load_balancer() -> impl Strategy<Value = Option<SomeLoadBalancer>> {
    let pools = prop::collection::vec(prop::option::weighted(0.8, some_pool()), POOLS.len());
    let listeners = prop::collection::vec(prop::option::weighted(0.8, (0..POOLS.len(), often())), 2 * PORTS.len());
    let moved = prop::option::of(0..INSTANCES.len());
    let spec = (often(), moved, pools, listeners).prop_map(|(up, moved, pools, listeners)| SomeLoadBalancer {
        up,
        moved,
        pools,
        listeners,
    });
    prop::option::weighted(0.85, spec)
}

fn some_instances() -> impl Strategy<Value = Vec<InstanceIntent>> {
    let instance = (any::<bool>(), prop::bool::weighted(0.3), 0u8..3);
    prop::collection::vec(prop::option::weighted(0.7, instance), INSTANCES.len()).prop_map(|specs| {
        let some = specs.into_iter().zip(INSTANCES).zip(1..);
        let build = |((spec, called), n): ((Option<_>, _), u8)| {
            let (has_mac, has_address, heard): (bool, bool, u8) = spec?;
            Some(InstanceIntent {
                name: name(called),
                mac: has_mac.then_some(Mac([0, 0, 0x5e, 0, 1, n])),
                addresses: if has_address { vec![IpAddr::from([192, 0, 2, n])] } else { Vec::new() },
                advert_sources: (0..heard).map(|m| (n, IpAddr::from([198, 51, 100, m]))).collect(),
            })
        };
        some.filter_map(build).collect()
    })
}

pub(in crate::controller) fn some_override() -> impl Strategy<Value = MemberOverride> {
    let weight = prop::option::of((0u16..3).prop_map(|w| Weight::new(w).unwrap()));
    (weight, prop::option::of(any::<bool>()), any::<bool>())
        .prop_map(|(weight, admin_state_up, drain)| MemberOverride { weight, admin_state_up, drain })
}

pub(in crate::controller) fn world() -> BoxedStrategy<World> {
    let health = prop::collection::vec((any::<Index>(), prop::bool::weighted(0.3)), 0..8);
    let overrides = prop::collection::vec((any::<Index>(), some_override()), 0..4);
    let unreached = prop::collection::vec(1..=MEMBERS, 0..2);
    let two = (some_load_balancer(), some_load_balancer(), 0..VIPS.len());
    (two, some_instances(), health, overrides, unreached)
        .prop_map(|((one, other, vip), instances, health, overrides, unreached)| {
            let build = |spec: Option<SomeLoadBalancer>, n: usize| {
                spec.map(|s| s.build(NAMES[n], VIPS[(vip + n) % VIPS.len()]))
            };
            let load_balancers: Vec<_> = build(one, 0).into_iter().chain(build(other, 1)).collect();
            let keys: Vec<MemberKey> = load_balancers
                .iter()
                .flat_map(|lb| lb.pools.iter().map(move |pool| (lb, pool)))
                .flat_map(|(lb, pool)| pool.members.iter().map(move |member| MemberKey::of(lb, pool, member)))
                .collect();
            let mut world = World { instances, ..World::of(load_balancers) };
            if !keys.is_empty() {
                let verdict = |up: bool| if up { Verdict::Up } else { Verdict::Down };
                world.health = health.iter().map(|(key, up)| (key.get(&keys).clone(), verdict(*up))).collect();
                world.overrides = overrides.iter().map(|(key, change)| (key.get(&keys).clone(), *change)).collect();
            }
            world.unreached = unreached.iter().flat_map(|n| [address(*n, true), address(*n, false)]).collect();
            world
        })
        .boxed()
}
