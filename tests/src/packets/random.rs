//! Packets that nobody thought of: facts and bytes drawn at random, most of
//! them close enough to real ones to get far.

use lb_common::{mac::Mac, member::MemberState, protocol::Transport};
use proptest::{
    collection::vec,
    prelude::{Just, Strategy, any, prop_oneof},
    sample::select,
    strategy::BoxedStrategy,
};

use super::{
    model::Reading,
    scene::{Kind, OTHER_ROUTER, ROUTER, Version},
    spec::{Checksum, Content, Spec, flags},
};

/// Damage done to a finished frame.
#[derive(Clone, Debug)]
pub enum Damage {
    /// A byte, somewhere, is another.
    Byte(u16, u8),
    /// Two bytes are another number.
    Word(u16, u16),
    /// The end is missing.
    Cut(u16),
    /// Something follows.
    More(Vec<u8>),
}

impl Damage {
    /// Does it. Places are taken modulo the frame's length.
    pub fn apply(&self, frame: &mut Vec<u8>) {
        let length = frame.len().max(1);
        match self {
            Self::Byte(at, value) if !frame.is_empty() => frame[usize::from(*at) % length] = *value,
            Self::Word(at, value) if frame.len() >= 2 => {
                let at = usize::from(*at) % (length - 1);
                frame[at..at + 2].copy_from_slice(&value.to_be_bytes());
            }
            Self::Cut(to) => frame.truncate(usize::from(*to) % length),
            Self::More(bytes) => frame.extend(bytes),
            Self::Byte(..) | Self::Word(..) => {}
        }
    }
}

/// Something that happens to a balancer.
#[derive(Clone, Debug)]
pub enum Event {
    /// A frame comes in.
    Frame(Vec<u8>),
    /// A member answers one of the packets it got: which, by what flags, with
    /// what, and what happens to it on the way.
    Reply {
        /// Taken modulo the packets there were.
        to: u16,
        /// TCP flags.
        flags: u8,
        /// Data.
        payload: Vec<u8>,
        /// What the checksum is like.
        checksum: Checksum,
        /// What happens on the way.
        damage: Option<Damage>,
    },
    /// A client sends once more after one of the packets that went to a member.
    Again {
        /// Taken modulo the packets there were.
        after: u16,
        /// TCP flags.
        flags: u8,
        /// Data.
        payload: Vec<u8>,
    },
    /// Members go up and down.
    Stand {
        /// Those of which family.
        version: Version,
        /// Flags of members 0 and 1.
        flags: [u64; 2],
    },
}

fn version() -> impl Strategy<Value = Version> {
    select(&Version::BOTH[..])
}

fn port() -> impl Strategy<Value = u16> {
    let kinds = vec![
        Kind::OneArm,
        Kind::OneArm,
        Kind::TwoArms,
        Kind::Spread,
        Kind::Sticky,
        Kind::Empty,
        Kind::Unresolved,
        Kind::Poolless,
        Kind::InSnatRange,
    ];
    prop_oneof![12 => select(kinds).prop_map(|k| k as u16), 1 => any::<u16>()]
}

fn tcp_flags() -> impl Strategy<Value = u8> {
    use flags::{ACK, FIN, PSH, RST, SYN};
    prop_oneof![
        4 => Just(SYN),
        6 => Just(ACK),
        3 => Just(PSH | ACK),
        1 => Just(FIN | ACK),
        1 => Just(RST),
        1 => Just(SYN | ACK),
        2 => any::<u8>(),
    ]
}

fn checksum() -> impl Strategy<Value = Checksum> {
    prop_oneof![
        6 => Just(Checksum::Right),
        2 => Just(Checksum::Partial),
        1 => Just(Checksum::Zero),
        1 => Just(Checksum::Wrong),
    ]
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![8 => vec(any::<u8>(), 0..80), 1 => vec(any::<u8>(), 0..1400)]
}

/// TCP or IPv4 options: whole words.
fn options(words: usize) -> impl Strategy<Value = Vec<u8>> {
    let some = vec(any::<[u8; 4]>(), 0..=words).prop_map(|words| words.concat());
    prop_oneof![3 => Just(Vec::new()), 1 => some]
}

