#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{io::Write, os::unix::net::UnixStream as StdStream};

use super::*;
use crate::control::{
    client::{Client, ClientError},
    view::FlowCountView,
};

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn client(path: &Path) -> Client {
    Client::new(path, Duration::from_secs(5))
}

async fn ask(path: &Path, request: Request) -> Result<Response, ClientError> {
    let client = client(path);
    tokio::task::spawn_blocking(move || client.ask(&request)).await.unwrap()
}

/// A controller that counts flows and is silent about everything else.
async fn fake_controller(mut commands: mpsc::Receiver<Command>) {
    while let Some(command) = commands.recv().await {
        if matches!(command.request, Request::FlowCount { .. }) {
            let _ = command.reply.send(Response::FlowCount(FlowCountView { matching: 7, ..FlowCountView::default() }));
        }
    }
}

fn start(path: &Path) -> tokio::task::JoinHandle<()> {
    let (sender, receiver) = mpsc::channel(4);
    let server = Server::bind(path).unwrap();
    tokio::spawn(fake_controller(receiver));
    tokio::spawn(server.serve(sender))
}

#[tokio::test]
async fn a_request_reaches_the_controller_and_its_answer_the_client() {
    let directory = directory();
    let path = directory.path().join("run/lbd.sock");
    let _server = start(&path);
    let answer = ask(&path, Request::FlowCount { filter: protocol::FlowFilter::default() }).await.unwrap();
    assert_eq!(answer, Response::FlowCount(FlowCountView { matching: 7, ..FlowCountView::default() }));
}

#[tokio::test]
async fn a_command_that_is_dropped_is_answered_as_stopping() {
    let directory = directory();
    let path = directory.path().join("lbd.sock");
    let _server = start(&path);
    let Response::Refused(refusal) = ask(&path, Request::Status).await.unwrap() else { panic!("not refused") };
    assert_eq!(refusal.code, RefusalCode::Busy);
}

#[tokio::test]
async fn the_socket_is_closed_to_others_and_gone_afterwards() {
    let directory = directory();
    let path = directory.path().join("run/lbd.sock");
    let server = start(&path);
    let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o660, 0o750));
    server.abort();
    let _ = server.await;
    assert!(!path.exists());
    let error = ask(&path, Request::Status).await.unwrap_err();
    assert!(matches!(error, ClientError::Connect { .. }));
    assert!(error.to_string().contains("--offline"), "{error}");
}

#[tokio::test]
async fn a_socket_left_behind_is_replaced_and_a_living_one_is_not() {
    let directory = directory();
    let path = directory.path().join("lbd.sock");
    // Dropping a standard listener leaves its file, as a killed daemon does.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let _server = start(&path);
    assert!(matches!(Server::bind(&path), Err(BindError::InUse { .. })));
    let file = directory.path().join("file");
    fs::write(&file, "precious").unwrap();
    assert!(matches!(Server::bind(&file), Err(BindError::NotASocket { .. })));
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
}

#[tokio::test]
async fn too_many_clients_are_refused_and_places_come_back() {
    let directory = directory();
    let path = directory.path().join("lbd.sock");
    let _server = start(&path);
    let silent: Vec<_> = (0..MAX_CLIENTS).map(|_| StdStream::connect(&path).unwrap()).collect();
    let count = || Request::FlowCount { filter: protocol::FlowFilter::default() };
    let Response::Refused(refusal) = ask(&path, count()).await.unwrap() else { panic!("not refused") };
    assert_eq!(refusal.code, RefusalCode::Busy);
    drop(silent);
    for _ in 0..100 {
        if matches!(ask(&path, count()).await, Ok(Response::FlowCount(_))) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("no place came back");
}

#[tokio::test]
async fn a_daemon_that_is_stuck_is_told_by_the_time_that_was_waited() {
    let directory = directory();
    let path = directory.path().join("lbd.sock");
    // Takes connections as its kernel does, and never reads them.
    let _stuck = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let client = Client::new(&path, Duration::from_millis(50));
    let asked = tokio::task::spawn_blocking(move || client.ask(&Request::Status)).await.unwrap();
    let error = asked.unwrap_err().to_string();
    assert!(error.contains("wait for the answer: not done within 0.05 s"), "{error}");
}

#[tokio::test]
async fn garbage_and_overlong_lines_are_answered_and_do_no_harm() {
    let directory = directory();
    let path = directory.path().join("lbd.sock");
    let _server = start(&path);
    let answer = tokio::task::spawn_blocking({
        let path = path.clone();
        move || {
            let mut stream = StdStream::connect(path).unwrap();
            stream.write_all(b"GET / HTTP/1.1\n").unwrap();
            let mut answers = std::io::BufReader::new(stream.try_clone().unwrap());
            let mut first = String::new();
            std::io::BufRead::read_line(&mut answers, &mut first).unwrap();
            stream.write_all(&vec![b'x'; MAX_REQUEST_BYTES]).unwrap();
            let mut second = String::new();
            std::io::BufRead::read_line(&mut answers, &mut second).unwrap();
            (first, second)
        }
    })
    .await
    .unwrap();
    assert!(answer.0.contains("protocol"), "{answer:?}");
    assert!(answer.1.contains("at most"), "{answer:?}");
    assert!(ask(&path, Request::FlowCount { filter: protocol::FlowFilter::default() }).await.is_ok());
}
