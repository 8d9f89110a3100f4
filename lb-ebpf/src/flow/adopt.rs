//! Taking in a flow that another balancer has, and refreshing one that was taken
//! in before. This half of the flow table runs outside the kernel only, beside
//! the program that uses the same entries at the same time.
//!
//! The protocol is that of `open`: an entry is claimed by a
//! compare-and-swap, filled, and published. What differs:
//!
//! - The place of the return entry is given: the flow's SNAT port names it.
//! - A process may end between claim and publication, where a program cannot. So
//!   a claim made here says for which flow and since when it is held, and
//!   [`is_abandoned`] tells one that is to be given up. Publication is a
//!   compare-and-swap as well, because a claim may have been given up meanwhile.
//! - Listener or member may be removed meanwhile: after publication both are
//!   looked at again, and the flow goes if one of them is gone.

use lb_common::{
    atomic::{AtomicU64, Ordering::Relaxed, compare_and_swap},
    flow::{self, Ctl, Stage},
    listener::{self, ListenerEntry},
    member::{Member, MemberState},
    protocol::Transport,
    time::Tick,
};

use super::{Found, Moment, back_of, evict_back, evict_forward, find, is_over, open};
use crate::{
    family::{Family, ForwardEntry, ReturnEntry, replace},
    lookup,
    tables::Tables,
};

/// Two balancers' ticks begin at different moments: an age that is told may be
/// this much off.
const SLACK: u16 = 1;

/// A flow of another balancer, in the numbers of this one.
#[derive(Clone, Copy, Debug)]
pub struct Foreign<A> {
    /// The VIP.
    pub vip: A,
    /// The VIP's id and the transport.
    pub vip_and_transport: u16,
    /// The listener.
    pub listener: ListenerEntry,
    /// The client's address.
    pub client: A,
    /// The client's port, host order.
    pub client_port: u16,
    /// The member's id.
    pub member: u16,
    /// The member's address.
    pub member_address: A,
    /// The member's port, host order.
    pub member_port: u16,
    /// The SNAT port, host order.
    pub snat_port: u16,
    /// The client's side.
    pub forward: Stage,
    /// The member's side.
    pub back: Stage,
    /// Ticks since its last packet.
    pub idle: u32,
    /// The client's last hop and the number of the port it is behind, as a return
    /// entry has them.
    pub last_hop: u64,
    /// Our address there and the listener's port, as a return entry has them.
    pub own: u64,
    /// Index of the interface behind that port.
    pub ifindex: u32,
}

/// What became of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    /// It is in the table now.
    New,
    /// It was there, and is at least as young now as it is there.
    Refreshed,
    /// It is closing or over. If it was there, it says so now.
    Ended,
    /// Another flow in use has its place, or its client's.
    Place,
    /// Its bucket is full of flows in use.
    Full,
    /// Its listener or its member was removed in the same moment.
    Gone,
}

impl<A: Copy> Foreign<A> {
    /// Twelve bits of the way that the client's packets will come.
    fn digest(&self) -> u16 {
        let way = self.last_hop & !0xffff | u64::from(self.ifindex as u16);
        flow::last_hop_digest(way, self.own & !0xffff)
    }

    /// Whether it says when it ends, as TCP and SCTP do.
    fn is_tcp(&self) -> bool {
        self.vip_and_transport >> 14 != Transport::Udp.code()
    }

    fn names(&self, ctl: Ctl) -> bool {
        ctl.member() == self.member && ctl.snat_port() == self.snat_port
    }

    fn ctl(&self, stage: Stage, seen: Tick, digest: u16) -> Ctl {
        Ctl::new(stage, self.snat_port, self.member, seen, digest)
    }

    /// Whether it is not worth an entry of its own: nothing would keep it.
    fn is_spent(&self, moment: &Moment<'_>) -> bool {
        let limit = flow::idle_limit(moment.config.idle_limits(), self.is_tcp(), self.forward, self.back);
        self.idle > u32::from(limit) || is_over(self.forward, self.back)
    }

    /// Whether VIP, listener and member are still what they were. A member that
    /// is retired gets no flow: it is released as soon as none names it.
    fn stands<F: Family<Address = A>, T: Tables>(&self, tables: &T) -> bool {
        let vip = F::vip(tables, self.vip).map(|vip| vip.id());
        let key = listener::key_of(self.vip_and_transport, self.own as u16);
        let listener = lookup::listener(tables, key).map(|l| l.id());
        vip == Some(self.vip_and_transport & 0x3fff)
            && listener == Some(self.listener.id())
            && tables.member(self.member).is_some_and(|m| self.is_served_by::<F>(m))
    }

