#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::net::IpAddr;

use lb_common::mac::Mac;
use proptest::prelude::*;
use rtnetlink::packet_route::{
    AddressFamily,
    link::LinkMessage,
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState},
};

use super::*;

const MAC: Mac = Mac([2, 0, 0, 0, 0, 9]);

fn neighbour(address: [u8; 4], state: NeighbourState, mac: &[u8]) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.ifindex = 3;
    message.header.state = state;
    message.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::Inet(address.into())));
    if !mac.is_empty() {
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.to_vec()));
    }
    message
}

/// A datagram as the kernel would send it.
fn datagram(messages: Vec<RouteNetlinkMessage>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for message in messages {
        let mut message = NetlinkMessage::from(message);
        message.finalize();
        let start = bytes.len();
        bytes.resize((start + message.buffer_len()).next_multiple_of(4), 0);
        message.serialize(&mut bytes[start..]);
    }
    bytes
}

fn at(last: u8) -> Place {
    Place { ifindex: 3, neighbour: IpAddr::from([10, 0, 0, last]) }
}

#[test]
fn a_neighbours_state_and_address_are_read_whatever_the_state() {
    use NeighbourState as S;
    let cases = [
        (S::Reachable, &MAC.0[..], Report::Fresh(MAC)),
        (S::Delay, &MAC.0, Report::Fresh(MAC)),
        (S::Probe, &MAC.0, Report::Fresh(MAC)),
        (S::Stale, &MAC.0, Report::Stale(MAC)),
        (S::Permanent, &MAC.0, Report::Fixed(MAC)),
        (S::Noarp, &MAC.0, Report::Fixed(MAC)),
        (S::Failed, &[], Report::Failed),
        (S::Incomplete, &[], Report::Unknown),
        (S::None, &[], Report::Unknown),
        // An address of another kind of link is none we could use.
        (S::Reachable, &[1, 2, 3, 4], Report::Unknown),
    ];
    for (state, mac, report) in cases {
        let bytes = datagram(vec![RouteNetlinkMessage::NewNeighbour(neighbour([10, 0, 0, 9], state, mac))]);
        assert_eq!(read(&bytes), [Event::Neighbour(at(9), report)], "{state}");
    }
}

#[test]
fn a_datagram_may_hold_several_messages_and_a_deleted_neighbour_is_read_as_one() {
    let bytes = datagram(vec![
        RouteNetlinkMessage::DelNeighbour(neighbour([10, 0, 0, 8], NeighbourState::Reachable, &MAC.0)),
        RouteNetlinkMessage::NewLink(LinkMessage::default()),
        RouteNetlinkMessage::NewNeighbour(neighbour([10, 0, 0, 9], NeighbourState::Failed, &[])),
    ]);
    let expected = [Event::Neighbour(at(8), Report::Removed), Event::Way, Event::Neighbour(at(9), Report::Failed)];
    assert_eq!(read(&bytes), expected);
}

#[test]
fn an_address_that_is_only_answered_for_is_no_neighbour() {
    let mut proxy = neighbour([10, 0, 0, 9], NeighbourState::Permanent, &[]);
    proxy.header.flags = NeighbourFlags::Proxy;
    assert_eq!(read(&datagram(vec![RouteNetlinkMessage::NewNeighbour(proxy)])), []);
}

#[test]
fn a_message_that_is_cut_short_counts_as_lost() {
    let whole =
        datagram(vec![RouteNetlinkMessage::NewNeighbour(neighbour([10, 0, 0, 9], NeighbourState::Stale, &MAC.0))]);
    for length in 1..whole.len() {
        assert_eq!(read(&whole[..length]), [Event::Lost], "{length} bytes");
    }
    assert_eq!(read(&[0; 64]), [Event::Lost], "a message without length");
}

proptest! {
    #[test]
    fn no_datagram_is_too_strange_to_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0u16..120) {
        let mut bytes = bytes;
        read(&bytes);
        // Random bytes seldom have a length that fits: help them.
        if let (Ok(length), true) = (u32::try_from(bytes.len()), bytes.len() >= HEADER_BYTES) {
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
            prop_assert!(read(&bytes).len() <= 1);
        }
    }
}
