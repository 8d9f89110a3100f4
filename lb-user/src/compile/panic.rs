//! When so many members are down at once that the monitor is the likelier one to
//! be wrong: `panic_threshold`. Pure.
//!
//! What must not be here: what becomes of members then (that is
//! [`super::Standing::flags`]).

use super::{HealthView, Overrides, Standing, pool::standings};
use crate::model::{LoadBalancer, Pool};

/// That a pool keeps forwarding to all of its members, whatever its monitor found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Panic {
    /// How many of the members that are on are down.
    pub down: usize,
    /// How many members are on.
    pub of: usize,
}

/// Whether a pool is in panic: it has a threshold, and more than that share of
/// its members that are on is down. On are those that could get new flows:
/// switched on and not drained, by a weight of zero or by an operator; backups
/// count like the others. A pool that is switched off is never in panic, nor is one
/// whose backups serve: with every primary down and a backup up, traffic has a place
/// to go that the monitor says works, and in panic it would go back to the primaries.
#[must_use]
pub fn panic_of(lb: &LoadBalancer, pool: &Pool, overrides: &Overrides, health: &HealthView) -> Option<Panic> {
    // Most pools have none, and need no look at each member.
    pool.panic_threshold?;
    among(pool, standings(lb, pool, overrides, health))
}

/// The same, from how the pool's members stand.
pub(super) fn among(pool: &Pool, standings: impl Iterator<Item = Standing>) -> Option<Panic> {
    let threshold = pool.panic_threshold.filter(|_| pool.admin_state_up)?;
    let on = standings.filter(|standing| standing.enabled && !standing.drained && standing.weight > 0);
    let (mut panic, mut primary_up, mut backup_up) = (Panic { down: 0, of: 0 }, false, false);
    for standing in on {
        panic.of += 1;
        panic.down += usize::from(standing.unhealthy);
        primary_up |= !standing.unhealthy && !standing.backup;
        backup_up |= !standing.unhealthy && standing.backup;
    }
    let backups_serve = backup_up && !primary_up;
    (!backups_serve && panic.down * 100 > panic.of * usize::from(threshold.get())).then_some(panic)
}

#[cfg(test)]
#[path = "panic_tests.rs"]
mod tests;
