//! A TCP server that sends back what it gets, over any number of connections.

use std::{
    collections::HashMap,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::{
    epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
    resource::{Resource, getrlimit, setrlimit},
};
use socket2::{Domain, Protocol, Socket, Type};

const BACKLOG: i32 = 4096;
/// Fewer make no server for very many connections.
const OPEN_FILES: u64 = 4096;
/// How much of what a client sent and did not read is kept.
const MAX_PENDING: usize = 1 << 20;

/// Serves for ever.
///
/// # Errors
/// When an address cannot be bound.
pub fn serve(addresses: &[SocketAddr]) -> Result<()> {
    allow_open_files(OPEN_FILES)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("open an epoll")?;
    let mut listeners = Vec::new();
    for (address, token) in addresses.iter().zip(0..) {
        let listener = listen(*address).with_context(|| format!("listen at {address}"))?;
        epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, token)).context("watch a listener")?;
        listeners.push(listener);
    }
    let mut server = Server { next: u64::try_from(listeners.len())?, epoll, listeners, connections: HashMap::new() };
    let mut events = vec![EpollEvent::empty(); 256];
    loop {
        match server.epoll.wait(&mut events, EpollTimeout::NONE) {
            Ok(count) => events[..count].iter().for_each(|event| server.serve(event.data())),
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error).context("wait for connections"),
        }
    }
}

/// Lets this process have as many files open as it may, which has to be
/// `count` at least.
///
/// # Errors
/// When it may not.
pub fn allow_open_files(count: u64) -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("ask how many files may be open")?;
    ensure!(hard >= count, "{count} files have to be open at a time, and the limit is {hard}: raise `ulimit -Hn`");
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).with_context(|| format!("open {hard} files"))?;
    }
    Ok(())
}

pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

struct Server {
    epoll: Epoll,
    listeners: Vec<TcpListener>,
    connections: HashMap<u64, Connection>,
    next: u64,
}

struct Connection {
    stream: TcpStream,
    pending: Vec<u8>,
}

impl Server {
    fn serve(&mut self, token: u64) {
        if let Some(listener) = usize::try_from(token).ok().and_then(|index| self.listeners.get(index)) {
            // Whoever could not be taken shows it at the client.
            while let Ok((stream, _)) = listener.accept() {
                let event = EpollEvent::new(EpollFlags::EPOLLIN, self.next);
                if stream.set_nonblocking(true).is_ok() && self.epoll.add(&stream, event).is_ok() {
                    let _ = stream.set_nodelay(true);
                    self.connections.insert(self.next, Connection { stream, pending: Vec::new() });
                    self.next += 1;
                }
            }
        } else if let Some(connection) = self.connections.get_mut(&token) {
            let waits = !connection.pending.is_empty();
            if connection.echo().is_err() {
                self.connections.remove(&token);
                return;
            }
            if waits || !connection.pending.is_empty() {
                let mut flags = EpollFlags::EPOLLIN;
                flags.set(EpollFlags::EPOLLOUT, !connection.pending.is_empty());
                let _ = self.epoll.modify(&connection.stream, &mut EpollEvent::new(flags, token));
            }
        }
    }
}

impl Connection {
    /// Reads what is there and writes what can be written. Any error is its end.
    fn echo(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) if self.pending.len() < MAX_PENDING => self.pending.extend_from_slice(&buffer[..length]),
                Ok(_) => return Err(io::ErrorKind::OutOfMemory.into()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        while !self.pending.is_empty() {
            match self.stream.write(&self.pending) {
                Ok(length) => drop(self.pending.drain(..length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
