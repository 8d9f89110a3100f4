#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::net::SocketAddr;

use super::{
    world::{Flat, World, dataplane, id_of, key, name, web},
    *,
};
use crate::{
    compile::Verdict,
    dataplane::{
        Part, Transport,
        memory::MemoryDataplane,
        tables::frames::{Frame, Sent, send, shake_hands},
    },
};

fn client(n: u8) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, n], 40_000))
}

fn vip(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

fn assert_as_desired(dataplane: &MemoryDataplane, desired: &Desired) {
    assert_eq!(Flat::observed(&dataplane.observe().unwrap()), Flat::desired(desired));
}

#[test]
fn a_second_round_does_nothing() {
    let mut dataplane = dataplane();
    let desired = World::of(vec![web(&[1, 2])]).desired();
    assert_eq!(reconcile(&mut dataplane, &desired).unwrap(), Outcome { done: 9, waiting: 0 });
    assert_as_desired(&dataplane, &desired);
    assert_eq!(reconcile(&mut dataplane, &desired).unwrap(), Outcome::default());
}

#[test]
fn a_round_that_fails_says_where_and_the_next_one_goes_on() {
    let mut dataplane = dataplane();
    let desired = World::of(vec![web(&[1, 2])]).desired();
    dataplane.fail_after(4);
    let error = reconcile(&mut dataplane, &desired).unwrap_err();
    assert_eq!(error.to_string(), "put pool 1 (web/app, 211 slots), with 4 operations done before it and 4 left");
    assert_eq!(error.done(), 4);
    assert_eq!(reconcile(&mut dataplane, &desired).unwrap(), Outcome { done: 5, waiting: 0 });
    assert_as_desired(&dataplane, &desired);
}

#[test]
fn a_removed_member_waits_for_its_last_connection() {
    let mut dataplane = dataplane();
    let (both, second) = (World::of(vec![web(&[1, 2])]).desired(), World::of(vec![web(&[2])]).desired());
    reconcile(&mut dataplane, &both).unwrap();
    let (n, ack) = (1..=99)
        .filter_map(|n| Some((n, shake_hands(&dataplane, client(n), vip(80))?)))
        .find(|(_, ack)| ack.destination == SocketAddr::from(([10, 0, 0, 1], 8080)))
        .unwrap();
    let id = id_of(&dataplane.observe().unwrap(), "web/app", 1).unwrap();

    assert_eq!(reconcile(&mut dataplane, &second).unwrap().waiting, 2);
    // The member of the other pool has no flows and goes in the next round.
    assert_eq!(reconcile(&mut dataplane, &second).unwrap(), Outcome { done: 1, waiting: 1 });
    assert_eq!(reconcile(&mut dataplane, &second).unwrap(), Outcome { done: 0, waiting: 1 });
    let Sent::On(later) = send(&dataplane, &Frame::ack(client(n), vip(80))) else { panic!("the connection ended") };
    assert_eq!((later.source, later.destination), (ack.source, ack.destination));

    // It comes back with the id that its connection names.
    reconcile(&mut dataplane, &both).unwrap();
    assert_eq!(id_of(&dataplane.observe().unwrap(), "web/app", 1), Some(id));
    reconcile(&mut dataplane, &second).unwrap();
    dataplane.tables.jiffies.set(dataplane.tables.jiffies.get() + 3600 * 250);
    assert!(dataplane.sweep() > 0);
    std::thread::sleep(std::time::Duration::from_millis(100));
    let outcome = reconcile(&mut dataplane, &second).unwrap();
    assert_eq!((outcome.waiting, outcome.done > 0), (0, true));
    assert_eq!(reconcile(&mut dataplane, &second).unwrap(), Outcome::default());
    assert!(!dataplane.observe().unwrap().members.contains_key(&id));
}

/// A data plane in which clients keep sending to UDP port 53.
struct Busy<'a> {
    dataplane: &'a mut MemoryDataplane,
    /// For each client the members its frames went to, in order, and the
    /// source ports they had.
    went: Vec<Vec<(SocketAddr, SocketAddr)>>,
}

impl Dataplane for Busy<'_> {
    fn observe_part(&self, part: &Part) -> Result<Observed, DataplaneError> {
        self.dataplane.observe_part(part)
    }

    fn apply(&mut self, op: &Op) -> Result<(), DataplaneError> {
        let applied = self.dataplane.apply(op);
        self.send();
        applied
    }
}

