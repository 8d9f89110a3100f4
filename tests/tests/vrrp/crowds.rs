//! Many routers on one thread, many addresses of one router, and adverts that
//! are signed.

use std::{net::IpAddr, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use krater_tests::rig::wait;
use vrrp::{
    Authentication, Family, HmacKeys, HmacMode, Refusal, Secret, State, Vrid,
    runner::{Announced, Instance},
};

use super::{
    capture::{Capture, adverts, first},
    craft::{Crafted, Sender},
    journal::{Entry, undisturbed},
    node::{Node, instance},
    segment::{LONG, Segment},
};

const FAST: Duration = Duration::from_millis(100);

/// So many addresses, none of which anybody else has.
fn many(template: Announced, count: u16) -> Vec<Announced> {
    let address = |n: u16| IpAddr::from([10, 79, n.to_be_bytes()[0], n.to_be_bytes()[1]]);
    (0..count).map(|n| Announced { address: address(n), ..template }).collect()
}

#[test]
fn a_thousand_addresses_are_announced_at_the_rate_allowed_and_delay_no_advert() -> Result<()> {
    undisturbed(|| {
        let segment = Segment::with_hosts(2)?;
        let interval = Duration::from_millis(10);
        let mut wish = instance(&segment, 1, Family::V4, 200, interval);
        wish.announced = many(wish.announced[0], 1000);
        wish.announce.per_millisecond = 4;
        let capture = Capture::on(&segment, 2)?;
        let node = Node::start(&segment, 1, vec![wish])?;
        node.journal.wait_for("the announcements", |entry| *entry == Entry::Announced(2000))?;
        thread::sleep(interval * 3);
        let seen = capture.finish()?;
        let told: Vec<Duration> = seen.iter().filter(|s| s.announcement().is_some()).map(|s| s.at).collect();
        ensure!(told.len() == 2000, "{} announcements", told.len());
        let took = told[told.len() - 1] - told[0];
        ensure!(took >= Duration::from_millis(2000 / 4), "2000 at 4 a millisecond within {took:?}");

        let all = adverts(&seen);
        let mut pauses: Vec<Duration> = all.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
        pauses.sort();
        let (median, worst) = (pauses[pauses.len() / 2], pauses[pauses.len() - 1]);
        println!("2000 announcements in {took:?}; adverts meanwhile every {median:?}, at worst {worst:?}");
        // Sent at once, they would be one pause of many milliseconds and then some adverts in a row.
        ensure!(all.len() > 40 && median.abs_diff(interval) < Duration::from_millis(3), "{median:?}");
        ensure!(node.snapshot()?.lateness.p99 < interval, "{:?}", node.snapshot()?.lateness);
        Ok(())
    })
}

#[test]
fn announcements_end_when_the_addresses_are_given_up() -> Result<()> {
    undisturbed(|| {
        let segment = Segment::with_hosts(3)?;
        let mut wish = instance(&segment, 1, Family::V4, 100, FAST);
        wish.announced = many(wish.announced[0], 4000);
        wish.announce.per_millisecond = 1;
        let low = Node::start(&segment, 1, vec![wish])?;
        low.journal.wait_carrying(true)?;
        let high = Node::start(&segment, 2, vec![instance(&segment, 2, Family::V4, 200, FAST)])?;
        low.journal.wait_carrying(false)?;
        let frames = low.snapshot()?.counters.announcements;
        thread::sleep(FAST * 5);
        ensure!(low.snapshot()?.counters.announcements == frames && frames < 8000, "{frames}");
        ensure!(!low.journal.entries().iter().any(|(_, _, e)| matches!(e, Entry::Announced(_))), "{}", low.journal);
        ensure!(high.journal.is_carrying());
        Ok(())
    })
}

#[test]
fn one_thread_carries_many_routers_of_both_families_and_each_hears_its_own() -> Result<()> {
    undisturbed(|| {
        let segment = Segment::with_hosts(2)?;
        let wish = |host, priority: u8| -> Result<Vec<Instance>> {
            let mut all = Vec::new();
            for number in 1..=20 {
                for family in [Family::V4, Family::V6] {
                    let mut one = instance(&segment, host, family, priority, FAST);
                    one.router.vrid = Vrid::new(number).context("a number")?;
                    one.key = u32::from(number) * 2 + u32::from(family == Family::V6);
                    all.push(one);
                }
            }
            Ok(all)
        };
        let high = Node::start(&segment, 1, wish(1, 200)?)?;
        let low = Node::start(&segment, 2, wish(2, 100)?)?;
        let states = |node: &Node, state| -> Result<usize> {
            let all = node.handle.snapshot(LONG).context("the thread does not answer")?;
            Ok(all.iter().filter(|s| s.state == state && s.carrying == (state == State::Active)).count())
        };
        wait::until_true("all of them to be Active", LONG, || Ok(states(&high, State::Active)? == 40))?;
        thread::sleep(FAST * 10);
        ensure!(states(&high, State::Active)? == 40 && states(&low, State::Backup)? == 40, "{}", low.journal);
        let all = low.handle.snapshot(LONG).context("the thread does not answer")?;
        ensure!(all.iter().all(|s| s.counters.refused.is_empty() && s.counters.received > 3), "{all:?}");
        Ok(())
    })
}

#[test]
fn routers_with_a_key_believe_each_other_and_nobody_else_and_nothing_twice() -> Result<()> {
    undisturbed(|| {
        for family in [Family::V4, Family::V6] {
            let segment = Segment::with_hosts(3)?;
            let node = |host, priority| {
                let mut wish = instance(&segment, host, family, priority, FAST);
                let keys = vec![(3, Secret::new(vec![0x5a; 32]))];
                let keys = HmacKeys { mode: HmacMode::Enforce, send: 3, keys, freshness: None };
                wish.exchange.authentication = Authentication::Hmac(keys);
                Node::start(&segment, host, vec![wish])
            };
            let capture = Capture::on(&segment, 3)?;
            let (high, low) = (node(1, 200)?, node(2, 100)?);
            high.journal.wait_carrying(true)?;
            low.wait_state(State::Backup)?;
            thread::sleep(FAST * 5);
            ensure!(low.snapshot()?.counters.refused.is_empty(), "{:?}", low.snapshot()?.counters);

            let sender = Sender::on(&segment, 3)?;
            sender.send(&Crafted::from_host(3, family, 250, FAST))?;
            let seen = capture.finish()?;
            let recorded = first(&seen, "advert of the Active", |s| s.advert().is_some_and(|a| a.priority == 200))?;
            sender.replay(recorded)?;
            for refusal in [Refusal::TrailerMissing, Refusal::Replayed] {
                wait::until_true(&format!("{family}: {}", refusal.label()), LONG, || {
                    Ok(low.snapshot()?.counters.refused.contains(&(refusal, 1)))
                })
                .with_context(|| format!("{:?}", low.snapshot().map(|s| s.counters)))?;
            }
            ensure!(high.snapshot()?.state == State::Active && low.snapshot()?.state == State::Backup);
        }
        Ok(())
    })
}
