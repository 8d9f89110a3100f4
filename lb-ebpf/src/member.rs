//! From a member back to the client.

use lb_common::atomic::Ordering::Relaxed;

use lb_common::{
    drop_reason::DropReason,
    flow::{self, Ctl, Stage},
};

use crate::{
    family::{Family, Network, ReturnEntry, replace},
    flow::{Moment, note},
    headers::{Tcp, tcp_flags},
    packet::Packet,
    rewrite::{Translation, translate},
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
    moment: &Moment<'_>,
    network: &Network,
    segment: &Segment,
    vip_and_transport: u16,
    ingress: u32,
) -> Option<Verdict> {
    let (member_port, snat_port) = segment.ports(packet)?;
    let ports = flow::return_ports(member_port, vip_and_transport, snat_port);
    let member = F::source(packet)?;
    let entry = F::back(tables, F::return_place(moment.config, member, ports))?;
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
    let port = last_hop as u16;
    let Some((out, _)) = tables.port(port).and_then(|p| p.get()) else {
        return Some(Verdict::Drop(DropReason::ClientPathGone));
    };

    let after = heard(packet, segment, ctl, moment);
    if after != ctl && replace(entry.ctl(), ctl, after) {
        note::<F, T>(tables, ctl, after, vip_and_transport);
    }
    let translation = Translation {
        destination: client,
        source_port: own as u16,
        destination_port: client_port,
        to: last_hop,
        from: own,
    };
    if let Err(reason) = translate::<F, T>(packet, tables, network, segment, &translation) {
        return Some(Verdict::Drop(reason));
    }
    tables.count_listener(listener, Direction::Out, network.total());
    tables.count_member(ctl.member(), Direction::Out, network.total());
    Some(if out == ingress { Verdict::Transmit } else { Verdict::Redirect(port) })
}

/// The control word after a member's packet.
#[inline(always)]
fn heard(packet: &Packet<'_>, segment: &Segment, ctl: Ctl, moment: &Moment<'_>) -> Ctl {
    let stage = ctl.stage();
    let mut digest = ctl.digest();
    let next = if segment.has(tcp_flags::RST) {
        Stage::Reset
    } else if segment.has(tcp_flags::FIN) {
        Stage::Closing
    } else if !matches!(stage, Stage::New) {
        stage
    } else if !segment.is_tcp() {
        Stage::Answered
    } else if segment.has(tcp_flags::SYN) {
        // What the client must acknowledge to prove that it saw this.
        let sequence = packet.view::<Tcp>(segment.offset).map_or(0, |t| u32::from_be(t.sequence));
        digest = sequence.wrapping_add(1) as u16;
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
