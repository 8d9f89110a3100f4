//! Datagrams between two balancers: a header, records, and a tag that only
//! somebody with the secret can make. Total over any bytes.
//!
//! ```text
//!  0  magic "KRFS"          8  sender's epoch      32  sender's clock, ms
//!  4  version, kind        16  receiver's epoch    36  receiver's clock as last heard, ms
//!  6  flags                24  sequence            40  records … then the tag, 16 bytes
//! ```
//!
//! Numbers are big-endian. An epoch is drawn anew at each start, so it names a
//! run of a balancer. The tag covers everything before it. What must not be
//! here: whether a datagram that is genuine is also welcome now; that is
//! `session`'s to say.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// The longest datagram, in bytes: fits into any link with room for a tunnel.
pub const MAX_DATAGRAM: usize = 1400;
/// Bytes before the records.
pub const HEADER: usize = 40;
/// Bytes after them.
pub const TAG: usize = 16;
/// Room for records.
pub const MAX_BODY: usize = MAX_DATAGRAM - HEADER - TAG;
/// The shortest secret, in bytes.
pub const MIN_SECRET: usize = 16;

const MAGIC: [u8; 4] = *b"KRFS";
const VERSION: u8 = 1;
/// Bit of the flags: the sender hears the receiver.
const HEARS: u16 = 1;

/// The secret is shorter than [`MIN_SECRET`] bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("use a secret of {MIN_SECRET} bytes or more for flow sync; this one has {length}")]
pub struct ShortSecret {
    /// Its length, in bytes.
    pub length: usize,
}

/// What a datagram is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Says that its sender is there, and who it is.
    Hello,
    /// Flows as they change.
    Live,
    /// Flows found by looking through the whole table.
    Bulk,
    /// What has arrived.
    Report,
    /// Something a later version says; its records are looked at all the same.
    Other(u8),
}

impl Kind {
    /// Whether the receiver reports that it arrived.
    #[must_use]
    pub const fn is_data(self) -> bool {
        matches!(self, Self::Live | Self::Bulk | Self::Other(_))
    }

    const fn code(self) -> u8 {
        match self {
            Self::Hello => 1,
            Self::Live => 2,
            Self::Bulk => 3,
            Self::Report => 4,
            Self::Other(code) => code,
        }
    }

    const fn from_code(code: u8) -> Self {
        match code {
            1 => Self::Hello,
            2 => Self::Live,
            3 => Self::Bulk,
            4 => Self::Report,
            code => Self::Other(code),
        }
    }
}

/// What stands before the records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// What the datagram is for.
    pub kind: Kind,
    /// Whether the sender has met this run of the receiver and hears it.
    pub hears: bool,
    /// Epoch of who sent it; never 0.
    pub sender: u64,
    /// Epoch of who it is for; 0 when the sender does not know it.
    pub receiver: u64,
    /// Counts what this sender sent in this epoch, from 1; 0 is an answer to a
    /// hello of somebody whose acquaintance is not made.
    pub sequence: u64,
    /// The sender's clock, in milliseconds; wraps.
    pub clock: u32,
    /// The newest clock of the receiver that the sender has seen.
    pub echo: u32,
}

/// Why a datagram is not looked at further.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Refusal {
    /// Shorter than a header and a tag, or longer than [`MAX_DATAGRAM`].
    Length,
    /// It does not begin as flow sync does.
    NotFlowSync,
    /// A version that is not spoken here.
    Version,
    /// The tag is not one the secret makes.
    Forged,
    /// It was sent by this balancer.
    Reflected,
    /// Its sender has not yet shown that it is there now.
    Unacquainted,
    /// It was meant for another run of this balancer.
    OtherEpoch,
    /// It has been here before.
    Replayed,
    /// So much came after it that nobody knows whether it has been here before.
    TooOld,
    /// Its sender had not heard of this balancer for too long when it sent it.
    Stale,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Length,
        Self::NotFlowSync,
        Self::Version,
        Self::Forged,
        Self::Reflected,
        Self::Unacquainted,
        Self::OtherEpoch,
        Self::Replayed,
        Self::TooOld,
        Self::Stale,
    ];

    /// Its name among the counters.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::NotFlowSync => "not_flow_sync",
            Self::Version => "version",
            Self::Forged => "forged",
            Self::Reflected => "reflected",
            Self::Unacquainted => "unacquainted",
            Self::OtherEpoch => "other_epoch",
            Self::Replayed => "replayed",
            Self::TooOld => "too_old",
            Self::Stale => "stale",
        }
    }

    /// Whether it is nothing to be alarmed about: it happens whenever a balancer
    /// starts anew, or the network doubles or delays.
    #[must_use]
    pub const fn is_ordinary(self) -> bool {
        matches!(self, Self::Unacquainted | Self::OtherEpoch | Self::Replayed | Self::TooOld | Self::Stale)
    }

    /// What an operator should know about it.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Length => "shorter or longer than a datagram of flow sync can be",
            Self::NotFlowSync => "something else is sent to this port",
            Self::Version => "the peer runs a version of flow sync that is not spoken here; bring both to one version",
            Self::Forged => "the tag is wrong: both ends need the same secret, or somebody tampers",
            Self::Reflected => "a datagram of this balancer came back; is the peer's address its own?",
            Self::Unacquainted => "the peer started a moment ago, or a datagram of an earlier run was sent again",
            Self::OtherEpoch => "meant for an earlier run of this balancer",
            Self::Replayed => "the same datagram arrived twice",
            Self::TooOld => "a datagram arrived long after those sent after it",
            Self::Stale => "the peer does not hear this balancer, or somebody held the datagram back",
        }
    }
}

