//! `PLACEMENTS`: flows whose member the pool's table does not tell.
//!
//! In the steady state of a hash algorithm and a direct forward mode a flow's
//! member follows from its packets, and nothing is remembered. What is recorded
//! here are the flows that concern a table in change, the flows of pools that
//! record all of them (ROUND_ROBIN, LEAST_CONNECTIONS, connection limits), and
//! the clients of pools with session persistence.
//!
//! A placement is found by a 64-bit fingerprint of what it is about, made with
//! the operator's seed from addresses and ports and never from ids, so that two
//! balancers with the same seed agree on it. Two flows of a table of 2²⁰ have
//! the same one about once in 2⁴⁴ flows.

use crate::atomic::{AtomicU64, Ordering::Relaxed};
use crate::{hash, pool::ForwardMode, protocol::Transport, time::Tick};

/// What a placement is of, and how far its flow has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum PlacementStage {
    /// The way holds nothing.
    Free = 0,
    /// A CPU is writing the way.
    Claimed = 1,
    /// A flow of which only the opening packet was seen: any other new flow may
    /// displace it.
    New = 2,
    /// A flow that went on.
    Established = 3,
    /// A flow whose client has sent FIN or RST.
    Closing = 4,
    /// A client of a pool with session persistence. As long as none of its flows has
    /// gone on, any new flow may displace it.
    Session = 5,
    /// A flow that was there before its pool's table changed, of which one packet was
    /// seen since. It is kept for as long as one that went on; but anybody can make
    /// such a packet up, so a flow may displace it where nothing else gives way.
    Moved = 6,
}

/// The word of a placement: member id (bits 0–15), last tick (16–31), listener
/// id (32–47), mode (48–50), transport (51–52), counted (53), known (54), stage
/// (60–63).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub struct PlacementWord(pub u64);

impl PlacementWord {
    /// A free way.
    pub const FREE: Self = Self(0);
    /// A way somebody is writing.
    pub const CLAIMED: Self = Self((PlacementStage::Claimed as u64) << 60);
    /// The flow is one of those in the listener's and the member's live count.
    const COUNTED: u64 = 1 << 53;
    /// Of a client: a flow of it has gone on.
    const KNOWN: u64 = 1 << 54;

    /// A placement.
    #[inline(always)]
    #[must_use]
    pub const fn new(
        stage: PlacementStage,
        member: u16,
        listener: u16,
        mode: ForwardMode,
        transport: Transport,
        seen: Tick,
    ) -> Self {
        Self(
            member as u64
                | (seen.0 as u64) << 16
                | (listener as u64) << 32
                | (mode as u64) << 48
                | (transport.code() as u64) << 51
                | (stage as u64) << 60,
        )
    }

    /// The same, in the live counts or not.
    #[inline(always)]
    #[must_use]
    pub const fn counted(self, counted: bool) -> Self {
        Self(if counted { self.0 | Self::COUNTED } else { self.0 & !Self::COUNTED })
    }

    /// Whether the flow is in the live counts.
    #[inline(always)]
    #[must_use]
    pub const fn is_counted(self) -> bool {
        self.0 & Self::COUNTED != 0
    }

    /// The same for a client of which a flow has gone on: an address that answers,
    /// and no forged one.
    #[inline(always)]
    #[must_use]
    pub const fn known(self, known: bool) -> Self {
        Self(if known { self.0 | Self::KNOWN } else { self.0 & !Self::KNOWN })
    }

    /// Whether a flow of the client has gone on.
    #[inline(always)]
    #[must_use]
    pub const fn is_known(self) -> bool {
        self.0 & Self::KNOWN != 0
    }

    /// The member's id.
    #[inline(always)]
    #[must_use]
    pub const fn member(self) -> u16 {
        self.0 as u16
    }

    /// When it was last used.
    #[inline(always)]
    #[must_use]
    pub const fn seen(self) -> Tick {
        Tick((self.0 >> 16) as u16)
    }

    /// The listener's id.
    #[inline(always)]
    #[must_use]
    pub const fn listener(self) -> u16 {
        (self.0 >> 32) as u16
    }

    /// How the member is reached.
    #[inline(always)]
    #[must_use]
    pub const fn mode(self) -> ForwardMode {
        ForwardMode::from_bits(self.0 >> 48)
    }

    /// The transport.
    #[must_use]
    pub const fn transport(self) -> Option<Transport> {
        Transport::from_code((self.0 >> 51) as u16 & 3)
    }

    /// Whether it is of UDP.
    #[inline(always)]
    #[must_use]
    pub const fn is_udp(self) -> bool {
        (self.0 >> 51) & 3 == Transport::Udp.code() as u64
    }

    /// The stage.
    #[inline(always)]
    #[must_use]
    pub const fn stage(self) -> PlacementStage {
        match self.0 >> 60 {
            0 => PlacementStage::Free,
            1 => PlacementStage::Claimed,
            2 => PlacementStage::New,
            3 => PlacementStage::Established,
            4 => PlacementStage::Closing,
            6 => PlacementStage::Moved,
            _ => PlacementStage::Session,
        }
    }

    /// Whether the way holds a placement (that may be idle for too long).
    #[inline(always)]
    #[must_use]
    pub const fn is_live(self) -> bool {
        self.0 >> 60 >= PlacementStage::New as u64
    }

    /// The same with another stage and tick.
    #[inline(always)]
    #[must_use]
    pub const fn with(self, stage: PlacementStage, seen: Tick) -> Self {
        const REST: u64 = !(0xf << 60 | 0xffff << 16);
        Self(self.0 & REST | (seen.0 as u64) << 16 | (stage as u64) << 60)
    }
}

/// A client's placement is news again when it had not been used for so many ticks.
const STALE_SESSION: u16 = 8;

