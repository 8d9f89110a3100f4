//! Lbd from its start to its end: everything around the [`Controller`] that has
//! a file, a socket, a signal or a clock.
//!
//! Order at the start: the pool file is read and found good, the control socket
//! is taken (another lbd would have it), then the data path is loaded or
//! adopted. So whatever can be refused is refused before a packet notices.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{mpsc, watch},
    task::{JoinHandle, block_in_place},
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};

pub use super::startup::explain;
use super::{
    Controller, interfaces,
    pace::Pace,
    seconds,
    startup::{Signals, find_interfaces, fixed_field, load, options, raise_file_limit, read, warn_of, warn_of_moves},
    tidings::Tidings,
};
use crate::{
    causes::chain,
    config::{Config, LoadError, OnExit},
    control::{
        answer::{self, HealthKnowledge},
        events::{Event, EventDesk, Kind, Question},
        protocol::{Refusal, RefusalCode, Request, Response},
        server::{BindError, Command, Server},
        view::DaemonView,
    },
    dataplane::{
        Attachment, DataplaneError, Describe, InstanceId, XdpMode,
        kernel::{KernelDataplane, Origin},
    },
    ha::{self, FlowSync, Pair, hook::Hooks},
    health::{self, Monitors},
    heap,
    net::{self, Hops, NetError, NextHopWatch},
    store::{self, StoreError},
};

mod facts;
mod failover;
mod sweeping;

use sweeping::Sweeping;

/// How often a round begins in which the maps are compared with what was written to them,
/// though nothing has happened: what somebody else wrote is mended then, and ids of
/// members whose flows have ended are freed.
const RESYNC: Duration = Duration::from_secs(30);

/// The pause between two steps of a round, which are about eighty at the most. Whatever
/// happens in between comes first.
const STEP: Duration = Duration::from_millis(250);

/// How long after a failure the maps are tried again, though nothing has
/// happened. A full table of slots has room again after half a second.
const RETRY: Duration = Duration::from_secs(1);

/// How long after something has changed the status of everything is looked at: what comes
/// together is looked at once, and no packet waits for it.
const LOOK: Duration = Duration::from_millis(50);

/// How often flow sync is asked whether the other balancer is there.
const LOOK_AT_SYNC: Duration = Duration::from_millis(250);

/// How long next hops that an earlier process knew are believed in against the
/// network's silence.
const INHERITANCE: Duration = Duration::from_secs(5);

/// Requests that may wait for the controller at once; more of them wait in
/// their clients' connections.
const WAITING_COMMANDS: usize = 64;

/// Failures of notify programs that may wait.
const WAITING_FAILURES: usize = 64;

/// How long the other node may take to carry the VIPs before this one ends.
const HANDOVER: Duration = Duration::from_secs(5);

/// How long the last answers may take to leave.
const FAREWELL: Duration = Duration::from_secs(1);

