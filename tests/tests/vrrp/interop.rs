//! keepalived on the other side: both understand each other, whoever leads.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use vrrp::{Authentication, Family, State, Version, runner::Instance};

use super::{
    journal::undisturbed,
    keepalived::{Dialect, Keepalived, PASSWORD},
    node::{Node, instance, unicast},
    segment::Segment,
};

const MULTICAST: Dialect = Dialect {
    version: Version::V3,
    family: Family::V4,
    unicast: false,
    virtual_mac: false,
    interval: Duration::from_millis(100),
};

/// Where our router is, and where keepalived is.
const OURS: u8 = 1;
const THEIRS: u8 = 2;

fn ours(segment: &Segment, dialect: Dialect, priority: u8) -> Instance {
    let mut wish = instance(segment, OURS, dialect.family, priority, dialect.interval);
    wish.router.version = dialect.version;
    if dialect.version == Version::V2 {
        wish.exchange.authentication = Authentication::Password(PASSWORD);
    }
    if dialect.unicast { unicast(wish, &[segment.host(THEIRS).address(dialect.family)]) } else { wish }
}

/// We lead, keepalived listens; it takes over as soon as we leave, at once
/// when we say so, and backs off when we return.
fn it_follows_us(dialect: Dialect, virtual_mac: bool) -> Result<()> {
    let segment = Segment::with_hosts(2)?;
    let mut wish = ours(&segment, dialect, 200);
    wish.virtual_mac = virtual_mac && !dialect.unicast;
    let node = Node::start(&segment, OURS, vec![wish.clone()])?;
    node.journal.wait_carrying(true)?;
    let mut theirs = Keepalived::start(&segment, THEIRS, OURS, dialect, 100)?;
    thread::sleep(dialect.interval * 8 + Duration::from_millis(500));
    ensure!(!theirs.is_active()?, "it did not hear us\n{}", theirs.log());
    ensure!(node.snapshot()?.counters.refused.is_empty(), "{:?}", node.snapshot()?.counters);

    node.handle.set(Vec::new())?;
    theirs.wait_active(true)?;
    node.journal.wait_carrying(false)?;
    let told = !node
        .journal
        .entries()
        .iter()
        .any(|(_, _, e)| *e == super::journal::Entry::Noticed(vrrp::Anomaly::NobodyTookOver));
    ensure!(told, "it took over, and we did not hear it: {}", node.journal);

    node.handle.set(vec![wish])?;
    node.journal.wait_carrying(true)?;
    theirs.wait_active(false)?;
    thread::sleep(dialect.interval * 5);
    ensure!(node.snapshot()?.state == State::Active && !theirs.is_active()?, "{}\n{}", node.journal, theirs.log());
    Ok(())
}

/// keepalived leads, we listen; we take over when it leaves and when it dies,
/// and yield when it returns with its higher priority.
fn we_follow_it(dialect: Dialect, virtual_mac: bool) -> Result<()> {
    let segment = Segment::with_hosts(2)?;
    let mut theirs = Keepalived::start(&segment, THEIRS, OURS, dialect, 200)?;
    theirs.wait_active(true)?;
    let mut wish = ours(&segment, dialect, 100);
    wish.virtual_mac = virtual_mac && !dialect.unicast;
    let node = Node::start(&segment, OURS, vec![wish])?;
    thread::sleep(dialect.interval * 8);
    let snapshot = node.snapshot()?;
    ensure!(snapshot.state == State::Backup, "{}\n{}", node.journal, theirs.log());
    let peer = snapshot.peers.first().with_context(|| format!("it was not heard: {snapshot:?}"))?;
    ensure!(peer.priority == 200 && peer.interval == dialect.interval, "{peer:?}");
    ensure!(snapshot.counters.refused.is_empty(), "{:?}", snapshot.counters);

    theirs.stop()?;
    node.journal.wait_carrying(true)?;

    let mut theirs = Keepalived::start(&segment, THEIRS, OURS, dialect, 200)?;
    theirs.wait_active(true)?;
    node.journal.wait_carrying(false)?;
    thread::sleep(dialect.interval * 5);
    ensure!(node.snapshot()?.state == State::Backup, "{}", node.journal);

    theirs.kill();
    node.journal.wait_carrying(true)
}

fn both_ways(dialect: Dialect, virtual_mac: bool) -> Result<()> {
    let what = || format!("{dialect:?}, our virtual MAC {virtual_mac}");
    it_follows_us(dialect, virtual_mac).with_context(what)?;
    we_follow_it(dialect, virtual_mac).with_context(what)
}

#[test]
fn version_3_by_multicast_over_ipv4() -> Result<()> {
    undisturbed(|| {
        both_ways(MULTICAST, true)?;
        both_ways(MULTICAST, false)
    })
}

#[test]
fn version_3_by_multicast_over_ipv4_with_its_virtual_mac() -> Result<()> {
    undisturbed(|| both_ways(Dialect { virtual_mac: true, ..MULTICAST }, true))
}

#[test]
fn version_3_by_multicast_over_ipv6() -> Result<()> {
    undisturbed(|| {
        both_ways(Dialect { family: Family::V6, ..MULTICAST }, true)?;
        both_ways(Dialect { family: Family::V6, ..MULTICAST }, false)
    })
}

#[test]
fn version_3_by_unicast_over_ipv4() -> Result<()> {
    undisturbed(|| both_ways(Dialect { unicast: true, ..MULTICAST }, false))
}

#[test]
fn version_2_by_unicast_with_a_password_as_octavia_writes_it() -> Result<()> {
    undisturbed(|| {
        let dialect = Dialect { version: Version::V2, unicast: true, interval: Duration::from_secs(1), ..MULTICAST };
        both_ways(dialect, false)
    })
}
