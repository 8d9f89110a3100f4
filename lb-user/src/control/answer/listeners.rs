//! Listeners.

use std::num::NonZeroU32;

use super::{
    Knowledge,
    picture::{ListenerRow, Picture},
    pools::limit,
    select::{self, LISTENER, Names},
    traffic::{self, Tally},
};
use crate::control::{protocol::Refusal, status::Object, view::ListenerView};

pub(super) fn list(
    knowledge: &Knowledge<'_>,
    picture: &Picture<'_>,
    select: Option<&str>,
) -> Result<Vec<ListenerView>, Refusal> {
    let Some(select) = select else {
        return picture.listeners.iter().map(|row| view(knowledge, row, None)).collect();
    };
    let row = pick(picture, select)?;
    Ok(vec![view(knowledge, row, Some(&Tally::take(knowledge)?))?])
}

pub(super) fn pick<'p, 'a>(picture: &'p Picture<'a>, select: &str) -> Result<&'p ListenerRow<'a>, Refusal> {
    select::pick(LISTENER, select, picture.listeners.iter(), |row| Names::label(&row.label))
}

fn view(knowledge: &Knowledge<'_>, row: &ListenerRow<'_>, tally: Option<&Tally>) -> Result<ListenerView, Refusal> {
    let counters = row.seen.map(|seen| traffic::of_listener(knowledge, seen.id)).transpose()?;
    let wanted = row.wanted.map(|(_, listener)| listener);
    Ok(ListenerView {
        name: row.label.clone(),
        protocol: row.key.transport.name().to_owned(),
        vip_address: row.key.vip,
        protocol_port: row.key.port,
        default_pool: row.pool.clone(),
        admin_state_up: wanted.map(|listener| listener.admin_state_up),
        operating_status: row.status,
        status_reason: row.reason.clone(),
        status_since: knowledge.since(Object::Listener, &row.label, row.status),
        in_dataplane: row.seen.is_some(),
        counters,
        active_flows: tally.zip(row.seen).map(|(tally, seen)| tally.of_listener(seen.id)),
        allowed_cidrs: wanted.map(|listener| listener.allowed_cidrs.iter().map(ToString::to_string).collect()),
        connection_limit: wanted.map(|listener| limit(listener.connection_limit)),
        live_connections: None,
        new_flows_per_source: wanted.map(|listener| listener.new_flows_per_source.map_or(0, NonZeroU32::get)),
    })
}