fn content() -> impl Strategy<Value = Content> {
    let client_port = || prop_oneof![6 => 2000u16..2004, 1 => any::<u16>()];
    let tcp = (client_port(), port(), any::<u32>(), any::<u32>(), tcp_flags(), any::<u16>(), options(10)).prop_map(
        |(source, destination, sequence, acknowledgment, flags, window, options)| Content::Tcp {
            source,
            destination,
            sequence,
            acknowledgment,
            flags,
            window,
            options,
        },
    );
    let udp = (client_port(), port()).prop_map(|(source, destination)| Content::Udp { source, destination });
    let icmp = (select(vec![0u8, 3, 8, 128, 135, 136]), prop_oneof![Just(0u8), any::<u8>()], any::<[u8; 4]>())
        .prop_map(|(kind, code, rest)| Content::Icmp { kind, code, rest });
    prop_oneof![8 => tcp, 6 => udp, 1 => icmp, 1 => any::<u8>().prop_map(Content::Other)]
}

/// Extension headers in an order that RFC 8200 allows: hop-by-hop options first
/// or not at all.
fn extensions() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    let header = |kind: u8| {
        (0u8..4, any::<u8>()).prop_map(move |(units, fill)| {
            let length = usize::from(units) * 8 + 7;
            let mut rest = vec![fill; length];
            rest[0] = units;
            (kind, rest)
        })
    };
    let fragment = (any::<[u8; 4]>(), prop_oneof![3 => Just(0u16), 1 => any::<u16>()]).prop_map(|(id, field)| {
        let rest = [&[0][..], &field.to_be_bytes(), &id].concat();
        (44u8, rest)
    });
    let later = vec(prop_oneof![header(60), header(43), fragment], 0..4);
    let some =
        (proptest::option::of(header(0)), later).prop_map(|(first, later)| first.into_iter().chain(later).collect());
    prop_oneof![4 => Just(Vec::new()), 1 => some]
}

/// A packet that a client may send, to a VIP in most cases.
pub fn packet() -> impl Strategy<Value = Spec> {
    let place = (version(), 0u16..4, 0u8..12);
    let header = (
        prop_oneof![8 => 2u8..=255, 1 => 0u8..3],
        any::<u8>(),
        any::<u16>(),
        prop_oneof![12 => select(vec![0u16, 0x4000]), 1 => any::<u16>()],
        options(10),
        extensions(),
    );
    let frame = (any::<bool>(), proptest::option::weighted(0.02, any::<u16>()), checksum(), vec(any::<u8>(), 0..12));
    // To our own address, or to a virtual router's: the right one, or another.
    let station = prop_oneof![6 => Just(0u8), 2 => Just(1), 1 => Just(2)];
    (place, header, content(), payload(), frame, station).prop_map(
        |(place, header, content, payload, frame, station)| {
            let (version, client, target) = place;
            let destination = match target {
                0 => version.stranger(),
                1 | 2 => version.standby_vip(),
                _ => version.vip(),
            };
            Spec::tcp((version.numbered_client(client), 0), (destination, 0), 0).with(|s| {
                (s.hops, s.class, s.id, s.fragment, s.options, s.extensions) = header;
                (s.content, s.payload) = (content, payload);
                (s.vlan, s.checksum, s.padding) = (frame.1, frame.2, frame.3);
                s.from = if frame.0 { ROUTER } else { OTHER_ROUTER };
                let mut router = version.virtual_router();
                match station {
                    0 => {}
                    1 => s.to = router,
                    _ => {
                        router.0[5] ^= 1;
                        s.to = router;
                    }
                }
            })
        },
    )
}

/// The stations stay what they are: which way a frame came is remembered by a
/// digest, which two of very many ways may share.
fn damage() -> BoxedStrategy<Damage> {
    prop_oneof![
        4 => (12u16..80, any::<u8>()).prop_map(|(at, value)| Damage::Byte(at, value)),
        2 => (12u16..80, any::<u16>()).prop_map(|(at, value)| Damage::Word(at, value)),
        1 => any::<u16>().prop_map(Damage::Cut),
        1 => vec(any::<u8>(), 1..40).prop_map(Damage::More),
    ]
    .boxed()
}

