#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    net::{IpAddr, Ipv4Addr, TcpListener},
    num::NonZeroU16,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use lb_common::protocol::Transport;
use tokio::time::timeout;

use super::*;
use crate::{
    compile::MemberOverride,
    model::{Algorithm, ForwardMode, HealthMonitor, LoadBalancer, Member, Name, Pool, Topology, Weight},
};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(20);

fn target(port: u16, address: SocketAddr) -> Target {
    let member = MemberKey { pool: "web/app".to_owned(), address: Ipv4Addr::LOCALHOST.into(), port };
    let delay = Duration::from_millis(20);
    Target { member, kind: MonitorKind::Tcp, address, delay, timeout: LONG, rise: 2, fall: 3 }
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

async fn next(events: &mut mpsc::Receiver<HealthEvent>) -> HealthEvent {
    timeout(LONG, events.recv()).await.unwrap().unwrap()
}

fn start() -> (Monitors, mpsc::Receiver<HealthEvent>) {
    let (sender, events) = mpsc::channel(16);
    (Monitors::start(sender), events)
}

#[tokio::test]
async fn a_member_that_stops_and_comes_back_is_told_about_with_the_reason() {
    let (monitors, mut events) = start();
    let service = Service::anywhere();
    let address = service.address;
    monitors.set(vec![target(1, address)]);
    let mut said = vec![next(&mut events).await];
    drop(service);
    said.push(next(&mut events).await);
    let _service = Service::at(address);
    said.push(next(&mut events).await);
    let said: Vec<_> = said.iter().map(|event| (event.member.port, event.verdict, event.reason.as_str())).collect();
    let expected = [(1, Verdict::Up, "answers"), (1, Verdict::Down, "connection refused"), (1, Verdict::Up, "answers")];
    assert_eq!(said, expected);
}

#[tokio::test]
async fn a_slow_member_delays_no_other_and_the_same_member_of_two_pools_is_probed_twice() {
    let (monitors, mut events) = start();
    let (_listener, _queued, black_hole) = probe::tests::black_hole();
    let service = Service::anywhere();
    let other_pool = MemberKey { pool: "web/other".to_owned(), ..target(2, service.address).member };
    monitors.set(vec![
        target(1, black_hole),
        target(2, service.address),
        Target { member: other_pool.clone(), ..target(2, service.address) },
    ]);
    let mut up: Vec<_> = [next(&mut events).await, next(&mut events).await].into_iter().map(|e| e.member).collect();
    up.sort();
    assert_eq!(up, [target(2, service.address).member, other_pool]);
    service.expect(20).await;
    assert!(events.try_recv().is_err(), "the black hole's first probe is still under way");
}

#[tokio::test]
async fn being_told_the_same_again_and_again_changes_nothing() {
    let (monitors, mut events) = start();
    let service = Service::anywhere();
    let targets = vec![target(1, service.address)];
    monitors.set(targets.clone());
    assert_eq!(next(&mut events).await.verdict, Verdict::Up);
    for _ in 0..50 {
        monitors.set(targets.clone());
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    service.expect(3).await;
    assert!(events.try_recv().is_err());
}

#[tokio::test]
async fn another_interval_or_threshold_keeps_the_verdict() {
    let (monitors, mut events) = start();
    let service = Service::anywhere();
    let slow = Target { delay: Duration::from_secs(3600), ..target(1, service.address) };
    monitors.set(vec![slow.clone()]);
    assert_eq!(next(&mut events).await.verdict, Verdict::Up);
    // An hour is not waited for when it has become a blink.
    let quick = Target { delay: Duration::from_millis(10), fall: 1, ..slow };
    monitors.set(vec![quick]);
    service.expect(10).await;
    assert!(events.try_recv().is_err());
    drop(service);
    assert_eq!(next(&mut events).await.verdict, Verdict::Down);
}

#[tokio::test]
async fn another_address_is_another_question() {
    let (monitors, mut events) = start();
    let good = Service::anywhere();
    let bad = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    monitors.set(vec![target(1, bad)]);
    assert_eq!(next(&mut events).await.verdict, Verdict::Down);
    // One success is enough, although a member that was down needs two.
    let hour = Target { delay: Duration::from_secs(3600), rise: 10, ..target(1, good.address) };
    monitors.set(vec![hour]);
    assert_eq!(next(&mut events).await.verdict, Verdict::Up);
}

#[tokio::test]
async fn a_question_that_is_not_to_be_asked_any_more_is_not_waited_for() {
    let (monitors, mut events) = start();
    let service = Service::anywhere();
    let (_listener, _queued, black_hole) = probe::tests::black_hole();
    let patient = Target { timeout: Duration::from_secs(3600), ..target(1, black_hole) };
    monitors.set(vec![patient.clone()]);
    tokio::time::sleep(Duration::from_millis(100)).await;
    monitors.set(vec![Target { address: service.address, ..patient }]);
    assert_eq!(next(&mut events).await.verdict, Verdict::Up);
}

#[tokio::test]
async fn a_member_that_is_gone_is_left_alone_and_dropping_the_monitors_ends_them() {
    let (monitors, mut events) = start();
    let service = Service::anywhere();
    monitors.set(vec![target(1, service.address)]);
    service.expect(2).await;
    monitors.set(Vec::new());
    tokio::time::sleep(Duration::from_millis(100)).await;
    let came = service.came.load(Relaxed);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(service.came.load(Relaxed), came);

    monitors.set(vec![target(1, service.address)]);
    service.expect(2).await;
    drop(monitors);
    let ended = timeout(LONG, async { while events.recv().await.is_some() {} });
    assert_eq!(ended.await, Ok(()));
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn port(port: u16) -> NonZeroU16 {
    NonZeroU16::new(port).unwrap()
}

fn member(last: u8) -> Member {
    Member {
        name: name(&format!("m{last}")),
        address: IpAddr::from([10, 0, 0, last]),
        protocol_port: port(8080),
        weight: Weight::default(),
        backup: false,
        admin_state_up: true,
        monitor_address: None,
        monitor_port: None,
    }
}

fn pool(pool: &str, members: Vec<Member>) -> Pool {
    let (second, kind) = (Duration::from_secs(1), MonitorKind::Tcp);
    Pool {
        name: name(pool),
        protocol: Transport::Tcp,
        lb_algorithm: Algorithm::SourceIpPort,
        forward_mode: ForwardMode::Nat,
        admin_state_up: true,
        members,
        health_monitor: Some(HealthMonitor {
            kind,
            delay: 5 * second,
            timeout: 3 * second,
            max_retries: 2,
            max_retries_down: 4,
            admin_state_up: true,
        }),
    }
}

fn model(pools: Vec<Pool>) -> Model {
    let lb = LoadBalancer {
        name: name("web"),
        vip_address: "10.0.0.1".parse().unwrap(),
        topology: Topology::Single,
        admin_state_up: true,
        listeners: Vec::new(),
        pools,
    };
    let off = LoadBalancer {
        name: name("off"),
        vip_address: "10.0.0.2".parse().unwrap(),
        admin_state_up: false,
        ..lb.clone()
    };
    Model::new(vec![lb, off]).unwrap()
}

#[test]
fn a_target_is_where_the_monitor_is_told_to_look_and_as_it_is_told() {
    let elsewhere =
        Member { monitor_address: Some("10.9.9.9".parse().unwrap()), monitor_port: Some(port(9000)), ..member(12) };
    let found = targets(&model(vec![pool("app", vec![member(11), elsewhere])]));
    let key = |last: u8| MemberKey { pool: "web/app".to_owned(), address: [10, 0, 0, last].into(), port: 8080 };
    let expected = |member, address: &str| Target {
        member,
        kind: MonitorKind::Tcp,
        address: address.parse().unwrap(),
        delay: Duration::from_secs(5),
        timeout: Duration::from_secs(3),
        rise: 2,
        fall: 4,
    };
    assert_eq!(found, [expected(key(11), "10.0.0.11:8080"), expected(key(12), "10.9.9.9:9000")]);
}

#[test]
fn what_is_switched_off_anywhere_above_is_not_probed() {
    let off = || Member { admin_state_up: false, ..member(12) };
    let mut unwatched = pool("unwatched", vec![member(11)]);
    unwatched.health_monitor = None;
    let mut paused = pool("paused", vec![member(11)]);
    paused.health_monitor.as_mut().unwrap().admin_state_up = false;
    let mut closed = pool("closed", vec![member(11)]);
    closed.admin_state_up = false;
    let pools = vec![pool("app", vec![member(11), off()]), unwatched, paused, closed, pool("more", vec![member(11)])];
    let found: Vec<_> =
        targets(&model(pools)).into_iter().map(|t| format!("{} {}", t.member.pool, t.address)).collect();
    assert_eq!(found, ["web/app 10.0.0.11:8080", "web/more 10.0.0.11:8080"]);
}

#[test]
fn an_operators_word_about_a_member_outweighs_the_pool_files() {
    let key = |last: u8| MemberKey { pool: "web/app".to_owned(), address: [10, 0, 0, last].into(), port: 8080 };
    let off = Member { admin_state_up: false, ..member(12) };
    let word = |up| MemberOverride { admin_state_up: Some(up), ..MemberOverride::default() };
    let overrides = [(key(11), word(false)), (key(12), word(true))].into_iter().collect();
    let found = targets_under(&model(vec![pool("app", vec![member(11), off])]), &overrides);
    assert_eq!(found.into_iter().map(|t| t.member).collect::<Vec<_>>(), [key(12)]);
}
