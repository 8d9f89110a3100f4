//! What differs between IPv4 and IPv6, as one trait, so that the rest of the
//! pipeline is written once and compiled twice.

use lb_common::atomic::{Ordering::Relaxed, opaque};

use lb_common::{
    checksum::Sum,
    config::Config,
    drop_reason::DropReason,
    flow::{self, Flow4, Flow4Line, Flow6, Flow6Line, Return4, Return6},
    hash,
    limits::MAX_EXTENSION_HEADERS,
    vip::{self, VipEntry},
};

use crate::{
    far::{Call, Facts},
    headers::{Ethernet, Extension, FragmentHeader, Ipv4, Ipv6, Ipv6Words, protocol},
    lookup,
    packet::Packet,
    tables::Tables,
};

mod entry;

pub use entry::{ForwardEntry, ReturnEntry, replace};

/// Offset of the network header: VLAN tags are off by then.
pub const NETWORK_OFFSET: usize = size_of::<Ethernet>();

/// The facts of a network header. Addresses and hops are not among them: whoever
/// needs them reads them where they lie, which is cheaper than carrying them
/// past everything in between.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    /// What the payload is.
    pub protocol: u8,
    /// Offset of the payload in the frame.
    pub offset: usize,
    /// Length of the payload in bytes.
    pub length: usize,
    /// Which part of its datagram it is.
    pub fragment: Fragment,
}

/// Which part of a datagram a packet is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Fragment {
    /// All of it.
    Whole = 0,
    /// The first of several, which has the transport header.
    First = 1,
    /// One of the others.
    Later = 2,
}

impl Fragment {
    /// From two bits.
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        match bits & 3 {
            0 => Self::Whole,
            1 => Self::First,
            _ => Self::Later,
        }
    }

    /// From a fragment field's offset and its "more fragments" flag.
    #[inline(always)]
    const fn of(offset: bool, more: bool) -> Self {
        if offset {
            Self::Later
        } else if more {
            Self::First
        } else {
            Self::Whole
        }
    }
}

impl Network {
    /// Length of header and payload in bytes: what is counted.
    #[inline(always)]
    #[must_use]
    pub const fn total(&self) -> u64 {
        (self.offset - NETWORK_OFFSET + self.length) as u64
    }
}

/// IPv4 or IPv6.
pub trait Family {
    /// An address as it lies in the frame.
    type Address: Copy + PartialEq;
    /// What finds a forward entry.
    type Key: Copy + PartialEq;
    /// A line of forward entries.
    type Line: 'static;
    /// A forward entry.
    type Forward: ForwardEntry<Key = Self::Key> + 'static;
    /// A return entry.
    type Return: ReturnEntry<Address = Self::Address, Key = Self::Key> + 'static;
    /// Lines of a bucket, a power of two.
    const LINES: u32;
    /// Whether this is IPv6.
    const IS_V6: bool;
    /// The protocol number of its ICMP.
    const ICMP: u8;

