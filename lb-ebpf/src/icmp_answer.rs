//! ICMP and ICMPv6 errors of the balancer's own, made in place of the packet that
//! they are about.
//!
//! None is ever sent about what RFC 1122 §3.2.2 and RFC 4443 §2.4 (e) except: an
//! ICMP message, a fragment other than the first, a packet or a frame for many, a
//! packet whose source is not one host. Each answers one packet, and is longer
//! than that by its own headers at most: whoever forges a source gains no more
//! than 28 bytes (IPv4) or 48 (IPv6) a packet, and none of a packet longer than
//! the quote. So there is no limit to their rate, which RFC 4443 §2.4 (f) wants
//! for what a node does with its own time: here an answer costs no more than the
//! packet would have.

use lb_common::checksum::Sum;

use crate::{
    family::{Family, Fragment, NETWORK_OFFSET, Network},
    far::Call,
    headers::{Ethernet, Icmp, Ipv4, Ipv6},
    packet::Packet,
    rewrite::pseudo_header,
    tables::Tables,
};

/// Longest error of IPv4, headers included (RFC 1812 §4.3.2.3).
const LONGEST4: usize = 576;
/// Longest error of IPv6: the least that every link takes (RFC 4443 §2.4 (c)).
const LONGEST6: usize = 1280;
/// TTL and hop limit of what the balancer itself sends.
const OWN_HOPS: u8 = 64;
/// Precedence "internetwork control", which errors have (RFC 1812 §4.3.2.5).
const INTERNETWORK_CONTROL: u8 = 0xc0;
/// What an error has in front of the packet it quotes.
pub(crate) const ICMP_HEADER: usize = 8;

/// An error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Problem {
    /// Its type.
    pub(crate) kind: u8,
    /// Its code.
    pub(crate) code: u8,
    /// What stands behind the checksum, host order.
    pub(crate) word: u32,
}

impl Problem {
    /// Nobody takes packets for this port (RFC 792, RFC 4443 §3.1).
    pub(crate) const fn port_unreachable<F: Family>() -> Self {
        if F::IS_V6 { Self { kind: 1, code: 4, word: 0 } } else { Self { kind: 3, code: 3, word: 0 } }
    }

    /// The packet is longer than `mtu` (RFC 1191 §4, RFC 4443 §3.2).
    pub(crate) const fn too_big<F: Family>(mtu: u16) -> Self {
        if F::IS_V6 {
            // Less than this no IPv6 sender believes (RFC 8201 §4).
            let mtu = if mtu < LONGEST6 as u16 { LONGEST6 as u16 } else { mtu };
            Self { kind: 2, code: 0, word: mtu as u32 }
        } else {
            Self { kind: 3, code: 4, word: mtu as u32 }
        }
    }
}

/// Whether a packet may be answered at all: see the top of this file. The same
/// holds for resets.
#[inline(always)]
pub(crate) fn may_be_answered<F: Family>(packet: &Packet<'_>, network: &Network) -> bool {
    let Some(to) = packet.view::<Ethernet>(0).map(|ethernet| ethernet.destination.first) else { return false };
    let for_many = to.to_ne_bytes()[0] & 1 != 0;
    let later = matches!(network.fragment, Fragment::Later);
    network.protocol != F::ICMP && !later && !for_many && F::source(packet).is_some_and(is_one_host::<F>)
}

/// Turns a packet that [`may_be_answered`] into the error about it, from its
/// destination to its source and back to the station it came from. `None`: there
/// is no room for it in front of the frame, which must not be used then.
#[inline(always)]
pub(crate) fn answer<F: Family, T: Tables>(
    packet: &mut Packet<'_>,
    tables: &T,
    network: &Network,
    problem: Problem,
) -> Option<()> {
    let ethernet = packet.read::<Ethernet>(0)?;
    let (client, vip) = (F::source(packet)?, F::destination(packet)?);
    let header = if F::IS_V6 { size_of::<Ipv6>() } else { size_of::<Ipv4>() };
    let own = header + ICMP_HEADER;
    let quoted = (network.total() as usize).min(if F::IS_V6 { LONGEST6 } else { LONGEST4 } - own);
    let message = ICMP_HEADER + quoted;
    if !packet.truncate(NETWORK_OFFSET + quoted) || !packet.grow(own) {
        return None;
    }
    let frame = packet.view_mut::<Ethernet>(0)?;
    frame.destination = ethernet.source;
    frame.source = ethernet.destination;
    frame.ethertype = ethernet.ethertype;
    head::<F>(packet, vip, client, message)?;
    let at = NETWORK_OFFSET + header;
    *packet.view_mut::<[u8; 4]>(at + size_of::<Icmp>())? = problem.word.to_be_bytes();
    *packet.view_mut::<Icmp>(at)? = Icmp { kind: problem.kind, code: problem.code, checksum: 0 };
    let pseudo = if F::IS_V6 { pseudo_header::<F>(vip, client, F::ICMP, message) } else { Sum::default() };
    let spot = at as u64 | (message as u64) << 16;
    let place = at + core::mem::offset_of!(Icmp, checksum);
    let checksum = tables.far(packet, Call::Complete, [spot, place as u64, pseudo.0, 0]);
    if checksum >> 16 != 0 {
        return None;
    }
    packet.view_mut::<Icmp>(at)?.checksum = checksum as u16;
    Some(())
}

/// Writes the IP header of an error.
#[inline(always)]
fn head<F: Family>(packet: &mut Packet<'_>, vip: F::Address, client: F::Address, message: usize) -> Option<()> {
    let (from, to) = (F::words(vip), F::words(client));
    if F::IS_V6 {
        let ip = packet.view_mut::<Ipv6>(NETWORK_OFFSET)?;
        ip.version_class_flow = (6u32 << 28).to_be();
        ip.payload_length = (message as u16).to_be();
        ip.next_header = F::ICMP;
        ip.hop_limit = OWN_HOPS;
        // Word by word: a copy of sixteen bytes would be made byte by byte.
        ip.source[0] = from[0];
        ip.source[1] = from[1];
        ip.destination[0] = to[0];
        ip.destination[1] = to[1];
        return Some(());
    }
    let total = ((size_of::<Ipv4>() + message) as u16).to_be();
    let (first, hops) = (u16::from_ne_bytes([0x45, INTERNETWORK_CONTROL]), u16::from_ne_bytes([OWN_HOPS, F::ICMP]));
    let sum = Sum::default().add16(first).add16(total).add16(hops).add32(from[0] as u32).add32(to[0] as u32);
    *packet.view_mut::<Ipv4>(NETWORK_OFFSET)? = Ipv4 {
        version_ihl: 0x45,
        tos: INTERNETWORK_CONTROL,
        total_length: total,
        // No router has to cut it, so nothing is to be told apart.
        identification: 0,
        fragment: 0,
        ttl: OWN_HOPS,
        protocol: F::ICMP,
        checksum: sum.finish(),
        source: from[0] as u32,
        destination: to[0] as u32,
    };
    Some(())
}

/// Whether an address can be that of one host, and not of this one alone.
#[inline(always)]
fn is_one_host<F: Family>(address: F::Address) -> bool {
    let words = F::words(address);
    let first = words[0].to_ne_bytes()[0];
    if F::IS_V6 {
        // Neither "::", nor loopback, nor a group.
        first != 0xff && (words[0] | words[1] & !1u64.to_be()) != 0
    } else {
        // Neither "this network", nor loopback, nor a group, nor what is above.
        first != 0 && first != 127 && first < 224
    }
}
