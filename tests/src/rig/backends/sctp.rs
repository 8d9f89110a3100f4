//! An SCTP endpoint over a raw socket, as far as the first packet of an association and
//! its answer go (RFC 9260 §3, §5.1): no kernel module has to be there.
//!
//! It answers INIT with INIT ACK, with ABORT, or in ways that nobody should believe. It
//! looks at everything a receiver has to look at: port, checksum, verification tag.
//! Where no such endpoint is, the member's kernel says that it knows no SCTP.

use std::{
    net::{IpAddr, SocketAddr},
    os::fd::AsRawFd as _,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    sys::socket::{SockaddrStorage, recvfrom},
};
use socket2::{Domain, Protocol, Socket, Type};

use super::{Tally, worker::Worker};
use crate::rig::netns::NetNs;

const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const ABORT: u8 = 6;
const STATE_COOKIE: [u8; 2] = [0, 7];
/// Source and destination port, verification tag, checksum.
const COMMON_HEADER: usize = 12;
/// A chunk's type, flags and length.
const CHUNK_HEADER: usize = 4;
/// INIT's initiate tag, window, streams out and in, first TSN.
const INIT_FIELDS: usize = 16;
const OUR_TAG: u32 = 0x7e57_ed01;

/// How an endpoint answers INIT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reply {
    /// It accepts the association.
    InitAck,
    /// It refuses.
    Abort,
    /// It says nothing.
    Nothing,
    /// It accepts, under another tag than the one that was told to it.
    WrongTag,
}

/// A running endpoint.
#[derive(Debug)]
pub struct SctpServer {
    tallies: Tallies,
    reply: Arc<Mutex<Reply>>,
    _worker: Worker,
}

#[derive(Clone, Debug, Default)]
struct Tallies {
    inits: Tally,
    aborts: Tally,
    bad: Tally,
}

impl SctpServer {
    /// Answers at an address of a namespace.
    ///
    /// # Errors
    /// When there can be no raw socket.
    pub fn start(namespace: &NetNs, address: SocketAddr, reply: Reply) -> Result<Self> {
        let socket = namespace.enter(|| {
            let socket = Socket::new(Domain::for_address(address), Type::RAW, Some(Protocol::from(132)))
                .context("open a raw socket for SCTP")?;
            socket.bind(&SocketAddr::new(address.ip(), 0).into()).with_context(|| format!("bind {address}"))?;
            Ok(socket)
        })?;
        socket.set_read_timeout(Some(Worker::BEAT)).context("bound how long a socket waits")?;
        let (tallies, reply) = (Tallies::default(), Arc::new(Mutex::new(reply)));
        let (counted, manner) = (tallies.clone(), reply.clone());
        let worker = Worker::start(move || {
            let mut buffer = [0; 2048];
            let Ok((length, from)) = receive(&socket, &mut buffer) else { return };
            let manner = *manner.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(answer) = counted.take(&buffer[..length], address.port(), manner) {
                let _ = socket.send_to(&answer, &SocketAddr::new(from, 0).into());
            }
        });
        Ok(Self { tallies, reply, _worker: worker })
    }

    /// Answers like this from now on.
    pub fn answer(&self, reply: Reply) {
        *self.reply.lock().unwrap_or_else(PoisonError::into_inner) = reply;
    }

    /// How many good INITs came in.
    #[must_use]
    pub fn inits(&self) -> u64 {
        self.tallies.inits.get()
    }

    /// How many ABORTs that carry our tag came in: what ends an association
    /// that the other side began.
    #[must_use]
    pub fn aborts(&self) -> u64 {
        self.tallies.aborts.get()
    }

    /// How many packets to its port were not as the protocol has them.
    #[must_use]
    pub fn bad(&self) -> u64 {
        self.tallies.bad.get()
    }
}

/// The next packet without its IP header, which only IPv4 gives, and who sent it.
fn receive(socket: &Socket, buffer: &mut [u8; 2048]) -> nix::Result<(usize, IpAddr)> {
    let (length, from) = recvfrom::<SockaddrStorage>(socket.as_raw_fd(), buffer)?;
    let from = from.ok_or(Errno::EBADMSG)?;
    if let Some(from) = from.as_sockaddr_in6() {
        return Ok((length, from.ip().into()));
    }
    let from = from.as_sockaddr_in().ok_or(Errno::EBADMSG)?.ip();
    let header = usize::from(buffer[0] & 0xf) * 4;
    buffer.copy_within(header.min(length)..length, 0);
    Ok((length.saturating_sub(header), from.into()))
}

