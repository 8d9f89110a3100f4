//! A member that comes and goes: it stays what it is while only every other probe
//! fails, and the more often it comes up the more it has to prove.

use anyhow::{Result, ensure};
use krater_tests::rig::{
    Family,
    backends::tcp::{Manner, TcpServer},
    pool_file::HealthMonitor,
};

use super::scene::{Expect::Up, Stage, ask, patient};

const M1: usize = 0;

#[test]
fn a_server_that_refuses_every_other_time_stays_what_it_is() -> Result<()> {
    let stage = Stage::raise()?;
    let start = |port, manner| {
        let namespace = stage.rig.member(M1).namespace();
        TcpServer::start(&stage.crowd, namespace, stage.at(M1, Family::V4, port), manner)
    };
    let [_up, down] = [start(7000, Manner::InTurn(200, 503))?, start(7001, Manner::Status(503))?];
    let monitor = HealthMonitor { max_retries: 2, delay: 0.1, ..patient("HTTP") };
    let questions = [ask("up", monitor.clone(), (M1, 7000), Up("")), ask("down", monitor, (M1, 7001), Up(""))];
    let balancer = stage.balance(stage.file_of(&questions, &[Family::V4]))?;
    balancer.wait_down("web4/down/m", "status 503")?;
    down.behave(Manner::InTurn(200, 503));
    for (name, story) in [("web4/up/m", "UP"), ("web4/down/m", "DOWN")] {
        let before = balancer.health(name)?;
        balancer.wait(&format!("{name} to be probed a few times more"), || {
            Ok(balancer.health(name)?.probes >= before.probes + 12)
        })?;
        let health = balancer.health(name)?;
        ensure!(health.story() == story, "{name}: {health:?}");
        let met: Vec<&str> = health.results.iter().map(|result| result.text.as_str()).collect();
        ensure!(met.contains(&"status 200") && met.contains(&"status 503, expected 200"), "{name} met {met:?}");
    }
    Ok(())
}

#[test]
fn a_member_that_flaps_needs_twice_as_many_successes_each_time_and_lbctl_shows_it() -> Result<()> {
    let stage = Stage::raise()?;
    let start = |port| {
        let namespace = stage.rig.member(M1).namespace();
        TcpServer::start(&stage.crowd, namespace, stage.at(M1, Family::V4, port), Manner::Status(200))
    };
    let [damped, steady] = [start(7000)?, start(7001)?];
    let monitor = HealthMonitor { max_retries: 2, delay: 0.1, ..patient("HTTP") };
    let undamped = HealthMonitor { flap_damping: Some(false), ..monitor.clone() };
    let questions = [ask("damped", monitor, (M1, 7000), Up("")), ask("steady", undamped, (M1, 7001), Up(""))];
    let balancer = stage.balance(stage.file_of(&questions, &[Family::V4]))?;
    // The first fall is no flapping: it never came up after having been down.
    for (falls, needed) in [(1, 2), (2, 4), (3, 8)] {
        balancer.wait_all_up()?;
        [&damped, &steady].into_iter().for_each(|server| server.behave(Manner::Status(500)));
        for name in ["web4/damped/m", "web4/steady/m"] {
            balancer.wait_down(name, "status 500")?;
        }
        let health = balancer.health("web4/damped/m")?;
        ensure!((health.member.needed, health.member.damping) == (needed, falls - 1), "{falls}: {health:?}");
        let health = balancer.health("web4/steady/m")?;
        ensure!((health.member.needed, health.member.damping) == (2, 0), "{falls}: {health:?}");
        [&damped, &steady].into_iter().for_each(|server| server.behave(Manner::Status(200)));
    }
    let shown = balancer.lbctl(&["health", "show", "web4/damped/m"])?.stdout;
    ensure!(shown.contains("flap") || shown.contains("damp"), "lbctl says nothing of flapping:\n{shown}");
    balancer.wait_all_up()?;
    let story = balancer.health("web4/damped/m")?.story();
    ensure!(story == "UP DOWN UP DOWN UP DOWN UP", "{story}");
    Ok(())
}
