//! Wire formats. Fields wider than a byte are as they lie in the frame: in
//! network order, whatever the machine's.

use lb_common::mac::Mac;

use crate::wire;

/// EtherType of IPv4, as it lies in the frame.
pub const ETHERTYPE_IPV4: u16 = 0x0800u16.to_be();
/// EtherType of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86ddu16.to_be();
/// EtherType of an 802.1Q tag.
pub const ETHERTYPE_VLAN: u16 = 0x8100u16.to_be();
/// EtherType of the outer tag of 802.1ad.
pub const ETHERTYPE_QINQ: u16 = 0x88a8u16.to_be();
/// EtherType of ARP.
pub const ETHERTYPE_ARP: u16 = 0x0806u16.to_be();

/// IP protocol numbers.
pub mod protocol {
    /// ICMP (RFC 792).
    pub const ICMP: u8 = 1;
    /// TCP (RFC 9293).
    pub const TCP: u8 = 6;
    /// UDP (RFC 768).
    pub const UDP: u8 = 17;
    /// SCTP (RFC 9260).
    pub const SCTP: u8 = 132;
    /// IPv4 in IP (RFC 2003).
    pub const IPIP: u8 = 4;
    /// IPv6 in IP (RFC 2473).
    pub const IPV6: u8 = 41;
    /// IPv6 hop-by-hop options (RFC 8200 §4.3).
    pub const HOP_BY_HOP: u8 = 0;
    /// IPv6 routing header (RFC 8200 §4.4).
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header (RFC 8200 §4.5).
    pub const FRAGMENT: u8 = 44;
    /// IPv6 destination options (RFC 8200 §4.6).
    pub const DESTINATION_OPTIONS: u8 = 60;
    /// ICMPv6 (RFC 4443).
    pub const ICMPV6: u8 = 58;
    /// VRRP (RFC 9568).
    pub const VRRP: u8 = 112;
}

/// Bits of [`Tcp::flags`].
pub mod tcp_flags {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Opens a connection.
    pub const SYN: u8 = 0x02;
    /// Ends a connection at once.
    pub const RST: u8 = 0x04;
    /// The acknowledgment number counts.
    pub const ACK: u8 = 0x10;
}

wire! {
    /// An Ethernet address, in as few words as it can be loaded and stored by.
    #[derive(Debug)]
    pub struct Station {
        /// Its first four bytes.
        pub first: u32,
        /// Its last two.
        pub last: u16,
    }
}

impl Station {
    /// The address in the upper 48 bits of a word, as [`Mac::with_low`] packs it.
    #[inline(always)]
    #[must_use]
    pub const fn from_high(word: u64) -> Self {
        Self { first: ((word >> 16) as u32).to_le(), last: ((word >> 48) as u16).to_le() }
    }

    /// The address in the upper 48 bits of a word whose lower 16 are zero.
    #[inline(always)]
    #[must_use]
    pub const fn to_high(self) -> u64 {
        (u32::from_le(self.first) as u64) << 16 | (u16::from_le(self.last) as u64) << 48
    }

    /// Whether it is the address of a virtual router of either family
    /// (00:00:5e:00:01:xx and 00:00:5e:00:02:xx, RFC 9568 §7.3).
    #[inline(always)]
    #[must_use]
    pub const fn is_virtual_router(self) -> bool {
        let family = self.last.to_ne_bytes()[0];
        self.first == u32::from_ne_bytes([0x00, 0x00, 0x5e, 0x00]) && (family == 1 || family == 2)
    }
}

impl From<Mac> for Station {
    #[inline(always)]
    fn from(mac: Mac) -> Self {
        Self::from_high(mac.with_low(0))
    }
}

