//! `FLOWS4/6` and `RETURNS4/6`: the state of NAT flows.
//!
//! A flow has two entries, one a direction, so that each direction of an
//! established flow touches exactly one cold cache line:
//!
//! - the *forward* entry, found by the client's address and port and the
//!   listener, in a bucket of two neighbouring lines;
//! - the *return* entry, which lies where a hash of (member, VIP, SNAT port)
//!   says. The SNAT port is chosen such that the place is free: the port
//!   encodes the place, and a reply needs one probe and no search.
//!
//! Each entry carries a control word. It names the other entry (through SNAT
//! port and member, or client), keeps this direction's stage and the last tick
//! it was used, and is what entries are claimed and published by. A direction
//! writes its own entry only, and at most once a tick.

use crate::atomic::{AtomicU64, Ordering::Relaxed};

use crate::{config::IdleLimits, hash, time::Tick};

/// How far one direction of a flow has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Stage {
    /// The entry holds nothing.
    Free = 0,
    /// A CPU is writing the entry.
    Claimed = 1,
    /// The flow is unconfirmed: any other new flow may displace it.
    New = 2,
    /// Return entries only: the member has answered, the client not yet again.
    Answered = 3,
    /// The flow is confirmed: nothing displaces it before it has been idle too long.
    Established = 4,
    /// This direction has sent FIN.
    Closing = 5,
    /// This direction has sent RST.
    Reset = 6,
}

/// The control word: SNAT port (bits 0–15), member id (16–31), last tick
/// (32–47), digest (48–59), stage (60–63).
///
/// The digest of a forward entry is that of the client's last hop, so that a
/// changed one is noticed without touching the return entry; that of a return
/// entry is the low bits of the number the client must acknowledge to prove
/// that it saw the member's SYN-ACK.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub struct Ctl(pub u64);

impl Ctl {
    /// A free entry.
    pub const FREE: Self = Self(0);
    /// An entry somebody is writing.
    pub const CLAIMED: Self = Self((Stage::Claimed as u64) << 60);
    /// Bits of a digest.
    pub const DIGEST_MASK: u16 = 0xfff;
    const IDENTITY: u64 = 0xffff_ffff;

    /// Builds a control word; the digest is cut to twelve bits.
    #[inline(always)]
    #[must_use]
    pub const fn new(stage: Stage, snat_port: u16, member: u16, seen: Tick, digest: u16) -> Self {
        Self(
            snat_port as u64
                | (member as u64) << 16
                | (seen.0 as u64) << 32
                | ((digest & Self::DIGEST_MASK) as u64) << 48
                | (stage as u64) << 60,
        )
    }

    /// The SNAT port, host order.
    #[inline(always)]
    #[must_use]
    pub const fn snat_port(self) -> u16 {
        self.0 as u16
    }

