//! Looking through the flow table from userspace: listing, sweeping,
//! forgetting. The rules are the data path's own code.
//!
//! The two halves of a flow lie anywhere in two large tables. Neither is mapped as
//! a whole (see [`memory`]): a look goes through windows of the one, and sorts what
//! it finds there by the windows of the other. In between, entries change hands;
//! so what was noted is believed only where it still holds when it is used.

use std::{net::IpAddr, ops::Range, sync::atomic::fence};

use lb_common::{
    atomic::{
        Ordering::{Relaxed, SeqCst},
        compare_and_swap,
    },
    flow::{self, Ctl, Stage, idle_limit},
    listener,
    protocol::{Transport, vip_and_transport},
    time::tick_millis,
};
use lb_ebpf::{
    family::{Family, ForwardEntry, ReturnEntry, V4, V6},
    flow::{Moment, adopt::is_abandoned, back_of, find},
    host::{Arrays, HostTables},
};

use super::{
    DataplaneError, FlowRecord, ListenerId, MemberId,
    tables::{self, address_from_words},
};

mod memory;
mod placements;

pub(super) use memory::{FlowMemory, Window};
use memory::{Look, Part, View, window_at, windows};

/// A view of the flows at one moment.
pub(super) struct Flows<'a> {
    arrays: &'a dyn Arrays,
    memory: &'a dyn FlowMemory,
    jiffies: u64,
}

impl std::fmt::Debug for Flows<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flows").finish_non_exhaustive()
    }
}

/// A flow whose both halves were looked for.
struct Pair<'t, F: Family> {
    forward: (&'t F::Forward, Ctl),
    back: Option<(&'t F::Return, Ctl)>,
    transport: Transport,
}

/// How far a sweep through all flow tables has come.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct SweepCursor {
    table: Swept,
    entry: u32,
}

/// A table that is swept.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Swept {
    #[default]
    Lines4,
    Backs4,
    Lines6,
    Backs6,
}

impl Swept {
    const fn next(self) -> Self {
        match self {
            Self::Lines4 => Self::Backs4,
            Self::Backs4 => Self::Lines6,
            Self::Lines6 => Self::Backs6,
            Self::Backs6 => Self::Lines4,
        }
    }
}

/// An entry of a window, and the number of the other table's entry that is to be
/// looked at for it. In order, they go through the other table once.
type Errand = (u32, u32);

/// The errands whose other entry lies in a window.
fn errands_to<'e>(errands: &'e [Errand], window: &Range<u32>) -> &'e [Errand] {
    let before = |place: u32| errands.partition_point(|(other, _)| *other < place);
    &errands[before(window.start)..before(window.end)]
}

/// The way with this number among those of some lines.
fn way_of<F: Family>(lines: &[F::Line], number: u32) -> Option<&F::Forward> {
    let ways = F::ways(lines.first()?).len();
    F::ways(lines.get(number as usize / ways)?).get(number as usize % ways)
}

impl<'a> Flows<'a> {
    /// A view over arrays and flow tables at a count of jiffies.
    pub(super) fn new(arrays: &'a dyn Arrays, memory: &'a dyn FlowMemory, jiffies: u64) -> Self {
        Self { arrays, memory, jiffies }
    }

