//! What must hold of any packet, judged without a line of the pipeline: frames
//! are read by `etherparse`, and what may become of them follows from what the
//! tables say.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use lb_common::{counters::Event, drop_reason::DropReason, member::MemberState, protocol::Transport};
use lb_user::dataplane::{ListenerKey, Observed, ObservedListener, PoolId};

use super::{
    case::dump,
    scene::{OWN, OWN_BACK},
    world::{Fate, Outcome},
};

/// What a checksum is like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Validity {
    /// It is that of the packet.
    Right,
    /// It is zero and so says nothing.
    None,
    /// It is the folded sum of the pseudo header: somebody else was to finish it.
    Partial,
    /// It is something else.
    Wrong,
}

/// A TCP or UDP packet, as an independent parser reads it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reading {
    /// From where.
    pub source: (IpAddr, u16),
    /// To where.
    pub destination: (IpAddr, u16),
    /// Which of the two.
    pub transport: Transport,
    /// TTL or hop limit.
    pub hops: u8,
    /// Whether the IPv4 header's checksum is right; IPv6 has none.
    pub header_valid: bool,
    /// The transport's checksum.
    pub checksum: Validity,
    /// What is carried.
    pub payload: Vec<u8>,
    /// Where the transport header begins.
    pub transport_offset: usize,
}

/// Two checksum fields that say the same: zero has two forms.
fn equal(one: u16, other: u16) -> bool {
    u32::from(one) % 0xffff == u32::from(other) % 0xffff
}

/// The folded sum of a pseudo header.
fn pseudo(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> u16 {
    let bytes = |address| match address {
        IpAddr::V4(a) => Ipv4Addr::octets(&a).to_vec(),
        IpAddr::V6(a) => Ipv6Addr::octets(&a).to_vec(),
    };
    let length = u32::try_from(length).unwrap().to_be_bytes();
    super::spec::folded(&[bytes(source), bytes(destination), length.to_vec(), vec![0, protocol]].concat())
}

impl Reading {
    /// Reads a frame; `None` when it holds no whole TCP segment or UDP datagram.
    #[must_use]
    pub fn of(frame: &[u8]) -> Option<Self> {
        let packet = SlicedPacket::from_ethernet(frame).ok()?;
        if !packet.link_exts.is_empty() {
            return None;
        }
        let (source, destination, hops, header_valid, whole) = match packet.net.as_ref()? {
            NetSlice::Ipv4(ip) => {
                let header = ip.header();
                let right = header.to_header().calc_header_checksum();
                let valid = equal(header.header_checksum(), right);
                let (source, destination) = (header.source_addr().into(), header.destination_addr().into());
                (source, destination, header.ttl(), valid, ip.payload().payload)
            }
            NetSlice::Ipv6(ip) => {
                let header = ip.header();
                let (source, destination) = (header.source_addr().into(), header.destination_addr().into());
                (source, destination, header.hop_limit(), true, ip.payload().payload)
            }
            NetSlice::Arp(_) => return None,
        };
        if packet.is_ip_payload_fragmented() {
            return None;
        }
        let (transport, ports, field, right, payload, length) = match packet.transport.as_ref()? {
            TransportSlice::Tcp(tcp) => {
                let right = match (source, destination) {
                    (IpAddr::V4(s), IpAddr::V4(d)) => tcp.calc_checksum_ipv4(s.octets(), d.octets()).ok()?,
                    (IpAddr::V6(s), IpAddr::V6(d)) => tcp.calc_checksum_ipv6(s.octets(), d.octets()).ok()?,
                    _ => return None,
                };
                let ports = (tcp.source_port(), tcp.destination_port());
                (Transport::Tcp, ports, tcp.checksum(), right, tcp.payload(), tcp.slice().len())
            }
            TransportSlice::Udp(udp) => {
                let header = udp.to_header();
                let right = match (source, destination) {
                    (IpAddr::V4(s), IpAddr::V4(d)) => {
                        header.calc_checksum_ipv4_raw(s.octets(), d.octets(), udp.payload()).ok()?
                    }
                    (IpAddr::V6(s), IpAddr::V6(d)) => {
                        header.calc_checksum_ipv6_raw(s.octets(), d.octets(), udp.payload()).ok()?
                    }
                    _ => return None,
                };
                let ports = (udp.source_port(), udp.destination_port());
                (Transport::Udp, ports, udp.checksum(), right, udp.payload(), udp.slice().len())
            }
            TransportSlice::Icmpv4(_) | TransportSlice::Icmpv6(_) | TransportSlice::Igmp(_) => return None,
        };
        let checksum = if transport == Transport::Udp && field == 0 {
            Validity::None
        } else if equal(field, right) {
            Validity::Right
        } else if length == whole.len() && field == pseudo(source, destination, transport.ip_protocol(), length) {
            // No sender leaves a datagram to its hardware that is shorter than its packet.
            Validity::Partial
        } else {
            Validity::Wrong
        };
        Some(Self {
            source: (source, ports.0),
            destination: (destination, ports.1),
            transport,
            hops,
            header_valid,
            checksum,
            payload: payload.to_vec(),
            transport_offset: whole.as_ptr() as usize - frame.as_ptr() as usize,
        })
    }
}

/// A frame without its VLAN tags.
fn untagged(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    for _ in 0..2 {
        if frame.len() >= 18 && matches!(frame[12..14], [0x81, 0x00] | [0x88, 0xa8]) {
            frame.drain(12..16);
        }
    }
    frame
}

/// A flow as its two ends know it.
type Client = ((IpAddr, u16), ListenerKey);
/// The member's address and port, the VIP, the SNAT port.
type Back = ((IpAddr, u16), IpAddr, u16, Transport);

/// What has been seen so far: which flows there may be.
#[derive(Clone, Debug, Default)]
pub struct Judge {
    forward: BTreeMap<Client, Back>,
    back: BTreeMap<Back, Client>,
    /// From and to which station a client's last packet came.
    ways: BTreeMap<Client, [u8; 12]>,
    /// Packets that went to members, back to clients, and elsewhere.
    pub tally: Tally,
}

/// How many packets of each kind a judge has seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// To a member.
    pub to_members: u32,
    /// To a client.
    pub to_clients: u32,
    /// Answered here.
    pub answered: u32,
    /// Of those, with a reset in place of a member that is down.
    pub reset: u32,
    /// Dropped.
    pub dropped: u32,
    /// Passed.
    pub passed: u32,
}

