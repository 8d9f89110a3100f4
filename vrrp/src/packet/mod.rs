//! Bytes to adverts and back.
//!
//! [`parse`] is total: it takes any bytes, and either yields an advert that
//! every rule of the RFC lets in, or the one reason why not. What must not be
//! here: memory of routers. The only thing that outlives a packet are the
//! [`ReplayMarks`].

mod build;
mod checksum;
pub mod hmac;
mod ipv4;
pub mod refusal;

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use subtle::ConstantTimeEq;

pub use self::build::{Sending, build};
use self::checksum::PROTOCOL;
pub(crate) use self::checksum::Sum;
use self::hmac::{ReplayMarks, TRAILER_LEN};
pub use self::ipv4::{Ipv4Header, strip_ipv4};
use self::refusal::Refusal;
use crate::announce::multicast_group;
use crate::config::{Authentication, CENTISECOND, ChecksumForm, Exchange, HmacMode, RouterConfig};
use crate::types::{Family, Priority, Version, Vrid};

const ADVERTISEMENT: u8 = 1;
const NO_AUTHENTICATION: u8 = 0;
const PASSWORD: u8 = 1;
/// The 12 bits of the interval in version 3; the 4 above are reserved.
const INTERVAL_MASK: u16 = 0x0fff;
const HEADER_LEN: usize = 8;
const PASSWORD_LEN: usize = 8;

/// A message as it came in, with what the network said about it.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// The message, without IP header.
    pub packet: &'a [u8],
    /// Who sent it.
    pub source: IpAddr,
    /// Whom to.
    pub destination: IpAddr,
    /// The TTL or hop limit it arrived with.
    pub hops: u8,
    /// This node's own address on the network, from which it sends.
    pub own: Option<IpAddr>,
    /// The time since 1970, for the stamp of an HMAC.
    pub at_utc: Duration,
}

/// What an accepted advert says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Advert {
    /// Who sent it.
    pub source: IpAddr,
    /// The sender's priority; 0 says that it leaves.
    pub priority: u8,
    /// The interval to wait by: the sender's, up to the configured limit.
    pub interval: Duration,
    /// Which of the two forms its checksum has (version 3, IPv4). Others have
    /// one form only, which counts as the one that it is.
    pub checksum: ChecksumForm,
    /// What is worth a line in the log, and nothing more.
    pub notes: AdvertNotes,
}

/// What is odd about an advert that was accepted all the same.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct AdvertNotes {
    /// The sender's interval is not ours.
    pub interval_differs: bool,
    /// The sender's interval is above the limit, which counts instead.
    pub interval_limited: bool,
    /// The sender's addresses are not ours, or in another order.
    pub addresses_differ: bool,
    /// It was let in without the HMAC that the others send.
    pub unsigned: bool,
}

/// Which virtual router a message is for, if it is long enough to say; for
/// finding the router whose rules [`parse`] then checks.
#[must_use]
pub fn peek_vrid(packet: &[u8]) -> Option<Vrid> {
    packet.get(1).copied().and_then(Vrid::new)
}

/// Takes an advert in, if all rules let it in. The rules are in the order of
/// what they cost: nobody without a key makes this node compute an HMAC over
/// anything but a well-formed advert with a fresh stamp.
///
/// # Errors
/// The first rule that it breaks.
pub fn parse(
    received: &Received<'_>,
    router: &RouterConfig,
    exchange: &Exchange,
    replay: &mut ReplayMarks,
) -> Result<Advert, Refusal> {
    check_network(received, router, exchange)?;
    let (header, rest) = received.packet.split_first_chunk::<HEADER_LEN>().ok_or(Refusal::Short)?;
    let [kind, vrid, priority, count, interval @ .., _, _] = *header;
    if kind >> 4 != router.version.number() {
        return Err(Refusal::Version);
    }
    if kind & 0x0f != ADVERTISEMENT {
        return Err(Refusal::Type);
    }
    if vrid != router.vrid.get() {
        return Err(Refusal::OtherVrid);
    }
    let message = Message::part(received.packet, rest, count, router, exchange)?;
    let checksum = message.check_sum(received, router)?;
    let mut notes = AdvertNotes { unsigned: message.unsigned, ..AdvertNotes::default() };
    let interval = check_interval(interval, router, &mut notes)?;
    message.check_addresses(priority, router, &mut notes)?;
    message.authenticate(header[4], received, router, exchange, replay)?;
    Ok(Advert { source: received.source, priority, interval, checksum, notes })
}

/// What can be said without a look at the message.
fn check_network(received: &Received<'_>, router: &RouterConfig, exchange: &Exchange) -> Result<(), Refusal> {
    let family = router.family;
    if Family::of(received.source) != family || Family::of(received.destination) != family {
        return Err(Refusal::Family);
    }
    if received.hops != 255 {
        return Err(Refusal::Hops);
    }
    if received.source.is_unspecified() || received.source.is_multicast() {
        return Err(Refusal::Source);
    }
    if received.own == Some(received.source) {
        return Err(Refusal::OwnAddress);
    }
    if exchange.sources.as_ref().is_some_and(|sources| !sources.contains(&received.source)) {
        return Err(Refusal::Stranger);
    }
    let to_all = received.destination == multicast_group(family);
    if to_all == exchange.peers.is_empty() && to_all == received.destination.is_multicast() {
        Ok(())
    } else {
        Err(Refusal::Destination)
    }
}

/// The parts of a message whose length is right.
struct Message<'a> {
    /// Everything but a trailer.
    body: &'a [u8],
    addresses: &'a [u8],
    /// The password field of version 2.
    password: Option<&'a [u8; PASSWORD_LEN]>,
    /// Everything, if a trailer is at its end.
    signed: Option<&'a [u8]>,
    /// There could be a trailer, and there is none.
    unsigned: bool,
}

