//! What arrives at the members, by the kernel's own clock: how probes are spread,
//! and where a flow's packets go, without asking lbd.

use std::{
    io::IoSliceMut,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::AsRawFd as _,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::{
    cmsg_space,
    errno::Errno,
    sys::{
        socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt},
        time::TimeSpec,
    },
};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use crate::rig::netns;

/// What a packet is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum What {
    /// It opens a TCP connection.
    Syn,
    /// It ends one.
    End,
    /// It refuses or ends one, at once.
    Reset,
    /// A datagram, and the number that it begins with.
    Udp(u32),
}

/// A packet that was seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Seen {
    /// Since 1970.
    pub(super) at: Duration,
    pub(super) what: What,
    pub(super) from: SocketAddrV4,
    pub(super) to: SocketAddrV4,
}

/// Watches a namespace until it is dropped.
#[derive(Debug)]
pub(super) struct Capture {
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

const SNAPPED: u32 = 96;
const BUFFER: usize = 64 << 20;
const PATIENCE: Duration = Duration::from_millis(50);

/// Ethernet and IPv4: TCP with SYN, FIN or RST but no SYN-ACK, and all UDP.
const FILTER: [SockFilter; 13] = [
    instruction(0x28, 12, 0, 0),      //  0: A = EtherType
    instruction(0x15, 0x0800, 0, 9),  //  1: IPv4, or drop
    instruction(0x30, 23, 0, 0),      //  2: A = protocol
    instruction(0x15, 17, 8, 0),      //  3: UDP: take
    instruction(0x15, 6, 0, 6),       //  4: TCP, or drop
    instruction(0xb1, 14, 0, 0),      //  5: X = length of the IPv4 header
    instruction(0x50, 14 + 13, 0, 0), //  6: A = flags
    instruction(0x45, 0x07, 0, 3),    //  7: FIN, SYN or RST, or drop
    instruction(0x54, 0x12, 0, 0),    //  8: A &= SYN | ACK
    instruction(0x15, 0x12, 1, 0),    //  9: both: drop
    instruction(0x05, 1, 0, 0),       // 10: take
    instruction(0x06, 0, 0, 0),       // 11: drop
    instruction(0x06, SNAPPED, 0, 0), // 12: take
];

const fn instruction(code: u16, k: u32, jt: u8, jf: u8) -> SockFilter {
    SockFilter::new(code, jt, jf, k)
}

impl Capture {
    /// Begins to watch.
    ///
    /// # Errors
    /// When the namespace cannot be entered or the socket is refused.
    pub(super) fn start(namespace: &str) -> Result<Self> {
        let (seen, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (begun, begins) = mpsc::channel();
        let (of_thread, stopped, namespace) = (Arc::clone(&seen), Arc::clone(&stop), namespace.to_owned());
        let thread = thread::spawn(move || {
            netns::enter(&namespace, || {
                let socket = open()?;
                let _ = begun.send(());
                while !stopped.load(Relaxed) {
                    if let Some(one) = receive(&socket)? {
                        lock(&of_thread).push(one);
                    }
                }
                Ok(())
            })
        });
        let mut capture = Self { seen, stop, thread: Some(thread) };
        match begins.recv() {
            Ok(()) => Ok(capture),
            Err(_) => bail!(capture.end().err().unwrap_or_else(|| anyhow!("a capture ended before it began"))),
        }
    }

    /// Takes what was seen since the last time, in order of arrival.
    pub(super) fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut *lock(&self.seen))
    }

    /// Fails if it does not watch any more.
    pub(super) fn check(&mut self) -> Result<()> {
        match &self.thread {
            Some(thread) if !thread.is_finished() => Ok(()),
            _ => bail!(self.end().err().unwrap_or_else(|| anyhow!("a capture has ended"))),
        }
    }

    fn end(&mut self) -> Result<()> {
        self.stop.store(true, Relaxed);
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread.join().unwrap_or_else(|_| Err(anyhow!("a capture panicked")))
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

fn lock(seen: &Mutex<Vec<Seen>>) -> MutexGuard<'_, Vec<Seen>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open() -> Result<Socket> {
    const ETH_P_ALL: u16 = 3;
    let protocol = Protocol::from(i32::from(ETH_P_ALL.to_be()));
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol)).context("open a packet socket")?;
    socket.attach_filter(&FILTER).context("attach a filter")?;
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).context("ask for a large buffer")?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true).context("ask for timestamps")?;
    socket.set_read_timeout(Some(PATIENCE)).context("set a timeout")?;
    Ok(socket)
}

fn receive(socket: &Socket) -> Result<Option<Seen>> {
    let mut frame = [0; SNAPPED as usize];
    let mut control = cmsg_space!(TimeSpec);
    let mut parts = [IoSliceMut::new(&mut frame)];
    let received = match recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty()) {
        Ok(received) => received,
        Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
        Err(error) => return Err(error).context("receive from a packet socket"),
    };
    let (length, mut at) = (received.bytes, None);
    for message in received.cmsgs().context("read a packet's timestamp")? {
        if let ControlMessageOwned::ScmTimestampns(time) = message {
            at = Some(Duration::from(time));
        }
    }
    let at = at.context("a packet has no timestamp")?;
    Ok(frame.get(..length).and_then(|frame| read(frame, at)))
}

/// Reads a frame that the filter took.
fn read(frame: &[u8], at: Duration) -> Option<Seen> {
    let ip = frame.get(14..)?;
    let four = |from: usize| -> Option<[u8; 4]> { ip.get(from..from + 4)?.try_into().ok() };
    let (source, destination) = (Ipv4Addr::from(four(12)?), Ipv4Addr::from(four(16)?));
    let transport = ip.get(usize::from(ip.first()? & 0xf) * 4..)?;
    let port = |from: usize| Some(u16::from_be_bytes(transport.get(from..from + 2)?.try_into().ok()?));
    let what = if *ip.get(9)? == 17 {
        let number = transport.get(8..12).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes);
        What::Udp(number)
    } else {
        match transport.get(13)? {
            flags if flags & 0x04 != 0 => What::Reset,
            flags if flags & 0x02 != 0 => What::Syn,
            _ => What::End,
        }
    };
    Some(Seen { at, what, from: SocketAddrV4::new(source, port(0)?), to: SocketAddrV4::new(destination, port(2)?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_as_what_it_is() {
        let mut frame = vec![0; 14 + 20 + 20];
        frame[14] = 0x45;
        frame[14 + 9] = 6;
        frame[14 + 12..14 + 20].copy_from_slice(&[10, 60, 0, 1, 10, 64, 0, 7]);
        frame[34..38].copy_from_slice(&[0x80, 1, 0x1f, 0x90]);
        let at = Duration::from_micros(7);
        let mut with_flags = |flags| {
            frame[34 + 13] = flags;
            read(&frame, at)
        };
        let seen = |what| {
            let (from, to) =
                (SocketAddrV4::new([10, 60, 0, 1].into(), 0x8001), SocketAddrV4::new([10, 64, 0, 7].into(), 8080));
            Some(Seen { at, what, from, to })
        };
        assert_eq!(
            [with_flags(0x02), with_flags(0x14), with_flags(0x11)],
            [What::Syn, What::Reset, What::End].map(seen)
        );
        assert_eq!(read(&frame[..40], at), None, "a frame that was cut off");
    }
}
