//! What a router is told, what it answers, and the reasons it gives.

use core::fmt;
use core::net::IpAddr;
use core::time::Duration;

use crate::config::RouterConfig;
use crate::packet::Advert;
use crate::time::Instant;
use crate::types::{Priority, State};

/// What happens to a router.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input<'a> {
    /// Take part.
    Startup,
    /// Take part again after an end without [`Input::Shutdown`], with the data
    /// path still active. The first input of a router, instead of
    /// [`Input::Startup`].
    Resume {
        /// How long ago the last sign of life of the Active that this was is.
        held: Duration,
    },
    /// Take part no more; complete at [`Action::Finished`].
    Shutdown,
    /// An accepted advert.
    Advert(&'a Advert),
    /// The deadline is reached. Before it, this does nothing.
    Timeout,
    /// Be this from now on.
    Configure(RouterConfig),
    /// Send from this address from now on.
    PrimaryAddress(IpAddr),
    /// Something without which this node cannot be Active has failed, or works
    /// again.
    Fault(bool),
    /// The priority after what is tracked. An owner's is not changed by it.
    Priority(Priority),
    /// Whoever runs this router did not come to it for so long.
    Stalled(Duration),
    /// The operator wants another node to be Active, once.
    Failover,
    /// The operator wants this node to take no part until [`Input::Resumed`].
    Pause,
    /// The operator wants this node to take part as if there had been neither
    /// [`Input::Failover`] nor [`Input::Pause`].
    Resumed,
}

/// What is to be done about it, in this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Build an advert from the current configuration, and send it.
    Send {
        /// The priority in it; 0 says that this node leaves.
        priority: u8,
    },
    /// Let the data path answer and work for the addresses, or no longer.
    SetActive(bool),
    /// Tell the network where the addresses are: one gratuitous ARP or
    /// unsolicited neighbour advertisement each, repeated as configured. Ends
    /// at the next [`Action::SetActive`] of `false`.
    Announce,
    /// The state changed.
    Moved {
        /// The state before.
        from: State,
        /// The state now.
        to: State,
        /// Why.
        reason: Reason,
    },
    /// Something odd, for the log. Each kind is told at most once a minute.
    Noticed(Anomaly),
    /// [`Input::Shutdown`] is complete.
    Finished,
}

/// Why a router is in its state.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Reason {
    /// It is new.
    New,
    /// It was started.
    Startup,
    /// It was Active when its process ended, and goes on.
    Resumed,
    /// It was Active when its process ended, too long ago to be sure.
    ResumedLate,
    /// Nobody was heard for `Active_Down`.
    Silence,
    /// The Active said that it leaves.
    ActiveLeft,
    /// The Active has a lower priority.
    Preempted,
    /// Another Active has a higher priority.
    HigherPriority,
    /// Another Active has the same priority and a higher address.
    HigherAddress,
    /// It was shut down.
    Shutdown,
    /// Something it needs has failed.
    Fault,
    /// What it needs works again.
    FaultOver,
    /// The operator moved it away.
    Failover,
    /// The operator keeps it out.
    Paused,
    /// The operator lets it in again.
    Unpaused,
    /// It was not scheduled for so long that another may have taken over.
    Stalled,
    /// Its configuration makes it so.
    Configured,
}

impl Reason {
    /// The name in events and on the command line.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Startup => "startup",
            Self::Resumed => "resumed",
            Self::ResumedLate => "resumed_late",
            Self::Silence => "silence",
            Self::ActiveLeft => "active_left",
            Self::Preempted => "preempted",
            Self::HigherPriority => "higher_priority",
            Self::HigherAddress => "higher_address",
            Self::Shutdown => "shutdown",
            Self::Fault => "fault",
            Self::FaultOver => "fault_over",
            Self::Failover => "failover",
            Self::Paused => "paused",
            Self::Unpaused => "unpaused",
            Self::Stalled => "stalled",
            Self::Configured => "configured",
        }
    }

    /// What it means, in the words an operator reads.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::New => "the router has not been started yet",
            Self::Startup => "the router was started",
            Self::Resumed => "it was active when its process ended, and goes on",
            Self::ResumedLate => "it was active when its process ended, and listens whether another took over since",
            Self::Silence => "no active router was heard for Active_Down",
            Self::ActiveLeft => "the active router said that it leaves",
            Self::Preempted => "the active router has a lower priority",
            Self::HigherPriority => "another active router has a higher priority",
            Self::HigherAddress => "another active router has the same priority and a higher address",
            Self::Shutdown => "the router was shut down",
            Self::Fault => "something it needs has failed",
            Self::FaultOver => "what it needs works again",
            Self::Failover => "an operator moved it away",
            Self::Paused => "an operator keeps it out",
            Self::Unpaused => "an operator lets it take part again",
            Self::Stalled => "it was not scheduled for so long that another may have taken over",
            Self::Configured => "its configuration changed",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.meaning())
    }
}

