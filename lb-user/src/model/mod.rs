//! What an operator wants, in Octavia's words, valid by construction.
//!
//! What must not be here: serde, files, sockets, ids. A value of these types
//! has passed every check that needs nothing but the value itself; whoever
//! holds a [`Model`] need not check it again.

use std::{
    net::IpAddr,
    num::{NonZeroU16, NonZeroU32},
    sync::Arc,
    time::Duration,
};

pub use lb_common::protocol::Transport;
pub use lb_health::Kind as MonitorKind;

mod build;
mod cidr;
mod error;
mod forward;
mod modes;
mod monitor;
mod name;

pub use cidr::{Cidr, CidrError, MAX_CIDRS};
pub use error::{AddressFlaw, ModelError, ModelErrorKind, Place};
pub use forward::{Algorithm, ForwardMode, Mss, MssClamp, Persistence, TransitionHold};
pub use monitor::monitors_of;
pub use name::{Name, NameError};

/// Everything one balancer serves. Build it with [`Model::new`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Model {
    /// Shared: whoever keeps a copy keeps no members of its own.
    load_balancers: Arc<[LoadBalancer]>,
}

/// A VIP and what stands behind it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoadBalancer {
    /// Unique among load balancers.
    pub name: Name,
    /// The address clients talk to.
    pub vip_address: IpAddr,
    /// Whether this balancer serves the VIP alone or as one of a pair.
    pub topology: Topology,
    /// Off: the VIP is neither answered for nor balanced.
    pub admin_state_up: bool,
    /// Where clients arrive.
    pub listeners: Vec<Listener>,
    /// Where members are.
    pub pools: Vec<Pool>,
}

/// Who serves a VIP.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Topology {
    /// This balancer alone: it answers for the VIP as long as it runs.
    #[default]
    Single,
    /// A pair of balancers, of which the Active one answers for the VIP.
    ActiveStandby {
        /// The VRRP instance that decides which of the two that is.
        vrrp: Name,
    },
}

/// A port of a VIP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listener {
    /// Unique among the load balancer's listeners.
    pub name: Name,
    /// The transport it accepts.
    pub protocol: Transport,
    /// The port it accepts it at.
    pub protocol_port: NonZeroU16,
    /// The pool, by name, within the same load balancer.
    pub default_pool: Option<Name>,
    /// From where it may be reached, of the VIP's family; from everywhere if there is none.
    pub allowed_cidrs: Vec<Cidr>,
    /// How many flows it may have at once.
    pub connection_limit: Option<NonZeroU32>,
    /// How many flows one source address may open a second, and at once.
    pub new_flows_per_source: Option<NonZeroU32>,
    /// Off: as if the listener were not there.
    pub admin_state_up: bool,
}

/// Members that share an algorithm and a health monitor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pool {
    /// Unique among the load balancer's pools.
    pub name: Name,
    /// The transport its members speak.
    pub protocol: Transport,
    /// How a member is chosen.
    pub lb_algorithm: Algorithm,
    /// How a packet gets to it.
    pub forward_mode: ForwardMode,
    /// Whether a client's flows stay together.
    pub session_persistence: Option<Persistence>,
    /// What becomes of the largest segment that a SYN announces.
    pub mss_clamp: MssClamp,
    /// How long flows stay that a change of this pool moved away.
    pub transition_hold: TransitionHold,
    /// Off: the pool offers no member.
    pub admin_state_up: bool,
    /// Its members.
    pub members: Vec<Member>,
    /// How they are watched; without it they are taken to be healthy.
    pub health_monitor: Option<HealthMonitor>,
    /// What becomes of a down member's established TCP flows.
    pub on_member_down: OnMemberDown,
    /// When more than this share of the members that are on is down at once, traffic
    /// goes to all of them as if they were up. `None`: never.
    pub panic_threshold: Option<Percent>,
}

