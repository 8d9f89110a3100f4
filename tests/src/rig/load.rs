//! Real requests to a listener, several at a time, and what became of them.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use serde::{Deserialize, Serialize};

use super::{http, netns, udp};

/// What a request is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A GET of `/` over a TCP connection of its own.
    Http,
    /// A datagram from a port of its own, and its answer.
    Udp,
}

/// What to send.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// What a request is.
    pub kind: Kind,
    /// The listener.
    pub target: SocketAddr,
    /// How many; [`u64::MAX`] for as many as there is time for.
    pub requests: u64,
    /// How many at a time.
    pub concurrency: usize,
    /// How long each of those waits between requests.
    pub pause: Duration,
}

impl Load {
    /// `requests` to `target` as fast as they are answered, eight at a time.
    #[must_use]
    pub const fn new(kind: Kind, target: SocketAddr, requests: u64) -> Self {
        Self { kind, target, requests, concurrency: 8, pause: Duration::ZERO }
    }

    /// A trickle that goes on until it is stopped: a few hundred requests a
    /// second, which leaves the machine to others.
    #[must_use]
    pub const fn trickle(kind: Kind, target: SocketAddr) -> Self {
        Self { kind, target, requests: u64::MAX, concurrency: 4, pause: Duration::from_millis(10) }
    }
}

/// One request.
#[derive(Clone, Debug)]
pub struct Sample {
    /// When it began.
    pub started: Instant,
    /// How long it took, connecting included.
    pub latency: Duration,
    /// The member that answered, or what went wrong.
    pub outcome: Result<String, String>,
}

/// Requests in sum.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// How many.
    pub requests: u64,
    /// How many failed.
    pub errors: u64,
    /// How many failed in which way.
    pub error_kinds: BTreeMap<String, u64>,
    /// How many each member answered.
    pub members: BTreeMap<String, u64>,
    /// Median latency of those answered, in microseconds.
    pub p50_micros: u64,
    /// 99th percentile of the same.
    pub p99_micros: u64,
}

impl Report {
    /// Sums up samples.
    #[must_use]
    pub fn of<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> Self {
        let mut report = Self::default();
        let mut latencies = Vec::new();
        for sample in samples {
            report.requests += 1;
            match &sample.outcome {
                Ok(member) => {
                    *report.members.entry(member.clone()).or_default() += 1;
                    latencies.push(u64::try_from(sample.latency.as_micros()).unwrap_or(u64::MAX));
                }
                Err(kind) => {
                    report.errors += 1;
                    *report.error_kinds.entry(kind.clone()).or_default() += 1;
                }
            }
        }
        latencies.sort_unstable();
        report.p50_micros = percentile(&latencies, 50);
        report.p99_micros = percentile(&latencies, 99);
        report
    }

    /// How many a member answered.
    #[must_use]
    pub fn answered_by(&self, member: &str) -> u64 {
        self.members.get(member).copied().unwrap_or(0)
    }
}

/// The smallest value that `percent` of the sorted values do not exceed.
fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

/// Sends a load from the calling thread's namespace, until it is sent or `stop`.
#[must_use]
pub fn run(load: &Load, stop: &AtomicBool) -> Vec<Sample> {
    let next = AtomicU64::new(0);
    let work = || {
        let mut samples = Vec::new();
        while !stop.load(Relaxed) {
            let number = next.fetch_add(1, Relaxed);
            if number >= load.requests {
                break;
            }
            samples.push(request(load, number));
            if !load.pause.is_zero() {
                thread::sleep(load.pause);
            }
        }
        samples
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..load.concurrency).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
    })
}

fn request(load: &Load, number: u64) -> Sample {
    let started = Instant::now();
    let answer = match load.kind {
        Kind::Http => http::get(load.target, "/", http::Source::default()).and_then(checked),
        Kind::Udp => udp::ask(load.target, udp::fresh_port(), &number.to_be_bytes()),
    };
    Sample { started, latency: started.elapsed(), outcome: answer.map_err(|error| http::describe(&error)) }
}

fn checked(response: http::Response) -> io::Result<String> {
    let expected = format!("{}\n", response.member);
    if response.status == 200 && !response.member.is_empty() && response.body == expected.as_bytes() {
        Ok(response.member)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, format!("status {} or another body", response.status)))
    }
}

/// A load that runs beside whatever else happens.
#[derive(Debug)]
pub struct Background {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<Result<Vec<Sample>>>>,
}

impl Background {
    /// Starts a load from a namespace.
    #[must_use]
    pub fn start(namespace: &str, load: Load) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (namespace, stop_seen) = (namespace.to_owned(), stop.clone());
        let thread = thread::spawn(move || netns::enter(&namespace, || Ok(run(&load, &stop_seen))));
        Self { stop, thread: Some(thread) }
    }

    /// Stops it and returns everything that was sent.
    ///
    /// # Errors
    /// When the namespace could not be entered.
    pub fn finish(mut self) -> Result<Vec<Sample>> {
        self.stop.store(true, Relaxed);
        let thread = self.thread.take().ok_or_else(|| anyhow!("a load is finished twice"))?;
        thread.join().unwrap_or_else(|_| Err(anyhow!("a load panicked")))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let values: Vec<u64> = (1..=200).collect();
        assert_eq!((percentile(&values, 50), percentile(&values, 99)), (100, 198));
        assert_eq!((percentile(&[7], 50), percentile(&[7], 99), percentile(&[], 50)), (7, 7, 0));
    }

    #[test]
    fn a_report_counts_members_and_kinds_of_errors() {
        let sample = |outcome: Result<&str, &str>| Sample {
            started: Instant::now(),
            latency: Duration::from_micros(5),
            outcome: outcome.map(str::to_owned).map_err(str::to_owned),
        };
        let report = Report::of(&[sample(Ok("m1")), sample(Err("timeout")), sample(Ok("m1")), sample(Err("reset"))]);
        assert_eq!((report.requests, report.errors, report.answered_by("m1"), report.answered_by("m2")), (4, 2, 2, 0));
        assert_eq!(report.error_kinds.len(), 2);
        assert_eq!(report.p99_micros, 5);
    }
}
