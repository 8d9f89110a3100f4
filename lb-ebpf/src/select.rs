//! Choosing a member: of a new flow by the pool's algorithm, of a flow that the
//! table alone does not tell by its record or by the table it was placed by.

use lb_common::{
    atomic::Ordering::Relaxed,
    counters::Event,
    drop_reason::DropReason,
    hash,
    listener::ListenerEntry,
    member::MemberState,
    placement::{self as record, Placement, PlacementStage, PlacementWord},
    pool::{Algorithm, ForwardMode, Persistence, Pool, PoolEntry, Until},
    protocol::Transport,
};

use crate::{
    admission,
    client::{Arrival, is_reset, slot, station},
    family::Family,
    far::{Choice, Facts},
    flow::{Moment, locate},
    headers::tcp_flags,
    ingress::Ingress,
    live,
    packet::Packet,
    placement::{self, Spot},
    tables::Tables,
};

mod pick;

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

    /// The fingerprint of the flow.
    #[inline(always)]
    fn fingerprint(&self, seed: u64) -> u64 {
        record::flow(self.selection(seed, self.ports()), F::words(self.client), self.ports())
    }

    /// The hash that an algorithm goes by.
    #[inline(always)]
    pub(crate) fn chosen_by(&self, seed: u64, algorithm: Algorithm) -> u64 {
        self.selection(seed, if matches!(algorithm, Algorithm::SourceIp) { 0 } else { self.ports() })
    }

    /// The hash that a pool's algorithm goes by.
    #[inline(always)]
    fn hash(&self, seed: u64, entry: PoolEntry) -> u64 {
        self.chosen_by(seed, entry.algorithm())
    }

    /// What outer headers vary with, of the hash that an algorithm goes by.
    #[inline(always)]
    pub(crate) fn spread(&self, chosen_by: u64) -> u32 {
        (chosen_by ^ self.ports().wrapping_mul(hash::SPREAD) >> 32) as u32
    }

    /// The fingerprint of the client, as finely as its pool tells clients apart.
    #[inline(always)]
    fn session(&self, seed: u64, persistence: Persistence) -> u64 {
        let source = F::network(self.client, persistence.prefix4, persistence.prefix6);
        let port = u64::from(self.port) << 16 | u64::from(self.transport);
        record::session(seed, F::words(source), F::words(self.vip), port)
    }
}

/// Where the record of a packet's flow is. A far call; returns a [`Spot`].
#[inline(always)]
pub(crate) fn find_record<F: Family, T: Tables>(packet: &Packet<'_>, tables: &T, arrival: &Arrival) -> u64 {
    let Some(ends) = Ends::<F>::of(packet, arrival) else { return 0 };
    let Some(moment) = Moment::read(tables) else { return 0 };
    placement::find(tables, ends.fingerprint(moment.seed()))
}

/// Where a packet goes whose flow was begun before, if that is known: by its
/// record, which `spot` says where it is, or by the table that it was placed by. A
/// far call; says that a member is to be picked where it is a new one, or as good
/// as new.
#[inline(always)]
pub(crate) fn choose<F: Family, T: Tables>(packet: &Packet<'_>, tables: &T, arrival: &Arrival, spot: Spot) -> Choice {
    match placed::<F, T>(packet, tables, arrival, spot) {
        Ok(choice) => choice,
        Err(reason) => Choice::refused(reason),
    }
}

