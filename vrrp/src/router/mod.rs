//! One virtual router on one node, as a state machine without clock or socket.
//!
//! It is told what happens and when, and says what is to be done. All its
//! timers come down to one [`Router::deadline`], against which
//! [`Input::Timeout`] is checked: an expiry that is too late or too many does
//! nothing. Where it does more than the RFC asks, `docs/vrrp.md` says how the
//! wire stays as it was.

mod hear;
mod timers;
mod words;

use core::net::IpAddr;
use core::time::Duration;

use self::timers::Timers;
pub use self::words::{Action, Anomaly, Heard, Input, Reason, RouterFacts};
use crate::config::RouterConfig;
use crate::packet::Advert;
use crate::time::Instant;
use crate::types::{Priority, State, Version};

/// How much longer than the slowest Backup's `Skew_Time` a leaving Active
/// waits to hear from it; also how long it listens after it spoke again.
const GRACE: Duration = Duration::from_millis(50);
/// Announcements because of conflicts are at least this far apart.
const ANNOUNCE_GAP: Duration = Duration::from_millis(100);
/// Adverts that answer others are at least this far apart, or a quarter of the
/// interval if that is less. It bounds what two routers do that each take
/// themselves for the higher one.
const ANSWER_GAP: Duration = Duration::from_millis(10);
/// An anomaly of one kind is told once in this time.
const NOTICE_GAP: Duration = Duration::from_secs(60);

/// One virtual router on this node.
#[derive(Clone, Debug)]
pub struct Router {
    config: RouterConfig,
    /// The address it sends from; decides between equal priorities.
    primary: IpAddr,
    /// The priority after what is tracked, once something was.
    tracked: Option<Priority>,
    state: State,
    reason: Reason,
    since: Instant,
    carrying: bool,
    /// Between Startup and Shutdown.
    started: bool,
    fault: bool,
    paused: bool,
    yielded: bool,
    /// Shutdown waits for the addresses to be taken.
    finishing: bool,
    /// `Active_Adver_Interval`: the own one, until an advert says another.
    learned: Duration,
    timers: Timers,
    /// What the end of the down timer will mean.
    expiry: Reason,
    preempt_from: Option<Instant>,
    answered: Option<Instant>,
    /// The next advert answers somebody who came too soon after the last.
    owes_answer: bool,
    announced: Option<Instant>,
    heard: Option<Heard>,
    noticed: [Option<Instant>; Anomaly::KINDS],
}

impl Router {
    /// A router that takes no part yet. `config` is as its check demands.
    #[must_use]
    pub fn new(config: RouterConfig, primary: IpAddr) -> Self {
        Self {
            primary,
            tracked: None,
            state: State::Initialize,
            reason: Reason::New,
            since: Instant::default(),
            carrying: false,
            started: false,
            fault: false,
            paused: false,
            yielded: false,
            finishing: false,
            learned: config.interval,
            timers: Timers::default(),
            expiry: Reason::Silence,
            preempt_from: None,
            answered: None,
            owes_answer: false,
            announced: None,
            heard: None,
            noticed: [None; Anomaly::KINDS],
            config,
        }
    }

    /// Takes one input in, and appends what is to be done about it: at most
    /// eight actions.
    pub fn handle(&mut self, now: Instant, input: Input<'_>, out: &mut Vec<Action>) {
        match input {
            Input::Startup => self.start(now, out),
            Input::Resume { held } => self.resume(now, held, out),
            Input::Shutdown => self.shut_down(now, out),
            Input::Advert(advert) => self.hear(now, advert, out),
            Input::Timeout => self.time_out(now, out),
            Input::Configure(config) => self.configure(now, config, out),
            Input::PrimaryAddress(primary) => self.move_primary(now, primary, out),
            Input::Fault(fault) => self.set_fault(now, fault, out),
            Input::Priority(priority) => self.track(now, priority, out),
            Input::Stalled(by) => self.stalled(now, by, out),
            Input::Failover => self.fail_over(now, out),
            Input::Pause => self.pause(now, out),
            Input::Resumed => self.unpause(now, out),
        }
    }

    /// When the router will do something by itself, if nothing happens before.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.timers.earliest()
    }

    /// Its state.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Whether the data path is to work for the addresses: what the last
    /// [`Action::SetActive`] said. It outlasts the state Active while another
    /// is expected to take over.
    #[must_use]
    pub const fn is_carrying(&self) -> bool {
        self.carrying
    }

    /// Its priority after what is tracked: 255 for an owner, and for nobody else.
    #[must_use]
    pub fn priority(&self) -> Priority {
        if self.config.priority.is_owner() {
            return Priority::OWNER;
        }
        self.tracked.unwrap_or(self.config.priority).min(Priority::HIGHEST)
    }

    /// `Active_Down_Interval`: how long it waits to hear an Active.
    #[must_use]
    pub fn active_down(&self) -> Duration {
        self.learned * 3 + self.skew()
    }

    /// What there is to know about it.
    #[must_use]
    pub fn facts(&self) -> RouterFacts {
        RouterFacts {
            state: self.state,
            reason: self.reason,
            since: self.since,
            carrying: self.carrying,
            leaving: self.carrying && self.state != State::Active,
            priority: self.priority(),
            configured_priority: self.config.priority,
            learned_interval: self.learned,
            skew: self.skew(),
            active_down: self.active_down(),
            deadline: self.deadline(),
            preempt_from: self.preempt_from,
            paused: self.paused,
            yielded: self.yielded,
            fault: self.fault,
            heard: self.heard,
        }
    }

    /// What it is configured to be.
    #[must_use]
    pub const fn config(&self) -> &RouterConfig {
        &self.config
    }
}

