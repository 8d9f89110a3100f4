//! The trailer: images made with another implementation of HMAC, and what
//! happens to those that were tampered with, played again or are out of time.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use super::super::tests::{Case, SIGNED_AT, V4_HMAC, V4_PSEUDO, V6_HMAC, bytes};
use super::*;
use crate::config::{Authentication, HmacMode};
use crate::packet::{Sending, build};

fn v4() -> Case {
    Case::v4().hmac(HmacMode::Enforce)
}

/// The case with its keys changed.
fn with_keys(mut case: Case, change: impl FnOnce(&mut HmacKeys)) -> Case {
    let Authentication::Hmac(keys) = &mut case.exchange.authentication else { panic!("no keys") };
    change(keys);
    case
}

/// An advert of that sender at that time.
fn signed(source: IpAddr, at_utc: Duration, stamp: &mut HmacStamp) -> Vec<u8> {
    let mut out = Vec::new();
    let case = v4();
    let sending = Sending { priority: 100, source, destination: case.destination, at_utc };
    build(&case.router, &case.exchange, sending, stamp, &mut out);
    out
}

fn sender(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

fn second(seconds: u64) -> Duration {
    Duration::from_secs(1_900_000_000 + seconds)
}

#[test]
fn every_changed_bit_is_noticed() {
    for (case, image) in [(v4(), V4_HMAC), (Case::v6().hmac(HmacMode::Enforce), V6_HMAC)] {
        let whole = bytes(image);
        assert!(case.parse(&whole).is_ok());
        for bit in 0..whole.len() * 8 {
            let mut packet = whole.clone();
            packet[bit / 8] ^= 1 << (bit % 8);
            assert!(case.parse(&packet).is_err(), "bit {bit} of {image}");
        }
    }
}

#[test]
fn a_forged_priority_with_a_right_checksum_is_refused() {
    let mut packet = bytes(V4_HMAC);
    // The same amount up and down: the sum stays as it is.
    packet[2] += 1;
    packet[6] -= 1;
    assert_eq!(v4().parse(&packet), Err(Refusal::Hmac));
}

#[test]
fn an_advert_is_bound_to_its_sender_its_router_and_its_version() {
    // The IPv4 checksum does not see the change that the HMAC must see, if
    // source and destination change by the same amount.
    let mut case = v4();
    case.source = sender(3);
    case.own = None;
    case.router.vrid = crate::Vrid::new(51).unwrap();
    let mut packet = bytes(V4_HMAC);
    packet[7] -= 1;
    assert_eq!(case.parse(&packet), Err(Refusal::Hmac), "another sender");

    let mut case = v4();
    case.router.vrid = crate::Vrid::new(52).unwrap();
    let mut packet = bytes(V4_HMAC);
    packet[1] = 52;
    packet[7] -= 1;
    assert_eq!(case.parse(&packet), Err(Refusal::Hmac), "another router");
}

#[test]
fn the_modes_are_the_steps_from_none_to_all() {
    for (mode, unsigned) in [
        (HmacMode::ReceiveOnly, Ok(true)),
        (HmacMode::Permissive, Ok(true)),
        (HmacMode::Enforce, Err(Refusal::TrailerMissing)),
    ] {
        let case = Case::v4().hmac(mode);
        assert_eq!(case.parse(&bytes(V4_PSEUDO)).map(|advert| advert.notes.unsigned), unsigned, "{mode:?}");
        assert_eq!(case.parse(&bytes(V4_HMAC)).map(|advert| advert.notes.unsigned), Ok(false), "{mode:?}");
        let mut forged = bytes(V4_HMAC);
        forged[43] ^= 1;
        assert_eq!(case.parse(&forged), Err(Refusal::Hmac), "{mode:?} takes no wrong one either");
    }
    assert_eq!(Case::v4().parse(&bytes(V4_HMAC)), Err(Refusal::TrailerUnexpected));
}

#[test]
fn the_head_of_the_trailer_is_as_the_draft_says() {
    for (at, refusal) in [
        (16, Refusal::TrailerMalformed),
        (17, Refusal::KeyUnknown),
        (18, Refusal::TrailerMalformed),
        (19, Refusal::TrailerMalformed),
    ] {
        let mut packet = bytes(V4_HMAC);
        packet[at] ^= 0x40;
        assert_eq!(v4().parse(&packet), Err(refusal), "byte {at}");
    }
}

#[test]
fn keys_are_told_apart_by_number_and_any_of_them_verifies() {
    let case = with_keys(v4(), |keys| keys.send = 9);
    assert!(case.parse(&bytes(V4_HMAC)).is_ok(), "signed with the other key");
    assert!(v4().parse(&case.build(100)).is_ok(), "and the other way round");
    let retired = with_keys(v4(), |keys| keys.keys.retain(|(number, _)| *number == 9));
    assert_eq!(retired.parse(&bytes(V4_HMAC)), Err(Refusal::KeyUnknown));
    let other = with_keys(v4(), |keys| keys.keys[0].1 = Secret::new(vec![7; 32]));
    assert_eq!(other.parse(&bytes(V4_HMAC)), Err(Refusal::Hmac));
}

#[test]
fn a_stamp_is_near_the_clock() {
    let at = |case: &Case, utc| Case { at_utc: utc, ..case.clone() }.parse(&bytes(V4_HMAC)).err();
    let case = v4();
    let five = Duration::from_secs(5);
    assert_eq!(at(&case, SIGNED_AT + five), None);
    assert_eq!(at(&case, SIGNED_AT - five), None);
    assert_eq!(at(&case, SIGNED_AT + five + Duration::from_secs(1)), Some(Refusal::Stale));
    assert_eq!(at(&case, SIGNED_AT - five - Duration::from_secs(1)), Some(Refusal::Stale));
    let mut slow = case.clone();
    slow.router.interval = Duration::from_secs(10);
    assert_eq!(at(&slow, SIGNED_AT + Duration::from_secs(30)), None, "three intervals");
    assert_eq!(at(&slow, SIGNED_AT + Duration::from_secs(31)), Some(Refusal::Stale));
    let strict = with_keys(case.clone(), |keys| keys.freshness = Some(Duration::from_secs(1)));
    assert_eq!(at(&strict, SIGNED_AT + Duration::from_secs(2)), Some(Refusal::Stale));
    let off = with_keys(case, |keys| keys.freshness = Some(Duration::MAX));
    assert_eq!(at(&off, Duration::ZERO), None);
}

#[test]
fn nothing_is_taken_twice() {
    let (case, mut replay) = (v4(), ReplayMarks::default());
    assert!(case.parse_with(&bytes(V4_HMAC), &mut replay).is_ok());
    for _ in 0..3 {
        assert_eq!(case.parse_with(&bytes(V4_HMAC), &mut replay), Err(Refusal::Replayed));
    }
    assert!(case.parse(&bytes(V4_HMAC)).is_ok(), "another receiver has not seen it");
}

#[test]
fn a_forged_advert_moves_no_mark() {
    let (case, mut replay) = (v4(), ReplayMarks::default());
    let mut forged = signed(sender(2), second(2), &mut HmacStamp::default());
    forged[43] ^= 1;
    assert_eq!(case.parse_with(&forged, &mut replay), Err(Refusal::Hmac));
    assert!(case.parse_with(&bytes(V4_HMAC), &mut replay).is_ok());
}

#[test]
fn stamps_rise_even_if_the_clock_stands_still_or_goes_back() {
    let mut stamp = HmacStamp::default();
    let (case, mut replay) = (v4(), ReplayMarks::default());
    for millis in [0, 0, 1, 1, 1, 0, 2, 0, 1000, 3] {
        let packet = signed(sender(2), SIGNED_AT + Duration::from_millis(millis), &mut stamp);
        assert!(case.parse_with(&packet, &mut replay).is_ok(), "{millis}");
    }
}

#[test]
fn stamps_rise_over_the_end_of_the_seconds() {
    let before = Stamp::of(Duration::from_secs((1 << 32) - 1));
    let after = Stamp::of(Duration::from_secs((1 << 32) + 1));
    assert!(after.is_after(before) && !before.is_after(after) && !after.is_after(after));
    assert_eq!(before.seconds_from(Duration::from_secs((1 << 32) + 1)), 2);
    assert_eq!(after.seconds_from(Duration::from_secs((1 << 32) - 1)), 2);
}

#[test]
fn a_sender_whose_clock_was_set_right_is_heard_again() {
    let off = Duration::from_secs(4);
    let (mut case, mut replay) = (v4(), ReplayMarks::default());
    let ahead = signed(sender(2), SIGNED_AT + off, &mut HmacStamp::default());
    assert!(case.parse_with(&ahead, &mut replay).is_ok());
    let later = SIGNED_AT + Duration::from_secs(2);
    let right = signed(sender(2), later, &mut HmacStamp::default());
    case.at_utc = later;
    assert_eq!(case.parse_with(&right, &mut replay), Err(Refusal::Replayed), "behind its own mark");
    let later = SIGNED_AT + off + Duration::from_secs(7);
    case.at_utc = later;
    assert!(case.parse_with(&signed(sender(2), later, &mut HmacStamp::default()), &mut replay).is_ok());
}

#[test]
fn more_senders_than_there_is_room_for_open_no_way_to_replay() {
    let (mut case, mut replay) = (v4(), ReplayMarks::default());
    case.own = None;
    let mut old = Vec::new();
    for last in 1..=100 {
        case.source = sender(last);
        let packet = signed(case.source, SIGNED_AT + Duration::from_millis(u64::from(last)), &mut HmacStamp::default());
        assert!(case.parse_with(&packet, &mut replay).is_ok(), "{last}");
        old.push((case.source, packet));
    }
    for (source, packet) in old {
        case.source = source;
        assert_eq!(case.parse_with(&packet, &mut replay), Err(Refusal::Replayed), "{source}");
    }
}
