//! A pair with a running lbd on each side, and the questions one asks them.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::{
    addresses::{Family, LISTENER_ECHO, LISTENER_TCP, LISTENER_UDP, Side, more_clients},
    connections::Plan,
    lbd::{Answer, Ctl, Lbd, MemberStatus},
    pair::Pair,
    pool_file::{PoolFile, Standby, priority},
    prober::{Probe, Target},
    wait,
};

/// A virtual router as `lbctl vrrp show -o json` has it, as far as tests look.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Router {
    /// Its name.
    pub name: String,
    /// Its state, in lower case.
    pub state: String,
    /// Whether this balancer answers for its addresses.
    pub carrying: bool,
    /// How many times it changed its state since lbd started.
    pub transitions: u64,
    /// How late its timers have been at most, if it tells.
    pub latest: Option<Duration>,
}

/// Two balancers that stand by each other.
#[derive(Debug)]
pub struct Duo {
    lbds: [Lbd; 2],
    pair: Pair,
    files: [PoolFile; 2],
    standby: Standby,
}

impl Duo {
    /// Raises a pair and starts lbd on both sides, the preferred one first;
    /// returns when that one is Active, the other one stands by, and both can
    /// use every member.
    ///
    /// # Errors
    /// When something does not come up in time.
    pub fn up(standby: Standby, edit: impl Fn(Side, &mut PoolFile)) -> Result<Self> {
        Self::on(Pair::up(true)?, standby, edit)
    }

    /// [`Duo::up`] on a pair that is up.
    ///
    /// # Errors
    /// As there.
    pub fn on(pair: Pair, standby: Standby, edit: impl Fn(Side, &mut PoolFile)) -> Result<Self> {
        let files = Side::BOTH.map(|side| {
            let mut file = PoolFile::for_pair(side, pair.node(side).paths(), standby);
            edit(side, &mut file);
            file
        });
        let start = |side: Side| {
            let node = pair.node(side);
            let text = files[side.index()].text()?;
            Lbd::start_in(pair.recorder(), node.namespace(), node.paths(), &text)
                .with_context(|| format!("start lbd in {}", side.node()))
        };
        let lbds = [start(Side::A)?, start(Side::B)?];
        let duo = Self { lbds, pair, files, standby };
        duo.wait_members()?;
        duo.settle(Side::A)?;
        Ok(duo)
    }

    /// The pair.
    #[must_use]
    pub const fn pair(&self) -> &Pair {
        &self.pair
    }

    /// How they stand by each other.
    #[must_use]
    pub const fn standby(&self) -> Standby {
        self.standby
    }

    /// The lbd of a side.
    #[must_use]
    pub const fn lbd(&self, side: Side) -> &Lbd {
        &self.lbds[side.index()]
    }

    /// The lbd of a side, to stop and start it.
    #[must_use]
    pub const fn lbd_mut(&mut self, side: Side) -> &mut Lbd {
        &mut self.lbds[side.index()]
    }

    /// The pool file of a side.
    #[must_use]
    pub const fn file(&self, side: Side) -> &PoolFile {
        &self.files[side.index()]
    }

    /// Lbctl for a side.
    #[must_use]
    pub fn ctl(&self, side: Side) -> Ctl {
        self.lbd(side).ctl()
    }

    /// Lbctl for a side, which has to succeed.
    ///
    /// # Errors
    /// When it does not.
    pub fn lbctl(&self, side: Side, arguments: &[&str]) -> Result<Answer> {
        let answer = self.ctl(side).run(arguments)?;
        let shown = arguments.join(" ");
        ensure!(answer.status.success(), "lbctl {shown} at {}: {}: {}", side.node(), answer.status, answer.stderr);
        Ok(answer)
    }

    /// The virtual routers of a side.
    ///
    /// # Errors
    /// When its lbd does not tell.
    pub fn routers(&self, side: Side) -> Result<Vec<Router>> {
        routers_in(&self.ctl(side).json(&["vrrp", "show"])?)
    }

