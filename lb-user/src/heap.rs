//! Holding little memory, and giving back to the system what was freed.
//!
//! Reading a pool file, or comparing all of it with the maps, takes several times
//! the memory that is kept of it. The C library keeps what is freed in between for
//! later, and counts on never being asked to part with it.
#![allow(unsafe_code)]

/// Has all threads use one heap: before there are others. Else each gets its own, and what
/// one has freed is of no use to another. The few threads of lbd rarely meet there.
pub(crate) fn be_one() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes numbers.
    let _ = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

/// Gives back every free page of the heap. It holds up whoever allocates in the
/// meantime, for less than a millisecond as a rule, so it belongs after large
/// pieces of work and not into them. Memory that is locked stays.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes a number, and the allocator's own locks.
    let _ = unsafe { libc::malloc_trim(0) };
}
