//! Health monitors of pools: what [`lb_health`] does, in the model's words.
//!
//! Each member of each monitored pool becomes a target of the monitors, and what they
//! find becomes an event about the member.
//!
//! What must not be here: probes and thresholds (`lb-health`'s), and what follows from
//! a verdict (`compile`'s).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Instant, SystemTime},
};

use lb_health::{Delivery, Outcome, Pace, Question, TargetId};
pub use lb_health::{Record, Workload};

use crate::{
    compile::{MemberKey, NextHops, Overrides, Verdict},
    model::{HealthMonitor, Member, Model, ProbePath},
};

/// A member to be probed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// Who it is. Two pools with the same member probe it separately.
    pub member: MemberKey,
    /// What it is asked, and where: `monitor_address` and `monitor_port` applied.
    pub question: Question,
    /// How often, and how many answers make a verdict.
    pub pace: Pace,
}

/// A member has come up or gone down, or was looked at for the first time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HealthEvent {
    /// Who.
    pub member: MemberKey,
    /// Up or down.
    pub verdict: Verdict,
    /// What the probe met that decided it.
    pub outcome: Outcome,
    /// When it was decided.
    pub at: SystemTime,
    /// The same by the clock that nobody sets.
    pub decided: Instant,
}

/// How frames get to members: what probes of a VIP on a member go by.
#[derive(Clone, Debug)]
pub struct Ways<'a> {
    /// The next hop of each member, where it is known.
    pub next_hops: &'a NextHops,
    /// The kernel's number of each interface, by its number in the data path.
    pub interfaces: BTreeMap<u16, u32>,
}

impl Ways<'_> {
    /// Straight to a member. Where no frame can reach it, by an interface that is none: the
    /// probe says so, unless [`Monitors::set_unreachable`] has a better reason.
    fn to(&self, member: IpAddr) -> Delivery {
        let hop = self.next_hops.get(&member);
        let way = hop.and_then(|hop| Some((*self.interfaces.get(&hop.port)?, hop.source.0, hop.destination.0)));
        let (interface, source, destination) = way.unwrap_or((0, [0; 6], [0; 6]));
        Delivery::Link { interface, source, destination }
    }
}

/// Whether anybody is to be probed at the VIP, so that [`targets`] rests on next hops.
#[must_use]
pub fn asks_vips(model: &Model) -> bool {
    let mut pools = model.load_balancers().iter().flat_map(|lb| &lb.pools);
    pools.any(|pool| pool.health_monitor.as_ref().is_some_and(|monitor| monitor.probe_path == ProbePath::Vip))
}

/// The members to probe: those of monitored pools, as far as neither the
/// member nor anything above it is switched off. What operators changed counts: a
/// member that the pool file has off and an operator has on takes traffic, so it is
/// probed.
#[must_use]
pub fn targets(model: &Model, overrides: &Overrides, ways: &Ways<'_>) -> Vec<Target> {
    let mut targets = Vec::new();
    for lb in model.load_balancers().iter().filter(|lb| lb.admin_state_up) {
        for pool in lb.pools.iter().filter(|pool| pool.admin_state_up) {
            let Some(monitor) = pool.health_monitor.as_ref().filter(|monitor| monitor.admin_state_up) else { continue };
            targets.extend(pool.members.iter().filter_map(|member| {
                let key = MemberKey::of(lb, pool, member);
                let override_of = overrides.get(&key).and_then(|change| change.admin_state_up);
                override_of
                    .unwrap_or(member.admin_state_up)
                    .then(|| target(key, monitor, member, (lb.vip_address, ways)))
            }));
        }
    }
    targets
}

