//! Servers such as a health monitor meets: good ones, and bad ones of many kinds.
//!
//! What is served stands in a member's namespace and runs in this process, so that a
//! test can ask what has come in, and change a server's manner while it runs. A server
//! is a guard: when it is dropped its port is closed.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use anyhow::{Context as _, Result};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Handle, Runtime},
    task::JoinHandle,
};

use super::netns::NetNs;

pub mod certificates;
pub mod datagrams;
pub mod grpc;

pub mod sctp;
pub mod tcp;
pub mod web;
mod worker;

/// The thread on which servers run. It is dropped after them.
#[derive(Debug)]
pub struct Crowd {
    runtime: Option<Runtime>,
}

impl Crowd {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there can be none.
    pub fn gather() -> Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("servers").enable_all().build();
        Ok(Self { runtime: Some(runtime.context("start the servers' thread")?) })
    }

    fn handle(&self) -> Result<&Handle> {
        self.runtime.as_ref().map(Runtime::handle).context("the servers' thread has ended")
    }

    /// Listens in a namespace.
    fn listen(&self, namespace: &NetNs, address: SocketAddr) -> Result<TcpListener> {
        let listener = namespace.enter(|| {
            let listener = super::echo::listen(address).with_context(|| format!("listen at {address}"))?;
            Ok(listener)
        })?;
        let _inside = self.handle()?.enter();
        TcpListener::from_std(listener).context("watch a listener")
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A task that is gone, with what it holds open, when this is dropped.
#[derive(Debug)]
struct Task {
    task: Option<JoinHandle<()>>,
    handle: Handle,
}

impl Task {
    fn start(crowd: &Crowd, work: impl Future<Output = ()> + Send + 'static) -> Result<Self> {
        let handle = crowd.handle()?.clone();
        Ok(Self { task: Some(handle.spawn(work)), handle })
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            // Only then the port is closed. That it was cancelled is what was wanted.
            let _ = self.handle.block_on(task);
        }
    }
}

/// How often something happened.
#[derive(Clone, Debug, Default)]
struct Tally(Arc<AtomicU64>);

impl Tally {
    fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    fn raise_to(&self, count: u64) {
        self.0.fetch_max(count, Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
