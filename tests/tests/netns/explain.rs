//! What `lbctl explain` foretells comes true, and `lbctl trace` tells what came.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use krater_tests::rig::{Family, http, load::Kind};
use serde_json::Value;

use super::scene::{LONG, Scene, play, tcp, udp, weights};

/// What would become of a packet.
fn explained(scene: &Scene, words: &[&str]) -> Result<Value> {
    let answer = scene.ctl().json(&[&["explain"], words].concat())?;
    ensure!(answer["packets"].as_array().is_some_and(|packets| packets.len() == 1), "{answer}");
    Ok(answer["packets"][0].clone())
}

#[test]
fn connections_go_where_it_was_said_that_they_would() -> Result<()> {
    play(
        |_| {},
        |scene| {
            let flows = scene.ctl().json(&["flow", "count"])?;
            let before = scene.ctl().events()?;
            let mut members = std::collections::BTreeSet::new();
            for family in [Family::V4, Family::V6] {
                let target = tcp(family);
                let own = scene.at_client(|| {
                    let session = std::net::UdpSocket::bind(match family {
                        Family::V4 => "0.0.0.0:0",
                        Family::V6 => "[::]:0",
                    })?;
                    session.connect(target)?;
                    Ok(session.local_addr()?.ip())
                })?;
                for port in 41_000..41_016 {
                    let source = std::net::SocketAddr::new(own, port);
                    let said = explained(scene, &["tcp", &source.to_string(), &target.to_string()])?;
                    ensure!(said["verdict"] == "forwarded", "{said}");
                    let foretold = said["member"].as_str().context("no member")?;
                    let answer =
                        scene.get_from(target, http::Source { address: Some(own), port, ..Default::default() })?;
                    ensure!(
                        foretold.ends_with(&format!("/{}", answer.member)),
                        "{foretold}, and it was {}",
                        answer.member
                    );
                    members.insert(answer.member);
                }
            }
            ensure!(members.len() == 3, "32 connections to {members:?} only: nothing was foretold");
            let stray = explained(scene, &["udp", "198.51.100.9", &format!("{}:9", Family::V4.vip())])?;
            ensure!(stray["reason"] == "no_listener", "{stray}");
            let after = scene.ctl().events()?;
            ensure!(before.get("no_listener") == after.get("no_listener"), "a rehearsal was counted");
            let answer = scene.ctl().run(&["explain", "tcp", "198.51.100.9", "[::1]:80"])?;
            ensure!(answer.status.code() == Some(1) && answer.stderr.contains("two families"), "{answer:?}");
            // Offline the maps say the same.
            let words = ["explain", "udp", "198.51.100.9:5000", &udp(Family::V4).to_string()];
            let (online, offline) = (scene.ctl().json(&words)?, scene.ctl().json_offline(&words)?);
            // Names of interfaces are those of the namespace that lbctl is in.
            let frame = |answer: &Value| answer["packets"][0]["sent_frame"].clone();
            ensure!(frame(&online).is_string() && frame(&online) == frame(&offline), "{online}\n{offline}");
            ensure!(flows["matching"] == 0, "{flows}");
            Ok(())
        },
    )
}

#[test]
fn a_trace_tells_what_came_and_leaves_nothing_switched_on() -> Result<()> {
    play(
        |_| {},
        |scene| {
            let ctl = scene.ctl();
            let vip = Family::V4.vip().to_string();
            let watch = thread::spawn(move || {
                let words = ["-o", "json", "trace", "--host", &vip, "--port", "80", "-n", "12", "--for", "30"];
                // The other one, below, may have come first.
                loop {
                    let answer = ctl.run(&words)?;
                    if !answer.stderr.contains("somebody traces") {
                        return Ok::<_, anyhow::Error>(answer);
                    }
                }
            });
            // Another one is refused while it runs: the data path has one filter.
            let mut refused = false;
            for _ in 0..100 {
                let other = scene.ctl().run(&["trace", "--port", "1", "--for", "1"])?;
                refused = other.status.code() == Some(1) && other.stderr.contains("somebody traces");
                if refused {
                    break;
                }
                thread::sleep(Duration::from_millis(50));
            }
            ensure!(refused, "two traces ran at a time");
            scene.expect_spread(Kind::Http, tcp(Family::V4), 30, &weights([1, 1, 1]))?;
            let answer = watch.join().map_err(|_| anyhow::anyhow!("the watcher panicked"))??;
            ensure!(answer.status.success(), "{answer:?}");
            let told: Vec<Value> = answer.stdout.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
            ensure!(told.len() == 12, "{} packets of 12: {}", told.len(), answer.stderr);
            let opens = |packet: &&Value| packet["tcp_flags"] == serde_json::json!(["SYN"]);
            let syn = told.iter().find(opens).context("no SYN among the first twelve")?;
            ensure!(syn["protocol"] == "TCP" && syn["destination_port"] == 80 && syn["fate"] == "redirected", "{syn}");
            // Drops, with their reasons.
            let ctl = scene.ctl();
            let watch = thread::spawn(move || ctl.run(&["trace", "--fate", "dropped", "-n", "1", "--for", "20"]));
            let knocked = scene.at_client(|| {
                let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
                let start = std::time::Instant::now();
                while !watch.is_finished() && start.elapsed() < LONG {
                    socket.send_to(b"anybody there?", (Family::V4.vip(), 9))?;
                    thread::sleep(Duration::from_millis(20));
                }
                Ok(watch.is_finished())
            })?;
            ensure!(knocked, "nothing was told of drops");
            let answer = watch.join().map_err(|_| anyhow::anyhow!("the watcher panicked"))??;
            ensure!(answer.stdout.contains("dropped: no_listener"), "{answer:?}");
            // A trace that matches nothing says so.
            let answer = scene.ctl().run(&["trace", "--port", "2", "--for", "1"])?;
            ensure!(answer.status.success() && answer.stderr.contains("no packet matched"), "{answer:?}");
            Ok(())
        },
    )
}
