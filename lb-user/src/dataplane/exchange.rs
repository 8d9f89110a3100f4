//! Flows as two balancers speak of them: by addresses and ports, never by ids,
//! which each balancer gives for itself.

use std::net::IpAddr;

use lb_common::{flow::Stage, mac::Mac, placement::PlacementStage, pool::ForwardMode, protocol::Transport};

mod directory;
mod kernel;
mod memory;
mod over;
mod placed;

pub use kernel::KernelExchange;
pub use memory::MemoryExchange;

/// A flow, in words that mean the same on every balancer with the same pool file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SharedFlow {
    /// Its transport.
    pub transport: Transport,
    /// The VIP it came to.
    pub vip: IpAddr,
    /// The port it came to.
    pub listener_port: u16,
    /// The client's address.
    pub client: IpAddr,
    /// The client's port.
    pub client_port: u16,
    /// The member's address.
    pub member: IpAddr,
    /// The member's port.
    pub member_port: u16,
    /// The source port the member sees.
    pub snat_port: u16,
    /// The client's side.
    pub forward: Stage,
    /// The member's side.
    pub back: Stage,
    /// Milliseconds since its last packet, to about a second.
    pub idle_millis: u32,
    /// Who sends the client's frames on the link of the VIP.
    pub last_hop: Mac,
}

/// A flow that is recorded and not translated, or a client that stays with its
/// member, in words that mean the same on every balancer with the same pool file and
/// the same seed. Who the client is, only the fingerprint says.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SharedPlacement {
    /// What it is found by; never zero.
    pub fingerprint: u64,
    /// Whether it is a flow that goes on, one that is about to end, or a client.
    pub stage: PlacementStage,
    /// Its transport.
    pub transport: Transport,
    /// The VIP it came to.
    pub vip: IpAddr,
    /// The port it came to.
    pub listener_port: u16,
    /// The member's address, which may be of the other family.
    pub member: IpAddr,
    /// The member's port.
    pub member_port: u16,
    /// How the member is reached.
    pub mode: ForwardMode,
    /// Whether it is one of the flows that listener and member are said to have.
    pub counted: bool,
    /// Milliseconds since it was last used, to about a second.
    pub idle_millis: u32,
}

/// What one balancer tells another.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Shared {
    /// A flow of the flow table.
    Flow(SharedFlow),
    /// What is recorded beside it.
    Placement(SharedPlacement),
}

impl Shared {
    /// The flow, if it is one of the flow table.
    #[must_use]
    pub const fn flow(self) -> Option<SharedFlow> {
        match self {
            Self::Flow(flow) => Some(flow),
            Self::Placement(_) => None,
        }
    }

    /// The record, if it is one.
    #[must_use]
    pub const fn placement(self) -> Option<SharedPlacement> {
        match self {
            Self::Flow(_) => None,
            Self::Placement(placement) => Some(placement),
        }
    }
}

/// How frames of a VIP's clients reach this balancer, and how frames for them
/// leave it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ArrivalPath {
    /// The port's number in the data path.
    pub port: u16,
    /// The interface behind it.
    pub ifindex: u32,
    /// The address clients' frames are addressed to.
    pub own: Mac,
}

/// Why a flow of the other balancer was not adopted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AdoptRefusal {
    /// There is no such listener here.
    UnknownListener,
    /// There is no such member in the listener's pool here.
    UnknownMember,
    /// Another flow in use has the place that its SNAT port names, or the flow is
    /// recorded otherwise here and that is as young.
    PlaceTaken,
    /// The table has no room.
    TableFull,
    /// It is not known how the VIP's clients reach this balancer.
    NoPath,
    /// The record contradicts itself.
    Malformed,
    /// The other balancer hashes flows with another seed, so nothing it records
    /// would be found here.
    OtherSeed,
}

impl AdoptRefusal {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::UnknownListener,
        Self::UnknownMember,
        Self::PlaceTaken,
        Self::TableFull,
        Self::NoPath,
        Self::Malformed,
        Self::OtherSeed,
    ];

    /// Its name among the counters.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::UnknownListener => "unknown_listener",
            Self::UnknownMember => "unknown_member",
            Self::PlaceTaken => "place_taken",
            Self::TableFull => "table_full",
            Self::NoPath => "no_path",
            Self::Malformed => "malformed",
            Self::OtherSeed => "other_seed",
        }
    }
}

/// What became of a flow of the other balancer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Adopted {
    /// It is in the table now.
    New,
    /// It was there, and is at least as young now as on the other balancer.
    Refreshed,
    /// It is closing or over, and if it was there, it says so now.
    Ended,
    /// It is not in the table.
    Refused(AdoptRefusal),
}

/// What a look at the notes brought.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Drained {
    /// Notes read.
    pub notes: usize,
    /// Whether there are more.
    pub more: bool,
    /// Notes lost since the data path was loaded, because nobody read them in time.
    pub lost: u64,
}

/// What a look goes through, in this order.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Table {
    /// Flows of IPv4.
    #[default]
    Flows4,
    /// Flows of IPv6.
    Flows6,
    /// Records of both.
    Placements,
}

/// How far a look through everything has come.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ScanCursor {
    /// The table that the lines are those of.
    pub table: Table,
    /// The next line.
    pub line: u32,
}

/// The data path's flows, for whoever carries them to another balancer.
pub trait FlowExchange: Send {
    /// Calls `each` for flows that were confirmed, or began to end, and for what was
    /// recorded since the last time; for `limit` notes at most.
    fn drain(&mut self, limit: usize, each: &mut dyn FnMut(Shared)) -> Drained;

    /// Calls `each` for the confirmed flows, or the records, in the next `lines`
    /// lines. False: that was the end, and the cursor is at the start again.
    fn scan(&self, cursor: &mut ScanCursor, lines: u32, each: &mut dyn FnMut(Shared)) -> bool;

    /// Takes a flow of the other balancer into the table.
    fn adopt(&self, flow: &SharedFlow, path: ArrivalPath) -> Adopted;

    /// Takes a record of the other balancer in. Nothing comes back by it, so no
    /// path is needed.
    fn adopt_placement(&self, placement: &SharedPlacement) -> Adopted;
}
