//! Probes at a fixed beat, and for how long nobody answered.
//!
//! One thread sends on an absolute schedule, so that a late probe does not
//! delay those after it; another one takes the answers. Together they cost a
//! few per cent of a core for each kind of probe.

use std::{
    fmt,
    io::{self, Read as _},
    net::{IpAddr, SocketAddr},
    os::fd::AsFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::time::{TimeSpec, TimeValLike as _},
    time::{ClockId, ClockNanosleepFlags, clock_nanosleep},
    unistd::gettid,
};
use socket2::{Domain, Protocol, Socket, Type};

use super::{addresses::LISTENER_UDP, command, icmp, netns};

/// The usual beat.
pub const PERIOD: Duration = Duration::from_millis(1);
/// How long answers are waited for after the last probe.
const GRACE: Duration = Duration::from_millis(300);
/// Below the ports that the client's kernel gives out: a probe never has the port of something else.
const SOURCE_PORT: u16 = 9700;
/// The prober's name and the probe's number.
const PAYLOAD: usize = 16;

/// What a probe is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Probe {
    /// A datagram to the VIP's UDP listener, which a member answers.
    Udp,
    /// An echo request, which whoever has the VIP answers.
    Icmp,
}

/// What is probed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target {
    /// How.
    pub probe: Probe,
    /// The VIP.
    pub address: IpAddr,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let probe = match self.probe {
            Probe::Udp => "UDP",
            Probe::Icmp => "ICMP",
        };
        write!(f, "{probe} over IPv{}", if self.address.is_ipv4() { 4 } else { 6 })
    }
}

/// Probes on their way. Dropping it ends them.
#[derive(Debug)]
pub struct Prober {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<Result<Vec<Trace>>>>,
}

impl Prober {
    /// Starts to probe from a namespace, every target once in each `period`.
    ///
    /// # Errors
    /// When the namespace cannot be entered or a socket cannot be opened.
    pub fn start(namespace: &str, targets: &[Target], period: Duration) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (begun, begins) = mpsc::channel();
        let (namespace, targets, stop_seen) = (namespace.to_owned(), targets.to_vec(), stop.clone());
        let thread = thread::spawn(move || netns::enter(&namespace, || run(&targets, period, &stop_seen, &begun)));
        let prober = Self { stop, thread: Some(thread) };
        match begins.recv() {
            Ok(()) => Ok(prober),
            Err(_) => Err(prober.finish().err().unwrap_or_else(|| anyhow!("a prober ended before it began"))),
        }
    }

    /// Ends probing; returns what became of the probes, target by target.
    ///
    /// # Errors
    /// When the sockets failed.
    pub fn finish(mut self) -> Result<Vec<Trace>> {
        self.stop.store(true, Relaxed);
        let thread = self.thread.take().ok_or_else(|| anyhow!("a prober is finished twice"))?;
        thread.join().unwrap_or_else(|_| Err(anyhow!("a prober panicked")))
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

/// Probes from `lead` before some work until `tail` after it; returns what
/// became of the probes, target by target, and what the work did.
///
/// # Errors
/// As [`Prober::start`], and those of the work.
pub fn around<T>(
    namespace: &str,
    targets: &[Target],
    [lead, tail]: [Duration; 2],
    work: impl FnOnce() -> Result<T>,
) -> Result<(Vec<Trace>, T)> {
    let prober = Prober::start(namespace, targets, PERIOD)?;
    thread::sleep(lead);
    let done = work()?;
    thread::sleep(tail);
    Ok((prober.finish()?, done))
}

/// What became of the probes to one target.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Where they went.
    pub target: Target,
    /// When each was sent, since the first was.
    sent: Vec<Duration>,
    /// How long each took to be answered.
    answered: Vec<Option<Duration>>,
    duplicates: u64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, lost, gap, gap_at, .. } = self;
        write!(f, "{lost} of {sent} lost, a gap of {:.1} ms", gap.as_secs_f64() * 1e3)?;
        if !gap.is_zero() {
            write!(f, " from {:.0} ms on", gap_at.as_secs_f64() * 1e3)?;
        }
        f.write_str(if self.recovered { "" } else { ", not answered at the end" })
    }
}

