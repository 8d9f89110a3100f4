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
mod poll;
mod sctp;
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
    poll::{Lines, Ready},
    sources::Sources,
    sys::{BATCH, Inbox, Outgoing},
};
use crate::{
    outcome::{Answer, Failure, Outcome},
    question::{Handshake, Kind, Question},
};

/// Batches and errors that are taken from one socket before others have their turn.
const TURN: usize = 256;

/// How often a packet is tried: of a raw socket, an error that an earlier packet met comes
/// out when the next one is sent.
const SENDS: usize = 3;

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
    lines: Lines,
    sources: Sources,
    dice: Dice,
    inbox: Inbox,
    errors: ErrorBox,
}

impl RawProber {
    /// Opens nothing yet: sockets are opened when the first probe needs them.
    pub(crate) fn new() -> Self {
        Self {
            flights: Flights::default(),
            lines: Lines::default(),
            sources: Sources::default(),
            dice: Dice::default(),
            inbox: Inbox::new(),
            errors: ErrorBox::new(),
        }
    }

    /// Begins probes. Those that end at once are put into `ended`. Needs a tokio runtime
    /// around it.
    pub(crate) fn begin(&mut self, probes: &[Probe<'_>], ended: &mut Vec<(Slot, Outcome)>) {
        for probe in probes {
            match self.launch(probe) {
                Ok(line) if self.lines.at(line).is_some_and(|line| line.outbox.len() >= BATCH) => {
                    self.flush(line, ended);
                }
                Ok(_) => {}
                Err(outcome) => {
                    self.flights.end_slot(probe.slot);
                    ended.push((probe.slot, outcome));
                }
            }
        }
        self.flush_all(ended);
    }

    /// Waits until [`RawProber::receive`] has something to do.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.lines.readable().await
    }

    /// Takes what has arrived.
    pub(crate) fn receive(&mut self, ended: &mut Vec<(Slot, Outcome)>) {
        for Ready { line, failed } in self.lines.ready() {
            if failed {
                self.take_errors(line, ended);
            }
            self.take_packets(line, ended);
        }
        self.flush_all(ended);
    }

