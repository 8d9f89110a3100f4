use std::net::{IpAddr, Ipv4Addr};

use super::*;

const PACING: Pacing = Pacing {
    repeats: 3,
    repeat_gap: Duration::from_millis(100),
    refresh: None,
    refresh_repeats: 2,
    per_millisecond: 4,
};

fn addresses(numbers: std::ops::Range<u8>) -> Vec<Announced> {
    let address = |n| IpAddr::V4(Ipv4Addr::new(10, 0, 0, n));
    numbers.map(|n| Announced { address: address(n), ifindex: 2, mac: [2; 6], sender: [2; 6] }).collect()
}

fn millis(at: u64) -> Instant {
    Instant::from_micros(at * 1000)
}

/// Runs an announcer by its own deadlines up to a time; returns when it announced which last byte.
fn play(announcer: &mut Announcer, pacing: &Pacing, announced: &[Announced], until: u64) -> Vec<(u64, u8)> {
    let mut log = Vec::new();
    while let Some(at) = announcer.deadline().filter(|at| *at <= millis(until)) {
        announcer.burst(at, pacing, announced, |a| {
            let IpAddr::V4(address) = a.address else { return false };
            log.push((at.as_micros() / 1000, address.octets()[3]));
            true
        });
    }
    log
}

#[test]
fn every_address_is_announced_so_often_and_never_more_than_so_many_in_a_millisecond() {
    let announced = addresses(0..10);
    let mut announcer = Announcer::default();
    announcer.start(millis(0), &PACING);
    let log = play(&mut announcer, &PACING, &announced, 10_000);
    assert_eq!(announcer.deadline(), None);
    for n in 0..10 {
        assert_eq!(log.iter().filter(|(_, which)| *which == n).count(), 3, "address {n}");
    }
    for (at, _) in &log {
        let window = log.iter().filter(|(other, _)| other == at).count();
        assert!(window <= 4, "{window} at {at} ms");
    }
    // 10 addresses at 4 a millisecond are 2 ms; then once more soon, then the gap.
    let first_of_round: Vec<u64> = log.iter().filter(|(_, n)| *n == 0).map(|(at, _)| *at).collect();
    assert_eq!(first_of_round, [0, 4, 106]);
}

#[test]
fn a_deadline_of_a_router_interrupts_a_burst_which_goes_on_where_it_was() {
    let announced = addresses(0..4);
    let mut announcer = Announcer::default();
    announcer.start(millis(0), &Pacing { repeats: 1, ..PACING });
    let mut seen = Vec::new();
    let burst = announcer.burst(millis(0), &PACING, &announced, |a| {
        seen.push(a.address);
        seen.len() < 2
    });
    assert_eq!((burst, announcer.deadline()), (Burst::More, Some(millis(0))));
    let burst = announcer.burst(millis(0), &PACING, &announced, |a| {
        seen.push(a.address);
        true
    });
    assert_eq!((burst, announcer.deadline()), (Burst::Complete, None));
    assert_eq!(seen, announced.iter().map(|a| a.address).collect::<Vec<_>>());
}

#[test]
fn addresses_are_refreshed_until_the_router_leaves() {
    let pacing = Pacing { repeats: 1, refresh: Some(Duration::from_secs(5)), ..PACING };
    let announced = addresses(0..1);
    let mut announcer = Announcer::default();
    announcer.start(millis(0), &pacing);
    let times: Vec<u64> = play(&mut announcer, &pacing, &announced, 11_000).iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [0, 5000, 5100, 10_000, 10_100]);
    announcer.cancel();
    assert_eq!(announcer.deadline(), None);
}

#[test]
fn only_the_added_addresses_are_announced_when_some_are_added() {
    let mut announced = addresses(0..3);
    let mut announcer = Announcer::default();
    announcer.start(millis(0), &PACING);
    play(&mut announcer, &PACING, &announced, 1000);
    announcer.add(millis(1000), &PACING, addresses(3..5));
    announced.extend(addresses(3..5));
    let log = play(&mut announcer, &PACING, &announced, 2000);
    let which: Vec<u8> = log.iter().map(|(_, n)| *n).collect();
    assert_eq!(which, [3, 4, 3, 4, 3, 4]);
    announcer.add(millis(2000), &PACING, []);
    assert_eq!(announcer.deadline(), None);
}

#[test]
fn a_list_that_becomes_shorter_or_empty_in_the_middle_of_a_round_ends_the_round() {
    let mut announcer = Announcer::default();
    announcer.start(millis(0), &PACING);
    announcer.burst(millis(0), &PACING, &addresses(0..10), |_| true);
    let log = play(&mut announcer, &PACING, &addresses(0..2), 1000);
    assert_eq!(log.len(), 4, "two rounds of two are left: {log:?}");
    announcer.start(millis(2000), &PACING);
    assert_eq!(play(&mut announcer, &PACING, &[], 3000), []);
    assert_eq!(announcer.deadline(), None);
}
