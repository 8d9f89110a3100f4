//! Octavia's operating status of everything and the reason for it, from facts. Pure.
//!
//! Octavia's health manager derives a status from what a data plane reports:
//! a member that is up is `ONLINE`, one that is down `ERROR`, one that drains
//! `DRAINING`, one that is switched off `OFFLINE`, one that nobody watches
//! `NO_MONITOR`; a pool is `ONLINE`, or `DEGRADED` when a member is down, or
//! `ERROR` when it can serve nobody; what is above takes the worst of what is
//! below. The same is done here, with one thing more: a member that the data
//! path cannot reach is in `ERROR` too, whatever a monitor says, because no
//! packet gets to it.
//!
//! Right after a first start no next hop is known, so every member is in
//! `ERROR` for the moment until it is looked up. That is the truth: packets are
//! dropped as `member_unresolved` in that moment. A daemon that adopts a data
//! path finds the next hops in it.
//!
//! Others rely on this: whatever is not `ONLINE` has a reason, and every reason
//! is shorter than [`MAX_REASON`] bytes unless it repeats one that is given.

use std::fmt::{self, Display, Write as _};

use super::view::OperatingStatus::{self, Degraded, Draining, Error, NoMonitor, Offline, Online};

/// Longest reason of a pool, in bytes; a listener's and a load balancer's add the
/// labels of what they are about.
pub const MAX_REASON: usize = 700;

/// Members that a pool's reason names.
const MEMBERS_NAMED: usize = 4;

/// Longest reason of a member within its pool's, in bytes.
const MAX_OF_MEMBER: usize = 80;

/// What has a status.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Object {
    /// A load balancer.
    LoadBalancer,
    /// A listener.
    Listener,
    /// A pool.
    Pool,
    /// The health monitor of a pool, called by the pool's label.
    HealthMonitor,
    /// A member.
    Member,
}

impl Object {
    /// The word where programs read it; the API's.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::LoadBalancer => "loadbalancer",
            Self::Listener => "listener",
            Self::Pool => "pool",
            Self::HealthMonitor => "healthmonitor",
            Self::Member => "member",
        }
    }

    /// What it is called in a sentence.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::LoadBalancer => "load balancer",
            Self::HealthMonitor => "health monitor",
            _ => self.word(),
        }
    }
}

const SWITCHED_OFF: &str = "switched off (admin_state_up = false)";
const BALANCER_OFF: &str = "its load balancer is switched off";

/// Why a pool as a whole is out of use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PoolOff {
    /// Its load balancer is switched off.
    LoadBalancer,
    /// It is switched off itself.
    Pool,
    /// No listener that is switched on names it, so it is not in the data path.
    Unused,
}

/// Why a member drains.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Drain {
    /// An operator drains it.
    Operator,
    /// Its weight is zero.
    Weight,
}

impl Drain {
    /// Of a member with this weight, that an operator drains or not.
    #[must_use]
    pub const fn of(weight: u16, drained: bool) -> Option<Self> {
        match (weight, drained) {
            (0, _) => Some(Self::Weight),
            (_, true) => Some(Self::Operator),
            (_, false) => None,
        }
    }
}

/// What is known about a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemberFacts<'a> {
    /// It is gone from the pool file and waits for its flows to end.
    pub retired: bool,
    /// Whether it is switched on, overrides included.
    pub admin_state_up: bool,
    /// Why its pool is out of use, if it is.
    pub pool_off: Option<PoolOff>,
    /// A monitor found it down.
    pub down: bool,
    /// What the monitor met, where it is known.
    pub down_reason: Option<&'a str>,
    /// Whether so many of its pool are down that traffic goes to all of them.
    pub panic: bool,
    /// Whether the data path knows it.
    pub in_dataplane: bool,
    /// Why it drains, if it does.
    pub drain: Option<Drain>,
    /// Why it cannot be reached, if its next hop is not known.
    pub hop_missing: Option<&'a str>,
    /// Whether a monitor watches it. From the maps alone this is not known, and
    /// a member that works is then called `ONLINE`.
    pub monitored: Option<bool>,
}

