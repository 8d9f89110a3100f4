//! Members that are reached without NAT: they hold the VIP and answer clients by
//! themselves, or route back through the balancer.

use std::{
    collections::BTreeSet,
    net::{SocketAddr, UdpSocket},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use krater_tests::rig::{
    Family,
    addresses::{CLIENT4, CLIENT6, HTTP_PORT, UDP_PORT},
    binaries, http,
    load::Kind,
    pool_file::PoolFile,
    udp,
};

use super::scene::{LONG, Scene, one_armed, play, play_on, weights};

/// The listener in front of members that have the same port.
pub(super) fn direct(family: Family) -> SocketAddr {
    SocketAddr::new(family.vip(), HTTP_PORT)
}

/// Has the web pools forward by a mode, and their listeners at the members' port.
pub(super) fn by(file: &mut PoolFile, mode: &str) {
    for balancer in &mut file.loadbalancer {
        balancer.listener[0].protocol_port = HTTP_PORT;
        balancer.pool[0].forward_mode = Some(mode.to_owned());
    }
}

/// What a member needs to answer for the VIP without anybody hearing of it
/// (`docs/pool-file.md` has the same for operators).
pub(super) fn hold_vip(scene: &Scene) -> Result<()> {
    for member in scene.rig.members() {
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

/// What the balancer needs for members that route back through it.
pub(super) fn route_back(scene: &Scene) -> Result<()> {
    scene.rig.lb().set_parameters(&[
        ("ipv4/ip_forward", "1"),
        ("ipv6/conf/all/forwarding", "1"),
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/back0/rp_filter", "0"),
    ])
}

fn flows(scene: &Scene) -> Result<u64> {
    let count = scene.ctl().json(&["flow", "count"])?;
    count["matching"].as_u64().with_context(|| format!("no number in {count}"))
}

/// Requests of both families reach every member, and no flow is remembered.
fn expect_direct(scene: &Scene) -> Result<()> {
    for family in Family::BOTH {
        scene.expect_spread(Kind::Http, direct(family), 200, &weights([1, 1, 1]))?;
    }
    ensure!(flows(scene)? == 0, "a direct mode remembers no flow");
    Ok(())
}

#[test]
fn dsr_members_answer_clients_by_themselves() -> Result<()> {
    play_on(
        one_armed(),
        |file| by(file, "dsr"),
        |scene| {
            hold_vip(scene)?;
            expect_direct(scene)
        },
    )
}

#[test]
fn members_unwrap_what_is_wrapped_into_ip_and_into_udp() -> Result<()> {
    for mode in ["ipip", "gue"] {
        play_on(
            one_armed(),
            |file| by(file, mode),
            |scene| {
                hold_vip(scene)?;
                for member in scene.rig.members() {
                    binaries::attach_unwrap(member.namespace(), "eth0")?;
                }
                expect_direct(scene)?;
                // Segments that fill the path do not fit any more: the client is
                // told, and sends less.
                let large = vec![7; 1 << 18];
                for family in Family::BOTH {
                    let path = format!("/upload/{mode}{}", family.name());
                    let response = scene.at_client(|| Ok(http::put(direct(family), &path, &large)?))?;
                    ensure!([201, 204].contains(&response.status), "upload: status {}", response.status);
                }
                let told = scene.ctl().events()?.get("answered_too_big").copied();
                ensure!(told > Some(0), "nobody was told that a packet is too big: {told:?}");
                Ok(())
            },
        )
        .with_context(|| mode)?;
    }
    Ok(())
}

#[test]
fn dnat_members_answer_through_the_balancer() -> Result<()> {
    play(
        |file| by(file, "dnat"),
        |scene| {
            route_back(scene)?;
            expect_direct(scene)?;
            for (family, client) in [(Family::V4, CLIENT4), (Family::V6, CLIENT6)] {
                let seen = scene.at_client(|| Ok(http::get(direct(family), "/client", http::Source::default())?))?;
                let seen = String::from_utf8_lossy(&seen.body).into_owned();
                ensure!(seen == client.to_string(), "a member has {seen} for its client");
            }
            Ok(())
        },
    )
}

/// Has every member answer datagrams to the VIPs with its name, while something is done.
fn answering_at_vips<T>(scene: &mut Scene, work: impl FnOnce(&mut Scene) -> Result<T>) -> Result<T> {
    let mut sockets = Vec::new();
    for member in scene.rig.members() {
        for family in Family::BOTH {
            let bound = member.namespace().enter(|| Ok(UdpSocket::bind((family.vip(), UDP_PORT))?))?;
            bound.set_read_timeout(Some(Duration::from_millis(50)))?;
            sockets.push((bound, member.name().to_owned()));
        }
    }
    let is_over = &AtomicBool::new(false);
    thread::scope(|threads| {
        for (socket, name) in &sockets {
            threads.spawn(move || {
                let mut buffer = [0; 64];
                while !is_over.load(Relaxed) {
                    if let Ok((length, client)) = socket.recv_from(&mut buffer) {
                        let _ = socket.send_to(&[name.as_bytes(), b" ", &buffer[..length]].concat(), client);
                    }
                }
            });
        }
        let done = work(scene);
        is_over.store(true, Relaxed);
        done
    })
}

#[test]
fn datagrams_go_to_dsr_members_and_weights_count_for_everything() -> Result<()> {
    play_on(
        one_armed(),
        |file| {
            by(file, "dsr");
            for balancer in &mut file.loadbalancer {
                balancer.listener[1].protocol_port = UDP_PORT;
                balancer.pool[1].forward_mode = Some("dsr".to_owned());
                // A datagram does not say that it is a flow's first: until this is over
                // it goes where the table before says.
                balancer.pool[1].transition_hold = Some(1);
            }
        },
        |scene| {
            hold_vip(scene)?;
            answering_at_vips(scene, |scene| {
                for shares in [[1, 1, 1], [0, 1, 2], [1, 1, 1]] {
                    for pool in scene.file.loadbalancer.iter_mut().flat_map(|lb| &mut lb.pool[..2]) {
                        pool.member.iter_mut().zip(shares).for_each(|(member, share)| member.weight = share);
                    }
                    scene.reload()?;
                    for family in Family::BOTH {
                        scene.expect_spread(Kind::Http, direct(family), 200, &weights(shares.map(u64::from)))?;
                    }
                    thread::sleep(Duration::from_secs(3));
                    for family in Family::BOTH {
                        let vip = SocketAddr::new(family.vip(), UDP_PORT);
                        let ask = |_| Ok(udp::ask(vip, udp::fresh_port(), b"who?")?);
                        let asked: BTreeSet<String> = scene.at_client(|| (0..60).map(ask).collect())?;
                        let wanted = ["m1", "m2", "m3"].iter().zip(shares).filter(|(_, share)| *share > 0);
                        ensure!(asked.iter().eq(wanted.map(|(name, _)| *name)), "with {shares:?}: {asked:?}");
                    }
                }
                Ok(())
            })
        },
    )
}

#[test]
fn connections_stay_with_their_member_while_a_dsr_pool_changes() -> Result<()> {
    const CONNECTIONS: usize = 20;
    play_on(
        one_armed(),
        |file| by(file, "dsr"),
        |scene| {
            hold_vip(scene)?;
            for family in Family::BOTH {
                let open = |_| Ok(http::Session::open(direct(family), http::Source::default())?);
                let mut sessions: Vec<http::Session> = scene.at_client(|| (0..CONNECTIONS).map(open).collect())?;
                let mut who = |scene: &Scene| -> Result<Vec<String>> {
                    scene.at_client(|| sessions.iter_mut().map(|s| Ok(s.get("/")?.member)).collect())
                };
                let before = who(scene)?;
                ensure!(before.iter().any(|m| m == "m1"), "{before:?}");
                // One goes, and the algorithm changes, one after the other.
                let balancer = usize::from(family == Family::V6);
                let gone = scene.file.loadbalancer[balancer].pool[0].member.remove(0);
                scene.reload()?;
                ensure!(who(scene)? == before, "a member that left keeps its connections");
                let new = scene.drive(Kind::Http, direct(family), 60)?;
                ensure!(new.errors == 0 && !new.members.contains_key("m1"), "{:?}", new.members);
                scene.file.loadbalancer[balancer].pool[0].lb_algorithm = "SOURCE_IP".to_owned();
                scene.reload()?;
                ensure!(who(scene)? == before, "another algorithm leaves connections where they are");
                scene.file.loadbalancer[balancer].pool[0].member.insert(0, gone);
                scene.file.loadbalancer[balancer].pool[0].lb_algorithm = "ROUND_ROBIN".to_owned();
                scene.reload()?;
                ensure!(who(scene)? == before, "a member that comes back takes nobody's connections");
                scene.file.loadbalancer[balancer].pool[0].lb_algorithm = "SOURCE_IP_PORT".to_owned();
                scene.reload()?;
                ensure!(who(scene)? == before);
            }
            Ok(())
        },
    )
}

#[test]
fn turns_are_taken_and_rules_are_kept() -> Result<()> {
    play(
        |file| {
            file.pools().for_each(|pool| pool.lb_algorithm = "ROUND_ROBIN".to_owned());
            file.loadbalancer[0].listener[0].connection_limit = Some(3);
        },
        |scene| {
            let target = |family| SocketAddr::new(Family::vip(family), 80);
            let six = scene.drive(Kind::Http, target(Family::V6), 300)?;
            ensure!(six.errors == 0 && six.members.values().all(|n| *n == 100), "{:?}", six.members);
            let open = |_| Ok(http::Session::open(target(Family::V4), http::Source::default())?);
            let mut held: Vec<http::Session> = scene.at_client(|| (0..3).map(open).collect())?;
            scene.at_client(|| held.iter_mut().try_for_each(|s| s.get("/").map(drop).map_err(Into::into)))?;
            let refused = scene.get(target(Family::V4));
            let refused = refused.err().map(|error| error.kind());
            ensure!(refused == Some(std::io::ErrorKind::ConnectionRefused), "one too many: {refused:?}");
            drop(held.pop());
            krater_tests::rig::wait::until_true("room for another connection", LONG, || {
                Ok(scene.get(target(Family::V4)).is_ok())
            })?;
            scene.file.loadbalancer[0].listener[0].connection_limit = None;
            scene.file.loadbalancer[0].listener[0].allowed_cidrs = vec!["192.0.2.0/24".to_owned()];
            scene.reload()?;
            let silence = scene.get(target(Family::V4)).err().map(|error| error.kind());
            let waited = [std::io::ErrorKind::TimedOut, std::io::ErrorKind::WouldBlock];
            ensure!(
                silence.is_some_and(|kind| waited.contains(&kind)),
                "who is not allowed gets no answer: {silence:?}"
            );
            let counted = scene.ctl().events()?.get("source_not_allowed").copied();
            ensure!(counted > Some(0), "nobody was refused for his address: {counted:?}");
            scene.file.loadbalancer[0].listener[0].allowed_cidrs.push("10.77.0.0/24".to_owned());
            scene.reload()?;
            ensure!(scene.get(target(Family::V4)).is_ok(), "who is allowed goes in");
            // The same over IPv6.
            scene.file.loadbalancer[1].listener[0].allowed_cidrs = vec!["2001:db8:dead::/48".to_owned()];
            scene.reload()?;
            ensure!(scene.get(target(Family::V6)).is_err(), "who is not allowed gets no answer");
            scene.file.loadbalancer[1].listener[0].allowed_cidrs.push("fd77::/64".to_owned());
            scene.reload()?;
            ensure!(scene.get(target(Family::V6)).is_ok(), "who is allowed goes in");
            Ok(())
        },
    )
}
