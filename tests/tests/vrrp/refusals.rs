//! Adverts that break a rule: none moves anything, each is counted by its
//! reason and told of once.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use krater_tests::rig::wait;
use vrrp::{Anomaly, Authentication, ChecksumForm, Family, Refusal, State, Version, runner::Instance};

use super::{
    craft::{Crafted, Sender, Sum, nobody},
    journal::Entry,
    node::{KEY, Node, instance, unicast},
    segment::{LONG, Segment},
};

const FAST: Duration = Duration::from_millis(100);
const COPIES: u64 = 12;
const PASSWORD: [u8; 8] = *b"krater77";

type Change = fn(&mut Crafted);

fn refused(node: &Node, refusal: Refusal) -> Result<u64> {
    let all = node.snapshot()?.counters.refused;
    Ok(all.iter().find(|(of, _)| *of == refusal).map_or(0, |(_, count)| *count))
}

/// An Active that is alone, and adverts to it, each of which would win if it
/// were accepted.
fn expect_refusals(
    family: Family,
    make: impl Fn(Instance) -> Instance,
    right: &Crafted,
    cases: &[(Refusal, Change)],
) -> Result<()> {
    let segment = Segment::with_hosts(2)?;
    let node = Node::start(&segment, 1, vec![make(instance(&segment, 1, family, 100, FAST))])?;
    node.journal.wait_carrying(true)?;
    let sender = Sender::on(&segment, 2)?;
    for (refusal, change) in cases {
        let mut advert = right.clone();
        change(&mut advert);
        let before = refused(&node, *refusal)?;
        for _ in 0..COPIES {
            sender.send(&advert)?;
        }
        let what = format!("{family}: {COPIES} adverts to be refused as {}", refusal.label());
        wait::until_true(&what, LONG, || Ok(refused(&node, *refusal)? == before + COPIES))
            .with_context(|| format!("{:?}", node.snapshot().map(|s| s.counters)))?;
        let told = Entry::Refused { refusal: *refusal, suppressed: 0 };
        let entries = node.journal.entries();
        let times = entries.iter().filter(|(_, _, entry)| *entry == told).count();
        ensure!(times >= 1, "{} was not told of: {}", refusal.label(), node.journal);
        let sources: BTreeSet<IpAddr> = [advert.source, right.source].into();
        ensure!(times <= sources.len() * 2, "{} was told of {times} times", refusal.label());
    }
    let snapshot = node.snapshot()?;
    ensure!(snapshot.state == State::Active && snapshot.counters.transitions == 2, "{}", node.journal);
    ensure!(snapshot.counters.received == 0 && snapshot.peers.is_empty(), "{snapshot:?}");

    // The same without a flaw is obeyed: the flaws were the reason.
    sender.send(right)?;
    node.wait_state(State::Backup)
}

#[test]
fn adverts_of_version_3_over_ipv4_that_break_a_rule_are_refused_and_counted() -> Result<()> {
    let right = Crafted::from_host(2, Family::V4, 250, FAST);
    expect_refusals(
        Family::V4,
        |instance| instance,
        &right,
        &[
            (Refusal::Hops, |advert| advert.hops = 254),
            (Refusal::Checksum, |advert| advert.sum = Sum::Wrong),
            (Refusal::Length, |advert| advert.count = Some(2)),
            (Refusal::Length, |advert| advert.tail = vec![0; 4]),
            (Refusal::NoAddress, |advert| advert.addresses.clear()),
            (Refusal::NoAddress, |advert| advert.count = Some(0)),
            (Refusal::IntervalZero, |advert| advert.interval = [0xf0, 0]),
            (Refusal::Version, |advert| advert.version_and_type = 0x21),
            (Refusal::Version, |advert| advert.version_and_type = 0x41),
            (Refusal::Type, |advert| advert.version_and_type = 0x32),
            (Refusal::OtherVrid, |advert| advert.vrid = 52),
            (Refusal::OtherVrid, |advert| advert.vrid = 0),
            (Refusal::Short, |advert| advert.length = Some(7)),
            (Refusal::Short, |advert| advert.length = Some(1)),
            (Refusal::TrailerUnexpected, |advert| advert.tail = vec![0; 28]),
            (Refusal::Destination, |advert| advert.destination = IpAddr::from([10, 78, 0, 1])),
        ],
    )
}