impl Busy<'_> {
    /// How many flows were opened so far.
    fn opened(&self) -> u64 {
        self.dataplane.tables.counts.borrow().listeners.values().map(|count| count.flows_new).sum()
    }

    fn send(&mut self) {
        for (n, went) in (0..).zip(&mut self.went) {
            let Sent::On(frame) = send(self.dataplane, &Frame::udp(client(n), vip(53))) else { panic!("client {n}") };
            went.push((frame.destination, frame.source));
        }
    }
}

#[test]
fn udp_flows_leave_a_member_that_goes_down_once_and_for_a_living_one() {
    let mut dataplane = dataplane();
    let mut world = World::of(vec![web(&[1, 2, 3])]);
    reconcile(&mut dataplane, &world.desired()).unwrap();
    let mut busy = Busy { dataplane: &mut dataplane, went: vec![Vec::new(); 60] };
    busy.send();
    assert_eq!(busy.opened(), 60);
    world.health.insert(key("web/dns", 1), Verdict::Down);
    reconcile(&mut busy, &world.desired()).unwrap();
    let opened = busy.opened();
    let down = SocketAddr::from(([10, 0, 0, 1], 8080));
    let moved = busy.went.iter().filter(|went| went[0].0 == down).count();
    assert!((10..=40).contains(&moved), "{moved}");
    for went in &busy.went {
        let moves = went.windows(2).filter(|two| two[0] != two[1]).count();
        assert_eq!(moves, usize::from(went[0].0 == down), "{went:?}");
        assert_ne!(went.last().unwrap().0, down);
    }
    // Nobody came back to the same member first.
    assert_eq!(opened, 60 + moved as u64);

    // It is back: nobody who found another one moves again.
    let here: Vec<_> = busy.went.iter().map(|went| *went.last().unwrap()).collect();
    world.health.clear();
    reconcile(&mut busy, &world.desired()).unwrap();
    for (went, here) in busy.went.iter().zip(here) {
        assert_eq!(*went.last().unwrap(), here);
    }
}

#[test]
fn a_load_balancer_under_another_name_moves_no_flow() {
    let mut dataplane = dataplane();
    reconcile(&mut dataplane, &World::of(vec![web(&[1, 2, 3])]).desired()).unwrap();
    let mut busy = Busy { dataplane: &mut dataplane, went: vec![Vec::new(); 30] };
    busy.send();
    let mut renamed = web(&[1, 2, 3]);
    renamed.name = name("shop");
    assert_eq!(reconcile(&mut busy, &World::of(vec![renamed]).desired()).unwrap().waiting, 0);
    assert!(busy.went.iter().all(|went| went.iter().all(|place| *place == went[0])));
}

#[test]
fn all_vips_can_be_exchanged_at_once() {
    use crate::compile::{DesiredListener, DesiredVip};
    use crate::dataplane::ListenerKey;
    let vips = |net: u8| {
        let mut desired = Desired::default();
        for n in 0..1000u16 {
            let [high, low] = n.to_be_bytes();
            let vip = [10, net, high, low].into();
            desired.vips.insert(vip, DesiredVip { label: format!("lb-{n}"), active: true, instance: None });
            let listener = DesiredListener { label: format!("lb-{n}/tcp"), pool: None };
            desired.listeners.insert(ListenerKey { vip, transport: Transport::Tcp, port: 80 }, listener);
        }
        desired
    };
    let mut dataplane = dataplane();
    reconcile(&mut dataplane, &vips(1)).unwrap();
    assert_eq!(reconcile(&mut dataplane, &vips(2)).unwrap(), Outcome { done: 4000, waiting: 0 });
    assert_as_desired(&dataplane, &vips(2));
}

#[test]
fn too_much_is_refused_and_changes_nothing() {
    use crate::compile::DesiredVip;
    let mut dataplane = dataplane();
    let mut desired = World::of(vec![web(&[1])]).desired();
    reconcile(&mut dataplane, &desired).unwrap();
    let before = dataplane.observe().unwrap();
    for n in 0..1024u16 {
        let [high, low] = n.to_be_bytes();
        desired
            .vips
            .insert([10, 1, high, low].into(), DesiredVip { label: format!("lb-{n}"), active: true, instance: None });
    }
    let error = reconcile(&mut dataplane, &desired).unwrap_err();
    assert!(matches!(error, ReconcileError::Plan { done: 0, source: PlanError::NoIdLeft { kind: "VIP", .. } }));
    assert_eq!(dataplane.observe().unwrap(), before);
}
