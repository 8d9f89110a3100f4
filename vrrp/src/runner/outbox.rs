//! Adverts on their way out: bytes are built anew for each, from the
//! configuration as it is.

use std::{io, net::IpAddr};

use super::{
    clock, frame,
    station::Station,
    wire::{FrameSocket, Wire},
};
use crate::{
    announce::{multicast_group, multicast_mac, virtual_mac},
    packet::{Sending, build},
};

/// Longer than any advert with its headers.
const PACKET: usize = 2048;

/// Buffers for one packet.
#[derive(Debug)]
pub(super) struct Outbox {
    message: Vec<u8>,
    packet: Vec<u8>,
    id: u16,
}

impl Outbox {
    pub(super) fn new() -> Self {
        Self { message: Vec::with_capacity(PACKET), packet: Vec::with_capacity(PACKET), id: 0 }
    }

    /// Sends an advert of that priority to everybody it is for. What cannot be
    /// sent does not keep the rest from being sent; the first error is
    /// returned.
    pub(super) fn send(
        &mut self,
        station: &mut Station,
        priority: u8,
        wires: &mut [Wire],
        frames: &FrameSocket,
    ) -> io::Result<()> {
        let Some(source) = station.source else { return Ok(()) };
        if station.instance.is_multicast() {
            let sent = self.send_to_group(station, priority, source, frames);
            return count(station, sent);
        }
        let place = station.place();
        let Some(wire) = wires.iter_mut().find(|wire| wire.place() == place) else { return Ok(()) };
        let mut result = Ok(());
        for at in 0..station.instance.exchange.peers.len() {
            let peer = station.instance.exchange.peers[at];
            self.packet.clear();
            self.build(station, priority, source, peer);
            let sent = wire.send_to(&station.instance.interface, peer, &self.packet);
            result = result.and(count(station, sent));
        }
        result
    }

    fn send_to_group(
        &mut self,
        station: &mut Station,
        priority: u8,
        source: IpAddr,
        frames: &FrameSocket,
    ) -> io::Result<()> {
        let (ifindex, family) = station.place();
        let link = &station.instance.interface;
        let from =
            if station.instance.virtual_mac { virtual_mac(family, station.instance.router.vrid) } else { link.mac };
        self.packet.clear();
        self.packet.extend(frame::ethernet(multicast_mac(family), from, source.is_ipv6()));
        self.build(station, priority, source, multicast_group(family));
        frames.send(ifindex, &self.packet)
    }

    /// Appends the advert with its IP header.
    fn build(&mut self, station: &mut Station, priority: u8, source: IpAddr, destination: IpAddr) {
        let sending = Sending { priority, source, destination, at_utc: clock::utc() };
        let instance = &station.instance;
        build(&instance.router, &instance.exchange, sending, &mut station.stamp, &mut self.message);
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                self.id = self.id.wrapping_add(1);
                self.packet.extend(frame::ipv4(source, destination, self.id, self.message.len()));
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                self.packet.extend(frame::ipv6(source, destination, self.message.len()));
            }
            // A wish with two families is refused.
            _ => {}
        }
        self.packet.extend(&self.message);
    }
}

fn count(station: &mut Station, sent: io::Result<()>) -> io::Result<()> {
    match sent {
        Ok(()) => station.counters.sent += 1,
        Err(_) => station.counters.send_failures += 1,
    }
    sent
}
