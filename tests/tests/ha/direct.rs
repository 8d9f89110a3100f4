//! Connections to members that answer clients themselves, while the VIPs move. The
//! balancer translates nothing for them, and what it has recorded is all that says
//! whose they are.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use krater_tests::rig::{
    Family, Side,
    addresses::ECHO_PORT,
    connections::{Connections, Plan},
    duo::Duo,
    pair::Pair,
    pool_file::{PoolFile, Standby},
    wait,
};

use super::scene::LONG;

/// Of each family.
const COUNT: usize = 200;
const BUSY: usize = 60;
/// TCP tries again after ever longer pauses.
const PATIENCE: Duration = Duration::from_secs(30);

/// Has the members' echo reached by `dsr`, one member after the other.
fn by_turns(file: &mut PoolFile) {
    for balancer in &mut file.loadbalancer {
        for listener in balancer.listener.iter_mut().filter(|listener| listener.name == "lines") {
            listener.protocol_port = ECHO_PORT;
        }
        for pool in balancer.pool.iter_mut().filter(|pool| pool.name == "lines") {
            pool.forward_mode = Some("dsr".to_owned());
            pool.lb_algorithm = "ROUND_ROBIN".to_owned();
        }
    }
}

/// What a member needs to answer for the VIPs without anybody hearing of it.
fn hold_vips(pair: &Pair) -> Result<()> {
    for member in pair.members() {
        let namespace = member.namespace();
        namespace.set_parameters(&[
            ("ipv4/conf/all/arp_ignore", "1"),
            ("ipv4/conf/all/arp_announce", "2"),
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/eth0/rp_filter", "0"),
        ])?;
        let [v4, v6] = Family::BOTH.map(Family::vip);
        namespace
            .ip_batch(&format!("link set lo up\naddress add {v4}/32 dev lo\naddress add {v6}/128 dev lo nodad\n"))?;
    }
    Ok(())
}

/// Opens connections, waits until the other side knows where they go, does
/// something, and checks that every one of them lives and lost no byte: a member
/// that gets a segment of somebody else's connection resets it.
fn survive(what: impl FnOnce(&mut Duo) -> Result<()>) -> Result<()> {
    let pair = Pair::up(true)?;
    hold_vips(&pair)?;
    let mut duo = Duo::on(pair, Standby::default(), |_, file| by_turns(file))?;
    survived(&mut duo, what).with_context(|| duo.account())
}

fn survived(duo: &mut Duo, what: impl FnOnce(&mut Duo) -> Result<()>) -> Result<()> {
    let client = duo.pair().client().name().to_owned();
    let before = duo.adopted_placements(Side::B)?;
    let mut held = Vec::new();
    for family in Family::BOTH {
        let plan = Duo::connections(family, COUNT, BUSY);
        let target = (family.vip(), ECHO_PORT).into();
        held.push((family, Connections::open(&client, Plan { target, ..plan })?));
    }
    let all = before + u64::try_from(2 * COUNT)?;
    wait::until_true("the other side to know where connections go", Duration::from_secs(20), || {
        let known = duo.adopted_placements(Side::B)?;
        ensure!(known >= all, "it knows of {known}");
        Ok(true)
    })?;
    what(duo)?;
    for (family, connections) in held {
        let outcome = connections.settle(PATIENCE)?;
        ensure!(outcome.complaints().is_empty(), "{}: {}: {outcome:?}", family.name(), outcome.complaints());
        ensure!((outcome.opened, outcome.resumed) == (COUNT, COUNT), "{outcome:?}");
    }
    Ok(())
}

#[test]
fn connections_to_members_that_answer_themselves_survive_the_death_of_the_host_that_placed_them() -> Result<()> {
    survive(|duo| {
        duo.pair().unplug(Side::A)?;
        duo.wait_active(Side::B, LONG).map(drop)
    })
}

#[test]
fn they_move_back_and_forth_with_the_operator_too() -> Result<()> {
    survive(|duo| {
        duo.failover(Side::A)?;
        duo.wait_order(Side::B, LONG)?;
        std::thread::sleep(Duration::from_secs(1));
        duo.failover(Side::B)?;
        duo.wait_order(Side::A, LONG).map(drop)
    })
}
