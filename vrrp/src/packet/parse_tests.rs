//! Each rule of reception by itself, over images made with another
//! implementation.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use super::hmac::HmacStamp;
use super::*;
use crate::config::HmacKeys;
use crate::types::Secret;

/// Priority 100, one second, two addresses; from .2 to the group.
pub(super) const V4_PSEUDO: &str = "3133640200644306c0000264c0000265";
/// The same to .3 alone.
const V4_UNICAST: &str = "3133640200646115c0000264c0000265";
/// The same with a checksum of the message alone.
const V4_PLAIN: &str = "313364020064e59bc0000264c0000265";
const V6: &str = "3133640200643dfcfe80000000000000000000000000010020010db8000000000000000000000100";
const V2_PASSWORD: &str = "2133640201018780c0000264c00002657365637265743132";
const V2_OPEN: &str = "213364020001f5fec0000264c00002650000000000000000";
/// Signed with key 1 and stamped [`SIGNED_AT`].
pub(super) const V4_HMAC: &str =
    "3133640200644306c0000264c000026501010000713fb30040000000b31617e37529a99eb133966a13027040";
/// Signed with key 9 and stamped [`SIGNED_AT`].
pub(super) const V6_HMAC: &str = "313364020064320bfe80000000000000000000000000010020010db800000000000000000000010001090000713fb300400000001fc5ed97609b02a26a6f4a916af115ff";
pub(super) const SIGNED_AT: Duration = Duration::from_millis(1_900_000_000_250);

pub(super) fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes().chunks(2).map(|c| u8::from_str_radix(str::from_utf8(c).unwrap(), 16).unwrap()).collect()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A receiver, and what the network says of the message.
#[derive(Clone)]
pub(super) struct Case {
    pub(super) router: RouterConfig,
    pub(super) exchange: Exchange,
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) hops: u8,
    pub(super) own: Option<IpAddr>,
    pub(super) at_utc: Duration,
}

impl Case {
    pub(super) fn v4() -> Self {
        Self {
            router: RouterConfig {
                vrid: Vrid::new(51).unwrap(),
                family: Family::V4,
                version: Version::V3,
                priority: Priority::new(100).unwrap(),
                interval: Duration::from_secs(1),
                preempt: true,
                preempt_delay: Duration::ZERO,
                addresses: vec![ip("192.0.2.100"), ip("192.0.2.101")],
                learned_interval_limit: None,
            },
            exchange: Exchange {
                peers: Vec::new(),
                sources: None,
                checksum: ChecksumForm::PseudoHeader,
                authentication: Authentication::None,
            },
            source: ip("192.0.2.2"),
            destination: ip("224.0.0.18"),
            hops: 255,
            own: Some(ip("192.0.2.3")),
            at_utc: SIGNED_AT,
        }
    }

    pub(super) fn v6() -> Self {
        let mut case = Self::v4();
        case.router.family = Family::V6;
        case.router.addresses = vec![ip("fe80::100"), ip("2001:db8::100")];
        Self { source: ip("fe80::2"), destination: ip("ff02::12"), own: Some(ip("fe80::3")), ..case }
    }

    fn v2() -> Self {
        let mut case = Self::v4();
        case.router.version = Version::V2;
        case
    }

    fn v2_password() -> Self {
        let mut case = Self::v2();
        case.exchange.authentication = Authentication::Password(*b"secret12");
        case
    }

    /// As Octavia has it: version 2, unicast, password.
    fn octavia() -> Self {
        Self::v2_password().unicast()
    }

    fn unicast(mut self) -> Self {
        self.exchange.peers = vec![self.source];
        self.exchange.sources = Some(BTreeSet::from([self.source]));
        Self { destination: self.own.unwrap(), ..self }
    }

    pub(super) fn hmac(mut self, mode: HmacMode) -> Self {
        let keys = vec![(1, Secret::new((0..32).collect())), (9, Secret::new((100..164).collect()))];
        let send = if self.router.family == Family::V4 { 1 } else { 9 };
        self.exchange.authentication = Authentication::Hmac(HmacKeys { mode, send, keys, freshness: None });
        self
    }

    pub(super) fn parse_with(&self, packet: &[u8], replay: &mut ReplayMarks) -> Result<Advert, Refusal> {
        let Self { source, destination, hops, own, at_utc, .. } = *self;
        let received = Received { packet, source, destination, hops, own, at_utc };
        parse(&received, &self.router, &self.exchange, replay)
    }

