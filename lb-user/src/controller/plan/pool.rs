//! The same plan for one pool whose members stand otherwise than before, while
//! nothing else has changed: no look at anything but that pool. Pure.
//!
//! What must not be here: changes that need an id, or take one away.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use lb_common::member::MemberState;

use super::{PlanError, declines, lingering};
use crate::{
    compile::{Lineup, NextHops, Stand},
    dataplane::{MemberId, MemberRecord, Observed, ObservedPool, Op, PoolId},
    model::Model,
};

/// Where a pool of the model is in the maps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::controller) struct Place {
    /// Its load balancer's and its own place in the model.
    pub(in crate::controller) model: (usize, usize),
    /// Its id.
    pub(in crate::controller) id: PoolId,
    /// Its members' ids, in the pool file's order.
    pub(in crate::controller) members: Vec<MemberId>,
}

/// Where all pools are that are in the maps, by label. `observed` is as the model
/// wants it to be.
pub(in crate::controller) fn places(model: &Model, observed: &Observed) -> BTreeMap<String, Place> {
    let ids: HashMap<&str, PoolId> =
        observed.pools.iter().map(|(id, pool)| (pool.record.label.as_str(), *id)).collect();
    let in_service = observed.members.iter().filter(|(_, member)| member.flags & MemberState::RETIRED == 0);
    let members: HashMap<(PoolId, IpAddr, u16), MemberId> =
        in_service.map(|(id, member)| ((member.pool, member.address, member.port), *id)).collect();
    let mut places = BTreeMap::new();
    for (n, lb) in model.load_balancers().iter().enumerate() {
        for (m, pool) in lb.pools.iter().enumerate() {
            let label = lb.label_of_pool(pool);
            let Some(id) = ids.get(label.as_str()).copied() else { continue };
            let of = pool.members.iter().map(|member| members.get(&(id, member.address, member.protocol_port.get())));
            if let Some(members) = of.map(|id| id.copied()).collect() {
                places.insert(label, Place { model: (n, m), id, members });
            }
        }
    }
    places
}

/// The operations that bring a pool from what is observed to how it should be,
/// in the order that [`super::plan`] gives them.
///
/// # Errors
/// When the pool is not at its place.
pub(in crate::controller) fn plan_pool(
    lineup: &Lineup,
    place: &Place,
    observed: &Observed,
) -> Result<Vec<Op>, PlanError> {
    let contradiction = |what: &str| PlanError::Contradiction(format!("pool {} {what}", place.id.0));
    let before = observed.pools.get(&place.id).ok_or_else(|| contradiction("is not in the maps"))?;
    let chosen: Option<Vec<MemberId>> =
        lineup.chosen.iter().map(|at| place.members.get(usize::from(*at)).copied()).collect();
    let chosen = chosen.ok_or_else(|| contradiction("has not as many members as its table names"))?;
    let member = |index: &u16| chosen.get(usize::from(*index)).copied();
    let table: Option<Vec<_>> = lineup.table.iter().map(member).collect();
    let table = table.ok_or_else(|| contradiction("has a slot that names none of its members"))?;

    let (mut rising, mut declining) = (Vec::new(), Vec::new());
    for (id, stand) in place.members.iter().zip(&lineup.stands) {
        let Stand { flags, weight, next_hop, path, connection_limit } = *stand;
        let there = observed.members.get(id).ok_or_else(|| contradiction("lacks a member in the maps"))?;
        let as_it_is = Stand {
            flags: there.flags,
            weight: there.weight,
            next_hop: there.next_hop,
            path: there.path,
            connection_limit: there.connection_limit,
        };
        if as_it_is == *stand {
            continue;
        }
        let record = MemberRecord { flags, weight, next_hop, path, connection_limit, ..there.clone() };
        let group = if declines(there, &record) { &mut declining } else { &mut rising };
        group.push(Op::PutMember { id: *id, record });
    }
    let mut ops = rising;
    let wanted = ObservedPool { record: lineup.record.clone(), table };
    if *before != wanted {
        let ObservedPool { record, table } = wanted;
        ops.push(Op::PutPool { id: place.id, record, table, hold: lineup.hold });
    }
    ops.extend(declining);
    Ok(ops)
}

/// The operations by which the flows of retired members go on by the ways there
/// are now.
pub(in crate::controller) fn plan_lingering(hops: &NextHops, observed: &Observed) -> Vec<Op> {
    lingering(hops, observed, |id| observed.members.get(&id).is_some_and(|m| m.flags & MemberState::RETIRED == 0))
}
