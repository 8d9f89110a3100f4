//! Members that leave, pools that change, and what clients notice of it.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use krater_tests::rig::{Family, http, load::Kind, load::Report, udp as datagram};

use super::scene::{LONG, Scene, everywhere, expect_no_errors, finish, play, since, tcp, udp, weights};

const STEADY: Duration = Duration::from_millis(400);

fn wait_status(scene: &Scene, member: &str, status: &str) -> Result<Instant> {
    let suffix = format!("/{member}");
    scene.lbd.wait_members(&format!("{member} to be {status}"), LONG, |members| {
        members
            .iter()
            .filter(|m| m.name.ends_with(&suffix))
            .all(|m| m.operating_status == status && (status == "ONLINE") == (m.share_percent > 0.0))
    })?;
    Ok(Instant::now())
}

#[test]
fn traffic_moves_away_from_a_member_that_dies_and_back_when_it_returns() -> Result<()> {
    play(
        |_| {},
        |scene| {
            let loads = scene.trickles();
            thread::sleep(STEADY);
            scene.rig.member_mut(1).kill_servers();
            let noticed = wait_status(scene, "m2", "ERROR")?;
            thread::sleep(STEADY);
            let report = since(&finish(loads)?, noticed);
            expect_no_errors("after m2 was noticed missing", &report, 20)?;
            ensure!(report.answered_by("m2") == 0, "m2 answered though it is dead");
            for (kind, target) in everywhere() {
                scene.expect_spread(kind, target, 200, &weights([1, 0, 1]))?;
            }

            let loads = scene.trickles();
            let member = scene.rig.member_mut(1);
            member.start_servers()?;
            member.wait_serving(LONG)?;
            wait_status(scene, "m2", "ONLINE")?;
            thread::sleep(STEADY);
            expect_no_errors("while m2 returned", &Report::of(&finish(loads)?), 20)?;
            for (kind, target) in everywhere() {
                scene.expect_spread(kind, target, 200, &weights([1, 1, 1]))?;
            }
            Ok(())
        },
    )
}

#[test]
fn connections_of_other_members_survive_the_loss_of_one() -> Result<()> {
    play(
        |_| {},
        |scene| {
            for family in Family::BOTH {
                let mut sessions = scene.at_client(|| {
                    let mut sessions = Vec::new();
                    for _ in 0..30 {
                        let mut session = http::Session::open(tcp(family), http::Source::default())?;
                        let member = session.get("/")?.member;
                        sessions.push((session, member));
                    }
                    Ok(sessions)
                })?;
                scene.rig.member_mut(2).kill_servers();
                wait_status(scene, "m3", "ERROR")?;
                sessions.retain(|(_, member)| member != "m3");
                ensure!(sessions.len() > 5, "too few connections to the others: {}", sessions.len());
                for (session, member) in &mut sessions {
                    let answer = session.get("/").with_context(|| format!("a connection to {member}"))?;
                    ensure!(answer.member == *member);
                }
                let member = scene.rig.member_mut(2);
                member.start_servers()?;
                member.wait_serving(LONG)?;
                wait_status(scene, "m3", "ONLINE")?;
            }
            Ok(())
        },
    )
}

#[test]
fn datagrams_of_a_known_client_move_when_their_member_dies() -> Result<()> {
    play(
        |_| {},
        |scene| {
            const PORT: u16 = 21_000;
            let ask = |scene: &Scene| scene.at_client(|| Ok(datagram::ask(udp(Family::V4), PORT, b"who?")?));
            let first = ask(scene)?;
            let index = scene.rig.members().iter().position(|m| m.name() == first).context("who?")?;
            scene.rig.member_mut(index).kill_servers();
            wait_status(scene, &first, "ERROR")?;
            let second = ask(scene).context("the same port after its member died")?;
            ensure!(second != first);
            Ok(())
        },
    )
}

#[test]
fn backup_members_serve_only_while_no_other_can() -> Result<()> {
    play(
        |file| file.pools().for_each(|pool| pool.member[2].backup = true),
        |scene| {
            scene.expect_spread(Kind::Http, tcp(Family::V4), 100, &weights([1, 1, 0]))?;
            for index in [0, 1] {
                scene.rig.member_mut(index).kill_servers();
            }
            scene.lbd.wait_members("the backup to be in use", LONG, |members| {
                members.iter().all(|m| m.name.ends_with("/m3") == (m.share_percent > 0.0))
            })?;
            scene.expect_spread(Kind::Http, tcp(Family::V4), 100, &weights([0, 0, 1]))?;
            scene.expect_spread(Kind::Udp, udp(Family::V6), 100, &weights([0, 0, 1]))
        },
    )
}

