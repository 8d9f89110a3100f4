//! All sockets that are open, and waiting for any of them as if they were one: they are in
//! an epoll, which tokio waits for.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
    time::{Duration, Instant},
};

use foldhash::HashMap;
use nix::sys::epoll::{EpollEvent, EpollFlags, EpollTimeout};
use socket2::Socket;
use tokio::io::unix::AsyncFd;

use super::{
    net::{Dice, Family, Key, Protocol},
    outbox::Outbox,
    sockets::{self, Line},
    sys::Queue,
};
use crate::outcome::Outcome;

/// How long it takes until what could not be opened is tried again: trying takes a
/// thousand system calls where ports are short, and thousands of probes may want it.
const PAUSE: Duration = Duration::from_secs(1);

/// A socket with something to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready {
    /// Which line's.
    pub(super) line: usize,
    /// Whether it has errors to tell.
    pub(super) failed: bool,
}

/// The lines that are open. None is ever closed, so that their numbers stay.
#[derive(Debug, Default)]
pub(super) struct Lines {
    lines: Vec<Line>,
    first: HashMap<(Protocol, Family), usize>,
    queue: Option<AsyncFd<Queue>>,
    link: Option<(Socket, Outbox)>,
    /// What could not be opened lately, until when it is not tried again, and why.
    failed: HashMap<(Protocol, Family), (Instant, Arc<str>)>,
}

/// How a packet leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    /// Through the socket of a line.
    Line(usize),
    /// As a frame.
    Link,
}

impl Lines {
    /// Every way that packets leave by.
    pub(super) fn ways(&self) -> impl Iterator<Item = Way> + use<> {
        (0..self.lines.len()).map(Way::Line).chain(self.link.is_some().then_some(Way::Link))
    }

    /// The socket and the packets of a way.
    pub(super) fn outbox(&mut self, way: Way) -> Option<(BorrowedFd<'_>, &mut Outbox)> {
        match way {
            Way::Line(line) => self.lines.get_mut(line).map(|line| (line.socket.as_fd(), &mut line.outbox)),
            Way::Link => {
                let (socket, outbox) = self.link.as_mut()?;
                let socket: &Socket = socket;
                Some((socket.as_fd(), outbox))
            }
        }
    }

    /// Opens what frames leave by, unless it is open.
    ///
    /// # Errors
    /// Why nothing can be asked.
    pub(super) fn open_link(&mut self) -> Result<(), Outcome> {
        if self.link.is_none() {
            let socket = sockets::open_link().map_err(|error| Outcome::NotAsked(why_not("frames", &error)))?;
            self.link = Some((socket, Outbox::default()));
        }
        Ok(())
    }

    /// The line of that number.
    pub(super) fn at(&self, line: usize) -> Option<&Line> {
        self.lines.get(line)
    }

    /// The line that a probe leaves by.
    pub(super) fn find(&self, key: &Key) -> Option<usize> {
        let first = *self.first.get(&(key.protocol, Family::of(key.ip)))?;
        Some(if key.protocol == Protocol::Udp { first + usize::from(key.lane) } else { first })
    }

    /// Opens what a protocol and a family need, unless it is open.
    ///
    /// # Errors
    /// Why nothing can be asked.
    pub(super) fn open(&mut self, protocol: Protocol, family: Family, dice: &mut Dice) -> Result<(), Outcome> {
        if self.first.contains_key(&(protocol, family)) {
            return Ok(());
        }
        if let Some((until, why)) = self.failed.get(&(protocol, family))
            && Instant::now() < *until
        {
            return Err(Outcome::NotAsked(Arc::clone(why)));
        }
        self.failed.remove(&(protocol, family));
        self.try_open(protocol, family, dice).map_err(|error| {
            let why = why_not(&format!("{} over {}", protocol.name(), family.name()), &error);
            self.failed.insert((protocol, family), (Instant::now() + PAUSE, Arc::clone(&why)));
            Outcome::NotAsked(why)
        })
    }

    fn try_open(&mut self, protocol: Protocol, family: Family, dice: &mut Dice) -> io::Result<()> {
        let lines = sockets::open(protocol, family, dice)?;
        if self.queue.is_none() {
            self.queue = Some(Queue::watched()?);
        }
        let first = self.lines.len();
        for (n, line) in lines.iter().enumerate() {
            let event = EpollEvent::new(EpollFlags::EPOLLIN, u64::try_from(first + n).unwrap_or(u64::MAX));
            if let Some(queue) = &self.queue {
                queue.get_ref().epoll().add(&line.socket, event)?;
            }
        }
        self.lines.extend(lines);
        self.first.insert((protocol, family), first);
        Ok(())
    }

    /// Waits until a socket has something to do.
    pub(super) async fn readable(&self) -> io::Result<()> {
        let Some(queue) = &self.queue else { return std::future::pending().await };
        loop {
            let mut guard = queue.readable().await?;
            // The answer stays until it is taken: the epoll tells of levels, not of edges.
            let mut one = [EpollEvent::empty()];
            if queue.get_ref().epoll().wait(&mut one, EpollTimeout::ZERO)? > 0 {
                guard.retain_ready();
                return Ok(());
            }
            guard.clear_ready();
        }
    }

    /// The sockets with something to do.
    pub(super) fn ready(&self) -> impl Iterator<Item = Ready> + use<> {
        let mut events = [EpollEvent::empty(); 64];
        let wait = |queue: &AsyncFd<Queue>| queue.get_ref().epoll().wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
        let count = self.queue.as_ref().map_or(0, wait);
        events.into_iter().take(count).filter_map(|event| {
            let line = usize::try_from(event.data()).ok()?;
            Some(Ready { line, failed: event.events().contains(EpollFlags::EPOLLERR) })
        })
    }
}

/// Why there is no socket for something.
fn why_not(what: &str, error: &io::Error) -> Arc<str> {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "this process may not make packets of its own: it lacks CAP_NET_RAW; run lbd as root or give it that \
             capability"
                .into()
        }
        Some(libc::EAFNOSUPPORT) => format!("no socket for {what}: it is switched off in this host's kernel").into(),
        _ if error.kind() == io::ErrorKind::AddrInUse => {
            format!("no socket for {what}: no {} local ports in a row are free", sockets::PORTS).into()
        }
        _ => format!("no socket for {what}: {error}").into(),
    }
}
