//! One entry for fuzzers: any bytes become a receiver and a message, and what
//! must hold of every message is asserted.
//!
//! The first bytes choose the receiver and what the network says, so that a
//! fuzzer reaches every form; the rest is the message. `vrrp/corpus/` holds one
//! seed of each form.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;
use std::collections::BTreeSet;

use crate::announce::multicast_group;
use crate::config::{Authentication, ChecksumForm, Exchange, HmacKeys, HmacMode, RouterConfig};
use crate::packet::hmac::{HmacStamp, ReplayMarks};
use crate::packet::refusal::Refusal;
use crate::packet::{Advert, Received, Sending, build, parse, strip_ipv4};
use crate::types::{Family, Priority, Secret, Version, Vrid};

/// Bytes in front of the message: the form, the oddities, the seconds the clock
/// is off.
const CHOICES: usize = 3;

// Bits of the first byte.
const VERSION_2: u8 = 1;
const IPV6: u8 = 2;
const UNICAST: u8 = 4;
const MESSAGE_ONLY: u8 = 8;
const LIMITED: u8 = 16;
/// Two bits: no authentication, or the three modes of an HMAC; in version 2
/// none, or a password.
const AUTHENTICATION: u8 = 32;
/// The checksum is made right before the message is parsed.
const MEND: u8 = 128;

// Bits of the second byte.
const FEW_HOPS: u8 = 1;
const OWN_SOURCE: u8 = 2;
const STRANGER: u8 = 4;
const OTHER_DESTINATION: u8 = 8;
const MANY_ADDRESSES: u8 = 16;

const UTC: Duration = Duration::from_secs(1_900_000_000);
const LIMIT: Duration = Duration::from_secs(3);

/// The receiver that the first byte chooses, with what it would send itself.
#[derive(Clone, Debug)]
struct Scene {
    router: RouterConfig,
    exchange: Exchange,
    own: IpAddr,
    peer: IpAddr,
    destination: IpAddr,
}

impl Scene {
    fn of(form: u8, oddities: u8) -> Option<Self> {
        let is = |bit| form & bit != 0;
        let family = if is(IPV6) { Family::V6 } else { Family::V4 };
        let version = if is(VERSION_2) { Version::V2 } else { Version::V3 };
        let host = |number: u8| match family {
            Family::V4 => IpAddr::from([192, 0, 2, number]),
            Family::V6 => IpAddr::from(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, u16::from(number))),
        };
        let (own, peer) = (host(3), host(2));
        let count = if oddities & MANY_ADDRESSES == 0 { 2 } else { 40 };
        let router = RouterConfig {
            vrid: Vrid::new(51)?,
            family,
            version,
            priority: Priority::new(100)?,
            interval: Duration::from_secs(1),
            preempt: true,
            preempt_delay: Duration::ZERO,
            addresses: (100..100 + count).map(host).collect(),
            learned_interval_limit: is(LIMITED).then_some(LIMIT),
        };
        let exchange = Exchange {
            peers: is(UNICAST).then_some(peer).into_iter().collect(),
            sources: is(UNICAST).then(|| BTreeSet::from([peer])),
            checksum: if is(MESSAGE_ONLY) { ChecksumForm::MessageOnly } else { ChecksumForm::PseudoHeader },
            authentication: authentication(version, form / AUTHENTICATION % 4),
        };
        let destination = if is(UNICAST) { own } else { multicast_group(family) };
        let scene = Self { router, exchange, own, peer, destination };
        let possible = scene.router.check().and_then(|()| scene.exchange.check(&scene.router));
        possible.is_ok().then_some(scene)
    }
}

fn authentication(version: Version, choice: u8) -> Authentication {
    let mode = match (version, choice) {
        (_, 0) => return Authentication::None,
        (Version::V2, _) => return Authentication::Password(*b"secret12"),
        (Version::V3, 1) => HmacMode::ReceiveOnly,
        (Version::V3, 2) => HmacMode::Permissive,
        (Version::V3, _) => HmacMode::Enforce,
    };
    let keys = vec![(1, Secret::new((0..32).collect())), (9, Secret::new((100..164).collect()))];
    Authentication::Hmac(HmacKeys { mode, send: 1, keys, freshness: None })
}

/// Parses what the bytes say, and asserts what holds of every message. `None`:
/// the bytes choose a receiver that no configuration allows, or are too few.
///
/// # Panics
/// If something does not hold; that is what it is for.
pub fn fuzz_parse(data: &[u8]) -> Option<Result<Advert, Refusal>> {
    check_strip(data);
    let ([form, oddities, clock], message) = data.split_first_chunk::<CHOICES>()?;
    let scene = Scene::of(*form, *oddities)?;
    let odd = |bit| oddities & bit != 0;
    let mut packet = message.to_vec();
    if form & MEND != 0 && packet.len() >= 8 {
        mend(&scene, &mut packet);
    }
    let received = Received {
        packet: &packet,
        source: match (odd(OWN_SOURCE), odd(STRANGER)) {
            (true, _) => scene.own,
            (_, true) => IpAddr::from([198, 51, 100, 1]),
            _ => scene.peer,
        },
        destination: if odd(OTHER_DESTINATION) { IpAddr::from([224, 0, 0, 1]) } else { scene.destination },
        hops: if odd(FEW_HOPS) { 254 } else { 255 },
        own: Some(scene.own),
        at_utc: UTC + Duration::from_secs(u64::from(*clock)),
    };
    let mut replay = ReplayMarks::default();
    let outcome = parse(&received, &scene.router, &scene.exchange, &mut replay);
    if let Ok(advert) = &outcome {
        check_accepted(&scene, &received, advert);
    }
    check_again(&scene, &received, &outcome, &mut replay);
    Some(outcome)
}

