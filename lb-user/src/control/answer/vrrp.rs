//! VRRP instances, and what they can be told to do.

use super::{
    Knowledge,
    select::{self, Names, VRRP},
};
use crate::control::{
    protocol::{Refusal, RefusalCode, VrrpCommand},
    view::vrrp::{VrrpCommandView, VrrpState, VrrpView},
};

pub(super) fn list(knowledge: &Knowledge<'_>, select: Option<&str>) -> Result<Vec<VrrpView>, Refusal> {
    known_here(knowledge)?;
    Ok(match select {
        Some(select) => vec![pick(knowledge.vrrp, select)?.clone()],
        None => knowledge.vrrp.to_vec(),
    })
}

/// The maps say which addresses are answered for, not what was heard and why.
pub(super) fn known_here(knowledge: &Knowledge<'_>) -> Result<(), Refusal> {
    if knowledge.intent.is_some() {
        return Ok(());
    }
    let message = "VRRP and flow sync live in lbd and are not known without it; `lbctl --offline loadbalancer list` \
                   shows which VIPs this node answers for";
    Err(Refusal::new(RefusalCode::Invalid, message))
}

fn pick<'v>(instances: &'v [VrrpView], select: &str) -> Result<&'v VrrpView, Refusal> {
    select::pick(VRRP, select, instances.iter(), |view| Names::label(&view.name))
}

/// Finds the instance that a command is for, and whether it makes sense there:
/// then the caller carries it out on the instance of that name and sends this
/// answer.
///
/// # Errors
/// [`RefusalCode::NotFound`] and [`RefusalCode::Ambiguous`] as for every
/// selection; [`RefusalCode::Invalid`] for a failover where there is nothing to
/// move.
pub fn vrrp_command(instances: &[VrrpView], select: &str, command: VrrpCommand) -> Result<VrrpCommandView, Refusal> {
    let instance = pick(instances, select)?;
    let mut notes = Vec::new();
    match command {
        VrrpCommand::Failover if instance.state != VrrpState::Active => {
            return Err(Refusal::new(RefusalCode::Invalid, nothing_to_move(instance)));
        }
        VrrpCommand::Pause if instance.paused => notes.push(format!("{} was paused already", instance.name)),
        VrrpCommand::Resume if !instance.paused && !instance.yielded => {
            notes.push(format!("{} takes part already: it was neither paused nor moved away", instance.name));
        }
        VrrpCommand::Failover | VrrpCommand::Pause | VrrpCommand::Resume => {}
    }
    if command == VrrpCommand::Resume
        && let Some(fault) = &instance.fault
    {
        notes.push(format!("{} stays out as long as this lasts: {fault}", instance.name));
    }
    Ok(VrrpCommandView { instance: instance.clone(), notes })
}

/// Why an instance cannot be moved away from here, and where that can be done.
fn nothing_to_move(instance: &VrrpView) -> String {
    let name = &instance.name;
    let beginning = format!("{name} is {} here, so there is nothing to move", instance.state.word());
    match (instance.state, instance.heard_last()) {
        (VrrpState::Initialize, _) => format!("{beginning}: {}", instance.reason),
        (_, Some(peer)) => format!(
            "{beginning}: {} is the Active; run `lbctl vrrp failover {name}` there, or `lbctl vrrp pause {name}` here \
             to keep this node out",
            peer.address
        ),
        (_, None) => format!("{beginning}: `lbctl vrrp show {name}` tells what it waits for"),
    }
}

#[cfg(test)]
#[path = "vrrp_tests.rs"]
mod tests;
