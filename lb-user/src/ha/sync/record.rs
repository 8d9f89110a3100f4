//! Records, which the body of a datagram is made of: kind, length in two bytes,
//! and so many bytes.
//!
//! A kind that is not known is skipped and counted, and so are bytes after those
//! that are known of a kind: a later version may say more. Kinds from 128 on are
//! for what is not of the flow table; a balancer of before placements travelled
//! counts them as unknown.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::{flow::Stage, mac::Mac, placement::PlacementStage, pool::ForwardMode, protocol::Transport};

use super::{
    window::{WORDS, Window},
    wire::{MAX_BODY, be32, be64},
};
use crate::dataplane::exchange::{Shared, SharedFlow, SharedPlacement};

/// Bytes before a record's own.
const FRAME: usize = 3;

const FLOW_V4: u8 = 1;
const FLOW_V6: u8 = 2;
const PASS_BEGINS: u8 = 3;
const PASS_ENDS: u8 = 4;
const WHO: u8 = 5;
const ARRIVED: u8 = 6;
const PLACEMENT: u8 = 128;

/// Bytes of a placement before its addresses.
const PLACEMENT_HEAD: usize = 3 + 8 + 4 + 2 * 2;
/// Flags of a placement: the VIP is one of IPv6, the member is, the flow is counted.
const VIP_IPV6: u8 = 1;
const MEMBER_IPV6: u8 = 1 << 1;
const COUNTED: u8 = 1 << 2;

/// Length of a flow with addresses of so many bytes.
const fn flow_length(address: usize) -> usize {
    2 + 3 * address + 4 * 2 + 4 + 6
}

/// What a number that is not known is on the wire.
const NOT_KNOWN: u64 = u64::MAX;

/// Who says hello.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Who {
    /// A number that the other one is to give back.
    pub challenge: u64,
    /// The number the other one gave, or 0.
    pub answer: u64,
    /// Follows from the seed of the flow hashes, without telling it.
    pub seed: u64,
    /// Confirmed flows found by the last whole look through the table.
    pub flows: Option<u64>,
}

/// What has arrived, told to who sent it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrived {
    /// The highest sequence, and which of those below it.
    pub highest: u64,
    /// Bit *n* of word *m*: whether sequence `highest - 64 m - n` has arrived.
    pub bits: [u64; WORDS],
    /// Datagrams that never came, since the start.
    pub lost: u64,
    /// Flows taken in, since the start.
    pub adopted: u64,
    /// Flows refused, since the start.
    pub refused: u64,
}

impl Arrived {
    /// Whether that sequence has arrived; `None`: too long ago, or yet to come.
    #[must_use]
    pub fn has(&self, sequence: u64) -> Option<bool> {
        let back = self.highest.checked_sub(sequence)?;
        let word = self.bits.get(usize::try_from(back / 64).ok()?)?;
        Some(word >> (back % 64) & 1 == 1)
    }

    /// What a window says.
    pub(super) fn of(window: &Window) -> Self {
        Self { highest: window.highest(), bits: window.bits(), lost: window.lost(), adopted: 0, refused: 0 }
    }
}

/// One record, as read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Record {
    /// A flow.
    Flow(SharedFlow),
    /// What is recorded beside the flow table.
    Placement(SharedPlacement),
    /// A look through the whole table begins.
    PassBegins {
        /// Its number.
        pass: u32,
    },
    /// All of it has arrived.
    PassEnds {
        /// Its number.
        pass: u32,
        /// Flows that were sent.
        flows: u64,
        /// Placements that were sent; 0 from who knows of none.
        placements: u64,
    },
    /// Who says hello.
    Who(Who),
    /// What has arrived.
    Arrived(Arrived),
    /// Of a kind that is not known here.
    Unknown(u8),
    /// Of a kind that is known, and makes no sense.
    Malformed(u8),
}

/// The records of a body. A record that reaches beyond the end is malformed and
/// the last one.
pub fn read(body: &[u8]) -> impl Iterator<Item = Record> {
    let mut rest = body;
    std::iter::from_fn(move || {
        let kind = *rest.first()?;
        let Some((payload, after)) = split(rest) else {
            rest = &[];
            return Some(Record::Malformed(kind));
        };
        rest = after;
        Some(parse(kind, payload))
    })
}

fn split(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = usize::from(u16::from_be_bytes([*rest.get(1)?, *rest.get(2)?]));
    rest[FRAME..].split_at_checked(length)
}