/// Whether a placement that goes from one word to the other does something that
/// another balancer should hear of: a flow goes on, or having gone on it begins to
/// end; or a client that had been away for a while opens another flow. A flow of
/// which only the opening packet was seen is news to nobody: anyone could open
/// such flows without end.
#[inline(always)]
#[must_use]
pub const fn is_news(before: PlacementWord, after: PlacementWord) -> bool {
    const ESTABLISHED: u64 = PlacementStage::Established as u64;
    const SESSION: u64 = PlacementStage::Session as u64;
    let (from, to) = (before.0 >> 60, after.0 >> 60);
    if to == SESSION {
        return after.is_known() && after.seen().age(before.seen()) >= STALE_SESSION;
    }
    from != to && (to == ESTABLISHED || from == ESTABLISHED)
}

/// A placement: 16 bytes.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Placement {
    /// What it is found by; see [`flow`] and [`session`].
    pub fingerprint: AtomicU64,
    /// A [`PlacementWord`]. It claims and publishes the way.
    pub word: AtomicU64,
}

impl Placement {
    /// The word.
    #[inline(always)]
    #[must_use]
    pub fn word(&self) -> PlacementWord {
        PlacementWord(self.word.load(Relaxed))
    }
}

/// Four placements in a cache line; a bucket is this line and its neighbour
/// (line number with the lowest bit flipped).
#[repr(C)]
#[derive(Debug, Default)]
pub struct PlacementLine {
    /// The ways.
    pub ways: [Placement; 4],
}

const _: () = assert!(size_of::<PlacementLine>() == 64);

/// Tells fingerprints apart from the hash that chooses slots.
const FLOW: u64 = 0x706c_6163_652d_666c;
const SESSION: u64 = 0x706c_6163_652d_7365;

/// The fingerprint of a flow from its selection hash (see [`hash::selection`]
/// with ports and protocol) and what else is known of it, so that it does not
/// depend on 64 bits of one function alone: the client's address and ports
/// again. Never zero.
#[inline(always)]
#[must_use]
pub const fn flow(selection: u64, client: [u64; 2], ports_and_protocol: u64) -> u64 {
    let other = client[0].rotate_left(23) ^ client[1] ^ ports_and_protocol.rotate_left(41);
    nonzero(hash::mix(selection.wrapping_add(FLOW) ^ hash::mix(other)))
}

/// The fingerprint of a client at a listener: `source` is its address cut to
/// the pool's granularity, `port_and_protocol` is
/// `protocol_port << 16 | transport code`. Never zero.
#[inline(always)]
#[must_use]
pub const fn session(seed: u64, source: [u64; 2], vip: [u64; 2], port_and_protocol: u64) -> u64 {
    nonzero(hash::mix(hash::selection(seed ^ SESSION, source, vip, port_and_protocol)))
}

#[inline(always)]
const fn nonzero(word: u64) -> u64 {
    if word == 0 { 1 } else { word }
}

/// The first line a fingerprint may lie in; `lines` is a power of two.
#[inline(always)]
#[must_use]
pub const fn line(fingerprint: u64, lines: u32) -> u32 {
    (fingerprint >> 32) as u32 & (lines - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_keeps_its_parts_apart() {
        let word =
            PlacementWord::new(PlacementStage::Session, 0x3fff, 0xfff, ForwardMode::Gue, Transport::Sctp, Tick(0xfedc));
        assert_eq!((word.member(), word.listener(), word.seen()), (0x3fff, 0xfff, Tick(0xfedc)));
        assert_eq!(
            (word.mode(), word.transport(), word.stage()),
            (ForwardMode::Gue, Some(Transport::Sctp), PlacementStage::Session)
        );
        assert!(word.is_live() && !word.is_udp() && !word.is_counted() && word.counted(true).is_counted());
        let later = word.counted(true).with(PlacementStage::Closing, Tick(3));
        assert_eq!((later.member(), later.seen(), later.stage()), (0x3fff, Tick(3), PlacementStage::Closing));
        assert!(later.is_counted() && !later.counted(false).is_counted());
        assert!(!PlacementWord::CLAIMED.is_live() && !PlacementWord::FREE.is_live());
    }

    #[test]
    fn what_is_news_is_a_flow_that_goes_on_one_that_ends_or_a_client_that_comes_back() {
        use PlacementStage::{Closing, Established, New, Session};
        let word = |stage, seen| PlacementWord::new(stage, 1, 1, ForwardMode::Dsr, Transport::Tcp, Tick(seen));
        let ways = [New, Established, Closing];
        for (at, before) in ways.into_iter().enumerate() {
            for after in ways.into_iter().skip(at) {
                let news = [(New, Established), (Established, Closing)].contains(&(before, after));
                assert_eq!(is_news(word(before, 1), word(after, 500)), news, "{before:?} to {after:?}");
            }
        }
        let client = |seen, known| word(Session, seen).known(known);
        let again = |ticks: u16| is_news(client(0xfffe, true), client(0xfffe_u16.wrapping_add(ticks), true));
        assert!(!is_news(client(1, false), client(500, false)), "a client that may be forged");
        assert_eq!([0, 1, STALE_SESSION - 1, STALE_SESSION, 300].map(again), [false, false, false, true, true]);
    }

    #[test]
    fn fingerprints_differ_where_flows_do() {
        let mut seen = std::collections::HashSet::new();
        for client in 0..64u64 {
            for ports in 0..64u64 {
                let selection = hash::selection(7, [client, 0], [9, 0], ports << 32);
                assert!(seen.insert(flow(selection, [client, 0], ports << 32)));
            }
            assert!(seen.insert(session(7, [client, 0], [9, 0], 80 << 16)));
        }
    }
}
