//! Listeners: whose index entry is stored last, after everything that a packet
//! asks about by its word.

use lb_common::{
    atomic::Ordering::Relaxed,
    label::Labelled,
    limits::MAX_LISTENERS,
    listener::{self, ListenerEntry},
    load::SourceRate,
    pool::{NO_POOL, PoolEntry},
};
use lb_ebpf::host::Arrays;

use super::{
    super::{DataplaneError, ListenerId, ListenerRules, PoolId},
    address_words, full, index, pool_of, refused, vip_entries,
};

/// Creates a listener, or changes its pool or its rules.
pub(super) fn put(
    arrays: &impl Arrays,
    key: u64,
    entry: ListenerEntry,
    label: &str,
    rules: ListenerRules,
) -> Result<(), DataplaneError> {
    if entry.pool() != NO_POOL && !pool_of(arrays, PoolId(entry.pool())).is_some_and(PoolEntry::is_valid) {
        return Err(refused("put listener", format!("pool {} does not exist", entry.pool())));
    }
    let slot = arrays.listener_keys().get(usize::from(entry.id()));
    let slot = slot.ok_or_else(|| refused("put listener", format!("id {} is out of range", entry.id())))?;
    let before = slot.key.load(Relaxed);
    if before != key {
        let vip = listener::parts(key).map_or(0, |(vip, ..)| vip);
        let address = vip_entries(arrays).find(|(_, entry)| entry.id() == vip).map(|(address, _)| address);
        let address = address.ok_or_else(|| refused("put listener", format!("VIP {vip} does not exist")))?;
        // Whoever finds the entry finds key and address by its id.
        for (to, word) in slot.vip.iter().zip(address_words(address)) {
            to.store(word, Relaxed);
        }
        slot.key.store(key, Relaxed);
    }
    let load = &arrays.listener_loads()[usize::from(entry.id())];
    load.limit.store(u64::from(rules.connection_limit), Relaxed);
    let rate = rules.new_flows_per_source;
    let hz = arrays.config().hz.load(Relaxed) as u32;
    load.source_rate.store(if rate == 0 { 0 } else { SourceRate::new(rate, rate, hz).to_word() }, Relaxed);
    // The number itself cannot be read from the rate.
    load.reserved.store(u64::from(rate), Relaxed);
    let flags = [
        (ListenerEntry::GUARDED, rules.guarded),
        (ListenerEntry::LIMITED, rules.connection_limit != 0),
        (ListenerEntry::RATED, rate != 0),
    ];
    let flags = flags.into_iter().filter(|(_, set)| *set).fold(0, |all, (flag, _)| all | flag);
    if let Err(no_room) = index::put(arrays.listeners(), key, entry.with_rules(flags).0) {
        slot.key.store(before, Relaxed);
        return Err(full("LISTENERS", MAX_LISTENERS)(no_room));
    }
    arrays.labels()[Labelled::Listener(entry.id()).index() as usize].set(label);
    Ok(())
}

/// Forgets what is kept of a listener beside its index entry.
pub(super) fn clear(arrays: &impl Arrays, id: ListenerId) {
    let load = &arrays.listener_loads()[usize::from(id.0)];
    for word in [&load.limit, &load.source_rate, &load.reserved, &load.live] {
        word.store(0, Relaxed);
    }
    arrays.labels()[Labelled::Listener(id.0).index() as usize].clear();
}

/// A listener's rules as they are.
pub(super) fn rules_of(arrays: &impl Arrays, entry: ListenerEntry) -> ListenerRules {
    let load = &arrays.listener_loads()[usize::from(entry.id())];
    let number = |word: u64| u32::try_from(word).unwrap_or(u32::MAX);
    ListenerRules {
        guarded: entry.has(ListenerEntry::GUARDED),
        connection_limit: number(load.limit.load(Relaxed)),
        new_flows_per_source: number(load.reserved.load(Relaxed)),
    }
}
