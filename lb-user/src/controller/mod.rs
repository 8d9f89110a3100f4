//! The single owner of the data plane. Everything that may change what packets
//! meet (the pool file, an operator, a health monitor, the network) comes here
//! as a fact, and each fact ends in the same way: compile what the maps should
//! say, compare with what they say, carry out the difference.
//!
//! What must not be here: sockets, files, signals, netlink ([`daemon`] has
//! them), and the maps' layouts.
//!
//! Invariant others rely on: nobody but [`Controller`] writes to the data plane
//! while it lives.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use lb_common::member::MemberState;

use crate::{
    causes::chain,
    compile::{
        HealthView, InstanceIntent, MemberKey, NextHops, Offers, Overrides, PathFacts, Said, Verdict, compile_with,
    },
    control::{
        answer::{self, HealthKnowledge, Intent, Knowledge},
        events::Event,
        protocol::{MemberChange, Refusal, RefusalCode, Request, Response},
        survey::survey,
        view::{DaemonView, ErrorView, sync::SyncView, vrrp::VrrpView},
    },
    dataplane::{Dataplane, DataplaneError, Describe, InstanceId, Observed, Part, Rehearse, Statistics},
    health::HealthEvent,
    model::{Model, Weight},
    net::Hops,
    spread::KeptTables,
};

use standing::Standings;

pub mod daemon;
mod interfaces;
mod kept;
mod pace;
pub mod plan;
pub mod reconcile;
mod resync;
pub mod standing;
mod startup;
mod tidings;

use kept::{Kept, Stale};
use reconcile::{Outcome, ReconcileError};
use resync::{Round, Step, agrees};

/// That the maps are not as they should be.
#[derive(Debug)]
struct Behind {
    /// When they were last tried to be brought there.
    tried: Instant,
    /// What was told about it.
    reason: String,
}

/// What came of a step of a round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Checked {
    /// All is well so far.
    GoesOn,
    /// All is well, and the round is over.
    Over,
    /// Something was not, so everything was compared and mended. The round is over.
    Mended,
}

/// What is known and wanted, and the data plane it is carried out on.
#[derive(Debug)]
pub struct Controller<D> {
    dataplane: D,
    model: Model,
    instances: Vec<InstanceIntent>,
    overrides: Overrides,
    /// Members that a monitor watches, with their labels.
    watched: BTreeMap<MemberKey, String>,
    health: HealthView,
    health_reasons: BTreeMap<MemberKey, String>,
    next_hops: NextHops,
    hops_missing: BTreeMap<IpAddr, String>,
    /// Next hops that the maps had before this process began. They count until
    /// the network has had time to speak for itself.
    inherited: NextHops,
    interfaces: Vec<String>,
    fallbacks: BTreeMap<u32, String>,
    daemon: DaemonView,
    started: Instant,
    behind: Option<Behind>,
    load_balancers_down: BTreeSet<String>,
    standings: Standings,
    /// What need not be worked out anew for the next change.
    kept: Option<Kept>,
    /// Neither need large tables be made anew.
    tables: KeptTables,
    /// What has changed since the maps were as they should be.
    stale: Stale,
    /// How far it has been looked whether they still are.
    round: Round,
}

impl<D: Dataplane + Statistics + Describe + Rehearse> Controller<D> {
    /// Takes a data plane over. What it knows about health and next hops counts
    /// until better is known, so that taking over disturbs no traffic. The maps
    /// are not written yet: call [`Controller::converge`].
    ///
    /// # Errors
    /// When the data plane cannot be read.
    pub fn new(dataplane: D, model: Model, overrides: Overrides, daemon: DaemonView) -> Result<Self, DataplaneError> {
        let observed = dataplane.observe()?;
        let mut health = HealthView::new();
        let mut health_reasons = BTreeMap::new();
        let mut inherited = NextHops::new();
        for member in observed.members.values().filter(|m| m.flags & MemberState::RETIRED == 0) {
            if let Some(next_hop) = member.next_hop {
                inherited.insert(member.address, next_hop);
                let source = member.path.source.filter(|(_, bits)| *bits == 0).map(|(source, _)| source);
                inherited.paths.insert(member.address, PathFacts { mtu: member.path.mtu, source });
            }
            let Some(pool) = observed.pools.get(&member.pool) else { continue };
            if member.flags & MemberState::UNHEALTHY != 0 {
                let key = MemberKey { pool: pool.record.label.clone(), address: member.address, port: member.port };
                health_reasons.insert(key.clone(), "was down before lbd started; not probed since".to_owned());
                health.insert(key, Verdict::Down);
            }
        }
        Ok(Self {
            dataplane,
            model,
            instances: Vec::new(),
            overrides,
            watched: BTreeMap::new(),
            health,
            health_reasons,
            next_hops: inherited.clone(),
            hops_missing: BTreeMap::new(),
            inherited,
            interfaces: Vec::new(),
            fallbacks: BTreeMap::new(),
            daemon,
            started: Instant::now(),
            behind: None,
            load_balancers_down: BTreeSet::new(),
            standings: Standings::default(),
            kept: None,
            tables: KeptTables::default(),
            stale: Stale::Everything,
            round: Round::default(),
        })
    }

