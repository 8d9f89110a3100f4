//! Balancers that cannot hear each other, and then can again.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use krater_tests::rig::{Side, pool_file::Standby};

use super::scene::{LONG, STEADY, expect_gap_below, play, probed};

/// How long they stay parted after the second one has become Active: healing
/// at once is what leaves clients with the address of the one that gives way.
const PARTED: [u64; 6] = [0, 3, 20, 60, 110, 700];

#[test]
fn a_split_brain_heals_without_a_hole() -> Result<()> {
    play(Standby::default(), |duo| {
        for millis in PARTED {
            let (traces, ()) = probed(duo, Duration::from_secs(1), |duo| {
                duo.pair().part()?;
                duo.wait_active(Side::B, LONG)?;
                ensure!(duo.is_active(Side::A)?, "the first one gave way to one that it cannot hear");
                thread::sleep(Duration::from_millis(millis));
                duo.pair().rejoin()
            })?;
            let what = format!("parted for {millis} ms more");
            expect_gap_below(&what, &traces, Duration::from_millis(100))?;
            duo.wait_order(Side::A, LONG).context(what)?;
        }
        thread::sleep(STEADY);
        Ok(())
    })
}
