//! Connections to members that answer clients themselves, while the VIPs move. The
//! balancer translates nothing for them, and what it has recorded is all that says
//! whose they are.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use krater_tests::rig::{
    Family, Side,
    addresses::HTTP_PORT,
    duo::Duo,
    http::{Session, Source},
    pair::Pair,
    pool_file::{PoolFile, Standby},
    wait,
};

use super::scene::LONG;

/// Of each family.
const COUNT: usize = 100;

/// Has the members' web servers reached by `dsr`, one member after the other.
fn by_turns(file: &mut PoolFile) {
    for balancer in &mut file.loadbalancer {
        balancer.listener[0].protocol_port = HTTP_PORT;
        balancer.pool[0].forward_mode = Some("dsr".to_owned());
        balancer.pool[0].lb_algorithm = "ROUND_ROBIN".to_owned();
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
/// something, and asks on each of them who answers: a member that gets a segment of
/// somebody else's connection would reset it.
fn survive(what: impl FnOnce(&mut Duo) -> Result<()>) -> Result<()> {
    let pair = Pair::up(true)?;
    hold_vips(&pair)?;
    let mut duo = Duo::on(pair, Standby::default(), |_, file| by_turns(file))?;
    survived(&mut duo, what).with_context(|| duo.account())
}

fn survived(duo: &mut Duo, what: impl FnOnce(&mut Duo) -> Result<()>) -> Result<()> {
    let known = duo.adopted_placements(Side::B)?;
    let targets = Family::BOTH.map(|family| SocketAddr::new(family.vip(), HTTP_PORT));
    let open = |target: SocketAddr| move |_| Ok(Session::open(target, Source::default())?);
    let mut sessions: Vec<Session> =
        duo.pair().client().enter(|| targets.into_iter().flat_map(|to| (0..COUNT).map(open(to))).collect())?;
    let mut who = |duo: &Duo| -> Result<Vec<String>> {
        duo.pair().client().enter(|| sessions.iter_mut().map(|session| Ok(session.get("/")?.member)).collect())
    };
    let before = who(duo)?;
    for member in ["m1", "m2", "m3"] {
        let count = before.iter().filter(|name| *name == member).count();
        ensure!(count > COUNT / 2, "{member} has {count} of {} connections", before.len());
    }
    let all = known + u64::try_from(before.len())?;
    wait::until_true("the other side to know where connections go", Duration::from_secs(20), || {
        let known = duo.adopted_placements(Side::B)?;
        ensure!(known >= all, "it knows of {known}");
        Ok(true)
    })?;
    what(duo)?;
    ensure!(who(duo)? == before, "every connection is answered by the member it had");
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
