//! From a routing decision and what is known of neighbours to a next hop, or to
//! the reason why there is none. Pure.

use std::{fmt, net::IpAddr};

use lb_common::{mac::Mac, member::NextHop};

use super::{Links, Ports, neighbours::Neighbours};

/// Where the kernel would send a packet for an address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Place {
    /// The interface it would leave by.
    pub ifindex: u32,
    /// The neighbour it would be handed to: the gateway, or the address itself.
    /// The gateway of an IPv4 route may be an IPv6 address.
    pub neighbour: IpAddr,
}

/// Why a member cannot be reached. It reads as a reason after "member X: ".
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Missing {
    /// No route leads there, or one that says so.
    NoRoute(IpAddr),
    /// A route forbids it.
    Prohibited(IpAddr),
    /// A route drops everything for it, without a word.
    BlackHole(IpAddr),
    /// It is this host.
    Own(IpAddr),
    /// It is no address of one host.
    NotOneHost(IpAddr),
    /// The kernel answered with an error of another kind.
    Refused(IpAddr, i32),
    /// The kernel could not be asked yet.
    NotAsked(IpAddr),
    /// The interface was there when the route was looked up and is not now.
    Vanished(u32),
    /// The interface carries no frames.
    Down(String),
    /// The data path is not attached to the interface.
    Detached(String),
    /// The neighbour has not answered yet.
    Asking(IpAddr, String),
    /// The neighbour did not answer.
    Silent(IpAddr, String),
}

/// What is known of a neighbour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Knowledge {
    /// Its address.
    Address(Mac),
    /// It was asked, or will be in a moment.
    Asking,
    /// It does not answer.
    Silent,
}

/// Everything [`resolve`] looks at besides the route.
pub(super) struct Surroundings<'a> {
    pub links: &'a Links,
    pub ports: &'a Ports,
    pub neighbours: &'a Neighbours,
}

/// Turns a routing decision into a next hop.
///
/// # Errors
/// The first thing an operator would have to repair.
pub(super) fn resolve(route: &Result<Place, Missing>, around: &Surroundings<'_>) -> Result<NextHop, Missing> {
    let place = route.as_ref().map_err(Clone::clone)?;
    let Some(link) = around.links.get(&place.ifindex) else { return Err(Missing::Vanished(place.ifindex)) };
    let Some(&(port, source)) = around.ports.get(&place.ifindex) else {
        return Err(Missing::Detached(link.name.clone()));
    };
    if !link.up {
        return Err(Missing::Down(link.name.clone()));
    }
    match around.neighbours.knowledge(*place) {
        Knowledge::Address(destination) => Ok(NextHop { destination, source, port }),
        Knowledge::Silent => Err(Missing::Silent(place.neighbour, link.name.clone())),
        Knowledge::Asking => Err(Missing::Asking(place.neighbour, link.name.clone())),
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoute(to) => write!(f, "no route to {to}"),
            Self::Prohibited(to) => write!(f, "a route prohibits traffic to {to}"),
            Self::BlackHole(to) => write!(f, "a black hole route drops traffic to {to}"),
            Self::Own(to) => write!(f, "{to} is an address of this host"),
            Self::NotOneHost(to) => write!(f, "{to} is a broadcast or multicast address"),
            Self::Refused(to, errno) => {
                write!(f, "the kernel refuses to route to {to}: {}", std::io::Error::from_raw_os_error(*errno))
            }
            Self::NotAsked(to) => write!(f, "the kernel was not yet asked for a route to {to}"),
            Self::Vanished(ifindex) => write!(f, "left by interface number {ifindex}, which is gone"),
            Self::Down(link) => write!(f, "leaves by {link}, which is down or has no carrier"),
            Self::Detached(link) => write!(f, "leaves by {link}, which the data path is not attached to"),
            Self::Asking(hop, link) => write!(f, "waiting for {} from {hop} on {link}", answer(hop)),
            Self::Silent(hop, link) => write!(f, "no {} from {hop} on {link}", answer(hop)),
        }
    }
}

/// What a neighbour is expected to send.
fn answer(neighbour: &IpAddr) -> &'static str {
    match neighbour {
        IpAddr::V4(_) => "answer to ARP",
        IpAddr::V6(_) => "neighbour advertisement",
    }
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
