//! Answers to everything that only asks.
//!
//! One [`answer`] serves lbd, which knows what is wanted, and `lbctl
//! --offline`, which knows only what the maps say. Both are laid side by side
//! in a `picture`; the other files here each turn it into one noun's records.
//!
//! What must not be here: anything that waits or changes. The one exception is
//! [`edit_offline`], which edits a member in the maps while no lbd is there to
//! do it.

use std::{collections::BTreeMap, net::IpAddr};

use super::{
    protocol::{Refusal, RefusalCode, Request, Response},
    survey::Sighting,
    view::{DaemonView, sync::SyncView, vrrp::VrrpView},
};
use crate::{
    compile::{HealthView, MemberKey, Overrides},
    controller::standing::Standings,
    dataplane::{Dataplane, DataplaneError, Describe, Observed, Rehearse, Statistics, kernel::KernelDataplane},
    model::Model,
};

mod drops;
mod explain;
mod flows;
mod health;
mod listeners;
mod load_balancers;
mod members;
mod offline;
mod overview;
mod picture;
mod pools;
mod select;
mod traffic;
mod vrrp;

#[cfg(test)]
pub(super) mod scene;

pub use health::HealthKnowledge;
pub use members::{find_member, member_set_view};
pub use offline::edit_offline;
pub use vrrp::vrrp_command;

use picture::Picture;

/// Everything an answer reads from a data path.
pub trait Source: Dataplane + Statistics + Describe + Rehearse {}

impl<D: Dataplane + Statistics + Describe + Rehearse> Source for D {}

/// What an answer is made from.
#[derive(Clone, Copy)]
pub struct Knowledge<'a> {
    /// What is there.
    pub dataplane: &'a dyn Source,
    /// What is wanted; nobody knows it offline.
    pub intent: Option<Intent<'a>>,
    /// The daemon, if it is the one to answer.
    pub daemon: Option<&'a DaemonView>,
    /// VRRP instances; needed only if [`Request::is_about_the_pair`].
    pub vrrp: &'a [VrrpView],
    /// Flow sync, where it is configured; needed only if
    /// [`Request::is_about_the_pair`].
    pub sync: Option<&'a SyncView>,
    /// What the health monitors know; needed only if
    /// [`Request::is_about_health`], and nobody knows it offline.
    pub health: Option<&'a HealthKnowledge>,
}

impl<'a> Knowledge<'a> {
    /// What is known when nobody is there but the maps.
    #[must_use]
    pub fn of_maps(dataplane: &'a dyn Source) -> Self {
        Self { dataplane, intent: None, daemon: None, vrrp: &[], sync: None, health: None }
    }
}

impl std::fmt::Debug for Knowledge<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Knowledge").field("intent", &self.intent).field("daemon", &self.daemon).finish_non_exhaustive()
    }
}

/// What is wanted, and what stands in its way.
#[derive(Clone, Copy, Debug)]
pub struct Intent<'a> {
    /// The pool file in force.
    pub model: &'a Model,
    /// What operators changed.
    pub overrides: &'a Overrides,
    /// What the health monitors found.
    pub health: &'a HealthView,
    /// What a monitor met at a member that is down.
    pub health_reasons: &'a BTreeMap<MemberKey, String>,
    /// Why the next hop towards an address is not known.
    pub hops_missing: &'a BTreeMap<IpAddr, String>,
    /// Names of the interfaces that the data path should be attached to.
    pub interfaces: &'a [String],
    /// Why the driver of an interface did not take the program, by index.
    pub fallbacks: &'a BTreeMap<u32, String>,
    /// Since when everything has its status.
    pub standings: &'a Standings,
}

/// Shows everything that the pool file names, with its status, from what the maps
/// say: as [`survey`](super::survey::survey), and slower.
pub fn survey_of_maps(observed: &Observed, intent: &Intent<'_>, tell: &mut dyn FnMut(&Sighting<'_>)) {
    Picture::new(observed, Some(intent)).tell(tell);
}

/// Answers a request that only asks. One that would change something is
/// refused: the controller carries those out.
///
/// [`Request::Flows`], [`Request::FlowCount`], [`Request::Stats`] and whatever
/// selects one listener or member walk the flow table once.
#[must_use]
pub fn answer(knowledge: &Knowledge<'_>, request: &Request) -> Response {
    look_up(knowledge, request).unwrap_or_else(Response::Refused)
}

