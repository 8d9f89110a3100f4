//! The thread that all probes run on, and the handle of whoever wants them.
//!
//! The thread takes turns: what was told to it, what has ended, who is due; then it waits
//! for whichever comes next. Turns are a grain apart at least, so that with many
//! members each turn does a batch of work with few system calls.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime},
};

use tokio::{
    sync::Notify,
    task::{AbortHandle, JoinSet, LocalSet},
    time::sleep_until,
};

use crate::{
    machine::{Pace, Verdict},
    outcome::Outcome,
    question::{Handshake, Kind, Question},
    raw::{self, RawProber, Slot},
    record::{Record, Workload},
    roster::{Now, Roster, Start, Ticket},
    stream,
};

/// Probes under way at once. Far above what intervals and timeouts of a sane
/// configuration add up to; it keeps an insane one from taking every file
/// descriptor and port.
pub const MAX_IN_FLIGHT: usize = 16_384;

/// The longest time that probes wait for others that are due soon, so that they begin
/// together: waking up costs as much as several probes, so ten thousand members that are
/// asked every second are asked a hundred and sixty at a time.
const GATHER: Duration = Duration::from_millis(16);

/// That part of the shortest delay is waited for at the longest.
const GATHER_PART: u32 = 60;

/// The shortest time from one turn to the next, where probes are gathered for no longer
/// than that.
const GRAIN: Duration = Duration::from_millis(1);

/// As many times as long probes are gathered as answers are at most: those to one batch
/// come together, and what they decide is not to wait for long.
const GATHER_GRAINS: u32 = 6;

/// A member, as whoever sets the targets numbers it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TargetId(pub u32);

/// A member to be probed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// Who it is. Two pools with the same member probe it separately.
    pub id: TargetId,
    /// Its address in the data path, whose next hop must be known: see
    /// [`Monitors::set_unreachable`].
    pub member: IpAddr,
    /// What it is asked, and where.
    pub question: Question,
    /// How often, and how many answers make a verdict.
    pub pace: Pace,
    /// Its place in the interval, in 2³² parts.
    pub place: u32,
}

/// A member has come up or gone down, or was looked at for the first time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// Who.
    pub id: TargetId,
    /// Up or down.
    pub verdict: Verdict,
    /// What the probe met that decided it.
    pub outcome: Outcome,
    /// When it was decided.
    pub at: SystemTime,
    /// The same by the clock that nobody sets.
    pub decided: Instant,
}

/// Probes that go on until this is dropped.
#[derive(Debug)]
pub struct Monitors {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread and its handle share.
#[derive(Debug, Default)]
struct Shared {
    roster: Mutex<Roster>,
    mailbox: Mutex<Mailbox>,
    /// Something is in the mailbox.
    told: Notify,
    /// Something is found.
    found: Notify,
}

/// What the thread is told: of each kind the latest.
#[derive(Debug, Default)]
struct Mailbox {
    targets: Option<Vec<Target>>,
    unreachable: Option<BTreeMap<IpAddr, Arc<str>>>,
    end: bool,
}

impl Shared {
    fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, write: impl FnOnce(&mut Mailbox)) {
        write(&mut self.mailbox.lock().unwrap_or_else(PoisonError::into_inner));
        self.told.notify_one();
    }
}

