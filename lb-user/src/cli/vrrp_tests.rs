//! What is typed about VRRP instances and what is shown of them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixListener,
    path::Path,
    sync::mpsc,
    thread,
};

use clap::Parser as _;

use super::*;
use crate::{
    cli::{
        arguments::{Arguments, Command},
        output::{Format, Output},
        reach::{Reach, Source},
        sample,
    },
    control::{
        protocol::{self, Refusal, RefusalCode},
        view::vrrp::VrrpCountersView,
    },
};

fn verb(line: &str) -> Verb {
    match Arguments::try_parse_from(line.split_whitespace()).unwrap().command {
        Command::Vrrp(verb) => verb,
        other => panic!("{other:?}"),
    }
}

fn which(name: &str, no_wait: bool) -> Which {
    Which { name: name.to_owned(), no_wait }
}

/// A socket at which requests get these answers, one after another, and the
/// requests.
fn lbd_that_answers(socket: &Path, answers: Vec<Response>) -> mpsc::Receiver<Request> {
    let listener = UnixListener::bind(socket).unwrap();
    let (asked, requests) = mpsc::channel();
    thread::spawn(move || {
        for answer in answers {
            let (stream, _) = listener.accept().unwrap();
            let mut line = Vec::new();
            BufReader::new(&stream).read_until(b'\n', &mut line).unwrap();
            asked.send(protocol::decode_request(&line).unwrap()).unwrap();
            (&stream).write_all(&protocol::encode_response(&answer).unwrap()).unwrap();
        }
    });
    requests
}

fn session(socket: &Path) -> Session {
    let reach = Reach { socket: Some(socket.to_owned()), offline: false, pin_path: "/nowhere".into(), timeout: 5 };
    Session { source: Source::new(&reach, None), output: Output { format: Format::Table, screen: Screen::default() } }
}

fn told_to_go() -> Response {
    Response::VrrpCommanded(Box::new(VrrpCommandView { instance: sample::vrrp(), notes: Vec::new() }))
}

/// The instance after it gave its place away.
fn gone() -> VrrpView {
    let before = sample::vrrp();
    VrrpView {
        state: VrrpState::Backup,
        carrying: false,
        yielded: true,
        state_millis: 3,
        peers: vec![PeerView { heard_millis: 0, ..before.peers[0].clone() }],
        counters: VrrpCountersView { transitions: 3, ..before.counters.clone() },
        ..before
    }
}

#[test]
fn instances_are_listed_shown_and_told_what_to_do() {
    assert_eq!(verb("lbctl vrrp ls"), Verb::List);
    assert_eq!(verb("lbctl vrrp show"), Verb::Show { name: None });
    assert_eq!(verb("lbctl vrrp show front"), Verb::Show { name: Some("front".to_owned()) });
    assert_eq!(verb("lbctl vrrp failover front"), Verb::Failover(which("front", false)));
    assert_eq!(verb("lbctl vrrp pause front --no-wait"), Verb::Pause(which("front", true)));
    assert_eq!(verb("lbctl vrrp resume front"), Verb::Resume { name: "front".to_owned() });
}

#[test]
fn the_list_tells_who_is_active_since_when_and_why() {
    let mut other = VrrpView { name: "inside".to_owned(), priority: 100, ..gone() };
    other.peers[0].priority = 0;
    assert_eq!(
        list(&[other, sample::vrrp()], Screen::default()),
        "NAME    STATE   CARRYING    FOR   PRIORITY  VRID     INTERFACE  PEERS HEARD                WHY\n\
         front   ACTIVE  yes       3h 4m  80 of 100  51 ipv4  eth0       192.0.2.3 (90, 3h 4m ago)  no other Active was \
         heard\n\
         inside  BACKUP  no         3 ms        100  51 ipv4  eth0       192.0.2.3 (left 0 ms ago)  no other Active was \
         heard; moved away by an operator\n"
    );
    assert_eq!(list(&[], Screen::default()), "no VRRP instances\n");
}

