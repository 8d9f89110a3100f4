//! The word that shared memory is made of.
//!
//! Everywhere but on the BPF target it is the standard library's `AtomicU64`.
//! There `core` offers it neither the loads and stores (LLVM cannot select
//! relaxed ones below `-mcpu=v4`, which would ask for Linux 6.6) nor the
//! compare-and-swap (the target says `atomic_cas = false`, because the oldest
//! BPF machines had none; the instruction exists since Linux 5.12 and `v3` has
//! it). So the same interface is made of volatile accesses, which an aligned
//! eight-byte load or store is, and of the intrinsics that `AtomicU64`'s methods
//! are made of elsewhere.
#![allow(unsafe_code)]

pub use core::sync::atomic::Ordering;

#[cfg(not(target_arch = "bpf"))]
pub use core::sync::atomic::AtomicU64;

#[cfg(target_arch = "bpf")]
pub use bpf::AtomicU64;

/// Stores `after` if the word is `before`; says whether it did. A full barrier.
#[inline(always)]
pub fn compare_and_swap(word: &AtomicU64, before: u64, after: u64) -> bool {
    word.compare_exchange(before, after, Ordering::SeqCst, Ordering::SeqCst).is_ok()
}

/// The same word, of which the compiler no longer knows where it came from.
///
/// What it knows it uses: it makes a copy of everything that follows for each
/// value, or a branch of what was arithmetic. The verifier then goes through
/// each copy, and the stack must hold what all of them keep.
#[inline(always)]
#[must_use]
pub fn opaque(word: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    let word = bpf::opaque(word);
    word
}

/// The same word, of which the verifier no longer knows what it is; `noise` is
/// anything that was read from a map.
///
/// A constant in a register tells states apart: after a loop that ends in eight
/// ways, or a branch that sets a stage, the verifier goes through everything that
/// follows once for each. Where the word is unknown to it, ways meet again.
#[inline(always)]
#[must_use]
pub fn blur(word: u64, noise: u64) -> u64 {
    opaque(word ^ noise) ^ noise
}

#[cfg(target_arch = "bpf")]
mod bpf {
    use core::{
        cell::UnsafeCell,
        intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xadd, atomic_xchg},
        sync::atomic::Ordering,
    };

    #[inline(always)]
    pub(super) fn opaque(mut word: u64) -> u64 {
        // SAFETY: moves a register onto itself.
        unsafe { core::arch::asm!("{0} = {0}", inout(reg) word, options(nomem, nostack, preserves_flags)) };
        word
    }

    /// Stands in for `core::sync::atomic::AtomicU64`: the part of its interface
    /// that the data path uses.
    #[derive(Default)]
    #[repr(C, align(8))]
    pub struct AtomicU64(UnsafeCell<u64>);

    // SAFETY: all access is by single aligned machine instructions.
    unsafe impl Sync for AtomicU64 {}

    impl core::fmt::Debug for AtomicU64 {
        fn fmt(&self, _: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
            Ok(())
        }
    }

    impl AtomicU64 {
        /// A word with a value.
        #[inline(always)]
        pub const fn new(value: u64) -> Self {
            Self(UnsafeCell::new(value))
        }

        /// Loads the word. Only relaxed order is given, whatever is asked.
        #[inline(always)]
        pub fn load(&self, _: Ordering) -> u64 {
            // SAFETY: the cell is alive and aligned; a volatile eight-byte load
            // is one instruction.
            unsafe { self.0.get().read_volatile() }
        }

        /// Stores the word. Only relaxed order is given, whatever is asked.
        #[inline(always)]
        pub fn store(&self, value: u64, _: Ordering) {
            // SAFETY: as in `load`.
            unsafe { self.0.get().write_volatile(value) }
        }

        /// Stores the word and returns the old one. A full barrier.
        #[inline(always)]
        pub fn swap(&self, value: u64, _: Ordering) -> u64 {
            // SAFETY: the pointer is that of a live word.
            unsafe { atomic_xchg::<u64, { AtomicOrdering::SeqCst }>(self.0.get(), value) }
        }

        /// Adds to the word, modulo 2⁶⁴, and returns what it was. A full barrier.
        #[inline(always)]
        pub fn fetch_add(&self, value: u64, _: Ordering) -> u64 {
            // SAFETY: the pointer is that of a live word.
            unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::SeqCst }>(self.0.get(), value) }
        }

        /// Stores `after` if the word is `before`. A full barrier.
        ///
        /// # Errors
        /// The word that was found instead.
        #[inline(always)]
        pub fn compare_exchange(&self, before: u64, after: u64, _: Ordering, _: Ordering) -> Result<u64, u64> {
            // SAFETY: the pointer is that of a live word.
            let (found, done) = unsafe {
                atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(self.0.get(), before, after)
            };
            if done { Ok(found) } else { Err(found) }
        }
    }
}
