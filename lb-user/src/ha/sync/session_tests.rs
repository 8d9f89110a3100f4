#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use lb_common::flow::Stage;
use proptest::prelude::*;

use super::*;
use crate::{
    dataplane::exchange::SharedFlow,
    ha::sync::{
        Reason,
        outbox::LIVE_FLOWS,
        rehearsal::{Dice, Pair, SECRET, Table, VIP, Weather, flow, placement},
        window,
    },
};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// A datagram as the first end would send it to the second.
fn genuine(pair: &Pair, kind: Kind, sequence: u64, body: &[u8]) -> Vec<u8> {
    let clock = millis(pair.now);
    let header = Header { kind, hears: true, sender: 100, receiver: 200, sequence, clock, echo: clock };
    let mut out = Vec::new();
    Key::new(SECRET).unwrap().seal(&header, body, &mut out);
    out
}

fn body_of(flows: &[SharedFlow]) -> Vec<u8> {
    let mut body = Vec::new();
    for flow in flows {
        record::write_flow(flow, &mut body).unwrap();
    }
    body
}

fn refused(pair: &Pair, which: usize, refusal: Refusal) -> u64 {
    pair.view(which).refused.get(refusal.label()).copied().unwrap_or(0)
}

#[test]
fn two_balancers_meet_and_each_gets_the_flows_of_the_other() {
    let mut pair = Pair::new(Weather::default());
    (0..5000).for_each(|n| pair.ends[0].table.put_silently(flow(n)));
    pair.ends[1].table.put_silently(flow(9000));
    pair.run(SECOND);
    assert_eq!(pair.ends[0].table.missing_in(&pair.ends[1].table), 0);
    assert_eq!(pair.ends[1].table.missing_in(&pair.ends[0].table), 0);
    let (one, other) = (pair.view(0), pair.view(1));
    assert_eq!((one.passes.finished, one.passes.last), (1, Some(Reason::PeerAppeared)));
    assert_eq!((other.peer_passes.finished, other.peer_passes.last_flows), (1, one.passes.last_flows));
    assert_eq!((other.seeds_match, one.peer_starts), (Some(true), 1));
    assert_eq!((one.lost.sent, one.lag_millis, one.under_way), (0, 0, 0));
    assert_eq!(one.refused.values().sum::<u64>() + other.refused.values().sum::<u64>(), 0);
    assert_eq!(pair.ends[0].session.take_events(), [Event::PeerAppeared(true)]);
}

#[test]
fn a_change_is_known_over_there_within_a_few_milliseconds() {
    let mut pair = Pair::met();
    pair.ends[0].table.put(flow(1));
    pair.run(7 * MS);
    assert_eq!(pair.ends[1].table.get(&flow(1)), Some(flow(1)));
    let ending = SharedFlow { forward: Stage::Closing, ..flow(1) };
    pair.ends[0].table.put(ending);
    pair.run(7 * MS);
    assert_eq!(pair.ends[1].table.get(&flow(1)).unwrap().forward, Stage::Closing);
    pair.run(SECOND);
    let view = pair.view(1);
    assert_eq!((view.adopted.new, view.adopted.ended), (1, 1));
    assert_eq!((pair.view(0).peer_adopted, pair.view(0).peer_refused), (2, 0));
}

#[test]
fn a_hundred_thousand_flows_take_less_than_a_second_and_hold_up_no_change() {
    let mut pair = Pair::new(Weather::default());
    (0..100_000).for_each(|n| pair.ends[0].table.put_silently(flow(n)));
    pair.run_until(SECOND, "the pass begins", |pair| pair.view(1).peer_passes.running);
    let began = pair.now;
    let mut n = 100_000;
    while pair.view(1).peer_passes.finished == 0 {
        pair.ends[0].table.put(flow(n));
        pair.run(10 * MS);
        assert!(pair.ends[1].table.get(&flow(n)).is_some(), "flow {n} waited behind the pass");
        n += 1;
    }
    assert!(pair.now - began < SECOND, "took {:?}", pair.now - began);
    assert!(n > 100_010, "changes came while the pass went on");
    assert_eq!(pair.ends[0].table.missing_in(&pair.ends[1].table), 0);
}

