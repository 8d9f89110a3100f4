//! What fixtures are written in: sending a frame and saying what becomes of it.

use std::{collections::BTreeSet, net::IpAddr};

use lb_common::{counters::Event, drop_reason::DropReason, mac::Mac, protocol::Transport};
use lb_user::dataplane::{FlowRecord, Stage};

use super::{
    scene::{self, CLIENT_PORT, Kind, Member, OWN, OWN_BACK, ROUTER, SNAT_PORTS, Version},
    spec::{Checksum, Spec, flags},
    world::{Fate, Outcome, World},
};

/// A fixture under way.
pub struct Case<'w> {
    /// Where its frames go.
    pub world: &'w mut dyn World,
    /// The reasons its frames were dropped for.
    pub reached: BTreeSet<DropReason>,
}

impl std::fmt::Debug for Case<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Case").field("reached", &self.reached).finish_non_exhaustive()
    }
}

/// Indices and counts of events that happened once.
fn once(events: &[Event]) -> Vec<(usize, u64)> {
    events.iter().map(|e| (e.index() as usize, 1)).collect()
}

/// Bytes in rows of sixteen, so that a difference can be found.
#[must_use]
pub fn dump(frame: &[u8]) -> String {
    let row = |row: &[u8]| row.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ");
    frame.chunks(16).map(row).collect::<Vec<_>>().join("\n")
}

/// Asserts that a frame is the one it should be.
#[track_caller]
pub fn assert_frame(found: &[u8], expected: &[u8]) {
    assert!(found == expected, "the frame is\n{}\nand should be\n{}", dump(found), dump(expected));
}

impl<'w> Case<'w> {
    /// A case in a world that has been prepared.
    pub fn new(world: &'w mut dyn World) -> Self {
        Self { world, reached: BTreeSet::new() }
    }

    /// The frame has this fate, and these events are counted besides.
    #[track_caller]
    pub fn send(&mut self, frame: &[u8], fate: Fate, events: &[Event]) -> Outcome {
        let outcome = self.world.send(frame);
        assert_eq!((outcome.fate, &outcome.events), (fate, &once(events)), "fate and events of\n{}", dump(frame));
        outcome
    }

    /// The frame goes to the stack, untouched.
    #[track_caller]
    pub fn passes(&mut self, frame: &[u8]) {
        let outcome = self.send(frame, Fate::Pass, &[]);
        assert_frame(&outcome.frame, frame);
    }

    /// The frame ends, for a reason.
    #[track_caller]
    pub fn drops(&mut self, frame: &[u8], reason: DropReason) {
        self.send(frame, Fate::Drop, &[Event::Drop(reason)]);
        self.reached.insert(reason);
    }

    /// The frame is answered, by exactly this.
    #[track_caller]
    pub fn answers(&mut self, frame: &[u8], answer: &[u8], events: &[Event]) {
        let outcome = self.send(frame, Fate::Transmit, events);
        assert_frame(&outcome.frame, answer);
        self.reached.extend(events.iter().filter_map(|e| match e {
            Event::Drop(reason) => Some(*reason),
            _ => None,
        }));
    }

    /// The frame is sent on as exactly this, by the interface it came in by or by
    /// another one.
    #[track_caller]
    pub fn becomes(&mut self, frame: &[u8], fate: Fate, expected: &[u8], events: &[Event]) {
        let outcome = self.send(frame, fate, events);
        assert_frame(&outcome.frame, expected);
    }

    /// The packet goes to this member, changed in nothing but what it must be.
    /// Returns its SNAT port.
    #[track_caller]
    pub fn to_member(&mut self, packet: &Spec, member: Member) -> u16 {
        let (fate, own) = if member.via == 0 { (Fate::Transmit, OWN) } else { (Fate::Redirect, OWN_BACK) };
        let outcome = self.send(&packet.bytes(), fate, completions(packet));
        let at = packet.transport_offset();
        let port = u16::from_be_bytes([outcome.frame[at], outcome.frame[at + 1]]);
        assert!((SNAT_PORTS.0..=SNAT_PORTS.1).contains(&port), "SNAT port {port} is out of range");
        let source = (packet.destination, port);
        let expected = packet.clone().sent_on(source, (member.address, member.port), own, member.station);
        assert_frame(&outcome.frame, &expected.bytes());
        port
    }

