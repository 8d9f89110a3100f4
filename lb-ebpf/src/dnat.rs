//! The way back in forward mode `dnat`: a packet that is for no VIP may come from
//! a member, and then goes on as if the VIP had sent it.
//!
//! Where it goes the host's routes say, so the host has to be a router: it must
//! forward (`net.ipv4.ip_forward`, `net.ipv6.conf.all.forwarding`) for members to
//! be answered for. What is for the host itself, such as the answers to its
//! health monitors, is left alone.
//!
//! ICMP errors of a member about a client's packets are not translated: they name
//! the member's own address inside, and clients ignore them. Those that a member
//! must hear of reach it by the VIP.

use lb_common::{
    atomic::Ordering::Relaxed,
    counters::Event,
    dnat::{self, DnatEntry},
    drop_reason::DropReason,
    fragment::FragmentWord,
    instance::{Instance, NO_INSTANCE},
    limits::DNAT_LINES,
    pool::ForwardMode,
    port::{Place, Tags},
    protocol::Transport,
};

use crate::{
    client, deliver,
    family::{Family, Fragment, Network},
    fragment::{self, Record},
    headers::{Ethernet, protocol},
    ingress::Ingress,
    packet::Packet,
    rewrite::{Translation, translate},
    tables::{Direction, Tables, Verdict},
    transport::Segment,
};

/// Whose packet it is, and how it leaves, as one word: listener id (bits 0–15),
/// member id (16–31), port number (32–47), and 1 for out by the interface it came
/// in by, 2 for out by the port, 3 for the host (48–49). Zero: nobody's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub(crate) struct Origin(pub(crate) u64);

impl Origin {
    const SAME: u64 = 1;
    const PORT: u64 = 2;
    const HOST: u64 = 3;

    #[inline(always)]
    const fn new(listener: u16, member: u16, (leaves, port): (u64, u16)) -> Self {
        Self(listener as u64 | (member as u64) << 16 | (port as u64) << 32 | leaves << 48)
    }

    #[inline(always)]
    const fn listener(self) -> u16 {
        self.0 as u16
    }

    #[inline(always)]
    const fn member(self) -> u16 {
        (self.0 >> 16) as u16
    }

    #[inline(always)]
    const fn verdict(self) -> Verdict {
        match self.0 >> 48 {
            Self::SAME => Verdict::Transmit,
            Self::PORT => Verdict::Redirect((self.0 >> 32) as u16),
            _ => Verdict::Pass,
        }
    }
}

/// Finds out whose packet it is, remembers it if it is a first fragment, and
/// addresses the frame if it is a member's. A far call; returns an [`Origin`].
#[inline(always)]
pub(crate) fn origin<F: Family, T: Tables>(packet: &mut Packet<'_>, tables: &T, ingress: Ingress) -> u64 {
    whose::<F, T>(packet, tables, ingress).map_or(0, |origin| origin.0)
}

#[inline(always)]
fn whose<F: Family, T: Tables>(packet: &mut Packet<'_>, tables: &T, ingress: Ingress) -> Option<Origin> {
    let network = F::parse(packet, tables).ok()?;
    let (listener, member) = if matches!(network.fragment, Fragment::Later) {
        let word = fragment::read::<F, T>(packet, tables, &network)?.word;
        (word.listener(), word.member())
    } else {
        let segment = segment(packet, &network)?;
        let (port, _) = segment.ports(packet)?;
        let who = dnat::who(port, u16::from(segment.code()), F::IS_V6);
        let entry = find(tables, F::words(F::source(packet)?), who)?;
        (entry.listener(), entry.member())
    };
    let vip = vip_of::<F, T>(tables, listener)?;
    let leaves = way::<F, T>(packet, tables, ingress, vip)?;
    if matches!(network.fragment, Fragment::First) {
        let none = F::from_words([0, 0]);
        let _ = fragment::write::<F, T>(packet, tables, &network, |now| Record {
            word: FragmentWord::new(member, listener, ForwardMode::Dnat, true, now),
            source: none,
            destination: none,
            to: 0,
            from: 0,
        });
    }
    Some(Origin::new(listener, member, leaves))
}

/// The transport header of a packet that has one.
#[inline(always)]
fn segment(packet: &Packet<'_>, network: &Network) -> Option<Segment> {
    let transport = match network.protocol {
        protocol::TCP => Transport::Tcp,
        protocol::UDP => Transport::Udp,
        protocol::SCTP => Transport::Sctp,
        _ => return None,
    };
    let whole = matches!(network.fragment, Fragment::Whole);
    Segment::parse(packet, transport, network.offset, network.length, whole).ok()
}

