//! The Internet checksum (RFC 1071), over pieces that each begin at an even byte. Pure.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A sum that is not folded yet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum(u64);

impl Sum {
    /// Adds bytes; an odd last one counts as if a zero followed.
    #[must_use]
    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        for pair in bytes.chunks(2) {
            self.0 += u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0));
        }
        self
    }

    /// Adds the pseudo header of IPv4 (RFC 9293 §3.1).
    #[must_use]
    pub(super) fn v4(self, source: Ipv4Addr, to: Ipv4Addr, protocol: u8, length: u16) -> Self {
        let sum = self.bytes(&source.octets()).bytes(&to.octets());
        Self(sum.0 + u64::from(protocol) + u64::from(length))
    }

    /// Adds the pseudo header of IPv6 (RFC 8200 §8.1).
    #[must_use]
    pub(super) fn v6(self, source: Ipv6Addr, to: Ipv6Addr, protocol: u8, length: u16) -> Self {
        let sum = self.bytes(&source.octets()).bytes(&to.octets());
        Self(sum.0 + u64::from(protocol) + u64::from(length))
    }

    /// The checksum.
    #[must_use]
    pub(super) fn folded(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        // Folded to 16 bits just now.
        !u16::try_from(sum).unwrap_or(u16::MAX)
    }
}
