//! Writes and reads the tables, wherever their memory is: the one place that
//! knows in which order words must be stored so that a packet never sees half
//! of a change.

use std::{
    collections::{BTreeSet, HashMap},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::Range,
    time::{Duration, Instant},
};

use lb_common::{
    atomic::Ordering::{Relaxed, Release},
    instance::NO_INSTANCE,
    label::Labelled,
    limits::{LABEL_BYTES, MAX_LISTENERS, MAX_MEMBERS, MAX_POOLS, MAX_VIPS},
    listener::{self, ListenerEntry},
    load::Load,
    member::{Member, MemberState, NO_MEMBER, Path},
    pool::PoolEntry,
    time::Tick,
    vip::{self, VipEntry},
};
use lb_ebpf::host::Arrays;

use super::{
    DataplaneError, InstanceId, ListenerId, ListenerKey, MemberId, MemberPath, MemberRecord, Observed,
    ObservedListener, ObservedVip, Op, Part, PoolId, VipId,
    cidrs::Prefixes,
    flows::Flows,
    index::{self, NoRoom},
    sweeper::Swept,
};

mod dnat;
mod instances;
mod listeners;
mod pools;

pub(super) use pools::{changing, held, name_previous};

/// How long slots that a pool has left are not given to another pool: any packet
/// that was reading them is long gone.
const GRACE: Duration = Duration::from_millis(500);

/// How long the answer to "which members do flows name?" serves for releases
/// that follow one another, and that to "which do tables name?" for retirements. They
/// cost a look at every flow, and at every slot, and many members may be retired at once.
const ANSWER: Duration = Duration::from_millis(50);

/// The writer. It remembers only which slots were left a moment ago and which
/// members flows and tables named a moment ago; everything else it reads from the
/// tables.
#[derive(Debug, Default)]
pub struct TableWriter {
    left: Vec<Left>,
    named: Option<(Instant, Vec<bool>)>,
    /// Members that the pools' present tables name, while one after the other retires.
    in_tables: Option<(Instant, Vec<bool>)>,
}

/// Slots that a table has left.
#[derive(Debug)]
struct Left {
    since: Instant,
    range: Range<u32>,
    /// Whose it was. The pool itself may have it again at once: a packet reads
    /// one slot, and should it still be on its way to the old table, it finds a
    /// member of its pool there, whichever table it is of. So a pool has two
    /// places at most, however often its table changes.
    pool: Option<PoolId>,
}

/// An address as the maps hold it: its bytes in memory order.
#[must_use]
pub fn address_words(address: IpAddr) -> [u64; 2] {
    match address {
        IpAddr::V4(a) => [u64::from(u32::from_ne_bytes(a.octets())), 0],
        IpAddr::V6(a) => {
            let b = a.octets();
            let word = |at: usize| {
                let mut w = [0; 8];
                w.copy_from_slice(&b[at..at + 8]);
                u64::from_ne_bytes(w)
            };
            [word(0), word(8)]
        }
    }
}

/// An address from its words in a map.
#[must_use]
pub fn address_from_words(words: [u64; 2], ipv6: bool) -> IpAddr {
    if ipv6 {
        let mut b = [0; 16];
        b[..8].copy_from_slice(&words[0].to_ne_bytes());
        b[8..].copy_from_slice(&words[1].to_ne_bytes());
        IpAddr::V6(Ipv6Addr::from(b))
    } else {
        IpAddr::V4(Ipv4Addr::from((words[0] as u32).to_ne_bytes()))
    }
}

fn refused(op: &'static str, reason: impl Into<String>) -> DataplaneError {
    DataplaneError::Refused { op, reason: reason.into() }
}

fn full(table: &'static str, limit: u32) -> impl Fn(NoRoom) -> DataplaneError {
    move |_| DataplaneError::Full { table, limit }
}

