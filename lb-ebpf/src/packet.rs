//! The cursor over a frame. Every bounds check there is, is here.
//!
//! The same code serves the kernel, where the verifier wants each access to
//! follow a comparison with the end of the packet, and the host, where the
//! frame is an ordinary buffer.
#![allow(unsafe_code)]

use core::marker::PhantomData;

/// Types that any bytes are a valid value of, without padding and without
/// alignment.
///
/// # Safety
/// The type is `repr(C, packed)` or made of bytes, has no padding, no
/// references and no invalid bit patterns.
pub unsafe trait Wire: Copy {}

// SAFETY: bytes.
unsafe impl Wire for u8 {}
// SAFETY: bytes.
unsafe impl<const N: usize> Wire for [u8; N] {}

/// Declares header structures: packed, and so fit for the cursor.
#[macro_export]
macro_rules! wire {
    ($($(#[$meta:meta])* $vis:vis struct $name:ident { $($(#[$fmeta:meta])* $fvis:vis $field:ident: $ty:ty,)* })*) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy)]
        #[repr(C, packed)]
        $vis struct $name { $($(#[$fmeta])* $fvis $field: $ty,)* }
        // SAFETY: packed, so without padding and alignment; the macro is used
        // with integers and byte arrays only, and a field of another type that
        // is not `Wire` itself would not be accepted by `Plain`.
        #[allow(unsafe_code)]
        unsafe impl $crate::packet::Wire for $name {}
        const _: () = { $(let _ = $crate::packet::is_plain::<$ty>;)* };
    )*};
}

/// Field types that headers are made of.
pub trait Plain {}
impl Plain for u8 {}
impl Plain for u16 {}
impl Plain for u32 {}
impl Plain for u64 {}
impl Plain for lb_common::mac::Mac {}
impl Plain for crate::headers::Station {}
impl<T: Plain, const N: usize> Plain for [T; N] {}

/// Exists only where `T` is [`Plain`]: what [`wire!`] checks fields with.
pub const fn is_plain<T: Plain>() {}

/// The furthest offset a header can be looked for at. The verifier wants
/// variable offsets to be bounded.
const MAX_OFFSET: usize = 0x3fff;

/// A frame from its first byte to its last, and what it takes to move its ends.
///
/// Whoever moves an end needs the cursor for himself, so no view of the frame
/// can be left that still believes in the old place.
#[derive(Debug)]
pub struct Packet<'a> {
    start: *mut u8,
    end: *mut u8,
    room: Room,
    frame: PhantomData<&'a mut [u8]>,
}

/// Outside the kernel: the buffer that the frame lies in.
#[cfg(not(feature = "kernel"))]
#[derive(Clone, Copy, Debug)]
struct Room {
    start: *mut u8,
    end: *mut u8,
}

/// In the kernel: the program's context.
#[cfg(feature = "kernel")]
type Room = *mut aya_ebpf::bindings::xdp_md;

#[cfg(not(feature = "kernel"))]
impl<'a> Packet<'a> {
    /// A cursor over a frame in ordinary memory, without room around it.
    pub fn from_slice(frame: &'a mut [u8]) -> Self {
        Self::within(frame, 0)
    }

    /// A cursor over the bytes of `buffer` behind the first `headroom`, which
    /// the frame may grow into.
    pub fn within(buffer: &'a mut [u8], headroom: usize) -> Self {
        let range = buffer.as_mut_ptr_range();
        let room = Room { start: range.start, end: range.end };
        let headroom = headroom.min(buffer.len());
        Self { start: range.start.wrapping_add(headroom), end: range.end, room, frame: PhantomData }
    }

    /// The frame.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the ends lie in the buffer that the cursor borrows, the first
        // not behind the second.
        unsafe { core::slice::from_raw_parts(self.start, self.length()) }
    }

    /// Moves the frame's beginning by so many bytes, outwards if negative.
    fn move_start(&mut self, by: isize) -> bool {
        let start = self.start.wrapping_offset(by);
        let is_inside = start >= self.room.start && start <= self.end;
        if is_inside {
            self.start = start;
        }
        is_inside
    }

    fn move_end(&mut self, by: isize) -> bool {
        let end = self.end.wrapping_offset(by);
        let is_inside = end >= self.start && end <= self.room.end;
        if is_inside {
            self.end = end;
        }
        is_inside
    }
}

#[cfg(feature = "kernel")]
impl Packet<'_> {
    /// A cursor over the frame that a program was called for.
    ///
    /// # Safety
    /// `context` is what the kernel called the program with, and nobody else
    /// accesses the frame while the cursor lives.
    #[inline(always)]
    #[must_use]
    pub unsafe fn of(context: Room) -> Self {
        let mut packet =
            Self { start: core::ptr::null_mut(), end: core::ptr::null_mut(), room: context, frame: PhantomData };
        packet.refresh();
        packet
    }

    /// Reads anew where the frame lies, after somebody else moved its ends.
    #[inline(always)]
    pub fn refresh(&mut self) {
        // SAFETY: the context is the program's own; the kernel replaces these
        // loads by loads of the pointers themselves.
        let (start, end) = unsafe { ((*self.room).data, (*self.room).data_end) };
        self.start = start as usize as *mut u8;
        self.end = end as usize as *mut u8;
    }

    #[inline(always)]
    fn move_start(&mut self, by: isize) -> bool {
        // SAFETY: the context is the program's own.
        let moved = unsafe { aya_ebpf::helpers::generated::bpf_xdp_adjust_head(self.room, by as i32) };
        self.refresh();
        moved == 0
    }

    #[inline(always)]
    fn move_end(&mut self, by: isize) -> bool {
        // SAFETY: as above.
        let moved = unsafe { aya_ebpf::helpers::generated::bpf_xdp_adjust_tail(self.room, by as i32) };
        self.refresh();
        moved == 0
    }
}

impl Packet<'_> {
    /// Puts `bytes` bytes of anything in front of the frame. False: there is no
    /// room, and nothing has changed.
    #[inline(always)]
    #[must_use]
    pub fn grow(&mut self, bytes: usize) -> bool {
        self.move_start(-(bytes as isize))
    }

    /// Takes `bytes` bytes off the frame's beginning. False: it is not as long,
    /// and nothing has changed. (The kernel leaves an Ethernet header at least.)
    #[inline(always)]
    #[must_use]
    pub fn shrink(&mut self, bytes: usize) -> bool {
        self.move_start(bytes as isize)
    }

    /// Cuts the frame to `length` bytes, if it is longer. False: that cannot be
    /// done, and nothing has changed.
    #[inline(always)]
    #[must_use]
    pub fn truncate(&mut self, length: usize) -> bool {
        let excess = self.length() as isize - length as isize;
        excess <= 0 || self.move_end(-excess)
    }

    /// The frame's length in bytes.
    #[inline(always)]
    #[must_use]
    pub fn length(&self) -> usize {
        (self.end as usize).wrapping_sub(self.start as usize)
    }

    #[inline(always)]
    fn at<T>(&self, offset: usize) -> Option<*mut T> {
        if offset > MAX_OFFSET {
            return None;
        }
        let first = self.start.wrapping_add(offset);
        if first.wrapping_add(size_of::<T>()) > self.end {
            return None;
        }
        // SAFETY: what lies before the end of a frame is not at address 0. It spares
        // a branch wherever a header is asked for.
        unsafe { core::hint::assert_unchecked(!first.is_null()) };
        Some(first.cast())
    }

    /// Copies a header out.
    #[inline(always)]
    #[must_use]
    pub fn read<T: Wire>(&self, offset: usize) -> Option<T> {
        let header = self.at::<T>(offset)?;
        // SAFETY: `at` checked that all bytes lie in the frame; any bytes are
        // a `T`; unaligned is allowed for.
        Some(unsafe { header.read_unaligned() })
    }

    /// Lends a header for reading.
    #[inline(always)]
    #[must_use]
    pub fn view<T: Wire>(&self, offset: usize) -> Option<&T> {
        let header = self.at::<T>(offset)?;
        // SAFETY: as in `read`; `Wire` types have alignment one, and the borrow
        // of the cursor keeps writers out.
        Some(unsafe { &*header })
    }

    /// Lends a header for changing.
    #[inline(always)]
    pub fn view_mut<T: Wire>(&mut self, offset: usize) -> Option<&mut T> {
        let header = self.at::<T>(offset)?;
        // SAFETY: as in `view`; the exclusive borrow of the cursor keeps
        // everybody else out.
        Some(unsafe { &mut *header })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn nothing_outside_the_frame_can_be_reached() {
        let mut bytes = [1u8, 2, 3, 4];
        let mut packet = Packet::from_slice(&mut bytes);
        assert_eq!(packet.length(), 4);
        assert_eq!(packet.read::<[u8; 4]>(0), Some([1, 2, 3, 4]));
        assert_eq!(packet.read::<[u8; 4]>(1), None);
        assert_eq!(packet.read::<[u8; 1]>(4), None);
        assert_eq!(packet.read::<u8>(usize::MAX), None);
        *packet.view_mut::<u8>(3).unwrap() = 9;
        assert_eq!(packet.view::<[u8; 2]>(2), Some(&[3, 9]));
    }

    #[test]
    fn a_frame_grows_into_its_room_and_no_further() {
        let mut buffer = [0u8, 0, 1, 2, 3, 4];
        let mut packet = Packet::within(&mut buffer, 2);
        assert_eq!(packet.bytes(), [1, 2, 3, 4]);
        assert!(!packet.grow(3) && packet.grow(2) && packet.length() == 6);
        *packet.view_mut::<u8>(0).unwrap() = 9;
        assert!(packet.shrink(1) && !packet.shrink(6));
        assert!(packet.truncate(2) && packet.truncate(7));
        assert_eq!(packet.bytes(), [0, 1]);
    }
}
