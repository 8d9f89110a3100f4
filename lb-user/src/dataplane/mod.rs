//! The seam between intention and kernel: what is there ([`Observed`]), what
//! can be done to it ([`Op`]), and who can do it ([`Dataplane`]).
//!
//! Two implementations share one writer, [`tables`]: `kernel` over the mapped
//! memory of pinned BPF maps, `memory` over ordinary memory for tests. Nothing
//! outside this module says aya.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    ops::Range,
    time::Duration,
};

pub use lb_common::{
    counters::{Event, TrafficCounters},
    drop_reason::DropReason,
    flow::Stage,
    mac::Mac,
    member::NextHop,
    pool::{Algorithm, ForwardMode, Persistence},
    protocol::Transport,
};

pub use lb_ebpf::{
    far::Call,
    tables::{Direction, Verdict},
};

mod cidrs;
mod clock;
mod describe;
pub mod exchange;
mod flows;
mod index;
pub mod kernel;
mod mapped;
pub mod memory;
mod observed;
mod pins;
mod region;
mod rehearsal;
mod sweeper;
mod switchboard;
pub mod tables;
mod trace;

pub use cidrs::Prefix;
pub use describe::{Attachment, DataplaneInfo, Describe, MapInfo, XdpMode};
pub use rehearsal::{Arriving, Rehearse, Rehearsed, Step};
pub use sweeper::{Sweeper, Swept};
pub use switchboard::Switchboard;
pub use trace::{Fate, TraceWanted, Traced, Tracer};

/// Id of a VIP in the maps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct VipId(pub u16);
/// Id of a listener in the maps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ListenerId(pub u16);
/// Id of a pool in the maps; 0 is [`lb_common::pool::NO_POOL`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PoolId(pub u16);
/// Id of a member in the maps; 0 is [`lb_common::member::NO_MEMBER`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MemberId(pub u16);

/// Id of a VRRP instance in the maps; 0 is [`lb_common::instance::NO_INSTANCE`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct InstanceId(pub u8);

/// What identifies a listener: one address, one protocol, one port.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ListenerKey {
    /// The VIP.
    pub vip: IpAddr,
    /// The transport.
    pub transport: Transport,
    /// The port.
    pub port: u16,
}

/// A VIP as it is in the maps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ObservedVip {
    /// Its id.
    pub id: VipId,
    /// `load_balancer`, or `vrrp instance` for an address without listeners.
    pub label: String,
    /// Whether it is switched on. Whether this balancer answers for it is a
    /// matter of its instance too: see [`Observed::answers_for`].
    pub active: bool,
    /// The VRRP instance that moves it.
    pub instance: Option<InstanceId>,
}

/// A VRRP instance as it is in the maps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ObservedInstance {
    /// Its name.
    pub label: String,
    /// The virtual router's Ethernet address, if it has one.
    pub mac: Option<Mac>,
    /// Whether this balancer carries its VIPs.
    pub active: bool,
}

/// A listener as it is in the maps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ObservedListener {
    /// Its id.
    pub id: ListenerId,
    /// `load_balancer/listener`.
    pub label: String,
    /// Its pool; id 0 means none.
    pub pool: PoolId,
    /// Whether replies may arrive at its port.
    pub in_snat_range: bool,
    /// What is asked before a flow is opened.
    pub rules: ListenerRules,
}

/// Members of `dnat` pools by address, port and transport: the listener whose VIP
/// and port their packets get, and who they are.
pub type DnatMembers = BTreeMap<(IpAddr, u16, Transport), (ListenerId, MemberId)>;

/// What a listener asks before it opens a flow. The default asks nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ListenerRules {
    /// Only sources of its `allowed_cidrs` may.
    pub guarded: bool,
    /// How many flows may live at a time; 0 for as many as there are.
    pub connection_limit: u32,
    /// How many one source address may open in a second; 0 for any number.
    pub new_flows_per_source: u32,
}

