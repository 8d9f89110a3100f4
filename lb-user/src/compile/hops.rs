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
    /// `gue` varies its port, and comes from this host. So do, in the other modes,
    /// packets of connections that began while the pool's mode was one of these two.
    #[must_use]
    pub fn path(&self, member: IpAddr, mode: ForwardMode) -> MemberPath {
        let PathFacts { mtu, source } = self.paths.get(&member).copied().unwrap_or_default();
        let network = if member.is_ipv4() { self.encap_sources.v4() } else { self.encap_sources.v6() };
        let bits = if member.is_ipv4() { 32 } else { 128 };
        let varying = (network.address(), (bits - network.prefix()).min(32));
        let host = source.map(|source| (source, 0));
        let source = match mode {
            ForwardMode::Ipip => Some(varying),
            ForwardMode::Gue => host,
            ForwardMode::Nat | ForwardMode::Dnat | ForwardMode::Dsr => host.or(Some(varying)),
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

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY_MODE: [ForwardMode; 5] =
        [ForwardMode::Nat, ForwardMode::Dnat, ForwardMode::Dsr, ForwardMode::Ipip, ForwardMode::Gue];

    /// Connections that began in `ipip` or `gue` are wrapped whatever mode came since.
    #[test]
    fn packets_can_be_wrapped_in_every_mode() {
        let member = IpAddr::from([192, 0, 2, 10]);
        let host = IpAddr::from([192, 0, 2, 1]);
        let mut hops = NextHops::new();
        for (mode, bits) in [ForwardMode::Nat, ForwardMode::Dnat, ForwardMode::Dsr].map(|mode| (mode, 16)) {
            assert_eq!(hops.path(member, mode).source.map(|(_, bits)| bits), Some(bits), "{mode:?}");
        }
        hops.paths.insert(member, PathFacts { mtu: 1500, source: Some(host) });
        for mode in EVERY_MODE {
            let path = hops.path(member, mode);
            let expected = if mode == ForwardMode::Ipip { (IpAddr::from([172, 16, 0, 0]), 16) } else { (host, 0) };
            assert_eq!((path.mtu, path.source), (1500, Some(expected)), "{mode:?}");
        }
    }
}
