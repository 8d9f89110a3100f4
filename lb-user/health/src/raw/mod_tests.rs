//! Probes of real sockets over loopback. They need root: raw sockets are for root.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    io::Read as _,
    net::{TcpListener, UdpSocket},
    time::Instant,
};

use socket2::{Domain, Socket, Type};

use super::*;

const V4: &str = "127.0.0.1:0";
const V6: &str = "[::1]:0";
const PATIENCE: Duration = Duration::from_secs(5);
/// For probes that nothing answers.
const SHORT: Duration = Duration::from_secs(1);

pub(super) fn question(kind: Kind, to: SocketAddr) -> Question {
    Question { kind, to, delivery: Delivery::Routed }
}

fn half(to: SocketAddr) -> Question {
    question(Kind::Tcp(Handshake::Half), to)
}

/// Asks all at once, and waits until each has come back. Fails when one comes back twice.
pub(super) async fn outcomes(prober: &mut RawProber, questions: &[Question], patience: Duration) -> Vec<Outcome> {
    assert!(nix::unistd::geteuid().is_root(), "tests of raw probes need root: run them with sudo");
    let start = Instant::now();
    let slots = 0..u32::try_from(questions.len()).unwrap();
    let probe = |(slot, question)| Probe { slot, question, deadline: patience, patience };
    let probes: Vec<Probe<'_>> = slots.zip(questions).map(probe).collect();
    let mut ended = Vec::new();
    let mut all = BTreeMap::new();
    prober.begin(&probes, &mut ended);
    loop {
        for (slot, outcome) in ended.drain(..) {
            assert_eq!(all.insert(slot, outcome), None, "one probe, two outcomes");
        }
        if all.len() == questions.len() {
            assert_eq!(prober.flights.len(), 0);
            assert_eq!(prober.next_deadline(), None);
            return all.into_values().collect();
        }
        let wait = prober.next_deadline().unwrap().saturating_sub(start.elapsed());
        if let Ok(readable) = tokio::time::timeout(wait, prober.readable()).await {
            readable.unwrap();
            prober.receive(&mut ended);
        }
        prober.expire(start.elapsed(), &mut ended);
    }
}

pub(super) fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

pub(super) fn ask(questions: &[Question], patience: Duration) -> Vec<Outcome> {
    run(outcomes(&mut RawProber::new(), questions, patience))
}

pub(super) fn refused() -> Outcome {
    Outcome::Fails(Failure::Kernel(libc::ECONNREFUSED))
}

pub(super) fn closed_port() -> Outcome {
    Outcome::Fails(Failure::Told("its port is closed (ICMP port unreachable)"))
}

pub(super) fn aborts() -> Outcome {
    Outcome::Fails(Failure::Told("refuses associations (ABORT)"))
}

/// CRC-32C, a bit at a time (RFC 3720 §12.1).
pub(super) fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 })
    })
}

/// A port that nobody listens at.
fn closed(at: &str) -> SocketAddr {
    TcpListener::bind(at).unwrap().local_addr().unwrap()
}

/// A listener whose queue is full: it answers no SYN any more. What fills it comes with it.
fn full() -> (SocketAddr, Vec<Socket>) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&V4.parse::<SocketAddr>().unwrap().into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut held = vec![listener];
    for _ in 0..3 {
        let client = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).unwrap();
        let _ = client.connect(&address);
        held.push(client);
    }
    (address.as_socket().unwrap(), held)
}

#[test]
fn a_listener_accepts_and_a_closed_port_refuses() {
    let (v4, v6) = (TcpListener::bind(V4).unwrap(), TcpListener::bind(V6).unwrap());
    let open = [&v4, &v6].map(|listener| listener.local_addr().unwrap());
    let questions = [half(open[0]), half(open[1]), half(closed(V4)), half(closed(V6))];
    let accepts = Outcome::Answers(Answer::Accepts);
    assert_eq!(ask(&questions, PATIENCE), [accepts.clone(), accepts, refused(), refused()]);
}

