//! `LISTENERS`: which listener has this VIP, port and protocol?
//!
//! The same kind of bucketed index as the VIPs'. A way is published by its
//! `entry` word, whose `VALID` bit alone says whether it is in use.

use crate::atomic::AtomicU64;

use crate::{hash, protocol::Transport};

/// What is looked up: VIP id, protocol and port. Never zero.
#[inline(always)]
#[must_use]
pub const fn key(vip: u16, transport: Transport, port: u16) -> u64 {
    ((vip as u64) << 32) | ((transport.code() as u64) << 16) | port as u64
}

/// The same from [`crate::protocol::vip_and_transport`] and a port.
#[inline(always)]
#[must_use]
pub const fn key_of(vip_and_transport: u16, port: u16) -> u64 {
    ((vip_and_transport as u64 & 0x3fff) << 32) | ((vip_and_transport as u64 >> 14) << 16) | port as u64
}

/// The VIP id, transport and port (host order) of a key.
#[must_use]
pub const fn parts(key: u64) -> Option<(u16, Transport, u16)> {
    match Transport::from_code((key >> 16) as u16) {
        Some(transport) => Some(((key >> 32) as u16, transport, key as u16)),
        None => None,
    }
}

/// The word that says what a listener does. Zero: the way is free.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub struct ListenerEntry(pub u64);

impl ListenerEntry {
    const VALID: u64 = 1 << 63;
    const SNAT_RANGE: u64 = 1 << 62;
    /// Only sources in `CIDRS4` or `CIDRS6` may open flows: `allowed_cidrs`.
    pub const GUARDED: u64 = 1 << 61;
    /// There is a limit in `LISTENER_LOADS`: `connection_limit`.
    pub const LIMITED: u64 = 1 << 60;
    /// There is a rate for each source in `LISTENER_LOADS`.
    pub const RATED: u64 = 1 << 59;
    /// All of what must be asked before a flow is opened.
    pub const RULES: u64 = Self::GUARDED | Self::LIMITED | Self::RATED;

    /// A listener with its id and its pool's. `in_snat_range` says that its
    /// port is one a flow's SNAT port could have been before the listener came:
    /// replies to such flows are then looked for first.
    #[must_use]
    pub const fn new(id: u16, pool: u16, in_snat_range: bool) -> Self {
        Self(Self::VALID | if in_snat_range { Self::SNAT_RANGE } else { 0 } | ((pool as u64) << 16) | id as u64)
    }

    /// The same with rules, of [`ListenerEntry::RULES`].
    #[must_use]
    pub const fn with_rules(self, rules: u64) -> Self {
        Self(self.0 & !Self::RULES | rules & Self::RULES)
    }

    /// Whether any bit of `rules` is set.
    #[inline(always)]
    #[must_use]
    pub const fn has(self, rules: u64) -> bool {
        self.0 & rules != 0
    }

    /// Its rules.
    #[must_use]
    pub const fn rules(self) -> u64 {
        self.0 & Self::RULES
    }

    /// Whether the way is in use.
    #[inline(always)]
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.0 & Self::VALID != 0
    }

    /// Whether replies may arrive at the listener's own port.
    #[inline(always)]
    #[must_use]
    pub const fn is_in_snat_range(self) -> bool {
        self.0 & Self::SNAT_RANGE != 0
    }

    /// Whether a packet to this port may be a member's reply: nobody listens
    /// there, or replies may arrive all the same.
    #[inline(always)]
    #[must_use]
    pub const fn may_get_replies(self) -> bool {
        self.0 & (Self::VALID | Self::SNAT_RANGE) != Self::VALID
    }

    /// The listener's id.
    #[inline(always)]
    #[must_use]
    pub const fn id(self) -> u16 {
        self.0 as u16
    }

    /// The pool's id; [`crate::pool::NO_POOL`] refuses every new flow.
    #[inline(always)]
    #[must_use]
    pub const fn pool(self) -> u16 {
        (self.0 >> 16) as u16
    }
}

/// A listener.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Listener {
    /// A [`key`].
    pub key: AtomicU64,
    /// A [`ListenerEntry`].
    pub entry: AtomicU64,
}

/// `LISTENER_KEYS`: the key of the listener with an id, for whoever holds the
/// id only (a flow entry), and its VIP's address.
#[repr(C)]
#[derive(Debug, Default)]
pub struct ListenerOf {
    /// A [`key`], or zero.
    pub key: AtomicU64,
    /// The VIP's address as its bytes lie in memory.
    pub vip: [AtomicU64; 2],
    /// Room.
    pub reserved: AtomicU64,
}

/// A cache line of listeners.
#[repr(C)]
#[derive(Debug, Default)]
pub struct ListenerLine {
    /// The ways.
    pub ways: [Listener; 4],
}

const _: () = assert!(size_of::<ListenerLine>() == 64);

/// The first line a key may lie in; `lines` is a power of two.
#[inline(always)]
#[must_use]
pub const fn line(key: u64, lines: u32) -> u32 {
    hash::line(key, lines)
}
