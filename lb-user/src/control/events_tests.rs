#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use tokio::sync::oneshot::error::TryRecvError;

use super::*;

const STARTED: SystemTime = UNIX_EPOCH;
const WAIT: Duration = Duration::from_secs(10);

fn event(text: &str) -> Event {
    Event::new(Kind::MemberUp, "web/app/m1", text)
}

/// A question, and where its answer comes.
fn ask(desk: &mut EventDesk, question: Question, now: Instant) -> oneshot::Receiver<Response> {
    let (reply, answer) = oneshot::channel();
    desk.ask(question, now, reply);
    answer
}

fn after(after: u64, wait: Duration) -> Question {
    Question { after: Some(after), epoch: None, wait }
}

fn told(answer: &mut oneshot::Receiver<Response>) -> EventsView {
    match answer.try_recv() {
        Ok(Response::Events(events)) => events,
        other => panic!("{other:?}"),
    }
}

fn numbers(events: &EventsView) -> Vec<u64> {
    events.events.iter().map(|event| event.seq).collect()
}

fn waits(answer: &mut oneshot::Receiver<Response>) -> bool {
    matches!(answer.try_recv(), Err(TryRecvError::Empty))
}

#[test]
fn kinds_have_names_of_their_own() {
    let labels: BTreeSet<_> = Kind::ALL.map(Kind::label).into();
    assert_eq!(labels.len(), Kind::ALL.len());
    assert!(labels.iter().all(|l| l.chars().all(|c| c.is_ascii_lowercase() || c == '_')), "{labels:?}");
}

#[test]
fn an_event_is_told_with_its_number_time_and_details() {
    let mut log = EventLog::new(STARTED + Duration::from_secs(1));
    let at = UNIX_EPOCH + Duration::from_millis(1_795_542_240_250);
    let number = log.push(event("answers again").with("port", 8080).with("reason", "2 probes").at(at));
    let told = log.after(None);
    assert_eq!((number, told.epoch, told.next, told.lost), (1, 1_000_000, 1, 0));
    let line = serde_json::to_string(&told.events[0]).unwrap();
    assert_eq!(
        line,
        "{\"seq\":1,\"time\":\"2026-11-24T17:44:00.250Z\",\"kind\":\"member_up\",\"subject\":\"web/app/m1\",\
         \"text\":\"answers again\",\"detail\":{\"port\":8080,\"reason\":\"2 probes\"}}"
    );
}

#[test]
fn the_oldest_make_room_and_their_loss_is_told_to_whoever_had_not_read_them() {
    let mut log = EventLog::new(STARTED);
    assert_eq!(log.after(None), EventsView { epoch: 0, ..EventsView::default() });
    for n in 0..MAX_EVENTS as u64 + 10 {
        assert_eq!(log.push(event("again")), n + 1);
    }
    let last = MAX_EVENTS as u64 + 10;
    for (after, first, lost) in
        [(None, 11, 0), (Some(0), 11, 10), (Some(4), 11, 6), (Some(10), 11, 0), (Some(last - 1), last, 0)]
    {
        let told = log.after(after);
        assert_eq!((told.events[0].seq, told.lost, told.next), (first, lost, last), "{after:?}");
        assert_eq!(told.events.last().unwrap().seq, last);
    }
    for nothing in [last, last + 1, u64::MAX] {
        assert_eq!(log.after(Some(nothing)).events, []);
    }
}

#[test]
fn texts_and_details_are_bounded() {
    let long = "ä".repeat(MAX_TEXT);
    let mut event = Event::new(Kind::PoolFileRefused, long.clone(), long.clone());
    for n in 0..MAX_DETAILS + 5 {
        event = event.with(&format!("detail {n}"), long.clone());
    }
    assert!(event.subject.len() <= MAX_TEXT && event.text.len() <= MAX_TEXT && event.text.ends_with("ä…"));
    assert_eq!(event.detail.len(), MAX_DETAILS);
    assert!(event.detail.values().all(|value| value.as_str().is_some_and(|text| text.len() <= MAX_TEXT)));
}

