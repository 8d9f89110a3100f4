//! Transport protocols as the maps name them.

/// A transport protocol that a listener can have.
///
/// The numbers are the ABI's own two-bit code, not IANA's: they share a word
/// with a VIP's id. Code 0 is left out so that an all-zero key matches nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Transport {
    /// TCP, IP protocol 6.
    Tcp = 1,
    /// UDP, IP protocol 17.
    Udp = 2,
    /// SCTP, IP protocol 132 (RFC 9260).
    Sctp = 3,
}

impl Transport {
    /// The two-bit code in map keys.
    #[inline(always)]
    #[must_use]
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// The protocol that [`Transport::code`] stands for.
    #[must_use]
    pub const fn from_code(code: u16) -> Option<Self> {
        match code {
            1 => Some(Self::Tcp),
            2 => Some(Self::Udp),
            3 => Some(Self::Sctp),
            _ => None,
        }
    }

    /// IANA's protocol number, as the IP header carries it.
    #[inline(always)]
    #[must_use]
    pub const fn ip_protocol(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    /// Octavia's word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}

impl core::fmt::Display for Transport {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

/// A VIP's id and a transport in sixteen bits: fourteen and two.
#[inline(always)]
#[must_use]
pub const fn vip_and_transport(vip: u16, transport: Transport) -> u16 {
    vip | (transport.code() << 14)
}