impl Monitors {
    /// Starts the thread, with nobody to probe.
    ///
    /// # Errors
    /// When there can be no thread, or no event queue for it.
    pub fn start() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let shared = Arc::new(Shared::default());
        let engine = Engine::new(Arc::clone(&shared));
        let thread = std::thread::Builder::new().name("health".to_owned()).spawn(move || {
            let _guard = DiesWithTheThread;
            LocalSet::new().block_on(&runtime, engine.run());
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Replaces whom to probe. Members that stay keep their verdict, what they
    /// answered last and their place in the interval; soon nothing is found about those
    /// that are gone any more. When a member is asked something else, or elsewhere,
    /// what is known of it starts over.
    pub fn set(&self, targets: Vec<Target>) {
        self.shared.tell(|mailbox| mailbox.targets = Some(targets));
    }

    /// Replaces the addresses that frames of the data path cannot reach, and why:
    /// probes of members there fail for that reason, whatever they meet, once it has
    /// been so for five seconds.
    pub fn set_unreachable(&self, addresses: BTreeMap<IpAddr, Arc<str>>) {
        self.shared.tell(|mailbox| mailbox.unreachable = Some(addresses));
    }

    /// Waits until something is found, and takes all of it: of each member the latest.
    /// Nothing is lost when this is dropped while it waits.
    pub async fn findings(&self) -> Vec<Finding> {
        loop {
            let findings = self.shared.roster().take_findings();
            if !findings.is_empty() {
                return findings;
            }
            self.shared.found.notified().await;
        }
    }

    /// What is known of a member.
    #[must_use]
    pub fn record(&self, id: TargetId) -> Option<Record> {
        self.shared.roster().record(id)
    }

    /// What is known of every member, of results and transitions the last only.
    #[must_use]
    pub fn records(&self) -> BTreeMap<TargetId, Record> {
        self.shared.roster().records()
    }

    /// What the monitors as a whole are doing.
    #[must_use]
    pub fn workload(&self) -> Workload {
        self.shared.roster().workload()
    }
}

/// Ends the process when the thread panics. A balancer whose monitors are dead would keep
/// sending to whoever was up last; one that is started again by its supervisor asks anew,
/// and packets go on meanwhile.
struct DiesWithTheThread;

impl Drop for DiesWithTheThread {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("the thread of the health monitors panicked, so lbd ends: please report this defect");
            std::process::abort();
        }
    }
}

