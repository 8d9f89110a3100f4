//! Octavia's operating status of everything, from facts. Pure.
//!
//! Octavia's health manager derives a status from what a data plane reports:
//! a member that is up is `ONLINE`, one that is down `ERROR`, one that drains
//! `DRAINING`, one that is switched off `OFFLINE`, one that nobody watches
//! `NO_MONITOR`; a pool is `ONLINE`, or `DEGRADED` when a member is down, or
//! `ERROR` when it can serve nobody; what is above takes the worst of what is
//! below. The same is done here, with one thing more: a member that the data
//! path cannot reach is in `ERROR` too, whatever a monitor says, because no
//! packet gets to it.
//!
//! Right after a first start no next hop is known, so every member is in
//! `ERROR` for the moment until it is looked up. That is the truth: packets are
//! dropped as `member_unresolved` in that moment. A daemon that adopts a data
//! path finds the next hops in it.

use super::view::OperatingStatus::{self, Degraded, Draining, Error, NoMonitor, Offline, Online};

/// Why a pool as a whole is out of use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PoolOff {
    /// Its load balancer is switched off.
    LoadBalancer,
    /// It is switched off itself.
    Pool,
    /// No listener that is switched on names it, so it is not in the data path.
    Unused,
}

/// Why a member drains.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Drain {
    /// An operator drains it.
    Operator,
    /// Its weight is zero.
    Weight,
}

/// What is known about a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemberFacts<'a> {
    /// It is gone from the pool file and waits for its flows to end.
    pub retired: bool,
    /// Whether it is switched on, overrides included.
    pub admin_state_up: bool,
    /// Why its pool is out of use, if it is.
    pub pool_off: Option<PoolOff>,
    /// A monitor found it down.
    pub down: bool,
    /// What the monitor met, where it is known.
    pub down_reason: Option<&'a str>,
    /// Whether the data path knows it.
    pub in_dataplane: bool,
    /// Why it drains, if it does.
    pub drain: Option<Drain>,
    /// Why it cannot be reached, if its next hop is not known.
    pub hop_missing: Option<&'a str>,
    /// Whether a monitor watches it. From the maps alone this is not known, and
    /// a member that works is then called `ONLINE`.
    pub monitored: Option<bool>,
}

/// A member's status and, unless it is `ONLINE`, what more there is to say.
///
/// The first of these that applies: retired, switched off, down, not in the
/// data path, draining, out of reach, watched or not.
#[must_use]
pub fn of_member(facts: &MemberFacts<'_>) -> (OperatingStatus, Option<String>) {
    let say = |status, reason: &str| (status, Some(reason.to_owned()));
    let draining = |reason: &str| match facts.hop_missing {
        Some(missing) => say(Draining, &format!("{reason}; packets of the flows it has are dropped: {missing}")),
        None => say(Draining, reason),
    };
    if facts.retired {
        return draining("gone from the pool file, kept until the flows it has end");
    }
    if !facts.admin_state_up {
        return say(Offline, "switched off (admin_state_up = false)");
    }
    match facts.pool_off {
        Some(PoolOff::LoadBalancer) => return say(Offline, "its load balancer is switched off"),
        Some(PoolOff::Pool) => return say(Offline, "its pool is switched off"),
        Some(PoolOff::Unused) => return say(Offline, "no listener that is switched on uses its pool"),
        None => {}
    }
    if facts.down {
        return say(Error, facts.down_reason.unwrap_or("the health monitor found it down"));
    }
    if !facts.in_dataplane {
        return say(Error, "the data path does not know it: entering it has failed or is still to come");
    }
    match facts.drain {
        Some(Drain::Operator) => return draining("drained by an operator"),
        Some(Drain::Weight) => return draining("its weight is 0"),
        None => {}
    }
    match (facts.hop_missing, facts.monitored) {
        (Some(missing), _) => say(Error, &format!("frames cannot reach it: {missing}")),
        (None, Some(false)) => say(NoMonitor, "no health monitor watches it"),
        (None, Some(true) | None) => (Online, None),
    }
}

/// A pool's status: `OFFLINE` when it is out of use, `ERROR` when it has nobody
/// to offer (its table is empty, or no member works), `DEGRADED` when a member
/// is in error. Members that drain or are switched off do not degrade it: that
/// is what the operator wants.
#[must_use]
pub fn of_pool(
    off: Option<PoolOff>,
    has_table: bool,
    members: impl IntoIterator<Item = OperatingStatus>,
) -> OperatingStatus {
    if off.is_some() {
        return Offline;
    }
    let (mut working, mut failed) = (0, 0);
    for member in members {
        match member {
            Online | NoMonitor | Degraded => working += 1,
            Error => failed += 1,
            Draining | Offline => {}
        }
    }
    match (has_table && working > 0, failed) {
        (false, _) => Error,
        (true, 0) => Online,
        (true, _) => Degraded,
    }
}

/// A listener's status: `OFFLINE` when it or its load balancer is switched off,
/// else its pool's. `ERROR` without a pool, and while the data path does not
/// have it.
#[must_use]
pub fn of_listener(admin_state_up: bool, in_dataplane: bool, pool: Option<OperatingStatus>) -> OperatingStatus {
    match (admin_state_up, in_dataplane, pool) {
        (false, _, _) => Offline,
        (true, false, _) | (true, true, None) => Error,
        (true, true, Some(pool)) => pool,
    }
}

/// A load balancer's status: `OFFLINE` when it is switched off, `ERROR` while
/// the data path does not have its VIP, else the worst of its listeners and
/// pools. What is switched off below it does not count, as in Octavia.
#[must_use]
pub fn of_load_balancer(
    admin_state_up: bool,
    in_dataplane: bool,
    parts: impl IntoIterator<Item = OperatingStatus>,
) -> OperatingStatus {
    match (admin_state_up, in_dataplane) {
        (false, _) => Offline,
        (true, false) => Error,
        (true, true) => worst(parts.into_iter().filter(|part| *part != Offline)).unwrap_or(Online),
    }
}

/// The status of everything together: the worst of the load balancers that are
/// switched on, `OFFLINE` without any. While the data path is not attached to an
/// interface where it should be, it is `DEGRADED` at best: whose packets come in
/// there finds no balancer.
#[must_use]
pub fn of_all(load_balancers: impl IntoIterator<Item = OperatingStatus>, interface_missing: bool) -> OperatingStatus {
    let on = load_balancers.into_iter().filter(|one| *one != Offline);
    worst(on.map(|one| if interface_missing { worse(one, Degraded) } else { one })).unwrap_or(Offline)
}

fn worst(statuses: impl Iterator<Item = OperatingStatus>) -> Option<OperatingStatus> {
    statuses.reduce(worse)
}

fn worse(one: OperatingStatus, other: OperatingStatus) -> OperatingStatus {
    let badness = |status| match status {
        Online => 0,
        NoMonitor => 1,
        Draining => 2,
        Offline => 3,
        Degraded => 4,
        Error => 5,
    };
    if badness(one) > badness(other) { one } else { other }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
