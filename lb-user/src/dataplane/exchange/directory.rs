//! What addresses stand for in the tables, and the other way round, where the
//! tables themselves answer in one direction only.
//!
//! An answer is remembered, and believed only while the tables agree with it.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use lb_common::{
    atomic::Ordering::Relaxed,
    member::{Member, MemberState},
    vip::VipEntry,
};
use lb_ebpf::{
    host::{Arrays, FlowArrays, HostTables},
    lookup,
};

use super::super::{
    index,
    tables::{address_from_words, address_words},
};

/// How soon after all members were looked up they are looked up again for one
/// that was not found. Another balancer may name members without end that are not
/// here.
const AGAIN: Duration = Duration::from_millis(50);

/// Where a member is: pool, address and port.
type Place = (u16, IpAddr, u16);

/// Members by where they are.
#[derive(Debug, Default)]
pub(super) struct Members {
    ids: RefCell<HashMap<Place, u16>>,
    made: Cell<Option<Instant>>,
}

impl Members {
    /// The id of a pool's member, retired or not.
    pub(super) fn find(&self, arrays: &impl Arrays, place: Place) -> Option<u16> {
        let known = || {
            let id = *self.ids.borrow().get(&place)?;
            (place_of(arrays.members().get(usize::from(id))?) == Some(place)).then_some(id)
        };
        known().or_else(|| {
            if self.made.get().is_none_or(|made| made.elapsed() >= AGAIN) {
                self.ids.replace(by_place(arrays));
                self.made.set(Some(Instant::now()));
            }
            known()
        })
    }
}

fn place_of(member: &Member) -> Option<Place> {
    let state = member.state();
    let words = [member.address[0].load(Relaxed), member.address[1].load(Relaxed)];
    let address = || address_from_words(words, state.has(MemberState::IPV6));
    state.has(MemberState::VALID).then(|| (state.pool(), address(), state.port()))
}

fn by_place(arrays: &impl Arrays) -> HashMap<Place, u16> {
    let there = (0..=u16::MAX).zip(arrays.members()).filter_map(|(id, m)| Some((place_of(m)?, id, m.state())));
    let mut ids = HashMap::new();
    for (place, id, state) in there {
        // A member may be there twice: the one in service counts.
        if !state.has(MemberState::RETIRED) || !ids.contains_key(&place) {
            ids.insert(place, id);
        }
    }
    ids
}

/// Addresses of VIPs by their ids.
#[derive(Debug, Default)]
pub(super) struct Vips {
    addresses: RefCell<HashMap<u16, IpAddr>>,
    looked: Cell<bool>,
}

impl Vips {
    /// From now on they may be looked up once more.
    pub(super) fn begin(&self) {
        self.looked.set(false);
    }

    /// The address of a VIP.
    pub(super) fn find<A: FlowArrays>(&self, tables: &HostTables<A>, id: u16) -> Option<IpAddr> {
        let known = || {
            let address = *self.addresses.borrow().get(&id)?;
            let entry = match address {
                IpAddr::V4(a) => lookup::vip4(tables, u32::from_ne_bytes(a.octets())),
                IpAddr::V6(_) => lookup::vip6(tables, address_words(address)),
            };
            (entry?.id() == id).then_some(address)
        };
        known().or_else(|| {
            if !self.looked.replace(true) {
                self.addresses.replace(by_id(&tables.arrays));
            }
            known()
        })
    }
}

fn by_id(arrays: &impl Arrays) -> HashMap<u16, IpAddr> {
    let vips4 = index::iter(arrays.vips4()).map(|(a, entry)| (entry, IpAddr::V4(Ipv4Addr::from(a.to_ne_bytes()))));
    let vips6 = index::iter(arrays.vips6()).map(|(a, entry)| (entry, address_from_words(a, true)));
    vips4.chain(vips6).map(|(entry, address)| (VipEntry(entry).id(), address)).collect()
}
