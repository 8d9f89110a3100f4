//! What moves the VIPs from one balancer to the other, wanted or not.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use krater_tests::rig::{
    Side,
    load::{Kind, Report},
    pair::Pair,
    pool_file::Standby,
};

use super::scene::{LONG, STEADY, after_death, expect_gap_below, expect_no_loss, play, probed, trickles};

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
        expect_no_errors(loads)
    })
}

#[test]
fn a_killed_lbd_that_is_started_again_keeps_what_it_had_and_loses_nothing() -> Result<()> {
    play(Standby::default(), |duo| {
        let loads = trickles(duo);
        let (traces, ()) = probed(duo, duo_settles(), |duo| {
            duo.lbd_mut(Side::A).kill();
            thread::sleep(Duration::from_millis(50));
            duo.lbd_mut(Side::A).restart()
        })?;
        expect_no_loss("lbd is killed and started", &traces)?;
        duo.wait_order(Side::A, LONG).context("whether it has resumed")?;
        expect_no_errors(loads)
    })
}

#[test]
fn an_operator_moves_everything_back_and_forth_and_loses_nothing() -> Result<()> {
    play(Standby::default(), |duo| {
        let loads = trickles(duo);
        let (traces, ()) = probed(duo, STEADY, |duo| {
            for from in [Side::A, Side::B, Side::A] {
                duo.failover(from)?;
                duo.wait_order(from.other(), LONG)?;
                thread::sleep(STEADY);
            }
            Ok(())
        })?;
        expect_no_loss("an operator moves everything", &traces)?;
        expect_no_errors(loads)
    })
}

/// Longer than the other side would wait for an advert, several times over.
fn duo_settles() -> Duration {
    Duration::from_secs(2)
}

fn expect_no_errors(loads: Vec<(Kind, krater_tests::rig::load::Background)>) -> Result<()> {
    for (kind, load) in loads {
        let report = Report::of(&load.finish()?);
        ensure!(report.requests > 50, "{kind:?}: only {} requests were sent", report.requests);
        ensure!(report.errors == 0, "{kind:?}: {} of {}: {:?}", report.errors, report.requests, report.error_kinds);
    }
    Ok(())
}
