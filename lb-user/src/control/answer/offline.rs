//! `member set` on the pinned maps, while no lbd runs.
//!
//! The maps say everything that a pool's table follows from (flags, weights,
//! next hops), so the table comes out as lbd would build it. What they do not
//! say is what the pool file says: there is nothing to reset to.

use lb_common::member::MemberState;

use super::{Knowledge, Source, failed, member_set_view, members, observe, picture::Picture};
use crate::{
    compile::{Fitness, MemberKey, Standing, in_table},
    control::{
        protocol::{MemberChange, Refusal, RefusalCode},
        view::MemberSetView,
    },
    dataplane::{MemberId, MemberRecord, Observed, ObservedPool, Op, PoolId},
    model::{Algorithm, Weight},
    spread,
};

/// Changes a member in the maps: its weight, whether it is on, whether it
/// drains. New flows follow at once; flows there are stay where lbd would leave
/// them. Lbd must not be running, for it would put its own word in the place of
/// this one.
///
/// # Errors
/// [`RefusalCode::NotFound`] and [`RefusalCode::Ambiguous`] as for every
/// selection; [`RefusalCode::Invalid`] for a change that is none, cannot be
/// made offline, or is of a member that is gone from the pool file;
/// [`RefusalCode::Failed`] when the maps refuse: they are then as before.
pub fn edit_offline(
    dataplane: &mut impl Source,
    member: &str,
    change: &MemberChange,
) -> Result<MemberSetView, Refusal> {
    check(change)?;
    let observed = observe(dataplane)?;
    let key = select(&observed, member)?;
    let edit = Edit::plan(&observed, &key, change)?;
    edit.carry_out(dataplane)?;
    let mut view = member_set_view(&Knowledge::of_maps(&*dataplane), &key.member)?;
    view.notes.extend(edit.notes);
    Ok(view)
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(RefusalCode::Invalid, message)
}

fn check(change: &MemberChange) -> Result<(), Refusal> {
    if change.reset {
        return Err(invalid(
            "without lbd the pool file is not known, so there is nothing to reset to: say the weight and the state \
             that are wanted, or start lbd and reset there",
        ));
    }
    if change.is_empty() {
        return Err(invalid("nothing is to be changed: name a weight, a state or whether to drain"));
    }
    match change.weight {
        Some(weight) if Weight::new(weight).is_none() => {
            Err(invalid(format!("a weight is 0 to {}, not {weight}", Weight::MAX)))
        }
        _ => Ok(()),
    }
}

/// The member meant.
struct Selected {
    id: MemberId,
    member: MemberKey,
}

fn select(observed: &Observed, select: &str) -> Result<Selected, Refusal> {
    let picture = Picture::new(observed, None);
    let row = members::pick(&picture, select)?;
    match row.seen {
        Some((id, _)) if !row.retired => Ok(Selected { id, member: row.key.clone() }),
        _ => Err(invalid(format!(
            "member {} is gone from the pool file and only keeps its flows until they end: there is nothing to change",
            row.label
        ))),
    }
}

/// What is to be done, step by step.
struct Edit {
    steps: Vec<Step>,
    notes: Vec<String>,
}

/// An operation and its opposite.
struct Step {
    ahead: Op,
    back: Op,
}

impl Edit {
    fn plan(observed: &Observed, selected: &Selected, change: &MemberChange) -> Result<Self, Refusal> {
        let Selected { id, member } = selected;
        let gone = || Refusal::new(RefusalCode::Failed, format!("the maps have no pool for member {}", id.0));
        let before = observed.members.get(id).ok_or_else(gone)?;
        let pool = observed.pools.get(&before.pool).ok_or_else(gone)?;
        let mut members: Vec<(MemberId, MemberRecord)> = observed
            .members
            .iter()
            .filter(|(_, m)| m.pool == before.pool && m.flags & MemberState::RETIRED == 0)
            .map(|(id, m)| (*id, m.clone()))
            .collect();
        let pool_enabled = !members.iter().any(|(_, m)| shows_pool_off(m));
        let mut notes = Vec::new();
        let after = changed(before, change, pool_enabled, &mut notes);
        members.iter_mut().filter(|(other, _)| other == id).for_each(|(_, record)| *record = after.clone());
        let table = table(pool.record.algorithm, &members);

        if !pool_enabled {
            notes.push(format!("pool {} is switched off: none of its members takes flows", member.pool));
        }
        notes.push(
            "this holds until lbd starts again: then the pool file and the changes that lbd remembers are in force"
                .to_owned(),
        );
        let stays = table.contains(id);
        let put_member = Step {
            ahead: Op::PutMember { id: *id, record: after },
            back: Op::PutMember { id: *id, record: before.clone() },
        };
        let mut steps = vec![put_member];
        if table != pool.table {
            let put_table = Step {
                ahead: put_pool(before.pool, pool, table),
                back: put_pool(before.pool, pool, pool.table.clone()),
            };
            // New flows are to leave a member before it stops taking them, and
            // to come to it after it has begun to.
            steps.insert(usize::from(stays), put_table);
        }
        Ok(Self { steps, notes })
    }

