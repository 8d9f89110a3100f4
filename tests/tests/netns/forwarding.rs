//! How packets get to members and back.

use std::{collections::BTreeSet, io, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use krater_tests::rig::{
    Family, Options, Rig, Topology,
    addresses::HTTP_PORT,
    http,
    load::{Kind, Report},
    servers::{BULK_PATH, bulk},
    udp as datagram,
};

use super::scene::{everywhere, one_armed, play, play_on, tcp, udp, weights};

#[test]
fn the_rig_alone_carries_traffic_between_client_and_members() -> Result<()> {
    for options in [Options::default(), Options { tx_checksum: true, ..one_armed() }] {
        let rig = Rig::up(options)?;
        rig.lb().set_parameters(&[("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")])?;
        for member in rig.members() {
            for address in member.addresses() {
                let target = std::net::SocketAddr::new(address, HTTP_PORT);
                let response = rig.client().enter(|| Ok(http::get(target, BULK_PATH, http::Source::default())?))?;
                ensure!(response.member == member.name() && response.body == bulk());
            }
        }
    }
    Ok(())
}

#[test]
fn new_connections_and_datagrams_reach_every_member_in_equal_shares() -> Result<()> {
    play(
        |_| {},
        |scene| {
            for (kind, target) in everywhere() {
                scene.expect_spread(kind, target, 400, &weights([1, 1, 1]))?;
            }
            Ok(())
        },
    )
}

#[test]
fn members_get_what_their_weights_promise_and_nothing_with_weight_zero() -> Result<()> {
    play(
        |file| {
            for pool in file.pools() {
                (pool.member[0].weight, pool.member[1].weight, pool.member[2].weight) = (1, 3, 0);
            }
        },
        |scene| {
            for (kind, target) in everywhere() {
                scene.expect_spread(kind, target, 400, &weights([1, 3, 0]))?;
            }
            Ok(())
        },
    )
}

#[test]
fn one_arm_serves_clients_and_members() -> Result<()> {
    play_on(
        one_armed(),
        |_| {},
        |scene| {
            for (kind, target) in everywhere() {
                scene.expect_spread(kind, target, 300, &weights([1, 1, 1]))?;
            }
            Ok(())
        },
    )
}

#[test]
fn checksums_left_to_the_hardware_are_completed() -> Result<()> {
    for topology in [Topology::TwoArmed, Topology::OneArmed] {
        play_on(
            Options { topology, tx_checksum: true },
            |_| {},
            |scene| {
                for (kind, target) in everywhere() {
                    scene.expect_spread(kind, target, 200, &weights([1, 1, 1]))?;
                }
                transfer(scene, 1 << 20)?;
                let completed = scene.ctl().events()?.get("checksum_completed").copied();
                ensure!(completed > Some(0), "no checksum was completed: the rig did not leave any");
                Ok(())
            },
        )
        .with_context(|| format!("{topology:?}"))?;
    }
    Ok(())
}

#[test]
fn large_bodies_pass_unchanged_in_both_directions() -> Result<()> {
    play(|_| {}, |scene| transfer(scene, 8 << 20))
}

fn transfer(scene: &super::scene::Scene, upload_bytes: usize) -> Result<()> {
    let large: Vec<u8> = bulk().into_iter().cycle().skip(7).take(upload_bytes).collect();
    for family in Family::BOTH {
        let response = scene
            .at_client(|| Ok(http::get(tcp(family), BULK_PATH, http::Source::default())?))
            .with_context(|| format!("download over {}", family.name()))?;
        ensure!(response.body == bulk(), "the download over {} is not what was served", family.name());
        let path = format!("/upload/{}", family.name());
        let response = scene
            .at_client(|| Ok(http::put(tcp(family), &path, &large)?))
            .with_context(|| format!("upload over {}", family.name()))?;
        ensure!([201, 204].contains(&response.status), "upload: status {}", response.status);
        let member = scene.rig.members().iter().find(|m| m.name() == response.member).context("who took it?")?;
        ensure!(member.uploaded(&path)? == large, "the upload over {} is not what was sent", family.name());
    }
    Ok(())
}

#[test]
fn datagrams_of_every_size_up_to_the_mtu_come_back() -> Result<()> {
    play(
        |_| {},
        |scene| {
            // 1500 less IP and UDP headers, less "m1 " in front of the answer.
            for (family, largest) in [(Family::V4, 1472 - 3), (Family::V6, 1452 - 3)] {
                for length in [0, 1, 2, 3, 17, 64, 511, 1000, largest - 1, largest] {
                    let payload = vec![0xa5u8; length];
                    scene
                        .at_client(|| Ok(datagram::ask(udp(family), 0, &payload)?))
                        .with_context(|| format!("{length} bytes over {}", family.name()))?;
                }
            }
            Ok(())
        },
    )
}

#[test]
fn source_ip_keeps_a_client_with_one_member_and_spreads_clients() -> Result<()> {
    const CLIENTS: u8 = 40;
    play(
        |file| file.pools().for_each(|pool| pool.lb_algorithm = "SOURCE_IP".to_owned()),
        |scene| {
            let mut lines = String::new();
            for client in 0..CLIENTS {
                lines += &format!("address add 10.77.0.{}/24 dev eth0\n", 100 + client);
                lines += &format!("address add fd77::{:x}/64 dev eth0 nodad\n", 0x100 + u16::from(client));
            }
            scene.rig.client().ip_batch(&lines)?;
            for family in Family::BOTH {
                let mut seen = BTreeSet::new();
                for client in 0..CLIENTS {
                    let address = match family {
                        Family::V4 => std::net::Ipv4Addr::new(10, 77, 0, 100 + client).into(),
                        Family::V6 => {
                            std::net::Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0x100 + u16::from(client)).into()
                        }
                    };
                    let source = http::Source { address: Some(address), ..http::Source::default() };
                    let members: BTreeSet<String> = (0..3)
                        .map(|_| scene.get_from(tcp(family), source).map(|response| response.member))
                        .collect::<io::Result<_>>()
                        .with_context(|| format!("as {address}"))?;
                    ensure!(members.len() == 1, "{address} met {members:?}");
                    seen.extend(members);
                }
                ensure!(seen.len() == 3, "over {} forty clients met only {seen:?}", family.name());
            }
            Ok(())
        },
    )
}

