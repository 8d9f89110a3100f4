//! Pools.

use std::{
    net::{IpAddr, Ipv4Addr},
    num::NonZeroU32,
};

use super::{
    Knowledge, health,
    picture::{ListenerRow, Picture, PoolRow, named},
    select::{self, Names, POOL},
};
use crate::{
    control::{
        protocol::Refusal,
        status::Object,
        view::{PoolView, SessionPersistenceView},
    },
    model::{LoadBalancer, MssClamp, Persistence},
};

pub(super) fn list(
    knowledge: &Knowledge<'_>,
    picture: &Picture<'_>,
    select: Option<&str>,
) -> Result<Vec<PoolView>, Refusal> {
    Ok(match select {
        Some(select) => vec![view(knowledge, picture, pick(picture, select)?)],
        None => picture.pools.iter().map(|row| view(knowledge, picture, row)).collect(),
    })
}

pub(super) fn pick<'p, 'a>(picture: &'p Picture<'a>, select: &str) -> Result<&'p PoolRow<'a>, Refusal> {
    select::pick(POOL, select, picture.pools.iter(), |row| Names::label(&row.label))
}

fn view(knowledge: &Knowledge<'_>, picture: &Picture<'_>, row: &PoolRow<'_>) -> PoolView {
    let wanted = row.wanted.map(|(_, pool)| pool);
    let table = row.seen.map_or(&[][..], |seen| seen.table.as_slice());
    let transport = wanted.map(|pool| pool.protocol).or_else(|| listener_of(picture, row).map(|l| l.key.transport));
    // As it is wanted; offline as it is in the maps.
    let asked = wanted.map(|pool| (pool.forward_mode, pool.lb_algorithm));
    let seen = row.seen.map(|seen| (seen.record.mode, seen.record.algorithm));
    let (forward_mode, algorithm) = asked.or(seen).unwrap_or_default();
    PoolView {
        name: row.label.clone(),
        protocol: transport.map(|transport| transport.name().to_owned()),
        lb_algorithm: algorithm.name().to_owned(),
        forward_mode: forward_mode.name().to_owned(),
        admin_state_up: wanted.map(|pool| pool.admin_state_up),
        operating_status: row.status,
        status_reason: row.reason.clone(),
        status_since: knowledge.since(Object::Pool, &row.label, row.status),
        health_monitor: health::monitor(knowledge, row),
        listeners: row.listeners.clone(),
        members: picture.members_of(&row.label).count(),
        members_in_use: named(table).len(),
        table_slots: table.len(),
        session_persistence: row.wanted.and_then(|(lb, pool)| Some(persistence(lb, pool.session_persistence?))),
        mss_clamp: wanted.map(|pool| mss_clamp(pool.mss_clamp)),
        transition_hold: wanted.map(|pool| pool.transition_hold.get().as_secs_f64()),
        changing: None,
    }
}

/// As Octavia writes it: a mask or a prefix length, as the VIP's family wants it.
fn persistence(lb: &LoadBalancer, persistence: Persistence) -> SessionPersistenceView {
    let granularity = match lb.vip_address {
        IpAddr::V4(_) => Ipv4Addr::from_bits(u32::MAX << (32 - persistence.prefix4())).to_string(),
        IpAddr::V6(_) => persistence.prefix6().to_string(),
    };
    SessionPersistenceView {
        kind: "SOURCE_IP".to_owned(),
        persistence_timeout: persistence.timeout(),
        persistence_granularity: granularity,
    }
}

fn mss_clamp(clamp: MssClamp) -> String {
    match clamp {
        MssClamp::Off => "off".to_owned(),
        MssClamp::Auto => "auto".to_owned(),
        MssClamp::At(mss) => mss.get().to_string(),
    }
}

/// A limit as Octavia writes it: -1 is none.
pub(super) fn limit(limit: Option<NonZeroU32>) -> i64 {
    limit.map_or(-1, |limit| i64::from(limit.get()))
}

fn listener_of<'p, 'a>(picture: &'p Picture<'a>, row: &PoolRow<'_>) -> Option<&'p ListenerRow<'a>> {
    picture.listeners.iter().find(|listener| listener.pool.as_deref() == Some(&row.label))
}

#[cfg(test)]
#[path = "pools_tests.rs"]
mod tests;