#[test]
fn loss_makes_a_pass_longer_and_no_less_complete() {
    for (loss, limit) in [(1, SECOND), (5, 2 * SECOND), (20, 5 * SECOND)] {
        let mut pair = Pair::met();
        pair.weather.loss = loss;
        (0..100_000).for_each(|n| pair.ends[0].table.put_silently(flow(n)));
        pair.restart(1, 300, Table::default());
        let began = pair.now;
        pair.run_until(60 * SECOND, "all is told", |pair| pair.ends[1].table.len() == 100_000);
        let took = pair.now - began;
        let view = pair.view(0);
        println!("{loss} % loss: {took:?}, {} resent, {} given up", view.lost.resent, view.lost.given_up);
        assert!(took < limit, "{loss} % loss: {took:?}");
        assert!(view.lost.resent > 10 && pair.view(1).lost.received > 10);
    }
}

#[test]
fn what_is_lost_on_the_way_is_sent_again_at_once() {
    let mut pair = Pair::met();
    pair.is_cut[0] = true;
    pair.ends[0].table.put(flow(1));
    pair.run(10 * MS);
    pair.is_cut[0] = false;
    assert!(pair.view(0).lag_millis > 0);
    pair.run(150 * MS);
    assert_eq!(pair.ends[1].table.get(&flow(1)), Some(flow(1)));
    let view = pair.view(0);
    assert_eq!((view.lost.sent, view.lost.resent, view.lost.given_up, view.passes.finished), (1, 1, 0, 1));
    assert_eq!(view.lag_millis, 0);
}

#[test]
fn a_network_that_carries_no_long_datagrams_is_seen_and_mended() {
    let mut pair = Pair::met();
    pair.weather.longest = 500;
    (0..200).for_each(|n| pair.ends[0].table.put(flow(n)));
    pair.run(10 * SECOND);
    let view = pair.view(0);
    assert!(pair.ends[0].session.is_peer_present() && view.lost.given_up > 0, "{view:#?}");
    assert!(view.sent.datagrams < 1000, "it does not shout into the void");
    pair.weather.longest = 0;
    pair.run(10 * SECOND);
    assert_eq!(pair.ends[0].table.missing_in(&pair.ends[1].table), 0);
}

#[test]
fn a_silent_peer_is_lost_after_a_second_and_told_everything_when_it_is_back() {
    let mut pair = Pair::met();
    for silence in [2 * SECOND, 20 * SECOND] {
        pair.is_cut = [true; 2];
        pair.run(1100 * MS);
        assert!(!pair.ends[0].session.is_peer_present());
        (0..100).for_each(|n| pair.ends[0].table.put(flow(n)));
        pair.run(silence);
        assert_eq!((pair.view(0).under_way, pair.view(0).queued, pair.ends[1].table.len()), (0, 0, 0));
        pair.is_cut = [false; 2];
        pair.run(SECOND);
        assert!(pair.ends.iter().all(|end| end.session.is_peer_present()), "after {silence:?}: {:#?}", pair.view(0));
        assert_eq!(pair.ends[0].table.missing_in(&pair.ends[1].table), 0);
        pair.restart(1, silence.as_secs() + 1000, Table::default());
        pair.run(2 * SECOND);
        pair.ends[1].table = Table::default();
    }
    assert_eq!(pair.view(0).peer_starts, 3);
    assert_eq!(pair.view(0).lost.untold, 200);
}