/// What a pool is, its table aside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PoolRecord {
    /// `load_balancer/pool`.
    pub label: String,
    /// How its members are reached.
    pub mode: ForwardMode,
    /// What chooses the slot of a new flow.
    pub algorithm: Algorithm,
    /// Flags of [`lb_common::pool::PoolEntry`], without `CHANGING`: that is the
    /// writer's.
    pub flags: u64,
    /// How clients are told apart, and for how long, where the flags say so.
    pub persistence: Persistence,
    /// The largest MSS in bytes, where the flags say that it is clamped; 0 for what
    /// the path to the member takes.
    pub mss: u16,
}

impl PoolRecord {
    /// A pool that is as pools are when nothing is said about them: `nat`, by
    /// addresses and ports.
    #[must_use]
    pub fn named(label: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            mode: ForwardMode::Nat,
            algorithm: Algorithm::SourceIpPort,
            flags: 0,
            persistence: Persistence::default(),
            mss: 0,
        }
    }

    /// The same with another algorithm.
    #[must_use]
    pub fn picked_by(self, algorithm: Algorithm) -> Self {
        Self { algorithm, ..self }
    }
}

/// A pool as it is in the maps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ObservedPool {
    /// What it is.
    pub record: PoolRecord,
    /// The member of each slot; empty when the pool has none to offer.
    pub table: Vec<MemberId>,
}

/// A member, as wanted or as it is in the maps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberRecord {
    /// `load_balancer/pool/member`.
    pub label: String,
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// The pool it belongs to.
    pub pool: PoolId,
    /// Flags of [`lb_common::member::MemberState`] (`VALID` and `IPV6` are
    /// added by the writer and left out when observed).
    pub flags: u64,
    /// The configured weight.
    pub weight: u16,
    /// How frames reach it, when known.
    pub next_hop: Option<NextHop>,
    /// What the way there takes.
    pub path: MemberPath,
    /// How many flows may live at a time; 0 for as many as there are.
    pub connection_limit: u32,
}

/// What the way to a member takes, for packets that are wrapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MemberPath {
    /// The largest IP packet in bytes; 0 where it is not known.
    pub mtu: u16,
    /// Where wrapped packets come from, of the member's family, and how many of
    /// its last bits differ from flow to flow (at most 32).
    pub source: Option<(IpAddr, u8)>,
}

/// Everything the maps say, flows and counters aside.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Observed {
    /// By address.
    pub vips: BTreeMap<IpAddr, ObservedVip>,
    /// By id.
    pub instances: BTreeMap<InstanceId, ObservedInstance>,
    /// Who may send VRRP adverts: VRIDs, each with an address of its family.
    pub advert_sources: BTreeSet<(u8, IpAddr)>,
    /// By VIP, transport and port.
    pub listeners: BTreeMap<ListenerKey, ObservedListener>,
    /// By id.
    pub pools: BTreeMap<PoolId, ObservedPool>,
    /// By id, retired ones included (flag `RETIRED`).
    pub members: BTreeMap<MemberId, MemberRecord>,
    /// From where listeners may be reached, those that are guarded.
    pub allowed_cidrs: BTreeMap<ListenerId, BTreeSet<Prefix>>,
    /// Whose packets go out with a VIP as their source.
    pub dnat_members: DnatMembers,
    /// The lowest and highest SNAT port.
    pub snat_ports: (u16, u16),
}

/// What of the maps is read at once: all of them take tens of milliseconds with ten
/// thousand members, which is long for whoever waits in the meantime.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Part {
    /// All there is.
    Everything,
    /// Members with these ids.
    Members(Range<u16>),
    /// Pools with these ids, their tables included.
    Pools(Range<u16>),
    /// Everything but members and pools.
    Rest,
}

impl Part {
    /// Whether members are part of it, and which: a range of ids.
    fn members(&self) -> Range<u16> {
        match self {
            Self::Everything => 0..u16::MAX,
            Self::Members(ids) => ids.clone(),
            Self::Pools(_) | Self::Rest => 0..0,
        }
    }

    /// Whether pools are part of it, and which: a range of ids.
    fn pools(&self) -> Range<u16> {
        match self {
            Self::Everything => 0..u16::MAX,
            Self::Pools(ids) => ids.clone(),
            Self::Members(_) | Self::Rest => 0..0,
        }
    }

