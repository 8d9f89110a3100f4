//! A host with a runner on it.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context as _, Result};
use krater_tests::rig::wait;
use vrrp::{
    Authentication, ChecksumForm, Exchange, Family, Priority, RouterConfig, State, Version, Vrid,
    announce::virtual_mac,
    runner::{Announced, Handle, Instance, Options, Pacing, RouterKey, Snapshot},
};

use super::{
    journal::Journal,
    segment::{LONG, Segment},
};

/// The key of a test's first router.
pub(crate) const KEY: RouterKey = 7;
/// Its number on the wire.
pub(crate) const VRID: u8 = 51;

/// A running runner and what it did.
pub(crate) struct Node {
    pub(crate) handle: Handle,
    pub(crate) journal: Journal,
}

impl Node {
    /// Starts one on that host, with those routers.
    pub(crate) fn start(segment: &Segment, host: u8, instances: Vec<Instance>) -> Result<Self> {
        Self::start_with(Journal::default(), segment, host, instances)
    }

    /// The same with a journal that has begun already.
    pub(crate) fn start_with(journal: Journal, segment: &Segment, host: u8, instances: Vec<Instance>) -> Result<Self> {
        let world = journal.clone();
        let start = || Handle::start(world, Options::default()).context("start a runner");
        let handle = segment.host(host).namespace.enter(start)?;
        handle.set(instances)?;
        Ok(Self { handle, journal })
    }

    /// How its first router stands.
    pub(crate) fn snapshot(&self) -> Result<Snapshot> {
        let all = self.handle.snapshot(LONG).context("the thread does not answer")?;
        all.into_iter().next().context("it has no router")
    }

    /// Waits until its first router is in that state.
    pub(crate) fn wait_state(&self, state: State) -> Result<()> {
        let waited =
            wait::until_true(&format!("the router to be {state}"), LONG, || Ok(self.snapshot()?.state == state));
        waited.map(drop).map_err(|error| error.context(self.journal.to_string()))
    }
}

/// The virtual addresses of a family, in the order of the adverts.
pub(crate) fn addresses(family: Family) -> Vec<IpAddr> {
    match family {
        Family::V4 => vec![IpAddr::from([10, 78, 0, 100])],
        Family::V6 => {
            vec![IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, 0x100]), IpAddr::from([0xfd78, 0, 0, 0, 0, 0, 0, 0x100])]
        }
    }
}

/// A router on that host: version 3, multicast, preempting, with the virtual
/// MAC address.
pub(crate) fn instance(segment: &Segment, host: u8, family: Family, priority: u8, interval: Duration) -> Instance {
    let host = segment.host(host);
    let vrid = Vrid::new(VRID).unwrap_or_else(|| unreachable!("not zero"));
    let priority = Priority::new(priority).unwrap_or(Priority::LOWEST);
    let mac = virtual_mac(family, vrid);
    let announce = |address| Announced { address, ifindex: host.link.ifindex, mac, sender: mac };
    Instance {
        key: KEY,
        name: "vip".to_owned(),
        router: RouterConfig {
            vrid,
            family,
            version: Version::V3,
            priority,
            interval,
            preempt: true,
            preempt_delay: Duration::ZERO,
            addresses: addresses(family),
            learned_interval_limit: None,
        },
        exchange: Exchange {
            peers: Vec::new(),
            sources: None,
            checksum: ChecksumForm::PseudoHeader,
            authentication: Authentication::None,
        },
        interface: host.link.clone(),
        source: Some(host.address(family)),
        virtual_mac: true,
        announced: addresses(family).into_iter().map(announce).collect(),
        announce: Pacing { repeats: 2, repeat_gap: Duration::from_millis(50), ..Pacing::default() },
        priority,
        fault: None,
        resume: None,
        carrying: false,
    }
}

/// The same, by unicast to those.
pub(crate) fn unicast(mut instance: Instance, peers: &[IpAddr]) -> Instance {
    instance.exchange.peers = peers.to_vec();
    instance.exchange.sources = Some(peers.iter().copied().collect());
    instance.virtual_mac = false;
    let own = instance.interface.mac;
    for announced in &mut instance.announced {
        (announced.mac, announced.sender) = (own, own);
    }
    instance
}
