//! What becomes of traffic when lbd goes and comes.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use krater_tests::rig::{Family, Options, Rig, http, lbd::Lbd, load::Kind, load::Report, pool_file::PoolFile, wait};

use super::scene::{LONG, everywhere, expect_no_errors, finish, play, tcp, weights};

const STEADY: Duration = Duration::from_millis(300);

#[test]
fn killing_lbd_disturbs_no_traffic_and_the_next_one_takes_over() -> Result<()> {
    play(
        |_| {},
        |scene| {
            let mut sessions = scene.at_client(|| {
                Family::BOTH
                    .into_iter()
                    .map(|family| Ok(http::Session::open(tcp(family), http::Source::default())?))
                    .collect::<Result<Vec<_>>>()
            })?;
            let mut members = Vec::new();
            for session in &mut sessions {
                members.push(session.get("/")?.member);
            }
            let loads = scene.trickles();
            thread::sleep(STEADY);
            scene.lbd.kill();
            thread::sleep(STEADY);
            for session in &mut sessions {
                session.get("/").context("a connection from before, without lbd")?;
            }
            scene.lbd.restart()?;
            scene.lbd.wait_all_usable()?;
            thread::sleep(STEADY);
            for (session, member) in sessions.iter_mut().zip(&members) {
                let now = session.get("/").context("a connection from before, with the next lbd")?.member;
                ensure!(now == *member, "it went from {member} to {now}");
            }
            expect_no_errors("while lbd was killed and started", &Report::of(&finish(loads)?), 50)?;
            let log = scene.lbd.log().to_lowercase();
            ensure!(log.contains("adopt"), "lbd's log does not say that it adopted anything");
            for (kind, target) in everywhere() {
                scene.expect_spread(kind, target, 100, &weights([1, 1, 1]))?;
            }
            Ok(())
        },
    )
}

#[test]
fn on_exit_keep_leaves_the_data_path_forwarding() -> Result<()> {
    play(
        |_| {},
        |scene| {
            let status = scene.lbd.terminate(LONG)?;
            ensure!(status.success(), "lbd ended with {status}");
            for (kind, target) in everywhere() {
                scene.expect_spread(kind, target, 100, &weights([1, 1, 1]))?;
            }
            Ok(())
        },
    )
}

#[test]
fn on_exit_remove_leaves_nothing() -> Result<()> {
    play(
        |file| file.dataplane.on_exit = "remove".to_owned(),
        |scene| {
            scene.get(tcp(Family::V4)).context("before")?;
            let status = scene.lbd.terminate(LONG)?;
            ensure!(status.success(), "lbd ended with {status}");
            expect_removed(&scene.rig)
        },
    )
}

/// Checks that no program and no pin is left.
pub(super) fn expect_removed(rig: &Rig) -> Result<()> {
    let links = rig.lb().run("ip", &["-d", "link", "show"])?;
    ensure!(!links.contains("prog/xdp"), "a program is still attached:\n{links}");
    let pins = rig.paths().pin_path.clone();
    let left = std::fs::read_dir(&pins).map_or(0, Iterator::count);
    ensure!(left == 0, "{left} pins are left in {}", pins.display());
    Ok(())
}

#[test]
fn generic_mode_forwards_too_and_is_shown() -> Result<()> {
    play(
        |file| file.dataplane.xdp_mode = "generic".to_owned(),
        |scene| {
            expect_modes(&scene.lbd, "generic")?;
            for (kind, target) in everywhere() {
                scene.expect_spread(kind, target, 100, &weights([1, 1, 1]))?;
            }
            Ok(())
        },
    )
}

#[test]
fn auto_takes_the_driver_where_it_can() -> Result<()> {
    play(|file| file.dataplane.xdp_mode = "auto".to_owned(), |scene| expect_modes(&scene.lbd, "native"))
}

