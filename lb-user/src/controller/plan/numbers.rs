//! Which id everything has: the one it had, or a free one.
//!
//! Flows and counters know ids only, so whatever is found again keeps its
//! number. What it is found by differs:
//!
//! - a VRRP instance by its name;
//! - a VIP by its address, a listener by VIP, transport and port. A VIP that is new
//!   gets a number that follows from its address, since the place of a flow's return
//!   entry depends on it: two balancers that know each other's flows then have them
//!   at the same places, whatever order their VIPs came in;
//! - a pool by its label; when that is new, by the listeners that go on reaching
//!   it (it was renamed, alone or with its load balancer), or by members that
//!   still wait for their flows to end (it was away for a while);
//! - a member by its pool's id, its address and its port.
//!
//! A free id is one that nothing observed has or names. An id that this very
//! plan gives up is not free: a packet may be on its way with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    ops::Range,
};

use lb_common::{
    hash,
    limits::{MAX_INSTANCES, MAX_LISTENERS, MAX_MEMBERS, MAX_POOLS, MAX_VIPS},
    member::MemberState,
};

use super::PlanError;
use crate::{
    compile::{Desired, MemberKey},
    dataplane::{
        ForwardMode, InstanceId, ListenerId, ListenerKey, MemberId, Observed, ObservedPool, PoolId, VipId,
        tables::address_words,
    },
};

/// The id of everything desired.
#[derive(Debug)]
pub(super) struct Numbers<'d> {
    pub(super) instances: BTreeMap<&'d str, InstanceId>,
    pub(super) vips: BTreeMap<IpAddr, VipId>,
    pub(super) listeners: BTreeMap<ListenerKey, ListenerId>,
    pub(super) pools: BTreeMap<&'d str, PoolId>,
    pub(super) members: BTreeMap<&'d MemberKey, MemberId>,
}

/// Kinds of ids, how many of each there are, and what makes room.
struct Kind {
    name: &'static str,
    ids: Range<u32>,
    remedy: &'static str,
}

const INSTANCES: Kind = Kind {
    name: "VRRP instance",
    // 0 is `NO_INSTANCE`.
    ids: 1..MAX_INSTANCES,
    remedy: "let more load balancers share one",
};
const VIPS: Kind = Kind { name: "VIP", ids: 0..MAX_VIPS, remedy: "use fewer load balancers" };
const LISTENERS: Kind = Kind { name: "listener", ids: 0..MAX_LISTENERS, remedy: "use fewer listeners" };
const POOLS: Kind = Kind {
    name: "pool",
    // 0 is `NO_POOL`.
    ids: 1..MAX_POOLS,
    remedy: "use fewer pools, or wait until the flows of removed members have ended",
};
const MEMBERS: Kind = Kind {
    name: "member",
    // 0 is `NO_MEMBER`.
    ids: 1..MAX_MEMBERS,
    remedy: "use fewer members, wait until the flows of removed ones have ended, \
             or exchange a pool's members in two steps: first remove, then add",
};

impl<'d> Numbers<'d> {
    /// Finds or gives every id.
    pub(super) fn assign(desired: &'d Desired, observed: &Observed) -> Result<Self, PlanError> {
        let named = observed.instances.iter().filter_map(|(id, instance)| {
            let (label, _) = desired.instances.get_key_value(&instance.label)?;
            Some((label.as_str(), u16::from(id.0)))
        });
        let instances = INSTANCES.number(
            |_| 0,
            desired.instances.keys().map(String::as_str),
            &named.collect(),
            observed.instances.keys().map(|id| u16::from(id.0)),
        )?;
        let vips = VIPS.number(
            of_address,
            desired.vips.keys().copied(),
            &observed.vips.iter().map(|(address, vip)| (*address, vip.id.0)).collect(),
            observed.vips.values().map(|vip| vip.id.0),
        )?;
        let listeners = LISTENERS.number(
            |_| 0,
            desired.listeners.keys().copied(),
            &observed.listeners.iter().map(|(key, listener)| (*key, listener.id.0)).collect(),
            observed.listeners.values().map(|listener| listener.id.0),
        )?;
        let pools = POOLS.number(
            |_| 0,
            desired.pools.keys().map(String::as_str),
            &known_pools(desired, observed),
            // A retired member's pool may be gone. Its number stays the
            // pool's: another pool must not inherit the member with it.
            observed.pools.keys().copied().chain(observed.members.values().map(|m| m.pool)).map(|pool| pool.0),
        )?;
        let members = number_members(desired, observed, &pools)?;
        Ok(Self {
            instances: instances
                .into_iter()
                .filter_map(|(label, id)| Some((label, InstanceId(u8::try_from(id).ok()?))))
                .collect(),
            vips: vips.into_iter().map(|(address, id)| (address, VipId(id))).collect(),
            listeners: listeners.into_iter().map(|(key, id)| (key, ListenerId(id))).collect(),
            pools: pools.into_iter().map(|(label, id)| (label, PoolId(id))).collect(),
            members,
        })
    }
}

