//! What holds of every frame that is sent, whatever it is about: it is whole, its
//! checksums are as right as those of what came in, and it fits.
//!
//! No line is shared with the pipeline; checksums are computed from scratch.

use std::net::IpAddr;

use lb_ebpf::tables::Verdict;

use super::ground::{MTU, Sent};
use crate::packets::{case::dump, model::Validity, scene::Version, spec::folded};

/// What is said of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Packet<'f> {
    /// From the network header to the end that it gives.
    bytes: &'f [u8],
    is_v6: bool,
    /// Bytes of the network header, extension headers included.
    header: usize,
    /// What it carries.
    protocol: u8,
    /// It is a part of a datagram.
    fragment: bool,
    /// The IPv4 header's checksum is right.
    header_right: bool,
}

/// The packet in a frame: behind the stations and up to two tags. `None` where it
/// is none, or not whole.
fn packet_of(frame: &[u8]) -> Option<Packet<'_>> {
    let mut at = 12;
    for _ in 0..2 {
        if matches!(frame.get(at..at + 2)?, [0x81, 0x00] | [0x88, 0xa8]) {
            at += 4;
        }
    }
    match frame.get(at..at + 2)? {
        [0x08, 0x00] => packet(frame.get(at + 2..)?, 4),
        [0x86, 0xdd] => packet(frame.get(at + 2..)?, 6),
        _ => None,
    }
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    Some(usize::from(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?])))
}

fn packet(bytes: &[u8], version: u8) -> Option<Packet<'_>> {
    if bytes.first()? >> 4 != version {
        return None;
    }
    if version == 4 {
        let header = usize::from(bytes[0] & 0xf) * 4;
        let bytes = bytes.get(..number(bytes, 2)?)?;
        if header < 20 || bytes.len() < header {
            return None;
        }
        let header_right = folded(&bytes[..header]) == 0xffff;
        let fragment = number(bytes, 6)? & 0x3fff != 0;
        return Some(Packet { bytes, is_v6: false, header, protocol: bytes[9], fragment, header_right });
    }
    let bytes = bytes.get(..40 + number(bytes, 4)?)?;
    let (mut protocol, mut header, mut fragment) = (bytes[6], 40, false);
    for _ in 0..8 {
        let length = match protocol {
            0 | 43 | 60 => 8 + usize::from(*bytes.get(header + 1)?) * 8,
            44 => {
                let field = number(bytes, header + 2)?;
                fragment |= field & 0xfff9 != 0;
                if field & 0xfff8 != 0 {
                    // What follows is from the middle of something.
                    header += 8;
                    break;
                }
                8
            }
            _ => break,
        };
        protocol = *bytes.get(header)?;
        header += length;
    }
    (header <= bytes.len()).then_some(Packet { bytes, is_v6: true, header, protocol, fragment, header_right: true })
}

impl Packet<'_> {
    /// The sum of the pseudo header for a message of so many bytes.
    fn pseudo(&self, length: usize) -> Vec<u8> {
        let addresses = if self.is_v6 { &self.bytes[8..40] } else { &self.bytes[12..20] };
        let length = u32::try_from(length).unwrap_or(0).to_be_bytes();
        [addresses, &length, &[0, self.protocol]].concat()
    }

    /// What the checksum of the message is like, if it is one that has one, and
    /// is here as a whole.
    fn validity(&self) -> Option<Validity> {
        let message = &self.bytes[self.header..];
        if self.fragment {
            return None;
        }
        let (field, covered, pseudo) = match self.protocol {
            6 if message.len() >= 20 => (number(message, 16)?, message, true),
            17 if message.len() >= 8 => {
                let length = number(message, 4)?;
                if length < 8 {
                    return None;
                }
                (number(message, 6)?, message.get(..length)?, true)
            }
            1 if !self.is_v6 && message.len() >= 8 => (number(message, 2)?, message, false),
            58 if self.is_v6 && message.len() >= 8 => (number(message, 2)?, message, true),
            132 if message.len() >= 12 => {
                let mut zeroed = message.to_vec();
                zeroed[8..12].fill(0);
                let right = crc32c::crc32c(&zeroed).to_le_bytes() == message[8..12];
                return Some(if right { Validity::Right } else { Validity::Wrong });
            }
            _ => return None,
        };
        if self.protocol == 17 && field == 0 {
            return Some(Validity::None);
        }
        let head = if pseudo { self.pseudo(covered.len()) } else { Vec::new() };
        if folded(&[&head, covered].concat()) == 0xffff {
            return Some(Validity::Right);
        }
        // No sender leaves a datagram to its hardware that is shorter than its packet.
        let whole = covered.len() == message.len();
        let partial = whole && matches!(self.protocol, 6 | 17) && usize::from(folded(&head)) % 0xffff == field % 0xffff;
        Some(if partial { Validity::Partial } else { Validity::Wrong })
    }

    /// What is wrapped, if it is what was given.
    fn unwrapped(&self, given: &Self) -> Option<(Self, bool)> {
        let version = if given.is_v6 { 6 } else { 4 };
        match self.protocol {
            4 | 41 if (self.protocol == 41) == given.is_v6 => {
                Some((packet(self.bytes.get(self.header..)?, version)?, false))
            }
            17 if number(self.bytes, self.header + 2)? == 6080 => {
                Some((packet(self.bytes.get(self.header + 8..)?, version)?, true))
            }
            _ => None,
        }
    }
}

