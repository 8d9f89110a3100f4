//! The thread: it waits for a deadline, a datagram or a word, and lets the
//! state machines act.
//!
//! One turn: adverts of ours that are due leave first; then what has been
//! heard is taken in; then whoever has waited in vain takes over; then
//! announcements fill the time that is left. So nothing that comes in delays
//! an advert, and nobody takes over from a router whose advert lies unread in
//! a socket because the thread itself was late.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use super::{
    Options, clock,
    instance::RouterKey,
    limiter::Limiter,
    mailbox::{Ending, Mail, Mailbox},
    outbox::Outbox,
    punctuality::Punctuality,
    realtime,
    report::{Report, World},
    station::{Part, Station},
    waker::{Awoken, Waker},
    wire::{FrameSocket, Inbox, Wire},
};
use crate::{
    packet::refusal::Refusal,
    router::{Action, Input},
    time::Instant,
    types::{Family, State},
};

/// The token of the mailbox. Wires have theirs from [`wire_token`].
const MAIL: u64 = u64::MAX - 1;

/// When to look again after somebody was in the mailbox.
const MAIL_AGAIN: Duration = Duration::from_micros(200);

/// When to try again to open a socket that could not be.
pub(super) const SOCKET_AGAIN: Duration = Duration::from_secs(1);

/// Everything the thread works with.
pub(super) struct Engine<W> {
    pub(super) world: W,
    pub(super) stations: Vec<Station>,
    pub(super) wires: Vec<Wire>,
    pub(super) waker: Waker,
    pub(super) frames: FrameSocket,
    pub(super) inbox: Inbox,
    pub(super) outbox: Outbox,
    /// A buffer, empty between any two inputs.
    pub(super) actions: Vec<Action>,
    pub(super) refusals: Limiter<(Option<RouterKey>, IpAddr, Refusal)>,
    pub(super) troubles: Limiter<Trouble>,
    mailbox: Arc<Mailbox>,
    mail_missed: bool,
    pub(super) sockets_missing: Option<Instant>,
    punctuality: Punctuality,
    ending: Option<Ending>,
}

/// What is reported of a router at a limited rate, beside refusals.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Trouble {
    SendFailed(RouterKey),
    Deaf(RouterKey),
}

/// The token of a wire.
pub(super) fn wire_token((ifindex, family): (u32, Family)) -> u64 {
    u64::from(ifindex) << 1 | u64::from(family == Family::V6)
}

impl<W: World> Engine<W> {
    /// Opens what does not depend on any router.
    pub(super) fn new(world: W, mailbox: Arc<Mailbox>) -> io::Result<Self> {
        let waker = Waker::new()?;
        waker.watch(&*mailbox, MAIL)?;
        Ok(Self {
            world,
            stations: Vec::new(),
            wires: Vec::new(),
            waker,
            frames: FrameSocket::open()?,
            inbox: Inbox::new(),
            outbox: Outbox::new(),
            actions: Vec::with_capacity(8),
            refusals: Limiter::new(),
            troubles: Limiter::new(),
            mailbox,
            mail_missed: false,
            sockets_missing: None,
            punctuality: Punctuality::new(clock::now()),
            ending: None,
        })
    }

    /// Runs until told to end.
    pub(super) fn run(mut self, options: Options) -> io::Result<()> {
        if options.realtime {
            let claimed = realtime::claim();
            self.world.report(Report::Realtime(claimed));
        }
        let mut awoken = Awoken::default();
        loop {
            let until = self.deadline();
            self.punctuality.expect(until);
            self.waker.wait(until, &mut awoken)?;
            let now = clock::now();
            self.turn(now, &awoken)?;
            match self.ending {
                Some(Ending::Silent) => return Ok(()),
                Some(Ending::Graceful { by }) if self.stations.is_empty() || by <= now => {
                    self.let_go();
                    return Ok(());
                }
                _ => {}
            }
        }
    }

    /// When to wake at the latest.
    fn deadline(&self) -> Option<Instant> {
        let stations = self.stations.iter().flat_map(|station| [station.deadline(), station.announcer.deadline()]);
        let graceful = match self.ending {
            Some(Ending::Graceful { by }) => Some(by),
            _ => None,
        };
        let mail = self.mail_missed.then(|| clock::now().plus(MAIL_AGAIN));
        let others = [graceful, mail, self.sockets_missing, self.refusals.deadline(), self.troubles.deadline()];
        let asked = stations.chain(others).flatten().min();
        let pulse = self.active_downs().min().map(|down| self.punctuality.pulse(down));
        asked.into_iter().chain(pulse).min()
    }

