//! The exchange of what is recorded: flows whose member the pool's table does not
//! tell, and clients that stay with theirs.

use lb_common::{
    atomic::Ordering::Relaxed,
    config::IdleLimits,
    listener,
    member::MemberState,
    placement::{Placement, PlacementStage, PlacementWord},
    pool::{ForwardMode, Persistence},
    protocol::vip_and_transport,
};
use lb_ebpf::{
    family::Family,
    flow::Moment,
    host::FlowArrays,
    lookup,
    placement::adopt::{Foreign, Taken, adopt},
    tables::Tables as _,
};

use super::{
    super::tables::{address_from_words, address_words},
    AdoptRefusal, Adopted, SharedPlacement,
    over::{Exchange, Source},
};

impl<A: FlowArrays, S: Source> Exchange<A, S> {
    /// What is recorded in a way, if another balancer should have it.
    pub(super) fn placement_at(&self, line: u32, way: usize) -> Option<SharedPlacement> {
        let moment = Moment::read(&self.tables)?;
        self.share_placement(&moment, self.tables.placement_line(line)?.ways.get(way)?)
    }

    /// Calls `each` for the records of some lines.
    pub(super) fn scan_placements(&self, lines: std::ops::Range<u32>, each: &mut dyn FnMut(SharedPlacement)) {
        let Some(moment) = Moment::read(&self.tables) else { return };
        let lines = lines.map_while(|line| self.tables.placement_line(line));
        lines.flat_map(|line| &line.ways).filter_map(|way| self.share_placement(&moment, way)).for_each(each);
    }

    fn share_placement(&self, moment: &Moment<'_>, way: &Placement) -> Option<SharedPlacement> {
        let word = way.word();
        // A flow of which only the opening packet was seen is nobody's news.
        let is_news = match word.stage() {
            PlacementStage::Session => word.is_known(),
            stage => matches!(stage, PlacementStage::Established | PlacementStage::Closing),
        };
        if !is_news {
            return None;
        }
        let fingerprint = way.fingerprint.load(Relaxed);
        let (vip, transport, listener_port) = self.listener(word.listener())?;
        let idle = moment.now.age(word.seen());
        if idle > self.limit(moment.config.idle_limits(), word)? {
            return None;
        }
        let member = self.tables.member(word.member())?;
        let state = member.state();
        let words = [member.address[0].load(Relaxed), member.address[1].load(Relaxed)];
        // It was one record all the while, of a member that is there.
        if !state.has(MemberState::VALID) || way.word() != word || fingerprint == 0 {
            return None;
        }
        Some(SharedPlacement {
            fingerprint,
            stage: word.stage(),
            transport,
            vip: self.vips.find(&self.tables, vip)?,
            listener_port,
            member: address_from_words(words, state.has(MemberState::IPV6)),
            member_port: state.port(),
            mode: word.mode(),
            counted: word.is_counted(),
            idle_millis: u32::from(idle) * self.tick_millis(),
        })
    }

    /// How long a record may be idle, in ticks.
    fn limit(&self, limits: IdleLimits, word: PlacementWord) -> Option<u16> {
        Some(match word.stage() {
            PlacementStage::Closing => limits.tcp_closing,
            PlacementStage::Established if word.is_udp() => limits.udp,
            PlacementStage::Established => limits.tcp,
            _ => {
                let key = self.tables.listener_of(word.listener())?.key.load(Relaxed);
                let pool = self.tables.pool(lookup::listener(&self.tables, key)?.pool())?;
                Persistence::from_word(pool.persistence.load(Relaxed)).timeout
            }
        })
    }

    pub(super) fn adopt_placed<F: Family>(&self, placement: &SharedPlacement) -> Result<Adopted, AdoptRefusal> {
        if contradicts_itself(placement) {
            return Err(AdoptRefusal::Malformed);
        }
        let tables = &self.tables;
        let moment = Moment::read(tables).ok_or(AdoptRefusal::UnknownListener)?;
        let address = F::from_words(address_words(placement.vip));
        let vip = F::vip(tables, address).ok_or(AdoptRefusal::UnknownListener)?;
        let vip_and_transport = vip_and_transport(vip.id(), placement.transport);
        let listener = || lookup::listener(tables, listener::key_of(vip_and_transport, placement.listener_port));
        let found = listener().ok_or(AdoptRefusal::UnknownListener)?;
        let place = (found.pool(), placement.member, placement.member_port);
        let tick = self.tick_millis();
        let foreign = Foreign {
            fingerprint: placement.fingerprint,
            stage: placement.stage,
            vip: address,
            vip_and_transport,
            listener_port: placement.listener_port,
            listener: found,
            transport: placement.transport,
            mode: placement.mode,
            member: self.members.find(&tables.arrays, place).ok_or(AdoptRefusal::UnknownMember)?,
            member_address: address_words(placement.member),
            member_is_ipv6: placement.member.is_ipv6(),
            member_port: placement.member_port,
            counted: placement.counted,
            idle: placement.idle_millis.saturating_add(tick / 2) / tick,
        };
        match adopt::<F, _>(tables, &moment, &foreign) {
            Taken::New => Ok(Adopted::New),
            Taken::Refreshed => Ok(Adopted::Refreshed),
            Taken::Ended => Ok(Adopted::Ended),
            Taken::Place => Err(AdoptRefusal::PlaceTaken),
            Taken::Full => Err(AdoptRefusal::TableFull),
            Taken::Gone if listener().is_none() => Err(AdoptRefusal::UnknownListener),
            Taken::Gone => Err(AdoptRefusal::UnknownMember),
        }
    }
}

/// Whether a record says what none can be like.
fn contradicts_itself(placement: &SharedPlacement) -> bool {
    let SharedPlacement { stage, mode, vip, member, .. } = *placement;
    let impossible = match stage {
        // What is reached by `nat` is in the flow table.
        PlacementStage::Established | PlacementStage::Closing => mode == ForwardMode::Nat,
        PlacementStage::Session => placement.counted,
        PlacementStage::Free | PlacementStage::Claimed | PlacementStage::New | PlacementStage::Moved => true,
    };
    let other_family = vip.is_ipv4() != member.is_ipv4() && !mode.crosses_families();
    placement.fingerprint == 0
        || impossible
        || other_family
        || [placement.listener_port, placement.member_port].contains(&0)
}

#[cfg(test)]
#[path = "placed_tests.rs"]
mod tests;
