//! Networks in CIDR notation (RFC 4632 §3.1, RFC 4291 §2.3).

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// The most networks of all listeners' `allowed_cidrs` together.
pub const MAX_CIDRS: usize = 1 << 16;

/// A network: an address whose bits beyond the prefix are zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

/// Why a text or a pair is no network.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CidrError {
    /// It is no address with a prefix length.
    #[error(
        "is no network; write an address and the bits that count, for example \"192.0.2.0/24\" or \"2001:db8::/32\""
    )]
    NotOne,
    /// More bits than an address has.
    #[error("has a prefix of {prefix} bits, and an address of its family has {bits}; write fewer")]
    TooLong {
        /// The prefix length.
        prefix: u8,
        /// The bits of an address.
        bits: u8,
    },
    /// Bits beyond the prefix are set.
    #[error("has bits set that do not count; the network is {0}, one host is a prefix of all bits")]
    HostBits(
        /// The network that the address is in.
        Cidr,
    ),
}

impl Cidr {
    /// A network from its first address and the length of its prefix.
    ///
    /// # Errors
    /// When the prefix is longer than an address of the family, or bits beyond it are set.
    pub fn new(address: IpAddr, prefix: u8) -> Result<Self, CidrError> {
        let bits = bits_of(address);
        if prefix > bits {
            return Err(CidrError::TooLong { prefix, bits });
        }
        let network = Self { address: masked(address, prefix), prefix };
        if network.address == address { Ok(network) } else { Err(CidrError::HostBits(network)) }
    }

    /// The network of so many bits that an address is in; of one host if there are not so
    /// many.
    #[must_use]
    pub fn network_of(address: IpAddr, prefix: u8) -> Self {
        let prefix = prefix.min(bits_of(address));
        Self { address: masked(address, prefix), prefix }
    }

    /// Its first address.
    #[must_use]
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// How many bits of an address count, 0 to 32 or 0 to 128.
    #[must_use]
    pub const fn prefix(self) -> u8 {
        self.prefix
    }

    /// Whether it is one of IPv4.
    #[must_use]
    pub const fn is_ipv4(self) -> bool {
        self.address.is_ipv4()
    }

    /// Whether an address is in it.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.is_ipv4() && masked(address, self.prefix) == self.address
    }
}

const fn bits_of(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    let beyond = u32::from(bits_of(address) - prefix);
    match address {
        IpAddr::V4(a) => Ipv4Addr::from_bits(a.to_bits() & u32::MAX.checked_shl(beyond).unwrap_or(0)).into(),
        IpAddr::V6(a) => Ipv6Addr::from_bits(a.to_bits() & u128::MAX.checked_shl(beyond).unwrap_or(0)).into(),
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    /// Reads what [`Cidr`] is shown as. An address alone is the network of one host, as in
    /// Octavia.
    fn from_str(text: &str) -> Result<Self, CidrError> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address = IpAddr::from_str(address).map_err(|_| CidrError::NotOne)?;
        let prefix = match prefix {
            None => bits_of(address),
            Some(digits) if (1..=3).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().map_err(|_| CidrError::NotOne)?
            }
            Some(_) => return Err(CidrError::NotOne),
        };
        Self::new(address, prefix)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl fmt::Debug for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use proptest::prelude::*;

    use super::*;

    fn cidr(text: &str) -> Result<Cidr, CidrError> {
        text.parse()
    }

    #[test]
    fn a_network_is_read_as_it_is_shown() {
        for text in ["0.0.0.0/0", "10.0.0.0/8", "192.0.2.1/32", "::/0", "2001:db8::/33", "2001:db8::1/128"] {
            assert_eq!(cidr(text).unwrap().to_string(), text);
        }
        assert_eq!(cidr("192.0.2.1"), cidr("192.0.2.1/32"));
        assert_eq!(cidr("2001:db8::1"), cidr("2001:db8::1/128"));
    }

    #[test]
    fn what_is_none_is_refused_and_host_bits_are_answered_with_the_network() {
        for text in
            ["", "/", "nope", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/ 8", "10.0.0.0/8/8", "10.0.0/8", "fe80::%1/64"]
        {
            assert_eq!(cidr(text), Err(CidrError::NotOne), "{text:?}");
        }
        assert_eq!(cidr("10.0.0.0/33"), Err(CidrError::TooLong { prefix: 33, bits: 32 }));
        assert_eq!(cidr("::/129"), Err(CidrError::TooLong { prefix: 129, bits: 128 }));
        assert_eq!(cidr("10.0.0.1/8"), Err(CidrError::HostBits(cidr("10.0.0.0/8").unwrap())));
        assert_eq!(cidr("2001:db8::1/32"), Err(CidrError::HostBits(cidr("2001:db8::/32").unwrap())));
        assert_eq!(cidr("10.0.0.0/256"), Err(CidrError::NotOne));
    }

    proptest! {
        #[test]
        fn a_network_contains_what_begins_like_it(bits: u128, other: u128, prefix in 0..=128u8) {
            let address = IpAddr::from(Ipv6Addr::from_bits(bits));
            let network = match Cidr::new(address, prefix) {
                Ok(network) | Err(CidrError::HostBits(network)) => network,
                Err(error) => return Err(TestCaseError::fail(error.to_string())),
            };
            prop_assert!(network.contains(address));
            let alike = u32::from(prefix) <= (bits ^ other).leading_zeros();
            prop_assert_eq!(network.contains(Ipv6Addr::from_bits(other).into()), alike);
            prop_assert!(!network.contains(Ipv4Addr::from_bits(bits as u32).into()));
            prop_assert_eq!(network.to_string().parse(), Ok(network));
        }
    }
}