wire! {
    /// Ethernet II.
    #[derive(Debug)]
    pub struct Ethernet {
        /// To whom.
        pub destination: Station,
        /// From whom.
        pub source: Station,
        /// What follows.
        pub ethertype: u16,
    }

    /// A VLAN tag (IEEE 802.1Q §9.6), which stands where the EtherType would.
    #[derive(Debug)]
    pub struct Tag {
        /// [`ETHERTYPE_VLAN`] or [`ETHERTYPE_QINQ`].
        pub kind: u16,
        /// Priority (upper four bits) and number of the VLAN.
        pub control: u16,
    }

    /// IPv4 without options (RFC 791 §3.1).
    #[derive(Debug)]
    pub struct Ipv4 {
        /// Version (4) and header length in words.
        pub version_ihl: u8,
        /// DSCP and ECN.
        pub tos: u8,
        /// Header and payload, in bytes.
        pub total_length: u16,
        /// Names the datagram among its sender's.
        pub identification: u16,
        /// Flags and fragment offset.
        pub fragment: u16,
        /// Hops left.
        pub ttl: u8,
        /// What follows.
        pub protocol: u8,
        /// Over the header.
        pub checksum: u16,
        /// From where.
        pub source: u32,
        /// To where.
        pub destination: u32,
    }

    /// IPv6 (RFC 8200 §3).
    #[derive(Debug)]
    pub struct Ipv6 {
        /// Version (6), traffic class, flow label.
        pub version_class_flow: u32,
        /// What follows this header, in bytes.
        pub payload_length: u16,
        /// What that is.
        pub next_header: u8,
        /// Hops left.
        pub hop_limit: u8,
        /// From where.
        pub source: [u64; 2],
        /// To where.
        pub destination: [u64; 2],
    }

    /// The start of an IPv6 extension header.
    #[derive(Debug)]
    pub struct Extension {
        /// What follows it.
        pub next_header: u8,
        /// Its length in units of eight bytes, the first not counted.
        pub length: u8,
        /// For a fragment header: offset and "more fragments" flag.
        pub fragment: u16,
    }

    /// IPv6's fragment header (RFC 8200 §4.5).
    #[derive(Debug)]
    pub struct FragmentHeader {
        /// What follows it.
        pub next_header: u8,
        /// Zero.
        pub reserved: u8,
        /// Offset in units of eight bytes (upper 13 bits), more to come (lowest).
        pub fragment: u16,
        /// Names the datagram among its sender's.
        pub identification: u32,
    }

    /// TCP without options (RFC 9293 §3.1).
    #[derive(Debug)]
    pub struct Tcp {
        /// Sender's port.
        pub source: u16,
        /// Receiver's port.
        pub destination: u16,
        /// Number of the first byte.
        pub sequence: u32,
        /// The next byte expected from the other side.
        pub acknowledgment: u32,
        /// Header length in words, in the upper four bits.
        pub offset: u8,
        /// See [`tcp_flags`].
        pub flags: u8,
        /// Bytes the sender can take.
        pub window: u16,
        /// Over pseudo header, header and data.
        pub checksum: u16,
        /// End of urgent data.
        pub urgent: u16,
    }

    /// UDP (RFC 768).
    #[derive(Debug)]
    pub struct Udp {
        /// Sender's port.
        pub source: u16,
        /// Receiver's port.
        pub destination: u16,
        /// Header and data, in bytes.
        pub length: u16,
        /// Over pseudo header, header and data; zero (IPv4): none.
        pub checksum: u16,
    }

    /// SCTP's common header (RFC 9260 §3.1).
    #[derive(Debug)]
    pub struct SctpCommon {
        /// Sender's port and receiver's.
        pub ports: u32,
        /// Verification tag.
        pub tag: u32,
        /// CRC32C of the packet, its field as zero; little-endian.
        pub checksum: u32,
    }

    /// The head of a chunk of SCTP (RFC 9260 §3.2).
    #[derive(Debug)]
    pub struct SctpChunk {
        /// What it is.
        pub kind: u8,
        /// Means something else in each.
        pub flags: u8,
        /// Head and value in bytes, padding not counted.
        pub length: u16,
    }

    /// The ports all transports begin with.
    #[derive(Debug)]
    pub struct Ports {
        /// Sender's port.
        pub source: u16,
        /// Receiver's port.
        pub destination: u16,
    }

    /// The addresses of an IPv6 header as the words its checksum is made of.
    #[derive(Debug)]
    pub struct Ipv6Words {
        /// Everything before the addresses.
        pub before: [u32; 2],
        /// From where.
        pub source: [u32; 4],
        /// To where.
        pub destination: [u32; 4],
    }

    /// ICMP and ICMPv6 (RFC 792, RFC 4443).
    #[derive(Debug)]
    pub struct Icmp {
        /// What it is about.
        pub kind: u8,
        /// What exactly.
        pub code: u8,
        /// Over the message (and, in ICMPv6, a pseudo header).
        pub checksum: u16,
    }

    /// ARP for IPv4 over Ethernet (RFC 826).
    #[derive(Debug)]
    pub struct Arp {
        /// 1: Ethernet.
        pub hardware: u16,
        /// 0x0800: IPv4.
        pub protocol: u16,
        /// 6.
        pub hardware_length: u8,
        /// 4.
        pub protocol_length: u8,
        /// 1 request, 2 reply.
        pub operation: u16,
        /// Sender's Ethernet address.
        pub sender_mac: Mac,
        /// Sender's IPv4 address.
        pub sender: u32,
        /// Ethernet address asked for.
        pub target_mac: Mac,
        /// IPv4 address asked about.
        pub target: u32,
    }

    /// The start of a VRRP advert, the same in all versions (RFC 9568 §5).
    #[derive(Debug)]
    pub struct Advert {
        /// Version and type.
        pub version_type: u8,
        /// The virtual router it is about.
        pub vrid: u8,
    }

    /// ICMPv6 neighbour solicitation and advertisement (RFC 4861 §4.3, §4.4).
    #[derive(Debug)]
    pub struct Neighbour {
        /// 135 or 136.
        pub kind: u8,
        /// 0.
        pub code: u8,
        /// Over pseudo header and message.
        pub checksum: u16,
        /// Flags of an advertisement in the first three bits.
        pub flags: u32,
        /// The address in question.
        pub target: [u64; 2],
    }

    /// A link-layer address option (RFC 4861 §4.6.1).
    #[derive(Debug)]
    pub struct LinkLayerOption {
        /// 1 source, 2 target.
        pub kind: u8,
        /// In units of eight bytes: 1.
        pub length: u8,
        /// The address.
        pub address: Mac,
    }
}

const _: () = assert!(size_of::<Ethernet>() == 14 && size_of::<Ipv4>() == 20 && size_of::<Ipv6>() == 40);
const _: () = assert!(size_of::<Ipv6Words>() == size_of::<Ipv6>());
const _: () = assert!(size_of::<Tcp>() == 20 && size_of::<Udp>() == 8 && size_of::<Arp>() == 28);
const _: () = assert!(size_of::<Neighbour>() == 24 && size_of::<LinkLayerOption>() == 8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_station_is_the_address_it_was_made_of() {
        let mac = Mac([1, 2, 3, 0xfd, 0xfe, 0xff]);
        let station = Station::from(mac);
        assert_eq!(Mac::from_high(station.to_high()), mac);
        assert_eq!(station.to_high(), mac.with_low(0));
        let first = station.first;
        assert_eq!(first.to_ne_bytes(), [1, 2, 3, 0xfd]);
        assert!(!station.is_virtual_router());
        let router = |family| Station::from(Mac([0, 0, 0x5e, 0, family, 51])).is_virtual_router();
        assert!(router(1) && router(2) && !router(0) && !router(3));
    }
}
