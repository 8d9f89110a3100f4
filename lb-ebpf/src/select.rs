//! Choosing a member.

use lb_common::{
    drop_reason::DropReason,
    hash,
    pool::{ForwardMode, Picker, Pool, PoolEntry},
};

use crate::{
    client::{Arrival, slot},
    family::Family,
    far::Choice,
    flow::Moment,
    packet::Packet,
    tables::Tables,
};

/// The two ends of a flow, as its client's packets name them.
#[derive(Clone, Copy, Debug)]
pub struct Ends<F: Family> {
    /// The client's address.
    pub client: F::Address,
    /// The VIP's address.
    pub vip: F::Address,
    /// The client's port, host order.
    pub client_port: u16,
    /// The listener's port, host order.
    pub port: u16,
    /// Code of the transport.
    pub transport: u16,
}

impl<F: Family> Ends<F> {
    /// Those of a packet.
    #[inline(always)]
    pub(crate) fn of(packet: &Packet<'_>, arrival: &Arrival) -> Option<Self> {
        let (client_port, port) = arrival.segment.ports(packet)?;
        let (client, vip) = (F::source(packet)?, F::destination(packet)?);
        Some(Self { client, vip, client_port, port, transport: arrival.vip >> 14 })
    }

    /// The forward key of the flow.
    #[inline(always)]
    pub(crate) fn key(&self, listener: u16) -> F::Key {
        F::key(self.client, self.client_port, listener)
    }

    /// The last argument of [`hash::selection`], for a hash of the whole flow.
    #[inline(always)]
    pub(crate) fn ports(&self) -> u64 {
        u64::from(self.client_port) << 32 | u64::from(self.port) << 16 | u64::from(self.transport)
    }

    /// The selection hash; `ports` is zero for that of the client's address.
    #[inline(always)]
    pub(crate) fn selection(&self, seed: u64, ports: u64) -> u64 {
        hash::selection(seed, F::words(self.client), F::words(self.vip), ports)
    }
}

/// The member of a packet to a pool whose members are not reached by `nat`. A far
/// call.
#[inline(always)]
pub(crate) fn choose<F: Family, T: Tables>(packet: &mut Packet<'_>, tables: &T, arrival: &Arrival) -> Choice {
    let Some(ends) = Ends::<F>::of(packet, arrival) else { return Choice::refused(DropReason::MalformedTransport) };
    let Some(moment) = Moment::read(tables) else { return Choice::refused(DropReason::NotConfigured) };
    if F::vip(tables, ends.client).is_some() {
        return Choice::refused(DropReason::SourceIsVip);
    }
    let entry = tables.pool(arrival.listener.pool()).map_or(PoolEntry::default(), Pool::entry);
    match for_new_flow::<F, T>(tables, &moment, arrival.listener.id(), tables.pool(arrival.listener.pool()), &ends) {
        Ok(member) => Choice::member(member, 0, entry.mode()),
        Err(reason) => Choice::refused(reason),
    }
}

/// The member of a new flow by its pool's present table.
#[inline(always)]
pub(crate) fn for_new_flow<F: Family, T: Tables>(
    tables: &T,
    moment: &Moment<'_>,
    _listener: u16,
    pool: Option<&Pool>,
    ends: &Ends<F>,
) -> Result<u16, DropReason> {
    let entry = pool.map_or(PoolEntry::default(), Pool::entry);
    if entry.length() == 0 {
        return Err(DropReason::PoolEmpty);
    }
    let ports = if matches!(entry.picker(), Picker::SourceIp) { 0 } else { ends.ports() };
    Ok(slot(tables, entry, ends.selection(moment.seed(), ports)))
}

/// Where a flow goes that has no entry in the flow table of a `nat` pool in
/// change, if it was placed by another mode before.
#[inline(always)]
pub(crate) fn placed_before<F: Family, T: Tables>(
    _tables: &T,
    _moment: &Moment<'_>,
    _arrival: &Arrival,
    _ends: &Ends<F>,
    _pool: Option<&Pool>,
) -> Option<Choice> {
    let _ = ForwardMode::Nat;
    None
}

/// The member that a flow has whose opening was not seen now, recording nothing:
/// for what is about a flow and no part of it.
#[inline(always)]
pub(crate) fn of_known<F: Family, T: Tables>(tables: &T, moment: &Moment<'_>, pool: u16, ends: &Ends<F>) -> Choice {
    let entry = tables.pool(pool).map_or(PoolEntry::default(), Pool::entry);
    if entry.length() == 0 {
        return Choice::refused(DropReason::PoolEmpty);
    }
    let ports = if matches!(entry.picker(), Picker::SourceIp) { 0 } else { ends.ports() };
    Choice::member(slot(tables, entry, ends.selection(moment.seed(), ports)), 0, entry.mode())
}
