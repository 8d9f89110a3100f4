//! Instances as records: what the pool file says of one, what the runner knows
//! of it, and what it depends on.

use std::time::Duration;

use lb_common::mac::Mac;
use vrrp::{
    Family, Instant, State, Version,
    runner::{Delays, Peer, Snapshot},
};

use super::{
    PATIENCE, Pair,
    tracking::Tracked,
    wish::{Wish, virtual_mac},
};
use crate::{
    config::{Config, TrackKind, VrrpConfig},
    control::view::vrrp::{
        AnnouncedView, PeerView, RunnerView, TimersView, TrackView, VrrpCountersView, VrrpState, VrrpView,
    },
};

/// The state in an operator's words.
pub(super) const fn state_of(state: State) -> VrrpState {
    match state {
        State::Initialize => VrrpState::Initialize,
        State::Backup => VrrpState::Backup,
        State::Active => VrrpState::Active,
    }
}

impl Pair {
    /// Every instance of the pool file, in its order.
    #[must_use]
    pub fn views(&self, config: &Config) -> Vec<VrrpView> {
        let snapshots = self.runner.as_ref().and_then(|runner| runner.snapshot(PATIENCE)).unwrap_or_default();
        let now = vrrp::runner::now();
        let view = |vrrp: &VrrpConfig| {
            let wish = self.wishes.iter().find(|wish| wish.instance.name == vrrp.name.as_str());
            let key = wish.map(|wish| wish.instance.key);
            let snapshot = snapshots.iter().find(|snapshot| Some(snapshot.key) == key);
            self.view(config, vrrp, wish, snapshot, now)
        };
        config.vrrp.iter().map(view).collect()
    }

    fn view(
        &self,
        config: &Config,
        vrrp: &VrrpConfig,
        wish: Option<&Wish>,
        snapshot: Option<&Snapshot>,
        now: Instant,
    ) -> VrrpView {
        let facts = snapshot.and_then(|snapshot| snapshot.facts.as_ref());
        let fault = snapshot.and_then(|s| s.fault.clone()).or_else(|| wish.and_then(|w| w.outlook.fault.clone()));
        let mac = virtual_mac(vrrp);
        let elsewhere = |address| vrrp.addresses.iter().find(|one| one.address == address)?.interface.clone();
        let announced = wish.map_or(&[][..], |wish| &wish.instance.announced).iter().map(|one| AnnouncedView {
            address: one.address,
            interface: elsewhere(one.address).unwrap_or_else(|| vrrp.interface.clone()),
            mac: Mac(one.mac).to_string(),
        });
        VrrpView {
            name: vrrp.name.to_string(),
            interface: vrrp.interface.clone(),
            virtual_router_id: vrrp.virtual_router_id.get(),
            family: match vrrp.family {
                Family::V4 => "ipv4".to_owned(),
                Family::V6 => "ipv6".to_owned(),
            },
            version: vrrp.version.number(),
            state: snapshot.map_or(VrrpState::Initialize, |snapshot| state_of(snapshot.state)),
            reason: reason(wish, facts.map(|facts| facts.reason.meaning()), fault.as_deref()),
            state_millis: facts.map_or(0, |facts| millis(now.since(facts.since))),
            carrying: snapshot.is_some_and(|snapshot| snapshot.carrying),
            priority: snapshot.map_or(vrrp.priority, |snapshot| snapshot.priority).get(),
            configured_priority: vrrp.priority.get(),
            preempt: vrrp.preempt,
            preempt_delay_millis: millis(vrrp.preempt_delay),
            paused: facts.is_some_and(|facts| facts.paused),
            yielded: facts.is_some_and(|facts| facts.yielded),
            fault,
            mode: if vrrp.unicast_peers.is_empty() { "multicast" } else { "unicast" }.to_owned(),
            source_address: wish.and_then(|wish| wish.instance.source),
            unicast_peers: vrrp.unicast_peers.clone(),
            virtual_mac: mac.map(|mac| mac.to_string()),
            addresses: config.router(vrrp).map_or_else(Vec::new, |router| router.addresses),
            announced: announced.collect(),
            load_balancers: config.carried(vrrp).map(|lb| lb.name.to_string()).collect(),
            timers: TimersView {
                advert_interval_micros: micros(vrrp.advert_interval),
                learned_interval_micros: facts.map_or(0, |facts| micros(facts.learned_interval)),
                skew_micros: facts.map_or(0, |facts| micros(facts.skew)),
                active_down_micros: facts.map_or(0, |facts| micros(facts.active_down)),
                deadline_micros: facts.and_then(|facts| facts.deadline).map(|at| micros(at.since(now))),
            },
            peers: snapshot.map_or(&[][..], |s| &s.peers).iter().map(|peer| peer_view(vrrp, peer, now)).collect(),
            tracking: wish.map_or(&[][..], |wish| &wish.outlook.tracked).iter().map(track_view).collect(),
            counters: snapshot.map(counters).unwrap_or_default(),
            runner: self.runner_view(snapshot.map(|snapshot| snapshot.lateness).unwrap_or_default()),
        }
    }

    fn runner_view(&self, lateness: Delays) -> RunnerView {
        RunnerView {
            realtime: matches!(self.realtime, Some(Ok(()))),
            realtime_refused: self.realtime.as_ref().and_then(|outcome| outcome.as_ref().err().cloned()),
            late_max_micros: micros(lateness.max),
            late_p99_micros: micros(lateness.p99),
        }
    }
}

/// Why an instance is where it is.
fn reason(wish: Option<&Wish>, meaning: Option<&str>, fault: Option<&str>) -> String {
    match (wish, fault, meaning) {
        (None, ..) => "it has no address to carry: no load balancer names it".to_owned(),
        (_, Some(fault), _) => fault.to_owned(),
        (Some(wish), None, _) if wish.instance.source.is_none() => {
            format!("{} has no address to speak from", wish.instance.interface.name)
        }
        (_, None, Some(meaning)) => meaning.to_owned(),
        (_, None, None) => "it has not been started yet".to_owned(),
    }
}

fn peer_view(vrrp: &VrrpConfig, peer: &Peer, now: Instant) -> PeerView {
    let has_forms = vrrp.family == Family::V4 && vrrp.version == Version::V3;
    PeerView {
        address: peer.address,
        priority: peer.priority,
        advert_interval_micros: micros(peer.interval),
        heard_millis: millis(now.since(peer.heard)),
        adverts: peer.adverts,
        checksum: has_forms.then(|| peer.checksum.label().to_owned()),
    }
}

fn track_view(Tracked { track, down }: &Tracked) -> TrackView {
    let (kind, name) = match &track.kind {
        TrackKind::Interface(name) => ("interface", Some(name.clone())),
        TrackKind::DataPath => ("data_path", None),
        TrackKind::LoadBalancer(name) => ("load_balancer", Some(name.to_string())),
    };
    TrackView { kind: kind.to_owned(), name, weight: track.weight, well: Some(down.is_none()), reason: down.clone() }
}

fn counters(snapshot: &Snapshot) -> VrrpCountersView {
    let counters = &snapshot.counters;
    VrrpCountersView {
        adverts_sent: counters.sent,
        adverts_not_sent: counters.send_failures,
        adverts_received: counters.received,
        adverts_refused: counters.refused.iter().map(|(refusal, n)| (refusal.label().to_owned(), *n)).collect(),
        transitions: counters.transitions,
        announcements: counters.announcements,
    }
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
