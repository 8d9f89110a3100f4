//! From what is to what should be, as a list of operations. Pure.
//!
//! What must not be here: the data plane itself, clocks, retries.
//!
//! Others rely on this: after every prefix of a plan no listener points to a
//! pool that is not there, and no table names a member that is not there; after
//! the whole of it, what is observed is what is desired, apart from retired
//! members that still have flows. What is already as desired has no operation.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
};

use lb_common::{member::MemberState, pool::NO_POOL};

use crate::{
    compile::{Desired, DesiredPool, MemberKey, NextHops},
    dataplane::{
        DnatMembers, ForwardMode, InstanceId, ListenerKey, MemberId, MemberRecord, Observed, ObservedInstance, ObservedListener, ObservedPool,
        ObservedVip, Op, PoolId,
    },
};

mod numbers;
mod pool;

use numbers::Numbers;
pub(super) use pool::{Place, places, plan_lingering, plan_pool};

/// Why there is no plan.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PlanError {
    /// More is wanted than the maps can number.
    #[error(
        "cannot number {wanted} more {kind}s: {used} of {limit} {kind} ids are in use, \
         counting what is about to go; {remedy}"
    )]
    NoIdLeft {
        /// What cannot be numbered.
        kind: &'static str,
        /// How many of them.
        wanted: usize,
        /// How many ids there are.
        limit: usize,
        /// How many of those are in use.
        used: usize,
        /// What the operator can do.
        remedy: &'static str,
    },
    /// What is desired refers to something that is not desired: a defect.
    #[error("desired state contradicts itself: {0}; this is a defect, please report it")]
    Contradiction(String),
}

/// Works out the operations that bring `observed` to `desired`.
///
/// They come in the order in which nothing is ever missing: members, tables,
/// VRRP instances, VIPs, listeners, and then, from listeners to members, what
/// has to go. Some
/// places in that order have reasons of their own:
///
/// - A member that goes down (or cannot be reached any more) is put *after* its
///   pool's table. UDP flows and unanswered SYNs leave a member that is not up
///   at their next packet, and choose again from the table. If they found the
///   old one, its slot for them would name the same member: they would leave
///   and come back with every packet until the table changes. A member that
///   comes up is put *before* the table, for the same reason.
/// - A table that becomes empty comes after the listeners: those that leave its
///   pool in this plan refuse nobody on the way.
/// - A retired member is released only if it was observed as retired, not in
///   the plan that retires it: a packet that read the old table a moment ago
///   may still be about to open a flow to it.
///
/// A release is refused while flows name the member; that is no failure, it is
/// proposed again the next time.
///
/// # Errors
/// When ids run out, or when `desired` is not whole.
pub fn plan(desired: &Desired, observed: &Observed) -> Result<Vec<Op>, PlanError> {
    let numbers = Numbers::assign(desired, observed)?;
    let planner = Planner { desired, observed, numbers };
    let members = planner.members()?;
    let tables = planner.tables()?;
    let mut ops = members.rising;
    let in_service: BTreeSet<MemberId> = planner.numbers.members.values().copied().collect();
    ops.extend(lingering(&desired.next_hops, observed, |id| in_service.contains(&id)));
    ops.extend(tables.filled);
    ops.extend(members.declining);
    ops.extend(planner.instances());
    ops.extend(planner.vips()?);
    ops.extend(planner.dnat_members());
    ops.extend(planner.listeners()?);
    ops.extend(tables.emptied);
    ops.extend(members.declining_to_none);
    let kept = Kept {
        listeners: planner.numbers.listeners.keys().copied().collect(),
        instances: planner.numbers.instances.values().copied().collect(),
        vips: planner.numbers.vips.keys().copied().collect(),
        pools: planner.numbers.pools.values().copied().collect(),
        members: planner.numbers.members.values().copied().collect(),
    };
    ops.extend(removals(observed, &kept));
    if desired.advert_sources != observed.advert_sources {
        ops.push(Op::SetAdvertSources { sources: desired.advert_sources.clone() });
    }
    Ok(ops)
}