#[test]
fn auto_falls_back_with_a_warning_that_names_the_cost() -> Result<()> {
    let rig = Rig::up(Options::default())?;
    // A veth refuses XDP in the driver when its peer's packets may be longer than a page.
    rig.client().ip_batch("link set eth0 mtu 9000\n")?;
    let switch = format!("kr-{}-switch", rig.id());
    krater_tests::rig::command::run("ip", &["-n", &switch, "link", "set", "lb", "mtu", "9000"])?;
    let mut file = PoolFile::for_rig(rig.options().topology, rig.paths());
    file.dataplane.xdp_mode = "native".to_owned();
    let refused = Lbd::start(&rig, &file.text()?);
    ensure!(refused.is_err(), "the veth took a program in the driver: this test has lost its ground");

    file.dataplane.xdp_mode = "auto".to_owned();
    let lbd = Lbd::start(&rig, &file.text()?)?;
    lbd.wait_all_usable()?;
    expect_modes(&lbd, "generic")?;
    let log = lbd.log();
    ensure!(
        log.lines().any(|line| line.contains("WARN") && line.contains("front0") && line.contains("generic")),
        "no warning names front0 and generic\n{}",
        lbd.log_tail()
    );
    let report = rig.client().enter(|| Ok(http::get(tcp(Family::V4), "/", http::Source::default())?))?;
    ensure!(report.status == 200);

    // A reload that the driver refuses leaves every interface as it was.
    file.dataplane.xdp_mode = "native".to_owned();
    lbd.reload(&file.text()?)?;
    let error = refusal(&lbd)?;
    ensure!(error.contains("reload refused") && error.contains("front0"), "{error}");
    expect_modes(&lbd, "generic")?;
    let report = rig.client().enter(|| Ok(http::get(tcp(Family::V4), "/", http::Source::default())?))?;
    ensure!(report.status == 200);
    Ok(())
}

/// Waits until lbd has refused something, and gives its reason.
fn refusal(lbd: &Lbd) -> Result<String> {
    let reason = || Ok(lbd.ctl().json(&["status"])?["daemon"]["last_error"]["message"].as_str().map(str::to_owned));
    wait::until("lbd to refuse", LONG, reason).map(|(reason, _)| reason).with_context(|| lbd.log_tail())
}

#[test]
fn a_reload_changes_the_mode_and_changes_it_back() -> Result<()> {
    play(
        |file| file.dataplane.xdp_mode = "native".to_owned(),
        |scene| {
            for mode in ["generic", "native", "generic", "native"] {
                scene.file.dataplane.xdp_mode = mode.to_owned();
                scene.reload()?;
                expect_modes(&scene.lbd, mode)?;
                scene.expect_spread(Kind::Http, tcp(Family::V4), 100, &weights([1, 1, 1]))?;
            }
            Ok(())
        },
    )
}

#[test]
fn an_interface_that_vanishes_is_told_and_attached_to_when_it_is_back() -> Result<()> {
    play(
        |_| {},
        |scene| {
            let expect = |what: &str, missing: &[&str], attached: usize| {
                wait::until_true(what, LONG, || {
                    let status = scene.ctl().json(&["status"])?;
                    let interfaces = status["interfaces"].as_array().map_or(0, Vec::len);
                    Ok(status["interfaces_missing"] == serde_json::json!(missing) && interfaces == attached)
                })
            };
            expect("both interfaces to be attached", &[], 2)?;
            scene.rig.lb().ip_batch("link del back0\n")?;
            expect("back0 to be told missing", &["back0"], 1)?;
            let status = scene.ctl().json(&["status"])?["operating_status"].to_string();
            ensure!(["\"DEGRADED\"", "\"ERROR\""].contains(&status.as_str()), "{status}");
            scene.rig.lb().ip_batch("link add back0 type veth peer name back9\n")?;
            expect("back0 to be attached to again", &[], 2).map(drop)
        },
    )
}

#[test]
fn a_pool_file_that_nobody_writes_into_keeps_lbd_from_nothing() -> Result<()> {
    play(
        |_| {},
        |scene| {
            let config = &scene.rig.paths().config;
            std::fs::remove_file(config)?;
            krater_tests::rig::command::run("mkfifo", &[&config.to_string_lossy()])?;
            scene.lbd.signal_reload()?;
            let error = refusal(&scene.lbd)?;
            ensure!(error.contains("no regular file"), "{error}");
            Ok(())
        },
    )
}

fn expect_modes(lbd: &Lbd, mode: &str) -> Result<()> {
    let status = lbd.ctl().json(&["status"])?;
    let interfaces = status["interfaces"].as_array().context("status shows no interfaces")?;
    ensure!(!interfaces.is_empty() && interfaces.iter().all(|i| i["xdp_mode"] == mode), "{status}");
    Ok(())
}

#[test]
fn a_second_lbd_with_the_same_socket_is_refused_and_harms_nothing() -> Result<()> {
    play(
        |_| {},
        |scene| {
            let second = Lbd::start(&scene.rig, &scene.file.text()?);
            // It may be refused before or after the first one answered in its place: what counts is who is left.
            drop(second);
            wait::until_true("the first lbd to answer", LONG, || {
                let status = scene.ctl().json(&["status"])?;
                Ok(status["daemon"]["pid"].as_i64() == Some(scene.lbd.pid().into()))
            })?;
            scene.expect_spread(Kind::Http, tcp(Family::V4), 100, &weights([1, 1, 1]))
        },
    )
}
