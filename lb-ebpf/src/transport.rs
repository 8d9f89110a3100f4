//! The transport header: what of TCP and UDP the pipeline looks at.

use lb_common::{
    atomic::{blur, opaque},
    drop_reason::DropReason,
    protocol::Transport,
};

use crate::{
    headers::{Ports, Tcp, Udp, tcp_flags},
    packet::Packet,
    sctp,
};

/// The facts of a TCP segment, UDP datagram or SCTP packet. Ports and numbers are
/// read where they lie, like a network header's addresses.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// Where in the frame it begins.
    pub offset: usize,
    /// IP protocol number (bits 0–7), TCP flags (8–15; 0 for UDP) and the
    /// transport's own code (16–17).
    facts: u64,
}

/// Flags of TCP that are all zero in a "null" scan.
const ANY_FLAG: u8 = 0x3f;

impl Segment {
    #[inline(always)]
    fn new(offset: usize, transport: Transport, flags: u8) -> Self {
        let facts = u64::from(transport.ip_protocol()) | u64::from(flags) << 8 | u64::from(transport.code()) << 16;
        // The way of a packet is compiled once for all transports.
        Self { offset, facts: opaque(facts) }
    }

    /// The same, of which the verifier no longer knows what transport it is: the
    /// way of a packet is gone through once for all of them. See [`blur`].
    #[inline(always)]
    #[must_use]
    pub fn blurred(self, noise: u64) -> Self {
        Self { offset: self.offset, facts: blur(self.facts, noise) }
    }

    /// One whose facts are known already.
    #[inline(always)]
    #[must_use]
    pub const fn known(offset: usize, protocol: u8, flags: u8, code: u8) -> Self {
        Self { offset, facts: protocol as u64 | (flags as u64) << 8 | (code as u64) << 16 }
    }

    /// Reads the header at `offset`, of a message of which `length` bytes are
    /// here. `whole` says that it is not the first part of a longer one.
    ///
    /// SCTP's chunks stand for TCP's flags: INIT for SYN, INIT ACK for SYN with
    /// ACK, ABORT for RST, SHUTDOWN (in all its forms) for FIN (RFC 9260 §3.2).
    ///
    /// # Errors
    /// [`DropReason::MalformedTransport`] when the header is cut short or
    /// contradicts `length`, [`DropReason::TcpFlags`].
    #[inline(always)]
    pub fn parse(
        packet: &Packet<'_>,
        transport: Transport,
        offset: usize,
        length: usize,
        whole: bool,
    ) -> Result<Self, DropReason> {
        const BAD: DropReason = DropReason::MalformedTransport;
        match transport {
            Transport::Tcp => {
                let tcp = packet.view::<Tcp>(offset).ok_or(BAD)?;
                let header = usize::from(tcp.offset >> 4) * 4;
                if header < size_of::<Tcp>() || header > length {
                    return Err(BAD);
                }
                let flags = tcp.flags;
                let opens_and_ends = flags & tcp_flags::SYN != 0 && flags & (tcp_flags::FIN | tcp_flags::RST) != 0;
                if flags & ANY_FLAG == 0 || opens_and_ends {
                    return Err(DropReason::TcpFlags);
                }
                Ok(Self::new(offset, transport, flags))
            }
            Transport::Udp => {
                let udp = packet.view::<Udp>(offset).ok_or(BAD)?;
                let claimed = usize::from(u16::from_be(udp.length));
                if claimed < size_of::<Udp>() || length < size_of::<Udp>() || whole && claimed > length {
                    return Err(BAD);
                }
                Ok(Self::new(offset, transport, 0))
            }
            Transport::Sctp => {
                let flags = sctp::signs(packet, offset, length, whole).ok_or(BAD)?;
                Ok(Self::new(offset, transport, flags))
            }
        }
    }

    /// TCP's flags, or what of SCTP stands for them.
    #[inline(always)]
    #[must_use]
    pub const fn flags(&self) -> u8 {
        (self.facts >> 8) as u8
    }

    /// The transport's own code.
    #[inline(always)]
    #[must_use]
    pub const fn code(&self) -> u8 {
        (self.facts >> 16) as u8 & 3
    }

    /// Whether this is UDP: flows of it do not say when they begin or end.
    #[inline(always)]
    #[must_use]
    pub fn is_udp(&self) -> bool {
        self.ip_protocol() == Transport::Udp.ip_protocol()
    }

    /// Whether this is SCTP.
    #[inline(always)]
    #[must_use]
    pub fn is_sctp(&self) -> bool {
        self.ip_protocol() == Transport::Sctp.ip_protocol()
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