    /// The data plane.
    pub const fn dataplane(&self) -> &D {
        &self.dataplane
    }

    /// The data plane, for what is no operation on its tables: interfaces.
    pub const fn dataplane_mut(&mut self) -> &mut D {
        &mut self.dataplane
    }

    /// What the pool file says.
    pub const fn model(&self) -> &Model {
        &self.model
    }

    /// How frames reach the members, as far as it is known.
    pub const fn next_hops(&self) -> &NextHops {
        &self.next_hops
    }

    /// What operators changed.
    pub const fn overrides(&self) -> &Overrides {
        &self.overrides
    }

    /// Brings the maps to what is wanted and known now, whatever they say: all is
    /// compiled, all is read. Where that fails the maps are consistent, the error
    /// is kept for `lbctl status`, and the next call goes on from there. Says
    /// whether it got there; a failure that repeats itself is told once.
    pub fn converge(&mut self) -> bool {
        let said = Said { overrides: &self.overrides, health: &self.health, hops: &self.next_hops };
        let desired = compile_with(&self.model, said, &self.instances, &mut self.tables);
        let offers = Offers::of(&desired);
        self.load_balancers_down = offers.load_balancers_down();
        (self.kept, self.stale, self.round) = (None, Stale::Everything, Round::default());
        let reconciled = reconcile::reconcile_and_see(&mut self.dataplane, &desired).map(|(outcome, observed)| {
            self.kept = Some(Kept::new(&self.model, observed, offers));
            self.stale = Stale::NOTHING;
            outcome
        });
        self.settle(reconciled)
    }

    /// The same, at the cost of what has changed since the last time: for what
    /// packets wait for. It trusts that nobody else has written to the maps; what
    /// somebody has is found and mended by a round of [`Controller::check`].
    pub fn follow(&mut self) -> bool {
        let (Some(mut kept), Stale::Some { pools, addresses }) = (self.kept.take(), &self.stale) else {
            return self.converge();
        };
        let said = Said { overrides: &self.overrides, health: &self.health, hops: &self.next_hops };
        let followed = kept.follow(&mut self.dataplane, &self.model, &said, &mut self.tables, (pools, addresses));
        self.load_balancers_down = kept.offers().load_balancers_down();
        match &followed {
            Ok(_) => (self.kept, self.stale) = (Some(kept), Stale::NOTHING),
            // Whatever went wrong may be that the maps are not as they are thought to be.
            Err(_) => self.stale = Stale::Everything,
        }
        self.settle(followed)
    }

    /// Begins a round of looking whether anybody else has written to the maps, if none
    /// is under way.
    pub fn begin_round(&mut self) {
        if self.round.is_over() {
            self.round = Round::BEGIN;
        }
    }

