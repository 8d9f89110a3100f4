#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use crate::headers::protocol::TCP;

const ETHERNET: usize = 14;

/// The Internet checksum, written down anew: over a pseudo header and a message.
fn checksum(pseudo: &[u8], message: &[u8]) -> u16 {
    let mut sum = 0u32;
    for part in [pseudo, message] {
        for pair in part.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        }
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn pseudo(ipv6: bool, length: usize) -> Vec<u8> {
    let mut bytes = if ipv6 { (0u8..32).collect::<Vec<_>>() } else { vec![192, 0, 2, 1, 198, 51, 100, 2] };
    bytes.extend([0, TCP, (length >> 8) as u8, length as u8]);
    bytes
}

/// A SYN with options, and some bytes behind it.
fn syn(ipv6: bool, options: &[u8]) -> Vec<u8> {
    let mut options = options.to_vec();
    options.resize(options.len().next_multiple_of(4), 0);
    let words = 5 + options.len() as u8 / 4;
    let mut tcp = vec![0x9c, 0x40, 0, 80, 1, 2, 3, 4, 0, 0, 0, 0, words << 4, 2, 0xff, 0xff, 0, 0, 0, 0];
    tcp.extend(options);
    tcp.extend([7, 8, 9]);
    let sum = checksum(&pseudo(ipv6, tcp.len()), &tcp);
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    let mut frame = vec![2u8; 12];
    if ipv6 {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, tcp.len() as u8, TCP, 64]);
        frame.extend(0u8..32);
    } else {
        frame.extend([0x08, 0x00, 0x45, 0, 0, 20 + tcp.len() as u8, 0, 1, 0x40, 0, 64, TCP, 0, 0]);
        frame.extend([192, 0, 2, 1, 198, 51, 100, 2]);
    }
    frame.extend(tcp);
    frame
}

fn lowered_to(ipv6: bool, frame: &[u8], most: u16, mode: ForwardMode) -> Vec<u8> {
    let mut after = frame.to_vec();
    let offset = ETHERNET + if ipv6 { 40 } else { 20 };
    assert_eq!(lower(&mut Packet::from_slice(&mut after), offset, most, mode), 0);
    let tcp = &after[offset..];
    assert_eq!(checksum(&pseudo(ipv6, tcp.len()), tcp), 0, "the checksum is right");
    after
}

fn value(ipv6: bool, frame: &[u8], at: usize) -> u16 {
    let at = ETHERNET + if ipv6 { 40 } else { 20 } + 20 + at;
    u16::from_be_bytes([frame[at], frame[at + 1]])
}

#[test]
fn an_mss_is_lowered_wherever_it_lies_and_the_checksum_stays_right() {
    // The options, and where in them the value lies.
    let places: [(&[u8], usize); 6] = [
        (&[2, 4, 0x05, 0xb4], 2),
        (&[1, 2, 4, 0x05, 0xb4], 3),
        (&[4, 2, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 4, 0x05, 0xb4], 15),
        (&[3, 3, 7, 2, 4, 0x05, 0xb4], 5),
        // The last four of forty bytes.
        (
            &[
                1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                1, 1, 2, 4, 0x05, 0xb4,
            ],
            38,
        ),
        (
            &[
                254, 35, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9,
                9, 9, 2, 4, 0x05, 0xb4,
            ],
            37,
        ),
    ];
    for (options, at) in places {
        for ipv6 in [false, true] {
            let before = syn(ipv6, options);
            for most in [1u16, 255, 256, 536, 1400, 1459] {
                let after = lowered_to(ipv6, &before, most, ForwardMode::Nat);
                assert_eq!(value(ipv6, &after, at), most, "{options:?}");
                let differ = before.iter().zip(&after).filter(|(a, b)| a != b).count();
                assert!(differ <= 4, "nothing but value and checksum has changed: {options:?}");
            }
        }
    }
}

#[test]
fn an_mss_is_never_raised() {
    let before = syn(false, &[2, 4, 0x02, 0x18]);
    for most in [536, 537, 1460, u16::MAX] {
        assert_eq!(lowered_to(false, &before, most, ForwardMode::Nat), before);
    }
}

#[test]
fn what_is_no_mss_option_is_left_alone() {
    let cases: [&[u8]; 9] = [
        &[],
        // Behind the end of options.
        &[0, 2, 4, 0x05, 0xb4],
        // Another length than it has.
        &[2, 3, 0x05, 1, 1],
        &[2, 0, 0x05, 0xb4],
        // Lengths that lead nowhere, or behind the end.
        &[5, 0, 2, 4, 0x05, 0xb4],
        &[5, 1, 2, 4, 0x05, 0xb4],
        &[5, 255, 2, 4, 0x05, 0xb4],
        // Cut short by the header's end.
        &[1, 1, 1, 1, 1, 2, 4, 0x05],
        // Inside another option.
        &[8, 10, 2, 4, 0x05, 0xb4, 2, 4, 0x05, 0xb4],
    ];
    for options in cases {
        for ipv6 in [false, true] {
            let before = syn(ipv6, options);
            assert_eq!(lowered_to(ipv6, &before, 536, ForwardMode::Nat), before, "{options:?}");
        }
    }
}

#[test]
fn nothing_said_means_what_ethernet_holds_of_the_mode() {
    let expected = [
        (ForwardMode::Nat, 1460, 1440),
        (ForwardMode::Dnat, 1460, 1440),
        (ForwardMode::Dsr, 1460, 1440),
        (ForwardMode::Ipip, 1420, 1400),
        (ForwardMode::Gue, 1412, 1392),
    ];
    for (mode, v4, v6) in expected {
        for (ipv6, most) in [(false, v4), (true, v6)] {
            let after = lowered_to(ipv6, &syn(ipv6, &[2, 4, 0x23, 0x00]), 0, mode);
            assert_eq!(value(ipv6, &after, 2), most, "{mode:?}");
        }
    }
}

#[test]
fn a_checksum_that_was_left_to_hardware_is_left_to_whoever_completes_it() {
    for ipv6 in [false, true] {
        let mut frame = syn(ipv6, &[2, 4, 0x05, 0xb4]);
        let offset = ETHERNET + if ipv6 { 40 } else { 20 };
        let unfinished = !checksum(&pseudo(ipv6, frame.len() - offset), &[]);
        frame[offset + 16..offset + 18].copy_from_slice(&unfinished.to_be_bytes());
        let mut after = frame.clone();
        lower(&mut Packet::from_slice(&mut after), offset, 536, ForwardMode::Nat);
        assert_eq!(value(ipv6, &after, 2), 536);
        assert_eq!(after[offset + 16..offset + 18], frame[offset + 16..offset + 18]);
    }
}

#[test]
fn a_frame_that_ends_within_its_options_is_left_alone() {
    let whole = syn(false, &[1, 1, 1, 1, 2, 4, 0x05, 0xb4]);
    for length in ETHERNET + 20..ETHERNET + 20 + 27 {
        let mut frame = whole[..length].to_vec();
        lower(&mut Packet::from_slice(&mut frame), ETHERNET + 20, 536, ForwardMode::Nat);
        assert_eq!(frame, whole[..length]);
    }
}
