//! The checks that need the whole model.
//!
//! Every violation is found in one pass, and each says which values it rests
//! on, so that a caller who already refused one of them need not repeat what
//! only follows from it.

use std::{collections::HashMap, hash::Hash, net::IpAddr};

use lb_common::limits::{LABEL_BYTES, MAX_LISTENERS, MAX_MEMBERS, MAX_POOLS, MAX_SLOTS, MAX_VIPS, SLOTS_PER_LINE};

use super::{
    LoadBalancer, Member, Name, Pool,
    cidr::MAX_CIDRS,
    error::{AddressFlaw, ModelError, ModelErrorKind, Place},
    modes, monitor,
};
use crate::spread::slots_for;

/// How many pools a complaint about a missing one names.
const POOLS_NAMED: usize = 8;

pub(super) fn check(load_balancers: &[LoadBalancer]) -> Result<(), Vec<ModelError>> {
    let mut errors = Errors(Vec::new());
    let mut names = Firsts::default();
    let mut vips = Firsts::default();
    for (at, lb) in load_balancers.iter().enumerate() {
        let place = Place::LoadBalancer(at);
        errors.name_taken(&mut names, place, &lb.name, ("load balancer", "pool file"));
        if let Some(flaw) = AddressFlaw::of(lb.vip_address) {
            errors.add(place, ModelErrorKind::VipUnusable { address: lb.vip_address, flaw });
        }
        if let Some((first, of)) = vips.find_or_add(lb.vip_address, place, &lb.name) {
            errors.add(place, ModelErrorKind::VipTaken { address: lb.vip_address, of, first });
        }
    }
    for (at, lb) in load_balancers.iter().enumerate() {
        listeners(at, lb, &mut errors);
        pools(at, lb, &vips, &mut errors);
    }
    modes::check(load_balancers, &mut errors);
    room(load_balancers, &mut errors);
    if errors.0.is_empty() { Ok(()) } else { Err(errors.0) }
}

fn listeners(at: usize, lb: &LoadBalancer, errors: &mut Errors) {
    let mut names = Firsts::default();
    let mut ports = Firsts::default();
    let mut pools: HashMap<&Name, (usize, &Pool)> = HashMap::new();
    for (index, pool) in lb.pools.iter().enumerate() {
        pools.entry(&pool.name).or_insert((index, pool));
    }
    for (index, listener) in lb.listeners.iter().enumerate() {
        let place = Place::Listener(at, index);
        errors.name_taken(&mut names, place, &listener.name, ("listener", "load balancer"));
        errors.label(place, || lb.label_of_listener(listener), &[&lb.name, &listener.name]);
        let vip = lb.vip_address;
        for cidr in listener.allowed_cidrs.iter().filter(|cidr| cidr.is_ipv4() != vip.is_ipv4()) {
            errors.add(place, ModelErrorKind::CidrOfOtherFamily { cidr: *cidr, vip });
        }
        let (protocol, port) = (listener.protocol, listener.protocol_port.get());
        if let Some((first, of)) = ports.find_or_add((protocol, port), place, &listener.name) {
            errors.add(place, ModelErrorKind::PortTaken { protocol, port, of, first });
        }
        let Some(name) = &listener.default_pool else { continue };
        match pools.get(name) {
            None => {
                let some = lb.pools.iter().take(POOLS_NAMED).map(|pool| pool.name.clone()).collect();
                errors.add(place, ModelErrorKind::NoSuchPool { name: name.clone(), some });
            }
            Some((_, pool)) if pool.protocol == protocol => {}
            Some((pool_at, pool)) => {
                let at = Place::Pool(at, *pool_at);
                let kind =
                    ModelErrorKind::OtherProtocol { name: name.clone(), listener: protocol, pool: pool.protocol, at };
                errors.add(place, kind);
            }
        }
    }
}

fn pools(at: usize, lb: &LoadBalancer, vips: &Firsts<IpAddr>, errors: &mut Errors) {
    let mut names = Firsts::default();
    for (index, pool) in lb.pools.iter().enumerate() {
        let place = Place::Pool(at, index);
        errors.name_taken(&mut names, place, &pool.name, ("pool", "load balancer"));
        errors.label(place, || lb.label_of_pool(pool), &[&lb.name, &pool.name]);
        let mut names = Firsts::default();
        let mut ends = Firsts::default();
        for (member_at, member) in pool.members.iter().enumerate() {
            let place = Place::Member(at, index, member_at);
            errors.name_taken(&mut names, place, &member.name, ("member", "pool"));
            errors.label(place, || lb.label_of_member(pool, member), &[&lb.name, &pool.name, &member.name]);
            let (address, port) = (member.address, member.protocol_port.get());
            if let Some((first, of)) = ends.find_or_add((address, port), place, &member.name) {
                errors.add(place, ModelErrorKind::MemberTaken { address, port, of, first });
            }
            addresses(place, lb, (pool, member), vips, errors);
        }
        if let Some(health_monitor) = &pool.health_monitor {
            monitor::check(Place::Monitor(at, index), pool, health_monitor, errors);
        }
    }
}

