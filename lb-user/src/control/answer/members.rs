//! Members.

use std::{collections::BTreeMap, net::SocketAddr};

use super::{
    Knowledge, observe,
    picture::{MemberRow, Picture},
    pools,
    select::{self, MEMBER, Names},
    traffic::{self, Tally},
};
use crate::{
    compile::MemberKey,
    control::{
        protocol::{Refusal, RefusalCode},
        status::Object,
        view::{MemberSetView, MemberView, NextHopView, OverrideView, Percent},
    },
    model::Model,
};

/// Finds the member of the pool file that an operator means: by its label, by
/// an end of it from a `/` on that only one has, or by `address:port` in the
/// place of its name.
///
/// # Errors
/// [`RefusalCode::NotFound`] with the names that come near,
/// [`RefusalCode::Ambiguous`] with some of the candidates.
pub fn find_member(model: &Model, select: &str) -> Result<MemberKey, Refusal> {
    let mut members: Vec<(String, MemberKey)> = model
        .load_balancers()
        .iter()
        .flat_map(|lb| lb.pools.iter().map(move |pool| (lb, pool)))
        .flat_map(|(lb, pool)| pool.members.iter().map(move |member| (lb, pool, member)))
        .map(|(lb, pool, member)| (lb.label_of_member(pool, member), MemberKey::of(lb, pool, member)))
        .collect();
    members.sort();
    let found = select::pick(MEMBER, select, members.iter(), |(label, key)| names(label, key))?;
    Ok(found.1.clone())
}

/// A member as it is after a change, with a note if its pool has no member
/// left. The same record as `member show` gives.
///
/// # Errors
/// [`RefusalCode::NotFound`] when neither the pool file nor the data path has
/// it, [`RefusalCode::Failed`] when the data path cannot be read.
pub fn member_set_view(knowledge: &Knowledge<'_>, member: &MemberKey) -> Result<MemberSetView, Refusal> {
    let observed = observe(knowledge.dataplane)?;
    let picture = Picture::new(&observed, knowledge.intent.as_ref());
    let row = picture.members.iter().find(|row| row.key == *member && !row.retired).ok_or_else(|| {
        let place = SocketAddr::new(member.address, member.port);
        Refusal::new(RefusalCode::NotFound, format!("pool {} has no member {place}", member.pool))
    })?;
    let ports = ports(knowledge);
    let view = view(knowledge, row, &ports, Some(&Tally::take(knowledge)?))?;
    let pool = picture.pools.iter().find(|pool| pool.label == member.pool);
    let left = pool.and_then(|pool| pool.seen).is_some_and(|seen| !seen.table.is_empty());
    let note = format!(
        "pool {} has no member left that takes new flows: it refuses every one until a member is enabled, recovers or \
         gets a weight",
        member.pool
    );
    Ok(MemberSetView { member: view, notes: if left { Vec::new() } else { vec![note] } })
}

pub(super) fn list(
    knowledge: &Knowledge<'_>,
    picture: &Picture<'_>,
    select: Option<&str>,
    pool: Option<&str>,
) -> Result<Vec<MemberView>, Refusal> {
    let pool = pool.map(|pool| pools::pick(picture, pool)).transpose()?;
    let rows = picture.members.iter().filter(|row| pool.is_none_or(|pool| pool.label == row.key.pool));
    let ports = ports(knowledge);
    let Some(select) = select else {
        return rows.map(|row| view(knowledge, row, &ports, None)).collect();
    };
    let row = pick_of(rows, select)?;
    Ok(vec![view(knowledge, row, &ports, Some(&Tally::take(knowledge)?))?])
}

pub(super) fn pick<'p, 'a>(picture: &'p Picture<'a>, select: &str) -> Result<&'p MemberRow<'a>, Refusal> {
    pick_of(picture.members.iter(), select)
}

/// A member that is gone from the pool file is meant only where no other can
/// be: its name may have gone to another address.
fn pick_of<'p, 'a: 'p>(
    rows: impl Iterator<Item = &'p MemberRow<'a>> + Clone,
    select: &str,
) -> Result<&'p MemberRow<'a>, Refusal> {
    let names = |row: &'p MemberRow<'a>| names(&row.label, &row.key);
    match select::pick(MEMBER, select, rows.clone().filter(|row| !row.retired), names) {
        Err(refusal) if refusal.code == RefusalCode::NotFound => select::pick(MEMBER, select, rows, names),
        found => found,
    }
}

fn names<'r>(label: &'r str, key: &MemberKey) -> Names<'r> {
    Names { label, also: Some(format!("{}/{}", key.pool, SocketAddr::new(key.address, key.port))) }
}

/// Interfaces by their number in the data path. Where they cannot be told, a
/// member is still worth showing.
fn ports(knowledge: &Knowledge<'_>) -> BTreeMap<u16, String> {
    let attachments = knowledge.dataplane.describe().map(|info| info.attachments).unwrap_or_default();
    attachments.into_iter().map(|attachment| (attachment.port, attachment.interface)).collect()
}

fn view(
    knowledge: &Knowledge<'_>,
    row: &MemberRow<'_>,
    ports: &BTreeMap<u16, String>,
    tally: Option<&Tally>,
) -> Result<MemberView, Refusal> {
    let next_hop = row.seen.and_then(|(_, record)| record.next_hop).map(|hop| NextHopView {
        destination: hop.destination.to_string(),
        source: hop.source.to_string(),
        interface: ports.get(&hop.port).cloned(),
        port: hop.port,
    });
    let (part, whole) = row.share;
    Ok(MemberView {
        name: row.label.clone(),
        address: row.key.address,
        protocol_port: row.key.port,
        weight: row.wanted.map(|(_, member)| member.weight.get()),
        effective_weight: row.weight(),
        admin_state_up: row.admin_state_up(),
        backup: row.backup(),
        operating_status: row.status,
        status_reason: row.reason.clone(),
        status_since: knowledge.since(Object::Member, &row.label, row.status),
        next_hop_missing: row.hop_missing.clone(),
        next_hop,
        overridden: row.change.map(|change| OverrideView {
            weight: change.weight.map(|weight| weight.get()),
            admin_state_up: change.admin_state_up,
            drain: change.drain,
        }),
        share_percent: Percent::of(part, whole),
        retired: row.retired,
        in_dataplane: row.seen.is_some(),
        counters: row.seen.map(|(id, _)| traffic::of_member(knowledge, id)).transpose()?,
        active_flows: tally.zip(row.seen).map(|(tally, (id, _))| tally.of_member(id)),
        connection_limit: row.wanted.map(|(_, member)| pools::limit(member.connection_limit)),
    })
}
