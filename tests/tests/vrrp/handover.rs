//! Planned moves, ends without a word, and new beginnings.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use vrrp::{Family, Reason, State, runner::Command};

use super::{
    capture::{Capture, adverts},
    journal::{Entry, Journal, undisturbed},
    node::{KEY, Node, instance},
    segment::{LONG, Segment},
};

const FAST: Duration = Duration::from_millis(100);

fn pair(segment: &Segment) -> Result<(Node, Node)> {
    let node = |host, priority| Node::start(segment, host, vec![instance(segment, host, Family::V4, priority, FAST)]);
    let (high, low) = (node(1, 200)?, node(2, 100)?);
    high.journal.wait_carrying(true)?;
    low.wait_state(State::Backup)?;
    // Both have heard of each other by now.
    thread::sleep(FAST * 3);
    Ok((high, low))
}

/// How long nobody carried between a beginning and now.
fn nobody_carried(journals: &[&Journal], from: Instant) -> Duration {
    let mut changes: Vec<(Instant, usize, bool)> = Vec::new();
    for (which, journal) in journals.iter().enumerate() {
        changes.extend(journal.carrying().into_iter().map(|(at, on)| (at, which, on)));
    }
    changes.sort_by_key(|(at, ..)| *at);
    changes.push((Instant::now(), usize::MAX, false));
    let mut carrying = vec![false; journals.len()];
    let (mut gap, mut since) = (Duration::ZERO, from);
    for (at, which, on) in changes {
        if at > from && !carrying.contains(&true) {
            gap += at - since.max(from);
        }
        if let Some(carries) = carrying.get_mut(which) {
            *carries = on;
        }
        since = at;
    }
    gap
}

#[test]
fn a_graceful_stop_leaves_the_addresses_to_nobody_at_no_time() -> Result<()> {
    undisturbed(|| {
        // At 10 ms the other one has 60 ms, which a busy machine may take from it.
        for (interval, allowed) in [(10, 250), (100, 0), (1000, 0)] {
            let [interval, allowed] = [interval, allowed].map(Duration::from_millis);
            let segment = Segment::with_hosts(2)?;
            let node = |host, priority| {
                Node::start(&segment, host, vec![instance(&segment, host, Family::V4, priority, interval)])
            };
            let (high, low) = (node(1, 200)?, node(2, 100)?);
            high.journal.wait_carrying(true)?;
            thread::sleep(interval * 2);
            let start = Instant::now();
            let journal = high.journal.clone();
            high.handle.stop(LONG);
            ensure!(!journal.is_carrying(), "it ended while it carried: {journal}");
            low.journal.wait_carrying(true)?;
            let gap = nobody_carried(&[&journal, &low.journal], start);
            ensure!(gap <= allowed, "at {interval:?} nobody carried for {gap:?}\n{journal}\n{}", low.journal);
            // It waited for the other one, not for the end of its patience.
            let handed_over = !journal.of(KEY).contains(&Entry::Noticed(vrrp::Anomaly::NobodyTookOver));
            ensure!(handed_over || !allowed.is_zero(), "{journal}");
        }
        Ok(())
    })
}

#[test]
fn a_stop_without_another_router_ends_all_the_same_and_lets_go() -> Result<()> {
    undisturbed(|| {
        let segment = Segment::with_hosts(1)?;
        let node = Node::start(&segment, 1, vec![instance(&segment, 1, Family::V4, 100, FAST)])?;
        node.journal.wait_carrying(true)?;
        let journal = node.journal.clone();
        let start = Instant::now();
        node.handle.stop(LONG);
        ensure!(start.elapsed() < LONG / 2, "it took {:?}", start.elapsed());
        ensure!(!journal.is_carrying(), "{journal}");

        // With less patience than the other one may need, patience decides.
        let slow = Duration::from_secs(10);
        let mut owner = instance(&segment, 1, Family::V4, 255, slow);
        owner.key = KEY + 1;
        let node = Node::start(&segment, 1, vec![owner])?;
        node.journal.wait_carrying(true)?;
        let journal = node.journal.clone();
        let start = Instant::now();
        node.handle.stop(Duration::from_millis(100));
        ensure!(start.elapsed() < Duration::from_secs(5), "it took {:?}", start.elapsed());
        ensure!(!journal.is_carrying(), "{journal}");
        Ok(())
    })
}

