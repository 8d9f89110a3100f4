//! Counters, and how many flows everything has.

use std::collections::HashMap;

use super::{Knowledge, failed, picture::Picture};
use crate::{
    control::{
        protocol::Refusal,
        view::{CountersView, StatsView, TrafficView},
    },
    dataplane::{ListenerId, MemberId, TrafficCounters},
};

/// How many flows every listener and member has: one walk over the flow table.
#[derive(Debug, Default)]
pub(super) struct Tally {
    listeners: HashMap<ListenerId, u64>,
    members: HashMap<MemberId, u64>,
}

impl Tally {
    pub(super) fn take(knowledge: &Knowledge<'_>) -> Result<Self, Refusal> {
        let mut tally = Self::default();
        knowledge
            .dataplane
            .for_each_flow(&mut |flow| {
                *tally.listeners.entry(flow.listener).or_default() += 1;
                *tally.members.entry(flow.member).or_default() += 1;
            })
            .map_err(failed("count flows"))?;
        Ok(tally)
    }

    pub(super) fn of_listener(&self, id: ListenerId) -> u64 {
        self.listeners.get(&id).copied().unwrap_or(0)
    }

    pub(super) fn of_member(&self, id: MemberId) -> u64 {
        self.members.get(&id).copied().unwrap_or(0)
    }
}

pub(super) fn of_listener(knowledge: &Knowledge<'_>, id: ListenerId) -> Result<CountersView, Refusal> {
    knowledge.dataplane.listener_counters(id).map(counters).map_err(failed("read counters"))
}

pub(super) fn of_member(knowledge: &Knowledge<'_>, id: MemberId) -> Result<CountersView, Refusal> {
    knowledge.dataplane.member_counters(id).map(counters).map_err(failed("read counters"))
}

pub(super) fn stats(knowledge: &Knowledge<'_>, picture: &Picture<'_>) -> Result<StatsView, Refusal> {
    let tally = Tally::take(knowledge)?;
    let mut stats = StatsView::default();
    for row in &picture.listeners {
        let Some(seen) = row.seen else { continue };
        stats.listeners.push(TrafficView {
            name: row.label.clone(),
            counters: of_listener(knowledge, seen.id)?,
            active_flows: tally.of_listener(seen.id),
        });
    }
    for row in &picture.members {
        let Some((id, _)) = row.seen else { continue };
        stats.members.push(TrafficView {
            name: row.label.clone(),
            counters: of_member(knowledge, id)?,
            active_flows: tally.of_member(id),
        });
    }
    Ok(stats)
}

const fn counters(counters: TrafficCounters) -> CountersView {
    CountersView {
        packets_in: counters.packets_in,
        bytes_in: counters.bytes_in,
        packets_out: counters.packets_out,
        bytes_out: counters.bytes_out,
        flows_new: counters.flows_new,
        flows_refused: counters.flows_refused,
    }
}
