//! A rig with a running lbd, and the questions tests ask it.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::atomic::AtomicBool,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use krater_tests::rig::{
    Family, Options, Rig, Topology,
    addresses::{LISTENER_TCP, LISTENER_UDP},
    http,
    lbd::{Answer, Ctl, Lbd},
    load::{self, Background, Kind, Load, Report, Sample},
    pool_file::PoolFile,
    spread,
};

/// Longer than anything here takes.
pub(crate) const LONG: Duration = Duration::from_secs(10);

/// What a test looks at.
pub(crate) struct Scene {
    // Dropped in this order.
    pub(crate) lbd: Lbd,
    pub(crate) rig: Rig,
    pub(crate) file: PoolFile,
}

/// Plays a test on a two-armed rig.
pub(crate) fn play(edit: impl FnOnce(&mut PoolFile), test: impl FnOnce(&mut Scene) -> Result<()>) -> Result<()> {
    play_on(Options::default(), edit, test)
}

/// Plays a test: raises a rig, starts lbd with the edited pool file, waits for
/// the members, and adds the end of lbd's log to a failure.
pub(crate) fn play_on(
    options: Options,
    edit: impl FnOnce(&mut PoolFile),
    test: impl FnOnce(&mut Scene) -> Result<()>,
) -> Result<()> {
    let rig = Rig::up(options)?;
    let mut file = PoolFile::for_rig(options.topology, rig.paths());
    edit(&mut file);
    let lbd = Lbd::start(&rig, &file.text()?)?;
    lbd.wait_members("every member to be known", LONG, |members| {
        members.iter().all(|m| m.is_usable() || m.operating_status == "OFFLINE" || m.operating_status == "DRAINING")
    })?;
    let mut scene = Scene { lbd, rig, file };
    let drops = |scene: &Scene| {
        let events = scene.ctl().events().unwrap_or_default();
        let counted: Vec<String> = events.iter().filter(|(_, n)| **n > 0).map(|(l, n)| format!("{l} {n}")).collect();
        format!("counted events: {}\n{}", counted.join(", "), scene.lbd.log_tail())
    };
    test(&mut scene).with_context(|| drops(&scene))
}

/// One arm.
pub(crate) fn one_armed() -> Options {
    Options { topology: Topology::OneArmed, ..Options::default() }
}

/// The TCP listener of a family.
pub(crate) fn tcp(family: Family) -> SocketAddr {
    SocketAddr::new(family.vip(), LISTENER_TCP)
}

/// The UDP listener of a family.
pub(crate) fn udp(family: Family) -> SocketAddr {
    SocketAddr::new(family.vip(), LISTENER_UDP)
}

/// Every listener of the usual pool file.
pub(crate) fn everywhere() -> [(Kind, SocketAddr); 4] {
    [
        (Kind::Http, tcp(Family::V4)),
        (Kind::Http, tcp(Family::V6)),
        (Kind::Udp, udp(Family::V4)),
        (Kind::Udp, udp(Family::V6)),
    ]
}

/// Weights by member.
pub(crate) fn weights(weights: [u64; 3]) -> BTreeMap<String, u64> {
    ["m1", "m2", "m3"].map(str::to_owned).into_iter().zip(weights).collect()
}

impl Scene {
    pub(crate) fn ctl(&self) -> Ctl {
        self.lbd.ctl()
    }

    /// Runs `work` where the client is.
    pub(crate) fn at_client<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.rig.client().enter(work)
    }

    /// A GET of `/` over a connection of its own.
    pub(crate) fn get(&self, target: SocketAddr) -> io::Result<http::Response> {
        self.get_from(target, http::Source::default())
    }

    /// A GET of `/` from an address and port.
    pub(crate) fn get_from(&self, target: SocketAddr, source: http::Source) -> io::Result<http::Response> {
        self.at_client(|| Ok(http::get(target, "/", source))).map_err(io::Error::other)?
    }

    /// Sends requests and sums them up.
    pub(crate) fn drive(&self, kind: Kind, target: SocketAddr, requests: u64) -> Result<Report> {
        let load = Load::new(kind, target, requests);
        let samples = self.at_client(|| Ok(load::run(&load, &AtomicBool::new(false))))?;
        Ok(Report::of(&samples))
    }

    /// Sends requests, none of which may fail, and checks who got them.
    pub(crate) fn expect_spread(
        &self,
        kind: Kind,
        target: SocketAddr,
        requests: u64,
        weights: &BTreeMap<String, u64>,
    ) -> Result<()> {
        let report = self.drive(kind, target, requests)?;
        ensure!(report.errors == 0, "{kind:?} to {target}: {} errors: {:?}", report.errors, report.error_kinds);
        let complaints = spread::complaints(&spread::shares(&report.members, weights));
        ensure!(complaints.is_empty(), "{kind:?} to {target}: {complaints}");
        Ok(())
    }

    /// A trickle of requests beside whatever else happens.
    pub(crate) fn trickle(&self, kind: Kind, target: SocketAddr) -> Background {
        Background::start(self.rig.client().name(), Load::trickle(kind, target))
    }

    /// A trickle to every listener.
    pub(crate) fn trickles(&self) -> Vec<Background> {
        everywhere().into_iter().map(|(kind, target)| self.trickle(kind, target)).collect()
    }

    /// Lbctl, which has to succeed.
    pub(crate) fn lbctl(&self, arguments: &[&str]) -> Result<Answer> {
        let answer = self.ctl().run(arguments)?;
        ensure!(answer.status.success(), "lbctl {}: {}: {}", arguments.join(" "), answer.status, answer.stderr);
        Ok(answer)
    }

    /// Replaces the pool file by `self.file` and waits until lbd has taken it.
    pub(crate) fn reload(&self) -> Result<()> {
        let reloads = || Ok::<_, anyhow::Error>(self.ctl().json(&["status"])?["daemon"]["reloads"].as_u64());
        let before = reloads()?.context("`lbctl status` shows no count of reloads")?;
        self.lbd.reload(&self.file.text()?)?;
        krater_tests::rig::wait::until_true("lbd to take the new pool file", LONG, || Ok(reloads()? > Some(before)))
            .map(drop)
            .with_context(|| self.lbd.log_tail())
    }
}

/// Requests of several loads, together.
pub(crate) fn finish(loads: Vec<Background>) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    for load in loads {
        samples.extend(load.finish()?);
    }
    Ok(samples)
}

/// Checks that there were requests and that none failed.
pub(crate) fn expect_no_errors(what: &str, report: &Report, at_least: u64) -> Result<()> {
    ensure!(report.requests >= at_least, "{what}: only {} requests were sent", report.requests);
    ensure!(
        report.errors == 0,
        "{what}: {} of {} requests failed: {:?}",
        report.errors,
        report.requests,
        report.error_kinds
    );
    Ok(())
}

/// The requests that began at or after a moment.
pub(crate) fn since(samples: &[Sample], moment: Instant) -> Report {
    Report::of(samples.iter().filter(|s| s.started >= moment))
}