#[inline(always)]
fn placed<F: Family, T: Tables>(
    packet: &Packet<'_>,
    tables: &T,
    arrival: &Arrival,
    spot: Spot,
) -> Result<Choice, DropReason> {
    let Arrival { segment, listener, .. } = arrival;
    let ends = &Ends::<F>::of(packet, arrival).ok_or(DropReason::MalformedTransport)?;
    let moment = &Moment::read(tables).ok_or(DropReason::NotConfigured)?;
    if F::vip(tables, ends.client).is_some() {
        return Err(DropReason::SourceIsVip);
    }
    // Of a flow that nobody remembers each packet may be the first.
    if listener.has(ListenerEntry::GUARDED) && !F::allows(tables, listener.id(), ends.client) {
        return Err(DropReason::SourceNotAllowed);
    }
    if let Some(way) = spot.placement(tables)
        && let Some(choice) = go_on(tables, moment, arrival, spot, (way, ends.fingerprint(moment.seed())))
    {
        return choice;
    }
    let pool = tables.pool(listener.pool()).ok_or(DropReason::PoolEmpty)?;
    let entry = pool.entry();
    if !entry.has(PoolEntry::CHANGING) {
        return Ok(Choice::TO_PICK);
    }
    let previous = PoolEntry(pool.previous.load(Relaxed));
    if matches!(previous.mode(), ForwardMode::Nat)
        && !matches!(entry.mode(), ForwardMode::Nat)
        && locate::<F, T>(tables, moment, ends.key(listener.id())).is_some()
    {
        return Ok(Choice::TO_ATTEND);
    }
    if segment.opens() || !Until::from_word(pool.until.load(Relaxed)).holds(segment.is_udp(), moment.now) {
        return Ok(Choice::TO_PICK);
    }
    let told_before = before::<F, T>(tables, moment, pool, ends);
    let member_id = told_before.0 as u16;
    let state = tables.member(member_id).map_or(MemberState::default(), |member| member.state());
    if !state.has(MemberState::VALID) || segment.is_udp() && !state.has(MemberState::UP) {
        return Ok(Choice::TO_PICK);
    }
    if is_reset(state, segment) {
        return Err(DropReason::MemberDownReset);
    }
    let choice = Choice::member(member_id, 0, previous.mode());
    // What both tables tell alike needs no record, unless all flows have one.
    let now = told(slot(tables, entry, ends.hash(moment.seed(), entry)), entry);
    let is_needed = entry.has(PoolEntry::RECORDS | PoolEntry::PERSISTENT) || now != told_before;
    Ok(if is_needed { choice.to_be_recorded(false).of_moved_flow() } else { choice })
}

/// Picks the member of a packet's flow, which is a new one, for a pool whose
/// members are not reached by `nat`, or says that it is to be drawn. A far call.
#[inline(always)]
pub(crate) fn choose_new<F: Family, T: Tables>(packet: &mut Packet<'_>, tables: &T, arrival: &Arrival) -> Choice {
    let begins = arrival.segment.opens() || arrival.segment.is_udp();
    match chosen::<F, T>(packet, tables, arrival, begins) {
        Ok(choice) if begins => choice.of_new_flow(),
        Ok(choice) => choice,
        Err(reason) => {
            if begins {
                tables.count_refused(arrival.listener.id());
            }
            Choice::refused(reason)
        }
    }
}

#[inline(always)]
fn chosen<F: Family, T: Tables>(
    packet: &mut Packet<'_>,
    tables: &T,
    arrival: &Arrival,
    begins: bool,
) -> Result<Choice, DropReason> {
    let Arrival { segment, listener, .. } = arrival;
    let ends = &Ends::<F>::of(packet, arrival).ok_or(DropReason::MalformedTransport)?;
    let moment = &Moment::read(tables).ok_or(DropReason::NotConfigured)?;
    let pool = tables.pool(listener.pool()).ok_or(DropReason::PoolEmpty)?;
    let entry = pool.entry();
    let recorded = entry.has(PoolEntry::RECORDS | PoolEntry::PERSISTENT);
    if segment.has(tcp_flags::RST) && recorded {
        return Err(DropReason::FlowUnknown);
    }
    if recorded || entry.has(PoolEntry::CHANGING) {
        station(packet, tables, arrival.ingress)?;
    }
    if begins && listener.has(ListenerEntry::LIMITED | ListenerEntry::RATED) {
        admission::ask::<F, T>(packet, tables, moment, *listener, ends.client)?;
    }
    let choice = for_new_flow::<F, T>(tables, moment, Some(pool), ends)?;
    // What is drawn is recorded in any case.
    let differs = choice != Choice::TO_DRAW
        && entry.has(PoolEntry::CHANGING)
        && before::<F, T>(tables, moment, pool, ends) != told(choice.id(), entry);
    Ok(if recorded || differs { choice.to_be_recorded(recorded) } else { choice })
}

