//! A flood of adverts costs nobody an advert, and the log a line.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use vrrp::{Family, State};

use super::{
    craft::{Crafted, Sender, Sum},
    journal::{Entry, undisturbed},
    node::{Node, instance},
    segment::Segment,
};

const FAST: Duration = Duration::from_millis(100);
const FLOOD: Duration = Duration::from_secs(3);

#[test]
fn a_flood_neither_delays_adverts_nor_fills_the_log_nor_moves_the_addresses() -> Result<()> {
    undisturbed(|| {
        let segment = Segment::with_hosts(3)?;
        let node =
            |host, priority| Node::start(&segment, host, vec![instance(&segment, host, Family::V4, priority, FAST)]);
        let (high, low) = (node(1, 200)?, node(2, 100)?);
        high.journal.wait_carrying(true)?;
        low.wait_state(State::Backup)?;
        thread::sleep(FAST * 5);
        let before = high.snapshot()?;
        let sender = Sender::on(&segment, 3)?;

        // Refused ones, ones of priority 0, lower ones that are answered: whatever costs most.
        let mut wrong = Crafted::from_host(3, Family::V4, 250, FAST);
        wrong.sum = Sum::Wrong;
        let leaving = Crafted::from_host(3, Family::V4, 0, FAST);
        let lower = Crafted::from_host(3, Family::V4, 50, FAST);
        let start = Instant::now();
        let mut sent = 0;
        while start.elapsed() < FLOOD {
            sent += sender.send_many(&wrong, 200);
            sent += sender.send_many(&lower, 20);
            // Half way, for the Active alone: a Backup is right to prepare for a takeover.
            if start.elapsed() > FLOOD / 2 && sent % 7 == 0 {
                sender.send(&leaving)?;
            }
        }
        let took = start.elapsed();
        let after = high.snapshot()?;
        let refused: u64 = after.counters.refused.iter().map(|(_, count)| count).sum();
        let adverts = after.counters.sent - before.counters.sent;
        println!(
            "flood: {sent} sent in {took:?} ({:.0}/s), {refused} refused and {} accepted by the Active; \
         its lateness: p99 {:?}, max {:?} of {}; {adverts} of its adverts",
            sent as f64 / took.as_secs_f64(),
            after.counters.received,
            after.lateness.p99,
            after.lateness.max,
            after.lateness.count,
        );
        ensure!(refused > 10_000, "that was no flood: {refused}");
        ensure!(after.state == State::Active && after.counters.transitions == 2, "{}", high.journal);
        ensure!(after.lateness.max < FAST, "an advert left {:?} late", after.lateness.max);
        // One in a hundredth of a second at most, answers included.
        let most = took.as_millis() / 10 + took.as_millis() / 100 + 10;
        ensure!(u128::from(adverts) <= most, "{adverts} adverts in {took:?}");
        ensure!(u128::from(adverts) >= took.as_millis() / 100 - 2, "{adverts} adverts in {took:?}");
        for node in [&high, &low] {
            let entries = node.journal.entries();
            let lines =
                entries.iter().filter(|(_, _, e)| matches!(e, Entry::Refused { .. } | Entry::Noticed(_))).count();
            ensure!(lines <= 12, "{lines} lines for one flood\n{}", node.journal);
            let all = entries.len();
            ensure!(all <= 60, "{all} entries for one flood\n{}", node.journal);
        }
        Ok(())
    })
}
