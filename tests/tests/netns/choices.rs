//! Who gets a flow, and whether he may have it: algorithms, persistence, limits, and
//! pools whose way of choosing or reaching changes under connections that are open.

use std::{collections::BTreeMap, io::ErrorKind, net::SocketAddr, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use krater_tests::rig::{Family, binaries, http, udp as datagram, wait};

use super::{
    modes::{by, direct, hold_vip, route_back},
    scene::{LONG, Scene, one_armed, play, play_on, tcp, udp},
};

/// Connections that stay open.
type Held = Vec<http::Session>;

/// Opens so many, each with a first request.
fn hold(scene: &Scene, target: SocketAddr, count: usize) -> Result<Held> {
    scene.at_client(|| {
        let open = |_| {
            let mut session = http::Session::open(target, http::Source::default())?;
            session.get("/")?;
            Ok(session)
        };
        (0..count).map(open).collect()
    })
}

/// Who answers on each.
fn who(scene: &Scene, held: &mut Held) -> Result<Vec<String>> {
    scene.at_client(|| held.iter_mut().map(|session| Ok(session.get("/")?.member)).collect())
}

fn counts(members: &[String]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    members.iter().for_each(|member| *counts.entry(member.as_str()).or_default() += 1);
    counts
}

/// Has the pools forward by one mode after the other. Connections that were opened in
/// each stay where they are in all that follow.
fn expect_kept_through(scene: &mut Scene, modes: &[&str]) -> Result<()> {
    let mut all: Vec<(Family, &str, Held, Vec<String>)> = Vec::new();
    for &mode in modes {
        by(&mut scene.file, mode);
        scene.reload()?;
        for (family, opened, held, before) in &mut all {
            let what = format!("over {}, opened in mode {opened}, now {mode}", family.name());
            let now = who(scene, held).context(what.clone())?;
            ensure!(now == *before, "{what}: {now:?}, not {before:?}");
        }
        for family in Family::BOTH {
            let mut held = hold(scene, direct(family), 12).with_context(|| format!("open in mode {mode}"))?;
            let members = who(scene, &mut held)?;
            ensure!(counts(&members).len() > 1, "in mode {mode} one member gets all: {members:?}");
            all.push((family, mode, held, members));
        }
    }
    Ok(())
}

#[test]
fn connections_stay_with_their_member_while_the_way_to_it_changes() -> Result<()> {
    play_on(
        one_armed(),
        |file| by(file, "dsr"),
        |scene| {
            hold_vip(scene)?;
            for member in scene.rig.members() {
                binaries::attach_unwrap(member.namespace(), "eth0")?;
            }
            expect_kept_through(scene, &["dsr", "ipip", "gue", "dsr", "gue", "ipip", "dsr"])
        },
    )?;
    // A member that holds the VIP has no answer for packets that come from it, as those
    // of `nat` do: what can change into `nat` under connections is `dnat`.
    play(
        |file| by(file, "nat"),
        |scene| {
            route_back(scene)?;
            expect_kept_through(scene, &["nat", "dnat", "nat", "dnat", "nat"])
        },
    )
}

#[test]
fn connections_stay_with_their_member_while_who_is_chosen_changes() -> Result<()> {
    play(
        |_| {},
        |scene| {
            let mut all: Vec<(Held, Vec<String>)> = Vec::new();
            for (algorithm, weights) in [
                ("SOURCE_IP_PORT", [1, 1, 1]),
                ("LEAST_CONNECTIONS", [1, 2, 5]),
                ("ROUND_ROBIN", [5, 1, 1]),
                ("SOURCE_IP", [0, 1, 1]),
                ("SOURCE_IP_PORT", [1, 1, 1]),
            ] {
                for pool in scene.file.pools() {
                    pool.lb_algorithm = algorithm.to_owned();
                    pool.member.iter_mut().zip(weights).for_each(|(member, weight)| member.weight = weight);
                }
                scene.reload()?;
                for (held, before) in &mut all {
                    let now = who(scene, held).with_context(|| algorithm)?;
                    ensure!(now == *before, "with {algorithm} {weights:?}: {now:?}, not {before:?}");
                }
                for family in Family::BOTH {
                    let mut held = hold(scene, tcp(family), 16)?;
                    let members = who(scene, &mut held)?;
                    let has = |name: &str| members.iter().filter(|member| *member == name).count();
                    ensure!(weights[0] > 0 || has("m1") == 0, "weight 0 gets nothing new: {members:?}");
                    all.push((held, members));
                }
            }
            Ok(())
        },
    )
}

#[test]
fn least_connections_evens_out_what_is_open() -> Result<()> {
    play(
        |file| file.pools().for_each(|pool| pool.lb_algorithm = "LEAST_CONNECTIONS".to_owned()),
        |scene| {
            for family in Family::BOTH {
                let mut held = hold(scene, tcp(family), 150)?;
                let members = who(scene, &mut held)?;
                let even = counts(&members);
                ensure!(
                    even.len() == 3 && even.values().all(|count| (42..=58).contains(count)),
                    "150 connections are not spread evenly: {even:?}"
                );
                // Those to m1 end: it has fewest now, and catches up.
                let open = held.into_iter().zip(&members).filter(|(_, member)| *member != "m1");
                let mut open: Held = open.map(|(session, _)| session).collect();
                thread::sleep(Duration::from_millis(200));
                open.extend(hold(scene, tcp(family), 200)?);
                let members = who(scene, &mut open)?;
                let even = counts(&members);
                ensure!(even.get("m1") > Some(&82), "m1 had none and does not catch up: {even:?}");
            }
            Ok(())
        },
    )
}

#[test]
fn a_client_stays_with_its_member_and_so_do_its_neighbours() -> Result<()> {
    play(
        |file| {
            for (index, balancer) in file.loadbalancer.iter_mut().enumerate() {
                let granularity = if index == 0 { "255.255.255.0" } else { "64" };
                for pool in &mut balancer.pool {
                    let text = format!(
                        "type = \"SOURCE_IP\"\npersistence_timeout = 60\npersistence_granularity = \"{granularity}\"\n"
                    );
                    pool.session_persistence = text.parse().ok();
                }
            }
        },
        |scene| {
            for family in Family::BOTH {
                let mut held = hold(scene, tcp(family), 1)?;
                let first = who(scene, &mut held)?.remove(0);
                let report = scene.drive(krater_tests::rig::load::Kind::Http, tcp(family), 60)?;
                ensure!(
                    report.errors == 0 && report.members.keys().eq([&first]),
                    "over {} the client had {first}, then {:?}",
                    family.name(),
                    report.members
                );
                let ask = || Ok(datagram::ask(udp(family), datagram::fresh_port(), b"who?")?);
                let asked: Vec<String> = scene.at_client(|| (0..20).map(|_| ask()).collect())?;
                ensure!(counts(&asked).len() == 1, "datagrams of one client went to {asked:?}");
            }
            Ok(())
        },
    )
}

#[test]
fn limits_of_members_and_of_sources_are_kept_and_counted() -> Result<()> {
    play(
        |file| {
            for member in &mut file.loadbalancer[0].pool[0].member {
                member.connection_limit = Some(2);
            }
            file.loadbalancer[1].listener[0].new_flows_per_source = Some(5);
        },
        |scene| {
            // Three members with two each.
            let mut held = hold(scene, tcp(Family::V4), 6)?;
            let members = who(scene, &mut held)?;
            ensure!(counts(&members).values().all(|count| *count == 2), "nobody has more than two: {members:?}");
            let refused = scene.get(tcp(Family::V4)).err().map(|error| error.kind());
            ensure!(refused == Some(ErrorKind::ConnectionRefused), "a seventh connection: {refused:?}");
            let counted = |reason: &str| Ok::<_, anyhow::Error>(scene.ctl().events()?.get(reason).copied());
            ensure!(counted("member_connection_limit")? > Some(0), "nobody was counted as one too many");
            drop(held.pop());
            wait::until_true("room for another connection", LONG, || Ok(scene.get(tcp(Family::V4)).is_ok()))?;

            // Five a second, and five at once.
            let answers: Vec<bool> = scene.at_client(|| {
                Ok((0..12).map(|_| http::connect(tcp(Family::V6), http::Source::default()).is_ok()).collect())
            })?;
            ensure!(answers.iter().take(5).all(|answered| *answered), "five at once may come: {answers:?}");
            ensure!(counted("source_rate")? > Some(0), "nobody was too fast: {answers:?}");
            // Whoever waits is let in again.
            thread::sleep(Duration::from_secs(2));
            ensure!(scene.get(tcp(Family::V6)).is_ok(), "who waited is let in");
            Ok(())
        },
    )
}
