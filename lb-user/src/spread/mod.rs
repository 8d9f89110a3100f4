//! Tables that spread flows over a pool's members, by the pool's algorithm
//! ([`for_algorithm`]): [`table`] for what is hashed and [`sequence`] for taking
//! turns. Pure.
//!
//! What must not be here: names, health, ids.
//!
//! Others rely on four things: the same set of members gives the same table
//! whatever their order, every member with a weight has a slot, every slot has a
//! member if there is any, and the length of a [`table`] depends on nothing but
//! how many members the pool has configured. The last keeps a failing member from
//! moving everybody: a table of another length is another table altogether.

use std::net::IpAddr;

use lb_common::{
    hash,
    limits::{MAX_MEMBERS, MAX_TABLE_SLOTS},
    pool::Algorithm,
};

mod kept;
mod rendezvous;
mod sequence;

pub use kept::KeptTables;
use rendezvous::Party;
pub use sequence::sequence;

/// Somebody who may get slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// Who it is: [`identity`].
    pub identity: u64,
    /// Its share, relative to the others. Zero gets no slot.
    pub weight: u16,
}

/// Slots for each member that a table has at least (up to [`MAX_TABLE_SLOTS`]).
const SLOTS_PER_MEMBER: u64 = 100;

/// The hash that stands for a member: from its address and port alone, so that
/// neither a new name nor another place in the file moves flows, and two
/// balancers with the same members build the same table.
#[must_use]
pub fn identity(address: IpAddr, port: u16) -> u64 {
    const SEED: u64 = 0x6d61_676c_6576_2e31;
    let octets = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    };
    let bits = u128::from_be_bytes(octets);
    hash::three(SEED, (bits >> 64) as u64, bits as u64, u64::from(port))
}

/// How many slots the table of a pool with so many configured members has: the
/// smallest prime that is at least a hundred for each of the next power of two,
/// or [`MAX_TABLE_SLOTS`]. The power of two lets a pool grow by a member
/// without a new length most of the time.
#[must_use]
pub fn slots_for(members: usize) -> u32 {
    let step = (members.max(1) as u64).checked_next_power_of_two().unwrap_or(u64::MAX);
    let wanted = step.saturating_mul(SLOTS_PER_MEMBER);
    match u32::try_from(wanted) {
        Ok(wanted) if wanted < MAX_TABLE_SLOTS => {
            (wanted..MAX_TABLE_SLOTS).find(|n| is_prime(*n)).unwrap_or(MAX_TABLE_SLOTS)
        }
        _ => MAX_TABLE_SLOTS,
    }
}

/// What an algorithm finds members in: the one place that knows which kind of
/// table each is given. Parameters and result are those of [`table`].
#[must_use]
pub fn for_algorithm(algorithm: Algorithm, candidates: &[Candidate], configured: usize) -> Vec<u16> {
    match algorithm {
        Algorithm::RoundRobin => sequence(candidates),
        Algorithm::SourceIpPort | Algorithm::SourceIp | Algorithm::LeastConnections => table(candidates, configured),
    }
}

/// Fills the table of a pool with `configured` members, of whom `candidates`
/// may be used now. Each slot holds an index into `candidates`; the table is
/// empty when nobody has a weight.
///
/// Each candidate gets its share to 5 % and two or three slots (`parties` has
/// it to the slot), and at least one slot. Time is O(slots × ln slots): two to
/// four milliseconds for the largest table in optimised code. Candidates beyond
/// [`MAX_MEMBERS`] are not used; a [`crate::model::Model`] never has as many.
#[must_use]
pub fn table(candidates: &[Candidate], configured: usize) -> Vec<u16> {
    table_of(slots_for(configured.max(candidates.len())), candidates, configured)
}

