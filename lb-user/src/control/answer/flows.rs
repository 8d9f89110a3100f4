//! Flows, listed and counted.

use std::{collections::HashMap, net::IpAddr};

use super::{
    Knowledge, failed, listeners, members,
    picture::{ListenerRow, MemberRow, Picture},
};
use crate::{
    control::{
        protocol::{FlowFilter, MAX_FLOWS_LISTED, Refusal},
        view::{FlowCountView, FlowState, FlowView, FlowsView},
    },
    dataplane::{FlowRecord, ListenerId, MemberId, Stage},
};

pub(super) fn list(
    knowledge: &Knowledge<'_>,
    picture: &Picture<'_>,
    filter: &FlowFilter,
    limit: u32,
) -> Result<FlowsView, Refusal> {
    let wanted = Wanted::new(picture, filter)?;
    let ids = Ids::new(picture);
    let limit = limit.min(MAX_FLOWS_LISTED) as usize;
    let mut view = FlowsView::default();
    for_each(knowledge, &wanted, |flow| {
        view.matching += 1;
        if view.flows.len() < limit {
            view.flows.push(ids.view(&flow));
        }
    })?;
    Ok(view)
}

/// Every flow is counted once below `matching`: what a side has closed is no
/// longer called confirmed, since it may be displaced once it is over.
pub(super) fn count(
    knowledge: &Knowledge<'_>,
    picture: &Picture<'_>,
    filter: &FlowFilter,
) -> Result<FlowCountView, Refusal> {
    let wanted = Wanted::new(picture, filter)?;
    let mut count = FlowCountView::default();
    for_each(knowledge, &wanted, |flow| {
        count.matching += 1;
        match (state(&flow), flow.confirmed) {
            (FlowState::Closing | FlowState::Reset, _) => count.closing += 1,
            (_, true) => count.confirmed += 1,
            (_, false) => count.unconfirmed += 1,
        }
    })?;
    Ok(count)
}

fn for_each(knowledge: &Knowledge<'_>, wanted: &Wanted, mut each: impl FnMut(FlowRecord)) -> Result<(), Refusal> {
    let walk = knowledge.dataplane.for_each_flow(&mut |flow| {
        if wanted.matches(&flow) {
            each(flow);
        }
    });
    walk.map_err(failed("walk the flow table"))
}

/// A filter in the data path's own terms.
struct Wanted {
    /// `Some(None)`: a member that the data path does not have, so no flow.
    member: Option<Option<MemberId>>,
    listener: Option<Option<ListenerId>>,
    client: Option<IpAddr>,
}

impl Wanted {
    fn new(picture: &Picture<'_>, filter: &FlowFilter) -> Result<Self, Refusal> {
        let member = filter.member.as_deref().map(|select| members::pick(picture, select)).transpose()?;
        let listener = filter.listener.as_deref().map(|select| listeners::pick(picture, select)).transpose()?;
        Ok(Self {
            member: member.map(|row| row.seen.map(|(id, _)| id)),
            listener: listener.map(|row| row.seen.map(|seen| seen.id)),
            client: filter.client.map(|client| client.to_canonical()),
        })
    }

    fn matches(&self, flow: &FlowRecord) -> bool {
        self.member.is_none_or(|member| member == Some(flow.member))
            && self.listener.is_none_or(|listener| listener == Some(flow.listener))
            && self.client.is_none_or(|client| client == flow.client)
    }
}

/// What the numbers in a flow stand for.
struct Ids<'p, 'a> {
    listeners: HashMap<ListenerId, &'p ListenerRow<'a>>,
    members: HashMap<MemberId, &'p MemberRow<'a>>,
}

impl<'p, 'a> Ids<'p, 'a> {
    fn new(picture: &'p Picture<'a>) -> Self {
        Self {
            listeners: picture.listeners.iter().filter_map(|row| Some((row.seen?.id, row))).collect(),
            members: picture.members.iter().filter_map(|row| Some((row.seen?.0, row))).collect(),
        }
    }

    fn view(&self, flow: &FlowRecord) -> FlowView {
        let listener = self.listeners.get(&flow.listener);
        let member = self.members.get(&flow.member);
        FlowView {
            protocol: listener.map(|row| row.key.transport.name().to_owned()),
            client_address: flow.client,
            client_port: flow.client_port,
            listener: listener.map_or_else(|| format!("#{}", flow.listener.0), |row| row.label.clone()),
            member: member.map_or_else(|| format!("#{}", flow.member.0), |row| row.label.clone()),
            member_address: member.map(|row| row.key.address),
            member_port: member.map(|row| row.key.port),
            snat_port: flow.snat_port,
            state: state(flow),
            confirmed: flow.confirmed,
            idle_seconds: flow.idle_millis / 1000,
        }
    }
}

fn state(flow: &FlowRecord) -> FlowState {
    let either = |stage| flow.forward == stage || flow.back == stage;
    if either(Stage::Reset) {
        FlowState::Reset
    } else if either(Stage::Closing) {
        FlowState::Closing
    } else if either(Stage::Established) {
        FlowState::Established
    } else if either(Stage::Answered) {
        FlowState::Answered
    } else {
        FlowState::New
    }
}
