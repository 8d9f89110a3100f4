//! What the other tests here stand on: the pair's network, its prober and its
//! connections do what their names say, without lbd being one of two.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use krater_tests::rig::{
    Family, Side,
    connections::Connections,
    duo::Duo,
    icmp,
    keepalived::{Keepalived, Settings},
    lbd::Lbd,
    load::Report,
    netns,
    pair::Pair,
    pool_file::{PoolFile, Standby},
    prober::{self, Probe, Target},
    wait,
};

use super::scene::{LONG, STEADY};

fn reaches(from: &str, to: std::net::IpAddr) -> Result<bool> {
    netns::enter(from, || Ok(icmp::ping(to, 1, b"there?", Duration::from_millis(300)).is_ok()))
}

#[test]
fn hosts_that_are_parted_reach_their_clients_and_not_each_other() -> Result<()> {
    let pair = Pair::up(false)?;
    let [a, b] = Side::BOTH.map(|side| pair.node(side).namespace().name().to_owned());
    let client = pair.client().name();
    let fronts = |side: Side| Family::BOTH.map(|family| side.front(family));
    let others = |side: Side| fronts(side).into_iter().chain([side.sync()]).collect::<Vec<_>>();
    for address in others(Side::B) {
        ensure!(reaches(&a, address)?, "lb-a does not reach {address}");
    }
    pair.part()?;
    for (from, to) in [(&a, Side::B), (&b, Side::A)] {
        for address in others(to) {
            ensure!(!reaches(from, address)?, "{from} reaches {address} though they are parted");
        }
        for address in fronts(to) {
            ensure!(reaches(client, address)?, "the client does not reach {address}");
        }
    }
    pair.rejoin()?;
    for address in others(Side::A) {
        ensure!(reaches(&b, address)?, "lb-b does not reach {address} again");
    }
    for (off, on) in [
        (Pair::unplug as fn(&Pair, Side) -> Result<()>, Pair::plug_in as fn(&Pair, Side) -> Result<()>),
        (Pair::silence, Pair::unsilence),
    ] {
        off(&pair, Side::A)?;
        ensure!(!reaches(client, Side::A.front(Family::V4))?, "the client reaches a host that is gone");
        ensure!(!reaches(&b, Side::A.sync())?, "lb-b reaches a host that is gone");
        ensure!(reaches(client, Side::B.front(Family::V4))?, "the other host is gone too");
        on(&pair, Side::A)?;
        wait::until_true("the host to be back", LONG, || reaches(client, Side::A.front(Family::V4)))?;
    }
    Ok(())
}

#[test]
fn keepalived_moves_its_vip_and_the_prober_sees_how_long_that_takes() -> Result<()> {
    let pair = Pair::up(false)?;
    let interval = Duration::from_millis(100);
    let start = |side| Keepalived::start(&pair, side, &Settings::new(side, interval));
    let a = start(Side::A)?;
    wait::until_true("keepalived to have the VIP", LONG, || a.is_active()).with_context(|| a.log_tail())?;
    let mut b = start(Side::B)?;
    thread::sleep(Duration::from_secs(1));
    ensure!(!b.is_active()?, "both have the VIP\n{}", b.log_tail());

    let targets = [Target { probe: Probe::Icmp, address: Family::V4.vip() }];
    let (traces, ()) = prober::around(pair.client().name(), &targets, [STEADY, STEADY], || {
        pair.unplug(Side::A)?;
        wait::until_true("the other keepalived to have the VIP", LONG, || b.is_active()).map(drop)
    })?;
    let figures = traces[0].figures();
    let least = interval * 2;
    ensure!(figures.gap > least && figures.recovered, "{figures}");
    ensure!(figures.gap < Duration::from_secs(5), "{figures}");
    ensure!(u128::from(figures.lost) > least.as_millis() / 2, "{figures}");

    // What a killed keepalived leaves behind, the next one clears away.
    b.kill()?;
    ensure!(b.is_active()?, "the VIP of a keepalived that was killed is gone");
    b.restart()?;
    wait::until_true("the VIP to be back", LONG, || b.is_active()).with_context(|| b.log_tail())?;
    b.terminate(LONG)?;
    ensure!(!b.is_active()?, "the VIP of a keepalived that ended is there\n{}", b.log_tail());
    Ok(())
}

#[test]
fn a_balancer_that_is_alone_answers_every_probe_and_holds_every_connection() -> Result<()> {
    let pair = Pair::up(true)?;
    let node = pair.node(Side::A);
    let mut file = PoolFile::for_pair(Side::A, node.paths(), Standby::default());
    (file.vrrp, file.sync) = (Vec::new(), None);
    for balancer in &mut file.loadbalancer {
        (balancer.topology, balancer.vrrp) = (None, None);
    }
    let lbd = Lbd::start_in(pair.recorder(), node.namespace(), node.paths(), &file.text()?)?;
    lbd.wait_all_usable()?;
    let client = pair.client().name();
    let open = |family| Connections::open(client, Duo::connections(family, 200, 50));
    let (held, held6) = (open(Family::V4)?, open(Family::V6)?);
    let (traces, samples) = prober::around(client, &Duo::all_probes(), [STEADY, STEADY], || {
        let load = krater_tests::rig::load::Background::start(
            client,
            krater_tests::rig::load::Load::trickle(krater_tests::rig::load::Kind::Http, Duo::listeners(Family::V4)[0]),
        );
        thread::sleep(Duration::from_secs(1));
        load.finish()
    })?;
    super::scene::expect_no_loss("nothing happens", &traces)?;
    ensure!(Report::of(&samples).errors == 0);
    for held in [held, held6] {
        let outcome = held.settle(LONG)?;
        ensure!((outcome.opened, outcome.resumed) == (200, 200), "{outcome:?}");
    }

    // And what is lost is counted as such.
    let open = Connections::open(client, Duo::connections(Family::V4, 50, 0))?;
    let begun = Instant::now();
    let (traces, ()) = prober::around(client, &Duo::all_probes(), [STEADY, STEADY], || {
        pair.unplug(Side::A)?;
        thread::sleep(STEADY);
        pair.plug_in(Side::A)
    })?;
    for trace in &traces {
        let figures = trace.figures();
        ensure!(figures.gap >= STEADY / 2 && figures.gap < begun.elapsed(), "{}: {figures}", trace.target);
    }
    pair.unplug(Side::A)?;
    let outcome = open.settle(Duration::from_secs(1))?;
    ensure!(outcome.unanswered == 50 && outcome.complaints() == "50 never answered", "{outcome:?}");
    Ok(())
}
