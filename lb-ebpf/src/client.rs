//! From a client to a member.

use lb_common::atomic::Ordering::Relaxed;

use lb_common::{
    counters::Event,
    drop_reason::DropReason,
    flow::{self, Ctl, Stage},
    listener::ListenerEntry,
    member::{Member, MemberState, NextHop},
};

use crate::{
    family::{Family, ForwardEntry, Network, ReturnEntry, replace},
    flow::{Found, Moment, Opener, back_of, find, is_over, note, open},
    headers::{Ethernet, Tcp, tcp_flags},
    packet::Packet,
    refuse,
    rewrite::{Translation, translate},
    tables::{Direction, Tables, Verdict},
    transport::Segment,
};

/// Everything known about a client's packet. `vip` is its VIP and transport.
pub(crate) struct Arrival<'p> {
    pub(crate) network: &'p Network,
    pub(crate) segment: &'p Segment,
    pub(crate) vip: u16,
    pub(crate) listener: ListenerEntry,
    pub(crate) ingress: u32,
}

/// Forwards a client's packet to the member its flow has, or chooses one.
#[inline(always)]
pub(crate) fn forward<F: Family, T: Tables>(
    packet: &mut Packet<'_>,
    tables: &T,
    moment: &Moment<'_>,
    arrival: &Arrival<'_>,
) -> Verdict {
    let Arrival { network, segment, listener, .. } = arrival;
    if F::hops(packet).is_none_or(|hops| hops <= 1) {
        return Verdict::Drop(DropReason::TtlExpired);
    }
    let Some(digest) = Path::of(packet).map(|p| p.digest(arrival.ingress)) else { return Verdict::Pass };
    let Some(key) = key::<F>(packet, arrival) else { return Verdict::Pass };

    let kept = match find::<F, T>(tables, moment, key) {
        Some(found) => keep::<F, T>(packet, tables, moment, arrival, digest, found),
        None => None,
    };
    let flow = match kept {
        Some(flow) if is_reset(flow.member.state(), segment) => Err(DropReason::MemberDownReset),
        Some(flow) => Ok(flow),
        None => {
            // There is nobody to pass a reset without a flow to, and answering
            // it with another could go on for ever.
            if segment.has(tcp_flags::RST) {
                return Verdict::Drop(DropReason::FlowUnknown);
            }
            let ingress_port = match station(packet, tables, arrival.ingress) {
                Ok(port) => port,
                Err(reason) => return Verdict::Drop(reason),
            };
            let begun = begin::<F, T>(packet, tables, arrival, ingress_port, digest);
            begun.inspect_err(|_| tables.count_refused(listener.id()))
        }
    };
    let flow = match flow {
        Ok(flow) => flow,
        Err(reason) => return refuse::refuse::<F, T>(packet, tables, network, segment, reason),
    };

    let next_hop = flow.member.next_hop_words();
    let Some(port) = NextHop::port_in(next_hop) else { return Verdict::Drop(DropReason::MemberUnresolved) };
    let Some((out, _)) = tables.port(port).and_then(|p| p.get()) else {
        return Verdict::Drop(DropReason::MemberUnresolved);
    };
    let translation = Translation {
        destination: F::from_words([flow.member.address[0].load(Relaxed), flow.member.address[1].load(Relaxed)]),
        source_port: flow.snat_port,
        destination_port: flow.member.state().port(),
        to: next_hop[0],
        from: next_hop[1],
    };
    if let Err(reason) = translate::<F, T>(packet, tables, network, segment, &translation) {
        return Verdict::Drop(reason);
    }
    tables.count_listener(listener.id(), Direction::In, network.total());
    tables.count_member(flow.member_id, Direction::In, network.total());
    if out == arrival.ingress { Verdict::Transmit } else { Verdict::Redirect(port) }
}

/// The forward key of the packet's flow.
#[inline(always)]
fn key<F: Family>(packet: &Packet<'_>, arrival: &Arrival<'_>) -> Option<F::Key> {
    let (port, _) = arrival.segment.ports(packet)?;
    Some(F::key(F::source(packet)?, port, arrival.listener.id()))
}

/// The way a frame came: what replies to it are sent back by.
struct Path {
    /// Its Ethernet source in the upper 48 bits.
    last_hop: u64,
    /// Its Ethernet destination in the upper 48 bits.
    own: u64,
}

