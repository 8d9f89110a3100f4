//! Two balancers as one: which of them carries the VIPs, and that the other
//! knows the flows.
//!
//! ```text
//! pool file, links, health ─► wish ─► vrrp::runner ─► Switchboard (one word an instance)
//!                            tracking      └─► reports ─► events, notify programs
//! data path's notes ─► sync ═══ UDP ═══ sync ─► data path
//! ```
//!
//! `wish` and `tracking` are pure; the runner has a thread of its own, flow sync
//! another. Nothing here waits for them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use hmac::{Hmac, KeyInit as _, Mac as _};
use lb_common::mac::Mac;
use sha2::Sha256;
use tokio::sync::mpsc;
use vrrp::{
    Instant, Secret,
    runner::{Command, Handle, Options, Report, RouterKey, World},
};

use crate::{
    causes::chain,
    config::Config,
    control::protocol::VrrpCommand,
    dataplane::{InstanceId, Switchboard},
    net,
};

mod flow_sync;
pub mod hook;
mod report;
#[cfg(test)]
mod scene;
pub mod sync;
mod tracking;
mod view;
mod wish;

pub use flow_sync::FlowSync;
pub use tracking::Facts;
pub use wish::{Around, intents};

/// Reports that may wait for the daemon. The runner never waits: what does not
/// fit is counted, and the states can be asked for at any time.
const WAITING_REPORTS: usize = 1024;

/// How long the runner may take to say how it is.
const PATIENCE: Duration = Duration::from_millis(200);

/// The seed of flow hashes that both nodes of a pair come to by themselves, so
/// that they choose the same member and port for a flow that only one knew: what
/// they share is the secret of flow sync.
#[must_use]
pub fn shared_seed(secret: &Secret) -> u64 {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose()).unwrap_or_else(|_| Hmac::new(&Default::default()));
    mac.update(b"krater hash seed");
    let digest = mac.finalize().into_bytes();
    digest.iter().take(8).fold(0, |seed, byte| seed << 8 | u64::from(*byte))
}

/// This node's part in its virtual routers.
#[derive(Debug)]
pub struct Pair {
    switchboard: Switchboard,
    runner: Option<Handle>,
    sender: mpsc::Sender<Report>,
    reports: mpsc::Receiver<Report>,
    reports_lost: Arc<AtomicU64>,
    wishes: Vec<wish::Wish>,
    /// What instances are and were called: an instance that was removed has
    /// something to report after that. There are as many as ids.
    names: BTreeMap<RouterKey, String>,
    /// Virtual MAC addresses that interfaces let in.
    admitted: BTreeSet<(u32, Mac)>,
    realtime: Option<Result<(), String>>,
}

/// The runner's hands: the data path's switches, and a way to tell the daemon.
struct Carrier {
    switchboard: Switchboard,
    reports: mpsc::Sender<Report>,
    lost: Arc<AtomicU64>,
}

impl World for Carrier {
    fn set_active(&mut self, key: RouterKey, active: bool) {
        // An instance that has left the maps carries nothing any more.
        let _ = self.switchboard.set_active(id_of(key), active);
    }

    fn alive(&mut self, key: RouterKey, now: Instant) {
        self.switchboard.set_alive(id_of(key), now.as_micros());
    }

    fn report(&mut self, report: Report) {
        if self.reports.try_send(report).is_err() {
            self.lost.fetch_add(1, Relaxed);
        }
    }
}

/// The runner's keys are the data path's ids. Id 0 is no instance.
fn id_of(key: RouterKey) -> InstanceId {
    InstanceId(u8::try_from(key).unwrap_or(0))
}

impl Pair {
    /// No instance yet, and no thread.
    #[must_use]
    pub fn new(switchboard: Switchboard) -> Self {
        let (sender, reports) = mpsc::channel(WAITING_REPORTS);
        Self {
            switchboard,
            runner: None,
            sender,
            reports,
            reports_lost: Arc::default(),
            wishes: Vec::new(),
            names: BTreeMap::new(),
            admitted: BTreeSet::new(),
            realtime: None,
        }
    }

