//! Who is measured: a pair of hosts with Krater on them, and one with
//! keepalived, on networks of their own that are alike.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, bail};

use crate::rig::{
    Family, Side,
    duo::Duo,
    keepalived::{Keepalived, Settings},
    pair::Pair,
    pool_file::Standby,
    prober::{Probe, Target},
    wait,
};

/// What raising one takes, about.
pub(super) const RAISING: Duration = Duration::from_secs(10);
/// How long ending one may take.
const LIMIT: Duration = Duration::from_secs(15);

/// Two balancers of one kind. `A` is preferred: its priority is 100, that of
/// `B` 90. Neither takes back what the other one has.
pub(super) trait Contender {
    /// Its name.
    fn name(&self) -> &'static str;
    /// Its network.
    fn pair(&self) -> &Pair;
    /// What clients would ask of it.
    fn probes(&self) -> Vec<Target>;
    /// Whether a side has the VIP, as it says itself.
    fn is_active(&self, side: Side) -> Result<bool>;
    /// Asks a side's daemon to end, and does not wait.
    fn ask_to_end(&mut self, side: Side) -> Result<()>;
    /// Waits for that end.
    fn wait_end(&mut self, side: Side) -> Result<()>;
    /// Kills a side's daemon, and all there is of it.
    fn kill(&mut self, side: Side) -> Result<()>;
    /// Starts a side's daemon, and does not wait.
    fn start(&mut self, side: Side) -> Result<()>;
    /// Brings about that `A` has the VIP and `B` stands by.
    fn restore(&mut self) -> Result<()>;
    /// How many times either side has changed its state.
    fn changes(&self) -> Result<u64>;
    /// How late it has been at most, as it says itself.
    fn latest(&self) -> Option<Duration>;
    /// Ends it and raises another one in its place.
    fn renew(&mut self) -> Result<()>;
}

/// Krater, for IPv4.
pub(super) struct KraterPair {
    duo: Duo,
    interval: Duration,
}

impl KraterPair {
    pub(super) fn up(interval: Duration) -> Result<Self> {
        let standby = Standby { advert_interval_ms: u64::try_from(interval.as_millis())?, ..Standby::default() };
        let duo = Duo::up(standby, |_, file| {
            // What keepalived does here, too.
            file.vrrp.truncate(1);
            file.loadbalancer.truncate(1);
        })
        .context("raise a pair with Krater")?;
        Ok(Self { duo, interval })
    }

    pub(super) const fn duo(&self) -> &Duo {
        &self.duo
    }
}

impl Contender for KraterPair {
    fn name(&self) -> &'static str {
        "Krater"
    }

    fn pair(&self) -> &Pair {
        self.duo.pair()
    }

    fn probes(&self) -> Vec<Target> {
        Duo::probes(Family::V4).to_vec()
    }

    fn is_active(&self, side: Side) -> Result<bool> {
        self.duo.is_active(side)
    }

    fn ask_to_end(&mut self, side: Side) -> Result<()> {
        self.duo.lbd(side).ask_to_end()
    }

    fn wait_end(&mut self, side: Side) -> Result<()> {
        self.duo.lbd_mut(side).wait_end(LIMIT).map(drop)
    }

    fn kill(&mut self, side: Side) -> Result<()> {
        self.duo.lbd_mut(side).kill();
        Ok(())
    }

    fn start(&mut self, side: Side) -> Result<()> {
        self.duo.lbd_mut(side).start_again()
    }

    fn restore(&mut self) -> Result<()> {
        for side in Side::BOTH {
            self.duo.lbd_mut(side).wait_ready()?;
        }
        self.duo.wait_members()?;
        self.duo.settle(Side::A)
    }

    fn changes(&self) -> Result<u64> {
        let mut changes = 0;
        for side in Side::BOTH {
            changes += self.duo.routers(side)?.iter().map(|router| router.transitions).sum::<u64>();
        }
        Ok(changes)
    }

    fn latest(&self) -> Option<Duration> {
        let of = |side| self.duo.routers(side).ok()?.into_iter().filter_map(|router| router.latest).max();
        Side::BOTH.into_iter().filter_map(of).max()
    }

    fn renew(&mut self) -> Result<()> {
        *self = Self::up(self.interval)?;
        Ok(())
    }
}

/// keepalived, for IPv4.
pub(super) struct KeepalivedPair {
    // Dropped in this order.
    sides: [Keepalived; 2],
    pair: Pair,
    interval: Duration,
}

impl KeepalivedPair {
    pub(super) fn up(interval: Duration) -> Result<Self> {
        let pair = Pair::up(false).context("raise a pair with keepalived")?;
        let a = Keepalived::start(&pair, Side::A, &Settings::new(Side::A, interval))?;
        let limit = interval * 4 + LIMIT;
        wait::until_true("keepalived to have the VIP", limit, || a.is_active()).with_context(|| a.log_tail())?;
        let b = Keepalived::start(&pair, Side::B, &Settings::new(Side::B, interval))?;
        Ok(Self { sides: [a, b], pair, interval })
    }

    fn side(&mut self, side: Side) -> &mut Keepalived {
        &mut self.sides[side.index()]
    }

    fn wait_active(&self, side: Side) -> Result<()> {
        let keepalived = &self.sides[side.index()];
        let limit = self.interval * 4 + LIMIT;
        wait::until_true("keepalived to have the VIP", limit, || keepalived.is_active())
            .map(drop)
            .with_context(|| keepalived.log_tail())
    }
}

impl Contender for KeepalivedPair {
    fn name(&self) -> &'static str {
        "keepalived"
    }

    fn pair(&self) -> &Pair {
        &self.pair
    }

    fn probes(&self) -> Vec<Target> {
        vec![Target { probe: Probe::Icmp, address: Family::V4.vip() }]
    }

    fn is_active(&self, side: Side) -> Result<bool> {
        self.sides[side.index()].is_active()
    }

    fn ask_to_end(&mut self, side: Side) -> Result<()> {
        self.side(side).ask_to_end()
    }

    fn wait_end(&mut self, side: Side) -> Result<()> {
        self.side(side).wait_end(LIMIT)
    }

    fn kill(&mut self, side: Side) -> Result<()> {
        self.side(side).kill()
    }

    fn start(&mut self, side: Side) -> Result<()> {
        self.side(side).restart()
    }

    fn restore(&mut self) -> Result<()> {
        // It has no command for that: the one that is not to have the VIP is stopped for a while.
        for _ in 0..3 {
            match Side::BOTH.map(|side| self.is_active(side)) {
                [Ok(true), Ok(false)] => return Ok(()),
                [_, Ok(true)] => {
                    self.side(Side::B).terminate(LIMIT)?;
                    self.wait_active(Side::A)?;
                    self.side(Side::B).restart()?;
                }
                _ => self.wait_active(Side::A)?,
            }
            thread::sleep(self.interval * 2);
        }
        bail!("keepalived does not come to order\n{}\n{}", self.sides[0].log_tail(), self.sides[1].log_tail())
    }

    fn changes(&self) -> Result<u64> {
        Ok(self.sides.iter().map(Keepalived::changes).sum())
    }

    fn latest(&self) -> Option<Duration> {
        None
    }

    fn renew(&mut self) -> Result<()> {
        *self = Self::up(self.interval)?;
        Ok(())
    }
}