/// Why a member is not `ONLINE`; shown, it is what an operator reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemberReason<'a> {
    why: Why<'a>,
    /// Why the packets of the flows it keeps are dropped, if they are.
    hop_missing: Option<&'a str>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Why<'a> {
    Retired,
    SwitchedOff,
    PoolOff(PoolOff),
    Down { met: Option<&'a str>, panic: bool },
    NotInDataPath,
    Drained(Drain),
    OutOfReach(&'a str),
    Unwatched,
}

impl Display for MemberReason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.why {
            Why::Retired => f.write_str("gone from the pool file, kept until the flows it has end")?,
            Why::SwitchedOff => f.write_str(SWITCHED_OFF)?,
            Why::PoolOff(PoolOff::LoadBalancer) => f.write_str(BALANCER_OFF)?,
            Why::PoolOff(PoolOff::Pool) => f.write_str("its pool is switched off")?,
            Why::PoolOff(PoolOff::Unused) => f.write_str("no listener that is switched on uses its pool")?,
            Why::Down { met, panic } => {
                f.write_str(met.unwrap_or("the health monitor found it down"))?;
                if panic {
                    f.write_str("; its pool is in panic, so it gets traffic all the same")?;
                }
            }
            Why::NotInDataPath => {
                f.write_str("the data path does not know it: entering it has failed or is still to come")?
            }
            Why::Drained(Drain::Operator) => f.write_str("drained by an operator")?,
            Why::Drained(Drain::Weight) => f.write_str("its weight is 0")?,
            Why::OutOfReach(missing) => write!(f, "frames cannot reach it: {missing}")?,
            Why::Unwatched => f.write_str("no health monitor watches it")?,
        }
        self.hop_missing.map_or(Ok(()), |missing| write!(f, "; packets of the flows it has are dropped: {missing}"))
    }
}

/// A member's status and, unless it is `ONLINE`, the reason.
///
/// The first of these that applies: retired, switched off, down, not in the
/// data path, draining, out of reach, watched or not.
#[must_use]
pub fn of_member<'a>(facts: &MemberFacts<'a>) -> (OperatingStatus, Option<MemberReason<'a>>) {
    let say = |status, why| (status, Some(MemberReason { why, hop_missing: None }));
    let draining = |why| (Draining, Some(MemberReason { why, hop_missing: facts.hop_missing }));
    if facts.retired {
        return draining(Why::Retired);
    }
    if !facts.admin_state_up {
        return say(Offline, Why::SwitchedOff);
    }
    if let Some(off) = facts.pool_off {
        return say(Offline, Why::PoolOff(off));
    }
    if facts.down {
        return say(Error, Why::Down { met: facts.down_reason, panic: facts.panic });
    }
    if !facts.in_dataplane {
        return say(Error, Why::NotInDataPath);
    }
    if let Some(drain) = facts.drain {
        return draining(Why::Drained(drain));
    }
    match (facts.hop_missing, facts.monitored) {
        (Some(missing), _) => say(Error, Why::OutOfReach(missing)),
        (None, Some(false)) => say(NoMonitor, Why::Unwatched),
        (None, Some(true) | None) => (Online, None),
    }
}

/// So many members are down that traffic goes to all of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PanicFacts {
    /// Members that are down.
    pub down: usize,
    /// Members that count.
    pub of: usize,
    /// More than this share of them, in per cent; from the maps it is not known.
    pub threshold: Option<u8>,
}

/// A pool's reason and a panic's event say it alike.
impl Display for PanicFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { down, of, threshold } = self;
        let are = if *down == 1 { "is" } else { "are" };
        write!(f, "{down} of {of} members {are} down")?;
        threshold.map_or(Ok(()), |percent| write!(f, ", more than {percent} %"))?;
        f.write_str(": traffic goes to all")
    }
}

/// What is known about a pool beside its members.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PoolFacts {
    /// Why it is out of use, if it is.
    pub off: Option<PoolOff>,
    /// Whether the data path has a table for it that is not empty.
    pub has_table: bool,
    /// Whether it is in panic.
    pub panic: Option<PanicFacts>,
}

/// A member, as its pool sees it.
#[derive(Clone, Copy, Debug)]
pub struct MemberStatus<'a, R> {
    /// Its name within the pool.
    pub name: &'a str,
    /// Its status.
    pub status: OperatingStatus,
    /// The reason.
    pub reason: Option<R>,
}