    pub(super) fn parse(&self, packet: &[u8]) -> Result<Advert, Refusal> {
        self.parse_with(packet, &mut ReplayMarks::default())
    }

    fn refused(&self, packet: &[u8]) -> Option<Refusal> {
        self.parse(packet).err()
    }

    pub(super) fn build(&self, priority: u8) -> Vec<u8> {
        let Self { source, destination, at_utc, .. } = *self;
        let mut out = vec![0xff; 3];
        let sending = Sending { priority, source, destination, at_utc };
        build(&self.router, &self.exchange, sending, &mut HmacStamp::default(), &mut out);
        out
    }

    /// The packet of `self`, changed, and with the checksum made right again.
    fn altered(&self, packet: &[u8], alter: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut packet = packet.to_vec();
        alter(&mut packet);
        packet[6..8].fill(0);
        let mut sum = Sum::ZERO.over(&packet);
        if self.router.version == Version::V3 {
            sum = sum.over_pseudo_header(self.source, self.destination, packet.len(), PROTOCOL);
        }
        packet[6..8].copy_from_slice(&sum.checksum().to_be_bytes());
        packet
    }
}

#[test]
fn adverts_are_built_to_the_byte_and_taken_in_again() {
    let plain = |mut case: Case| {
        case.exchange.checksum = ChecksumForm::MessageOnly;
        case
    };
    for (what, case, image, checksum) in [
        ("multicast", Case::v4(), V4_PSEUDO, ChecksumForm::PseudoHeader),
        ("unicast", Case::v4().unicast(), V4_UNICAST, ChecksumForm::PseudoHeader),
        ("message only", plain(Case::v4()), V4_PLAIN, ChecksumForm::MessageOnly),
        ("message only, unicast", plain(Case::v4().unicast()), V4_PLAIN, ChecksumForm::MessageOnly),
        ("IPv6", Case::v6(), V6, ChecksumForm::PseudoHeader),
        ("IPv6 has one form", plain(Case::v6()), V6, ChecksumForm::PseudoHeader),
        ("version 2", Case::v2(), V2_OPEN, ChecksumForm::MessageOnly),
        ("password", Case::v2_password(), V2_PASSWORD, ChecksumForm::MessageOnly),
        ("password, unicast", Case::octavia(), V2_PASSWORD, ChecksumForm::MessageOnly),
        ("HMAC", Case::v4().hmac(HmacMode::Enforce), V4_HMAC, ChecksumForm::PseudoHeader),
        ("HMAC over IPv6", Case::v6().hmac(HmacMode::Permissive), V6_HMAC, ChecksumForm::PseudoHeader),
        ("receive only", Case::v4().hmac(HmacMode::ReceiveOnly), V4_PSEUDO, ChecksumForm::PseudoHeader),
    ] {
        assert_eq!(case.build(100), bytes(image), "{what}");
        let advert = case.parse(&bytes(image)).unwrap_or_else(|refusal| panic!("{what}: {refusal:?}"));
        let notes = AdvertNotes { unsigned: what == "receive only", ..AdvertNotes::default() };
        let interval = Duration::from_secs(1);
        assert_eq!(advert, Advert { source: case.source, priority: 100, interval, checksum, notes }, "{what}");
    }
}

#[test]
fn both_forms_of_the_ipv4_checksum_are_taken_whichever_is_sent() {
    for ours in [ChecksumForm::PseudoHeader, ChecksumForm::MessageOnly] {
        let mut case = Case::v4();
        case.exchange.checksum = ours;
        assert_eq!(case.parse(&bytes(V4_PSEUDO)).unwrap().checksum, ChecksumForm::PseudoHeader);
        assert_eq!(case.parse(&bytes(V4_PLAIN)).unwrap().checksum, ChecksumForm::MessageOnly);
    }
}

#[test]
fn a_wrong_checksum_is_refused_in_every_form() {
    for (case, image) in [
        (Case::v4(), V4_PSEUDO),
        (Case::v4(), V4_PLAIN),
        (Case::v6(), V6),
        (Case::v2(), V2_OPEN),
        (Case::v2_password(), V2_PASSWORD),
        (Case::v6().hmac(HmacMode::Enforce), V6_HMAC),
        (Case::v4().hmac(HmacMode::Enforce), V4_HMAC),
    ] {
        let mut packet = bytes(image);
        packet[7] ^= 1;
        assert_eq!(case.refused(&packet), Some(Refusal::Checksum), "{image}");
    }
}

