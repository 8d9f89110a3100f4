//! A changed configuration disturbs what it changes, and nothing else.

use std::{net::IpAddr, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use vrrp::{
    Family, Priority, State, Vrid,
    runner::{Announced, Instance, WishFlaw},
};

use super::{
    capture::{Capture, adverts},
    journal::{Entry, undisturbed},
    node::{KEY, Node, instance},
    segment::Segment,
};

const FAST: Duration = Duration::from_millis(100);

fn wish(segment: &Segment, host: u8, priority: u8) -> Instance {
    instance(segment, host, Family::V4, priority, FAST)
}

/// An Active whose announcements are over.
fn active(segment: &Segment) -> Result<Node> {
    let node = Node::start(segment, 1, vec![wish(segment, 1, 100)])?;
    node.journal.wait_for("the announcements", |entry| matches!(entry, Entry::Announced(_)))?;
    Ok(node)
}

#[test]
fn the_same_wish_again_disturbs_nothing() -> Result<()> {
    undisturbed(|| {
        let segment = Segment::with_hosts(2)?;
        let node = active(&segment)?;
        let entries = node.journal.entries().len();
        let capture = Capture::on(&segment, 2)?;
        for _ in 0..50 {
            let mut same = wish(&segment, 1, 100);
            (same.carrying, same.resume) = (true, Some(FAST));
            node.handle.set(vec![same])?;
            thread::sleep(Duration::from_millis(10));
        }
        let _ = node.snapshot()?;
        let seen = capture.finish()?;
        ensure!(node.journal.entries().len() == entries, "{}", node.journal);
        ensure!(seen.iter().all(|s| s.announcement().is_none()), "something was announced");
        let sent = adverts(&seen).len();
        ensure!(sent <= 7, "{sent} adverts in half a second at one in a tenth");
        Ok(())
    })
}

#[test]
fn added_addresses_are_announced_and_the_others_are_not() -> Result<()> {
    undisturbed(|| {
        let segment = Segment::with_hosts(2)?;
        let node = active(&segment)?;
        let capture = Capture::on(&segment, 2)?;
        let mut more = wish(&segment, 1, 100);
        let new = IpAddr::from([10, 78, 0, 101]);
        more.announced.push(Announced { address: new, ..more.announced[0] });
        node.handle.set(vec![more])?;
        thread::sleep(FAST * 3);
        let seen = capture.finish()?;
        let announced: Vec<IpAddr> = seen.iter().filter_map(|s| Some(s.announcement()?.0)).collect();
        ensure!(announced == [new, new], "{announced:?}");
        ensure!(node.journal.is_carrying() && node.snapshot()?.counters.transitions == 2, "{}", node.journal);
        Ok(())
    })
}

#[test]
fn a_new_priority_or_interval_is_on_the_network_at_once_and_moves_nothing_by_itself() -> Result<()> {
    undisturbed(|| {
        let segment = Segment::with_hosts(2)?;
        let node = active(&segment)?;
        let capture = Capture::on(&segment, 2)?;
        let mut tracked = wish(&segment, 1, 100);
        tracked.priority = Priority::new(70).context("a priority")?;
        node.handle.set(vec![tracked.clone()])?;
        thread::sleep(FAST * 3);
        tracked.router.interval = FAST * 2;
        node.handle.set(vec![tracked])?;
        thread::sleep(FAST * 6);
        let snapshot = node.snapshot()?;
        ensure!(snapshot.priority.get() == 70 && snapshot.state == State::Active, "{snapshot:?}");
        ensure!(snapshot.counters.transitions == 2, "{}", node.journal);
        let all = adverts(&capture.finish()?);
        ensure!(all.iter().filter(|a| a.priority == 70).count() >= 4, "{all:?}");
        Ok(())
    })
}

#[test]
fn a_router_that_is_not_wished_for_any_more_leaves_gracefully_and_may_return() -> Result<()> {
    undisturbed(|| {
        let segment = Segment::with_hosts(2)?;
        let high = Node::start(&segment, 1, vec![wish(&segment, 1, 200)])?;
        let low = Node::start(&segment, 2, vec![wish(&segment, 2, 100)])?;
        high.journal.wait_carrying(true)?;
        thread::sleep(FAST * 3);
        high.handle.set(Vec::new())?;
        low.journal.wait_carrying(true)?;
        high.journal.wait_carrying(false)?;
        let [off, on] = [&high, &low].map(|node| node.journal.carrying().last().map(|(at, _)| *at));
        ensure!(off > on, "it let go before the other one took over");
        ensure!(high.handle.snapshot(FAST * 10).is_some_and(|all| all.is_empty()));

        high.handle.set(vec![wish(&segment, 1, 200)])?;
        high.journal.wait_carrying(true)?;
        // Another number is another router: the old one leaves, the new one begins.
        let mut renumbered = wish(&segment, 1, 200);
        renumbered.router.vrid = Vrid::new(52).context("a number")?;
        high.handle.set(vec![renumbered])?;
        high.journal.wait_carrying(false)?;
        high.journal.wait_carrying(true)?;
        low.journal.wait_carrying(true)?;
        Ok(())
    })
}

#[test]
fn a_router_without_an_address_or_with_a_fault_takes_no_part_until_that_is_mended() -> Result<()> {
    undisturbed(|| {
        let segment = Segment::with_hosts(1)?;
        let mut without = wish(&segment, 1, 100);
        without.source = None;
        without.carrying = true;
        let node = Node::start(&segment, 1, vec![without])?;
        node.journal.wait_for("the data path to be turned off", |entry| *entry == Entry::Carries(false))?;
        ensure!(node.snapshot()?.fault.is_some() && node.snapshot()?.state == State::Initialize);
        node.handle.set(vec![wish(&segment, 1, 100)])?;
        node.journal.wait_carrying(true)?;

        let mut faulty = wish(&segment, 1, 100);
        faulty.fault = Some("the uplink is down".to_owned());
        node.handle.set(vec![faulty])?;
        node.journal.wait_carrying(false)?;
        ensure!(node.snapshot()?.fault.as_deref() == Some("the uplink is down"));
        node.handle.set(vec![wish(&segment, 1, 100)])?;
        node.journal.wait_carrying(true)
    })
}

#[test]
fn an_interface_that_comes_later_is_used_when_it_comes() -> Result<()> {
    undisturbed(|| {
        let segment = Segment::with_hosts(1)?;
        let mut early = wish(&segment, 1, 100);
        early.interface.name = "later0".to_owned();
        let node = Node::start(&segment, 1, vec![early])?;
        node.journal
            .wait_for("it to say so", |entry| matches!(entry, Entry::Trouble(text) if text.contains("deaf")))?;
        ensure!(node.snapshot()?.state == State::Initialize);
        let rename = "link set eth0 down\nlink set eth0 name later0\nlink set later0 up\n";
        segment.host(1).namespace.ip_batch(rename)?;
        node.journal.wait_carrying(true)
    })
}

#[test]
fn a_wish_that_cannot_be_is_refused_whole_and_changes_nothing() -> Result<()> {
    undisturbed(|| {
        let segment = Segment::with_hosts(1)?;
        let node = active(&segment)?;
        let flaw_of = |instances: Vec<Instance>| {
            let error = node.handle.set(instances).err().context("it was taken")?;
            error.get_ref().and_then(|e| e.downcast_ref::<WishFlaw>()).cloned().context("another error")
        };
        let mut other = wish(&segment, 1, 50);
        ensure!(matches!(flaw_of(vec![wish(&segment, 1, 50), other.clone()])?, WishFlaw::SameKey(KEY)));
        other.key += 1;
        ensure!(matches!(flaw_of(vec![wish(&segment, 1, 50), other.clone()])?, WishFlaw::SameRouter { .. }));
        other.router.interval = Duration::ZERO;
        ensure!(matches!(flaw_of(vec![other])?, WishFlaw::Config { .. }));
        let mut foreign = wish(&segment, 1, 50);
        foreign.source = Some(segment.host(1).address(Family::V6));
        ensure!(matches!(flaw_of(vec![foreign])?, WishFlaw::OtherFamily { .. }));
        let snapshot = node.snapshot()?;
        ensure!(snapshot.priority.get() == 100 && snapshot.state == State::Active);
        Ok(())
    })
}