/// A pool's status and, unless it is `ONLINE`, the reason: `OFFLINE` when it is
/// out of use, `ERROR` when it has nobody to offer (its table is empty, or no
/// member works), `DEGRADED` when a member is in error. Members that drain or are
/// switched off do not degrade it: that is what the operator wants.
#[must_use]
pub fn of_pool<'m, R: Display>(
    facts: &PoolFacts,
    members: impl IntoIterator<Item = MemberStatus<'m, R>>,
) -> (OperatingStatus, Option<String>) {
    match facts.off {
        Some(PoolOff::LoadBalancer) => return (Offline, Some(BALANCER_OFF.to_owned())),
        Some(PoolOff::Pool) => return (Offline, Some(SWITCHED_OFF.to_owned())),
        Some(PoolOff::Unused) => return (Offline, Some("no listener that is switched on uses it".to_owned())),
        None => {}
    }
    let mut tally = Tally::default();
    for member in members {
        tally.count(member);
    }
    let status = match (facts.has_table && tally.working > 0, tally.failed) {
        (false, _) => Error,
        (true, 0) => Online,
        (true, _) => Degraded,
    };
    let reason = match (facts.panic, status) {
        (Some(panic), _) => Some(format!("panic: {panic}")),
        (None, Error) if tally.all() == 0 => Some("it has no members: every new flow is refused".to_owned()),
        (None, Error) if tally.working > 0 => {
            Some("the data path has no table for it: entering it has failed or is still to come".to_owned())
        }
        (None, Error) => Some(format!("none of its members works: {}", tally.in_words())),
        (None, Degraded) => Some(tally.those_down()),
        (None, _) => None,
    };
    (status, reason)
}

/// A pool's members by what they are fit for.
#[derive(Default)]
struct Tally {
    working: usize,
    failed: usize,
    draining: usize,
    off: usize,
    /// The first that failed, and why.
    named: String,
}

impl Tally {
    fn count<R: Display>(&mut self, member: MemberStatus<'_, R>) {
        *match member.status {
            Online | NoMonitor | Degraded => &mut self.working,
            Draining => &mut self.draining,
            Offline => &mut self.off,
            Error => &mut self.failed,
        } += 1;
        if member.status == Error && self.failed <= MEMBERS_NAMED {
            let before = if self.named.is_empty() { "" } else { ", " };
            let reason = member.reason.map(|reason| format!(" ({})", shortened(reason.to_string(), MAX_OF_MEMBER)));
            let _ = write!(self.named, "{before}{}{}", member.name, reason.unwrap_or_default());
        }
    }

    const fn all(&self) -> usize {
        self.working + self.failed + self.draining + self.off
    }

    /// How many are down, and the first of them.
    fn those_down(&self) -> String {
        let are = if self.failed == 1 { "is" } else { "are" };
        let members = if self.all() == 1 { "member" } else { "members" };
        let mut text = format!("{} of {} {members} {are} down: {}", self.failed, self.all(), self.named);
        if self.failed > MEMBERS_NAMED {
            let _ = write!(text, " and {} more", self.failed - MEMBERS_NAMED);
        }
        text
    }

    /// What became of each, where none works.
    fn in_words(&self) -> String {
        let some = |number: usize, one: &str, many: &str| match number {
            0 => None,
            1 => Some(format!("1 {one}")),
            _ => Some(format!("{number} {many}")),
        };
        let down = (self.failed > 0).then(|| self.those_down());
        let others = [some(self.draining, "drains", "drain"), some(self.off, "is switched off", "are switched off")];
        [down].into_iter().chain(others).flatten().collect::<Vec<_>>().join("; ")
    }
}

/// A text of at most so many bytes.
fn shortened(mut text: String, most: usize) -> String {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most - '…'.len_utf8()));
        text.push('…');
    }
    text
}

/// A health monitor's status: `ONLINE` while it runs, as in Octavia, whatever it
/// finds.
#[must_use]
pub fn of_monitor(admin_state_up: bool, pool_off: Option<PoolOff>) -> (OperatingStatus, Option<String>) {
    let off = match (admin_state_up, pool_off) {
        (false, _) => SWITCHED_OFF,
        (true, Some(PoolOff::LoadBalancer)) => BALANCER_OFF,
        (true, Some(PoolOff::Pool)) => "its pool is switched off",
        // Who is on no listener's way is watched all the same.
        (true, Some(PoolOff::Unused) | None) => return (Online, None),
    };
    (Offline, Some(off.to_owned()))
}

/// Why a listener is out of use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ListenerOff {
    /// Its load balancer is switched off.
    LoadBalancer,
    /// It is switched off itself.
    Listener,
}

/// A part of something, with its status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part<'a> {
    /// What it is.
    pub object: Object,
    /// Its label.
    pub label: &'a str,
    /// Its status.
    pub status: OperatingStatus,
    /// The reason.
    pub reason: Option<&'a str>,
}

impl Part<'_> {
    /// It as the reason of what it is part of.
    fn blame(&self) -> String {
        let (what, label) = (self.object.name(), self.label);
        match self.reason {
            Some(reason) => format!("{what} {label}: {reason}"),
            None => format!("{what} {label} is {}", self.status.word()),
        }
    }
}

