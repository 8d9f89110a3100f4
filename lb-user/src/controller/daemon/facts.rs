//! What the daemon does with facts: verdicts, the network's news, and what time has
//! changed in the maps.
//!
//! What must not be here: what a fact changes (the controller's to say).

use std::time::SystemTime;

use tokio::{task::block_in_place, time::Instant};

use super::{Daemon, LOOK, STEP};
use crate::{
    control::events::Event,
    controller::{Checked, tidings},
    health::{self, HealthEvent},
};

impl Daemon {
    /// Takes what the monitors have found. Packets follow first; then it is told.
    pub(super) fn judge(&mut self, events: Vec<HealthEvent>) {
        let now = std::time::Instant::now();
        let mut told = Vec::new();
        for event in events {
            if let Some(label) = self.controller.set_verdict(&event) {
                told.extend(self.tidings.take(now, label, &event));
            }
        }
        self.follow_facts();
        told.into_iter().for_each(|event| self.tell(event));
    }

    /// Tells of the verdicts that were too many to be told one by one.
    pub(super) fn tell_of_more(&mut self) {
        let more = self.tidings.over(std::time::Instant::now(), SystemTime::now());
        more.into_iter().for_each(|event| self.tell(event));
    }

    fn tell(&mut self, event: Event) {
        tidings::log(&event);
        self.desk.push(event);
    }

    /// Has packets follow what has been found, or leaves it for when it is time.
    pub(super) fn follow_facts(&mut self) {
        let began = std::time::Instant::now();
        if !self.pace.begins(began) {
            return;
        }
        block_in_place(|| self.controller.follow());
        self.pace.ended(began, std::time::Instant::now());
        self.follow_pair();
        self.look_soon();
    }

    pub(super) fn look_soon(&mut self) {
        self.look_at.get_or_insert_with(|| Instant::now() + LOOK);
    }

    /// Looks at the status of everything, and tells of what is another one.
    pub(super) fn look(&mut self) {
        self.look_at = None;
        // Whatever has changed may change who of a pair should be Active.
        self.follow_pair();
        for event in block_in_place(|| self.controller.statuses(SystemTime::now())) {
            self.desk.push(event);
        }
    }

    pub(super) async fn follow_network(&mut self) {
        let hops = self.hops.borrow_and_update().clone();
        self.controller.set_hops(&hops);
        self.monitors.set_unreachable(&hops.missing);
        if health::asks_vips(self.controller.model()) {
            self.monitor();
        }
        self.follow_facts();
        self.attach_where_changed(&hops).await;
        self.follow_pair();
        self.look_soon();
    }

    /// Takes a step of the round that looks whether the maps are as they were written.
    pub(super) fn check(&mut self) {
        self.check_at = match block_in_place(|| self.controller.check()) {
            Checked::GoesOn => Some(Instant::now() + STEP),
            Checked::Over => None,
            Checked::Mended => {
                self.look_soon();
                None
            }
        };
    }
}
