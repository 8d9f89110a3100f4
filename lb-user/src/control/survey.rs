//! The status of everything that the pool file names, for whoever remembers
//! statuses: after each change of facts, so it is to be quick with ten thousand
//! members.
//!
//! [`survey`] walks the pool file and takes the maps to be as they should be,
//! which they are after a [`converge`](crate::controller::Controller::converge)
//! that succeeded. Where it failed, [`survey_of_maps`](super::answer::survey_of_maps) looks at the maps.
//! Both judge by the functions of [`super::status`].
//!
//! What must not be here: the maps.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt::{Display, Write as _},
    net::IpAddr,
};

use super::{
    answer::Intent,
    status::{self, Drain, ListenerOff, MemberFacts, MemberStatus, Object, PanicFacts, Part, PoolFacts, PoolOff},
    view::OperatingStatus,
};
use crate::{
    compile::{HealthView, MemberKey, MemberOverride, NextHops, Overrides, Panic, Verdict, panic_of},
    model::{Listener, LoadBalancer, Member, Name, Pool},
};

/// Why a next hop is missing that the network has not said a word about.
pub(crate) const NOT_LOOKED_UP: &str = "its next hop has not been looked up yet";

/// An object with its status.
#[derive(Clone, Copy)]
pub struct Sighting<'a> {
    /// What it is.
    pub object: Object,
    /// Its label.
    pub label: &'a str,
    /// Its status.
    pub status: OperatingStatus,
    /// The reason, unless it is `ONLINE`.
    pub reason: Option<&'a dyn Display>,
    /// A member that a monitor found down.
    pub down: bool,
    /// A pool whose traffic goes to all members, because so many are down.
    pub panic: Option<PanicFacts>,
}

impl std::fmt::Debug for Sighting<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { object, label, status, .. } = self;
        let reason = self.reason.map(ToString::to_string);
        f.debug_struct("Sighting")
            .field("object", object)
            .field("label", label)
            .field("status", status)
            .field("reason", &reason)
            .field("down", &self.down)
            .field("panic", &self.panic)
            .finish()
    }
}

/// An object that is neither down nor in panic.
pub(crate) fn sighting<'a>(
    object: Object,
    label: &'a str,
    status: OperatingStatus,
    reason: Option<&'a String>,
) -> Sighting<'a> {
    let reason = reason.map(|reason| reason as &dyn Display);
    Sighting { object, label, status, reason, down: false, panic: None }
}

/// Why a listener of the pool file is out of use.
pub(crate) const fn listener_off(lb: &LoadBalancer, listener: &Listener) -> Option<ListenerOff> {
    match (lb.admin_state_up, listener.admin_state_up) {
        (false, _) => Some(ListenerOff::LoadBalancer),
        (true, false) => Some(ListenerOff::Listener),
        (true, true) => None,
    }
}

/// Why a pool of the pool file is out of use; `used`: a listener that is switched
/// on names it.
pub(crate) const fn pool_off(lb: &LoadBalancer, pool: &Pool, used: bool) -> Option<PoolOff> {
    match (lb.admin_state_up, pool.admin_state_up, used) {
        (false, ..) => Some(PoolOff::LoadBalancer),
        (true, false, _) => Some(PoolOff::Pool),
        (true, true, false) => Some(PoolOff::Unused),
        (true, true, true) => None,
    }
}

/// Whether a monitor watches a pool's members.
pub(crate) fn is_monitored(pool: &Pool) -> bool {
    pool.health_monitor.as_ref().is_some_and(|monitor| monitor.admin_state_up)
}

/// Whether a pool of the pool file is in panic.
pub(crate) fn panic(lb: &LoadBalancer, pool: &Pool, overrides: &Overrides, health: &HealthView) -> Option<PanicFacts> {
    let threshold = pool.panic_threshold?.get();
    let Panic { down, of } = panic_of(lb, pool, overrides, health)?;
    Some(PanicFacts { down, of, threshold: Some(threshold) })
}

/// What identifies a member, without owning it.
type Place<'a> = (&'a str, IpAddr, u16);

const fn place(key: &MemberKey) -> Place<'_> {
    (key.pool.as_str(), key.address, key.port)
}

/// Shows everything that the pool file names, with its status, where the maps are
/// as they should be: load balancers and what is in them, one after another.
pub fn survey(intent: &Intent<'_>, hops: &NextHops, tell: &mut dyn FnMut(&Sighting<'_>)) {
    let survey = Survey {
        intent,
        hops,
        down: down(intent.health, intent.health_reasons),
        changes: intent.overrides.iter().map(|(key, change)| (place(key), change)).collect(),
    };
    for lb in intent.model.load_balancers() {
        survey.load_balancer(lb, tell);
    }
}

/// The members that a monitor found down, with what it met. Both maps are in the
/// same order, so that one walk through both is enough.
fn down<'a>(health: &'a HealthView, reasons: &'a BTreeMap<MemberKey, String>) -> HashMap<Place<'a>, Option<&'a str>> {
    let mut reasons = reasons.iter().peekable();
    let down = health.iter().filter(|(_, verdict)| **verdict == Verdict::Down);
    down.map(|(key, _)| {
        while reasons.next_if(|(other, _)| *other < key).is_some() {}
        let reason = reasons.peek().filter(|(other, _)| *other == key);
        (place(key), reason.map(|(_, reason)| reason.as_str()))
    })
    .collect()
}

