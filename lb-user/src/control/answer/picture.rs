//! What is wanted and what is there, side by side: a row for everything either
//! side knows, sorted by label, with its status.
//!
//! Others rely on this: a row that the pool file has carries its words, a row
//! that the data path has carries its ids, and at least one of the two holds.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::IpAddr,
};

use lb_common::member::MemberState;

use super::Intent;
use crate::{
    compile::{MemberKey, MemberOverride, Verdict, is_instance_label},
    control::{
        status::{self, Drain, ListenerOff, MemberFacts, MemberStatus, Object, PanicFacts, Part, PoolFacts, PoolOff},
        survey::{self, NOT_LOOKED_UP, Sighting},
        view::OperatingStatus,
    },
    dataplane::{ListenerKey, MemberId, MemberRecord, Observed, ObservedListener, ObservedPool, ObservedVip},
    model::{Listener, LoadBalancer, Member, Pool},
};

/// Everything there is.
pub(super) struct Picture<'a> {
    pub(super) load_balancers: Vec<LoadBalancerRow<'a>>,
    pub(super) listeners: Vec<ListenerRow<'a>>,
    pub(super) pools: Vec<PoolRow<'a>>,
    pub(super) members: Vec<MemberRow<'a>>,
    /// Members by their pool's label, as indices.
    members_of: HashMap<String, Vec<usize>>,
}

/// A load balancer.
pub(super) struct LoadBalancerRow<'a> {
    pub(super) label: String,
    pub(super) address: IpAddr,
    pub(super) wanted: Option<&'a LoadBalancer>,
    pub(super) seen: Option<&'a ObservedVip>,
    /// Whether this balancer answers for the VIP.
    pub(super) carried: bool,
    pub(super) status: OperatingStatus,
    pub(super) reason: Option<String>,
}

/// A listener.
pub(super) struct ListenerRow<'a> {
    pub(super) label: String,
    pub(super) key: ListenerKey,
    /// Label of its pool.
    pub(super) pool: Option<String>,
    pub(super) wanted: Option<(&'a LoadBalancer, &'a Listener)>,
    pub(super) seen: Option<&'a ObservedListener>,
    pub(super) status: OperatingStatus,
    pub(super) reason: Option<String>,
}

/// A pool.
pub(super) struct PoolRow<'a> {
    pub(super) label: String,
    /// Labels of the listeners that name it.
    pub(super) listeners: Vec<String>,
    /// Why it is out of use.
    pub(super) off: Option<PoolOff>,
    /// So many of its members are down that traffic goes to all.
    pub(super) panic: Option<PanicFacts>,
    pub(super) wanted: Option<(&'a LoadBalancer, &'a Pool)>,
    pub(super) seen: Option<&'a ObservedPool>,
    pub(super) status: OperatingStatus,
    pub(super) reason: Option<String>,
}

/// A member.
pub(super) struct MemberRow<'a> {
    pub(super) label: String,
    pub(super) key: MemberKey,
    /// Gone from the pool file.
    pub(super) retired: bool,
    pub(super) wanted: Option<(&'a Pool, &'a Member)>,
    pub(super) seen: Option<(MemberId, &'a MemberRecord)>,
    /// What an operator changed.
    pub(super) change: Option<MemberOverride>,
    /// Slots of its pool's table that name it, of how many.
    pub(super) share: (usize, usize),
    pub(super) hop_missing: Option<String>,
    /// A monitor found it down.
    pub(super) down: bool,
    pub(super) status: OperatingStatus,
    pub(super) reason: Option<String>,
}

impl ListenerRow<'_> {
    fn off(&self) -> Option<ListenerOff> {
        self.wanted.and_then(|(lb, listener)| survey::listener_off(lb, listener))
    }
}