fn parse(kind: u8, payload: &[u8]) -> Record {
    let known = match kind {
        FLOW_V4 => flow(payload, 4).map(Record::Flow),
        FLOW_V6 => flow(payload, 16).map(Record::Flow),
        PASS_BEGINS => payload.get(..4).map(|p| Record::PassBegins { pass: be32(p) }),
        PASS_ENDS => payload.get(..12).map(|p| Record::PassEnds {
            pass: be32(p),
            flows: be64(&p[4..]),
            placements: be64(&payload[12..]),
        }),
        WHO => payload.get(..32).map(|p| Record::Who(who(p))),
        ARRIVED => payload.get(..32 + 8 * WORDS).map(|p| Record::Arrived(arrived(p))),
        PLACEMENT => placement(payload).map(Record::Placement),
        kind => Some(Record::Unknown(kind)),
    };
    known.unwrap_or(Record::Malformed(kind))
}

fn who(p: &[u8]) -> Who {
    let flows = be64(&p[24..]);
    Who {
        challenge: be64(p),
        answer: be64(&p[8..]),
        seed: be64(&p[16..]),
        flows: (flows != NOT_KNOWN).then_some(flows),
    }
}

fn arrived(p: &[u8]) -> Arrived {
    Arrived {
        highest: be64(p),
        lost: be64(&p[8..]),
        adopted: be64(&p[16..]),
        refused: be64(&p[24..]),
        bits: std::array::from_fn(|word| be64(&p[32 + 8 * word..])),
    }
}

fn flow(payload: &[u8], address: usize) -> Option<SharedFlow> {
    let p = payload.get(..flow_length(address))?;
    let ip = |n: usize| to_ip(&p[2 + n * address..][..address]);
    let ports = 2 + 3 * address;
    let port = |n: usize| u16::from_be_bytes([p[ports + 2 * n], p[ports + 2 * n + 1]]);
    Some(SharedFlow {
        transport: Transport::from_code(u16::from(p[0]))?,
        forward: stage(p[1] >> 4)?,
        back: stage(p[1] & 0xf)?,
        vip: ip(0)?,
        client: ip(1)?,
        member: ip(2)?,
        listener_port: port(0),
        client_port: port(1),
        member_port: port(2),
        snat_port: port(3),
        idle_millis: be32(&p[ports + 8..]),
        last_hop: Mac(*p[ports + 12..].first_chunk()?),
    })
}

fn placement(payload: &[u8]) -> Option<SharedPlacement> {
    let (p, addresses) = payload.split_at_checked(PLACEMENT_HEAD)?;
    let port = |at: usize| u16::from_be_bytes([p[at], p[at + 1]]);
    let length = |flag: u8| if p[2] & flag == 0 { 4 } else { 16 };
    let (vip, after) = addresses.split_at_checked(length(VIP_IPV6))?;
    let mode = p[1] & 0xf;
    Some(SharedPlacement {
        fingerprint: be64(&p[3..]),
        stage: placement_stage(p[1] >> 4)?,
        transport: Transport::from_code(u16::from(p[0]))?,
        vip: to_ip(vip)?,
        listener_port: port(15),
        member: to_ip(after.get(..length(MEMBER_IPV6))?)?,
        member_port: port(17),
        mode: ForwardMode::ALL.into_iter().find(|known| *known as u8 == mode)?,
        counted: p[2] & COUNTED != 0,
        idle_millis: be32(&p[11..]),
    })
}

/// Stages of what is worth telling; the others never travel.
fn placement_stage(code: u8) -> Option<PlacementStage> {
    use PlacementStage::{Closing, Established, Session};
    [Established, Closing, Session].into_iter().find(|stage| *stage as u8 == code)
}

fn to_ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => bytes.first_chunk().map(|b: &[u8; 4]| Ipv4Addr::from(*b).into()),
        _ => bytes.first_chunk().map(|b: &[u8; 16]| Ipv6Addr::from(*b).into()),
    }
}

/// Stages of entries that hold a flow; the others never travel.
fn stage(code: u8) -> Option<Stage> {
    [Stage::New, Stage::Answered, Stage::Established, Stage::Closing, Stage::Reset]
        .into_iter()
        .find(|stage| *stage as u8 == code)
}

/// Appends a flow or a placement if there is room in a body for it.
///
/// # Errors
/// Why it was not appended.
pub fn write(shared: &Shared, body: &mut Vec<u8>) -> Result<(), NotWritten> {
    match shared {
        Shared::Flow(flow) => write_flow(flow, body),
        Shared::Placement(placement) => write_placement(placement, body),
    }
}

