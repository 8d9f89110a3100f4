//! TCP: what of a connection a member's server sees, and what stands for an open port.

use anyhow::{Result, ensure};
use krater_tests::rig::{
    Family,
    backends::tcp::{Manner, TcpServer},
    pool_file::HealthMonitor,
};
use socket2::{Domain, Protocol, Socket, Type};

use super::scene::{
    Balancer,
    Expect::{Down, Up},
    Stage, ask, hasty, patient,
};

const M1: usize = 0;
const HALF: (usize, u16) = (M1, 7000);
const FULL: (usize, u16) = (M1, 7001);
const ENOUGH: u64 = 8;

fn full() -> HealthMonitor {
    HealthMonitor { tcp_handshake: Some("full".to_owned()), ..patient("TCP") }
}

fn wait_probed(balancer: &Balancer, name: &str) -> Result<()> {
    balancer
        .wait(&format!("{name} to be probed a few times"), || {
            let health = balancer.health(name)?;
            ensure!(health.failures == 0, "{health:?}");
            Ok(health.probes >= ENOUGH)
        })
        .map(drop)
}

#[test]
fn a_half_open_probe_is_never_seen_by_the_server_and_a_full_one_is() -> Result<()> {
    let stage = Stage::raise()?;
    let start = |family, (member, port): (usize, u16)| {
        TcpServer::start(
            &stage.crowd,
            stage.rig.member(member).namespace(),
            stage.at(member, family, port),
            Manner::Stall,
        )
    };
    let [half4, half6] = [start(Family::V4, HALF)?, start(Family::V6, HALF)?];
    let [full4, full6] = [start(Family::V4, FULL)?, start(Family::V6, FULL)?];
    let balancer = stage.expect(&[
        ask("half", patient("TCP"), HALF, Up("accepts connections")),
        ask("full", full(), FULL, Up("accepts connections")),
        ask("closed", patient("TCP"), (M1, 7002), Down("connection refused")),
        ask("closed-full", full(), (M1, 7002), Down("connection refused")),
    ])?;
    for name in ["web4/half/m", "web6/half/m", "web4/full/m", "web6/full/m"] {
        wait_probed(&balancer, name)?;
    }
    for (family, half, full) in [("IPv4", half4, full4), ("IPv6", half6, full6)] {
        ensure!(half.accepted() == 0, "{family}: a server saw {} half-open probes", half.accepted());
        // The last one may not have been taken yet.
        ensure!(full.accepted() >= ENOUGH - 1, "{family}: a server saw {} full probes only", full.accepted());
    }
    Ok(())
}

#[test]
fn a_server_that_hangs_with_a_full_queue_is_down_until_it_accepts_again() -> Result<()> {
    let stage = Stage::raise()?;
    let address = stage.at(M1, Family::V4, HALF.1);
    let (server, mut waiting) = stage.rig.member(M1).namespace().enter(|| {
        let server = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        server.set_reuse_address(true)?;
        server.bind(&address.into())?;
        // A queue of one, and nobody who takes from it.
        server.listen(0)?;
        let mut waiting = Vec::new();
        for _ in 0..4 {
            let client = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
            client.set_nonblocking(true)?;
            // Whether it gets in or not: the queue is full afterwards.
            let _ = client.connect(&address.into());
            waiting.push(client);
        }
        Ok((server, waiting))
    })?;
    let asked = |expect| [ask("hangs", hasty("TCP"), HALF, expect)];
    let balancer = stage.balance(stage.file_of(&asked(Down("")), &[Family::V4]))?;
    balancer.expect(&asked(Down("no SYN-ACK within 0.3 s")))?;
    waiting.clear();
    server.set_nonblocking(true)?;
    let mut taken = 0;
    while server.accept().is_ok() {
        taken += 1;
    }
    ensure!(taken > 0, "the queue was empty: that was no test");
    balancer.expect(&asked(Up("accepts connections")))
}

#[test]
fn monitor_address_and_monitor_port_are_where_a_member_is_probed() -> Result<()> {
    let stage = Stage::raise()?;
    let start = |family, port| {
        let namespace = stage.rig.member(M1).namespace();
        TcpServer::start(&stage.crowd, namespace, stage.at(M1, family, port), Manner::Stall)
    };
    let mut servers: Vec<TcpServer> =
        Family::BOTH.map(|family| start(family, 7100)).into_iter().collect::<Result<_>>()?;
    // Members 2 and 3 have nothing at that port; they are probed at member 1's address.
    let mut file = stage.file();
    for (balancer, family) in file.loadbalancer.iter_mut().zip(Family::BOTH) {
        balancer.pool.retain(|pool| pool.name == "app");
        balancer.listener.retain(|listener| listener.default_pool == "app");
        for pool in &mut balancer.pool {
            pool.healthmonitor = Some(full());
            for member in &mut pool.member {
                member.monitor_address = Some(stage.at(M1, family, 7100).ip());
                member.monitor_port = Some(7100);
            }
        }
    }
    let balancer = stage.balance(file)?;
    balancer.wait_all_up()?;
    servers.clear();
    for name in ["web4/app/m1", "web4/app/m2", "web6/app/m3"] {
        balancer.wait_down(name, "connection refused")?;
    }
    Ok(())
}