#[test]
fn who_is_not_heard_knows_it() {
    let mut pair = Pair::met();
    pair.is_cut[0] = true;
    pair.run(1600 * MS);
    assert!(!pair.ends[1].session.is_peer_present(), "it hears nothing");
    assert!(!pair.ends[0].session.is_peer_present(), "it is told so");
    pair.run(20 * SECOND);
    assert!(refused(&pair, 0, Refusal::Stale) > 0, "the other one repeats what it heard long ago");
    pair.is_cut[0] = false;
    pair.run(SECOND);
    assert!(pair.ends.iter().all(|end| end.session.is_peer_present()));
}

#[test]
fn a_restarted_peer_is_told_everything_anew() {
    let mut pair = Pair::met();
    (0..1000).for_each(|n| pair.ends[0].table.put(flow(n)));
    pair.run(SECOND);
    for epoch in [300, 400] {
        pair.restart(1, epoch, Table::default());
        pair.run(SECOND);
        assert_eq!(pair.ends[0].table.missing_in(&pair.ends[1].table), 0);
    }
    // Who tells may restart just as well, and keeps its flows in the kernel.
    let kept = pair.ends[0].table.clone();
    pair.restart(0, 500, kept);
    pair.restart(1, 600, Table::default());
    pair.run(SECOND);
    assert_eq!(pair.ends[1].table.len(), 1000);
}

#[test]
fn nothing_of_earlier_runs_is_believed_again() {
    let mut pair = Pair::met();
    pair.ends[0].table.put(flow(1));
    pair.run(SECOND);
    // First who sent it has started anew, then who got it as well.
    for (which, epoch) in [(0, 300), (1, 400)] {
        let old = pair.sent.clone();
        pair.ends[1 - which].table = Table::default();
        pair.restart(which, epoch, Table::default());
        pair.run(SECOND);
        let starts = [pair.view(0).peer_starts, pair.view(1).peer_starts];
        for (to, bytes) in &old {
            pair.deliver(*to, bytes);
            pair.step();
        }
        assert_eq!(pair.ends[1].table.len() + pair.ends[0].table.len(), 0);
        assert_eq!([pair.view(0).peer_starts, pair.view(1).peer_starts], starts);
        assert!(pair.ends.iter().all(|end| end.session.is_peer_present()), "and nobody is disturbed");
        assert!(refused(&pair, 1, Refusal::Unacquainted) > 0);
    }
    assert_eq!(pair.view(1).peer_epoch.as_deref(), Some("000000000000012c"));
    assert!(refused(&pair, 1, Refusal::OtherEpoch) > 0);
}

#[test]
fn a_datagram_that_comes_twice_is_taken_once() {
    let mut pair = Pair::met();
    (0..200).for_each(|n| pair.ends[0].table.put(flow(n)));
    pair.run(100 * MS);
    let (before, sent) = (pair.view(1), pair.sent.clone());
    for (to, bytes) in &sent {
        pair.deliver(*to, bytes);
    }
    let after = pair.view(1);
    assert_eq!((after.adopted, after.received.flows), (before.adopted, before.received.flows));
    assert!(refused(&pair, 1, Refusal::Replayed) > 5);
}

#[test]
fn a_datagram_that_comes_back_is_refused() {
    let mut pair = Pair::met();
    pair.ends[0].table.put(flow(1));
    pair.run(100 * MS);
    let own: Vec<_> = pair.sent.iter().filter(|(to, _)| *to == 1).cloned().collect();
    for (_, bytes) in &own {
        pair.deliver(0, bytes);
    }
    assert_eq!(refused(&pair, 0, Refusal::Reflected), own.len() as u64);
    assert_eq!(pair.view(0).adopted.new, 0);
}

#[test]
fn a_datagram_that_somebody_held_back_is_stale() {
    let mut pair = Pair::met();
    pair.is_cut[0] = true;
    let before = pair.sent.len();
    pair.ends[0].table.put(flow(1));
    pair.run(10 * MS);
    pair.is_cut[0] = false;
    let held: Vec<_> = pair.sent[before..].iter().filter(|(to, _)| *to == 1).cloned().collect();
    pair.run(6 * SECOND);
    let adopted = pair.view(1).adopted;
    assert_eq!(adopted.new, 1, "it was sent again");
    for (_, bytes) in &held {
        pair.deliver(1, bytes);
    }
    assert_eq!(refused(&pair, 1, Refusal::Stale), held.len() as u64);
    assert_eq!(pair.view(1).adopted, adopted);
}

