//! What differs between IPv4 and IPv6, as one trait, so that the rest of the
//! pipeline is written once and compiled twice.

use lb_common::atomic::Ordering::Relaxed;

use lb_common::{
    checksum::Sum,
    config::Config,
    drop_reason::DropReason,
    flow::{self, Flow4, Flow4Line, Flow6, Flow6Line, Return4, Return6},
    hash,
    limits::MAX_EXTENSION_HEADERS,
    vip::VipEntry,
};

use crate::{
    headers::{Ethernet, Extension, Ipv4, Ipv6, Ipv6Words, protocol},
    lookup,
    packet::Packet,
    tables::Tables,
};

mod entry;

pub use entry::{ForwardEntry, ReturnEntry, replace};

/// Offset of the network header: frames with VLAN tags are not balanced yet.
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
    /// Reads and checks the header.
    ///
    /// # Errors
    /// The reason to drop it.
    fn parse(packet: &Packet<'_>) -> Result<Network, DropReason>;
    /// Looks a VIP up.
    fn vip<T: Tables>(tables: &T, address: Self::Address) -> Option<VipEntry>;
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
    /// A return entry.
    fn back<T: Tables>(tables: &T, index: u32) -> Option<&Self::Return>;
    /// Sends the packet on from the address it came to, and counts one hop,
    /// checksum included. The frame has passed [`Family::parse`].
    fn readdress(packet: &mut Packet<'_>, destination: Self::Address);
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

/// All bits of a fragment field but "don't fragment": an offset, or more to come.
const FRAGMENT_BITS: u16 = 0x3fffu16.to_be();

impl Family for V4 {
    type Address = u32;
    type Key = u64;
    type Line = Flow4Line;
    type Forward = Flow4;
    type Return = Return4;
    const LINES: u32 = 2;
    const IS_V6: bool = false;

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
    fn parse(packet: &Packet<'_>) -> Result<Network, DropReason> {
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
        if ip.fragment & FRAGMENT_BITS != 0 {
            return Err(DropReason::Fragment);
        }
        Ok(Network { protocol: ip.protocol, offset: NETWORK_OFFSET + header, length: total - header })
    }

    #[inline(always)]
    fn vip<T: Tables>(tables: &T, address: u32) -> Option<VipEntry> {
        lookup::vip4(tables, address)
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
    fn back<T: Tables>(tables: &T, index: u32) -> Option<&Return4> {
        tables.return4(index)
    }

    #[inline(always)]
    fn readdress(packet: &mut Packet<'_>, destination: u32) {
        let Some(ip) = packet.view_mut::<Ipv4>(NETWORK_OFFSET) else { return };
        let before = u16::from_ne_bytes([ip.ttl, ip.protocol]);
        ip.ttl = ip.ttl.wrapping_sub(1);
        let change = Sum::default()
            .sub16(before)
            .add16(u16::from_ne_bytes([ip.ttl, ip.protocol]))
            .sub32(ip.source)
            .add32(destination);
        ip.checksum = change.update(ip.checksum);
        ip.source = ip.destination;
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
    fn parse(packet: &Packet<'_>) -> Result<Network, DropReason> {
        const BAD: DropReason = DropReason::MalformedIpv6;
        let ip = packet.view::<Ipv6>(NETWORK_OFFSET).ok_or(BAD)?;
        let payload = usize::from(u16::from_be(ip.payload_length));
        let version = (u32::from_be(ip.version_class_flow) >> 28) as u8;
        if version != 6 || payload > packet.length().wrapping_sub(NETWORK_OFFSET + size_of::<Ipv6>()) {
            return Err(BAD);
        }
        let mut network =
            Network { protocol: ip.next_header, offset: NETWORK_OFFSET + size_of::<Ipv6>(), length: payload };
        for _ in 0..MAX_EXTENSION_HEADERS {
            match network.protocol {
                protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS => {
                    let extension = packet.view::<Extension>(network.offset).ok_or(BAD)?;
                    let size = (usize::from(extension.length) + 1) * 8;
                    if size > network.length {
                        return Err(BAD);
                    }
                    network.protocol = extension.next_header;
                    network.offset += size;
                    network.length -= size;
                }
                protocol::FRAGMENT => {
                    let extension = packet.view::<Extension>(network.offset).ok_or(BAD)?;
                    // An atomic fragment (RFC 6946) is a whole datagram: offset
                    // zero and nothing to follow.
                    if extension.fragment & 0xfff9u16.to_be() != 0 {
                        return Err(DropReason::Fragment);
                    }
                    if network.length < 8 {
                        return Err(BAD);
                    }
                    network.protocol = extension.next_header;
                    network.offset += 8;
                    network.length -= 8;
                }
                _ => return Ok(network),
            }
        }
        match network.protocol {
            protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS | protocol::FRAGMENT => {
                Err(DropReason::ExtensionHeaders)
            }
            _ => Ok(network),
        }
    }

    #[inline(always)]
    fn vip<T: Tables>(tables: &T, address: [u64; 2]) -> Option<VipEntry> {
        lookup::vip6(tables, address)
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
    fn back<T: Tables>(tables: &T, index: u32) -> Option<&Return6> {
        tables.return6(index)
    }

    #[inline(always)]
    fn readdress(packet: &mut Packet<'_>, destination: [u64; 2]) {
        let Some(ip) = packet.view_mut::<Ipv6>(NETWORK_OFFSET) else { return };
        ip.hop_limit = ip.hop_limit.wrapping_sub(1);
        // Word by word: a copy of sixteen bytes would be made byte by byte.
        let vip = ip.destination;
        ip.source[0] = vip[0];
        ip.source[1] = vip[1];
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
