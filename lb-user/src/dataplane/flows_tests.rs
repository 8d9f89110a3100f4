#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::net::SocketAddr;

use lb_common::{config::IdleLimits, limits::DEFAULT_MAX_FLOWS, member::MemberState};
use lb_ebpf::host::FlowArrays as _;

use super::{
    super::{
        Dataplane as _, ListenerId, ListenerRules, MemberId, MemberPath, MemberRecord, Op, PoolId, PoolRecord,
        Statistics as _, VipId,
        kernel::KernelOptions,
        memory::MemoryDataplane,
        tables::frames::{Frame, Sent, connect, next_hop, send},
    },
    *,
};

const FLOWS: u16 = 3000;
const TICK: u64 = 256;
const SIZES: [u32; 2] = [1024, DEFAULT_MAX_FLOWS];

/// A VIP of each family with a UDP listener on port 53 and one member.
fn serving(max_flows: u32) -> MemoryDataplane {
    let options = KernelOptions {
        pin_path: "unused".into(),
        max_flows,
        hash_seed: 0x5eed,
        snat_ports: (16384, 65535),
        idle_seconds: IdleLimits { unconfirmed: 10, tcp: 600, tcp_closing: 20, udp: 60 },
    };
    let mut dataplane = MemoryDataplane::new(&options, 1024);
    connect(&dataplane);
    for (n, member, vip) in [(1, "10.0.0.1", "192.0.2.1"), (2, "2001:db8:1::1", "2001:db8::1")] {
        let (id, pool, label) = (MemberId(n), PoolId(n), format!("web/{n}"));
        let record = MemberRecord {
            label: label.clone(),
            address: member.parse().unwrap(),
            port: 5353,
            pool,
            flags: MemberState::UP,
            weight: 1,
            next_hop: Some(next_hop()),
            path: MemberPath::default(),
            connection_limit: 0,
        };
        let ops = [
            Op::PutMember { id, record },
            Op::PutPool {
                id: pool,
                record: PoolRecord::named(label.clone()),
                table: vec![id; 32],
                hold: std::time::Duration::ZERO,
            },
            Op::PutVip {
                id: VipId(n),
                address: vip.parse().unwrap(),
                label: label.clone(),
                active: true,
                instance: None,
            },
            Op::PutListener {
                id: ListenerId(n),
                vip: VipId(n),
                transport: Transport::Udp,
                port: 53,
                label,
                pool,
                in_snat_range: false,
                rules: ListenerRules::default(),
            },
        ];
        ops.iter().for_each(|op| dataplane.apply(op).unwrap());
    }
    dataplane
}

/// A datagram of a client's flow number `n`.
fn datagram(n: u16, ipv6: bool) -> Frame {
    let (client, vip) = if ipv6 { ("2001:db8:2::1", "2001:db8::1") } else { ("198.51.100.7", "192.0.2.1") };
    Frame::udp(SocketAddr::new(client.parse().unwrap(), 20_000 + n), SocketAddr::new(vip.parse().unwrap(), 53))
}

fn open(dataplane: &MemoryDataplane, flows: std::ops::Range<u16>) {
    for n in flows {
        for ipv6 in [false, true] {
            assert!(matches!(send(dataplane, &datagram(n, ipv6)), Sent::On(_)));
        }
    }
}

fn listed(dataplane: &MemoryDataplane, ipv6: bool) -> usize {
    let mut count = 0;
    dataplane.for_each_flow(&mut |flow| count += usize::from(flow.client.is_ipv6() == ipv6)).unwrap();
    count
}

fn pass(dataplane: &MemoryDataplane, ticks: u64) {
    dataplane.tables.jiffies.set(dataplane.tables.jiffies.get() + ticks * TICK);
}

/// Live entries of all four tables.
fn entries(dataplane: &MemoryDataplane) -> [usize; 4] {
    let arrays = &dataplane.tables.arrays;
    let is_live = |word: &lb_common::atomic::AtomicU64| flow::ctl(word).is_live();
    [
        arrays.flows4().iter().flat_map(|line| &line.ways).filter(|way| is_live(&way.ctl)).count(),
        arrays.flows6().iter().flat_map(|line| &line.ways).filter(|way| is_live(&way.ctl)).count(),
        arrays.returns4().iter().filter(|entry| is_live(&entry.ctl)).count(),
        arrays.returns6().iter().filter(|entry| is_live(&entry.ctl)).count(),
    ]
}

#[test]
fn every_flow_is_listed_once_however_large_the_tables() {
    for (size, flows) in SIZES.into_iter().zip([500, FLOWS]) {
        let dataplane = serving(size);
        open(&dataplane, 0..flows);
        let mut ports = std::collections::BTreeMap::new();
        dataplane.for_each_flow(&mut |flow| *ports.entry((flow.client, flow.client_port)).or_insert(0) += 1).unwrap();
        assert_eq!(ports.len(), 2 * usize::from(flows));
        assert!(ports.values().all(|times| *times == 1));
    }
}

#[test]
fn a_sweep_takes_both_halves_of_what_is_idle_and_nothing_else() {
    for (size, flows) in SIZES.into_iter().zip([500, FLOWS]) {
        let dataplane = serving(size);
        open(&dataplane, 0..flows);
        pass(&dataplane, 8);
        open(&dataplane, 0..flows / 2);
        assert_eq!(dataplane.sweep(), 0, "nothing is old enough");
        pass(&dataplane, 4);
        let half = usize::from(flows / 2);
        assert_eq!(dataplane.sweep(), u64::from(flows) / 2 * 2);
        assert_eq!(entries(&dataplane), [half; 4]);
        assert_eq!((listed(&dataplane, false), listed(&dataplane, true)), (half, half));
    }
}

#[test]
fn return_entries_that_lost_their_flow_are_swept_when_they_are_old() {
    let dataplane = serving(DEFAULT_MAX_FLOWS);
    open(&dataplane, 0..FLOWS);
    let arrays = &dataplane.tables.arrays;
    arrays.flows4().iter().flat_map(|line| &line.ways).for_each(|way| way.ctl.store(0, Relaxed));
    arrays.flows6().iter().flat_map(|line| &line.ways).for_each(|way| way.ctl.store(0, Relaxed));
    assert_eq!(dataplane.sweep(), 0, "their forward halves may be about to be published");
    pass(&dataplane, 12);
    assert_eq!(dataplane.sweep(), 2 * u64::from(FLOWS));
    assert_eq!(entries(&dataplane), [0; 4]);
}

#[test]
fn a_listener_that_goes_takes_its_flows_along_from_every_window() {
    let mut dataplane = serving(DEFAULT_MAX_FLOWS);
    open(&dataplane, 0..FLOWS);
    let remove = Op::RemoveListener { id: ListenerId(2), vip: VipId(2), transport: Transport::Udp, port: 53 };
    dataplane.apply(&remove).unwrap();
    let flows = usize::from(FLOWS);
    assert_eq!(entries(&dataplane), [flows, 0, flows, 0]);
}

#[test]
fn members_of_flows_are_named_whichever_window_they_lie_in() {
    let dataplane = serving(DEFAULT_MAX_FLOWS);
    let named = || {
        let named = Flows::new(&dataplane.tables.arrays, &*dataplane.tables.arrays, 0).named_members().unwrap();
        named.iter().enumerate().filter(|(_, named)| **named).map(|(id, _)| id).collect::<Vec<_>>()
    };
    assert_eq!(named(), [0usize; 0]);
    open(&dataplane, 0..200);
    assert_eq!(named(), [1, 2]);
}