impl TableWriter {
    /// Carries out one operation.
    ///
    /// # Errors
    /// Nothing has changed when an error is returned.
    pub(super) fn apply(
        &mut self,
        arrays: &impl Arrays,
        op: &Op,
        flows: &Flows<'_>,
        prefixes: &impl Prefixes,
    ) -> Result<(), DataplaneError> {
        // No new flow names a retired member, so an old answer can only be too
        // careful, as long as nobody was retired since.
        if !matches!(op, Op::ReleaseMember { .. }) {
            self.named = None;
        }
        if !matches!(op, Op::RetireMember { .. }) {
            self.in_tables = None;
        }
        match op {
            Op::PutMember { id, record } => put_member(arrays, *id, record),
            Op::PutPool { id, record, table, hold } => {
                let hold = pools::hold(arrays, *hold, flows.now());
                self.put_pool(arrays, *id, record, table, hold)
            }
            Op::PutInstance { id, label, mac } => instances::put(arrays, *id, label, *mac),
            Op::RemoveInstance { id } => instances::remove(arrays, *id),
            Op::SetAdvertSources { sources } => instances::set_advert_sources(arrays, sources),
            Op::PutVip { id, address, label, active, instance } => {
                put_vip(arrays, *id, *address, label, *active, *instance)
            }
            Op::PutListener { id, vip, transport, port, label, pool, in_snat_range, rules } => {
                let entry = ListenerEntry::new(id.0, pool.0, *in_snat_range);
                listeners::put(arrays, listener::key(vip.0, *transport, *port), entry, label, *rules)
            }
            Op::SetAllowedCidrs { listener, prefixes: wanted } => prefixes.set(*listener, wanted),
            Op::SetDnatMembers { members } => dnat::set(arrays, members),
            Op::RemoveListener { id, vip, transport, port } => {
                let key = listener::key(vip.0, *transport, *port);
                let before = index::find(arrays.listeners(), key).map(|way| way.entry.load(Relaxed));
                let Some(before) = before.filter(|_| index::remove(arrays.listeners(), key)) else {
                    return Err(refused("remove listener", format!("port {port}/{transport} is not there")));
                };
                let forgotten = flows.forget_listener(*id).and_then(|()| flows.forget_placements(*id));
                if let Err(error) = forgotten {
                    // Its id must not be another's while flows name it.
                    index::put(arrays.listeners(), key, before).map_err(full("LISTENERS", MAX_LISTENERS))?;
                    return Err(error);
                }
                dnat::forget(arrays, |entry| entry.listener() == id.0);
                arrays.listener_keys()[usize::from(id.0)].key.store(0, Relaxed);
                listeners::clear(arrays, *id);
                prefixes.set(*id, &BTreeSet::new())
            }
            Op::RemoveVip { id, address } => remove_vip(arrays, *id, *address),
            Op::RemovePool { id } => self.remove_pool(arrays, *id),
            Op::RetireMember { id } => {
                let member = member_of(arrays, *id).ok_or_else(|| refused("retire member", "no such id"))?;
                let state = member.state();
                if !state.has(MemberState::VALID) {
                    return Err(refused("retire member", format!("member {} is not there", id.0)));
                }
                if self.is_in_tables(arrays, *id) {
                    return Err(refused("retire member", format!("a table names member {}", id.0)));
                }
                let flags = state.flags() & !MemberState::UP | MemberState::RETIRED;
                let state = MemberState::new(flags, state.port(), state.pool(), state.weight());
                member.state.store(state.0, Release);
                Ok(())
            }
            Op::ReleaseMember { id } => {
                let member = member_of(arrays, *id).ok_or_else(|| refused("release member", "no such id"))?;
                if !member.state().has(MemberState::RETIRED) {
                    return Err(refused("release member", format!("member {} is not retired", id.0)));
                }
                if self.is_in_use(*id, flows)? {
                    return Err(DataplaneError::MemberInUse(*id));
                }
                dnat::forget(arrays, |entry| entry.member() == id.0);
                member.state.store(0, Release);
                let load = &arrays.member_loads()[usize::from(id.0)];
                load.limit.store(0, Relaxed);
                load.live.store(0, Relaxed);
                arrays.labels()[Labelled::Member(id.0).index() as usize].clear();
                Ok(())
            }
        }
    }

