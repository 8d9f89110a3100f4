//! How members are reached, as far as it is known: a map of next hops, with what
//! wrapped packets need to know of the ways beside it. Pure.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    ops::{Deref, DerefMut},
};

use lb_common::member::NextHop;

use crate::{config::EncapSources, dataplane::MemberPath, model::ForwardMode};

/// How frames reach the members' addresses, as far as it is known. It reads as the
/// map of next hops that it is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NextHops {
    hops: BTreeMap<IpAddr, NextHop>,
    /// What is known of the ways beside.
    pub paths: BTreeMap<IpAddr, PathFacts>,
    /// Where packets of `ipip` come from.
    pub encap_sources: EncapSources,
}

/// What is known of the way to an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PathFacts {
    /// The longest packet that the interface carries, in bytes; 0 if unknown.
    pub mtu: u16,
    /// The address of this host that packets there come from, of the same family.
    pub source: Option<IpAddr>,
}

impl NextHops {
    /// Nobody can be reached.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What the way to a member takes in a forward mode: `ipip` comes from addresses
    /// that vary with the flow, so that receivers spread flows over their queues;
    /// `gue` varies its port, and comes from this host.
    #[must_use]
    pub fn path(&self, member: IpAddr, mode: ForwardMode) -> MemberPath {
        let PathFacts { mtu, source } = self.paths.get(&member).copied().unwrap_or_default();
        let network = if member.is_ipv4() { self.encap_sources.v4() } else { self.encap_sources.v6() };
        let bits = if member.is_ipv4() { 32 } else { 128 };
        let source = match mode {
            ForwardMode::Ipip => Some((network.address(), (bits - network.prefix()).min(32))),
            ForwardMode::Gue => source.map(|source| (source, 0)),
            ForwardMode::Nat | ForwardMode::Dnat | ForwardMode::Dsr => None,
        };
        MemberPath { mtu, source }
    }
}

impl Deref for NextHops {
    type Target = BTreeMap<IpAddr, NextHop>;

    fn deref(&self) -> &Self::Target {
        &self.hops
    }
}

impl DerefMut for NextHops {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.hops
    }
}

impl FromIterator<(IpAddr, NextHop)> for NextHops {
    fn from_iter<I: IntoIterator<Item = (IpAddr, NextHop)>>(hops: I) -> Self {
        Self { hops: hops.into_iter().collect(), ..Self::default() }
    }
}