/// A number that follows from an address alone.
fn of_address(address: &IpAddr) -> u32 {
    let words = address_words(*address);
    hash::two(0, words[0], words[1]) as u32
}

impl Kind {
    /// Everybody `wanted` keeps its `known` id or gets one that is not `used`: the
    /// first from where `begin` says.
    fn number<K: Ord>(
        &self,
        begin: impl Fn(&K) -> u32,
        wanted: impl Iterator<Item = K>,
        known: &BTreeMap<K, u16>,
        used: impl Iterator<Item = u16>,
    ) -> Result<BTreeMap<K, u16>, PlanError> {
        let mut given = BTreeSet::new();
        let (mut numbered, mut waiting) = (BTreeMap::new(), Vec::new());
        for key in wanted {
            // Maps that somebody else damaged may have an id twice; then it
            // belongs to the first.
            match known.get(&key) {
                Some(id) if self.ids.contains(&u32::from(*id)) && given.insert(*id) => {
                    numbered.insert(key, *id);
                }
                _ => waiting.push(key),
            }
        }
        let mut used: BTreeSet<u16> = used.collect();
        used.append(&mut given);
        let wanted = waiting.len();
        let ids = self.ids.clone().filter_map(|id| u16::try_from(id).ok());
        let mut free: BTreeSet<u16> = ids.filter(|id| !used.contains(id)).collect();
        for key in waiting {
            let first = self.ids.start + begin(&key) % self.ids.len() as u32;
            let from = u16::try_from(first).unwrap_or_default();
            let Some(id) = free.range(from..).next().or_else(|| free.first()).copied() else {
                let (kind, limit, remedy) = (self.name, self.ids.len(), self.remedy);
                return Err(PlanError::NoIdLeft { kind, wanted, limit, used: used.len(), remedy });
            };
            free.remove(&id);
            numbered.insert(key, id);
        }
        Ok(numbered)
    }
}

/// The pools that are found again, by their new labels.
fn known_pools<'d>(desired: &'d Desired, observed: &Observed) -> BTreeMap<&'d str, u16> {
    let reached = desired.listeners.iter().filter_map(|(key, listener)| Some((listener.pool.as_deref()?, key.vip)));
    let wanted: BTreeMap<&str, bool> = reached.map(|(label, vip)| (label, vip.is_ipv4())).collect();
    let there = families(observed);
    let mut known = BTreeMap::new();
    let mut given = BTreeSet::new();
    let mut find = |candidates: BTreeMap<&str, BTreeSet<PoolId>>| {
        for label in desired.pools.keys() {
            if known.contains_key(label.as_str()) {
                continue;
            }
            let fits = |id: PoolId| wanted.get(label.as_str()).is_none_or(|ipv4| !there.contains(&(id, !ipv4)));
            let mut mine = candidates.get(label.as_str()).into_iter().flatten();
            if let Some(id) = mine.find(|id| !given.contains(*id) && fits(**id)) {
                given.insert(*id);
                known.insert(label.as_str(), id.0);
            }
        }
    };
    find(by_label(observed.pools.iter().map(|(id, pool)| (pool.record.label.as_str(), *id))));
    find(by_label(renamed_pools(desired, observed).into_iter()));
    // The label of a member begins with its pool's.
    let orphans = observed.members.values().filter(|member| !observed.pools.contains_key(&member.pool));
    find(by_label(orphans.filter_map(|member| Some((member.label.rsplit_once('/')?.0, member.pool)))));
    known
}

