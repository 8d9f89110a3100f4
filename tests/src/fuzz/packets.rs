//! Any bytes become frames, replies to what came of them, and the passing of
//! time; and what must hold of every packet is asserted.
//!
//! The first byte chooses the balancer (see `ground`), the second which VRRP
//! instances are Active; then come events, each a byte that says what happens and
//! those it needs. Frames are written out or made from a few bytes, so that a
//! fuzzer reaches what lies behind checksums, ports and numbers that a balancer
//! gave away. Every input is run twice, and must do the same.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use lb_common::{counters::Event, mac::Mac, member::MemberState, protocol::Transport};
use lb_ebpf::tables::Verdict;

use super::{
    bytes::Bytes,
    ground::{Ground, PROFILES, SCTP_PORT, STATIONS, Sent},
    mend::mend,
    sound,
};
use crate::packets::{
    model::Judge,
    random::{self, Delivery},
    scene::{Kind, Version},
    spec::{Checksum, Content, Spec, flags},
    world::INGRESS,
};

/// Events of one input: more teach nothing and cost time.
const MOST_EVENTS: usize = 64;
/// Bytes of a frame that is written out.
pub(super) const LONGEST: usize = 0xfff;

// What happens, in the lower half of an event's byte.
const FRAME: u8 = 0;
const PACKET: u8 = 1;
const REPLY: u8 = 2;
const AGAIN: u8 = 3;
const ERROR: u8 = 4;
const WAIT: u8 = 5;
const MEMBER: u8 = 6;
const TURN: u8 = 7;
const CHANGE: u8 = 8;
const PARTS: u8 = 9;

// And a packet of SCTP.
const KINDS: u8 = 11;

/// The beginning of an input.
#[cfg(test)]
pub(super) fn header(profile: usize) -> Vec<u8> {
    vec![profile as u8, 3]
}

/// A frame that is written out, as an event. `None`: it is too long.
#[cfg(test)]
pub(super) fn written(frame: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(frame.len()).ok().filter(|length| usize::from(*length) <= LONGEST)?;
    Some([&[FRAME][..], &length.to_le_bytes(), frame].concat())
}

thread_local! {
    static GROUNDS: RefCell<BTreeMap<usize, Ground>> = const { RefCell::new(BTreeMap::new()) };
}

/// Does what the bytes say, twice. Returns which events were counted, by index.
///
/// # Panics
/// If something does not hold; that is what it is for.
pub fn run(data: &[u8]) -> BTreeSet<usize> {
    let mut input = Bytes(data);
    let profile = usize::from(input.byte()) % PROFILES;
    GROUNDS.with_borrow_mut(|grounds| {
        let ground = grounds.entry(profile).or_insert_with(|| Ground::new(profile));
        let first = Run::new(ground).go(input);
        let second = Run::new(ground).go(input);
        assert!(first == second, "the second time something else happens:\n{first:?}\n{second:?}");
        let fates = first.iter().filter_map(|(verdict, ..)| match verdict {
            Verdict::Pass => Some(Event::Passed.index() as usize),
            Verdict::Transmit | Verdict::Redirect(_) => Some(Event::Forwarded.index() as usize),
            Verdict::Drop(_) | Verdict::Answer => None,
        });
        fates.chain(first.iter().flat_map(|(.., events)| events.iter().map(|(event, _)| *event))).collect()
    })
}

/// Verdicts, frames as they were left, and events that were counted.
type Story = Vec<(Verdict, Vec<u8>, Vec<(usize, u64)>)>;

/// One run of an input.
struct Run<'g> {
    ground: &'g mut Ground,
    judge: Option<(Judge, lb_user::dataplane::Observed)>,
    /// Packets that went to members, and what came back from those.
    deliveries: Vec<Delivery>,
    /// Frames as they came and as they left.
    ways: Vec<(Vec<u8>, Vec<u8>)>,
    /// What happened.
    story: Story,
}

impl<'g> Run<'g> {
    fn new(ground: &'g mut Ground) -> Self {
        let judge = ground.judged.then(|| (Judge::default(), ground.tables.clone()));
        Self { ground, judge, deliveries: Vec::new(), ways: Vec::new(), story: Vec::new() }
    }