impl Judge {
    /// Judges what became of a frame.
    ///
    /// # Errors
    /// What is wrong with it, with both frames.
    pub fn judge(&mut self, before: &[u8], outcome: &Outcome, tables: &Observed) -> Result<(), String> {
        let after = &outcome.frame;
        let verdict = self.verdict(before, outcome, tables);
        verdict.map_err(|e| format!("{e}\n{:?} of\n{}\nleft\n{}", outcome.fate, dump(before), dump(after)))
    }

    fn verdict(&mut self, before: &[u8], outcome: &Outcome, tables: &Observed) -> Result<(), String> {
        // Networks with tags differ in nothing but them. What passes has those it came with.
        let (before, after) = match outcome.fate {
            Fate::Pass => (before.to_vec(), outcome.frame.clone()),
            _ => (untagged(before), untagged(&outcome.frame)),
        };
        let (before, after) = (before.as_slice(), &after);
        let counted = |event: Event| outcome.events.iter().any(|(at, _)| *at == event.index() as usize);
        if counted(Event::AnsweredUnreachable) {
            self.tally.answered += 1;
            return unreachable(before, after);
        }
        if before.len() != after.len() {
            return Err("the length changed".to_owned());
        }
        let sent_on = matches!(outcome.fate, Fate::Transmit | Fate::Redirect);
        if sent_on && (counted(Event::IcmpTranslated) || is_fragment(before)) {
            // The fixtures say what becomes of these, bit by bit.
            return Ok(());
        }
        let ours = destination(before).is_some_and(|d| tables.vips.contains_key(&d));
        match outcome.fate {
            Fate::Pass => {
                self.tally.passed += 1;
                let balanced = ours && Reading::of(before).is_some();
                if before == after.as_slice() && !balanced && outcome.events.is_empty() {
                    return Ok(());
                }
                Err("a packet that passes is nobody's, untouched and not counted".to_owned())
            }
            Fate::Drop => {
                self.tally.dropped += 1;
                let control = before.get(12..14) == Some(&[0x08, 0x06]) || is_solicitation(before);
                if (ours || control) && outcome.events.len() == 1 {
                    return Ok(());
                }
                Err("a packet that is dropped is for a VIP, and its reason counted".to_owned())
            }
            Fate::Transmit | Fate::Redirect => {
                let completed = Event::ChecksumCompleted.index() as usize;
                if outcome.events.iter().any(|(event, _)| *event != completed) {
                    self.tally.answered += 1;
                    let reset = Event::Drop(DropReason::MemberDownReset).index() as usize;
                    if outcome.events.iter().any(|(event, _)| *event == reset) {
                        self.reset(before, after, tables)?;
                    }
                    return answered(before, after);
                }
                self.translated(before, after, tables)
            }
        }
    }