fn by_label<'l>(pools: impl Iterator<Item = (&'l str, PoolId)>) -> BTreeMap<&'l str, BTreeSet<PoolId>> {
    let mut labels: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for (label, id) in pools {
        labels.entry(label).or_default().insert(id);
    }
    labels
}

/// Which families come to an observed pool or are spoken by who is in its table,
/// as pairs of its id and whether that is IPv4.
///
/// A load balancer that exchanges a VIP of one family for one of the other keeps
/// the labels of its pools. They are other pools all the same: clients must not
/// be sent to members that do not speak their family, not even for a moment.
fn families(observed: &Observed) -> BTreeSet<(PoolId, bool)> {
    let clients = observed.listeners.iter().map(|(key, listener)| (listener.pool, key.vip));
    // Packets that are wrapped get to members of either family.
    let speaks = |pool: &ObservedPool| !matches!(pool.record.mode, ForwardMode::Ipip | ForwardMode::Gue);
    let pools = observed.pools.iter().filter(|(_, pool)| speaks(pool));
    let members = pools.filter_map(|(id, pool)| Some((*id, observed.members.get(pool.table.first()?)?)));
    clients.chain(members.map(|(id, member)| (id, member.address))).map(|(id, ip)| (id, ip.is_ipv4())).collect()
}

/// The observed pool that each desired pool would be under another label: all
/// who reach the one go on and reach the other. If only some did, the others
/// would meet strangers' members for a moment.
fn renamed_pools<'d>(desired: &'d Desired, observed: &Observed) -> Vec<(&'d str, PoolId)> {
    let mut becomes: BTreeMap<PoolId, Option<&'d str>> = BTreeMap::new();
    for (key, listener) in &observed.listeners {
        let reaches = desired.listeners.get(key).and_then(|wanted| wanted.pool.as_deref());
        let all = becomes.entry(listener.pool).or_insert(reaches);
        *all = all.filter(|label| Some(*label) == reaches);
    }
    becomes
        .into_iter()
        .filter(|(id, _)| observed.pools.contains_key(id))
        .filter_map(|(id, label)| Some((label?, id)))
        .collect()
}

/// Numbers the members of pools that have their numbers.
fn number_members<'d>(
    desired: &'d Desired,
    observed: &Observed,
    pools: &BTreeMap<&'d str, u16>,
) -> Result<BTreeMap<&'d MemberKey, MemberId>, PlanError> {
    type Identity = (u16, IpAddr, u16);
    let mut wanted: BTreeMap<Identity, &MemberKey> = BTreeMap::new();
    for key in desired.members.keys() {
        let pool = pools.get(key.pool.as_str()).ok_or_else(|| {
            PlanError::Contradiction(format!("member {}:{} belongs to no pool {}", key.address, key.port, key.pool))
        })?;
        wanted.insert((*pool, key.address, key.port), key);
    }
    // A member may be there twice when its pool was replaced under it: the one
    // in service counts, then the lower id. Later entries win, so best last.
    let mut there: Vec<_> = observed.members.iter().collect();
    there.sort_by_key(|(id, member)| (member.flags & MemberState::RETIRED == 0, std::cmp::Reverse(**id)));
    let known: BTreeMap<Identity, u16> =
        there.into_iter().map(|(id, member)| ((member.pool.0, member.address, member.port), id.0)).collect();
    let numbered = MEMBERS.number(|_| 0, wanted.keys().copied(), &known, observed.members.keys().map(|id| id.0))?;
    Ok(numbered.iter().filter_map(|(identity, id)| Some((*wanted.get(identity)?, MemberId(*id)))).collect())
}
