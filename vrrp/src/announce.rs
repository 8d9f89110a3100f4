//! The frames by which an Active tells the network where the addresses are,
//! and the fixed addresses of the protocol.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::packet::Sum;
use crate::types::{Family, Vrid};

/// The group that adverts over IPv4 are sent to.
pub const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// The group that adverts over IPv6 are sent to.
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);

const BROADCAST_MAC: [u8; 6] = [0xff; 6];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
const ICMPV6: u8 = 58;

/// The group that adverts are sent to.
#[must_use]
pub const fn multicast_group(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(GROUP_V4),
        Family::V6 => IpAddr::V6(GROUP_V6),
    }
}

/// The link-layer address of that group.
#[must_use]
pub const fn multicast_mac(family: Family) -> [u8; 6] {
    match family {
        Family::V4 => [0x01, 0x00, 0x5e, 0, 0, 0x12],
        Family::V6 => [0x33, 0x33, 0, 0, 0, 0x12],
    }
}

/// The link-layer address of a virtual router, which moves with it.
#[must_use]
pub const fn virtual_mac(family: Family, vrid: Vrid) -> [u8; 6] {
    match family {
        Family::V4 => [0x00, 0x00, 0x5e, 0x00, 0x01, vrid.get()],
        Family::V6 => [0x00, 0x00, 0x5e, 0x00, 0x02, vrid.get()],
    }
}

/// A gratuitous ARP request: everybody who knows `address` learns `mac` for
/// it. The frame itself comes from `source_mac`, so that bridges learn what the
/// caller wants them to.
#[must_use]
pub fn gratuitous_arp(address: Ipv4Addr, mac: [u8; 6], source_mac: [u8; 6]) -> [u8; 60] {
    let mut frame = [0; 60];
    frame[0..6].copy_from_slice(&BROADCAST_MAC);
    frame[6..12].copy_from_slice(&source_mac);
    // ARP; for Ethernet and IPv4, six and four bytes long; a request.
    frame[12..22].copy_from_slice(&[0x08, 0x06, 0, 1, 0x08, 0x00, 6, 4, 0, 1]);
    // Sender and target are the same, by both addresses.
    for half in [22..32, 32..42] {
        let (link, network) = frame[half].split_at_mut(6);
        link.copy_from_slice(&mac);
        network.copy_from_slice(&address.octets());
    }
    frame
}

/// An unsolicited neighbour advertisement to all nodes: everybody who knows
/// `address` learns `mac` for it, instead of what they had. `router` says
/// whether the sender forwards packets for its neighbours. The frame itself
/// comes from `source_mac`.
#[must_use]
pub fn unsolicited_na(address: Ipv6Addr, mac: [u8; 6], source_mac: [u8; 6], router: bool) -> [u8; 86] {
    let mut frame = [0; 86];
    frame[0..6].copy_from_slice(&ALL_NODES_MAC);
    frame[6..12].copy_from_slice(&source_mac);
    // IPv6; 32 bytes of ICMPv6; a hop limit that no router leaves.
    frame[12..22].copy_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, ICMPV6, 255]);
    frame[22..38].copy_from_slice(&address.octets());
    frame[38..54].copy_from_slice(&ALL_NODES.octets());
    let message = &mut frame[54..86];
    message[0] = 136;
    // Router if it is one, not solicited, override.
    message[4] = if router { 0xa0 } else { 0x20 };
    message[8..24].copy_from_slice(&address.octets());
    // The one option: the target's link-layer address, eight bytes.
    message[24..26].copy_from_slice(&[2, 1]);
    message[26..32].copy_from_slice(&mac);
    let sum = Sum::ZERO.over(message);
    let sum = sum.over_pseudo_header(address.into(), ALL_NODES.into(), message.len(), ICMPV6);
    message[2..4].copy_from_slice(&sum.checksum().to_be_bytes());
    frame
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    const MAC: [u8; 6] = [0x00, 0x00, 0x5e, 0x00, 0x01, 0x33];
    const OWN: [u8; 6] = [0x02, 0, 0, 0, 0, 9];

    #[test]
    fn a_gratuitous_arp_tells_the_mac_twice_and_comes_from_where_it_should() {
        let frame = gratuitous_arp(Ipv4Addr::new(192, 0, 2, 10), MAC, OWN);
        let expected = [
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0, 0, 0, 9, 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1, 0, 0, 0x5e, 0,
            1, 0x33, 192, 0, 2, 10, 0, 0, 0x5e, 0, 1, 0x33, 192, 0, 2, 10,
        ];
        assert_eq!(frame[..42], expected);
        assert_eq!(frame[42..], [0; 18]);
    }

    #[test]
    fn an_unsolicited_advertisement_has_router_and_override_set_and_the_right_checksum() {
        let address: Ipv6Addr = "2001:db8::10".parse().unwrap();
        let frame = unsolicited_na(address, MAC, OWN, true);
        assert_eq!(frame[..14], [0x33, 0x33, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 9, 0x86, 0xdd]);
        assert_eq!(frame[14..22], [0x60, 0, 0, 0, 0, 32, 58, 255]);
        assert_eq!(frame[22..38], address.octets());
        assert_eq!(frame[38..54], ALL_NODES.octets());
        assert_eq!((frame[54], frame[55]), (136, 0));
        // Made with another implementation.
        assert_eq!(frame[56..58], [0x1b, 0xda]);
        assert_eq!(frame[58..62], [0xa0, 0, 0, 0]);
        assert_eq!(frame[62..78], address.octets());
        assert_eq!(frame[78..86], [2, 1, 0, 0, 0x5e, 0, 1, 0x33]);
        assert_eq!(unsolicited_na(address, MAC, OWN, false)[58], 0x20);
    }

    #[test]
    fn each_virtual_router_has_its_own_mac_in_each_family() {
        let vrid = Vrid::new(0x33).unwrap();
        assert_eq!(virtual_mac(Family::V4, vrid), [0, 0, 0x5e, 0, 1, 0x33]);
        assert_eq!(virtual_mac(Family::V6, vrid), [0, 0, 0x5e, 0, 2, 0x33]);
        assert_eq!(multicast_group(Family::V4), IpAddr::from([224, 0, 0, 18]));
        assert_eq!(multicast_group(Family::V6), "ff02::12".parse::<IpAddr>().unwrap());
        assert_eq!(multicast_mac(Family::V4), [0x01, 0x00, 0x5e, 0, 0, 18]);
        assert_eq!(multicast_mac(Family::V6), [0x33, 0x33, 0, 0, 0, 18]);
    }
}
