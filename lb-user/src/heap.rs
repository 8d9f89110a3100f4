//! Giving memory that was freed back to the system.
//!
//! Reading a pool file, or comparing all of it with the maps, takes several times
//! the memory that is kept of it. The C library keeps what is freed in between for
//! later, and counts on never being asked to part with it.
#![allow(unsafe_code)]

/// Gives back every free page of the heap. It holds up whoever allocates in the
/// meantime, for less than a millisecond as a rule, so it belongs after large
/// pieces of work and not into them. Memory that is locked stays.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes a number, and the allocator's own locks.
    let _ = unsafe { libc::malloc_trim(0) };
}
