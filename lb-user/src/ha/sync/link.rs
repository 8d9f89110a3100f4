//! The thread between a [`Session`], a socket and the data path's flows.

use std::{
    fs::File,
    io::{self, ErrorKind, Read as _},
    net::{SocketAddr, UdpSocket},
    os::fd::AsFd as _,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{setsockopt, sockopt::RcvBufForce},
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::watch;

use super::{
    session::{Event, Identity, Paths, Session},
    view::SyncView,
    wire::{Key, MAX_DATAGRAM},
};
use crate::{causes::chain, dataplane::exchange::FlowExchange};

/// Notes are looked for so often, with and without a peer.
const TICK: Duration = Duration::from_millis(5);
const IDLE_TICK: Duration = Duration::from_millis(50);
/// Datagrams taken before anything else is done again.
const AT_ONCE: usize = 256;
/// Bytes of datagrams the kernel may keep for us.
const RECEIVE_BUFFER: usize = 4 << 20;
/// The first and the longest pause before another socket is tried.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// All flows are told again no more often than this.
const SHORTEST_RESCAN: Duration = Duration::from_secs(1);

/// How flow sync is set up.
#[derive(Clone)]
pub struct SyncSettings {
    /// Where this balancer listens and sends from.
    pub local: SocketAddr,
    /// Where the other one does.
    pub peer: SocketAddr,
    /// Known to both and to nobody else; 16 bytes or more.
    pub secret: Vec<u8>,
    /// Seed of the flow hashes here; the other one is told whether it has the same.
    pub hash_seed: u64,
    /// All flows are told again that often; a second at least.
    pub rescan: Duration,
}

/// Flow sync with one other balancer. Dropping it ends the thread.
pub struct Sync {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    settings: SyncSettings,
    began: Instant,
    is_over: AtomicBool,
    inside: Mutex<Inside>,
}

struct Inside {
    session: Session,
    socket_problem: Option<String>,
}

impl Sync {
    /// Starts the thread. A local address that is not there yet is waited for.
    ///
    /// # Errors
    /// The secret is too short, both addresses are the same or of different
    /// families, or there is no thread or no random number to be had.
    pub fn start(
        settings: SyncSettings,
        exchange: Box<dyn FlowExchange>,
        paths: watch::Receiver<Paths>,
    ) -> io::Result<Self> {
        let refuse = |why: &str| Err(io::Error::new(ErrorKind::InvalidInput, why.to_owned()));
        let key = Key::new(&settings.secret).map_err(|short| io::Error::new(ErrorKind::InvalidInput, short))?;
        if settings.local == settings.peer {
            return refuse("flow sync needs another balancer as its peer, not this one");
        }
        if settings.local.is_ipv4() != settings.peer.is_ipv4() {
            return refuse("flow sync needs two addresses of one family");
        }
        let identity = Identity { epoch: draw()?, hash_seed: settings.hash_seed };
        let session = Session::new(key, identity, settings.rescan.max(SHORTEST_RESCAN));
        let shared = Arc::new(Shared {
            settings,
            began: Instant::now(),
            is_over: AtomicBool::new(false),
            inside: Mutex::new(Inside { session, socket_problem: None }),
        });
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("flow-sync".to_owned())
            .spawn(move || Worker { shared: theirs, exchange, paths, known: Paths::new() }.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// What an operator is shown. Waits for the thread to finish what it is at: a
    /// few milliseconds.
    #[must_use]
    pub fn view(&self) -> SyncView {
        let SyncSettings { local, peer, .. } = self.shared.settings;
        let inside = self.shared.inside.lock().unwrap_or_else(PoisonError::into_inner);
        let mut view = inside.session.view(self.shared.now(), local, peer);
        view.socket_problem.clone_from(&inside.socket_problem);
        view
    }
}

impl Drop for Sync {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has nothing to give back, and has said why if it panicked.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Relaxed)
    }

    /// Waits, unless it is over.
    fn pause(&self, limit: Duration) {
        let until = Instant::now() + limit;
        while !self.is_over() && Instant::now() < until {
            std::thread::sleep(IDLE_TICK.min(limit));
        }
    }
}

struct Worker {
    shared: Arc<Shared>,
    exchange: Box<dyn FlowExchange>,
    paths: watch::Receiver<Paths>,
    /// The paths as last looked at.
    known: Paths,
}

impl Worker {
    fn run(mut self) {
        self.known = self.paths.borrow_and_update().clone();
        let mut pause = RETRY.0;
        while !self.shared.is_over() {
            match open(&self.shared.settings) {
                Ok(socket) => {
                    pause = RETRY.0;
                    self.tell_problem(None);
                    self.serve(&socket);
                }
                Err(error) => {
                    self.tell_problem(Some(&error));
                    // The kernel's notes are not left to overflow meanwhile.
                    let now = self.shared.now();
                    self.inside(|inside, exchange, _| inside.session.gather(now, exchange));
                    self.shared.pause(pause);
                    pause = (pause * 2).min(RETRY.1);
                }
            }
        }
    }

    /// Says once what is wrong, and once that it no longer is.
    fn tell_problem(&mut self, error: Option<&io::Error>) {
        let problem = error.map(|error| chain(error));
        let before = self.inside(|inside, _, _| std::mem::replace(&mut inside.socket_problem, problem.clone()));
        let SyncSettings { local, peer, .. } = self.shared.settings;
        match (before, problem) {
            (None, Some(error)) => {
                tracing::warn!(%local, %peer, error, "flow sync has no socket; trying again until there is one");
            }
            (Some(_), None) => tracing::info!(%local, %peer, "flow sync has a socket now"),
            _ => {}
        }
    }

    /// Until it is over, or the socket fails for good.
    fn serve(&mut self, socket: &UdpSocket) {
        let mut next_tick = Duration::ZERO;
        let mut buffer = [0; MAX_DATAGRAM + 1];
        while !self.shared.is_over() {
            let wait = next_tick.saturating_sub(self.shared.now());
            if let Err(error) = wait_for(socket, wait) {
                self.tell_problem(Some(&error.into()));
                self.shared.pause(RETRY.0);
                return;
            }
            if self.paths.has_changed().unwrap_or(false) {
                self.known = self.paths.borrow_and_update().clone();
            }
            let now = self.shared.now();
            let is_tick = now >= next_tick;
            let (events, is_peer_present) = self.inside(|inside, exchange, paths| {
                receive(socket, &mut buffer, now, &mut inside.session, exchange, paths);
                if is_tick {
                    inside.session.gather(now, exchange);
                }
                inside.session.transmit(now, &mut |datagram| socket.send(datagram).is_ok());
                (inside.session.take_events(), inside.session.is_peer_present())
            });
            for event in events {
                self.tell(event);
            }
            if is_tick {
                next_tick = now + if is_peer_present { TICK } else { IDLE_TICK };
            }
        }
    }

    fn inside<T>(&mut self, work: impl FnOnce(&mut Inside, &mut dyn FlowExchange, &Paths) -> T) -> T {
        let mut inside = self.shared.inside.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut inside, &mut *self.exchange, &self.known)
    }

    fn tell(&self, event: Event) {
        let peer = self.shared.settings.peer;
        match event {
            Event::PeerAppeared(true) => tracing::info!(%peer, "flow sync has found its peer; telling it all flows"),
            Event::PeerAppeared(false) => tracing::info!(%peer, "flow sync hears its peer again; telling it all flows"),
            Event::PeerLost => {
                tracing::warn!(%peer, "flow sync has lost its peer; it will be told all flows when it is back")
            }
            Event::SeedsDiffer => tracing::warn!(
                %peer,
                "the peer hashes flows with another seed; flows that are not told it would be given other SNAT ports \
                 there, and nothing is taken that is recorded of flows and clients: copy the file hash_seed of one \
                 balancer's state directory to the other and restart"
            ),
            Event::Refused(refusal) if refusal.is_ordinary() => {
                tracing::debug!(%peer, reason = refusal.label(), "flow sync refused a datagram");
            }
            Event::Refused(refusal) => {
                let (reason, meaning) = (refusal.label(), refusal.meaning());
                tracing::warn!(%peer, reason, meaning, "flow sync refused a datagram; more for this reason are only counted");
            }
        }
    }
}

