//! VRRP instances, and who may send adverts.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use lb_common::{
    advert::{AdvertEntry, VirtualRouter},
    atomic::Ordering::{AcqRel, Relaxed, Release},
    instance::{Instance, NO_INSTANCE},
    label::Labelled,
    limits::{LABEL_BYTES, MAX_ADVERT_SOURCES},
    mac::Mac,
};
use lb_ebpf::host::Arrays;

use super::{address_from_words, address_words, full, refused, vip_entries};
use crate::dataplane::{
    DataplaneError, InstanceId, ObservedInstance,
    index::{self, NoRoom},
};

fn get<A: Arrays>(arrays: &A, id: InstanceId) -> Option<&Instance> {
    arrays.instances().get(usize::from(id.0)).filter(|_| id.0 != NO_INSTANCE)
}

/// Whether an instance is in the maps.
pub(super) fn is_there(arrays: &impl Arrays, id: InstanceId) -> bool {
    get(arrays, id).is_some_and(|instance| instance.state.load(Relaxed) & Instance::VALID != 0)
}

pub(super) fn put(arrays: &impl Arrays, id: InstanceId, label: &str, mac: Option<Mac>) -> Result<(), DataplaneError> {
    let instance = get(arrays, id).ok_or_else(|| refused("put instance", format!("id {} is out of range", id.0)))?;
    arrays.labels()[Labelled::Instance(id.0).index() as usize].set(label);
    instance.set_mac(mac);
    if !is_there(arrays, id) {
        instance.alive.store(0, Relaxed);
        instance.state.store(Instance::VALID, Release);
    }
    Ok(())
}

pub(super) fn remove(arrays: &impl Arrays, id: InstanceId) -> Result<(), DataplaneError> {
    let there = get(arrays, id).filter(|_| is_there(arrays, id));
    let instance = there.ok_or_else(|| refused("remove instance", format!("instance {} is not there", id.0)))?;
    if let Some((address, _)) = vip_entries(arrays).find(|(_, entry)| entry.instance() == id.0) {
        return Err(refused("remove instance", format!("{address} is moved by instance {}", id.0)));
    }
    // Whoever turns instances on may do so at this moment: take what is there,
    // whatever it is.
    instance.state.swap(0, AcqRel);
    instance.set_mac(None);
    instance.alive.store(0, Relaxed);
    arrays.labels()[Labelled::Instance(id.0).index() as usize].clear();
    Ok(())
}

pub(super) fn observe(arrays: &impl Arrays) -> BTreeMap<InstanceId, ObservedInstance> {
    let ids = (0..arrays.instances().len()).filter_map(|id| u8::try_from(id).ok()).map(InstanceId);
    let observed = ids.filter_map(|id| {
        let instance = get(arrays, id).filter(|_| is_there(arrays, id))?;
        let mut buffer = [0; LABEL_BYTES];
        let label = &arrays.labels()[Labelled::Instance(id.0).index() as usize];
        let label = label.get(&mut buffer).unwrap_or_default().to_owned();
        Some((id, ObservedInstance { label, mac: instance.mac(), active: instance.is_active() }))
    });
    observed.collect()
}

/// Lists those who may send adverts, in an order in which nobody is shut out
/// who is on both lists: first the new ones, then which virtual routers are
/// guarded, then those who leave.
pub(super) fn set_advert_sources(arrays: &impl Arrays, sources: &BTreeSet<(u8, IpAddr)>) -> Result<(), DataplaneError> {
    let full = full("ADVERT_SOURCES", MAX_ADVERT_SOURCES);
    if sources.len() > MAX_ADVERT_SOURCES as usize {
        return Err(full(NoRoom));
    }
    let index = arrays.advert_sources();
    let before = advert_sources(arrays);
    let mut added = Vec::new();
    for source in sources.difference(&before) {
        let key = key(*source);
        if let Err(NoRoom) = index::put(index, key, AdvertEntry::new(key.0).0) {
            for key in added {
                index::remove(index, key);
            }
            return Err(full(NoRoom));
        }
        added.push(key);
    }
    let mut guarded = [[0; 4]; 2];
    for (vrid, address) in sources {
        guarded[usize::from(address.is_ipv6())][usize::from(*vrid) / 64] |= 1 << (vrid % 64);
    }
    let guard = arrays.advert_guard();
    for (words, bits) in [&guard.v4, &guard.v6].into_iter().zip(guarded) {
        words.iter().zip(bits).for_each(|(word, bits)| word.store(bits, Release));
    }
    for source in before.difference(sources) {
        index::remove(index, key(*source));
    }
    Ok(())
}

fn key((vrid, address): (u8, IpAddr)) -> (VirtualRouter, [u64; 2]) {
    (VirtualRouter::new(vrid, address.is_ipv6()), address_words(address))
}

pub(super) fn advert_sources(arrays: &impl Arrays) -> BTreeSet<(u8, IpAddr)> {
    let sources = index::iter(arrays.advert_sources());
    sources.map(|((router, words), _)| (router.vrid(), address_from_words(words, router.is_v6()))).collect()
}

#[cfg(test)]
#[path = "instances_tests.rs"]
mod tests;
