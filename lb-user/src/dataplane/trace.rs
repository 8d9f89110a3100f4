//! Watching what becomes of packets: the filter is set, and what the data path
//! then writes is read.
//!
//! There is one filter, so one process traces at a time. Its claim is a lock on a
//! directory beside the pins, which ends with the process however it ends; what a
//! process that was killed has left switched on, [`switch_off_if_abandoned`]
//! switches off.

use std::{
    fs::{self, File},
    io,
    net::IpAddr,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use aya::maps::{Map, MapData, RingBuf};
use lb_common::{
    atomic::Ordering::Relaxed,
    config::Config,
    drop_reason::DropReason,
    names,
    trace::{TraceFilter, TraceRecord},
};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use super::{
    DataplaneError, Prefix,
    kernel::kernel,
    mapped::open,
    pins::check_version,
    region::Region,
    tables::{address_from_words, address_words},
};

/// The directory whose lock is the claim, beside the pins.
const CLAIM: &str = "tracing";

/// Which packets are watched; what is absent matches all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TraceWanted {
    /// Network that either end lies in.
    pub network: Option<Prefix>,
    /// Port of either end.
    pub port: Option<u16>,
    /// IP protocol number.
    pub protocol: Option<u8>,
    /// Family of addresses: true for IPv6.
    pub ipv6: Option<bool>,
    /// What became of them.
    pub fate: Option<Fate>,
}

/// What became of a packet, without the reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It was left to the host.
    Passed,
    /// It ended.
    Dropped,
    /// It left by the interface it came in by: to a member, to a client, or as an
    /// answer.
    Returned,
    /// It left by another interface.
    Redirected,
}

impl Fate {
    /// All of them, in the order of their classes in [`TraceRecord::verdict`].
    const ALL: [Self; 4] = [Self::Passed, Self::Dropped, Self::Returned, Self::Redirected];

    fn class(self) -> u64 {
        Self::ALL.iter().zip(0..).find(|(fate, _)| **fate == self).map_or(0, |(_, class)| class)
    }
}

/// A packet that was watched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Traced {
    /// Index of the interface it came in by.
    pub ifindex: u32,
    /// The frame's length in bytes as it came.
    pub length: u16,
    /// Where it came from and where it was sent; absent: it was no IP packet.
    pub ends: Option<(IpAddr, IpAddr)>,
    /// Their ports; zeros where there are none, as in later fragments.
    pub ports: (u16, u16),
    /// IP protocol number.
    pub protocol: u8,
    /// Flags of TCP as in its header.
    pub tcp_flags: u8,
    /// What became of it.
    pub fate: Fate,
    /// Dropped: why.
    pub reason: Option<DropReason>,
    /// Redirected: the number of the port it left by.
    pub to_port: Option<u16>,
}

impl From<&TraceRecord> for Traced {
    fn from(record: &TraceRecord) -> Self {
        let family = record.transport >> 48 & 0xff;
        let address = |words| address_from_words(words, family == 6);
        let fate = Fate::ALL[(record.verdict & 3) as usize];
        let detail = record.verdict >> 8;
        Self {
            ifindex: record.frame as u32,
            length: (record.frame >> 32) as u16,
            ends: (family != 0).then(|| (address(record.source), address(record.destination))),
            ports: (record.transport as u16, (record.transport >> 16) as u16),
            protocol: (record.transport >> 32) as u8,
            tcp_flags: (record.transport >> 40) as u8,
            fate,
            reason: (fate == Fate::Dropped).then(|| DropReason::from_number(detail as u8)),
            to_port: (fate == Fate::Redirected).then_some(detail as u16),
        }
    }
}

impl TraceWanted {
    /// Writes it into the filter of the data path.
    fn write(&self, filter: &TraceFilter) {
        let (words, mask) = match self.network {
            None => ([0; 2], [0; 2]),
            Some((address, length)) => (address_words(address), mask_words(address, length)),
        };
        for half in 0..2 {
            filter.address[half].store(words[half] & mask[half], Relaxed);
            filter.mask[half].store(mask[half], Relaxed);
        }
        let family = self.network.map(|(address, _)| address.is_ipv6()).or(self.ipv6);
        let family = family.map_or(0, |ipv6| if ipv6 { 6 } else { 4 });
        let fate = self.fate.map_or(0, |fate| fate.class() + 1);
        let rest =
            u64::from(self.port.unwrap_or(0)) | u64::from(self.protocol.unwrap_or(0)) << 16 | family << 24 | fate << 32;
        filter.rest.store(rest, Relaxed);
    }
}

/// The mask of a network in the words its address has.
fn mask_words(address: IpAddr, length: u8) -> [u64; 2] {
    match address {
        IpAddr::V4(_) => {
            let bits = u32::MAX.checked_shl(32 - u32::from(length.min(32))).unwrap_or(0);
            [u64::from(u32::from_ne_bytes(bits.to_be_bytes())), 0]
        }
        IpAddr::V6(_) => {
            let bits = u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0).to_be_bytes();
            let (halves, _) = bits.as_chunks::<8>();
            [u64::from_ne_bytes(halves[0]), u64::from_ne_bytes(halves[1])]
        }
    }
}