    /// A reset in place of a member that is down goes to the client of one of its
    /// flows, and answers what no other answer is due to.
    fn reset(&mut self, before: &[u8], after: &[u8], tables: &Observed) -> Result<(), String> {
        self.tally.reset += 1;
        let asked = Reading::of(before).ok_or("what is reset is a whole packet")?;
        let sent = Reading::of(after).ok_or("a reset is a whole packet")?;
        let (vip, port) = asked.destination;
        let key = ListenerKey { vip, transport: asked.transport, port };
        let (member, ..) = self.forward.get(&(asked.source, key)).ok_or("there was no such flow")?;
        if !resets_flows(tables, *member) {
            return Err("the flow's member is not down, or keeps its flows".to_owned());
        }
        if (sent.source, sent.destination) != (asked.destination, asked.source) {
            return Err("the reset answers the packet".to_owned());
        }
        // It is the client's last packet all the same.
        self.came(before, (asked.source, key));
        let (asked, sent) = tcp_of(before).zip(tcp_of(after)).ok_or("only TCP is reset")?;
        if asked.rst || asked.syn && !asked.ack {
            return Err("nothing answers a reset, and a SYN opens a flow".to_owned());
        }
        let counted = u32::try_from(Reading::of(before).map_or(0, |r| r.payload.len())).unwrap_or(0);
        let end = asked.sequence_number.wrapping_add(counted + u32::from(asked.syn) + u32::from(asked.fin));
        let expected = if asked.ack { (asked.acknowledgment_number, 0, false) } else { (0, end, true) };
        if !sent.rst || (sent.sequence_number, sent.acknowledgment_number, sent.ack) != expected {
            return Err("the reset has other numbers than RFC 9293 says".to_owned());
        }
        Ok(())
    }

    fn translated(&mut self, before: &[u8], after: &[u8], tables: &Observed) -> Result<(), String> {
        let asked = Reading::of(before).ok_or("what is sent on is a whole packet")?;
        let sent = Reading::of(after).ok_or("what was sent on is no packet any more")?;
        let (vip, port) = asked.destination;
        let seen = tables.vips.get(&vip).ok_or_else(|| format!("{vip} is not ours"))?;
        if before.starts_with(&[0, 0, 0x5e, 0]) && matches!(before[4], 1 | 2) {
            let instance = seen.instance.and_then(|id| tables.instances.get(&id)).filter(|i| i.active);
            let mac = instance.and_then(|i| i.mac).ok_or("the VIP has no virtual router that is Active")?;
            if before[..6] != mac.0 {
                return Err("the frame is for another virtual router".to_owned());
            }
        }
        untouched(before, after, &asked)?;
        checksums(&asked, &sent)?;
        if sent.source.0 != vip {
            return Err("the VIP speaks to both sides".to_owned());
        }
        let back = (asked.source, vip, port, asked.transport);
        if let Some((client, key)) = self.back.get(&back).copied() {
            self.tally.to_clients += 1;
            if (sent.destination, sent.source.1) != (client, key.port) {
                return Err(format!("the reply belongs to {client:?} at port {}", key.port));
            }
            let way = self.ways.get(&(client, key)).ok_or("a client of that name never asked")?;
            if after[..6] != way[6..] || after[6..12] != way[..6] {
                return Err("a reply goes by the way the client's last packet came".to_owned());
            }
            return Ok(());
        }
        let key = ListenerKey { vip, transport: asked.transport, port };
        let listener = tables.listeners.get(&key).ok_or("nobody listens there")?;
        self.tally.to_members += 1;
        if resets_flows(tables, sent.destination) && tcp_of(after).is_some_and(|tcp| !tcp.rst) {
            return Err("no more than a reset goes to a member whose flows are reset".to_owned());
        }
        if after[6..12] != OWN.0 && after[6..12] != OWN_BACK.0 {
            return Err("the frame comes from an address of ours".to_owned());
        }
        self.came(before, (asked.source, key));
        self.at_member(asked.source, key, listener, &sent, tables)
    }

