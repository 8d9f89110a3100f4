//! Frames as a list of facts, and the bytes that follow from them.
//!
//! Every checksum is computed from scratch over the finished bytes, so that a
//! frame which is expected can be written down by changing the facts of the one
//! that was sent.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::mac::Mac;

/// TCP flags by name.
pub mod flags {
    /// No more data.
    pub const FIN: u8 = 0x01;
    /// Opens a connection.
    pub const SYN: u8 = 0x02;
    /// Ends a connection.
    pub const RST: u8 = 0x04;
    /// Data is to be delivered at once.
    pub const PSH: u8 = 0x08;
    /// The acknowledgment number counts.
    pub const ACK: u8 = 0x10;
}

/// What is to be in a checksum field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Checksum {
    /// The right value.
    Right,
    /// Zero: none was made.
    Zero,
    /// What a sender leaves that has its interface sum up the rest: the folded
    /// sum of the pseudo header.
    Partial,
    /// The right value with one bit turned.
    Wrong,
}

/// What an IP packet carries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// A TCP segment.
    Tcp {
        /// Sender's port.
        source: u16,
        /// Receiver's port.
        destination: u16,
        /// Number of the first byte.
        sequence: u32,
        /// The next byte expected.
        acknowledgment: u32,
        /// See [`flags`].
        flags: u8,
        /// Bytes the sender can take.
        window: u16,
        /// Options, padded to words by their writer.
        options: Vec<u8>,
    },
    /// A UDP datagram.
    Udp {
        /// Sender's port.
        source: u16,
        /// Receiver's port.
        destination: u16,
    },
    /// An ICMP or ICMPv6 message, whose kind of checksum follows the family.
    Icmp {
        /// What it is about.
        kind: u8,
        /// What exactly.
        code: u8,
        /// The four bytes after the checksum.
        rest: [u8; 4],
    },
    /// Anything else.
    Other(u8),
}

/// A frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spec {
    /// To which station.
    pub to: Mac,
    /// From which station.
    pub from: Mac,
    /// A VLAN tag.
    pub vlan: Option<u16>,
    /// From where.
    pub source: IpAddr,
    /// To where, in the same family.
    pub destination: IpAddr,
    /// TTL or hop limit.
    pub hops: u8,
    /// DSCP and ECN.
    pub class: u8,
    /// IPv4 identification, IPv6 flow label.
    pub id: u16,
    /// The IPv4 fragment field.
    pub fragment: u16,
    /// IPv4 options, padded to words by their writer.
    pub options: Vec<u8>,
    /// IPv6 extension headers: type, and everything after the type of the next.
    pub extensions: Vec<(u8, Vec<u8>)>,
    /// What is carried.
    pub content: Content,
    /// What follows the header of that.
    pub payload: Vec<u8>,
    /// The transport's checksum.
    pub checksum: Checksum,
    /// What follows the datagram in the frame.
    pub padding: Vec<u8>,
}

impl Spec {
    fn new(source: IpAddr, destination: IpAddr, content: Content) -> Self {
        assert_eq!(source.is_ipv4(), destination.is_ipv4(), "one packet, one family");
        Self {
            to: Mac([0x02, 0, 0, 0, 0, 0x01]),
            from: Mac([0x02, 0, 0, 0, 0, 0xc1]),
            vlan: None,
            source,
            destination,
            hops: 61,
            class: 0xb9,
            id: 0x1c46,
            fragment: 0x4000,
            options: Vec::new(),
            extensions: Vec::new(),
            content,
            payload: Vec::new(),
            checksum: Checksum::Right,
            padding: Vec::new(),
        }
    }

    /// A TCP segment.
    #[must_use]
    pub fn tcp(source: (IpAddr, u16), destination: (IpAddr, u16), flags: u8) -> Self {
        let options = if flags & flags::SYN != 0 { vec![2, 4, 5, 0xb4, 1, 3, 3, 7] } else { Vec::new() };
        let content = Content::Tcp {
            source: source.1,
            destination: destination.1,
            sequence: 0x1234_5678,
            acknowledgment: if flags & flags::ACK != 0 { 0x9abc_def0 } else { 0 },
            flags,
            window: 0xfaf0,
            options,
        };
        Self::new(source.0, destination.0, content)
    }

    /// A UDP datagram.
    #[must_use]
    pub fn udp(source: (IpAddr, u16), destination: (IpAddr, u16)) -> Self {
        Self::new(source.0, destination.0, Content::Udp { source: source.1, destination: destination.1 })
            .with(|s| s.payload = b"a question".to_vec())
    }

    /// An ICMP or ICMPv6 message.
    #[must_use]
    pub fn icmp(source: IpAddr, destination: IpAddr, kind: u8, code: u8, payload: &[u8]) -> Self {
        Self::new(source, destination, Content::Icmp { kind, code, rest: [0x12, 0x34, 0, 1] })
            .with(|s| s.payload = payload.to_vec())
    }