/// [`table`] with another number of slots, for comparing: a prime, and no less
/// than there are candidates.
#[must_use]
pub fn table_of(slots: u32, candidates: &[Candidate], configured: usize) -> Vec<u16> {
    let turns = turns(candidates);
    if turns.is_empty() {
        return Vec::new();
    }
    named(rendezvous::fill(&parties(&turns, configured, slots), slots), &turns)
}

/// A table of places among the turns as one of places among the candidates.
fn named(mut table: Vec<u16>, turns: &[Turn]) -> Vec<u16> {
    table.iter_mut().for_each(|slot| *slot = turns[usize::from(*slot)].index);
    table
}

/// A candidate with a weight.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Turn {
    identity: u64,
    weight: u16,
    /// Its place among the candidates.
    index: u16,
}

/// The candidates with a weight in the order of their identities, so that the
/// order given is of no consequence. Two of the same identity (one pair in 2⁶⁴)
/// are told apart by weight, then by place.
fn turns(candidates: &[Candidate]) -> Vec<Turn> {
    let mut turns: Vec<Turn> = candidates
        .iter()
        .take(MAX_MEMBERS as usize)
        .zip(0u16..)
        .filter(|(c, _)| c.weight > 0)
        .map(|(c, index)| Turn { identity: c.identity, weight: c.weight, index })
        .collect();
    turns.sort_unstable();
    turns
}

/// The unit of shares: so many are a slot.
const ONE: u64 = 1 << 16;

/// The exact share of each in slots × [`ONE`]; but who has less than a slot's worth
/// gets one whole slot, and the others share what is left.
fn shares(turns: &[Turn], slots: u32) -> Vec<u64> {
    let mut by_weight: Vec<usize> = (0..turns.len()).collect();
    by_weight.sort_unstable_by_key(|i| turns[*i].weight);
    let mut left = u64::from(slots);
    let mut total: u64 = turns.iter().map(|t| u64::from(t.weight)).sum();
    let mut shares = vec![ONE; turns.len()];
    for i in by_weight {
        let weight = u64::from(turns[i].weight);
        if weight * left < total {
            left = left.saturating_sub(1);
            total -= weight;
        } else {
            shares[i] = weight * left * ONE / total;
        }
    }
    shares
}

/// What each is to have at least and at most: 5 % of its share less or more, with
/// room where that is hardly a slot.
///
/// - At most 1.05 × share less a slot, but a slot more than the share at least:
///   fewer than that would send slots on long ways to find somebody with room.
/// - At least 0.95 × share less three slots, and one slot.
///
/// A fraction of a slot is a whole one for so many of the members, by a hash of
/// each: would all round alike, all would give or take a slot at once when the
/// share passes a whole number.
///
/// Everybody who has his most gets more when a member fails, which moves slots
/// that need not move. So this lags behind: while few of those configured are
/// missing, what each may have at most stays as if all were there, by up to half
/// a slot. With many slots to a member that is nothing, but there few have their most.
fn parties(turns: &[Turn], configured: usize, slots: u32) -> Vec<Party> {
    const LAG: u64 = ONE / 2;
    let here = turns.len() as u64;
    let all = here.max(configured as u64);
    let above = |share: u64| (share * 21 / 20).saturating_sub(ONE);
    let rounded = |exact: u64, hash: u64| u32::try_from((exact + hash % ONE) / ONE).unwrap_or(u32::MAX);
    let party = |(turn, share): (&Turn, u64)| {
        let hash = hash::one(4, turn.identity);
        let most = above(share * here / all).max(above(share).saturating_sub(LAG)).max(share + ONE);
        let least = (share * 19 / 20).saturating_sub(3 * ONE);
        Party {
            identity: turn.identity,
            weight: turn.weight,
            least: rounded(least, hash).clamp(1, rounded(share, 0).max(1)),
            most: rounded(most, hash >> 32),
        }
    };
    turns.iter().zip(shares(turns, slots)).map(party).collect()
}

fn is_prime(n: u32) -> bool {
    n >= 2 && (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d))
}

#[cfg(test)]
#[path = "spread_tests.rs"]
mod tests;
