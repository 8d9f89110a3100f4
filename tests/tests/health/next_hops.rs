//! A member whom frames cannot reach is down, whatever it would have said.

use anyhow::{Result, ensure};
use krater_tests::rig::{Family, load::Kind, pool_file::Member};

use super::scene::{Balancer, Stage, hasty, patient, tcp};

/// An address of the members' network that nobody has.
const NOBODY: [&str; 2] = ["10.77.1.99", "fd77:1::99"];

#[test]
fn an_unresolvable_next_hop_counts_as_down_with_that_reason() -> Result<()> {
    let stage = Stage::raise()?;
    let mut file = stage.file();
    for (balancer, address) in file.loadbalancer.iter_mut().zip(NOBODY) {
        for pool in &mut balancer.pool {
            pool.healthmonitor = Some(if pool.protocol == "UDP" { hasty("UDP-CONNECT") } else { patient("HTTP") });
            pool.member.iter_mut().for_each(|member| member.monitor_port = None);
            pool.member.push(Member::new("gone", address.parse()?, pool.member[0].protocol_port));
            // It is probed where somebody answers, and that does not help: its clients would not get there.
            let mut elsewhere = Member::new("elsewhere", address.parse()?, 4444);
            elsewhere.monitor_address = Some(pool.member[0].address);
            elsewhere.monitor_port = Some(pool.member[0].protocol_port);
            pool.member.push(elsewhere);
        }
    }
    let balancer = stage.balance(file)?;
    for (family, answer) in [("web4", "answer to ARP"), ("web6", "neighbour advertisement")] {
        for pool in ["app", "echo"] {
            for member in ["gone", "elsewhere"] {
                let name = format!("{family}/{pool}/{member}");
                balancer.wait_down(&name, answer)?;
                balancer.wait(&format!("the monitor of {name} to know"), || {
                    let health = balancer.health(&name)?;
                    ensure!(health.member.is_down() && health.member.last_text().contains(answer), "{health:?}");
                    Ok(true)
                })?;
            }
        }
    }
    for family in Family::BOTH {
        stage.expect_served_by(Kind::Http, tcp(family), &["m1", "m2", "m3"])?;
    }
    told(&balancer)
}

/// The event stream and `lbctl member list` have the reason too.
fn told(balancer: &Balancer) -> Result<()> {
    let events = balancer.events_of("member_down", "web4/app/gone")?;
    ensure!(events.len() == 1, "{events:?}");
    ensure!(events[0].to_string().contains("answer to ARP"), "{}", events[0]);
    let shown = balancer.lbctl(&["member", "list"])?.stdout;
    ensure!(shown.contains("gone") && shown.contains("ERROR"), "{shown}");
    Ok(())
}

#[test]
fn a_member_whose_cable_is_pulled_is_down_and_comes_back() -> Result<()> {
    let stage = Stage::raise()?;
    let mut file = stage.file();
    for pool in file.pools() {
        // A host that is gone refuses no datagram: only the missing neighbour tells.
        pool.healthmonitor = Some(hasty(if pool.protocol == "UDP" { "UDP-CONNECT" } else { "PING" }));
        pool.member.iter_mut().for_each(|member| member.monitor_port = None);
    }
    stage.rig.lb().hurry_neighbours("back0")?;
    let balancer = stage.balance(file)?;
    balancer.wait_all_up()?;
    stage.rig.unplug(2)?;
    for name in ["web4/app/m3", "web6/app/m3", "web4/echo/m3", "web6/echo/m3"] {
        balancer.wait_status(name, "ERROR")?;
    }
    for family in Family::BOTH {
        stage.expect_served_by(Kind::Http, tcp(family), &["m1", "m2"])?;
    }
    stage.rig.plug_in(2)?;
    balancer.wait_all_up()
}