impl MemberRow<'_> {
    fn flags(&self) -> u64 {
        self.seen.map_or(0, |(_, record)| record.flags)
    }

    fn has(&self, flag: u64) -> bool {
        self.flags() & flag != 0
    }

    /// Whether it is switched on, overrides included.
    pub(super) fn admin_state_up(&self) -> bool {
        match self.wanted {
            Some((_, member)) => self.change.and_then(|c| c.admin_state_up).unwrap_or(member.admin_state_up),
            None => !self.has(MemberState::DISABLED),
        }
    }

    /// The weight in force.
    pub(super) fn weight(&self) -> u16 {
        match self.wanted {
            Some((_, member)) => self.change.and_then(|c| c.weight).unwrap_or(member.weight).get(),
            None => self.seen.map_or(0, |(_, record)| record.weight),
        }
    }

    /// Whether it is a backup.
    pub(super) fn backup(&self) -> bool {
        self.wanted.map_or_else(|| self.has(MemberState::BACKUP), |(_, member)| member.backup)
    }

    fn drain(&self) -> Option<Drain> {
        let drained = match self.wanted {
            Some(_) => self.change.is_some_and(|c| c.drain),
            None => self.has(MemberState::DRAINING),
        };
        Drain::of(self.weight(), drained)
    }

    /// It as its pool sees it.
    fn within_pool(&self) -> MemberStatus<'_, &String> {
        let name = self.label.rsplit_once('/').map_or(self.label.as_str(), |(_, name)| name);
        MemberStatus { name, status: self.status, reason: self.reason.as_ref() }
    }

    /// Takes traffic though it is down.
    fn shows_panic(&self) -> bool {
        const BOTH: u64 = MemberState::UP | MemberState::UNHEALTHY;
        self.flags() & BOTH == BOTH
    }

    /// The flags do not tell why a member is not up when nothing about itself
    /// is the reason: its pool is switched off then.
    fn shows_pool_off(&self) -> bool {
        const WHY: u64 = MemberState::UP | MemberState::DISABLED | MemberState::UNHEALTHY | MemberState::RETIRED;
        self.seen.is_some() && !self.has(WHY)
    }
}

/// The pool's part of a member's label.
fn pool_of(label: &str) -> &str {
    label.rsplit_once('/').map_or("", |(pool, _)| pool)
}

/// The load balancer's part of a label.
pub(super) fn load_balancer_of(label: &str) -> &str {
    label.split_once('/').map_or(label, |(balancer, _)| balancer)
}

impl<'a> Picture<'a> {
    pub(super) fn new(observed: &'a Observed, intent: Option<&Intent<'a>>) -> Self {
        let wanted = intent.map_or(&[][..], |intent| intent.model.load_balancers());
        let listeners = listener_rows(observed, wanted);
        let mut picture = Self {
            load_balancers: load_balancer_rows(observed, wanted),
            pools: pool_rows(observed, wanted, &listeners),
            listeners,
            members: member_rows(observed, wanted, intent),
            members_of: HashMap::new(),
        };
        for (index, member) in picture.members.iter().enumerate() {
            picture.members_of.entry(member.key.pool.clone()).or_default().push(index);
        }
        picture.judge(intent);
        picture
    }

