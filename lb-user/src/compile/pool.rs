//! One pool: how its members stand, who of them gets new flows, and its table.
//! Pure.
//!
//! What must not be here: labels and ids. What is here is worked out for each
//! verdict about any of the pool's members, so it makes nothing that has to be
//! allocated for each of them.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv4Addr},
    num::NonZeroU32,
    time::Duration,
};

use lb_common::{
    member::{MemberState, NextHop},
    pool::PoolEntry,
};

use super::{HealthView, MemberKey, MemberOverride, NextHops, Overrides, Verdict, panic};
use crate::{
    dataplane::{MemberPath, Persistence, PoolRecord},
    model::{Algorithm, ForwardMode, LoadBalancer, Member, MssClamp, OnMemberDown, Pool},
    spread::{self, KeptTables},
};

/// What is said about members besides the pool file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said<'a> {
    /// What operators changed.
    pub(crate) overrides: &'a Overrides,
    /// What the monitors found.
    pub(crate) health: &'a HealthView,
    /// How frames reach them.
    pub(crate) hops: &'a NextHops,
}

/// What a member's record in the maps says about it, beside who it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stand {
    /// Flags of [`MemberState`].
    pub(crate) flags: u64,
    /// The effective weight.
    pub(crate) weight: u16,
    /// How frames reach it, when known.
    pub(crate) next_hop: Option<NextHop>,
    /// What the way there takes.
    pub(crate) path: MemberPath,
    /// How many flows may live at a time; 0 for as many as there are.
    pub(crate) connection_limit: u32,
}

/// A pool as it should be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Lineup {
    /// What it is.
    pub(crate) record: PoolRecord,
    /// The members, in the pool file's order.
    pub(crate) stands: Vec<Stand>,
    /// Who of them gets new flows, as indices into `stands`.
    pub(crate) chosen: Vec<u16>,
    /// The member of each slot, as an index into `chosen`. Empty when no member
    /// can take traffic.
    pub(crate) table: Vec<u16>,
    /// For how long flows that are not recorded keep the member of the table before.
    pub(crate) hold: Duration,
}

impl Lineup {
    /// Works out how a pool should be, with its table from those that are kept.
    pub(crate) fn of(lb: &LoadBalancer, pool: &Pool, said: &Said<'_>, tables: &mut KeptTables) -> Self {
        let mut standings: Vec<Standing> = standings(lb, pool, said.overrides, said.health).collect();
        if panic::among(pool, standings.iter().copied()).is_some() {
            standings.iter_mut().for_each(|standing| standing.panic = true);
        }
        let stand = |(member, standing): (&Member, Standing)| Stand {
            flags: standing.flags(),
            weight: standing.weight,
            next_hop: said.hops.get(&member.address).copied(),
            path: said.hops.path(member.address, pool.forward_mode),
            connection_limit: member.connection_limit.map_or(0, NonZeroU32::get),
        };
        let stands: Vec<Stand> = pool.members.iter().zip(standings).map(stand).collect();
        let numbered: Vec<(u16, &Member, Stand)> =
            (0..).zip(&pool.members).zip(&stands).map(|((at, member), stand)| (at, member, *stand)).collect();
        let chosen = in_table(&numbered, |(_, _, stand)| Fitness {
            flags: stand.flags,
            weight: stand.weight,
            reached: stand.next_hop.is_some(),
        });
        let candidates: Vec<_> = chosen
            .iter()
            .map(|(_, member, stand)| spread::Candidate {
                identity: spread::identity(member.address, member.protocol_port.get()),
                weight: stand.weight,
            })
            .collect();
        let record = record_of(lb, pool);
        let table = tables.for_algorithm(&record.label, pool.lb_algorithm, &candidates, pool.members.len());
        let chosen = chosen.into_iter().map(|(at, ..)| *at).collect();
        Self { record, chosen, table, stands, hold: pool.transition_hold.get() }
    }
}

/// What a pool is, its table aside.
fn record_of(lb: &LoadBalancer, pool: &Pool) -> PoolRecord {
    let (mode, algorithm) = (pool.forward_mode, pool.lb_algorithm);
    let limits_members = pool.members.iter().any(|member| member.connection_limit.is_some());
    let mut listeners = lb.listeners.iter().filter(|listener| listener.default_pool.as_ref() == Some(&pool.name));
    let limits = limits_members
        || listeners.any(|listener| {
            // Of UDP only a record tells a flow's first packet from the others.
            listener.connection_limit.is_some() || listener.new_flows_per_source.is_some()
        });
    // The flow table of `nat` knows every flow; other modes only know whom they record.
    let is_told = matches!(algorithm, Algorithm::SourceIpPort | Algorithm::SourceIp);
    let records = !matches!(mode, ForwardMode::Nat) && (limits || !is_told);
    let persistence = pool.session_persistence.map(|p| Persistence {
        timeout: p.timeout(),
        prefix4: p.prefix4(),
        prefix6: p.prefix6(),
    });
    let flags = [
        (PoolEntry::RECORDS, records),
        (PoolEntry::PERSISTENT, persistence.is_some()),
        (PoolEntry::CLAMPS_MSS, pool.mss_clamp != MssClamp::Off),
        (PoolEntry::LIMITS_MEMBERS, limits_members),
    ];
    PoolRecord {
        label: lb.label_of_pool(pool),
        mode,
        algorithm,
        flags: flags.into_iter().filter(|(_, set)| *set).fold(0, |all, (flag, _)| all | flag),
        persistence: persistence.unwrap_or_default(),
        mss: if let MssClamp::At(mss) = pool.mss_clamp { mss.get() } else { 0 },
    }
}

