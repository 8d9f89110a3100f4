//! Where a frame came in.

use lb_common::{
    drop_reason::DropReason,
    port::{Place, Tags},
};

use crate::tables::Tables;

/// An interface, and for frames that had VLAN tags the port whose tags these
/// were: interface index (bits 0–31), port number plus one (32–47), and the four
/// bits of priority of its outer (48–51) and its inner tag (52–55).
///
/// Of a frame without tags the port's number is found when it is needed, which
/// on the way of a known flow it never is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Ingress(pub u64);

impl Ingress {
    /// A frame without tags.
    #[inline(always)]
    #[must_use]
    pub const fn untagged(ifindex: u32) -> Self {
        Self(ifindex as u64)
    }

    /// A frame whose tags were those of a port but for their priority, and are off.
    #[inline(always)]
    #[must_use]
    pub const fn tagged(ifindex: u32, port: u16, tags: Tags) -> Self {
        let priorities = (tags.0 >> 12 & 0xf) | (tags.0 >> 44 & 0xf) << 4;
        Self(ifindex as u64 | (port as u64 + 1) << 32 | priorities << 48)
    }

    /// The priorities that a frame's tags had, where [`Tags`] have them.
    #[inline(always)]
    #[must_use]
    pub const fn priorities(self) -> u64 {
        (self.0 >> 48 & 0xf) << 12 | (self.0 >> 52 & 0xf) << 44
    }

    /// The interface's index.
    #[inline(always)]
    #[must_use]
    pub const fn ifindex(self) -> u32 {
        self.0 as u32
    }

    /// Whether the frame had tags.
    #[inline(always)]
    #[must_use]
    pub const fn is_tagged(self) -> bool {
        self.0 >> 32 != 0
    }

    /// What is part of the digest of a client's last hop.
    #[inline(always)]
    #[must_use]
    pub const fn digest(self) -> u16 {
        (self.0 ^ self.0 >> 27) as u16
    }

    /// The port's number.
    ///
    /// # Errors
    /// [`DropReason::InterfaceUnknown`].
    #[inline(always)]
    pub fn port<T: Tables>(self, tables: &T) -> Result<u16, DropReason> {
        if self.is_tagged() {
            return Ok((self.0 >> 32) as u16 - 1);
        }
        tables.port_at(Place::new(self.ifindex(), Tags::NONE)).ok_or(DropReason::InterfaceUnknown)
    }
}