fn addresses(
    place: Place,
    lb: &LoadBalancer,
    (pool, member): (&Pool, &Member),
    vips: &Firsts<IpAddr>,
    errors: &mut Errors,
) {
    let (address, vip) = (member.address, lb.vip_address);
    if let Some(flaw) = AddressFlaw::of(address) {
        errors.add(place, ModelErrorKind::MemberUnusable { address, flaw });
    } else if address.is_ipv4() != vip.is_ipv4() && !pool.forward_mode.crosses_families() {
        errors.add(place, ModelErrorKind::OtherFamily { address, vip });
    } else if let Some((at, of)) = vips.get(&address) {
        errors.add(place, ModelErrorKind::MemberIsVip { address, of, at });
    }
    let Some(address) = member.monitor_address else { return };
    // A probe is an ordinary connection of this host, so that loopback is an
    // address it can go to: something there may know how the member is.
    match AddressFlaw::of(address) {
        None | Some(AddressFlaw::Loopback) => {}
        Some(flaw) => errors.add(place, ModelErrorKind::MonitorUnusable { address, flaw }),
    }
    if let Some((at, of)) = vips.get(&address) {
        errors.add(place, ModelErrorKind::MonitorIsVip { address, of, at });
    }
}

/// The limits on how much there is of everything. The place of a violation is
/// the first thing for which there is no room.
fn room(load_balancers: &[LoadBalancer], errors: &mut Errors) {
    let listeners = |lb: &LoadBalancer| lb.listeners.len();
    let pools = |lb: &LoadBalancer| lb.pools.len();
    // Id 0 means no pool and no member.
    let (pool_limit, member_limit) = (MAX_POOLS as usize - 1, MAX_MEMBERS as usize - 1);
    if load_balancers.len() > MAX_VIPS as usize {
        let (found, limit) = (load_balancers.len(), MAX_VIPS as usize);
        errors.add(Place::LoadBalancer(limit), ModelErrorKind::TooMany { what: "load balancers", found, limit });
    }
    let all = || load_balancers.iter().enumerate();
    let every_listener = all().flat_map(|(at, lb)| (0..listeners(lb)).map(move |l| Place::Listener(at, l)));
    errors.too_many("listeners", every_listener, MAX_LISTENERS as usize);
    let every_pool = all().flat_map(|(at, lb)| (0..pools(lb)).map(move |p| Place::Pool(at, p)));
    errors.too_many("pools", every_pool, pool_limit);
    let every_member = all().flat_map(|(at, lb)| {
        let pools = lb.pools.iter().enumerate();
        pools.flat_map(move |(p, pool)| (0..pool.members.len()).map(move |m| Place::Member(at, p, m)))
    });
    errors.too_many("members", every_member, member_limit);
    let every_cidr = all().flat_map(|(at, lb)| {
        let listeners = lb.listeners.iter().enumerate();
        listeners.flat_map(move |(l, listener)| listener.allowed_cidrs.iter().map(move |_| Place::Listener(at, l)))
    });
    errors.too_many("allowed_cidrs", every_cidr, MAX_CIDRS);

    // A table is replaced by one that is written beside it. Halving leaves room
    // for all to be replaced at once, and for the gaps between them.
    let limit = u64::from(MAX_SLOTS / 2);
    let mut found = 0;
    let mut first_beyond = None;
    for (at, lb) in all() {
        for (index, pool) in lb.pools.iter().enumerate() {
            found += u64::from(slots_for(pool.members.len()).next_multiple_of(SLOTS_PER_LINE));
            if found > limit && first_beyond.is_none() {
                first_beyond = Some(Place::Pool(at, index));
            }
        }
    }
    if let Some(place) = first_beyond {
        errors.add(place, ModelErrorKind::TooManySlots { found, limit });
    }
}

/// What was found so far.
pub(super) struct Errors(Vec<ModelError>);

impl Errors {
    pub(super) fn add(&mut self, place: Place, kind: ModelErrorKind) {
        self.0.push(ModelError { place, kind });
    }

    fn name_taken<'n>(
        &mut self,
        names: &mut Firsts<'n, &'n Name>,
        place: Place,
        name: &'n Name,
        what: (&'static str, &'static str),
    ) {
        if let Some((first, name)) = names.find_or_add(name, place, name) {
            self.add(place, ModelErrorKind::NameTaken { name, what, first });
        }
    }

    /// `parts` are the names the label is made of, with a character between two.
    fn label(&mut self, place: Place, label: impl FnOnce() -> String, parts: &[&Name]) {
        let length = parts.iter().map(|name| name.as_str().len()).sum::<usize>() + parts.len() - 1;
        if length > LABEL_BYTES {
            self.add(place, ModelErrorKind::LabelTooLong { label: label() });
        }
    }

    fn too_many(&mut self, what: &'static str, mut places: impl Iterator<Item = Place>, limit: usize) {
        if let Some(place) = places.by_ref().nth(limit) {
            let found = limit + 1 + places.count();
            self.add(place, ModelErrorKind::TooMany { what, found, limit });
        }
    }
}

/// Who had something first.
pub(super) struct Firsts<'n, K>(HashMap<K, (Place, &'n Name)>);

impl<K> Default for Firsts<'_, K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<'n, K: Hash + Eq> Firsts<'n, K> {
    fn get(&self, key: &K) -> Option<(Place, Name)> {
        self.0.get(key).map(|(place, name)| (*place, (*name).clone()))
    }

    /// Who has it already; otherwise it is this one's.
    pub(super) fn find_or_add(&mut self, key: K, place: Place, name: &'n Name) -> Option<(Place, Name)> {
        let found = self.get(&key);
        self.0.entry(key).or_insert((place, name));
        found
    }
}

#[cfg(test)]
#[path = "build_tests.rs"]
mod tests;
