//! What outlives a change: of the pool file, of a monitor's admin state, of lbd itself.

use anyhow::{Result, ensure};
use krater_tests::rig::{
    Family,
    backends::tcp::{Manner, TcpServer},
    load::{Kind, Report},
    pool_file::{HealthMonitor, PoolFile},
};

use super::scene::{LONG, Stage, patient, tcp, udp};

const ALL: [&str; 3] = ["m1", "m2", "m3"];
const WITHOUT_M1: [&str; 2] = ["m2", "m3"];

#[test]
fn a_reload_changes_type_and_thresholds_and_a_member_that_is_down_stays_so() -> Result<()> {
    let mut stage = Stage::raise()?;
    let mut file = stage.file();
    for pool in file.pools() {
        pool.healthmonitor = Some(patient("TCP"));
    }
    let mut balancer = stage.balance(file)?;
    balancer.wait_all_up()?;
    stage.rig.member_mut(0).kill_servers();
    balancer.wait_down("web4/app/m1", "connection refused")?;
    balancer.wait_down("web6/app/m1", "connection refused")?;
    let since = balancer.health("web4/app/m1")?.member.since;

    // Other thresholds: the verdict stays, and so does its time.
    let thresholds = HealthMonitor { max_retries: 4, max_retries_down: 3, ..patient("TCP") };
    set_monitors(&mut balancer.file, &thresholds);
    balancer.reload()?;
    let health = balancer.health("web4/app/m1")?;
    ensure!(health.member.is_down() && health.member.since == since, "{health:?}");
    balancer.wait("the new threshold to count", || Ok(balancer.health("web4/app/m1")?.member.needed >= 4))?;

    // Another type: what is asked is new, who is down is not.
    set_monitors(&mut balancer.file, &HealthMonitor { max_retries: 4, ..patient("HTTP") });
    balancer.reload()?;
    for family in Family::BOTH {
        stage.expect_served_by(Kind::Http, tcp(family), &WITHOUT_M1)?;
    }
    balancer.wait("the other type to be asked", || {
        Ok(balancer.health("web4/app/m2")?.member.last_text() == "status 200")
    })?;
    balancer.wait_down("web4/app/m1", "connection refused")?;
    ensure!(balancer.events_of("member_up", "web4/app/m1")?.len() <= 1, "it came up in between");

    stage.rig.member_mut(0).start_servers()?;
    stage.rig.member_mut(0).wait_serving(LONG)?;
    balancer.wait_all_up()?;
    for family in Family::BOTH {
        stage.expect_served_by(Kind::Http, tcp(family), &ALL)?;
    }
    Ok(())
}

fn set_monitors(file: &mut PoolFile, monitor: &HealthMonitor) {
    for pool in file.pools() {
        // The UDP pools' members are probed at their web servers too.
        pool.healthmonitor = Some(monitor.clone());
    }
}

#[test]
fn an_lbd_that_was_killed_keeps_a_member_down_that_was_down() -> Result<()> {
    let mut stage = Stage::raise()?;
    let mut file = stage.file();
    // Slowly, so that the new lbd is asked before it knows better by itself.
    set_monitors(&mut file, &HealthMonitor { delay: 1.0, ..patient("TCP") });
    let mut balancer = stage.balance(file)?;
    balancer.wait_all_up()?;
    stage.rig.member_mut(0).kill_servers();
    for name in ["web4/app/m1", "web6/app/m1", "web4/echo/m1", "web6/echo/m1"] {
        balancer.wait_down(name, "connection refused")?;
    }
    balancer.lbd.kill();
    stage.expect_served_by(Kind::Http, tcp(Family::V4), &WITHOUT_M1)?;
    let loads = [stage.trickle(Kind::Http, tcp(Family::V4)), stage.trickle(Kind::Http, tcp(Family::V6))];
    balancer.lbd.restart()?;
    ensure!(balancer.member("web4/app/m1")?.operating_status == "ERROR", "{:?}", balancer.member("web4/app/m1")?);
    stage.expect_served_by(Kind::Udp, udp(Family::V4), &WITHOUT_M1)?;
    balancer.wait("the new lbd to have asked for itself", || {
        let health = balancer.health("web4/app/m1")?;
        ensure!(health.member.is_down() && health.failures >= 2, "{health:?}");
        Ok(true)
    })?;
    for load in loads {
        let report = Report::of(&load.finish()?);
        ensure!(report.errors == 0 && report.answered_by("m1") == 0, "{report:?}");
    }
    stage.rig.member_mut(0).start_servers()?;
    balancer.wait_all_up()?;
    stage.expect_served_by(Kind::Http, tcp(Family::V6), &ALL)
}

#[test]
fn a_monitor_that_is_switched_off_takes_its_word_back() -> Result<()> {
    let stage = Stage::raise()?;
    let start = |family| {
        let namespace = stage.rig.member(0).namespace();
        TcpServer::start(&stage.crowd, namespace, stage.at(0, family, 8081), Manner::Status(503))
    };
    let _ill = [start(Family::V4)?, start(Family::V6)?];
    let mut file = stage.file();
    set_monitors(&mut file, &patient("HTTP"));
    for pool in file.pools() {
        pool.member[0].monitor_port = Some(8081);
    }
    let mut balancer = stage.balance(file)?;
    balancer.wait_down("web4/app/m1", "status 503")?;
    balancer.wait_down("web6/app/m1", "status 503")?;
    stage.expect_served_by(Kind::Http, tcp(Family::V4), &WITHOUT_M1)?;

    set_monitors(&mut balancer.file, &HealthMonitor { admin_state_up: Some(false), ..patient("HTTP") });
    balancer.reload()?;
    balancer.wait_status("web4/app/m1", "NO_MONITOR")?;
    for family in Family::BOTH {
        stage.expect_served_by(Kind::Http, tcp(family), &ALL)?;
    }
    let refused = balancer.ctl().run(&["health", "show", "web4/app/m1"])?;
    ensure!(!refused.status.success() && refused.stderr.contains("switched off"), "{refused:?}");

    set_monitors(&mut balancer.file, &patient("HTTP"));
    balancer.reload()?;
    balancer.wait_down("web4/app/m1", "status 503")?;
    stage.expect_served_by(Kind::Http, tcp(Family::V4), &WITHOUT_M1)
}
