//! Two balancers telling each other their flows, without a socket and without a
//! clock: datagrams and moments go in, datagrams come out. Pure but for the
//! [`FlowExchange`] it is given.
//!
//! How they meet: each draws a challenge. Whoever gets a hello of a run it does
//! not know answers with the challenge it was given and one of its own, and
//! keeps nothing. Only who gives back the challenge of the moment is met, and
//! then another one is drawn: so a datagram of an earlier run opens nothing,
//! however often it is sent again. From then on a datagram is welcome if it was
//! sent from that run to this one, has not been here, and was sent by somebody
//! who heard of us a moment ago.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use super::{
    meter::Meter,
    outbox::Outbox,
    passes::Passes,
    peer::{Peer, millis},
    record::{self, Arrived, Record, Who},
    view::PeerState,
    wire::{Datagram, Header, Key, Kind, Refusal},
};
use crate::dataplane::exchange::{
    AdoptRefusal, Adopted, ArrivalPath, FlowExchange, Shared, SharedFlow, SharedPlacement,
};

/// Hellos are so far apart.
pub(super) const HELLO: Duration = Duration::from_millis(250);
/// Hellos of runs that are not known are answered so often a second.
const ANSWERS: u32 = 20;
/// Datagrams of data sent at once.
const BURST: usize = 128;
/// Lines of the table looked at in one go, and at most at once. No line has
/// more flows than [`PER_LINE`].
const LINES: u32 = 128;
const LINES_AT_ONCE: u32 = 16384;
const PER_LINE: u32 = 8;
/// Notes read at once, with and without somebody to tell.
const NOTES: usize = 4096;
const NOTES_UNTOLD: usize = 1 << 16;

/// How clients of each VIP reach this balancer.
pub type Paths = BTreeMap<IpAddr, ArrivalPath>;

/// Who this balancer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Drawn at random at each start; not 0.
    pub epoch: u64,
    /// Seed of the flow hashes.
    pub hash_seed: u64,
}

/// Something worth a line in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// Both hear each other. True: for the first time in this run of the other one.
    PeerAppeared(bool),
    /// Nothing was heard of it for a second, or it does not hear us.
    PeerLost,
    /// Both hash flows in different ways.
    SeedsDiffer,
    /// The first datagram refused for that reason in a minute.
    Refused(Refusal),
}

/// A hello to somebody who is not met yet.
#[derive(Clone, Copy)]
struct Answer {
    to: u64,
    challenge: u64,
    clock: u32,
}

/// One end.
pub struct Session {
    key: Key,
    pub(super) epoch: u64,
    pub(super) seed: u64,
    /// Of the last datagram.
    sequence: u64,
    challenges: u64,
    challenge: u64,
    pub(super) peer: Option<Peer>,
    pub(super) state: PeerState,
    pub(super) since: Duration,
    hello_due: Duration,
    pending: Vec<Answer>,
    /// When the second began in which answers are counted, and how many there were.
    answers: (Duration, u32),
    pub(super) outbox: Outbox,
    pub(super) passes: Passes,
    pub(super) meter: Meter,
    events: Vec<Event>,
}

impl Session {
    /// One end, with nobody at the other. `rescan`: all flows are told again
    /// that often.
    #[must_use]
    pub fn new(key: Key, identity: Identity, rescan: Duration) -> Self {
        let seed = key.number(b"seed", [identity.hash_seed, 0]);
        let mut session = Self {
            key,
            epoch: identity.epoch,
            seed,
            sequence: 0,
            challenges: 0,
            challenge: 0,
            peer: None,
            state: PeerState::Absent,
            since: Duration::ZERO,
            hello_due: Duration::ZERO,
            pending: Vec::new(),
            answers: (Duration::ZERO, 0),
            outbox: Outbox::default(),
            passes: Passes::new(rescan),
            meter: Meter::default(),
            events: Vec::new(),
        };
        session.draw_challenge();
        session
    }

    /// Whether the other balancer is there.
    #[must_use]
    pub fn is_peer_present(&self) -> bool {
        self.state == PeerState::Present
    }