#[test]
fn what_there_is_is_told_at_once() {
    let (mut desk, now) = (EventDesk::new(STARTED), Instant::now());
    desk.push(event("one"));
    desk.push(event("two"));
    assert_eq!(numbers(&told(&mut ask(&mut desk, after(1, WAIT), now))), [2]);
    assert_eq!(numbers(&told(&mut ask(&mut desk, Question::default(), now))), [1, 2]);
    assert_eq!(numbers(&told(&mut ask(&mut desk, after(2, Duration::ZERO), now))), Vec::<u64>::new());
    assert_eq!(desk.next_deadline(), None);
}

#[test]
fn whoever_waits_is_told_when_something_happens() {
    let (mut desk, now) = (EventDesk::new(STARTED), Instant::now());
    let mut first = ask(&mut desk, Question { wait: WAIT, ..Question::default() }, now);
    assert!(waits(&mut first));
    desk.push(event("one"));
    assert_eq!(numbers(&told(&mut first)), [1]);
    let mut second = ask(&mut desk, after(1, WAIT), now);
    let mut third = ask(&mut desk, after(1, WAIT), now);
    assert!(waits(&mut second) && waits(&mut third));
    desk.tell(event("two"));
    assert_eq!((numbers(&told(&mut second)), numbers(&told(&mut third))), (vec![2], vec![2]));
    assert_eq!(desk.next_deadline(), None);
}

#[test]
fn a_wait_that_is_over_is_answered_with_nothing() {
    let (mut desk, now) = (EventDesk::new(STARTED), Instant::now());
    desk.push(event("one"));
    let mut short = ask(&mut desk, after(1, Duration::from_secs(1)), now);
    let mut long = ask(&mut desk, after(1, Duration::from_secs(3600)), now);
    assert_eq!(desk.next_deadline(), Some(now + Duration::from_secs(1)));
    desk.expire(now + Duration::from_millis(999));
    assert!(waits(&mut short) && waits(&mut long));
    desk.expire(now + Duration::from_secs(1));
    let nothing = told(&mut short);
    assert_eq!((nothing.events.len(), nothing.next), (0, 1));
    // Nobody waits for an hour.
    assert_eq!(desk.next_deadline(), Some(now + MAX_EVENT_WAIT));
    desk.expire(now + MAX_EVENT_WAIT);
    assert_eq!(told(&mut long).next, 1);
    assert_eq!(desk.next_deadline(), None);
}

#[test]
fn in_another_life_everything_is_new() {
    let (mut desk, now) = (EventDesk::new(STARTED + Duration::from_micros(77)), Instant::now());
    let of_life = |epoch, after| Question { after: Some(after), epoch: Some(epoch), wait: WAIT };
    desk.push(event("one"));
    assert_eq!(numbers(&told(&mut ask(&mut desk, of_life(76, 1), now))), [1]);
    assert_eq!(numbers(&told(&mut ask(&mut desk, of_life(77, 0), now))), [1]);
    assert!(waits(&mut ask(&mut desk, of_life(77, 1), now)));
    // Without its life, a number that has not been reached is of another one.
    assert_eq!(numbers(&told(&mut ask(&mut desk, after(500, WAIT), now))), [1]);
}

#[test]
fn there_are_so_many_followers_and_those_who_left_make_room() {
    let (mut desk, now) = (EventDesk::new(STARTED), Instant::now());
    desk.push(event("one"));
    let mut there: Vec<_> = (0..MAX_WAITING).map(|_| ask(&mut desk, after(1, WAIT), now)).collect();
    assert!(there.iter_mut().all(waits));
    let mut one_more = ask(&mut desk, after(1, WAIT), now);
    let Ok(Response::Refused(refusal)) = one_more.try_recv() else { panic!("not refused") };
    assert_eq!(refusal.code, RefusalCode::Busy);
    // Whoever need not wait is answered all the same.
    assert_eq!(numbers(&told(&mut ask(&mut desk, after(0, WAIT), now))), [1]);
    there.pop();
    assert!(waits(&mut ask(&mut desk, after(1, WAIT), now)));
}