    /// The members of a pool, retired ones left out.
    pub(super) fn members_of<'p>(&'p self, pool: &str) -> impl Iterator<Item = &'p MemberRow<'a>> {
        let indices = self.members_of.get(pool).map_or(&[][..], Vec::as_slice);
        indices.iter().map(|index| &self.members[*index]).filter(|member| !member.retired)
    }

    /// Fills in every status, from the bottom up.
    fn judge(&mut self, intent: Option<&Intent<'a>>) {
        let on = self.listeners.iter().filter(|listener| listener.off().is_none());
        let used: HashSet<String> = on.filter_map(|listener| listener.pool.clone()).collect();
        let mut of_pool: HashMap<String, (Option<PoolOff>, bool)> = HashMap::new();
        for at in 0..self.pools.len() {
            let off = self.pool_off(&self.pools[at], &used);
            let panic = self.panic(&self.pools[at], intent);
            let pool = &mut self.pools[at];
            (pool.off, pool.panic) = (off, panic.filter(|_| off.is_none()));
            of_pool.insert(pool.label.clone(), (off, pool.panic.is_some()));
        }
        for member in &mut self.members {
            let (off, panic) = of_pool.get(&member.key.pool).copied().unwrap_or_default();
            judge_member(member, off, panic, intent);
        }
        for at in 0..self.pools.len() {
            let pool = &self.pools[at];
            let has_table = pool.seen.is_some_and(|seen| !seen.table.is_empty());
            let facts = PoolFacts { off: pool.off, has_table, panic: pool.panic };
            let judged = status::of_pool(&facts, self.members_of(&pool.label).map(MemberRow::within_pool));
            (self.pools[at].status, self.pools[at].reason) = judged;
        }
        let pools: HashMap<&str, Part<'_>> = self.pools.iter().map(|pool| (pool.label.as_str(), pool.part())).collect();
        for listener in &mut self.listeners {
            let pool = listener.pool.as_ref().and_then(|label| pools.get(label.as_str())).copied();
            let judged = status::of_listener(listener.off(), listener.seen.is_some(), pool);
            (listener.status, listener.reason) = judged;
        }
        let mut parts: HashMap<&str, Vec<Part<'_>>> = HashMap::new();
        let listeners = self.listeners.iter().map(ListenerRow::part);
        for part in self.pools.iter().map(PoolRow::part).chain(listeners) {
            parts.entry(load_balancer_of(part.label)).or_default().push(part);
        }
        for lb in &mut self.load_balancers {
            let on = lb.wanted.is_none_or(|lb| lb.admin_state_up);
            let parts = parts.get(lb.label.as_str()).into_iter().flatten().copied();
            (lb.status, lb.reason) = status::of_load_balancer(on, lb.seen.is_some(), parts);
        }
    }

    fn pool_off(&self, pool: &PoolRow<'_>, used: &HashSet<String>) -> Option<PoolOff> {
        match pool.wanted {
            Some((lb, wanted)) => survey::pool_off(lb, wanted, used.contains(&pool.label)),
            None => self.members_of(&pool.label).any(MemberRow::shows_pool_off).then_some(PoolOff::Pool),
        }
    }

    /// Whether a pool is in panic. The maps show it at members that are up though
    /// they are down, and not from how many on it begins.
    fn panic(&self, pool: &PoolRow<'_>, intent: Option<&Intent<'_>>) -> Option<PanicFacts> {
        if let (Some((lb, wanted)), Some(intent)) = (pool.wanted, intent) {
            return survey::panic(lb, wanted, intent.overrides, intent.health);
        }
        if !self.members_of(&pool.label).any(MemberRow::shows_panic) {
            return None;
        }
        let counts = |member: &&MemberRow<'_>| member.admin_state_up() && member.drain().is_none();
        let counted = || self.members_of(&pool.label).filter(counts);
        let down = counted().filter(|member| member.has(MemberState::UNHEALTHY)).count();
        Some(PanicFacts { down, of: counted().count(), threshold: None })
    }

    /// Shows everything that the pool file names to whoever remembers statuses.
    pub(super) fn tell(&self, tell: &mut dyn FnMut(&Sighting<'_>)) {
        for lb in self.load_balancers.iter().filter(|row| row.wanted.is_some()) {
            tell(&survey::sighting(Object::LoadBalancer, &lb.label, lb.status, lb.reason.as_ref()));
        }
        for listener in self.listeners.iter().filter(|row| row.wanted.is_some()) {
            tell(&survey::sighting(Object::Listener, &listener.label, listener.status, listener.reason.as_ref()));
        }
        for pool in &self.pools {
            let Some((_, wanted)) = pool.wanted else { continue };
            let sighting = survey::sighting(Object::Pool, &pool.label, pool.status, pool.reason.as_ref());
            tell(&Sighting { panic: pool.panic, ..sighting });
            if let Some(monitor) = &wanted.health_monitor {
                let (status, reason) = status::of_monitor(monitor.admin_state_up, pool.off);
                tell(&survey::sighting(Object::HealthMonitor, &pool.label, status, reason.as_ref()));
            }
        }
        for member in self.members.iter().filter(|row| row.wanted.is_some()) {
            let sighting = survey::sighting(Object::Member, &member.label, member.status, member.reason.as_ref());
            tell(&Sighting { down: member.down, ..sighting });
        }
    }
}

impl LoadBalancerRow<'_> {
    pub(super) fn part(&self) -> Part<'_> {
        let reason = self.reason.as_deref();
        Part { object: Object::LoadBalancer, label: &self.label, status: self.status, reason }
    }
}

impl ListenerRow<'_> {
    fn part(&self) -> Part<'_> {
        let reason = self.reason.as_deref();
        Part { object: Object::Listener, label: &self.label, status: self.status, reason }
    }
}

impl PoolRow<'_> {
    fn part(&self) -> Part<'_> {
        Part { object: Object::Pool, label: &self.label, status: self.status, reason: self.reason.as_deref() }
    }
}

