#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use super::super::rig::{BRIEF, BlackHole, PATIENCE, Server, ask, was_reset};
use crate::{
    outcome::{Answer, Failure, Outcome},
    question::{Handshake, Kind},
};

const KIND: Kind = Kind::Tcp(Handshake::Full);

#[test]
fn a_port_that_is_accepted_on_answers_and_the_connection_ends_with_a_reset() {
    for address in [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()] {
        let server = Server::start_on(address, |stream| was_reset(&stream));
        assert_eq!(ask(KIND, server.to, PATIENCE), Outcome::Answers(Answer::Accepts));
        assert!(server.end());
    }
}

#[test]
fn a_closed_port_refuses() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let to = listener.local_addr().unwrap();
    drop(listener);
    let outcome = ask(KIND, to, PATIENCE);
    assert_eq!(outcome, Outcome::Fails(Failure::Kernel(libc::ECONNREFUSED)));
    assert_eq!(outcome.to_string(), "connection refused");
}

#[test]
fn where_no_syn_is_answered_there_is_no_connection() {
    let hole = BlackHole::new();
    let outcome = ask(KIND, hole.to, BRIEF);
    assert_eq!(outcome, Outcome::Fails(Failure::Timeout { patience: BRIEF, missing: "connection" }));
    assert_eq!(outcome.to_string(), "no connection within 1 s");
}

#[test]
fn an_address_that_nobody_can_have_fails_at_once() {
    let to = SocketAddr::from((Ipv4Addr::BROADCAST, 80));
    assert!(matches!(ask(KIND, to, PATIENCE), Outcome::Fails(Failure::Kernel(_))));
}
