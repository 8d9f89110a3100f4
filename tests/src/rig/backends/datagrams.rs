//! A UDP server that answers or only listens.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use anyhow::{Context as _, Result};

use super::{Tally, worker::Worker};
use crate::rig::netns::NetNs;

/// A running server. Where none is, the kernel says so by ICMP.
#[derive(Debug)]
pub struct UdpServer {
    heard: Tally,
    answering: Arc<AtomicBool>,
    _worker: Worker,
}

impl UdpServer {
    /// Serves at an address of a namespace.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub fn start(namespace: &NetNs, address: SocketAddr, answering: bool) -> Result<Self> {
        let socket =
            namespace.enter(|| UdpSocket::bind(address).with_context(|| format!("bind UDP port {address}")))?;
        socket.set_read_timeout(Some(Worker::BEAT)).context("bound how long a socket waits")?;
        let (heard, answering) = (Tally::default(), Arc::new(AtomicBool::new(answering)));
        let (tally, answers) = (heard.clone(), answering.clone());
        let worker = Worker::start(move || {
            let mut buffer = [0; 2048];
            if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                tally.add(1);
                if answers.load(Relaxed) {
                    let _ = socket.send_to(&buffer[..length.min(16)], from);
                }
            }
        });
        Ok(Self { heard, answering, _worker: worker })
    }

    /// Whether it answers from now on.
    pub fn answer(&self, answering: bool) {
        self.answering.store(answering, Relaxed);
    }

    /// How many datagrams it has heard.
    #[must_use]
    pub fn heard(&self) -> u64 {
        self.heard.get()
    }
}