impl Path {
    #[inline(always)]
    fn of(packet: &Packet<'_>) -> Option<Self> {
        let ethernet = packet.view::<Ethernet>(0)?;
        Some(Self { last_hop: ethernet.source.to_high(), own: ethernet.destination.to_high() })
    }

    /// Digest of both and of the interface the frame came in by.
    #[inline(always)]
    fn digest(&self, ingress: u32) -> u16 {
        flow::last_hop_digest(self.last_hop | u64::from(ingress as u16), self.own)
    }
}

/// A flow that a packet belongs to.
struct Flow<'t> {
    member: &'t Member,
    member_id: u16,
    snat_port: u16,
}

/// Whether a packet of an established flow is to be answered with a reset: its
/// member is down, and the pool has the flows of such reset. A reset is not: it
/// goes on to the member.
#[inline(always)]
fn is_reset(member: MemberState, segment: &Segment) -> bool {
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
fn keep<'t, F: Family, T: Tables>(
    packet: &Packet<'_>,
    tables: &'t T,
    moment: &Moment<'_>,
    arrival: &Arrival<'_>,
    digest: u16,
    found: Found<'t, F>,
) -> Option<Flow<'t>> {
    let Found { entry, ctl } = found;
    let segment = arrival.segment;
    let member: &Member = tables.member(ctl.member())?;
    let state = member.state();
    let stage = ctl.stage();

    let moves = !state.has(MemberState::UP) && (!segment.is_tcp() || matches!(stage, Stage::New));
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
            }
            return None;
        }
        let (back, back_ctl) = back?;
        if moved_hop {
            let port = tables.port_of_interface(arrival.ingress)?;
            let (path, (_, listener_port)) = (Path::of(packet)?, segment.ports(packet)?);
            back.last_hop().store(path.last_hop | u64::from(port), Relaxed);
            back.own().store(path.own | u64::from(listener_port), Relaxed);
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
    let after = ctl.with(next, moment.now, digest);
    if after != ctl && replace(entry.ctl(), ctl, after) {
        note::<F, T>(tables, ctl, after, arrival.vip);
    }
    Some(Flow { member, member_id: ctl.member(), snat_port: ctl.snat_port() })
}

/// Whether a client's packet proves that it hears the member: for TCP it
/// acknowledges the number the member's SYN-ACK carried, for UDP it comes after
/// the member's answer.
#[inline(always)]
fn confirms(packet: &Packet<'_>, segment: &Segment, back: Ctl) -> bool {
    match back.stage() {
        Stage::Established => true,
        Stage::Answered => {
            let acknowledged = packet.view::<Tcp>(segment.offset).map_or(0, |t| u32::from_be(t.acknowledgment));
            !segment.is_tcp() || segment.has(tcp_flags::ACK) && acknowledged as u16 & Ctl::DIGEST_MASK == back.digest()
        }
        _ => false,
    }
}

/// The number of the port that a frame came in by, if the frame is addressed to
/// it or to a virtual router: to the VIP's, for all others have ended before. A
/// flow is opened, or its last hop learned, from such frames only: a switch that
/// floods hands everybody else's frames to us too. Packets of a known flow that
/// come the known way need no such look.
#[inline(always)]
fn station<T: Tables>(packet: &Packet<'_>, tables: &T, ingress: u32) -> Result<u16, DropReason> {
    let number = tables.port_of_interface(ingress).ok_or(DropReason::InterfaceUnknown)?;
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

/// Opens a flow for the packet.
#[inline(always)]
fn begin<'t, F: Family, T: Tables>(
    packet: &Packet<'_>,
    tables: &'t T,
    arrival: &Arrival<'_>,
    ingress_port: u16,
    digest: u16,
) -> Result<Flow<'t>, DropReason> {
    let opener = Opener::new(arrival.vip, ingress_port, digest);
    let outcome = open::<F, T>(tables, packet, arrival.segment.offset, arrival.listener, opener);
    let (member_id, snat_port) = outcome.get()?;
    tables.count_new_flow(arrival.listener.id(), member_id);
    let member = tables.member(member_id).ok_or(DropReason::MemberMissing)?;
    Ok(Flow { member, member_id, snat_port })
}

/// Counts a drop and gives it as a verdict.
#[inline(always)]
pub(crate) fn dropped<T: Tables>(tables: &T, reason: DropReason) -> Verdict {
    tables.count(Event::Drop(reason));
    Verdict::Drop(reason)
}