#[test]
fn an_instance_is_shown_with_timers_counters_peers_and_tracking() {
    let text = show(&sample::vrrp(), Screen::default());
    for line in [
        "state              ACTIVE for 3h 4m",
        "priority           80 of 100",
        "preempt            yes",
        "mode               multicast",
        "source_address     192.0.2.2",
        "virtual_mac        00:00:5e:00:01:33",
        "announced          192.0.2.10 at eth0 as 00:00:5e:00:01:33",
        "load_balancers     web",
        "runner             real-time, late by 0.87 ms at most, p99 0.042 ms",
        "skew              68.75 ms",
        "active_down       368.75 ms",
        "next advert in    41.25 ms",
        "adverts_sent      110 k",
        "adverts_refused   4: hops 3, checksum 1",
        "PEER       PRIORITY  INTERVAL  LAST HEARD  ADVERTS  CHECKSUM",
        "192.0.2.3        90    100 ms       3h 4m       17  pseudo_header",
        "TRACKED            WEIGHT  STATE     WHY",
        "interface eth1        out  well",
        "load_balancer web     -20  NOT WELL  ERROR",
    ] {
        assert!(text.lines().any(|l| l == line), "no {line:?} in\n{text}");
    }
}

#[test]
fn what_is_out_of_the_ordinary_is_shown_in_words() {
    let mut view = gone();
    view.unicast_peers = vec![IpAddr::from([192, 0, 2, 3])];
    view.mode = "unicast".to_owned();
    view.virtual_mac = None;
    (view.preempt_delay_millis, view.paused, view.fault) = (30_000, true, Some("eth0 is down".to_owned()));
    view.runner = RunnerView { realtime_refused: Some("operation not permitted".to_owned()), ..RunnerView::default() };
    view.peers.clear();
    let text = show(&view, Screen::default());
    for line in [
        "preempt            yes, after 30s",
        "mode               unicast to 192.0.2.3",
        "virtual_mac        none: the interface's own",
        "paused             yes",
        "yielded            yes",
        "fault              eth0 is down",
        "runner             ordinary priority (operation not permitted), late by 0 ms at most, p99 0 ms",
        "takes over in     41.25 ms",
        "no other router was heard",
    ] {
        assert!(text.lines().any(|l| l == line), "no {line:?} in\n{text}");
    }
    assert!(why(&view).ends_with("; paused by an operator; moved away by an operator; eth0 is down"), "{}", why(&view));
}

#[test]
fn a_failover_is_done_when_the_other_node_has_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("lbd");
    let carrying = VrrpView { state: VrrpState::Backup, carrying: true, ..gone() };
    let answers = [carrying, gone()].map(|view| Response::Vrrp(vec![view]));
    let requests = lbd_that_answers(&socket, [vec![told_to_go()], answers.to_vec()].concat());
    let (done, text) = leave(which("ront", false), VrrpCommand::Failover, &session(&socket)).unwrap();
    assert!(text.starts_with("front moved to 192.0.2.3 (priority 90) within "), "{text}");
    assert_eq!((done.instance, done.taken_over_by), (gone(), Some(IpAddr::from([192, 0, 2, 3]))));
    assert!(done.within_millis.is_some());
    let look = Request::Vrrp { select: Some("front".to_owned()) };
    let command = Request::VrrpCommand { select: "ront".to_owned(), command: VrrpCommand::Failover };
    assert_eq!(requests.iter().collect::<Vec<_>>(), [command, look.clone(), look]);
}

#[test]
fn a_failover_to_nobody_fails() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("lbd");
    let back = VrrpView { state: VrrpState::Active, carrying: true, ..gone() };
    let _requests = lbd_that_answers(&socket, vec![told_to_go(), Response::Vrrp(vec![back])]);
    let failure = leave(which("front", false), VrrpCommand::Failover, &session(&socket)).unwrap_err();
    assert!(
        matches!(&failure, Failure::NobodyTookOver(why) if why.contains("front is Active here again")),
        "{failure}"
    );
}

#[test]
fn whoever_does_not_wait_or_has_nothing_to_give_is_done_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("lbd");
    let backup = VrrpCommandView { instance: gone(), notes: Vec::new() };
    let refusal = Refusal::new(RefusalCode::Invalid, "nothing to move");
    let answers = vec![told_to_go(), Response::VrrpCommanded(Box::new(backup)), refusal.into()];
    let requests = lbd_that_answers(&socket, answers);
    let session = session(&socket);
    let (done, text) = leave(which("front", true), VrrpCommand::Failover, &session).unwrap();
    assert_eq!((done.taken_over_by, text.as_str()), (None, "front has been told to move\n"));
    let (_, text) = leave(which("front", false), VrrpCommand::Pause, &session).unwrap();
    assert_eq!(text, "front stays out until `lbctl vrrp resume front`\n");
    let failure = leave(which("front", false), VrrpCommand::Failover, &session).unwrap_err();
    assert!(matches!(failure, Failure::Refused(_)), "{failure}");
    assert_eq!(requests.iter().count(), 3);
}
