//! What sockets hear of packets that did not arrive: ICMP messages, and the kernel's own
//! word that a neighbour does not answer (`IP_RECVERR`, `IPV6_RECVERR`).

use std::{
    io::{self, IoSliceMut},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsRawFd, BorrowedFd},
};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg};

use super::{
    net::{Family, Protocol},
    sys::LOOKED_AT,
};
use crate::outcome::Failure;

/// Origins of an error (`linux/errqueue.h`).
const LOCAL: u8 = 1;
const ICMP: u8 = 2;
const ICMPV6: u8 = 3;

/// What became of a packet of ours.
#[derive(Debug)]
pub(super) struct Report {
    /// Where it was sent to; the port is only known of UDP.
    pub(super) to: SocketAddr,
    /// Why it did not arrive; `None` when it only met something on its way.
    pub(super) failure: Option<Failure>,
    /// How many of its bytes came back.
    pub(super) length: usize,
}

/// Room for what comes back.
#[derive(Debug)]
pub(super) struct ErrorBox {
    bytes: Box<[u8; LOOKED_AT]>,
    control: Vec<u8>,
}

impl ErrorBox {
    /// An empty one.
    pub(super) fn new() -> Self {
        Self { bytes: Box::new([0; LOOKED_AT]), control: nix::cmsg_space!(libc::sock_extended_err, libc::sockaddr_in6) }
    }

    /// The next report. `None` when what was there cannot be read.
    ///
    /// # Errors
    /// `WouldBlock` when there is none.
    pub(super) fn next(&mut self, socket: BorrowedFd<'_>, protocol: Protocol) -> io::Result<Option<Report>> {
        let mut pieces = [IoSliceMut::new(&mut *self.bytes)];
        let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
        let message = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut pieces, Some(&mut self.control), flags)?;
        let Some(to) = message.address.as_ref().and_then(to_std) else { return Ok(None) };
        let length = message.bytes;
        let Ok(mut controls) = message.cmsgs() else { return Ok(None) };
        let error = controls.find_map(|control| match control {
            ControlMessageOwned::Ipv4RecvErr(error, _) | ControlMessageOwned::Ipv6RecvErr(error, _) => Some(error),
            _ => None,
        });
        Ok(error.map(|error| {
            let failure = match error.ee_origin {
                LOCAL => i32::try_from(error.ee_errno).ok().map(Failure::Kernel),
                ICMP => of_icmp(Family::V4, protocol, error.ee_type, error.ee_code),
                ICMPV6 => of_icmp(Family::V6, protocol, error.ee_type, error.ee_code),
                _ => None,
            };
            Report { to, failure, length }
        }))
    }

    /// The bytes of a report, from the header after IP on.
    pub(super) fn bytes(&self, report: &Report) -> &[u8] {
        self.bytes.get(..report.length).unwrap_or_default()
    }
}

fn to_std(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(v4.ip().octets())), v4.port()));
    }
    let v6 = address.as_sockaddr_in6()?;
    Some(SocketAddr::new(IpAddr::V6(Ipv6Addr::from(v6.ip().octets())), v6.port()))
}

/// What a message of ICMP (RFC 792, RFC 1812 §5.2.7) or ICMPv6 (RFC 4443 §3) says of a
/// probe. `None` when it is no end of it.
pub(super) fn of_icmp(family: Family, protocol: Protocol, kind: u8, code: u8) -> Option<Failure> {
    const FORBIDDEN: Failure = Failure::Told("a firewall or router on the way forbids it (ICMP)");
    const PORT_CLOSED: Failure = Failure::Told("its port is closed (ICMP port unreachable)");
    const LOOP: Failure = Failure::Told("it went around in circles on the way (ICMP time exceeded)");
    let kernel = |errno| Some(Failure::Kernel(errno));
    match (family, kind, code) {
        (Family::V4, 3, 0 | 6 | 11) | (Family::V6, 1, 0) => kernel(libc::ENETUNREACH),
        (Family::V4, 3, 2) | (Family::V6, 4, 1) => Some(no_protocol(protocol)),
        (Family::V4, 3, 3) | (Family::V6, 1, 4) => Some(PORT_CLOSED),
        (Family::V4, 3, 9 | 10 | 13) | (Family::V6, 1, 1 | 5 | 6) => Some(FORBIDDEN),
        // The path has a smaller packet size: nothing of ours is that large.
        (Family::V4, 3, 4) => None,
        (Family::V4, 3, _) | (Family::V6, 1, _) => kernel(libc::EHOSTUNREACH),
        (Family::V4, 11, _) | (Family::V6, 3, _) => Some(LOOP),
        (Family::V4, 12, _) | (Family::V6, 4, _) => Some(Failure::Told("its IP header was not understood (ICMP)")),
        _ => None,
    }
}

const fn no_protocol(protocol: Protocol) -> Failure {
    Failure::Told(match protocol {
        Protocol::Tcp => "the host has no TCP (ICMP protocol unreachable)",
        Protocol::Udp => "the host has no UDP (ICMP protocol unreachable)",
        Protocol::Icmp => "the host has no ICMP (ICMP protocol unreachable)",
        Protocol::Sctp => "the host has no SCTP (ICMP protocol unreachable)",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_of_icmp_says_what_an_operator_would_say() {
        let text = |family, kind, code| {
            of_icmp(family, Protocol::Sctp, kind, code).map_or_else(String::new, |failure| failure.to_string())
        };
        let v4 = |code| text(Family::V4, 3, code);
        assert_eq!(
            [v4(0), v4(1), v4(3), v4(5)],
            [
                "network unreachable",
                "no route to host",
                "its port is closed (ICMP port unreachable)",
                "no route to host"
            ]
        );
        let forbidden = "a firewall or router on the way forbids it (ICMP)";
        assert_eq!([v4(9), v4(10), v4(13)], [forbidden; 3]);
        assert_eq!(v4(2), "the host has no SCTP (ICMP protocol unreachable)");
        let v6 = |code| text(Family::V6, 1, code);
        assert_eq!(
            [v6(0), v6(3), v6(4)],
            ["network unreachable", "no route to host", "its port is closed (ICMP port unreachable)"]
        );
        assert_eq!([v6(1), v6(5), v6(6)], [forbidden; 3]);
        assert_eq!(text(Family::V6, 4, 1), v4(2));
        let circles = "it went around in circles on the way (ICMP time exceeded)";
        assert_eq!([text(Family::V4, 11, 0), text(Family::V6, 3, 0)], [circles; 2]);
    }

    #[test]
    fn a_smaller_packet_size_a_redirect_and_what_nobody_knows_end_no_probe() {
        for (family, kind, code) in [(Family::V4, 3, 4), (Family::V6, 2, 0), (Family::V4, 5, 1), (Family::V4, 200, 0)] {
            assert_eq!(of_icmp(family, Protocol::Tcp, kind, code), None);
        }
    }
}
