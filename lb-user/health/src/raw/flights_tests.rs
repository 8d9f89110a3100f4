#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const LANES: u32 = 4;

fn key(protocol: Protocol, host: u8, lane: u16) -> Key {
    Key { protocol, ip: [10, 0, 0, host].into(), port: 80, lane, delivery: Delivery::Routed }
}

fn flight(slot: Slot, key: Key, now: Duration, patience: Duration) -> Flight {
    Flight::new(slot, (key, 0), slot.into(), (now + patience, patience))
}

#[derive(Clone, Debug)]
enum Event {
    Begin { slot: Slot, udp: bool, host: u8, first: u64, patience: u64 },
    Answer { udp: bool, host: u8, lane: u16 },
    Forget { slot: Slot },
    Wait { millis: u64 },
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..20u32, any::<bool>(), 0..3u8, any::<u64>(), 0..5_000u64)
            .prop_map(|(slot, udp, host, first, patience)| Event::Begin { slot, udp, host, first, patience }),
        2 => (any::<bool>(), 0..3u8, 0..4u16).prop_map(|(udp, host, lane)| Event::Answer { udp, host, lane }),
        1 => (0..20u32).prop_map(|slot| Event::Forget { slot }),
        2 => (0..3_000u64).prop_map(|millis| Event::Wait { millis }),
    ]
}

const fn protocol(udp: bool) -> Protocol {
    if udp { Protocol::Udp } else { Protocol::Tcp }
}

proptest! {
    /// Against a plain list of who is under way.
    #[test]
    fn every_probe_comes_back_once_and_in_time(events in prop::collection::vec(any_event(), 1..80)) {
        let mut flights = Flights::default();
        let mut model: BTreeMap<Slot, (Key, Duration)> = BTreeMap::new();
        let mut now = Duration::ZERO;
        for event in events {
            match event {
                Event::Begin { slot, udp, host, first, patience } => {
                    let patience = Duration::from_millis(patience);
                    // The slot's former probe gives up its lane.
                    prop_assert_eq!(flights.end_slot(slot).is_some(), model.remove(&slot).is_some());
                    let place = key(protocol(udp), host, 0);
                    let taken = model.values().filter(|(other, _)| Key { lane: 0, ..*other } == place).count();
                    let lane = flights.free_lane(place, LANES, first);
                    prop_assert_eq!(lane.is_some(), taken < 4);
                    if let Some(lane) = lane {
                        let key = Key { lane, ..place };
                        prop_assert!(u32::from(lane) < LANES && model.values().all(|(other, _)| *other != key));
                        flights.begin(flight(slot, key, now, patience));
                        model.insert(slot, (key, now + patience));
                    }
                }
                Event::Answer { udp, host, lane } => {
                    let key = key(protocol(udp), host, lane);
                    let slot = model.iter().find(|(_, (other, _))| *other == key).map(|(slot, _)| *slot);
                    prop_assert!(flights.end_if(&key, |_| false).is_none());
                    prop_assert_eq!(flights.end_if(&key, |flight| Some(flight.slot) == slot).map(|f| f.slot), slot);
                    model.retain(|other, _| Some(*other) != slot);
                }
                Event::Forget { slot } => {
                    prop_assert_eq!(flights.end_slot(slot).is_some(), model.remove(&slot).is_some());
                }
                Event::Wait { millis } => {
                    now += Duration::from_millis(millis);
                    while let Some(due) = flights.take_due(now) {
                        match due {
                            Due::GiveUp(flight) => {
                                let (key, deadline) = model.remove(&flight.slot).unwrap();
                                prop_assert!(deadline <= now && key == flight.key);
                            }
                            Due::SendAgain(flight) => {
                                prop_assert!(model[&flight.slot].1 > now && flight.key.protocol != Protocol::Udp);
                            }
                        }
                    }
                    prop_assert!(model.values().all(|(_, deadline)| *deadline > now));
                    prop_assert!(flights.next_due().is_none_or(|due| due > now));
                }
            }
            prop_assert_eq!(flights.len(), model.len());
            // Whoever waits until then is not late for any.
            let earliest = model.values().map(|(_, deadline)| *deadline).min();
            prop_assert!(flights.next_due() <= earliest || earliest.is_none());
        }
    }
}

