//! May this flow be opened? What a listener's rules say, cheapest first.

use lb_common::{
    atomic::{Ordering::Relaxed, compare_and_swap},
    drop_reason::DropReason,
    hash,
    limits::SOURCE_CELLS,
    listener::ListenerEntry,
    load::{SourceCell, SourceRate},
};

use crate::{family::Family, far::Call, flow::Moment, packet::Packet, tables::Tables};

/// Bits of an IPv6 address that tell sources apart: a site has a network of 64.
const SOURCE_BITS: u8 = 64;

/// Seed beside the operator's.
const SEED: u64 = 0x736f_7572_6365_7321;

/// Bits of a cell's moment.
const MOMENT_BITS: u32 = 40;
const MOMENT: u64 = (1 << MOMENT_BITS) - 1;

/// Asks a listener's rules about a new flow: `allowed_cidrs`, `connection_limit`
/// and the rate of its source, in this order.
///
/// # Errors
/// The rule that refuses it.
#[inline(always)]
pub(crate) fn admit<F: Family, T: Tables>(
    packet: &mut Packet<'_>,
    tables: &T,
    moment: &Moment<'_>,
    listener: ListenerEntry,
    source: F::Address,
) -> Result<(), DropReason> {
    if listener.has(ListenerEntry::GUARDED) && !F::allows(tables, listener.id(), source) {
        return Err(DropReason::SourceNotAllowed);
    }
    if listener.has(ListenerEntry::LIMITED | ListenerEntry::RATED) {
        ask::<F, T>(packet, tables, moment, listener, source)?;
    }
    Ok(())
}

/// Asks about numbers alone.
///
/// # Errors
/// [`DropReason::ConnectionLimit`], [`DropReason::SourceRate`].
#[inline(always)]
pub(crate) fn ask<F: Family, T: Tables>(
    packet: &mut Packet<'_>,
    tables: &T,
    moment: &Moment<'_>,
    listener: ListenerEntry,
    source: F::Address,
) -> Result<(), DropReason> {
    let words = F::words(F::network(source, 32, SOURCE_BITS));
    let who = hash::three(moment.seed() ^ SEED, words[0], words[1], u64::from(listener.id()));
    match tables.far(packet, Call::Admit, [listener.0, who, 0, 0]) {
        0 => Ok(()),
        number => Err(DropReason::from_number(number as u8)),
    }
}

/// Whether a listener's numbers allow another flow of a source. A far call;
/// returns 0, or the number of a reason.
#[inline(always)]
pub(crate) fn by_numbers<T: Tables>(tables: &T, listener: ListenerEntry, who: u64) -> u64 {
    let Some(load) = tables.listener_load(listener.id()) else { return 0 };
    if listener.has(ListenerEntry::LIMITED) && load.is_full() {
        return DropReason::ConnectionLimit as u64;
    }
    let rate = SourceRate::from_word(load.source_rate.load(Relaxed));
    if listener.has(ListenerEntry::RATED) && rate.interval != 0 && !pays(tables, rate, who) {
        return DropReason::SourceRate as u64;
    }
    0
}

/// Whether a source may open a flow now, which it then has paid for. A source has
/// one of two cells; where both are others' it may, since nobody can tell.
#[inline(always)]
fn pays<T: Tables>(tables: &T, rate: SourceRate, who: u64) -> bool {
    // 1/1024 jiffies.
    let now = tables.jiffies() << 10 & MOMENT;
    let digest = who >> MOMENT_BITS;
    let cells = [who as u32 & (SOURCE_CELLS - 1), (who >> 16) as u32 & (SOURCE_CELLS - 1)];
    let Some(first) = tables.source_cell(cells[0]) else { return true };
    let Some(second) = tables.source_cell(cells[1]) else { return true };
    let (one, other) = (first.word.load(Relaxed), second.word.load(Relaxed));
    if one >> MOMENT_BITS == digest {
        return pay(first, one, now, rate, digest);
    }
    if other >> MOMENT_BITS == digest {
        return pay(second, other, now, rate, digest);
    }
    if is_past(one, now, rate) {
        return take(first, one, now, rate, digest);
    }
    if is_past(other, now, rate) {
        return take(second, other, now, rate, digest);
    }
    true
}

/// Whether the moment of a cell has come: it owes nothing. Nobody can owe more
/// than a burst and one flow, so what seems to lie further ahead has come long
/// ago, or was never written.
#[inline(always)]
const fn is_past(word: u64, now: u64, rate: SourceRate) -> bool {
    let ahead = (word & MOMENT).wrapping_sub(now) & MOMENT;
    ahead == 0 || ahead > rate.burst as u64 + rate.interval as u64
}

/// Gives a cell that owes nothing to a source, with its first flow.
#[inline(always)]
fn take(cell: &SourceCell, word: u64, now: u64, rate: SourceRate, digest: u64) -> bool {
    let until = now.wrapping_add(rate.interval as u64) & MOMENT;
    compare_and_swap(&cell.word, word, digest << MOMENT_BITS | until);
    true
}

/// Lets a source pay in its own cell.
#[inline(always)]
fn pay(cell: &SourceCell, word: u64, now: u64, rate: SourceRate, digest: u64) -> bool {
    let from = if is_past(word, now, rate) { now } else { word & MOMENT };
    if (from.wrapping_sub(now) & MOMENT) > u64::from(rate.burst) {
        return false;
    }
    let until = from.wrapping_add(u64::from(rate.interval)) & MOMENT;
    // Who lost the race pays nothing: another flow of the same source was counted
    // in the same moment.
    compare_and_swap(&cell.word, word, digest << MOMENT_BITS | until);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_owes_for_as_long_as_a_burst_can_last_whatever_the_clock_says() {
        let rate = SourceRate { interval: 2560, burst: 23040 };
        // Ever since the start, around the wrap, and in the second half of the range.
        for now in [0, 1 << 20, 1 << 39, (1 << 39) + 5, MOMENT - 3, MOMENT] {
            assert!(is_past(0, now, rate) || now > MOMENT - 25600, "never written, at {now}");
            for ahead in [1, 2560, 25600] {
                assert!(!is_past(now.wrapping_add(ahead) & MOMENT, now, rate), "{ahead} ahead of {now}");
            }
            for behind in [0, 1, 1 << 30, 1 << 39, (1 << 39) + 1] {
                let word = now.wrapping_sub(behind) & MOMENT;
                assert!(is_past(word, now, rate), "{behind} before {now}");
            }
        }
    }

    #[test]
    fn a_source_pays_for_its_burst_and_then_at_its_rate() {
        let rate = SourceRate { interval: 100, burst: 300 };
        let cell = SourceCell::default();
        let mut now = MOMENT - 150;
        let mut admitted = 0;
        for _ in 0..1000 {
            admitted += u64::from(pay(&cell, cell.word.load(Relaxed), now, rate, 7));
            now = (now + 10) & MOMENT;
        }
        // Four at once, and one for each interval that passes.
        assert!((100..=104).contains(&admitted), "{admitted}");
    }
}
