//! Packets that nobody thought of, through host and kernel in the same order.

use anyhow::{Context as _, Result};
use krater_tests::packets::{
    case::prepare,
    kernel::{Pair, apart},
    model::Judge,
    random::{self, Delivery, Event},
    scene::{Version, moved, stand},
    world::{MAX_KERNEL_FRAME, World as _},
};
use proptest::{
    strategy::{Strategy as _, ValueTree as _},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

/// How many things happen. `KRATER_AGREEMENT` in the environment is another number, a
/// million for instance, which takes a few minutes.
const EVENTS: usize = 6000;
/// How many happen to one data path; the next one begins from another seed.
const PIECE: usize = 50_000;

#[test]
fn host_and_kernel_make_the_same_of_thousands_of_random_packets() -> Result<()> {
    let events = match std::env::var("KRATER_AGREEMENT") {
        Ok(number) => number.parse().context("KRATER_AGREEMENT is no number of events")?,
        Err(_) => EVENTS,
    };
    let (mut left, mut seed) = (events, 0);
    while left > 0 {
        let piece = left.min(PIECE);
        agree(piece, seed)?;
        (left, seed) = (left - piece, seed + 1);
    }
    Ok(())
}

/// So many events of one seed.
fn agree(count: usize, seed: u64) -> Result<()> {
    apart(|| {
        let mut pair = Pair::load()?;
        pair.enter_ports()?;
        prepare(&mut pair);
        moved().iter().for_each(|op| pair.apply(op));
        let mut tables = pair.observe();
        // The same ones each time: whatever is found is found again.
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        let events = random::event();
        let (mut judge, mut deliveries) = (Judge::default(), Vec::new());
        for number in 0..count {
            // The balancer carries its VIPs, loses them, and so on.
            if number % 400 == 0 {
                Version::BOTH.iter().for_each(|version| pair.turn(version.instance(), number % 1200 != 800));
                tables = pair.observe();
            }
            let event = events.new_tree(&mut runner).map_err(|e| anyhow::anyhow!("{e}"))?.current();
            if let Event::Stand { version, flags } = event {
                stand(version, flags).iter().for_each(|op| pair.apply(op));
                tables = pair.observe();
            }
            let recent = deliveries.len().saturating_sub(50);
            let Some(frame) = event.frame(&deliveries[recent..]) else { continue };
            if !(14..=MAX_KERNEL_FRAME).contains(&frame.len()) {
                continue;
            }
            let outcome = pair.send(&frame);
            let before = judge.tally.to_members;
            judge.judge(&frame, &outcome, &tables).map_err(|e| anyhow::anyhow!("seed {seed}, event {number}: {e}"))?;
            if judge.tally.to_members > before {
                deliveries.extend(Delivery::of(&frame, &outcome.frame));
            }
        }
        println!("seed {seed}: {:?}, {} flows at the end, {} notes", judge.tally, pair.flows().len(), pair.noted());
        let t = judge.tally;
        assert!(
            count < EVENTS
                || pair.noted() > 50
                    && t.to_members > 300
                    && t.to_clients > 150
                    && t.answered > 20
                    && t.reset > 3
                    && t.dropped > 300
                    && t.passed > 50
        );
        for listener in tables.listeners.values() {
            pair.listener(listener.id.0);
        }
        for id in tables.members.keys() {
            pair.member(id.0);
        }
        Ok(())
    })
}
