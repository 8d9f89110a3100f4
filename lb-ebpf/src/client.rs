//! From a client to a member.
//!
//! Two stories, one end. A packet to a `nat` pool belongs to a flow that is
//! found in the flow table; a packet to any other pool finds its member by the
//! pool's table alone. Both are told here as far as they are those of most
//! packets, and each ends in a part of [`deliver`] of its own, so that nothing is kept
//! which only the other needs. Everything else is asked of [`attend`] or
//! [`select::choose`], which are far calls.

use lb_common::atomic::{Ordering::Relaxed, blur};

use lb_common::{
    drop_reason::DropReason,
    flow::{self, Ctl, Stage},
    hash,
    limits::SLOTS_PER_LINE,
    listener::ListenerEntry,
    member::{Member, MemberState},
    pool::{ForwardMode, Pool, PoolEntry},
};

use crate::{
    admission, deliver,
    family::{Family, ForwardEntry, Fragment, Network, ReturnEntry, replace},
    far::{Call, Choice, Facts, of_family},
    flow::{Found, Moment, back_of, find, is_over, locate, note},
    headers::{Ethernet, Tcp, tcp_flags},
    ingress::Ingress,
    live, mss,
    packet::Packet,
    placement::Spot,
    sctp,
    select::{self, Ends},
    tables::{Tables, Verdict},
    transport::Segment,
};

/// Everything known about a client's packet. `vip` is its VIP and transport.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// Its network header.
    pub network: Network,
    /// Its transport header.
    pub segment: Segment,
    /// VIP and transport, as [`lb_common::protocol::vip_and_transport`].
    pub vip: u16,
    /// The listener.
    pub listener: ListenerEntry,
    /// Where it came in.
    pub ingress: Ingress,
}

/// Flags of a pool that send each packet to [`Call::Choose4`].
const UNSTEADY: u64 = PoolEntry::CHANGING | PoolEntry::RECORDS | PoolEntry::PERSISTENT | PoolEntry::CLAMPS_MSS;

/// Forwards a client's packet to the member that its flow has or gets.
#[inline(always)]
pub(crate) fn forward<F: Family, T: Tables>(
    packet: &mut Packet<'_>,
    tables: &T,
    seed: u64,
    arrival: &Arrival,
) -> Result<Verdict, DropReason> {
    let ends = Ends::<F>::of(packet, arrival).ok_or(DropReason::MalformedTransport)?;
    let pool = tables.pool(arrival.listener.pool()).map_or(PoolEntry::default(), Pool::entry);
    // A direct mode is a part of the wire, and counts no hop.
    if !pool.mode().is_direct() && F::hops(packet).is_none_or(|hops| hops <= 1) {
        return Err(DropReason::TtlExpired);
    }
    let choice = if matches!(pool.mode(), ForwardMode::Nat) {
        let known = known::<F, T>(packet, tables, arrival, &ends);
        known.unwrap_or_else(|| asked::<F, T>(packet, tables, arrival, pool))
    } else if is_steady::<F, T>(tables, arrival, pool, &ends) {
        let hash = ends.chosen_by(seed, pool.algorithm());
        let choice = Choice::member(slot(tables, pool, hash), 0, pool.mode());
        if pool.mode().is_direct() && matches!(arrival.network.fragment, Fragment::Whole) {
            return deliver::directly::<F, T>(packet, tables, arrival, choice, ends.spread(hash));
        }
        choice
    } else {
        asked::<F, T>(packet, tables, arrival, pool)
    };
    let facts = Facts::of(&arrival.network, &arrival.segment).0;
    // A number, for of a reason the compiler makes a ladder of jumps.
    if choice.reason_number() != 0 {
        let refuse = of_family::<F>(Call::Refuse4, Call::Refuse6);
        return Ok(Verdict::from_word(tables.far(packet, refuse, [facts, choice.reason_number(), 0, 0])));
    }
    if choice.mode().is_direct() {
        let words = [facts, choice.0, arrival.listener.0, arrival.ingress.0];
        let direct = of_family::<F>(Call::Direct4, Call::Direct6);
        return Ok(Verdict::from_word(tables.far(packet, direct, words)));
    }
    deliver::translated::<F, T>(packet, tables, arrival, choice)
}