// What it is told from outside.
impl Router {
    fn start(&mut self, now: Instant, out: &mut Vec<Action>) {
        self.started = true;
        self.finishing = false;
        self.join(now, Reason::Startup, out);
    }

    /// Goes on as the Active that it was. If others may have given it up they
    /// are listened for first, with the addresses kept until one is heard.
    fn resume(&mut self, now: Instant, held: Duration, out: &mut Vec<Action>) {
        if self.started || self.state != State::Initialize {
            return;
        }
        self.started = true;
        self.finishing = false;
        if !self.takes_part() {
            self.set_active(true, out);
            out.push(Action::Send { priority: 0 });
            self.timers.leave = Some(now.plus(self.handover()));
        } else if held < self.active_down() {
            self.promote(now, Reason::Resumed, out);
        } else {
            self.set_active(true, out);
            self.listen(now, Reason::ResumedLate, out);
        }
    }

    fn shut_down(&mut self, now: Instant, out: &mut Vec<Action>) {
        self.started = false;
        self.finishing = true;
        self.part(now, Reason::Shutdown, out);
        if self.timers.leave.is_none() {
            self.finish(out);
        }
    }

    fn set_fault(&mut self, now: Instant, fault: bool, out: &mut Vec<Action>) {
        self.fault = fault;
        if fault {
            self.part(now, Reason::Fault, out);
        } else {
            self.join(now, Reason::FaultOver, out);
        }
    }

    fn pause(&mut self, now: Instant, out: &mut Vec<Action>) {
        self.paused = true;
        self.part(now, Reason::Paused, out);
    }

    fn unpause(&mut self, now: Instant, out: &mut Vec<Action>) {
        self.paused = false;
        self.yielded = false;
        self.join(now, Reason::Unpaused, out);
    }

    /// Leaves like a router that stops, but stays as a Backup that does not
    /// preempt. If nobody takes over it is Active again after `Active_Down`,
    /// having worked for the addresses all the while.
    fn fail_over(&mut self, now: Instant, out: &mut Vec<Action>) {
        if self.state == State::Active {
            self.yielded = true;
            out.push(Action::Send { priority: 0 });
            self.listen(now, Reason::Failover, out);
        }
    }

    /// After a pause in which another may have taken over, listens before it
    /// claims. Who does not preempt leaves the claim to whoever has it by now;
    /// who does speaks again an interval later, and announces a little after,
    /// if no higher one was heard.
    fn stalled(&mut self, now: Instant, by: Duration, out: &mut Vec<Action>) {
        if self.state == State::Initialize || by <= self.active_down() {
            return;
        }
        out.push(Action::Noticed(Anomaly::Stalled { by }));
        match self.state {
            State::Active if self.preempts() => {
                let speaks = now.plus(self.config.interval);
                self.timers.advert = Some(speaks);
                self.timers.announce = Some(speaks.plus(GRACE));
            }
            State::Active => self.listen(now, Reason::Stalled, out),
            _ => self.wait(now, self.active_down(), Reason::Silence),
        }
    }

    fn track(&mut self, now: Instant, priority: Priority, out: &mut Vec<Action>) {
        let before = self.priority();
        self.tracked = Some(priority);
        if self.priority() != before {
            self.speak_up(now, out);
        }
    }

    fn move_primary(&mut self, now: Instant, primary: IpAddr, out: &mut Vec<Action>) {
        if self.primary != primary {
            self.primary = primary;
            self.speak_up(now, out);
        }
    }

    fn configure(&mut self, now: Instant, config: RouterConfig, out: &mut Vec<Action>) {
        if self.config == config {
            return;
        }
        let (down_before, was_own) = (self.active_down(), self.learned == self.config.interval);
        let new_addresses = self.config.addresses != config.addresses;
        self.config = config;
        if was_own || self.config.version == Version::V2 || self.state != State::Backup {
            self.learned = self.config.interval;
        }
        match self.state {
            State::Active => {
                self.speak_up(now, out);
                if new_addresses {
                    self.announce(now, out);
                }
            }
            State::Backup if self.priority().is_owner() && !self.yielded => {
                self.promote(now, Reason::Configured, out);
            }
            State::Backup if self.active_down() != down_before => self.wait(now, self.active_down(), self.expiry),
            _ => {}
        }
    }
}

