//! The transport header: what of TCP and UDP the pipeline looks at.

use lb_common::{drop_reason::DropReason, protocol::Transport};

use crate::{
    headers::{Tcp, Udp, tcp_flags},
    packet::Packet,
};

/// The facts of a TCP segment or UDP datagram, in host order.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// Which of the two.
    pub transport: Transport,
    /// Sender's port.
    pub source: u16,
    /// Receiver's port.
    pub destination: u16,
    /// TCP flags, 0 for UDP.
    pub flags: u8,
    /// TCP sequence number, 0 for UDP.
    pub sequence: u32,
    /// TCP acknowledgment number, 0 for UDP.
    pub acknowledgment: u32,
}

impl Segment {
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
                Ok(Self {
                    transport,
                    source: u16::from_be(tcp.source),
                    destination: u16::from_be(tcp.destination),
                    flags: tcp.flags,
                    sequence: u32::from_be(tcp.sequence),
                    acknowledgment: u32::from_be(tcp.acknowledgment),
                })
            }
            Transport::Udp => {
                let udp = packet.view::<Udp>(offset).ok_or(BAD)?;
                let claimed = usize::from(u16::from_be(udp.length));
                if claimed < size_of::<Udp>() || claimed > length {
                    return Err(BAD);
                }
                Ok(Self {
                    transport,
                    source: u16::from_be(udp.source),
                    destination: u16::from_be(udp.destination),
                    flags: 0,
                    sequence: 0,
                    acknowledgment: 0,
                })
            }
        }
    }

    /// Whether any of `flags` is set.
    #[inline(always)]
    #[must_use]
    pub fn has(&self, flags: u8) -> bool {
        self.flags & flags != 0
    }

    /// A TCP segment that opens a connection: SYN without ACK.
    #[inline(always)]
    #[must_use]
    pub fn opens(&self) -> bool {
        self.flags & (tcp_flags::SYN | tcp_flags::ACK) == tcp_flags::SYN
    }

    /// Whether this is TCP.
    #[inline(always)]
    #[must_use]
    pub fn is_tcp(&self) -> bool {
        matches!(self.transport, Transport::Tcp)
    }
}
