//! All sockets that are open, and waiting for any of them as if they were one: they are in
//! an epoll, which tokio waits for.

use std::{collections::HashMap, io, sync::Arc};

use nix::sys::epoll::{EpollEvent, EpollFlags, EpollTimeout};
use tokio::io::unix::AsyncFd;

use super::{
    net::{Dice, Family, Key, Protocol},
    sockets::{self, Line},
    sys::Queue,
};
use crate::outcome::Outcome;

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
}

impl Lines {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// The line of that number.
    pub(super) fn at(&self, line: usize) -> Option<&Line> {
        self.lines.get(line)
    }

    /// The line of that number.
    pub(super) fn at_mut(&mut self, line: usize) -> Option<&mut Line> {
        self.lines.get_mut(line)
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
        self.try_open(protocol, family, dice).map_err(|error| Outcome::NotAsked(why_not(protocol, family, &error)))
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

fn why_not(protocol: Protocol, family: Family, error: &io::Error) -> Arc<str> {
    let name = match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    };
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "this process may not make packets of its own: it lacks CAP_NET_RAW; run lbd as root or give it that \
             capability"
                .into()
        }
        Some(libc::EAFNOSUPPORT) => format!("this host has no {name}: it is switched off in its kernel").into(),
        _ if error.kind() == io::ErrorKind::AddrInUse => {
            format!("no {} local ports in a row are free for {protocol:?}", sockets::PORTS).into()
        }
        _ => format!("no socket for {protocol:?} over {name}: {error}").into(),
    }
}