#[test]
fn a_packet_is_sent_again_after_one_second_two_and_four_and_then_given_up() {
    let mut flights = Flights::default();
    let start = Duration::from_secs(100);
    flights.begin(flight(1, key(Protocol::Tcp, 1, 0), start, Duration::from_secs(10)));
    let mut seen = Vec::new();
    while let Some(due) = flights.next_due() {
        assert!(flights.take_due(due - Duration::from_nanos(1)).is_none());
        seen.push(((due - start).as_secs(), matches!(flights.take_due(due), Some(Due::SendAgain(_)))));
    }
    assert_eq!(seen, [(1, true), (3, true), (7, true), (10, false)]);
}

#[test]
fn a_datagram_is_not_sent_again() {
    let mut flights = Flights::default();
    flights.begin(flight(1, key(Protocol::Udp, 1, 0), Duration::ZERO, Duration::from_secs(10)));
    assert_eq!(flights.next_due(), Some(Duration::from_secs(10)));
}

/// Members that hold one VIP, each at its own Ethernet address.
fn link(member: u8) -> Delivery {
    Delivery::Link { interface: 1, source: [2; 6], destination: [4, 0, 0, 0, 0, member] }
}

#[test]
fn members_of_one_vip_do_not_take_each_others_lanes() {
    let (now, patience) = (Duration::ZERO, Duration::from_secs(1));
    for protocol in [Protocol::Tcp, Protocol::Sctp] {
        let mut flights = Flights::default();
        // More members than lanes, all on the first one.
        let keys: Vec<Key> = (0..40).map(|member| Key { delivery: link(member), ..key(protocol, 1, 0) }).collect();
        for (slot, key) in (0..).zip(&keys) {
            assert_eq!(flights.free_lane(*key, LANES, 0), Some(0));
            flights.begin(flight(slot, *key, now, patience));
            assert_eq!(flights.free_lane(*key, LANES, 0), Some(1), "a second probe of the same member");
        }
        assert_eq!(flights.len(), 40);
        // The number in the answer says which; that of nobody ends nobody.
        let answer = |flights: &mut Flights, token: u64| {
            flights.end_if(&key(protocol, 1, 0), |flight| flight.token == token).map(|flight| flight.slot)
        };
        assert_eq!(answer(&mut flights, 40), None);
        for slot in [17, 0, 39] {
            assert_eq!(answer(&mut flights, slot.into()), Some(slot));
            assert_eq!(answer(&mut flights, slot.into()), None);
        }
        assert_eq!(flights.len(), 37);
        for slot in 0..40 {
            flights.end_slot(slot);
        }
        assert_eq!(flights.len(), 0);
    }
}

#[test]
fn answers_without_a_number_need_a_lane_of_their_own() {
    for protocol in [Protocol::Udp, Protocol::Icmp] {
        let mut flights = Flights::default();
        let place = key(protocol, 1, 0);
        for (slot, delivery) in [(0, link(0)), (1, link(1)), (2, Delivery::Routed), (3, link(3))] {
            let key = Key { delivery, ..place };
            let lane = flights.free_lane(key, LANES, 0).unwrap();
            assert_eq!(u32::from(lane), slot, "{protocol:?}");
            flights.begin(flight(slot, Key { lane, ..key }, Duration::ZERO, Duration::from_secs(1)));
        }
        assert_eq!(flights.free_lane(Key { delivery: link(9), ..place }, LANES, 0), None);
        assert_eq!(flights.end_if(&Key { lane: 1, ..place }, |_| true).map(|flight| flight.slot), Some(1));
        assert_eq!(flights.free_lane(Key { delivery: link(9), ..place }, LANES, 0), Some(1));
    }
}
