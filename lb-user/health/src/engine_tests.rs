#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

//! The whole of it over loopback: half-open probes need `CAP_NET_RAW`, so these tests
//! run as root.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use socket2::{Domain, Socket, Type};
use tokio::time::timeout;

use super::*;
use crate::question::Delivery;

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(20);

const SHORT: Duration = Duration::from_millis(20);

fn target(id: u32, handshake: Handshake, to: SocketAddr) -> Target {
    Target {
        id: TargetId(id),
        member: to.ip(),
        question: Question { kind: Kind::Tcp(handshake), to, delivery: Delivery::Routed },
        pace: Pace { delay: SHORT, timeout: LONG, rise: 2, fall: 3, damping: true },
        place: 0,
    }
}

/// A service that counts who comes.
struct Service {
    address: SocketAddr,
    came: Arc<AtomicUsize>,
    task: AbortHandle,
}

impl Service {
    fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let came = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&came);
        let accept = async move {
            loop {
                if listener.accept().await.is_ok() {
                    counter.fetch_add(1, Relaxed);
                }
            }
        };
        Self { address, came, task: tokio::spawn(accept).abort_handle() }
    }

    fn anywhere() -> Self {
        Self::at((Ipv4Addr::LOCALHOST, 0).into())
    }

    async fn expect(&self, more: usize) {
        let enough = self.came.load(Relaxed) + more;
        let wait = async {
            while self.came.load(Relaxed) < enough {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LONG, wait).await.unwrap();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An address whose listener takes no more connections; so does every other address of
/// loopback at that port.
fn black_hole() -> (Socket, Vec<TcpStream>, SocketAddr) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let port = listener.local_addr().unwrap().as_socket().unwrap().port();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut queued = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        queued.push(stream);
        assert!(queued.len() < 16, "the queue takes everything");
    }
    (listener, queued, address)
}

/// What is found next, one at a time.
struct Findings<'a> {
    monitors: &'a Monitors,
    waiting: Vec<Finding>,
}

impl<'a> Findings<'a> {
    fn of(monitors: &'a Monitors) -> Self {
        Self { monitors, waiting: Vec::new() }
    }

    async fn next(&mut self) -> (u32, Verdict, String) {
        if self.waiting.is_empty() {
            self.waiting = timeout(LONG, self.monitors.findings()).await.unwrap();
        }
        let finding = self.waiting.remove(0);
        (finding.id.0, finding.verdict, finding.outcome.to_string())
    }

    async fn none_for(&mut self, time: Duration) {
        assert_eq!(self.waiting, []);
        let found = timeout(time, self.monitors.findings()).await;
        assert!(found.is_err(), "{found:?}");
    }
}

const BOTH: [Handshake; 2] = [Handshake::Half, Handshake::Full];

#[tokio::test]
async fn a_member_that_stops_and_comes_back_is_told_about_with_the_reason() {
    for handshake in BOTH {
        let monitors = Monitors::start().unwrap();
        let mut found = Findings::of(&monitors);
        let service = Service::anywhere();
        let address = service.address;
        monitors.set(vec![target(1, handshake, address)]);
        assert_eq!(found.next().await, (1, Verdict::Up, "accepts connections".to_owned()));
        drop(service);
        assert_eq!(found.next().await, (1, Verdict::Down, "connection refused".to_owned()));
        let _service = Service::at(address);
        assert_eq!(found.next().await, (1, Verdict::Up, "accepts connections".to_owned()));
    }
}

#[tokio::test]
async fn a_half_open_probe_is_no_connection_to_the_members_server_and_a_full_one_is() {
    let monitors = Monitors::start().unwrap();
    let (half, full) = (Service::anywhere(), Service::anywhere());
    monitors.set(vec![target(1, Handshake::Half, half.address), target(2, Handshake::Full, full.address)]);
    full.expect(20).await;
    assert!(monitors.record(TargetId(1)).unwrap().probes >= 5);
    assert_eq!(half.came.load(Relaxed), 0);
}

