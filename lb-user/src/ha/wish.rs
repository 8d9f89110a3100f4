//! From the pool file and what is known of this host to what the data path and
//! the runner are told. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use lb_common::mac::Mac;
use vrrp::{
    Family,
    runner::{Announced, Instance, Link, Pacing},
};

use super::tracking::{Facts, Outlook};
use crate::{
    compile::InstanceIntent,
    config::{AnnounceConfig, Config, VrrpConfig},
    dataplane::{Attachment, InstanceId, exchange::ArrivalPath},
    net::LinkView,
};

/// The virtual MAC of an instance, if it has one.
pub(super) fn virtual_mac(vrrp: &VrrpConfig) -> Option<Mac> {
    vrrp.virtual_mac.then(|| Mac(vrrp::announce::virtual_mac(vrrp.family, vrrp.virtual_router_id)))
}

/// What the data path is to know of each instance.
#[must_use]
pub fn intents(config: &Config) -> Vec<InstanceIntent> {
    config.vrrp.iter().map(|vrrp| intent(config, vrrp)).collect()
}

fn intent(config: &Config, vrrp: &VrrpConfig) -> InstanceIntent {
    let vips: BTreeSet<IpAddr> = config.carried(vrrp).map(|lb| lb.vip_address).collect();
    let all = config.virtual_addresses(vrrp).into_iter().map(|one| one.address);
    let sources = vrrp.sources().filter(|_| vrrp.guard).unwrap_or_default();
    let vrid = vrrp.virtual_router_id.get();
    InstanceIntent {
        name: vrrp.name.clone(),
        mac: virtual_mac(vrrp),
        addresses: all.filter(|address| !vips.contains(address)).collect(),
        advert_sources: sources.into_iter().map(|source| (vrid, source)).collect(),
    }
}

/// What is known of this host.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// What can be tracked.
    pub facts: Facts<'a>,
    /// The number of each instance in the data path, by name.
    pub ids: &'a BTreeMap<String, InstanceId>,
}

/// An instance as the runner is to have it.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Wish {
    /// For the runner; what was carried before it began is not in here.
    pub(super) instance: Instance,
    /// Where its priority comes from.
    pub(super) outlook: Outlook,
}

/// What the runner is to have, in the pool file's order. Instances that the
/// data path does not know yet, and those that nothing moves with, are left out.
pub(super) fn wishes(config: &Config, around: &Around<'_>) -> Vec<Wish> {
    config.vrrp.iter().filter_map(|vrrp| wish(config, vrrp, around)).collect()
}

fn wish(config: &Config, vrrp: &VrrpConfig, around: &Around<'_>) -> Option<Wish> {
    let id = around.ids.get(vrrp.name.as_str())?;
    // Its link-local address alone is nothing that anybody waits for.
    if config.carried(vrrp).next().is_none() && vrrp.addresses.is_empty() {
        return None;
    }
    let router = config.router(vrrp)?;
    let outlook = around.facts.outlook(vrrp);
    let own = around.facts.links.get(&vrrp.interface);
    let told = |link: &LinkView| virtual_mac(vrrp).unwrap_or(link.mac).0;
    let announced = config.virtual_addresses(vrrp).into_iter().filter_map(|one| {
        let link = around.facts.links.get(one.interface.as_ref().unwrap_or(&vrrp.interface))?;
        Some(Announced { address: one.address, ifindex: link.ifindex, mac: told(link), sender: told(link) })
    });
    let instance = Instance {
        key: u32::from(id.0),
        name: vrrp.name.to_string(),
        priority: outlook.priority,
        router,
        exchange: vrrp.exchange(),
        interface: Link {
            name: vrrp.interface.clone(),
            ifindex: own.map_or(0, |link| link.ifindex),
            mac: own.map_or([0; 6], |link| link.mac.0),
        },
        source: source(vrrp, own),
        virtual_mac: vrrp.virtual_mac,
        announced: announced.collect(),
        announce: pacing(&vrrp.announce),
        fault: outlook.fault.clone(),
        resume: None,
        carrying: false,
    };
    Some(Wish { instance, outlook })
}

/// Where adverts come from: the address the operator names, or the primary one
/// of the interface (RFC 9568 §1.7, §7.2).
fn source(vrrp: &VrrpConfig, link: Option<&LinkView>) -> Option<IpAddr> {
    let link = link?;
    match (vrrp.unicast_source, vrrp.family) {
        (Some(address), _) => link.addresses.contains(&address).then_some(address),
        (None, Family::V4) => link.primary4(),
        // Peers may be named by addresses that are routed; then the own one is such too.
        (None, Family::V6) if vrrp.unicast_peers.iter().any(|peer| !is_link_local(*peer)) => {
            link.addresses.iter().copied().find(|address| address.is_ipv6() && !is_link_local(*address))
        }
        (None, Family::V6) => link.link_local6(),
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

fn pacing(config: &AnnounceConfig) -> Pacing {
    Pacing {
        repeats: config.repeat,
        repeat_gap: config.repeat_gap,
        refresh: config.refresh,
        refresh_repeats: config.refresh_repeat,
        per_millisecond: config.per_millisecond,
    }
}

/// How clients of each VIP that moves reach this balancer.
pub(super) fn paths(config: &Config, attachments: &[Attachment]) -> BTreeMap<IpAddr, ArrivalPath> {
    let mut paths = BTreeMap::new();
    for vrrp in &config.vrrp {
        let Some(attachment) = attachments.iter().find(|a| a.interface == vrrp.interface) else { continue };
        let own = virtual_mac(vrrp).unwrap_or(attachment.mac);
        let path = ArrivalPath { port: attachment.port, ifindex: attachment.ifindex, own };
        paths.extend(config.carried(vrrp).map(|lb| (lb.vip_address, path)));
    }
    paths
}

#[cfg(test)]
#[path = "wish_tests.rs"]
mod tests;