#[test]
fn what_was_tampered_with_or_made_with_another_secret_is_refused() {
    let mut pair = Pair::met();
    let good = genuine(&pair, Kind::Live, 1000, &body_of(&[flow(1)]));
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        pair.deliver(1, &bad);
    }
    let view = pair.view(1);
    assert_eq!(view.refused.values().sum::<u64>(), good.len() as u64);
    assert_eq!(pair.ends[1].table.len(), 0);
    pair.deliver(1, &good);
    assert_eq!(pair.ends[1].table.len(), 1);

    let mut stranger = Session::new(
        Key::new(b"some other secret of sixteen").unwrap(),
        Identity { epoch: 9, hash_seed: 7 },
        60 * SECOND,
    );
    let mut hello = Vec::new();
    stranger.transmit(pair.now, &mut |bytes| {
        hello = bytes.to_vec();
        true
    });
    let before = refused(&pair, 1, Refusal::Forged);
    pair.deliver(1, &hello);
    assert_eq!(refused(&pair, 1, Refusal::Forged), before + 1);
}

#[test]
fn a_flow_that_does_not_fit_here_is_refused_with_its_reason() {
    let mut pair = Pair::met();
    let elsewhere = SharedFlow { vip: "203.0.113.99".parse().unwrap(), ..flow(1) };
    let other_port = SharedFlow { listener_port: 80, ..flow(2) };
    assert_ne!(elsewhere.vip, VIP);
    pair.ends[0].table.put(elsewhere);
    pair.ends[0].table.put(other_port);
    pair.ends[0].table.put(flow(3));
    pair.run(500 * MS);
    let view = pair.view(1);
    assert_eq!(
        (view.adopted.refused["no_path"], view.adopted.refused["unknown_listener"], view.adopted.new),
        (1, 1, 1)
    );
    assert_eq!((pair.view(0).peer_adopted, pair.view(0).peer_refused), (1, 2));
}

#[test]
fn what_is_recorded_travels_as_flows_do_and_is_counted_apart() {
    let mut pair = Pair::new(Weather::default());
    (0..500).for_each(|n| pair.ends[0].table.place_silently(placement(n)));
    (0..300).for_each(|n| pair.ends[0].table.put_silently(flow(n)));
    pair.run(SECOND);
    assert_eq!(pair.ends[1].table.placements(), pair.ends[0].table.placements());
    let (one, other) = (pair.view(0), pair.view(1));
    assert_eq!((one.passes.last_flows, one.passes.last_placements), (Some(300), Some(500)));
    assert_eq!((other.peer_passes.last_flows, other.peer_passes.last_placements), (Some(300), Some(500)));
    assert_eq!((other.adopted.new, other.adopted_placements.new), (300, 500));
    assert_eq!((one.sent.flows, one.sent.placements, other.received.placements), (300, 500, 500));
    let elsewhere = SharedPlacement { listener_port: 80, ..placement(1000) };
    pair.ends[0].table.place(placement(999));
    pair.ends[0].table.place(elsewhere);
    pair.run(20 * MS);
    let other = pair.view(1);
    assert!(pair.ends[1].table.placements().contains(&placement(999)));
    assert_eq!((other.adopted_placements.new, &other.adopted_placements.refused["unknown_listener"]), (501, &1));
    assert_eq!((other.adopted.refused.len(), pair.view(0).lost.unsayable), (0, 0));
}

