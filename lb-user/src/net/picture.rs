//! Everything that was learned so far, and the [`Hops`] that follow from it.
//! Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use lb_common::{mac::Mac, member::NextHop};

use crate::compile::PathFacts;

use super::{
    Hops, LinkView, Links, Wanted,
    neighbours::Neighbours,
    resolve::{Missing, Place, Surroundings, resolve},
};

/// How long frames go on to where they went while the next hop's address is
/// being found out: its entry was flushed or collected, or the route has moved
/// to another neighbour. The kernel's own three questions take as long. A
/// neighbour that does not answer, and a route that is gone, end it at once.
const HOLD: Duration = Duration::from_secs(3);

/// The kernel's routing decision for an address.
pub(super) type Route = Result<Place, Missing>;

/// What is known.
#[derive(Debug, Default)]
pub(super) struct Picture {
    wanted: Wanted,
    links: Links,
    /// What [`Hops::links`] shows of `links`.
    shown: Arc<BTreeMap<String, LinkView>>,
    routes: BTreeMap<IpAddr, Route>,
    pub(super) neighbours: Neighbours,
    held: BTreeMap<IpAddr, Held>,
    /// Whether any of them stood for one that is not known, last time.
    holds: bool,
}

/// The last next hop of a member.
#[derive(Debug)]
struct Held {
    next_hop: NextHop,
    /// Since when it is only held.
    since: Option<Instant>,
}

impl Picture {
    /// Takes what to look into.
    pub(super) fn want(&mut self, wanted: Wanted) {
        self.routes.retain(|member, _| wanted.members.contains(member));
        self.held.retain(|member, _| wanted.members.contains(member));
        self.wanted = wanted;
    }

    /// The members that are looked into.
    pub(super) fn members(&self) -> Vec<IpAddr> {
        self.wanted.members.iter().copied().collect()
    }

    /// Takes the links there are.
    pub(super) fn see_links(&mut self, links: Links) {
        if links != self.links {
            let shown = |(ifindex, link): (&u32, &super::Link)| {
                let (mac, addresses) = (link.mac?, link.addresses.clone());
                Some((link.name.clone(), LinkView { ifindex: *ifindex, mac, up: link.up, addresses }))
            };
            self.shown = Arc::new(links.iter().filter_map(shown).collect());
            self.links = links;
        }
    }

    /// Takes the routing decisions and returns the places whose neighbour has
    /// not been asked for before.
    ///
    /// Only interfaces that frames can leave by matter: no neighbour is asked
    /// on another one.
    pub(super) fn see_routes(&mut self, routes: BTreeMap<IpAddr, Route>) -> Vec<Place> {
        self.routes = routes;
        let places = self.routes.values().filter_map(|route| route.as_ref().ok().copied());
        let places: BTreeSet<_> = places.filter(|p| self.wanted.ports.contains_key(&p.ifindex)).collect();
        self.neighbours.keep(&places)
    }

    /// Whether the last [`Picture::hops`] hold only for a while, though nothing is heard.
    pub(super) const fn holds(&self) -> bool {
        self.holds
    }

    /// What follows, with generation zero.
    pub(super) fn hops(&mut self, now: Instant) -> Hops {
        self.holds = false;
        let mut hops = Hops { links: Arc::clone(&self.shown), ..Hops::default() };
        for member in self.members() {
            if let Some(path) = self.path(member) {
                hops.next_hops.paths.insert(member, path);
            }
            match self.next_hop(member, now) {
                Ok(next_hop) => drop(hops.next_hops.insert(member, next_hop)),
                Err(missing) => drop(hops.missing.insert(member, missing.to_string())),
            }
        }
        hops
    }

    /// What the way to a member takes, if a route leads there.
    fn path(&self, member: IpAddr) -> Option<PathFacts> {
        let place = self.routes.get(&member)?.as_ref().ok()?;
        let link = self.links.get(&place.ifindex)?;
        let is_fit = |address: &IpAddr| match address {
            IpAddr::V4(_) => member.is_ipv4(),
            // Nobody beyond the link answers to such a one.
            IpAddr::V6(address) => member.is_ipv6() && !address.is_unicast_link_local(),
        };
        let source = link.addresses.iter().copied().find(is_fit);
        Some(PathFacts { mtu: u16::try_from(link.mtu).unwrap_or(u16::MAX), source })
    }

    fn next_hop(&mut self, member: IpAddr, now: Instant) -> Result<NextHop, Missing> {
        let around = Surroundings { links: &self.links, ports: &self.wanted.ports, neighbours: &self.neighbours };
        let Some(route) = self.routes.get(&member) else { return Err(Missing::NotAsked(member)) };
        let resolved = resolve(route, &around);
        match &resolved {
            Ok(next_hop) => drop(self.held.insert(member, Held { next_hop: *next_hop, since: None })),
            Err(Missing::Asking(..)) => {
                if let Some(held) = self.hold(member, now) {
                    self.holds = true;
                    return Ok(held);
                }
            }
            Err(_) => drop(self.held.remove(&member)),
        }
        resolved
    }

    /// The member's last next hop, if it has not been held for too long and
    /// frames can still leave that way.
    fn hold(&mut self, member: IpAddr, now: Instant) -> Option<NextHop> {
        let held = self.held.get_mut(&member)?;
        let since = *held.since.get_or_insert(now);
        let next_hop = held.next_hop;
        let leaves = |(ifindex, port): (&u32, &(u16, Mac))| {
            *port == (next_hop.port, next_hop.source) && self.links.get(ifindex).is_some_and(|link| link.up)
        };
        let holds = now.duration_since(since) < HOLD && self.wanted.ports.iter().any(leaves);
        if !holds {
            self.held.remove(&member);
        }
        holds.then_some(next_hop)
    }

    /// How to name a link to an operator.
    pub(super) fn link_name(&self, ifindex: u32) -> String {
        self.links.get(&ifindex).map_or_else(|| format!("interface number {ifindex}"), |link| link.name.clone())
    }
}

#[cfg(test)]
#[path = "picture_tests.rs"]
mod tests;