    fn go(mut self, mut input: Bytes<'_>) -> Story {
        let active = input.byte();
        self.ground.begin([active & 1 != 0, active & 2 != 0]);
        self.turned(Version::V4, active & 1 != 0);
        self.turned(Version::V6, active & 2 != 0);
        for _ in 0..MOST_EVENTS {
            if input.is_empty() {
                break;
            }
            self.event(&mut input);
        }
        for (live, limit) in self.ground.loads() {
            assert!(live <= i64::MAX as u64, "fewer flows than none are alive: {}", live as i64);
            assert!(
                !self.ground.limits_hold || limit == 0 || live <= limit,
                "{live} flows are alive where {limit} may be"
            );
        }
        self.story
    }

    fn turned(&mut self, version: Version, active: bool) {
        self.ground.turn(version, active);
        if let Some((_, tables)) = &mut self.judge
            && let Some(instance) = tables.instances.get_mut(&version.instance())
        {
            instance.active = active;
        }
    }

    fn event(&mut self, input: &mut Bytes<'_>) {
        let first = input.byte();
        let (kind, detail) = (first % 16 % KINDS, first >> 4);
        match kind {
            FRAME => {
                let length = usize::from(input.word());
                let mut frame = input.take(length & LONGEST).to_vec();
                if detail & 1 != 0 {
                    mend(&mut frame, detail & 2 != 0);
                }
                self.send(detail >> 2, &frame);
            }
            PACKET => {
                let packet = packet(input);
                self.send(detail >> 2, &packet.bytes());
            }
            REPLY | AGAIN => {
                let (which, tcp_flags, length) = (usize::from(input.byte()), input.byte(), input.byte());
                let payload = vec![0x5a; usize::from(length) * if detail & 8 != 0 { 8 } else { 1 }];
                let Some(delivery) = self.deliveries.get(which % self.deliveries.len().max(1)) else { return };
                let checksum =
                    [Checksum::Right, Checksum::Right, Checksum::Partial, Checksum::Wrong][usize::from(detail & 3)];
                let event = if kind == REPLY {
                    random::Event::Reply { to: 0, flags: tcp_flags, payload, checksum, damage: None }
                } else {
                    random::Event::Again { after: 0, flags: tcp_flags, payload }
                };
                let Some(frame) = event.frame(std::slice::from_ref(delivery)) else { return };
                self.send(if kind == REPLY { detail >> 2 & 1 } else { 0 }, &frame);
            }
            ERROR => self.error(detail, input),
            WAIT => self.ground.wait(input.choose(&[1, 2, 5, 7, 25, 31, 70, 400, 3700, 70_000])),
            MEMBER => {
                const DOWN: u64 = MemberState::UNHEALTHY;
                const STATES: [u64; 4] =
                    [MemberState::UP, DOWN, DOWN | MemberState::RESETS_FLOWS, MemberState::UP | MemberState::DRAINING];
                // The judge wants a member that resets its flows to be in no table.
                let choices = if self.judge.is_some() { 2 } else { 4 };
                let (which, flags) = (input.byte(), STATES[usize::from(detail) % choices]);
                self.ground.set_member(which, flags);
                if let Some((_, tables)) = &mut self.judge {
                    self.ground.tell(tables, which, flags);
                }
            }
            TURN => self.turned(Version::BOTH[usize::from(detail & 1)], detail & 2 != 0),
            CHANGE => {
                let which = input.byte();
                self.ground.change(which, detail & 1 != 0);
            }
            PARTS => self.parts(detail, input),
            _ => {
                let frame = sctp(input);
                self.send(detail >> 2, &frame);
            }
        }
    }

    /// A packet in parts: of so many times eight bytes, one of them missing, or
    /// the last one first.
    fn parts(&mut self, detail: u8, input: &mut Bytes<'_>) {
        let whole = packet(input).with(|s| s.extensions.clear());
        let (units, id) = (usize::from(input.byte() % 32) + 1, input.byte());
        let bytes = whole.bytes();
        let message = &bytes[whole.transport_offset()..bytes.len() - whole.padding.len()];
        let protocol = match whole.content {
            Content::Tcp { .. } => 6,
            Content::Udp { .. } => 17,
            Content::Icmp { .. } => 1,
            Content::Other(protocol) => protocol,
        };
        let count = message.len().div_ceil(units * 8).max(1);
        let mut frames: Vec<Vec<u8>> = message
            .chunks(units * 8)
            .take(16)
            .enumerate()
            .map(|(n, part)| {
                let place = u16::try_from(n * units).unwrap_or(0);
                let more = n + 1 < count;
                let part = whole.clone().with(|s| {
                    s.content = Content::Other(protocol);
                    s.payload = part.to_vec();
                    s.fragment = place | u16::from(more) << 13;
                    s.id = u16::from(id);
                    if !s.source.is_ipv4() {
                        let field = (place << 3 | u16::from(more)).to_be_bytes();
                        s.extensions = vec![(44, vec![0, field[0], field[1], 0, 0, 0, id])];
                    }
                });
                part.bytes()
            })
            .collect();
        match detail & 3 {
            1 => frames.reverse(),
            2 if !frames.is_empty() => drop(frames.remove(0)),
            3 => frames.truncate(2),
            _ => {}
        }
        frames.iter().for_each(|frame| self.send(detail >> 2, frame));
    }

