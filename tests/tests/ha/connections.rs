//! Connections that are open while the VIPs move.

use std::time::Duration;

use anyhow::{Result, ensure};
use krater_tests::rig::{Family, Side, connections::Connections, duo::Duo, pool_file::Standby};

use super::scene::{LONG, play};

/// Of each family.
const COUNT: usize = 300;
const BUSY: usize = 100;
/// TCP tries again after ever longer pauses.
const PATIENCE: Duration = Duration::from_secs(30);

/// Opens connections, waits until the other side knows of them, does
/// something, and checks that every one of them lives and lost no byte.
fn survive(what: impl FnOnce(&mut Duo) -> Result<()>) -> Result<()> {
    play(Standby::default(), |duo| {
        let client = duo.pair().client().name().to_owned();
        let before = duo.adopted(Side::B)?;
        let mut held = Vec::new();
        for family in Family::BOTH {
            held.push((family, Connections::open(&client, Duo::connections(family, COUNT, BUSY))?));
        }
        duo.wait_adopted(Side::B, before + u64::try_from(2 * COUNT)?)?;
        what(duo)?;
        for (family, connections) in held {
            let outcome = connections.settle(PATIENCE)?;
            ensure!(outcome.complaints().is_empty(), "{}: {}: {outcome:?}", family.name(), outcome.complaints());
            ensure!((outcome.opened, outcome.resumed) == (COUNT, COUNT), "{outcome:?}");
        }
        Ok(())
    })
}

#[test]
fn open_connections_survive_the_death_of_the_host_that_carried_them() -> Result<()> {
    survive(|duo| {
        duo.pair().unplug(Side::A)?;
        duo.wait_active(Side::B, LONG).map(drop)
    })
}

#[test]
fn open_connections_move_back_and_forth_with_the_operator() -> Result<()> {
    survive(|duo| {
        duo.failover(Side::A)?;
        duo.wait_order(Side::B, LONG)?;
        std::thread::sleep(Duration::from_secs(1));
        duo.failover(Side::B)?;
        duo.wait_order(Side::A, LONG).map(drop)
    })
}

#[test]
fn open_connections_survive_a_balancer_that_ends() -> Result<()> {
    survive(|duo| {
        duo.lbd_mut(Side::A).terminate(LONG)?;
        duo.wait_active(Side::B, LONG).map(drop)
    })
}