impl Tallies {
    /// What is answered to a packet.
    fn take(&self, packet: &[u8], port: u16, reply: Reply) -> Option<Vec<u8>> {
        let (header, chunk) = packet.split_at_checked(COMMON_HEADER)?;
        if header[2..4] != port.to_be_bytes() {
            return None;
        }
        let tag = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        let kind = chunk.first().copied();
        let good = packet == sealed(packet) && chunk.len() >= CHUNK_HEADER;
        match kind {
            // An INIT is alone in its packet and carries no tag (§8.5.1).
            Some(INIT) if good && tag == 0 && chunk.len() >= CHUNK_HEADER + INIT_FIELDS => {
                self.inits.add(1);
                let their_tag = &chunk[CHUNK_HEADER..CHUNK_HEADER + 4];
                if their_tag == [0; 4] {
                    self.bad.add(1);
                    return None;
                }
                answer(header, their_tag, reply)
            }
            Some(ABORT) if good && (tag == OUR_TAG || chunk[1] & 1 == 1) => {
                self.aborts.add(1);
                None
            }
            _ => {
                self.bad.add(1);
                None
            }
        }
    }
}

fn answer(header: &[u8], their_tag: &[u8], reply: Reply) -> Option<Vec<u8>> {
    let mut packet = [&header[2..4], &header[..2], their_tag, &[0; 4]].concat();
    match reply {
        Reply::Nothing => return None,
        Reply::Abort => packet.extend([ABORT, 0, 0, 4]),
        Reply::InitAck | Reply::WrongTag => {
            let cookie = b"a cookie";
            let parameter = [&STATE_COOKIE[..], &[0, 4 + 8], cookie].concat();
            let length = CHUNK_HEADER + INIT_FIELDS + parameter.len();
            packet.extend([INIT_ACK, 0, 0, u8::try_from(length).ok()?]);
            packet.extend(OUR_TAG.to_be_bytes());
            packet.extend(65536u32.to_be_bytes());
            packet.extend([0, 10, 0, 10]);
            packet.extend(OUR_TAG.to_be_bytes());
            packet.extend(parameter);
        }
    }
    if reply == Reply::WrongTag {
        packet[4] ^= 0xff;
    }
    Some(sealed(&packet))
}

/// The packet with the checksum it should have (§6.8, appendix A: CRC32c, its
/// lowest byte first).
fn sealed(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet[8..12].fill(0);
    let sum = crc32c::crc32c(&packet).to_le_bytes();
    packet[8..12].copy_from_slice(&sum);
    packet
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn init(port: u16) -> Vec<u8> {
        let mut packet = [&40000u16.to_be_bytes()[..], &port.to_be_bytes(), &[0; 8], &[INIT, 0, 0, 20]].concat();
        packet.extend([1, 2, 3, 4, 0, 1, 0, 0, 0, 1, 0, 1, 9, 9, 9, 9]);
        sealed(&packet)
    }

    #[test]
    fn an_init_to_its_port_is_answered_under_the_tag_it_names() {
        let tallies = Tallies::default();
        let answer = tallies.take(&init(5), 5, Reply::InitAck).unwrap();
        assert_eq!(answer, sealed(&answer));
        assert_eq!(answer[..8], [0, 5, 0x9c, 0x40, 1, 2, 3, 4]);
        assert_eq!((answer[12], usize::from(answer[15])), (INIT_ACK, answer.len() - COMMON_HEADER));
        assert_eq!(tallies.take(&init(5), 6, Reply::InitAck), None);
        assert_eq!((tallies.inits.get(), tallies.bad.get()), (1, 0));
    }

    #[test]
    fn a_damaged_packet_is_counted_and_not_answered() {
        let tallies = Tallies::default();
        let mut packet = init(5);
        packet[20] ^= 1;
        assert_eq!(tallies.take(&packet, 5, Reply::InitAck), None);
        assert_eq!(tallies.take(&packet[..13], 5, Reply::InitAck), None);
        assert_eq!((tallies.inits.get(), tallies.bad.get()), (0, 2));
    }
}