    /// The packet goes to the member of a conversation, by its SNAT port.
    #[track_caller]
    pub fn onward(&mut self, talk: &Talk, packet: &Spec) {
        assert_eq!(self.to_member(packet, talk.member), talk.snat_port, "the SNAT port of a flow does not change");
    }

    /// A member's packet goes back to the conversation's client.
    #[track_caller]
    pub fn back(&mut self, talk: &Talk, packet: &Spec) {
        let outcome = self.send(&packet.bytes(), Fate::Transmit, completions(packet));
        let expected = packet.clone().sent_on((talk.vip, talk.port), talk.client, talk.own, talk.router);
        assert_frame(&outcome.frame, &expected.bytes());
    }

    /// The one flow there is.
    #[track_caller]
    pub fn only_flow(&self) -> FlowRecord {
        let mut flows = self.world.flows();
        assert_eq!(flows.len(), 1, "{flows:?}");
        flows.remove(0)
    }

    /// Both sides' stages of the one flow there is.
    #[track_caller]
    pub fn stages(&self) -> (Stage, Stage) {
        let flow = self.only_flow();
        (flow.forward, flow.back)
    }
}

/// A checksum that a sender left to its hardware is completed, and counted.
const fn completions(packet: &Spec) -> &'static [Event] {
    if matches!(packet.checksum, Checksum::Partial) { &[Event::ChecksumCompleted] } else { &[] }
}

/// A client talking to a member by a flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Talk {
    /// The client.
    pub client: (IpAddr, u16),
    /// The VIP.
    pub vip: IpAddr,
    /// The listener's port.
    pub port: u16,
    /// The transport.
    pub transport: Transport,
    /// The member.
    pub member: Member,
    /// The port by which the member knows the client.
    pub snat_port: u16,
    /// Where replies are sent.
    pub router: Mac,
    /// By which of our addresses.
    pub own: Mac,
}

impl Talk {
    /// A conversation that has not begun.
    #[must_use]
    pub fn about(version: Version, kind: Kind, transport: Transport) -> Self {
        let member = version.member(u16::from(kind == Kind::TwoArms));
        Self {
            client: (version.client(), CLIENT_PORT),
            vip: version.vip(),
            port: kind as u16,
            transport,
            member,
            snat_port: 0,
            router: ROUTER,
            own: OWN,
        }
    }

    /// A client's packet; `tcp_flags` count for TCP.
    #[must_use]
    pub fn ask(&self, tcp_flags: u8) -> Spec {
        match self.transport {
            Transport::Tcp => Spec::tcp(self.client, (self.vip, self.port), tcp_flags),
            // What is sent over SCTP is UDP in shape until there are frames of SCTP.
            Transport::Udp | Transport::Sctp => Spec::udp(self.client, (self.vip, self.port)),
        }
        .with(|s| (s.from, s.to) = (self.router, self.own))
    }

    /// A member's packet.
    #[must_use]
    pub fn answer(&self, tcp_flags: u8) -> Spec {
        let (member, to) = ((self.member.address, self.member.port), (self.vip, self.snat_port));
        match self.transport {
            Transport::Tcp => Spec::tcp(member, to, tcp_flags),
            Transport::Udp | Transport::Sctp => Spec::udp(member, to).data(b"an answer, which is longer"),
        }
        .with(|s| s.from = self.member.station)
    }

    /// Sends the first packet and notes where it goes.
    #[track_caller]
    pub fn begin(mut self, case: &mut Case<'_>) -> Self {
        let first = self.ask(flags::SYN).numbers(1000, 0);
        self.snat_port = case.to_member(&first, self.member);
        self
    }

    /// The conversation as it is once both sides have spoken and heard.
    #[track_caller]
    pub fn established(self, case: &mut Case<'_>) -> Self {
        let talk = self.begin(case);
        case.back(&talk, &talk.answer(flags::SYN | flags::ACK).numbers(5000, 1001));
        case.onward(&talk, &talk.ask(flags::ACK).numbers(1001, 5001));
        talk
    }
}

/// Prepares a world for the next fixture.
pub fn prepare(world: &mut dyn World) {
    world.reset();
    scene::standard().iter().for_each(|op| world.apply(op));
    assert!(world.flows().is_empty(), "a fixture begins without flows");
}