#[test]
fn a_fingerprint_of_another_seed_is_refused_with_that_reason() {
    let mut pair = Pair::new(Weather::default());
    let key = Key::new(SECRET).unwrap();
    pair.ends[1].session = Session::new(key, Identity { epoch: 200, hash_seed: 8 }, 60 * SECOND);
    (0..7).for_each(|n| pair.ends[0].table.place_silently(placement(n)));
    pair.ends[0].table.put_silently(flow(1));
    pair.run(SECOND);
    let view = pair.view(1);
    assert_eq!((view.adopted.new, view.adopted_placements.new), (1, 0));
    assert_eq!(view.adopted_placements.refused["other_seed"], 7);
    assert_eq!(pair.ends[1].table.placements(), []);
}

#[test]
fn records_and_datagrams_of_later_versions_are_counted_and_the_rest_is_taken() {
    let mut pair = Pair::met();
    let body = [vec![200, 0, 1, 5], body_of(&[flow(1)]), vec![1, 0, 1, 0]].concat();
    let datagram = genuine(&pair, Kind::Other(77), 1000, &body);
    pair.deliver(1, &datagram);
    let view = pair.view(1);
    assert_eq!((view.unknown_records, view.malformed_records, view.adopted.new), (1, 1, 1));
}

#[test]
fn two_seeds_are_told_once() {
    let mut pair = Pair::new(Weather::default());
    let key = Key::new(SECRET).unwrap();
    pair.ends[1].session = Session::new(key, Identity { epoch: 200, hash_seed: 8 }, 60 * SECOND);
    pair.run(3 * SECOND);
    let events = pair.ends[0].session.take_events();
    assert_eq!(events, [Event::SeedsDiffer, Event::PeerAppeared(true)]);
    assert_eq!(pair.view(0).seeds_match, Some(false));
}

#[test]
fn all_flows_are_told_again_every_minute() {
    let mut pair = Pair::met();
    (0..500).for_each(|n| pair.ends[0].table.put_silently(flow(n)));
    pair.run(58 * SECOND);
    assert_eq!(pair.view(1).adopted.new, 0);
    pair.run(4 * SECOND);
    assert_eq!((pair.view(1).adopted.new, pair.view(0).passes.last), (500, Some(Reason::Regular)));
    pair.run(60 * SECOND);
    assert_eq!((pair.view(1).adopted.refreshed, pair.view(1).peer_flows), (500, Some(500)));
}

#[test]
fn notes_that_were_lost_have_all_flows_told_again_soon_but_not_all_the_time() {
    let mut pair = Pair::met();
    for round in 0..20 {
        let first = round * 10;
        // So many at once that the ring is full.
        for n in 0..Table::NOTES as u32 + 10 {
            pair.ends[0].table.put(flow(first + n % 1000));
        }
        pair.run(100 * MS);
    }
    pair.run(3 * SECOND);
    let view = pair.view(0);
    assert!(view.lost.notes >= 200, "{view:#?}");
    assert_eq!(view.passes.last, Some(Reason::Loss));
    assert!((2..=4).contains(&view.passes.finished), "{} passes", view.passes.finished);
    assert_eq!(pair.ends[0].table.missing_in(&pair.ends[1].table), 0);
}

#[test]
fn a_peer_that_takes_nothing_costs_no_more_than_the_bounds() {
    let mut pair = Pair::met();
    // Its hellos come through, what it is sent does not.
    pair.weather.longest = 400;
    for burst in 0..200 {
        (0..2000).for_each(|n| pair.ends[0].table.put(flow(burst * 2000 + n)));
        pair.run(5 * MS);
        let view = pair.view(0);
        assert!(view.queued <= (LIVE_FLOWS + 4096) as u64, "{view:#?}");
        assert!(view.under_way <= 2 * window::SIZE, "{view:#?}");
        assert!(pair.ends[0].session.events.len() < 20);
    }
    assert!(pair.view(0).lag_millis > 300);
    pair.weather.longest = 0;
    pair.run_until(20 * SECOND, "all is told", |pair| pair.ends[1].table.len() == 400_000);
}