    /// Carries every step out, or none.
    fn carry_out(&self, dataplane: &mut impl Source) -> Result<(), Refusal> {
        for (done, step) in self.steps.iter().enumerate() {
            let Err(error) = dataplane.apply(&step.ahead) else { continue };
            for undo in self.steps[..done].iter().rev() {
                dataplane.apply(&undo.back).map_err(|again| {
                    let message = format!(
                        "edit the maps: {error}; a part of the change is made and cannot be taken back: {again}; \
                         start lbd, which puts the maps right"
                    );
                    Refusal::new(RefusalCode::Failed, message)
                })?;
            }
            return Err(failed("edit the maps")(error));
        }
        Ok(())
    }
}

/// `transition_hold` where no pool file says it.
const HOLD: std::time::Duration = std::time::Duration::from_secs(300);

fn put_pool(id: PoolId, pool: &ObservedPool, table: Vec<MemberId>) -> Op {
    Op::PutPool { id, record: pool.record.clone(), table, hold: HOLD }
}

/// Nothing about the member itself keeps it from being up.
fn shows_pool_off(member: &MemberRecord) -> bool {
    member.flags & (MemberState::UP | MemberState::DISABLED | MemberState::UNHEALTHY) == 0
}

/// The member after a change, by the rules of [`Standing`].
fn changed(before: &MemberRecord, change: &MemberChange, pool_enabled: bool, notes: &mut Vec<String>) -> MemberRecord {
    let had = |flag| before.flags & flag != 0;
    let weight = change.weight.unwrap_or(before.weight);
    // A weight of zero drains, so behind it the maps do not show whether the
    // operator drains the member as well.
    let drained = change.drain.unwrap_or(had(MemberState::DRAINING) && before.weight > 0);
    let standing = Standing {
        enabled: change.admin_state_up.unwrap_or(!had(MemberState::DISABLED)),
        pool_enabled,
        unhealthy: had(MemberState::UNHEALTHY),
        drained,
        weight,
        backup: had(MemberState::BACKUP),
        panic: had(MemberState::UNHEALTHY) && had(MemberState::UP),
        resets: had(MemberState::RESETS_FLOWS),
    };
    let asks_for_flows = change.admin_state_up == Some(true)
        || change.drain == Some(false)
        || change.weight.is_some_and(|weight| weight > 0);
    let mut note = |applies: bool, text: &str| {
        if asks_for_flows && applies {
            notes.push(text.to_owned());
        }
    };
    note(change.admin_state_up.is_none() && !standing.enabled, "the member is still switched off");
    note(change.weight.is_none() && weight == 0, "the member still drains, because its weight is 0");
    note(change.drain.is_none() && drained, "the member still drains, because an operator drains it");
    note(
        change.drain.is_none() && before.weight == 0 && weight > 0,
        "the member's weight was 0, behind which the maps do not show whether it was drained by hand too: it is not \
         drained now",
    );
    note(standing.unhealthy, "a health monitor found the member down, and none runs now that could find it up");
    MemberRecord { flags: standing.flags(), weight, ..before.clone() }
}

/// The table of a pool with these members.
fn table(algorithm: Algorithm, members: &[(MemberId, MemberRecord)]) -> Vec<MemberId> {
    let chosen = in_table(members, |(_, member)| Fitness {
        flags: member.flags,
        weight: member.weight,
        reached: member.next_hop.is_some(),
    });
    let candidates: Vec<_> = chosen
        .iter()
        .map(|(_, member)| spread::Candidate {
            identity: spread::identity(member.address, member.port),
            weight: member.weight,
        })
        .collect();
    let slots = spread::for_algorithm(algorithm, &candidates, members.len());
    slots.into_iter().map(|slot| chosen[usize::from(slot)].0).collect()
}

#[cfg(test)]
#[path = "offline_tests.rs"]
mod tests;
