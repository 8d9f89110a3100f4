//! A pair with lbd on both sides, and the questions tests ask it.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use krater_tests::rig::{
    Family, Side,
    duo::Duo,
    load::{Background, Kind, Load},
    pool_file::Standby,
    prober::{self, Trace},
};

/// Longer than anything here takes.
pub(crate) const LONG: Duration = Duration::from_secs(10);
/// Before something is done and after it.
pub(crate) const STEADY: Duration = Duration::from_millis(400);

/// Plays a test on a pair whose preferred side is Active, with what both sides
/// say added to a failure.
pub(crate) fn play(standby: Standby, test: impl FnOnce(&mut Duo) -> Result<()>) -> Result<()> {
    let mut duo = Duo::up(standby, |_, _| {})?;
    test(&mut duo).with_context(|| duo.account())
}

/// Every kind of probe around some work.
pub(crate) fn probed<T>(
    duo: &mut Duo,
    tail: Duration,
    work: impl FnOnce(&mut Duo) -> Result<T>,
) -> Result<(Vec<Trace>, T)> {
    let client = duo.pair().client().name().to_owned();
    prober::around(&client, &Duo::all_probes(), [STEADY, tail], || work(duo))
}

/// Checks that every probe was answered, by one balancer.
pub(crate) fn expect_no_loss(what: &str, traces: &[Trace]) -> Result<()> {
    for trace in traces {
        let figures = trace.figures();
        ensure!(figures.sent > 300, "{what}, {}: only {} probes were sent", trace.target, figures.sent);
        ensure!(figures.lost == 0, "{what}, {}: {figures}", trace.target);
    }
    Ok(())
}

/// Checks that nothing was unanswered for longer than `limit`, and that there
/// are answers at the end.
pub(crate) fn expect_gap_below(what: &str, traces: &[Trace], limit: Duration) -> Result<()> {
    for trace in traces {
        let figures = trace.figures();
        ensure!(figures.sent > 300, "{what}, {}: only {} probes were sent", trace.target, figures.sent);
        ensure!(figures.gap <= limit && figures.recovered, "{what}, {}: {figures}", trace.target);
    }
    Ok(())
}

/// How long a host may be missed that died without a word: the protocol's own
/// time, and time for a machine that has other things to do.
pub(crate) fn after_death(duo: &Duo) -> Duration {
    duo.active_down(Side::B) + Duration::from_millis(150)
}

/// A trickle of requests to the TCP and the UDP listener of each family.
pub(crate) fn trickles(duo: &Duo) -> Vec<(Kind, Background)> {
    let client = duo.pair().client().name();
    let start = |kind, target| (kind, Background::start(client, Load::trickle(kind, target)));
    let mut loads = Vec::new();
    for family in Family::BOTH {
        let [tcp, udp] = Duo::listeners(family);
        loads.extend([start(Kind::Http, tcp), start(Kind::Udp, udp)]);
    }
    thread::sleep(STEADY);
    loads
}
