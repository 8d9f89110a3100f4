//! Who is Active, and who becomes it when both are well.

use std::thread;

use anyhow::{Result, ensure};
use krater_tests::rig::{
    Family, Side,
    pool_file::{Standby, virtual_router},
};

use super::scene::{LONG, STEADY, expect_no_loss, play, probed};

#[test]
fn the_preferred_balancer_is_active_for_both_families_and_the_other_stands_by() -> Result<()> {
    play(Standby::default(), |duo| {
        for (side, state) in [(Side::A, "active"), (Side::B, "backup")] {
            let routers = duo.routers(side)?;
            for family in Family::BOTH {
                let name = virtual_router(family);
                let router = routers.iter().find(|router| router.name == name);
                ensure!(
                    router.is_some_and(|router| router.state == state && router.carrying == (side == Side::A)),
                    "{name} at {}: {routers:?}",
                    side.node()
                );
            }
        }
        let (traces, ()) = probed(duo, STEADY, |_| Ok(()))?;
        expect_no_loss("nothing happens", &traces)
    })
}

#[test]
fn unicast_peers_agree_as_multicast_ones_do() -> Result<()> {
    play(Standby { unicast: true, ..Standby::default() }, |duo| {
        let (traces, ()) = probed(duo, STEADY, |_| Ok(()))?;
        expect_no_loss("nothing happens", &traces)?;
        duo.failover(Side::A)?;
        duo.wait_order(Side::B, LONG).map(drop)
    })
}

#[test]
fn whoever_is_active_stays_so_without_preempt() -> Result<()> {
    play(Standby::default(), |duo| {
        duo.pair().unplug(Side::A)?;
        duo.wait_active(Side::B, LONG)?;
        duo.pair().plug_in(Side::A)?;
        duo.wait_order(Side::B, LONG)?;
        thread::sleep(duo.active_down(Side::A) * 2);
        duo.wait_order(Side::B, STEADY).map(drop)
    })
}

#[test]
fn the_preferred_one_takes_back_what_is_its_own_with_preempt_and_nothing_is_lost() -> Result<()> {
    play(Standby { preempt: true, ..Standby::default() }, |duo| {
        duo.lbd_mut(Side::A).terminate(LONG)?;
        duo.wait_active(Side::B, LONG)?;
        let (traces, ()) = probed(duo, STEADY, |duo| {
            duo.lbd_mut(Side::A).restart()?;
            duo.wait_order(Side::A, LONG).map(drop)
        })?;
        expect_no_loss("the preferred one comes back", &traces)
    })
}
