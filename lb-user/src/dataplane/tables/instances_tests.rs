#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::net::Ipv4Addr;

use lb_common::config::IdleLimits;

use super::*;
use crate::dataplane::{
    Dataplane, Observed, ObservedVip, Op, Switchboard, VipId, kernel::KernelOptions, memory::MemoryDataplane,
};

const MAC: Mac = Mac([0, 0, 0x5e, 0, 1, 51]);
const ONE: InstanceId = InstanceId(1);
const LAST: InstanceId = InstanceId(63);
const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

fn dataplane() -> MemoryDataplane {
    let options = KernelOptions {
        pin_path: "unused".into(),
        max_flows: 1024,
        hash_seed: 0x5eed,
        snat_ports: (16384, 65535),
        idle_seconds: IdleLimits { unconfirmed: 10, tcp: 600, tcp_closing: 20, udp: 60 },
    };
    MemoryDataplane::new(&options, 1024)
}

fn put_instance(id: InstanceId, mac: Option<Mac>) -> Op {
    Op::PutInstance { id, label: format!("pair-{}", id.0), mac }
}

fn put_vip(instance: Option<InstanceId>) -> Op {
    Op::PutVip { id: VipId(3), address: VIP, label: "web".to_owned(), active: true, instance }
}

/// An IPv4 and an IPv6 source of each number.
fn sources(numbers: std::ops::Range<u16>) -> BTreeSet<(u8, IpAddr)> {
    let [four, six] = [IpAddr::from([198, 51, 100, 0]), "2001:db8::".parse().unwrap()];
    let both = numbers.flat_map(|n| {
        let [high, low] = n.to_be_bytes();
        let at = |address: IpAddr| match address {
            IpAddr::V4(a) => IpAddr::from([a.octets()[0], a.octets()[1], high, low]),
            IpAddr::V6(a) => IpAddr::from([a.segments()[0], a.segments()[1], 0, 0, 0, 0, 0, n]),
        };
        [(low, at(four)), (low, at(six))]
    });
    both.collect()
}

fn assert_refused(dataplane: &mut MemoryDataplane, op: &Op, reason: &str) {
    let before = dataplane.observe().unwrap();
    let error = dataplane.apply(op).unwrap_err();
    assert!(matches!(error, DataplaneError::Refused { .. }), "{error:?}");
    assert!(error.to_string().contains(reason), "{error}");
    assert_eq!(dataplane.observe().unwrap(), before);
}

#[test]
fn what_was_put_is_observed_and_goes_again() {
    let mut dataplane = dataplane();
    for op in [put_instance(ONE, Some(MAC)), put_instance(LAST, None), put_vip(Some(LAST))] {
        dataplane.apply(&op).unwrap();
    }
    let instance = |n: u8, mac| ObservedInstance { label: format!("pair-{n}"), mac, active: false };
    let observed = dataplane.observe().unwrap();
    assert_eq!(observed.instances, [(ONE, instance(1, Some(MAC))), (LAST, instance(63, None))].into());
    let vip = ObservedVip { id: VipId(3), label: "web".to_owned(), active: true, instance: Some(LAST) };
    assert_eq!(observed.vips, [(VIP, vip)].into());
    dataplane.apply(&put_vip(None)).unwrap();
    assert_eq!(dataplane.observe().unwrap().vips[&VIP].instance, None);
    for id in [ONE, LAST] {
        dataplane.apply(&Op::RemoveInstance { id }).unwrap();
    }
    assert_eq!(dataplane.observe().unwrap().instances, [].into());
    // A number that was another's before begins with nothing of it.
    dataplane.apply(&put_instance(ONE, None)).unwrap();
    assert_eq!(dataplane.observe().unwrap().instances, [(ONE, instance(1, None))].into());
}

#[test]
fn no_vip_names_an_instance_that_is_not_there() {
    let mut dataplane = dataplane();
    for id in [InstanceId(0), InstanceId(64), InstanceId(255)] {
        assert_refused(&mut dataplane, &put_instance(id, None), "out of range");
        assert_refused(&mut dataplane, &put_vip(Some(id)), "does not exist");
        assert_refused(&mut dataplane, &Op::RemoveInstance { id }, "is not there");
    }
    assert_refused(&mut dataplane, &put_vip(Some(ONE)), "does not exist");
    dataplane.apply(&put_instance(ONE, None)).unwrap();
    dataplane.apply(&put_vip(Some(ONE))).unwrap();
    assert_refused(&mut dataplane, &Op::RemoveInstance { id: ONE }, "192.0.2.1 is moved by instance 1");
    dataplane.apply(&Op::RemoveVip { id: VipId(3), address: VIP }).unwrap();
    dataplane.apply(&Op::RemoveInstance { id: ONE }).unwrap();
    assert_refused(&mut dataplane, &Op::RemoveInstance { id: ONE }, "is not there");
}

