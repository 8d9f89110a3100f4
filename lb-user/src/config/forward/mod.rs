//! What a pool says about how it chooses members and how packets get there.
//!
//! What must not be here: what a mode asks of listeners and members. That is the model's to
//! say, whoever made it.

use std::net::{IpAddr, Ipv4Addr};

use super::reader::Reader;
use crate::model::{Algorithm, ForwardMode, Mss, MssClamp, Persistence, TransitionHold, Transport};

pub(super) mod fields;

use fields::{
    FORWARD_MODE, LB_ALGORITHM, MSS_CLAMP, PERSISTENCE_GRANULARITY, PERSISTENCE_TIMEOUT, PERSISTENCE_TYPE,
    SESSION_PERSISTENCE, TRANSITION_HOLD,
};

/// All of that.
pub(super) struct Ways {
    pub(super) lb_algorithm: Algorithm,
    pub(super) forward_mode: ForwardMode,
    pub(super) session_persistence: Option<Persistence>,
    pub(super) mss_clamp: MssClamp,
    pub(super) transition_hold: TransitionHold,
}

/// Reads it from the pool's table; where a value was refused, its default.
pub(super) fn ways(pool: &Reader<'_>, protocol: Option<Transport>, vip: Option<IpAddr>) -> Ways {
    let algorithms = Algorithm::ALL.map(|algorithm| (algorithm.name(), algorithm));
    let modes = ForwardMode::ALL.map(|mode| (mode.name(), mode));
    Ways {
        lb_algorithm: pool.word(&LB_ALGORITHM, &algorithms).unwrap_or_default(),
        forward_mode: pool.word(&FORWARD_MODE, &modes).unwrap_or_default(),
        session_persistence: pool.table(&SESSION_PERSISTENCE).map(|table| persistence(&table, vip)),
        mss_clamp: mss_clamp(pool, protocol),
        transition_hold: pool.seconds(&TRANSITION_HOLD).and_then(TransitionHold::new).unwrap_or_default(),
    }
}

fn mss_clamp(pool: &Reader<'_>, protocol: Option<Transport>) -> MssClamp {
    let at = |bytes: u64| u16::try_from(bytes).ok().and_then(Mss::new).map(MssClamp::At);
    let clamp = pool.word_or_integer(&MSS_CLAMP, &[("off", MssClamp::Off), ("auto", MssClamp::Auto)], at);
    let clamp = clamp.unwrap_or_default();
    if let Some(protocol @ (Transport::Udp | Transport::Sctp)) = protocol
        && clamp != MssClamp::Off
    {
        let text = format!("{protocol} announces no segment size, so that this does nothing; remove it");
        pool.warning(MSS_CLAMP.key, &text);
    }
    clamp
}

fn persistence(table: &Reader<'_>, vip: Option<IpAddr>) -> Persistence {
    // The only type, which has to be written nevertheless.
    let _ = table.word(&PERSISTENCE_TYPE, &[("SOURCE_IP", ())]);
    let timeout = table.integer(&PERSISTENCE_TIMEOUT).unwrap_or(Persistence::DEFAULT_TIMEOUT);
    let whole = Persistence::default();
    let (prefix4, prefix6) = match granularity(table, vip) {
        Some(Granularity::V4(prefix)) => (prefix, whole.prefix6()),
        Some(Granularity::V6(prefix)) => (whole.prefix4(), prefix),
        None => (whole.prefix4(), whole.prefix6()),
    };
    Persistence::new(timeout, prefix4, prefix6).unwrap_or_default()
}

/// How many bits of an address count.
enum Granularity {
    V4(u8),
    V6(u8),
}

fn granularity(table: &Reader<'_>, vip: Option<IpAddr>) -> Option<Granularity> {
    if !table.has(PERSISTENCE_GRANULARITY.key) {
        return None;
    }
    table.checked(&PERSISTENCE_GRANULARITY, |text| {
        let prefix_of_mask = |mask: Ipv4Addr| {
            let bits = mask.to_bits();
            // Ones, then zeros.
            (bits.leading_ones() + bits.trailing_zeros() == 32).then_some(bits.leading_ones() as u8)
        };
        let found = match text.parse::<Ipv4Addr>() {
            Ok(mask) => Granularity::V4(
                prefix_of_mask(mask)
                    .filter(|prefix| *prefix > 0)
                    .ok_or("a mask of ones and then zeros, with one bit at least")?,
            ),
            Err(_) => {
                let is_number = (1..=3).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
                let prefix = text.parse().ok().filter(|prefix| is_number && (1..=128).contains(prefix));
                Granularity::V6(prefix.ok_or("a mask of IPv4 or a prefix length of 1 to 128")?)
            }
        };
        match (&found, vip) {
            (Granularity::V4(_), Some(IpAddr::V6(_))) => Err("a prefix length, as in \"64\", for a VIP of IPv6"),
            (Granularity::V6(_), Some(IpAddr::V4(_))) => Err("a mask, as in \"255.255.255.0\", for a VIP of IPv4"),
            _ => Ok(found),
        }
    })
}

#[cfg(test)]
mod tests;
