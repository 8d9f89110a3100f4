//! What an operator reads: `lbctl health`, statuses with their reasons, and events.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::scene::{Balancer, LONG, Stage, patient};

fn has_all(text: &str, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(text.contains(word), "there is no {word:?} in\n{text}");
    }
    Ok(())
}

fn find<'a>(rows: &'a Value, name: &str) -> Result<&'a Value> {
    let rows = rows.as_array().context("this is no list")?;
    rows.iter().find(|row| row["name"] == name).with_context(|| format!("there is no {name}"))
}

#[test]
fn lbctl_tells_who_is_down_since_when_and_why_in_all_its_places() -> Result<()> {
    let mut stage = Stage::raise()?;
    let mut file = stage.file();
    for pool in file.pools() {
        pool.healthmonitor = Some(patient("HTTP"));
    }
    let balancer = stage.balance(file)?;
    balancer.wait_all_up()?;
    stage.rig.member_mut(1).kill_servers();
    let pools = ["web4/app", "web6/app", "web4/echo", "web6/echo"];
    for pool in pools {
        balancer.wait_down(&format!("{pool}/m2"), "connection refused")?;
    }

    let listed = balancer.lbctl(&["health", "list"])?.stdout;
    has_all(&listed, &["web4/app/m1", "UP", "status 200", "web4/app/m2", "DOWN", "connection refused"])?;
    let failing = balancer.lbctl(&["health", "list", "--failing"])?.stdout;
    has_all(&failing, &["web4/app/m2", "web6/echo/m2"])?;
    ensure!(!failing.contains("/m1") && !failing.contains("/m3"), "{failing}");
    let shown = balancer.lbctl(&["health", "show", "web4/app/m2"])?.stdout;
    has_all(&shown, &["HTTP", "connection refused", "status 200", "DOWN"])?;
    let health = balancer.health("web4/app/m2")?;
    ensure!(health.story() == "UP DOWN" && health.failures >= 2 && health.probes > health.failures, "{health:?}");
    ensure!(health.results.len() > 2 && health.results.len() <= 16, "{health:?}");
    ensure!(health.member.since.is_some(), "{health:?}");

    let member = balancer.lbctl(&["member", "show", "web4/app/m2"])?.stdout;
    has_all(&member, &["ERROR", "connection refused"])?;
    let members = balancer.ctl().json(&["member", "list"])?;
    let since = find(&members, "web4/app/m2")?["status_since"].as_str().context("since when?")?;
    ensure!(since.ends_with('Z'), "{since}");
    for (noun, name) in [("pool", "web4/app"), ("listener", "web4/http"), ("loadbalancer", "web4")] {
        let rows = balancer.ctl().json(&[noun, "list"])?;
        let row = find(&rows, name)?;
        ensure!(row["operating_status"] == "DEGRADED", "{name}: {row}");
        ensure!(row["status_reason"].as_str().is_some_and(|why| !why.is_empty()), "{name} has no reason: {row}");
    }
    let status = balancer.ctl().json(&["status"])?;
    ensure!(status["operating_status"] == "DEGRADED", "{status}");

    stage.rig.member_mut(1).start_servers()?;
    stage.rig.member_mut(1).wait_serving(LONG)?;
    balancer.wait_all_up()?;
    balancer
        .wait("everything to be ONLINE", || Ok(balancer.ctl().json(&["status"])?["operating_status"] == "ONLINE"))?;
    told(&balancer)
}

/// The events of a member that went down and came back.
fn told(balancer: &Balancer) -> Result<()> {
    let events = |kind, subject| balancer.events_of(kind, subject);
    balancer.wait("both changes of a pool to be told", || {
        let changes = events("status_changed", "web4/app")?;
        ensure!(changes.len() >= 2, "{changes:?}");
        Ok(true)
    })?;
    let downs = events("member_down", "web4/app/m2")?;
    ensure!(downs.len() == 1, "{downs:?}");
    has_all(&downs[0].to_string(), &["connection refused"])?;
    // The first verdict of a member that is up is no news, or is told once.
    let ups = events("member_up", "web4/app/m2")?;
    ensure!((1..=2).contains(&ups.len()), "{ups:?}");
    let last = ups.last().context("no event of coming up")?;
    ensure!(last["seq"].as_u64() > downs[0]["seq"].as_u64(), "{last} came before {}", downs[0]);
    for subject in ["web4/app", "web4/http", "web4"] {
        let changes = events("status_changed", subject)?;
        let text: Vec<String> = changes.iter().map(ToString::to_string).collect();
        has_all(&text.join("\n"), &["DEGRADED", "ONLINE"])?;
    }
    ensure!(events("member_down", "web4/app/m1")?.is_empty(), "m1 never was down");
    Ok(())
}