    /// Whether everything else is part of it.
    const fn has_rest(&self) -> bool {
        matches!(self, Self::Everything | Self::Rest)
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("entries"),
            Self::Members(_) => f.write_str("members"),
            Self::Pools(_) => f.write_str("pools"),
            Self::Rest => f.write_str("VIPs, listeners or VRRP instances"),
        }
    }
}

impl Observed {
    /// Whether this balancer answers for a VIP: it is switched on, and its
    /// instance, if it has one, is Active.
    #[must_use]
    pub fn answers_for(&self, vip: &ObservedVip) -> bool {
        let carried = |id| self.instances.get(&id).is_some_and(|instance| instance.active);
        vip.active && vip.instance.is_none_or(carried)
    }
}

/// One step from what is to what should be. Each is atomic for packets: they
/// meet the state before it or after it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// Creates a member or changes its flags, weight, label or next hop. Its
    /// address, port and pool never change while the id is in use.
    PutMember {
        /// A free id, or the member's.
        id: MemberId,
        /// What it is to be.
        record: MemberRecord,
    },
    /// Creates a pool or gives it another table, in one switch.
    PutPool {
        /// A free id, or the pool's.
        id: PoolId,
        /// What it is.
        record: PoolRecord,
        /// The member of each slot.
        table: Vec<MemberId>,
        /// For how long flows that are not recorded keep the member of the table
        /// before, where the data path cannot tell them from new ones.
        hold: Duration,
    },
    /// Creates a VRRP instance, which is not Active then, or changes its label
    /// or address. Whether it is Active is [`Switchboard`]'s to say.
    PutInstance {
        /// A free id, or the instance's.
        id: InstanceId,
        /// Its name.
        label: String,
        /// The virtual router's Ethernet address, if it has one.
        mac: Option<Mac>,
    },
    /// Creates a VIP, or changes whether it is switched on or what moves it.
    PutVip {
        /// A free id, or the VIP's.
        id: VipId,
        /// The address.
        address: IpAddr,
        /// `load_balancer`, or `vrrp instance`.
        label: String,
        /// Whether it is switched on.
        active: bool,
        /// The VRRP instance that moves it.
        instance: Option<InstanceId>,
    },
    /// Replaces the list of those who may send VRRP adverts. A virtual router
    /// is guarded while anybody is listed for it. In between, adverts meet both
    /// lists.
    SetAdvertSources {
        /// VRIDs, each with an address of its family.
        sources: BTreeSet<(u8, IpAddr)>,
    },
    /// Creates a listener or points it to another pool.
    PutListener {
        /// A free id, or the listener's.
        id: ListenerId,
        /// Its VIP.
        vip: VipId,
        /// Its transport.
        transport: Transport,
        /// Its port.
        port: u16,
        /// `load_balancer/listener`.
        label: String,
        /// Its pool; id 0 for none.
        pool: PoolId,
        /// Whether its port lies in the SNAT range.
        in_snat_range: bool,
        /// What is asked before a flow is opened.
        rules: ListenerRules,
    },
    /// Replaces the list of networks from which a listener may be reached. New ones
    /// come before old ones go.
    SetAllowedCidrs {
        /// The listener's id.
        listener: ListenerId,
        /// The networks; none for a listener that is not guarded.
        prefixes: BTreeSet<Prefix>,
    },
    /// Replaces the list of members whose packets go out with a VIP as their
    /// source. New ones come before old ones go.
    SetDnatMembers {
        /// All of them.
        members: DnatMembers,
    },
    /// Removes a listener and forgets its flows.
    RemoveListener {
        /// Its id.
        id: ListenerId,
        /// Its VIP.
        vip: VipId,
        /// Its transport.
        transport: Transport,
        /// Its port.
        port: u16,
    },
    /// Removes a VIP that no listener uses.
    RemoveVip {
        /// Its id.
        id: VipId,
        /// Its address.
        address: IpAddr,
    },
    /// Removes a VRRP instance that no VIP names.
    RemoveInstance {
        /// Its id.
        id: InstanceId,
    },
    /// Removes a pool that no listener uses.
    RemovePool {
        /// Its id.
        id: PoolId,
    },
    /// Marks a member that no table names as retired: flows it has may end.
    RetireMember {
        /// Its id.
        id: MemberId,
    },
    /// Frees the id of a retired member. Refused while a flow names it.
    ReleaseMember {
        /// Its id.
        id: MemberId,
    },
}

