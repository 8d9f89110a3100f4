//! From what an operator wants to what the maps should say. Pure.
//!
//! What must not be here: ids (the planner's), files, clocks, kernels.

use std::{collections::BTreeMap, net::IpAddr};

use lb_common::{member::NextHop, pool::SlotHash};

use crate::dataplane::ListenerKey;

/// What identifies a member: its pool's label, its address, its port.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MemberKey {
    /// `load_balancer/pool`.
    pub pool: String,
    /// The member's address.
    pub address: IpAddr,
    /// The member's port.
    pub port: u16,
}

/// What the maps should say.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Desired {
    /// VIPs by address: label and whether active.
    pub vips: BTreeMap<IpAddr, DesiredVip>,
    /// Listeners.
    pub listeners: BTreeMap<ListenerKey, DesiredListener>,
    /// Pools by label.
    pub pools: BTreeMap<String, DesiredPool>,
    /// Members.
    pub members: BTreeMap<MemberKey, DesiredMember>,
}

/// A VIP that should be there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DesiredVip {
    /// `load_balancer`.
    pub label: String,
    /// Whether this balancer answers for it.
    pub active: bool,
}

/// A listener that should be there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DesiredListener {
    /// `load_balancer/listener`.
    pub label: String,
    /// Label of its pool.
    pub pool: Option<String>,
}

/// A pool that should be there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DesiredPool {
    /// What of a flow is hashed.
    pub hash: SlotHash,
    /// The members its table names; every key is in [`Desired::members`].
    pub members: Vec<MemberKey>,
    /// The member of each slot, as an index into `members`. Empty when no
    /// member can take traffic.
    pub table: Vec<u16>,
}

/// A member that should be there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DesiredMember {
    /// `load_balancer/pool/member`.
    pub label: String,
    /// Flags of [`lb_common::member::MemberState`].
    pub flags: u64,
    /// The effective weight.
    pub weight: u16,
    /// How frames reach it, when known.
    pub next_hop: Option<NextHop>,
}