fn judge_member(member: &mut MemberRow<'_>, pool_off: Option<PoolOff>, panic: bool, intent: Option<&Intent<'_>>) {
    let monitored = member.wanted.map(|(pool, _)| survey::is_monitored(pool));
    member.down = match (intent, monitored) {
        (Some(intent), Some(monitored)) => monitored && intent.health.get(&member.key) == Some(&Verdict::Down),
        _ => member.has(MemberState::UNHEALTHY),
    };
    let facts = MemberFacts {
        retired: member.retired,
        admin_state_up: member.admin_state_up(),
        pool_off,
        down: member.down,
        down_reason: intent.and_then(|intent| intent.health_reasons.get(&member.key)).map(String::as_str),
        panic,
        in_dataplane: member.seen.is_some() && !member.has(MemberState::RETIRED),
        drain: member.drain(),
        hop_missing: member.hop_missing.as_deref(),
        monitored,
    };
    let (status, reason) = status::of_member(&facts);
    let reason = reason.map(|reason| reason.to_string());
    (member.status, member.reason) = (status, reason);
}

fn load_balancer_rows<'a>(observed: &'a Observed, wanted: &'a [LoadBalancer]) -> Vec<LoadBalancerRow<'a>> {
    let mut rows: BTreeMap<IpAddr, LoadBalancerRow<'a>> = BTreeMap::new();
    let row = |label: String, address| LoadBalancerRow {
        label,
        address,
        wanted: None,
        seen: None,
        carried: false,
        status: OperatingStatus::Offline,
        reason: None,
    };
    for (address, vip) in observed.vips.iter().filter(|(_, vip)| !is_instance_label(&vip.label)) {
        rows.insert(
            *address,
            LoadBalancerRow { seen: Some(vip), carried: observed.answers_for(vip), ..row(vip.label.clone(), *address) },
        );
    }
    for lb in wanted {
        let row = rows.entry(lb.vip_address).or_insert_with(|| row(String::new(), lb.vip_address));
        row.label = lb.name.to_string();
        row.wanted = Some(lb);
    }
    sorted(rows.into_values(), |row| row.label.clone())
}

fn listener_rows<'a>(observed: &'a Observed, wanted: &'a [LoadBalancer]) -> Vec<ListenerRow<'a>> {
    let mut rows: BTreeMap<ListenerKey, ListenerRow<'a>> = BTreeMap::new();
    let row = |key| ListenerRow {
        label: String::new(),
        key,
        pool: None,
        wanted: None,
        seen: None,
        status: OperatingStatus::Offline,
        reason: None,
    };
    for (key, listener) in &observed.listeners {
        let pool = observed.pools.get(&listener.pool).map(|pool| pool.record.label.clone());
        rows.insert(*key, ListenerRow { label: listener.label.clone(), pool, seen: Some(listener), ..row(*key) });
    }
    for lb in wanted {
        for listener in &lb.listeners {
            let port = listener.protocol_port.get();
            let key = ListenerKey { vip: lb.vip_address, transport: listener.protocol, port };
            let row = rows.entry(key).or_insert_with(|| row(key));
            row.label = lb.label_of_listener(listener);
            row.pool = listener
                .default_pool
                .as_ref()
                .and_then(|name| lb.pools.iter().find(|pool| pool.name == *name))
                .map(|pool| lb.label_of_pool(pool));
            row.wanted = Some((lb, listener));
        }
    }
    sorted(rows.into_values(), |row| row.label.clone())
}

fn pool_rows<'a>(
    observed: &'a Observed,
    wanted: &'a [LoadBalancer],
    listeners: &[ListenerRow<'_>],
) -> Vec<PoolRow<'a>> {
    let mut rows: BTreeMap<String, PoolRow<'a>> = BTreeMap::new();
    let row = |label: &str| PoolRow {
        label: label.to_owned(),
        listeners: Vec::new(),
        off: None,
        panic: None,
        wanted: None,
        seen: None,
        status: OperatingStatus::Offline,
        reason: None,
    };
    for pool in observed.pools.values() {
        rows.insert(pool.record.label.clone(), PoolRow { seen: Some(pool), ..row(&pool.record.label) });
    }
    for lb in wanted {
        for pool in &lb.pools {
            let label = lb.label_of_pool(pool);
            rows.entry(label.clone()).or_insert_with(|| row(&label)).wanted = Some((lb, pool));
        }
    }
    for listener in listeners {
        if let Some(row) = listener.pool.as_ref().and_then(|pool| rows.get_mut(pool)) {
            row.listeners.push(listener.label.clone());
        }
    }
    rows.into_values().collect()
}

