//! What the data path would do with packets: its own code, tried out on its own
//! tables, and each step said in an operator's words.
//!
//! What must not be here: anything that decides about packets.

use super::{Knowledge, failed};
use crate::{
    control::{
        protocol::{MAX_FRAME_BYTES, MAX_PACKETS_EXPLAINED, PacketsAsked, Refusal, RefusalCode},
        view::explain::{ExplainView, ExplanationView, Outcome},
    },
    dataplane::{
        Arriving, Attachment, ListenerId, MemberId, Observed, ObservedListener, ObservedPool, PoolId, Rehearsed, Step,
        Verdict,
    },
};

mod frame;
mod words;

pub(super) fn explain(
    knowledge: &Knowledge<'_>,
    observed: &Observed,
    asked: &PacketsAsked,
    interface: Option<&str>,
) -> Result<ExplainView, Refusal> {
    let info = knowledge.dataplane.describe().map_err(failed("look at the data path"))?;
    let port = port_of(&info.attachments, interface)?;
    let arriving: Vec<Arriving> =
        frames(asked, port)?.into_iter().map(|frame| Arriving { ifindex: port.ifindex, frame }).collect();
    let rehearsed = knowledge.dataplane.rehearse(&arriving).map_err(failed("try packets out"))?;
    let scene = Scene { observed, attachments: &info.attachments, port };
    let packets = arriving.iter().zip(&rehearsed).map(|(before, after)| scene.view(before, after)).collect();
    Ok(ExplainView { interface: port.interface.clone(), packets })
}

/// The interface that packets come in by: the one that is named, or else the first
/// that the data path is attached to.
fn port_of<'a>(attachments: &'a [Attachment], named: Option<&str>) -> Result<&'a Attachment, Refusal> {
    let invalid = |message: String| Refusal::new(RefusalCode::Invalid, message);
    let names = || attachments.iter().map(|a| a.interface.as_str()).collect::<Vec<_>>().join(", ");
    match named {
        Some(name) => attachments
            .iter()
            .find(|attachment| attachment.interface == name)
            .ok_or_else(|| invalid(format!("the data path is not attached to {name}; it is attached to: {}", names()))),
        None => attachments.iter().min_by_key(|attachment| attachment.port).ok_or_else(|| {
            invalid("the data path is attached to no interface, so no packet comes in: see `lbctl status`".to_owned())
        }),
    }
}

/// The frames that are asked about.
fn frames(asked: &PacketsAsked, port: &Attachment) -> Result<Vec<Vec<u8>>, Refusal> {
    let invalid = |message: String| Refusal::new(RefusalCode::Invalid, message);
    match asked {
        PacketsAsked::Described(sketch) => frame::drawn(sketch, port.mac).map(|frame| vec![frame]).map_err(invalid),
        PacketsAsked::Frames(frames) if frames.len() > MAX_PACKETS_EXPLAINED => {
            Err(invalid(format!("{} packets are too many: ask about {MAX_PACKETS_EXPLAINED} at most", frames.len())))
        }
        PacketsAsked::Frames(frames) => frames
            .iter()
            .map(|digits| match frame::from_hex(digits) {
                Some(frame) if frame.len() <= MAX_FRAME_BYTES => Ok(frame),
                Some(frame) => {
                    Err(invalid(format!("a frame of {} bytes is longer than {MAX_FRAME_BYTES}", frame.len())))
                }
                None => Err(invalid("a frame is written in pairs of hexadecimal digits".to_owned())),
            })
            .collect(),
    }
}

/// What steps are told in the terms of.
struct Scene<'s> {
    observed: &'s Observed,
    attachments: &'s [Attachment],
    port: &'s Attachment,
}

impl Scene<'_> {
    fn view(&self, before: &Arriving, after: &Rehearsed) -> ExplanationView {
        let listener = after.steps.iter().find_map(|step| match step {
            Step::OfListener(id, _) | Step::NewFlow(id, _) | Step::Refused(id) => self.listener(*id),
            _ => None,
        });
        let member = after.steps.iter().find_map(|step| match step {
            Step::OfMember(id, _) | Step::NewFlow(_, id) => Some(self.member(*id)),
            _ => None,
        });
        let pool = listener.and_then(|listener| self.pool(listener.pool));
        let (verdict, leaves_by) = self.outcome(after);
        let reason = match (verdict, after.verdict) {
            (Outcome::Dropped, Verdict::Drop(reason)) => Some(reason),
            _ => None,
        };
        let leaves = matches!(verdict, Outcome::Forwarded | Outcome::Answered);
        ExplanationView {
            packet: frame::in_words(&before.frame),
            verdict,
            reason: reason.map(|reason| reason.label().to_owned()),
            meaning: reason.map(|reason| reason.meaning().to_owned()),
            listener: listener.map(|listener| listener.label.clone()),
            pool: pool.map(|pool| pool.record.label.clone()),
            member,
            forward_mode: pool.map(|pool| pool.record.mode.name().to_owned()),
            leaves_by: leaves_by.map(|attachment| attachment.interface.clone()),
            sent: leaves.then(|| frame::in_words(&after.frame)),
            sent_frame: leaves.then(|| frame::to_hex(&after.frame)),
            steps: after.steps.iter().filter_map(|step| self.told(*step)).collect(),
        }
    }

    /// What becomes of a packet, and the interface that it leaves by.
    fn outcome(&self, after: &Rehearsed) -> (Outcome, Option<&Attachment>) {
        match after.verdict {
            _ if after.steps.contains(&Step::HostRoutes) => (Outcome::HostRoutes, None),
            Verdict::Pass => (Outcome::Passed, None),
            Verdict::Drop(_) => (Outcome::Dropped, None),
            Verdict::Transmit => (Outcome::Forwarded, Some(self.port)),
            Verdict::Answer => (Outcome::Answered, Some(self.port)),
            Verdict::Redirect(number) => {
                (Outcome::Forwarded, self.attachments.iter().find(|attachment| attachment.port == number))
            }
        }
    }

    fn listener(&self, id: ListenerId) -> Option<&ObservedListener> {
        self.observed.listeners.values().find(|listener| listener.id == id)
    }

    fn pool(&self, id: PoolId) -> Option<&ObservedPool> {
        self.observed.pools.get(&id)
    }

    /// A member's label; one that the maps do not name is told by its id.
    fn member(&self, id: MemberId) -> String {
        self.observed.members.get(&id).map_or_else(|| format!("#{}", id.0), |member| member.label.clone())
    }

    /// A step, if an operator can make anything of it.
    fn told(&self, step: Step) -> Option<String> {
        match step {
            Step::Far(call) => words::of_call(call).map(str::to_owned),
            Step::Event(event) => words::of_event(event).map(str::to_owned),
            Step::Pool(id) => {
                let pool = self.pool(id)?;
                let (record, slots) = (&pool.record, pool.table.len());
                let (mode, algorithm) = (record.mode.name(), record.algorithm.name());
                Some(format!("pool {} has {mode}, {algorithm} and {slots} slots", record.label))
            }
            Step::Slots(_) => Some("a slot of the pool's table is read".to_owned()),
            Step::Member(id) => Some(format!("member {} is looked at", self.member(id))),
            Step::HostRoutes => {
                Some("the host's routes decide about a dnat member's packet: ask `ip route get`".to_owned())
            }
            Step::NewFlow(_, member) => Some(format!("a new flow of {} is counted", self.member(member))),
            Step::Refused(_) => Some("a flow that was refused is counted".to_owned()),
            Step::OfListener(..) | Step::OfMember(..) => None,
        }
    }
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;
