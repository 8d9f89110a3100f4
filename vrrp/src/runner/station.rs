//! One virtual router of the runner: the state machine and what the thread
//! keeps beside it.

use std::net::IpAddr;

use super::{
    announcer::Announcer,
    instance::{Announced, Instance},
    lateness::Lateness,
    report::{Counters, Delays, Peer, Snapshot},
};
use crate::{
    packet::{
        Advert,
        hmac::{HmacStamp, ReplayMarks},
        refusal::Refusal,
    },
    router::Router,
    time::Instant,
    types::{Family, State},
};

/// Other routers whose adverts are told apart. A group is two or three; more
/// are somebody's inventions.
const PEERS: usize = 16;

/// One virtual router of the runner.
#[derive(Debug)]
pub(super) struct Station {
    pub(super) instance: Instance,
    /// Absent until there is an address to send from.
    pub(super) router: Option<Router>,
    /// That address, as the router was last told it.
    pub(super) source: Option<IpAddr>,
    pub(super) part: Part,
    /// Why nothing can be heard.
    pub(super) deaf: Option<String>,
    /// Its end has been asked for, and this follows it.
    pub(super) successor: Option<Box<Instance>>,
    pub(super) replay: ReplayMarks,
    pub(super) stamp: HmacStamp,
    pub(super) announcer: Announcer,
    /// Frames since announcing began; absent when that has been reported.
    pub(super) announcing: Option<u64>,
    pub(super) counters: Counters,
    pub(super) lateness: Lateness,
    refused: Box<[u64; Refusal::ALL.len()]>,
    peers: Vec<Peer>,
}

/// What the state machine has been told of taking part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    /// Nothing yet.
    New,
    /// To take part.
    Taken,
    /// That it cannot, for a time.
    Faulted,
    /// To leave for good.
    Leaving,
    /// It has left.
    Finished,
}

impl Station {
    pub(super) fn new(instance: Instance) -> Self {
        Self {
            instance,
            router: None,
            source: None,
            part: Part::New,
            deaf: None,
            successor: None,
            replay: ReplayMarks::default(),
            stamp: HmacStamp::default(),
            announcer: Announcer::default(),
            announcing: None,
            counters: Counters::default(),
            lateness: Lateness::new(),
            refused: Box::new([0; Refusal::ALL.len()]),
            peers: Vec::with_capacity(PEERS),
        }
    }

    /// The interface and family that its adverts use.
    pub(super) fn place(&self) -> (u32, Family) {
        (self.instance.interface.ifindex, self.instance.router.family)
    }

    pub(super) fn state(&self) -> State {
        self.router.as_ref().map_or(State::Initialize, Router::state)
    }

    pub(super) fn is_carrying(&self) -> bool {
        self.router.as_ref().is_some_and(Router::is_carrying)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.router.as_ref().and_then(Router::deadline)
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= now)
    }

    /// Whether it has been told to leave.
    pub(super) fn is_ending(&self) -> bool {
        matches!(self.part, Part::Leaving | Part::Finished)
    }

    /// Why it does not take part, if it does not.
    pub(super) fn obstacle(&self) -> Option<&str> {
        let no_source = || self.instance.source.is_none().then_some("its interface has no address to send from");
        self.instance.fault.as_deref().or(self.deaf.as_deref()).or_else(no_source)
    }

    /// Enters an advert that was accepted.
    pub(super) fn hear(&mut self, now: Instant, advert: &Advert) {
        self.counters.received += 1;
        let known = self.peers.iter().position(|peer| peer.address == advert.source);
        let adverts = known.map_or(0, |at| self.peers[at].adverts) + 1;
        let peer = Peer {
            address: advert.source,
            priority: advert.priority,
            interval: advert.interval,
            checksum: advert.checksum,
            heard: now,
            adverts,
        };
        let longest_silent = || (0..self.peers.len()).min_by_key(|at| self.peers[*at].heard);
        let place = known.or_else(|| if self.peers.len() < PEERS { None } else { longest_silent() });
        match place {
            Some(at) => self.peers[at] = peer,
            None => self.peers.push(peer),
        }
    }

    /// Counts a packet that was refused.
    pub(super) fn refuse(&mut self, refusal: Refusal) {
        self.refused[refusal.index()] += 1;
    }

    /// How it stands.
    pub(super) fn snapshot(&self) -> Snapshot {
        let refused = Refusal::ALL.iter().map(|refusal| (*refusal, self.refused[refusal.index()]));
        let counters = Counters { refused: refused.filter(|(_, count)| *count > 0).collect(), ..self.counters.clone() };
        let lateness =
            Delays { count: self.lateness.count(), max: self.lateness.max(), p99: self.lateness.quantile(990) };
        Snapshot {
            key: self.instance.key,
            name: self.instance.name.clone(),
            state: self.state(),
            carrying: self.is_carrying(),
            priority: self.router.as_ref().map_or(self.instance.priority, Router::priority),
            active_down: self.router.as_ref().map(Router::active_down).unwrap_or_default(),
            facts: self.router.as_ref().map(Router::facts),
            fault: self.obstacle().map(str::to_owned),
            peers: self.peers.clone(),
            counters,
            lateness,
        }
    }
}

/// The addresses of `now` that are not announced the same way in `before`.
pub(super) fn added(before: &[Announced], now: &[Announced]) -> Vec<Announced> {
    let known: std::collections::BTreeSet<_> = before.iter().map(as_key).collect();
    now.iter().filter(|announced| !known.contains(&as_key(announced))).copied().collect()
}

fn as_key(announced: &Announced) -> (IpAddr, u32, [u8; 6], [u8; 6]) {
    (announced.address, announced.ifindex, announced.mac, announced.sender)
}