/// How the members of a pool stand, panic aside, in the pool file's order.
pub(super) fn standings<'a>(
    lb: &LoadBalancer,
    pool: &'a Pool,
    overrides: &'a Overrides,
    health: &'a HealthView,
) -> impl Iterator<Item = Standing> + 'a {
    let label = lb.label_of_pool(pool);
    let changes = of_pool(&overrides.members, &label, |change| Some(*change));
    let down = of_pool(health, &label, |verdict| (*verdict == Verdict::Down).then_some(()));
    pool.members.iter().map(move |member| {
        let place = (member.address, member.protocol_port.get());
        let change = changes.get(&place).copied().unwrap_or_default();
        Standing::of(pool, member, change, down.contains_key(&place))
    })
}

/// What is said about members of a pool, by address and port: one look for each
/// member would compare the pool's label a dozen times.
fn of_pool<V, W>(
    all: &BTreeMap<MemberKey, V>,
    label: &str,
    pick: impl Fn(&V) -> Option<W>,
) -> HashMap<(IpAddr, u16), W> {
    let first = MemberKey { pool: label.to_owned(), address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), port: 0 };
    let of_it = all.range(first..).take_while(|(key, _)| key.pool == label);
    of_it.filter_map(|(key, value)| Some(((key.address, key.port), pick(value)?))).collect()
}

/// What a member's flags follow from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    /// Whether it is switched on, overrides included.
    pub(crate) enabled: bool,
    /// Whether its pool is switched on.
    pub(crate) pool_enabled: bool,
    /// Whether a monitor found it down.
    pub(crate) unhealthy: bool,
    /// Whether an operator drains it.
    pub(crate) drained: bool,
    /// The effective weight.
    pub(crate) weight: u16,
    /// Whether it is a backup.
    pub(crate) backup: bool,
    /// Whether so many of its pool are down that all of them count as up.
    pub(crate) panic: bool,
    /// Whether its pool resets the TCP flows of members that are down.
    pub(crate) resets: bool,
}

impl Standing {
    /// How a member stands, its pool's panic aside.
    pub(super) fn of(pool: &Pool, member: &Member, change: MemberOverride, down: bool) -> Self {
        let monitored = pool.health_monitor.as_ref().is_some_and(|m| m.admin_state_up);
        Self {
            enabled: change.admin_state_up.unwrap_or(member.admin_state_up),
            pool_enabled: pool.admin_state_up,
            unhealthy: monitored && down,
            drained: change.drain,
            weight: change.weight.unwrap_or(member.weight).get(),
            backup: member.backup,
            panic: false,
            resets: pool.on_member_down == OnMemberDown::Reset,
        }
    }

    /// Flags of [`MemberState`].
    ///
    /// A draining member stays up, so that its flows stay. One that is switched
    /// off or down is not up, so that UDP flows and unanswered SYNs leave it; in
    /// a panic those that are down are up as well, and still seen to be down.
    pub(crate) fn flags(self) -> u64 {
        let down = self.unhealthy && !self.panic;
        [
            (MemberState::UP, self.enabled && self.pool_enabled && !down),
            (MemberState::DISABLED, !self.enabled),
            (MemberState::DRAINING, self.drained || self.weight == 0),
            (MemberState::UNHEALTHY, self.unhealthy),
            (MemberState::BACKUP, self.backup),
            (MemberState::RESETS_FLOWS, down && self.resets),
        ]
        .into_iter()
        .filter(|(_, set)| *set)
        .fold(0, |all, (flag, _)| all | flag)
    }
}

/// What decides whether new flows go to a member.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fitness {
    /// Flags of [`MemberState`].
    pub(crate) flags: u64,
    /// The effective weight.
    pub(crate) weight: u16,
    /// Whether its next hop is known.
    pub(crate) reached: bool,
}

impl Fitness {
    fn takes_flows(self) -> bool {
        self.flags & (MemberState::UP | MemberState::DRAINING) == MemberState::UP && self.weight > 0
    }

    fn is_backup(self) -> bool {
        self.flags & MemberState::BACKUP != 0
    }
}

/// Those members of a pool that new flows go to.
///
/// A member whose next hop is unknown would only have its packets dropped, so
/// it is left out while anybody else can be reached, a backup included. If
/// nobody can, they stay in: packets are then dropped as `member_unresolved`,
/// which tells the operator to look at routes and neighbours, where
/// `pool_empty` would send him to the health monitor.
pub(crate) fn in_table<M>(members: &[M], fitness: impl Fn(&M) -> Fitness) -> Vec<&M> {
    let choose = |backups: bool, reached: bool| -> Vec<_> {
        members
            .iter()
            .filter(|member| {
                let fitness = fitness(member);
                fitness.takes_flows() && fitness.is_backup() == backups && (!reached || fitness.reached)
            })
            .collect()
    };
    [(false, true), (true, true), (false, false), (true, false)]
        .into_iter()
        .map(|(backups, reached)| choose(backups, reached))
        .find(|chosen| !chosen.is_empty())
        .unwrap_or_default()
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