/// Whether the slot of its hash is all that says where a packet to a pool of other
/// modes than `nat` goes.
#[inline(always)]
fn is_steady<F: Family, T: Tables>(tables: &T, arrival: &Arrival, pool: PoolEntry, ends: &Ends<F>) -> bool {
    let plain = !pool.has(UNSTEADY) && !arrival.listener.has(ListenerEntry::RULES) && pool.length() != 0;
    plain && !is_vip::<F, T>(tables, ends.client)
}

/// Whether an address is a VIP, of one that hardly ever is.
#[inline(always)]
fn is_vip<F: Family, T: Tables>(tables: &T, address: F::Address) -> bool {
    let may_be = tables.vip_filter().is_none_or(|filter| filter.may_have(F::filter_bit(address)));
    may_be && F::vip(tables, address).is_some()
}

/// The member of a packet that more is to be asked about than a slot or an entry. If it
/// opens a connection, its pool may have it say shorter segments; also if it is sent
/// again, for the first may have been lost behind us.
#[inline(always)]
fn asked<F: Family, T: Tables>(packet: &mut Packet<'_>, tables: &T, arrival: &Arrival, pool: PoolEntry) -> Choice {
    let choice = if matches!(pool.mode(), ForwardMode::Nat) {
        attention::<F, T>(packet, tables, arrival, pool)
    } else {
        match thought::<F, T>(packet, tables, arrival, pool) {
            Choice::TO_ATTEND => attention::<F, T>(packet, tables, arrival, pool),
            Choice::TO_PICK => picked::<F, T>(packet, tables, arrival),
            choice => choice,
        }
    };
    let opens = arrival.segment.opens() && arrival.segment.is_tcp();
    if pool.has(PoolEntry::CLAMPS_MSS) && opens && choice.reason_number() == 0 {
        mss::clamp_for(packet, tables, &arrival.segment, tables.pool(arrival.listener.pool()), choice.mode());
    }
    choice
}

/// Has a packet attended to: its flow is found, or opened.
#[inline(always)]
fn attention<F: Family, T: Tables>(packet: &mut Packet<'_>, tables: &T, arrival: &Arrival, pool: PoolEntry) -> Choice {
    let choice = ask(packet, tables, of_family::<F>(Call::Attend4, Call::Attend6), arrival);
    if choice != Choice::UNKNOWN {
        record_client::<F, T>(packet, tables, arrival, pool, choice, true);
        return choice;
    }
    // The flow may have begun while the members were reached another way.
    if pool.has(PoolEntry::CHANGING) {
        let choice = thought::<F, T>(packet, tables, arrival, pool);
        if choice != Choice::TO_PICK {
            return choice;
        }
    }
    let choice = ask(packet, tables, of_family::<F>(Call::Begin4, Call::Begin6), arrival);
    let choice = if choice.is_to_be_drawn() {
        let drawn = drawn::<F, T>(packet, tables, arrival);
        if drawn.reason().is_some() { drawn } else { Choice::to_open(drawn.id()) }
    } else {
        choice
    };
    if !choice.is_to_be_opened() {
        return choice;
    }
    let [facts, _, ingress, vip] = arrival.to_words();
    let whose = u64::from(choice.id()) << 32 | vip << 16 | u64::from(arrival.listener.id());
    let claim = tables.far(packet, of_family::<F>(Call::ClaimBack4, Call::ClaimBack6), [facts, whose, 0, 0]);
    Choice(tables.far(packet, of_family::<F>(Call::Open4, Call::Open6), [facts, whose, ingress, claim]))
}

