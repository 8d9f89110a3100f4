//! From what an operator wants to what the maps should say. Pure.
//!
//! What must not be here: ids (the planner's), files, clocks, kernels.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    num::NonZeroU32,
    time::Duration,
};

use lb_common::{mac::Mac, member::NextHop};

use crate::{
    dataplane::{ListenerKey, ListenerRules, MemberPath, PoolRecord, Prefix},
    model::{Listener, LoadBalancer, Member, Model, Name, Pool, Topology, Weight},
    spread::KeptTables,
};

mod hops;
mod panic;
mod pool;

pub use hops::{NextHops, PathFacts};
pub use panic::{Panic, panic_of};
pub(crate) use pool::{Fitness, Lineup, Said, Stand, Standing, in_table};

/// What identifies a member: its pool's label, its address, its port.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MemberKey {
    /// `load_balancer/pool`.
    pub pool: String,
    /// The member's address.
    pub address: IpAddr,
    /// The member's port.
    pub port: u16,
}

impl MemberKey {
    /// The key of a member of a pool of a load balancer.
    #[must_use]
    pub fn of(load_balancer: &LoadBalancer, pool: &Pool, member: &Member) -> Self {
        let port = member.protocol_port.get();
        Self { pool: load_balancer.label_of_pool(pool), address: member.address, port }
    }
}

/// What an operator changed about a member while the daemon runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MemberOverride {
    /// The weight in place of the pool file's.
    pub weight: Option<Weight>,
    /// On or off in place of the pool file's word.
    pub admin_state_up: Option<bool>,
    /// Whether it drains: its flows stay, new ones go elsewhere.
    pub drain: bool,
}

impl MemberOverride {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What operators changed, by member. A change of a member that the model does
/// not have is kept: the member may come back.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Overrides {
    members: BTreeMap<MemberKey, MemberOverride>,
}

impl Overrides {
    /// What was changed about a member.
    #[must_use]
    pub fn get(&self, member: &MemberKey) -> Option<&MemberOverride> {
        self.members.get(member)
    }

    /// Replaces what was changed about a member; an empty override forgets it.
    pub fn set(&mut self, member: MemberKey, change: MemberOverride) {
        if change.is_empty() {
            self.members.remove(&member);
        } else {
            self.members.insert(member, change);
        }
    }

    /// Changes only the weight; `None` goes back to the pool file's.
    pub fn set_weight(&mut self, member: MemberKey, weight: Option<Weight>) {
        let before = self.members.get(&member).copied().unwrap_or_default();
        self.set(member, MemberOverride { weight, ..before });
    }

    /// Changes only whether the member is on; `None` goes back to the pool file's word.
    pub fn set_admin_state_up(&mut self, member: MemberKey, admin_state_up: Option<bool>) {
        let before = self.members.get(&member).copied().unwrap_or_default();
        self.set(member, MemberOverride { admin_state_up, ..before });
    }

    /// Changes only whether the member drains.
    pub fn set_drain(&mut self, member: MemberKey, drain: bool) {
        let before = self.members.get(&member).copied().unwrap_or_default();
        self.set(member, MemberOverride { drain, ..before });
    }

    /// Forgets what was changed about a member and returns it.
    pub fn clear(&mut self, member: &MemberKey) -> Option<MemberOverride> {
        self.members.remove(member)
    }

    /// Every change, ordered by member.
    pub fn iter(&self) -> impl Iterator<Item = (&MemberKey, &MemberOverride)> {
        self.members.iter()
    }

    /// How many members are changed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether no member is changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

impl FromIterator<(MemberKey, MemberOverride)> for Overrides {
    fn from_iter<I: IntoIterator<Item = (MemberKey, MemberOverride)>>(changes: I) -> Self {
        let mut overrides = Self::default();
        for (member, change) in changes {
            overrides.set(member, change);
        }
        overrides
    }
}

pub use lb_health::Verdict;

/// What the health monitors found. A member that is not in here counts as
/// healthy: it has no monitor, or was not probed often enough for a verdict,
/// and a daemon that starts must not begin by taking everybody out.
pub type HealthView = BTreeMap<MemberKey, Verdict>;

/// A VRRP instance, as far as the maps are concerned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InstanceIntent {
    /// Its name.
    pub name: Name,
    /// The virtual router's Ethernet address; without one its VIPs are with each
    /// interface's own.
    pub mac: Option<Mac>,
    /// Virtual addresses that belong to no load balancer: they are answered for
    /// like the others, and nobody listens there.
    pub addresses: Vec<IpAddr>,
    /// Who may send it adverts: VRIDs, each with an address of its family. Empty:
    /// anybody.
    pub advert_sources: BTreeSet<(u8, IpAddr)>,
}

