//! Several routers on a simulated network that loses, delays, reorders and is
//! cut, with the time as one more variable.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::table::config;
use super::*;
use crate::packet::AdvertNotes;
use crate::{Advert, ChecksumForm};

/// A small generator of numbers, so that a seed is a whole run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % below
    }
}

/// A node: its router, and the data path that outlives the router's process.
struct Node {
    router: Router,
    address: IpAddr,
    /// Since when its process is dead.
    dead: Option<Instant>,
    /// Until when it is not scheduled, and since when.
    frozen: Option<(Instant, Instant)>,
    carrying: bool,
    announced: Option<Instant>,
    finished: bool,
}

impl Node {
    fn is_up(&self) -> bool {
        self.dead.is_none() && self.frozen.is_none()
    }
}

/// The network, and all that is on it.
struct Bus {
    now: Instant,
    nodes: Vec<Node>,
    /// Adverts on their way, by arrival.
    flying: BTreeMap<(Instant, u64), (usize, Advert)>,
    sent: u64,
    dice: Dice,
    /// Adverts lost of a thousand, and the longest delay in microseconds.
    loss: u64,
    delay: u64,
    /// Pairs of which the second does not hear the first.
    cuts: Vec<(usize, usize)>,
    /// If set, somebody carries at every moment.
    gapless: bool,
}

impl Bus {
    fn new(seed: u64, interval: Duration, preempt: bool, priorities: &[u8]) -> Self {
        let node = |(number, priority): (usize, &u8)| {
            let address = IpAddr::from([192, 0, 2, u8::try_from(number).unwrap() + 1]);
            let priority = Priority::new(*priority).unwrap();
            let router = Router::new(RouterConfig { interval, preempt, priority, ..config() }, address);
            Node { router, address, dead: None, frozen: None, carrying: false, announced: None, finished: false }
        };
        Self {
            now: Instant::from_micros(1_000_000),
            nodes: priorities.iter().enumerate().map(node).collect(),
            flying: BTreeMap::new(),
            sent: 0,
            dice: Dice(seed | 1),
            loss: 0,
            delay: 300,
            cuts: Vec::new(),
            gapless: false,
        }
    }

    fn give(&mut self, number: usize, input: Input<'_>) {
        let node = &mut self.nodes[number];
        let silent = node.router.state() == State::Initialize
            && !node.router.is_carrying()
            && matches!(input, Input::Advert(_) | Input::Timeout | Input::Stalled(_) | Input::Failover);
        let timeout = input == Input::Timeout;
        let mut actions = Vec::new();
        node.router.handle(self.now, input, &mut actions);
        assert!(actions.len() <= 8);
        assert!(!silent || actions.is_empty(), "{actions:?} in Initialize");
        assert!(!timeout || node.router.deadline().is_none_or(|deadline| deadline > self.now), "a busy loop");
        for action in actions {
            self.act(number, action);
        }
        assert_eq!(self.nodes[number].carrying, self.nodes[number].router.is_carrying());
        assert!(!self.gapless || self.carriers() > 0, "nobody carries at {:?}", self.now);
    }

    fn act(&mut self, number: usize, action: Action) {
        match action {
            Action::Send { priority } => self.send(number, priority),
            Action::SetActive(active) => self.nodes[number].carrying = active,
            Action::Announce => self.nodes[number].announced = Some(self.now),
            Action::Finished => self.nodes[number].finished = true,
            Action::Moved { .. } | Action::Noticed(_) => {}
        }
    }

    fn send(&mut self, from: usize, priority: u8) {
        let node = &self.nodes[from];
        let advert = Advert {
            source: node.address,
            priority,
            interval: node.router.config().interval,
            checksum: ChecksumForm::PseudoHeader,
            notes: AdvertNotes::default(),
        };
        for to in (0..self.nodes.len()).filter(|to| *to != from) {
            let lost = self.dice.roll(1000) < self.loss || self.cuts.contains(&(from, to));
            let mut arrival = self.now.plus(Duration::from_micros(30 + self.dice.roll(self.delay)));
            // Only a bad network changes the order of what one node sends.
            let mut last =
                self.flying.iter().filter(|(_, (node, before))| *node == to && before.source == advert.source);
            if let Some(((last, _), _)) = last.next_back().filter(|_| self.loss == 0) {
                arrival = arrival.max(*last);
            }
            if !lost {
                self.sent += 1;
                self.flying.insert((arrival, self.sent), (to, advert));
            }
        }
    }