/// Where a packet goes whose flow has a record, or was placed by the table that
/// is being left.
#[inline(always)]
fn thought<F: Family, T: Tables>(packet: &mut Packet<'_>, tables: &T, arrival: &Arrival, pool: PoolEntry) -> Choice {
    let [facts, listener, ingress, vip] = arrival.to_words();
    let find = of_family::<F>(Call::FindRecord4, Call::FindRecord6);
    let spot = Spot(tables.far(packet, find, [facts, listener, ingress, vip])).over(vip as u16);
    let choice = of_family::<F>(Call::Choose4, Call::Choose6);
    let choice = Choice(tables.far(packet, choice, [facts, listener, ingress, spot]));
    record_client::<F, T>(packet, tables, arrival, pool, choice, true);
    recorded::<F, T>(packet, tables, arrival, choice)
}

/// The member of a new flow to a pool whose members are not reached by `nat`.
#[inline(always)]
fn picked<F: Family, T: Tables>(packet: &mut Packet<'_>, tables: &T, arrival: &Arrival) -> Choice {
    let mut choice = ask(packet, tables, of_family::<F>(Call::ChooseNew4, Call::ChooseNew6), arrival);
    if choice.is_to_be_drawn() {
        let drawn = drawn::<F, T>(packet, tables, arrival);
        if drawn.reason().is_some() {
            return drawn;
        }
        let begins = choice.is_new();
        choice = Choice::member(drawn.id(), 0, drawn.mode()).to_be_recorded(true);
        choice = if begins { choice.of_new_flow() } else { choice };
    }
    recorded::<F, T>(packet, tables, arrival, choice)
}

/// A member that is drawn, and recorded for its client if that is a new one.
#[inline(always)]
fn drawn<F: Family, T: Tables>(packet: &mut Packet<'_>, tables: &T, arrival: &Arrival) -> Choice {
    let drawn = ask(packet, tables, of_family::<F>(Call::Draw4, Call::Draw6), arrival);
    // Clients are drawn for by pools that record them, and no others.
    record_client::<F, T>(packet, tables, arrival, PoolEntry(PoolEntry::PERSISTENT), drawn, false);
    drawn
}

/// Records which member the client of a packet has, where that is to be done; `known`:
/// a flow of it goes on.
#[inline(always)]
fn record_client<F: Family, T: Tables>(
    packet: &mut Packet<'_>,
    tables: &T,
    arrival: &Arrival,
    pool: PoolEntry,
    choice: Choice,
    known: bool,
) {
    if choice.is_of_client_to_record() && pool.has(PoolEntry::PERSISTENT) {
        let [facts, listener, ..] = arrival.to_words();
        let write = of_family::<F>(Call::WriteSession4, Call::WriteSession6);
        tables.far(packet, write, [facts, choice.0, listener, u64::from(known)]);
    }
}

/// A choice, once it has been recorded where it is to be.
#[inline(always)]
fn recorded<F: Family, T: Tables>(packet: &mut Packet<'_>, tables: &T, arrival: &Arrival, choice: Choice) -> Choice {
    if !choice.is_to_be_recorded() {
        return choice;
    }
    let write = of_family::<F>(Call::WriteRecord4, Call::WriteRecord6);
    let [facts, ..] = arrival.to_words();
    Choice(tables.far(packet, write, [facts, choice.0, u64::from(arrival.listener.id()), 0]))
}

/// Asks for the member of a packet.
#[inline(always)]
fn ask<T: Tables>(packet: &mut Packet<'_>, tables: &T, call: Call, arrival: &Arrival) -> Choice {
    Choice(tables.far(packet, call, arrival.to_words()))
}

/// The member in the slot that a hash names.
#[inline(always)]
pub(crate) fn slot<T: Tables>(tables: &T, pool: PoolEntry, hash: u64) -> u16 {
    let slot = pool.first().wrapping_add(hash::scale(hash, pool.length()));
    tables.slot_line(slot / SLOTS_PER_LINE).map_or(0, |line| line.get(slot))
}