/// A trace in figures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Figures {
    /// Probes sent.
    pub sent: u64,
    /// Probes never answered.
    pub lost: u64,
    /// From sending the last answered probe before the longest loss to sending
    /// the first answered one after it; zero without a loss.
    pub gap: Duration,
    /// When that began, since the first probe.
    pub gap_at: Duration,
    /// Whether the last probe of all was answered.
    pub recovered: bool,
    /// Answers to probes that were answered already.
    pub duplicates: u64,
    /// The 99th percentile of how long answers took.
    pub p99: Duration,
    /// The longest time between two probes: how fine the gap is measured.
    pub coarsest: Duration,
}

impl Trace {
    /// Sums it up.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let lost = self.answered.iter().filter(|answer| answer.is_none()).count();
        let (gap, gap_at) = longest_gap(&self.sent, &self.answered);
        let mut latencies: Vec<Duration> = self.answered.iter().copied().flatten().collect();
        latencies.sort_unstable();
        let rank = (latencies.len() * 99).div_ceil(100).saturating_sub(1);
        Figures {
            sent: number(self.sent.len()),
            lost: number(lost),
            gap,
            gap_at,
            recovered: self.answered.last().is_none_or(Option::is_some),
            duplicates: self.duplicates,
            p99: latencies.get(rank).copied().unwrap_or_default(),
            coarsest: self.sent.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).max().unwrap_or_default(),
        }
    }
}

