//! From a member back to the client.

use lb_common::atomic::Ordering::Relaxed;

use lb_common::{
    drop_reason::DropReason,
    flow::{self, Ctl, Stage},
    mac::Mac,
    protocol::vip_and_transport,
    vip::VipEntry,
};

use crate::{
    family::{Family, Network, ReturnEntry, replace},
    flow::Moment,
    headers::tcp_flags,
    packet::Packet,
    rewrite::{Translation, translate},
    tables::{Direction, Tables, Verdict},
    transport::Segment,
};

/// Returns a member's packet to the client whose flow it belongs to. `None`:
/// it belongs to none.
#[inline(always)]
pub(crate) fn give_back<F: Family, T: Tables>(
    packet: &mut Packet<'_>,
    tables: &T,
    moment: &Moment<'_>,
    network: &Network<F::Address>,
    segment: &Segment,
    vip: VipEntry,
    ingress: u32,
) -> Option<Verdict> {
    let transport = vip_and_transport(vip.id(), segment.transport);
    let ports = flow::return_ports(segment.source, transport, segment.destination);
    let entry = F::back(tables, F::return_place(moment.config, network.source, ports))?;
    let ctl = flow::ctl(entry.ctl());
    if !ctl.is_live() || ctl.snat_port() != segment.destination {
        return None;
    }
    if !entry.is_from(network.source, segment.source, transport) {
        return None;
    }
    let (client, client_port, listener) = F::key_parts(entry.key());
    let last_hop = entry.last_hop().load(Relaxed);
    let own = entry.own().load(Relaxed);
    if !ctl.same_flow(flow::ctl(entry.ctl())) {
        return Some(Verdict::Drop(DropReason::FlowChanged));
    }
    if network.hops <= 1 {
        return Some(Verdict::Drop(DropReason::TtlExpired));
    }
    let port = last_hop as u16;
    let Some((out, _)) = tables.port(port).and_then(|p| p.get()) else {
        return Some(Verdict::Drop(DropReason::ClientPathGone));
    };

    let after = heard(segment, ctl, moment);
    if after != ctl {
        replace(entry.ctl(), ctl, after);
    }
    let translation = Translation {
        source: network.destination,
        destination: client,
        source_port: own as u16,
        destination_port: client_port,
        source_mac: Mac::from_high(own),
        destination_mac: Mac::from_high(last_hop),
    };
    if let Err(reason) = translate::<F, T>(packet, tables, network, segment, &translation) {
        return Some(Verdict::Drop(reason));
    }
    tables.count_listener(listener, Direction::Out, network.total);
    tables.count_member(ctl.member(), Direction::Out, network.total);
    Some(if out == ingress { Verdict::Transmit } else { Verdict::Redirect(port) })
}

/// The control word after a member's packet.
#[inline(always)]
fn heard(segment: &Segment, ctl: Ctl, moment: &Moment<'_>) -> Ctl {
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
        digest = segment.sequence.wrapping_add(1) as u16;
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
