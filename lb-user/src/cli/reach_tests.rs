//! Who is asked, and who must not be passed by.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixListener,
    thread,
};

use super::*;
use crate::{
    cli::sample,
    control::protocol::{self, MemberChange, Refusal, RefusalCode},
};

fn reach(socket: Option<&Path>, offline: bool) -> Reach {
    Reach { socket: socket.map(Path::to_owned), offline, pin_path: "/sys/fs/bpf/krater-cli-nobody".into(), timeout: 5 }
}

fn socket_of(source: &Source) -> &Path {
    match source {
        Source::Lbd(lbd) | Source::PinnedMaps { lbd, .. } => lbd.path(),
    }
}

/// A socket at which every request gets this answer.
fn lbd_that_answers(socket: &Path, response: Response) {
    let listener = UnixListener::bind(socket).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut line = String::new();
            if BufReader::new(&stream).read_line(&mut line).unwrap_or(0) > 0 {
                let _ = (&stream).write_all(&protocol::encode_response(&response).unwrap());
            }
        }
    });
}

fn an_edit() -> Request {
    Request::SetMember { member: "m1".into(), change: MemberChange { reset: true, ..MemberChange::default() } }
}

#[test]
fn the_option_goes_before_the_variable_and_that_before_the_default() {
    let option = Path::new("/option");
    let of =
        |reach: &Reach, variable: Option<&str>| socket_of(&Source::new(reach, variable.map(Into::into))).to_owned();
    assert_eq!(of(&reach(Some(option), false), Some("/variable")), option);
    assert_eq!(of(&reach(None, true), Some("/variable")), Path::new("/variable"));
    assert_eq!(of(&reach(None, false), Some("")), Path::new(DEFAULT_SOCKET));
    assert_eq!(of(&reach(None, false), None), Path::new(DEFAULT_SOCKET));
}

#[test]
fn a_refusal_is_a_failure_and_any_other_answer_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let (refuses, answers) = (directory.path().join("refuses"), directory.path().join("answers"));
    lbd_that_answers(&refuses, Refusal::new(RefusalCode::NotFound, "no member m9").into());
    lbd_that_answers(&answers, Response::Stats(sample::stats()));
    let ask = |socket: &Path| Source::new(&reach(Some(socket), false), None).ask(&Request::Stats);
    assert_eq!(ask(&answers).unwrap(), Response::Stats(sample::stats()));
    let failure = ask(&refuses).unwrap_err();
    assert!(matches!(failure, Failure::Refused(_)) && failure.to_string() == "no member m9", "{failure}");
    let failure = ask(&directory.path().join("nobody")).unwrap_err();
    assert!(matches!(failure, Failure::Unanswered(_)) && failure.to_string().contains("--offline"), "{failure}");
}

#[test]
fn the_maps_of_a_running_lbd_are_read_and_not_edited() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("lbd");
    let options = reach(Some(&socket), true);
    let its =
        crate::control::view::DataplaneView { pin_path: options.pin_path.display().to_string(), ..sample::dataplane() };
    lbd_that_answers(&socket, Response::Dataplane(Box::new(its)));
    let source = Source::new(&options, None);
    for edit in [an_edit(), Request::Detach] {
        let failure = source.ask(&edit).unwrap_err();
        assert!(matches!(failure, Failure::LbdRuns { .. }), "{edit:?}: {failure}");
        assert!(failure.to_string().contains(socket.to_str().unwrap()), "{failure}");
    }
    // Nothing is pinned there: that far reading came.
    let failure = source.ask(&Request::Status).unwrap_err();
    assert!(failure.to_string().contains("/sys/fs/bpf/krater-cli-nobody"), "{failure}");
}

#[test]
fn an_lbd_with_other_maps_is_no_obstacle() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("lbd");
    lbd_that_answers(&socket, Response::Dataplane(Box::new(sample::dataplane())));
    let failure = Source::new(&reach(Some(&socket), true), None).ask(&an_edit()).unwrap_err();
    assert!(matches!(failure, Failure::Pinned(_)), "{failure}");
}

#[test]
fn an_lbd_that_does_not_say_whose_maps_it_has_is_an_obstacle() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("lbd");
    lbd_that_answers(&socket, Refusal::new(RefusalCode::Busy, "busy").into());
    let failure = Source::new(&reach(Some(&socket), true), None).ask(&an_edit()).unwrap_err();
    assert!(matches!(failure, Failure::LbdRuns { .. }), "{failure}");
}

#[test]
fn only_a_data_path_is_detached() {
    let directory = tempfile::tempdir().unwrap();
    let kept = directory.path().join("CONFIG");
    std::fs::write(&kept, "a file").unwrap();
    let nobody = directory.path().join("nobody");
    for pin_path in [directory.path(), &nobody] {
        let reach = Reach { pin_path: pin_path.to_owned(), ..reach(Some(&nobody), true) };
        let failure = Source::new(&reach, None).ask(&Request::Detach).unwrap_err();
        assert!(matches!(failure, Failure::NothingPinned { .. }), "{failure}");
    }
    assert!(kept.exists(), "a directory that is no bpffs was emptied");
}