#[test]
fn the_checksum_of_a_unicast_advert_is_over_its_real_destination() {
    let case = Case::v4().unicast();
    assert_eq!(case.refused(&bytes(V4_PSEUDO)), Some(Refusal::Checksum), "not over 224.0.0.18");
}

#[test]
fn ipv6_and_version_2_have_one_form_of_the_checksum() {
    let mut message_only = bytes(V6);
    message_only[6..8].fill(0);
    let sum = Sum::ZERO.over(&message_only).checksum();
    message_only[6..8].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(Case::v6().refused(&message_only), Some(Refusal::Checksum));

    let case = Case::v2();
    let mut pseudo = bytes(V2_OPEN);
    pseudo[6..8].fill(0);
    let sum = Sum::ZERO.over(&pseudo).over_pseudo_header(case.source, case.destination, pseudo.len(), PROTOCOL);
    pseudo[6..8].copy_from_slice(&sum.checksum().to_be_bytes());
    assert_eq!(case.refused(&pseudo), Some(Refusal::Checksum));
}

#[test]
fn what_was_sent_from_another_network_is_refused_in_unicast_too() {
    for (case, image) in
        [(Case::v4(), V4_PSEUDO), (Case::v4().unicast(), V4_UNICAST), (Case::v6(), V6), (Case::octavia(), V2_PASSWORD)]
    {
        for hops in [0, 1, 64, 254] {
            assert_eq!(Case { hops, ..case.clone() }.refused(&bytes(image)), Some(Refusal::Hops), "{hops}");
        }
    }
}

#[test]
fn only_those_who_may_send_are_heard() {
    let mut case = Case::v4();
    case.exchange.sources = Some(BTreeSet::from([ip("192.0.2.77")]));
    assert_eq!(case.refused(&bytes(V4_PSEUDO)), Some(Refusal::Stranger));
    case.exchange.sources = Some(BTreeSet::from([case.source]));
    assert_eq!(case.refused(&bytes(V4_PSEUDO)), None);
    case.own = Some(case.source);
    assert_eq!(case.refused(&bytes(V4_PSEUDO)), Some(Refusal::OwnAddress));
}

#[test]
fn a_source_is_an_address_that_a_host_can_have() {
    for source in ["0.0.0.0", "224.0.0.18"] {
        let case = Case { source: ip(source), ..Case::v4() };
        assert_eq!(case.refused(&case.build(100)), Some(Refusal::Source), "{source}");
    }
    let case = Case { source: ip("fe80::2"), ..Case::v4() };
    assert_eq!(case.refused(&bytes(V4_PSEUDO)), Some(Refusal::Family));
}

#[test]
fn multicast_and_unicast_are_not_mixed() {
    let to = |case: Case, destination| {
        let case = Case { destination: ip(destination), ..case };
        case.refused(&case.build(100))
    };
    assert_eq!(to(Case::v4(), "192.0.2.3"), Some(Refusal::Destination));
    assert_eq!(to(Case::v4(), "224.0.0.1"), Some(Refusal::Destination));
    assert_eq!(to(Case::v4().unicast(), "224.0.0.18"), Some(Refusal::Destination));
    assert_eq!(to(Case::v4().unicast(), "224.0.0.1"), Some(Refusal::Destination));
    assert_eq!(to(Case::v6().unicast(), "ff02::12"), Some(Refusal::Destination));
    assert_eq!(to(Case::v6().unicast(), "fe80::3"), None);
}

#[test]
fn version_type_and_number_are_those_of_the_router() {
    let case = Case::v4();
    let with = |at: usize, value: u8| case.refused(&case.altered(&bytes(V4_PSEUDO), |packet| packet[at] = value));
    assert_eq!(with(0, 0x21), Some(Refusal::Version));
    assert_eq!(with(0, 0x41), Some(Refusal::Version));
    assert_eq!(with(0, 0x30), Some(Refusal::Type));
    assert_eq!(with(0, 0x32), Some(Refusal::Type));
    assert_eq!(with(1, 52), Some(Refusal::OtherVrid));
    assert_eq!(with(1, 0), Some(Refusal::OtherVrid));
    assert_eq!(Case::v2().refused(&bytes(V4_PLAIN)), Some(Refusal::Version));
    assert_eq!(peek_vrid(&bytes(V4_PSEUDO)), Vrid::new(51));
    assert_eq!((peek_vrid(&[0x31]), peek_vrid(&[0x31, 0])), (None, None));
}

