#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use super::*;

const SERVES: MemberFacts<'static> = MemberFacts {
    retired: false,
    admin_state_up: true,
    pool_off: None,
    down: false,
    down_reason: None,
    in_dataplane: true,
    drain: None,
    hop_missing: None,
    monitored: Some(true),
};

#[test]
fn each_fact_alone_gives_octavias_word_and_a_reason() {
    let table = [
        (SERVES, Online, None),
        (MemberFacts { monitored: None, ..SERVES }, Online, None),
        (MemberFacts { monitored: Some(false), ..SERVES }, NoMonitor, Some("no health monitor")),
        (MemberFacts { hop_missing: Some("no route"), ..SERVES }, Error, Some("no route")),
        (MemberFacts { drain: Some(Drain::Weight), ..SERVES }, Draining, Some("weight is 0")),
        (MemberFacts { drain: Some(Drain::Operator), ..SERVES }, Draining, Some("operator")),
        (MemberFacts { in_dataplane: false, ..SERVES }, Error, Some("data path")),
        (MemberFacts { down: true, ..SERVES }, Error, Some("found it down")),
        (MemberFacts { down: true, down_reason: Some("connection refused"), ..SERVES }, Error, Some("refused")),
        (MemberFacts { down_reason: Some("a stale word"), ..SERVES }, Online, None),
        (MemberFacts { pool_off: Some(PoolOff::Unused), ..SERVES }, Offline, Some("no listener")),
        (MemberFacts { pool_off: Some(PoolOff::Pool), ..SERVES }, Offline, Some("its pool is switched off")),
        (MemberFacts { pool_off: Some(PoolOff::LoadBalancer), ..SERVES }, Offline, Some("load balancer")),
        (MemberFacts { admin_state_up: false, ..SERVES }, Offline, Some("admin_state_up")),
        (MemberFacts { retired: true, ..SERVES }, Draining, Some("gone from the pool file")),
    ];
    for (facts, status, words) in table {
        let (found, reason) = of_member(&facts);
        assert_eq!(found, status, "{facts:?}");
        match (words, reason) {
            (None, None) => {}
            (Some(words), Some(reason)) => assert!(reason.contains(words), "{facts:?}: {reason}"),
            (words, reason) => panic!("{facts:?}: expected {words:?}, found {reason:?}"),
        }
    }
}

/// Every combination of the facts that decide.
fn every_member() -> impl Iterator<Item = MemberFacts<'static>> {
    let flag = |bits: u32, at: u32| bits >> at & 1 == 1;
    let offs = [None, Some(PoolOff::LoadBalancer), Some(PoolOff::Pool), Some(PoolOff::Unused)];
    let drains = [None, Some(Drain::Operator), Some(Drain::Weight)];
    let monitors = [None, Some(false), Some(true)];
    (0..32u32).flat_map(move |bits| {
        offs.into_iter().flat_map(move |pool_off| {
            drains.into_iter().flat_map(move |drain| {
                monitors.into_iter().map(move |monitored| MemberFacts {
                    retired: flag(bits, 0),
                    admin_state_up: flag(bits, 1),
                    down: flag(bits, 2),
                    in_dataplane: flag(bits, 3),
                    hop_missing: flag(bits, 4).then_some("no neighbour"),
                    down_reason: None,
                    pool_off,
                    drain,
                    monitored,
                })
            })
        })
    })
}

#[test]
fn whatever_comes_together_the_operators_word_counts_before_the_monitors_and_that_before_the_rest() {
    let mut seen = 0;
    for facts in every_member() {
        seen += 1;
        let (status, reason) = of_member(&facts);
        let live = !facts.retired;
        let on = live && facts.admin_state_up && facts.pool_off.is_none();
        let sound = on && !facts.down && facts.in_dataplane;
        let serves = sound && facts.drain.is_none() && facts.hop_missing.is_none();
        assert_eq!(status == Offline, live && !on, "{facts:?}");
        assert_eq!(status == Draining, facts.retired || sound && facts.drain.is_some(), "{facts:?}");
        assert_eq!(status == Online, serves && facts.monitored != Some(false), "{facts:?}");
        assert_eq!(status == NoMonitor, serves && facts.monitored == Some(false), "{facts:?}");
        assert_ne!(status, Degraded, "{facts:?}");
        assert_eq!(reason.is_none(), status == Online, "{facts:?}");
    }
    assert_eq!(seen, 32 * 4 * 3 * 3);
}

