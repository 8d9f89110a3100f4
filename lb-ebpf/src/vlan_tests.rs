#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use lb_common::{instance::NO_INSTANCE, mac::Mac, vip::VipEntry};
use proptest::prelude::*;

use super::*;
use crate::host::{Arrays as _, HostTables, OwnedArrays};

const IFINDEX: u32 = 7;
const VIP: [u8; 4] = [203, 0, 113, 10];

type Host = HostTables<Arc<OwnedArrays>>;

thread_local! {
    /// Tables with one port and one VIP.
    static TABLES: Host = {
        let tables = HostTables::new(Arc::new(OwnedArrays::new(1024, 64)), 0);
        tables.arrays.ports()[5].set(IFINDEX, false, Mac([2, 0, 0, 0, 0, 1]));
        let address = u64::from(u32::from_ne_bytes(VIP));
        let line = lb_common::vip::line4(address, lb_common::limits::VIP4_LINES);
        let way = &tables.arrays.vips4()[line as usize].ways[0];
        way.address.store(address, Relaxed);
        way.entry.store(VipEntry::new(1, true, NO_INSTANCE).0, Relaxed);
        tables
    };
}

/// Does something with tables whose port has these tags.
fn with_tables<R>(tags: Tags, work: impl FnOnce(&Host) -> R) -> R {
    TABLES.with(|tables| {
        tables.arrays.ports()[5].tags.store(tags.network().0, Relaxed);
        work(tables)
    })
}

/// TPID and TCI of each tag.
type Headers<'t> = &'t [(u16, u16)];

/// A frame of a packet to an address, in these tags.
fn frame(tags: &[(u16, u16)], destination: [u8; 4], rest: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9];
    for (kind, control) in tags {
        frame.extend(kind.to_be_bytes());
        frame.extend(control.to_be_bytes());
    }
    frame.extend([0x08, 0x00, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 198, 18, 0, 7]);
    frame.extend(destination);
    frame.extend(rest);
    frame
}

fn untagged(tags: Tags, bytes: &mut [u8]) -> (Option<Ingress>, Vec<u8>) {
    let mut packet = Packet::from_slice(bytes);
    let ingress = with_tables(tags, |tables| untag(&mut packet, tables, Ingress::untagged(IFINDEX)));
    (ingress, packet.bytes().to_vec())
}

proptest! {
    #[test]
    fn what_is_put_on_again_is_what_was_taken_off(
        outer in (prop_oneof![Just(Tags::CUSTOMER), Just(Tags::SERVICE)], any::<u16>()),
        inner in prop::option::of(any::<u16>()),
        rest in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let inner = inner.map(|control| (Tags::CUSTOMER, control));
        let in_frame: Vec<_> = [Some(outer), inner].into_iter().flatten().collect();
        let before = frame(&in_frame, VIP, &rest);
        let mut bytes = before.clone();
        let mut packet = Packet::from_slice(&mut bytes);
        let back = with_tables(Tags::new(outer, inner), |tables| {
            let ingress = untag(&mut packet, tables, Ingress::untagged(IFINDEX)).unwrap();
            assert!(ingress.is_tagged() && ingress.ifindex() == IFINDEX && ingress.port(tables) == Ok(5));
            assert_eq!(packet.bytes(), frame(&[], VIP, &rest));
            retag(&mut packet, tables, ingress)
        });
        prop_assert!(back);
        prop_assert_eq!(packet.bytes(), before);
    }
}

#[test]
fn other_networks_and_other_addresses_keep_their_tags() {
    let (c, s) = (Tags::CUSTOMER, Tags::SERVICE);
    let ours = Tags::vlan(100);
    let cases: [(Headers<'_>, [u8; 4]); 6] = [
        (&[(c, 101)], VIP),
        (&[(s, 100)], VIP),
        (&[(c, 100), (c, 5)], VIP),
        (&[(c, 0)], VIP),
        (&[(c, 100)], [203, 0, 113, 99]),
        (&[(c, 100), (c, 100), (c, 100)], VIP),
    ];
    for (tags, destination) in cases {
        let before = frame(tags, destination, &[0; 20]);
        let mut bytes = before.clone();
        assert_eq!(untagged(ours, &mut bytes), (None, before), "{tags:x?} {destination:?}");
    }
    let (ingress, after) = untagged(ours, &mut frame(&[(c, 0xe064)], VIP, &[0; 20]));
    assert!(ingress.is_some_and(Ingress::is_tagged));
    assert_eq!(after, frame(&[], VIP, &[0; 20]));
}

#[test]
fn frames_of_any_length_are_looked_at_without_harm() {
    let whole = frame(&[(Tags::CUSTOMER, 100)], VIP, &[0; 20]);
    for length in 0..whole.len() {
        let (ingress, after) = untagged(Tags::vlan(100), &mut whole[..length].to_vec());
        assert_eq!(ingress.is_some(), length >= 18 + 20, "{length}");
        assert!(ingress.is_some() || after == whole[..length]);
    }
}

#[test]
fn a_frame_without_room_is_left_as_it_was() {
    let mut bytes = frame(&[], VIP, &[]);
    let before = bytes.clone();
    let mut packet = Packet::from_slice(&mut bytes);
    assert!(!tag(&mut packet, Tags::vlan(1)));
    assert_eq!(packet.bytes(), before);
}