/// Records where a packet's flow goes. A far call; returns the choice, or that the
/// flow is refused because it had to be recorded and could not.
#[inline(always)]
pub(crate) fn write_record<F: Family, T: Tables>(
    packet: &Packet<'_>,
    tables: &T,
    facts: Facts,
    choice: Choice,
    listener: u16,
) -> Choice {
    let arrival = bare(facts, ListenerEntry(u64::from(listener)));
    let Some(ends) = Ends::<F>::of(packet, &arrival) else { return Choice::refused(DropReason::MalformedTransport) };
    let Some(moment) = Moment::read(tables) else { return Choice::refused(DropReason::NotConfigured) };
    let counted = choice.is_counted();
    let stage = match () {
        // Its first packet since the change may be its last, or next to it.
        () if arrival.segment.has(tcp_flags::FIN | tcp_flags::RST) && !counted => PlacementStage::Closing,
        () if choice.is_moved() => PlacementStage::Moved,
        () => PlacementStage::New,
    };
    let word = word_of(&arrival, choice, stage, &moment);
    if placement::record(tables, ends.fingerprint(moment.seed()), word.counted(counted).0) == 0 {
        if counted {
            return Choice::refused(DropReason::FlowTableFull);
        }
        tables.count(Event::PlacementLost);
    } else if counted {
        live::began(tables, listener, choice.id());
    }
    if choice.is_new() {
        tables.count_new_flow(listener, choice.id());
    }
    Choice::member(choice.id(), 0, choice.mode())
}

/// A flow with a record, if it goes on by it: its member must be there, and up
/// unless the flow is an established one that stays. One that has ended and opens
/// again does not. The way may have been given to another flow since it was found:
/// the fingerprint says.
#[inline(always)]
fn go_on<T: Tables>(
    tables: &T,
    moment: &Moment<'_>,
    arrival: &Arrival,
    spot: Spot,
    (way, fingerprint): (&Placement, u64),
) -> Option<Result<Choice, DropReason>> {
    let (segment, word) = (&arrival.segment, way.word());
    if !word.is_live() || way.fingerprint.load(Relaxed) != fingerprint || placement::is_idle(moment, word, 0) {
        return None;
    }
    let state = tables.member(word.member())?.state();
    let moves = segment.is_udp() || matches!(word.stage(), PlacementStage::New);
    let ended = segment.opens() && matches!(word.stage(), PlacementStage::Closing);
    if !state.has(MemberState::VALID) || !state.has(MemberState::UP) && moves || ended {
        return None;
    }
    if is_reset(state, segment) {
        return Some(Err(DropReason::MemberDownReset));
    }
    let ends = segment.has(tcp_flags::FIN | tcp_flags::RST);
    let begins = placement::note(tables, moment, spot, (way, word), segment.opens(), ends);
    let choice = Choice::member(word.member(), 0, word.mode());
    Some(Ok(if begins { choice.of_client_to_record() } else { choice }))
}

/// A member and how it is reached, to be compared. Who has the same member and
/// mode gets a packet the same way.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Told(u64);

#[inline(always)]
const fn told(member: u16, entry: PoolEntry) -> Told {
    Told(member as u64 | (entry.mode() as u64) << 16)
}

/// What the table says that flows were placed by before the first unfinished
/// change. Algorithms that do not go by a hash say nobody.
#[inline(always)]
fn before<F: Family, T: Tables>(tables: &T, moment: &Moment<'_>, pool: &Pool, ends: &Ends<F>) -> Told {
    let previous = PoolEntry(pool.previous.load(Relaxed));
    let by_hash = !previous.has(PoolEntry::RECORDS | PoolEntry::PERSISTENT) && previous.length() != 0;
    if !by_hash || matches!(previous.mode(), ForwardMode::Nat) {
        return Told(0);
    }
    told(slot(tables, previous, ends.hash(moment.seed(), previous)), previous)
}

/// The member of a new flow by its pool's present table, or that one is to be
/// drawn by [`draw`].
#[inline(always)]
pub(crate) fn for_new_flow<F: Family, T: Tables>(
    tables: &T,
    moment: &Moment<'_>,
    pool: Option<&Pool>,
    ends: &Ends<F>,
) -> Result<Choice, DropReason> {
    let entry = pool.ok_or(DropReason::PoolEmpty)?.entry();
    if entry.length() == 0 {
        return Err(DropReason::PoolEmpty);
    }
    let plain = !entry.has(PoolEntry::PERSISTENT | PoolEntry::LIMITS_MEMBERS)
        && matches!(entry.algorithm(), Algorithm::SourceIp | Algorithm::SourceIpPort);
    if !plain {
        return Ok(Choice::TO_DRAW);
    }
    Ok(Choice::member(slot(tables, entry, ends.hash(moment.seed(), entry)), 0, entry.mode()))
}