    /// Ends changes of pools that are over, by what a sweep has found.
    ///
    /// A change is over when its hold is, and no recorded flow needs it: where all
    /// flows are recorded the records are looked at anyway; where they are not, when
    /// no flow of the pool is recorded any more. That may be late, for a record does
    /// not tell whether the table would say the same. A pool of which something is
    /// recorded that its packets do not look at begins to. A change that began while
    /// records were looked at waits for the next sweep.
    ///
    /// # Errors
    /// When a pool cannot be written.
    pub(super) fn tend(&mut self, arrays: &impl Arrays, swept: &Swept, now: Tick) -> Result<(), DataplaneError> {
        let Swept { placed, over } = swept;
        pools::heed(arrays, placed, now);
        let still = pools::held(arrays, now).into_iter().filter(|(id, _)| over.contains(id));
        for (id, _) in still.filter(|(id, looks)| *looks || !placed.contains(id)) {
            self.settle_pool(arrays, id)?;
        }
        Ok(())
    }

    /// Whether a pool's present table names a member.
    fn is_in_tables(&mut self, arrays: &impl Arrays, id: MemberId) -> bool {
        self.in_tables.take_if(|(since, _)| since.elapsed() > ANSWER);
        let (_, named) = self.in_tables.get_or_insert_with(|| (Instant::now(), pools::named(arrays)));
        named.get(usize::from(id.0)).copied().unwrap_or(true)
    }

    /// Whether a flow names a retired member.
    fn is_in_use(&mut self, id: MemberId, flows: &Flows<'_>) -> Result<bool, DataplaneError> {
        self.named.take_if(|(since, _)| since.elapsed() > ANSWER);
        if self.named.is_none() {
            self.named = Some((Instant::now(), flows.named_members()?));
        }
        let named = self.named.as_ref().and_then(|(_, named)| named.get(usize::from(id.0)));
        Ok(named.copied().unwrap_or(true))
    }
}

/// What something is called, or was.
fn label_of(arrays: &impl Arrays, what: Labelled) -> String {
    let mut buffer = [0; LABEL_BYTES];
    arrays.labels()[what.index() as usize].get(&mut buffer).unwrap_or_default().to_owned()
}

fn pool_of(arrays: &impl Arrays, id: PoolId) -> Option<PoolEntry> {
    let pool = PoolEntry(arrays.pools().get(usize::from(id.0))?.entry.load(Relaxed));
    pool.is_valid().then_some(pool)
}

fn member_of<A: Arrays>(arrays: &A, id: MemberId) -> Option<&Member> {
    if id.0 == NO_MEMBER { None } else { arrays.members().get(usize::from(id.0)) }
}

/// Whether an id is a member's, by its state word's own account.
pub(super) fn is_valid_member(arrays: &impl Arrays, id: MemberId) -> bool {
    member_of(arrays, id).is_some_and(|member| member.state().has(MemberState::VALID))
}

fn put_member(arrays: &impl Arrays, id: MemberId, record: &MemberRecord) -> Result<(), DataplaneError> {
    let member = member_of(arrays, id).ok_or_else(|| refused("put member", format!("id {} is out of range", id.0)))?;
    let address = address_words(record.address);
    let state = member.state();
    let current = [member.address[0].load(Relaxed), member.address[1].load(Relaxed)];
    if state.has(MemberState::VALID) && (current != address || state.port() != record.port) {
        return Err(refused("put member", format!("id {} belongs to another address or port", id.0)));
    }
    if !state.has(MemberState::VALID) {
        member.address[0].store(address[0], Relaxed);
        member.address[1].store(address[1], Relaxed);
    }
    arrays.labels()[Labelled::Member(id.0).index() as usize].set(&record.label);
    member.set_next_hop(record.next_hop);
    set_path(member, record.path);
    arrays.member_loads()[usize::from(id.0)].limit.store(u64::from(record.connection_limit), Relaxed);
    let ipv6 = if record.address.is_ipv6() { MemberState::IPV6 } else { 0 };
    let flags = record.flags | MemberState::VALID | ipv6;
    let state = MemberState::new(flags, record.port, record.pool.0, record.weight);
    member.state.store(state.0, Release);
    Ok(())
}

