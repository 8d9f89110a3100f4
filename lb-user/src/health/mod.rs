//! Who answers: probes members and says when one comes up or goes down.
//!
//! Each member of each pool is probed by a task of its own, so a slow one
//! delays nobody; probes of one member never overlap. When to probe
//! (`schedule`) and what a row of answers means (`machine`) is pure;
//! `probe` is the part that meets the network.
//!
//! What must not be here: what follows from a verdict. That is `compile`'s.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::{
    runtime::Handle,
    sync::{Semaphore, mpsc, watch},
    task::AbortHandle,
    time::Instant,
};

use crate::{
    compile::{MemberKey, Overrides, Verdict},
    model::{Model, MonitorKind},
};

mod machine;
mod probe;
mod schedule;
mod task;

/// Probes under way at once. Far above what intervals and timeouts of a sane
/// configuration add up to; it keeps an insane one from taking every file
/// descriptor and port.
const MAX_PROBES: usize = 4096;

/// A member to be probed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// Who it is. Two pools with the same member probe it separately.
    pub member: MemberKey,
    /// What a probe does.
    pub kind: MonitorKind,
    /// Where it is probed: `monitor_address` and `monitor_port` applied.
    pub address: SocketAddr,
    /// From the start of one probe to the start of the next.
    pub delay: Duration,
    /// How long one probe may take. It may be longer than `delay`: probes are
    /// then left out, never cut short.
    pub timeout: Duration,
    /// Successes in a row that bring it up.
    pub rise: u8,
    /// Failures in a row that take it down.
    pub fall: u8,
}

/// A member has come up or gone down, or was looked at for the first time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HealthEvent {
    /// Who.
    pub member: MemberKey,
    /// Up or down.
    pub verdict: Verdict,
    /// What the last probe met, for an operator.
    pub reason: String,
    /// When it was decided.
    pub at: SystemTime,
}

/// The members to probe: those of monitored pools, as far as neither the
/// member nor anything above it is switched off.
#[must_use]
pub fn targets(model: &Model) -> Vec<Target> {
    targets_under(model, &Overrides::default())
}

/// The same with what operators changed: a member that the pool file has off
/// and an operator has on takes traffic, so it is probed.
#[must_use]
pub fn targets_under(model: &Model, overrides: &Overrides) -> Vec<Target> {
    let mut targets = Vec::new();
    for lb in model.load_balancers().iter().filter(|lb| lb.admin_state_up) {
        for pool in lb.pools.iter().filter(|pool| pool.admin_state_up) {
            let Some(monitor) = pool.health_monitor.as_ref().filter(|monitor| monitor.admin_state_up) else { continue };
            targets.extend(pool.members.iter().filter_map(|member| {
                let key = MemberKey::of(lb, pool, member);
                let override_of = overrides.get(&key).and_then(|change| change.admin_state_up);
                let address = member.monitor_address.unwrap_or(member.address);
                let port = member.monitor_port.unwrap_or(member.protocol_port);
                override_of.unwrap_or(member.admin_state_up).then(|| Target {
                    member: key,
                    kind: monitor.kind,
                    address: SocketAddr::new(address, port.get()),
                    delay: monitor.delay,
                    timeout: monitor.timeout,
                    rise: monitor.max_retries,
                    fall: monitor.max_retries_down,
                })
            }));
        }
    }
    targets
}

/// Probes that go on until they are dropped.
#[derive(Debug)]
pub struct Monitors {
    running: Mutex<BTreeMap<MemberKey, Running>>,
    runtime: Handle,
    shared: Arc<Shared>,
}

/// What all probes share.
#[derive(Debug)]
struct Shared {
    events: mpsc::Sender<HealthEvent>,
    permits: Semaphore,
    /// Where intervals are counted from.
    epoch: Instant,
}

/// The task of one member. Dropping it ends the task.
#[derive(Debug)]
struct Running {
    target: watch::Sender<Target>,
    task: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Monitors {
    /// Begins with nobody to probe. An event is sent for a member's first
    /// verdict and whenever its verdict changes; a member whose event finds the
    /// channel full is not probed until there is room.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn start(events: mpsc::Sender<HealthEvent>) -> Self {
        let shared = Shared { events, permits: Semaphore::new(MAX_PROBES), epoch: Instant::now() };
        Self { running: Mutex::default(), runtime: Handle::current(), shared: Arc::new(shared) }
    }

    /// Replaces whom to probe. Members that stay keep their verdict, what they
    /// answered last and their place in the interval; those that are gone are
    /// not probed any more and no event about them is sent any more, but one
    /// sent before may still be in the channel. When a member is to be probed
    /// elsewhere or otherwise, what is known of it starts over.
    pub fn set(&self, targets: Vec<Target>) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted: BTreeSet<_> = targets.iter().map(|target| target.member.clone()).collect();
        running.retain(|member, _| wanted.contains(member));
        for target in targets {
            match running.get(&target.member) {
                Some(task) => {
                    task.target.send_if_modified(|before| {
                        let changed = *before != target;
                        *before = target;
                        changed
                    });
                }
                None => {
                    let member = target.member.clone();
                    let (target, targets) = watch::channel(target);
                    let task = self.runtime.spawn(task::run(targets, Arc::clone(&self.shared)));
                    running.insert(member, Running { target, task: task.abort_handle() });
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;
