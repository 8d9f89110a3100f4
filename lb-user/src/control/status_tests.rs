#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use super::*;

const SERVES: MemberFacts<'static> = MemberFacts {
    retired: false,
    admin_state_up: true,
    pool_off: None,
    down: false,
    down_reason: None,
    panic: false,
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
        (
            MemberFacts { down: true, down_reason: Some("connection refused"), panic: true, ..SERVES },
            Error,
            Some("connection refused; its pool is in panic, so it gets traffic all the same"),
        ),
        (MemberFacts { panic: true, ..SERVES }, Online, None),
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
            (Some(words), Some(reason)) => assert!(reason.to_string().contains(words), "{facts:?}: {reason}"),
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
    (0..64u32).flat_map(move |bits| {
        offs.into_iter().flat_map(move |pool_off| {
            drains.into_iter().flat_map(move |drain| {
                monitors.into_iter().map(move |monitored| MemberFacts {
                    retired: flag(bits, 0),
                    admin_state_up: flag(bits, 1),
                    down: flag(bits, 2),
                    in_dataplane: flag(bits, 3),
                    hop_missing: flag(bits, 4).then_some("no neighbour"),
                    down_reason: None,
                    panic: flag(bits, 5),
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
    assert_eq!(seen, 64 * 4 * 3 * 3);
}

#[test]
fn a_draining_member_out_of_reach_says_that_its_flows_suffer() {
    for facts in [
        MemberFacts { drain: Some(Drain::Operator), hop_missing: Some("no neighbour"), ..SERVES },
        MemberFacts { retired: true, hop_missing: Some("no neighbour"), ..SERVES },
    ] {
        let (status, reason) = of_member(&facts);
        assert_eq!(status, Draining);
        assert!(reason.unwrap().to_string().contains("dropped: no neighbour"));
    }
}

/// Members of these statuses; those in error were refused.
fn of(statuses: &[OperatingStatus]) -> impl Iterator<Item = MemberStatus<'static, &'static str>> {
    const NAMES: [&str; 8] = ["m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8"];
    NAMES.into_iter().zip(statuses.to_vec()).map(|(name, status)| MemberStatus {
        name,
        status,
        reason: (status != Online).then_some("connection refused"),
    })
}

const IN_USE: PoolFacts = PoolFacts { off: None, has_table: true, panic: None };

const PANIC: PanicFacts = PanicFacts { down: 6, of: 8, threshold: Some(50) };

#[test]
fn a_pool_is_as_good_as_what_it_can_offer() {
    let table: [(&[OperatingStatus], OperatingStatus, &str); 13] = [
        (&[], Error, "it has no members: every new flow is refused"),
        (&[Online], Online, ""),
        (&[NoMonitor], Online, ""),
        (&[Online, NoMonitor], Online, ""),
        (&[Error], Error, "none of its members works: 1 of 1 member is down: m1 (connection refused)"),
        (&[Draining], Error, "none of its members works: 1 drains"),
        (&[Offline, Offline], Error, "none of its members works: 2 are switched off"),
        (
            &[Draining, Error, Offline],
            Error,
            "none of its members works: 1 of 3 members is down: m2 (connection refused); 1 drains; 1 is switched off",
        ),
        (&[Online, Error], Degraded, "1 of 2 members is down: m2 (connection refused)"),
        (
            &[NoMonitor, Error, Error],
            Degraded,
            "2 of 3 members are down: m2 (connection refused), m3 (connection refused)",
        ),
        (&[Online, Draining], Online, ""),
        (&[Online, Offline], Online, ""),
        (&[Online, Offline, Draining, Error], Degraded, "1 of 4 members is down: m4 (connection refused)"),
    ];
    for (members, status, reason) in table {
        let expected = (status, (!reason.is_empty()).then(|| reason.to_owned()));
        assert_eq!(of_pool(&IN_USE, of(members)), expected, "{members:?}");
        let (status, reason) = of_pool(&PoolFacts { has_table: false, ..IN_USE }, of(members));
        assert!(status == Error && reason.is_some(), "{members:?} and an empty table: {status:?} {reason:?}");
        for (off, words) in [
            (PoolOff::LoadBalancer, "its load balancer is switched off"),
            (PoolOff::Pool, "switched off (admin_state_up = false)"),
            (PoolOff::Unused, "no listener that is switched on uses it"),
        ] {
            let facts = PoolFacts { off: Some(off), panic: Some(PANIC), ..IN_USE };
            assert_eq!(of_pool(&facts, of(members)), (Offline, Some(words.to_owned())), "{members:?} {off:?}");
        }
    }
}

#[test]
fn a_pool_that_works_though_the_data_path_has_no_table_for_it_says_so() {
    let (status, reason) = of_pool(&PoolFacts { has_table: false, ..IN_USE }, of(&[Online, Error]));
    assert_eq!(status, Error);
    assert!(reason.unwrap().contains("the data path has no table"));
}

#[test]
fn a_pool_in_panic_says_how_many_are_down_and_where_traffic_goes() {
    let panic = PoolFacts { panic: Some(PANIC), ..IN_USE };
    let words = "panic: 6 of 8 members are down, more than 50 %: traffic goes to all";
    let some = [Online, Online, Error, Error, Error, Error, Error, Error];
    assert_eq!(of_pool(&panic, of(&some)), (Degraded, Some(words.to_owned())));
    // Traffic goes to them, and still none is known to work.
    assert_eq!(of_pool(&panic, of(&[Error; 8])), (Error, Some(words.to_owned())));
    let offline = PoolFacts { panic: Some(PanicFacts { threshold: None, ..PANIC }), ..IN_USE };
    let words = "panic: 6 of 8 members are down: traffic goes to all";
    assert_eq!(of_pool(&offline, of(&some)), (Degraded, Some(words.to_owned())));
}

#[test]
fn however_many_members_are_down_and_whatever_they_say_a_pools_reason_stays_short() {
    let name = "n".repeat(64);
    for reason in ["ä".repeat(5000), "a".repeat(5000), "short".to_owned()] {
        for working in [0, 1] {
            let failed = |_| MemberStatus { name: &name, status: Error, reason: Some(&reason) };
            let members = (0..20_000).map(failed);
            let works = MemberStatus { name: &name, status: Online, reason: None };
            let (_, reason) = of_pool(&IN_USE, members.chain(std::iter::repeat_n(works, working)));
            let reason = reason.unwrap();
            assert!(reason.len() < MAX_REASON, "{}: {reason}", reason.len());
            assert!(reason.ends_with(" and 19996 more"), "{reason}");
        }
    }
}

#[test]
fn a_monitor_that_runs_is_online_whatever_it_finds() {
    assert_eq!(of_monitor(true, None), (Online, None));
    assert_eq!(of_monitor(true, Some(PoolOff::Unused)), (Online, None));
    for (on, off, words) in [
        (false, None, "switched off (admin_state_up = false)"),
        (false, Some(PoolOff::Pool), "switched off (admin_state_up = false)"),
        (true, Some(PoolOff::Pool), "its pool is switched off"),
        (true, Some(PoolOff::LoadBalancer), "its load balancer is switched off"),
    ] {
        assert_eq!(of_monitor(on, off), (Offline, Some(words.to_owned())), "{on} {off:?}");
    }
}

fn part(object: Object, label: &'static str, status: OperatingStatus) -> Part<'static> {
    Part { object, label, status, reason: (status != Online).then_some("a reason") }
}

#[test]
fn a_listener_is_as_good_as_its_pool_and_blames_it() {
    for status in [Online, Degraded, Error, Offline] {
        let pool = part(Object::Pool, "web/app", status);
        let words = (status != Online).then(|| "pool web/app: a reason".to_owned());
        assert_eq!(of_listener(None, true, Some(pool)), (status, words));
        let (missing, reason) = of_listener(None, false, Some(pool));
        assert!(missing == Error && reason.unwrap().contains("the data path does not have it"));
        for in_dataplane in [false, true] {
            let off = of_listener(Some(ListenerOff::Listener), in_dataplane, Some(pool));
            assert_eq!(off, (Offline, Some("switched off (admin_state_up = false)".to_owned())));
            let off = of_listener(Some(ListenerOff::LoadBalancer), in_dataplane, Some(pool));
            assert_eq!(off, (Offline, Some("its load balancer is switched off".to_owned())));
        }
    }
    assert_eq!(of_listener(None, true, None), (Error, Some("it has no pool: every new flow is refused".to_owned())));
    assert_eq!(of_listener(Some(ListenerOff::Listener), false, None).0, Offline);
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
            let turned = parts.iter().cycle().skip(turn).take(parts.len());
            let turned = || turned.clone().map(|status| part(Object::Pool, "web/app", *status));
            let (found, reason) = of_load_balancer(true, true, turned());
            assert_eq!((found, reason.is_none()), (status, status == Online), "{parts:?} from {turn}: {reason:?}");
            assert_eq!(of_load_balancer(false, true, turned()).0, Offline);
            let (missing, reason) = of_load_balancer(true, false, turned());
            assert!(missing == Error && reason.unwrap().contains("its VIP"));
        }
    }
}

#[test]
fn a_load_balancer_blames_the_worst_pool_by_name_and_counts_the_others() {
    let pool = |label, status| part(Object::Pool, label, status);
    let listener = |label, status| part(Object::Listener, label, status);
    let table = [
        (vec![pool("a/x", Degraded), listener("a/http", Degraded)], "pool a/x: a reason"),
        (vec![pool("a/x", Degraded), pool("a/y", Error)], "pool a/y: a reason; 1 more pool is not well"),
        (
            vec![pool("a/x", Error), pool("a/y", Degraded), pool("a/z", Error), pool("a/o", Offline)],
            "pool a/x: a reason; 2 more pools are not well",
        ),
        (vec![pool("a/x", Online), listener("a/http", Error)], "listener a/http: a reason"),
        (vec![pool("a/x", Degraded), listener("a/http", Error)], "listener a/http: a reason; 1 more pool is not well"),
    ];
    for (parts, words) in table {
        assert_eq!(of_load_balancer(true, true, parts).1.as_deref(), Some(words));
    }
}

fn balancers(statuses: &[OperatingStatus]) -> impl Iterator<Item = Part<'static>> {
    statuses.iter().copied().map(|status| part(Object::LoadBalancer, "web", status))
}

#[test]
fn the_whole_is_as_bad_as_the_worst_balancer_and_offline_without_any() {
    let table: [(&[OperatingStatus], OperatingStatus, &str); 6] = [
        (&[], Offline, "there is no load balancer that is switched on"),
        (&[Offline, Offline], Offline, "there is no load balancer that is switched on"),
        (&[Offline, Online], Online, ""),
        (&[Degraded, Online], Degraded, "load balancer web: a reason"),
        (&[Online, Error, Degraded], Error, "load balancer web: a reason; 1 more load balancer is not well"),
        (&[Error, Degraded, Error], Error, "load balancer web: a reason; 2 more load balancers are not well"),
    ];
    for (statuses, status, words) in table {
        let expected = (status, (!words.is_empty()).then(|| words.to_owned()));
        assert_eq!(of_all(balancers(statuses), &[]), expected, "{statuses:?}");
    }
}

#[test]
fn an_interface_that_is_missing_degrades_the_whole_and_hides_nothing_worse() {
    let missing = ["eth1".to_owned(), "eth2".to_owned()];
    let words = |text: &str| Some(text.to_owned());
    assert_eq!(of_all(balancers(&[Online, Online]), &missing), (Degraded, words("not attached to eth1, eth2")));
    let (status, reason) = of_all(balancers(&[Online, Error]), &missing);
    assert_eq!((status, reason), (Error, words("not attached to eth1, eth2; load balancer web: a reason")));
    assert_eq!(of_all(balancers(&[Offline]), &missing).0, Offline);
    assert_eq!(of_all(balancers(&[]), &missing).0, Offline);
}