    /// An ICMP error about a packet that came or one that left, to the VIP.
    fn error(&mut self, detail: u8, input: &mut Bytes<'_>) {
        let (which, kind, code, quoted) = (usize::from(input.byte()), input.byte(), input.byte(), input.byte());
        let Some((came, left)) = self.ways.get(which % self.ways.len().max(1)) else { return };
        let about = if detail & 1 == 0 { left } else { came };
        let at = if about.get(12..14) == Some(&[0x81, 0x00]) { 18 } else { 14 };
        let (Some(version), Some(quote)) = (about.get(at).map(|b| b >> 4), about.get(at..)) else { return };
        let quote = &quote[..quote.len().min(usize::from(quoted) * 4)];
        let spec = match version {
            4 if about.len() >= at + 20 => {
                let address =
                    |n: usize| IpAddr::from([about[at + n], about[at + n + 1], about[at + n + 2], about[at + n + 3]]);
                let from = if detail & 2 == 0 { address(16) } else { IpAddr::from([198, 51, 100, 1]) };
                Spec::icmp(from, address(12), kind % 20, code, quote)
            }
            6 if about.len() >= at + 40 => {
                let address = |n: usize| {
                    let bytes: [u8; 16] = std::array::from_fn(|i| about[at + n + i]);
                    IpAddr::from(bytes)
                };
                let from =
                    if detail & 2 == 0 { address(24) } else { IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x99]) };
                Spec::icmp(from, address(8), kind % 8, code, quote)
            }
            _ => return,
        };
        self.send(detail >> 2, &spec.bytes());
    }

    /// Sends a frame by one of the interfaces, and looks at what becomes of it.
    fn send(&mut self, way: u8, frame: &[u8]) {
        let is_tagged = matches!(frame.get(12..14), Some([0x81, 0x00] | [0x88, 0xa8]));
        let judged = self.judge.is_some();
        // The judge of the property tests knows of no tags and one interface.
        if judged && is_tagged {
            return;
        }
        let ingress = if judged { INGRESS } else { [INGRESS, INGRESS, INGRESS + 1, 9][usize::from(way & 3)] };
        let sent = self.ground.send(ingress, frame);
        sound::check(frame, &sent).unwrap_or_else(|e| panic!("{e}"));
        // Of a fragment that is dropped two things are said.
        let follows = sent.outcome.events.iter().any(|(event, _)| *event == Event::FragmentFollowed.index() as usize);
        if let Some((judge, tables)) = &mut self.judge
            && !follows
        {
            judge.judge(frame, &sent.outcome, tables).unwrap_or_else(|e| panic!("{e}"));
        }
        let Sent { verdict, outcome } = sent;
        if matches!(verdict, Verdict::Transmit | Verdict::Redirect(_)) {
            self.deliveries.extend(Delivery::of(frame, &outcome.frame));
            self.ways.push((frame.to_vec(), outcome.frame.clone()));
        }
        self.story.push((verdict, outcome.frame, outcome.events));
    }
}

/// The ends of a packet to or from somewhere that the tables know.
fn ends(input: &mut Bytes<'_>) -> (IpAddr, IpAddr) {
    let first = input.byte();
    let version = Version::BOTH[usize::from(first & 1)];
    let client = match first >> 1 & 7 {
        7 => version.member(u16::from(first >> 6 & 1)).address,
        6 => version.vip(),
        number => version.numbered_client(u16::from(number)),
    };
    let to = match first >> 4 & 7 {
        0 => version.stranger(),
        1 => version.standby_vip(),
        2 => version.numbered_client(u16::from(first >> 7)),
        _ => version.vip(),
    };
    (client, to)
}