struct Survey<'a> {
    intent: &'a Intent<'a>,
    hops: &'a NextHops,
    /// Members that a monitor found down, with what it met.
    down: HashMap<Place<'a>, Option<&'a str>>,
    changes: HashMap<Place<'a>, &'a MemberOverride>,
}

/// What was found about a pool.
struct PoolFound {
    label: String,
    status: OperatingStatus,
    reason: Option<String>,
}

impl PoolFound {
    fn part(&self) -> Part<'_> {
        Part { object: Object::Pool, label: &self.label, status: self.status, reason: self.reason.as_deref() }
    }
}

impl Survey<'_> {
    fn load_balancer(&self, lb: &LoadBalancer, tell: &mut dyn FnMut(&Sighting<'_>)) {
        let on = lb.listeners.iter().filter(|listener| listener_off(lb, listener).is_none());
        let used: HashSet<&str> = on.filter_map(|listener| listener.default_pool.as_ref()).map(Name::as_str).collect();
        let pools: Vec<PoolFound> = lb
            .pools
            .iter()
            .map(|pool| self.pool(lb, pool, pool_off(lb, pool, used.contains(pool.name.as_str())), tell))
            .collect();
        let by_name: HashMap<&str, &PoolFound> = lb.pools.iter().map(|pool| pool.name.as_str()).zip(&pools).collect();
        let listeners: Vec<_> = lb
            .listeners
            .iter()
            .map(|listener| {
                let pool = listener.default_pool.as_ref().and_then(|name| by_name.get(name.as_str()));
                let off = listener_off(lb, listener);
                let (status, reason) = status::of_listener(off, true, pool.map(|pool| pool.part()));
                (lb.label_of_listener(listener), status, reason)
            })
            .collect();
        for (label, status, reason) in &listeners {
            tell(&sighting(Object::Listener, label, *status, reason.as_ref()));
        }
        let of_listeners = listeners.iter().map(|(label, status, reason)| Part {
            object: Object::Listener,
            label,
            status: *status,
            reason: reason.as_deref(),
        });
        let parts = pools.iter().map(PoolFound::part).chain(of_listeners);
        let (status, reason) = status::of_load_balancer(lb.admin_state_up, true, parts);
        tell(&sighting(Object::LoadBalancer, lb.name.as_str(), status, reason.as_ref()));
    }

    fn pool(
        &self,
        lb: &LoadBalancer,
        pool: &Pool,
        off: Option<PoolOff>,
        tell: &mut dyn FnMut(&Sighting<'_>),
    ) -> PoolFound {
        let label = lb.label_of_pool(pool);
        let panic = panic(lb, pool, self.intent.overrides, self.intent.health).filter(|_| off.is_none());
        let mut of_member = format!("{label}/");
        let bare = of_member.len();
        let mut members = Vec::with_capacity(pool.members.len());
        for member in &pool.members {
            let facts = self.member(&label, pool, member, off, panic.is_some());
            let (status, reason) = status::of_member(&facts);
            of_member.truncate(bare);
            // Writing into a string does not fail.
            let _ = write!(of_member, "{}", member.name);
            let because = reason.as_ref().map(|reason| reason as &dyn Display);
            let (object, down) = (Object::Member, facts.down);
            tell(&Sighting { object, label: &of_member, status, reason: because, down, panic: None });
            members.push(MemberStatus { name: member.name.as_str(), status, reason });
        }
        // With one member that works the table has somebody to name.
        let (status, reason) = status::of_pool(&PoolFacts { off, has_table: true, panic }, members);
        tell(&Sighting { panic, ..sighting(Object::Pool, &label, status, reason.as_ref()) });
        if let Some(monitor) = &pool.health_monitor {
            let (status, reason) = status::of_monitor(monitor.admin_state_up, off);
            tell(&sighting(Object::HealthMonitor, &label, status, reason.as_ref()));
        }
        PoolFound { label, status, reason }
    }

    fn member<'s>(
        &'s self,
        pool_label: &str,
        pool: &Pool,
        member: &Member,
        pool_off: Option<PoolOff>,
        panic: bool,
    ) -> MemberFacts<'s> {
        let place = (pool_label, member.address, member.protocol_port.get());
        let change = self.changes.get(&place).copied().copied().unwrap_or_default();
        let weight = change.weight.unwrap_or(member.weight).get();
        let monitored = is_monitored(pool);
        let down = self.down.get(&place).copied().filter(|_| monitored);
        let missing = || self.intent.hops_missing.get(&member.address).map_or(NOT_LOOKED_UP, String::as_str);
        MemberFacts {
            retired: false,
            admin_state_up: change.admin_state_up.unwrap_or(member.admin_state_up),
            pool_off,
            down: down.is_some(),
            down_reason: down.flatten(),
            panic,
            in_dataplane: true,
            drain: Drain::of(weight, change.drain),
            hop_missing: (!self.hops.contains_key(&member.address)).then(missing),
            monitored: Some(monitored),
        }
    }
}

#[cfg(test)]
#[path = "survey_tests.rs"]
mod tests;
