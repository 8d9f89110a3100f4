//! What moves the VIPs from one balancer to the other, wanted or not.

use std::{thread, time::Duration};

use anyhow::{Result, ensure};
use krater_tests::rig::{
    Side,
    duo::Duo,
    load::{Background, Kind, Report},
    pair::Pair,
    pool_file::Standby,
};

use super::scene::{LONG, STEADY, after_death, expect_gap_below, expect_no_loss, play, probed, trickles};

/// From where an operator moves everything, in turn.
const MOVES: [Side; 3] = [Side::A, Side::B, Side::A];

/// A host dies under load: it is missed for no longer than the protocol says,
/// no connection is reset, and afterwards everything is answered.
fn dies(how: fn(&Pair, Side) -> Result<()>) -> Result<()> {
    play(Standby::default(), |duo| {
        let loads = trickles(duo);
        let (traces, ()) = probed(duo, STEADY, |duo| {
            how(duo.pair(), Side::A)?;
            duo.wait_active(Side::B, LONG).map(drop)
        })?;
        expect_gap_below("a host dies", &traces, after_death(duo))?;
        let moved = std::time::Instant::now();
        thread::sleep(STEADY);
        for (kind, load) in loads {
            let samples = load.finish()?;
            let all = Report::of(&samples);
            ensure!(!all.error_kinds.contains_key("reset"), "{kind:?}: {:?}", all.error_kinds);
            let after = Report::of(samples.iter().filter(|sample| sample.started >= moved));
            ensure!(after.requests > 10 && after.errors == 0, "{kind:?} afterwards: {:?}", after.error_kinds);
        }
        Ok(())
    })
}

#[test]
fn a_host_whose_cable_is_pulled_is_missed_no_longer_than_the_protocol_says() -> Result<()> {
    dies(Pair::unplug)
}

#[test]
fn a_host_that_falls_silent_with_its_link_up_is_missed_no_longer_either() -> Result<()> {
    dies(Pair::silence)
}

#[test]
fn ending_lbd_moves_everything_and_loses_nothing() -> Result<()> {
    play(Standby::default(), |duo| {
        let loads = trickles(duo);
        let (traces, status) = probed(duo, STEADY, |duo| {
            let status = duo.lbd_mut(Side::A).terminate(LONG)?;
            duo.wait_active(Side::B, LONG)?;
            Ok(status)
        })?;
        ensure!(status.success(), "lbd ended with {status}");
        expect_no_loss("lbd ends", &traces)?;
        expect_no_errors(loads, 1)
    })
}

/// Kills lbd on the Active side and starts it again; nothing may be lost.
fn killed(standby: Standby, after: impl FnOnce(&Duo) -> Result<()>) -> Result<()> {
    play(standby, |duo| {
        let loads = trickles(duo);
        let settled = duo.active_down(Side::B) + Duration::from_secs(1);
        let (traces, ()) = probed(duo, settled, |duo| {
            duo.lbd_mut(Side::A).kill();
            thread::sleep(Duration::from_millis(50));
            duo.lbd_mut(Side::A).restart()
        })?;
        expect_no_loss("lbd is killed and started", &traces)?;
        after(duo)?;
        expect_no_errors(loads, 1)
    })
}

#[test]
fn a_killed_lbd_that_is_back_before_it_is_missed_keeps_what_it_had_and_loses_nothing() -> Result<()> {
    let unhurried = Standby { advert_interval_ms: 3000, ..Standby::default() };
    killed(unhurried, |duo| duo.wait_order(Side::A, LONG).map(drop))
}

#[test]
fn a_killed_lbd_that_is_missed_meanwhile_loses_nothing_either() -> Result<()> {
    killed(Standby::default(), |duo| {
        let one = || Ok::<_, anyhow::Error>(duo.is_active(Side::A)? != duo.is_active(Side::B)?);
        krater_tests::rig::wait::until_true("one of the two to be Active", LONG, one).map(drop)
    })
}

#[test]
fn an_operator_moves_everything_back_and_forth_and_loses_nothing() -> Result<()> {
    play(Standby::default(), |duo| {
        let loads = trickles(duo);
        let (traces, ()) = probed(duo, STEADY, |duo| {
            for from in MOVES {
                duo.failover(from)?;
                duo.wait_order(from.other(), LONG)?;
                thread::sleep(STEADY);
            }
            Ok(())
        })?;
        expect_no_loss("an operator moves everything", &traces)?;
        expect_no_errors(loads, MOVES.len().try_into()?)
    })
}

/// Checks that connections failed nowhere, and datagrams only where a failover
/// met the first one of a flow: of a flow that nobody has answered yet the
/// other balancer is not told, and the answer goes to that one.
fn expect_no_errors(loads: Vec<(Kind, Background)>, moves: u64) -> Result<()> {
    for (kind, load) in loads {
        let report = Report::of(&load.finish()?);
        ensure!(report.requests > 50, "{kind:?}: only {} requests were sent", report.requests);
        let excused = if kind == Kind::Udp { moves } else { 0 };
        ensure!(
            report.errors <= excused,
            "{kind:?}: {} of {}: {:?}",
            report.errors,
            report.requests,
            report.error_kinds
        );
    }
    Ok(())
}
