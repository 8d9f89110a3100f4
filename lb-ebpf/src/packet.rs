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

/// A frame from its first byte to its last.
#[derive(Debug)]
pub struct Packet<'a> {
    start: *mut u8,
    end: *mut u8,
    frame: PhantomData<&'a mut [u8]>,
}

impl<'a> Packet<'a> {
    /// A cursor over a frame in ordinary memory.
    pub fn from_slice(frame: &'a mut [u8]) -> Self {
        let range = frame.as_mut_ptr_range();
        Self { start: range.start, end: range.end, frame: PhantomData }
    }

    /// A cursor over the bytes from `start` to before `end`.
    ///
    /// # Safety
    /// The bytes are readable, writable and not otherwise accessed while the
    /// cursor lives.
    #[inline(always)]
    #[must_use]
    pub unsafe fn from_raw(start: *mut u8, end: *mut u8) -> Self {
        Self { start, end, frame: PhantomData }
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
}