impl<'a> Message<'a> {
    /// Parts what comes after the header. Nothing may be left over.
    fn part(
        packet: &'a [u8],
        rest: &'a [u8],
        count: u8,
        router: &RouterConfig,
        exchange: &Exchange,
    ) -> Result<Self, Refusal> {
        if count == 0 {
            return Err(Refusal::NoAddress);
        }
        let addresses_len = usize::from(count) * router.family.address_len();
        let (addresses, after) = rest.split_at_checked(addresses_len).ok_or(Refusal::Length)?;
        let plain = Self { body: packet, addresses, password: None, signed: None, unsigned: false };
        match router.version {
            Version::V2 => match after.as_array() {
                Some(password) => Ok(Self { password: Some(password), ..plain }),
                None => Err(Refusal::Length),
            },
            Version::V3 => match (&exchange.authentication, after.len()) {
                (Authentication::Hmac(keys), 0) if keys.mode == HmacMode::Enforce => Err(Refusal::TrailerMissing),
                (Authentication::Hmac(_), 0) => Ok(Self { unsigned: true, ..plain }),
                (Authentication::Hmac(_), TRAILER_LEN) => {
                    Ok(Self { body: &packet[..HEADER_LEN + addresses_len], signed: Some(packet), ..plain })
                }
                (_, 0) => Ok(plain),
                (_, TRAILER_LEN) => Err(Refusal::TrailerUnexpected),
                _ => Err(Refusal::Length),
            },
        }
    }

    /// Which form of the checksum is right.
    fn check_sum(&self, received: &Received<'_>, router: &RouterConfig) -> Result<ChecksumForm, Refusal> {
        let with_pseudo_header = |bytes: &[u8]| {
            let sum = Sum::ZERO.over(bytes);
            sum.over_pseudo_header(received.source, received.destination, bytes.len(), PROTOCOL).is_intact()
        };
        let alone = || Sum::ZERO.over(self.body).is_intact();
        match (router.family, router.version) {
            (Family::V6, _) if with_pseudo_header(received.packet) => Ok(ChecksumForm::PseudoHeader),
            (Family::V4, Version::V3) if with_pseudo_header(self.body) => Ok(ChecksumForm::PseudoHeader),
            (Family::V4, _) if alone() => Ok(ChecksumForm::MessageOnly),
            _ => Err(Refusal::Checksum),
        }
    }

    /// IPv6 begins with a link-local address. Addresses that differ are a
    /// matter for the log, but in version 2 unless their owner speaks.
    fn check_addresses(&self, priority: u8, router: &RouterConfig, notes: &mut AdvertNotes) -> Result<(), Refusal> {
        let first = self.addresses.first_chunk().map(|octets| Ipv6Addr::from_octets(*octets));
        if router.family == Family::V6 && !first.is_some_and(|first| first.is_unicast_link_local()) {
            return Err(Refusal::FirstNotLinkLocal);
        }
        if self.addresses().eq(router.addresses.iter().copied()) {
            return Ok(());
        }
        let same_set = self.addresses().count() == router.addresses.len()
            && router.addresses.iter().all(|ours| self.addresses().any(|theirs| theirs == *ours));
        notes.addresses_differ = true;
        if router.version == Version::V2 && priority != Priority::OWNER.get() && !same_set {
            return Err(Refusal::AddressesDiffer);
        }
        Ok(())
    }

    fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        // The length is a multiple of one of the two, and never zero.
        let is_v4 = self.addresses.len() == usize::from(self.body[3]) * Family::V4.address_len();
        let size = if is_v4 { Family::V4.address_len() } else { Family::V6.address_len() };
        self.addresses.chunks_exact(size).filter_map(|octets| match (octets.as_array(), octets.as_array()) {
            (Some(octets), None) => Some(IpAddr::V4(Ipv4Addr::from_octets(*octets))),
            (None, Some(octets)) => Some(IpAddr::V6(Ipv6Addr::from_octets(*octets))),
            _ => None,
        })
    }

    fn authenticate(
        &self,
        kind: u8,
        received: &Received<'_>,
        router: &RouterConfig,
        exchange: &Exchange,
        replay: &mut ReplayMarks,
    ) -> Result<(), Refusal> {
        if let (Authentication::Hmac(keys), Some(signed)) = (&exchange.authentication, self.signed) {
            return hmac::verify(signed, router, keys, received.source, received.at_utc, replay);
        }
        let Some(theirs) = self.password else { return Ok(()) };
        match (&exchange.authentication, kind) {
            (Authentication::Password(ours), PASSWORD) if bool::from(ours.ct_eq(theirs)) => Ok(()),
            (Authentication::Password(_), PASSWORD) => Err(Refusal::Password),
            (Authentication::None, NO_AUTHENTICATION) => Ok(()),
            _ => Err(Refusal::AuthenticationKind),
        }
    }
}

/// The interval to wait by. In version 2 it is the configured one or nothing;
/// version 3 takes what the sender says, up to the limit.
fn check_interval(field: [u8; 2], router: &RouterConfig, notes: &mut AdvertNotes) -> Result<Duration, Refusal> {
    let interval = match router.version {
        Version::V2 => Duration::from_secs(u64::from(field[1])),
        Version::V3 => CENTISECOND * u32::from(u16::from_be_bytes(field) & INTERVAL_MASK),
    };
    if interval.is_zero() {
        return Err(Refusal::IntervalZero);
    }
    notes.interval_differs = interval != router.interval;
    match router.learned_interval_limit {
        _ if router.version == Version::V2 && notes.interval_differs => Err(Refusal::IntervalDiffers),
        Some(limit) if interval > limit => {
            notes.interval_limited = true;
            Ok(limit)
        }
        _ => Ok(interval),
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
