//! What is kept from one change to the next, so that a verdict about a member costs
//! a look at its pool and not at everything: what the maps said after the last
//! operation, where each pool is in them, and what has changed since.
//!
//! What must not be here: how a pool should be (`compile`'s), which operations lead
//! there (`plan`'s).
//!
//! Invariant others rely on: what is kept is what the maps would be read as, for
//! nobody but the controller writes to them. Where that may not hold (after an
//! error, or because somebody edited the maps by hand) it is thrown away, and
//! everything is compiled, read and compared. A round of `resync` finds that out.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use lb_common::member::MemberState;

use super::{
    plan::{Place, places, plan_lingering, plan_pool},
    reconcile::{Outcome, ReconcileError, carry_out},
};
use crate::{
    compile::{Lineup, Offers, Said},
    dataplane::{Dataplane, Observed, Op},
    model::Model,
    spread::KeptTables,
};

/// What may have changed since the maps were as they should be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Stale {
    /// Anything.
    Everything,
    /// How members stand of the pools with these labels, and the ways to these
    /// addresses.
    Some {
        /// Labels of pools.
        pools: BTreeSet<String>,
        /// Addresses of members.
        addresses: BTreeSet<IpAddr>,
    },
}

impl Stale {
    pub(super) const NOTHING: Self = Self::Some { pools: BTreeSet::new(), addresses: BTreeSet::new() };

    /// How members of this pool stand has changed.
    pub(super) fn pool(&mut self, label: &str) {
        if let Self::Some { pools, .. } = self
            && !pools.contains(label)
        {
            pools.insert(label.to_owned());
        }
    }

    /// The way to this address has changed.
    pub(super) fn address(&mut self, address: IpAddr) {
        if let Self::Some { addresses, .. } = self {
            addresses.insert(address);
        }
    }
}

/// What is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Kept {
    observed: Observed,
    places: BTreeMap<String, Place>,
    offers: Offers,
}

impl Kept {
    /// From maps that are as the model wants them.
    pub(super) fn new(model: &Model, observed: Observed, offers: Offers) -> Self {
        Self { places: places(model, &observed), observed, offers }
    }

    /// What the maps say.
    pub(super) const fn observed(&self) -> &Observed {
        &self.observed
    }

    /// What is offered.
    pub(super) const fn offers(&self) -> &Offers {
        &self.offers
    }

    /// Frees the ids of retired members that no flow names any more.
    ///
    /// # Errors
    /// As [`super::reconcile::reconcile`]; what is kept is right all the same.
    pub(super) fn release(&mut self, dataplane: &mut impl Dataplane) -> Result<Outcome, ReconcileError> {
        let mut outcome = Outcome::default();
        let retired = self.observed.members.iter().filter(|(_, member)| member.flags & MemberState::RETIRED != 0);
        let ops = retired.map(|(id, _)| Op::ReleaseMember { id: *id }).collect();
        carry_out(dataplane, &mut self.observed, ops, &mut outcome)?;
        Ok(outcome)
    }

    /// Brings pools that have changed to what they should be: those with these labels,
    /// and those with a member at these addresses. `model` is the one that this was
    /// made for.
    ///
    /// # Errors
    /// As [`super::reconcile::reconcile`]; what is kept is right all the same.
    pub(super) fn follow(
        &mut self,
        dataplane: &mut impl Dataplane,
        model: &Model,
        said: &Said<'_>,
        tables: &mut KeptTables,
        (pools, addresses): (&BTreeSet<String>, &BTreeSet<IpAddr>),
    ) -> Result<Outcome, ReconcileError> {
        let mut outcome = Outcome::default();
        if !addresses.is_empty() {
            let ops = plan_lingering(said.hops, &self.observed);
            carry_out(dataplane, &mut self.observed, ops, &mut outcome)?;
        }
        for (label, place) in &self.places {
            let Some(lb) = model.load_balancers().get(place.model.0) else { continue };
            let Some(pool) = lb.pools.get(place.model.1) else { continue };
            let is_reached_anew = || pool.members.iter().any(|member| addresses.contains(&member.address));
            if !pools.contains(label) && (addresses.is_empty() || !is_reached_anew()) {
                continue;
            }
            let lineup = Lineup::of(lb, pool, said, tables);
            self.offers.set(label, !lineup.table.is_empty());
            let ops = plan_pool(&lineup, place, &self.observed);
            let ops = ops.map_err(|source| ReconcileError::Plan { done: outcome.done, source })?;
            carry_out(dataplane, &mut self.observed, ops, &mut outcome)?;
        }
        Ok(outcome)
    }
}

#[cfg(test)]
#[path = "kept_tests.rs"]
pub(super) mod tests;