#[test]
fn adverts_over_ipv6_that_break_a_rule_are_refused_and_counted() -> Result<()> {
    let right = Crafted::from_host(2, Family::V6, 250, FAST);
    expect_refusals(
        Family::V6,
        |instance| instance,
        &right,
        &[
            (Refusal::Hops, |advert| advert.hops = 254),
            (Refusal::Checksum, |advert| advert.sum = Sum::Wrong),
            (Refusal::Checksum, |advert| advert.sum = Sum::MessageOnly),
            (Refusal::Length, |advert| advert.count = Some(1)),
            (Refusal::NoAddress, |advert| advert.addresses.clear()),
            (Refusal::IntervalZero, |advert| advert.interval = [0, 0]),
            (Refusal::Version, |advert| advert.version_and_type = 0x21),
            (Refusal::OtherVrid, |advert| advert.vrid = 9),
            (Refusal::FirstNotLinkLocal, |advert| advert.addresses.reverse()),
            (Refusal::Short, |advert| advert.length = Some(7)),
        ],
    )
}

#[test]
fn a_unicast_router_refuses_strangers_forwarded_adverts_and_multicast() -> Result<()> {
    let mut right = Crafted::from_host(2, Family::V4, 250, FAST);
    right.destination = IpAddr::from([10, 78, 0, 1]);
    expect_refusals(
        Family::V4,
        |instance| unicast(instance, &[IpAddr::from([10, 78, 0, 2])]),
        &right,
        &[
            (Refusal::Stranger, |advert| advert.source = nobody(Family::V4)),
            (Refusal::Hops, |advert| advert.hops = 64),
            (Refusal::Checksum, |advert| advert.sum = Sum::Wrong),
        ],
    )
}

#[test]
fn version_2_refuses_what_is_not_exactly_as_configured() -> Result<()> {
    let mut right = Crafted::from_host(2, Family::V4, 250, FAST);
    right.version_and_type = 0x21;
    right.interval = [1, 1];
    right.tail = PASSWORD.to_vec();
    right.sum = Sum::MessageOnly;
    expect_refusals(
        Family::V4,
        |mut instance| {
            instance.router.version = Version::V2;
            instance.router.interval = Duration::from_secs(1);
            instance.exchange.authentication = Authentication::Password(PASSWORD);
            instance
        },
        &right,
        &[
            (Refusal::Password, |advert| advert.tail = b"krater78".to_vec()),
            (Refusal::AuthenticationKind, |advert| (advert.interval, advert.tail) = ([0, 1], vec![0; 8])),
            (Refusal::AuthenticationKind, |advert| advert.interval = [2, 1]),
            (Refusal::IntervalDiffers, |advert| advert.interval = [1, 2]),
            (Refusal::IntervalZero, |advert| advert.interval = [1, 0]),
            (Refusal::AddressesDiffer, |advert| advert.addresses = vec![IpAddr::from([10, 78, 0, 101])]),
            (Refusal::Length, |advert| advert.tail.truncate(4)),
            (Refusal::Version, |advert| advert.version_and_type = 0x31),
            (Refusal::Checksum, |advert| advert.sum = Sum::PseudoHeader),
        ],
    )
}

#[test]
fn both_forms_of_the_checksum_are_understood_and_told_apart() -> Result<()> {
    let segment = Segment::with_hosts(2)?;
    let node = Node::start(&segment, 1, vec![instance(&segment, 1, Family::V4, 100, FAST)])?;
    node.journal.wait_carrying(true)?;
    let sender = Sender::on(&segment, 2)?;
    for (sum, form) in [(Sum::MessageOnly, ChecksumForm::MessageOnly), (Sum::PseudoHeader, ChecksumForm::PseudoHeader)]
    {
        let mut advert = Crafted::from_host(2, Family::V4, 50, FAST);
        advert.sum = sum;
        sender.send(&advert)?;
        wait::until_true(&format!("an advert of {form:?}"), LONG, || {
            Ok(node.snapshot()?.peers.first().is_some_and(|peer| peer.checksum == form))
        })?;
    }
    ensure!(node.snapshot()?.counters.refused.is_empty());
    Ok(())
}

#[test]
fn a_second_owner_is_heard_and_said_so_rather_than_refused() -> Result<()> {
    let segment = Segment::with_hosts(2)?;
    let node = Node::start(&segment, 1, vec![instance(&segment, 1, Family::V4, 255, FAST)])?;
    node.journal.wait_carrying(true)?;
    // From a higher address: it wins, or two owners would stay Active for ever.
    Sender::on(&segment, 2)?.send(&Crafted::from_host(2, Family::V4, 255, FAST))?;
    node.wait_state(State::Backup)?;
    let second = |entry: &Entry| matches!(entry, Entry::Noticed(Anomaly::SecondOwner { .. }));
    ensure!(node.journal.of(KEY).iter().any(second), "{}", node.journal);
    Ok(())
}