#[test]
fn a_pool_without_members_refuses_at_once() -> Result<()> {
    play(
        |file| file.pools().flat_map(|pool| &mut pool.member).for_each(|member| member.admin_state_up = false),
        |scene| {
            for family in Family::BOTH {
                let start = Instant::now();
                let refused = scene.get(tcp(family));
                let took = start.elapsed();
                let error = refused.err().context("somebody answered for an empty pool")?;
                ensure!(
                    error.kind() == std::io::ErrorKind::ConnectionRefused && took < Duration::from_millis(200),
                    "over {} after {took:?}: {error}",
                    family.name()
                );
            }
            let events = scene.ctl().events()?;
            ensure!(
                events.get("pool_empty").copied().unwrap_or(0) + events.get("answered_reset").copied().unwrap_or(0)
                    >= 2
            );
            Ok(())
        },
    )
}

#[test]
fn a_good_pool_file_takes_effect_under_traffic_without_an_error() -> Result<()> {
    play(
        |_| {},
        |scene| {
            let loads = scene.trickles();
            for weights_now in [[1, 0, 0], [0, 1, 2], [1, 1, 1], [0, 0, 1]] {
                for pool in scene.file.pools() {
                    for (member, weight) in pool.member.iter_mut().zip(weights_now) {
                        member.weight = weight;
                    }
                }
                scene.reload()?;
                thread::sleep(Duration::from_millis(100));
            }
            expect_no_errors("while the pool file changed", &Report::of(&finish(loads)?), 50)?;
            for (kind, target) in everywhere() {
                scene.expect_spread(kind, target, 100, &weights([0, 0, 1]))?;
            }
            Ok(())
        },
    )
}

#[test]
fn a_bad_pool_file_changes_nothing_and_says_why() -> Result<()> {
    play(
        |_| {},
        |scene| {
            let good = scene.file.text()?;
            for (bad, reason) in [
                (good.replacen("SOURCE_IP_PORT", "SOURCE_IP_POT", 1), "SOURCE_IP_POT"),
                (good.replacen("vip_address", "vip_adress", 1), "vip_adress"),
                (good.replacen("weight = 1", "weight = 257", 1), "257"),
                ("this is no TOML".to_owned(), "krater.toml"),
            ] {
                ensure!(bad != good, "the test's own replacement for {reason} found nothing");
                let before = scene.lbd.log().len();
                scene.lbd.reload(&bad)?;
                krater_tests::rig::wait::until_true(&format!("a refusal that names {reason}"), LONG, || {
                    Ok(scene.lbd.log()[before..].contains(reason))
                })?;
                let status = scene.ctl().json(&["status"])?;
                ensure!(!status["daemon"]["last_error"].is_null(), "status shows no error: {status}");
            }
            for (kind, target) in everywhere() {
                scene.expect_spread(kind, target, 100, &weights([1, 1, 1]))?;
            }
            Ok(())
        },
    )
}

#[test]
fn a_listener_moves_to_another_port() -> Result<()> {
    play(
        |_| {},
        |scene| {
            for balancer in &mut scene.file.loadbalancer {
                balancer.listener[0].protocol_port = 8000;
            }
            scene.reload()?;
            for family in Family::BOTH {
                let moved = SocketAddr::new(family.vip(), 8000);
                scene.expect_spread(Kind::Http, moved, 100, &weights([1, 1, 1]))?;
                ensure!(scene.get(tcp(family)).is_err(), "the old port still answers over {}", family.name());
            }
            Ok(())
        },
    )
}

#[test]
fn a_connection_outlives_its_members_removal_from_the_pool_file() -> Result<()> {
    play(
        |_| {},
        |scene| {
            let (mut session, first) = scene.at_client(|| {
                let mut session = http::Session::open(tcp(Family::V4), http::Source::default())?;
                let first = session.get("/")?.member;
                Ok((session, first))
            })?;
            for pool in scene.file.pools() {
                pool.member.retain(|member| member.name != first);
            }
            scene.reload()?;
            let report = scene.drive(Kind::Http, tcp(Family::V4), 100)?;
            expect_no_errors("after the removal", &report, 100)?;
            ensure!(report.answered_by(&first) == 0, "{first} still gets new connections");
            let again = session.get("/").context("the connection from before")?.member;
            ensure!(again == first);
            Ok(())
        },
    )
}