/// A genuine datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Datagram<'a> {
    /// What stands before the records.
    pub header: Header,
    /// The records, as bytes.
    pub body: &'a [u8],
}

/// Makes tags and checks them.
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Key {
    /// The key of flow sync that follows from a secret. It is not the secret
    /// itself, so a tag of anything else that uses the secret is none here.
    ///
    /// # Errors
    /// The secret is shorter than [`MIN_SECRET`] bytes.
    pub fn new(secret: &[u8]) -> Result<Self, ShortSecret> {
        let short = ShortSecret { length: secret.len() };
        if secret.len() < MIN_SECRET {
            return Err(short);
        }
        let mut derive = Hmac::<Sha256>::new_from_slice(secret).map_err(|_| short)?;
        derive.update(b"krater flow sync 1");
        Hmac::new_from_slice(&derive.finalize().into_bytes()).map(Self).map_err(|_| short)
    }

    /// A number that nobody without the secret can foretell.
    #[must_use]
    pub fn number(&self, purpose: &[u8], of: [u64; 2]) -> u64 {
        let mut mac = self.0.clone();
        mac.update(purpose);
        mac.update(&of[0].to_be_bytes());
        mac.update(&of[1].to_be_bytes());
        let bytes = mac.finalize().into_bytes();
        be64(&bytes)
    }

    /// Writes a datagram into `out`, which is emptied first. Of `body`, at most
    /// [`MAX_BODY`] bytes are taken.
    pub fn seal(&self, header: &Header, body: &[u8], out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[VERSION, header.kind.code()]);
        out.extend_from_slice(&(if header.hears { HEARS } else { 0 }).to_be_bytes());
        out.extend_from_slice(&header.sender.to_be_bytes());
        out.extend_from_slice(&header.receiver.to_be_bytes());
        out.extend_from_slice(&header.sequence.to_be_bytes());
        out.extend_from_slice(&header.clock.to_be_bytes());
        out.extend_from_slice(&header.echo.to_be_bytes());
        out.extend_from_slice(&body[..body.len().min(MAX_BODY)]);
        let tag = self.0.clone().chain_update(&out[..]).finalize().into_bytes();
        out.extend_from_slice(&tag[..TAG]);
    }

    /// The datagram that these bytes are.
    ///
    /// # Errors
    /// Why they are none, or none that somebody with the secret made.
    pub fn open<'a>(&self, bytes: &'a [u8]) -> Result<Datagram<'a>, Refusal> {
        if !(HEADER + TAG..=MAX_DATAGRAM).contains(&bytes.len()) {
            return Err(Refusal::Length);
        }
        if bytes[..4] != MAGIC {
            return Err(Refusal::NotFlowSync);
        }
        if bytes[4] != VERSION {
            return Err(Refusal::Version);
        }
        let (covered, tag) = bytes.split_at(bytes.len() - TAG);
        // Compares in constant time.
        self.0.clone().chain_update(covered).verify_truncated_left(tag).map_err(|_| Refusal::Forged)?;
        let header = Header {
            kind: Kind::from_code(bytes[5]),
            hears: u16::from_be_bytes([bytes[6], bytes[7]]) & HEARS != 0,
            sender: be64(&bytes[8..]),
            receiver: be64(&bytes[16..]),
            sequence: be64(&bytes[24..]),
            clock: be32(&bytes[32..]),
            echo: be32(&bytes[36..]),
        };
        Ok(Datagram { header, body: &covered[HEADER..] })
    }
}

/// The number in the first eight bytes; 0 if they are not there.
pub(super) fn be64(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |b| u64::from_be_bytes(*b))
}

/// The number in the first four bytes; 0 if they are not there.
pub(super) fn be32(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |b| u32::from_be_bytes(*b))
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
