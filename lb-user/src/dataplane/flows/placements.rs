//! Flows that are recorded and not translated: sweeping, forgetting, and counting
//! them together with those of the flow table.
//!
//! What must not be here: who a flow should go to.

use std::collections::BTreeSet;

use lb_common::{
    atomic::{Ordering::Relaxed, compare_and_swap},
    config::IdleLimits,
    flow,
    limits::PLACEMENT_LINES,
    load::Load,
    placement::{Placement, PlacementLine, PlacementStage, PlacementWord},
    pool::Persistence,
    protocol::Transport,
    time::Tick,
};
use lb_ebpf::{
    family::{ForwardEntry as _, V4, V6},
    placement::adopt::is_abandoned,
};

use super::{Flows, Look, memory::windows};
use crate::dataplane::{DataplaneError, ListenerId, PoolId};

/// Live flows by listener and by member.
#[derive(Debug)]
struct Counted {
    listeners: Vec<i64>,
    members: Vec<i64>,
}

impl Counted {
    fn add(&mut self, listener: u16, member: u16) {
        let Self { listeners, members } = self;
        for (all, id) in [(listeners, listener), (members, member)] {
            if let Some(count) = all.get_mut(usize::from(id)) {
                *count += 1;
            }
        }
    }
}

impl Flows<'_> {
    /// The tick now.
    pub(in super::super) fn now(&self) -> Tick {
        Tick::from_jiffies(self.jiffies, self.arrays.config().tick_shift())
    }

    /// Calls `each` for every way, whether it holds anything or not, a window of the
    /// table at a time.
    fn for_each_way(&self, mut each: impl FnMut(&Placement, PlacementWord)) -> Result<(), DataplaneError> {
        for window in windows::<PlacementLine>(PLACEMENT_LINES - 1) {
            let lines = self.memory.placements(window)?;
            lines.values().iter().flat_map(|line| &line.ways).for_each(|way| each(way, way.word()));
        }
        Ok(())
    }

    /// Calls `each` for every placement, idle ones included.
    fn for_each_placement(&self, mut each: impl FnMut(&Placement, PlacementWord)) -> Result<(), DataplaneError> {
        self.for_each_way(|way, word| {
            if word.is_live() {
                each(way, word);
            }
        })
    }

    fn free_placement(way: &Placement, word: PlacementWord) -> bool {
        compare_and_swap(&way.word, word.0, PlacementWord::FREE.0)
    }

    /// The pool of each listener, by id.
    fn pools_of_listeners(&self) -> Vec<u16> {
        let mut pools = vec![0; self.arrays.listener_keys().len()];
        for entry in self.arrays.listeners().iter().flat_map(|line| &line.ways).map(|way| way.entry.load(Relaxed)) {
            let entry = lb_common::listener::ListenerEntry(entry);
            if entry.is_valid()
                && let Some(pool) = pools.get_mut(usize::from(entry.id()))
            {
                *pool = entry.pool();
            }
        }
        pools
    }

    /// Frees every placement of a listener that is about to go.
    ///
    /// # Errors
    /// When the table cannot be looked at.
    pub(in super::super) fn forget_placements(&self, id: ListenerId) -> Result<(), DataplaneError> {
        self.for_each_placement(|way, word| {
            if word.listener() == id.0 {
                Self::free_placement(way, word);
            }
        })
    }

    /// Marks the members that placements name.
    pub(super) fn name_placed(&self, named: &mut [bool]) -> Result<(), DataplaneError> {
        self.for_each_placement(|_, word| {
            if let Some(named) = named.get_mut(usize::from(word.member())) {
                *named = true;
            }
        })
    }

    /// What is to be done now and then: frees placements that have been idle for too
    /// long, and ways that somebody claimed who is gone; counts the flows there are, and
    /// corrects what listeners and members are said to have. Returns the pools that have
    /// a recorded flow. A flow that begins meanwhile may be counted twice until the next
    /// time.
    ///
    /// # Errors
    /// When the tables cannot be looked at; nothing is corrected then.
    pub(in super::super) fn tend(&self) -> Result<BTreeSet<PoolId>, DataplaneError> {
        if !self.is_set() {
            return Ok(BTreeSet::new());
        }
        let live = |loads: &[Load]| loads.iter().map(|load| load.live.load(Relaxed) as i64).collect::<Vec<_>>();
        let (listeners, members) = (self.arrays.listener_loads(), self.arrays.member_loads());
        let said = [live(listeners), live(members)];
        let mut counted = Counted { listeners: vec![0; listeners.len()], members: vec![0; members.len()] };
        self.count_family::<V4>(&mut counted)?;
        self.count_family::<V6>(&mut counted)?;
        let placed = self.tend_placements(&mut counted)?;
        let Counted { listeners: of_listeners, members: of_members } = counted;
        for (loads, counted, said) in [(listeners, of_listeners, &said[0]), (members, of_members, &said[1])] {
            for ((load, counted), said) in loads.iter().zip(counted).zip(said).filter(|((_, a), b)| a != *b) {
                load.live.fetch_add((counted - said).cast_unsigned(), Relaxed);
            }
        }
        Ok(placed)
    }

    /// Frees placements that are over and counts the others; returns the pools that have
    /// a recorded flow.
    fn tend_placements(&self, counted: &mut Counted) -> Result<BTreeSet<PoolId>, DataplaneError> {
        let (now, limits, pools) = (self.now(), self.arrays.config().idle_limits(), self.pools_of_listeners());
        let pool_of = |listener: u16| pools.get(usize::from(listener)).copied();
        let persistence = |listener: u16| {
            let pool = pool_of(listener).and_then(|pool| self.arrays.pools().get(usize::from(pool)));
            Persistence::from_word(pool.map_or(0, |pool| pool.persistence.load(Relaxed))).timeout
        };
        let is_idle = |word: PlacementWord| {
            let limit = match word.stage() {
                PlacementStage::Session => persistence(word.listener()),
                stage => limit_of(limits, stage, word.transport()),
            };
            now.age(word.seen()) > limit
        };
        let mut placed = BTreeSet::new();
        self.for_each_way(|way, word| {
            // Most are.
            if word == PlacementWord::FREE {
                return;
            }
            let goes = if word.is_live() { is_idle(word) } else { is_abandoned(now, limits, word) };
            if goes && Self::free_placement(way, word) || !word.is_live() {
                return;
            }
            if word.is_counted() {
                counted.add(word.listener(), word.member());
            }
            if word.stage() != PlacementStage::Session {
                placed.extend(pool_of(word.listener()).map(PoolId));
            }
        })?;
        Ok(placed)
    }

    fn count_family<F: Look>(&self, counted: &mut Counted) -> Result<(), DataplaneError> {
        self.for_each_window::<F>(|lines| {
            for way in lines.values().iter().flat_map(F::ways) {
                let ctl = flow::ctl(way.ctl());
                if ctl.is_live() {
                    counted.add(F::key_parts(way.key()).2, ctl.member());
                }
            }
            Ok(())
        })
    }
}

/// How long a placement of a flow may be idle, in ticks.
const fn limit_of(limits: IdleLimits, stage: PlacementStage, transport: Option<Transport>) -> u16 {
    match (stage, transport) {
        (PlacementStage::New, _) => limits.unconfirmed,
        (PlacementStage::Closing, _) => limits.tcp_closing,
        (_, Some(Transport::Udp)) => limits.udp,
        _ => limits.tcp,
    }
}