#[test]
fn datagrams_of_one_client_port_stay_with_one_member() -> Result<()> {
    play(
        |_| {},
        |scene| {
            for family in Family::BOTH {
                for port in [20_001, 20_002, 20_003] {
                    let members: BTreeSet<String> = scene.at_client(|| {
                        (0..5).map(|_| Ok(datagram::ask(udp(family), port, b"same port")?)).collect::<Result<_>>()
                    })?;
                    ensure!(members.len() == 1, "port {port} over {} met {members:?}", family.name());
                }
            }
            Ok(())
        },
    )
}

#[test]
fn a_client_port_can_be_used_again_at_once() -> Result<()> {
    play(
        |_| {},
        |scene| {
            for family in Family::BOTH {
                for reset_on_close in [false, true] {
                    // The member still holds the last connection in TIME_WAIT (or has had it reset) each time.
                    for round in 0..60 {
                        let source = http::Source { port: 23_456, reset_on_close, ..http::Source::default() };
                        let response = scene.get_from(tcp(family), source).with_context(|| {
                            format!(
                                "connection {round} over {}, closed by {}",
                                family.name(),
                                if reset_on_close { "RST" } else { "FIN" }
                            )
                        })?;
                        ensure!(response.status == 200);
                    }
                }
            }
            Ok(())
        },
    )
}

#[test]
fn thousands_of_connections_in_a_row_all_succeed() -> Result<()> {
    play(
        |_| {},
        |scene| {
            for family in Family::BOTH {
                let report = scene.drive(Kind::Http, tcp(family), 4000)?;
                super::scene::expect_no_errors(family.name(), &report, 4000)?;
            }
            Ok(())
        },
    )
}

#[test]
fn a_connection_that_pauses_goes_on_where_it_was() -> Result<()> {
    play(
        |_| {},
        |scene| {
            for family in Family::BOTH {
                let report: Report = scene.at_client(|| {
                    let mut session = http::Session::open(tcp(family), http::Source::default())?;
                    let mut report = Report::default();
                    for pause in [0u64, 50, 700] {
                        thread::sleep(Duration::from_millis(pause));
                        let member = session.get("/").with_context(|| format!("after {pause} ms"))?.member;
                        *report.members.entry(member).or_default() += 1;
                    }
                    Ok(report)
                })?;
                ensure!(report.members.len() == 1, "one connection met {:?}", report.members);
            }
            Ok(())
        },
    )
}
