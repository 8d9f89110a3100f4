//! What is shown of events, and that a follower outlives lbd.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc as std_mpsc,
    },
    time::{Instant, SystemTime},
};

use clap::Parser as _;
use tokio::{
    runtime::Runtime,
    sync::mpsc,
    time::{Instant as Moment, sleep_until},
};

use super::*;
use crate::{
    cli::{
        arguments::{Arguments, Command},
        reach::Reach,
        sample,
    },
    control::{
        events::{Event, EventDesk, Kind, MAX_EVENTS, Question},
        server::{Command as Asked, Server},
    },
};

fn options(line: &str) -> Options {
    match Arguments::try_parse_from(line.split_whitespace()).unwrap().command {
        Command::Events(options) => options,
        other => panic!("{other:?}"),
    }
}

/// An lbd that has nothing but events, until it is dropped.
struct Lbd {
    _runtime: Runtime,
    happen: mpsc::Sender<Event>,
}

impl Lbd {
    fn start(socket: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (sender, commands) = mpsc::channel(4);
        let (happen, happening) = mpsc::channel(4);
        let _context = runtime.enter();
        runtime.spawn(Server::bind(socket).unwrap().serve(sender));
        runtime.spawn(serve_events(commands, happening));
        Self { _runtime: runtime, happen }
    }

    fn happens(&self, text: &str) {
        self.happen.blocking_send(Event::new(Kind::VrrpTransition, "front", text)).unwrap();
    }
}

async fn serve_events(mut commands: mpsc::Receiver<Asked>, mut happening: mpsc::Receiver<Event>) {
    let mut desk = EventDesk::new(SystemTime::now());
    loop {
        let deadline = desk.next_deadline().map(Moment::from_std);
        tokio::select! {
            () = sleep_until(deadline.unwrap_or_else(Moment::now)), if deadline.is_some() => desk.expire(Instant::now()),
            Some(Asked { request, reply }) = commands.recv() => {
                let Request::Events { after, epoch, wait_ms } = request else { continue };
                let wait = Duration::from_millis(wait_ms.into());
                desk.ask(Question { after, epoch, wait }, Instant::now(), reply);
            }
            Some(event) = happening.recv() => drop(desk.push(event)),
        }
    }
}

fn source(socket: &Path) -> Source {
    let reach = Reach { socket: Some(socket.to_owned()), offline: false, pin_path: "/nowhere".into(), timeout: 5 };
    Source::new(&reach, None)
}

fn texts(told: &EventsView) -> Vec<&str> {
    told.events.iter().map(|event| event.text.as_str()).collect()
}

#[test]
fn an_event_is_a_line_for_people_and_a_line_for_programs() {
    let event = sample::event(7, Kind::VrrpTransition, "front", "BACKUP to ACTIVE: no advert\nfor 369 ms");
    assert_eq!(
        in_words(&event, Screen::default()),
        "2026-11-24T17:44:00.250Z     7  vrrp_transition     front: BACKUP to ACTIVE: no advert for 369 ms\n"
    );
    let json = output::json_line(&event).unwrap();
    assert_eq!(json.lines().count(), 1);
    let nobody = sample::event(12_345, Kind::LbdReady, "", "lbd serves");
    assert_eq!(
        in_words(&nobody, Screen::default()),
        "2026-11-24T17:44:00.250Z  12345  lbd_ready           lbd serves\n"
    );
}

#[test]
fn every_kind_is_named_in_the_help() {
    let help = Arguments::try_parse_from(["lbctl", "events", "--help"]).unwrap_err().to_string();
    let words: Vec<&str> = help.split_whitespace().collect();
    for kind in Kind::ALL {
        assert!(words.contains(&kind.label()), "{kind:?}");
    }
}