    /// The member's id.
    #[inline(always)]
    #[must_use]
    pub const fn member(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// The last tick this direction was used.
    #[inline(always)]
    #[must_use]
    pub const fn seen(self) -> Tick {
        Tick((self.0 >> 32) as u16)
    }

    /// The twelve-bit digest.
    #[inline(always)]
    #[must_use]
    pub const fn digest(self) -> u16 {
        (self.0 >> 48) as u16 & Self::DIGEST_MASK
    }

    /// The stage.
    #[inline(always)]
    #[must_use]
    pub const fn stage(self) -> Stage {
        match self.0 >> 60 {
            0 => Stage::Free,
            1 => Stage::Claimed,
            2 => Stage::New,
            3 => Stage::Answered,
            4 => Stage::Established,
            5 => Stage::Closing,
            _ => Stage::Reset,
        }
    }

    /// Whether stage, digest and tick are those of another word.
    #[inline(always)]
    #[must_use]
    pub const fn is_like(self, other: Self) -> bool {
        (self.0 ^ other.0) >> 32 == 0
    }

    /// Whether the entry holds a flow (that may be idle for too long).
    #[inline(always)]
    #[must_use]
    pub const fn is_live(self) -> bool {
        self.0 >> 60 >= Stage::New as u64
    }

    /// Whether the flow is unconfirmed as far as this entry knows.
    #[inline(always)]
    #[must_use]
    pub const fn is_unconfirmed(self) -> bool {
        let stage = self.0 >> 60;
        stage == Stage::New as u64 || stage == Stage::Answered as u64
    }

    /// Whether both words name the same flow, whatever its stage and age.
    #[inline(always)]
    #[must_use]
    pub const fn same_flow(self, other: Self) -> bool {
        (self.0 ^ other.0) & Self::IDENTITY == 0 && other.is_live()
    }

    /// The same entry with another stage, tick and digest.
    #[inline(always)]
    #[must_use]
    pub const fn with(self, stage: Stage, seen: Tick, digest: u16) -> Self {
        Self::new(stage, self.snat_port(), self.member(), seen, digest)
    }
}

/// How long a flow may be idle, from the stages of both its directions. `tcp`
/// says that its protocol tells when flows begin and end: TCP, or SCTP.
#[inline(always)]
#[must_use]
pub const fn idle_limit(limits: IdleLimits, tcp: bool, forward: Stage, back: Stage) -> u16 {
    if !tcp {
        return if matches!(forward, Stage::Established) || matches!(back, Stage::Established) {
            limits.udp
        } else {
            limits.unconfirmed
        };
    }
    if closing_stage(forward) || closing_stage(back) {
        return limits.tcp_closing;
    }
    if matches!(forward, Stage::Established) || matches!(back, Stage::Established) {
        limits.tcp
    } else {
        limits.unconfirmed
    }
}

#[inline(always)]
const fn closing_stage(stage: Stage) -> bool {
    stage as u8 >= Stage::Closing as u8
}

/// Packs a client's port with the listener's id: the last word of a forward key.
#[inline(always)]
#[must_use]
pub const fn client_word(port: u16, listener: u16) -> u64 {
    port as u64 | (listener as u64) << 16
}

/// Forward entry of an IPv4 flow: 16 bytes.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Flow4 {
    /// The client's address as it lies in memory (upper half), listener id
    /// (bits 16–31) and client port in host order (bits 0–15).
    pub client: AtomicU64,
    /// A [`Ctl`].
    pub ctl: AtomicU64,
}

/// Forward entry of an IPv6 flow: 32 bytes.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Flow6 {
    /// The client's address as it lies in memory.
    pub address: [AtomicU64; 2],
    /// A [`client_word`].
    pub client: AtomicU64,
    /// A [`Ctl`].
    pub ctl: AtomicU64,
}

/// Four IPv4 forward entries in a cache line; a bucket is this line and its
/// neighbour (line number with the lowest bit flipped).
#[repr(C)]
#[derive(Debug, Default)]
pub struct Flow4Line {
    /// The ways.
    pub ways: [Flow4; 4],
}

/// Two IPv6 forward entries in a cache line; a bucket is an aligned group of
/// four such lines, entered at the line the hash names.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Flow6Line {
    /// The ways.
    pub ways: [Flow6; 2],
}

/// Return entry of an IPv4 flow: a cache line.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Return4 {
    /// A [`Ctl`].
    pub ctl: AtomicU64,
    /// The forward key, as in [`Flow4::client`].
    pub client: AtomicU64,
    /// The member's address as it lies in memory (upper half), its port in host
    /// order (bits 16–31) and [`crate::protocol::vip_and_transport`] (bits 0–15).
    pub member: AtomicU64,
    /// The client's last hop in the upper 48 bits, our port number below.
    pub last_hop: AtomicU64,
    /// The address that last hop knows us by in the upper 48 bits, the
    /// listener's port in host order below.
    pub own: AtomicU64,
    /// Room in the line.
    pub reserved: [AtomicU64; 3],
}

/// Return entry of an IPv6 flow: a cache line.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Return6 {
    /// A [`Ctl`].
    pub ctl: AtomicU64,
    /// The client's address as it lies in memory.
    pub client_address: [AtomicU64; 2],
    /// [`client_word`] in the lower half, member port in host order (bits
    /// 48–63) and [`crate::protocol::vip_and_transport`] (bits 32–47) above.
    pub ports: AtomicU64,
    /// The member's address as it lies in memory.
    pub member_address: [AtomicU64; 2],
    /// As in [`Return4::last_hop`].
    pub last_hop: AtomicU64,
    /// As in [`Return4::own`].
    pub own: AtomicU64,
}

