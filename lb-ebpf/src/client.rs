//! From a client to a member.

use lb_common::atomic::Ordering::Relaxed;

use lb_common::{
    counters::Event,
    drop_reason::DropReason,
    flow::{self, Ctl, Stage},
    listener::ListenerEntry,
    member::{Member, MemberState},
    protocol::vip_and_transport,
    vip::VipEntry,
};

use crate::{
    family::{Family, ForwardEntry, Network, ReturnEntry, replace},
    flow::{Found, Moment, Opened, Opening, back_of, find, is_over, open},
    headers::{Ethernet, tcp_flags},
    packet::Packet,
    refuse,
    rewrite::{Translation, translate},
    tables::{Direction, Tables, Verdict},
    transport::Segment,
};

/// Everything known about a client's packet.
pub(crate) struct Arrival<'p, F: Family> {
    pub(crate) network: &'p Network<F::Address>,
    pub(crate) segment: &'p Segment,
    pub(crate) vip: VipEntry,
    pub(crate) listener: ListenerEntry,
    pub(crate) ingress: u32,
}

/// Forwards a client's packet to the member its flow has, or chooses one.
#[inline(always)]
pub(crate) fn forward<F: Family, T: Tables>(
    packet: &mut Packet<'_>,
    tables: &T,
    moment: &Moment<'_>,
    arrival: &Arrival<'_, F>,
) -> Verdict {
    let Arrival { network, segment, listener, .. } = arrival;
    if network.hops <= 1 {
        return Verdict::Drop(DropReason::TtlExpired);
    }
    let Some(ethernet) = packet.read::<Ethernet>(0) else { return Verdict::Pass };
    let digest = digest_of(&ethernet, arrival.ingress);
    let key = F::key(network.source, segment.source, listener.id());

    let kept = match find::<F, T>(tables, moment, key) {
        Some(found) => keep::<F, T>(tables, moment, arrival, &ethernet, digest, found),
        None => None,
    };
    let flow = match kept {
        Some(flow) => flow,
        None => {
            // There is nobody to pass a reset without a flow to, and answering
            // it with another could go on for ever.
            if segment.has(tcp_flags::RST) {
                return Verdict::Drop(DropReason::FlowUnknown);
            }
            match begin::<F, T>(tables, moment, arrival, &ethernet, digest) {
                Ok(flow) => flow,
                Err(reason) => {
                    tables.count_refused(listener.id());
                    return refuse::refuse::<F, T>(packet, tables, network, segment, reason);
                }
            }
        }
    };

    let Some(next_hop) = flow.member.next_hop() else { return Verdict::Drop(DropReason::MemberUnresolved) };
    let Some((out, _)) = tables.port(next_hop.port).and_then(|p| p.get()) else {
        return Verdict::Drop(DropReason::MemberUnresolved);
    };
    let translation = Translation {
        source: network.destination,
        destination: F::from_words([flow.member.address[0].load(Relaxed), flow.member.address[1].load(Relaxed)]),
        source_port: flow.snat_port,
        destination_port: flow.member.state().port(),
        source_mac: next_hop.source,
        destination_mac: next_hop.destination,
    };
    if let Err(reason) = translate::<F, T>(packet, tables, network, segment, &translation) {
        return Verdict::Drop(reason);
    }
    tables.count_listener(listener.id(), Direction::In, network.total);
    tables.count_member(flow.member_id, Direction::In, network.total);
    if out == arrival.ingress { Verdict::Transmit } else { Verdict::Redirect(next_hop.port) }
}

/// Digest of who sent a frame, to whom, and by which interface.
#[inline(always)]
fn digest_of(ethernet: &Ethernet, ingress: u32) -> u16 {
    flow::last_hop_digest(ethernet.source.with_low(ingress as u16), ethernet.destination.with_low(0))
}

/// Decides whether a flow that was found goes on as it is, and notes what this
/// packet says about it. `None`: it ended or moves, and a new one is to be
/// opened (its entries have been given up).
#[inline(always)]
fn keep<'t, F: Family, T: Tables>(
    tables: &'t T,
    moment: &Moment<'_>,
    arrival: &Arrival<'_, F>,
    ethernet: &Ethernet,
    digest: u16,
    found: Found<'t, F>,
) -> Option<Opened<'t>> {
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
    let mut next = stage;
    if moves || reopens || moved_hop || unconfirmed {
        let transport = vip_and_transport(arrival.vip.id(), segment.transport);
        let back = back_of::<F, T>(tables, moment, ctl, transport);
        let over = match &back {
            None => true,
            Some((_, back)) => reopens && is_over(stage, back.stage()),
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
            back.last_hop().store(ethernet.source.with_low(port), Relaxed);
            back.own().store(ethernet.destination.with_low(segment.destination), Relaxed);
        }
        if unconfirmed && confirms(segment, back_ctl) {
            next = Stage::Established;
            if matches!(back_ctl.stage(), Stage::Answered) {
                replace(back.ctl(), back_ctl, back_ctl.with(Stage::Established, back_ctl.seen(), 0));
            }
        }
    }
    if segment.has(tcp_flags::FIN | tcp_flags::RST) && !matches!(stage, Stage::Reset) {
        next = if segment.has(tcp_flags::RST) { Stage::Reset } else { Stage::Closing };
    }
    let after = ctl.with(next, moment.now, digest);
    if after != ctl {
        replace(entry.ctl(), ctl, after);
    }
    Some(Opened { member, member_id: ctl.member(), snat_port: ctl.snat_port() })
}

/// Whether a client's packet proves that it hears the member: for TCP it
/// acknowledges the number the member's SYN-ACK carried, for UDP it comes after
/// the member's answer.
#[inline(always)]
fn confirms(segment: &Segment, back: Ctl) -> bool {
    match back.stage() {
        Stage::Established => true,
        Stage::Answered => {
            !segment.is_tcp()
                || segment.has(tcp_flags::ACK) && segment.acknowledgment as u16 & Ctl::DIGEST_MASK == back.digest()
        }
        _ => false,
    }
}

/// Opens a flow for the packet.
#[inline(always)]
fn begin<'t, F: Family, T: Tables>(
    tables: &'t T,
    moment: &Moment<'_>,
    arrival: &Arrival<'_, F>,
    ethernet: &Ethernet,
    digest: u16,
) -> Result<Opened<'t>, DropReason> {
    let ingress_port = tables.port_of_interface(arrival.ingress).ok_or(DropReason::InterfaceUnknown)?;
    let opening = Opening {
        client: arrival.network.source,
        client_port: arrival.segment.source,
        vip: arrival.network.destination,
        vip_id: arrival.vip.id(),
        transport: arrival.segment.transport,
        port: arrival.segment.destination,
        listener: arrival.listener,
        last_hop: ethernet.source,
        own: ethernet.destination,
        ingress_port,
        digest,
    };
    let opened = open::<F, T>(tables, moment, &opening)?;
    tables.count_new_flow(arrival.listener.id(), opened.member_id);
    Ok(opened)
}

/// Counts a drop and gives it as a verdict.
#[inline(always)]
pub(crate) fn dropped<T: Tables>(tables: &T, reason: DropReason) -> Verdict {
    tables.count(Event::Drop(reason));
    Verdict::Drop(reason)
}