#[test]
fn a_runner_that_follows_an_abandoned_one_goes_on_as_active_and_nobody_notices() -> Result<()> {
    undisturbed(|| {
        let segment = Segment::with_hosts(3)?;
        let (high, low) = pair(&segment)?;
        let capture = Capture::on(&segment, 3)?;
        let journal = high.journal.clone();
        high.handle.abandon();
        let alive = journal.alive().context("it never was alive")?;
        ensure!(journal.is_carrying(), "abandoning must not touch the data path: {journal}");
        let mut wish = instance(&segment, 1, Family::V4, 200, FAST);
        (wish.carrying, wish.resume) = (true, Some(alive.elapsed()));
        let high = Node::start_with(journal, &segment, 1, vec![wish])?;
        high.wait_state(State::Active)?;
        thread::sleep(FAST * 10);
        let turned_off = high.journal.carrying().iter().skip_while(|(_, on)| !on).any(|(_, on)| !on);
        ensure!(!turned_off, "{}", high.journal);
        ensure!(high.journal.of(KEY).iter().any(|e| matches!(e, Entry::Moved(_, State::Active, Reason::Resumed))));
        ensure!(low.snapshot()?.state == State::Backup && low.snapshot()?.counters.transitions == 1, "{}", low.journal);
        let zeros = adverts(&capture.finish()?).iter().filter(|advert| advert.priority == 0).count();
        ensure!(zeros == 0, "abandoning is not said on the network");
        Ok(())
    })
}

#[test]
fn a_runner_that_follows_long_after_gives_the_addresses_up_to_whoever_took_over() -> Result<()> {
    undisturbed(|| {
        let segment = Segment::with_hosts(2)?;
        let (high, low) = pair(&segment)?;
        let journal = high.journal.clone();
        high.handle.abandon();
        low.journal.wait_carrying(true)?;
        let mut wish = instance(&segment, 1, Family::V4, 200, FAST);
        wish.router.preempt = false;
        (wish.carrying, wish.resume) = (true, Some(Duration::from_secs(60)));
        let high = Node::start_with(journal, &segment, 1, vec![wish])?;
        high.journal.wait_carrying(false)?;
        thread::sleep(FAST * 10);
        ensure!(high.snapshot()?.state == State::Backup, "{}", high.journal);
        ensure!(low.journal.is_carrying(), "{}", low.journal);
        Ok(())
    })
}

#[test]
fn a_runner_that_follows_long_after_and_hears_nobody_has_never_let_go() -> Result<()> {
    undisturbed(|| {
        let segment = Segment::with_hosts(1)?;
        let mut wish = instance(&segment, 1, Family::V4, 200, FAST);
        (wish.carrying, wish.resume) = (true, None);
        let node = Node::start(&segment, 1, vec![wish])?;
        node.wait_state(State::Active)?;
        ensure!(node.journal.carrying().iter().all(|(_, on)| *on), "{}", node.journal);
        Ok(())
    })
}

#[test]
fn an_operator_moves_the_addresses_away_and_lets_them_return() -> Result<()> {
    undisturbed(|| {
        let segment = Segment::with_hosts(2)?;
        let (high, low) = pair(&segment)?;
        let start = Instant::now();
        high.handle.command(KEY, Command::Failover)?;
        low.journal.wait_carrying(true)?;
        high.journal.wait_carrying(false)?;
        let gap = nobody_carried(&[&high.journal, &low.journal], start);
        ensure!(gap.is_zero(), "nobody carried for {gap:?}");
        thread::sleep(FAST * 10);
        ensure!(high.snapshot()?.state == State::Backup, "it took them back: {}", high.journal);
        high.handle.command(KEY, Command::Resume)?;
        high.journal.wait_carrying(true)?;
        low.journal.wait_carrying(false)?;

        high.handle.command(KEY, Command::Pause)?;
        high.wait_state(State::Initialize)?;
        low.journal.wait_carrying(true)?;
        ensure!(high.snapshot()?.facts.is_some_and(|facts| facts.paused));
        high.handle.command(KEY, Command::Resume)?;
        high.journal.wait_carrying(true)?;
        ensure!(high.handle.command(KEY + 1, Command::Pause).is_err(), "there is no such router");
        Ok(())
    })
}