/// The member of a packet's flow, if the flow is confirmed, goes on by the way it
/// came, was used within this tick already, and its member is up: then nothing
/// is to be written, and nothing else to be asked.
#[inline(always)]
fn known<F: Family, T: Tables>(packet: &Packet<'_>, tables: &T, arrival: &Arrival, ends: &Ends<F>) -> Option<Choice> {
    let moment = &Moment::read(tables)?;
    let found = locate::<F, T>(tables, moment, ends.key(arrival.listener.id()))?;
    let digest = Path::of(packet)?.digest(arrival.ingress);
    let plain = Ctl::new(Stage::Established, 0, 0, moment.now, digest);
    let says_nothing = !arrival.segment.has(tcp_flags::SYN | tcp_flags::FIN | tcp_flags::RST);
    if !found.ctl.is_like(plain) || !says_nothing {
        return None;
    }
    let member = tables.member(found.ctl.member())?;
    if !member.state().has(MemberState::UP) {
        return None;
    }
    Some(Choice::member(found.ctl.member(), found.ctl.snat_port(), ForwardMode::Nat))
}

/// The way a frame came: what replies to it are sent back by.
pub(crate) struct Path {
    /// Its Ethernet source in the upper 48 bits.
    last_hop: u64,
    /// Its Ethernet destination in the upper 48 bits.
    own: u64,
}

impl Path {
    #[inline(always)]
    pub(crate) fn of(packet: &Packet<'_>) -> Option<Self> {
        let ethernet = packet.view::<Ethernet>(0)?;
        Some(Self { last_hop: ethernet.source.to_high(), own: ethernet.destination.to_high() })
    }

    /// Its Ethernet source, and below it the number of the port it came in by, as
    /// a return entry keeps them.
    #[inline(always)]
    pub(crate) fn last_hop(&self, port: u16) -> u64 {
        self.last_hop | u64::from(port)
    }

    /// Its Ethernet destination, and below it the listener's port.
    #[inline(always)]
    pub(crate) fn own(&self, listener_port: u16) -> u64 {
        self.own | u64::from(listener_port)
    }

    /// Digest of both and of the interface the frame came in by.
    #[inline(always)]
    pub(crate) fn digest(&self, ingress: Ingress) -> u16 {
        flow::last_hop_digest(self.last_hop | u64::from(ingress.digest()), self.own)
    }
}

/// Finds the flow of a packet to a `nat` pool and notes what the packet says about
/// it. A far call; says where none goes on that one is to be begun.
#[inline(always)]
pub(crate) fn attend<F: Family, T: Tables>(packet: &mut Packet<'_>, tables: &T, arrival: &Arrival) -> Choice {
    let segment = &arrival.segment;
    match kept::<F, T>(packet, tables, arrival) {
        Some((_, state)) if is_reset(state, segment) => Choice::refused(DropReason::MemberDownReset),
        Some((choice, _)) => choice,
        None => Choice::UNKNOWN,
    }
}

#[inline(always)]
fn kept<F: Family, T: Tables>(packet: &Packet<'_>, tables: &T, arrival: &Arrival) -> Option<(Choice, MemberState)> {
    let moment = &Moment::read(tables)?;
    let digest = Path::of(packet)?.digest(arrival.ingress);
    let (port, _) = arrival.segment.ports(packet)?;
    let key = F::key(F::source(packet)?, port, arrival.listener.id());
    let found = find::<F, T>(tables, moment, key)?;
    keep::<F, T>(packet, tables, moment, arrival, digest, found)
}

