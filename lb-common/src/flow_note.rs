//! `FLOW_NOTES`: which flows another balancer should hear of.
//!
//! The data path writes one word into a ring buffer when a direction of a flow
//! is confirmed, closes or is reset, if [`crate::config::Config::notes_flows`]
//! says so. The word names the flow's return entry, where everything else
//! stands; by the time it is read, that entry says what is true then. What is
//! recorded in [`crate::placement`] is noted by the way that holds it.

use crate::flow::{Ctl, Stage};

/// Bytes of the ring buffer. A note takes sixteen of them, eight for the
/// kernel's own header.
pub const RING_BYTES: u32 = 1 << 20;

/// How many notes the ring buffer holds: the kernel never fills it to the last
/// byte.
pub const RING_NOTES: usize = (RING_BYTES / 16 - 1) as usize;

/// A note: SNAT port (bits 0–15), member id (16–31),
/// [`crate::protocol::vip_and_transport`] (32–47), whether the flow is one of
/// IPv6 (48), and the stage that a direction reached (56–59). One about a
/// placement has bit 63 set, its line in bits 0–31 and its way in 32–33.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct FlowNote(pub u64);

impl FlowNote {
    const FLOW: u64 = Self::PLACEMENT | ((1 << 49) - 1);
    const PLACEMENT: u64 = 1 << 63;

    /// A note about the flow that a control word names, at the stage it says.
    #[inline(always)]
    #[must_use]
    pub const fn new(ctl: Ctl, vip_and_transport: u16, ipv6: bool) -> Self {
        Self(ctl.0 & 0xffff_ffff | (vip_and_transport as u64) << 32 | (ipv6 as u64) << 48 | ctl.0 >> 60 << 56)
    }

    /// A note about the placement in a way of a line.
    #[inline(always)]
    #[must_use]
    pub const fn of_placement(line: u32, way: u32) -> Self {
        Self(Self::PLACEMENT | (way as u64 & 3) << 32 | line as u64)
    }

    /// Line and way of the placement that it is about; `None`: it is about a flow
    /// of the flow table.
    #[must_use]
    pub const fn placement(self) -> Option<(u32, usize)> {
        if self.0 & Self::PLACEMENT == 0 { None } else { Some((self.0 as u32, (self.0 >> 32 & 3) as usize)) }
    }

    /// The SNAT port, host order.
    #[must_use]
    pub const fn snat_port(self) -> u16 {
        self.0 as u16
    }

    /// The member's id.
    #[must_use]
    pub const fn member(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// The VIP's id and the transport.
    #[must_use]
    pub const fn vip_and_transport(self) -> u16 {
        (self.0 >> 32) as u16
    }

    /// Whether the flow is one of IPv6.
    #[must_use]
    pub const fn is_ipv6(self) -> bool {
        self.0 >> 48 & 1 == 1
    }

    /// The stage that a direction of the flow reached.
    #[must_use]
    pub const fn stage(self) -> Stage {
        Ctl(self.0 >> 56 << 60).stage()
    }

    /// The same for all notes about one flow.
    #[must_use]
    pub const fn flow(self) -> u64 {
        self.0 & Self::FLOW
    }
}

/// Whether a direction that goes from one control word to the other does
/// something that another balancer should hear of: it is confirmed, or having
/// been confirmed it begins to end. What ends before it was confirmed is news to
/// nobody, and anyone could make it happen without end.
#[inline(always)]
#[must_use]
pub const fn is_news(before: Ctl, after: Ctl) -> bool {
    const ESTABLISHED: u64 = Stage::Established as u64;
    let (from, to) = (before.0 >> 60, after.0 >> 60);
    from != to && (to == ESTABLISHED || from >= ESTABLISHED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{protocol::Transport, protocol::vip_and_transport, time::Tick};

    #[test]
    fn a_note_keeps_its_parts_apart() {
        let vip = vip_and_transport(0x3fff, Transport::Udp);
        let ctl = Ctl::new(Stage::Reset, 0xfffe, 0x3abc, Tick(0xffff), 0xfff);
        let note = FlowNote::new(ctl, vip, true);
        assert_eq!(
            (note.snat_port(), note.member(), note.vip_and_transport(), note.is_ipv6(), note.stage()),
            (0xfffe, 0x3abc, vip, true, Stage::Reset)
        );
        let other = FlowNote::new(ctl.with(Stage::Established, Tick(0), 0), vip, true);
        assert_ne!(note, other);
        assert_eq!(note.flow(), other.flow());
        assert_ne!(note.flow(), FlowNote::new(ctl, vip, false).flow());
        assert_eq!(note.placement(), None);
    }

    #[test]
    fn a_note_about_a_placement_says_where_it_is_and_is_no_flow() {
        let note = FlowNote::of_placement(0xffff_fffe, 3);
        assert_eq!(note.placement(), Some((0xffff_fffe, 3)));
        let flow = FlowNote(note.0 & !(1 << 63));
        assert_ne!(note.flow(), flow.flow());
        assert_ne!(note.flow(), FlowNote::of_placement(0xffff_fffe, 2).flow());
    }

    #[test]
    fn what_is_news_is_a_confirmation_or_the_end_of_something_confirmed() {
        use Stage::{Answered, Closing, Established, New, Reset};
        let ctl = |stage| Ctl::new(stage, 1, 1, Tick(1), 1);
        let news = [
            (New, Established),
            (Answered, Established),
            (Established, Closing),
            (Established, Reset),
            (Closing, Reset),
        ];
        // A direction never goes back.
        let ways = [New, Answered, Established, Closing, Reset];
        for (at, before) in ways.into_iter().enumerate() {
            for after in ways.into_iter().skip(at) {
                assert_eq!(
                    is_news(ctl(before), ctl(after)),
                    news.contains(&(before, after)),
                    "{before:?} to {after:?}"
                );
            }
        }
        assert!(!is_news(ctl(Established), ctl(Established).with(Established, Tick(9), 3)));
    }
}
