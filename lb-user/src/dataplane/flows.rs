//! Looking through the flow table from userspace: listing, sweeping,
//! forgetting. The rules are the data path's own code.

use std::{net::IpAddr, sync::atomic::fence};

use lb_common::{
    atomic::{
        Ordering::{Relaxed, SeqCst},
        compare_and_swap,
    },
    flow::{self, Ctl, Stage, idle_limit},
    listener,
    member::MemberState,
    protocol::{Transport, vip_and_transport},
    time::tick_millis,
};
use lb_ebpf::{
    family::{Family, ForwardEntry, ReturnEntry, V4, V6},
    flow::{Moment, adopt::is_abandoned, back_of, find},
    host::{Arrays, HostTables},
};

use super::{FlowRecord, ListenerId, MemberId, tables::address_from_words};

/// A view of the flows at one moment.
pub struct Flows<'a> {
    tables: HostTables<&'a dyn ArraysObject>,
}

/// [`Arrays`] as an object, so that a view needs no type parameter.
pub trait ArraysObject: Arrays {}
impl<A: Arrays> ArraysObject for A {}

impl std::fmt::Debug for Flows<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flows").finish_non_exhaustive()
    }
}

/// A flow whose both halves were found.
struct Pair<'t, F: Family> {
    forward: (&'t F::Forward, Ctl),
    back: Option<(&'t F::Return, Ctl)>,
    transport: Transport,
}

impl<'a> Flows<'a> {
    /// A view over arrays at a count of jiffies.
    pub fn new(arrays: &'a dyn ArraysObject, jiffies: u64) -> Self {
        Self { tables: HostTables::new(arrays, jiffies) }
    }

    fn moment(&self) -> Option<Moment<'_>> {
        Moment::read(&self.tables)
    }

    fn pairs<F: Family>(&self, each: &mut dyn FnMut(&Moment<'_>, Pair<'_, F>)) {
        let Some(moment) = self.moment() else { return };
        for line in 0..=F::line_mask(moment.config) {
            let Some(line) = F::line(&self.tables, line) else { return };
            for entry in F::ways(line) {
                let ctl = flow::ctl(entry.ctl());
                if !ctl.is_live() {
                    continue;
                }
                let (_, _, id) = F::key_parts(entry.key());
                let key = self.tables.arrays.listener_keys().get(usize::from(id)).map_or(0, |l| l.key.load(Relaxed));
                let (vip, transport) = listener::parts(key).map_or((0, Transport::Tcp), |(v, t, _)| (v, t));
                let back = back_of::<F, _>(&self.tables, &moment, entry.key(), ctl, vip_and_transport(vip, transport));
                each(&moment, Pair { forward: (entry, ctl), back, transport });
            }
        }
    }

    fn is_idle<F: Family>(moment: &Moment<'_>, pair: &Pair<'_, F>) -> bool {
        let (_, forward) = pair.forward;
        let Some((_, back)) = pair.back else { return true };
        let idle = moment.now.age(forward.seen()).min(moment.now.age(back.seen()));
        let tcp = matches!(pair.transport, Transport::Tcp);
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
    #[must_use]
    pub fn sweep(&self) -> u64 {
        self.sweep_family::<V4>(self.tables.arrays.returns4()) + self.sweep_family::<V6>(self.tables.arrays.returns6())
    }

    fn sweep_family<F: Family>(&self, returns: &[F::Return]) -> u64 {
        let mut freed = 0;
        self.pairs::<F>(&mut |moment, pair| {
            if Self::is_idle(moment, &pair) && Self::free(&pair) {
                freed += 1;
            }
        });
        let Some(moment) = self.moment() else { return freed };
        freed += self.unclaim::<F>(&moment);
        for entry in returns {
            let ctl = flow::ctl(entry.ctl());
            if is_abandoned(&moment, ctl) && compare_and_swap(entry.ctl(), ctl.0, Ctl::FREE.0) {
                freed += 1;
            }
            // An entry is alone for the moment between its publication and its
            // forward half's; an old one has lost it.
            if !ctl.is_live() || moment.now.age(ctl.seen()) <= moment.config.idle_limits().unconfirmed {
                continue;
            }
            let forward = find::<F, _>(&self.tables, &moment, entry.key());
            if !forward.is_some_and(|f| f.ctl.same_flow(ctl)) && compare_and_swap(entry.ctl(), ctl.0, Ctl::FREE.0) {
                freed += 1;
            }
        }
        freed
    }

    /// Frees forward entries that a process claimed for a flow of another
    /// balancer and never came back for.
    fn unclaim<F: Family>(&self, moment: &Moment<'_>) -> u64 {
        let lines = (0..=F::line_mask(moment.config)).map_while(|line| F::line(&self.tables, line));
        let claims = lines.flat_map(F::ways).map(|way| (way.ctl(), flow::ctl(way.ctl())));
        let abandoned = claims.filter(|(_, ctl)| is_abandoned(moment, *ctl));
        abandoned.filter(|(word, ctl)| compare_and_swap(word, ctl.0, Ctl::FREE.0)).count() as u64
    }

    /// Frees every flow of a listener that has been taken out of the index.
    pub fn forget_listener(&self, id: ListenerId) {
        // Whoever takes in a flow of another balancer publishes it and then
        // looks whether the listener is still there: either it sees that the
        // listener is gone, or the flow is seen here.
        fence(SeqCst);
        self.forget_family::<V4>(id);
        self.forget_family::<V6>(id);
    }

    fn forget_family<F: Family>(&self, id: ListenerId) {
        self.pairs::<F>(&mut |_, pair| {
            if F::key_parts(pair.forward.0.key()).2 == id.0 {
                Self::free(&pair);
            }
        });
    }

    /// Which members are named by flows, by id. An idle flow counts until it is
    /// swept: its next packet would still find it.
    #[must_use]
    pub fn named_members(&self) -> Vec<bool> {
        // As in `forget_listener`, with a member that was retired.
        fence(SeqCst);
        let mut named = vec![false; self.tables.arrays.members().len()];
        self.name_members::<V4>(&mut named);
        self.name_members::<V6>(&mut named);
        named
    }

    fn name_members<F: Family>(&self, named: &mut [bool]) {
        // The forward half alone: looking for the other one in a table of a
        // hundred thousand flows takes ten times as long.
        let lines = (0..=F::line_mask(self.tables.arrays.config())).map_while(|line| F::line(&self.tables, line));
        for ctl in lines.flat_map(F::ways).map(|entry| flow::ctl(entry.ctl())).filter(|ctl| ctl.is_live()) {
            if let Some(named) = named.get_mut(usize::from(ctl.member())) {
                *named = true;
            }
        }
    }

    /// Calls `each` for every flow that is not idle for too long.
    pub fn for_each(&self, each: &mut dyn FnMut(FlowRecord)) {
        self.for_each_family::<V4>(each);
        self.for_each_family::<V6>(each);
    }

    fn for_each_family<F: Family>(&self, each: &mut dyn FnMut(FlowRecord)) {
        let tick = u64::from(tick_millis(self.tables.arrays.config().hz.load(Relaxed) as u32));
        self.pairs::<F>(&mut |moment, pair| {
            let (entry, forward) = pair.forward;
            let Some((_, back)) = pair.back else { return };
            if Self::is_idle(moment, &pair) {
                return;
            }
            let (client, client_port, listener) = F::key_parts(entry.key());
            let idle = moment.now.age(forward.seen()).min(moment.now.age(back.seen()));
            each(FlowRecord {
                client: self.address::<F>(client),
                client_port,
                listener: ListenerId(listener),
                member: MemberId(forward.member()),
                snat_port: forward.snat_port(),
                forward: forward.stage(),
                back: back.stage(),
                confirmed: forward.stage() >= Stage::Established || back.stage() == Stage::Established,
                idle_millis: u64::from(idle) * tick,
            });
        });
    }

    fn address<F: Family>(&self, address: F::Address) -> IpAddr {
        address_from_words(F::words(address), F::IS_V6)
    }

    /// Whether a member is in use by the state word's own account.
    #[must_use]
    pub fn is_valid_member(&self, id: MemberId) -> bool {
        self.tables.arrays.members().get(usize::from(id.0)).is_some_and(|m| m.state().has(MemberState::VALID))
    }
}
