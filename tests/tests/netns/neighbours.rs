//! What the VIP is to its neighbours, and what is left alone.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use krater_tests::rig::{
    Family,
    addresses::{BACK4, BACK6, FRONT4, FRONT6, HTTP_PORT, VIP4, VIP6},
    http, icmp, netns,
};

use super::scene::{one_armed, play, play_on, tcp};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn arp_and_neighbour_solicitations_for_the_vip_are_answered_with_the_interfaces_address() -> Result<()> {
    play(
        |_| {},
        |scene| {
            let shown = scene.rig.lb().run("ip", &["-o", "link", "show", "front0"])?;
            let mac =
                shown.split("link/ether ").nth(1).and_then(|rest| rest.split(' ').next()).context("no address")?;
            scene.rig.client().run("ip", &["neigh", "flush", "all"])?;
            for family in Family::BOTH {
                scene.get(tcp(family)).with_context(|| format!("reach the VIP over {}", family.name()))?;
                let entry = scene.rig.client().run("ip", &["neigh", "show", &family.vip().to_string()])?;
                ensure!(entry.contains(mac), "the VIP is at {entry:?}, front0 at {mac}");
            }
            let events = scene.ctl().events()?;
            for label in ["answered_arp", "answered_neighbour"] {
                ensure!(events.get(label).copied() > Some(0), "{label} is not counted: {events:?}");
            }
            // A card would keep solicitations for a group that no stack has joined out.
            let shown = scene.rig.lb().run("ip", &["-o", "link", "show", "front0"])?;
            ensure!(shown.contains("ALLMULTI"), "{shown}");
            // The VIP is nobody's address in the balancer's own stack.
            let addresses = scene.rig.lb().run("ip", &["-o", "address"])?;
            ensure!(!addresses.contains(&VIP4.to_string()) && !addresses.contains(&format!("{VIP6}/")), "{addresses}");
            Ok(())
        },
    )
}

#[test]
fn the_vip_answers_echo_requests_of_every_size() -> Result<()> {
    play(
        |_| {},
        |scene| {
            for family in Family::BOTH {
                for (sequence, length) in [0usize, 1, 56, 57, 1000, 1400].into_iter().enumerate() {
                    let payload: Vec<u8> = (0..=255).cycle().take(length).collect();
                    scene
                        .at_client(|| Ok(icmp::ping(family.vip(), u16::try_from(sequence)?, &payload, SECOND)?))
                        .with_context(|| format!("{length} bytes over {}", family.name()))?;
                }
            }
            ensure!(scene.ctl().events()?.get("answered_echo").copied() >= Some(12));
            Ok(())
        },
    )
}

#[test]
fn members_can_ping_the_vip_too() -> Result<()> {
    for options in [krater_tests::rig::Options::default(), one_armed()] {
        play_on(
            options,
            |_| {},
            |scene| {
                for family in Family::BOTH {
                    let asked =
                        scene.rig.member(0).namespace().enter(|| Ok(icmp::ping(family.vip(), 1, b"hello", SECOND)?));
                    asked.with_context(|| format!("{:?} over {}", options.topology, family.name()))?;
                }
                Ok(())
            },
        )?;
    }
    Ok(())
}

#[test]
fn packets_that_are_not_ours_pass() -> Result<()> {
    play(
        |_| {},
        |scene| {
            for address in [FRONT4, FRONT6, BACK4, BACK6] {
                let from_member = [BACK4, BACK6].contains(&address);
                let namespace = if from_member { scene.rig.member(0).namespace() } else { scene.rig.client() };
                namespace
                    .enter(|| Ok(icmp::ping(address, 1, b"to the balancer itself", SECOND)?))
                    .with_context(|| format!("ping {address}"))?;
            }
            for address in [FRONT4, FRONT6] {
                greet(scene.rig.lb().name(), scene.rig.client().name(), address)
                    .with_context(|| format!("a TCP service at {address}"))?;
            }
            // Routing goes on beside the balancing.
            scene.rig.lb().set_parameters(&[("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")])?;
            for address in scene.rig.member(0).addresses() {
                let target = SocketAddr::new(address, HTTP_PORT);
                let response = scene.get(target).with_context(|| format!("routed to {target}"))?;
                ensure!(response.member == "m1");
            }
            Ok(())
        },
    )
}

/// A service of the balancer's own host, such as ssh, and somebody who uses it.
fn greet(server: &str, client: &str, address: IpAddr) -> Result<()> {
    let listener = netns::enter(server, || Ok(TcpListener::bind(SocketAddr::new(address, 22))?))?;
    let target = listener.local_addr()?;
    std::thread::scope(|scope| {
        let served = scope.spawn(move || -> Result<()> {
            listener.accept()?.0.write_all(b"SSH-2.0-test\r\n")?;
            Ok(())
        });
        let greeting = netns::enter(client, || {
            let mut greeting = String::new();
            http::connect(target, http::Source::default())?.read_to_string(&mut greeting)?;
            Ok(greeting)
        });
        if greeting.is_err() {
            // Let the server's accept come to an end.
            let _ = netns::enter(server, || Ok(http::connect(target, http::Source::default())));
        }
        let served = served.join();
        ensure!(greeting?.starts_with("SSH-2.0"));
        match served {
            Ok(result) => result,
            Err(_) => bail!("the server panicked"),
        }
    })
}

#[test]
fn a_port_without_listener_is_counted_and_others_are_not_disturbed() -> Result<()> {
    play(
        |_| {},
        |scene| {
            for family in Family::BOTH {
                let nobody = SocketAddr::new(family.vip(), 81);
                ensure!(scene.get(nobody).is_err(), "somebody answered at {nobody}");
                scene.get(tcp(family)).context("the listener beside it")?;
            }
            let events = scene.ctl().events()?;
            ensure!(events.get("no_listener").copied() > Some(0), "{events:?}");
            Ok(())
        },
    )
}
