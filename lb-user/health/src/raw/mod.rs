//! Probes made of packets of our own: PING, TCP half-open, UDP-CONNECT, SCTP.
//!
//! ```text
//! begin ─► flights (who, where, until when) ─► tcp, icmp, sctp (bytes) ─► sockets ─► sys
//! receive ◄─ flights ◄─ tcp, icmp, sctp (meaning) ◄─ filter (in the kernel) ◄─────────┘
//!                   ◄─ errors (ICMP, no such neighbour)
//! ```
//!
//! A few sockets serve all members, and a batch of probes is one system call, so ten
//! thousand members cost little more than their packets. A packet that is not answered is
//! sent again after a second, two, four, as the kernel does, as long as there is time.
//!
//! Invariant others rely on: each probe that was begun comes back exactly once, by
//! [`RawProber::receive`] or [`RawProber::expire`], unless it was forgotten. Whatever a
//! member or anybody else sends, nothing here panics, and only what carries a probe's
//! random number (and, of UDP, comes from its address and port) ends it.

mod checksum;
mod errors;
mod filter;
mod flights;
mod icmp;
mod meaning;
mod net;
mod outbox;
mod packets;
mod poll;
mod sctp;
mod sharing;
mod sockets;
mod sources;
mod sys;
mod tcp;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::AsFd,
    time::Duration,
};

use self::{
    errors::ErrorBox,
    flights::{Due, Flight, Flights},
    meaning::Meaning,
    net::{Dice, Family, Key, Protocol},
    outbox::Unsent,
    packets::{Ends, Payload, Words},
    poll::{Lines, Ready, Way},
    sharing::Passengers,
    sources::Sources,
    sys::{Inbox, Name, Outgoing},
};
use crate::{
    outcome::{Answer, Failure, Outcome},
    question::{Delivery, Handshake, Kind, Question},
};

/// Batches that are taken from one socket before others have their turn: a flood fills a
/// turn with a thousand packets at the most.
const TURN: usize = 8;

/// Errors that are taken from one socket before others have their turn.
const ERRORS_A_TURN: usize = 512;

/// Who is asked, as the engine numbers its members.
pub(crate) type Slot = u32;

/// A probe to begin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe<'a> {
    /// Whose it is; one slot has at most one probe under way.
    pub(crate) slot: Slot,
    /// What is asked.
    pub(crate) question: &'a Question,
    /// When it is given up, since the epoch of the caller's clock.
    pub(crate) deadline: Duration,
    /// How long that is from now, for the failure's text.
    pub(crate) patience: Duration,
}

/// Sockets and probes under way.
#[derive(Debug)]
pub(crate) struct RawProber {
    flights: Flights,
    passengers: Passengers,
    lines: Lines,
    sources: Sources,
    dice: Dice,
    inbox: Inbox,
    errors: ErrorBox,
    /// How often probes have begun.
    turn: u64,
}

impl RawProber {
    /// Opens nothing yet: sockets are opened when the first probe needs them.
    pub(crate) fn new() -> Self {
        Self {
            flights: Flights::default(),
            passengers: Passengers::default(),
            lines: Lines::default(),
            sources: Sources::default(),
            dice: Dice::default(),
            inbox: Inbox::new(),
            errors: ErrorBox::new(),
            turn: 0,
        }
    }

    /// Begins probes. Those that end at once are put into `ended`. Needs a tokio runtime
    /// around it.
    pub(crate) fn begin(&mut self, probes: &[Probe<'_>], ended: &mut Vec<(Slot, Outcome)>) {
        self.turn = self.turn.wrapping_add(1);
        let from = ended.len();
        for probe in probes {
            match self.launch(probe) {
                Ok(Some((way, true))) => self.flush(way, ended),
                Ok(_) => {}
                Err(outcome) => {
                    self.flights.end_slot(probe.slot);
                    ended.push((probe.slot, outcome));
                }
            }
        }
        self.flush_all(ended);
        self.passengers.settle(ended, from);
    }

    /// Waits until [`RawProber::receive`] has something to do.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.lines.readable().await
    }