    /// The tables as the data path's code reads them, with no more of the flow
    /// tables than these windows.
    fn tables<'w, F: Look>(
        &'w self,
        lines: &'w Part<'_, F::Line>,
        backs: &'w Part<'_, F::Return>,
    ) -> HostTables<View<'w>> {
        HostTables::new(F::view(self.arrays, lines, backs), self.jiffies)
    }

    fn is_set(&self) -> bool {
        self.arrays.config().is_set()
    }

    /// VIP id and transport of the listener in a key, as far as it is known.
    fn listener_of<F: Family>(&self, key: F::Key) -> (u16, Transport) {
        let (_, _, id) = F::key_parts(key);
        let key = self.arrays.listener_keys().get(usize::from(id)).map_or(0, |l| l.key.load(Relaxed));
        let (vip, transport) = listener::parts(key).map_or((0, Transport::Tcp), |(v, t, _)| (v, t));
        (vip_and_transport(vip, transport), transport)
    }

    /// Where the return entry of a flow would lie.
    fn place_of<F: Family>(&self, forward: Ctl, vip_and_transport: u16) -> u32 {
        let Some(member) = self.arrays.members().get(usize::from(forward.member())) else { return 0 };
        let address = F::from_words([member.address[0].load(Relaxed), member.address[1].load(Relaxed)]);
        let ports = flow::return_ports(member.state().port(), vip_and_transport, forward.snat_port());
        F::return_place(self.arrays.config(), address, ports)
    }

    /// Calls `each` for the flows with their forward entry in a window.
    fn pairs_of<F: Look>(
        &self,
        lines: &Part<'_, F::Line>,
        wanted: &dyn Fn(F::Key) -> bool,
        each: &mut dyn FnMut(&Moment<'_>, Pair<'_, F>),
    ) -> Result<(), DataplaneError> {
        let mut errands: Vec<Errand> = Vec::new();
        for (number, way) in (0..).zip(lines.values().iter().flat_map(F::ways)) {
            let (ctl, key) = (flow::ctl(way.ctl()), way.key());
            if ctl.is_live() && wanted(key) {
                errands.push((self.place_of::<F>(ctl, self.listener_of::<F>(key).0), number));
            }
        }
        errands.sort_unstable();
        for window in windows::<F::Return>(F::return_mask(self.arrays.config())) {
            let errands = errands_to(&errands, &window);
            if errands.is_empty() {
                continue;
            }
            let backs = Part::new(window.start, F::backs(self.memory, window)?);
            let tables = self.tables::<F>(lines, &backs);
            let Some(moment) = Moment::read(&tables) else { return Ok(()) };
            for (place, number) in errands {
                let Some(entry) = way_of::<F>(lines.values(), *number) else { continue };
                let (ctl, key) = (flow::ctl(entry.ctl()), entry.key());
                let (vip_and_transport, transport) = self.listener_of::<F>(key);
                // Another flow may have the entry by now, whose other half is
                // somewhere else.
                if !ctl.is_live() || !wanted(key) || self.place_of::<F>(ctl, vip_and_transport) != *place {
                    continue;
                }
                let back = back_of::<F, _>(&tables, &moment, key, ctl, vip_and_transport);
                each(&moment, Pair { forward: (entry, ctl), back, transport });
            }
        }
        Ok(())
    }

    fn pairs<F: Look>(
        &self,
        wanted: &dyn Fn(F::Key) -> bool,
        each: &mut dyn FnMut(&Moment<'_>, Pair<'_, F>),
    ) -> Result<(), DataplaneError> {
        self.for_each_window::<F>(|lines| self.pairs_of::<F>(lines, wanted, each))
    }

    /// Goes through the forward table a window at a time.
    fn for_each_window<F: Look>(
        &self,
        mut look: impl FnMut(&Part<'_, F::Line>) -> Result<(), DataplaneError>,
    ) -> Result<(), DataplaneError> {
        if !self.is_set() {
            return Ok(());
        }
        for window in windows::<F::Line>(F::line_mask(self.arrays.config())) {
            look(&Part::new(window.start, F::lines(self.memory, window)?))?;
        }
        Ok(())
    }

    fn is_idle<F: Family>(moment: &Moment<'_>, pair: &Pair<'_, F>) -> bool {
        let (_, forward) = pair.forward;
        let Some((_, back)) = pair.back else { return true };
        let idle = moment.now.age(forward.seen()).min(moment.now.age(back.seen()));
        let tcp = !matches!(pair.transport, Transport::Udp);
        idle > idle_limit(moment.config.idle_limits(), tcp, forward.stage(), back.stage())
    }

    fn free<F: Family>(pair: &Pair<'_, F>) -> bool {
        let (entry, ctl) = pair.forward;
        if !compare_and_swap(entry.ctl(), ctl.0, Ctl::FREE.0) {
            return false;
        }
        if let Some((back, back_ctl)) = pair.back {
            compare_and_swap(back.ctl(), back_ctl.0, Ctl::FREE.0);
        }
        true
    }

    /// Frees flows that have been idle for too long, and return entries without
    /// flow; says how many entries went.
    ///
    /// # Errors
    /// When the tables cannot be looked at; what was freed until then stays so.
    pub(super) fn sweep(&self) -> Result<u64, DataplaneError> {
        let (mut freed, mut cursor) = (0, SweepCursor::default());
        loop {
            freed += self.sweep_some(&mut cursor)?;
            if cursor == SweepCursor::default() {
                return Ok(freed);
            }
        }
    }

    /// [`Flows::sweep`] for the next window alone. When the cursor is as it was at
    /// first, that was the last one.
    ///
    /// # Errors
    /// As there; the cursor has gone on.
    pub(super) fn sweep_some(&self, cursor: &mut SweepCursor) -> Result<u64, DataplaneError> {
        if !self.is_set() {
            return Ok(0);
        }
        let SweepCursor { table, entry } = *cursor;
        let config = self.arrays.config();
        let mask = match table {
            Swept::Lines4 => V4::line_mask(config),
            Swept::Backs4 => V4::return_mask(config),
            Swept::Lines6 => V6::line_mask(config),
            Swept::Backs6 => V6::return_mask(config),
        };
        let (freed, end) = match table {
            Swept::Lines4 => self.sweep_lines::<V4>(entry),
            Swept::Backs4 => self.sweep_backs::<V4>(entry),
            Swept::Lines6 => self.sweep_lines::<V6>(entry),
            Swept::Backs6 => self.sweep_backs::<V6>(entry),
        };
        *cursor =
            if end > mask { SweepCursor { table: table.next(), entry: 0 } } else { SweepCursor { table, entry: end } };
        freed
    }

    /// Frees the flows of a window that are over; returns where the next one begins.
    fn sweep_lines<F: Look>(&self, start: u32) -> (Result<u64, DataplaneError>, u32) {
        let window = window_at::<F::Line>(F::line_mask(self.arrays.config()), start);
        let end = window.end;
        let swept = F::lines(self.memory, window).and_then(|lines| {
            let (lines, mut freed) = (Part::new(start, lines), 0);
            self.pairs_of::<F>(&lines, &|_| true, &mut |moment, pair| {
                if Self::is_idle(moment, &pair) && Self::free(&pair) {
                    freed += 1;
                }
            })?;
            Ok(freed + self.unclaim::<F>(&lines))
        });
        (swept, end)
    }

    /// Frees the return entries of a window that serve nobody; returns where the next
    /// one begins.
    fn sweep_backs<F: Look>(&self, start: u32) -> (Result<u64, DataplaneError>, u32) {
        let window = window_at::<F::Return>(F::return_mask(self.arrays.config()), start);
        let end = window.end;
        let backs = F::backs(self.memory, window);
        (backs.and_then(|backs| self.free_orphans::<F>(&Part::new(start, backs))), end)
    }

    /// Frees return entries without flow.
    fn free_orphans<F: Look>(&self, backs: &Part<'_, F::Return>) -> Result<u64, DataplaneError> {
        let (config, nothing) = (self.arrays.config(), Part::default());
        let line_of = |key| F::hash(config.seed.load(Relaxed), key) as u32 & F::line_mask(config);
        let tables = self.tables::<F>(&nothing, backs);
        let Some(moment) = Moment::read(&tables) else { return Ok(0) };
        // An entry is alone for the moment between its publication and its
        // forward half's; an old one has lost it.
        let is_old = |ctl: Ctl| ctl.is_live() && moment.now.age(ctl.seen()) > moment.config.idle_limits().unconfirmed;
        let mut freed = 0;
        let mut errands: Vec<Errand> = Vec::new();
        for (number, entry) in (0..).zip(backs.values()) {
            let ctl = flow::ctl(entry.ctl());
            // Most are.
            if ctl == Ctl::FREE {
                continue;
            }
            if is_abandoned(&moment, ctl) && compare_and_swap(entry.ctl(), ctl.0, Ctl::FREE.0) {
                freed += 1;
            }
            if is_old(ctl) {
                errands.push((line_of(entry.key()), number));
            }
        }
        errands.sort_unstable();
        for window in windows::<F::Line>(F::line_mask(config)) {
            let errands = errands_to(&errands, &window);
            if errands.is_empty() {
                continue;
            }
            let lines = Part::new(window.start, F::lines(self.memory, window)?);
            let tables = self.tables::<F>(&lines, backs);
            for (line, number) in errands {
                let Some(entry) = backs.values().get(*number as usize) else { continue };
                let (ctl, key) = (flow::ctl(entry.ctl()), entry.key());
                // Another flow may have the entry by now.
                if !is_old(ctl) || line_of(key) != *line {
                    continue;
                }
                let forward = find::<F, _>(&tables, &moment, key);
                if !forward.is_some_and(|f| f.ctl.same_flow(ctl)) && compare_and_swap(entry.ctl(), ctl.0, Ctl::FREE.0) {
                    freed += 1;
                }
            }
        }
        Ok(freed)
    }

    /// Frees forward entries of a window that a process claimed for a flow of
    /// another balancer and never came back for.
    fn unclaim<F: Look>(&self, lines: &Part<'_, F::Line>) -> u64 {
        let nothing = Part::default();
        let tables = self.tables::<F>(lines, &nothing);
        let Some(moment) = Moment::read(&tables) else { return 0 };
        let claims = lines.values().iter().flat_map(F::ways).map(|way| (way.ctl(), flow::ctl(way.ctl())));
        let abandoned = claims.filter(|(_, ctl)| *ctl != Ctl::FREE && is_abandoned(&moment, *ctl));
        abandoned.filter(|(word, ctl)| compare_and_swap(word, ctl.0, Ctl::FREE.0)).count() as u64
    }

    /// Frees every flow of a listener that has been taken out of the index.
    ///
    /// # Errors
    /// When the tables cannot be looked at; some of its flows may be left then.
    pub(super) fn forget_listener(&self, id: ListenerId) -> Result<(), DataplaneError> {
        // Whoever takes in a flow of another balancer publishes it and then
        // looks whether the listener is still there: either it sees that the
        // listener is gone, or the flow is seen here.
        fence(SeqCst);
        self.forget_family::<V4>(id)?;
        self.forget_family::<V6>(id)
    }

    fn forget_family<F: Look>(&self, id: ListenerId) -> Result<(), DataplaneError> {
        self.pairs::<F>(&|key| F::key_parts(key).2 == id.0, &mut |_, pair| {
            Self::free(&pair);
        })
    }

    /// Which members are named by flows, by id. An idle flow counts until it is
    /// swept: its next packet would still find it.
    ///
    /// # Errors
    /// When the tables cannot be looked at.
    pub(super) fn named_members(&self) -> Result<Vec<bool>, DataplaneError> {
        // As in `forget_listener`, with a member that was retired.
        fence(SeqCst);
        let mut named = vec![false; self.arrays.members().len()];
        self.name_members::<V4>(&mut named)?;
        self.name_members::<V6>(&mut named)?;
        self.name_placed(&mut named)?;
        tables::name_previous(self.arrays, &mut named);
        Ok(named)
    }

    fn name_members<F: Look>(&self, named: &mut [bool]) -> Result<(), DataplaneError> {
        // The forward half alone: looking for the other one in a table of a
        // hundred thousand flows takes ten times as long.
        self.for_each_window::<F>(|lines| {
            let ways = lines.values().iter().flat_map(F::ways);
            for ctl in ways.map(|entry| flow::ctl(entry.ctl())).filter(|ctl| ctl.is_live()) {
                if let Some(named) = named.get_mut(usize::from(ctl.member())) {
                    *named = true;
                }
            }
            Ok(())
        })
    }

    /// Calls `each` for every flow that is not idle for too long.
    ///
    /// # Errors
    /// When the tables cannot be looked at.
    pub(super) fn for_each(&self, each: &mut dyn FnMut(FlowRecord)) -> Result<(), DataplaneError> {
        self.for_each_family::<V4>(each)?;
        self.for_each_family::<V6>(each)
    }

    fn for_each_family<F: Look>(&self, each: &mut dyn FnMut(FlowRecord)) -> Result<(), DataplaneError> {
        let tick = u64::from(tick_millis(self.arrays.config().hz.load(Relaxed) as u32));
        self.pairs::<F>(&|_| true, &mut |moment, pair| {
            let (entry, forward) = pair.forward;
            let Some((_, back)) = pair.back else { return };
            if Self::is_idle(moment, &pair) {
                return;
            }
            let (client, client_port, listener) = F::key_parts(entry.key());
            let idle = moment.now.age(forward.seen()).min(moment.now.age(back.seen()));
            each(FlowRecord {
                client: Self::address::<F>(client),
                client_port,
                listener: ListenerId(listener),
                member: MemberId(forward.member()),
                snat_port: forward.snat_port(),
                forward: forward.stage(),
                back: back.stage(),
                confirmed: forward.stage() >= Stage::Established || back.stage() == Stage::Established,
                idle_millis: u64::from(idle) * tick,
            });
        })
    }

    fn address<F: Family>(address: F::Address) -> IpAddr {
        address_from_words(F::words(address), F::IS_V6)
    }
}

#[cfg(test)]
#[path = "flows_tests.rs"]
mod tests;