#[test]
fn all_that_is_kept_is_shown_unless_less_is_asked_for() {
    assert_eq!(options("lbctl events").limit(), usize::MAX);
    assert_eq!(options("lbctl events -n 3").limit(), 3);
    assert_eq!(options("lbctl events --follow").limit(), BEFORE);
    assert_eq!(options("lbctl events -f --since 5").limit(), usize::MAX);
    assert_eq!(options("lbctl events -f --since 5 --lines 0").limit(), 0);
}

#[test]
fn a_reader_goes_on_where_it_was_and_hears_what_it_missed() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("lbd");
    let lbd = Lbd::start(&socket);
    lbd.happens("one");
    lbd.happens("two");
    let source = source(&socket);
    let mut reader = Reader { source: &source, after: Some(1), epoch: None };
    // What has been handed over need not have been taken yet.
    let told = reader.read(WAIT).unwrap();
    assert_eq!(texts(&told), ["two"]);
    assert_eq!(texts(&reader.read(Duration::ZERO).unwrap()), Vec::<&str>::new());
    (0..=MAX_EVENTS).for_each(|_| lbd.happens("again"));
    let mut late = Reader { source: &source, after: Some(0), epoch: None };
    let notes = Mutex::new(Vec::new());
    let told = (0..500)
        .find_map(|_| {
            let told = Reader { ..late }.read(Duration::ZERO).unwrap();
            thread::sleep(Duration::from_millis(10));
            (told.next == MAX_EVENTS as u64 + 3).then_some(told)
        })
        .unwrap();
    note_lost(&told, |note| notes.lock().unwrap().push(note.to_owned()));
    assert_eq!(notes.into_inner().unwrap(), ["note: 3 events are missing here: lbd no longer keeps them"]);
    assert_eq!(late.read(Duration::ZERO).unwrap().events[0].seq, 4);
}

/// Whoever reads leaves, even if by a panic: then nobody follows for ever.
struct Leave<'a>(&'a AtomicBool);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn a_follower_goes_on_with_the_next_lbd_and_ends_with_its_reader() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("lbd");
    let first = Lbd::start(&socket);
    let source = source(&socket);
    let (shown, events) = std_mpsc::channel();
    let (noted, notes) = std_mpsc::channel();
    let soon = Duration::from_secs(20);
    let reader_left = AtomicBool::new(false);
    thread::scope(|scope| {
        let _leave = Leave(&reader_left);
        let follower = scope.spawn(|| {
            let show = |event: &EventView| {
                shown.send((event.seq, event.text.clone())).unwrap();
                if event.text == "enough" { Err(Failure::ReaderGone) } else { Ok(()) }
            };
            let tell = |note: &str| noted.send(note.to_owned()).unwrap();
            Reader { source: &source, after: Some(0), epoch: None }.follow(show, || reader_left.load(Relaxed), tell)
        });
        first.happens("one");
        assert_eq!(events.recv_timeout(soon).unwrap(), (1, "one".to_owned()));
        drop(first);
        let note = notes.recv_timeout(soon).unwrap();
        assert!(note.ends_with("; waiting for it"), "{note}");
        let second = Lbd::start(&socket);
        second.happens("two");
        assert_eq!(events.recv_timeout(soon).unwrap(), (1, "two".to_owned()));
        assert_eq!(notes.recv_timeout(soon).unwrap(), "lbd answers again");
        let note = notes.recv_timeout(soon).unwrap();
        assert!(note.contains("started anew"), "{note}");
        second.happens("enough");
        assert_eq!(events.recv_timeout(soon).unwrap(), (2, "enough".to_owned()));
        assert!(matches!(follower.join().unwrap(), Err(Failure::ReaderGone)));
    });
}

#[test]
fn whoever_cannot_be_reached_at_all_is_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    let source = source(&directory.path().join("nobody"));
    let mut reader = Reader { source: &source, after: None, epoch: None };
    assert!(matches!(reader.read(Duration::ZERO), Err(Failure::Unanswered(_))));
    let end = reader.follow(|_| Ok(()), || true, |_| ());
    assert!(matches!(end, Err(Failure::ReaderGone)), "nobody reads, so nobody is waited for");
}
