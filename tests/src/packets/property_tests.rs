#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::cell::RefCell;

use lb_common::{mac::Mac, member::MemberState, protocol::Transport};
use lb_ebpf::{packet::Packet, pipeline};
use proptest::{
    collection::vec,
    prelude::{ProptestConfig, Strategy, any},
    test_runner::{TestCaseError, TestRunner},
};

use super::{
    case::{Talk, dump},
    model::{Judge, Reading, Validity},
    random::{self, Delivery, Event},
    scene::{self, Kind, OWN, Version},
    spec::{Checksum, Spec, flags},
    world::{Fate, Host, INGRESS, World},
};

fn check<S: Strategy>(cases: u32, strategy: S, test: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config).run(&strategy, test).unwrap_or_else(|e| panic!("{e}"));
}

fn fail<T>(reason: impl Into<String>) -> Result<T, TestCaseError> {
    Err(TestCaseError::fail(reason.into()))
}

#[test]
fn whatever_comes_in_nothing_outside_of_the_frame_is_touched() {
    const AROUND: usize = 64;
    let host = Host::standard();
    check(20_000, random::frame(), |frame| {
        let mut memory = [vec![0xc5; AROUND], frame.clone(), vec![0xc5; AROUND]].concat();
        let end = AROUND + frame.len();
        pipeline::run(&mut Packet::from_slice(&mut memory[AROUND..end]), INGRESS, host.tables());
        if memory[..AROUND].iter().chain(&memory[end..]).any(|b| *b != 0xc5) {
            return fail("bytes around the frame changed");
        }
        Ok(())
    });
}

#[test]
fn whatever_happens_every_packet_is_treated_as_the_tables_say() {
    let mut host = Host::standard();
    scene::moved().iter().for_each(|op| host.apply(op));
    let host = RefCell::new(host);
    let tally = RefCell::new((0, 0, 0, 0, 0));
    check(1500, (any::<bool>(), vec(random::event(), 1..60)), |(active, events)| {
        let mut host = host.borrow_mut();
        host.forget_flows();
        Version::BOTH.iter().for_each(|version| host.turn(version.instance(), active));
        Version::BOTH.iter().flat_map(|v| scene::stand(*v, [MemberState::UP; 2])).for_each(|op| host.apply(&op));
        let mut tables = host.observe();
        let (mut judge, mut deliveries) = (Judge::default(), Vec::new());
        for event in events {
            if let Event::Stand { version, flags } = event {
                scene::stand(version, flags).iter().for_each(|op| host.apply(op));
                tables = host.observe();
            }
            let Some(frame) = event.frame(&deliveries) else { continue };
            let outcome = host.send(&frame);
            let before = judge.tally.to_members;
            judge.judge(&frame, &outcome, &tables).or_else(fail)?;
            if judge.tally.to_members > before {
                deliveries.extend(Delivery::of(&frame, &outcome.frame));
            }
        }
        let (t, sum) = (judge.tally, &mut *tally.borrow_mut());
        *sum = (sum.0 + t.to_members, sum.1 + t.to_clients, sum.2 + t.answered, sum.3 + t.dropped, sum.4 + t.reset);
        Ok(())
    });
    // The packets were not all refused at the door.
    let (to_members, to_clients, answered, dropped, reset) = tally.into_inner();
    assert!(
        to_members > 2000 && to_clients > 1000 && answered > 100 && dropped > 1000 && reset > 0,
        "{:?}",
        (to_members, to_clients, answered, dropped, reset)
    );
}

#[test]
fn a_reply_undoes_what_was_done_to_the_packet_it_answers() {
    let host = RefCell::new(Host::standard());
    let far = (random::packet(), any::<u8>(), vec(any::<u8>(), 0..200));
    check(6000, far, |(packet, answer_flags, payload)| {
        let mut host = host.borrow_mut();
        let frame = packet.bytes();
        let outcome = host.send(&frame);
        let (Some(asked), Some(got)) = (Reading::of(&frame), Reading::of(&outcome.frame)) else { return Ok(()) };
        let sent_on = matches!(outcome.fate, Fate::Transmit | Fate::Redirect) && got.source.0 == asked.destination.0;
        if !sent_on || got.destination.0 == asked.source.0 {
            return Ok(());
        }
        let station = Mac(outcome.frame[..6].try_into().unwrap());
        let opens_and_ends = answer_flags & flags::SYN != 0 && answer_flags & (flags::FIN | flags::RST) != 0;
        if asked.transport == lb_common::protocol::Transport::Tcp && (answer_flags & 0x3f == 0 || opens_and_ends) {
            return Ok(());
        }
        let reply = random::reply(&got, station, answer_flags, &payload, Checksum::Right).with(|s| s.to = OWN);
        let back = host.send(&reply.bytes());
        let Some(seen) = Reading::of(&back.frame) else { return fail("the reply is no packet") };
        let ends = (seen.source, seen.destination, seen.transport);
        if ends != (asked.destination, asked.source, asked.transport) {
            return fail(format!("{asked:?} was answered by {seen:?}"));
        }
        if seen.payload != payload || seen.checksum != Validity::Right || !seen.header_valid {
            return fail(format!("the answer is damaged: {seen:?}"));
        }
        if back.frame[..6] != packet.from.0 || back.frame[6..12] != packet.to.0 {
            return fail(format!("the answer goes another way:\n{}", dump(&back.frame)));
        }
        Ok(())
    });
}

#[test]
fn what_is_for_somebody_else_passes_as_it_came() {
    let host = RefCell::new(Host::standard());
    let elsewhere = random::packet().prop_map(|packet| {
        let version = if packet.source.is_ipv4() { Version::V4 } else { Version::V6 };
        packet.with(|s| s.destination = version.stranger())
    });
    check(2000, elsewhere, |packet: Spec| {
        let frame = packet.bytes();
        let outcome = host.borrow_mut().send(&frame);
        if outcome.fate == Fate::Pass && outcome.frame == frame && outcome.events.is_empty() {
            return Ok(());
        }
        fail(format!("{outcome:?}"))
    });
}

#[test]
fn every_payload_arrives_with_a_right_checksum_whoever_was_to_make_it() {
    let host = RefCell::new(Host::standard());
    let sizes = (any::<bool>(), any::<bool>(), vec(any::<u8>(), 0..1460), any::<bool>());
    check(600, sizes, |(v6, tcp, payload, partial)| {
        let version = if v6 { Version::V6 } else { Version::V4 };
        let transport = if tcp { Transport::Tcp } else { Transport::Udp };
        let checksum = if partial { Checksum::Partial } else { Checksum::Right };
        let asked = Talk::about(version, Kind::OneArm, transport).ask(flags::ACK).data(&payload).checksum(checksum);
        let outcome = host.borrow_mut().send(&asked.bytes());
        match Reading::of(&outcome.frame) {
            Some(got) if got.checksum == Validity::Right && got.payload == payload => Ok(()),
            other => fail(format!("{other:?}")),
        }
    });
}
