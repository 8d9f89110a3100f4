//! A thread that was not scheduled in time: it reads what has come meanwhile
//! before it believes what its timers say.

use std::{thread, time::Duration};

use anyhow::{Result, ensure};
use vrrp::{Anomaly, Family, State};

use super::{
    craft::{Crafted, Sender},
    journal::{Entry, undisturbed},
    node::{Node, instance},
    segment::Segment,
};

const FAST: Duration = Duration::from_millis(50);
const STALL: Duration = Duration::from_millis(600);

fn pair(segment: &Segment, preempt: bool) -> Result<(Node, Node)> {
    let node = |host, priority| {
        let mut wish = instance(segment, host, Family::V4, priority, FAST);
        wish.router.preempt = preempt;
        Node::start(segment, host, vec![wish])
    };
    let high = node(1, 200)?;
    high.journal.wait_carrying(true)?;
    let low = node(2, 100)?;
    low.wait_state(State::Backup)?;
    thread::sleep(FAST * 3);
    Ok((high, low))
}

fn said_stalled(node: &Node) -> Result<()> {
    node.journal
        .wait_for("the stall", |entry| matches!(entry, Entry::Noticed(Anomaly::Stalled { by }) if *by >= STALL / 2))?;
    node.journal.wait_for("the lateness", |entry| matches!(entry, Entry::Late(by) if *by >= STALL / 2))
}

#[test]
fn a_backup_that_was_asleep_does_not_take_over_from_an_active_that_was_not() -> Result<()> {
    undisturbed(|| {
        let segment = Segment::with_hosts(3)?;
        let (high, low) = pair(&segment, true)?;
        low.journal.hesitate(STALL);
        // Something to report, in which the thread then hangs.
        let mut wrong = Crafted::from_host(3, Family::V4, 250, FAST);
        wrong.hops = 1;
        Sender::on(&segment, 3)?.send(&wrong)?;
        said_stalled(&low)?;
        thread::sleep(STALL);
        ensure!(low.journal.carrying().iter().all(|(_, on)| !on), "it took over: {}", low.journal);
        ensure!(low.snapshot()?.counters.transitions == 1, "{}", low.journal);
        ensure!(high.snapshot()?.counters.transitions == 2, "{}", high.journal);
        Ok(())
    })
}

#[test]
fn an_active_that_was_asleep_and_does_not_preempt_leaves_the_addresses_to_whoever_has_them_now() -> Result<()> {
    undisturbed(|| {
        let segment = Segment::with_hosts(2)?;
        let (high, low) = pair(&segment, false)?;
        high.journal.faint(STALL);
        low.journal.wait_carrying(true)?;
        said_stalled(&high)?;
        high.journal.wait_carrying(false)?;
        thread::sleep(FAST * 10);
        ensure!(high.snapshot()?.state == State::Backup, "{}", high.journal);
        ensure!(low.journal.is_carrying(), "{}", low.journal);
        Ok(())
    })
}

#[test]
fn an_active_that_was_asleep_and_preempts_has_the_addresses_again_in_the_end_alone() -> Result<()> {
    undisturbed(|| {
        let segment = Segment::with_hosts(2)?;
        let (high, low) = pair(&segment, true)?;
        high.journal.faint(STALL);
        low.journal.wait_carrying(true)?;
        said_stalled(&high)?;
        low.journal.wait_carrying(false)?;
        thread::sleep(FAST * 10);
        ensure!(high.snapshot()?.state == State::Active && high.journal.is_carrying(), "{}", high.journal);
        ensure!(low.snapshot()?.state == State::Backup, "{}", low.journal);
        Ok(())
    })
}