    /// Goes on with the round, by a step of about a millisecond, and says what came of it.
    pub fn check(&mut self) -> Checked {
        let Some(kept) = &mut self.kept else {
            // What was written last is not known: the maps are behind, or nothing is
            // written yet. Trying again begins by reading all of them.
            self.round = Round::default();
            return Checked::Over;
        };
        let found = match self.round.step(kept.observed()) {
            None => return Checked::Over,
            Some(Step::Compare(part)) => match self.dataplane.observe_part(&part) {
                Ok(seen) if agrees(&part, kept.observed(), &seen) => Ok(None),
                Ok(_) => Err(format!("{part} in the maps are not as lbd has written them")),
                Err(error) => Err(format!("read {part} in the maps: {}", chain(&error))),
            },
            Some(Step::Release) => match kept.release(&mut self.dataplane) {
                Ok(outcome) => Ok(Some(outcome)),
                Err(error) => Err(chain(&error)),
            },
        };
        match found {
            Ok(outcome) => {
                if let Some(outcome) = outcome {
                    tell_of(outcome);
                }
                if self.round.is_over() { Checked::Over } else { Checked::GoesOn }
            }
            Err(reason) => {
                tracing::warn!("{reason}; all of them are compared with what they should say");
                self.converge();
                Checked::Mended
            }
        }
    }

    fn settle(&mut self, reconciled: Result<Outcome, ReconcileError>) -> bool {
        match reconciled {
            Ok(outcome) => {
                tell_of(outcome);
                self.behind = None;
                true
            }
            Err(error) => {
                let reason = format!("bring the data path up to date: {}", chain(&error));
                if self.behind.as_ref().is_none_or(|behind| behind.reason != reason) {
                    self.note_error(reason.clone());
                }
                self.behind = Some(Behind { tried: Instant::now(), reason });
                false
            }
        }
    }

    /// Why the maps are not as they should be, if they are not.
    pub fn behind(&self) -> Option<&str> {
        self.behind.as_ref().map(|behind| behind.reason.as_str())
    }

    /// Load balancers that have no member to offer.
    pub const fn load_balancers_down(&self) -> &BTreeSet<String> {
        &self.load_balancers_down
    }

    /// The number of each VRRP instance in the maps.
    pub fn instance_ids(&self) -> BTreeMap<String, InstanceId> {
        let observed = self.in_maps(&Part::Rest);
        observed.instances.iter().map(|(id, instance)| (instance.label.clone(), *id)).collect()
    }

    /// When [`Controller::converge`] last failed, unless it has got there since.
    pub fn failed_at(&self) -> Option<Instant> {
        self.behind.as_ref().map(|behind| behind.tried)
    }

    /// Takes another pool file's content; [`Controller::watch`] follows. What
    /// operators changed about members that are gone is kept.
    pub fn set_model(&mut self, model: Model, loaded_at: SystemTime) {
        self.model = model;
        self.stale = Stale::Everything;
        self.daemon.reloads += 1;
        self.daemon.loaded_at = seconds(loaded_at);
        self.daemon.last_error = None;
    }

    /// Takes which VRRP instances there are. Whoever has a model whose load
    /// balancers name some calls this before [`Controller::converge`].
    pub fn set_instances(&mut self, instances: Vec<InstanceIntent>) {
        self.instances = instances;
        self.stale = Stale::Everything;
    }

    /// Takes a monitor's verdict, and returns the member's label, by which it is to be
    /// told; `None` when it is watched no more since the probe was under way.
    pub fn set_verdict(&mut self, event: &HealthEvent) -> Option<&str> {
        let HealthEvent { member, verdict, outcome, .. } = event;
        let label = self.watched.get(member)?;
        self.health_reasons.insert(member.clone(), outcome.to_string());
        self.stale.pool(&member.pool);
        self.health.insert(member.clone(), *verdict);
        Some(label)
    }

    /// Takes over what was found about members that have another pool now, by its name at
    /// least, and are asked the same: from, to. [`Controller::watch`] follows.
    pub fn rename(&mut self, renamed: &[(MemberKey, MemberKey)]) {
        for (from, to) in renamed {
            let Some(verdict) = self.health.get(from).copied() else { continue };
            let reason = self.health_reasons.get(from).cloned();
            self.health_reasons.extend(reason.map(|reason| (to.clone(), reason)));
            self.health.insert(to.clone(), verdict);
            self.stale.pool(&to.pool);
        }
    }

    /// Takes which members are monitored, and forgets the verdicts about all
    /// others.
    pub fn watch(&mut self, watched: BTreeSet<MemberKey>) {
        for key in self.health.keys().filter(|key| !watched.contains(*key)) {
            self.stale.pool(&key.pool);
        }
        self.health.retain(|key, _| watched.contains(key));
        self.health_reasons.retain(|key, _| watched.contains(key));
        let watched_with_label = |(key, label)| watched.contains(&key).then_some((key, label));
        self.watched = self.members().filter_map(watched_with_label).collect();
    }

