//! `DNAT_MEMBERS`: whose packets go out with a VIP as their source. The feature is
//! on while anybody is in the index.

use std::{collections::BTreeMap, net::IpAddr};

use lb_common::{
    atomic::Ordering::Relaxed,
    config::Config,
    dnat::{self, DnatEntry, DnatLine, DnatMember},
    limits::DNAT_LINES,
    protocol::Transport,
};
use lb_ebpf::host::Arrays;

use super::{
    super::{
        DataplaneError, DnatMembers, ListenerId, MemberId,
        index::{self, Line, Way},
    },
    address_from_words, address_words, full,
};

/// Replaces the index. New members come before old ones go; who changes only his
/// listener or his id is never absent.
pub(super) fn set(arrays: &impl Arrays, members: &DnatMembers) -> Result<(), DataplaneError> {
    let lines = arrays.dnat_members();
    let there = observe(arrays);
    for (place, who) in members.iter().filter(|(place, who)| there.get(*place) != Some(*who)) {
        let (address, port, transport) = *place;
        let entry = DnatEntry::new(port, transport, address.is_ipv6(), who.0.0, who.1.0);
        let key = (address_words(address), entry.who());
        index::put(lines, key, entry.0).map_err(full("DNAT_MEMBERS", DNAT_LINES * 2))?;
    }
    // Before packets look for anybody: whoever is looked for is there.
    if !members.is_empty() {
        arrays.config().set(Config::DNAT, true);
    }
    forget(arrays, |entry| {
        let Some((address, port, transport)) = place_of(lines, entry) else { return true };
        !members.contains_key(&(address, port, transport))
    });
    Ok(())
}

fn place_of(lines: &[DnatLine], entry: DnatEntry) -> Option<(IpAddr, u16, Transport)> {
    let (address, _) = index::iter(lines).find(|(_, there)| *there == entry.0)?.0;
    place(address, entry.who())
}

fn place(address: [u64; 2], who: u64) -> Option<(IpAddr, u16, Transport)> {
    let transport = Transport::from_code((who >> 16) as u16 & 3)?;
    Some((address_from_words(address, who >> 18 & 1 == 1), who as u16, transport))
}

/// Removes whoever is meant.
pub(super) fn forget(arrays: &impl Arrays, is_meant: impl Fn(DnatEntry) -> bool) {
    if !arrays.config().has(Config::DNAT) {
        return;
    }
    let lines = arrays.dnat_members();
    let meant: Vec<_> = index::iter(lines).filter(|(_, entry)| is_meant(DnatEntry(*entry))).collect();
    for (key, _) in meant {
        index::remove(lines, key);
    }
    if index::iter(lines).next().is_none() {
        arrays.config().set(Config::DNAT, false);
    }
}

/// Who is in the index.
pub(super) fn observe(arrays: &impl Arrays) -> DnatMembers {
    if !arrays.config().has(Config::DNAT) {
        return BTreeMap::new();
    }
    let all = index::iter(arrays.dnat_members()).map(|((address, who), entry)| (address, who, DnatEntry(entry)));
    all.filter_map(|(address, who, entry)| {
        Some((place(address, who)?, (ListenerId(entry.listener()), MemberId(entry.member()))))
    })
    .collect()
}

impl Way for DnatMember {
    /// Address and [`dnat::who`].
    type Key = ([u64; 2], u64);

    fn key(&self) -> Self::Key {
        let address = [self.address[0].load(Relaxed), self.address[1].load(Relaxed)];
        (address, DnatEntry(self.entry.load(Relaxed)).who())
    }

    fn set_key(&self, (address, _): Self::Key) {
        self.address[0].store(address[0], Relaxed);
        self.address[1].store(address[1], Relaxed);
    }

    fn entry(&self) -> &lb_common::atomic::AtomicU64 {
        &self.entry
    }
}

impl Line for DnatLine {
    type Way = DnatMember;

    fn ways(&self) -> &[DnatMember] {
        &self.ways
    }

    fn home((address, who): <DnatMember as Way>::Key, lines: u32) -> u32 {
        dnat::line(address, who, lines)
    }
}