    /// Takes what has arrived.
    pub(crate) fn receive(&mut self, ended: &mut Vec<(Slot, Outcome)>) {
        let from = ended.len();
        for Ready { line, failed } in self.lines.ready() {
            if failed {
                self.take_errors(line, ended);
            }
            self.take_packets(line, ended);
        }
        self.flush_all(ended);
        self.passengers.settle(ended, from);
    }

    /// Ends the probes whose deadline has come, and sends those again whose packets may
    /// have been lost.
    pub(crate) fn expire(&mut self, now: Duration, ended: &mut Vec<(Slot, Outcome)>) {
        let from = ended.len();
        while let Some(due) = self.flights.take_due(now) {
            match due {
                Due::GiveUp(flight) => {
                    let outcome = match flight.key.protocol {
                        Protocol::Udp => Outcome::Answers(Answer::Silence),
                        protocol => {
                            self.sources.forget(flight.key.ip);
                            let missing = protocol.awaited();
                            Outcome::Fails(Failure::Timeout { patience: flight.patience, missing })
                        }
                    };
                    ended.push((flight.slot, outcome));
                }
                // Without a source address now, or where it cannot be sent, the first one can
                // still be answered.
                Due::SendAgain(flight) => {
                    if let Ok((way, packet)) = self.packet(&flight)
                        && let Some((_, outbox)) = self.lines.outbox(way)
                    {
                        outbox.push(None, packet);
                    }
                }
            }
        }
        self.flush_all(ended);
        self.passengers.settle(ended, from);
    }