    fn is_served_by<F: Family<Address = A>>(&self, member: &Member) -> bool {
        let state = member.state();
        let address = [member.address[0].load(Relaxed), member.address[1].load(Relaxed)];
        state.has(MemberState::VALID)
            && !state.has(MemberState::RETIRED)
            && state.port() == self.member_port
            && address == F::words(self.member_address)
    }

    /// The return entry that the SNAT port names.
    fn place<'t, F: Family<Address = A>, T: Tables>(
        &self,
        tables: &'t T,
        moment: &Moment<'_>,
    ) -> Option<&'t F::Return> {
        let ports = flow::return_ports(self.member_port, self.vip_and_transport, self.snat_port);
        F::back(tables, F::return_place(moment.config, self.member_address, ports))
    }
}

/// Whether a flow with these stages is one that another balancer should have: it
/// was confirmed. One direction that closes is not enough, for it may have closed
/// before.
#[must_use]
pub fn is_confirmed(forward: Stage, back: Stage) -> bool {
    let done = |stage| matches!(stage, Stage::Closing | Stage::Reset);
    forward == Stage::Established || back == Stage::Established || done(forward) && done(back)
}

/// Takes a flow in. Its stages are those of a confirmed flow, its listener and
/// its member were there a moment ago, and nobody listens at its SNAT port.
pub fn adopt<F: Family, T: Tables>(tables: &T, moment: &Moment<'_>, foreign: &Foreign<F::Address>) -> Taken {
    let key = F::key(foreign.client, foreign.client_port, foreign.listener.id());
    let known = find::<F, T>(tables, moment, key);
    if let Some(found) = &known
        && foreign.names(found.ctl)
        && let Some(back) = back_of::<F, T>(tables, moment, key, found.ctl, foreign.vip_and_transport)
    {
        return refresh::<F>(moment, foreign, found, back);
    }
    if foreign.is_spent(moment) {
        return Taken::Ended;
    }
    if !foreign.stands::<F, T>(tables) {
        return Taken::Gone;
    }
    insert::<F, T>(tables, moment, foreign, key, known)
}

/// Gives a flow that is there what is news in the record.
///
/// The younger of the two knows better. If both are of about the same age, a
/// direction has come as far as either says: records of one moment may arrive in
/// any order. A flow that is over here and open there is another with the same
/// ends.
fn refresh<F: Family>(
    moment: &Moment<'_>,
    foreign: &Foreign<F::Address>,
    found: &Found<'_, F>,
    (back, back_ctl): (&F::Return, Ctl),
) -> Taken {
    let forward_ctl = found.ctl;
    let age = moment.now.age(forward_ctl.seen()).min(moment.now.age(back_ctl.seen()));
    let (ours, theirs) = (u32::from(age), foreign.idle);
    if theirs > ours + u32::from(SLACK) {
        return Taken::Refreshed;
    }
    let here = (forward_ctl.stage(), back_ctl.stage());
    let ends = |stages: (Stage, Stage)| stages.0.max(stages.1) > Stage::Established;
    let revived = is_over(here.0, here.1) && !ends((foreign.forward, foreign.back));
    let stages = if revived || theirs + u32::from(SLACK) < ours {
        (foreign.forward, foreign.back)
    } else {
        (here.0.max(foreign.forward), here.1.max(foreign.back))
    };
    let seen = |ctl: Ctl| {
        let told = moment.now.before(theirs.min(0xffff) as u16);
        if theirs < u32::from(moment.now.age(ctl.seen())) { told } else { ctl.seen() }
    };
    let knows_the_way = theirs <= ours;
    let digest = if knows_the_way { foreign.digest() } else { forward_ctl.digest() };
    let forward_after = forward_ctl.with(stages.0, seen(forward_ctl), digest);
    let back_after = back_ctl.with(stages.1, seen(back_ctl), back_ctl.digest());
    // Losing either race means that a packet has brought later news.
    let changed = |word: &AtomicU64, before: Ctl, after: Ctl| before == after || replace(word, before, after);
    let kept = changed(back.ctl(), back_ctl, back_after) && changed(found.entry.ctl(), forward_ctl, forward_after);
    // Both entries are young now, so nobody takes them away in the next moment.
    if kept && knows_the_way {
        back.last_hop().store(foreign.last_hop, Relaxed);
        back.own().store(foreign.own, Relaxed);
    }
    if ends(stages) && stages != here { Taken::Ended } else { Taken::Refreshed }
}

