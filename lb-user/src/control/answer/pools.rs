//! Pools.

use lb_common::pool::Picker;

use super::{
    Knowledge, health,
    picture::{ListenerRow, Picture, PoolRow, named},
    select::{self, Names, POOL},
};
use crate::{
    control::{protocol::Refusal, status::Object, view::PoolView},
    model::{Algorithm, ForwardMode},
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
    let algorithm = match wanted {
        Some(pool) => pool.lb_algorithm,
        None => match row.seen.map_or(Picker::SourceIpPort, |seen| seen.record.picker) {
            Picker::SourceIpPort => Algorithm::SourceIpPort,
            Picker::SourceIp => Algorithm::SourceIp,
            Picker::RoundRobin => Algorithm::RoundRobin,
            Picker::LeastConnections => Algorithm::LeastConnections,
        },
    };
    let forward_mode = wanted.map_or(ForwardMode::Nat, |pool| pool.forward_mode);
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
    }
}

fn listener_of<'p, 'a>(picture: &'p Picture<'a>, row: &PoolRow<'_>) -> Option<&'p ListenerRow<'a>> {
    picture.listeners.iter().find(|listener| listener.pool.as_deref() == Some(&row.label))
}
