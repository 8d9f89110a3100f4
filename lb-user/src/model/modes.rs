//! What a pool's mode asks of its listeners and members.
//!
//! - Direct modes (dsr, ipip, gue) leave ports as they are: members have the listener's.
//! - dnat finds the way back by the member's address, port and protocol alone, so that each
//!   belongs to one listener.
//!
//! Hence a pool of any mode but nat has one listener. What must not be here: families,
//! which are looked at with the members' addresses, and whether a member is on the link,
//! which is found when frames are sent to it.

use std::{collections::HashMap, net::IpAddr};

use super::{
    ForwardMode, Listener, LoadBalancer, Name, Transport,
    build::{Errors, Firsts},
    error::{ModelErrorKind, Place},
};

/// Whose answers come from a member's address, port and protocol.
type Answers<'n> = Firsts<'n, (IpAddr, u16, Transport)>;

pub(super) fn check(load_balancers: &[LoadBalancer], errors: &mut Errors) {
    let mut answers = Answers::default();
    for (at, lb) in load_balancers.iter().enumerate() {
        let owners = owners(at, lb, errors);
        for (index, (listener_at, listener)) in owners {
            let pool = &lb.pools[index];
            if pool.forward_mode.is_direct() {
                ports(Place::Listener(at, listener_at), listener, (at, index), lb, errors);
            } else if pool.forward_mode == ForwardMode::Dnat {
                way_back((at, index), lb, &mut answers, errors);
            }
        }
    }
}

/// The listener of each pool that can have only one, by the pool's index and in its order.
fn owners<'a>(at: usize, lb: &'a LoadBalancer, errors: &mut Errors) -> Vec<(usize, (usize, &'a Listener))> {
    let mut pools: HashMap<&Name, usize> = HashMap::new();
    for (index, pool) in lb.pools.iter().enumerate() {
        pools.entry(&pool.name).or_insert(index);
    }
    let mut owners: HashMap<usize, (usize, &Listener)> = HashMap::new();
    for (listener_at, listener) in lb.listeners.iter().enumerate() {
        let Some(index) = listener.default_pool.as_ref().and_then(|name| pools.get(name)).copied() else { continue };
        let pool = &lb.pools[index];
        // Nothing more is said of a listener and a pool of different protocols.
        if pool.forward_mode == ForwardMode::Nat || pool.protocol != listener.protocol {
            continue;
        }
        let (first_at, first) = *owners.entry(index).or_insert((listener_at, listener));
        // That two listeners have one port is said elsewhere.
        if first.protocol_port != listener.protocol_port {
            errors.add(
                Place::Listener(at, listener_at),
                ModelErrorKind::PoolTaken {
                    pool: pool.name.clone(),
                    at: Place::Pool(at, index),
                    mode: pool.forward_mode,
                    of: first.name.clone(),
                    first: Place::Listener(at, first_at),
                },
            );
        }
    }
    let mut owners: Vec<_> = owners.into_iter().collect();
    owners.sort_by_key(|(index, _)| *index);
    owners
}

fn ports(at: Place, listener: &Listener, (lb_at, index): (usize, usize), lb: &LoadBalancer, errors: &mut Errors) {
    let pool = &lb.pools[index];
    let other = |(_, member): &(usize, &super::Member)| member.protocol_port != listener.protocol_port;
    for (member_at, _) in pool.members.iter().enumerate().filter(other) {
        let (mode, port, of) = (pool.forward_mode, listener.protocol_port.get(), listener.name.clone());
        let kind = ModelErrorKind::PortOfDirectMember { mode, port, of, at };
        errors.add(Place::Member(lb_at, index, member_at), kind);
    }
}

fn way_back<'n>((lb_at, index): (usize, usize), lb: &'n LoadBalancer, answers: &mut Answers<'n>, errors: &mut Errors) {
    let pool = &lb.pools[index];
    for (member_at, member) in pool.members.iter().enumerate() {
        let place = Place::Member(lb_at, index, member_at);
        let (address, port) = (member.address, member.protocol_port.get());
        if let Some((first, of)) = answers.find_or_add((address, port, pool.protocol), place, &lb.name)
            // That a pool has a member twice is said elsewhere.
            && first.pool() != place.pool()
        {
            errors.add(place, ModelErrorKind::DnatMemberTaken { address, port, of, first });
        }
    }
}

#[cfg(test)]
#[path = "modes_tests.rs"]
mod tests;