impl InstanceIntent {
    /// What an operator calls its addresses that belong to no load balancer. No
    /// load balancer can be called so: a name has no space in it.
    #[must_use]
    pub fn label_of_addresses(&self) -> String {
        format!("{INSTANCE_LABEL}{}", self.name)
    }
}

const INSTANCE_LABEL: &str = "vrrp ";

/// Whether a VIP's label is one of [`InstanceIntent::label_of_addresses`].
#[must_use]
pub fn is_instance_label(label: &str) -> bool {
    label.starts_with(INSTANCE_LABEL)
}

/// What the maps should say.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Desired {
    /// VRRP instances by name.
    pub instances: BTreeMap<String, DesiredInstance>,
    /// Who may send VRRP adverts.
    pub advert_sources: BTreeSet<(u8, IpAddr)>,
    /// VIPs by address.
    pub vips: BTreeMap<IpAddr, DesiredVip>,
    /// Listeners.
    pub listeners: BTreeMap<ListenerKey, DesiredListener>,
    /// Pools by label.
    pub pools: BTreeMap<String, DesiredPool>,
    /// Members.
    pub members: BTreeMap<MemberKey, DesiredMember>,
    /// How frames reach addresses, those of members that have left the model
    /// and still have flows among them.
    pub next_hops: NextHops,
}

/// A VRRP instance that should be there.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DesiredInstance {
    /// The virtual router's Ethernet address, if it has one.
    pub mac: Option<Mac>,
}

/// A VIP that should be there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DesiredVip {
    /// `load_balancer`, or `vrrp instance`.
    pub label: String,
    /// Whether it is switched on.
    pub active: bool,
    /// The VRRP instance that moves it; every name is in
    /// [`Desired::instances`].
    pub instance: Option<String>,
}

/// A listener that should be there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DesiredListener {
    /// `load_balancer/listener`.
    pub label: String,
    /// Label of its pool.
    pub pool: Option<String>,
    /// What is asked before a flow is opened.
    pub rules: ListenerRules,
    /// From where it may be reached, if it is guarded.
    pub allowed_cidrs: BTreeSet<Prefix>,
}

/// A pool that should be there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DesiredPool {
    /// What it is.
    pub record: PoolRecord,
    /// The members its table names; every key is in [`Desired::members`].
    pub members: Vec<MemberKey>,
    /// The member of each slot, as an index into `members`. Empty when no
    /// member can take traffic.
    pub table: Vec<u16>,
    /// For how long flows that are not recorded keep the member of the table before.
    pub hold: Duration,
}

/// A member that should be there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DesiredMember {
    /// `load_balancer/pool/member`.
    pub label: String,
    /// Flags of [`lb_common::member::MemberState`].
    pub flags: u64,
    /// The effective weight.
    pub weight: u16,
    /// How frames reach it, when known.
    pub next_hop: Option<NextHop>,
    /// What the way there takes.
    pub path: MemberPath,
    /// How many flows may live at a time; 0 for as many as there are.
    pub connection_limit: u32,
}

/// Works out what the maps should say. The same arguments give the same result.
///
/// Load balancers and listeners that are switched off are left out, and so are
/// pools that no listener uses: their members' UDP flows then move to where
/// the listener points now.
#[must_use]
pub fn compile(
    model: &Model,
    overrides: &Overrides,
    health: &HealthView,
    hops: &NextHops,
    instances: &[InstanceIntent],
) -> Desired {
    compile_with(model, Said { overrides, health, hops }, instances, &mut KeptTables::default())
}

/// [`compile`] with tables that are kept, which saves time and changes nothing.
pub(crate) fn compile_with(
    model: &Model,
    said: Said<'_>,
    instances: &[InstanceIntent],
    tables: &mut KeptTables,
) -> Desired {
    let hops = said.hops;
    let mut desired = Desired { next_hops: hops.clone(), ..Desired::default() };
    for instance in instances {
        desired.add_instance(instance);
    }
    for lb in model.load_balancers().iter().filter(|lb| lb.admin_state_up) {
        let instance = match &lb.topology {
            Topology::Single => None,
            Topology::ActiveStandby { vrrp } => Some(vrrp.to_string()),
        };
        if let Some(name) = &instance {
            // One that nobody runs is never Active: better nobody answers for
            // the VIP than both.
            desired.instances.entry(name.clone()).or_default();
        }
        desired.vips.insert(lb.vip_address, DesiredVip { label: lb.name.to_string(), active: true, instance });
        for listener in lb.listeners.iter().filter(|l| l.admin_state_up) {
            let key =
                ListenerKey { vip: lb.vip_address, transport: listener.protocol, port: listener.protocol_port.get() };
            let pool = listener.default_pool.as_ref().and_then(|name| lb.pools.iter().find(|p| p.name == *name));
            if let Some(pool) = pool {
                desired.add_pool(lb, pool, &said, tables);
            }
            let label = lb.label_of_listener(listener);
            let pool = pool.map(|p| lb.label_of_pool(p));
            let allowed_cidrs = listener.allowed_cidrs.iter().map(|cidr| (cidr.address(), cidr.prefix())).collect();
            let rules = rules_of(listener);
            desired.listeners.insert(key, DesiredListener { label, pool, rules, allowed_cidrs });
        }
    }
    tables.retain(|pool| desired.pools.contains_key(pool));
    desired
}