const _: () = assert!(size_of::<Flow4Line>() == 64 && size_of::<Flow6Line>() == 64);
const _: () = assert!(size_of::<Return4>() == 64 && size_of::<Return6>() == 64);

/// Hash of the place of a return entry: `member` is the address as two words
/// and `ports` is `member_port << 32 | vip_and_transport << 16 | snat_port`.
#[inline(always)]
#[must_use]
pub const fn return_hash(seed: u64, member: [u64; 2], ports: u64) -> u64 {
    // One multiplication keeps the address and the ports apart: were they only
    // combined bit by bit, another member and another port could make the same
    // word, and all members together would have hardly more places than one. A
    // whole mix is not needed, for both are the operator's and no attacker's.
    hash::mix((seed ^ member[0] ^ member[1].rotate_left(32)).wrapping_mul(hash::SPREAD) ^ ports)
}

/// The `ports` word of [`return_hash`].
#[inline(always)]
#[must_use]
pub const fn return_ports(member_port: u16, vip_and_transport: u16, snat_port: u16) -> u64 {
    (member_port as u64) << 32 | (vip_and_transport as u64) << 16 | snat_port as u64
}

/// The twelve-bit digest of a client's last hop and our side of that link.
#[inline(always)]
#[must_use]
pub const fn last_hop_digest(last_hop: u64, own_mac_word: u64) -> u16 {
    let folded = last_hop ^ (own_mac_word >> 16).rotate_left(29);
    (folded.wrapping_mul(hash::SPREAD) >> 52) as u16
}

/// Reads a control word.
#[inline(always)]
#[must_use]
pub fn ctl(word: &AtomicU64) -> Ctl {
    Ctl(word.load(Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: IdleLimits = IdleLimits { unconfirmed: 5, tcp: 3600, tcp_closing: 10, udp: 60 };

    #[test]
    fn a_control_word_keeps_its_parts_apart() {
        let c = Ctl::new(Stage::Established, 0xffff, 0x1234, Tick(0xfedc), 0xabc);
        assert_eq!(
            (c.snat_port(), c.member(), c.seen(), c.digest(), c.stage()),
            (0xffff, 0x1234, Tick(0xfedc), 0xabc, Stage::Established)
        );
        let d = c.with(Stage::Closing, Tick(1), 0xffff);
        assert!(c.same_flow(d));
        assert_eq!((d.digest(), d.stage()), (0xfff, Stage::Closing));
        assert!(!c.same_flow(Ctl::CLAIMED) && !Ctl::FREE.is_live() && !Ctl::CLAIMED.is_live());
    }

    #[test]
    fn idle_limits_follow_the_slower_promise_until_somebody_closes() {
        assert_eq!(idle_limit(LIMITS, true, Stage::New, Stage::Answered), 5);
        assert_eq!(idle_limit(LIMITS, true, Stage::Established, Stage::Answered), 3600);
        assert_eq!(idle_limit(LIMITS, true, Stage::Established, Stage::Closing), 10);
        assert_eq!(idle_limit(LIMITS, true, Stage::Reset, Stage::Established), 10);
        assert_eq!(idle_limit(LIMITS, false, Stage::New, Stage::New), 5);
        assert_eq!(idle_limit(LIMITS, false, Stage::Established, Stage::Established), 60);
    }

    #[test]
    fn members_of_a_network_and_their_snat_ports_have_places_of_their_own() {
        let word = u64::from_ne_bytes;
        for ipv6 in [false, true] {
            let address = |m: u8| match ipv6 {
                false => [word([198, 18, m / 16, m, 0, 0, 0, 0]), 0],
                true => [word([0x20, 1, 0xd, 0xb8, 0, 0, 0, m / 16]), word([0, 0, 0, 0, 0, 0, m / 16, m])],
            };
            let mut hashes = std::collections::HashSet::new();
            for member in 1..=64 {
                for port in 16384..20480 {
                    hashes.insert(return_hash(7, address(member), return_ports(8080, 0x4001, port)));
                }
            }
            assert_eq!(hashes.len(), 64 * 4096);
        }
    }
}
