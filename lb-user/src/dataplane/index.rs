//! Writing the bucketed indices of VIPs and listeners while packets read them.
//!
//! The readers' rule: an entry lies in the line its key names, or in the next
//! one, which is looked at only if the first has no free way. So when a way of
//! a full line becomes free, an entry that had to move on is brought home.

use lb_common::{
    advert::{self, AdvertEntry, AdvertLine, AdvertSource, VirtualRouter},
    atomic::{
        AtomicU64,
        Ordering::{Relaxed, Release},
    },
    listener::{self, Listener, ListenerLine},
    vip::{self, Vip4, Vip4Line, Vip6, Vip6Line},
};

/// A way: a key and the word that publishes it (zero: free).
pub(super) trait Way {
    type Key: Copy + PartialEq;
    fn key(&self) -> Self::Key;
    fn set_key(&self, key: Self::Key);
    fn entry(&self) -> &AtomicU64;
}

/// A line of ways.
pub(super) trait Line {
    type Way: Way;
    fn ways(&self) -> &[Self::Way];
    fn home(key: <Self::Way as Way>::Key, lines: u32) -> u32;
}

/// The index is full where this key belongs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoRoom;

type Key<L> = <<L as Line>::Way as Way>::Key;

fn lines_of<L: Line>(lines: &[L], key: Key<L>) -> [&L; 2] {
    let first = L::home(key, lines.len() as u32) as usize;
    [&lines[first], &lines[(first + 1) % lines.len()]]
}

fn is_used(way: &impl Way) -> bool {
    way.entry().load(Relaxed) != 0
}

/// The way of a key.
pub(super) fn find<L: Line>(lines: &[L], key: Key<L>) -> Option<&L::Way> {
    lines_of(lines, key).into_iter().flat_map(Line::ways).find(|way| is_used(*way) && way.key() == key)
}

/// Stores an entry under a key, in place if the key is there.
pub(super) fn put<L: Line>(lines: &[L], key: Key<L>, entry: u64) -> Result<(), NoRoom> {
    if let Some(way) = find(lines, key) {
        way.entry().store(entry, Release);
        return Ok(());
    }
    let free = lines_of(lines, key).into_iter().flat_map(Line::ways).find(|way| !is_used(*way)).ok_or(NoRoom)?;
    free.set_key(key);
    free.entry().store(entry, Release);
    Ok(())
}

/// Removes a key; says whether it was there.
pub(super) fn remove<L: Line>(lines: &[L], key: Key<L>) -> bool {
    let Some(way) = find(lines, key) else { return false };
    way.entry().store(0, Release);
    // The freed way lies in either line of the key. A guest that comes home
    // frees a way one line on, where others may have been crowded out.
    let first = L::home(key, lines.len() as u32);
    for start in [first, first + 1] {
        let mut home = start;
        while bring_home(lines, home % lines.len() as u32) {
            home += 1;
        }
    }
    true
}

/// Moves one entry that lies a line after its home back to it, if there is
/// room; says whether it did.
fn bring_home<L: Line>(lines: &[L], home: u32) -> bool {
    let here = &lines[home as usize];
    let Some(free) = here.ways().iter().find(|way| !is_used(*way)) else { return false };
    let next = &lines[(home as usize + 1) % lines.len()];
    let guest = next.ways().iter().find(|way| is_used(*way) && L::home(way.key(), lines.len() as u32) == home);
    let Some(guest) = guest else { return false };
    // Present twice for a moment, never absent.
    free.set_key(guest.key());
    free.entry().store(guest.entry().load(Relaxed), Release);
    guest.entry().store(0, Release);
    true
}

/// Every key and its entry.
pub(super) fn iter<L: Line>(lines: &[L]) -> impl Iterator<Item = (Key<L>, u64)> {
    lines.iter().flat_map(Line::ways).map(|way| (way.key(), way.entry().load(Relaxed))).filter(|(_, entry)| *entry != 0)
}

impl Way for Vip4 {
    type Key = u32;

    fn key(&self) -> u32 {
        self.address.load(Relaxed) as u32
    }

