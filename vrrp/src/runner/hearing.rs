//! Taking in what others send.

use std::net::{IpAddr, Ipv4Addr};

use super::{
    clock,
    engine::{Engine, wire_token},
    instance::RouterKey,
    report::{Report, World},
    station::Station,
    waker::Awoken,
    wire::Datagram,
};
use crate::{
    packet::{Advert, Received, parse, peek_vrid, refusal::Refusal, strip_ipv4},
    router::Input,
    time::Instant,
    types::{Family, State},
};

/// Datagrams read from one socket in one turn: a flood does not keep the
/// thread from its deadlines for longer than these take.
const IN_A_TURN: usize = 64;

/// Datagrams read from one socket before somebody takes over: more than its
/// queue holds, so that everything that had come by then has been read, but an
/// end, so that a flood does not keep a Backup from taking over.
const BEFORE_A_CLAIM: usize = 1024;

/// What became of a datagram.
enum Heard {
    Advert(usize, Advert),
    Refused(Option<usize>, IpAddr, Refusal),
}

impl<W: World> Engine<W> {
    /// Reads the sockets that have something, and those of the routers that
    /// would take over now.
    pub(super) fn listen(&mut self, turn: Instant, awoken: &Awoken) {
        for at in 0..self.wires.len() {
            let place = self.wires[at].place();
            let claims = |station: &Station| {
                station.place() == place && station.is_due(turn) && station.state() != State::Active
            };
            if self.stations.iter().any(claims) {
                self.drain(at, place, BEFORE_A_CLAIM);
            } else if awoken.by(wire_token(place)) {
                self.drain(at, place, IN_A_TURN);
            }
        }
    }

    fn drain(&mut self, wire: usize, place: (u32, Family), most: usize) {
        for _ in 0..most {
            // An error stands for one datagram, and reading it takes it away.
            let Ok(Some(datagram)) = self.wires[wire].receive(&mut self.inbox) else { return };
            match understand(&datagram, place, &mut self.stations) {
                Heard::Advert(index, advert) => self.hear(index, &advert),
                Heard::Refused(index, source, refusal) => self.refuse(index, place, source, refusal),
            }
        }
    }

    fn hear(&mut self, index: usize, advert: &Advert) {
        let now = clock::now();
        self.stations[index].hear(now, advert);
        self.feed(index, now, Input::Advert(advert));
    }

    fn refuse(&mut self, index: Option<usize>, place: (u32, Family), source: IpAddr, refusal: Refusal) {
        let key: Option<RouterKey> = index.map(|index| self.stations[index].instance.key);
        match index {
            Some(index) => self.stations[index].refuse(refusal),
            // It was for none of those that listen there, so for each it is one that was not for it.
            None => self.stations.iter_mut().filter(|s| s.place() == place).for_each(|s| s.refuse(refusal)),
        }
        if self.refusals.admits(clock::now(), (key, source, refusal)) {
            self.world.report(Report::Refused { key, source, refusal, suppressed: 0 });
        }
    }
}

/// Finds whom a datagram is for, and what it says.
fn understand(datagram: &Datagram<'_>, place: (u32, Family), stations: &mut [Station]) -> Heard {
    let (packet, source, destination, hops) = match datagram {
        Datagram::V4(bytes) => match strip_ipv4(bytes) {
            Ok((header, message)) => (message, header.source.into(), header.destination.into(), header.hops),
            Err(refusal) => return Heard::Refused(None, IpAddr::V4(Ipv4Addr::UNSPECIFIED), refusal),
        },
        Datagram::V6 { message, source, destination, hops } => {
            (*message, IpAddr::V6(*source), IpAddr::V6(*destination), *hops)
        }
    };
    let Some(vrid) = peek_vrid(packet) else {
        let refusal = if packet.len() < 2 { Refusal::Short } else { Refusal::OtherVrid };
        return Heard::Refused(None, source, refusal);
    };
    let meant = |station: &Station| station.place() == place && station.instance.router.vrid == vrid;
    let Some(index) = stations.iter().position(meant) else {
        return Heard::Refused(None, source, Refusal::OtherVrid);
    };
    let station = &mut stations[index];
    let received = Received { packet, source, destination, hops, own: station.source, at_utc: clock::utc() };
    match parse(&received, &station.instance.router, &station.instance.exchange, &mut station.replay) {
        Ok(advert) => Heard::Advert(index, advert),
        Err(refusal) => Heard::Refused(Some(index), source, refusal),
    }
}