    /// Remembers by which way a client's packet came.
    fn came(&mut self, frame: &[u8], client: Client) {
        if let Some(way) = frame.first_chunk() {
            self.ways.insert(client, *way);
        }
    }

    fn at_member(
        &mut self,
        client: (IpAddr, u16),
        key: ListenerKey,
        listener: &ObservedListener,
        sent: &Reading,
        tables: &Observed,
    ) -> Result<(), String> {
        let member = tables.members.values().find(|m| (m.address, m.port) == sent.destination);
        member.ok_or("there is no such member")?;
        let (low, high) = tables.snat_ports;
        if !(low..=high).contains(&sent.source.1) {
            return Err("the SNAT port is out of range".to_owned());
        }
        if tables.listeners.contains_key(&ListenerKey { port: sent.source.1, ..key }) {
            return Err("the SNAT port is a listener's".to_owned());
        }
        let back = (sent.destination, key.vip, sent.source.1, key.transport);
        if self.forward.get(&(client, key)) == Some(&back) {
            return Ok(());
        }
        if !members_of(tables, listener.pool).contains(&sent.destination) {
            return Err("a new flow goes to a member of the pool's table".to_owned());
        }
        if let Some(old) = self.forward.insert((client, key), back) {
            self.back.remove(&old);
        }
        if let Some(other) = self.back.insert(back, (client, key)) {
            self.forward.remove(&other);
        }
        Ok(())
    }
}

/// Addresses and ports of a pool's table.
fn members_of(tables: &Observed, pool: PoolId) -> Vec<(IpAddr, u16)> {
    let slots = tables.pools.get(&pool).map_or(&[][..], |p| &p.table);
    slots.iter().filter_map(|id| tables.members.get(id)).map(|m| (m.address, m.port)).collect()
}

/// Whether the member at this address and port has its flows reset.
fn resets_flows(tables: &Observed, member: (IpAddr, u16)) -> bool {
    let mut found = tables.members.values().filter(|m| (m.address, m.port) == member);
    found.any(|m| m.flags & MemberState::RESETS_FLOWS != 0)
}

fn tcp_of(frame: &[u8]) -> Option<etherparse::TcpHeader> {
    match SlicedPacket::from_ethernet(frame).ok()?.transport? {
        TransportSlice::Tcp(tcp) => Some(tcp.to_header()),
        _ => None,
    }
}

/// The destination that a frame's EtherType and fixed header give.
fn destination(frame: &[u8]) -> Option<IpAddr> {
    match frame.get(12..14)? {
        [0x08, 0x00] => {
            let bytes: [u8; 4] = frame.get(30..34)?.try_into().ok()?;
            Some(IpAddr::from(bytes))
        }
        [0x86, 0xdd] => {
            let bytes: [u8; 16] = frame.get(38..54)?.try_into().ok()?;
            Some(IpAddr::from(bytes))
        }
        _ => None,
    }
}

fn is_solicitation(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[0x86, 0xdd]) && frame.get(20) == Some(&58) && frame.get(54) == Some(&135)
}

