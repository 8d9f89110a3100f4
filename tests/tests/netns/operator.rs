//! What an operator does with lbctl, and what it does to traffic.

use anyhow::{Context as _, Result, ensure};
use krater_tests::rig::{
    Family, http,
    lbd::{self, MemberStatus},
    load::Kind,
    wait,
};

use super::scene::{LONG, Scene, everywhere, expect_no_errors, play, tcp, weights};

const DRAINED: &str = "web4/app/m1";

fn status_of(members: &[MemberStatus], name: &str) -> String {
    members.iter().find(|m| m.name == name).map_or_else(String::new, |m| m.operating_status.clone())
}

/// A connection to `m1` of the IPv4 pool.
fn session_to_m1(scene: &Scene) -> Result<http::Session> {
    scene.at_client(|| {
        for _ in 0..100 {
            let mut session = http::Session::open(tcp(Family::V4), http::Source::default())?;
            if session.get("/")?.member == "m1" {
                return Ok(session);
            }
        }
        anyhow::bail!("a hundred connections and none to m1")
    })
}

#[test]
fn a_drained_member_keeps_its_connections_and_gets_no_new_ones() -> Result<()> {
    play(
        |_| {},
        |scene| {
            let mut session = session_to_m1(scene)?;
            scene.lbctl(&["member", "set", DRAINED, "--drain"])?;
            ensure!(status_of(&scene.ctl().members()?, DRAINED) == "DRAINING");
            scene.expect_spread(Kind::Http, tcp(Family::V4), 150, &weights([0, 1, 1]))?;
            ensure!(session.get("/").context("the connection from before")?.member == "m1");
            // The other family's pool is another pool.
            scene.expect_spread(Kind::Http, tcp(Family::V6), 150, &weights([1, 1, 1]))?;
            scene.lbctl(&["member", "set", DRAINED, "--reset"])?;
            scene.expect_spread(Kind::Http, tcp(Family::V4), 150, &weights([1, 1, 1]))
        },
    )
}

#[test]
fn a_disabled_member_gets_no_new_connections_and_its_state_outlives_lbd() -> Result<()> {
    play(
        |_| {},
        |scene| {
            scene.lbctl(&["member", "set", DRAINED, "--disable"])?;
            scene.expect_spread(Kind::Http, tcp(Family::V4), 150, &weights([0, 1, 1]))?;
            ensure!(status_of(&scene.ctl().members()?, DRAINED) == "OFFLINE");
            scene.lbd.terminate(LONG)?;
            scene.lbd.restart()?;
            scene.lbd.wait_members("m2 to be usable", LONG, |members| {
                members.iter().all(|m| m.is_usable() || m.name == DRAINED)
            })?;
            ensure!(status_of(&scene.ctl().members()?, DRAINED) == "OFFLINE", "a restart forgot the operator's word");
            scene.expect_spread(Kind::Http, tcp(Family::V4), 150, &weights([0, 1, 1]))?;
            scene.lbctl(&["member", "set", DRAINED, "--enable"])?;
            scene.lbd.wait_all_usable()?;
            scene.expect_spread(Kind::Http, tcp(Family::V4), 150, &weights([1, 1, 1]))
        },
    )
}

#[test]
fn a_weight_set_by_hand_is_in_force_at_once_and_outlives_a_reload() -> Result<()> {
    play(
        |_| {},
        |scene| {
            scene.lbctl(&["member", "set", DRAINED, "--weight", "6"])?;
            scene.expect_spread(Kind::Http, tcp(Family::V4), 400, &weights([6, 1, 1]))?;
            scene.reload()?;
            scene.expect_spread(Kind::Http, tcp(Family::V4), 400, &weights([6, 1, 1]))
        },
    )
}