/// A server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Unique in its pool; `address:port` unless named.
    pub name: Name,
    /// Where it is, of the VIP's family unless the mode crosses families.
    pub address: IpAddr,
    /// Its port: the listener's in direct modes, otherwise any.
    pub protocol_port: NonZeroU16,
    /// Its share of new flows.
    pub weight: Weight,
    /// Used only while no other member can be.
    pub backup: bool,
    /// How many flows it may have at once.
    pub connection_limit: Option<NonZeroU32>,
    /// Off: takes no new flows, and its UDP flows move.
    pub admin_state_up: bool,
    /// Where it is probed instead of `address`.
    pub monitor_address: Option<IpAddr>,
    /// The port it is probed at instead of `protocol_port`.
    pub monitor_port: Option<NonZeroU16>,
}

/// A weight, 0 to 256 as in Octavia. Zero drains the member.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Weight(u16);

impl Weight {
    /// The largest weight.
    pub const MAX: u16 = 256;

    /// A weight, or `None` above [`Weight::MAX`].
    #[must_use]
    pub const fn new(weight: u16) -> Option<Self> {
        if weight <= Self::MAX { Some(Self(weight)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self(1)
    }
}

/// What becomes of the established TCP flows of a member that went down.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnMemberDown {
    /// They go on to it: it may be back before its clients give up.
    #[default]
    Keep,
    /// The data path answers their next packet with RST, so that clients come again
    /// and find another member.
    Reset,
}

/// A share, 1 to 99 percent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Percent(u8);

impl Percent {
    /// A share, or `None` outside of 1 to 99.
    #[must_use]
    pub const fn new(percent: u8) -> Option<Self> {
        if percent >= 1 && percent <= 99 { Some(Self(percent)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

/// How a pool's members are watched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HealthMonitor {
    /// What a probe asks.
    pub kind: MonitorKind,
    /// From the start of one probe to the start of the next.
    pub delay: Duration,
    /// How long one probe may take.
    pub timeout: Duration,
    /// Successes in a row that bring a member up, 1 to 10.
    pub max_retries: u8,
    /// Failures in a row that take a member down, 1 to 10.
    pub max_retries_down: u8,
    /// Whether a member that flaps needs more successes to come up.
    pub flap_damping: bool,
    /// Where probes go.
    pub probe_path: ProbePath,
    /// Off: members are taken to be healthy.
    pub admin_state_up: bool,
}

/// Where probes go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ProbePath {
    /// To the member's own address.
    #[default]
    Member,
    /// To the VIP on the member, the way the data path sends its packets. Only modes in
    /// which members hold the VIP have it.
    Vip,
}

impl LoadBalancer {
    /// `load_balancer/listener`: what an operator calls one of its listeners.
    #[must_use]
    pub fn label_of_listener(&self, listener: &Listener) -> String {
        format!("{}/{}", self.name, listener.name)
    }

    /// `load_balancer/pool`: what an operator calls one of its pools.
    #[must_use]
    pub fn label_of_pool(&self, pool: &Pool) -> String {
        format!("{}/{}", self.name, pool.name)
    }

    /// `load_balancer/pool/member`: what an operator calls a member of one of its pools.
    #[must_use]
    pub fn label_of_member(&self, pool: &Pool, member: &Member) -> String {
        format!("{}/{}/{}", self.name, pool.name, member.name)
    }
}

impl Model {
    /// Checks what only shows with everything together: names and VIPs are
    /// unique, ports of one protocol on one VIP too, listeners name existing
    /// pools of their protocol, members have the VIP's address family (unless the
    /// mode crosses families) and are
    /// not there twice, modes have the ports and members that they need, health monitors suit their pools, and every limit of
    /// [`lb_common::limits`] holds.
    ///
    /// # Errors
    /// Every violation, each with its place.
    pub fn new(load_balancers: Vec<LoadBalancer>) -> Result<Self, Vec<ModelError>> {
        build::check(&load_balancers)?;
        Ok(Self { load_balancers: load_balancers.into() })
    }

    /// The load balancers, in the order they were given.
    #[must_use]
    pub fn load_balancers(&self) -> &[LoadBalancer] {
        &self.load_balancers
    }
}