    /// What happened since the last time. Few: whatever strangers can cause is
    /// told once a minute.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    fn draw_challenge(&mut self) {
        self.challenges += 1;
        // 0 would be the answer of somebody who has heard of no challenge.
        self.challenge = self.key.number(b"challenge", [self.epoch, self.challenges]).max(1);
    }

    /// Takes a datagram.
    pub fn receive(&mut self, now: Duration, bytes: &[u8], exchange: &dyn FlowExchange, paths: &Paths) {
        let welcome = self.key.open(bytes).and_then(|datagram| {
            self.welcome(now, &datagram)?;
            Ok(datagram)
        });
        match welcome {
            Ok(datagram) => {
                self.meter.received.datagrams += 1;
                self.meter.received.bytes += bytes.len() as u64;
                if datagram.header.sequence != 0 {
                    self.take(now, &datagram, exchange, paths);
                }
                self.follow_presence(now);
            }
            Err(refusal) => {
                if self.meter.refuse(now, refusal) {
                    self.events.push(Event::Refused(refusal));
                }
            }
        }
    }

    /// Whether a genuine datagram is welcome.
    fn welcome(&mut self, now: Duration, datagram: &Datagram<'_>) -> Result<(), Refusal> {
        let header = &datagram.header;
        if header.sender == self.epoch {
            return Err(Refusal::Reflected);
        }
        let Some(peer) = self.peer.as_ref().filter(|peer| peer.epoch == header.sender && header.sequence != 0) else {
            return self.meet(now, datagram);
        };
        let welcome = peer.welcome(now, header, self.epoch);
        if welcome == Err(Refusal::Stale)
            && let Some(who) = who_says_hello(datagram)
        {
            // After a silence, each finds the other stale. To answer is to be
            // heard, and who has heard of us is fresh.
            self.answer(now, Answer { to: header.sender, challenge: who.challenge, clock: header.clock });
        }
        welcome
    }

    /// Somebody who is not met, or not yet, or who has not met us.
    fn meet(&mut self, now: Duration, datagram: &Datagram<'_>) -> Result<(), Refusal> {
        let header = &datagram.header;
        let who = who_says_hello(datagram).ok_or(Refusal::Unacquainted)?;
        let is_peer = self.peer.as_ref().is_some_and(|peer| peer.epoch == header.sender);
        if header.receiver == self.epoch && who.answer == self.challenge {
            if !is_peer {
                self.meter.lost_before += self.peer.as_ref().map_or(0, |peer| peer.window.lost());
                self.peer = Some(Peer::new(now, header, &who));
                self.set_absent(now);
                self.meter.peer_starts += 1;
                if who.seed != self.seed {
                    self.events.push(Event::SeedsDiffer);
                }
            }
            if let Some(peer) = &mut self.peer {
                peer.hear(now, header);
                peer.challenge = who.challenge;
            }
            self.draw_challenge();
            self.hello_due = now;
            return Ok(());
        }
        if is_peer {
            return Err(Refusal::Replayed);
        }
        self.answer(now, Answer { to: header.sender, challenge: who.challenge, clock: header.clock });
        if who.answer == 0 { Ok(()) } else { Err(Refusal::Unacquainted) }
    }

    fn answer(&mut self, now: Duration, answer: Answer) {
        let (second, count) = &mut self.answers;
        if now.saturating_sub(*second) >= Duration::from_secs(1) {
            (*second, *count) = (now, 0);
        }
        if *count < ANSWERS {
            *count += 1;
            self.pending.push(answer);
        }
    }

    /// What a welcome datagram says.
    fn take(&mut self, now: Duration, datagram: &Datagram<'_>, exchange: &dyn FlowExchange, paths: &Paths) {
        let is_newest = self.peer.as_mut().is_some_and(|peer| peer.arrives(now, &datagram.header));
        for record in record::read(datagram.body) {
            match record {
                Record::Flow(flow) => self.adopt(&flow, exchange, paths),
                Record::Placement(placement) => self.adopt_placement(&placement, exchange),
                Record::Arrived(arrived) => self.learn_what_arrived(now, arrived),
                Record::Who(who) if is_newest => {
                    if let Some(peer) = &mut self.peer {
                        (peer.challenge, peer.seed, peer.flows) = (who.challenge, who.seed, who.flows);
                    }
                }
                Record::Who(_) => {}
                Record::PassBegins { pass } => {
                    if let Some(peer) = &mut self.peer {
                        peer.pass = Some(pass);
                    }
                }
                Record::PassEnds { flows, placements, .. } => {
                    if let Some(peer) = &mut self.peer {
                        (peer.pass, peer.pass_flows, peer.pass_placements) = (None, Some(flows), Some(placements));
                        peer.passes += 1;
                    }
                }
                Record::Unknown(_) => self.meter.unknown_records += 1,
                Record::Malformed(_) => self.meter.malformed_records += 1,
            }
        }
    }

    fn adopt(&mut self, flow: &SharedFlow, exchange: &dyn FlowExchange, paths: &Paths) {
        let adopted = match paths.get(&flow.vip) {
            Some(path) => exchange.adopt(flow, *path),
            None => Adopted::Refused(AdoptRefusal::NoPath),
        };
        self.meter.adopt(adopted);
    }

    /// A fingerprint means something under the seed that it was made with only.
    fn adopt_placement(&mut self, placement: &SharedPlacement, exchange: &dyn FlowExchange) {
        let same_seed = self.peer.as_ref().is_some_and(|peer| peer.seed == self.seed);
        let adopted =
            if same_seed { exchange.adopt_placement(placement) } else { Adopted::Refused(AdoptRefusal::OtherSeed) };
        self.meter.adopt_placement(adopted);
    }

    fn learn_what_arrived(&mut self, now: Duration, arrived: Arrived) {
        if let Some(peer) = &mut self.peer {
            // A report may be overtaken by a later one.
            if peer.told.is_none_or(|told| told.highest <= arrived.highest) {
                peer.told = Some(arrived);
            }
        }
        if self.outbox.arrived(&arrived) {
            self.gave_up(now);
        }
    }

    /// Something will not arrive.
    fn gave_up(&mut self, now: Duration) {
        if let Some(pass) = &mut self.passes.current {
            pass.has_failed = true;
        }
        self.passes.something_was_lost(now);
    }

    /// Notices that the other one came or went.
    fn follow_presence(&mut self, now: Duration) {
        let Some(peer) = &mut self.peer else { return };
        let is_there = peer.hears_us && peer.is_heard(now);
        if is_there && self.state == PeerState::Absent {
            self.events.push(Event::PeerAppeared(std::mem::take(&mut peer.is_first_time)));
            (self.state, self.since) = (PeerState::Present, now);
            self.passes.peer_appeared(now);
        } else if !is_there && self.state == PeerState::Present {
            self.set_absent(now);
        }
    }

    fn set_absent(&mut self, now: Duration) {
        if self.state == PeerState::Present {
            self.events.push(Event::PeerLost);
            (self.state, self.since) = (PeerState::Absent, now);
        }
        // Whoever comes back is told everything.
        self.outbox.clear();
        self.passes.clear();
    }

    /// Collects what there is to tell. To be called every few milliseconds.
    pub fn gather(&mut self, now: Duration, exchange: &mut dyn FlowExchange) {
        self.follow_presence(now);
        self.gather_notes(now, exchange);
        if self.is_peer_present() {
            self.gather_pass(now, exchange);
        }
    }

    fn gather_notes(&mut self, now: Duration, exchange: &mut dyn FlowExchange) {
        let is_told = self.is_peer_present();
        let limit = if is_told { NOTES.min(self.outbox.live_room()) } else { NOTES_UNTOLD };
        let drained = exchange.drain(limit, &mut |shared| {
            if is_told {
                self.outbox.push_live(now, shared);
            }
        });
        if !is_told {
            self.meter.untold += drained.notes as u64;
        }
        if self.meter.notes_lost(drained.lost) && is_told {
            self.passes.something_was_lost(now);
        }
    }

    fn gather_pass(&mut self, now: Duration, exchange: &dyn FlowExchange) {
        if let Some(pass) = self.passes.begin(now) {
            self.outbox.begin_pass(pass);
        }
        let Some(pass) = &mut self.passes.current else { return };
        let mut lines = 0;
        while !pass.is_through && lines < LINES_AT_ONCE && self.outbox.bulk_room() >= (LINES * PER_LINE) as usize {
            let (mut flows, mut placements) = (0, 0);
            let more = exchange.scan(&mut pass.cursor, LINES, &mut |shared| {
                match shared {
                    Shared::Flow(_) => flows += 1,
                    Shared::Placement(_) => placements += 1,
                }
                self.outbox.push_bulk(shared);
            });
            pass.flows += flows;
            pass.placements += placements;
            pass.is_through = !more;
            lines += LINES;
        }
    }

    /// Sends what is due. `send` tells whether the network took it.
    pub fn transmit(&mut self, now: Duration, send: &mut dyn FnMut(&[u8]) -> bool) {
        self.follow_presence(now);
        for answer in std::mem::take(&mut self.pending) {
            self.send_answer(now, answer, send);
        }
        if now >= self.hello_due {
            self.hello_due = now + HELLO;
            self.send_hello(now, send);
        }
        if self.peer.as_ref().is_some_and(|peer| peer.is_report_due(now)) {
            let mut body = Vec::new();
            self.write_report(&mut body);
            self.send(now, Kind::Report, &body, send);
        }
        if self.is_peer_present() {
            self.transmit_data(now, send);
            self.follow_pass(now);
        }
    }

    fn transmit_data(&mut self, now: Duration, send: &mut dyn FnMut(&[u8]) -> bool) {
        if self.outbox.find_overdue(now) {
            self.gave_up(now);
        }
        for _ in 0..BURST {
            let Some(parcel) = self.outbox.next(now) else { break };
            self.send(now, parcel.kind, &parcel.body, send);
            self.meter.sent.flows += u64::from(parcel.flows);
            self.meter.sent.placements += u64::from(parcel.placements);
            self.outbox.sent(now, self.sequence, parcel);
        }
        if self.meter.dropped(self.outbox.losses.dropped) {
            self.gave_up(now);
        }
    }

    fn follow_pass(&mut self, now: Duration) {
        let has_arrived = self.outbox.pass_has_arrived();
        match &mut self.passes.current {
            Some(pass) if pass.is_through && has_arrived => {
                if pass.has_failed {
                    self.passes.abandon(now);
                } else if !pass.is_told {
                    pass.is_told = true;
                    self.outbox.end_pass(pass.number, pass.flows, pass.placements);
                } else {
                    self.passes.finish(now);
                }
            }
            _ => {}
        }
    }

    fn send_answer(&mut self, now: Duration, answer: Answer, send: &mut dyn FnMut(&[u8]) -> bool) {
        let mut body = Vec::new();
        record::write_who(&self.who(answer.challenge), &mut body);
        let header = Header {
            kind: Kind::Hello,
            hears: false,
            sender: self.epoch,
            receiver: answer.to,
            sequence: 0,
            clock: millis(now),
            echo: answer.clock,
        };
        self.seal(&header, &body, send);
    }

    fn send_hello(&mut self, now: Duration, send: &mut dyn FnMut(&[u8]) -> bool) {
        let mut body = Vec::new();
        let answer = self.peer.as_ref().map_or(0, |peer| peer.challenge);
        record::write_who(&self.who(answer), &mut body);
        self.write_report(&mut body);
        self.send(now, Kind::Hello, &body, send);
    }

    fn who(&self, answer: u64) -> Who {
        let flows = self.passes.last.map(|pass| pass.flows);
        Who { challenge: self.challenge, answer, seed: self.seed, flows }
    }

    fn write_report(&mut self, body: &mut Vec<u8>) {
        let Some(peer) = &mut self.peer else { return };
        peer.unreported = 0;
        let (adopted, refused) = self.meter.adopted_and_refused();
        record::write_arrived(&Arrived { adopted, refused, ..Arrived::of(&peer.window) }, body);
    }

    /// Sends under the next sequence, to the other one if there is one.
    fn send(&mut self, now: Duration, kind: Kind, body: &[u8], send: &mut dyn FnMut(&[u8]) -> bool) {
        self.sequence += 1;
        let peer = self.peer.as_ref();
        let header = Header {
            kind,
            hears: peer.is_some_and(|peer| peer.is_heard(now)),
            sender: self.epoch,
            receiver: peer.map_or(0, |peer| peer.epoch),
            sequence: self.sequence,
            clock: millis(now),
            echo: peer.map_or(0, |peer| peer.clock),
        };
        self.seal(&header, body, send);
    }

    fn seal(&mut self, header: &Header, body: &[u8], send: &mut dyn FnMut(&[u8]) -> bool) {
        let mut datagram = Vec::with_capacity(super::wire::MAX_DATAGRAM);
        self.key.seal(header, body, &mut datagram);
        if send(&datagram) {
            self.meter.sent.datagrams += 1;
            self.meter.sent.bytes += datagram.len() as u64;
        } else {
            // As good as lost on the way; what matters is sent again.
            self.meter.not_sent += 1;
        }
    }
}

fn who_says_hello(datagram: &Datagram<'_>) -> Option<Who> {
    let is_hello = datagram.header.kind == Kind::Hello && datagram.header.sender != 0;
    record::read(datagram.body).filter(|_| is_hello).find_map(|record| match record {
        Record::Who(who) => Some(who),
        _ => None,
    })
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
