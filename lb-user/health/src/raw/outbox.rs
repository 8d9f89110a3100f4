//! Packets that wait for the end of a batch, and what of them could not be sent.

use std::{io, net::Ipv4Addr, os::fd::BorrowedFd};

use super::{
    Slot,
    sys::{self, BATCH, Outgoing},
};

/// How often a packet is tried. An error that an earlier packet met comes out when the next
/// one is sent, and says nothing about that one's member; what says something does so every
/// time. Each try takes one such error away, and they come as fast as ICMP messages do.
const SENDS: usize = 16;

/// Packets that wait, and whose they are.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    packets: Vec<Outgoing>,
    /// In the same order; `None` for a farewell.
    slots: Vec<Option<Slot>>,
}

/// A packet that could not be sent.
#[derive(Debug)]
pub(super) struct Unsent {
    /// Whose it was.
    pub(super) slot: Slot,
    /// From which address it was to be sent.
    pub(super) source: Option<Ipv4Addr>,
    /// Why not.
    pub(super) error: io::Error,
}

impl Outbox {
    /// Puts a packet in.
    pub(super) fn push(&mut self, slot: Option<Slot>, packet: Outgoing) {
        self.slots.push(slot);
        self.packets.push(packet);
    }

    /// Whether there is a batch.
    pub(super) const fn is_full(&self) -> bool {
        self.packets.len() >= BATCH
    }

    /// Sends all. Returns what could not be sent.
    pub(super) fn send(&mut self, socket: BorrowedFd<'_>) -> Vec<Unsent> {
        let mut unsent = Vec::new();
        let (mut done, mut tries) = (0, 0);
        while done < self.packets.len() {
            match sys::send(socket, &self.packets[done..]) {
                Ok(sent) => {
                    done += sent.max(1);
                    tries = 0;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if tries + 1 < SENDS => tries += 1,
                Err(error) => {
                    if let Some(slot) = self.slots[done] {
                        unsent.push(Unsent { slot, source: self.packets[done].source, error });
                    }
                    done += 1;
                    tries = 0;
                }
            }
        }
        self.packets.clear();
        self.slots.clear();
        unsent
    }
}