    /// Whether every virtual router of a side is Active.
    ///
    /// # Errors
    /// As [`Duo::routers`].
    pub fn is_active(&self, side: Side) -> Result<bool> {
        Ok(self.routers(side)?.iter().all(|router| router.state == "active"))
    }

    /// How long a side, standing by, waits for an advert before it takes over.
    #[must_use]
    pub fn active_down(&self, side: Side) -> Duration {
        active_down(Duration::from_millis(self.standby.advert_interval_ms), priority(side))
    }

    /// Waits until one side is Active; returns how long it took.
    ///
    /// # Errors
    /// When it is not within `limit`: with what both say and the ends of both logs.
    pub fn wait_active(&self, side: Side, limit: Duration) -> Result<Duration> {
        let what = format!("{} to be Active", side.node());
        wait::until_true(&what, limit, || self.is_active(side)).with_context(|| self.account())
    }

    /// Waits until one side is Active and the other one stands by.
    ///
    /// # Errors
    /// As [`Duo::wait_active`].
    pub fn wait_order(&self, active: Side, limit: Duration) -> Result<Duration> {
        let what = format!("{} to be Active and {} to stand by", active.node(), active.other().node());
        wait::until_true(&what, limit, || {
            let backup = self.routers(active.other())?;
            Ok(self.is_active(active)? && backup.iter().all(|router| router.state == "backup" && !router.carrying))
        })
        .with_context(|| self.account())
    }