/// Why an operation or observation failed.
#[derive(Debug, thiserror::Error)]
pub enum DataplaneError {
    /// A table is full; the remedy names the limit.
    #[error("table {table} is full at {limit} entries")]
    Full {
        /// Its name.
        table: &'static str,
        /// Its size.
        limit: u32,
    },
    /// The operation contradicts what is in the maps: a defect in the plan.
    #[error("refuse {op}: {reason}")]
    Refused {
        /// The operation's name.
        op: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A retired member still has flows.
    #[error("member {0:?} still has flows")]
    MemberInUse(MemberId),
    /// The kernel refused something.
    #[error("{what}: {source}")]
    Kernel {
        /// What was being done, with its object.
        what: String,
        /// What the kernel or aya said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What is pinned belongs to another version.
    #[error("data path at {path} has ABI version {found}, this program speaks {expected}")]
    AbiVersion {
        /// The pin directory.
        path: String,
        /// What is pinned.
        found: u32,
        /// What we speak.
        expected: u32,
    },
}

/// Where intentions are carried out.
pub trait Dataplane {
    /// Reads a part of the maps back; what is not of it is left empty.
    ///
    /// # Errors
    /// When the maps cannot be read.
    fn observe_part(&self, part: &Part) -> Result<Observed, DataplaneError>;

    /// Reads everything back.
    ///
    /// # Errors
    /// When the maps cannot be read.
    fn observe(&self) -> Result<Observed, DataplaneError> {
        self.observe_part(&Part::Everything)
    }

    /// Carries out one operation.
    ///
    /// # Errors
    /// Nothing has changed when an error is returned.
    fn apply(&mut self, op: &Op) -> Result<(), DataplaneError>;
}

/// A NAT flow as an operator sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FlowRecord {
    /// The client's address.
    pub client: IpAddr,
    /// The client's port.
    pub client_port: u16,
    /// The listener's id.
    pub listener: ListenerId,
    /// The member's id.
    pub member: MemberId,
    /// The source port the member sees.
    pub snat_port: u16,
    /// The client's side.
    pub forward: Stage,
    /// The member's side.
    pub back: Stage,
    /// Whether the flow is confirmed (nothing can displace it).
    pub confirmed: bool,
    /// Milliseconds since its last packet, to about a second.
    pub idle_millis: u64,
}

/// What is counted and remembered, for an operator.
pub trait Statistics {
    /// Traffic of a listener, all CPUs together.
    ///
    /// # Errors
    /// When the map cannot be read.
    fn listener_counters(&self, id: ListenerId) -> Result<TrafficCounters, DataplaneError>;

    /// Traffic of a member, all CPUs together.
    ///
    /// # Errors
    /// When the map cannot be read.
    fn member_counters(&self, id: MemberId) -> Result<TrafficCounters, DataplaneError>;

    /// How many flows a listener or a member has now, as far as they are counted:
    /// to a few seconds.
    fn live(&self, listener: Option<ListenerId>, member: Option<MemberId>) -> u64;

    /// The pools with a change that is not over: flows go by the table before.
    fn changing(&self) -> Vec<PoolId>;

    /// Value of each entry of [`lb_common::counters::Event`], by index.
    ///
    /// # Errors
    /// When the map cannot be read.
    fn events(&self) -> Result<Vec<u64>, DataplaneError>;

    /// Calls `each` for every flow that is not idle for too long.
    ///
    /// # Errors
    /// When the maps cannot be read.
    fn for_each_flow(&self, each: &mut dyn FnMut(FlowRecord)) -> Result<(), DataplaneError>;
}
