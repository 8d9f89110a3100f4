//! The two system calls of the runner that no safe wrapper covers: addressing
//! a frame, and asking for real-time scheduling. Nothing else of the crate is
//! unsafe.
#![allow(unsafe_code)]

use std::{io, mem};

use socket2::{SockAddr, SockAddrStorage, socklen_t};

/// Where a frame goes when it is sent through a packet socket: out of an
/// interface. The MAC addresses are in the frame.
pub(super) fn link_address(ifindex: u32) -> io::Result<SockAddr> {
    let ifindex = i32::try_from(ifindex).map_err(|_| io::ErrorKind::InvalidInput)?;
    let family = u16::try_from(libc::AF_PACKET).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: sockaddr_ll is a socket address, made of integers: it fits the
    // storage, and whatever is in the storage is one.
    let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    address.sll_family = family;
    address.sll_ifindex = ifindex;
    let length = socklen_t::try_from(mem::size_of::<libc::sockaddr_ll>()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the storage holds a sockaddr_ll, whose family says so, and the
    // length is that of one.
    Ok(unsafe { SockAddr::new(storage, length) })
}

/// Puts the calling thread before every ordinary one. Threads it starts are
/// ordinary again.
pub(super) fn schedule_first_in_first_out(priority: i32) -> io::Result<()> {
    let parameter = libc::sched_param { sched_priority: priority };
    // SAFETY: 0 is the calling thread, and the kernel only reads the
    // parameter, which lives until the call returns.
    let result =
        unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &raw const parameter) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
