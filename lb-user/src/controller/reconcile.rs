//! Observe, plan, apply: one round of bringing the data plane to what is
//! desired.
//!
//! What must not be here: waiting, retrying, deciding what is desired. A round
//! that failed leaves a state in which every packet has its way; the next round
//! observes it and goes on from there.

use crate::{
    compile::Desired,
    controller::plan::{self, PlanError},
    dataplane::{Dataplane, DataplaneError, Observed, Op},
};

/// What a round did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Outcome {
    /// Operations carried out. None: everything was as desired.
    pub done: usize,
    /// Retired members whose ids could not be freed yet. They need another
    /// round later, though nothing desired may change until then.
    pub waiting: usize,
}

/// Why a round ended early. [`ReconcileError::done`] operations were carried
/// out before.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The data plane could not be read.
    #[error("observe the data plane")]
    Observe {
        /// Operations carried out before.
        done: usize,
        /// Why.
        source: DataplaneError,
    },
    /// There is no way to what is desired.
    #[error("plan the changes")]
    Plan {
        /// Operations carried out before.
        done: usize,
        /// Why.
        source: PlanError,
    },
    /// An operation failed.
    #[error("{op}, with {done} operations done before it and {left} left")]
    Apply {
        /// What failed.
        op: String,
        /// Operations carried out before.
        done: usize,
        /// Operations not tried.
        left: usize,
        /// Why.
        source: DataplaneError,
    },
}

impl ReconcileError {
    /// Operations carried out before the failure.
    #[must_use]
    pub fn done(&self) -> usize {
        match self {
            Self::Observe { done, .. } | Self::Plan { done, .. } | Self::Apply { done, .. } => *done,
        }
    }
}

/// Brings the data plane to what is desired. With everything as desired it
/// does nothing.
///
/// # Errors
/// The first failure; what was done until then stays done, and another round
/// goes on from there.
pub fn reconcile(dataplane: &mut impl Dataplane, desired: &Desired) -> Result<Outcome, ReconcileError> {
    reconcile_and_see(dataplane, desired).map(|(outcome, _)| outcome)
}

/// The same, and what the maps say then.
///
/// # Errors
/// As [`reconcile`].
pub fn reconcile_and_see(
    dataplane: &mut impl Dataplane,
    desired: &Desired,
) -> Result<(Outcome, Observed), ReconcileError> {
    let mut outcome = Outcome::default();
    let mut observed = observe(dataplane, &outcome)?;
    let planned = match plan::plan(desired, &observed) {
        // What is about to go holds the ids that are missing.
        Err(PlanError::NoIdLeft { .. }) => {
            let room = plan::make_room(desired, &observed);
            carry_out(dataplane, &mut observed, room, &mut outcome)?;
            outcome.waiting = 0;
            plan::plan(desired, &observed)
        }
        planned => planned,
    };
    let ops = planned.map_err(|source| ReconcileError::Plan { done: outcome.done, source })?;
    carry_out(dataplane, &mut observed, ops, &mut outcome)?;
    Ok((outcome, observed))
}

fn observe(dataplane: &impl Dataplane, outcome: &Outcome) -> Result<Observed, ReconcileError> {
    dataplane.observe().map_err(|source| ReconcileError::Observe { done: outcome.done, source })
}

/// Carries out operations. `observed` is what the maps say, before and after.
///
/// # Errors
/// The first failure; `observed` has followed all that was carried out.
pub(super) fn carry_out(
    dataplane: &mut impl Dataplane,
    observed: &mut Observed,
    ops: Vec<Op>,
    outcome: &mut Outcome,
) -> Result<(), ReconcileError> {
    let count = ops.len();
    for (tried, op) in ops.into_iter().enumerate() {
        match dataplane.apply(&op) {
            Ok(()) => {
                outcome.done += 1;
                outcome.waiting += usize::from(matches!(op, Op::RetireMember { .. }));
                observed.follow(op);
            }
            Err(DataplaneError::MemberInUse(_)) => outcome.waiting += 1,
            Err(source) => {
                let left = count - tried - 1;
                return Err(ReconcileError::Apply { op: describe(&op), done: outcome.done, left, source });
            }
        }
    }
    Ok(())
}

/// An operation in an operator's words.
#[must_use]
pub fn describe(op: &Op) -> String {
    match op {
        Op::PutMember { id, record } => format!("put member {} ({})", id.0, record.label),
        Op::PutPool { id, record, table, .. } => {
            format!("put pool {} ({}, {} slots)", id.0, record.label, table.len())
        }
        Op::PutInstance { id, label, .. } => format!("put instance {} ({label})", id.0),
        Op::PutVip { id, address, label, .. } => format!("put VIP {} ({address} of {label})", id.0),
        Op::PutListener { id, transport, port, label, .. } => {
            format!("put listener {} ({label}, port {port}/{transport})", id.0)
        }
        Op::SetAllowedCidrs { listener, prefixes } => {
            format!("list {} networks that may reach listener {}", prefixes.len(), listener.0)
        }
        Op::SetDnatMembers { members } => format!("list {} members of dnat pools", members.len()),
        Op::RemoveListener { id, transport, port, .. } => {
            format!("remove listener {} (port {port}/{transport})", id.0)
        }
        Op::RemoveVip { id, address } => format!("remove VIP {} ({address})", id.0),
        Op::RemoveInstance { id } => format!("remove instance {}", id.0),
        Op::SetAdvertSources { sources } => format!("list {} sources of adverts", sources.len()),
        Op::RemovePool { id } => format!("remove pool {}", id.0),
        Op::RetireMember { id } => format!("retire member {}", id.0),
        Op::ReleaseMember { id } => format!("release member {}", id.0),
    }
}

#[cfg(test)]
#[path = "packets_tests.rs"]
pub(super) mod packets_tests;
#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod tests;
#[cfg(test)]
#[path = "world.rs"]
pub(super) mod world;
