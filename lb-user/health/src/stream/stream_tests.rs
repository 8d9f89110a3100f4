#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    net::{Ipv6Addr, SocketAddrV6, TcpListener},
    sync::Arc,
    time::Duration,
};

use super::{
    rig::{self, BRIEF, BlackHole, PATIENCE, Server, expecting, was_reset},
    *,
};
use crate::question::GrpcQuestion;

fn kinds() -> [Kind; 5] {
    [
        Kind::Tcp(Handshake::Full),
        Kind::Http(Arc::new(expecting("200"))),
        Kind::Https(Arc::new(expecting("200"))),
        Kind::TlsHello(None),
        Kind::Grpc(Arc::new(GrpcQuestion { service: String::new(), domain_name: None })),
    ]
}

#[test]
fn what_takes_packets_of_our_own_making_is_not_asked() {
    let to = "127.0.0.1:9".parse().unwrap();
    for kind in [Kind::Ping, Kind::Tcp(Handshake::Half), Kind::UdpConnect, Kind::Sctp] {
        assert!(matches!(rig::ask(kind, to, PATIENCE), Outcome::NotAsked(_)));
    }
    for kind in kinds() {
        let delivery = Delivery::Link { interface: 1, source: [2; 6], destination: [4; 6] };
        let question = Question { kind, to, delivery };
        assert!(matches!(rig::run(ask(&question, PATIENCE)), Outcome::NotAsked(_)));
    }
}

#[test]
fn every_kind_says_that_there_is_no_connection_where_there_is_none() {
    let hole = BlackHole::new();
    for kind in kinds() {
        let expected = Failure::Timeout { patience: BRIEF, missing: "connection" };
        assert_eq!(rig::ask(kind.clone(), hole.to, BRIEF), Outcome::Fails(expected), "{}", kind.name());
    }
}

#[test]
fn every_kind_is_refused_by_a_closed_port() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    drop(listener);
    for kind in kinds() {
        let expected = Outcome::Fails(Failure::Kernel(libc::ECONNREFUSED));
        assert_eq!(rig::ask(kind.clone(), to, PATIENCE), expected, "{}", kind.name());
    }
}

#[test]
fn every_kind_says_what_it_waits_for_when_a_server_accepts_and_stalls_and_then_resets() {
    let missing = ["", "status line", "end of the TLS handshake", "TLS record", "gRPC response"];
    for (kind, missing) in kinds().into_iter().zip(missing).skip(1) {
        let server = Server::start(|stream| was_reset(&stream));
        let expected = Failure::Timeout { patience: BRIEF, missing };
        assert_eq!(rig::ask(kind, server.to, BRIEF), Outcome::Fails(expected));
        assert!(server.end(), "{missing}");
    }
}

#[test]
fn every_kind_fails_when_a_server_accepts_and_closes() {
    for kind in kinds().into_iter().skip(1) {
        // With a FIN when all that was sent is read, and with a reset otherwise.
        for reads in [true, false] {
            let server = Server::start(move |mut stream| {
                if reads {
                    rig::some(&mut stream);
                }
            });
            let outcome = rig::ask(kind.clone(), server.to, PATIENCE);
            let is_closed = matches!(outcome, Outcome::Fails(Failure::Closed(_) | Failure::Kernel(libc::ECONNRESET)));
            assert!(is_closed, "{}: {outcome:?}", kind.name());
        }
    }
}

#[test]
fn a_probe_that_is_given_up_leaves_nothing_behind() {
    for kind in kinds().into_iter().skip(1) {
        let name = kind.name();
        let server = Server::start(|stream| was_reset(&stream));
        let question = Question { kind, to: server.to, delivery: Delivery::Routed };
        rig::run(async {
            tokio::select! {
                outcome = ask(&question, PATIENCE) => panic!("{name}: {outcome}"),
                () = tokio::time::sleep(Duration::from_millis(100)) => {}
            }
            // Still within the runtime: nothing needs it to end the connection.
            assert!(server.end(), "{name}");
        });
    }
}

#[test]
fn a_waiting_probe_is_small_and_can_move_between_threads() {
    fn size(future: &(impl Future<Output = Outcome> + Send)) -> usize {
        size_of_val(future)
    }
    let question = Question { kind: kinds()[1].clone(), to: "[::1]:1".parse().unwrap(), delivery: Delivery::Routed };
    let size = size(&ask(&question, PATIENCE));
    assert!(size <= 1024, "{size} bytes");
}

#[test]
fn an_authority_has_ipv6_in_brackets_and_no_scope() {
    assert_eq!(authority("192.0.2.1:80".parse().unwrap()), "192.0.2.1:80");
    let link_local = SocketAddrV6::new(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1), 8080, 0, 3);
    assert_eq!(authority(link_local.into()), "[fe80::1]:8080");
}