    fn set_key(&self, key: u32) {
        self.address.store(u64::from(key), Relaxed);
    }

    fn entry(&self) -> &AtomicU64 {
        &self.entry
    }
}

impl Line for Vip4Line {
    type Way = Vip4;

    fn ways(&self) -> &[Vip4] {
        &self.ways
    }

    fn home(key: u32, lines: u32) -> u32 {
        vip::line4(u64::from(key), lines)
    }
}

impl Way for Vip6 {
    type Key = [u64; 2];

    fn key(&self) -> [u64; 2] {
        [self.address[0].load(Relaxed), self.address[1].load(Relaxed)]
    }

    fn set_key(&self, key: [u64; 2]) {
        self.address[0].store(key[0], Relaxed);
        self.address[1].store(key[1], Relaxed);
    }

    fn entry(&self) -> &AtomicU64 {
        &self.entry
    }
}

impl Line for Vip6Line {
    type Way = Vip6;

    fn ways(&self) -> &[Vip6] {
        &self.ways
    }

    fn home(key: [u64; 2], lines: u32) -> u32 {
        vip::line6(key, lines)
    }
}

impl Way for AdvertSource {
    type Key = (VirtualRouter, [u64; 2]);

    fn key(&self) -> Self::Key {
        (AdvertEntry(self.entry.load(Relaxed)).router(), [self.address[0].load(Relaxed), self.address[1].load(Relaxed)])
    }

    /// The virtual router is a part of the entry.
    fn set_key(&self, (_, address): Self::Key) {
        self.address[0].store(address[0], Relaxed);
        self.address[1].store(address[1], Relaxed);
    }

    fn entry(&self) -> &AtomicU64 {
        &self.entry
    }
}

impl Line for AdvertLine {
    type Way = AdvertSource;

    fn ways(&self) -> &[AdvertSource] {
        &self.ways
    }

    fn home((router, address): (VirtualRouter, [u64; 2]), lines: u32) -> u32 {
        advert::line(router, address, lines)
    }
}

impl Way for Listener {
    type Key = u64;

    fn key(&self) -> u64 {
        self.key.load(Relaxed)
    }

    fn set_key(&self, key: u64) {
        self.key.store(key, Relaxed);
    }

    fn entry(&self) -> &AtomicU64 {
        &self.entry
    }
}

impl Line for ListenerLine {
    type Way = Listener;

    fn ways(&self) -> &[Listener] {
        &self.ways
    }

    fn home(key: u64, lines: u32) -> u32 {
        listener::line(key, lines)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The index behaves like a map, even when it is nearly full and keys
        /// spill over, and never hides what it holds from a reader.
        #[test]
        fn an_index_behaves_like_a_map(steps in prop::collection::vec((any::<bool>(), 0u64..40), 1..200)) {
            let lines: Vec<ListenerLine> = (0..8).map(|_| ListenerLine::default()).collect();
            let mut model = std::collections::BTreeMap::new();
            for (add, key) in steps {
                let key = key + 1;
                if add {
                    if put(&lines, key, key << 8).is_ok() {
                        model.insert(key, key << 8);
                    } else {
                        prop_assert!(!model.contains_key(&key));
                    }
                } else {
                    prop_assert_eq!(remove(&lines, key), model.remove(&key).is_some());
                }
                let mut found: Vec<_> = iter(&lines).collect();
                found.sort_unstable();
                prop_assert_eq!(found, model.iter().map(|(k, v)| (*k, *v)).collect::<Vec<_>>());
                for key in model.keys() {
                    prop_assert!(reader_finds(&lines, *key));
                }
            }
        }
    }

    /// What the data path does: the second line only if the first is full.
    fn reader_finds(lines: &[ListenerLine], key: u64) -> bool {
        let first = listener::line(key, lines.len() as u32) as usize;
        let has = |i: usize| lines[i].ways.iter().any(|w| is_used(w) && w.key() == key);
        has(first) || lines[first].ways.iter().all(is_used) && has((first + 1) % lines.len())
    }
}