    /// Ends the probes whose deadline has come, and sends those again whose packets may
    /// have been lost.
    pub(crate) fn expire(&mut self, now: Duration, ended: &mut Vec<(Slot, Outcome)>) {
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
                // Without a source address now, it can still be answered.
                Due::SendAgain(flight) => {
                    if let Some(line) = self.lines.find(&flight.key)
                        && let Ok(packet) = self.packet(line, &flight)
                        && let Some(line) = self.lines.at_mut(line)
                    {
                        line.push(Some(flight.slot), packet);
                    }
                }
            }
        }
        self.flush_all(ended);
    }

    /// When [`RawProber::expire`] has something to do next.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.flights.next_due()
    }

    /// Forgets a member's probe: nothing comes of it any more.
    pub(crate) fn forget(&mut self, slot: Slot) {
        self.flights.end_slot(slot);
    }

    /// Takes a probe in and puts its packet into a batch. Returns the line it leaves by.
    fn launch(&mut self, probe: &Probe<'_>) -> Result<usize, Outcome> {
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
        let roll = self.dice.roll();
        let key = Key { protocol, ip: to.ip(), port, lane: 0 };
        let lane = self.flights.free_lane(key, sockets::Line::lanes(protocol), roll >> 32).ok_or_else(|| {
            let why = format!("{} other probes of {} are under way", sockets::Line::lanes(protocol), to);
            Outcome::NotAsked(why.into())
        })?;
        let key = Key { lane, ..key };
        let token = match protocol {
            Protocol::Udp => 0,
            Protocol::Icmp => roll,
            // Neither a sequence number nor a tag is 0, which is as random as any other but
            // forbidden for tags.
            Protocol::Tcp | Protocol::Sctp => (roll & 0xffff_ffff).max(1),
        };
        let flight =
            Flight::new(probe.slot, (key, scope), probe.question.delivery, token, (probe.deadline, probe.patience));
        let line = self.lines.find(&key).ok_or_else(|| Outcome::NotAsked("its socket is closed".into()))?;
        let packet = self.packet(line, &flight).map_err(|error| Failure::of_io(&error))?;
        self.flights.begin(flight);
        if let Some(line) = self.lines.at_mut(line) {
            line.push(Some(probe.slot), packet);
        }
        Ok(line)
    }

    /// The packet of a probe.
    fn packet(&mut self, line: usize, flight: &Flight) -> io::Result<Outgoing> {
        let Key { protocol, ip, port, lane } = flight.key;
        let first = self.lines.at(line).map_or(0, |line| line.first);
        let ours = first.wrapping_add(lane);
        let low = u32::try_from(flight.token & 0xffff_ffff).unwrap_or_default();
        let to = sockets::raw_name(ip, flight.scope);
        Ok(match protocol {
            Protocol::Tcp => {
                let (ends, source) = match ip {
                    IpAddr::V4(v4) => {
                        let source = self.sources.towards(v4)?;
                        (tcp::Ends::V4(source, v4), Some(source))
                    }
                    IpAddr::V6(_) => (tcp::Ends::Kernel, None),
                };
                Outgoing::new(to, source, &tcp::syn(ends, ours, port, low.wrapping_sub(1)))
            }
            Protocol::Udp => Outgoing::new(sockets::named(ip, port, flight.scope), None, &[]),
            Protocol::Icmp => {
                let types = sockets::types(Family::of(ip));
                Outgoing::new(to, None, &icmp::request(types, first, lane, flight.token))
            }
            Protocol::Sctp => {
                let sequence = u32::try_from(self.dice.roll() >> 32).unwrap_or_default();
                Outgoing::new(to, None, &sctp::init(ours, port, low, sequence))
            }
        })
    }

    fn flush_all(&mut self, ended: &mut Vec<(Slot, Outcome)>) {
        for line in 0..self.lines.len() {
            self.flush(line, ended);
        }
    }

    /// Sends what waits on a line.
    fn flush(&mut self, line: usize, ended: &mut Vec<(Slot, Outcome)>) {
        for (slot, source, error) in self.send(line) {
            let Some(flight) = self.flights.of_slot(slot).cloned() else { continue };
            // The address that it was to be sent from may be gone.
            self.sources.forget(flight.key.ip);
            if source.is_some()
                && let Ok(packet) = self.packet(line, &flight)
                && packet.source != source
                && let Some(line) = self.lines.at(line)
                && sys::send(line.as_fd(), &[packet]).is_ok()
            {
                continue;
            }
            self.flights.end_slot(slot);
            ended.push((slot, Failure::of_io(&error)));
        }
    }

    /// Sends what waits on a line. Returns what could not be sent, from where, and why.
    fn send(&mut self, line: usize) -> Vec<(Slot, Option<std::net::Ipv4Addr>, io::Error)> {
        let mut failed = Vec::new();
        let Some(line) = self.lines.at_mut(line) else { return failed };
        let (mut done, mut tries) = (0, 0);
        while done < line.outbox.len() {
            match sys::send(line.socket.as_fd(), &line.outbox[done..]) {
                Ok(sent) => {
                    done += sent.max(1);
                    tries = 0;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if tries + 1 < SENDS => tries += 1,
                Err(error) => {
                    if let Some(slot) = line.slots[done] {
                        failed.push((slot, line.outbox[done].source, error));
                    }
                    done += 1;
                    tries = 0;
                }
            }
        }
        line.outbox.clear();
        line.slots.clear();
        failed
    }

    fn take_packets(&mut self, at: usize, ended: &mut Vec<(Slot, Outcome)>) {
        let Self { lines, inbox, flights, sources, .. } = self;
        let Some(line) = lines.at_mut(at) else { return };
        for _ in 0..TURN {
            match inbox.receive(line.socket.as_fd()) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // What an earlier packet met; the error queue tells more of it.
                Err(_) => continue,
            }
            for (from, bytes) in inbox.packets() {
                let Some(Meaning { key, token, outcome, farewell }) = meaning::of_packet(line, from, bytes) else {
                    continue;
                };
                let Some(flight) = flights.find(&key).filter(|flight| flight.token == token) else { continue };
                let scope = flight.scope;
                if let Some(flight) = flights.end_key(&key) {
                    if let Outcome::Fails(_) = outcome {
                        sources.forget(key.ip);
                    }
                    ended.push((flight.slot, outcome));
                }
                if let Some(farewell) = farewell {
                    line.slots.push(None);
                    line.outbox.push(Outgoing::new(sockets::raw_name(key.ip, scope), None, &farewell));
                }
            }
            if !inbox.is_full() {
                return;
            }
        }
    }

    fn take_errors(&mut self, at: usize, ended: &mut Vec<(Slot, Outcome)>) {
        let Self { lines, errors, flights, sources, .. } = self;
        let Some(line) = lines.at(at) else { return };
        for _ in 0..TURN * BATCH {
            let report = match errors.next(line.socket.as_fd(), line.protocol) {
                Ok(Some(report)) => report,
                Ok(None) => continue,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            let Some((key, token)) = meaning::of_error(line, report.to, errors.bytes(&report)) else { continue };
            let Some(failure) = report.failure else { continue };
            let ours = |flight: &&Flight| token.is_none_or(|token| token == flight.token);
            if flights.find(&key).filter(ours).is_some()
                && let Some(flight) = flights.end_key(&key)
            {
                sources.forget(key.ip);
                ended.push((flight.slot, Outcome::Fails(failure)));
            }
        }
    }
}

#[cfg(test)]
#[path = "mod_tests.rs"]
mod tests;
