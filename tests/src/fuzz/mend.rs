//! Makes lengths and checksums of a frame right, as far as it has any, so that
//! what lies behind them is reached.

use crate::packets::spec::folded;

/// Where the packet begins, and whether it is one of IPv6.
fn network(frame: &[u8]) -> Option<(usize, bool)> {
    let mut at = 12;
    for _ in 0..2 {
        if matches!(frame.get(at..at + 2)?, [0x81, 0x00] | [0x88, 0xa8]) {
            at += 4;
        }
    }
    match frame.get(at..at + 2)? {
        [0x08, 0x00] if frame.len() >= at + 22 => Some((at + 2, false)),
        [0x86, 0xdd] if frame.len() >= at + 42 => Some((at + 2, true)),
        _ => None,
    }
}

/// Mends a frame; `lengths` too, or checksums alone.
pub(super) fn mend(frame: &mut [u8], lengths: bool) {
    let Some((at, is_v6)) = network(frame) else { return };
    let packet = &mut frame[at..];
    let whole = packet.len();
    let (header, protocol) = if is_v6 {
        if lengths {
            packet[4..6].copy_from_slice(&((whole - 40) as u16).to_be_bytes());
        }
        (40, packet[6])
    } else {
        if lengths {
            packet[2..4].copy_from_slice(&(whole as u16).to_be_bytes());
        }
        (usize::from(packet[0] & 15) * 4, packet[9])
    };
    let told = u16::from_be_bytes(if is_v6 { [packet[4], packet[5]] } else { [packet[2], packet[3]] });
    let end = usize::from(told) + if is_v6 { 40 } else { 0 };
    if header < 20 || header > whole || end > whole || header > end {
        return;
    }
    if !is_v6 {
        packet[10..12].fill(0);
        let sum = !folded(&packet[..header]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    let addresses = if is_v6 { packet[8..40].to_vec() } else { packet[12..20].to_vec() };
    let message = &mut packet[header..end];
    let length = message.len() as u32;
    if protocol == 132 && message.len() >= 12 {
        message[8..12].fill(0);
        let sum = crc32c::crc32c(message).to_le_bytes();
        message[8..12].copy_from_slice(&sum);
        return;
    }
    if protocol == 17 && lengths && message.len() >= 8 {
        message[4..6].copy_from_slice(&(length as u16).to_be_bytes());
    }
    let place = match protocol {
        6 => 16,
        17 => 6,
        1 | 58 => 2,
        _ => return,
    };
    if message.len() < place + 2 {
        return;
    }
    message[place..place + 2].fill(0);
    let pseudo = [&addresses[..], &length.to_be_bytes(), &[0, protocol]].concat();
    let head = if protocol == 1 { Vec::new() } else { pseudo };
    let sum = !folded(&[&head, &*message].concat());
    message[place..place + 2].copy_from_slice(&sum.to_be_bytes());
}
