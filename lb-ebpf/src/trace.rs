//! Telling an operator what became of packets.
//!
//! What a packet was like is kept beside it before anything of it is changed,
//! and written out with the verdict. IPv6 extension headers are not looked
//! through: such packets match by their addresses, and by the first header's
//! number.

use lb_common::{
    atomic::Ordering::Relaxed,
    trace::{TraceFilter, TraceRecord},
};

use crate::{
    headers::{
        ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_QINQ, ETHERTYPE_VLAN, Ethernet, Ipv4, Ipv6, Ports, Tag, Tcp, protocol,
    },
    ingress::Ingress,
    packet::Packet,
    tables::{Tables, Verdict},
};

/// Bytes in front of the EtherType.
const STATIONS: usize = size_of::<Ethernet>() - size_of::<u16>();
/// The fragment offset of IPv4.
const FRAGMENT_OFFSET: u16 = 0x1fffu16.to_be();

/// Keeps what a trace of this packet needs, or that there will be none. A far
/// call; returns 0.
#[inline(always)]
pub(crate) fn begin<T: Tables>(packet: &mut Packet<'_>, tables: &T, ingress: Ingress) -> u64 {
    let mut record = TraceRecord::default();
    if let Some(filter) = tables.trace_filter()
        && (filter.budget.load(Relaxed) as i64) > 0
    {
        look(packet, &mut record);
        if matches(filter, &record) {
            record.jiffies = tables.jiffies();
            record.frame = u64::from(ingress.ifindex()) | (packet.length() as u64 & 0xffff) << 32;
            record.verdict = TraceRecord::PENDING;
        }
    }
    tables.keep_trace(&record);
    0
}

/// Reads what a record has of a packet.
#[inline(always)]
fn look(packet: &Packet<'_>, record: &mut TraceRecord) -> Option<()> {
    let mut offset = STATIONS;
    for _ in 0..2 {
        let kind = packet.view::<Tag>(offset)?.kind;
        offset += if kind == ETHERTYPE_VLAN || kind == ETHERTYPE_QINQ { size_of::<Tag>() } else { 0 };
    }
    let ethertype = u16::from_ne_bytes(packet.read(offset)?);
    let network = offset + size_of::<u16>();
    let (carried, transport) = match ethertype {
        ETHERTYPE_IPV4 => {
            let ip = packet.view::<Ipv4>(network)?;
            record.source[0] = u64::from(ip.source);
            record.destination[0] = u64::from(ip.destination);
            record.transport = u64::from(ip.protocol) << 32 | 4 << 48;
            if ip.fragment & FRAGMENT_OFFSET != 0 {
                return None;
            }
            (ip.protocol, network + usize::from(ip.version_ihl & 0xf) * 4)
        }
        ETHERTYPE_IPV6 => {
            let ip = packet.view::<Ipv6>(network)?;
            record.source = ip.source;
            record.destination = ip.destination;
            record.transport = u64::from(ip.next_header) << 32 | 6 << 48;
            (ip.next_header, network + size_of::<Ipv6>())
        }
        _ => return None,
    };
    if !matches!(carried, protocol::TCP | protocol::UDP | protocol::SCTP) {
        return None;
    }
    let ports = packet.view::<Ports>(transport)?;
    record.transport |= u64::from(u16::from_be(ports.source)) | u64::from(u16::from_be(ports.destination)) << 16;
    if carried == protocol::TCP {
        record.transport |= u64::from(packet.view::<Tcp>(transport)?.flags) << 40;
    }
    Some(())
}

/// Whether a packet is one that is asked for, as far as it is known before its
/// verdict.
#[inline(always)]
fn matches(filter: &TraceFilter, record: &TraceRecord) -> bool {
    let rest = filter.rest.load(Relaxed);
    let (port, carried, family) = (rest & 0xffff, rest >> 16 & 0xff, rest >> 24 & 0xff);
    let of = |address: [u64; 2]| {
        let differs =
            |word: usize| (address[word] ^ filter.address[word].load(Relaxed)) & filter.mask[word].load(Relaxed);
        differs(0) | differs(1) == 0
    };
    let transport = record.transport;
    (of(record.source) || of(record.destination))
        && (port == 0 || transport & 0xffff == port || transport >> 16 & 0xffff == port)
        && (carried == 0 || transport >> 32 & 0xff == carried)
        && (family == 0 || transport >> 48 & 0xff == family)
}

/// Writes the trace of a packet that matched, if its verdict is asked for too and
/// there are records left to be written. A far call; returns 0.
#[inline(always)]
pub(crate) fn end<T: Tables>(tables: &T, verdict: Verdict) -> u64 {
    let (Some(filter), Some(mut record)) = (tables.trace_filter(), tables.take_trace()) else { return 0 };
    let word = verdict.to_word();
    // An answer leaves like what is transmitted.
    let class = if word & 0xff == 4 { 2 } else { word & 0xff };
    let asked = filter.rest.load(Relaxed) >> 32 & 0xff;
    if record.verdict != TraceRecord::PENDING || asked != 0 && asked != class + 1 {
        return 0;
    }
    // Several CPUs may take the last one: it is as many too few as the number is
    // below zero.
    if filter.budget.fetch_add(u64::MAX, Relaxed) as i64 <= 0 {
        filter.budget.fetch_add(1, Relaxed);
        return 0;
    }
    record.verdict = class | word & 0xff_ff00;
    tables.trace(&record);
    0
}