#[test]
fn a_flood_of_anything_is_counted_and_answered_in_measure() {
    let mut pair = Pair::met();
    let mut dice = Dice(3);
    let hellos: Vec<_> = pair.sent.iter().filter(|(to, _)| *to == 1).cloned().collect();
    pair.restart(0, 300, Table::default());
    pair.run(SECOND);
    pair.ends[1].session.take_events();
    let sent = pair.view(1).sent.datagrams;
    for n in 0..50_000_u32 {
        let mut junk: Vec<u8> = (0..dice.roll() % 1500).map(|_| dice.roll() as u8).collect();
        if n % 2 == 0 && junk.len() > 5 {
            junk[..5].copy_from_slice(b"KRFS\x01");
        }
        pair.deliver(1, &junk);
        let (_, old) = &hellos[n as usize % hellos.len()];
        pair.deliver(1, old);
    }
    assert!(pair.ends[1].session.pending.len() <= ANSWERS as usize);
    assert!(pair.ends[1].session.take_events().len() <= Refusal::ALL.len());
    pair.run(10 * MS);
    assert!(pair.view(1).sent.datagrams - sent < 2 * u64::from(ANSWERS));
    assert!(pair.ends[1].session.is_peer_present());
    pair.ends[0].table.put(flow(1));
    pair.run(10 * MS);
    assert_eq!(pair.ends[1].table.len(), 1);
}

#[test]
fn a_leap_of_the_sequence_loses_nothing_that_matters() {
    let mut pair = Pair::met();
    let leap = genuine(&pair, Kind::Live, u64::MAX - 1, &body_of(&[flow(1)]));
    pair.deliver(1, &leap);
    pair.run(2 * SECOND);
    assert!(pair.view(1).lost.received > 1 << 60, "counted without counting one by one");
}

#[test]
fn one_that_was_not_scheduled_for_long_finds_its_peer_again() {
    let mut pair = Pair::met();
    for pause in [SECOND, 7 * SECOND, 3600 * SECOND] {
        pair.now += pause;
        pair.ends[0].table.put(flow(pause.as_secs() as u32));
        pair.run(2 * SECOND);
        assert!(pair.ends.iter().all(|end| end.session.is_peer_present()), "after {pause:?}");
        assert_eq!(pair.ends[0].table.missing_in(&pair.ends[1].table), 0);
    }
    assert_eq!(pair.view(0).peer_starts, 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn however_bad_the_network_was_the_peer_has_all_flows_in_the_end(
        loss in 0u64..50, double in 0u64..30, jitter in 0u64..60,
        restarts in prop::collection::vec(0usize..40, 0..3),
        cuts in prop::collection::vec((0usize..40, 0usize..2), 0..3),
        before in 0u32..3000, each in 1u32..200,
    ) {
        let mut pair = Pair::new(Weather { loss, double, jitter, longest: 0 });
        (0..before).for_each(|n| pair.ends[0].table.put_silently(flow(n)));
        let mut n = before;
        for step in 0..40 {
            for _ in 0..each {
                pair.ends[0].table.put(flow(n));
                n += 1;
            }
            if let Some(which) = restarts.iter().position(|at| *at == step) {
                let end = which % 2;
                let kept = pair.ends[end].table.clone();
                pair.restart(end, 1000 + step as u64, kept);
            }
            pair.is_cut = [0, 1].map(|end| cuts.iter().any(|(at, which)| *which == end && (*at..at + 8).contains(&step)));
            pair.run(200 * MS);
        }
        pair.is_cut = [false; 2];
        pair.weather = Weather::default();
        pair.run(5 * SECOND);
        prop_assert_eq!(pair.ends[0].table.missing_in(&pair.ends[1].table), 0, "{:#?}", pair.view(0));
        prop_assert_eq!(pair.ends[1].table.missing_in(&pair.ends[0].table), 0);
        let view = pair.view(0);
        prop_assert_eq!((view.lag_millis, view.queued, view.under_way), (0, 0, 0));
    }
}
