//! Flow sync as the pool file wants it: started, stopped and told how clients
//! reach this balancer.

use std::{collections::BTreeMap, io};

use tokio::sync::watch;

use super::{
    sync::{Sync, SyncSettings, SyncView, view::PeerState},
    wish::paths,
};
use crate::{
    config::{Config, SyncConfig},
    control::events::{Event, Kind},
    dataplane::{Attachment, exchange::FlowExchange},
};

/// Flow sync and what it was started with.
pub struct FlowSync {
    config: Option<SyncConfig>,
    running: Option<Sync>,
    paths: watch::Sender<super::sync::Paths>,
    /// Whether the other balancer was there when last looked.
    present: bool,
}

impl std::fmt::Debug for FlowSync {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FlowSync").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Default for FlowSync {
    fn default() -> Self {
        Self { config: None, running: None, paths: watch::Sender::new(BTreeMap::new()), present: false }
    }
}

impl FlowSync {
    /// Does as the pool file says; `open` opens the data path's flows anew.
    ///
    /// # Errors
    /// When it cannot be started; it does not run then.
    pub fn follow<E: FlowExchange + 'static>(
        &mut self,
        config: &Config,
        attachments: &[Attachment],
        hash_seed: u64,
        open: impl FnOnce() -> io::Result<E>,
    ) -> io::Result<()> {
        let paths = paths(config, attachments);
        self.paths.send_if_modified(|before| {
            let changed = *before != paths;
            *before = paths;
            changed
        });
        if self.config == config.sync {
            return Ok(());
        }
        self.running = None;
        self.config = None;
        self.present = false;
        if let Some(sync) = &config.sync {
            let settings = SyncSettings {
                local: sync.local,
                peer: sync.peer,
                secret: sync.secret.expose().to_vec(),
                hash_seed,
                rescan: sync.rescan,
            };
            self.running = Some(Sync::start(settings, Box::new(open()?), self.paths.subscribe())?);
        }
        self.config.clone_from(&config.sync);
        Ok(())
    }

    /// Whether it runs.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// What has happened to the other balancer since the last call.
    pub fn news(&mut self) -> Option<Event> {
        let view = self.running.as_ref()?.view();
        let present = view.state == PeerState::Present;
        if present == std::mem::replace(&mut self.present, present) {
            return None;
        }
        let peer = view.peer.to_string();
        Some(if present {
            Event::new(Kind::SyncPeerAppeared, peer, "the other balancer takes part in flow sync")
        } else {
            Event::new(Kind::SyncPeerLost, peer, "the other balancer is not heard: flows stay on this one alone")
        })
    }

    /// How it is.
    #[must_use]
    pub fn view(&self) -> Option<SyncView> {
        self.running.as_ref().map(Sync::view)
    }
}