/// The longest stretch without an answer and when it began. Where nothing was
/// answered before it begins with the first probe, and where nothing was
/// answered after it ends with the last.
fn longest_gap(sent: &[Duration], answered: &[Option<Duration>]) -> (Duration, Duration) {
    let mut longest = (Duration::ZERO, Duration::ZERO);
    let mut since = None;
    let mut before = sent.first().copied().unwrap_or_default();
    for (at, answer) in sent.iter().zip(answered) {
        if answer.is_none() {
            since.get_or_insert(before);
        }
        if let Some(from) = since
            && at.saturating_sub(from) > longest.0
        {
            longest = (at.saturating_sub(from), from);
        }
        if answer.is_some() {
            before = *at;
            since = None;
        }
    }
    longest
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// One target's socket.
struct Stream {
    target: Target,
    socket: Socket,
    identifier: [u8; 2],
}

impl Stream {
    fn open(target: Target, identifier: [u8; 2]) -> io::Result<Self> {
        let v4 = target.address.is_ipv4();
        let domain = if v4 { Domain::IPV4 } else { Domain::IPV6 };
        let any: IpAddr = if v4 { [0u8; 4].into() } else { [0u8; 16].into() };
        let (socket, port) = match target.probe {
            Probe::Udp => {
                let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
                if !v4 {
                    // Both families have the port.
                    socket.set_only_v6(true)?;
                }
                socket.bind(&SocketAddr::new(any, SOURCE_PORT).into())?;
                (socket, LISTENER_UDP)
            }
            Probe::Icmp => {
                let protocol = if v4 { Protocol::ICMPV4 } else { Protocol::ICMPV6 };
                (Socket::new(domain, Type::RAW, Some(protocol))?, 0)
            }
        };
        socket.set_nonblocking(true)?;
        // Connected: nothing from another address is heard.
        socket.connect(&SocketAddr::new(target.address, port).into())?;
        Ok(Self { target, socket, identifier })
    }

    fn send(&self, payload: &[u8; PAYLOAD]) {
        // A probe that could not be sent is one that is not answered. The socket tells here of earlier ones, too.
        let _ = match self.target.probe {
            Probe::Udp => self.socket.send(payload),
            Probe::Icmp => {
                let sequence = u16::from_be_bytes([payload[PAYLOAD - 2], payload[PAYLOAD - 1]]);
                let v4 = self.target.address.is_ipv4();
                self.socket.send(&icmp::request(v4, self.identifier, sequence, payload))
            }
        };
    }

    /// The number of a probe that was answered; `None` for everything else that comes in.
    fn read(&self, name: u64, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let length = (&self.socket).read(buffer)?;
        let heard = &buffer[..length];
        let payload = match self.target.probe {
            // The member's name is in front of it.
            Probe::Udp => heard.len().checked_sub(PAYLOAD).and_then(|from| heard.get(from..)),
            Probe::Icmp => icmp::reply(self.target.address.is_ipv4(), self.identifier, heard),
        };
        Ok(payload.and_then(|payload| parse(name, payload)))
    }
}

fn parse(name: u64, payload: &[u8]) -> Option<usize> {
    let (own, number) = payload.split_at_checked(8)?;
    if own != name.to_be_bytes() {
        return None;
    }
    usize::try_from(u64::from_be_bytes(number.try_into().ok()?)).ok()
}

fn run(targets: &[Target], period: Duration, stop: &AtomicBool, begun: &mpsc::Sender<()>) -> Result<Vec<Trace>> {
    let name = fresh_name();
    let mut streams = Vec::new();
    for (target, index) in targets.iter().zip(0u8..) {
        let identifier = [name.to_be_bytes()[7], index];
        streams.push(Stream::open(*target, identifier).with_context(|| format!("open a socket for {target}"))?);
    }
    let origin = Instant::now();
    let ended = AtomicBool::new(false);
    let (sent, heard) = thread::scope(|scope| {
        let listener = scope.spawn(|| listen(&streams, name, origin, &ended));
        favour_this_thread();
        let _ = begun.send(());
        let sent = beat(&streams, name, period, origin, stop);
        thread::sleep(GRACE);
        ended.store(true, Relaxed);
        (sent, listener.join())
    });
    let heard = heard.map_err(|_| anyhow!("a prober's listener panicked"))??;
    let sent = sent?;
    Ok(streams.iter().zip(heard).map(|(stream, heard)| trace(stream.target, &sent, &heard)).collect())
}

/// Sends until `stop`; returns when each probe was sent.
fn beat(streams: &[Stream], name: u64, period: Duration, origin: Instant, stop: &AtomicBool) -> Result<Vec<Duration>> {
    let clock = ClockId::CLOCK_MONOTONIC;
    let start = clock.now().context("read the clock")?;
    let nanos = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX).max(1);
    let mut payload = [0; PAYLOAD];
    payload[..8].copy_from_slice(&name.to_be_bytes());
    let mut sent = Vec::new();
    let mut beat = 0u64;
    while !stop.load(Relaxed) {
        payload[8..].copy_from_slice(&number(sent.len()).to_be_bytes());
        sent.push(origin.elapsed());
        for stream in streams {
            stream.send(&payload);
        }
        // Beats that were slept through are left out, not made up for.
        let passed = clock.now().context("read the clock")? - start;
        beat = (beat + 1).max(u64::try_from(passed.num_nanoseconds()).unwrap_or(0) / nanos);
        let next = start + TimeSpec::nanoseconds(i64::try_from(beat * nanos).unwrap_or(i64::MAX));
        let _ = clock_nanosleep(clock, ClockNanosleepFlags::TIMER_ABSTIME, &next);
    }
    Ok(sent)
}

/// Takes answers until `ended`; returns the numbers of the answered probes and
/// when the answers came, stream by stream.
fn listen(streams: &[Stream], name: u64, origin: Instant, ended: &AtomicBool) -> Result<Vec<Vec<(usize, Duration)>>> {
    favour_this_thread();
    let mut heard = vec![Vec::new(); streams.len()];
    let mut buffer = [0; 2048];
    let mut ready: Vec<PollFd<'_>> =
        streams.iter().map(|stream| PollFd::new(stream.socket.as_fd(), PollFlags::POLLIN)).collect();
    while !ended.load(Relaxed) {
        match poll(&mut ready, PollTimeout::from(50u8)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error).context("wait for answers"),
        }
        for (stream, heard) in streams.iter().zip(&mut heard) {
            loop {
                match stream.read(name, &mut buffer) {
                    Ok(Some(number)) => heard.push((number, origin.elapsed())),
                    Ok(None) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // What became of an earlier probe: that one is not answered.
                    Err(_) => {}
                }
            }
        }
    }
    Ok(heard)
}

