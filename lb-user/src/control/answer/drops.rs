//! Every reason to drop and every answer, counted.

use lb_common::counters::Event;

use super::{Knowledge, failed};
use crate::{
    control::{
        protocol::Refusal,
        view::{DropView, EventKind},
    },
    dataplane::DropReason,
};

pub(super) fn list(knowledge: &Knowledge<'_>) -> Result<Vec<DropView>, Refusal> {
    let events = knowledge.dataplane.events().map_err(failed("read the event counters"))?;
    let view = |event: Event, label: &str, kind, meaning: &str| DropView {
        number: event.index(),
        label: label.to_owned(),
        kind,
        count: count(&events, event),
        meaning: meaning.to_owned(),
    };
    let drops = DropReason::ALL
        .iter()
        .map(|reason| view(Event::Drop(*reason), reason.label(), EventKind::Drop, reason.meaning()));
    let answers = Event::ANSWERS.iter().map(|(event, label, meaning)| view(*event, label, EventKind::Answer, meaning));
    Ok(drops.chain(answers).collect())
}

/// Packets dropped, for whatever reason.
pub(super) fn dropped(knowledge: &Knowledge<'_>) -> Result<u64, Refusal> {
    let events = knowledge.dataplane.events().map_err(failed("read the event counters"))?;
    Ok(DropReason::ALL.iter().map(|reason| count(&events, Event::Drop(*reason))).sum())
}

fn count(events: &[u64], event: Event) -> u64 {
    events.get(event.index() as usize).copied().unwrap_or(0)
}