#[test]
fn without_lbd_the_pinned_maps_are_read_and_edited() -> Result<()> {
    play(
        |_| {},
        |scene| {
            scene.expect_spread(Kind::Http, tcp(Family::V4), 60, &weights([1, 1, 1]))?;
            let online = scene.ctl().members()?.len();
            scene.lbd.kill();
            let unreachable = scene.ctl().run(&["status"])?;
            ensure!(unreachable.status.code() == Some(3), "lbctl without lbd: {unreachable:?}");
            ensure!(unreachable.stderr.contains("--offline"), "no remedy: {}", unreachable.stderr);

            for noun in
                [&["loadbalancer", "list"][..], &["listener", "list"], &["pool", "list"], &["stats"], &["drops"]]
            {
                scene.ctl().json_offline(noun).with_context(|| noun.join(" "))?;
            }
            let status = scene.ctl().json_offline(&["status"])?;
            ensure!(status["source"] != "lbd" && status["daemon"].is_null(), "offline is not said: {status}");
            let offline = lbd::members_in(scene.ctl().json_offline(&["member", "list"])?)?;
            ensure!(offline.len() == online, "{} members offline, {online} before", offline.len());

            let answer = scene.ctl().run_offline(&["member", "set", DRAINED, "--drain"])?;
            ensure!(answer.status.success(), "edit the pinned maps: {answer:?}");
            scene.expect_spread(Kind::Http, tcp(Family::V4), 150, &weights([0, 1, 1]))?;
            scene.expect_spread(Kind::Http, tcp(Family::V6), 150, &weights([1, 1, 1]))
        },
    )
}

#[test]
fn offline_is_refused_while_lbd_runs_or_says_what_it_does() -> Result<()> {
    play(
        |_| {},
        |scene| {
            // Reading is harmless either way; it must not disturb the running lbd.
            let answer = scene.ctl().run_offline(&["member", "list"])?;
            ensure!([Some(0), Some(1)].contains(&answer.status.code()), "{answer:?}");
            scene.ctl().json(&["status"]).map(drop)
        },
    )
}

#[test]
fn detach_removes_the_data_path() -> Result<()> {
    play(
        |_| {},
        |scene| {
            scene.lbctl(&["dataplane", "detach", "--yes"])?;
            wait::until_true("the data path to be gone", LONG, || {
                Ok(super::daemon::expect_removed(&scene.rig).is_ok())
            })?;
            Ok(())
        },
    )
}

#[test]
fn detach_works_without_lbd() -> Result<()> {
    play(
        |_| {},
        |scene| {
            scene.lbd.kill();
            let answer = scene.ctl().run_offline(&["dataplane", "detach", "--yes"])?;
            ensure!(answer.status.success(), "{answer:?}");
            super::daemon::expect_removed(&scene.rig)
        },
    )
}

#[test]
fn counters_and_flows_tell_what_was_sent() -> Result<()> {
    const REQUESTS: u64 = 200;
    play(
        |_| {},
        |scene| {
            for (kind, target) in everywhere() {
                expect_no_errors("requests to count", &scene.drive(kind, target, REQUESTS)?, REQUESTS)?;
            }
            let stats = scene.ctl().json(&["stats"])?;
            let sum = |rows: &serde_json::Value, prefix: &str, field: &str| -> u64 {
                let rows = rows.as_array().into_iter().flatten();
                rows.filter(|r| r["name"].as_str().is_some_and(|n| n.starts_with(prefix)))
                    .filter_map(|r| r[field].as_u64())
                    .sum()
            };
            for (listener, pool) in [
                ("web4/http", "web4/app/"),
                ("web6/http", "web6/app/"),
                ("web4/echo", "web4/echo/"),
                ("web6/echo", "web6/echo/"),
            ] {
                let flows = sum(&stats["listeners"], listener, "flows_new");
                ensure!(flows == REQUESTS, "{listener} counts {flows} new flows");
                let at_members = sum(&stats["members"], pool, "flows_new");
                ensure!(at_members == flows, "{listener} counts {flows}, the members of {pool} {at_members} new flows");
                for field in ["packets_in", "packets_out", "bytes_in", "bytes_out"] {
                    let (here, there) =
                        (sum(&stats["listeners"], listener, field), sum(&stats["members"], pool, field));
                    ensure!(here == there && here >= REQUESTS, "{field}: {listener} {here}, {pool} {there}");
                }
            }
            let listed = scene.ctl().json(&["flow", "list"])?;
            let count = scene.ctl().json(&["flow", "count"])?;
            ensure!(count["matching"].as_u64() >= Some(2 * REQUESTS), "{count}");
            ensure!(listed["flows"].as_array().is_some_and(|flows| !flows.is_empty()), "{listed}");
            Ok(())
        },
    )
}
