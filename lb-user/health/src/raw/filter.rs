//! Filters of the raw sockets, in the language of `SO_ATTACH_FILTER`: what is no answer to
//! a probe of ours neither wakes anybody nor is kept. They are no check: whatever passes is
//! read as if there were none.

use std::ops::RangeInclusive;

use socket2::SockFilter;

use super::{icmp::Types, net::Family, sys::LOOKED_AT};

const LOAD_BYTE: u16 = 0x50;
const LOAD_HALF: u16 = 0x48;
const LOAD_HEADER_LENGTH: u16 = 0xb1;
const LOAD_OFFSET: u16 = 0x01;
const AND: u16 = 0x54;
const IF_EQUAL: u16 = 0x15;
const IF_ABOVE: u16 = 0x25;
const IF_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;

/// Instructions that let a packet pass when they are not left by a jump to the last one.
#[derive(Debug)]
pub(super) struct Filter(Vec<Step>);

/// Where a jump goes to, before it is known how far that is.
#[derive(Clone, Copy, Debug)]
enum Step {
    Do(u16, u32),
    /// On to the next step when it holds; else the packet is dropped.
    Need(u16, u32),
    /// On to the next step when it does not hold; else the packet is dropped.
    NeedNot(u16, u32),
    /// When it holds, the step after the next one is skipped.
    Or(u16, u32),
}

impl Filter {
    /// Offsets count from the header after IP, which a raw socket of IPv4 has in front and
    /// one of IPv6 has not.
    fn new(family: Family) -> Self {
        Self(vec![match family {
            Family::V4 => Step::Do(LOAD_HEADER_LENGTH, 0),
            Family::V6 => Step::Do(LOAD_OFFSET, 0),
        }])
    }

    fn port(mut self, at: u32, ports: &RangeInclusive<u16>) -> Self {
        let (first, last) = (u32::from(*ports.start()), u32::from(*ports.end()));
        self.0.extend([Step::Do(LOAD_HALF, at), Step::Need(IF_AT_LEAST, first), Step::NeedNot(IF_ABOVE, last)]);
        self
    }

    fn half(mut self, at: u32, value: u16) -> Self {
        self.0.extend([Step::Do(LOAD_HALF, at), Step::Need(IF_EQUAL, value.into())]);
        self
    }

    fn byte(mut self, at: u32, mask: u8, one: u8, other: u8) -> Self {
        self.0.extend([
            Step::Do(LOAD_BYTE, at),
            Step::Do(AND, mask.into()),
            Step::Or(IF_EQUAL, one.into()),
            Step::Need(IF_EQUAL, other.into()),
        ]);
        self
    }

    /// SYN-ACK and RST to these ports.
    pub(super) fn tcp(family: Family, ports: &RangeInclusive<u16>) -> Self {
        Self::new(family).port(2, ports).byte(13, 0x16, 0x12, 0x14)
    }

    /// INIT ACK and ABORT to these ports.
    pub(super) fn sctp(family: Family, ports: &RangeInclusive<u16>) -> Self {
        Self::new(family).port(2, ports).byte(12, 0xff, 2, 6)
    }

    /// Echo replies with this identifier.
    pub(super) fn icmp(family: Family, types: Types, identifier: u16) -> Self {
        Self::new(family).byte(0, 0xff, types.reply, types.reply).half(4, identifier)
    }

    /// What the kernel takes. What passes is cut off after what is looked at.
    pub(super) fn program(&self) -> Vec<SockFilter> {
        let steps = self.0.len();
        let mut program: Vec<SockFilter> = Vec::with_capacity(steps + 2);
        for (n, step) in self.0.iter().enumerate() {
            // From the next instruction to the last one of all.
            let away = u8::try_from(steps - n).unwrap_or(u8::MAX);
            program.push(match *step {
                Step::Do(code, value) => SockFilter::new(code, 0, 0, value),
                Step::Need(code, value) => SockFilter::new(code, 0, away, value),
                Step::NeedNot(code, value) => SockFilter::new(code, away, 0, value),
                Step::Or(code, value) => SockFilter::new(code, 1, 0, value),
            });
        }
        program.push(SockFilter::new(RETURN, 0, 0, u32::try_from(LOOKED_AT).unwrap_or(u32::MAX)));
        program.push(SockFilter::new(RETURN, 0, 0, 0));
        program
    }
}