/// Where wrapped packets come from changes such that none leaves with half of it.
fn set_path(member: &Member, path: MemberPath) {
    let source = path.source.map_or([0, 0], |(address, _)| address_words(address));
    let there = [member.source[0].load(Relaxed), member.source[1].load(Relaxed)];
    if there != source {
        member.path.store(Path::new(path.mtu, None).0, Relaxed);
        for (word, to) in source.into_iter().zip(&member.source) {
            to.store(word, Release);
        }
    }
    member.path.store(Path::new(path.mtu, path.source.map(|(_, bits)| bits)).0, Release);
}

fn path_of(member: &Member, ipv6: bool) -> MemberPath {
    let path = Path(member.path.load(Relaxed));
    let words = [member.source[0].load(Relaxed), member.source[1].load(Relaxed)];
    let source = path.has_source().then(|| (address_from_words(words, ipv6), path.source_bits()));
    // Zero is what is not known, which the data path takes for 1500.
    MemberPath { mtu: path.0 as u16, source }
}

fn put_vip(
    arrays: &impl Arrays,
    id: VipId,
    address: IpAddr,
    label: &str,
    active: bool,
    instance: Option<InstanceId>,
) -> Result<(), DataplaneError> {
    if u32::from(id.0) >= MAX_VIPS {
        return Err(refused("put VIP", format!("id {} is out of range", id.0)));
    }
    if let Some(instance) = instance.filter(|id| !instances::is_there(arrays, *id)) {
        return Err(refused("put VIP", format!("instance {} does not exist", instance.0)));
    }
    let entry = VipEntry::new(id.0, active, instance.map_or(NO_INSTANCE, |id| id.0)).0;
    arrays.vip_filter().add(filter_bit(address));
    match address {
        IpAddr::V4(a) => index::put(arrays.vips4(), u32::from_ne_bytes(a.octets()), entry),
        IpAddr::V6(_) => index::put(arrays.vips6(), address_words(address), entry),
    }
    .map_err(full("VIPS", MAX_VIPS))?;
    arrays.labels()[Labelled::Vip(id.0).index() as usize].set(label);
    Ok(())
}

fn remove_vip(arrays: &impl Arrays, id: VipId, address: IpAddr) -> Result<(), DataplaneError> {
    let used = index::iter(arrays.listeners()).filter_map(|(key, _)| listener::parts(key)).any(|(vip, ..)| vip == id.0);
    if used {
        return Err(refused("remove VIP", format!("{address} has listeners")));
    }
    let there = match address {
        IpAddr::V4(a) => index::remove(arrays.vips4(), u32::from_ne_bytes(a.octets())),
        IpAddr::V6(_) => index::remove(arrays.vips6(), address_words(address)),
    };
    if !there {
        return Err(refused("remove VIP", format!("{address} is not there")));
    }
    filter_vips(arrays);
    arrays.labels()[Labelled::Vip(id.0).index() as usize].clear();
    Ok(())
}

fn filter_bit(address: IpAddr) -> u32 {
    let [first, second] = address_words(address);
    if address.is_ipv4() { vip::filter_bit4(first) } else { vip::filter_bit6([first, second]) }
}

/// Has the filter say which VIPs there are.
pub(super) fn filter_vips(arrays: &impl Arrays) {
    arrays.vip_filter().set(vip_entries(arrays).map(|(address, _)| filter_bit(address)));
}

/// Every VIP with its entry.
fn vip_entries(arrays: &impl Arrays) -> impl Iterator<Item = (IpAddr, VipEntry)> {
    let vips4 = index::iter(arrays.vips4()).map(|(a, e)| (IpAddr::V4(Ipv4Addr::from(a.to_ne_bytes())), e));
    let vips6 = index::iter(arrays.vips6()).map(|(a, e)| (address_from_words(a, true), e));
    vips4.chain(vips6).map(|(address, entry)| (address, VipEntry(entry)))
}