/// Chooses the member that the flow of a packet to a `nat` pool is to be opened
/// to. A far call.
#[inline(always)]
pub(crate) fn begin<F: Family, T: Tables>(packet: &mut Packet<'_>, tables: &T, arrival: &Arrival) -> Choice {
    match begun::<F, T>(packet, tables, arrival) {
        Ok(choice) => choice,
        Err(reason) => {
            if !matches!(reason, DropReason::FlowUnknown | DropReason::OtherStation | DropReason::InterfaceUnknown) {
                tables.count_refused(arrival.listener.id());
            }
            Choice::refused(reason)
        }
    }
}

#[inline(always)]
fn begun<F: Family, T: Tables>(packet: &mut Packet<'_>, tables: &T, arrival: &Arrival) -> Result<Choice, DropReason> {
    let Arrival { segment, listener, .. } = arrival;
    let moment = &Moment::read(tables).ok_or(DropReason::NotConfigured)?;
    let ends = &Ends::<F>::of(packet, arrival).ok_or(DropReason::MalformedTransport)?;
    let pool = tables.pool(listener.pool());
    // There is nobody to pass a reset without a flow to, and answering it with
    // another could go on for ever.
    if segment.has(tcp_flags::RST) {
        return Err(DropReason::FlowUnknown);
    }
    station(packet, tables, arrival.ingress)?;
    if F::vip(tables, ends.client).is_some() {
        return Err(DropReason::SourceIsVip);
    }
    if listener.has(ListenerEntry::RULES) {
        admission::admit::<F, T>(packet, tables, moment, *listener, ends.client)?;
    }
    let choice = select::for_new_flow::<F, T>(tables, moment, pool, ends)?;
    Ok(if choice.is_to_be_drawn() { choice } else { Choice::to_open(choice.id()) })
}

/// Whether a packet of an established flow is to be answered with a reset: its
/// member is down, and the pool has the flows of such reset. A reset is not: it
/// goes on to the member.
#[inline(always)]
pub(crate) fn is_reset(member: MemberState, segment: &Segment) -> bool {
    member.has(MemberState::RESETS_FLOWS) && segment.is_tcp() && !segment.has(tcp_flags::RST)
}