    /// Has the runner do what the pool file wants under these circumstances.
    /// May be called as often as anything may have changed: what is as it was
    /// disturbs nobody.
    ///
    /// # Errors
    /// When the runner cannot be started or has ended.
    pub fn follow(&mut self, config: &Config, around: &Around<'_>) -> std::io::Result<()> {
        let wishes = wish::wishes(config, around);
        if wishes == self.wishes {
            return Ok(());
        }
        if self.runner.is_none() {
            if wishes.is_empty() {
                return Ok(());
            }
            let world = Carrier {
                switchboard: self.switchboard.clone(),
                reports: self.sender.clone(),
                lost: Arc::clone(&self.reports_lost),
            };
            let realtime = config.vrrp.iter().any(|vrrp| vrrp.realtime);
            self.runner = Some(Handle::start(world, Options { realtime })?);
        }
        let Some(runner) = &self.runner else { return Ok(()) };
        let now = vrrp::runner::now();
        let instances = wishes.iter().map(|wish| {
            let mut instance = wish.instance.clone();
            // What it carried before this process is asked for once.
            if !self.wishes.iter().any(|before| before.instance.key == instance.key) {
                let id = id_of(instance.key);
                instance.carrying = self.switchboard.is_active(id);
                let alive = Instant::from_micros(self.switchboard.alive(id));
                instance.resume = instance.carrying.then(|| now.since(alive));
            }
            instance
        });
        runner.set(instances.collect())?;
        self.names.extend(wishes.iter().map(|wish| (wish.instance.key, wish.instance.name.clone())));
        self.wishes = wishes;
        Ok(())
    }

    /// Has the interfaces let frames for the virtual MAC addresses in.
    pub async fn admit(&mut self, config: &Config, interfaces: &BTreeMap<String, u32>) {
        let mut wanted = BTreeSet::new();
        for vrrp in &config.vrrp {
            let Some(mac) = wish::virtual_mac(vrrp) else { continue };
            let others = vrrp.addresses.iter().filter_map(|one| one.interface.as_ref());
            let at = others.chain([&vrrp.interface]).filter_map(|name| interfaces.get(name));
            wanted.extend(at.map(|ifindex| (*ifindex, mac)));
        }
        for (ifindex, mac) in wanted.difference(&self.admitted) {
            if let Err(error) = net::admit_address(*ifindex, *mac).await {
                tracing::warn!(
                    ifindex,
                    "{}; where its card filters addresses, frames for the VIPs do not come in: run `bridge fdb add {mac} \
                     dev INTERFACE self`, or set `virtual_mac = false`",
                    chain(&error)
                );
            }
        }
        for (ifindex, mac) in self.admitted.difference(&wanted) {
            if let Err(error) = net::turn_away_address(*ifindex, *mac).await {
                tracing::debug!(ifindex, %mac, "{}", chain(&error));
            }
        }
        self.admitted = wanted;
    }

    /// The next report of the runner; waits for ever while there is none.
    pub async fn report(&mut self) -> Option<Report> {
        self.reports.recv().await
    }

    /// A report that has come already.
    pub fn try_report(&mut self) -> Option<Report> {
        self.reports.try_recv().ok()
    }

    /// Whether there is no instance.
    #[must_use]
    pub const fn is_alone(&self) -> bool {
        self.runner.is_none()
    }

    /// Carries an operator's command to the instance of that name out.
    ///
    /// # Errors
    /// When there is no such instance, or its runner has ended: the text says so.
    pub fn command(&self, name: &str, command: VrrpCommand) -> Result<(), String> {
        let wish = self.wishes.iter().find(|wish| wish.instance.name == name);
        let (Some(wish), Some(runner)) = (wish, &self.runner) else {
            return Err("it does not run: it has no address to carry".to_owned());
        };
        let command = match command {
            VrrpCommand::Failover => Command::Failover,
            VrrpCommand::Pause => Command::Pause,
            VrrpCommand::Resume => Command::Resume,
        };
        runner.command(wish.instance.key, command).map_err(|error| chain(&error))
    }

    /// The name of an instance.
    fn name(&self, key: RouterKey) -> String {
        self.names.get(&key).map_or_else(|| format!("instance {key}"), Clone::clone)
    }

    /// Leaves every virtual router such that another one takes over first, and
    /// waits for it, `limit` at most.
    pub fn stop(&mut self, limit: Duration) {
        if let Some(runner) = self.runner.take() {
            runner.stop(limit);
        }
    }

    /// Ends without a word: the data path goes on carrying what it carries, and
    /// the next lbd resumes.
    pub fn abandon(&mut self) {
        if let Some(runner) = self.runner.take() {
            runner.abandon();
        }
    }
}