impl Drop for Monitors {
    fn drop(&mut self) {
        self.shared.tell(|mailbox| mailbox.end = true);
        // It cannot have panicked: the process would be no more.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the thread has for itself.
struct Engine {
    shared: Arc<Shared>,
    epoch: Instant,
    raw: RawProber,
    streams: JoinSet<(Ticket, Outcome)>,
    /// Connections under way, by whose they are.
    connections: HashMap<Slot, AbortHandle>,
    ended: Vec<(Ticket, Outcome)>,
    /// When probes that are due begin, at the earliest.
    begins: Duration,
    /// How long they are gathered.
    gather: Duration,
    /// The shortest time from one turn to the next.
    grain: Duration,
}

impl Engine {
    fn new(shared: Arc<Shared>) -> Self {
        let (epoch, raw, streams) = (Instant::now(), RawProber::new(), JoinSet::new());
        Self {
            shared,
            epoch,
            raw,
            streams,
            connections: HashMap::new(),
            ended: Vec::new(),
            begins: Duration::ZERO,
            gather: GRAIN,
            grain: GRAIN,
        }
    }

    fn now(&self) -> Now {
        let instant = Instant::now();
        Now { since_epoch: instant.saturating_duration_since(self.epoch), instant, wall: SystemTime::now() }
    }

    async fn run(mut self) {
        loop {
            let began = tokio::time::Instant::now();
            if self.read_mailbox() {
                return;
            }
            let next = self.turn();
            let soonest = began + self.grain;
            // Answers are on their way: what has come by then is taken together. Without
            // any, it is rarely anything but the next start that ends the wait.
            if self.raw.awaits_answers() || !self.streams.is_empty() {
                sleep_until(soonest).await;
            }
            self.wait(next).await;
            sleep_until(soonest).await;
        }
    }

    /// Waits until there is something to do.
    async fn wait(&mut self, next: Option<Duration>) {
        let wake = next.map(|next| tokio::time::Instant::from_std(self.epoch + next));
        let shared = Arc::clone(&self.shared);
        tokio::select! {
            () = shared.told.notified() => {}
            Some(ended) = self.streams.join_next() => self.take_stream(ended),
            readable = self.raw.readable() => {
                if let Err(error) = readable {
                    // Whatever is to come ends at its deadline.
                    tracing::debug!(%error, "wait for answers to probes");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
            () = sleep_until(wake.unwrap_or_else(tokio::time::Instant::now)), if wake.is_some() => {}
        }
    }

    /// Does what it is told. Says whether that is to end.
    fn read_mailbox(&mut self) -> bool {
        let told = std::mem::take(&mut *self.shared.mailbox.lock().unwrap_or_else(PoisonError::into_inner));
        let now = self.now().since_epoch;
        let mut roster = self.shared.roster();
        if let Some(unreachable) = told.unreachable {
            roster.set_unreachable(now, unreachable);
        }
        if let Some(shortest) = told.targets.iter().flatten().map(|target| target.pace.delay).min() {
            self.gather = (shortest / GATHER_PART).clamp(GRAIN, GATHER);
            self.grain = (self.gather / GATHER_GRAINS).max(GRAIN);
        }
        let abandoned = told.targets.map(|targets| roster.set(now, targets)).unwrap_or_default();
        drop(roster);
        for slot in abandoned {
            self.raw.forget(slot);
            if let Some(connection) = self.connections.remove(&slot) {
                connection.abort();
            }
        }
        told.end
    }

    fn take_stream(&mut self, ended: Result<(Ticket, Outcome), tokio::task::JoinError>) {
        match ended {
            Ok(ended) => self.ended.push(ended),
            // One that was abandoned has been taken out already.
            Err(error) => {
                let whose = self.connections.iter().find(|(_, connection)| connection.id() == error.id());
                if let Some(slot) = whose.map(|(slot, _)| *slot) {
                    tracing::error!(%error, "a probe ended in a way that it must not: please report this defect");
                    let ticket = self.shared.roster().ticket(slot);
                    self.ended.extend(ticket.map(|ticket| (ticket, Outcome::NotAsked("a defect of lbd".into()))));
                }
            }
        }
    }

    /// Takes what has ended and begins what is due. Returns when the next turn has
    /// something to do, if nothing happens before.
    fn turn(&mut self) -> Option<Duration> {
        while let Some(ended) = self.streams.try_join_next() {
            self.take_stream(ended);
        }
        let mut now = self.now();
        let mut of_raw = Vec::new();
        self.raw.receive(&mut of_raw);
        self.raw.expire(now.since_epoch, &mut of_raw);

        let shared = Arc::clone(&self.shared);
        let mut roster = shared.roster();
        for (ticket, outcome) in self.ended.drain(..) {
            if roster.ticket(ticket.slot) == Some(ticket) {
                self.connections.remove(&ticket.slot);
            }
            roster.end(now, ticket, outcome);
        }
        end_raw(&mut roster, now, &mut of_raw);
        let mut starts = Vec::new();
        let due = if now.since_epoch >= self.begins { roster.start_due(now.since_epoch) } else { None };
        if let Some(first) = due {
            roster.fetch(now.since_epoch);
            self.begins = now.since_epoch + self.gather;
            for start in std::iter::once(first).chain(std::iter::from_fn(|| roster.start_due(now.since_epoch))) {
                if is_raw(&start.question.kind) { starts.push(start) } else { self.connect(start) }
            }
        }
        if !starts.is_empty() {
            // Sending takes a while, and nobody who looks is to wait for it.
            drop(roster);
            self.begin(now.since_epoch, &starts, &mut of_raw);
            now = self.now();
            roster = shared.roster();
            end_raw(&mut roster, now, &mut of_raw);
        }
        if roster.has_findings() {
            shared.found.notify_one();
        }
        let deadlines = [roster.next_due().map(|due| due.max(self.begins)), self.raw.next_deadline()];
        deadlines.into_iter().flatten().min()
    }

    fn begin(&mut self, now: Duration, starts: &[Start], ended: &mut Vec<(Slot, Outcome)>) {
        let probes: Vec<_> = starts
            .iter()
            .map(|Start { ticket, question, patience }| raw::Probe {
                slot: ticket.slot,
                question,
                deadline: now + *patience,
                patience: *patience,
            })
            .collect();
        self.raw.begin(&probes, ended);
    }

    fn connect(&mut self, start: Start) {
        let Start { ticket, question, patience } = start;
        let probe = async move { (ticket, stream::ask(&question, patience).await) };
        self.connections.insert(ticket.slot, self.streams.spawn_local(probe));
    }
}

/// A slot has one probe under way, and one that was forgotten does not come back: so
/// what comes back is of the probe that is under way.
fn end_raw(roster: &mut Roster, now: Now, ended: &mut Vec<(Slot, Outcome)>) {
    for (slot, outcome) in ended.drain(..) {
        if let Some(ticket) = roster.ticket(slot) {
            roster.end(now, ticket, outcome);
        }
    }
}

/// Whether packets of our own ask this.
const fn is_raw(kind: &Kind) -> bool {
    matches!(kind, Kind::Ping | Kind::Tcp(Handshake::Half) | Kind::UdpConnect | Kind::Sctp)
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
