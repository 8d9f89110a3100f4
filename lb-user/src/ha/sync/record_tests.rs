#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use proptest::prelude::*;

use super::*;
use crate::ha::sync::rehearsal::{any_flow, any_placement, flow, placement};

fn records(body: &[u8]) -> Vec<Record> {
    read(body).collect()
}

fn any_record() -> impl Strategy<Value = Record> {
    prop_oneof![
        any_flow().prop_map(Record::Flow),
        any_placement().prop_map(Record::Placement),
        any::<u32>().prop_map(|pass| Record::PassBegins { pass }),
        any::<(u32, u64, u64)>().prop_map(|(pass, flows, placements)| Record::PassEnds { pass, flows, placements }),
        (any::<[u64; 3]>(), prop::option::of(0..u64::MAX)).prop_map(|(n, flows)| Record::Who(Who {
            challenge: n[0],
            answer: n[1],
            seed: n[2],
            flows
        })),
        any::<([u64; 4], [u64; WORDS])>().prop_map(|(n, bits)| Record::Arrived(Arrived {
            highest: n[0],
            lost: n[1],
            adopted: n[2],
            refused: n[3],
            bits
        })),
    ]
}

fn write_record(record: &Record, body: &mut Vec<u8>) {
    match record {
        Record::Flow(flow) => write_flow(flow, body).unwrap(),
        Record::Placement(placement) => write_placement(placement, body).unwrap(),
        Record::PassBegins { pass } => write_pass_begins(*pass, body),
        Record::PassEnds { pass, flows, placements } => write_pass_ends(*pass, *flows, *placements, body),
        Record::Who(who) => write_who(who, body),
        Record::Arrived(arrived) => write_arrived(arrived, body),
        Record::Unknown(kind) | Record::Malformed(kind) => frame(*kind, 0, body),
    }
}

#[test]
fn a_flow_is_small_and_a_full_body_holds_many() {
    let mut body = Vec::new();
    write_flow(&flow(1), &mut body).unwrap();
    assert_eq!(body.len(), 35);
    let mut flows = 1;
    while write_flow(&flow(flows), &mut body).is_ok() {
        flows += 1;
    }
    assert_eq!(flows, 38);
    assert_eq!(write_flow(&flow(0), &mut body), Err(NotWritten::NoRoom));
    let v6 = |n: u16| IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n));
    let mut body = Vec::new();
    write_flow(&SharedFlow { vip: v6(1), client: v6(2), member: v6(3), ..flow(1) }, &mut body).unwrap();
    assert_eq!(body.len(), 71);
}

#[test]
fn a_flow_of_both_families_cannot_be_said() {
    let mixed = SharedFlow { member: Ipv6Addr::LOCALHOST.into(), ..flow(1) };
    let mut body = Vec::new();
    assert_eq!(write_flow(&mixed, &mut body), Err(NotWritten::MixedFamilies));
    assert!(body.is_empty());
}

#[test]
fn what_later_versions_say_is_skipped_and_what_comes_after_is_read() {
    let mut body = vec![200, 0, 2, 9, 9];
    let flow_at = body.len();
    write_flow(&flow(1), &mut body).unwrap();
    // The flow has grown by a byte nobody here knows.
    body[flow_at + 2] += 1;
    body.push(0xff);
    write_pass_begins(4, &mut body);
    assert_eq!(records(&body), [Record::Unknown(200), Record::Flow(flow(1)), Record::PassBegins { pass: 4 }]);
}

#[test]
fn nonsense_is_told_from_what_is_unknown() {
    let good = {
        let mut body = Vec::new();
        write_flow(&flow(1), &mut body).unwrap();
        body
    };
    let with = |at: usize, byte: u8| {
        let mut body = good.clone();
        body[FRAME + at] = byte;
        body
    };
    let cases = [
        with(0, 0),          // no transport
        with(0, 4),          // none either
        with(1, 0x04),       // a free entry
        with(1, 0x41),       // a claimed one
        with(1, 0x47),       // no stage
        vec![FLOW_V4, 0, 0], // nothing in it
        vec![FLOW_V4, 0],    // not even a frame
        vec![FLOW_V4, 0, 9], // reaches beyond the end
        vec![ARRIVED, 0, 1, 1],
        good[..good.len() - 1].to_vec(),
    ];
    for body in cases {
        assert!(matches!(records(&body)[..], [Record::Malformed(_)]), "{body:?}");
    }
}

#[test]
fn a_placement_is_small_and_nonsense_about_one_is_told() {
    let mut good = Vec::new();
    write_placement(&placement(1), &mut good).unwrap();
    assert_eq!(good.len(), FRAME + 27);
    let mut body = Vec::new();
    let mut count = 0;
    while write_placement(&placement(count), &mut body).is_ok() {
        count += 1;
    }
    assert_eq!((count, body.len() <= MAX_BODY), (44, true));
    let with = |at: usize, byte: u8| {
        let mut body = good.clone();
        body[FRAME + at] = byte;
        body
    };
    let cases = [
        with(0, 0),    // no transport
        with(1, 0x03), // a free way
        with(1, 0x13), // a claimed one
        with(1, 0x23), // one that nobody should be told of
        with(1, 0x63), // no stage
        with(1, 0x35), // no mode
        with(2, 1),    // addresses that are longer than the record
        with(2, 2),
        vec![PLACEMENT, 0, 0],
        good[..good.len() - 1].to_vec(),
    ];
    for body in cases {
        assert_eq!(records(&body), [Record::Malformed(PLACEMENT)], "{body:?}");
    }
    // A flag nobody here knows, and a byte behind what is known.
    let mut later = with(2, 0x84);
    later[2] += 1;
    later.push(7);
    assert_eq!(records(&later), [Record::Placement(placement(1))]);
}

#[test]
fn the_end_of_a_pass_of_who_knows_of_no_placements_is_understood() {
    let mut body = vec![PASS_ENDS, 0, 12];
    body.extend([0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 5]);
    assert_eq!(records(&body), [Record::PassEnds { pass: 9, flows: 5, placements: 0 }]);
}

#[test]
fn a_report_tells_each_sequence() {
    let mut window = Window::default();
    for sequence in [10, 12, 100] {
        window.mark(sequence);
    }
    let arrived = Arrived::of(&window);
    let has: Vec<_> = [9, 10, 11, 12, 99, 100, 101].map(|sequence| arrived.has(sequence)).to_vec();
    let no = Some(false);
    assert_eq!(has, [no, Some(true), no, Some(true), no, Some(true), None]);
    window.mark(5000);
    assert_eq!(Arrived::of(&window).has(100), None, "too long ago");
}

proptest! {
    #[test]
    fn records_come_back_as_they_were(wanted in prop::collection::vec(any_record(), 0..9)) {
        let mut body = Vec::new();
        for record in &wanted {
            write_record(record, &mut body);
        }
        prop_assert_eq!(records(&body), wanted);
    }

    #[test]
    fn any_bytes_end_and_nothing_panics(body in prop::collection::vec(any::<u8>(), 0..1400)) {
        // Each record but a broken last one takes three bytes at least.
        prop_assert!(records(&body).len() <= body.len() / FRAME + 1);
    }

    #[test]
    fn changed_records_end_and_nothing_panics(
        wanted in prop::collection::vec(any_record(), 1..9),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut body = Vec::new();
        for record in &wanted {
            write_record(record, &mut body);
        }
        for (at, byte) in changes {
            let at = at.index(body.len());
            body[at] = byte;
        }
        prop_assert!(records(&body).len() <= body.len() / FRAME + 1);
    }
}
