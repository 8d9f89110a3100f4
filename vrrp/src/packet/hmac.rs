//! The trailer that shows who sent an advert and that it was not sent before
//! (draft-cassen-vrrp-auth-hmac-00): 12 bytes of head with a stamp of the
//! sender's clock, and the first 16 bytes of an HMAC-SHA256.

use core::net::IpAddr;
use core::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::refusal::Refusal;
use crate::config::{HmacKeys, RouterConfig};
use crate::types::Secret;

/// Bytes of the trailer.
pub(crate) const TRAILER_LEN: usize = HEAD_LEN + TAG_LEN;
const HEAD_LEN: usize = 12;
const TAG_LEN: usize = 16;
/// The only kind of trailer there is: HMAC-SHA256.
const KIND: u8 = 1;
/// Where the checksum is in the message; it counts as zero.
const CHECKSUM: core::ops::Range<usize> = 6..8;
/// How many senders' last stamps are kept.
const SENDERS: usize = 16;

/// A point in a sender's time: seconds since 1970 modulo 2^32, 16 bits of their
/// fraction, and a counter that tells apart what the fraction does not.
/// Compared as RFC 1982 says, so that it may wrap.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Stamp(u64);

impl Stamp {
    fn of(utc: Duration) -> Self {
        let fraction = (u64::from(utc.subsec_nanos()) << 16) / 1_000_000_000;
        Self((utc.as_secs() << 32) | (fraction << 16))
    }

    fn is_after(self, other: Self) -> bool {
        let ahead = self.0.wrapping_sub(other.0);
        ahead != 0 && ahead < 1 << 63
    }

    /// How many seconds it is from that time, either way.
    fn seconds_from(self, utc: Duration) -> u64 {
        let ahead = (self.0 >> 32).wrapping_sub(utc.as_secs()) & 0xffff_ffff;
        ahead.min((1 << 32) - ahead)
    }
}

/// The stamp of the last advert that was sent; the next one is later, even if
/// the clock was set back.
#[derive(Clone, Default, Debug)]
pub struct HmacStamp {
    last: Option<Stamp>,
}

impl HmacStamp {
    fn next(&mut self, utc: Duration) -> Stamp {
        let clock = Stamp::of(utc);
        let next = match self.last {
            Some(last) if !clock.is_after(last) => Stamp(last.0.wrapping_add(1)),
            _ => clock,
        };
        self.last = Some(next);
        next
    }
}

/// The last stamp of each sender, of as many as there is room for.
///
/// Only what was signed with one of the keys gets a place here. When there is
/// no room, the sender whose stamp is furthest back gives way, and nobody
/// without a place may be behind that stamp: so nothing can be played again by
/// pushing its sender out.
#[derive(Clone, Default, Debug)]
pub struct ReplayMarks {
    marks: [Option<(IpAddr, Stamp)>; SENDERS],
    floor: Option<Stamp>,
}

impl ReplayMarks {
    /// Takes the stamp if it is later than what this sender sent before.
    fn take(&mut self, sender: IpAddr, stamp: Stamp, fresh: impl Fn(Stamp) -> bool) -> Result<(), Refusal> {
        // A mark the clock has left behind holds up nothing that would not be
        // refused as stale, but for a sender whose clock was set right.
        self.marks.iter_mut().for_each(|mark| *mark = mark.filter(|(_, last)| fresh(*last)));
        self.floor = self.floor.filter(|last| fresh(*last));
        let mine = self.marks.iter().position(|mark| mark.is_some_and(|(known, _)| known == sender));
        let before = mine.and_then(|at| self.marks[at]).map(|(_, last)| last).or(self.floor);
        if before.is_some_and(|last| !stamp.is_after(last)) {
            return Err(Refusal::Replayed);
        }
        let place = mine.unwrap_or_else(|| self.make_room());
        self.marks[place] = Some((sender, stamp));
        Ok(())
    }