#[test]
fn an_advert_announces_at_least_one_address() {
    for (case, packet) in [
        (Case::v4(), bytes("3133640000640000")),
        (Case::v6(), bytes("3133640000640000")),
        (Case::v2(), bytes("21336400000100000000000000000000")),
    ] {
        let packet = case.altered(&packet, |_| ());
        assert_eq!(case.refused(&packet), Some(Refusal::NoAddress));
    }
}

#[test]
fn the_length_is_what_the_number_of_addresses_makes_it() {
    for (case, image) in [
        (Case::v4(), V4_PSEUDO),
        (Case::v6(), V6),
        (Case::v2(), V2_OPEN),
        (Case::v4().hmac(HmacMode::Permissive), V4_PSEUDO),
    ] {
        let whole = bytes(image);
        for length in 8..whole.len() {
            let packet = case.altered(&whole[..length], |_| ());
            assert_eq!(case.refused(&packet), Some(Refusal::Length), "{length} of {image}");
        }
        for more in (1..64).filter(|more| *more != TRAILER_LEN) {
            let packet = case.altered(&whole, |packet| packet.extend(vec![0; more]));
            assert_eq!(case.refused(&packet), Some(Refusal::Length), "{more} more than {image}");
        }
        for length in 0..8 {
            assert_eq!(case.refused(&whole[..length]), Some(Refusal::Short), "{length}");
        }
    }
}

#[test]
fn the_interval_is_in_centiseconds_and_the_bits_above_it_are_ignored() {
    let case = Case::v4();
    for (field, millis) in [(0x0001, 10), (0x0064, 1000), (0x0fff, 40_950), (0xf064, 1000)] {
        let packet = case.altered(&bytes(V4_PSEUDO), |p| p[4..6].copy_from_slice(&u16::to_be_bytes(field)));
        let advert = case.parse(&packet).unwrap();
        assert_eq!(advert.interval, Duration::from_millis(millis), "{field:#x}");
        assert_eq!(advert.notes.interval_differs, millis != 1000, "taken, and noted");
    }
}

#[test]
fn an_interval_of_zero_is_refused() {
    for (case, image, field) in [
        (Case::v4(), V4_PSEUDO, [0, 0]),
        (Case::v4(), V4_PSEUDO, [0xf0, 0]),
        (Case::v6(), V6, [0, 0]),
        (Case::v2(), V2_OPEN, [0, 0]),
    ] {
        let packet = case.altered(&bytes(image), |packet| packet[4..6].copy_from_slice(&field));
        assert_eq!(case.refused(&packet), Some(Refusal::IntervalZero));
    }
}

#[test]
fn a_learned_interval_is_bounded_by_the_limit() {
    let mut case = Case::v4();
    case.router.learned_interval_limit = Some(Duration::from_secs(3));
    let hear = |centiseconds: u16| {
        let packet = case.altered(&bytes(V4_PSEUDO), |p| p[4..6].copy_from_slice(&centiseconds.to_be_bytes()));
        let advert = case.parse(&packet).unwrap();
        (advert.interval, advert.notes.interval_limited)
    };
    assert_eq!(hear(300), (Duration::from_secs(3), false));
    assert_eq!(hear(301), (Duration::from_secs(3), true));
    assert_eq!(hear(4095), (Duration::from_secs(3), true));
}

#[test]
fn version_2_takes_its_own_interval_only() {
    let case = Case::v2();
    for (seconds, refusal) in [(1, None), (2, Some(Refusal::IntervalDiffers)), (255, Some(Refusal::IntervalDiffers))] {
        assert_eq!(case.refused(&case.altered(&bytes(V2_OPEN), |packet| packet[5] = seconds)), refusal);
    }
}

#[test]
fn the_first_ipv6_address_is_link_local() {
    let mut sender = Case::v6();
    sender.router.addresses.reverse();
    assert_eq!(Case::v6().refused(&sender.build(100)), Some(Refusal::FirstNotLinkLocal));
}

#[test]
fn other_addresses_are_a_note_in_version_3() {
    let differ = |ours: &[&str], theirs: &[&str]| {
        let (mut receiver, mut sender) = (Case::v4(), Case::v4());
        receiver.router.addresses = ours.iter().map(|a| ip(a)).collect();
        sender.router.addresses = theirs.iter().map(|a| ip(a)).collect();
        receiver.parse(&sender.build(100)).unwrap().notes.addresses_differ
    };
    assert!(!differ(&["192.0.2.1", "192.0.2.2"], &["192.0.2.1", "192.0.2.2"]));
    assert!(differ(&["192.0.2.1", "192.0.2.2"], &["192.0.2.2", "192.0.2.1"]), "order");
    assert!(differ(&["192.0.2.1"], &["192.0.2.1", "192.0.2.2"]), "more");
    assert!(differ(&["192.0.2.1", "192.0.2.2"], &["192.0.2.1"]), "fewer");
}