/// A frame: a packet, a damaged packet, or bytes.
pub fn frame() -> impl Strategy<Value = Vec<u8>> {
    let packets = (packet(), vec(damage(), 0..3)).prop_map(|(packet, damages)| {
        let mut frame = packet.bytes();
        damages.iter().for_each(|damage| damage.apply(&mut frame));
        frame
    });
    let bytes =
        (select(vec![[0x08u8, 0x00], [0x86, 0xdd], [0x08, 0x06]]), vec(any::<u8>(), 12..13), vec(any::<u8>(), 0..120))
            .prop_map(|(ethertype, stations, rest)| [&stations[..], &ethertype, &rest].concat());
    prop_oneof![12 => packets, 1 => bytes, 1 => vec(any::<u8>(), 0..64)]
}

/// What happens next.
pub fn event() -> impl Strategy<Value = Event> {
    let reply = (any::<u16>(), tcp_flags(), payload(), checksum(), proptest::option::weighted(0.2, damage()))
        .prop_map(|(to, flags, payload, checksum, damage)| Event::Reply { to, flags, payload, checksum, damage });
    let again = (any::<u16>(), tcp_flags(), payload()).prop_map(|(after, flags, payload)| Event::Again {
        after,
        flags,
        payload,
    });
    let state = || {
        const DOWN: u64 = MemberState::UNHEALTHY;
        prop_oneof![3 => Just(MemberState::UP), 1 => Just(DOWN), 2 => Just(DOWN | MemberState::RESETS_FLOWS)]
    };
    let stand =
        (version(), state(), state()).prop_map(|(version, one, two)| Event::Stand { version, flags: [one, two] });
    prop_oneof![
        30 => packet().prop_map(|p| Event::Frame(p.bytes())),
        10 => frame().prop_map(Event::Frame),
        20 => reply,
        15 => again,
        3 => stand,
    ]
}

/// A packet that went to a member.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// As its client sent it.
    asked: Reading,
    /// The stations that the client's frame was from and for.
    way: (Mac, Mac),
    /// As the member got it.
    got: Reading,
    /// The member's station.
    station: Mac,
}

impl Delivery {
    /// From both frames; `None` where one of them is no whole packet.
    #[must_use]
    pub fn of(sent: &[u8], arrived: &[u8]) -> Option<Self> {
        let station = |frame: &[u8], at: usize| Some(Mac(frame.get(at..at + 6)?.try_into().ok()?));
        Some(Self {
            asked: Reading::of(sent)?,
            way: (station(sent, 6)?, station(sent, 0)?),
            got: Reading::of(arrived)?,
            station: station(arrived, 0)?,
        })
    }
}

impl Event {
    /// The frame that comes in, if the event is one and there was what it is about.
    #[must_use]
    pub fn frame(&self, deliveries: &[Delivery]) -> Option<Vec<u8>> {
        let nth = |number: u16| deliveries.get(usize::from(number) % deliveries.len().max(1));
        match self {
            Self::Frame(frame) => Some(frame.clone()),
            Self::Reply { to, flags, payload, checksum, damage } => {
                let Delivery { got, station, .. } = nth(*to)?;
                let mut frame = reply(got, *station, *flags, payload, *checksum).bytes();
                damage.iter().for_each(|d| d.apply(&mut frame));
                Some(frame)
            }
            Self::Again { after, flags, payload } => {
                let Delivery { asked, way, .. } = nth(*after)?;
                let packet = match asked.transport {
                    Transport::Tcp => Spec::tcp(asked.source, asked.destination, *flags),
                    Transport::Udp | Transport::Sctp => Spec::udp(asked.source, asked.destination),
                };
                Some(packet.data(payload).with(|s| (s.from, s.to) = *way).bytes())
            }
            Self::Stand { .. } => None,
        }
    }
}

/// What a member answers to a packet that it got.
#[must_use]
pub fn reply(got: &Reading, station: Mac, tcp_flags: u8, payload: &[u8], checksum: Checksum) -> Spec {
    match got.transport {
        Transport::Tcp => Spec::tcp(got.destination, got.source, tcp_flags),
        Transport::Udp | Transport::Sctp => Spec::udp(got.destination, got.source),
    }
    .data(payload)
    .checksum(checksum)
    .with(|s| s.from = station)
}