#[tokio::test]
async fn a_slow_member_delays_no_other() {
    let monitors = Monitors::start().unwrap();
    let mut found = Findings::of(&monitors);
    let (_listener, _queued, black_hole) = black_hole();
    let service = Service::anywhere();
    monitors.set(vec![
        target(1, Handshake::Half, black_hole),
        target(2, Handshake::Full, black_hole),
        target(3, Handshake::Full, service.address),
    ]);
    assert_eq!(found.next().await.0, 3);
    service.expect(20).await;
    found.none_for(Duration::ZERO).await;
    assert_eq!(monitors.workload().in_flight.max(2), monitors.workload().in_flight);
}

#[tokio::test]
async fn a_question_that_is_not_to_be_asked_any_more_is_not_waited_for() {
    for handshake in BOTH {
        let monitors = Monitors::start().unwrap();
        let service = Service::anywhere();
        let (_listener, _queued, black_hole) = black_hole();
        let hour = Pace { timeout: Duration::from_secs(3600), ..target(1, handshake, black_hole).pace };
        let patient = Target { pace: hour, ..target(1, handshake, black_hole) };
        monitors.set(vec![patient.clone()]);
        tokio::time::sleep(Duration::from_millis(100)).await;
        monitors.set(vec![Target { pace: hour, ..target(1, handshake, service.address) }]);
        assert_eq!(Findings::of(&monitors).next().await.1, Verdict::Up);
    }
}

#[tokio::test]
async fn being_told_the_same_again_and_again_changes_nothing() {
    let monitors = Monitors::start().unwrap();
    let mut found = Findings::of(&monitors);
    let service = Service::anywhere();
    let targets = vec![target(1, Handshake::Full, service.address)];
    monitors.set(targets.clone());
    assert_eq!(found.next().await.1, Verdict::Up);
    for _ in 0..50 {
        monitors.set(targets.clone());
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    service.expect(3).await;
    found.none_for(Duration::ZERO).await;
}

#[tokio::test]
async fn a_member_that_is_gone_is_left_alone_and_dropping_the_monitors_ends_the_thread() {
    let monitors = Monitors::start().unwrap();
    let service = Service::anywhere();
    monitors.set(vec![target(1, Handshake::Full, service.address)]);
    service.expect(2).await;
    monitors.set(Vec::new());
    tokio::time::sleep(Duration::from_millis(100)).await;
    let came = service.came.load(Relaxed);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(service.came.load(Relaxed), came);
    assert_eq!((monitors.records().len(), monitors.workload().members), (0, 0));
    let shared = Arc::downgrade(&monitors.shared);
    drop(monitors);
    assert!(shared.upgrade().is_none(), "the thread is still there");
}

#[tokio::test]
async fn an_address_out_of_reach_fails_although_it_answers() {
    let monitors = Monitors::start().unwrap();
    let mut found = Findings::of(&monitors);
    let service = Service::anywhere();
    monitors.set(vec![target(1, Handshake::Half, service.address)]);
    assert_eq!(found.next().await.1, Verdict::Up);
    monitors.set_unreachable(BTreeMap::from([(service.address.ip(), "no neighbour answers".into())]));
    assert_eq!(found.next().await, (1, Verdict::Down, "frames cannot reach it: no neighbour answers".to_owned()));
}

#[tokio::test]
async fn a_thousand_members_are_asked_without_a_descriptor_for_each() {
    let monitors = Monitors::start().unwrap();
    let service = Service::anywhere();
    let (_listener, _queued, black_hole) = black_hole();
    let hole = |id: u32| SocketAddr::new(Ipv4Addr::from(0x7f01_0000 + id).into(), black_hole.port());
    let member = |id: u32| Target {
        pace: Pace { delay: Duration::from_millis(200), timeout: LONG, ..target(0, Handshake::Half, black_hole).pace },
        place: id.wrapping_mul(0x9e37_79b9),
        ..target(id, Handshake::Half, if id.is_multiple_of(10) { hole(id) } else { service.address })
    };
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    monitors.set((0..1000).map(member).collect());
    let wait = async {
        while monitors.records().values().filter(|record| record.probes >= 3).count() < 900 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LONG, wait).await.unwrap();
    assert!(descriptors() < before + 150, "{} descriptors", descriptors() - before);
    assert!(monitors.workload().in_flight >= 100);
}
