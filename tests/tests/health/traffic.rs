//! What a verdict does to clients: new connections and datagrams go elsewhere,
//! established ones stay or are reset, backups come in and leave.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use krater_tests::rig::{
    Family, addresses::HTTP_PORT, backends::tcp::Manner, http, load::Kind, pool_file::PoolFile, udp as datagram, wait,
};

use super::scene::{Balancer, DOCTOR_PORT, LONG, Stage, expect_moved, hasty, patient, tcp, udp};

const ALL: [&str; 3] = ["m1", "m2", "m3"];

/// HTTP in front of the web servers, UDP-CONNECT in front of the UDP servers.
fn watched(stage: &Stage) -> PoolFile {
    let mut file = stage.file();
    for pool in file.pools() {
        let datagrams = pool.protocol == "UDP";
        pool.healthmonitor = Some(if datagrams { hasty("UDP-CONNECT") } else { patient("HTTP") });
        for member in &mut pool.member {
            member.monitor_port = None;
        }
    }
    file
}

#[test]
fn clients_follow_the_verdicts_out_of_a_member_and_back() -> Result<()> {
    let mut stage = Stage::raise()?;
    let balancer = stage.balance(watched(&stage))?;
    balancer.wait_all_up()?;
    for family in Family::BOTH {
        stage.expect_served_by(Kind::Http, tcp(family), &ALL)?;
        stage.expect_served_by(Kind::Udp, udp(family), &ALL)?;
    }
    stage.rig.member_mut(1).kill_servers();
    for name in ["web4/app/m2", "web6/app/m2"] {
        balancer.wait_down(name, "connection refused")?;
    }
    for name in ["web4/echo/m2", "web6/echo/m2"] {
        balancer.wait_down(name, "its port is closed (ICMP port unreachable)")?;
    }
    for family in Family::BOTH {
        stage.expect_served_by(Kind::Http, tcp(family), &["m1", "m3"])?;
        stage.expect_served_by(Kind::Udp, udp(family), &["m1", "m3"])?;
    }
    stage.rig.member_mut(1).start_servers()?;
    stage.rig.member_mut(1).wait_serving(LONG)?;
    balancer.wait_all_up()?;
    for family in Family::BOTH {
        stage.expect_served_by(Kind::Http, tcp(family), &ALL)?;
        stage.expect_served_by(Kind::Udp, udp(family), &ALL)?;
    }
    Ok(())
}

#[test]
fn a_web_server_that_answers_with_errors_gets_no_more_clients() -> Result<()> {
    let stage = Stage::raise()?;
    let doctors = stage.doctors(Manner::Status(200))?;
    let mut file = watched(&stage);
    for pool in file.pools() {
        pool.healthmonitor = Some(patient("HTTP"));
        pool.member.iter_mut().for_each(|member| member.monitor_port = Some(DOCTOR_PORT));
    }
    let balancer = stage.balance(file)?;
    balancer.wait_all_up()?;
    let [one, other] = [stage.trickle(Kind::Http, tcp(Family::V4)), stage.trickle(Kind::Udp, udp(Family::V6))];
    doctors[..2].iter().for_each(|doctor| doctor.behave(Manner::Status(503)));
    balancer.wait_down("web4/app/m1", "status 503, expected 200")?;
    balancer.wait_down("web6/echo/m1", "status 503, expected 200")?;
    let moment = Instant::now();
    for target in [tcp(Family::V4), tcp(Family::V6)] {
        stage.expect_served_by(Kind::Http, target, &["m2", "m3"])?;
    }
    std::thread::sleep(Duration::from_millis(300));
    expect_moved(one, moment, "m1")?;
    expect_moved(other, moment, "m1")
}

/// Asks over one and the same UDP flow until `done` likes who answers.
fn until_answered(stage: &Stage, target: SocketAddr, port: u16, done: impl Fn(&str) -> bool + Sync) -> Result<String> {
    stage.rig.client().enter(|| {
        let (member, _) = wait::until("a UDP flow to be answered", LONG, || {
            let member = datagram::ask(target, port, b"who are you?")?;
            ensure!(done(&member), "{member} answers");
            Ok(Some(member))
        })?;
        Ok(member)
    })
}

#[test]
fn a_udp_flow_moves_from_a_member_that_died_without_a_word() -> Result<()> {
    let stage = Stage::raise()?;
    // A host that is gone refuses no datagram: its web server stands for it.
    let mut file = watched(&stage);
    for pool in file.pools().filter(|pool| pool.protocol == "UDP") {
        pool.healthmonitor = Some(hasty("TCP"));
        pool.member.iter_mut().for_each(|member| member.monitor_port = Some(HTTP_PORT));
    }
    let balancer = stage.balance(file)?;
    balancer.wait_all_up()?;
    let victim = until_answered(&stage, udp(Family::V4), 33001, |_| true)?;
    // Over IPv6 the same member, so that one death is enough.
    let port6 = (33100..33200)
        .find_map(|port| {
            let member = until_answered(&stage, udp(Family::V6), port, |_| true).ok()?;
            (member == victim).then_some(port)
        })
        .context("a hundred UDP flows and none to one of three members")?;
    let index = ALL.iter().position(|name| *name == victim).context("who is that?")?;
    stage.rig.unplug(index)?;
    for (family, port) in [(Family::V4, 33001), (Family::V6, port6)] {
        until_answered(&stage, udp(family), port, |member| member != victim)?;
    }
    for pool in ["web4/echo", "web6/echo"] {
        balancer.wait_status(&format!("{pool}/{victim}"), "ERROR")?;
    }
    Ok(())
}

