//! From what an instance depends on to its effective priority, or to the reason
//! why it must not take part. Pure.
//!
//! A weight changes the priority as keepalived's do: a positive one is added
//! while its object is up, a negative one taken away while it is down, and an
//! object of weight 0 has to be up at all.

use std::collections::{BTreeMap, BTreeSet};

use vrrp::Priority;

use crate::{
    config::{Track, TrackKind, VrrpConfig},
    net::LinkView,
};

/// The lowest and the highest effective priority: 0 and 255 mean something else
/// (RFC 9568 §5.2.4).
const PRIORITIES: std::ops::RangeInclusive<i32> = 1..=254;

/// What is known about the objects that can be tracked.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The Ethernet interfaces there are.
    pub links: &'a BTreeMap<String, LinkView>,
    /// Names of the interfaces the data path is attached to.
    pub attached: &'a BTreeSet<String>,
    /// Names of those it should be attached to.
    pub wanted: &'a [String],
    /// Why the maps are not as they should be.
    pub behind: Option<&'a str>,
    /// Load balancers that no pool of which has a member to offer.
    pub load_balancers_down: &'a BTreeSet<String>,
}

/// What follows for an instance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Outlook {
    /// Its effective priority.
    pub(super) priority: Priority,
    /// Why it must not take part.
    pub(super) fault: Option<String>,
    /// Each tracked object, in the pool file's order.
    pub(super) tracked: Vec<Tracked>,
}

/// A tracked object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Tracked {
    /// What it is, as the pool file has it.
    pub(super) track: Track,
    /// Why it is down, if it is.
    pub(super) down: Option<String>,
}

impl Facts<'_> {
    /// Why an interface cannot carry VIPs.
    fn interface(&self, name: &str) -> Option<String> {
        match self.links.get(name) {
            None => Some(format!("interface {name} is not there")),
            Some(link) if !link.up => Some(format!("interface {name} is down")),
            Some(_) => None,
        }
    }

    /// Why packets would not be forwarded.
    fn data_path(&self) -> Option<String> {
        if let Some(reason) = self.behind {
            return Some(format!("the data path is behind: {reason}"));
        }
        self.wanted.iter().find_map(|name| {
            if !self.attached.contains(name) {
                return Some(format!("the data path is not attached to {name}"));
            }
            self.interface(name)
        })
    }

    fn down(&self, kind: &TrackKind) -> Option<String> {
        match kind {
            TrackKind::Interface(name) => self.interface(name),
            TrackKind::DataPath => self.data_path(),
            TrackKind::LoadBalancer(name) => {
                let down = self.load_balancers_down.contains(name.as_str());
                down.then(|| format!("load balancer {name} has no member to offer"))
            }
        }
    }

    /// The outlook of an instance.
    pub(super) fn outlook(&self, instance: &VrrpConfig) -> Outlook {
        let name = &instance.interface;
        let mut fault = self.interface(name);
        if fault.is_none() && !self.attached.contains(name) {
            fault = Some(format!("the data path is not attached to {name}"));
        }
        let mut priority = i32::from(instance.priority.get());
        let mut tracked = Vec::new();
        for track in &instance.track {
            let down = self.down(&track.kind);
            match (&down, track.weight) {
                (Some(reason), 0) => drop(fault.get_or_insert_with(|| reason.clone())),
                (Some(_), weight) if weight < 0 => priority += i32::from(weight),
                (None, weight) if weight > 0 => priority += i32::from(weight),
                _ => {}
            }
            tracked.push(Tracked { track: track.clone(), down });
        }
        let priority = priority.clamp(*PRIORITIES.start(), *PRIORITIES.end());
        let priority = u8::try_from(priority).ok().and_then(Priority::new).unwrap_or(Priority::LOWEST);
        Outlook { priority, fault, tracked }
    }
}

#[cfg(test)]
#[path = "tracking_tests.rs"]
mod tests;
