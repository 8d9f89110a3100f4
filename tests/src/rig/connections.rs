//! Very many TCP connections through a VIP, held open while something happens,
//! and what became of them.
//!
//! Each connection sends numbered lines that no other sends, and checks every
//! byte that the member echoes. Some are busy and send a line at a fixed beat;
//! the rest are idle. One thread and one epoll hold them all.

use std::{
    collections::BTreeMap,
    io::{self, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use serde::Serialize;
use socket2::{Domain, Protocol, Socket, Type};

use super::{echo, http, netns};

/// Connections on their way to being open at a time, so that no queue overflows.
const OPENING: usize = 128;
/// How long opening may take as long as nothing moves.
const STUCK: Duration = Duration::from_secs(20);
/// The length of a line: the connection's number, the line's number, and what separates them.
const LINE: usize = 20;

/// What to open.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The listener.
    pub target: SocketAddr,
    /// From which addresses, in turn; any if empty.
    pub sources: Vec<IpAddr>,
    /// How many connections.
    pub count: usize,
    /// How many of them are busy.
    pub busy: usize,
    /// How often a busy one sends a line.
    pub period: Duration,
}

/// What became of connections.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize)]
pub struct Outcome {
    /// How many were open.
    pub opened: usize,
    /// How many of them were busy.
    pub busy: usize,
    /// How many ended, in which way.
    pub ended: BTreeMap<String, usize>,
    /// How many of those were reset.
    pub resets: usize,
    /// How many got bytes that they had not sent.
    pub wrong: usize,
    /// How many answered the last line, and with that everything before.
    pub resumed: usize,
    /// How many are open and did not answer it in time.
    pub unanswered: usize,
    /// The longest any of them waited for an answer.
    pub longest_wait: Duration,
    /// The longest any of them took to answer the last line.
    pub slowest: Duration,
}

impl Outcome {
    /// What is wrong with it, in words; empty when every connection lives and
    /// has lost nothing.
    #[must_use]
    pub fn complaints(&self) -> String {
        let mut words: Vec<String> = self.ended.iter().map(|(how, count)| format!("{count} ended ({how})")).collect();
        if self.wrong > 0 {
            words.push(format!("{} got other bytes than they sent", self.wrong));
        }
        if self.unanswered > 0 {
            words.push(format!("{} never answered", self.unanswered));
        }
        words.join(", ")
    }
}

/// Connections that are open. Dropping it closes them.
#[derive(Debug)]
pub struct Connections {
    settle: mpsc::Sender<Duration>,
    thread: thread::JoinHandle<Result<Outcome>>,
}

impl Connections {
    /// Opens them from a namespace; each has sent a line and got it back.
    ///
    /// # Errors
    /// When one of them cannot be opened.
    pub fn open(namespace: &str, plan: Plan) -> Result<Self> {
        let (settle, settles) = mpsc::channel();
        let (opened, opens) = mpsc::channel();
        let namespace = namespace.to_owned();
        let thread = thread::spawn(move || netns::enter(&namespace, move || hold(plan, &opened, &settles)));
        match opens.recv() {
            Ok(()) => Ok(Self { settle, thread }),
            Err(_) => match thread.join() {
                Ok(Err(error)) => Err(error),
                _ => bail!("the thread that opens connections ended"),
            },
        }
    }

    /// Sends a line on every connection that is left, waits up to `limit` for
    /// all of them to answer, and sums up.
    ///
    /// # Errors
    /// When epoll failed.
    pub fn settle(self, limit: Duration) -> Result<Outcome> {
        // If nobody listens, joining tells why.
        let _ = self.settle.send(limit);
        self.thread.join().unwrap_or_else(|_| Err(anyhow!("the thread that holds connections panicked")))
    }
}

fn hold(plan: Plan, opened: &mpsc::Sender<()>, settles: &mpsc::Receiver<Duration>) -> Result<Outcome> {
    echo::allow_open_files(u64::try_from(plan.count)? + 1024)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("open an epoll")?;
    let mut holder =
        Holder { epoll, lines: Vec::with_capacity(plan.count), opened: 0, longest_wait: Duration::ZERO, plan };
    holder.open()?;
    let _ = opened.send(());
    let limit = match holder.keep_busy(settles)? {
        Some(limit) => limit,
        // Nobody wants to know.
        None => return Ok(Outcome::default()),
    };
    holder.settle(limit)
}

struct Holder {
    plan: Plan,
    epoll: Epoll,
    lines: Vec<Line>,
    /// How many have got their first line back.
    opened: usize,
    longest_wait: Duration,
}

impl Holder {
    fn open(&mut self) -> Result<()> {
        let mut moved = Instant::now();
        while self.opened < self.plan.count {
            while self.lines.len() < self.plan.count && self.lines.len() - self.opened < OPENING {
                let index = self.lines.len();
                let source = self.plan.sources.get(index % self.plan.sources.len().max(1)).copied();
                let line = Line::connect(index, self.plan.target, source)
                    .with_context(|| format!("connect to {}", self.plan.target))?;
                let interest = EpollEvent::new(EpollFlags::EPOLLOUT, u64::try_from(index)?);
                self.epoll.add(&line.stream, interest).context("watch a connection")?;
                self.lines.push(line);
            }
            let before = self.opened;
            self.turn(Duration::from_millis(20))?;
            if let Some(line) = self.lines.iter().find(|line| line.end.is_some()) {
                bail!("connection {} of {} did not open: {:?}", line.index + 1, self.plan.count, line.end);
            }
            if self.opened > before {
                moved = Instant::now();
            } else if moved.elapsed() > STUCK {
                bail!("only {} of {} connections opened: {}", self.opened, self.plan.count, self.stuck());
            }
        }
        Ok(())
    }

    /// Some of those that are on their way, and how far they are.
    fn stuck(&self) -> String {
        let stuck = self.lines.iter().filter(|line| !line.connected || line.waits()).take(8);
        let name = |line: &Line| {
            let from = line.stream.local_addr().map_or_else(|error| error.to_string(), |from| from.to_string());
            format!("{from} {}", if line.connected { "has no answer" } else { "is not connected" })
        };
        stuck.map(name).collect::<Vec<_>>().join(", ")
    }

    /// Lets the busy ones be busy until it is time to settle; `None` if that will never be.
    fn keep_busy(&mut self, settles: &mpsc::Receiver<Duration>) -> Result<Option<Duration>> {
        let start = Instant::now();
        let mut sent = 0usize;
        loop {
            match settles.try_recv() {
                Ok(limit) => return Ok(Some(limit)),
                Err(mpsc::TryRecvError::Disconnected) => return Ok(None),
                Err(mpsc::TryRecvError::Empty) => {}
            }
            if self.plan.busy > 0 {
                let beats = start.elapsed().as_secs_f64() / self.plan.period.as_secs_f64();
                while sent < due(beats, self.plan.busy) {
                    self.ask(sent % self.plan.busy);
                    sent += 1;
                }
            }
            self.turn(Duration::from_millis(5))?;
        }
    }

    fn settle(mut self, limit: Duration) -> Result<Outcome> {
        let asked = Instant::now();
        for index in 0..self.lines.len() {
            self.ask(index);
        }
        let mut slowest = Duration::ZERO;
        while self.lines.iter().any(Line::waits) && asked.elapsed() < limit {
            self.turn(Duration::from_millis(20))?;
            slowest = asked.elapsed();
        }
        let mut outcome = Outcome {
            opened: self.lines.len(),
            busy: self.plan.busy,
            longest_wait: self.longest_wait,
            slowest,
            ..Outcome::default()
        };
        for line in &self.lines {
            match &line.end {
                Some(End::Wrong) => outcome.wrong += 1,
                Some(End::Ended(how)) => {
                    *outcome.ended.entry(how.clone()).or_default() += 1;
                    outcome.resets += usize::from(how == "reset");
                }
                None if line.waits() => outcome.unanswered += 1,
                None => outcome.resumed += 1,
            }
        }
        Ok(outcome)
    }

    /// Serves what is ready, waiting for at most `patience`.
    fn turn(&mut self, patience: Duration) -> Result<()> {
        let mut events = [EpollEvent::empty(); 256];
        let timeout = EpollTimeout::try_from(patience).unwrap_or(EpollTimeout::ZERO);
        let count = match self.epoll.wait(&mut events, timeout) {
            Ok(count) => count,
            Err(nix::errno::Errno::EINTR) => 0,
            Err(error) => return Err(error).context("wait for answers"),
        };
        for event in &events[..count] {
            let Some(line) = usize::try_from(event.data()).ok().and_then(|index| self.lines.get_mut(index)) else {
                continue;
            };
            if line.connected {
                if let Some(waited) = line.read() {
                    self.longest_wait = self.longest_wait.max(waited);
                    self.opened += usize::from(line.asked == 1);
                }
            } else {
                line.finish_connecting();
                let mut interest = EpollEvent::new(EpollFlags::EPOLLIN, event.data());
                self.epoll.modify(&line.stream, &mut interest).context("watch a connection")?;
            }
            if line.end.is_some() {
                let _ = self.epoll.delete(&line.stream);
            }
        }
        Ok(())
    }

    fn ask(&mut self, index: usize) {
        let line = &mut self.lines[index];
        line.ask();
        if line.end.is_some() {
            let _ = self.epoll.delete(&line.stream);
        }
    }
}

/// How many lines the busy ones should have sent after so many beats.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and never negative")]
#[expect(clippy::cast_precision_loss, reason = "connections are far fewer than 2^53")]
fn due(beats: f64, busy: usize) -> usize {
    (beats * busy as f64) as usize
}

/// How a connection ended.
#[derive(Clone, PartialEq, Eq, Debug)]
enum End {
    Ended(String),
    Wrong,
}

/// A connection.
struct Line {
    index: usize,
    stream: TcpStream,
    connected: bool,
    /// Lines sent.
    asked: u64,
    /// Bytes that came back.
    echoed: u64,
    /// Since when something is missing.
    since: Instant,
    end: Option<End>,
}

impl Line {
    fn connect(index: usize, target: SocketAddr, source: Option<IpAddr>) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if let Some(address) = source {
            socket.bind(&SocketAddr::new(address, 0).into())?;
        }
        match socket.connect(&target.into()) {
            Err(error) if error.raw_os_error() != Some(nix::errno::Errno::EINPROGRESS as i32) => return Err(error),
            _ => {}
        }
        let stream = socket.into();
        Ok(Self { index, stream, connected: false, asked: 0, echoed: 0, since: Instant::now(), end: None })
    }

    fn finish_connecting(&mut self) {
        self.connected = true;
        match self.stream.take_error() {
            Ok(None) => self.ask(),
            Ok(Some(error)) | Err(error) => self.end = Some(End::Ended(http::describe(&error))),
        }
    }

    /// Whether something it sent has not come back yet.
    fn waits(&self) -> bool {
        self.end.is_none() && self.echoed < self.asked * LINE as u64
    }

    fn ask(&mut self) {
        if self.end.is_some() {
            return;
        }
        if !self.waits() {
            self.since = Instant::now();
        }
        let text = line(self.index, self.asked);
        self.asked += 1;
        // The kernel's buffer holds thousands of lines: that one does not fit means that it died long ago.
        match self.stream.write(text.as_bytes()) {
            Ok(length) if length == text.len() => {}
            Ok(_) => self.end = Some(End::Ended("full".to_owned())),
            Err(error) => self.end = Some(End::Ended(http::describe(&error))),
        }
    }

    /// Reads what is there; how long the last answer took, when with that
    /// everything has come back.
    fn read(&mut self) -> Option<Duration> {
        let waited = self.waits();
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.end = Some(End::Ended("closed".to_owned())),
                Ok(length) if self.expects(&buffer[..length]) => {
                    self.echoed += length as u64;
                    continue;
                }
                Ok(_) => self.end = Some(End::Wrong),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => self.end = Some(End::Ended(http::describe(&error))),
            }
            return (waited && self.end.is_none() && !self.waits()).then(|| self.since.elapsed());
        }
    }

    /// Whether these are the bytes that come next.
    fn expects(&self, bytes: &[u8]) -> bool {
        let length = LINE as u64;
        let mut at = self.echoed;
        let mut rest = bytes;
        while !rest.is_empty() {
            let text = line(self.index, at / length);
            let from = usize::try_from(at % length).unwrap_or(0);
            let part = &text.as_bytes()[from..text.len().min(from + rest.len())];
            if at >= self.asked * length || !rest.starts_with(part) {
                return false;
            }
            at += part.len() as u64;
            rest = &rest[part.len()..];
        }
        true
    }
}

/// Line `number` of connection `index`.
fn line(index: usize, number: u64) -> String {
    format!("{:08} {:010}\n", index % 100_000_000, number % 10_000_000_000)
}

#[cfg(test)]
#[path = "connections_tests.rs"]
mod tests;
