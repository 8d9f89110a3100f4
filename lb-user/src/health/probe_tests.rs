#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    io::Read as _,
    net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream},
};

use socket2::{Domain, Socket, Type};

use super::*;
use crate::{compile::Verdict, health::machine::Machine};

const PATIENCE: Duration = Duration::from_secs(10);

async fn ask(address: SocketAddr, patience: Duration) -> Result<(), String> {
    match probe(MonitorKind::Tcp, address, patience).await {
        Outcome::Answers => Ok(()),
        Outcome::Fails(failure) => Err(failure.to_string()),
        Outcome::NotAsked(error) => panic!("{error}"),
    }
}

/// An address whose listener takes no more connections: nobody accepts, and
/// the connections that fit into its queue are there. Both are kept open.
pub(in crate::health) fn black_hole() -> (Socket, Vec<TcpStream>, SocketAddr) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        queued.push(stream);
        assert!(queued.len() < 16, "the queue takes everything");
    }
    (listener, queued, address)
}

#[tokio::test]
async fn a_member_that_accepts_answers_and_keeps_nothing_of_the_probe() {
    for local in [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), SocketAddr::from((Ipv6Addr::LOCALHOST, 0))] {
        let listener = TcpListener::bind(local).unwrap();
        assert_eq!(ask(listener.local_addr().unwrap(), PATIENCE).await, Ok(()));
        // A reset, not an end: no TIME_WAIT on either side.
        let (mut accepted, _) = listener.accept().unwrap();
        let read = accepted.read(&mut [0; 16]);
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
}

#[tokio::test]
async fn a_member_that_refuses_fails_at_once() {
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let start = std::time::Instant::now();
    assert_eq!(ask(address, PATIENCE).await, Err("connection refused".to_owned()));
    assert!(start.elapsed() < PATIENCE / 2);
}

#[tokio::test]
async fn a_member_that_says_nothing_fails_when_patience_is_over_and_not_before() {
    let (_listener, _queued, address) = black_hole();
    let patience = Duration::from_millis(200);
    let start = std::time::Instant::now();
    assert_eq!(ask(address, patience).await, Err("no answer within 0.2 s".to_owned()));
    assert!((patience..PATIENCE).contains(&start.elapsed()), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_member_that_refuses_half_the_time_stays_what_it_is() {
    let mut machine = Machine::new(2, 2);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let mut listener = Some(listener);
    let mut answers = Vec::new();
    let mut verdicts = Vec::new();
    for n in 0..20 {
        listener = if n % 2 == 0 { listener.or_else(|| Some(TcpListener::bind(address).unwrap())) } else { None };
        let answer = ask(address, PATIENCE).await.is_ok();
        answers.push(answer);
        verdicts.extend(machine.take(answer));
    }
    assert_eq!(answers, [true, false].repeat(10));
    assert_eq!(verdicts, [Verdict::Up]);
}

#[test]
fn failures_read_as_operators_speak() {
    let cases = [
        (libc::ECONNREFUSED, "connection refused"),
        (libc::ECONNRESET, "connection reset"),
        (libc::EHOSTUNREACH, "no route to host"),
        (libc::ENETUNREACH, "network unreachable"),
        (libc::ETIMEDOUT, "no answer, connection timed out"),
        (libc::EPERM, "this host's firewall or routes forbid it"),
        (libc::EIO, "Input/output error (os error 5)"),
    ];
    for (errno, text) in cases {
        assert_eq!(Failure::Io(io::Error::from_raw_os_error(errno)).to_string(), text);
    }
    assert_eq!(Failure::Timeout(Duration::from_secs(5)).to_string(), "no answer within 5 s");
    assert_eq!(Failure::Timeout(Duration::from_millis(1500)).to_string(), "no answer within 1.5 s");
}

#[test]
fn what_this_host_lacks_is_not_held_against_a_member() {
    for errno in [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS, libc::EADDRNOTAVAIL] {
        assert!(is_our_own(&io::Error::from_raw_os_error(errno)), "{errno}");
    }
    for errno in [libc::ECONNREFUSED, libc::EHOSTUNREACH, libc::ETIMEDOUT, libc::EPERM] {
        assert!(!is_our_own(&io::Error::from_raw_os_error(errno)), "{errno}");
    }
}