/// What is wrong with what became of a frame.
///
/// # Errors
/// That, with both frames.
pub(super) fn check(before: &[u8], sent: &Sent) -> Result<(), String> {
    let after = &sent.outcome.frame;
    let found = match sent.verdict {
        Verdict::Pass if before != after.as_slice() => passed(before, after),
        Verdict::Pass | Verdict::Drop(_) => Ok(()),
        Verdict::Answer => answered(before, after),
        Verdict::Transmit | Verdict::Redirect(_) => sent_on(before, after),
    };
    found.map_err(|e| format!("{e}\n{:?} of\n{}\nleft\n{}", sent.verdict, dump(before), dump(after)))
}

/// What passes is as it was, but for what a member of a `dnat` pool sends and only
/// the host itself can send on.
fn passed(before: &[u8], after: &[u8]) -> Result<(), String> {
    let sent = packet_of(after).ok_or("a frame that passes is as it was")?;
    let source = if sent.is_v6 { &sent.bytes[8..24] } else { &sent.bytes[12..16] };
    let is_vip = Version::BOTH.iter().any(|version| match version.vip() {
        IpAddr::V4(vip) => vip.octets() == *source,
        IpAddr::V6(vip) => vip.octets() == *source,
    });
    if is_vip { sent_on(before, after) } else { Err("a frame that passes is as it was".to_owned()) }
}

fn answered(before: &[u8], after: &[u8]) -> Result<(), String> {
    if before.len() >= 14 && after.len() >= 14 && after[12..14] == [0x08, 0x06] {
        return Ok(());
    }
    let Some(answer) = packet_of(after) else {
        // ARP with tags.
        let arp = after.windows(2).take(22).any(|two| two == [0x08, 0x06]);
        return if arp { Ok(()) } else { Err("an answer is a whole packet".to_owned()) };
    };
    let asked = packet_of(before).ok_or("what is answered is a whole packet")?;
    let echo = matches!(
        (answer.is_v6, answer.protocol, answer.bytes.get(answer.header)),
        (_, 1, Some(0)) | (_, 58, Some(129))
    );
    let neighbour = answer.protocol == 58 && answer.bytes.get(answer.header) == Some(&136);
    if echo {
        return as_right(&asked, &answer);
    }
    // A reset is made of the segment that it answers, and what was wrong stays so.
    let may_be_wrong = answer.protocol == 6 && !asked.header_right;
    if !answer.header_right && !may_be_wrong {
        return Err("an answer's header has a wrong checksum".to_owned());
    }
    if neighbour && asked.validity() != Some(Validity::Right) {
        return Ok(());
    }
    if answer.validity() != Some(Validity::Right) {
        return Err(format!("the checksum of an answer is {:?}", answer.validity()));
    }
    if answer.bytes.len() > 1280.max(asked.bytes.len()) {
        return Err("an answer is longer than any packet must be".to_owned());
    }
    Ok(())
}

/// What was right is right.
fn as_right(asked: &Packet<'_>, sent: &Packet<'_>) -> Result<(), String> {
    if asked.header_right != sent.header_right {
        return Err(format!("the header's checksum was right: {}, is: {}", asked.header_right, sent.header_right));
    }
    let same = match (asked.validity(), sent.validity()) {
        (Some(Validity::Right), got) => got == Some(Validity::Right),
        (Some(Validity::None), got) => got == Some(Validity::None),
        (Some(Validity::Partial), got) => matches!(got, Some(Validity::Right | Validity::Partial)),
        (Some(Validity::Wrong), got) => matches!(got, Some(Validity::Wrong | Validity::Partial)),
        (None, _) => true,
    };
    if same { Ok(()) } else { Err(format!("a checksum that was {:?} is {:?}", asked.validity(), sent.validity())) }
}

fn sent_on(before: &[u8], after: &[u8]) -> Result<(), String> {
    let asked = packet_of(before).ok_or("what is sent on is a whole packet")?;
    let sent = packet_of(after).ok_or("what was sent on is no whole packet any more")?;
    if sent.bytes.len() > asked.bytes.len() {
        // Wrapped: all of the outer headers is ours.
        let (inner, gue) = sent.unwrapped(&asked).ok_or("a packet grew and is not wrapped")?;
        if sent.bytes.len() > usize::from(MTU) {
            return Err(format!("a packet of {} bytes does not fit the way", sent.bytes.len()));
        }
        if inner.bytes.len() != asked.bytes.len() {
            return Err("what is within has another length".to_owned());
        }
        if inner.bytes.len() + sent.header + if gue { 8 } else { 0 } != sent.bytes.len() {
            return Err("the outer length is not that of what is within".to_owned());
        }
        if !sent.header_right {
            return Err("the outer header's checksum is wrong".to_owned());
        }
        let trusted = asked.header_right && matches!(asked.validity(), Some(Validity::Right));
        let outer = sent.validity();
        if gue && trusted && !matches!(outer, Some(Validity::Right | Validity::None)) {
            return Err(format!("the outer checksum is {outer:?}"));
        }
        return as_right(&asked, &inner);
    }
    if sent.bytes.len() < asked.bytes.len() {
        return Err("a packet became shorter".to_owned());
    }
    as_right(&asked, &sent)
}