/// The operations that only take away what is not desired and nothing desired
/// needs. They free ids for a plan that found none left.
#[must_use]
pub fn make_room(desired: &Desired, observed: &Observed) -> Vec<Op> {
    let staying = observed.listeners.iter().filter(|(key, _)| desired.listeners.contains_key(key));
    let reached: BTreeSet<PoolId> = staying.map(|(_, listener)| listener.pool).collect();
    let labels: BTreeSet<_> = desired.pools.keys().map(String::as_str).collect();
    let by_label = observed.pools.iter().filter(|(_, pool)| labels.contains(pool.record.label.as_str()));
    let pools: BTreeSet<PoolId> = by_label.map(|(id, _)| *id).chain(reached).collect();
    let moving = desired.vips.keys().filter_map(|address| observed.vips.get(address)?.instance);
    let named = observed.instances.iter().filter(|(_, instance)| desired.instances.contains_key(&instance.label));
    let in_service = |m: &MemberRecord| m.flags & MemberState::RETIRED == 0 && pools.contains(&m.pool);
    let members = observed.members.iter().filter(|(_, member)| in_service(member)).map(|(id, _)| *id).collect();
    let kept = Kept {
        listeners: desired.listeners.keys().copied().collect(),
        instances: named.map(|(id, _)| *id).chain(moving).collect(),
        vips: desired.vips.keys().copied().collect(),
        pools,
        members,
    };
    removals(observed, &kept)
}

struct Planner<'a> {
    desired: &'a Desired,
    observed: &'a Observed,
    numbers: Numbers<'a>,
}

/// Changes of members, by when they come.
#[derive(Default)]
struct Members {
    /// New ones, and all that lose nothing.
    rising: Vec<Op>,
    /// Those that go down or are not reached any more.
    declining: Vec<Op>,
    /// The same, of pools that nobody is left in.
    declining_to_none: Vec<Op>,
}

/// Changes of pools, by when they come.
#[derive(Default)]
struct Tables {
    /// New pools, and all that have somebody to offer.
    filled: Vec<Op>,
    /// Pools that lose their last member.
    emptied: Vec<Op>,
}

