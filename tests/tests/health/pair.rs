//! A pair: both balancers probe, whichever has the VIPs.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use krater_tests::rig::{
    Side,
    backends::{
        Crowd,
        tcp::{Manner, TcpServer},
    },
    duo::Duo,
    health::{Details, Health},
    pair::{FRONT, Pair},
    pool_file::Standby,
    wait,
};

use super::scene::{LONG, patient};

const DOCTOR: u16 = 8081;

#[test]
fn both_balancers_probe_and_the_one_that_stands_by_keeps_its_neighbours_warm() -> Result<()> {
    let crowd = Crowd::gather()?;
    let pair = Pair::up(true)?;
    let mut doctors = Vec::new();
    for member in pair.members() {
        for address in member.addresses() {
            let address = SocketAddr::new(address, DOCTOR);
            doctors.push(TcpServer::start(&crowd, member.namespace(), address, Manner::Status(200))?);
        }
    }
    for side in Side::BOTH {
        pair.node(side).namespace().hurry_neighbours(FRONT)?;
    }
    let duo = Duo::on(pair, Standby::default(), |_, file| {
        for pool in file.pools() {
            pool.healthmonitor = Some(patient("HTTP"));
            pool.member.iter_mut().for_each(|member| member.monitor_port = Some(DOCTOR));
        }
    })?;
    played(&duo, &mut doctors).with_context(|| duo.account())
}

fn played(duo: &Duo, doctors: &mut [TcpServer]) -> Result<()> {
    for side in Side::BOTH {
        wait::until_true(&format!("{} to have asked everybody", side.node()), LONG, || {
            let all = Health::all(&duo.ctl(side))?;
            ensure!(!all.is_empty(), "nobody is watched");
            ensure!(all.iter().all(|health| health.is_up() && health.last_text() == "status 200"), "{all:?}");
            Ok(true)
        })?;
    }
    ensure!(!duo.is_active(Side::B)?, "B should stand by");
    // Much longer than an entry is good for without somebody who uses it.
    std::thread::sleep(Duration::from_secs(8));
    for side in Side::BOTH {
        expect_warm(duo, side)?;
    }
    doctors[..2].iter().for_each(|doctor| doctor.behave(Manner::Status(503)));
    for side in Side::BOTH {
        wait::until_true(&format!("{} to find m1 down", side.node()), LONG, || {
            let health = Details::of(&duo.ctl(side), "web4/app/m1")?;
            ensure!(health.member.is_down() && health.member.last_text().contains("503"), "{health:?}");
            Ok(true)
        })?;
    }
    Ok(())
}

/// Every member's entry has an address, and somebody confirmed it a moment ago.
/// The probes see to that, and so does the watch over next hops: this holds both to it.
fn expect_warm(duo: &Duo, side: Side) -> Result<()> {
    let namespace = duo.pair().node(side).namespace();
    for member in duo.pair().members() {
        for address in member.addresses() {
            let shown = namespace.run("ip", &["-s", "neigh", "show", &address.to_string(), "dev", FRONT])?;
            let confirmed = shown
                .split_whitespace()
                .skip_while(|word| *word != "used")
                .nth(1)
                .and_then(|times| times.split('/').nth(1)?.parse::<u64>().ok());
            let confirmed = confirmed.with_context(|| format!("{}: {address}: {shown}", side.node()))?;
            ensure!(shown.contains("lladdr") && confirmed <= 5, "{}: {address} is cold: {shown}", side.node());
        }
    }
    Ok(())
}