/// Why lbd could not start.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The pool file.
    #[error("{0}")]
    Config(#[from] LoadError),
    /// The control socket.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// An interface, or the network as a whole.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The state directory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The data path.
    #[error("{text}", text = chain(.0))]
    Dataplane(#[from] DataplaneError),
    /// The system.
    #[error("{what}")]
    System {
        /// What was being done.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Runs until it is told to end.
///
/// # Errors
/// When it cannot start; then the data path is as it was.
pub fn run(config_file: &Path) -> Result<(), DaemonError> {
    let system = |what| move |source| DaemonError::System { what, source };
    heap::be_one();
    let config = read(config_file)?;
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(system("start the runtime"))?;
    runtime.block_on(async {
        let signals = Signals::listen().map_err(system("listen for signals"))?;
        let daemon = Daemon::start(config_file, config).await?;
        daemon.serve(signals).await
    })
}

struct Daemon {
    config_file: PathBuf,
    config: Config,
    controller: Controller<KernelDataplane>,
    attachments: Vec<Attachment>,
    commands: mpsc::Receiver<Command>,
    serving: JoinHandle<()>,
    watch: NextHopWatch,
    hops: watch::Receiver<Hops>,
    monitors: Monitors,
    sweeping: Sweeping,
    pair: Pair,
    sync: FlowSync,
    hooks: Hooks,
    hook_failures: mpsc::Receiver<Event>,
    desk: EventDesk,
    /// The number of each VRRP instance in the maps, by name.
    instances: BTreeMap<String, InstanceId>,
    /// Whether it was told that the maps are not as they should be.
    told_behind: bool,
    /// When the status of everything is to be looked at, if anything has changed.
    look_at: Option<Instant>,
    /// When what monitors and the network find may be followed.
    pace: Pace,
    /// What is told of verdicts.
    tidings: Tidings,
    /// When the next step of a round of comparing is to be taken, if one is under way.
    check_at: Option<Instant>,
}

/// What ends the daemon.
enum End {
    /// Another node takes the VIPs first.
    Asked,
    /// The data path goes on as it is, VIPs included, for the next lbd.
    Held,
    Detached,
}

impl Daemon {
    async fn start(config_file: &Path, config: Config) -> Result<Self, DaemonError> {
        warn_of(&config);
        let server = Server::bind(&config.control.socket)?;
        store::prepare(&config.control.state_dir)?;
        let (overrides, forgotten) = match store::load_overrides(&config.control.state_dir) {
            Ok(overrides) => (overrides, None),
            Err(error) => (crate::compile::Overrides::default(), Some(chain(&error))),
        };
        let found = find_interfaces(&config.dataplane.interfaces).await?;
        let options = options(&config)?;
        let (mut dataplane, origin) = block_in_place(|| load(&options))?;
        let program = dataplane.describe()?;
        match origin {
            Origin::Created => tracing::info!(pins = %program.pin_path.display(), "data path loaded, new and empty"),
            Origin::Adopted => tracing::info!(
                pins = %program.pin_path.display(),
                "data path adopted: its flows and tables go on, its program is this lbd's now"
            ),
        }
        let attachments =
            interfaces::settle(&mut dataplane, &found, config.dataplane.xdp_mode, &[]).inspect_err(|_| {
                if origin == Origin::Created
                    && let Err(error) = KernelDataplane::remove(&config.dataplane.pin_path)
                {
                    tracing::error!("remove the data path again: {}", chain(&error));
                }
            })?;

        let daemon = DaemonView {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            config_file: config_file.display().to_string(),
            loaded_at: seconds(SystemTime::now()),
            ..DaemonView::default()
        };
        let mut controller = Controller::new(dataplane, config.model.clone(), overrides, daemon)?;
        if let Some(reason) = forgotten {
            controller.note_error(format!("{reason}; going on without what operators changed"));
        }
        let (watch, hops) = NextHopWatch::start()?;
        let monitors = Monitors::start()
            .map_err(|source| DaemonError::System { what: "start the thread of the health monitors", source })?;
        let sweeping = Sweeping::start(controller.dataplane().sweeper()?)
            .map_err(|source| DaemonError::System { what: "start the thread that looks for idle flows", source })?;
        let (command_sender, commands) = mpsc::channel(WAITING_COMMANDS);
        controller.set_instances(ha::intents(&config));
        controller.set_encap_sources(config.dataplane.encap_sources);
        controller.converge();
        let (failure_sender, hook_failures) = mpsc::channel(WAITING_FAILURES);
        let pair = Pair::new(controller.dataplane().switchboard());
        let mut this = Self {
            config_file: config_file.to_owned(),
            config,
            controller,
            attachments: Vec::new(),
            commands,
            serving: tokio::spawn(server.serve(command_sender)),
            watch,
            hops,
            monitors,
            sweeping,
            pair,
            sync: FlowSync::default(),
            hooks: Hooks::new(failure_sender),
            hook_failures,
            desk: EventDesk::new(SystemTime::now()),
            instances: BTreeMap::new(),
            told_behind: false,
            look_at: None,
            pace: Pace::default(),
            tidings: Tidings::default(),
            check_at: None,
        };
        this.watch_over(attachments).await;
        // Before a pair locks what there is.
        heap::give_back();
        this.form_pair().await;
        Ok(this)
    }

    /// Sets monitors and next hops to the pool file and the interfaces in force.
    async fn watch_over(&mut self, mut attachments: Vec<Attachment>) {
        // Whoever stays in generic mode is not tried again, and the reason stays.
        for attachment in attachments.iter_mut().filter(|a| a.mode == XdpMode::Generic && a.fallback.is_none()) {
            let before = self.attachments.iter().find(|b| b.ifindex == attachment.ifindex);
            attachment.fallback = before.and_then(|b| b.fallback.clone());
        }
        self.tell_of_interfaces(&attachments);
        self.attachments = attachments;
        self.admit_solicitations().await;
        let ports = self.attachments.iter().map(|a| (a.ifindex, (a.port, a.mac))).collect();
        let fallbacks = self.attachments.iter().filter_map(|a| Some((a.ifindex, a.fallback.clone()?))).collect();
        self.controller.set_interfaces(self.config.dataplane.interfaces.clone(), fallbacks);
        self.watch.set(self.controller.member_addresses(), ports);
        self.monitor();
    }

    /// Where there is an IPv6 VIP, solicitations for it must get past the card.
    async fn admit_solicitations(&self) {
        let mut vips = self.controller.model().load_balancers().iter().map(|lb| lb.vip_address);
        let mut moved = self.config.vrrp.iter().flat_map(|vrrp| self.config.virtual_addresses(vrrp));
        if !vips.any(|vip| vip.is_ipv6()) && !moved.any(|one| one.address.is_ipv6()) {
            return;
        }
        for attachment in &self.attachments {
            if let Err(error) = net::admit_multicast(attachment.ifindex).await {
                tracing::warn!(
                    "{}: {}; where its card filters multicast, neighbours will not find IPv6 VIPs: run `ip link set \
                     dev {} allmulticast on`",
                    attachment.interface,
                    chain(&error),
                    attachment.interface
                );
            }
        }
    }

    /// Sets the monitors to the pool file, to what operators changed and to where VIPs are.
    fn monitor(&mut self) {
        let interfaces = self.attachments.iter().map(|a| (a.port, a.ifindex)).collect();
        let ways = health::Ways { next_hops: self.controller.next_hops(), interfaces };
        let targets = health::targets(self.controller.model(), self.controller.overrides(), &ways);
        let watched = targets.iter().map(|t| t.member.clone()).collect();
        let renamed = self.monitors.set(targets);
        self.controller.rename(&renamed);
        self.controller.watch(watched);
    }

    async fn serve(mut self, mut signals: Signals) -> Result<(), DaemonError> {
        let mut resync = interval(RESYNC);
        let mut look_at_sync = interval(LOOK_AT_SYNC);
        for ticker in [&mut resync, &mut look_at_sync] {
            ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticker.reset();
        }
        let inheritance_ends = Instant::now() + INHERITANCE;
        let mut inherits = true;
        self.desk.push(Event::new(Kind::LbdReady, "", "lbd serves"));
        tracing::info!("ready");
        self.look_soon();
        let end = loop {
            self.tell_of_data_path();
            let tidings_at = self.tidings.due().map(Instant::from_std);
            let followers_until = self.desk.next_deadline().map(Instant::from_std);
            let facts_at = self.pace.due().map(Instant::from_std);
            let retry_at = self.controller.failed_at().map(|at| Instant::from_std(at + RETRY));
            tokio::select! {
                // A verdict is what packets wait for.
                biased;
                _ = signals.terminate.recv() => break End::Asked,
                _ = signals.interrupt.recv() => break End::Asked,
                _ = signals.quit.recv() => break End::Held,
                Some(report) = self.pair.report() => self.take_report(report),
                events = self.monitors.events() => self.judge(events),
                () = sleep_until(facts_at.unwrap_or(inheritance_ends)), if facts_at.is_some() => self.follow_facts(),
                Some(event) = self.hook_failures.recv() => drop(self.desk.tell(event)),
                Ok(()) = self.hops.changed() => self.follow_network().await,
                _ = signals.hangup.recv() => self.reload().await,
                Some(command) = self.commands.recv() => {
                    if let Some(end) = block_in_place(|| self.carry_out(command)) {
                        break end;
                    }
                }
                () = sleep_until(inheritance_ends), if inherits => {
                    inherits = false;
                    self.controller.forget_inherited();
                    self.follow_facts();
                }
                () = sleep_until(retry_at.unwrap_or(inheritance_ends)), if retry_at.is_some() => {
                    block_in_place(|| self.controller.converge());
                    self.look_soon();
                }
                () = sleep_until(self.look_at.unwrap_or(inheritance_ends)), if self.look_at.is_some() => self.look(),
                () = sleep_until(tidings_at.unwrap_or(inheritance_ends)), if tidings_at.is_some() => self.tell_of_more(),
                () = sleep_until(followers_until.unwrap_or(inheritance_ends)), if followers_until.is_some() => {
                    self.desk.expire(std::time::Instant::now());
                }
                _ = resync.tick() => {
                    self.controller.begin_round();
                    self.check_at = Some(Instant::now());
                    let hops = self.hops.borrow().clone();
                    self.attach_where_changed(&hops).await;
                }
                () = sleep_until(self.check_at.unwrap_or(inheritance_ends)), if self.check_at.is_some() => self.check(),
                _ = look_at_sync.tick(), if self.sync.is_running() => {
                    if let Some(event) = self.sync.news() {
                        self.desk.tell(event);
                    }
                }
                swept = self.sweeping.swept() => self.take_swept(swept),
            }
        };
        self.finish(&end).await
    }

    async fn attach_where_changed(&mut self, hops: &Hops) {
        if self.interfaces_changed(hops) {
            self.attach_anew().await;
        }
    }

    /// Whether an interface of ours is gone, came back as another one, changed
    /// its address, or was not to be attached to before.
    fn interfaces_changed(&self, hops: &Hops) -> bool {
        let Ok(attachments) = self.controller.dataplane().attachments() else { return false };
        let gone = |ifindex| hops.generation > 0 && !hops.links.values().any(|link| link.ifindex == ifindex);
        if attachments.iter().any(|a| gone(a.ifindex)) {
            return true;
        }
        self.config.dataplane.interfaces.iter().any(|name| {
            hops.links
                .get(name)
                .is_some_and(|link| !attachments.iter().any(|a| a.ifindex == link.ifindex && a.mac == link.mac))
        })
    }

    async fn attach_anew(&mut self) {
        let mut found = Vec::new();
        for name in &self.config.dataplane.interfaces {
            match net::interface(name).await {
                Ok(interface) => found.push(interface),
                Err(error) => tracing::warn!("{}; waiting for it", chain(&error)),
            }
        }
        let mode = self.config.dataplane.xdp_mode;
        match block_in_place(|| interfaces::settle(self.controller.dataplane_mut(), &found, mode, &self.attachments)) {
            Ok(attachments) => {
                self.watch_over(attachments).await;
                self.form_pair().await;
            }
            Err(error) => self.controller.note_error(format!("attach again: {}", chain(&error))),
        }
    }

    fn carry_out(&mut self, Command { request, reply }: Command) -> Option<End> {
        let (response, end) = match &request {
            Request::SetMember { member, change } => {
                let state_dir = &self.config.control.state_dir;
                let keep = |overrides: &_| store::save_overrides(state_dir, overrides).map_err(|error| chain(&error));
                let response = self.controller.set_member(member, change, keep);
                if let Response::MemberSet(view) = &response {
                    let event = Event::new(Kind::MemberSet, view.member.name.clone(), "an operator changed the member");
                    self.desk.push(event);
                }
                self.monitor();
                // Verdicts about a member that is watched no more are forgotten.
                self.follow_facts();
                self.look_soon();
                (response, None)
            }
            Request::Detach => self.detach(),
            Request::Events { after, epoch, wait_ms } => {
                let wait = Duration::from_millis(u64::from(*wait_ms));
                let question = Question { after: *after, epoch: *epoch, wait };
                self.desk.ask(question, std::time::Instant::now(), reply);
                return None;
            }
            Request::VrrpCommand { select, command } => (self.command_pair(select, *command), None),
            request if request.is_about_the_pair() => {
                let (vrrp, sync) = (self.vrrp_views(), self.sync_view());
                (self.controller.answer(request, &vrrp, sync.as_ref(), None), None)
            }
            request if request.is_about_health() => {
                let health = self.health_knowledge(request);
                (self.controller.answer(request, &[], None, Some(&health)), None)
            }
            _ => (self.controller.answer(&request, &[], None, None), None),
        };
        // Whoever asked may have left.
        let _ = reply.send(response);
        end
    }

    /// What a request about health needs to be known: everything of one member, or a
    /// little of all.
    fn health_knowledge(&self, request: &Request) -> HealthKnowledge {
        let records = match request {
            Request::ShowHealth { member } => {
                let member = answer::find_member(self.controller.model(), member).ok();
                member.and_then(|key| Some((key.clone(), self.monitors.record(&key)?))).into_iter().collect()
            }
            request if request.asks_how_all_are() => BTreeMap::new(),
            _ => self.monitors.records(),
        };
        HealthKnowledge { records, workload: self.monitors.workload() }
    }

    fn detach(&mut self) -> (Response, Option<End>) {
        let failed = |error: &DataplaneError| Refusal::new(RefusalCode::Failed, chain(error)).into();
        let attachments = match self.controller.dataplane().attachments() {
            Ok(attachments) => attachments,
            Err(error) => return (failed(&error), None),
        };
        self.leave_pair();
        match KernelDataplane::remove(&self.config.dataplane.pin_path) {
            Ok(()) => {
                let interfaces = attachments.into_iter().map(|a| a.interface).collect();
                (Response::Detached { interfaces }, Some(End::Detached))
            }
            Err(error) => (failed(&error), None),
        }
    }

    /// Reads the pool file again: all of it comes into force, or nothing.
    async fn reload(&mut self) {
        let reloaded = match read(&self.config_file) {
            Ok(config) => self.take(config).await,
            Err(error) => Err(chain(&error)),
        };
        let file = self.config_file.display().to_string();
        match reloaded {
            Ok(()) => {
                tracing::info!(file, "pool file reloaded");
                self.desk.push(Event::new(
                    Kind::PoolFileReloaded,
                    file,
                    "the pool file was read again and is in force",
                ));
            }
            Err(reason) => {
                self.desk.push(Event::new(Kind::PoolFileRefused, file, &reason));
                self.controller.note_error(format!("reload refused, everything stays as it was: {reason}"));
            }
        }
    }

    async fn take(&mut self, config: Config) -> Result<(), String> {
        if let Some(field) = fixed_field(&self.config, &config) {
            return Err(format!(
                "{}: {field} cannot change while lbd runs: set it back, or restart lbd (with another pin_path or \
                 max_flows, run `lbctl dataplane detach` first, which ends established flows)",
                self.config_file.display()
            ));
        }
        warn_of(&config);
        let found = find_interfaces(&config.dataplane.interfaces).await.map_err(|error| chain(&error))?;
        let options = options(&config).map_err(|error| chain(&error))?;
        let mode = config.dataplane.xdp_mode;
        let attachments =
            block_in_place(|| interfaces::settle(self.controller.dataplane_mut(), &found, mode, &self.attachments))
                .map_err(|error| chain(&error))?;
        self.controller.dataplane_mut().reconfigure(&options);
        warn_of_moves(&self.config, &config);
        self.controller.set_model(config.model.clone(), SystemTime::now());
        self.config = config;
        self.watch_over(attachments).await;
        self.controller.set_instances(ha::intents(&self.config));
        self.controller.set_encap_sources(self.config.dataplane.encap_sources);
        block_in_place(|| self.controller.converge());
        self.form_pair().await;
        self.look_soon();
        Ok(())
    }

    async fn finish(mut self, end: &End) -> Result<(), DaemonError> {
        self.desk.push(Event::new(Kind::LbdStopping, "", "lbd ends"));
        match end {
            End::Asked => self.leave_pair(),
            End::Held | End::Detached => self.pair.abandon(),
        }
        let Self { config, controller, commands, serving, hooks, .. } = self;
        drop(commands);
        hooks.finish(FAREWELL).await;
        if timeout(FAREWELL, serving).await.is_err() {
            tracing::debug!("a client did not take its answer in time");
        }
        let pin_path = &config.dataplane.pin_path;
        match end {
            End::Detached => tracing::info!("data path removed by request, lbd ends"),
            End::Asked if config.dataplane.on_exit == OnExit::Remove => {
                drop(controller);
                KernelDataplane::remove(pin_path)?;
                tracing::info!("data path removed, lbd ends");
            }
            End::Asked | End::Held => tracing::info!(
                pins = %pin_path.display(),
                "lbd ends, the data path goes on forwarding; `lbctl --offline dataplane detach` removes it"
            ),
        }
        Ok(())
    }
}