fn member_rows<'a>(
    observed: &'a Observed,
    wanted: &'a [LoadBalancer],
    intent: Option<&Intent<'a>>,
) -> Vec<MemberRow<'a>> {
    let mut seen = Seen::new(observed);
    let mut rows = Vec::new();
    for lb in wanted {
        for pool in &lb.pools {
            for member in &pool.members {
                let key = MemberKey::of(lb, pool, member);
                let found = seen.take(&key);
                let mut row = member_row(lb.label_of_member(pool, member), key, found, intent);
                row.wanted = Some((pool, member));
                rows.push(row);
            }
        }
    }
    for (key, found) in seen.rest() {
        let mut row = member_row(found.1.label.clone(), key, Some(found), intent);
        row.retired = intent.is_some() || row.has(MemberState::RETIRED);
        rows.push(row);
    }
    let slots = slots(observed);
    for row in &mut rows {
        let Some((id, record)) = row.seen.filter(|(_, record)| record.flags & MemberState::RETIRED == 0) else {
            continue;
        };
        let whole = observed.pools.get(&record.pool).map_or(0, |pool| pool.table.len());
        row.share = (slots.get(usize::from(id.0)).copied().unwrap_or(0), whole);
    }
    rows.sort_by(|a, b| (&a.label, &a.key, a.retired).cmp(&(&b.label, &b.key, b.retired)));
    rows
}

fn member_row<'a>(
    label: String,
    key: MemberKey,
    seen: Option<(MemberId, &'a MemberRecord)>,
    intent: Option<&Intent<'_>>,
) -> MemberRow<'a> {
    let known = seen.is_some_and(|(_, record)| record.next_hop.is_some());
    let why = || intent.and_then(|intent| intent.hops_missing.get(&key.address)).cloned();
    let unknown = || match intent {
        Some(_) => NOT_LOOKED_UP,
        None => "the maps have no next hop for it",
    };
    let hop_missing = match (known, seen) {
        (true, _) => None,
        (false, Some(_)) => Some(why().unwrap_or_else(|| unknown().to_owned())),
        (false, None) => why(),
    };
    MemberRow {
        label,
        retired: false,
        wanted: None,
        seen,
        change: intent.and_then(|intent| intent.overrides.get(&key)).copied(),
        share: (0, 0),
        hop_missing,
        down: false,
        status: OperatingStatus::Offline,
        reason: None,
        key,
    }
}

/// The members of the maps by what identifies them. A retired one is called by
/// the pool in its label, because its pool's id may have gone to another.
struct Seen<'a> {
    live: BTreeMap<MemberKey, (MemberId, &'a MemberRecord)>,
    retired: Vec<(MemberKey, (MemberId, &'a MemberRecord))>,
}

impl<'a> Seen<'a> {
    fn new(observed: &'a Observed) -> Self {
        let mut seen = Self { live: BTreeMap::new(), retired: Vec::new() };
        for (id, record) in &observed.members {
            let retired = record.flags & MemberState::RETIRED != 0;
            let pool = match observed.pools.get(&record.pool) {
                Some(pool) if !retired => &pool.record.label,
                _ => pool_of(&record.label),
            };
            let key = MemberKey { pool: pool.to_owned(), address: record.address, port: record.port };
            if retired || seen.live.contains_key(&key) {
                seen.retired.push((key, (*id, record)));
            } else {
                seen.live.insert(key, (*id, record));
            }
        }
        seen
    }

    /// The member of a key, a retired one only if there is no other.
    fn take(&mut self, key: &MemberKey) -> Option<(MemberId, &'a MemberRecord)> {
        self.live.remove(key).or_else(|| {
            let at = self.retired.iter().position(|(retired, _)| retired == key)?;
            Some(self.retired.swap_remove(at).1)
        })
    }

    fn rest(self) -> impl Iterator<Item = (MemberKey, (MemberId, &'a MemberRecord))> {
        self.live.into_iter().chain(self.retired)
    }
}

/// How many slots name each member, by id.
fn slots(observed: &Observed) -> Vec<usize> {
    let mut slots = vec![0; usize::from(u16::MAX) + 1];
    for member in observed.pools.values().flat_map(|pool| &pool.table) {
        slots[usize::from(member.0)] += 1;
    }
    slots
}

fn sorted<R, K: Ord>(rows: impl Iterator<Item = R>, key: impl FnMut(&R) -> K) -> Vec<R> {
    let mut rows: Vec<R> = rows.collect();
    rows.sort_by_key(key);
    rows
}

/// Ids of the members that a pool's table names.
pub(super) fn named(table: &[MemberId]) -> Vec<MemberId> {
    let mut named = table.to_vec();
    named.sort_unstable();
    named.dedup();
    named
}
