//! What the pipeline needs to know about the world, as one trait.

use lb_common::{
    advert::{AdvertGuard, AdvertLine},
    config::Config,
    counters::{Event, TrafficCounters},
    dnat::DnatLine,
    drop_reason::DropReason,
    flow::{Flow4Line, Flow6Line, Return4, Return6},
    flow_note::FlowNote,
    fragment::Fragment,
    instance::Instance,
    listener::{ListenerLine, ListenerOf},
    load::{Load, SourceCell},
    member::Member,
    placement::PlacementLine,
    pool::{Pool, SlotLine},
    port::{Place, Port},
    trace::{TraceFilter, TraceRecord},
    vip::{Vip4Line, Vip6Line, VipFilter},
};

use crate::{far::Call, ingress::Ingress, packet::Packet};

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
    /// Out by the interface it came in by, as an answer of the balancer's own.
    Answer,
}

impl Verdict {
    /// As one word: 0 pass, 1 drop, 2 transmit, 3 redirect, 4 answer; the reason
    /// or the port above the lowest byte.
    #[inline(always)]
    #[must_use]
    pub const fn to_word(self) -> u64 {
        match self {
            Self::Pass => 0,
            Self::Drop(reason) => 1 | (reason as u64) << 8,
            Self::Transmit => 2,
            Self::Redirect(port) => 3 | (port as u64) << 8,
            Self::Answer => 4,
        }
    }

    /// From that word.
    #[inline(always)]
    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        match word as u8 {
            1 => Self::Drop(DropReason::from_number((word >> 8) as u8)),
            2 => Self::Transmit,
            3 => Self::Redirect((word >> 8) as u16),
            4 => Self::Answer,
            _ => Self::Pass,
        }
    }
}

/// Where the host sends a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Way {
    /// The interface it leaves by; 0: only the host itself can send it, because
    /// its next hop is not known, or it does not fit.
    pub ifindex: u32,
    /// Ethernet destination in the upper 48 bits.
    pub to: u64,
    /// Ethernet source in the upper 48 bits.
    pub from: u64,
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
    /// Which addresses may be VIPs.
    fn vip_filter(&self) -> Option<&VipFilter>;
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
    /// The number of the port at a place.
    fn port_at(&self, place: Place) -> Option<u16>;
    /// A line of placements.
    fn placement_line(&self, index: u32) -> Option<&PlacementLine>;
    /// How many flows a listener has and may have.
    fn listener_load(&self, id: u16) -> Option<&Load>;
    /// How many flows a member has and may have.
    fn member_load(&self, id: u16) -> Option<&Load>;
    /// A cell of the sources' rates.
    fn source_cell(&self, index: u32) -> Option<&SourceCell>;
    /// A record of a fragmented datagram.
    fn fragment(&self, index: u32) -> Option<&Fragment>;
    /// A line of the index of members that answer by themselves through us.
    fn dnat_line(&self, index: u32) -> Option<&DnatLine>;
    /// Whether an IPv4 address is in a listener's `allowed_cidrs`.
    fn allows4(&self, listener: u16, address: u32) -> bool;
    /// The same for an IPv6 address.
    fn allows6(&self, listener: u16, address: [u64; 2]) -> bool;
    /// What is traced.
    fn trace_filter(&self) -> Option<&TraceFilter>;
    /// Keeps what a trace of this packet needs until its verdict is known.
    fn keep_trace(&self, record: &TraceRecord);
    /// Takes that back.
    fn take_trace(&self) -> Option<TraceRecord>;
    /// Writes a trace, or counts that there was no room.
    fn trace(&self, record: &TraceRecord);
    /// Asks the host's routes where a packet is to go that will have another
    /// source. `None`: nowhere, or to the host itself, or the host does not
    /// forward. The packet stays as it is.
    fn route(&self, packet: &Packet<'_>, ingress: Ingress, source: [u64; 2]) -> Option<Way>;
    /// Calls something that is not on the way of most packets: see [`far`](crate::far).
    fn far(&self, packet: &mut Packet<'_>, call: Call, arguments: [u64; 4]) -> u64;
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
    /// Notes a flow for another balancer, or counts that there was no room.
    fn note(&self, note: FlowNote);
}