fn trace(target: Target, sent: &[Duration], heard: &[(usize, Duration)]) -> Trace {
    let mut answered = vec![None; sent.len()];
    let mut duplicates = 0;
    for (number, at) in heard {
        match (sent.get(*number), answered.get_mut(*number)) {
            (Some(sent), Some(answer @ None)) => *answer = Some(at.saturating_sub(*sent)),
            _ => duplicates += 1,
        }
    }
    Trace { target, sent: sent.to_vec(), answered, duplicates }
}

/// A number that no other prober has.
fn fresh_name() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
    (since.as_secs() << 32) ^ (u64::from(since.subsec_nanos()) << 8) ^ u64::from(std::process::id())
}

/// What is measured is the balancers, not how busy the machine is: this thread
/// goes before others. Where that is not permitted figures are coarser, which
/// they say themselves.
fn favour_this_thread() {
    let _ = command::run("renice", &["-n", "-15", "-p", &gettid().to_string()]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(values: &[u64]) -> Vec<Duration> {
        values.iter().map(|value| Duration::from_millis(*value)).collect()
    }

    fn target() -> Target {
        Target { probe: Probe::Icmp, address: [127, 0, 0, 1].into() }
    }

    #[test]
    fn a_gap_reaches_from_the_last_answer_before_to_the_first_after_the_longest_loss() {
        let sent = millis(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        let heard: Vec<_> = [0, 1, 3, 7, 8, 9].map(|n| (n, sent[n])).to_vec();
        let figures = trace(target(), &sent, &heard).figures();
        assert_eq!((figures.lost, figures.gap, figures.gap_at), (4, Duration::from_millis(4), sent[3]));
        assert!(figures.recovered);
    }

    #[test]
    fn without_a_loss_there_is_no_gap_and_a_late_beat_is_none() {
        let sent = millis(&[0, 1, 40]);
        let heard: Vec<_> = [0, 1, 2].map(|n| (n, sent[n])).to_vec();
        let figures = trace(target(), &sent, &heard).figures();
        assert_eq!((figures.lost, figures.gap, figures.coarsest), (0, Duration::ZERO, Duration::from_millis(39)));
    }

    #[test]
    fn what_never_came_back_is_a_gap_up_to_the_last_probe() {
        let sent = millis(&[0, 1, 2, 3]);
        let figures = trace(target(), &sent, &[(0, sent[0])]).figures();
        assert_eq!((figures.gap, figures.recovered), (Duration::from_millis(3), false));
        let figures = trace(target(), &sent, &[]).figures();
        assert_eq!((figures.gap, figures.lost), (Duration::from_millis(3), 4));
    }

    #[test]
    fn a_second_answer_is_a_duplicate_and_what_was_never_sent_too() {
        let sent = millis(&[0, 1]);
        let figures = trace(target(), &sent, &[(0, sent[0]), (0, sent[1]), (1, sent[1]), (9, sent[1])]).figures();
        assert_eq!((figures.duplicates, figures.lost), (2, 0));
    }

    #[test]
    fn everything_on_this_host_is_answered() -> Result<()> {
        if !nix::unistd::geteuid().is_root() {
            return Ok(());
        }
        let (begun, _begins) = mpsc::channel();
        let stop = AtomicBool::new(false);
        let targets = [IpAddr::from([127, 0, 0, 1])].map(|address| Target { probe: Probe::Icmp, address });
        let traces = thread::scope(|scope| {
            let probing = scope.spawn(|| run(&targets, PERIOD, &stop, &begun));
            thread::sleep(Duration::from_millis(100));
            stop.store(true, Relaxed);
            probing.join().unwrap_or_else(|_| Err(anyhow!("it panicked")))
        })?;
        let figures = traces[0].figures();
        assert!(figures.sent > 5 && figures.lost == 0 && figures.duplicates == 0, "{figures:?}");
        Ok(())
    }
}