#[test]
fn whether_an_instance_is_active_is_the_switchboards_word_alone() {
    let mut dataplane = dataplane();
    dataplane.apply(&put_instance(ONE, Some(MAC))).unwrap();
    dataplane.apply(&put_vip(Some(ONE))).unwrap();
    let answers = |observed: &Observed| observed.answers_for(&observed.vips[&VIP]);
    let board = dataplane.switchboard();
    assert!(!board.is_active(ONE) && !answers(&dataplane.observe().unwrap()));
    assert!(board.clone().set_active(ONE, true));
    board.set_alive(ONE, 77);
    let observed = dataplane.observe().unwrap();
    assert!(board.is_active(ONE) && observed.instances[&ONE].active && answers(&observed));
    // Changing it, or its VIPs, switches nothing.
    dataplane.apply(&put_instance(ONE, None)).unwrap();
    dataplane.apply(&put_vip(Some(ONE))).unwrap();
    assert!(board.is_active(ONE) && board.alive(ONE) == 77);
    assert!(board.set_active(ONE, false) && !answers(&dataplane.observe().unwrap()));
    board.set_active(ONE, true);
    dataplane.apply(&put_vip(None)).unwrap();
    dataplane.apply(&Op::RemoveInstance { id: ONE }).unwrap();
    dataplane.apply(&put_instance(ONE, None)).unwrap();
    assert_eq!((board.is_active(ONE), board.alive(ONE)), (false, 0), "nobody inherits what another was");
}

#[test]
fn an_instance_that_is_not_there_is_not_switched_on() {
    let mut dataplane = dataplane();
    let board: Switchboard = dataplane.switchboard();
    for id in [InstanceId(0), ONE, InstanceId(64), InstanceId(255)] {
        assert!(!board.set_active(id, true) && !board.is_active(id), "{id:?}");
        board.set_alive(id, 1);
    }
    assert_eq!(board.alive(InstanceId(0)), 0);
    dataplane.apply(&put_instance(ONE, None)).unwrap();
    assert_eq!((board.is_active(ONE), board.alive(ONE)), (false, 0));
    // The memory is there as long as anybody looks at it.
    drop(dataplane);
    assert!(board.set_active(ONE, true) && board.is_active(ONE));
}

#[test]
fn a_virtual_router_is_guarded_while_anybody_is_listed_for_it() {
    let mut dataplane = dataplane();
    let guarded = |dataplane: &MemoryDataplane, vrid, v6| {
        dataplane.tables.arrays.advert_guard().has(VirtualRouter::new(vrid, v6))
    };
    let four: (u8, IpAddr) = (255, "192.0.2.3".parse().unwrap());
    let six: (u8, IpAddr) = (64, "fe80::3".parse().unwrap());
    for listed in [BTreeSet::new(), [four].into(), [four, six].into(), [six].into(), BTreeSet::new()] {
        dataplane.apply(&Op::SetAdvertSources { sources: listed.clone() }).unwrap();
        assert_eq!(dataplane.observe().unwrap().advert_sources, listed);
        for vrid in 0..=255 {
            assert_eq!(guarded(&dataplane, vrid, false), vrid == four.0 && listed.contains(&four), "{vrid}");
            assert_eq!(guarded(&dataplane, vrid, true), vrid == six.0 && listed.contains(&six), "{vrid}");
        }
    }
}

#[test]
fn more_than_can_be_listed_is_refused_and_changes_nothing() {
    let mut dataplane = dataplane();
    let most = sources(0..128);
    assert_eq!(most.len(), MAX_ADVERT_SOURCES as usize);
    dataplane.apply(&Op::SetAdvertSources { sources: most.clone() }).unwrap();
    let error = dataplane.apply(&Op::SetAdvertSources { sources: sources(1000..1129) }).unwrap_err();
    assert!(matches!(error, DataplaneError::Full { table: "ADVERT_SOURCES", limit: MAX_ADVERT_SOURCES }), "{error:?}");
    assert_eq!(dataplane.observe().unwrap().advert_sources, most);
    // All of them can be exchanged for others at once.
    let others = sources(1000..1128);
    dataplane.apply(&Op::SetAdvertSources { sources: others.clone() }).unwrap();
    assert_eq!(dataplane.observe().unwrap().advert_sources, others);
}