/// Writes the checksum that the scene's form of it asks for, so that what is
/// behind that check is reached too.
fn mend(scene: &Scene, packet: &mut [u8]) {
    let with = |packet: &[u8]| {
        let mut sum = 0u32;
        let length = u32::try_from(packet.len()).unwrap_or(0);
        let (source, destination) = (octets(scene.peer), octets(scene.destination));
        let pseudo = [&source[..], &destination[..], &length.to_be_bytes(), &[0, 112]].concat();
        let v6 = scene.router.family == Family::V6;
        let bare = scene.router.version == Version::V2 || scene.exchange.checksum == ChecksumForm::MessageOnly;
        let parts = if bare && !v6 { packet.to_vec() } else { [&pseudo[..], packet].concat() };
        for word in parts.chunks(2) {
            sum += u32::from(word[0]) * 256 + u32::from(word.get(1).copied().unwrap_or(0));
            sum = sum % 0x10000 + sum / 0x10000;
        }
        !u16::try_from(sum).unwrap_or(0)
    };
    packet[6..8].fill(0);
    let sum = with(packet);
    packet[6..8].copy_from_slice(&sum.to_be_bytes());
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The message ends within the datagram, and begins behind a whole header.
fn check_strip(data: &[u8]) {
    if let Ok((_, message)) = strip_ipv4(data) {
        assert!(message.len() + 20 <= data.len());
    }
}

/// What was let in keeps every rule, read off the bytes once more.
fn check_accepted(scene: &Scene, received: &Received<'_>, advert: &Advert) {
    let Scene { router, exchange, .. } = scene;
    let packet = received.packet;
    assert_eq!((received.hops, advert.source), (255, received.source));
    assert!(advert.source != scene.own && exchange.sources.as_ref().is_none_or(|s| s.contains(&advert.source)));
    assert_eq!(received.destination, scene.destination);
    assert_eq!((packet[0], packet[1], packet[2]), (router.version.number() << 4 | 1, 51, advert.priority));
    assert!(packet[3] != 0 && !advert.interval.is_zero());
    assert!(advert.interval <= router.learned_interval_limit.unwrap_or(Duration::MAX));
    let enforced = matches!(&exchange.authentication, Authentication::Hmac(keys) if keys.mode == HmacMode::Enforce);
    assert!(!(enforced && advert.notes.unsigned));
    if router.version == Version::V2 {
        assert_eq!(advert.interval, router.interval);
    }
    check_rebuilt(scene, received, advert);
}

/// Whoever is configured as the message says sends the same bytes, but for the
/// HMAC and what is ignored on arrival.
fn check_rebuilt(scene: &Scene, received: &Received<'_>, advert: &Advert) {
    let packet = received.packet;
    let reserved = scene.router.version == Version::V3 && packet[4] & 0xf0 != 0;
    let size = scene.router.family.address_len();
    let body = 8 + usize::from(packet[3]) * size;
    let stray = scene.router.version == Version::V2 && packet[4] == 0 && packet[body..] != [0; 8];
    let signed = scene.router.version == Version::V3 && packet.len() > body;
    if reserved || stray || signed || usize::from(packet[3]) > scene.router.family.max_addresses() {
        return;
    }
    let mut router = scene.router.clone();
    router.addresses = packet[8..body].chunks(size).map(address).collect();
    if router.version == Version::V3 {
        router.interval = Duration::from_millis(u64::from(u16::from_be_bytes([packet[4], packet[5]])) * 10);
    }
    let mut exchange = Exchange { checksum: advert.checksum, ..scene.exchange.clone() };
    if router.version == Version::V3 {
        exchange.authentication = Authentication::None;
    }
    let (priority, source, destination) = (advert.priority, received.source, received.destination);
    let mut rebuilt = Vec::new();
    let sending = Sending { priority, source, destination, at_utc: UTC };
    build(&router, &exchange, sending, &mut HmacStamp::default(), &mut rebuilt);
    // Of a sum there are two zeros, of which an own packet has one.
    let sums_to_zero = packet[6..8] == [0xff; 2] || packet[6..8] == [0; 2];
    assert!(sums_to_zero || rebuilt == packet, "{rebuilt:02x?} is not {packet:02x?}");
}

fn address(octets: &[u8]) -> IpAddr {
    match (octets.first_chunk::<16>(), octets.first_chunk::<4>()) {
        (Some(octets), _) => Ipv6Addr::from_octets(*octets).into(),
        (None, Some(octets)) => Ipv4Addr::from_octets(*octets).into(),
        (None, None) => Ipv4Addr::UNSPECIFIED.into(),
    }
}

/// The same message has the same fate again, but one that is signed is taken
/// only once.
fn check_again(scene: &Scene, received: &Received<'_>, outcome: &Result<Advert, Refusal>, replay: &mut ReplayMarks) {
    let again = parse(received, &scene.router, &scene.exchange, replay);
    let keyed = matches!(scene.exchange.authentication, Authentication::Hmac(_));
    match outcome {
        Ok(advert) if keyed && !advert.notes.unsigned => assert_eq!(again, Err(Refusal::Replayed)),
        _ => assert_eq!(again, *outcome),
    }
}

#[cfg(test)]
#[path = "fuzz_tests.rs"]
mod tests;
