//! Per-CPU counters. Each CPU writes its own, userspace adds them up.

use crate::drop_reason::DropReason;

/// Traffic of one listener or one member. `in` is towards the members.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct TrafficCounters {
    /// Packets from clients.
    pub packets_in: u64,
    /// Bytes from clients: IP total length, without the Ethernet header.
    pub bytes_in: u64,
    /// Packets to clients.
    pub packets_out: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
    /// Flows begun.
    pub flows_new: u64,
    /// New flows that were refused; the reason is counted in [`Event`].
    pub flows_refused: u64,
}

/// Words of [`TrafficCounters`], as userspace reads them.
pub const TRAFFIC_WORDS: usize = 6;

const _: () = assert!(size_of::<TrafficCounters>() == TRAFFIC_WORDS * 8);

impl TrafficCounters {
    /// From the words of the per-CPU array.
    #[must_use]
    pub const fn from_words(w: [u64; TRAFFIC_WORDS]) -> Self {
        Self {
            packets_in: w[0],
            bytes_in: w[1],
            packets_out: w[2],
            bytes_out: w[3],
            flows_new: w[4],
            flows_refused: w[5],
        }
    }

    /// The sum of two CPUs.
    #[must_use]
    pub const fn plus(self, o: Self) -> Self {
        Self {
            packets_in: self.packets_in.wrapping_add(o.packets_in),
            bytes_in: self.bytes_in.wrapping_add(o.bytes_in),
            packets_out: self.packets_out.wrapping_add(o.packets_out),
            bytes_out: self.bytes_out.wrapping_add(o.bytes_out),
            flows_new: self.flows_new.wrapping_add(o.flows_new),
            flows_refused: self.flows_refused.wrapping_add(o.flows_refused),
        }
    }
}

/// What is counted once for the whole data path: every reason to drop, and
/// every answer the program gave itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// A packet ended here.
    Drop(DropReason),
    /// An ARP request for a VIP was answered.
    AnsweredArp,
    /// A neighbour solicitation for a VIP was answered.
    AnsweredNeighbour,
    /// An ICMP or ICMPv6 echo request to a VIP was answered.
    AnsweredEcho,
    /// A TCP segment was answered with a reset: its pool has no member, or its
    /// member is down and the pool resets the flows of such.
    AnsweredReset,
    /// A checksum that the sender had left to its hardware was completed.
    ChecksumCompleted,
    /// A flow should have been noted for another balancer, and the ring was full.
    FlowNotesLost,
    /// A packet was answered with ICMP or ICMPv6 "port unreachable".
    AnsweredUnreachable,
    /// A packet that no longer fitted was answered with "fragmentation needed"
    /// or "packet too big".
    AnsweredTooBig,
    /// A packet was passed to the host's stack.
    Passed,
    /// A packet was sent on, to a member or to a client.
    Forwarded,
    /// An ICMP error about a flow was sent on to whom it concerns.
    IcmpTranslated,
    /// A fragment without ports followed its first one.
    FragmentFollowed,
    /// A flow should have been recorded, and its bucket was full of flows in use.
    PlacementLost,
    /// A packet's trace was lost, because nobody read the others.
    TraceLost,
}

/// Entries of the `EVENTS` array: drop reasons first, with room to grow.
pub const EVENTS: u32 = 96;
const FIRST_ANSWER: u32 = 64;

impl Event {
    /// Everything that is not a drop, with its name and meaning.
    pub const ANSWERS: [(Self, &'static str, &'static str); 14] = [
        (Self::AnsweredArp, "answered_arp", "ARP requests for a VIP answered"),
        (Self::AnsweredNeighbour, "answered_neighbour", "IPv6 neighbour solicitations for a VIP answered"),
        (Self::AnsweredEcho, "answered_echo", "ICMP and ICMPv6 echo requests to a VIP answered"),
        (Self::AnsweredReset, "answered_reset", "TCP resets sent: a pool had no member, or the flow's member is down"),
        (Self::ChecksumCompleted, "checksum_completed", "L4 checksums the sender had left to its hardware, completed"),
        (
            Self::FlowNotesLost,
            "flow_notes_lost",
            "flows not noted for the other balancer, because nobody read the notes",
        ),
        (Self::AnsweredUnreachable, "answered_unreachable", "ICMP port unreachable sent: a pool had no member"),
        (Self::AnsweredTooBig, "answered_too_big", "ICMP sent: the packet did not fit the path to its member"),
        (Self::Passed, "passed", "packets left to the host"),
        (Self::Forwarded, "forwarded", "packets sent on, to members and to clients"),
        (Self::IcmpTranslated, "icmp_translated", "ICMP errors about flows sent on to whom they concern"),
        (Self::FragmentFollowed, "fragment_followed", "later fragments sent where their first one went"),
        (Self::PlacementLost, "placement_lost", "flows not recorded, because all places were in use"),
        (Self::TraceLost, "trace_lost", "traces lost, because nobody read them"),
    ];

    /// Index into the `EVENTS` array.
    #[inline(always)]
    #[must_use]
    pub const fn index(self) -> u32 {
        match self {
            Self::Drop(reason) => reason as u32,
            Self::AnsweredArp => FIRST_ANSWER,
            Self::AnsweredNeighbour => FIRST_ANSWER + 1,
            Self::AnsweredEcho => FIRST_ANSWER + 2,
            Self::AnsweredReset => FIRST_ANSWER + 3,
            Self::ChecksumCompleted => FIRST_ANSWER + 4,
            Self::FlowNotesLost => FIRST_ANSWER + 5,
            Self::AnsweredUnreachable => FIRST_ANSWER + 6,
            Self::AnsweredTooBig => FIRST_ANSWER + 7,
            Self::Passed => FIRST_ANSWER + 8,
            Self::Forwarded => FIRST_ANSWER + 9,
            Self::IcmpTranslated => FIRST_ANSWER + 10,
            Self::FragmentFollowed => FIRST_ANSWER + 11,
            Self::PlacementLost => FIRST_ANSWER + 12,
            Self::TraceLost => FIRST_ANSWER + 13,
        }
    }
}