    /// An echo request.
    #[must_use]
    pub fn ping(source: IpAddr, destination: IpAddr) -> Self {
        Self::icmp(source, destination, if source.is_ipv4() { 8 } else { 128 }, 0, b"is anybody there?")
    }

    /// A packet of another protocol.
    #[must_use]
    pub fn other(source: IpAddr, destination: IpAddr, protocol: u8) -> Self {
        Self::new(source, destination, Content::Other(protocol)).with(|s| s.payload = vec![7; 24])
    }

    /// The same frame with something changed.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// The same segment with other numbers.
    #[must_use]
    pub fn numbers(mut self, first: u32, next: u32) -> Self {
        if let Content::Tcp { sequence, acknowledgment, .. } = &mut self.content {
            (*sequence, *acknowledgment) = (first, next);
        }
        self
    }

    /// The same frame with data.
    #[must_use]
    pub fn data(self, payload: &[u8]) -> Self {
        self.with(|s| s.payload = payload.to_vec())
    }

    /// The same frame with another checksum.
    #[must_use]
    pub fn checksum(self, checksum: Checksum) -> Self {
        self.with(|s| s.checksum = checksum)
    }

    /// The same frame, padded with zeros to a length.
    #[must_use]
    pub fn padded_to(self, length: usize) -> Self {
        let missing = length.saturating_sub(self.bytes().len());
        self.with(|s| s.padding = vec![0; missing])
    }

    /// Source and destination port.
    #[must_use]
    pub fn ports(&self) -> (u16, u16) {
        match self.content {
            Content::Tcp { source, destination, .. } | Content::Udp { source, destination } => (source, destination),
            Content::Icmp { .. } | Content::Other(_) => (0, 0),
        }
    }

    /// The same frame between other ports.
    #[must_use]
    pub fn between_ports(mut self, from: u16, to: u16) -> Self {
        if let Content::Tcp { source, destination, .. } | Content::Udp { source, destination } = &mut self.content {
            (*source, *destination) = (from, to);
        }
        self
    }

    /// The same frame as the balancer sends it on: one hop less, from and to
    /// these addresses, ports and stations.
    #[must_use]
    pub fn sent_on(self, source: (IpAddr, u16), destination: (IpAddr, u16), from: Mac, to: Mac) -> Self {
        self.between_ports(source.1, destination.1).with(|s| {
            (s.source, s.destination) = (source.0, destination.0);
            (s.from, s.to) = (from, to);
            s.hops -= 1;
            if s.checksum == Checksum::Partial {
                s.checksum = Checksum::Right;
            }
        })
    }

    /// Where the network header begins.
    #[must_use]
    pub const fn network_offset(&self) -> usize {
        if self.vlan.is_some() { 18 } else { 14 }
    }

    /// Where the transport header begins.
    #[must_use]
    pub fn transport_offset(&self) -> usize {
        let extensions: usize = self.extensions.iter().map(|(_, rest)| rest.len() + 1).sum();
        self.network_offset() + if self.source.is_ipv4() { 20 + self.options.len() } else { 40 + extensions }
    }

