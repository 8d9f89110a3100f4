#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use super::*;
use crate::ha::sync::{
    rehearsal::{SECRET, Table, flow, paths},
    view::PeerState,
};

const LIMIT: Duration = Duration::from_secs(20);

/// Two addresses nobody listens at.
fn addresses() -> [SocketAddr; 2] {
    let sockets = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    sockets.map(|socket| socket.local_addr().unwrap())
}

fn settings([local, peer]: [SocketAddr; 2]) -> SyncSettings {
    SyncSettings { local, peer, secret: SECRET.to_vec(), hash_seed: 1, rescan: Duration::from_secs(60) }
}

fn start(addresses: [SocketAddr; 2], table: &Table) -> Sync {
    Sync::start(settings(addresses), Box::new(table.clone()), watch::channel(paths()).1).unwrap()
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) -> Duration {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < LIMIT, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
    began.elapsed()
}

#[test]
fn two_links_tell_each_other_all_flows_and_every_change() {
    const OLD: u32 = 100_000;
    const CHANGES: u32 = 100_000;
    let [a, b] = addresses();
    let tables = [Table::default(), Table::default()];
    (0..OLD).for_each(|n| tables[0].put_silently(flow(n)));
    let one = start([a, b], &tables[0]);
    let other = start([b, a], &tables[1]);
    wait_until("all flows are told", || tables[1].len() == OLD as usize);
    wait_until("it is known", || one.view().passes.finished == 1);
    println!("{OLD} flows at once: {} ms", one.view().passes.last_millis.unwrap());

    let began = Instant::now();
    let (mut lag, mut n) = (0, OLD);
    while n < OLD + CHANGES {
        // Fifty thousand a second.
        let due = OLD + (began.elapsed().as_micros() / 20) as u32;
        while n < due.min(OLD + CHANGES) {
            tables[0].put(flow(n));
            n += 1;
        }
        lag = lag.max(one.view().lag_millis);
        std::thread::sleep(Duration::from_millis(2));
    }
    wait_until("all changes are told", || tables[1].len() == n as usize);
    println!("{CHANGES} changes in {:?}, told after {:?}, lag at most {lag} ms", began.elapsed(), began.elapsed());
    assert_eq!(tables[0].missing_in(&tables[1]), 0);
    let (one, other) = (one.view(), other.view());
    println!("lost: {:?}", one.lost);
    assert_eq!(one.lost.dropped, 0);
    assert!(other.peer_passes.finished >= 1);
    let text = serde_json::to_string(&one).unwrap();
    assert_eq!(serde_json::from_str::<SyncView>(&text).unwrap(), one);
}

#[test]
fn a_link_that_starts_anew_is_told_everything() {
    let [a, b] = addresses();
    let tables = [Table::default(), Table::default()];
    (0..1000).for_each(|n| tables[0].put_silently(flow(n)));
    let one = start([a, b], &tables[0]);
    for starts in 1..=2 {
        let table = Table::default();
        let other = start([b, a], &table);
        wait_until("all flows are told", || table.len() == 1000);
        assert_eq!(one.view().peer_starts, starts);
        let began = Instant::now();
        drop(other);
        assert!(began.elapsed() < Duration::from_secs(2), "ends at once");
    }
    wait_until("that it ended is noticed", || one.view().state == PeerState::Absent);
}

#[test]
fn an_address_that_is_not_there_is_waited_for() {
    let [a, b] = addresses();
    let tables = [Table::default(), Table::default()];
    tables[0].put_silently(flow(1));
    let occupied = UdpSocket::bind(a).unwrap();
    let one = start([a, b], &tables[0]);
    let _other = start([b, a], &tables[1]);
    wait_until("the problem is told", || one.view().socket_problem.is_some());
    drop(occupied);
    wait_until("the flow is told", || tables[1].len() == 1);
    assert_eq!(one.view().socket_problem, None);

    // An address of the documentation's, which no interface has.
    let elsewhere = start(["192.0.2.77:1".parse().unwrap(), "192.0.2.78:1".parse().unwrap()], &Table::default());
    wait_until("the problem is told", || elsewhere.view().socket_problem.is_some());
    let began = Instant::now();
    drop(elsewhere);
    assert!(began.elapsed() < Duration::from_secs(2), "waiting is no reason to stay");
}

#[test]
fn what_others_send_is_counted_or_does_not_arrive_at_all() {
    let [a, b] = addresses();
    let one = start([a, b], &Table::default());
    let peer = UdpSocket::bind(b).unwrap();
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    wait_until("there is a socket", || one.view().sent.datagrams > 0);
    for socket in [&stranger, &peer] {
        for length in [0, 3, 100, 1400, 1401, 9000] {
            socket.send_to(&vec![b'K'; length], a).unwrap();
        }
    }
    wait_until("all are refused", || one.view().refused.values().sum::<u64>() == 6);
    assert_eq!((one.view().refused["length"], one.view().refused["not_flow_sync"]), (4, 2));
    assert_eq!(one.view().state, PeerState::Absent);
}

#[test]
fn paths_that_come_later_are_heard_of() {
    let [a, b] = addresses();
    let tables = [Table::default(), Table::default()];
    let (known, later) = watch::channel(Paths::new());
    let one = start([a, b], &tables[0]);
    let other = Sync::start(settings([b, a]), Box::new(tables[1].clone()), later).unwrap();
    wait_until("they have met", || one.view().passes.finished == 1);
    tables[0].put(flow(1));
    wait_until("it is refused", || other.view().adopted.refused.get("no_path") == Some(&1));
    known.send(paths()).unwrap();
    tables[0].put(flow(2));
    wait_until("it is taken", || tables[1].len() == 1);
    drop(known);
    tables[0].put(flow(3));
    wait_until("the last paths stay", || tables[1].len() == 2);
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let [a, b] = addresses();
    let v6 = "[::1]:9".parse().unwrap();
    let refused = |settings: SyncSettings| {
        Sync::start(settings, Box::new(Table::default()), watch::channel(paths()).1).err().unwrap().to_string()
    };
    let short = refused(SyncSettings { secret: vec![1; 15], ..settings([a, b]) });
    assert_eq!(short, "use a secret of 16 bytes or more for flow sync; this one has 15");
    assert!(refused(settings([a, a])).contains("another balancer"));
    assert!(refused(settings([a, v6])).contains("one family"));
}