/// A listener's status and, unless it is `ONLINE`, the reason: `OFFLINE` when it
/// or its load balancer is switched off, else its pool's. `ERROR` without a pool,
/// and while the data path does not have it.
#[must_use]
pub fn of_listener(
    off: Option<ListenerOff>,
    in_dataplane: bool,
    pool: Option<Part<'_>>,
) -> (OperatingStatus, Option<String>) {
    let say = |status, reason: &str| (status, Some(reason.to_owned()));
    match (off, in_dataplane, pool) {
        (Some(ListenerOff::LoadBalancer), ..) => say(Offline, BALANCER_OFF),
        (Some(ListenerOff::Listener), ..) => say(Offline, SWITCHED_OFF),
        (None, false, _) => say(Error, "the data path does not have it: entering it has failed or is still to come"),
        (None, true, None) => say(Error, "it has no pool: every new flow is refused"),
        (None, true, Some(pool)) => (pool.status, (pool.status != Online).then(|| pool.blame())),
    }
}

/// A load balancer's status and, unless it is `ONLINE`, the reason: `OFFLINE` when
/// it is switched off, `ERROR` while the data path does not have its VIP, else the
/// worst of its listeners and pools. What is switched off below it does not count,
/// as in Octavia. Of parts that are as bad as each other the first is blamed.
#[must_use]
pub fn of_load_balancer<'p>(
    admin_state_up: bool,
    in_dataplane: bool,
    parts: impl IntoIterator<Item = Part<'p>>,
) -> (OperatingStatus, Option<String>) {
    match (admin_state_up, in_dataplane) {
        (false, _) => return (Offline, Some(SWITCHED_OFF.to_owned())),
        (true, false) => {
            let reason = "the data path does not have its VIP: entering it has failed or is still to come";
            return (Error, Some(reason.to_owned()));
        }
        (true, true) => {}
    }
    let mut worst: Option<Part<'_>> = None;
    let mut pools = 0;
    for part in parts.into_iter().filter(|part| part.status != Offline) {
        pools += usize::from(part.object == Object::Pool && part.status != Online);
        if worst.is_none_or(|worst| badness(part.status) > badness(worst.status)) {
            worst = Some(part);
        }
    }
    let Some(worst) = worst.filter(|worst| worst.status != Online) else { return (Online, None) };
    let mut reason = worst.blame();
    let others = pools - usize::from(worst.object == Object::Pool);
    match others {
        0 => {}
        1 => reason.push_str("; 1 more pool is not well"),
        _ => {
            let _ = write!(reason, "; {others} more pools are not well");
        }
    }
    (worst.status, Some(reason))
}

/// The status of everything together and, unless it is `ONLINE`, the reason: the
/// worst of the load balancers that are switched on, `OFFLINE` without any. While
/// the data path is not attached to an interface where it should be, it is
/// `DEGRADED` at best: whose packets come in there finds no balancer.
#[must_use]
pub fn of_all<'p>(
    load_balancers: impl IntoIterator<Item = Part<'p>>,
    interfaces_missing: &[String],
) -> (OperatingStatus, Option<String>) {
    let mut worst: Option<Part<'_>> = None;
    let mut unwell = 0;
    for part in load_balancers.into_iter().filter(|part| part.status != Offline) {
        unwell += usize::from(part.status != Online);
        if worst.is_none_or(|worst| badness(part.status) > badness(worst.status)) {
            worst = Some(part);
        }
    }
    let Some(worst) = worst else {
        return (Offline, Some("there is no load balancer that is switched on".to_owned()));
    };
    let missing = (!interfaces_missing.is_empty())
        .then(|| format!("not attached to {}", shortened(interfaces_missing.join(", "), MAX_OF_MEMBER)));
    let blamed = (worst.status != Online).then(|| match unwell {
        0 | 1 => worst.blame(),
        2 => format!("{}; 1 more load balancer is not well", worst.blame()),
        _ => format!("{}; {} more load balancers are not well", worst.blame(), unwell - 1),
    });
    let at_best = if missing.is_some() { Degraded } else { Online };
    let status = if badness(worst.status) > badness(at_best) { worst.status } else { at_best };
    let reasons: Vec<String> = [missing, blamed].into_iter().flatten().collect();
    (status, (!reasons.is_empty()).then(|| reasons.join("; ")))
}

const fn badness(status: OperatingStatus) -> u8 {
    match status {
        Online => 0,
        NoMonitor => 1,
        Draining => 2,
        Offline => 3,
        Degraded => 4,
        Error => 5,
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