/// Enters a flow that is not there.
fn insert<F: Family, T: Tables>(
    tables: &T,
    moment: &Moment<'_>,
    foreign: &Foreign<F::Address>,
    key: F::Key,
    known: Option<Found<'_, F>>,
) -> Taken {
    let claim = foreign.ctl(Stage::Claimed, moment.now, 0);
    let forward = match known {
        // A flow with the same ends: another one, or half of this one.
        Some(found) if evict_forward::<F, T>(tables, moment, found.entry, found.ctl) => found.entry,
        Some(_) => return Taken::Place,
        None => match open::claim_forward::<F, T>(tables, moment, key) {
            Some(entry) => entry,
            None => return Taken::Full,
        },
    };
    forward.ctl().store(claim.0, Relaxed);
    let Some(back) = claim_back::<F, T>(tables, moment, foreign, key, claim) else {
        replace(forward.ctl(), claim, Ctl::FREE);
        return Taken::Place;
    };
    let seen = moment.now.before(foreign.idle.min(0xffff) as u16);
    let back_ctl = foreign.ctl(foreign.back, seen, 0);
    let forward_ctl = foreign.ctl(foreign.forward, seen, foreign.digest());

    back.fill(key, foreign.member_address, foreign.member_port, foreign.vip_and_transport);
    back.last_hop().store(foreign.last_hop, Relaxed);
    back.own().store(foreign.own, Relaxed);
    let published = publish(back.ctl(), claim, back_ctl);
    forward.set_key(key);
    let published = publish(forward.ctl(), claim, forward_ctl) && published;

    // Both were looked at by whoever removes a listener, releases a member or
    // sweeps, or they are seen here. So is a flow that a packet opened between
    // the first look and now: a client has one.
    let whole = published && flow::ctl(back.ctl()).same_flow(forward_ctl);
    let only = find::<F, T>(tables, moment, key).is_some_and(|found| core::ptr::eq(found.entry, forward));
    let stands = foreign.stands::<F, T>(tables);
    if whole && only && stands {
        return Taken::New;
    }
    give_up(forward.ctl(), forward_ctl);
    give_up(back.ctl(), back_ctl);
    if stands { Taken::Place } else { Taken::Gone }
}

/// Claims the return entry that the flow's SNAT port names.
fn claim_back<'t, F: Family, T: Tables>(
    tables: &'t T,
    moment: &Moment<'_>,
    foreign: &Foreign<F::Address>,
    key: F::Key,
    claim: Ctl,
) -> Option<&'t F::Return> {
    let entry = foreign.place::<F, T>(tables, moment)?;
    let ctl = flow::ctl(entry.ctl());
    if ctl == Ctl::FREE {
        return replace(entry.ctl(), ctl, claim).then_some(entry);
    }
    if !ctl.is_live() {
        return None;
    }
    // Its own entry, whose other half got lost.
    let own = foreign.names(ctl)
        && entry.key() == key
        && entry.is_from(foreign.member_address, foreign.member_port, foreign.vip_and_transport)
        && find::<F, T>(tables, moment, key).is_none();
    if own {
        return replace(entry.ctl(), ctl, claim).then_some(entry);
    }
    // An entry is alone for the moment between its publication and its forward
    // half's; only an old one has lost it.
    let forward = find::<F, T>(tables, moment, entry.key()).filter(|forward| forward.ctl.same_flow(ctl));
    if forward.is_none() && moment.now.age(ctl.seen()) <= moment.config.idle_limits().unconfirmed {
        return None;
    }
    if !evict_back::<F, T>(tables, moment, entry, ctl) {
        return None;
    }
    entry.ctl().store(claim.0, Relaxed);
    Some(entry)
}

/// Makes a claimed entry visible, after everything that was stored into it. A
/// full barrier, like the compare-and-swap that it is.
fn publish(word: &AtomicU64, claim: Ctl, ctl: Ctl) -> bool {
    compare_and_swap(word, claim.0, ctl.0)
}

/// Frees an entry that was published a moment ago, if it is still the flow's.
fn give_up(word: &AtomicU64, published: Ctl) {
    let ctl = flow::ctl(word);
    if ctl.same_flow(published) && published.same_flow(ctl) {
        replace(word, ctl, Ctl::FREE);
    }
}

/// Whether an entry was claimed by a process that has not come back for it. The
/// program's own claims name no flow, and last for less than a microsecond.
#[must_use]
pub fn is_abandoned(moment: &Moment<'_>, ctl: Ctl) -> bool {
    ctl.stage() == Stage::Claimed
        && ctl != Ctl::CLAIMED
        && moment.now.age(ctl.seen()) > moment.config.idle_limits().unconfirmed
}