fn rules_of(listener: &Listener) -> ListenerRules {
    ListenerRules {
        guarded: !listener.allowed_cidrs.is_empty(),
        connection_limit: listener.connection_limit.map_or(0, NonZeroU32::get),
        new_flows_per_source: listener.new_flows_per_source.map_or(0, NonZeroU32::get),
    }
}

impl Desired {
    /// Load balancers that have listeners with pools, none of which has a member
    /// to offer.
    #[must_use]
    pub fn load_balancers_down(&self) -> BTreeSet<String> {
        Offers::of(self).load_balancers_down()
    }

    /// Adds a pool and its members, unless another listener has already brought
    /// it in.
    fn add_pool(&mut self, lb: &LoadBalancer, pool: &Pool, said: &Said<'_>, tables: &mut KeptTables) {
        let label = lb.label_of_pool(pool);
        if self.pools.contains_key(&label) {
            return;
        }
        let Lineup { record, stands, chosen, table, hold } = Lineup::of(lb, pool, said, tables);
        let key = |member: &Member| MemberKey::of(lb, pool, member);
        let members = chosen.iter().filter_map(|at| pool.members.get(usize::from(*at))).map(key).collect();
        self.pools.insert(label, DesiredPool { record, members, table, hold });
        self.members.extend(pool.members.iter().zip(stands).map(|(member, stand)| {
            let Stand { flags, weight, next_hop, path, connection_limit } = stand;
            let label = lb.label_of_member(pool, member);
            (key(member), DesiredMember { label, flags, weight, next_hop, path, connection_limit })
        }));
    }

    fn add_instance(&mut self, intent: &InstanceIntent) {
        let InstanceIntent { name, mac, addresses, advert_sources } = intent;
        self.instances.insert(name.to_string(), DesiredInstance { mac: *mac });
        self.advert_sources.extend(advert_sources);
        for address in addresses {
            let (label, instance) = (intent.label_of_addresses(), Some(name.to_string()));
            self.vips.insert(*address, DesiredVip { label, active: true, instance });
        }
    }
}

/// Which pools load balancers reach, and whether those have a member to offer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Offers {
    /// Labels of a load balancer and of a pool that it has a listener for.
    reached: BTreeSet<(String, String)>,
    /// Labels of pools that have nobody to offer.
    empty: BTreeSet<String>,
}

impl Offers {
    /// What is offered once the maps say what they should.
    #[must_use]
    pub fn of(desired: &Desired) -> Self {
        let reached = desired.listeners.iter().filter_map(|(key, listener)| {
            let (vip, pool) = (desired.vips.get(&key.vip)?, listener.pool.as_ref()?);
            Some((vip.label.clone(), pool.clone()))
        });
        let empty = desired.pools.iter().filter(|(_, pool)| pool.table.is_empty());
        Self { reached: reached.collect(), empty: empty.map(|(label, _)| label.clone()).collect() }
    }

    /// Takes whether a pool has anybody to offer now.
    pub fn set(&mut self, pool: &str, offers: bool) {
        if offers {
            self.empty.remove(pool);
        } else if !self.empty.contains(pool) {
            self.empty.insert(pool.to_owned());
        }
    }

    /// Load balancers that reach pools, none of which has a member to offer.
    #[must_use]
    pub fn load_balancers_down(&self) -> BTreeSet<String> {
        let mut standing: BTreeMap<&str, bool> = BTreeMap::new();
        for (lb, pool) in &self.reached {
            *standing.entry(lb).or_default() |= !self.empty.contains(pool);
        }
        standing.into_iter().filter(|(_, offers)| !offers).map(|(label, _)| label.to_owned()).collect()
    }
}

#[cfg(test)]
#[path = "compile_tests.rs"]
mod tests;