    /// An address as two words.
    fn words(address: Self::Address) -> [u64; 2];
    /// An address from two words.
    fn from_words(words: [u64; 2]) -> Self::Address;
    /// The source, as it lies in the frame.
    fn source(packet: &Packet<'_>) -> Option<Self::Address>;
    /// The destination, as it lies in the frame.
    fn destination(packet: &Packet<'_>) -> Option<Self::Address>;
    /// TTL or hop limit.
    fn hops(packet: &Packet<'_>) -> Option<u8>;
    /// The sums of source and destination.
    fn address_sums(packet: &Packet<'_>) -> Option<(Sum, Sum)>;
    /// Reads and checks the header, and what is between it and the transport's.
    ///
    /// # Errors
    /// The reason to drop it.
    fn parse<T: Tables>(packet: &mut Packet<'_>, tables: &T) -> Result<Network, DropReason>;
    /// What tells this datagram from others of its sender, where it is a
    /// fragment. The packet has passed [`Family::parse`].
    fn identification(packet: &Packet<'_>) -> Option<u32>;
    /// DSCP and ECN, and whether the packet may not be fragmented.
    fn service(packet: &Packet<'_>) -> Option<(u8, bool)>;
    /// Whether a listener's `allowed_cidrs` have an address.
    fn allows<T: Tables>(tables: &T, listener: u16, address: Self::Address) -> bool;
    /// An address cut to so many bits of it, one number for each family.
    fn network(address: Self::Address, bits4: u8, bits6: u8) -> Self::Address;
    /// Looks a VIP up.
    fn vip<T: Tables>(tables: &T, address: Self::Address) -> Option<VipEntry>;
    /// Which bit of the filter of VIPs an address has.
    fn filter_bit(address: Self::Address) -> u32;
    /// A forward key.
    fn key(address: Self::Address, port: u16, listener: u16) -> Self::Key;
    /// The client's address, port and listener id in a key.
    fn key_parts(key: Self::Key) -> (Self::Address, u16, u16);
    /// Hash of a forward key.
    fn hash(seed: u64, key: Self::Key) -> u64;
    /// Lines of the forward table, less one.
    fn line_mask(config: &Config) -> u32;
    /// Entries of the return table, less one.
    fn return_mask(config: &Config) -> u32;
    /// A line of the forward table.
    fn line<T: Tables>(tables: &T, index: u32) -> Option<&Self::Line>;
    /// The ways of a line.
    fn ways(line: &Self::Line) -> &[Self::Forward];
    /// One of them, by its number modulo how many there are.
    fn way(line: &Self::Line, number: u16) -> Option<&Self::Forward>;
    /// A return entry.
    fn back<T: Tables>(tables: &T, index: u32) -> Option<&Self::Return>;
    /// Gives the packet addresses, and counts one hop, checksum included. The
    /// frame has passed [`Family::parse`].
    fn readdress(packet: &mut Packet<'_>, source: Self::Address, destination: Self::Address);
    /// Exchanges source and destination.
    fn swap_addresses(packet: &mut Packet<'_>);
    /// Sets the length of the payload and the hop count, checksum included.
    fn resize(packet: &mut Packet<'_>, network: &Network, length: usize, hops: u8);

    /// The place of a return entry.
    #[inline(always)]
    fn return_place(config: &Config, member: Self::Address, ports: u64) -> u32 {
        let seed = config.seed.load(Relaxed);
        flow::return_hash(seed, Self::words(member), ports) as u32 & Self::return_mask(config)
    }
}

/// IPv4.
#[derive(Clone, Copy, Debug)]
pub struct V4;
/// IPv6.
#[derive(Clone, Copy, Debug)]
pub struct V6;

/// The bits of a fragment field (RFC 791 §3.1).
const FRAGMENT_OFFSET: u16 = 0x1fffu16.to_be();
const MORE_FRAGMENTS: u16 = 0x2000u16.to_be();
const DONT_FRAGMENT: u16 = 0x4000u16.to_be();

impl Family for V4 {
    type Address = u32;
    type Key = u64;
    type Line = Flow4Line;
    type Forward = Flow4;
    type Return = Return4;
    const LINES: u32 = 2;
    const IS_V6: bool = false;
    const ICMP: u8 = protocol::ICMP;

    #[inline(always)]
    fn words(address: u32) -> [u64; 2] {
        [u64::from(address), 0]
    }

    #[inline(always)]
    fn from_words(words: [u64; 2]) -> u32 {
        words[0] as u32
    }

    #[inline(always)]
    fn source(packet: &Packet<'_>) -> Option<u32> {
        Some(packet.view::<Ipv4>(NETWORK_OFFSET)?.source)
    }

    #[inline(always)]
    fn destination(packet: &Packet<'_>) -> Option<u32> {
        Some(packet.view::<Ipv4>(NETWORK_OFFSET)?.destination)
    }

    #[inline(always)]
    fn hops(packet: &Packet<'_>) -> Option<u8> {
        Some(packet.view::<Ipv4>(NETWORK_OFFSET)?.ttl)
    }

    #[inline(always)]
    fn address_sums(packet: &Packet<'_>) -> Option<(Sum, Sum)> {
        let ip = packet.view::<Ipv4>(NETWORK_OFFSET)?;
        Some((Sum::default().add32(ip.source), Sum::default().add32(ip.destination)))
    }

    #[inline(always)]
    fn parse<T: Tables>(packet: &mut Packet<'_>, _: &T) -> Result<Network, DropReason> {
        const BAD: DropReason = DropReason::MalformedIpv4;
        let ip = packet.view::<Ipv4>(NETWORK_OFFSET).ok_or(BAD)?;
        let header = usize::from(ip.version_ihl & 0xf) * 4;
        let total = usize::from(u16::from_be(ip.total_length));
        if ip.version_ihl >> 4 != 4 || header < size_of::<Ipv4>() || total < header {
            return Err(BAD);
        }
        if total > packet.length().wrapping_sub(NETWORK_OFFSET) {
            return Err(BAD);
        }
        let fragment = Fragment::of(ip.fragment & FRAGMENT_OFFSET != 0, ip.fragment & MORE_FRAGMENTS != 0);
        Ok(Network { protocol: ip.protocol, offset: NETWORK_OFFSET + header, length: total - header, fragment })
    }

    #[inline(always)]
    fn identification(packet: &Packet<'_>) -> Option<u32> {
        Some(u32::from(packet.view::<Ipv4>(NETWORK_OFFSET)?.identification))
    }

    #[inline(always)]
    fn service(packet: &Packet<'_>) -> Option<(u8, bool)> {
        let ip = packet.view::<Ipv4>(NETWORK_OFFSET)?;
        Some((ip.tos, ip.fragment & DONT_FRAGMENT != 0))
    }

    #[inline(always)]
    fn allows<T: Tables>(tables: &T, listener: u16, address: u32) -> bool {
        tables.allows4(listener, address)
    }

    #[inline(always)]
    fn network(address: u32, bits4: u8, _: u8) -> u32 {
        let gone = 32 - u32::from(if bits4 > 32 { 32 } else { bits4 });
        address & (((u64::from(u32::MAX) << gone) as u32).to_be())
    }

    #[inline(always)]
    fn vip<T: Tables>(tables: &T, address: u32) -> Option<VipEntry> {
        lookup::vip4(tables, address)
    }

    #[inline(always)]
    fn filter_bit(address: u32) -> u32 {
        vip::filter_bit4(u64::from(address))
    }

    #[inline(always)]
    fn key(address: u32, port: u16, listener: u16) -> u64 {
        u64::from(address) << 32 | flow::client_word(port, listener)
    }

    #[inline(always)]
    fn key_parts(key: u64) -> (u32, u16, u16) {
        ((key >> 32) as u32, key as u16, (key >> 16) as u16)
    }

    #[inline(always)]
    fn hash(seed: u64, key: u64) -> u64 {
        hash::one(seed, key)
    }

    #[inline(always)]
    fn line_mask(config: &Config) -> u32 {
        config.flow_masks.load(Relaxed) as u32
    }

    #[inline(always)]
    fn return_mask(config: &Config) -> u32 {
        config.return_masks.load(Relaxed) as u32
    }

    #[inline(always)]
    fn line<T: Tables>(tables: &T, index: u32) -> Option<&Flow4Line> {
        tables.flow4_line(index)
    }

    #[inline(always)]
    fn ways(line: &Flow4Line) -> &[Flow4] {
        &line.ways
    }

    #[inline(always)]
    fn way(line: &Flow4Line, number: u16) -> Option<&Flow4> {
        line.ways.get(usize::from(number) % 4)
    }

    #[inline(always)]
    fn back<T: Tables>(tables: &T, index: u32) -> Option<&Return4> {
        tables.return4(index)
    }

    #[inline(always)]
    fn readdress(packet: &mut Packet<'_>, source: u32, destination: u32) {
        let Some(ip) = packet.view_mut::<Ipv4>(NETWORK_OFFSET) else { return };
        let before = u16::from_ne_bytes([ip.ttl, ip.protocol]);
        ip.ttl = ip.ttl.wrapping_sub(1);
        let change = Sum::default()
            .sub16(before)
            .add16(u16::from_ne_bytes([ip.ttl, ip.protocol]))
            .sub32(ip.source)
            .sub32(ip.destination)
            .add32(source)
            .add32(destination);
        ip.checksum = change.update(ip.checksum);
        ip.source = source;
        ip.destination = destination;
    }

    #[inline(always)]
    fn swap_addresses(packet: &mut Packet<'_>) {
        let Some(ip) = packet.view_mut::<Ipv4>(NETWORK_OFFSET) else { return };
        (ip.source, ip.destination) = (ip.destination, ip.source);
    }

    #[inline(always)]
    fn resize(packet: &mut Packet<'_>, network: &Network, length: usize, hops: u8) {
        let Some(ip) = packet.view_mut::<Ipv4>(NETWORK_OFFSET) else { return };
        let total = ((network.offset - NETWORK_OFFSET + length) as u16).to_be();
        let before = u16::from_ne_bytes([ip.ttl, ip.protocol]);
        ip.ttl = hops;
        let change = Sum::default()
            .sub16(before)
            .add16(u16::from_ne_bytes([hops, ip.protocol]))
            .sub16(ip.total_length)
            .add16(total);
        ip.checksum = change.update(ip.checksum);
        ip.total_length = total;
    }
}

impl Family for V6 {
    type Address = [u64; 2];
    type Key = [u64; 3];
    type Line = Flow6Line;
    type Forward = Flow6;
    type Return = Return6;
    const LINES: u32 = 4;
    const IS_V6: bool = true;
    const ICMP: u8 = protocol::ICMPV6;

    #[inline(always)]
    fn words(address: [u64; 2]) -> [u64; 2] {
        address
    }

    #[inline(always)]
    fn from_words(words: [u64; 2]) -> [u64; 2] {
        words
    }

    #[inline(always)]
    fn source(packet: &Packet<'_>) -> Option<[u64; 2]> {
        Some(packet.view::<Ipv6>(NETWORK_OFFSET)?.source)
    }

    #[inline(always)]
    fn destination(packet: &Packet<'_>) -> Option<[u64; 2]> {
        Some(packet.view::<Ipv6>(NETWORK_OFFSET)?.destination)
    }

    #[inline(always)]
    fn hops(packet: &Packet<'_>) -> Option<u8> {
        Some(packet.view::<Ipv6>(NETWORK_OFFSET)?.hop_limit)
    }

    #[inline(always)]
    fn address_sums(packet: &Packet<'_>) -> Option<(Sum, Sum)> {
        let ip = packet.view::<Ipv6Words>(NETWORK_OFFSET)?;
        let (s, d) = (ip.source, ip.destination);
        let source = Sum::default().add32(s[0]).add32(s[1]).add32(s[2]).add32(s[3]);
        Some((source, Sum::default().add32(d[0]).add32(d[1]).add32(d[2]).add32(d[3])))
    }

    #[inline(always)]
    fn parse<T: Tables>(packet: &mut Packet<'_>, tables: &T) -> Result<Network, DropReason> {
        let network = fixed(packet)?;
        match network.protocol {
            protocol::TCP | protocol::UDP | protocol::SCTP | protocol::ICMPV6 => Ok(network),
            _ => Facts(tables.far(packet, Call::Extensions, [0; 4])).network(),
        }
    }

    #[inline(always)]
    fn identification(packet: &Packet<'_>) -> Option<u32> {
        let mut kind = packet.view::<Ipv6>(NETWORK_OFFSET)?.next_header;
        let mut offset = NETWORK_OFFSET + size_of::<Ipv6>();
        for _ in 0..MAX_EXTENSION_HEADERS {
            if kind == protocol::FRAGMENT {
                return Some(packet.view::<FragmentHeader>(offset)?.identification);
            }
            let extension = packet.read::<Extension>(offset)?;
            kind = extension.next_header;
            offset = opaque((offset + (usize::from(extension.length) + 1) * 8) as u64) as usize & 0x3fff;
        }
        None
    }

    #[inline(always)]
    fn service(packet: &Packet<'_>) -> Option<(u8, bool)> {
        let word = u32::from_be(packet.view::<Ipv6>(NETWORK_OFFSET)?.version_class_flow);
        Some(((word >> 20) as u8, true))
    }

    #[inline(always)]
    fn allows<T: Tables>(tables: &T, listener: u16, address: [u64; 2]) -> bool {
        tables.allows6(listener, address)
    }

    #[inline(always)]
    fn network(address: [u64; 2], _: u8, bits6: u8) -> [u64; 2] {
        [address[0] & upper(bits6).to_be(), address[1] & upper(bits6.saturating_sub(64)).to_be()]
    }

    #[inline(always)]
    fn vip<T: Tables>(tables: &T, address: [u64; 2]) -> Option<VipEntry> {
        lookup::vip6(tables, address)
    }

    #[inline(always)]
    fn filter_bit(address: [u64; 2]) -> u32 {
        vip::filter_bit6(address)
    }

    #[inline(always)]
    fn key(address: [u64; 2], port: u16, listener: u16) -> [u64; 3] {
        [address[0], address[1], flow::client_word(port, listener)]
    }

    #[inline(always)]
    fn key_parts(key: [u64; 3]) -> ([u64; 2], u16, u16) {
        ([key[0], key[1]], key[2] as u16, (key[2] >> 16) as u16)
    }

    #[inline(always)]
    fn hash(seed: u64, key: [u64; 3]) -> u64 {
        hash::three(seed, key[0], key[1], key[2])
    }

    #[inline(always)]
    fn line_mask(config: &Config) -> u32 {
        (config.flow_masks.load(Relaxed) >> 32) as u32
    }

    #[inline(always)]
    fn return_mask(config: &Config) -> u32 {
        (config.return_masks.load(Relaxed) >> 32) as u32
    }

    #[inline(always)]
    fn line<T: Tables>(tables: &T, index: u32) -> Option<&Flow6Line> {
        tables.flow6_line(index)
    }

    #[inline(always)]
    fn ways(line: &Flow6Line) -> &[Flow6] {
        &line.ways
    }

    #[inline(always)]
    fn way(line: &Flow6Line, number: u16) -> Option<&Flow6> {
        line.ways.get(usize::from(number) % 2)
    }

    #[inline(always)]
    fn back<T: Tables>(tables: &T, index: u32) -> Option<&Return6> {
        tables.return6(index)
    }

    #[inline(always)]
    fn readdress(packet: &mut Packet<'_>, source: [u64; 2], destination: [u64; 2]) {
        let Some(ip) = packet.view_mut::<Ipv6>(NETWORK_OFFSET) else { return };
        ip.hop_limit = ip.hop_limit.wrapping_sub(1);
        // Word by word: a copy of sixteen bytes would be made byte by byte.
        ip.source[0] = source[0];
        ip.source[1] = source[1];
        ip.destination[0] = destination[0];
        ip.destination[1] = destination[1];
    }

    #[inline(always)]
    fn swap_addresses(packet: &mut Packet<'_>) {
        let Some(ip) = packet.view_mut::<Ipv6>(NETWORK_OFFSET) else { return };
        (ip.source, ip.destination) = (ip.destination, ip.source);
    }

    #[inline(always)]
    fn resize(packet: &mut Packet<'_>, network: &Network, length: usize, hops: u8) {
        let Some(ip) = packet.view_mut::<Ipv6>(NETWORK_OFFSET) else { return };
        let extensions = network.offset - NETWORK_OFFSET - size_of::<Ipv6>();
        ip.payload_length = ((extensions + length) as u16).to_be();
        ip.hop_limit = hops;
    }
}

/// A word whose first so many bits are set, all of them from 64 on.
#[inline(always)]
const fn upper(bits: u8) -> u64 {
    if bits == 0 { 0 } else { u64::MAX << (64 - if bits > 64 { 64 } else { bits } as u32) }
}

/// Reads IPv6's own header.
#[inline(always)]
fn fixed(packet: &Packet<'_>) -> Result<Network, DropReason> {
    const BAD: DropReason = DropReason::MalformedIpv6;
    let ip = packet.view::<Ipv6>(NETWORK_OFFSET).ok_or(BAD)?;
    let length = usize::from(u16::from_be(ip.payload_length));
    let version = (u32::from_be(ip.version_class_flow) >> 28) as u8;
    if version != 6 || length > packet.length().wrapping_sub(NETWORK_OFFSET + size_of::<Ipv6>()) {
        return Err(BAD);
    }
    let offset = NETWORK_OFFSET + size_of::<Ipv6>();
    Ok(Network { protocol: ip.next_header, offset, length, fragment: Fragment::Whole })
}

/// Looks through IPv6's extension headers for the transport's (RFC 8200 §4).
#[inline(always)]
pub fn extensions(packet: &Packet<'_>) -> Facts {
    match behind_extensions(packet) {
        Ok(network) => Facts::of_network(&network),
        Err(reason) => Facts::failed(reason),
    }
}

#[inline(always)]
fn behind_extensions(packet: &Packet<'_>) -> Result<Network, DropReason> {
    const BAD: DropReason = DropReason::MalformedIpv6;
    let mut network = fixed(packet)?;
    for _ in 0..MAX_EXTENSION_HEADERS {
        let is_fragment = match network.protocol {
            protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS => false,
            protocol::FRAGMENT => true,
            _ => return Ok(network),
        };
        let extension = packet.read::<Extension>(network.offset).ok_or(BAD)?;
        let mut size = (usize::from(extension.length) + 1) * 8;
        if is_fragment {
            let field = extension.fragment;
            network.fragment = Fragment::of(field & 0xfff8u16.to_be() != 0, field & 1u16.to_be() != 0);
            size = size_of::<FragmentHeader>();
        }
        if size > network.length {
            return Err(BAD);
        }
        network.protocol = extension.next_header;
        network.offset = opaque((network.offset + size) as u64) as usize & 0x3fff;
        network.length -= size;
        // What follows is the middle of a message, whatever it looks like.
        if matches!(network.fragment, Fragment::Later) {
            return Ok(network);
        }
    }
    match network.protocol {
        protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS | protocol::FRAGMENT => {
            Err(DropReason::ExtensionHeaders)
        }
        _ => Ok(network),
    }
}