#[test]
fn other_addresses_are_refused_in_version_2_unless_their_owner_speaks() {
    let hear = |priority, theirs: &[&str]| {
        let mut sender = Case::v2();
        sender.router.addresses = theirs.iter().map(|a| ip(a)).collect();
        Case::v2().parse(&sender.build(priority)).map(|advert| advert.notes.addresses_differ)
    };
    assert_eq!(hear(100, &["192.0.2.100", "192.0.2.101"]), Ok(false));
    assert_eq!(hear(100, &["192.0.2.101", "192.0.2.100"]), Ok(true), "another order is a note");
    assert_eq!(hear(100, &["192.0.2.100"]), Err(Refusal::AddressesDiffer));
    assert_eq!(hear(100, &["192.0.2.100", "192.0.2.100"]), Err(Refusal::AddressesDiffer));
    assert_eq!(hear(0, &["192.0.2.100"]), Err(Refusal::AddressesDiffer));
    assert_eq!(hear(255, &["192.0.2.100"]), Ok(true));
}

#[test]
fn a_password_is_there_exactly_when_it_is_configured_and_right() {
    let cases = [
        (Case::v2_password(), V2_PASSWORD, 1, None),
        (Case::v2_password(), V2_OPEN, 0, Some(Refusal::AuthenticationKind)),
        (Case::v2_password(), V2_OPEN, 1, Some(Refusal::Password)),
        (Case::v2_password(), V2_PASSWORD, 2, Some(Refusal::AuthenticationKind)),
        (Case::v2(), V2_OPEN, 0, None),
        (Case::v2(), V2_PASSWORD, 1, Some(Refusal::AuthenticationKind)),
        (Case::v2(), V2_OPEN, 77, Some(Refusal::AuthenticationKind)),
    ];
    for (case, image, kind, refusal) in cases {
        assert_eq!(case.refused(&case.altered(&bytes(image), |packet| packet[4] = kind)), refusal, "{kind} {image}");
    }
    let case = Case::v2_password();
    for at in 16..24 {
        let packet = case.altered(&bytes(V2_PASSWORD), |packet| packet[at] ^= 1);
        assert_eq!(case.refused(&packet), Some(Refusal::Password), "byte {at}");
    }
}

#[test]
fn a_priority_of_zero_is_an_advert_like_any_other() {
    for case in [Case::v4(), Case::v6(), Case::v2(), Case::octavia()] {
        assert_eq!(case.parse(&case.build(0)).unwrap().priority, 0);
        assert_eq!(case.parse(&case.build(255)).unwrap().priority, 255);
    }
}

#[test]
fn the_longest_adverts_fit_a_packet_of_1500_bytes() {
    let mut case = Case::v6().hmac(HmacMode::Enforce);
    case.router.addresses = (0..89).map(|n| ip(&format!("fe80::{n:x}"))).collect();
    case.router.check().unwrap();
    let packet = case.build(100);
    assert_eq!(packet.len() + 40, 1500);
    assert_eq!(case.parse(&packet).unwrap().notes, AdvertNotes::default());
    let mut case = Case::v4().hmac(HmacMode::Enforce);
    case.router.addresses = (0..255).map(|n| IpAddr::from([10, 0, 0, n])).collect();
    case.router.check().unwrap();
    assert!(case.build(100).len() + 20 <= 1500);
    assert_eq!(case.parse(&case.build(100)).unwrap().notes, AdvertNotes::default());
}

#[test]
fn what_cannot_be_said_is_cut_to_the_nearest_that_can() {
    let mut case = Case::v4();
    case.router.interval = Duration::from_secs(3600);
    assert_eq!(case.build(100)[4..6], [0x0f, 0xff]);
    case.router.interval = Duration::ZERO;
    assert_eq!(case.build(100)[4..6], [0, 1]);
    case.router.addresses = vec![ip("192.0.2.1"); 300];
    assert_eq!((case.build(100)[3], case.build(100).len()), (255, 8 + 255 * 4));
    let mut case = Case::v2();
    case.router.interval = Duration::from_millis(400);
    assert_eq!(case.build(100)[5], 1, "never zero");
}