/// Whether a frame holds a part of a datagram.
fn is_fragment(frame: &[u8]) -> bool {
    SlicedPacket::from_ethernet(frame).is_ok_and(|packet| packet.is_ip_payload_fragmented())
}

/// What is unreachable is told to who asked, with the packet that asked, or its
/// beginning.
fn unreachable(before: &[u8], after: &[u8]) -> Result<(), String> {
    let inner = match after.get(12..14) {
        Some([0x08, 0x00]) => 14 + 20 + 8,
        Some([0x86, 0xdd]) => 14 + 40 + 8,
        _ => return Err("what is answered is an IP packet".to_owned()),
    };
    if after[..6] != before[6..12] || after[6..12] != before[..6] {
        return Err("an answer goes back to the station that asked".to_owned());
    }
    let quoted = after.get(inner..).unwrap_or_default();
    if quoted.len() < 28 || !before[14..].starts_with(quoted) {
        return Err("an answer quotes what it is about".to_owned());
    }
    let sliced = SlicedPacket::from_ethernet(after).map_err(|e| format!("the answer is no packet: {e}"))?;
    match sliced.transport {
        Some(TransportSlice::Icmpv4(_) | TransportSlice::Icmpv6(_)) => Ok(()),
        _ => Err("the answer is ICMP".to_owned()),
    }
}

/// An answer goes back to who asked, from who was asked.
fn answered(before: &[u8], after: &[u8]) -> Result<(), String> {
    let probes = is_solicitation(before) && before[22..38] == [0; 16];
    if probes {
        if after[..6] == [0x33, 0x33, 0, 0, 0, 1] {
            return Ok(());
        }
        return Err("whoever has no address yet is answered by all hearing it".to_owned());
    }
    if after[..6] != before[6..12] && after[..6] != before[22..28] {
        return Err("an answer goes back to the station that asked".to_owned());
    }
    if let Some(reset) = Reading::of(after)
        && (reset.checksum != Validity::Right || !reset.payload.is_empty())
    {
        return Err("a reset is empty and has a right checksum".to_owned());
    }
    Ok(())
}

/// Nothing changes but stations, hops, addresses, ports and checksums.
fn untouched(before: &[u8], after: &[u8], asked: &Reading) -> Result<(), String> {
    let at = asked.transport_offset;
    let transport_checksum = at + if asked.transport == Transport::Tcp { 16 } else { 6 };
    let network: &[std::ops::Range<usize>] =
        if asked.source.0.is_ipv4() { &[0..12, 22..23, 24..34] } else { &[0..12, 21..22, 22..54] };
    let may_change = |place: usize| {
        network.iter().any(|range| range.contains(&place))
            || (at..at + 4).contains(&place)
            || (transport_checksum..transport_checksum + 2).contains(&place)
    };
    let changed = (0..before.len()).find(|place| before[*place] != after[*place] && !may_change(*place));
    if let Some(place) = changed {
        return Err(format!("byte {place} is not to be touched"));
    }
    Ok(())
}

/// What was right stays right, what was wrong stays wrong, what was missing is
/// made or left out.
fn checksums(asked: &Reading, sent: &Reading) -> Result<(), String> {
    if sent.hops != asked.hops.wrapping_sub(1) || asked.hops <= 1 {
        return Err(format!("{} hops became {}", asked.hops, sent.hops));
    }
    if sent.payload != asked.payload {
        return Err("the payload changed".to_owned());
    }
    if sent.header_valid != asked.header_valid {
        return Err("the IPv4 header's checksum is no better or worse than before".to_owned());
    }
    let expected = match asked.checksum {
        Validity::Partial => Validity::Right,
        other => other,
    };
    // A wrong one can by chance come to look like one that is partial.
    let wrong = |v| matches!(v, Validity::Wrong | Validity::Partial);
    if sent.checksum == expected || wrong(sent.checksum) && wrong(expected) {
        return Ok(());
    }
    Err(format!("a checksum that was {:?} is {:?}", asked.checksum, sent.checksum))
}