#[test]
fn a_draining_member_out_of_reach_says_that_its_flows_suffer() {
    for facts in [
        MemberFacts { drain: Some(Drain::Operator), hop_missing: Some("no neighbour"), ..SERVES },
        MemberFacts { retired: true, hop_missing: Some("no neighbour"), ..SERVES },
    ] {
        let (status, reason) = of_member(&facts);
        assert_eq!(status, Draining);
        assert!(reason.unwrap().contains("dropped: no neighbour"));
    }
}

#[test]
fn a_pool_is_as_good_as_what_it_can_offer() {
    let table: [(&[OperatingStatus], OperatingStatus); 13] = [
        (&[], Error),
        (&[Online], Online),
        (&[NoMonitor], Online),
        (&[Online, NoMonitor], Online),
        (&[Error], Error),
        (&[Draining], Error),
        (&[Offline], Error),
        (&[Draining, Error, Offline], Error),
        (&[Online, Error], Degraded),
        (&[NoMonitor, Error, Error], Degraded),
        (&[Online, Draining], Online),
        (&[Online, Offline], Online),
        (&[Online, Offline, Draining, Error], Degraded),
    ];
    for (members, status) in table {
        assert_eq!(of_pool(None, true, members.iter().copied()), status, "{members:?}");
        assert_eq!(of_pool(None, false, members.iter().copied()), Error, "{members:?} and an empty table");
        for off in [PoolOff::LoadBalancer, PoolOff::Pool, PoolOff::Unused] {
            assert_eq!(of_pool(Some(off), true, members.iter().copied()), Offline, "{members:?} {off:?}");
        }
    }
}

#[test]
fn a_listener_is_as_good_as_its_pool() {
    for pool in [Online, Degraded, Error, Offline] {
        assert_eq!(of_listener(true, true, Some(pool)), pool);
        assert_eq!(of_listener(true, false, Some(pool)), Error);
        assert_eq!(of_listener(false, false, Some(pool)), Offline);
        assert_eq!(of_listener(false, true, Some(pool)), Offline);
    }
    assert_eq!(of_listener(true, true, None), Error);
    assert_eq!(of_listener(false, false, None), Offline);
}

#[test]
fn a_load_balancer_is_as_bad_as_the_worst_part_that_is_switched_on() {
    let table: [(&[OperatingStatus], OperatingStatus); 7] = [
        (&[], Online),
        (&[Offline], Online),
        (&[Online, Online], Online),
        (&[Online, Offline], Online),
        (&[Online, Degraded, Offline], Degraded),
        (&[Degraded, Error, Online], Error),
        (&[Error, Offline], Error),
    ];
    for (parts, status) in table {
        for turn in 0..parts.len().max(1) {
            let turned = || parts.iter().cycle().skip(turn).take(parts.len()).copied();
            assert_eq!(of_load_balancer(true, true, turned()), status, "{parts:?} from {turn}");
        }
        assert_eq!(of_load_balancer(false, true, parts.iter().copied()), Offline);
        assert_eq!(of_load_balancer(true, false, parts.iter().copied()), Error);
    }
}

#[test]
fn the_whole_is_as_bad_as_the_worst_balancer_and_offline_without_any() {
    assert_eq!(of_all([], false), Offline);
    assert_eq!(of_all([Offline, Offline], false), Offline);
    assert_eq!(of_all([Offline, Online], false), Online);
    assert_eq!(of_all([Online, Error, Degraded], false), Error);
    assert_eq!(of_all([Degraded, Online], false), Degraded);
}

#[test]
fn an_interface_that_is_missing_degrades_the_whole_and_hides_nothing_worse() {
    assert_eq!(of_all([Online, NoMonitor], true), Degraded);
    assert_eq!(of_all([Online, Error], true), Error);
    assert_eq!(of_all([Offline], true), Offline);
    assert_eq!(of_all([], true), Offline);
}
