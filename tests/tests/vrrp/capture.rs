//! Every frame that a host sees, with the time the kernel saw it.

use std::{
    io::IoSliceMut,
    net::IpAddr,
    os::fd::AsRawFd as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, anyhow};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use super::segment::Segment;

/// All protocols, in the byte order of the network.
const ALL: i32 = (nix::libc::ETH_P_ALL as u16).to_be() as i32;

/// A frame and when it was seen, since 1970.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) at: Duration,
    pub(crate) frame: Vec<u8>,
}

/// An advert in a frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Advert {
    pub(crate) at: Duration,
    pub(crate) from: [u8; 6],
    pub(crate) source: IpAddr,
    pub(crate) hops: u8,
    pub(crate) class: u8,
    pub(crate) priority: u8,
}

/// A capture that goes on until it is finished.
pub(crate) struct Capture {
    thread: JoinHandle<Vec<Seen>>,
    /// Nanoseconds since 1970 to its end; all that there are while that is not known.
    end: Arc<AtomicU64>,
}

impl Capture {
    /// Begins on that host.
    pub(crate) fn on(segment: &Segment, host: u8) -> Result<Self> {
        let socket = segment.host(host).namespace.enter(|| {
            let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(ALL)))?;
            setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
            setsockopt(&socket, sockopt::RcvBufForce, &(16 << 20))?;
            socket.set_read_timeout(Some(Duration::from_millis(20)))?;
            Ok(socket)
        })?;
        let end = Arc::new(AtomicU64::new(u64::MAX));
        let told = Arc::clone(&end);
        let thread = thread::spawn(move || collect(&socket, &told));
        Ok(Self { thread, end })
    }

    /// Ends it and returns what was seen.
    pub(crate) fn finish(self) -> Result<Vec<Seen>> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        self.end.store(u64::try_from(now.as_nanos())?, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("a capture panicked"))
    }
}

fn collect(socket: &Socket, end: &AtomicU64) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut bytes = [0; 2048];
    let mut control = nix::cmsg_space!(nix::sys::time::TimeSpec);
    loop {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty());
        let Ok(message) = message else {
            // Nothing came for a while, so everything from before the end has been read.
            if end.load(Ordering::Relaxed) < u64::MAX {
                return seen;
            }
            continue;
        };
        let at = message.cmsgs().ok().and_then(|mut parts| {
            parts.find_map(|part| match part {
                ControlMessageOwned::ScmTimestampns(at) => Some(Duration::from(at)),
                _ => None,
            })
        });
        let length = message.bytes;
        if at.is_some_and(|at| at.as_nanos() > u128::from(end.load(Ordering::Relaxed))) {
            return seen;
        }
        seen.push(Seen { at: at.unwrap_or_default(), frame: bytes[..length].to_vec() });
    }
}

impl Seen {
    /// The advert in it, read by other means than the runner's.
    pub(crate) fn advert(&self) -> Option<Advert> {
        let frame = &self.frame;
        let from = frame.get(6..12)?.try_into().ok()?;
        let packet = etherparse::SlicedPacket::from_ethernet(frame).ok()?;
        let (source, hops, class, message) = match packet.net? {
            etherparse::NetSlice::Ipv4(ip) if ip.header().protocol().0 == 112 => {
                let header = ip.header();
                let class = header.dcp().value() << 2;
                (IpAddr::V4(header.source_addr()), header.ttl(), class, ip.payload().payload.to_vec())
            }
            etherparse::NetSlice::Ipv6(ip) if ip.header().next_header().0 == 112 => {
                let header = ip.header();
                let class = header.traffic_class();
                (IpAddr::V6(header.source_addr()), header.hop_limit(), class, ip.payload().payload.to_vec())
            }
            _ => return None,
        };
        Some(Advert { at: self.at, from, source, hops, class, priority: *message.get(2)? })
    }

    /// The address it announces, and the MAC address it tells for it.
    pub(crate) fn announcement(&self) -> Option<(IpAddr, [u8; 6])> {
        let frame = &self.frame;
        match frame.get(12..14)? {
            [0x08, 0x06] => {
                let sender: [u8; 4] = frame.get(28..32)?.try_into().ok()?;
                let target: [u8; 4] = frame.get(38..42)?.try_into().ok()?;
                let mac = frame.get(22..28)?.try_into().ok()?;
                (sender == target).then_some((IpAddr::from(sender), mac))
            }
            [0x86, 0xdd] if frame.get(20) == Some(&58) && frame.get(54) == Some(&136) => {
                let target: [u8; 16] = frame.get(62..78)?.try_into().ok()?;
                Some((IpAddr::from(target), frame.get(80..86)?.try_into().ok()?))
            }
            _ => None,
        }
    }
}

/// The adverts among frames.
pub(crate) fn adverts(seen: &[Seen]) -> Vec<Advert> {
    seen.iter().filter_map(Seen::advert).collect()
}

/// The first that is like that.
pub(crate) fn first<'a, T>(all: &'a [T], what: &str, is_it: impl Fn(&T) -> bool) -> Result<&'a T> {
    all.iter().find(|one| is_it(one)).with_context(|| format!("no {what} was seen"))
}