fn target(key: MemberKey, monitor: &HealthMonitor, member: &Member, (vip, ways): (IpAddr, &Ways<'_>)) -> Target {
    let (address, delivery) = match monitor.probe_path {
        ProbePath::Member => (member.monitor_address.unwrap_or(member.address), Delivery::Routed),
        ProbePath::Vip => (vip, ways.to(member.address)),
    };
    let port = member.monitor_port.unwrap_or(member.protocol_port);
    let to = SocketAddr::new(address, port.get());
    let pace = Pace {
        delay: monitor.delay,
        timeout: monitor.timeout,
        rise: monitor.max_retries,
        fall: monitor.max_retries_down,
        damping: monitor.flap_damping,
    };
    Target { member: key, question: Question { kind: monitor.kind.clone(), to, delivery }, pace }
}

/// Probes that go on until they are dropped.
#[derive(Debug)]
pub struct Monitors {
    monitors: lb_health::Monitors,
    numbers: Mutex<Numbers>,
}

/// How members are numbered for the monitors.
#[derive(Debug, Default)]
struct Numbers {
    ids: BTreeMap<MemberKey, (TargetId, Question)>,
    members: HashMap<TargetId, MemberKey>,
    next: u32,
}

/// A member that is not wanted any more, and what it was asked.
type Leaving = (MemberKey, TargetId, Question);

impl Numbers {
    /// The number of a member, which it keeps as long as it is asked the same: what may
    /// still be found by another question is about nobody then.
    fn of(&mut self, member: &MemberKey, question: &Question) -> TargetId {
        match self.ids.get(member) {
            Some((id, before)) if before == question => return *id,
            Some((id, _)) => drop(self.members.remove(id)),
            None => {}
        }
        // Round once in four thousand million members: those of that time are long gone,
        // or skipped.
        while self.members.contains_key(&TargetId(self.next)) {
            self.next = self.next.wrapping_add(1);
        }
        let id = TargetId(self.next);
        self.next = self.next.wrapping_add(1);
        self.ids.insert(member.clone(), (id, question.clone()));
        self.members.insert(id, member.clone());
        id
    }

    /// Forgets members that are not wanted any more. A member of another pool that has
    /// their address and port and is asked the same takes their number over, and with it
    /// what is known: its pool, or load balancer, has another name. Returns those, from and
    /// to.
    fn keep(&mut self, wanted: &[Target]) -> Vec<(MemberKey, MemberKey)> {
        let keys: BTreeSet<&MemberKey> = wanted.iter().map(|target| &target.member).collect();
        let mut gone: HashMap<(IpAddr, u16), Vec<Leaving>> = HashMap::new();
        let leaving = self.ids.extract_if(.., |member, _| !keys.contains(member));
        for (member, (id, question)) in leaving {
            gone.entry((member.address, member.port)).or_default().push((member, id, question));
        }
        let mut renamed = Vec::new();
        for Target { member, question, .. } in wanted {
            if gone.is_empty() || self.ids.contains_key(member) {
                continue;
            }
            let Some(candidates) = gone.get_mut(&(member.address, member.port)) else { continue };
            let Some(at) = candidates.iter().position(|(.., asked)| asked == question) else { continue };
            let (from, id, question) = candidates.swap_remove(at);
            self.ids.insert(member.clone(), (id, question));
            self.members.insert(id, member.clone());
            renamed.push((from, member.clone()));
        }
        for (_, id, _) in gone.into_values().flatten() {
            self.members.remove(&id);
        }
        renamed
    }
}

impl Monitors {
    /// Begins with nobody to probe.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start() -> io::Result<Self> {
        Ok(Self { monitors: lb_health::Monitors::start()?, numbers: Mutex::default() })
    }

    /// Replaces whom to probe. Members that stay keep their verdict, what they
    /// answered last and their place in the interval; nothing is said of those that are
    /// gone any more. When a member is to be probed elsewhere or otherwise, what is
    /// known of it starts over.
    ///
    /// Members that are the same in a pool by another name go on as they were: they are
    /// returned, from and to.
    pub fn set(&self, targets: Vec<Target>) -> Vec<(MemberKey, MemberKey)> {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        let renamed = numbers.keep(&targets);
        let targets = targets.into_iter().map(|Target { member, question, pace }| lb_health::Target {
            id: numbers.of(&member, &question),
            member: member.address,
            question,
            pace,
            place: place(&member),
        });
        self.monitors.set(targets.collect());
        renamed
    }

    /// Replaces the members' addresses that frames of the data path cannot reach, and
    /// why: probes of members there fail for that reason.
    pub fn set_unreachable(&self, addresses: &BTreeMap<IpAddr, String>) {
        let addresses = addresses.iter().map(|(address, why)| (*address, Arc::from(why.as_str())));
        self.monitors.set_unreachable(addresses.collect());
    }

    /// Waits until something is found, and takes all of it: of each member the latest.
    pub async fn events(&self) -> Vec<HealthEvent> {
        let findings = self.monitors.findings().await;
        let numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        let event = |finding: lb_health::Finding| {
            let member = numbers.members.get(&finding.id)?.clone();
            let lb_health::Finding { verdict, outcome, at, decided, .. } = finding;
            Some(HealthEvent { member, verdict, outcome, at, decided })
        };
        findings.into_iter().filter_map(event).collect()
    }

    /// What is known of a member, if it is probed.
    #[must_use]
    pub fn record(&self, member: &MemberKey) -> Option<Record> {
        let id = self.numbers.lock().unwrap_or_else(PoisonError::into_inner).ids.get(member)?.0;
        self.monitors.record(id)
    }

    /// What is known of every member that is probed, of results and transitions the last
    /// only.
    #[must_use]
    pub fn records(&self) -> BTreeMap<MemberKey, Record> {
        let records = self.monitors.records();
        let numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        records.into_iter().filter_map(|(id, record)| Some((numbers.members.get(&id)?.clone(), record))).collect()
    }

    /// What the monitors as a whole are doing.
    #[must_use]
    pub fn workload(&self) -> Workload {
        self.monitors.workload()
    }
}

/// A member's place in its interval: always the same one.
fn place(member: &MemberKey) -> u32 {
    let mut hasher = DefaultHasher::new();
    member.hash(&mut hasher);
    (hasher.finish() >> 32) as u32
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;
