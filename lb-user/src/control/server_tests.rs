#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{io::Write, os::unix::net::UnixStream as StdStream};

use super::*;
use crate::control::{
    client::{Client, ClientError},
    events::{Event, EventDesk, Kind, Question},
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

/// Serves with other patience than an operator has.
fn start_with(path: &Path, house: House, commands: mpsc::Sender<Command>) {
    let mut server = Server::bind(path).unwrap();
    server.house = Arc::new(house);
    tokio::spawn(server.serve(commands));
}

fn count() -> Request {
    Request::FlowCount { filter: protocol::FlowFilter::default() }
}

fn events(wait_ms: u32) -> Request {
    Request::Events { after: Some(0), epoch: None, wait_ms }
}

/// Sends a request and keeps the connection.
fn send(path: &Path, request: &Request) -> StdStream {
    let mut stream = StdStream::connect(path).unwrap();
    stream.write_all(&protocol::encode_request(request).unwrap()).unwrap();
    stream
}

async fn is_served(path: &Path) -> bool {
    matches!(ask(path, count()).await, Ok(Response::FlowCount(_)))
}

#[tokio::test]
async fn silent_clients_make_room_for_one_who_asks() {
    let directory = directory();
    let path = directory.path().join("lbd.sock");
    let (sender, receiver) = mpsc::channel(4);
    tokio::spawn(fake_controller(receiver));
    start_with(&path, House { crowded_patience: Duration::from_millis(50), ..House::new() }, sender);
    let silent: Vec<_> = (0..MAX_CLIENTS).map(|_| StdStream::connect(&path).unwrap()).collect();
    assert!(is_served(&path).await, "32 silent clients keep everybody out");
    drop(silent);
}

#[tokio::test]
async fn clients_that_are_being_served_keep_their_places() {
    let directory = directory();
    let path = directory.path().join("lbd.sock");
    // A controller that is busy: it takes nothing.
    let (sender, _receiver) = mpsc::channel(1);
    let house = House {
        crowded_patience: Duration::from_millis(10),
        queue_patience: Duration::from_millis(100),
        ..House::new()
    };
    start_with(&path, house, sender);
    let served: Vec<_> = (0..MAX_CLIENTS).map(|_| send(&path, &count())).collect();
    // Every one of these waits in vain, and more than can wait are sent away
    // at once.
    let late: Vec<_> = (0..MAX_QUEUE + 4).map(|_| ask(&path, count())).collect();
    for answer in futures_util::future::join_all(late).await {
        let Ok(Response::Refused(refusal)) = answer else { panic!("{answer:?}") };
        assert!(refusal.code == RefusalCode::Busy && refusal.message.contains("already"), "{refusal}");
    }
    for stream in &served {
        stream.set_nonblocking(true).unwrap();
        let error = std::io::Read::read(&mut &*stream, &mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "a client lost its place");
    }
    drop(served);
    // They left; whoever comes has a place, if not an answer.
    let answer = tokio::task::spawn_blocking(move || Client::new(&path, Duration::from_millis(300)).ask(&count()));
    assert!(matches!(answer.await.unwrap(), Err(ClientError::Broken { .. })));
}

/// A controller that counts flows and has a desk for events.
async fn controller_with_desk(mut commands: mpsc::Receiver<Command>, mut happening: mpsc::Receiver<Event>) {
    let mut desk = EventDesk::new(std::time::SystemTime::now());
    loop {
        let deadline = desk.next_deadline().map(Instant::from_std);
        tokio::select! {
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                desk.expire(std::time::Instant::now());
            }
            command = commands.recv() => {
                let Some(Command { request, reply }) = command else { return };
                if let Request::Events { after, epoch, wait_ms } = request {
                    let wait = Duration::from_millis(wait_ms.into());
                    desk.ask(Question { after, epoch, wait }, std::time::Instant::now(), reply);
                } else {
                    let _ = reply.send(Response::FlowCount(FlowCountView::default()));
                }
            }
            event = happening.recv() => {
                desk.push(event.unwrap());
            }
        }
    }
}

fn start_with_desk(path: &Path) -> mpsc::Sender<Event> {
    let (sender, receiver) = mpsc::channel(4);
    let (happen, happening) = mpsc::channel(4);
    tokio::spawn(controller_with_desk(receiver, happening));
    start_with(path, House::new(), sender);
    happen
}

async fn wait_for(what: &str, mut test: impl AsyncFnMut() -> bool) {
    for _ in 0..500 {
        if test().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} did not come about");
}

fn read_line(stream: StdStream) -> tokio::task::JoinHandle<String> {
    tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stream), &mut line).unwrap();
        line
    })
}

#[tokio::test]
async fn followers_take_half_the_places_and_give_them_back_when_they_leave() {
    let directory = directory();
    let path = directory.path().join("lbd.sock");
    let happen = start_with_desk(&path);
    let mut followers: Vec<_> = (0..MAX_WAITING).map(|_| send(&path, &events(25_000))).collect();
    wait_for("a full house of followers", async || {
        matches!(ask(&path, events(1)).await, Ok(Response::Refused(refusal)) if refusal.code == RefusalCode::Busy)
    })
    .await;
    assert!(is_served(&path).await);
    assert!(matches!(ask(&path, events(0)).await, Ok(Response::Events(_))), "who does not wait needs no such place");
    // One leaves, and another one has its place, long before anything happens.
    drop(followers.pop());
    wait_for("a place for one more follower", async || {
        let client = Client::new(&path, Duration::from_millis(100));
        let asked = tokio::task::spawn_blocking(move || client.ask(&events(25_000))).await.unwrap();
        matches!(asked, Err(ClientError::Broken { .. }))
    })
    .await;
    happen.send(Event::new(Kind::MemberUp, "web/app/m1", "answers")).await.unwrap();
    for follower in followers {
        assert!(read_line(follower).await.unwrap().contains("\"kind\":\"member_up\""));
    }
}

#[tokio::test]
async fn whoever_has_said_all_they_have_to_say_is_told_all_the_same() {
    let directory = directory();
    let path = directory.path().join("lbd.sock");
    let happen = start_with_desk(&path);
    let follower = send(&path, &events(25_000));
    follower.shutdown(std::net::Shutdown::Write).unwrap();
    let told = read_line(follower);
    tokio::time::sleep(Duration::from_millis(100)).await;
    happen.send(Event::new(Kind::MemberUp, "web/app/m1", "answers")).await.unwrap();
    assert!(told.await.unwrap().contains("\"kind\":\"member_up\""));
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
