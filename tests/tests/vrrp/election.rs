//! Who becomes Active, and what the network sees of it.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use vrrp::{Family, Reason, State, announce::virtual_mac};

use super::{
    capture::{Capture, adverts, first},
    journal::{Entry, undisturbed},
    node::{KEY, Node, addresses, instance, unicast},
    segment::Segment,
};

const FAST: Duration = Duration::from_millis(100);
const BOTH: [Family; 2] = [Family::V4, Family::V6];

#[test]
fn of_three_routers_the_one_of_the_highest_priority_becomes_active_and_stays_alone() -> Result<()> {
    undisturbed(|| {
        for family in BOTH {
            let segment = Segment::with_hosts(3)?;
            let node =
                |host, priority| Node::start(&segment, host, vec![instance(&segment, host, family, priority, FAST)]);
            let nodes = [node(1, 100)?, node(2, 200)?, node(3, 150)?];
            nodes[1].journal.wait_carrying(true)?;
            thread::sleep(FAST * 10);
            let states: Vec<State> = nodes.iter().map(|n| Ok(n.snapshot()?.state)).collect::<Result<_>>()?;
            ensure!(states == [State::Backup, State::Active, State::Backup], "{family}: {states:?}");
            for other in [0, 2] {
                ensure!(!nodes[other].journal.is_carrying(), "{family}: {}", nodes[other].journal);
                let snapshot = nodes[other].snapshot()?;
                let peer = snapshot.peers.iter().find(|p| p.address == segment.host(2).address(family));
                ensure!(peer.is_some_and(|p| p.priority == 200 && p.adverts > 5 && p.interval == FAST), "{snapshot:?}");
            }
        }
        Ok(())
    })
}

#[test]
fn a_new_active_sends_its_advert_first_and_announces_every_address_from_the_right_mac() -> Result<()> {
    undisturbed(|| {
        for family in BOTH {
            for virtual_mac_on in [true, false] {
                let segment = Segment::with_hosts(2)?;
                let capture = Capture::on(&segment, 2)?;
                let mut wish = instance(&segment, 1, family, 100, FAST);
                let own = wish.interface.mac;
                let mac = if virtual_mac_on { virtual_mac(family, wish.router.vrid) } else { own };
                wish.virtual_mac = virtual_mac_on;
                for announced in &mut wish.announced {
                    (announced.mac, announced.sender) = (mac, mac);
                }
                let node = Node::start(&segment, 1, vec![wish])?;
                node.journal.wait_for("the announcements", |entry| matches!(entry, Entry::Announced(_)))?;
                thread::sleep(FAST * 3);
                let seen = capture.finish()?;

                let all = adverts(&seen);
                ensure!(all.len() >= 3, "{family}: {all:?}");
                for advert in &all {
                    let source = segment.host(1).address(family);
                    let said = (advert.from, advert.source, advert.hops, advert.class, advert.priority);
                    ensure!(said == (mac, source, 255, 0xc0, 100), "{family}: {advert:?}");
                }
                let begun = all[0].at;
                for address in addresses(family) {
                    let told: Vec<_> = seen.iter().filter(|s| s.announcement() == Some((address, mac))).collect();
                    ensure!(told.len() == 2, "{address} was announced {} times", told.len());
                    ensure!(told.iter().all(|s| s.at > begun && s.frame[6..12] == mac), "{address}: before the advert");
                }
                let expected = 2 * addresses(family).len() as u64;
                ensure!(node.journal.of(KEY).contains(&Entry::Announced(expected)), "{}", node.journal);
                ensure!(node.snapshot()?.counters.announcements == expected);
            }
        }
        Ok(())
    })
}

#[test]
fn a_backup_takes_over_when_the_active_is_cut_off_and_gives_back_when_it_returns() -> Result<()> {
    undisturbed(|| {
        for family in BOTH {
            let segment = Segment::with_hosts(2)?;
            let node =
                |host, priority| Node::start(&segment, host, vec![instance(&segment, host, family, priority, FAST)]);
            let (high, low) = (node(1, 200)?, node(2, 100)?);
            high.journal.wait_carrying(true)?;
            low.wait_state(State::Backup)?;
            thread::sleep(FAST * 5);

            let cut = Instant::now();
            segment.cut(1)?;
            low.journal.wait_carrying(true)?;
            let took = low.journal.carrying().last().map(|(at, _)| *at - cut).unwrap_or_default();
            let down = low.snapshot()?.active_down;
            // The last advert was sent up to an interval before; what comes on top is scheduling.
            ensure!(took > down - FAST * 2, "{family}: after {took:?}");
            ensure!(took < down + Duration::from_millis(500), "{family}: after {took:?}");

            segment.mend(1)?;
            low.journal.wait_carrying(false)?;
            thread::sleep(FAST * 5);
            ensure!(high.journal.is_carrying(), "{}", high.journal);
            let lost = Entry::Moved(State::Active, State::Backup, Reason::HigherPriority);
            ensure!(low.journal.of(KEY).contains(&lost), "{}", low.journal);
        }
        Ok(())
    })
}

#[test]
fn the_winner_of_a_conflict_announces_itself_again() -> Result<()> {
    undisturbed(|| {
        let segment = Segment::with_hosts(3)?;
        let node =
            |host, priority| Node::start(&segment, host, vec![instance(&segment, host, Family::V4, priority, FAST)]);
        let (high, low) = (node(1, 200)?, node(2, 100)?);
        high.journal.wait_carrying(true)?;
        segment.cut(1)?;
        low.journal.wait_carrying(true)?;
        thread::sleep(FAST * 5);
        let capture = Capture::on(&segment, 3)?;
        segment.mend(1)?;
        low.journal.wait_carrying(false)?;
        thread::sleep(FAST * 5);
        let seen = capture.finish()?;
        // Both have the virtual MAC; who announced is told by the advert in front.
        let last_of_low = adverts(&seen).iter().filter(|a| a.priority == 100).map(|a| a.at).max();
        first(&seen, "announcement of the winner", |s| s.announcement().is_some() && Some(s.at) > last_of_low)?;
        Ok(())
    })
}

#[test]
fn unicast_peers_elect_one_active_and_strangers_on_the_network_hear_nothing() -> Result<()> {
    undisturbed(|| {
        for family in BOTH {
            let segment = Segment::with_hosts(3)?;
            let capture = Capture::on(&segment, 3)?;
            let node = |host: u8, other: u8, priority| {
                let wish =
                    unicast(instance(&segment, host, family, priority, FAST), &[segment.host(other).address(family)]);
                Node::start(&segment, host, vec![wish])
            };
            let (high, low) = (node(1, 2, 200)?, node(2, 1, 100)?);
            high.journal.wait_carrying(true)?;
            thread::sleep(FAST * 10);
            ensure!(high.snapshot()?.state == State::Active && low.snapshot()?.state == State::Backup);
            ensure!(low.snapshot()?.counters.received > 5, "{:?}", low.snapshot()?);
            segment.cut(1)?;
            low.journal.wait_carrying(true)?;
            segment.mend(1)?;
            low.journal.wait_carrying(false)?;
            // A bridge that has forgotten a host floods what is for it: while one was cut off, but no other time.
            let stray = adverts(&capture.finish()?).iter().filter(|a| a.priority == 200).count();
            ensure!(stray <= 5, "{family}: {stray} adverts of the Active were seen by a stranger");
        }
        Ok(())
    })
}