    /// Lets the time pass, and everything happen that falls into it.
    fn run(&mut self, time: Duration) {
        let end = self.now.plus(time);
        loop {
            let arrival = self.flying.keys().next().map(|(at, _)| *at);
            let thaw = self.nodes.iter().filter_map(|node| node.frozen).map(|(until, _)| until).min();
            let deadline = self.nodes.iter().filter(|n| n.is_up()).filter_map(|n| n.router.deadline()).min();
            let Some(next) = [arrival, thaw, deadline].into_iter().flatten().min().filter(|at| *at <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            if arrival == Some(next) {
                self.arrive();
            } else if thaw == Some(next) {
                self.thaw();
            } else {
                let due = |node: &Node| node.is_up() && node.router.deadline().is_some_and(|d| d <= next);
                let number = self.nodes.iter().position(due).unwrap();
                self.give(number, Input::Timeout);
            }
        }
    }

    /// What arrives at a node that does not run is lost, as it is when a whole
    /// machine stands still.
    fn arrive(&mut self) {
        let (_, (to, advert)) = self.flying.pop_first().unwrap();
        if self.nodes[to].is_up() {
            self.give(to, Input::Advert(&advert));
        }
    }

    fn thaw(&mut self) {
        for number in 0..self.nodes.len() {
            let Some((until, since)) = self.nodes[number].frozen.filter(|(until, _)| *until <= self.now) else {
                continue;
            };
            self.nodes[number].frozen = None;
            if self.nodes[number].dead.is_none() {
                self.give(number, Input::Stalled(until.since(since)));
                self.give(number, Input::Timeout);
            }
        }
    }

    fn start_all(&mut self) {
        (0..self.nodes.len()).for_each(|number| self.give(number, Input::Startup));
    }

    /// The process ends without a word. The data path goes on.
    fn kill(&mut self, number: usize) {
        self.nodes[number].dead.get_or_insert(self.now);
    }

    /// A new process: it goes on if the data path does, and starts if not.
    fn revive(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        let Some(since) = node.dead.take() else { return };
        node.router = Router::new(node.router.config().clone(), node.address);
        let held = self.now.since(since);
        if node.carrying { self.give(number, Input::Resume { held }) } else { self.give(number, Input::Startup) }
    }

    /// Something bad happens, or something good.
    fn chaos(&mut self, interval: Duration) {
        let count = u64::try_from(self.nodes.len()).unwrap();
        let number = usize::try_from(self.dice.roll(count)).unwrap();
        let other = usize::try_from(self.dice.roll(count)).unwrap();
        let up = self.nodes[number].is_up();
        match self.dice.roll(13) {
            0..=2 => self.cuts.push((number, other)),
            3 => self.cuts.extend([(number, other), (other, number)]),
            4 => self.cuts.clear(),
            5 => self.kill(number),
            6 => self.revive(number),
            7 if up => self.give(number, Input::Fault(true)),
            8 if up => self.give(number, Input::Fault(false)),
            9 if up => self.give(number, Input::Failover),
            10 if up => self.give(number, Input::Pause),
            11 if up => self.give(number, Input::Resumed),
            12 if up => {
                let time = interval * u32::try_from(self.dice.roll(8)).unwrap() + Duration::from_micros(1);
                self.nodes[number].frozen = Some((self.now.plus(time), self.now));
            }
            _ => {}
        }
    }

    /// Everything works again.
    fn heal(&mut self) {
        self.cuts.clear();
        (self.loss, self.delay) = (0, 300);
        for number in 0..self.nodes.len() {
            self.revive(number);
            self.give(number, Input::Fault(false));
            self.give(number, Input::Resumed);
        }
    }

    fn carriers(&self) -> usize {
        self.nodes.iter().filter(|node| node.carrying).count()
    }

    /// The one node that is Active and carries, with no other that does either.
    fn only_active(&self) -> Option<usize> {
        let active: Vec<_> = (0..self.nodes.len()).filter(|n| self.is_active(*n)).collect();
        match active[..] {
            [only] if self.carriers() == 1 && self.nodes[only].carrying => Some(only),
            _ => None,
        }
    }

    fn is_active(&self, number: usize) -> bool {
        self.nodes[number].is_up() && self.nodes[number].router.state() == State::Active
    }

    fn priority(&self, number: usize) -> Priority {
        self.nodes[number].router.priority()
    }
}

/// `Active_Down` of the lowest priority, and a little for the network.
fn longest_down(interval: Duration) -> Duration {
    interval * 4 + Duration::from_millis(2)
}

fn intervals() -> impl Strategy<Value = Duration> {
    prop_oneof![Just(10), Just(100), Just(1000)].prop_map(Duration::from_millis)
}

fn priorities(nodes: core::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(prop_oneof![4 => 1u8..=254, 1 => Just(100), 1 => Just(255)], nodes)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happened_once_all_works_one_router_is_active_and_alone(
        seed in any::<u64>(),
        interval in intervals(),
        preempt in any::<bool>(),
        priorities in priorities(2..6),
        loss in 0u64..400,
    ) {
        let mut bus = Bus::new(seed, interval, preempt, &priorities);
        bus.start_all();
        (bus.loss, bus.delay) = (loss, 8_000);
        for _ in 0..60 {
            bus.chaos(interval);
            let pause = interval / 8 * u32::try_from(bus.dice.roll(24)).unwrap();
            bus.run(pause);
        }
        // The longest freeze, and what is still on its way.
        bus.run(interval * 8 + Duration::from_millis(10));
        bus.heal();
        bus.run(longest_down(interval));
        let winner = bus.only_active();
        prop_assert!(winner.is_some(), "not one after one Active_Down");
        let highest = (0..priorities.len()).map(|n| bus.priority(n)).max();
        prop_assert!(!preempt || winner.map(|n| bus.priority(n)) == highest, "a lower one with preemption");
        for _ in 0..40 {
            bus.run(interval / 3);
            prop_assert_eq!(bus.only_active(), winner, "and so it stays");
        }
    }

    #[test]
    fn the_highest_takes_over_from_a_lower_active_if_and_only_if_it_preempts(
        seed in any::<u64>(), interval in intervals(), preempt in any::<bool>(), lower in 1u8..254, above in 1u8..=253
    ) {
        let higher = lower.saturating_add(above).min(254);
        let mut bus = Bus::new(seed, interval, preempt, &[lower, higher]);
        bus.give(0, Input::Startup);
        bus.run(longest_down(interval));
        prop_assert_eq!(bus.only_active(), Some(0));
        bus.gapless = true;
        bus.give(1, Input::Startup);
        bus.run(longest_down(interval) * 3);
        prop_assert_eq!(bus.only_active(), Some(usize::from(preempt)));
    }

    #[test]
    fn a_planned_end_leaves_no_moment_with_nobody_carrying(
        seed in any::<u64>(),
        interval in intervals(),
        preempt in any::<bool>(),
        priorities in priorities(2..6),
        way in 0u8..4,
        wait in 0u64..2_000_000,
    ) {
        let mut bus = Bus::new(seed, interval, preempt, &priorities);
        bus.start_all();
        bus.run(longest_down(interval) * 2 + Duration::from_micros(wait));
        let before = bus.only_active();
        prop_assert!(before.is_some());
        let before = before.unwrap();
        bus.gapless = true;
        bus.give(before, match way {
            0 => Input::Shutdown,
            1 => Input::Fault(true),
            2 => Input::Pause,
            _ => Input::Failover,
        });
        // As long as the slowest Backup may take, by the RFC: one interval.
        bus.run(interval + Duration::from_millis(2));
        let after = bus.only_active();
        prop_assert!(after.is_some_and(|after| after != before), "{:?} after {}", after, before);
        prop_assert_eq!(bus.nodes[before].finished, way == 0);
        bus.run(longest_down(interval) * 3);
        prop_assert_eq!(bus.only_active(), after, "and there it stays");
    }

    #[test]
    fn a_process_that_dies_and_comes_back_leaves_no_moment_with_nobody_carrying(
        seed in any::<u64>(),
        interval in intervals(),
        preempt in any::<bool>(),
        priorities in priorities(1..5),
        percent in 0u32..300,
    ) {
        let mut bus = Bus::new(seed, interval, preempt, &priorities);
        bus.start_all();
        bus.run(longest_down(interval) * 2);
        let active = bus.only_active();
        prop_assert!(active.is_some());
        let active = active.unwrap();
        bus.gapless = true;
        bus.kill(active);
        bus.run(longest_down(interval) * percent / 100);
        bus.revive(active);
        bus.run(longest_down(interval));
        prop_assert!(bus.only_active().is_some());
        let early = longest_down(interval) * percent / 100 < interval * 2;
        prop_assert!(!early || bus.only_active() == Some(active), "nobody else had a reason");
    }

    #[test]
    fn after_a_cut_heals_the_winner_is_the_last_to_announce_itself(
        seed in any::<u64>(),
        interval in intervals(),
        preempt in any::<bool>(),
        priorities in priorities(2..6),
        cuts in proptest::collection::vec((0usize..5, 0usize..5), 1..12),
    ) {
        let mut bus = Bus::new(seed, interval, preempt, &priorities);
        bus.start_all();
        bus.run(longest_down(interval) * 2);
        bus.cuts = cuts;
        bus.run(longest_down(interval) * 2);
        bus.heal();
        bus.run(longest_down(interval) + ANNOUNCE_GAP);
        let winner = bus.only_active();
        prop_assert!(winner.is_some());
        let winner = winner.unwrap();
        let last = bus.nodes.iter().map(|node| node.announced).max().flatten();
        prop_assert_eq!(bus.nodes[winner].announced, last, "clients would send to another");
    }
}

#[test]
fn two_routers_that_each_take_themselves_for_the_higher_do_not_storm() {
    let mut bus = Bus::new(1, Duration::from_millis(100), true, &[100, 100]);
    // Each compares with an address that it does not send from.
    bus.nodes.iter_mut().for_each(|node| node.router.primary = IpAddr::from([192, 0, 2, 200]));
    bus.start_all();
    bus.run(Duration::from_secs(1));
    assert!(bus.is_active(0) && bus.is_active(1));
    let before = bus.sent;
    bus.run(Duration::from_secs(10));
    let each = (bus.sent - before) / 2;
    assert!(each <= 1_200, "{each} adverts in ten seconds: ten a second, and an answer every 10 ms");
}