#[test]
fn a_server_does_not_hear_of_a_half_open_probe() {
    let listener = TcpListener::bind(V4).unwrap();
    listener.set_nonblocking(true).unwrap();
    let questions = vec![half(listener.local_addr().unwrap()); 20];
    assert_eq!(ask(&questions, PATIENCE), vec![Outcome::Answers(Answer::Accepts); 20]);
    assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn a_listener_with_a_full_queue_is_silent_and_keeps_no_other_from_answering() {
    let (silent, _held) = full();
    let listener = TcpListener::bind(V4).unwrap();
    let questions = [half(silent), half(listener.local_addr().unwrap())];
    let outcomes = ask(&questions, SHORT);
    assert_eq!(outcomes[0], Outcome::Fails(Failure::Timeout { patience: SHORT, missing: "SYN-ACK" }));
    assert_eq!(outcomes[1], Outcome::Answers(Answer::Accepts));
}

#[test]
fn more_pools_than_there_are_lanes_probe_one_member_at_once() {
    let (silent, _held) = full();
    let outcomes = ask(&vec![half(silent); 50], SHORT);
    assert_eq!(outcomes, vec![Outcome::Fails(Failure::Timeout { patience: SHORT, missing: "SYN-ACK" }); 50]);
}

#[test]
fn udp_tells_apart_who_answers_who_is_silent_and_who_is_closed() {
    let mut questions = Vec::new();
    let mut held = Vec::new();
    for at in [V4, V6] {
        let echo = UdpSocket::bind(at).unwrap();
        let silent = UdpSocket::bind(at).unwrap();
        let gone = UdpSocket::bind(at).unwrap().local_addr().unwrap();
        for to in [echo.local_addr().unwrap(), silent.local_addr().unwrap(), gone] {
            questions.push(question(Kind::UdpConnect, to));
        }
        std::thread::spawn(move || {
            let mut buffer = [0; 64];
            let (length, from) = echo.recv_from(&mut buffer).unwrap();
            echo.send_to(&buffer[..length], from).unwrap();
        });
        held.push(silent);
    }
    let wanted = [Outcome::Answers(Answer::Datagram), Outcome::Answers(Answer::Silence), closed_port()];
    assert_eq!(ask(&questions, SHORT), [wanted.clone(), wanted].concat());
}

#[test]
fn a_datagram_from_another_port_is_no_answer() {
    let asked = UdpSocket::bind(V4).unwrap();
    let question = question(Kind::UdpConnect, asked.local_addr().unwrap());
    std::thread::spawn(move || {
        let (_, from) = asked.recv_from(&mut [0; 64]).unwrap();
        UdpSocket::bind(V4).unwrap().send_to(b"here", from).unwrap();
        // Not closed before the probe has ended.
        std::thread::sleep(PATIENCE);
    });
    assert_eq!(ask(&[question], SHORT), [Outcome::Answers(Answer::Silence)]);
}

#[test]
fn ping_gets_an_echo() {
    let to = [V4, V6].map(|at| question(Kind::Ping, at.parse().unwrap()));
    assert_eq!(ask(&to, PATIENCE), vec![Outcome::Answers(Answer::Echo); 2]);
}

#[test]
fn without_a_route_the_probe_fails_at_once() {
    // No address of multicast accepts a connection, and the kernel knows.
    let outcomes = ask(&[half("255.255.255.255:80".parse().unwrap())], PATIENCE);
    assert!(matches!(outcomes[0], Outcome::Fails(Failure::Kernel(_))), "{outcomes:?}");
}

#[test]
fn what_is_forgotten_never_comes_back() {
    let (silent, _held) = full();
    run(async {
        let mut prober = RawProber::new();
        let mut ended = Vec::new();
        let question = half(silent);
        let probe = Probe { slot: 7, question: &question, deadline: SHORT, patience: SHORT };
        prober.begin(&[probe], &mut ended);
        assert_eq!(prober.next_deadline(), Some(SHORT));
        prober.forget(7);
        assert_eq!((prober.next_deadline(), prober.flights.len()), (None, 0));
        prober.expire(PATIENCE, &mut ended);
        prober.receive(&mut ended);
        assert_eq!(ended, []);
    });
}

#[test]
fn ten_thousand_probes_at_once_each_come_back() {
    let listener = TcpListener::bind(V4).unwrap();
    let port = listener.local_addr().unwrap().port();
    // All of 127/8 is this host; the listener has 127.0.0.1 alone.
    let mut questions = Vec::new();
    for n in 0..10_000u32 {
        let ip = std::net::Ipv4Addr::from(0x7f01_0000 + n);
        questions.push(question(Kind::Ping, (ip, 0).into()));
        questions.push(half((ip, port).into()));
    }
    let outcomes = ask(&questions, PATIENCE);
    let count = |wanted: &Outcome| outcomes.iter().filter(|outcome| *outcome == wanted).count();
    assert_eq!(count(&Outcome::Answers(Answer::Echo)), 10_000);
    assert_eq!(count(&refused()), 10_000);
}

/// Numbers for the pieces of packets are what all CPUs have to share.
#[test]
fn what_is_sent_over_ipv4_is_not_numbered_and_may_not_be_cut_in_pieces() {
    for (kind, number) in [(Kind::Tcp(Handshake::Half), 6), (Kind::Ping, 1), (Kind::Sctp, 132)] {
        let ear = Socket::new(Domain::IPV4, Type::RAW, Some(socket2::Protocol::from(number))).unwrap();
        ear.set_read_timeout(Some(PATIENCE)).unwrap();
        let to: SocketAddr = "127.9.8.7:9".parse().unwrap();
        let _ = ask(&[question(kind, to)], SHORT);
        loop {
            let mut header = [0; 256];
            assert!((&ear).read(&mut header).unwrap() >= 20);
            if header[16..20] == [127, 9, 8, 7] {
                assert_eq!(header[4..8], [0, 0, 0x40, 0], "identification, flags and offset");
                break;
            }
        }
    }
}