/// Appends a placement if there is room in a body for it.
///
/// # Errors
/// There is none.
pub fn write_placement(placement: &SharedPlacement, body: &mut Vec<u8>) -> Result<(), NotWritten> {
    let (vip, member) = (placement.vip, placement.member);
    let bytes = |address: IpAddr| if address.is_ipv6() { 16 } else { 4 };
    let length = PLACEMENT_HEAD + bytes(vip) + bytes(member);
    if body.len() + FRAME + length > MAX_BODY {
        return Err(NotWritten::NoRoom);
    }
    frame(PLACEMENT, length, body);
    let flag = |flag: u8, is_set: bool| if is_set { flag } else { 0 };
    let flags = flag(VIP_IPV6, vip.is_ipv6()) | flag(MEMBER_IPV6, member.is_ipv6()) | flag(COUNTED, placement.counted);
    body.extend_from_slice(&[
        placement.transport.code() as u8,
        (placement.stage as u8) << 4 | placement.mode as u8,
        flags,
    ]);
    body.extend_from_slice(&placement.fingerprint.to_be_bytes());
    body.extend_from_slice(&placement.idle_millis.to_be_bytes());
    for port in [placement.listener_port, placement.member_port] {
        body.extend_from_slice(&port.to_be_bytes());
    }
    write_address(vip, body);
    write_address(member, body);
    Ok(())
}

fn write_address(address: IpAddr, body: &mut Vec<u8>) {
    match address {
        IpAddr::V4(v4) => body.extend_from_slice(&v4.octets()),
        IpAddr::V6(v6) => body.extend_from_slice(&v6.octets()),
    }
}

/// Appends a flow if there is room in a body for it.
///
/// # Errors
/// Why it was not appended.
pub fn write_flow(flow: &SharedFlow, body: &mut Vec<u8>) -> Result<(), NotWritten> {
    let (kind, length) = match (flow.vip, flow.client, flow.member) {
        (IpAddr::V4(_), IpAddr::V4(_), IpAddr::V4(_)) => (FLOW_V4, flow_length(4)),
        (IpAddr::V6(_), IpAddr::V6(_), IpAddr::V6(_)) => (FLOW_V6, flow_length(16)),
        _ => return Err(NotWritten::MixedFamilies),
    };
    if body.len() + FRAME + length > MAX_BODY {
        return Err(NotWritten::NoRoom);
    }
    frame(kind, length, body);
    body.extend_from_slice(&[flow.transport.code() as u8, (flow.forward as u8) << 4 | flow.back as u8]);
    for address in [flow.vip, flow.client, flow.member] {
        write_address(address, body);
    }
    for port in [flow.listener_port, flow.client_port, flow.member_port, flow.snat_port] {
        body.extend_from_slice(&port.to_be_bytes());
    }
    body.extend_from_slice(&flow.idle_millis.to_be_bytes());
    body.extend_from_slice(&flow.last_hop.0);
    Ok(())
}

/// Why a flow was not appended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotWritten {
    /// The body is full.
    NoRoom,
    /// Its addresses are of both families, which no record can say.
    MixedFamilies,
}

/// Appends the beginning of a pass.
pub fn write_pass_begins(pass: u32, body: &mut Vec<u8>) {
    frame(PASS_BEGINS, 4, body);
    body.extend_from_slice(&pass.to_be_bytes());
}

/// Appends the end of a pass with so many flows and placements.
pub fn write_pass_ends(pass: u32, flows: u64, placements: u64, body: &mut Vec<u8>) {
    frame(PASS_ENDS, 20, body);
    body.extend_from_slice(&pass.to_be_bytes());
    body.extend_from_slice(&flows.to_be_bytes());
    body.extend_from_slice(&placements.to_be_bytes());
}

/// Appends who says hello.
pub fn write_who(who: &Who, body: &mut Vec<u8>) {
    frame(WHO, 32, body);
    for number in [who.challenge, who.answer, who.seed, who.flows.unwrap_or(NOT_KNOWN)] {
        body.extend_from_slice(&number.to_be_bytes());
    }
}

/// Appends what has arrived.
pub fn write_arrived(arrived: &Arrived, body: &mut Vec<u8>) {
    frame(ARRIVED, 32 + 8 * WORDS, body);
    for number in [arrived.highest, arrived.lost, arrived.adopted, arrived.refused].into_iter().chain(arrived.bits) {
        body.extend_from_slice(&number.to_be_bytes());
    }
}

fn frame(kind: u8, length: usize, body: &mut Vec<u8>) {
    let [high, low] = (length as u16).to_be_bytes();
    body.extend_from_slice(&[kind, high, low]);
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