    /// Brings about that one side is Active and the other one stands by.
    ///
    /// # Errors
    /// As [`Duo::wait_active`].
    pub fn settle(&self, active: Side) -> Result<()> {
        let start = Instant::now();
        let limit = self.active_down(Side::B) * 2 + Duration::from_secs(5);
        loop {
            let states = Side::BOTH.map(|side| self.is_active(side).unwrap_or(false));
            match (states[active.index()], states[active.other().index()]) {
                (true, false) => return self.wait_order(active, limit).map(drop),
                (false, true) => self.failover(active.other())?,
                _ => {}
            }
            if start.elapsed() > limit {
                bail!("waited {limit:?} for one side to be Active\n{}", self.account());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Has a side hand over what it carries.
    ///
    /// # Errors
    /// When its lbd refuses.
    pub fn failover(&self, from: Side) -> Result<()> {
        for router in self.routers(from)?.iter().filter(|router| router.state == "active") {
            self.lbctl(from, &["vrrp", "failover", &router.name])?;
        }
        Ok(())
    }

    /// Waits until both sides can use every member.
    ///
    /// # Errors
    /// When they cannot in time.
    pub fn wait_members(&self) -> Result<()> {
        for side in Side::BOTH {
            self.lbd(side).wait_members("every member to be usable", Duration::from_secs(10), |members| {
                !members.is_empty() && members.iter().all(MemberStatus::is_usable)
            })?;
        }
        Ok(())
    }

    /// How many flows a side has taken over from the other one, since its lbd started.
    ///
    /// # Errors
    /// When its lbd does not tell.
    pub fn adopted(&self, side: Side) -> Result<u64> {
        self.taken(side, "adopted")
    }

    /// How many placements a side has taken over from the other one, since its lbd
    /// started.
    ///
    /// # Errors
    /// When its lbd does not tell.
    pub fn adopted_placements(&self, side: Side) -> Result<u64> {
        self.taken(side, "adopted_placements")
    }

    fn taken(&self, side: Side, what: &str) -> Result<u64> {
        let sync = self.ctl(side).json(&["sync", "show"])?;
        sync[what]["new"].as_u64().with_context(|| format!("`lbctl sync show -o json` has no count of {what}: {sync}"))
    }

    /// Waits until a side has taken over so many flows.
    ///
    /// # Errors
    /// When it has not in time.
    pub fn wait_adopted(&self, side: Side, flows: u64) -> Result<Duration> {
        let what = format!("{} to know of {flows} flows of the other side", side.node());
        wait::until_true(&what, Duration::from_secs(20), || {
            let adopted = self.adopted(side)?;
            ensure!(adopted >= flows, "it knows of {adopted}");
            Ok(true)
        })
        .with_context(|| self.account())
    }

    /// What both sides say of themselves, and the ends of their logs.
    #[must_use]
    pub fn account(&self) -> String {
        let of = |side: Side| {
            let (ctl, log) = (self.ctl(side), self.lbd(side).log_tail());
            let sync = ctl.json(&["sync", "show"]).map_or_else(|error| error.to_string(), |sync| sync.to_string());
            let counted: Vec<String> = ctl
                .events()
                .unwrap_or_default()
                .into_iter()
                .filter(|(_, n)| *n > 0)
                .map(|(label, n)| format!("{label} {n}"))
                .collect();
            format!("{}: {:?}\nsync: {sync}\ncounted: {}\n{log}", side.node(), self.routers(side), counted.join(", "))
        };
        Side::BOTH.map(of).join("\n")
    }

    /// Both kinds of probes over a family.
    #[must_use]
    pub fn probes(family: Family) -> [Target; 2] {
        [Probe::Icmp, Probe::Udp].map(|probe| Target { probe, address: family.vip() })
    }

    /// Every kind of probe over both families.
    #[must_use]
    pub fn all_probes() -> Vec<Target> {
        Family::BOTH.map(Self::probes).concat()
    }

    /// Connections to the members' echo over a family, a part of them busy with a line a second each.
    #[must_use]
    pub fn connections(family: Family, count: usize, busy: usize) -> Plan {
        Plan {
            target: SocketAddr::new(family.vip(), LISTENER_ECHO),
            sources: if family == Family::V4 { more_clients().to_vec() } else { Vec::new() },
            count,
            busy,
            period: Duration::from_secs(1),
        }
    }

    /// The TCP and the UDP listener of a family.
    #[must_use]
    pub const fn listeners(family: Family) -> [SocketAddr; 2] {
        [SocketAddr::new(family.vip(), LISTENER_TCP), SocketAddr::new(family.vip(), LISTENER_UDP)]
    }

    /// Leaves everything running when this process ends.
    ///
    /// # Errors
    /// When the record cannot be written; then everything is removed.
    pub fn keep(self) -> Result<()> {
        let Self { lbds, pair, .. } = self;
        lbds.into_iter().for_each(Lbd::keep);
        pair.keep()
    }
}

/// VRRP's own limit: three adverts and a part of one that shrinks with the priority.
#[must_use]
pub fn active_down(interval: Duration, priority: u8) -> Duration {
    interval * 3 + skew(interval, priority)
}

/// How long a router of this priority waits when the Active one has said goodbye.
#[must_use]
pub fn skew(interval: Duration, priority: u8) -> Duration {
    interval * (256 - u32::from(priority)) / 256
}

/// Reads virtual routers from lbctl's JSON.
///
/// # Errors
/// When it is something else.
pub fn routers_in(json: &Value) -> Result<Vec<Router>> {
    let rows = json.as_array().context("`lbctl vrrp show -o json` is no list")?;
    ensure!(!rows.is_empty(), "`lbctl vrrp show -o json` is empty");
    rows.iter()
        .map(|row| {
            let text =
                |field: &str| row[field].as_str().with_context(|| format!("a virtual router has no {field}: {row}"));
            Ok(Router {
                name: text("name")?.to_owned(),
                state: text("state")?.to_lowercase(),
                carrying: row["carrying"].as_bool().with_context(|| format!("nothing of carrying: {row}"))?,
                latest: row["runner"]["late_max_micros"].as_u64().map(Duration::from_micros),
                transitions: row["counters"]["transitions"]
                    .as_u64()
                    .with_context(|| format!("no transitions: {row}"))?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timers_are_those_of_the_protocol() {
        let second = Duration::from_secs(1);
        assert_eq!(active_down(second, 90).as_micros(), 3_648_437);
        assert_eq!(skew(second, 100).as_micros(), 609_375);
        assert_eq!(active_down(Duration::from_millis(10), 90).as_micros(), 36_484);
    }
}