// What it does by itself.
impl Router {
    fn time_out(&mut self, now: Instant, out: &mut Vec<Action>) {
        if Timers::take(&mut self.timers.leave, now) {
            self.set_active(false, out);
            out.push(Action::Noticed(Anomaly::NobodyTookOver));
            self.finish(out);
        }
        if Timers::take(&mut self.timers.down, now) {
            self.promote(now, self.expiry, out);
        }
        if let Some(due) = self.timers.advert.filter(|due| *due <= now) {
            self.send_and_restart(now, due, out);
        }
        if Timers::take(&mut self.timers.announce, now) {
            self.announce(now, out);
        }
    }

    /// The adverts keep their beat, unless this one is so late that the next
    /// would be due already.
    fn send_and_restart(&mut self, now: Instant, due: Instant, out: &mut Vec<Action>) {
        out.push(Action::Send { priority: self.priority().get() });
        let on_beat = due.plus(self.config.interval);
        let next = if on_beat > now { on_beat } else { now.plus(self.config.interval) };
        self.timers.advert = Some(next);
        if core::mem::take(&mut self.owes_answer) {
            self.answered = Some(now);
        }
    }
}

// The moves between the states.
impl Router {
    fn takes_part(&self) -> bool {
        self.started && !self.fault && !self.paused
    }

    /// Whether a lower Active is taken over from. An owner always does.
    fn preempts(&self) -> bool {
        !self.yielded && (self.config.preempt || self.priority().is_owner())
    }

    fn skew(&self) -> Duration {
        self.priority().skew(self.config.version, self.learned)
    }

    /// How long another may need to take over after it was told that this node
    /// leaves.
    fn handover(&self) -> Duration {
        Priority::LOWEST.skew(self.config.version, self.config.interval) + GRACE
    }

    /// Initialize to Backup, or to Active for an owner.
    fn join(&mut self, now: Instant, reason: Reason, out: &mut Vec<Action>) {
        if self.state != State::Initialize || !self.takes_part() {
            return;
        }
        if self.priority().is_owner() && !self.yielded {
            self.promote(now, reason, out);
        } else {
            self.listen(now, reason, out);
        }
    }

    /// Any state to Initialize. What it worked for it goes on working for,
    /// until another is heard or has had its time.
    fn part(&mut self, now: Instant, reason: Reason, out: &mut Vec<Action>) {
        if self.state == State::Initialize {
            return;
        }
        if self.state == State::Active {
            out.push(Action::Send { priority: 0 });
        }
        self.timers = Timers::default();
        self.timers.leave = self.carrying.then(|| now.plus(self.handover()));
        self.forget_others();
        self.move_to(now, State::Initialize, reason, out);
    }

    /// Any state to Backup, with a full `Active_Down` by the own interval ahead.
    fn listen(&mut self, now: Instant, reason: Reason, out: &mut Vec<Action>) {
        self.timers = Timers::default();
        self.forget_others();
        self.wait(now, self.active_down(), Reason::Silence);
        self.move_to(now, State::Backup, reason, out);
    }

    /// Any state to Active: the others hear of it first, then the data path
    /// turns on, then the network is told.
    fn promote(&mut self, now: Instant, reason: Reason, out: &mut Vec<Action>) {
        self.timers = Timers::default();
        self.forget_others();
        self.yielded = false;
        out.push(Action::Send { priority: self.priority().get() });
        self.timers.advert = Some(now.plus(self.config.interval));
        self.set_active(true, out);
        self.announce(now, out);
        self.move_to(now, State::Active, reason, out);
    }

    fn forget_others(&mut self) {
        self.learned = self.config.interval;
        self.preempt_from = None;
        self.owes_answer = false;
    }

    /// Takes an advert for a sign of life: learns its interval, and waits for
    /// the next.
    fn follow(&mut self, now: Instant, advert: &Advert) {
        self.learned = advert.interval;
        self.wait(now, self.active_down(), Reason::Silence);
    }

    fn wait(&mut self, now: Instant, time: Duration, expiry: Reason) {
        self.timers.down = Some(now.plus(time));
        self.expiry = expiry;
    }

    /// Tells the others what changed, if this node is the one that speaks.
    fn speak_up(&mut self, now: Instant, out: &mut Vec<Action>) {
        if self.state == State::Active {
            self.timers.advert = Some(now.plus(self.config.interval));
            self.answer(now, true, out);
        }
    }

    fn announce(&mut self, now: Instant, out: &mut Vec<Action>) {
        self.announced = Some(now);
        out.push(Action::Announce);
    }

    fn set_active(&mut self, active: bool, out: &mut Vec<Action>) {
        self.carrying = active;
        out.push(Action::SetActive(active));
    }

    fn finish(&mut self, out: &mut Vec<Action>) {
        if core::mem::take(&mut self.finishing) {
            out.push(Action::Finished);
        }
    }

    fn move_to(&mut self, now: Instant, to: State, reason: Reason, out: &mut Vec<Action>) {
        let from = core::mem::replace(&mut self.state, to);
        (self.reason, self.since) = (reason, now);
        out.push(Action::Moved { from, to, reason });
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod table;

#[cfg(test)]
#[path = "extension_tests.rs"]
mod extensions;

#[cfg(test)]
#[path = "bus_tests.rs"]
mod bus;
