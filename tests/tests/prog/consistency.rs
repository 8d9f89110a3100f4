//! Connections of members that live reach them, whatever is done to their pool, though
//! next to none is remembered: a hundred thousand, on the host and in the kernel.

use std::time::Instant;

use anyhow::{Result, ensure};
use krater_tests::packets::{
    crowd::{Plan, Road, play},
    kernel::{Kernel, apart},
    scene::OWN,
    world::{Host, INGRESS},
};

/// Schedules are the same each time: whatever is found is found again.
const PLAN: Plan = Plan {
    seed: 0x5eed,
    flows: 100_000,
    steps: 32,
    act: 16,
    ways: &[("dsr", "SOURCE_IP_PORT"), ("ipip", "SOURCE_IP_PORT")],
};

fn hold(world: &str, road: &mut impl Road, plan: &Plan) -> Result<()> {
    let start = Instant::now();
    let tally = play(road, plan)?;
    println!("{world}, {} s: {tally}", start.elapsed().as_secs());
    // What the figure is held against, and that the schedule can make anybody fail.
    ensure!(tally.misdelivered[1] > tally.judged[1] / 1000, "plain Maglev had an easy time: {tally}");
    Ok(())
}

#[test]
fn a_hundred_thousand_connections_keep_their_members_on_the_host() -> Result<()> {
    hold("on the host", &mut Host::new(true), &PLAN)
}

#[test]
fn a_hundred_thousand_connections_keep_their_members_in_the_kernel() -> Result<()> {
    apart(|| {
        let mut kernel = Kernel::load_with(|options| {
            // Between acts this is waited for.
            options.idle_seconds.tcp_closing = 2;
            options.idle_seconds.unconfirmed = 2;
        })?;
        kernel.dataplane().enter_port(0, INGRESS, false, OWN)?;
        hold("in the kernel", &mut kernel, &PLAN)
    })
}