impl Planner<'_> {
    fn members(&self) -> Result<Members, PlanError> {
        let mut members = Members::default();
        for (key, member) in &self.desired.members {
            let id = self.member(key)?;
            let record = MemberRecord {
                label: member.label.clone(),
                address: key.address,
                port: key.port,
                pool: self.pool(&key.pool)?,
                flags: member.flags,
                weight: member.weight,
                next_hop: member.next_hop,
                path: member.path,
                connection_limit: member.connection_limit,
            };
            let emptied = self.desired.pools.get(&key.pool).is_none_or(|pool| pool.table.is_empty());
            let group = match self.observed.members.get(&id) {
                Some(observed) if *observed == record => continue,
                Some(observed) if declines(observed, &record) && emptied => &mut members.declining_to_none,
                Some(observed) if declines(observed, &record) => &mut members.declining,
                _ => &mut members.rising,
            };
            group.push(Op::PutMember { id, record });
        }
        Ok(members)
    }

    fn tables(&self) -> Result<Tables, PlanError> {
        let mut tables = Tables::default();
        for (label, pool) in &self.desired.pools {
            let id = self.pool(label)?;
            let wanted = ObservedPool { record: pool.record.clone(), table: self.table(label, pool)? };
            let observed = self.observed.pools.get(&id);
            if observed == Some(&wanted) {
                continue;
            }
            // Everybody who reaches a renamed pool stays with it; whoever comes
            // to it has no business with the members it had.
            let same = observed.is_some_and(|observed| observed.record.label == wanted.record.label);
            let ObservedPool { record, table } = wanted;
            let group = if table.is_empty() && same { &mut tables.emptied } else { &mut tables.filled };
            group.push(Op::PutPool { id, record, table, hold: pool.hold });
        }
        Ok(tables)
    }

    fn table(&self, label: &str, pool: &DesiredPool) -> Result<Vec<MemberId>, PlanError> {
        let members = pool.members.iter().map(|key| self.member(key)).collect::<Result<Vec<_>, _>>()?;
        let member = |index: &u16| members.get(usize::from(*index)).copied();
        let table: Option<Vec<_>> = pool.table.iter().map(member).collect();
        table.ok_or_else(|| PlanError::Contradiction(format!("a slot of pool {label} names none of its members")))
    }

    fn instances(&self) -> Vec<Op> {
        let mut ops = Vec::new();
        for (label, instance) in &self.desired.instances {
            let Some(id) = self.numbers.instances.get(label.as_str()).copied() else { continue };
            // Whether it is Active is not the plan's to say.
            let as_wanted = |there: &ObservedInstance| there.label == *label && there.mac == instance.mac;
            if !self.observed.instances.get(&id).is_some_and(as_wanted) {
                ops.push(Op::PutInstance { id, label: label.clone(), mac: instance.mac });
            }
        }
        ops
    }

    fn vips(&self) -> Result<Vec<Op>, PlanError> {
        let mut ops = Vec::new();
        for (address, vip) in &self.desired.vips {
            let Some(id) = self.numbers.vips.get(address).copied() else { continue };
            let instance = vip.instance.as_ref().map(|name| {
                let id = self.numbers.instances.get(name.as_str()).copied();
                id.ok_or_else(|| missing("VIP", &vip.label, &format!("instance {name}")))
            });
            let wanted =
                ObservedVip { id, label: vip.label.clone(), active: vip.active, instance: instance.transpose()? };
            if self.observed.vips.get(address) != Some(&wanted) {
                let ObservedVip { id, label, active, instance } = wanted;
                ops.push(Op::PutVip { id, address: *address, label, active, instance });
            }
        }
        Ok(ops)
    }

    fn listeners(&self) -> Result<Vec<Op>, PlanError> {
        let (low, high) = self.observed.snat_ports;
        let mut ops = Vec::new();
        for (key, listener) in &self.desired.listeners {
            let vip = self.numbers.vips.get(&key.vip).copied();
            let vip = vip.ok_or_else(|| missing("listener", &listener.label, &format!("VIP {}", key.vip)))?;
            let Some(id) = self.numbers.listeners.get(key).copied() else { continue };
            let wanted = ObservedListener {
                id,
                label: listener.label.clone(),
                pool: listener.pool.as_ref().map_or(Ok(PoolId(NO_POOL)), |label| self.pool(label))?,
                in_snat_range: (low..=high).contains(&key.port),
                rules: listener.rules,
            };
            // A listener is guarded when its networks are there, and they go when it
            // is not guarded any more.
            let (now, networks) = (self.observed.allowed_cidrs.get(&id), &listener.allowed_cidrs);
            let as_wanted = now.map_or(networks.is_empty(), |now| now == networks);
            let set = (!as_wanted).then(|| Op::SetAllowedCidrs { listener: id, prefixes: networks.clone() });
            let (before, after) = if networks.is_empty() { (None, set) } else { (set, None) };
            ops.extend(before);
            if self.observed.listeners.get(key) != Some(&wanted) {
                let ObservedListener { id, label, pool, in_snat_range, rules } = wanted;
                let (transport, port) = (key.transport, key.port);
                ops.push(Op::PutListener { id, vip, transport, port, label, pool, in_snat_range, rules });
            }
            ops.extend(after);
        }
        Ok(ops)
    }

    /// Whose packets go out with a VIP as their source. Members that leave stay in
    /// the list for as long as they are there: their flows go on. So do those whose
    /// pool has got another mode.
    fn dnat_members(&self) -> Option<Op> {
        let mut members = DnatMembers::new();
        for (key, listener) in &self.desired.listeners {
            let Some(pool) = listener.pool.as_ref() else { continue };
            let Some(id) = self.numbers.listeners.get(key).copied() else { continue };
            if self.desired.pools.get(pool).is_none_or(|pool| pool.record.mode != ForwardMode::Dnat) {
                continue;
            }
            let first = MemberKey { pool: pool.clone(), address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), port: 0 };
            let of_pool = self.desired.members.range(first..).map_while(|(key, _)| (key.pool == *pool).then_some(key));
            members.extend(of_pool.filter_map(|member| {
                let who = (id, self.numbers.members.get(member).copied()?);
                Some(((member.address, member.port, key.transport), who))
            }));
        }
        let listeners: BTreeSet<_> = self.numbers.listeners.values().copied().collect();
        for (place, who) in &self.observed.dnat_members {
            if self.observed.members.contains_key(&who.1) && listeners.contains(&who.0) {
                members.entry(*place).or_insert(*who);
            }
        }
        (members != self.observed.dnat_members).then_some(Op::SetDnatMembers { members })
    }

    fn pool(&self, label: &str) -> Result<PoolId, PlanError> {
        let id = self.numbers.pools.get(label).copied();
        id.ok_or_else(|| PlanError::Contradiction(format!("there is no pool {label}")))
    }

    fn member(&self, key: &MemberKey) -> Result<MemberId, PlanError> {
        let id = self.numbers.members.get(key).copied();
        id.ok_or_else(|| missing("pool", &key.pool, &format!("member {}:{}", key.address, key.port)))
    }
}