#[test]
fn a_udp_flow_moves_from_a_member_whose_port_was_closed() -> Result<()> {
    let mut stage = Stage::raise()?;
    let balancer = stage.balance(watched(&stage))?;
    balancer.wait_all_up()?;
    for (family, port) in [(Family::V4, 33001), (Family::V6, 33002)] {
        let target = udp(family);
        let victim = until_answered(&stage, target, port, |_| true)?;
        let index = ALL.iter().position(|name| *name == victim).context("who is that?")?;
        stage.rig.member_mut(index).kill_servers();
        until_answered(&stage, target, port, |member| member != victim)?;
        stage.rig.member_mut(index).start_servers()?;
        stage.rig.member_mut(index).wait_serving(LONG)?;
        balancer.wait_all_up()?;
    }
    Ok(())
}

/// A connection through the VIP to a member of choice.
fn session_to(stage: &Stage, target: SocketAddr, member: &str) -> Result<http::Session> {
    stage.rig.client().enter(|| {
        for _ in 0..200 {
            let mut session = http::Session::open(target, http::Source::default())?;
            if session.get("/")?.member == member {
                return Ok(session);
            }
        }
        bail!("two hundred connections and none to {member}")
    })
}

/// Web servers that go on while a monitor, which asks somebody else, finds one down.
fn fallen_ill(
    on_member_down: &str,
    test: impl FnOnce(&Stage, &Balancer, [http::Session; 2]) -> Result<()>,
) -> Result<()> {
    let stage = Stage::raise()?;
    let mut doctors = stage.doctors(Manner::Stall)?;
    let mut file = stage.file();
    for pool in file.pools() {
        pool.healthmonitor = Some(patient("TCP"));
        pool.member.iter_mut().for_each(|member| member.monitor_port = Some(DOCTOR_PORT));
        if pool.protocol == "TCP" {
            pool.on_member_down = Some(on_member_down.to_owned());
        }
    }
    let balancer = stage.balance(file)?;
    balancer.wait_all_up()?;
    let sessions = [session_to(&stage, tcp(Family::V4), "m1")?, session_to(&stage, tcp(Family::V6), "m1")?];
    // Both of the first member's, over both families.
    doctors.drain(..2);
    for name in ["web4/app/m1", "web6/app/m1"] {
        balancer.wait_down(name, "connection refused")?;
    }
    test(&stage, &balancer, sessions)
}

#[test]
fn established_connections_stay_with_a_member_that_is_down_unless_told_otherwise() -> Result<()> {
    fallen_ill("keep", |stage, _, sessions| {
        for mut session in sessions {
            let response = session.get("/").context("the connection from before")?;
            ensure!(response.member == "m1", "{} answers", response.member);
        }
        for family in Family::BOTH {
            stage.expect_served_by(Kind::Http, tcp(family), &["m2", "m3"])?;
        }
        Ok(())
    })
}

#[test]
fn with_on_member_down_reset_a_client_is_told_at_once_and_finds_another_member() -> Result<()> {
    fallen_ill("reset", |stage, balancer, sessions| {
        for (mut session, family) in sessions.into_iter().zip(Family::BOTH) {
            match session.get("/") {
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
                other => bail!("{}: the connection was not reset: {other:?}", family.name()),
            }
            stage.expect_served_by(Kind::Http, tcp(family), &["m2", "m3"])?;
        }
        let counted = balancer.ctl().events()?;
        ensure!(counted.get("member_down_reset").copied() >= Some(2), "{counted:?}");
        Ok(())
    })
}

#[test]
fn backup_members_serve_while_no_other_can_and_leave_again() -> Result<()> {
    let mut stage = Stage::raise()?;
    let mut file = watched(&stage);
    for pool in file.pools() {
        pool.member[2].backup = true;
    }
    let balancer = stage.balance(file)?;
    balancer.wait_all_up()?;
    let expect = |stage: &Stage, members: &[&str]| -> Result<()> {
        for family in Family::BOTH {
            stage.expect_served_by(Kind::Http, tcp(family), members)?;
            stage.expect_served_by(Kind::Udp, udp(family), members)?;
        }
        Ok(())
    };
    let wait = |member: &str, status: &str| -> Result<()> {
        ["web4/app", "web6/app", "web4/echo", "web6/echo"]
            .into_iter()
            .try_for_each(|pool| balancer.wait_status(&format!("{pool}/{member}"), status))
    };
    expect(&stage, &["m1", "m2"])?;
    stage.rig.member_mut(0).kill_servers();
    wait("m1", "ERROR")?;
    expect(&stage, &["m2"])?;
    stage.rig.member_mut(1).kill_servers();
    wait("m2", "ERROR")?;
    expect(&stage, &["m3"])?;
    stage.rig.member_mut(1).start_servers()?;
    stage.rig.member_mut(1).wait_serving(LONG)?;
    wait("m2", "ONLINE")?;
    expect(&stage, &["m2"])?;
    stage.rig.member_mut(0).start_servers()?;
    stage.rig.member_mut(0).wait_serving(LONG)?;
    wait("m1", "ONLINE")?;
    expect(&stage, &["m1", "m2"])
}
