//! Mapped memory of a BPF array: a slice that the kernel reads and writes too.
#![allow(unsafe_code)]

use std::{
    io,
    mem::MaybeUninit,
    num::NonZeroUsize,
    ops::Range,
    os::fd::BorrowedFd,
    ptr::{self, NonNull},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// Types that consist of `AtomicU64` words and nothing else, so that sharing
/// their memory with the kernel is sound: any bits are a value, and every
/// access is atomic.
///
/// # Safety
/// The type is `repr(C)` and made of `AtomicU64`s, arrays of them, or such types.
pub(super) unsafe trait Shared: Sync {}

macro_rules! shared {
    ($($name:ty),* $(,)?) => {$(
        // SAFETY: the type is `repr(C)` and made of `AtomicU64`s; lb-common
        // proves its size.
        unsafe impl Shared for $name {}
    )*};
}

shared!(
    lb_common::config::Config,
    lb_common::vip::Vip4Line,
    lb_common::vip::Vip6Line,
    lb_common::vip::VipFilter,
    lb_common::instance::Instance,
    lb_common::advert::AdvertGuard,
    lb_common::advert::AdvertLine,
    lb_common::listener::ListenerLine,
    lb_common::listener::ListenerOf,
    lb_common::pool::Pool,
    lb_common::pool::SlotLine,
    lb_common::member::Member,
    lb_common::flow::Flow4Line,
    lb_common::flow::Flow6Line,
    lb_common::flow::Return4,
    lb_common::flow::Return6,
    lb_common::port::Port,
    lb_common::label::Label,
    lb_common::placement::PlacementLine,
    lb_common::load::Load,
    lb_common::load::SourceCell,
    lb_common::fragment::Fragment,
    lb_common::dnat::DnatLine,
    lb_common::trace::TraceFilter,
);

/// A copy of a value that others write: each of its words as it was when it was
/// read.
pub(super) fn copy_of<T: Shared>(value: &T) -> T {
    let mut copy = MaybeUninit::<T>::uninit();
    let words = size_of::<T>() / size_of::<AtomicU64>();
    for word in 0..words {
        // SAFETY: the type is made of so many `AtomicU64`s, here as there.
        unsafe {
            let from = &*ptr::from_ref(value).cast::<AtomicU64>().add(word);
            copy.as_mut_ptr().cast::<AtomicU64>().add(word).write(AtomicU64::new(from.load(Relaxed)));
        }
    }
    // SAFETY: every word of it has been written, and any bits are a value.
    unsafe { copy.assume_init() }
}

/// A mapped array, or a part of one.
#[derive(Debug)]
pub(super) struct Region<T> {
    start: NonNull<T>,
    entries: usize,
}

// SAFETY: the memory is shared with the kernel anyway and consists of atomics;
// the mapping lives as long as the region, in whatever thread.
unsafe impl<T: Shared> Send for Region<T> {}
// SAFETY: as above.
unsafe impl<T: Shared> Sync for Region<T> {}

impl<T: Shared> Region<T> {
    /// Maps values of a memory-mappable BPF array of type `T`. The first lies at
    /// the start of a page, the kernel refuses those past the end of the array.
    pub(super) fn map(fd: BorrowedFd<'_>, window: Range<u32>) -> io::Result<Self> {
        let entries = window.len();
        let length = NonZeroUsize::new(entries * size_of::<T>()).ok_or(io::ErrorKind::InvalidInput)?;
        let offset = i64::from(window.start) * i64::try_from(size_of::<T>()).map_err(io::Error::other)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let start = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, fd, offset) }?;
        Ok(Self { start: start.cast(), entries })
    }

    /// The values.
    pub(super) fn values(&self) -> &[T] {
        // SAFETY: the mapping covers `entries` values, lives as long as `self`,
        // is page-aligned, and any bits are a `T`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.entries) }
    }
}

impl<T> Drop for Region<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this length and nobody borrows it.
        let _ = unsafe { munmap(self.start.cast(), self.entries * size_of::<T>()) };
    }
}
