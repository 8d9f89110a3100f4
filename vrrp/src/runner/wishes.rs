//! What is there is made what is wished for, and what is as wished stays
//! undisturbed.

use std::{io, mem, time::Duration};

use super::{
    engine::{Engine, SOCKET_AGAIN, Trouble, wire_token},
    instance::{Command, Instance, RouterKey},
    report::{Report, World},
    station::{Part, Station, added},
    wire::Wire,
};
use crate::{
    router::{Input, Router},
    time::Instant,
    types::State,
};

impl<W: World> Engine<W> {
    /// Takes the whole wish over.
    pub(super) fn wish(&mut self, now: Instant, wish: Vec<Instance>) {
        for index in 0..self.stations.len() {
            let key = self.stations[index].instance.key;
            if !wish.iter().any(|instance| instance.key == key) {
                self.stations[index].successor = None;
                self.leave(index, now);
            }
        }
        for instance in wish {
            match self.stations.iter().position(|station| station.instance.key == instance.key) {
                None => self.stations.push(Station::new(instance)),
                Some(index) if self.stations[index].is_ending() => {
                    self.stations[index].successor = Some(Box::new(instance));
                }
                Some(index) if is_another(&self.stations[index].instance, &instance) => {
                    self.stations[index].successor = Some(Box::new(instance));
                    self.leave(index, now);
                }
                Some(index) => self.change(index, now, instance),
            }
        }
        self.open_wires(now);
    }

    /// An operator's word.
    pub(super) fn command(&mut self, now: Instant, key: RouterKey, command: Command) {
        let is_meant = |station: &Station| station.instance.key == key && !station.is_ending();
        let Some(index) = self.stations.iter().position(is_meant) else { return };
        let input = match command {
            Command::Failover => Input::Failover,
            Command::Pause => Input::Pause,
            Command::Resume => Input::Resumed,
        };
        self.feed(index, now, input);
    }

    fn leave(&mut self, index: usize, now: Instant) {
        let station = &mut self.stations[index];
        if station.is_ending() {
            return;
        }
        station.part = Part::Leaving;
        self.feed(index, now, Input::Shutdown);
        let station = &mut self.stations[index];
        // One that took no part has nothing to finish.
        if station.state() == State::Initialize && !station.is_carrying() {
            station.part = Part::Finished;
        }
    }

    /// Takes over what is different.
    fn change(&mut self, index: usize, now: Instant, mut instance: Instance) {
        let station = &mut self.stations[index];
        // These two are asked once, at the beginning.
        (instance.resume, instance.carrying) = (station.instance.resume, station.instance.carrying);
        if instance == station.instance {
            return;
        }
        let before = mem::replace(&mut station.instance, instance);
        let is_configured = station.instance.router != before.router;
        if station.is_carrying() {
            let new = added(&before.announced, &station.instance.announced);
            station.announcer.add(now, &station.instance.announce, new);
            if station.instance.announce != before.announce {
                station.announcer.repace(now, &station.instance.announce);
            }
        }
        if is_configured {
            let config = station.instance.router.clone();
            self.feed(index, now, Input::Configure(config));
        }
        if is_configured || self.stations[index].instance.priority != before.priority {
            let priority = self.stations[index].instance.priority;
            self.feed(index, now, Input::Priority(priority));
        }
    }

    /// Opens the sockets that are needed, closes those that are not, and lets
    /// every router take part that can.
    pub(super) fn open_wires(&mut self, now: Instant) {
        self.sockets_missing = None;
        self.wires.retain(|wire| self.stations.iter().any(|station| station.place() == wire.place()));
        for index in 0..self.stations.len() {
            let opened = self.open_wire(index);
            let station = &mut self.stations[index];
            station.deaf = opened.as_ref().err().map(|error| format!("it cannot hear adverts: {error}"));
            if let Err(error) = opened {
                let key = station.instance.key;
                self.sockets_missing = Some(now.plus(SOCKET_AGAIN));
                self.trouble(now, Trouble::Deaf(key), Report::Deaf { key, error });
            }
            self.settle(index, now);
        }
    }

    fn open_wire(&mut self, index: usize) -> io::Result<()> {
        let station = &self.stations[index];
        let place = station.place();
        let known = self.wires.iter().position(|wire| wire.place() == place);
        let at = match known {
            Some(at) => at,
            None => {
                let wire = Wire::open(&station.instance.interface, place.1)?;
                self.waker.watch(&wire, wire_token(place))?;
                self.wires.push(wire);
                self.wires.len() - 1
            }
        };
        let is_multicast = |station: &Station| station.place() == place && station.instance.is_multicast();
        self.wires[at].set_in_group(self.stations.iter().any(is_multicast))
    }

    /// Tells a router what has become of its source and of what keeps it from
    /// taking part.
    fn settle(&mut self, index: usize, now: Instant) {
        let station = &mut self.stations[index];
        if station.is_ending() {
            return;
        }
        if let Some(source) = station.instance.source
            && station.source != Some(source)
        {
            station.source = Some(source);
            if station.router.is_none() {
                station.router = Some(Router::new(station.instance.router.clone(), source));
                let priority = station.instance.priority;
                self.feed(index, now, Input::Priority(priority));
            } else {
                self.feed(index, now, Input::PrimaryAddress(source));
            }
        }
        let station = &mut self.stations[index];
        let is_able = station.obstacle().is_none();
        match (station.part, is_able) {
            (Part::New, true) => {
                station.part = Part::Taken;
                if station.instance.carrying {
                    let held = station.instance.resume.unwrap_or(Duration::MAX);
                    self.feed(index, now, Input::Resume { held });
                } else {
                    // Whatever the data path remembers, this router begins without the addresses.
                    self.world.set_active(station.instance.key, false);
                    self.feed(index, now, Input::Startup);
                }
            }
            // Nobody may rest on an address that this router cannot speak for.
            (Part::New, false) if mem::take(&mut station.instance.carrying) => {
                self.world.set_active(station.instance.key, false);
            }
            (Part::Taken, false) => {
                station.part = Part::Faulted;
                self.feed(index, now, Input::Fault(true));
            }
            (Part::Faulted, true) => {
                station.part = Part::Taken;
                self.feed(index, now, Input::Fault(false));
            }
            _ => {}
        }
    }
}

/// Whether that is not the same virtual router any more.
fn is_another(before: &Instance, now: &Instance) -> bool {
    let identity = |instance: &Instance| (instance.router.vrid, instance.router.family, instance.router.version);
    identity(before) != identity(now)
}
