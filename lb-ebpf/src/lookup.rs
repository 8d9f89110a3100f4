//! Is this address ours, and who listens there?

use lb_common::atomic::Ordering::Relaxed;

use lb_common::{
    advert::{self, AdvertEntry, VirtualRouter},
    limits::{ADVERT_LINES, LISTENER_LINES, VIP4_LINES, VIP6_LINES},
    listener::{self, ListenerEntry},
    vip::{self, VipEntry},
};

use crate::tables::Tables;

/// Searches two neighbouring lines: the second only if the first has no free
/// way (an invariant of the writer). A macro because the indices differ
/// in the type of a line and in what equals a key.
macro_rules! probe {
    ($line:expr, $first:expr, $lines:expr, |$way:ident| $equal:expr, $entry:ty) => {{
        let mut full = true;
        let line = $line($first)?;
        for $way in &line.ways {
            let entry = <$entry>::from_word($way.entry.load(Relaxed));
            if !entry.is_valid() {
                full = false;
            } else if $equal {
                return Some(entry);
            }
        }
        if !full {
            return None;
        }
        let line = $line(($first + 1) & ($lines - 1))?;
        for $way in &line.ways {
            let entry = <$entry>::from_word($way.entry.load(Relaxed));
            if entry.is_valid() && $equal {
                return Some(entry);
            }
        }
        None
    }};
}

trait Word {
    fn from_word(word: u64) -> Self;
}

impl Word for VipEntry {
    #[inline(always)]
    fn from_word(word: u64) -> Self {
        Self(word)
    }
}

impl Word for AdvertEntry {
    #[inline(always)]
    fn from_word(word: u64) -> Self {
        Self(word)
    }
}

impl Word for ListenerEntry {
    #[inline(always)]
    fn from_word(word: u64) -> Self {
        Self(word)
    }
}

/// Looks up an IPv4 address.
#[inline(always)]
pub fn vip4<T: Tables>(tables: &T, address: u32) -> Option<VipEntry> {
    let address = u64::from(address);
    let first = vip::line4(address, VIP4_LINES);
    probe!(|i| tables.vip4_line(i), first, VIP4_LINES, |way| way.address.load(Relaxed) == address, VipEntry)
}

/// Looks up an IPv6 address.
#[inline(always)]
pub fn vip6<T: Tables>(tables: &T, address: [u64; 2]) -> Option<VipEntry> {
    let first = vip::line6(address, VIP6_LINES);
    probe!(
        |i| tables.vip6_line(i),
        first,
        VIP6_LINES,
        |way| way.address[0].load(Relaxed) == address[0] && way.address[1].load(Relaxed) == address[1],
        VipEntry
    )
}

/// Looks up a listener by [`listener::key`].
#[inline(always)]
pub fn listener<T: Tables>(tables: &T, key: u64) -> Option<ListenerEntry> {
    let first = listener::line(key, LISTENER_LINES);
    probe!(|i| tables.listener_line(i), first, LISTENER_LINES, |way| way.key.load(Relaxed) == key, ListenerEntry)
}

/// Looks up who may send adverts to a virtual router.
#[inline(always)]
pub fn advert_source<T: Tables>(tables: &T, router: VirtualRouter, address: [u64; 2]) -> Option<AdvertEntry> {
    let first = advert::line(router, address, ADVERT_LINES);
    probe!(
        |i| tables.advert_line(i),
        first,
        ADVERT_LINES,
        |way| way.entry.load(Relaxed) == AdvertEntry::new(router).0
            && way.address[0].load(Relaxed) == address[0]
            && way.address[1].load(Relaxed) == address[1],
        AdvertEntry
    )
}