    /// When [`RawProber::expire`] has something to do next.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.flights.next_due()
    }

    /// Whether a probe is under way.
    pub(crate) fn awaits_answers(&self) -> bool {
        self.flights.next_due().is_some()
    }

    /// Forgets a member's probe: nothing comes of it any more.
    pub(crate) fn forget(&mut self, slot: Slot) {
        self.flights.end_slot(slot);
        self.passengers.forget(slot);
    }

    /// Takes a probe in and puts its packet into a batch. Returns which way it leaves, and
    /// whether that batch is full; `None` when it goes along with another's.
    fn launch(&mut self, probe: &Probe<'_>) -> Result<Option<(Way, bool)>, Outcome> {
        let protocol = match &probe.question.kind {
            Kind::Tcp(Handshake::Half) => Protocol::Tcp,
            Kind::UdpConnect => Protocol::Udp,
            Kind::Ping => Protocol::Icmp,
            Kind::Sctp => Protocol::Sctp,
            other => {
                let why = format!("{} needs a connection, which packets of our own have not", other.name());
                return Err(Outcome::NotAsked(why.into()));
            }
        };
        let to = net::plain(probe.question.to);
        let scope = if let SocketAddr::V6(v6) = to { v6.scope_id() } else { 0 };
        let port = if protocol == Protocol::Icmp { 0 } else { to.port() };
        self.flights.end_slot(probe.slot);
        self.lines.open(protocol, Family::of(to.ip()), &mut self.dice)?;
        if let Delivery::Link { .. } = probe.question.delivery {
            self.lines.open_link()?;
        }
        let roll = self.dice.roll();
        let key = Key { protocol, ip: to.ip(), port, lane: 0, delivery: probe.question.delivery };
        // Datagrams that begin together leave by one socket, if they can, in few system calls.
        let first = if protocol == Protocol::Udp { self.turn } else { roll >> 32 };
        let lanes = sockets::Line::lanes(protocol);
        let Some(lane) = self.flights.free_lane(key, lanes, first) else {
            let same = |leader: &&Flight| leader.scope == scope;
            let leaders = self.flights.on_lanes(key, lanes, first).filter(same);
            // The one that is waited for longest: another's impatience says little.
            let leader = leaders.max_by_key(|leader| leader.deadline).map(|leader| leader.slot);
            let why = || format!("{lanes} other probes of {to} are under way, all of them another way");
            self.passengers.board(probe.slot, leader.ok_or_else(|| Outcome::NotAsked(why().into()))?);
            return Ok(None);
        };
        let key = Key { lane, ..key };
        let token = match protocol {
            Protocol::Udp => 0,
            Protocol::Icmp => roll,
            // Neither a sequence number nor a tag is 0, which is as random as any other but
            // forbidden for tags.
            Protocol::Tcp | Protocol::Sctp => (roll & 0xffff_ffff).max(1),
        };
        let flight = Flight::new(probe.slot, (key, scope), token, (probe.deadline, probe.patience));
        let (way, packet) = self.packet(&flight)?;
        self.flights.begin(flight);
        let is_full = self.lines.outbox(way).is_some_and(|(_, outbox)| {
            outbox.push(Some(probe.slot), packet);
            outbox.is_full()
        });
        Ok(Some((way, is_full)))
    }

    /// The packet of a probe, and which way it leaves.
    fn packet(&mut self, flight: &Flight) -> Result<(Way, Outgoing), Outcome> {
        let Key { protocol, ip, port, .. } = flight.key;
        let (line, words) = self.words(flight)?;
        if let Some(ends) = self.link_ends(flight)? {
            let payload = packets::payload(protocol, Family::of(ip), ends, words);
            return Ok((Way::Link, frame(flight, ends, &payload)?));
        }
        let (ends, source) = match (protocol, ip) {
            (Protocol::Tcp, IpAddr::V4(to)) => {
                let source = self.sources.towards(to).map_err(|error| Failure::of_io(&error))?;
                (Ends::V4 { source, to }, Some(source))
            }
            _ => (Ends::Kernel, None),
        };
        let to = match protocol {
            Protocol::Udp => sockets::named(ip, port, flight.scope),
            _ => sockets::raw_name(ip, flight.scope),
        };
        let payload = packets::payload(protocol, Family::of(ip), ends, words);
        Ok((Way::Line(line), Outgoing::new(to, source, payload.as_slice())))
    }

    /// The line of a probe, and what its packet says.
    fn words(&mut self, flight: &Flight) -> Result<(usize, Words), Outcome> {
        let Key { protocol, port, lane, .. } = flight.key;
        let closed = || Outcome::NotAsked("its socket is closed".into());
        let at = self.lines.find(&flight.key).ok_or_else(closed)?;
        let line = self.lines.at(at).ok_or_else(closed)?;
        let (ours, theirs) = match protocol {
            Protocol::Tcp | Protocol::Sctp => (line.ear.first.wrapping_add(lane), port),
            Protocol::Udp => (line.port, port),
            Protocol::Icmp => (line.ear.first, lane),
        };
        // Of SCTP, the number that data would begin with.
        let random = match protocol {
            Protocol::Sctp => u32::try_from(self.dice.roll() >> 32).unwrap_or_default(),
            _ => 0,
        };
        Ok((at, Words { ours, theirs, token: flight.token, random }))
    }

    /// The addresses of a probe that goes to an Ethernet address; `None` of one that is routed.
    fn link_ends(&mut self, flight: &Flight) -> Result<Option<Ends>, Outcome> {
        let Delivery::Link { interface, .. } = flight.key.delivery else { return Ok(None) };
        let now = flight.deadline.saturating_sub(flight.patience);
        match self.sources.on(interface, flight.key.ip, now) {
            Ok(source) => Ok(Ends::of(source, flight.key.ip)),
            Err(error) => {
                let family = Family::of(flight.key.ip).name();
                let why = format!("interface {interface} has no {family} address for answers to come to: {error}");
                Err(Outcome::NotAsked(why.into()))
            }
        }
    }

    /// Sends the member of a probe what makes it forget the probe. It needs not arrive: then
    /// the member forgets it by and by.
    fn farewell(&mut self, flight: &Flight, tag: Option<u32>) {
        let sent = (|| -> Result<_, Outcome> {
            let (line, words) = self.words(flight)?;
            let Some(ends) = self.link_ends(flight)? else {
                let farewell = packets::farewell(Ends::Kernel, words, tag);
                let to = sockets::raw_name(flight.key.ip, flight.scope);
                return Ok((Way::Line(line), Outgoing::new(to, None, farewell.as_slice())));
            };
            Ok((Way::Link, frame(flight, ends, &packets::farewell(ends, words, tag))?))
        })();
        if let Ok((way, packet)) = sent
            && let Some((_, outbox)) = self.lines.outbox(way)
        {
            outbox.push(None, packet);
        }
    }

    fn flush_all(&mut self, ended: &mut Vec<(Slot, Outcome)>) {
        for way in self.lines.ways() {
            self.flush(way, ended);
        }
    }

    /// Sends what waits to leave that way.
    fn flush(&mut self, way: Way, ended: &mut Vec<(Slot, Outcome)>) {
        let Some((socket, outbox)) = self.lines.outbox(way) else { return };
        for Unsent { slot, source, error } in outbox.send(socket) {
            let Some(flight) = self.flights.of_slot(slot).cloned() else { continue };
            self.sources.forget(flight.key.ip);
            // The address that it was to be sent from may be gone.
            if source.is_some()
                && let Ok((way, packet)) = self.packet(&flight)
                && packet.source != source
                && let Some((socket, _)) = self.lines.outbox(way)
                && sys::send(socket, &[packet]).is_ok()
            {
                continue;
            }
            self.flights.end_slot(slot);
            ended.push((slot, Failure::of_io(&error)));
        }
    }

    fn take_packets(&mut self, at: usize, ended: &mut Vec<(Slot, Outcome)>) {
        let mut farewells = Vec::new();
        for _ in 0..TURN {
            let Some(line) = self.lines.at(at) else { return };
            match self.inbox.receive(line.socket.as_fd()) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // What an earlier packet met; the error queue tells more of it.
                Err(_) => continue,
            }
            for (from, bytes) in self.inbox.packets() {
                let Some(Meaning { key, token, outcome, tag }) = meaning::of_packet(line.ear, from, bytes) else {
                    continue;
                };
                let Some(flight) = self.flights.end_if(&key, |flight| flight.token == token) else { continue };
                if let Outcome::Fails(_) = outcome {
                    self.sources.forget(key.ip);
                }
                // To a SYN-ACK the kernel says it, but cannot where routes do not lead.
                let reset = outcome == Outcome::Answers(Answer::Accepts) && flight.key.delivery != Delivery::Routed;
                ended.push((flight.slot, outcome));
                if tag.is_some() || reset {
                    farewells.push((flight, tag));
                }
            }
            if !self.inbox.is_full() {
                break;
            }
        }
        for (flight, tag) in farewells {
            self.farewell(&flight, tag);
        }
    }

    fn take_errors(&mut self, at: usize, ended: &mut Vec<(Slot, Outcome)>) {
        let Self { lines, errors, flights, sources, .. } = self;
        let Some(line) = lines.at(at) else { return };
        for _ in 0..ERRORS_A_TURN {
            let report = match errors.next(line.socket.as_fd(), line.ear.protocol) {
                Ok(Some(report)) => report,
                Ok(None) => continue,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            let Some((key, token)) = meaning::of_error(line.ear, report.to, errors.bytes(&report)) else { continue };
            let Some(failure) = report.failure else { continue };
            let ours = |flight: &Flight| token.is_none_or(|token| token == flight.token);
            if let Some(flight) = flights.end_if(&key, ours) {
                sources.forget(key.ip);
                ended.push((flight.slot, Outcome::Fails(failure)));
            }
        }
    }
}

/// A frame for the member of a probe that goes to an Ethernet address.
fn frame(flight: &Flight, ends: Ends, payload: &Payload) -> Result<Outgoing, Outcome> {
    let number = flight.key.protocol.number(Family::of(flight.key.ip));
    if let Delivery::Link { interface, source, destination } = flight.key.delivery
        && let Some(frame) = packets::frame(destination, source, ends, number, payload)
    {
        return Ok(Outgoing::new(Name::of_interface(interface), None, frame.as_slice()));
    }
    Err(Outcome::NotAsked("it has no Ethernet address".into()))
}

#[cfg(test)]
#[path = "mod_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "network_tests.rs"]
mod network_tests;