/// Reads a part of the tables back, flows and counters aside.
///
/// # Errors
/// When the prefixes of listeners cannot be read.
pub(super) fn observe(arrays: &impl Arrays, prefixes: &impl Prefixes, part: &Part) -> Result<Observed, DataplaneError> {
    let ids = part.members().take_while(|id| u32::from(*id) < MAX_MEMBERS).map(MemberId);
    let members = ids.filter_map(|id| Some((id, member_record(arrays, id)?)));
    let pools = part.pools().take_while(|id| u32::from(*id) < MAX_POOLS).filter_map(|id| {
        let pool = pool_of(arrays, PoolId(id))?;
        Some((PoolId(id), pools::observe(arrays, id, pool)))
    });
    let mut observed = Observed { members: members.collect(), pools: pools.collect(), ..Observed::default() };
    if part.has_rest() {
        observe_rest(arrays, &mut observed);
        observed.allowed_cidrs = prefixes.all()?;
        observed.dnat_members = dnat::observe(arrays);
    }
    Ok(observed)
}

fn member_record(arrays: &impl Arrays, id: MemberId) -> Option<MemberRecord> {
    let member = member_of(arrays, id)?;
    let state = member.state();
    if !state.has(MemberState::VALID) {
        return None;
    }
    let words = [member.address[0].load(Relaxed), member.address[1].load(Relaxed)];
    Some(MemberRecord {
        label: label_of(arrays, Labelled::Member(id.0)),
        address: address_from_words(words, state.has(MemberState::IPV6)),
        port: state.port(),
        pool: PoolId(state.pool()),
        flags: state.flags() & !(MemberState::VALID | MemberState::IPV6),
        weight: state.weight(),
        next_hop: member.next_hop(),
        path: path_of(member, state.has(MemberState::IPV6)),
        connection_limit: u32::try_from(arrays.member_loads()[usize::from(id.0)].limit.load(Relaxed))
            .unwrap_or(u32::MAX),
    })
}

/// Everything but members and pools.
fn observe_rest(arrays: &impl Arrays, observed: &mut Observed) {
    for (address, entry) in vip_entries(arrays) {
        let id = VipId(entry.id());
        let instance = Some(entry.instance()).filter(|id| *id != NO_INSTANCE).map(InstanceId);
        let label = label_of(arrays, Labelled::Vip(id.0));
        observed.vips.insert(address, ObservedVip { id, label, active: entry.is_active(), instance });
    }
    let addresses: HashMap<VipId, IpAddr> = observed.vips.iter().map(|(address, vip)| (vip.id, *address)).collect();
    let listeners = index::iter(arrays.listeners()).filter_map(|(key, entry)| {
        let (vip, transport, port) = listener::parts(key)?;
        let entry = ListenerEntry(entry);
        let observed = ObservedListener {
            id: ListenerId(entry.id()),
            label: label_of(arrays, Labelled::Listener(entry.id())),
            pool: PoolId(entry.pool()),
            in_snat_range: entry.is_in_snat_range(),
            rules: listeners::rules_of(arrays, entry),
        };
        Some((ListenerKey { vip: *addresses.get(&VipId(vip))?, transport, port }, observed))
    });
    observed.listeners = listeners.collect();
    observed.instances = instances::observe(arrays);
    observed.advert_sources = instances::advert_sources(arrays);
    observed.snat_ports = snat_ports(arrays);
}

/// The lowest and highest SNAT port.
pub(super) fn snat_ports(arrays: &impl Arrays) -> (u16, u16) {
    let (low, count) = arrays.config().snat_ports();
    (low, low.saturating_add(u16::try_from(count.saturating_sub(1)).unwrap_or(u16::MAX)))
}

/// How many flows a listener, or a member, is said to have.
pub(super) fn live(arrays: &impl Arrays, listener: Option<ListenerId>, member: Option<MemberId>) -> u64 {
    let of = |loads: &[Load], id: u16| loads.get(usize::from(id)).map_or(0, Load::live);
    listener.map_or(0, |id| of(arrays.listener_loads(), id.0)) + member.map_or(0, |id| of(arrays.member_loads(), id.0))
}

#[cfg(test)]
#[path = "frames.rs"]
pub(crate) mod frames;
#[cfg(test)]
#[path = "tables_tests.rs"]
mod tests;
