//! Adverts to bytes.

use core::net::IpAddr;
use core::time::Duration;

use super::checksum::{PROTOCOL, Sum};
use super::hmac::{self, HmacStamp};
use crate::config::{Authentication, CENTISECOND, ChecksumForm, Exchange, HmacMode, RouterConfig};
use crate::types::{Family, Version};

/// What differs from one advert of a router to the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sending {
    /// The priority to announce; 0 says that the router leaves.
    pub priority: u8,
    /// The address it will be sent from.
    pub source: IpAddr,
    /// The group or the peer it will be sent to. The checksum depends on it,
    /// so each peer's advert is built by itself.
    pub destination: IpAddr,
    /// The time since 1970, for the stamp of an HMAC.
    pub at_utc: Duration,
}

/// Writes the message, without IP header, into `out`, which is emptied first.
///
/// `router` and `exchange` are as their `check` demands; what no packet can
/// say is cut to the nearest that it can, so that nothing here fails.
pub fn build(router: &RouterConfig, exchange: &Exchange, sending: Sending, stamp: &mut HmacStamp, out: &mut Vec<u8>) {
    out.clear();
    write_body(router, exchange, sending.priority, out);
    let body = out.len();
    if let (Version::V3, Authentication::Hmac(keys)) = (router.version, &exchange.authentication)
        && keys.mode != HmacMode::ReceiveOnly
    {
        hmac::sign(out, router, keys, sending.source, stamp, sending.at_utc);
    }
    let checksum = checksum(router, exchange, sending, out, body);
    out[6..8].copy_from_slice(&checksum.to_be_bytes());
}

/// Header with a checksum of zero, addresses, and the password field of
/// version 2.
fn write_body(router: &RouterConfig, exchange: &Exchange, priority: u8, out: &mut Vec<u8>) {
    let addresses = router.addresses.iter().take(router.family.max_addresses());
    let count = u8::try_from(addresses.len()).unwrap_or(u8::MAX);
    let password = match exchange.authentication {
        Authentication::Password(password) => Some(password),
        _ => None,
    };
    out.extend([router.version.number() << 4 | super::ADVERTISEMENT, router.vrid.get(), priority, count]);
    match router.version {
        Version::V2 => {
            let seconds = u8::try_from(router.interval.as_secs()).unwrap_or(u8::MAX).max(1);
            out.extend([if password.is_some() { super::PASSWORD } else { super::NO_AUTHENTICATION }, seconds]);
        }
        Version::V3 => {
            let centiseconds = router.interval.as_millis() / CENTISECOND.as_millis();
            let centiseconds = u16::try_from(centiseconds).unwrap_or(u16::MAX).clamp(1, super::INTERVAL_MASK);
            out.extend(centiseconds.to_be_bytes());
        }
    }
    out.extend([0; 2]);
    for address in addresses {
        match address {
            IpAddr::V4(address) => out.extend(address.octets()),
            IpAddr::V6(address) => out.extend(address.octets()),
        }
    }
    if router.version == Version::V2 {
        out.extend(password.unwrap_or_default());
    }
}

/// The checksum over a message in which its field is still zero. IPv6 sums up
/// the trailer too, IPv4 only what is in front of it.
fn checksum(router: &RouterConfig, exchange: &Exchange, sending: Sending, message: &[u8], body: usize) -> u16 {
    let pseudo = |sum: Sum, length| sum.over_pseudo_header(sending.source, sending.destination, length, PROTOCOL);
    let sum = match (router.family, router.version, exchange.checksum) {
        (Family::V6, _, _) => pseudo(Sum::ZERO.over(message), message.len()),
        (Family::V4, Version::V3, ChecksumForm::PseudoHeader) => pseudo(Sum::ZERO.over(&message[..body]), body),
        (Family::V4, _, _) => Sum::ZERO.over(&message[..body]),
    };
    sum.checksum()
}