    /// The frame.
    ///
    /// # Panics
    /// When addresses are of two families or a part is longer than a header
    /// can say.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut frame = [self.to.0, self.from.0].concat();
        if let Some(tag) = self.vlan {
            frame.extend([0x81, 0x00]);
            frame.extend(tag.to_be_bytes());
        }
        let message = self.message();
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                frame.extend([0x08, 0x00]);
                frame.extend(self.ipv4(source, destination, message.len()));
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                frame.extend([0x86, 0xdd]);
                frame.extend(self.ipv6(source, destination, message.len()));
            }
            _ => panic!("one packet, one family"),
        }
        frame.extend(message);
        frame.extend(&self.padding);
        frame
    }

    fn protocol(&self) -> u8 {
        match self.content {
            Content::Tcp { .. } => 6,
            Content::Udp { .. } => 17,
            Content::Icmp { .. } if self.source.is_ipv4() => 1,
            Content::Icmp { .. } => 58,
            Content::Other(protocol) => protocol,
        }
    }

    fn ipv4(&self, source: Ipv4Addr, destination: Ipv4Addr, length: usize) -> Vec<u8> {
        let header = 20 + self.options.len();
        let total = u16::try_from(header + length).unwrap();
        let mut ip = vec![0x40 | u8::try_from(header / 4).unwrap(), self.class];
        ip.extend(total.to_be_bytes());
        ip.extend(self.id.to_be_bytes());
        ip.extend(self.fragment.to_be_bytes());
        ip.extend([self.hops, self.protocol(), 0, 0]);
        ip.extend(source.octets());
        ip.extend(destination.octets());
        ip.extend(&self.options);
        let checksum = !folded(&ip);
        ip[10..12].copy_from_slice(&checksum.to_be_bytes());
        ip
    }

    fn ipv6(&self, source: Ipv6Addr, destination: Ipv6Addr, length: usize) -> Vec<u8> {
        let mut kinds: Vec<u8> = self.extensions.iter().map(|(kind, _)| *kind).collect();
        kinds.push(self.protocol());
        let mut extensions = Vec::new();
        for ((_, rest), next) in self.extensions.iter().zip(&kinds[1..]) {
            extensions.push(*next);
            extensions.extend(rest);
        }
        let word = 6 << 28 | u32::from(self.class) << 20 | u32::from(self.id);
        let mut ip = word.to_be_bytes().to_vec();
        ip.extend(u16::try_from(extensions.len() + length).unwrap().to_be_bytes());
        ip.extend([kinds[0], self.hops]);
        ip.extend(source.octets());
        ip.extend(destination.octets());
        ip.extend(extensions);
        ip
    }

    fn message(&self) -> Vec<u8> {
        let (mut message, place) = match &self.content {
            Content::Tcp { source, destination, sequence, acknowledgment, flags, window, options } => {
                let mut tcp = [source.to_be_bytes(), destination.to_be_bytes()].concat();
                tcp.extend(sequence.to_be_bytes());
                tcp.extend(acknowledgment.to_be_bytes());
                tcp.extend([u8::try_from((20 + options.len()) / 4).unwrap() << 4, *flags]);
                tcp.extend(window.to_be_bytes());
                tcp.extend([0; 4]);
                tcp.extend(options);
                (tcp, 16)
            }
            Content::Udp { source, destination } => {
                let mut udp = [source.to_be_bytes(), destination.to_be_bytes()].concat();
                udp.extend(u16::try_from(8 + self.payload.len()).unwrap().to_be_bytes());
                udp.extend([0; 2]);
                (udp, 6)
            }
            Content::Icmp { kind, code, rest } => {
                let mut icmp = vec![*kind, *code, 0, 0];
                icmp.extend(rest);
                (icmp, 2)
            }
            Content::Other(_) => return self.payload.clone(),
        };
        message.extend(&self.payload);
        let pseudo = self.pseudo_header(message.len());
        let mut right = !folded(&[pseudo.clone(), message.clone()].concat());
        if matches!(self.content, Content::Udp { .. }) && right == 0 {
            right = 0xffff;
        }
        let checksum = match self.checksum {
            Checksum::Right => right,
            Checksum::Zero => 0,
            Checksum::Partial => folded(&pseudo),
            Checksum::Wrong => right ^ 0x0100,
        };
        message[place..place + 2].copy_from_slice(&checksum.to_be_bytes());
        message
    }

    fn pseudo_header(&self, length: usize) -> Vec<u8> {
        let length = u32::try_from(length).unwrap();
        match (self.source, self.destination) {
            // ICMP has none.
            (IpAddr::V4(_), _) if self.protocol() == 1 => Vec::new(),
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                [&source.octets()[..], &destination.octets(), &[0, self.protocol()], &length.to_be_bytes()[2..]]
                    .concat()
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                [&source.octets()[..], &destination.octets(), &length.to_be_bytes(), &[0, 0, 0, self.protocol()]]
                    .concat()
            }
            _ => panic!("one packet, one family"),
        }
    }
}

/// The Internet checksum's sum over bytes, folded (RFC 1071).
#[must_use]
pub fn folded(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|c| u32::from(c[0]) << 8 | u32::from(c.get(1).copied().unwrap_or(0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap()
}

/// An ARP packet for IPv4 over Ethernet.
#[must_use]
pub fn arp(operation: u16, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr), to: Mac) -> Vec<u8> {
    let mut frame = [to.0, sender.0.0].concat();
    frame.extend([0x08, 0x06, 0, 1, 0x08, 0x00, 6, 4]);
    frame.extend(operation.to_be_bytes());
    frame.extend(sender.0.0);
    frame.extend(sender.1.octets());
    frame.extend(target.0.0);
    frame.extend(target.1.octets());
    frame
}

/// A neighbour solicitation, to the solicited-node group or by unicast, with
/// the sender's address as an option or without.
#[must_use]
pub fn solicitation(source: Ipv6Addr, target: Ipv6Addr, unicast: bool, option: Option<Mac>) -> Spec {
    let t = target.octets();
    let group =
        Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(t[13]), u16::from(t[14]) << 8 | u16::from(t[15]));
    let destination = if unicast { target } else { group };
    let mut payload = t.to_vec();
    if let Some(mac) = option {
        payload.extend([1, 1]);
        payload.extend(mac.0);
    }
    let content = Content::Icmp { kind: 135, code: 0, rest: [0; 4] };
    Spec::new(source.into(), destination.into(), content).with(|s| {
        s.payload = payload;
        s.hops = 255;
        s.class = 0;
        s.id = 0;
        if !unicast {
            s.to = Mac([0x33, 0x33, 0xff, t[13], t[14], t[15]]);
        }
    })
}
