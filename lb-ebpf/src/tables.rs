//! What the pipeline needs to know about the world, as one trait.

use lb_common::{
    advert::{AdvertGuard, AdvertLine},
    config::Config,
    counters::{Event, TrafficCounters},
    drop_reason::DropReason,
    flow::{Flow4Line, Flow6Line, Return4, Return6},
    instance::Instance,
    listener::{ListenerLine, ListenerOf},
    member::Member,
    pool::{Pool, SlotLine},
    port::Port,
    vip::{Vip4Line, Vip6Line},
};

/// What becomes of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Not ours: the stack gets it, untouched.
    Pass,
    /// It ends here, counted.
    Drop(DropReason),
    /// Out by the interface it came in by.
    Transmit,
    /// Out by the port with this number.
    Redirect(u16),
}

/// Whose traffic is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From a client to a member.
    In,
    /// From a member to a client.
    Out,
}

/// Counts a packet of so many bytes.
#[inline(always)]
pub fn add(counters: &mut TrafficCounters, direction: Direction, bytes: u64) {
    match direction {
        Direction::In => {
            counters.packets_in += 1;
            counters.bytes_in += bytes;
        }
        Direction::Out => {
            counters.packets_out += 1;
            counters.bytes_out += bytes;
        }
    }
}

/// The tables, the clock and the counters. All lookups are by index and answer
/// `None` outside the table.
pub trait Tables {
    /// The numbers the program was configured with, once it has been.
    fn config(&self) -> Option<&Config>;
    /// The kernel's jiffies.
    fn jiffies(&self) -> u64;
    /// A line of the IPv4 VIP index.
    fn vip4_line(&self, index: u32) -> Option<&Vip4Line>;
    /// A line of the IPv6 VIP index.
    fn vip6_line(&self, index: u32) -> Option<&Vip6Line>;
    /// A VRRP instance by id.
    fn instance(&self, id: u8) -> Option<&Instance>;
    /// Which virtual routers' adverts are guarded.
    fn advert_guard(&self) -> Option<&AdvertGuard>;
    /// A line of the index of those who may send adverts.
    fn advert_line(&self, index: u32) -> Option<&AdvertLine>;
    /// A line of the listener index.
    fn listener_line(&self, index: u32) -> Option<&ListenerLine>;
    /// The key of a listener by id.
    fn listener_of(&self, id: u16) -> Option<&ListenerOf>;
    /// A pool by id.
    fn pool(&self, id: u16) -> Option<&Pool>;
    /// A line of slots.
    fn slot_line(&self, index: u32) -> Option<&SlotLine>;
    /// A member by id.
    fn member(&self, id: u16) -> Option<&Member>;
    /// A line of IPv4 forward entries.
    fn flow4_line(&self, index: u32) -> Option<&Flow4Line>;
    /// A line of IPv6 forward entries.
    fn flow6_line(&self, index: u32) -> Option<&Flow6Line>;
    /// An IPv4 return entry.
    fn return4(&self, index: u32) -> Option<&Return4>;
    /// An IPv6 return entry.
    fn return6(&self, index: u32) -> Option<&Return6>;
    /// An interface by port number.
    fn port(&self, number: u16) -> Option<&Port>;
    /// The port number of an interface.
    fn port_of_interface(&self, ifindex: u32) -> Option<u16>;
    /// Counts a packet of a listener.
    fn count_listener(&self, id: u16, direction: Direction, bytes: u64);
    /// Counts a packet of a member.
    fn count_member(&self, id: u16, direction: Direction, bytes: u64);
    /// Counts a new flow of a listener and a member.
    fn count_new_flow(&self, listener: u16, member: u16);
    /// Counts a new flow that a listener refused.
    fn count_refused(&self, listener: u16);
    /// Counts an event.
    fn count(&self, event: Event);
}
