//! Probes as the members see them: how evenly they arrive, and whether two of one
//! member ever overlap.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use super::capture::{Seen, What};

/// What was seen, in figures.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Arrivals {
    /// Members that were probed.
    pub(super) members: usize,
    /// Probes.
    pub(super) probes: usize,
    /// Probes that arrived later in their interval than the earliest one of their member
    /// did, by more than a twentieth of the delay.
    pub(super) late: usize,
    /// The latest.
    pub(super) latest: Duration,
    /// Probes that never came: one should have been there.
    pub(super) missing: usize,
    /// Probes that began while an earlier one of the same member had not ended.
    pub(super) overlapping: usize,
    /// The most probes that arrived within one hundredth of the delay, and the mean.
    pub(super) burst: (usize, f64),
}

/// Looks at everything that arrived at a port.
pub(super) fn of(seen: &[Seen], port: u16, delay: Duration) -> Arrivals {
    let mut starts: BTreeMap<Ipv4Addr, Vec<Duration>> = BTreeMap::new();
    let mut open: BTreeMap<Ipv4Addr, BTreeSet<SocketAddrV4>> = BTreeMap::new();
    let mut arrivals = Arrivals::default();
    for one in seen.iter().filter(|one| one.to.port() == port) {
        let under_way = open.entry(*one.to.ip()).or_default();
        match one.what {
            // The same again is a retransmission.
            What::Syn if under_way.insert(one.from) => {
                arrivals.overlapping += usize::from(under_way.len() > 1);
                starts.entry(*one.to.ip()).or_default().push(one.at);
            }
            What::End | What::Reset => drop(under_way.remove(&one.from)),
            What::Syn | What::Udp(_) => {}
        }
    }
    arrivals.members = starts.len();
    arrivals.probes = starts.values().map(Vec::len).sum();
    for starts in starts.values() {
        let late = lateness(starts, delay);
        arrivals.late += late.iter().filter(|late| **late > delay / 20).count();
        arrivals.latest = arrivals.latest.max(late.into_iter().max().unwrap_or_default());
        arrivals.missing += missing(starts, delay);
    }
    arrivals.burst = burst(starts.values().flatten(), delay / 100);
    arrivals
}

/// How far each start lies behind the earliest place in the interval that one had.
fn lateness(starts: &[Duration], delay: Duration) -> Vec<Duration> {
    let Some(first) = starts.first() else { return Vec::new() };
    let place = |start: &Duration| {
        // Nearest to a whole number of intervals after the first: early is negative.
        let since = start.saturating_sub(*first).as_nanos() as i128;
        let delay = delay.as_nanos().max(1) as i128;
        since - (since + delay / 2) / delay * delay
    };
    let earliest = starts.iter().map(place).min().unwrap_or_default();
    let late = |start| u64::try_from(place(start) - earliest).map_or(Duration::MAX, Duration::from_nanos);
    starts.iter().map(late).collect()
}

/// Whole intervals without a start.
fn missing(starts: &[Duration], delay: Duration) -> usize {
    let delay = delay.as_nanos().max(1);
    let intervals = |gap: Duration| usize::try_from((gap.as_nanos() + delay / 2) / delay).unwrap_or(usize::MAX);
    starts.windows(2).map(|two| intervals(two[1].saturating_sub(two[0])).saturating_sub(1)).sum()
}

fn burst<'s>(starts: impl Iterator<Item = &'s Duration>, slot: Duration) -> (usize, f64) {
    let mut slots: BTreeMap<u128, usize> = BTreeMap::new();
    for start in starts {
        *slots.entry(start.as_nanos() / slot.as_nanos().max(1)).or_default() += 1;
    }
    let (Some((first, _)), Some((last, _))) = (slots.first_key_value(), slots.last_key_value()) else {
        return (0, 0.0);
    };
    let all: usize = slots.values().sum();
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^53")]
    let mean = all as f64 / (last - first + 1) as f64;
    (slots.values().max().copied().unwrap_or_default(), mean)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_secs(1);
    const PORT: u16 = 8080;

    fn seen(millis: u64, what: What, from: u16, member: u8) -> Seen {
        let from = SocketAddrV4::new([10, 60, 0, 1].into(), from);
        Seen { at: Duration::from_millis(millis), what, from, to: SocketAddrV4::new([10, 64, 0, member].into(), PORT) }
    }

    #[test]
    fn even_probes_are_neither_late_nor_missing() {
        let all: Vec<Seen> = (0..20)
            .flat_map(|second| {
                let port = 1000 + second as u16;
                [seen(second * 1000 + 300, What::Syn, port, 1), seen(second * 1000 + 301, What::Reset, port, 1)]
            })
            .collect();
        let arrivals = of(&all, PORT, DELAY);
        let even = Arrivals { members: 1, probes: 20, burst: arrivals.burst, ..Arrivals::default() };
        assert_eq!(arrivals, even);
    }

    #[test]
    fn a_late_probe_a_missing_one_and_two_at_once_are_seen() {
        let all = [
            seen(0, What::Syn, 1, 1),
            seen(1, What::End, 1, 1),
            seen(1060, What::Syn, 2, 1),
            seen(1070, What::Syn, 2, 1),
            seen(3000, What::Syn, 3, 1),
            seen(3000, What::Syn, 4, 2),
            seen(3001, What::Udp(0), 5, 1),
        ];
        let arrivals = of(&all, PORT, DELAY);
        assert_eq!((arrivals.members, arrivals.probes), (2, 4));
        assert_eq!((arrivals.late, arrivals.latest), (1, Duration::from_millis(60)));
        assert_eq!((arrivals.missing, arrivals.overlapping), (1, 1));
        assert_eq!(arrivals.burst.0, 2);
    }
}
