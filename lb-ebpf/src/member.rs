//! From a member back to the client.

use lb_common::atomic::Ordering::Relaxed;

use lb_common::{
    drop_reason::DropReason,
    flow::{self, Ctl, Stage},
};

use crate::{
    deliver,
    family::{Family, Fragment, Network, ReturnEntry, replace},
    far::{Call, Facts, of_family},
    flow::{Moment, note},
    headers::{Tcp, tcp_flags},
    ingress::Ingress,
    live, mss,
    packet::Packet,
    rewrite::{Translation, translate},
    sctp,
    tables::{Direction, Tables, Verdict},
    transport::Segment,
};

/// Returns a member's packet to the client whose flow it belongs to. `None`:
/// it belongs to none.
///
/// What state the member is in is not asked: that would be another cold line for
/// every reply. A member that is taken to be down and speaks is heard until its
/// client speaks, whose packet resets the flow where the pool says so.
#[inline(always)]
pub(crate) fn give_back<F: Family, T: Tables>(
    packet: &mut Packet<'_>,
    tables: &T,
    network: &Network,
    segment: &Segment,
    vip_and_transport: u16,
    ingress: Ingress,
) -> Option<Verdict> {
    let moment = &Moment::read(tables)?;
    let (member_port, snat_port) = segment.ports(packet)?;
    let ports = flow::return_ports(member_port, vip_and_transport, snat_port);
    let member = F::source(packet)?;
    let place = F::return_place(moment.config, member, ports);
    let entry = F::back(tables, place)?;
    let ctl = flow::ctl(entry.ctl());
    if !ctl.is_live() || ctl.snat_port() != snat_port {
        return None;
    }
    if !entry.is_from(member, member_port, vip_and_transport) {
        return None;
    }
    let (client, client_port, listener) = F::key_parts(entry.key());
    let last_hop = entry.last_hop().load(Relaxed);
    let own = entry.own().load(Relaxed);
    if !ctl.same_flow(flow::ctl(entry.ctl())) {
        return Some(Verdict::Drop(DropReason::FlowChanged));
    }
    if F::hops(packet)? <= 1 {
        return Some(Verdict::Drop(DropReason::TtlExpired));
    }
    let facts = Facts::of(network, segment).0;
    if !matches!(network.fragment, Fragment::Whole) {
        let call = of_family::<F>(Call::RememberBack4, Call::RememberBack6);
        tables.far(packet, call, [facts, u64::from(place), ctl.0, u64::from(listener)]);
    }
    let plain = Ctl::new(Stage::Established, 0, 0, moment.now, ctl.digest());
    if !ctl.is_like(plain) || segment.has(tcp_flags::SYN | tcp_flags::FIN | tcp_flags::RST) {
        let call = of_family::<F>(Call::Heard4, Call::Heard6);
        tables.far(packet, call, [facts, u64::from(place), ctl.0, u64::from(vip_and_transport)]);
    }
    let translation = Translation {
        source: F::destination(packet)?,
        destination: client,
        source_port: own as u16,
        destination_port: client_port,
        to: last_hop,
        from: own,
    };
    if let Err(reason) = translate::<F, T>(packet, tables, network, segment, &translation) {
        return Some(Verdict::Drop(reason));
    }
    let bytes = network.total();
    tables.count_listener(listener, Direction::Out, bytes);
    tables.count_member(ctl.member(), Direction::Out, bytes);
    let gone = Verdict::Drop(DropReason::ClientPathGone);
    Some(deliver::leave(packet, tables, last_hop as u16, ingress).unwrap_or(gone))
}

/// Notes what a member's packet says about the flow whose return entry lies at
/// `place` and had the control word `ctl`. A far call; returns 0.
#[inline(always)]
pub(crate) fn heard<F: Family, T: Tables>(
    packet: &mut Packet<'_>,
    tables: &T,
    facts: Facts,
    place: u32,
    ctl: u64,
    vip_and_transport: u16,
) -> u64 {
    let ctl = Ctl(ctl);
    let (_, segment) = facts.headers();
    let Some(moment) = &Moment::read(tables) else { return 0 };
    let Some(entry) = F::back(tables, place) else { return 0 };
    let after = after(packet, &segment, ctl, moment);
    if after != ctl && replace(entry.ctl(), ctl, after) {
        note::<F, T>(tables, ctl, after, vip_and_transport);
        if after.stage() != ctl.stage() && matches!(after.stage(), Stage::Closing | Stage::Reset) {
            live::member_closes::<F, T>(tables, moment, entry.key(), ctl.stage(), after);
        }
    }
    if segment.is_tcp() && segment.has(tcp_flags::SYN) {
        let (_, _, listener) = F::key_parts(entry.key());
        mss::clamp_back(packet, tables, &segment, listener);
    }
    0
}

/// The control word after a member's packet.
#[inline(always)]
fn after(packet: &Packet<'_>, segment: &Segment, ctl: Ctl, moment: &Moment<'_>) -> Ctl {
    let stage = ctl.stage();
    let mut digest = ctl.digest();
    let next = if segment.has(tcp_flags::RST) {
        Stage::Reset
    } else if segment.has(tcp_flags::FIN) {
        Stage::Closing
    } else if !matches!(stage, Stage::New) {
        stage
    } else if segment.is_udp() {
        Stage::Answered
    } else if segment.has(tcp_flags::SYN) {
        // What the client must say to prove that it saw this.
        digest = if segment.is_sctp() {
            sctp::tag_given(packet, segment.offset) as u16
        } else {
            let sequence = packet.view::<Tcp>(segment.offset).map_or(0, |t| u32::from_be(t.sequence));
            sequence.wrapping_add(1) as u16
        };
        Stage::Answered
    } else {
        // The member speaks as in an open connection: it has seen the
        // handshake, if we have not.
        Stage::Established
    };
    // A reset is the last word about a connection.
    let next = if matches!(stage, Stage::Reset) { stage } else { next };
    ctl.with(next, moment.now, digest)
}
