//! The transport header: what of TCP and UDP the pipeline looks at.

use lb_common::{atomic::opaque, drop_reason::DropReason, protocol::Transport};

use crate::{
    headers::{Ports, Tcp, Udp, tcp_flags},
    packet::Packet,
};

/// The facts of a TCP segment or UDP datagram. Ports and numbers are read where
/// they lie, like a network header's addresses.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// Where in the frame it begins.
    pub offset: usize,
    /// IP protocol number (bits 0–7), TCP flags (8–15; 0 for UDP) and the
    /// transport's own code (16–17).
    facts: u64,
}

impl Segment {
    #[inline(always)]
    fn new(offset: usize, transport: Transport, flags: u8) -> Self {
        let facts = u64::from(transport.ip_protocol()) | u64::from(flags) << 8 | u64::from(transport.code()) << 16;
        // The way of a packet is compiled once for both transports.
        Self { offset, facts: opaque(facts) }
    }

    /// Reads the header at `offset`, of a message that is `length` bytes long.
    ///
    /// # Errors
    /// [`DropReason::MalformedTransport`] when the header is cut short or
    /// contradicts `length`.
    #[inline(always)]
    pub fn parse(packet: &Packet<'_>, transport: Transport, offset: usize, length: usize) -> Result<Self, DropReason> {
        const BAD: DropReason = DropReason::MalformedTransport;
        match transport {
            Transport::Tcp => {
                let tcp = packet.view::<Tcp>(offset).ok_or(BAD)?;
                let header = usize::from(tcp.offset >> 4) * 4;
                if header < size_of::<Tcp>() || header > length {
                    return Err(BAD);
                }
                Ok(Self::new(offset, transport, tcp.flags))
            }
            Transport::Udp => {
                let udp = packet.view::<Udp>(offset).ok_or(BAD)?;
                let claimed = usize::from(u16::from_be(udp.length));
                if claimed < size_of::<Udp>() || claimed > length {
                    return Err(BAD);
                }
                Ok(Self::new(offset, transport, 0))
            }
            // No packet of SCTP gets this far yet.
            Transport::Sctp => Err(BAD),
        }
    }

    /// Sender's and receiver's port, host order.
    #[inline(always)]
    #[must_use]
    pub fn ports(&self, packet: &Packet<'_>) -> Option<(u16, u16)> {
        let ports = packet.view::<Ports>(self.offset)?;
        Some((u16::from_be(ports.source), u16::from_be(ports.destination)))
    }

    /// Whether any of `flags` is set.
    #[inline(always)]
    #[must_use]
    pub fn has(&self, flags: u8) -> bool {
        self.facts & u64::from(flags) << 8 != 0
    }

    /// A TCP segment that opens a connection: SYN without ACK.
    #[inline(always)]
    #[must_use]
    pub fn opens(&self) -> bool {
        self.has(tcp_flags::SYN) && !self.has(tcp_flags::ACK)
    }

    /// The IP protocol number.
    #[inline(always)]
    #[must_use]
    pub const fn ip_protocol(&self) -> u8 {
        self.facts as u8
    }

    /// A VIP's id and the transport, as the maps have them.
    #[inline(always)]
    #[must_use]
    pub const fn with_vip(&self, vip: u16) -> u16 {
        vip | ((self.facts >> 16) as u16) << 14
    }

    /// Whether this is TCP.
    #[inline(always)]
    #[must_use]
    pub fn is_tcp(&self) -> bool {
        self.ip_protocol() == Transport::Tcp.ip_protocol()
    }
}