/// Decides whether a flow that was found goes on as it is, and notes what this
/// packet says about it. `None`: it ended or moves, and a new one is to be
/// opened (its entries have been given up).
///
/// A flow that [`is_reset`] is marked as if its member had sent the reset: the
/// other balancer is told, any flow may displace it, and the client's next SYN
/// opens one to another member. Segments that were under way behind the first
/// are answered like it: were the entries freed, each of them would open a flow
/// that no member knows of.
#[inline(always)]
fn keep<F: Family, T: Tables>(
    packet: &Packet<'_>,
    tables: &T,
    moment: &Moment<'_>,
    arrival: &Arrival,
    digest: u16,
    found: Found<'_, F>,
) -> Option<(Choice, MemberState)> {
    let Found { entry, ctl } = found;
    let segment = &arrival.segment;
    let member: &Member = tables.member(ctl.member())?;
    let state = member.state();
    let stage = ctl.stage();

    let moves = !state.has(MemberState::UP) && (segment.is_udp() || matches!(stage, Stage::New));
    // Rare: a packet that changes what the other direction must know, or
    // depends on what it knows.
    let reopens = segment.opens() && !matches!(stage, Stage::New);
    let moved_hop = ctl.digest() != digest;
    let unconfirmed = matches!(stage, Stage::New);
    let down = is_reset(state, segment);
    let mut next = stage;
    if moves || reopens || moved_hop || unconfirmed || down {
        // Not for us: nothing is learned from it, and no flow opened for it.
        if moved_hop && station(packet, tables, arrival.ingress).is_err() {
            return None;
        }
        let back = back_of::<F, T>(tables, moment, entry.key(), ctl, arrival.vip);
        let over = match &back {
            None => true,
            Some((_, back)) => reopens && (down || is_over(stage, back.stage())),
        };
        if moves || over || !state.has(MemberState::VALID) {
            if replace(entry.ctl(), ctl, Ctl::FREE)
                && let Some((back, back_ctl)) = back
            {
                replace(back.ctl(), back_ctl, Ctl::FREE);
                live::given_up(tables, arrival.listener.id(), ctl.member(), stage, back_ctl.stage());
            }
            return None;
        }
        let (back, back_ctl) = back?;
        if moved_hop {
            let port = arrival.ingress.port(tables).ok()?;
            let (path, (_, listener_port)) = (Path::of(packet)?, segment.ports(packet)?);
            back.last_hop().store(path.last_hop(port), Relaxed);
            back.own().store(path.own(listener_port), Relaxed);
        }
        if unconfirmed && confirms(packet, segment, back_ctl) {
            next = Stage::Established;
            if matches!(back_ctl.stage(), Stage::Answered) {
                replace(back.ctl(), back_ctl, back_ctl.with(Stage::Established, back_ctl.seen(), 0));
            }
        }
        if down {
            next = Stage::Reset;
            replace(back.ctl(), back_ctl, back_ctl.with(Stage::Reset, back_ctl.seen(), 0));
        }
    }
    if segment.has(tcp_flags::FIN | tcp_flags::RST) && !matches!(next, Stage::Reset) {
        next = if segment.has(tcp_flags::RST) { Stage::Reset } else { Stage::Closing };
    }
    let after = Ctl(blur(ctl.with(next, moment.now, digest).0, moment.seed()));
    let next = after.stage();
    if after != ctl && replace(entry.ctl(), ctl, after) {
        note::<F, T>(tables, ctl, after, arrival.vip);
        if next != stage && matches!(next, Stage::Closing | Stage::Reset) {
            live::client_closes::<F, T>(tables, moment, arrival.listener.id(), stage, after, arrival.vip);
        }
    }
    let choice = Choice::member(ctl.member(), ctl.snat_port(), ForwardMode::Nat);
    let begins = unconfirmed && matches!(next, Stage::Established);
    Some((if begins { choice.of_client_to_record() } else { choice }, state))
}

/// Whether a client's packet proves that it hears the member: for TCP it
/// acknowledges the number the member's SYN-ACK carried, for UDP it comes after
/// the member's answer, for SCTP it is not another INIT.
#[inline(always)]
fn confirms(packet: &Packet<'_>, segment: &Segment, back: Ctl) -> bool {
    match back.stage() {
        Stage::Established => true,
        Stage::Answered if segment.is_tcp() => {
            let acknowledged = packet.view::<Tcp>(segment.offset).map_or(0, |t| u32::from_be(t.acknowledgment));
            segment.has(tcp_flags::ACK) && acknowledged as u16 & Ctl::DIGEST_MASK == back.digest()
        }
        Stage::Answered if segment.is_sctp() => {
            !segment.opens() && sctp::tag(packet, segment.offset) as u16 & Ctl::DIGEST_MASK == back.digest()
        }
        Stage::Answered => true,
        _ => false,
    }
}

/// The number of the port that a frame came in by, if the frame is addressed to
/// it or to a virtual router: to the VIP's, for all others have ended before. A
/// flow is opened, or its last hop learned, from such frames only: a switch that
/// floods hands everybody else's frames to us too. Packets of a known flow that
/// come the known way need no such look.
#[inline(always)]
pub(crate) fn station<T: Tables>(packet: &Packet<'_>, tables: &T, ingress: Ingress) -> Result<u16, DropReason> {
    let number = ingress.port(tables)?;
    let (_, own) = tables.port(number).and_then(|p| p.get()).ok_or(DropReason::InterfaceUnknown)?;
    match packet.view::<Ethernet>(0) {
        Some(ethernet) => {
            let destination = ethernet.destination;
            let ours = destination.to_high() == own.with_low(0) || destination.is_virtual_router();
            if ours { Ok(number) } else { Err(DropReason::OtherStation) }
        }
        None => Err(DropReason::OtherStation),
    }
}
