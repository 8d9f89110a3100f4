#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use crate::{
    family::{V4, V6},
    far::Facts,
    host::{HostTables, OwnedArrays},
    refuse, too_big,
};
use lb_common::{counters::Event, drop_reason::DropReason};

const ROOM: usize = 128;

fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for pair in parts.iter().flat_map(|part| part.chunks(2)) {
        sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// A frame with a packet of a protocol whose payload, of so many bytes, counts up.
fn frame(ipv6: bool, next: u8, length: usize) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    if ipv6 {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, (length >> 8) as u8, length as u8, next, 9, 0x20, 1]);
        frame.extend([0xcc; 14]);
        frame.extend([0x20, 2]);
        frame.extend([0xdd; 14]);
    } else {
        let total = length + 20;
        frame.extend([0x08, 0, 0x45, 0, (total >> 8) as u8, total as u8, 0, 7, 0x40, 0, 9, next, 0x55, 0x66]);
        frame.extend([192, 0, 2, 1, 198, 51, 100, 2]);
    }
    frame.extend((0..length).map(|i| i as u8));
    frame
}

struct Answer {
    verdict: Verdict,
    frame: Vec<u8>,
    events: Vec<u64>,
}

use crate::tables::Verdict;

fn run<F: Family>(
    frame: &[u8],
    length: usize,
    next: u8,
    how: impl FnOnce(&mut Packet<'_>, &HostTables<OwnedArrays>, Facts) -> Verdict,
) -> Answer {
    let tables = HostTables::new(OwnedArrays::new(1024, 0), 1);
    let mut buffer = vec![0xa5; ROOM];
    buffer.extend(frame);
    let mut packet = Packet::within(&mut buffer, ROOM);
    let offset = NETWORK_OFFSET + if F::IS_V6 { 40 } else { 20 };
    let network = Network { protocol: next, offset, length, fragment: Fragment::Whole };
    let segment = crate::transport::Segment::known(offset, next, 0, 0);
    let verdict = how(&mut packet, &tables, Facts::of(&network, &segment));
    let frame = packet.bytes().to_vec();
    let counts = tables.counts.borrow();
    Answer { verdict, frame, events: counts.events.to_vec() }
}

/// Checks the headers of an error about a packet, and returns type, code, the word
/// behind the checksum, and the quote.
fn read(ipv6: bool, before: &[u8], after: &[u8]) -> (u8, u8, u32, Vec<u8>) {
    assert_eq!(after[..6], before[6..12], "back to the station it came from");
    assert_eq!(after[6..14], [&before[..6], &before[12..14]].concat());
    let (packet, asked) = (&after[14..], &before[14..]);
    let icmp = if ipv6 {
        assert_eq!(packet[..4], [0x60, 0, 0, 0]);
        assert_eq!(packet[6..8], [58, 64]);
        assert_eq!(usize::from(u16::from_be_bytes([packet[4], packet[5]])) + 40, packet.len());
        assert_eq!(packet[8..40], [&asked[24..40], &asked[8..24]].concat());
        let length = (packet.len() - 40) as u16;
        let tail = [0, 58, (length >> 8) as u8, length as u8];
        assert_eq!(checksum(&[&packet[8..40], &tail, &packet[40..]]), 0);
        &packet[40..]
    } else {
        assert_eq!((packet[0], packet[8], packet[9]), (0x45, 64, 1));
        assert_eq!(usize::from(u16::from_be_bytes([packet[2], packet[3]])), packet.len());
        assert_eq!(checksum(&[&packet[..20]]), 0);
        assert_eq!(packet[12..20], [&asked[16..20], &asked[12..16]].concat());
        assert_eq!(checksum(&[&packet[20..]]), 0);
        &packet[20..]
    };
    (icmp[0], icmp[1], u32::from_be_bytes(icmp[4..8].try_into().unwrap()), icmp[8..].to_vec())
}

fn refused<F: Family>(frame: &[u8], length: usize, next: u8, reason: DropReason) -> Answer {
    run::<F>(frame, length, next, |packet, tables, facts| refuse::refuse::<F, _>(packet, tables, facts, reason))
}

fn too_long<F: Family>(frame: &[u8], length: usize, next: u8, mtu: u16) -> Answer {
    run::<F>(frame, length, next, |packet, tables, facts| too_big::answer::<F, _>(packet, tables, facts, mtu))
}

fn port_unreachable<F: Family>(most: usize, problem: (u8, u8)) {
    let header = if F::IS_V6 { 40 } else { 20 };
    for next in [17, 132] {
        for length in [8, 9, 100, most - header - 1, most - header, most - header + 1, 1400] {
            let mut before = frame(F::IS_V6, next, length);
            before.extend([0xee; 5]);
            let after = refused::<F>(&before, length, next, DropReason::PoolEmpty);
            assert_eq!(after.verdict, Verdict::Answer);
            let (kind, code, word, quote) = read(F::IS_V6, &before, &after.frame);
            assert_eq!((kind, code, word), (problem.0, problem.1, 0));
            let expected = (header + length).min(most);
            assert_eq!(quote, before[14..14 + expected], "no padding, no more than fits");
            let counted = |event: Event| after.events[event.index() as usize];
            assert_eq!(counted(Event::Drop(DropReason::PoolEmpty)), 1);
            assert_eq!(counted(Event::AnsweredUnreachable), 1);
            assert_eq!(after.events.iter().sum::<u64>(), 2);
        }
    }
}

#[test]
fn a_datagram_to_an_empty_pool_is_answered_with_port_unreachable() {
    port_unreachable::<V4>(548, (3, 3));
    port_unreachable::<V6>(1232, (1, 4));
}

#[test]
fn whatever_does_not_fit_is_answered_with_what_does() {
    for next in [6, 17] {
        let before = frame(false, next, 1480);
        let after = too_long::<V4>(&before, 1480, next, 1452);
        assert_eq!(after.verdict, Verdict::Answer);
        let (kind, code, word, quote) = read(false, &before, &after.frame);
        assert_eq!((kind, code, word, quote.len()), (3, 4, 1452, 548));
        assert_eq!(quote, before[14..14 + 548]);
        assert_eq!(after.events[Event::AnsweredTooBig.index() as usize], 1);
        assert_eq!(after.events[Event::Drop(DropReason::TooBig).index() as usize], 1);

        let before = frame(true, next, 1460);
        for (mtu, said) in [(1460, 1460), (1280, 1280), (1232, 1280), (0, 1280)] {
            let after = too_long::<V6>(&before, 1460, next, mtu);
            let (kind, code, word, quote) = read(true, &before, &after.frame);
            assert_eq!((kind, code, word, quote.len()), (2, 0, said, 1232));
        }
    }
}

#[test]
fn no_error_is_sent_about_what_may_get_none() {
    fn silent<F: Family>(what: &str, change: impl Fn(&mut Vec<u8>)) {
        let mut before = frame(F::IS_V6, 17, 1400);
        change(&mut before);
        for after in [
            refused::<F>(&before, 1400, 17, DropReason::PoolEmpty),
            too_long::<F>(&before, 1400, 17, 1000),
            refused::<F>(&before, 1400, 6, DropReason::PoolEmpty),
        ] {
            assert!(matches!(after.verdict, Verdict::Drop(_)), "{what}");
            assert_eq!(after.frame, before, "{what}");
            assert_eq!(after.events.iter().sum::<u64>(), 0, "the caller counts it");
        }
    }
    silent::<V4>("a frame for a group", |frame| frame[0] |= 1);
    silent::<V6>("a frame for a group", |frame| frame[0] |= 1);
    for first in [0, 127, 224, 239, 240, 255] {
        silent::<V4>("a source that is no host", |frame| frame[26] = first);
    }
    silent::<V6>("a source that is a group", |frame| frame[22] = 0xff);
    silent::<V6>("no source", |frame| frame[22..38].fill(0));
    silent::<V6>("loopback", |frame| {
        frame[22..38].fill(0);
        frame[37] = 1;
    });
    let before = frame(false, 1, 1400);
    assert!(matches!(too_long::<V4>(&before, 1400, 1, 1000).verdict, Verdict::Drop(DropReason::TooBig)));
    let before = frame(true, 58, 1400);
    assert!(matches!(too_long::<V6>(&before, 1400, 58, 1000).verdict, Verdict::Drop(DropReason::TooBig)));
}

#[test]
fn who_may_not_come_hears_nothing_and_who_is_one_too_many_is_reset() {
    for (reason, is_told) in [
        (DropReason::PoolEmpty, true),
        (DropReason::MemberDownReset, true),
        (DropReason::ConnectionLimit, true),
        (DropReason::MemberConnectionLimit, true),
        (DropReason::SourceNotAllowed, false),
        (DropReason::SourceRate, false),
        (DropReason::SourceIsVip, false),
        (DropReason::FlowTableFull, false),
    ] {
        let after = refused::<V4>(&frame(false, 6, 40), 40, 6, reason);
        assert_eq!(after.verdict, if is_told { Verdict::Answer } else { Verdict::Drop(reason) });
        assert_eq!(after.events[Event::AnsweredReset.index() as usize], u64::from(is_told));
        if !matches!(reason, DropReason::PoolEmpty) {
            let after = refused::<V4>(&frame(false, 17, 40), 40, 17, reason);
            assert_eq!(after.verdict, Verdict::Drop(reason));
        }
    }
}

#[test]
fn where_there_is_no_room_in_front_of_the_frame_nothing_is_answered() {
    let tables = HostTables::new(OwnedArrays::new(1024, 0), 1);
    let mut bytes = frame(false, 17, 40);
    let mut packet = Packet::from_slice(&mut bytes);
    let network = Network { protocol: 17, offset: 34, length: 40, fragment: Fragment::Whole };
    assert!(answer::<V4, _>(&mut packet, &tables, &network, Problem::port_unreachable::<V4>()).is_none());
}