/// A packet from a few bytes: ends, ports, what it is, what is odd about it.
fn packet(input: &mut Bytes<'_>) -> Spec {
    const PORTS: [u16; 12] = [
        Kind::OneArm as u16,
        Kind::TwoArms as u16,
        Kind::Spread as u16,
        Kind::Spread as u16,
        Kind::Sticky as u16,
        Kind::Empty as u16,
        Kind::Unresolved as u16,
        Kind::Poolless as u16,
        Kind::InSnatRange as u16,
        SCTP_PORT,
        8080,
        9,
    ];
    const FLAGS: [u8; 8] = [
        flags::SYN,
        flags::ACK,
        flags::SYN | flags::ACK,
        flags::FIN | flags::ACK,
        flags::RST,
        flags::PSH | flags::ACK,
        flags::SYN,
        0,
    ];
    let (from, to) = ends(input);
    let (port, what, odd, length) = (input.byte(), input.byte(), input.byte(), input.byte());
    let (from_port, to_port) = (2000 + u16::from(port >> 4), PORTS[usize::from(port & 15) % PORTS.len()]);
    // A member speaks from its own port to one that clients have.
    let (from_port, to_port) = if what & 0x40 != 0 { (to_port, from_port) } else { (from_port, to_port) };
    let mut spec = match what & 3 {
        0 | 1 => Spec::tcp((from, from_port), (to, to_port), FLAGS[usize::from(what >> 2 & 7)]),
        2 => Spec::udp((from, from_port), (to, to_port)),
        _ if what & 4 != 0 => Spec::ping(from, to),
        _ => Spec::other(from, to, what >> 3),
    };
    // What a member that replies says is acknowledged, which confirms a flow.
    spec = spec.numbers(1001, 0x1234_5679);
    spec.payload = vec![0xa5; usize::from(length) * if what & 0x80 != 0 { 6 } else { 1 }];
    spec.class = length;
    match odd & 15 {
        1 => spec.hops = 1,
        2 => spec.hops = 0,
        3 => spec.checksum = Checksum::Partial,
        4 => spec.checksum = Checksum::Zero,
        5 => spec.checksum = Checksum::Wrong,
        6 => spec.options = vec![1; 4 * usize::from(odd >> 4 & 7)],
        7 => spec.extensions = vec![(60, vec![0; 7]); usize::from(odd >> 4 & 7)],
        8 => spec.fragment = 0,
        9 => spec.padding = vec![0; usize::from(odd >> 4) + 1],
        10 => spec.to = STATIONS[usize::from(odd >> 4 & 3)],
        11 => spec.to = Version::BOTH[usize::from(odd >> 4 & 1)].virtual_router(),
        12 => spec.vlan = Some(if odd & 0x10 == 0 { 1000 } else { u16::from(odd >> 5) }),
        13 => spec.from = Mac([0x02, 0, 0, 0, 0, odd]),
        14 => {
            if let Content::Tcp { options, .. } = &mut spec.content {
                *options = [&vec![1; usize::from(odd >> 4 & 7)][..], &[2, 4, 0x23, 0x28]].concat();
                options.resize(options.len().next_multiple_of(4), 0);
            }
        }
        _ => {}
    }
    spec
}

/// A packet of SCTP with a chunk.
fn sctp(input: &mut Bytes<'_>) -> Vec<u8> {
    let (from, to) = ends(input);
    let (port, kind, tag, length) = (input.byte(), input.byte(), input.byte(), input.byte());
    let (from_port, to_port) = (2000 + u16::from(port & 15), SCTP_PORT);
    let (from_port, to_port) = if port & 0x80 != 0 { (to_port, from_port) } else { (from_port, to_port) };
    let mut message = [from_port.to_be_bytes(), to_port.to_be_bytes()].concat();
    message.extend(u32::from(tag).to_be_bytes());
    message.extend([0; 4]);
    message.extend([kind & 15, kind >> 4, 0, 4 + (length & 63)]);
    message.extend(u32::from(tag).to_be_bytes());
    message.resize(16 + usize::from(length & 63).next_multiple_of(4), 1);
    let checksum = crc32c::crc32c(&message);
    message[8..12].copy_from_slice(&checksum.to_le_bytes());
    Spec::other(from, to, Transport::Sctp.ip_protocol()).data(&message).bytes()
}