    /// Takes what the network says about next hops.
    pub fn set_hops(&mut self, hops: &Hops) {
        self.hops_missing.clone_from(&hops.missing);
        let mut next_hops = hops.next_hops.clone();
        next_hops.encap_sources = self.next_hops.encap_sources;
        for (address, next_hop) in self.inherited.iter() {
            next_hops.entry(*address).or_insert(*next_hop);
        }
        for (address, path) in &self.inherited.paths {
            next_hops.paths.entry(*address).or_insert(*path);
        }
        let before = std::mem::replace(&mut self.next_hops, next_hops);
        let lost = before.keys().filter(|address| !self.next_hops.contains_key(address));
        let moved = self.next_hops.iter().filter(|(address, hop)| before.get(address) != Some(hop));
        let ways = self.next_hops.paths.iter().filter(|(address, path)| before.paths.get(address) != Some(path));
        for address in lost.chain(moved.map(|(address, _)| address)).chain(ways.map(|(address, _)| address)) {
            self.stale.address(*address);
        }
    }

    /// Takes where packets of `ipip` come from. To be called before
    /// [`Controller::converge`].
    pub fn set_encap_sources(&mut self, sources: crate::config::EncapSources) {
        self.next_hops.encap_sources = sources;
    }

    /// Stops believing in next hops that an earlier process knew.
    pub fn forget_inherited(&mut self) {
        for (address, next_hop) in std::mem::take(&mut self.inherited).iter() {
            if self.hops_missing.contains_key(address) && self.next_hops.get(address) == Some(next_hop) {
                self.next_hops.remove(address);
                self.stale.address(*address);
            }
        }
    }

    /// Remembers which interfaces the data path should be attached to, and why
    /// the driver of one of them did not take the program.
    pub fn set_interfaces(&mut self, interfaces: Vec<String>, fallbacks: BTreeMap<u32, String>) {
        self.interfaces = interfaces;
        self.fallbacks = fallbacks;
    }

    /// Addresses of every member, those that are gone from the model and still
    /// have flows among them: what next hops are needed for.
    pub fn member_addresses(&self) -> BTreeSet<IpAddr> {
        let observed = self.in_maps(&Part::Everything);
        let in_maps = observed.members.values().map(|member| member.address);
        self.member_keys().map(|key| key.address).chain(in_maps).collect()
    }