/// Members that are retired, or about to be, and to which the way has changed:
/// their flows go on by it. A way that is lost is kept, for it may be the old one
/// still.
fn lingering(hops: &NextHops, observed: &Observed, in_service: impl Fn(MemberId) -> bool) -> Vec<Op> {
    let leaving = observed.members.iter().filter(|(id, _)| !in_service(**id));
    let moved = leaving.filter_map(|(id, member)| {
        let next_hop = hops.get(&member.address).copied();
        let moved = next_hop.is_some() && next_hop != member.next_hop;
        moved.then(|| Op::PutMember { id: *id, record: MemberRecord { next_hop, ..member.clone() } })
    });
    moved.collect()
}

fn missing(what: &str, label: &str, needs: &str) -> PlanError {
    PlanError::Contradiction(format!("{what} {label} needs {needs}, which is not there"))
}

/// Whether a member in service can take less than before: it goes down, or the
/// way to it is lost.
fn declines(before: &MemberRecord, after: &MemberRecord) -> bool {
    let loses = |flag: u64| before.flags & !after.flags & flag != 0;
    !loses(MemberState::RETIRED) && (loses(MemberState::UP) || before.next_hop.is_some() && after.next_hop.is_none())
}

/// What of the observed stays.
struct Kept {
    listeners: BTreeSet<ListenerKey>,
    instances: BTreeSet<InstanceId>,
    vips: BTreeSet<IpAddr>,
    pools: BTreeSet<PoolId>,
    members: BTreeSet<MemberId>,
}

/// Removes everything else, users before what they use.
fn removals(observed: &Observed, kept: &Kept) -> Vec<Op> {
    let listeners = observed.listeners.iter().filter(|(key, _)| !kept.listeners.contains(key));
    let listeners = listeners.filter_map(|(key, listener)| {
        let vip = observed.vips.get(&key.vip)?.id;
        Some(Op::RemoveListener { id: listener.id, vip, transport: key.transport, port: key.port })
    });
    let vips = observed.vips.iter().filter(|(address, _)| !kept.vips.contains(address));
    let vips = vips.map(|(address, vip)| Op::RemoveVip { id: vip.id, address: *address });
    let instances = observed.instances.keys().filter(|id| !kept.instances.contains(id));
    let instances = instances.map(|id| Op::RemoveInstance { id: *id });
    let pools = observed.pools.keys().filter(|id| !kept.pools.contains(id)).map(|id| Op::RemovePool { id: *id });
    let (retired, in_service): (Vec<_>, Vec<_>) = observed
        .members
        .iter()
        .filter(|(id, _)| !kept.members.contains(id))
        .partition(|(_, member)| member.flags & MemberState::RETIRED != 0);
    let retire = in_service.into_iter().map(|(id, _)| Op::RetireMember { id: *id });
    let release = retired.into_iter().map(|(id, _)| Op::ReleaseMember { id: *id });
    listeners.chain(vips).chain(instances).chain(pools).chain(retire).chain(release).collect()
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
