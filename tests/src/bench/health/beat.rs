//! Flows of a client that send at a fixed beat.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::rig::netns;

/// Each flow sends once in this time.
const PERIOD: Duration = Duration::from_millis(1);

/// A flow, whose datagrams begin with its number.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) number: u32,
    socket: UdpSocket,
}

impl Flow {
    /// Sends a datagram; whether it arrives is seen elsewhere.
    pub(super) fn send(&self) {
        let _ = self.socket.send(&self.number.to_be_bytes());
    }
}

/// Opens flows with these numbers, each from a port of its own.
///
/// # Errors
/// When a socket is refused.
pub(super) fn open(namespace: &str, service: SocketAddr, numbers: std::ops::Range<u32>) -> Result<Vec<Flow>> {
    netns::enter(namespace, || {
        let flow = |number| {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("open a flow's socket")?;
            socket.connect(service).context("connect a flow's socket")?;
            socket.set_nonblocking(true).context("prepare a flow's socket")?;
            Ok(Flow { number, socket })
        };
        numbers.map(flow).collect()
    })
}

/// Flows that send, spread evenly over the beat, until this is dropped.
#[derive(Debug)]
pub(super) struct Beat {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Beat {
    /// Begins.
    pub(super) fn start(flows: Vec<Flow>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let step = PERIOD / u32::try_from(flows.len().max(1)).unwrap_or(u32::MAX);
            let mut next = Instant::now();
            for flow in flows.iter().cycle() {
                if stopped.load(Relaxed) {
                    break;
                }
                flow.send();
                next += step;
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