    /// How long each of the routers that take part waits for another.
    fn active_downs(&self) -> impl Iterator<Item = Duration> + '_ {
        let routers = self.stations.iter().filter_map(|station| station.router.as_ref());
        routers.filter(|router| router.state() != State::Initialize).map(crate::router::Router::active_down)
    }

    fn turn(&mut self, now: Instant, awoken: &Awoken) -> io::Result<()> {
        self.notice_lateness(now);
        self.time_out(now, |state| state == State::Active);
        if self.mail_missed || awoken.by(MAIL) {
            self.read_mail(now)?;
        }
        self.listen(now, awoken);
        self.time_out(now, |_| true);
        self.announce();
        self.expire(now);
        if self.sockets_missing.is_some_and(|at| at <= now) {
            self.open_wires(now);
        }
        self.bury(now);
        Ok(())
    }

    /// Tells the routers for which the thread has been away too long: others
    /// may have taken over, and may be heard soon.
    fn notice_lateness(&mut self, now: Instant) {
        let shortest = self.active_downs().min();
        let away = self.punctuality.wake(now);
        for index in 0..self.stations.len() {
            let Some(router) = &self.stations[index].router else { continue };
            if router.state() != State::Initialize && away > router.active_down() {
                self.feed(index, now, Input::Stalled(away));
            }
        }
        if let Some(by) = self.punctuality.worth_telling(now, shortest) {
            self.world.report(Report::Late { by });
        }
    }

    /// Lets the routers act whose deadline was over when this turn began, and
    /// which are in such a state.
    fn time_out(&mut self, turn: Instant, which: impl Fn(State) -> bool) {
        for index in 0..self.stations.len() {
            let station = &self.stations[index];
            let Some(deadline) = station.deadline().filter(|deadline| *deadline <= turn) else { continue };
            if !which(station.state()) {
                continue;
            }
            let sent = station.counters.sent;
            self.feed(index, clock::now(), Input::Timeout);
            let station = &mut self.stations[index];
            if station.counters.sent > sent {
                station.lateness.record(clock::now().since(deadline));
            }
        }
    }

    fn read_mail(&mut self, now: Instant) -> io::Result<()> {
        self.mailbox.hear()?;
        let mail = self.mailbox.take();
        self.mail_missed = mail.is_none();
        let Some(Mail { wish, commands, questions, ending }) = mail else { return Ok(()) };
        if let Some(wish) = wish
            && self.ending.is_none()
        {
            self.wish(now, wish);
        }
        for (key, command) in commands {
            self.command(now, key, command);
        }
        match ending {
            Some(Ending::Graceful { .. }) if self.ending.is_none() => {
                self.ending = ending;
                self.wish(now, Vec::new());
            }
            Some(Ending::Silent) => self.ending = ending,
            _ => {}
        }
        for question in questions {
            // Who asked may have run out of patience.
            let _ = question.try_send(self.stations.iter().map(Station::snapshot).collect());
        }
        Ok(())
    }

    /// Tells what was held back, where the time for that has come.
    fn expire(&mut self, now: Instant) {
        let world = &mut self.world;
        self.refusals.expire(now, |(key, source, refusal), suppressed| {
            world.report(Report::Refused { key, source, refusal, suppressed });
        });
        // Of these the next one tells, if there is one.
        self.troubles.expire(now, |_, _| {});
    }

    /// Puts aside the routers that have left, and begins their successors.
    fn bury(&mut self, now: Instant) {
        if !self.stations.iter().any(|station| station.part == Part::Finished) {
            return;
        }
        let mut successors = Vec::new();
        self.stations.retain_mut(|station| {
            let goes = station.part == Part::Finished;
            if goes {
                successors.extend(station.successor.take());
            }
            !goes
        });
        self.stations.extend(successors.into_iter().map(|instance| Station::new(*instance)));
        self.open_wires(now);
    }

    /// The time for leaving is over: what is still carried is let go.
    fn let_go(&mut self) {
        for station in &self.stations {
            if station.is_carrying() {
                self.world.set_active(station.instance.key, false);
            }
        }
    }
}
