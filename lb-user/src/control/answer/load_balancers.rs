//! Load balancers.

use super::{
    Knowledge,
    picture::{LoadBalancerRow, Picture, load_balancer_of},
    select::{self, LOAD_BALANCER, Names},
};
use crate::control::{
    protocol::Refusal,
    status::Object,
    view::{LoadBalancerView, Role},
};

pub(super) fn list(
    knowledge: &Knowledge<'_>,
    picture: &Picture<'_>,
    select: Option<&str>,
) -> Result<Vec<LoadBalancerView>, Refusal> {
    Ok(match select {
        Some(select) => {
            let rows = picture.load_balancers.iter();
            vec![view(knowledge, picture, select::pick(LOAD_BALANCER, select, rows, |row| Names::label(&row.label))?)]
        }
        None => picture.load_balancers.iter().map(|row| view(knowledge, picture, row)).collect(),
    })
}

fn view(knowledge: &Knowledge<'_>, picture: &Picture<'_>, row: &LoadBalancerRow<'_>) -> LoadBalancerView {
    let own = |label: &&String| load_balancer_of(label) == row.label;
    LoadBalancerView {
        name: row.label.clone(),
        vip_address: row.address,
        admin_state_up: row.wanted.map(|lb| lb.admin_state_up),
        operating_status: row.status,
        status_reason: row.reason.clone(),
        status_since: knowledge.since(Object::LoadBalancer, &row.label, row.status),
        role: row.seen.map(|_| role_of(row.carried)),
        listeners: picture.listeners.iter().map(|l| &l.label).filter(own).cloned().collect(),
        pools: picture.pools.iter().map(|p| &p.label).filter(own).cloned().collect(),
    }
}

const fn role_of(active: bool) -> Role {
    if active { Role::Active } else { Role::Backup }
}

/// Which node of a pair this is, over all VIPs of the data path.
pub(super) fn role(picture: &Picture<'_>) -> Option<Role> {
    let there = picture.load_balancers.iter().filter(|lb| lb.seen.is_some());
    let mut roles = there.map(|lb| role_of(lb.carried));
    let first = roles.next()?;
    Some(if roles.all(|role| role == first) { first } else { Role::Mixed })
}
