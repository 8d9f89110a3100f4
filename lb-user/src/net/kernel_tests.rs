#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn route(kind: RouteType, attributes: Vec<RouteAttribute>) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.kind = kind;
    message.attributes = attributes;
    message
}

#[test]
fn a_decision_names_the_gateway_of_either_family_or_the_address_itself() {
    let to = ip("10.0.0.9");
    let gateway = |gateway: Option<RouteAttribute>| {
        let attributes = gateway.into_iter().chain([RouteAttribute::Oif(3)]).collect();
        read_route(to, &route(RouteType::Unicast, attributes)).unwrap()
    };
    let cases = [
        (None, "10.0.0.9"),
        (Some(RouteAttribute::Gateway(RouteAddress::Inet([10, 0, 0, 1].into()))), "10.0.0.1"),
        (Some(RouteAttribute::Via(RouteVia::Inet6("fe80::1".parse().unwrap()))), "fe80::1"),
    ];
    for (attribute, neighbour) in cases {
        assert_eq!(gateway(attribute), Ok(Place { ifindex: 3, neighbour: ip(neighbour) }));
    }
}

#[test]
fn a_decision_that_leads_nowhere_says_why() {
    let to = ip("10.0.0.9");
    let cases = [
        (RouteType::Local, Missing::Own(to)),
        (RouteType::Broadcast, Missing::NotOneHost(to)),
        (RouteType::Multicast, Missing::NotOneHost(to)),
        (RouteType::BlackHole, Missing::BlackHole(to)),
        (RouteType::Prohibit, Missing::Prohibited(to)),
        (RouteType::Unreachable, Missing::NoRoute(to)),
    ];
    for (kind, missing) in cases {
        assert_eq!(read_route(to, &route(kind, vec![RouteAttribute::Oif(1)])).unwrap(), Err(missing));
    }
    assert!(read_route(to, &route(RouteType::Unicast, vec![])).is_err());
}

#[test]
fn an_error_is_a_decision_only_when_it_is_about_the_route() {
    let to = ip("10.0.0.9");
    let refused = |errno| refusal(to, io::Error::from_raw_os_error(errno)).map_err(|_| ());
    assert_eq!(refused(libc::ENETUNREACH), Ok(Err(Missing::NoRoute(to))));
    assert_eq!(refused(libc::EHOSTUNREACH), Ok(Err(Missing::NoRoute(to))));
    assert_eq!(refused(libc::EACCES), Ok(Err(Missing::Prohibited(to))));
    assert_eq!(refused(libc::EINVAL), Ok(Err(Missing::BlackHole(to))));
    assert_eq!(refused(libc::EIO), Ok(Err(Missing::Refused(to, libc::EIO))));
    for errno in [libc::ENOMEM, libc::ENOBUFS, libc::EPERM] {
        assert_eq!(refused(errno), Err(()), "{errno}");
    }
}

#[test]
fn only_links_with_ethernet_frames_have_an_address() {
    let mut message = LinkMessage::default();
    message.header.index = 3;
    message.header.link_layer_type = LinkLayerType::Ether;
    message.header.flags = LinkFlags::Up | LinkFlags::LowerUp;
    message.attributes = vec![
        LinkAttribute::IfName("eth1".to_owned()),
        LinkAttribute::Address(vec![2, 0, 0, 0, 0, 1]),
        LinkAttribute::Mtu(9000),
    ];
    let link = Link {
        name: "eth1".to_owned(),
        mac: Some(Mac([2, 0, 0, 0, 0, 1])),
        up: true,
        mtu: 9000,
        addresses: Vec::new(),
    };
    assert_eq!(read_link(&message), Some((3, link.clone())));
    // Switched on without a carrier is not up.
    message.header.flags = LinkFlags::Up;
    assert_eq!(read_link(&message), Some((3, Link { up: false, ..link.clone() })));
    message.header.link_layer_type = LinkLayerType::Loopback;
    assert_eq!(read_link(&message), Some((3, Link { up: false, mac: None, ..link })));
}

#[test]
fn only_an_address_that_can_be_sent_from_counts_and_of_a_pair_the_own_one() {
    let mut message = AddressMessage::default();
    message.header.index = 3;
    message.attributes = vec![AddressAttribute::Address([10, 0, 0, 9].into())];
    assert_eq!(read_address(&message), Some((3, [10, 0, 0, 9].into())));
    message.attributes.push(AddressAttribute::Local([10, 0, 0, 1].into()));
    assert_eq!(read_address(&message), Some((3, [10, 0, 0, 1].into())));
    for flag in [AddressHeaderFlags::Secondary, AddressHeaderFlags::Tentative, AddressHeaderFlags::Dadfailed] {
        message.header.flags = AddressHeaderFlags::Permanent | flag;
        assert_eq!(read_address(&message), None, "{flag:?}");
    }
}
