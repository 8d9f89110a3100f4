//! What flow sync counts, and how it is shown.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use super::{
    session::Session,
    view::{AdoptedView, LossView, PassView, PeerPassView, SyncView, TrafficView},
    wire::Refusal,
};
use crate::dataplane::exchange::{AdoptRefusal, Adopted};

/// A refusal is told in the log so often.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// Counters since the start.
#[derive(Default)]
pub(super) struct Meter {
    pub(super) sent: TrafficView,
    pub(super) received: TrafficView,
    pub(super) not_sent: u64,
    pub(super) untold: u64,
    pub(super) unknown_records: u64,
    pub(super) malformed_records: u64,
    pub(super) peer_starts: u64,
    /// Datagrams of earlier runs of the other one that never came.
    pub(super) lost_before: u64,
    flows: Taken,
    placements: Taken,
    refused: BTreeMap<Refusal, u64>,
    told: BTreeMap<Refusal, Duration>,
    notes: Option<u64>,
    notes_before: u64,
    dropped: u64,
}

/// What became of what the other one told.
#[derive(Default)]
struct Taken {
    new: u64,
    refreshed: u64,
    ended: u64,
    refused: BTreeMap<AdoptRefusal, u64>,
}

impl Taken {
    fn count(&mut self, adopted: Adopted) {
        match adopted {
            Adopted::New => self.new += 1,
            Adopted::Refreshed => self.refreshed += 1,
            Adopted::Ended => self.ended += 1,
            Adopted::Refused(refusal) => *self.refused.entry(refusal).or_default() += 1,
        }
    }

    fn view(&self) -> AdoptedView {
        let refused = self.refused.iter().map(|(refusal, count)| (refusal.label().to_owned(), *count)).collect();
        AdoptedView { new: self.new, refreshed: self.refreshed, ended: self.ended, refused }
    }
}

impl Meter {
    /// A datagram was refused. True: the log should say so.
    pub(super) fn refuse(&mut self, now: Duration, refusal: Refusal) -> bool {
        *self.refused.entry(refusal).or_default() += 1;
        let is_due = self.told.get(&refusal).is_none_or(|told| now.saturating_sub(*told) >= TOLD_EVERY);
        if is_due {
            self.told.insert(refusal, now);
        }
        is_due
    }

    /// A flow was taken in, or not.
    pub(super) fn adopt(&mut self, adopted: Adopted) {
        self.received.flows += 1;
        self.flows.count(adopted);
    }

    /// A placement was taken in, or not.
    pub(super) fn adopt_placement(&mut self, adopted: Adopted) {
        self.received.placements += 1;
        self.placements.count(adopted);
    }

    /// So many notes were lost since the data path was loaded. True: more than
    /// the last time.
    pub(super) fn notes_lost(&mut self, lost: u64) -> bool {
        // What was lost before this started is no loss of flow sync.
        let Some(known) = self.notes.replace(lost) else {
            self.notes_before = lost;
            return false;
        };
        lost > known
    }

    /// So many flows found a queue full. True: more than the last time.
    pub(super) fn dropped(&mut self, dropped: u64) -> bool {
        std::mem::replace(&mut self.dropped, dropped) != dropped
    }

    /// Flows taken in and flows refused.
    pub(super) fn adopted_and_refused(&self) -> (u64, u64) {
        let Taken { new, refreshed, ended, refused } = &self.flows;
        (new + refreshed + ended, refused.values().sum())
    }
}

impl Session {
    /// What an operator is shown of it.
    #[must_use]
    pub fn view(&self, now: Duration, local: SocketAddr, peer_address: SocketAddr) -> SyncView {
        let peer = self.peer.as_ref();
        let told = peer.and_then(|peer| peer.told);
        let ago = |then: Duration| whole_millis(now.saturating_sub(then));
        SyncView {
            local,
            peer: peer_address,
            socket_problem: None,
            state: self.state,
            state_millis: ago(self.since),
            heard_millis: peer.map(|peer| ago(peer.heard)),
            epoch: format!("{:016x}", self.epoch),
            peer_epoch: peer.map(|peer| format!("{:016x}", peer.epoch)),
            peer_starts: self.meter.peer_starts,
            seeds_match: peer.map(|peer| peer.seed == self.seed),
            peer_flows: peer.and_then(|peer| peer.flows),
            sent: self.meter.sent,
            received: self.meter.received,
            adopted: self.meter.flows.view(),
            adopted_placements: self.meter.placements.view(),
            peer_adopted: told.map_or(0, |told| told.adopted),
            peer_refused: told.map_or(0, |told| told.refused),
            lost: self.loss_view(),
            lag_millis: whole_millis(self.outbox.lag(now)),
            queued: self.outbox.waiting() as u64,
            under_way: self.outbox.under_way() as u64,
            passes: self.pass_view(),
            peer_passes: peer.map_or_else(PeerPassView::default, |peer| PeerPassView {
                running: peer.pass.is_some(),
                finished: peer.passes,
                last_flows: peer.pass_flows,
                last_placements: peer.pass_placements,
            }),
            unknown_records: self.meter.unknown_records,
            malformed_records: self.meter.malformed_records,
            refused: self.meter.refused.iter().map(|(refusal, count)| (refusal.label().to_owned(), *count)).collect(),
        }
    }

    fn loss_view(&self) -> LossView {
        let losses = self.outbox.losses;
        LossView {
            sent: losses.missed,
            resent: losses.resent,
            given_up: losses.given_up,
            told: self.peer.as_ref().and_then(|peer| peer.told).map_or(0, |told| told.lost),
            received: self.meter.lost_before + self.peer.as_ref().map_or(0, |peer| peer.window.lost()),
            notes: self.meter.notes.map_or(0, |notes| notes.saturating_sub(self.meter.notes_before)),
            untold: self.meter.untold,
            dropped: losses.dropped,
            unsayable: losses.unsayable,
            not_sent: self.meter.not_sent,
        }
    }

    fn pass_view(&self) -> PassView {
        let (current, last) = (self.passes.current, self.passes.last);
        PassView {
            running: current.map(|pass| pass.reason),
            running_flows: current.map_or(0, |pass| pass.flows),
            running_placements: current.map_or(0, |pass| pass.placements),
            finished: self.passes.finished,
            last: last.map(|pass| pass.reason),
            last_flows: last.map(|pass| pass.flows),
            last_placements: last.map(|pass| pass.placements),
            last_millis: last.map(|pass| whole_millis(pass.took)),
        }
    }
}

fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