/// The address of a listener's VIP, if there is such a listener.
#[inline(always)]
fn vip_of<F: Family, T: Tables>(tables: &T, listener: u16) -> Option<F::Address> {
    let listener = tables.listener_of(listener).filter(|listener| listener.key.load(Relaxed) != 0)?;
    Some(F::from_words([listener.vip[0].load(Relaxed), listener.vip[1].load(Relaxed)]))
}

/// Translates a member's packet back. A far call.
#[inline(always)]
pub(crate) fn back<F: Family, T: Tables>(packet: &mut Packet<'_>, tables: &T, origin: Origin) -> Verdict {
    match translated::<F, T>(packet, tables, origin) {
        Ok(bytes) => {
            tables.count_listener(origin.listener(), Direction::Out, bytes);
            tables.count_member(origin.member(), Direction::Out, bytes);
            origin.verdict()
        }
        Err(reason) => Verdict::Drop(reason),
    }
}

/// Returns the bytes of the packet.
#[inline(always)]
fn translated<F: Family, T: Tables>(packet: &mut Packet<'_>, tables: &T, origin: Origin) -> Result<u64, DropReason> {
    const BAD: DropReason = DropReason::MalformedTransport;
    let network = F::parse(packet, tables)?;
    if F::hops(packet).is_none_or(|hops| hops <= 1) {
        return Err(DropReason::TtlExpired);
    }
    let bytes = network.total();
    if matches!(network.fragment, Fragment::Later) {
        let source = vip_of::<F, T>(tables, origin.listener()).ok_or(BAD)?;
        let destination = F::destination(packet).ok_or(BAD)?;
        F::readdress(packet, source, destination);
        tables.count(Event::FragmentFollowed);
        return Ok(bytes);
    }
    let segment = segment(packet, &network).ok_or(BAD)?;
    let (_, destination_port) = segment.ports(packet).ok_or(BAD)?;
    let source_port = tables.listener_of(origin.listener()).map_or(0, |l| l.key.load(Relaxed)) as u16;
    let ethernet = packet.view::<Ethernet>(0).ok_or(BAD)?;
    let (to, from) = (ethernet.destination.to_high(), ethernet.source.to_high());
    let source = vip_of::<F, T>(tables, origin.listener()).ok_or(BAD)?;
    let destination = F::destination(packet).ok_or(BAD)?;
    let new = Translation { source, destination, source_port, destination_port, to, from };
    translate::<F, T>(packet, tables, &network, &segment, &new)?;
    Ok(bytes)
}

/// How a packet leaves whose source is to be the VIP; addresses the frame where
/// that is known. `None`: it is not for this balancer to send it on: it is the
/// host's own, nobody's, or for another station on the link.
#[inline(always)]
fn way<F: Family, T: Tables>(
    packet: &mut Packet<'_>,
    tables: &T,
    ingress: Ingress,
    vip: F::Address,
) -> Option<(u64, u16)> {
    client::station(packet, tables, ingress).ok()?;
    // Of a pair the Active one is the members' router.
    let entry = F::vip(tables, vip)?;
    if entry.instance() != NO_INSTANCE && !tables.instance(entry.instance()).is_some_and(Instance::is_active) {
        return None;
    }
    let way = tables.route(packet, ingress, F::words(vip))?;
    let leaves = if way.ifindex == 0 {
        (Origin::HOST, 0)
    } else if way.ifindex == ingress.ifindex() {
        (Origin::SAME, 0)
    } else {
        match tables.port_at(Place::new(way.ifindex, Tags::NONE)) {
            Some(port) => (Origin::PORT, port),
            // The host has interfaces that we have not.
            None => (Origin::HOST, 0),
        }
    };
    if leaves.0 != Origin::HOST {
        deliver::address(packet, [way.to, way.from]);
    }
    Some(leaves)
}

/// Looks a member up by its address and [`dnat::who`], in the line its key names
/// and, if that is full, in the next.
#[inline(always)]
fn find<T: Tables>(tables: &T, address: [u64; 2], who: u64) -> Option<DnatEntry> {
    let first = dnat::line(address, who, DNAT_LINES);
    for neighbour in 0..2 {
        let mut full = true;
        for way in &tables.dnat_line(first.wrapping_add(neighbour) & (DNAT_LINES - 1))?.ways {
            let entry = DnatEntry(way.entry.load(Relaxed));
            full &= entry.is_valid();
            let is_it = entry.is_valid()
                && entry.is(who)
                && way.address[0].load(Relaxed) == address[0]
                && way.address[1].load(Relaxed) == address[1];
            if is_it {
                return Some(entry);
            }
        }
        if !full {
            return None;
        }
    }
    None
}