    /// What the maps say: as it is kept, or a part of it as they are read.
    fn in_maps(&self, part: &Part) -> Cow<'_, Observed> {
        let kept = self.kept.as_ref().map(|kept| Cow::Borrowed(kept.observed()));
        kept.unwrap_or_else(|| Cow::Owned(self.dataplane.observe_part(part).unwrap_or_default()))
    }

    fn member_keys(&self) -> impl Iterator<Item = MemberKey> {
        self.members().map(|(key, _)| key)
    }

    /// Every member of the pool file, with its label.
    fn members(&self) -> impl Iterator<Item = (MemberKey, String)> {
        let pools = self.model.load_balancers().iter().flat_map(|lb| lb.pools.iter().map(move |pool| (lb, pool)));
        pools.flat_map(|(lb, pool)| {
            let of = move |member| (MemberKey::of(lb, pool, member), lb.label_of_member(pool, member));
            pool.members.iter().map(of)
        })
    }

    /// Logs something that went wrong and keeps it for `lbctl status`.
    pub fn note_error(&mut self, message: String) {
        tracing::error!("{message}");
        self.daemon.last_error = Some(ErrorView { at: seconds(SystemTime::now()), message });
    }

    /// Takes a look at the status of everything, and says what is to be told of
    /// it: changes since the last look. To be called after [`Controller::converge`]
    /// and whatever else changes a fact, though not at once: it takes milliseconds
    /// with ten thousand members, and no packet waits for it.
    pub fn statuses(&mut self, now: SystemTime) -> Vec<Event> {
        // Where the maps are as they should be, they need not be looked at.
        let observed = match self.behind.is_some().then(|| self.dataplane.observe()).transpose() {
            Ok(observed) => observed,
            Err(error) => {
                tracing::debug!("look at the status of everything: {}", chain(&error));
                return Vec::new();
            }
        };
        let mut standings = std::mem::take(&mut self.standings);
        let events = standings.look(now, |see| match &observed {
            None => survey(&self.intent(), &self.next_hops, see),
            Some(observed) => answer::survey_of_maps(observed, &self.intent(), see),
        });
        self.standings = standings;
        events
    }

    /// Answers a request that changes nothing. `vrrp` and `sync` are needed if
    /// [`Request::is_about_the_pair`], `health` if [`Request::is_about_health`].
    pub fn answer(
        &self,
        request: &Request,
        vrrp: &[VrrpView],
        sync: Option<&SyncView>,
        health: Option<&HealthKnowledge>,
    ) -> Response {
        let daemon = self.daemon_now();
        answer::answer(&Knowledge { vrrp, sync, health, ..self.knowledge(&daemon) }, request)
    }

    fn daemon_now(&self) -> DaemonView {
        DaemonView { uptime_seconds: self.started.elapsed().as_secs(), ..self.daemon.clone() }
    }

    fn intent(&self) -> Intent<'_> {
        Intent {
            model: &self.model,
            overrides: &self.overrides,
            health: &self.health,
            health_reasons: &self.health_reasons,
            hops_missing: &self.hops_missing,
            interfaces: &self.interfaces,
            fallbacks: &self.fallbacks,
            standings: &self.standings,
        }
    }

    fn knowledge<'a>(&'a self, daemon: &'a DaemonView) -> Knowledge<'a> {
        Knowledge { intent: Some(self.intent()), daemon: Some(daemon), ..Knowledge::of_maps(&self.dataplane) }
    }

    /// Changes a member as an operator wishes, once `keep` has put the changed
    /// overrides where a restart finds them.
    pub fn set_member(
        &mut self,
        select: &str,
        change: &MemberChange,
        keep: impl FnOnce(&Overrides) -> Result<(), String>,
    ) -> Response {
        let changed = answer::find_member(&self.model, select)
            .and_then(|member| Ok((self.changed_overrides(&member, change)?, member)));
        let (overrides, member) = match changed {
            Ok(changed) => changed,
            Err(refusal) => return refusal.into(),
        };
        if let Err(message) = keep(&overrides) {
            return Refusal::new(RefusalCode::Failed, message).into();
        }
        self.overrides = overrides;
        self.stale.pool(&member.pool);
        tracing::info!(pool = %member.pool, address = %member.address, port = member.port, ?change, "member set");
        let follows = self.follow();
        let mut view = match answer::member_set_view(&self.knowledge(&self.daemon_now()), &member) {
            Ok(view) => view,
            Err(refusal) => return refusal.into(),
        };
        if !follows {
            view.notes.push(
                "the data path does not follow yet; `lbctl status` has the reason, and lbd tries again".to_owned(),
            );
        }
        Response::MemberSet(Box::new(view))
    }

    fn changed_overrides(&self, member: &MemberKey, change: &MemberChange) -> Result<Overrides, Refusal> {
        let invalid = |message: String| Refusal::new(RefusalCode::Invalid, message);
        if change.is_empty() {
            return Err(invalid("nothing to change: give a weight, enable, disable, drain or reset".to_owned()));
        }
        let weight = match change.weight {
            Some(weight) => Some(Weight::new(weight).ok_or_else(|| {
                invalid(format!("weight {weight} is above {}: give one from 0 to {}", Weight::MAX, Weight::MAX))
            })?),
            None => None,
        };
        let mut overrides = self.overrides.clone();
        if change.reset {
            overrides.clear(member);
        }
        if weight.is_some() {
            overrides.set_weight(member.clone(), weight);
        }
        if change.admin_state_up.is_some() {
            overrides.set_admin_state_up(member.clone(), change.admin_state_up);
        }
        if let Some(drain) = change.drain {
            overrides.set_drain(member.clone(), drain);
        }
        Ok(overrides)
    }
}

/// Logs what was done to the maps.
fn tell_of(outcome: Outcome) {
    if outcome.done > 0 {
        tracing::info!(operations = outcome.done, retired = outcome.waiting, "data path brought up to date");
    }
}

/// Seconds since 1970.
fn seconds(moment: SystemTime) -> u64 {
    moment.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

#[cfg(test)]
#[path = "controller_tests.rs"]
mod tests;