/// Carries a request out on the pinned maps while no lbd runs.
///
/// [`Request::Detach`] is refused: it takes the data path away from under its
/// owner, so the caller drops what it has opened and asks
/// [`KernelDataplane::remove`].
#[must_use]
pub fn answer_offline(dataplane: &mut KernelDataplane, request: &Request) -> Response {
    match request {
        Request::SetMember { member, change } => match edit_offline(dataplane, member, change) {
            Ok(view) => Response::MemberSet(Box::new(view)),
            Err(refusal) => Response::Refused(refusal),
        },
        Request::Detach => Response::Refused(Refusal::new(
            RefusalCode::Invalid,
            "a data path is not removed through what has it open: close it and remove its pins \
             (`lbctl --offline dataplane detach` does)",
        )),
        _ => answer(&Knowledge::of_maps(dataplane), request),
    }
}

fn look_up(knowledge: &Knowledge<'_>, request: &Request) -> Result<Response, Refusal> {
    if request.asks_how_all_are() {
        return Ok(Response::HealthList(health::overall(knowledge)?));
    }
    let observed = observe(knowledge.dataplane)?;
    let picture = Picture::new(&observed, knowledge.intent.as_ref());
    Ok(match request {
        Request::Status => Response::Status(Box::new(overview::status(knowledge, &picture)?)),
        Request::LoadBalancers { select } => {
            Response::LoadBalancers(load_balancers::list(knowledge, &picture, select.as_deref())?)
        }
        Request::Listeners { select } => Response::Listeners(listeners::list(knowledge, &picture, select.as_deref())?),
        Request::Pools { select } => Response::Pools(pools::list(knowledge, &picture, select.as_deref())?),
        Request::Members { select, pool } => {
            Response::Members(members::list(knowledge, &picture, select.as_deref(), pool.as_deref())?)
        }
        Request::ListHealth { pool, failing, limit } => {
            let choice = health::Choice { pool: pool.as_deref(), failing: *failing, limit: *limit };
            Response::HealthList(health::list(knowledge, &picture, choice)?)
        }
        Request::ShowHealth { member } => Response::Health(Box::new(health::show(knowledge, &picture, member)?)),
        Request::Stats => Response::Stats(traffic::stats(knowledge, &picture)?),
        Request::Flows { filter, limit } => Response::Flows(flows::list(knowledge, &picture, filter, *limit)?),
        Request::FlowCount { filter } => Response::FlowCount(flows::count(knowledge, &picture, filter)?),
        Request::Dataplane => Response::Dataplane(Box::new(overview::dataplane(knowledge)?)),
        Request::Drops => Response::Drops(drops::list(knowledge)?),
        Request::Explain { packets, interface } => {
            Response::Explained(explain::explain(knowledge, &observed, packets, interface.as_deref())?)
        }
        Request::Vrrp { select } => Response::Vrrp(vrrp::list(knowledge, select.as_deref())?),
        Request::Sync => {
            vrrp::known_here(knowledge)?;
            Response::Sync(knowledge.sync.cloned().map(Box::new))
        }
        Request::Events { .. } | Request::VrrpCommand { .. } if knowledge.intent.is_none() => {
            let message = "events and VRRP are lbd's: there are none without it; start lbd";
            return Err(Refusal::new(RefusalCode::Invalid, message));
        }
        Request::Events { .. } => {
            let message = "events are kept by whoever serves, and here things are only looked up";
            return Err(Refusal::new(RefusalCode::Invalid, message));
        }
        Request::SetMember { .. } | Request::Detach | Request::VrrpCommand { .. } => {
            let message = "this request changes something, and here things are only looked up; while no lbd runs, \
                           `lbctl --offline` carries it out on the pinned maps";
            return Err(Refusal::new(RefusalCode::Invalid, message));
        }
    })
}

fn observe(dataplane: &(impl Dataplane + ?Sized)) -> Result<Observed, Refusal> {
    dataplane.observe().map_err(failed("read the maps"))
}

/// The refusal that follows from an error of the data path.
fn failed(doing: &str) -> impl FnOnce(DataplaneError) -> Refusal {
    move |error| Refusal::new(RefusalCode::Failed, format!("{doing}: {error}"))
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