    /// An empty place, if need be that of the sender who is furthest back.
    fn make_room(&mut self) -> usize {
        if let Some(empty) = self.marks.iter().position(Option::is_none) {
            return empty;
        }
        let mut furthest = 0;
        for (place, mark) in self.marks.iter().enumerate() {
            if let (Some((_, this)), Some((_, back))) = (mark, &self.marks[furthest])
                && back.is_after(*this)
            {
                furthest = place;
            }
        }
        let gone = self.marks[furthest].map(|(_, stamp)| stamp);
        if gone.is_some_and(|gone| self.floor.is_none_or(|floor| gone.is_after(floor))) {
            self.floor = gone;
        }
        furthest
    }
}

/// Appends the trailer to a message whose checksum field may hold anything. If
/// the key to send with is missing, which [`crate::Exchange::check`] refuses,
/// the HMAC is zero and nobody takes it.
pub(crate) fn sign(
    message: &mut Vec<u8>,
    router: &RouterConfig,
    keys: &HmacKeys,
    source: IpAddr,
    stamp: &mut HmacStamp,
    utc: Duration,
) {
    let body = message.len();
    message.extend([KIND, keys.send, 0, 0]);
    message.extend(stamp.next(utc).0.to_be_bytes());
    let tag = keys.key(keys.send).and_then(|key| tag(key, router, source, message));
    debug_assert_eq!(message.len(), body + HEAD_LEN);
    message.extend(tag.unwrap_or_default());
}

/// Whether a message with its trailer was sent by one who has a key, and not
/// before. Cheap checks come first: nobody who plays old packets makes this
/// node compute.
pub(crate) fn verify(
    signed: &[u8],
    router: &RouterConfig,
    keys: &HmacKeys,
    source: IpAddr,
    utc: Duration,
    replay: &mut ReplayMarks,
) -> Result<(), Refusal> {
    let (rest, their_tag) = signed.split_last_chunk::<TAG_LEN>().ok_or(Refusal::TrailerMalformed)?;
    let (_, head) = rest.split_last_chunk::<HEAD_LEN>().ok_or(Refusal::TrailerMalformed)?;
    let [KIND, number, 0, 0, ref stamp @ ..] = *head else { return Err(Refusal::TrailerMalformed) };
    let stamp = Stamp(u64::from_be_bytes(*stamp));
    let window = freshness(keys, router).as_secs();
    let fresh = |stamp: Stamp| stamp.seconds_from(utc) <= window;
    if !fresh(stamp) {
        return Err(Refusal::Stale);
    }
    let key = keys.key(number).ok_or(Refusal::KeyUnknown)?;
    let our_tag = tag(key, router, source, rest).ok_or(Refusal::KeyUnknown)?;
    if !bool::from(our_tag.ct_eq(their_tag)) {
        return Err(Refusal::Hmac);
    }
    replay.take(source, stamp, fresh)
}

/// How far a stamp may be from the clock; whole seconds count.
fn freshness(keys: &HmacKeys, router: &RouterConfig) -> Duration {
    keys.freshness.unwrap_or_else(|| (router.interval * 3).max(Duration::from_secs(5)))
}

/// The tag over message and head: a pseudo header that ties them to this
/// virtual router and this sender, the bytes with checksum and tag as zero.
fn tag(key: &Secret, router: &RouterConfig, source: IpAddr, message_and_head: &[u8]) -> Option<[u8; TAG_LEN]> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose()).ok()?;
    mac.update(&pseudo_header(router, source));
    mac.update(message_and_head.get(..CHECKSUM.start)?);
    mac.update(&[0; 2]);
    mac.update(message_and_head.get(CHECKSUM.end..)?);
    mac.update(&[0; TAG_LEN]);
    mac.finalize().into_bytes().first_chunk().copied()
}

fn pseudo_header(router: &RouterConfig, source: IpAddr) -> [u8; 20] {
    let mut header = [0; 20];
    header[1] = router.version.number();
    header[2] = router.vrid.get();
    match source {
        IpAddr::V4(source) => {
            header[0] = 4;
            header[4..8].copy_from_slice(&source.octets());
        }
        IpAddr::V6(source) => {
            header[0] = 6;
            header[4..20].copy_from_slice(&source.octets());
        }
    }
    header
}

#[cfg(test)]
#[path = "hmac_tests.rs"]
mod tests;