/// Takes what has come, but not for ever.
fn receive(
    socket: &UdpSocket,
    buffer: &mut [u8],
    now: Duration,
    session: &mut Session,
    exchange: &dyn FlowExchange,
    paths: &Paths,
) {
    for _ in 0..AT_ONCE {
        match socket.recv(buffer) {
            Ok(length) => session.receive(now, &buffer[..length], exchange, paths),
            // The network's answer to something that was sent: nobody listens yet.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            // Nothing is there; whatever else it is, sending will say so too.
            Err(_) => return,
        }
    }
}

fn wait_for(socket: &UdpSocket, limit: Duration) -> nix::Result<()> {
    // Rounded up, so that a wait for less than a millisecond is one.
    let millis = limit.as_micros().div_ceil(1000);
    let timeout = PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX);
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    match poll(&mut fds, timeout) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(error) => Err(error),
    }
}

/// A socket that the kernel gives nothing but what the peer's address sent.
fn open(settings: &SyncSettings) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(settings.local), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    // Beyond the system's limit where that is permitted; without, more is sent twice.
    if setsockopt(&socket, RcvBufForce, &RECEIVE_BUFFER).is_err() {
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    }
    socket.bind(&settings.local.into())?;
    socket.connect(&settings.peer.into())?;
    Ok(socket.into())
}

/// A random number that is not 0.
fn draw() -> io::Result<u64> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from_ne_bytes(bytes).max(1))
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