/// Draws the member of a packet's new flow, for a pool whose algorithm is more than
/// the slot of a hash, or whose clients stay with their member. A far call.
#[inline(always)]
pub(crate) fn draw<F: Family, T: Tables>(packet: &Packet<'_>, tables: &T, arrival: &Arrival) -> Choice {
    let Some(ends) = Ends::<F>::of(packet, arrival) else { return Choice::refused(DropReason::MalformedTransport) };
    let Some(moment) = Moment::read(tables) else { return Choice::refused(DropReason::NotConfigured) };
    let Some(pool) = tables.pool(arrival.listener.pool()) else { return Choice::refused(DropReason::PoolEmpty) };
    let entry = pool.entry();
    let hash = ends.hash(moment.seed(), entry);
    let drawn = if entry.has(PoolEntry::PERSISTENT) {
        let session = ends.session(moment.seed(), Persistence::from_word(pool.persistence.load(Relaxed)));
        pick::of_client(tables, &moment, arrival.listener.pool(), pool, hash, session)
    } else {
        pick::fresh(tables, pool, entry, hash).map(|member| Choice::member(member, 0, entry.mode()))
    };
    match drawn {
        Ok(choice) => choice,
        Err(reason) => {
            tables.count_refused(arrival.listener.id());
            Choice::refused(reason)
        }
    }
}

/// Records which member a packet's client has; `known`: a flow of it goes on. A far
/// call; returns 0.
#[inline(always)]
pub(crate) fn write_session<F: Family, T: Tables>(
    packet: &Packet<'_>,
    tables: &T,
    facts: Facts,
    choice: Choice,
    listener: ListenerEntry,
    known: bool,
) -> u64 {
    let arrival = bare(facts, listener);
    let Some(ends) = Ends::<F>::of(packet, &arrival) else { return 0 };
    let Some(moment) = Moment::read(tables) else { return 0 };
    let Some(pool) = tables.pool(listener.pool()) else { return 0 };
    let session = ends.session(moment.seed(), Persistence::from_word(pool.persistence.load(Relaxed)));
    let word = word_of(&arrival, choice, PlacementStage::Session, &moment).known(known);
    match placement::record(tables, session, word.0) {
        0 => tables.count(Event::PlacementLost),
        // Anyone can send a first packet, from whatever address.
        spot if known => Spot(spot).tell(tables),
        _ => {}
    }
    0
}

/// What is known of a packet from its facts and its listener.
#[inline(always)]
fn bare(facts: Facts, listener: ListenerEntry) -> Arrival {
    let (network, segment) = facts.headers();
    Arrival { network, segment, vip: u16::from(segment.code()) << 14, listener, ingress: Ingress(0) }
}

#[inline(always)]
fn word_of(arrival: &Arrival, choice: Choice, stage: PlacementStage, moment: &Moment<'_>) -> PlacementWord {
    let transport = Transport::from_code(u16::from(arrival.segment.code())).unwrap_or(Transport::Tcp);
    PlacementWord::new(stage, choice.id(), arrival.listener.id(), choice.mode(), transport, moment.now)
}

/// The member that a flow has whose opening was not seen now, recording nothing:
/// for what is about a flow and no part of it.
#[inline(always)]
pub(crate) fn of_known<F: Family, T: Tables>(tables: &T, moment: &Moment<'_>, pool: u16, ends: &Ends<F>) -> Choice {
    let Some(pool) = tables.pool(pool) else { return Choice::refused(DropReason::PoolEmpty) };
    let entry = pool.entry();
    if entry.has(PoolEntry::RECORDS | PoolEntry::PERSISTENT | PoolEntry::CHANGING) {
        let fingerprint = ends.fingerprint(moment.seed());
        if let Some(way) = Spot(placement::find(tables, fingerprint)).placement(tables) {
            return Choice::member(way.word().member(), 0, way.word().mode());
        }
        let holds = Until::from_word(pool.until.load(Relaxed)).holds(false, moment.now);
        let told = before::<F, T>(tables, moment, pool, ends);
        if entry.has(PoolEntry::CHANGING) && holds && told.0 != 0 {
            return Choice::member(told.0 as u16, 0, ForwardMode::from_bits(told.0 >> 16));
        }
    }
    if entry.length() == 0 {
        return Choice::refused(DropReason::PoolEmpty);
    }
    Choice::member(slot(tables, entry, ends.hash(moment.seed(), entry)), 0, entry.mode())
}