/// Whoever traces. Dropped, it switches tracing off.
pub struct Tracer {
    config: Region<Config>,
    filter: Region<TraceFilter>,
    ring: RingBuf<MapData>,
    _claim: Flock<File>,
}

impl std::fmt::Debug for Tracer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tracer").finish_non_exhaustive()
    }
}

impl Tracer {
    /// Has the data path pinned under a directory trace packets from now on, `limit`
    /// of them at most.
    ///
    /// # Errors
    /// [`DataplaneError::Refused`] when somebody else traces; when nothing is pinned
    /// there, or another version.
    pub fn start(pin_path: &Path, wanted: &TraceWanted, limit: u32) -> Result<Self, DataplaneError> {
        check_version(pin_path)?;
        let claim = claim(pin_path)?.ok_or_else(|| DataplaneError::Refused {
            op: "trace",
            reason: format!(
                "somebody traces the data path at {} already, and it has one filter: wait, or end the other trace",
                pin_path.display()
            ),
        })?;
        let path = pin_path.join(names::TRACES);
        let doing = || format!("open {}", path.display());
        let ring = MapData::from_pin(&path).map_err(kernel(doing()))?;
        let mut tracer = Self {
            config: open(pin_path, names::CONFIG)?,
            filter: open(pin_path, names::TRACE_FILTER)?,
            ring: Map::RingBuf(ring).try_into().map_err(kernel(doing()))?,
            _claim: claim,
        };
        // What a trace before has left, and what comes until the filter stands.
        tracer.switch(0);
        while tracer.read().is_some() {}
        wanted.write(tracer.filter());
        tracer.switch(limit);
        Ok(tracer)
    }

    fn filter(&self) -> &TraceFilter {
        &self.filter.values()[0]
    }

    /// Switches tracing on for so many packets, or off.
    fn switch(&self, packets: u32) {
        switch(&self.config.values()[0], self.filter(), packets);
    }

    /// The next packet, if one has been written.
    pub fn read(&mut self) -> Option<Traced> {
        loop {
            let item = self.ring.next()?;
            // Whatever is of another length is not ours.
            if let (words, []) = item.as_chunks::<8>()
                && let Ok(words) = <&[[u8; 8]; 8]>::try_from(words)
            {
                return Some(Traced::from(&TraceRecord::from_words(words.map(u64::from_ne_bytes))));
            }
        }
    }

    /// Waits until a packet is written, `other` can be read, or so many milliseconds
    /// are over. True: `other` can be read.
    ///
    /// # Errors
    /// When waiting is not possible.
    pub fn wait(&self, other: std::os::fd::BorrowedFd<'_>, millis: u16) -> io::Result<bool> {
        let ring = self.ring.as_fd();
        let mut look = [PollFd::new(ring, PollFlags::POLLIN), PollFd::new(other, PollFlags::POLLIN)];
        match poll(&mut look, PollTimeout::from(millis)) {
            Ok(_) | Err(Errno::EINTR) => Ok(look[1].any().unwrap_or(false)),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        self.switch(0);
    }
}

/// Packets first, then the bit: none is looked at that cannot be written.
fn switch(config: &Config, filter: &TraceFilter, packets: u32) {
    if packets == 0 {
        config.set(Config::TRACE, false);
    }
    filter.budget.store(u64::from(packets), Relaxed);
    if packets != 0 {
        config.set(Config::TRACE, true);
    }
}

/// The claim to the filter; `None`: somebody has it.
fn claim(pin_path: &Path) -> Result<Option<Flock<File>>, DataplaneError> {
    let path = claim_path(pin_path);
    let doing = || format!("claim the trace filter at {}", path.display());
    match fs::create_dir(&path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(kernel(doing())(error)),
        _ => {}
    }
    let directory = File::open(&path).map_err(kernel(doing()))?;
    match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
        Ok(claim) => Ok(Some(claim)),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, error)) => Err(kernel(doing())(error)),
    }
}

/// Where the claim's directory is.
pub(super) fn claim_path(pin_path: &Path) -> PathBuf {
    pin_path.join(CLAIM)
}

/// Switches off what somebody who is gone has left on. True: it was on.
///
/// # Errors
/// When nobody can tell whether somebody traces.
pub(super) fn switch_off_if_abandoned(
    pin_path: &Path,
    config: &Config,
    filter: &TraceFilter,
) -> Result<bool, DataplaneError> {
    if !config.has(Config::TRACE) {
        return Ok(false);
    }
    let Some(_claim) = claim(pin_path)? else { return Ok(false) };
    switch(config, filter, 0);
    Ok(true)
}

#[cfg(test)]
#[path = "trace_tests.rs"]
mod tests;
