#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use crate::family::{V4, V6};

const VIP: u8 = 10;
const ROUTER: u8 = 20;
const FAR: u8 = 30;
const PEER: u8 = 40;

/// An address of the family, by a number.
fn address(ipv6: bool, number: u8) -> Vec<u8> {
    if ipv6 {
        let mut bytes = vec![0x20, 1, 0xd, 0xb8, number];
        bytes.resize(15, 0xee);
        bytes.push(number);
        bytes
    } else {
        vec![198, 51, 100, number]
    }
}

/// The Internet checksum, written down anew.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for pair in parts.iter().flat_map(|part| part.chunks(2)) {
        sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn pseudo(source: &[u8], destination: &[u8], next: u8, length: usize) -> Vec<u8> {
    [source, destination, &[0, next, (length >> 8) as u8, length as u8]].concat()
}

/// An IP packet.
fn ip(ipv6: bool, from: u8, to: u8, next: u8, payload: &[u8]) -> Vec<u8> {
    let (source, destination) = (address(ipv6, from), address(ipv6, to));
    let length = payload.len();
    let mut bytes = if ipv6 {
        vec![0x60, 0, 0, 0, (length >> 8) as u8, length as u8, next, 61]
    } else {
        let total = length + 20;
        vec![0x45, 0, (total >> 8) as u8, total as u8, 0x12, 0x34, 0x40, 0, 61, next, 0, 0]
    };
    bytes.extend([source, destination].concat());
    if !ipv6 {
        let sum = checksum(&[&bytes]);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    bytes.extend(payload);
    bytes
}

/// A message of a transport from the VIP's port 80 to port 40000, its checksum
/// right.
fn message(ipv6: bool, protocol: u8) -> Vec<u8> {
    let mut bytes = vec![0, 80, 0x9c, 0x40];
    let place = match protocol {
        protocol::TCP => {
            bytes.extend([1, 2, 3, 4, 5, 6, 7, 8, 0x50, 0x10, 1, 0, 0, 0, 0, 0, 0xaa, 0xbb, 0xcc]);
            16
        }
        protocol::UDP => {
            bytes.extend([0, 11, 0, 0, 0xaa, 0xbb, 0xcc]);
            6
        }
        _ => {
            bytes.extend([1, 2, 3, 4, 5, 6, 7, 8, 0, 3, 0, 16]);
            return bytes;
        }
    };
    let sum = checksum(&[&pseudo(&address(ipv6, VIP), &address(ipv6, FAR), protocol, bytes.len()), &bytes]);
    bytes[place..place + 2].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// A frame with an error from a router to the VIP, that quotes a packet.
fn error(ipv6: bool, kind: u8, quote: &[u8]) -> Vec<u8> {
    let mut icmp = vec![kind, 0, 0, 0, 0, 0, 5, 0];
    icmp.extend(quote);
    let next = if ipv6 { 58 } else { 1 };
    let pseudo = if ipv6 { pseudo(&address(true, ROUTER), &address(true, VIP), 58, icmp.len()) } else { vec![] };
    let sum = checksum(&[&pseudo, &icmp]);
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut frame = vec![2u8; 12];
    frame.extend(if ipv6 { [0x86, 0xdd] } else { [0x08, 0x00] });
    frame.extend(ip(ipv6, ROUTER, VIP, next, &icmp));
    frame
}

fn header(ipv6: bool) -> usize {
    if ipv6 { 40 } else { 20 }
}

fn outer<F: Family>(frame: &[u8]) -> Network {
    let offset = 14 + header(F::IS_V6);
    Network { protocol: F::ICMP, offset, length: frame.len() - offset, fragment: Fragment::Whole }
}

fn read<F: Family>(frame: &[u8]) -> Result<Facts, DropReason> {
    let mut frame = frame.to_vec();
    let network = outer::<F>(&frame);
    quoted::<F>(&Packet::from_slice(&mut frame), &network)
}

/// Turns an error and checks everything but the quoted transport's checksum.
fn turn_it<F: Family>(before: &[u8], protocol: u8, vip_port: Option<u16>) -> Vec<u8> {
    let ipv6 = F::IS_V6;
    let mut frame = before.to_vec();
    let network = outer::<F>(&frame);
    let peer = ip_words(&address(ipv6, PEER));
    let turn = Turn {
        peer: F::from_words(peer),
        peer_port: 8080,
        vip_port,
        to: 0x0a0b_0c0d_0e0f_0000,
        from: 0x1a1b_1c1d_1e1f_0000,
    };
    let quoted = read::<F>(&frame).unwrap();
    assert_eq!(quoted.headers().1.ip_protocol(), protocol);
    turned::<F>(&mut Packet::from_slice(&mut frame), &network, quoted, &turn).unwrap();
    assert_eq!(frame.len(), before.len());

    let (source, far) = if vip_port.is_some() { (VIP, VIP) } else { (ROUTER, FAR) };
    let (packet, addresses) = (&frame[14..], header(ipv6) - 2 * address(ipv6, 0).len());
    let ends = |packet: &[u8]| packet[addresses..header(ipv6)].to_vec();
    assert_eq!(ends(packet), [address(ipv6, source), address(ipv6, PEER)].concat());
    let icmp = &packet[header(ipv6)..];
    let quote = &icmp[8..];
    assert_eq!(ends(quote), [address(ipv6, PEER), address(ipv6, far)].concat());
    if ipv6 {
        assert_eq!(packet[7], 60, "a hop was counted");
        assert_eq!(checksum(&[&pseudo(&address(true, source), &address(true, PEER), 58, icmp.len()), icmp]), 0);
    } else {
        assert_eq!(packet[8], 60, "a hop was counted");
        assert_eq!(checksum(&[&packet[..20]]), 0, "the outer header's checksum");
        assert_eq!(checksum(&[&quote[..20]]), 0, "the quoted header's checksum");
        assert_eq!(checksum(&[icmp]), 0, "the message's checksum");
    }
    let ports = vip_port.map_or([0x9c, 0x40], u16::to_be_bytes);
    assert_eq!(quote[header(ipv6)..header(ipv6) + 4], [[0x1f, 0x90], ports].concat());
    assert_eq!(icmp[..2], before[14 + header(ipv6)..][..2], "type and code");
    assert_eq!(icmp[4..8], before[14 + header(ipv6) + 4..][..4], "the word behind the checksum");
    frame
}

fn ip_words(bytes: &[u8]) -> [u64; 2] {
    let mut whole = [0u8; 16];
    whole[..bytes.len()].copy_from_slice(bytes);
    let word = |at: usize| u64::from_ne_bytes(whole[at..at + 8].try_into().unwrap());
    [word(0), word(8)]
}

fn everything_is_turned<F: Family>() {
    let ipv6 = F::IS_V6;
    for protocol in [protocol::TCP, protocol::UDP, protocol::SCTP] {
        let whole = ip(ipv6, VIP, FAR, protocol, &message(ipv6, protocol));
        for kept in [None, Some(33333), Some(0)] {
            // Every length from RFC 792's minimum up, the odd ones as well.
            for length in header(ipv6) + 8..=whole.len() {
                let after = turn_it::<F>(&error(ipv6, 3, &whole[..length]), protocol, kept);
                if length == whole.len() && protocol != protocol::SCTP {
                    let message = &after[14 + header(ipv6) * 2 + 8..];
                    let far = if kept.is_some() { VIP } else { FAR };
                    let pseudo = pseudo(&address(ipv6, PEER), &address(ipv6, far), protocol, message.len());
                    assert_eq!(checksum(&[&pseudo, message]), 0, "the quoted message's checksum");
                }
                if protocol == protocol::SCTP {
                    let at = 14 + header(ipv6) * 2 + 8 + 4;
                    assert_eq!(after[at..], error(ipv6, 3, &whole[..length])[at..], "no more than ports has changed");
                }
            }
        }
    }
}

#[test]
fn an_error_and_what_it_quotes_are_translated_with_all_checksums() {
    everything_is_turned::<V4>();
    everything_is_turned::<V6>();
}

#[test]
fn a_quoted_datagram_without_checksum_gets_none() {
    let mut datagram = message(false, protocol::UDP);
    datagram[6..8].fill(0);
    let after = turn_it::<V4>(&error(false, 3, &ip(false, VIP, FAR, protocol::UDP, &datagram)), protocol::UDP, Some(9));
    assert_eq!(after[14 + 20 + 8 + 20 + 6..][..2], [0, 0]);
}

#[test]
fn what_is_cut_short_or_contradicts_itself_is_not_read() {
    fn cut<F: Family>() {
        let quote = ip(F::IS_V6, VIP, FAR, protocol::UDP, &message(F::IS_V6, protocol::UDP));
        for length in 0..header(F::IS_V6) + 8 {
            assert_eq!(read::<F>(&error(F::IS_V6, 3, &quote[..length])).unwrap_err(), DropReason::MalformedControl);
        }
        let other = ip(F::IS_V6, FAR, VIP, protocol::UDP, &message(F::IS_V6, protocol::UDP));
        assert_eq!(read::<F>(&error(F::IS_V6, 3, &other)).unwrap_err(), DropReason::MalformedControl);
        let mut version = quote.clone();
        version[0] = 0x55;
        assert_eq!(read::<F>(&error(F::IS_V6, 3, &version)).unwrap_err(), DropReason::MalformedControl);
        let echo = ip(F::IS_V6, VIP, FAR, F::ICMP, &[0; 8]);
        assert_eq!(read::<F>(&error(F::IS_V6, 3, &echo)).unwrap_err(), DropReason::IcmpUnknownFlow);
    }
    cut::<V4>();
    cut::<V6>();
    let mut short = ip(false, VIP, FAR, protocol::UDP, &[0; 8]);
    short[0] = 0x44;
    assert_eq!(read::<V4>(&error(false, 3, &short)).unwrap_err(), DropReason::MalformedControl);
    let mut later = ip(false, VIP, FAR, protocol::UDP, &[0; 8]);
    later[7] = 1;
    assert_eq!(read::<V4>(&error(false, 3, &later)).unwrap_err(), DropReason::IcmpUnknownFlow);
}

#[test]
fn options_and_extension_headers_of_the_quoted_packet_are_skipped() {
    let mut options = ip(false, VIP, FAR, protocol::UDP, &[]);
    options[0] = 0x46;
    options.extend([1, 1, 1, 0]);
    options.extend(message(false, protocol::UDP));
    let facts = read::<V4>(&error(false, 3, &options)).unwrap();
    assert_eq!(facts.headers().0.offset, 14 + 20 + 8 + 24);

    let datagram = message(true, protocol::UDP);
    let behind = |more: &[u8], first: u8| ip(true, VIP, FAR, first, &[more, &datagram].concat());
    let destination_options = [protocol::FRAGMENT, 0, 1, 4, 0, 0, 0, 0];
    let first_fragment = [protocol::UDP, 0, 0, 1, 0, 0, 0, 7];
    let both = [destination_options, first_fragment].concat();
    let facts = read::<V6>(&error(true, 1, &behind(&both, protocol::DESTINATION_OPTIONS))).unwrap();
    let (network, segment) = facts.headers();
    assert_eq!((network.offset, network.length), (14 + 40 + 8 + 40 + 16, datagram.len()));
    assert!(segment.is_udp());
    let later = [protocol::UDP, 0, 0, 9, 0, 0, 0, 7];
    let unknown = read::<V6>(&error(true, 1, &behind(&later, protocol::FRAGMENT))).unwrap_err();
    assert_eq!(unknown, DropReason::IcmpUnknownFlow);
}

#[test]
fn the_types_that_are_told_on_are_those_of_errors() {
    let told = |is: &dyn Fn(u8) -> bool| (0..=255).filter(|kind| is(*kind)).collect::<Vec<u8>>();
    assert_eq!(told(&is_error::<V4>), [3, 11, 12]);
    assert_eq!(told(&is_error::<V6>), [1, 2, 3, 4]);
}

#[test]
fn an_error_with_its_last_hop_goes_no_further() {
    let mut frame = error(false, 3, &ip(false, VIP, FAR, protocol::UDP, &message(false, protocol::UDP)));
    frame[14 + 8] = 1;
    let (network, facts) = (outer::<V4>(&frame), read::<V4>(&frame).unwrap());
    let turn = Turn { peer: 1, peer_port: 2, vip_port: None, to: 0, from: 0 };
    let result = turned::<V4>(&mut Packet::from_slice(&mut frame), &network, facts, &turn);
    assert_eq!(result.unwrap_err(), DropReason::TtlExpired);
}
