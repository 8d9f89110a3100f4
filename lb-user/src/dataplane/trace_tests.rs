#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::Arc;

use lb_common::config::ABI_VERSION;
use lb_ebpf::{
    host::{Arrays as _, HostTables, OwnedArrays},
    packet::Packet,
    pipeline,
};

use super::*;

/// Ethernet, IPv4 and UDP between two addresses and ports, to no VIP.
fn datagram(source: [u8; 4], destination: [u8; 4], ports: (u16, u16)) -> Vec<u8> {
    let builder = etherparse::PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(source, destination, 64);
    let mut frame = Vec::new();
    builder.udp(ports.0, ports.1).write_to_vec(&mut frame, b"ping").unwrap();
    frame
}

fn segment6(destination: &str) -> Vec<u8> {
    let destination = destination.parse::<std::net::Ipv6Addr>().unwrap().octets();
    let builder = etherparse::PacketBuilder::ethernet2([2; 6], [4; 6]).ipv6([0x20; 16], destination, 64);
    let mut frame = Vec::new();
    builder.tcp(1, 2, 3, 4).syn().write_to_vec(&mut frame, &[]).unwrap();
    frame
}

/// What is traced of some frames.
fn traced(wanted: &TraceWanted, limit: u32, frames: &[Vec<u8>]) -> Vec<Traced> {
    let tables = HostTables::new(Arc::new(OwnedArrays::new(1024, 64)), 1 << 20);
    tables.arrays.config().version.store(u64::from(ABI_VERSION), Relaxed);
    wanted.write(tables.arrays.trace_filter());
    switch(tables.arrays.config(), tables.arrays.trace_filter(), limit);
    for frame in frames {
        pipeline::run(&mut Packet::from_slice(&mut frame.clone()), 7, &tables);
    }
    tables.traces.borrow().iter().map(Traced::from).collect()
}

#[test]
fn a_packet_is_told_as_it_came() {
    let frames = [datagram([192, 0, 2, 1], [198, 51, 100, 2], (53, 4000)), segment6("2001:db8::9"), vec![0; 20]];
    let traced = traced(&TraceWanted::default(), 10, &frames);
    assert_eq!(traced.len(), 3);
    assert_eq!(traced[0].ends, Some(("192.0.2.1".parse().unwrap(), "198.51.100.2".parse().unwrap())));
    assert_eq!((traced[0].ports, traced[0].protocol, traced[0].ifindex), ((53, 4000), 17, 7));
    assert_eq!((traced[0].length, traced[0].fate, traced[0].reason), (46, Fate::Passed, None));
    assert_eq!(traced[1].ends.unwrap().1, "2001:db8::9".parse::<IpAddr>().unwrap());
    assert_eq!((traced[1].ports, traced[1].protocol, traced[1].tcp_flags), ((1, 2), 6, 2));
    assert_eq!((traced[2].ends, traced[2].length), (None, 20));
}

#[test]
fn only_what_is_wanted_is_told_and_no_more_of_it_than_wanted() {
    let frames = [
        datagram([192, 0, 2, 1], [198, 51, 100, 2], (53, 4000)),
        datagram([192, 0, 2, 65], [198, 51, 100, 2], (5353, 53)),
        segment6("2001:db8::9"),
        segment6("2001:db9::9"),
    ];
    let any = TraceWanted::default();
    let network = |text: &str, length| TraceWanted { network: Some((text.parse().unwrap(), length)), ..any };
    for (wanted, which) in [
        (any, &[0, 1, 2, 3][..]),
        (network("192.0.2.0", 26), &[0]),
        (network("192.0.2.77", 24), &[0, 1]),
        (network("198.51.100.2", 32), &[0, 1]),
        (network("0.0.0.0", 0), &[0, 1]),
        (network("2001:db8::", 32), &[2]),
        (network("2001:db8::9", 128), &[2]),
        (network("::", 0), &[2, 3]),
        (TraceWanted { port: Some(53), ..any }, &[0, 1]),
        (TraceWanted { port: Some(4000), ..any }, &[0]),
        (TraceWanted { protocol: Some(6), ..any }, &[2, 3]),
        (TraceWanted { ipv6: Some(false), ..any }, &[0, 1]),
        (TraceWanted { fate: Some(Fate::Passed), ..any }, &[0, 1, 2, 3]),
        (TraceWanted { fate: Some(Fate::Dropped), ..any }, &[]),
    ] {
        let all = traced(&any, 10, &frames);
        let expected: Vec<Traced> = which.iter().map(|at| all[*at].clone()).collect();
        assert_eq!(traced(&wanted, 10, &frames), expected, "{wanted:?}");
        assert_eq!(traced(&wanted, 1, &frames).len(), expected.len().min(1), "{wanted:?}");
        assert_eq!(traced(&wanted, 0, &frames), [], "{wanted:?}");
    }
}
