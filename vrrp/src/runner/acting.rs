//! What the state machines decide, carried out.

use std::{io, net::IpAddr};

use super::{
    announcer::Burst,
    clock,
    engine::{Engine, Trouble},
    instance::Announced,
    report::{Report, World},
    station::{Part, Station},
    wire::FrameSocket,
};
use crate::{
    announce::{gratuitous_arp, unsolicited_na},
    router::{Action, Input},
    time::Instant,
};

impl<W: World> Engine<W> {
    /// Gives an input to a router and does what it asks for: first the data
    /// path, if it is to begin working for the addresses, then the rest in its
    /// order, so that an advert leaves before the announcements. A switch learns
    /// where the virtual MAC address is from the advert already: frames that
    /// follow it have to find the data path at work.
    pub(super) fn feed(&mut self, index: usize, now: Instant, input: Input<'_>) {
        let mut actions = std::mem::take(&mut self.actions);
        actions.clear();
        if let Some(router) = &mut self.stations[index].router {
            router.handle(now, input, &mut actions);
        }
        if let Some(begins) = actions.iter().position(|action| matches!(action, Action::SetActive(true))) {
            let action = actions.remove(begins);
            self.carry_out(index, now, action);
        }
        for action in actions.drain(..) {
            self.carry_out(index, now, action);
        }
        self.actions = actions;
    }

    fn carry_out(&mut self, index: usize, now: Instant, action: Action) {
        let station = &mut self.stations[index];
        let key = station.instance.key;
        match action {
            Action::Send { priority } => {
                let sent = self.outbox.send(station, priority, &mut self.wires, &self.frames);
                if priority > 0 && station.is_carrying() {
                    self.world.alive(key, now);
                }
                if let Err(error) = sent {
                    self.trouble(now, Trouble::SendFailed(key), Report::SendFailed { key, error });
                }
            }
            Action::SetActive(active) => {
                if !active {
                    station.announcer.cancel();
                    station.announcing = None;
                }
                self.world.set_active(key, active);
            }
            Action::Announce => {
                station.announcer.start(now, &station.instance.announce);
                station.announcing = Some(0);
            }
            Action::Moved { from, to, reason } => {
                station.counters.transitions += 1;
                self.world.report(Report::Moved { key, from, to, reason, at: now });
            }
            // The router itself does not tell the same thing all the time.
            Action::Noticed(anomaly) => self.world.report(Report::Noticed { key, anomaly }),
            Action::Finished => station.part = Part::Finished,
        }
    }

    /// Reports what can come again and again, at a limited rate.
    pub(super) fn trouble(&mut self, now: Instant, trouble: Trouble, report: Report) {
        if self.troubles.admits(now, trouble) {
            self.world.report(report);
        }
    }

    /// Sends the announcements whose turn it is, unless and until a router's
    /// deadline comes.
    pub(super) fn announce(&mut self) {
        let next = self.stations.iter().filter_map(Station::deadline).min();
        for index in 0..self.stations.len() {
            let now = clock::now();
            let station = &mut self.stations[index];
            if station.announcer.deadline().is_none_or(|at| at > now) {
                continue;
            }
            if next.is_some_and(|deadline| deadline <= now) {
                return;
            }
            let (mut frames, mut failure) = (0, None);
            let burst = station.announcer.burst(now, &station.instance.announce, &station.instance.announced, |one| {
                match send(&self.frames, one) {
                    Ok(()) => frames += 1,
                    Err(error) => failure = Some(error),
                }
                next.is_none_or(|deadline| clock::now() < deadline)
            });
            station.counters.announcements += frames;
            let key = station.instance.key;
            if let Some(so_far) = &mut station.announcing {
                *so_far += frames;
                if burst == Burst::Complete {
                    let frames = *so_far;
                    station.announcing = None;
                    self.world.report(Report::Announced { key, frames });
                }
            }
            if let Some(error) = failure {
                self.stations[index].counters.send_failures += 1;
                self.trouble(now, Trouble::SendFailed(key), Report::SendFailed { key, error });
            }
        }
    }
}

fn send(frames: &FrameSocket, announced: &Announced) -> io::Result<()> {
    let Announced { address, ifindex, mac, sender } = *announced;
    match address {
        IpAddr::V4(address) => frames.send(ifindex, &gratuitous_arp(address, mac, sender)),
        IpAddr::V6(address) => frames.send(ifindex, &unsolicited_na(address, mac, sender, true)),
    }
}