/// Something odd that changes nothing by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Anomaly {
    /// Another router was Active at the same time.
    OtherActive {
        /// Its address.
        source: IpAddr,
        /// Its priority; 0 if it was about to leave.
        priority: u8,
    },
    /// Another router has the same priority; addresses decide between them.
    EqualPriority {
        /// Its address.
        source: IpAddr,
    },
    /// Another router says that it owns the addresses, as this one does.
    SecondOwner {
        /// Its address.
        source: IpAddr,
    },
    /// Another router sends at another interval than this one.
    IntervalDiffers {
        /// Its address.
        source: IpAddr,
        /// The interval that this one waits by.
        interval: Duration,
    },
    /// Another router's interval is above the limit, which counts instead.
    IntervalLimited {
        /// Its address.
        source: IpAddr,
    },
    /// Another router announces other addresses, or in another order.
    AddressesDiffer {
        /// Its address.
        source: IpAddr,
    },
    /// Another router's adverts are not signed.
    Unsigned {
        /// Its address.
        source: IpAddr,
    },
    /// The router was not scheduled for longer than `Active_Down`.
    Stalled {
        /// For how long.
        by: Duration,
    },
    /// The addresses were given up, and nobody was heard to take them.
    NobodyTookOver,
}

impl Anomaly {
    /// How many kinds there are.
    pub(super) const KINDS: usize = 9;

    /// Its place among the kinds.
    pub(super) const fn kind(&self) -> usize {
        match self {
            Self::OtherActive { .. } => 0,
            Self::EqualPriority { .. } => 1,
            Self::SecondOwner { .. } => 2,
            Self::IntervalDiffers { .. } => 3,
            Self::IntervalLimited { .. } => 4,
            Self::AddressesDiffer { .. } => 5,
            Self::Unsigned { .. } => 6,
            Self::Stalled { .. } => 7,
            Self::NobodyTookOver => 8,
        }
    }

    /// The name in events.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::OtherActive { .. } => "other_active",
            Self::EqualPriority { .. } => "equal_priority",
            Self::SecondOwner { .. } => "second_owner",
            Self::IntervalDiffers { .. } => "interval_differs",
            Self::IntervalLimited { .. } => "interval_limited",
            Self::AddressesDiffer { .. } => "addresses_differ",
            Self::Unsigned { .. } => "unsigned",
            Self::Stalled { .. } => "stalled",
            Self::NobodyTookOver => "nobody_took_over",
        }
    }
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherActive { source, priority } => {
                write!(f, "{source} (priority {priority}) was active at the same time: look for a cut network")
            }
            Self::EqualPriority { source } => {
                write!(f, "{source} has the same priority: give each router its own")
            }
            Self::SecondOwner { source } => {
                write!(f, "{source} says that it owns the addresses too: only one router can have priority 255")
            }
            Self::IntervalDiffers { source, interval } => {
                write!(f, "{source} sends at another interval; this router waits by {interval:?}")
            }
            Self::IntervalLimited { source } => {
                write!(f, "{source} sends at an interval above the limit; this router waits by the limit")
            }
            Self::AddressesDiffer { source } => {
                write!(f, "{source} announces other addresses, or in another order: configure all routers alike")
            }
            Self::Unsigned { source } => {
                write!(f, "{source} does not sign its adverts: give it the keys, then enforce")
            }
            Self::Stalled { by } => write!(f, "the router was not scheduled for {by:?}: look for an overloaded host"),
            Self::NobodyTookOver => f.write_str("the addresses were given up, and nobody was heard to take them"),
        }
    }
}

/// The last router that was heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heard {
    /// Its address.
    pub source: IpAddr,
    /// The priority it announced; 0 if it was about to leave.
    pub priority: u8,
    /// When.
    pub at: Instant,
}

/// What there is to know about a router at a moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RouterFacts {
    /// Its state.
    pub state: State,
    /// Why it is in it.
    pub reason: Reason,
    /// Since when; the origin of time for a router that never moved.
    pub since: Instant,
    /// Whether the data path works for the addresses.
    pub carrying: bool,
    /// Whether it gives the addresses up and waits for another to take them.
    pub leaving: bool,
    /// Its priority after what is tracked.
    pub priority: Priority,
    /// Its priority as configured.
    pub configured_priority: Priority,
    /// The interval it waits by: its own, or what it learned.
    pub learned_interval: Duration,
    /// `Skew_Time` by that interval.
    pub skew: Duration,
    /// `Active_Down_Interval` by that interval.
    pub active_down: Duration,
    /// When it will do something by itself.
    pub deadline: Option<Instant>,
    /// Until when it lets a lower Active be, if it is about to preempt.
    pub preempt_from: Option<Instant>,
    /// Whether an operator keeps it out.
    pub paused: bool,
    /// Whether an operator moved it away, so that it does not preempt.
    pub yielded: bool,
    /// Whether something it needs has failed.
    pub fault: bool,
    /// Whom it heard last.
    pub heard: Option<Heard>,
}
