//! What tests of flow sync stand on: flows in ordinary memory, and two sessions
//! with a network between them that loses, doubles, delays and reorders, all in
//! a time that is made up.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Arc, Mutex},
    time::Duration,
};

use lb_common::{flow::Stage, mac::Mac, placement::PlacementStage, pool::ForwardMode, protocol::Transport};
use proptest::prelude::*;

use super::{
    session::{Identity, Paths, Session},
    view::SyncView,
    wire::Key,
};
use crate::dataplane::exchange::{
    AdoptRefusal, Adopted, ArrivalPath, Drained, FlowExchange, ScanCursor, Shared, SharedFlow, SharedPlacement,
};

pub(super) const SECRET: &[u8] = b"a secret of both balancers";
pub(super) const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));

/// The `n`th of many flows.
pub(super) fn flow(n: u32) -> SharedFlow {
    SharedFlow {
        transport: Transport::Tcp,
        vip: VIP,
        listener_port: 443,
        client: Ipv4Addr::from(0x0a00_0000 + n / 50_000).into(),
        client_port: (n % 50_000) as u16 + 10_000,
        member: Ipv4Addr::new(192, 0, 2, (n % 7) as u8 + 1).into(),
        member_port: 8080,
        snat_port: (n % 60_000) as u16 + 1024,
        forward: Stage::Established,
        back: Stage::Established,
        idle_millis: n % 1000,
        last_hop: Mac([2, 0, 0, 0, 0, 1]),
    }
}

pub(super) fn any_flow() -> impl Strategy<Value = SharedFlow> {
    let stage =
        || prop::sample::select(vec![Stage::New, Stage::Answered, Stage::Established, Stage::Closing, Stage::Reset]);
    let addresses = prop_oneof![
        any::<[u32; 3]>().prop_map(|a| a.map(|a| IpAddr::from(Ipv4Addr::from(a)))),
        any::<[u128; 3]>().prop_map(|a| a.map(|a| IpAddr::from(Ipv6Addr::from(a)))),
    ];
    (addresses, any::<[u16; 4]>(), any::<bool>(), (stage(), stage()), any::<u32>(), any::<[u8; 6]>()).prop_map(
        |([vip, client, member], ports, tcp, (forward, back), idle_millis, mac)| SharedFlow {
            transport: if tcp { Transport::Tcp } else { Transport::Udp },
            vip,
            client,
            member,
            listener_port: ports[0],
            client_port: ports[1],
            member_port: ports[2],
            snat_port: ports[3],
            forward,
            back,
            idle_millis,
            last_hop: Mac(mac),
        },
    )
}

/// The `n`th of many recorded flows.
pub(super) fn placement(n: u32) -> SharedPlacement {
    SharedPlacement {
        fingerprint: u64::from(n) << 32 | 1,
        stage: PlacementStage::Established,
        transport: Transport::Tcp,
        vip: VIP,
        listener_port: 443,
        member: Ipv4Addr::new(192, 0, 2, (n % 7) as u8 + 1).into(),
        member_port: 443,
        mode: ForwardMode::Ipip,
        counted: true,
        idle_millis: n % 1000,
    }
}

pub(super) fn any_placement() -> impl Strategy<Value = SharedPlacement> {
    let stages = vec![PlacementStage::Established, PlacementStage::Closing, PlacementStage::Session];
    let address = || {
        prop_oneof![
            any::<u32>().prop_map(|a| IpAddr::from(Ipv4Addr::from(a))),
            any::<u128>().prop_map(|a| IpAddr::from(Ipv6Addr::from(a))),
        ]
    };
    let transport = prop::sample::select(vec![Transport::Tcp, Transport::Udp, Transport::Sctp]);
    let mode = prop::sample::select(ForwardMode::ALL.to_vec());
    let what = (prop::sample::select(stages), transport, mode, any::<bool>());
    (what, (address(), address()), any::<[u16; 2]>(), any::<u64>(), any::<u32>()).prop_map(
        |((stage, transport, mode, counted), (vip, member), ports, fingerprint, idle_millis)| SharedPlacement {
            fingerprint,
            stage,
            transport,
            vip,
            listener_port: ports[0],
            member,
            member_port: ports[1],
            mode,
            counted,
            idle_millis,
        },
    )
}

type Place = (IpAddr, u16, IpAddr, u16);

fn place(flow: &SharedFlow) -> Place {
    (flow.vip, flow.listener_port, flow.client, flow.client_port)
}

/// A flow table in ordinary memory; clones are the same one.
#[derive(Clone, Default)]
pub(super) struct Table(Arc<Mutex<Inside>>);

#[derive(Default)]
struct Inside {
    flows: Vec<SharedFlow>,
    places: HashMap<Place, usize>,
    notes: VecDeque<Noted>,
    lost: u64,
    placements: BTreeMap<u64, SharedPlacement>,
}

/// What a note is about.
#[derive(Clone, Copy)]
enum Noted {
    Flow(usize),
    Placement(u64),
}

impl Table {
    /// Notes there is room for, as in a ring buffer of a mebibyte.
    pub(super) const NOTES: usize = 1 << 16;
    const PER_LINE: usize = 4;

    /// What the data path does when a flow changes.
    pub(super) fn put(&self, flow: SharedFlow) {
        let mut inside = self.0.lock().unwrap();
        let (index, _) = inside.put(flow);
        inside.note(Noted::Flow(index));
    }

    /// What the data path does when it records something.
    pub(super) fn place(&self, placement: SharedPlacement) {
        let mut inside = self.0.lock().unwrap();
        inside.placements.insert(placement.fingerprint, placement);
        inside.note(Noted::Placement(placement.fingerprint));
    }

    /// As when it was recorded before flow sync was there.
    pub(super) fn place_silently(&self, placement: SharedPlacement) {
        self.0.lock().unwrap().placements.insert(placement.fingerprint, placement);
    }

    /// All that is recorded.
    pub(super) fn placements(&self) -> Vec<SharedPlacement> {
        self.0.lock().unwrap().placements.values().copied().collect()
    }

    /// As when the flow was there before flow sync was.
    pub(super) fn put_silently(&self, flow: SharedFlow) {
        self.0.lock().unwrap().put(flow);
    }

    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap().flows.len()
    }

    pub(super) fn get(&self, flow: &SharedFlow) -> Option<SharedFlow> {
        let inside = self.0.lock().unwrap();
        inside.places.get(&place(flow)).map(|index| inside.flows[*index])
    }

    /// Flows of this table that the other one lacks or has otherwise.
    pub(super) fn missing_in(&self, other: &Self) -> usize {
        let flows = self.0.lock().unwrap().flows.clone();
        let same =
            |a: &SharedFlow, b: &SharedFlow| SharedFlow { idle_millis: 0, ..*a } == SharedFlow { idle_millis: 0, ..*b };
        flows.iter().filter(|flow| !other.get(flow).is_some_and(|there| same(flow, &there))).count()
    }
}

impl Inside {
    fn note(&mut self, what: Noted) {
        if self.notes.len() < Table::NOTES {
            self.notes.push_back(what);
        } else {
            self.lost += 1;
        }
    }

    fn put(&mut self, flow: SharedFlow) -> (usize, bool) {
        if let Some(index) = self.places.get(&place(&flow)) {
            let known = &mut self.flows[*index];
            // A flow that is closing does not open again.
            let (forward, back) = (known.forward.max(flow.forward), known.back.max(flow.back));
            *known = SharedFlow { forward, back, ..flow };
            return (*index, false);
        }
        let index = self.flows.len();
        self.flows.push(flow);
        self.places.insert(place(&flow), index);
        (index, true)
    }
}

impl FlowExchange for Table {
    fn drain(&mut self, limit: usize, each: &mut dyn FnMut(Shared)) -> Drained {
        let mut inside = self.0.lock().unwrap();
        let notes = limit.min(inside.notes.len());
        let about: Vec<Noted> = inside.notes.drain(..notes).collect();
        for noted in about {
            each(match noted {
                Noted::Flow(index) => Shared::Flow(inside.flows[index]),
                Noted::Placement(fingerprint) => Shared::Placement(inside.placements[&fingerprint]),
            });
        }
        Drained { notes, more: !inside.notes.is_empty(), lost: inside.lost }
    }

    fn scan(&self, cursor: &mut ScanCursor, lines: u32, each: &mut dyn FnMut(Shared)) -> bool {
        let inside = self.0.lock().unwrap();
        let from = cursor.line as usize * Self::PER_LINE;
        let flows = inside.flows.iter().copied().map(Shared::Flow);
        let all = flows.chain(inside.placements.values().copied().map(Shared::Placement));
        let to = from + lines as usize * Self::PER_LINE;
        all.skip(from).take(to - from).for_each(each);
        cursor.line += lines;
        let more = to < inside.flows.len() + inside.placements.len();
        if !more {
            *cursor = ScanCursor::default();
        }
        more
    }

    fn adopt(&self, flow: &SharedFlow, _path: ArrivalPath) -> Adopted {
        if flow.listener_port != 443 {
            return Adopted::Refused(AdoptRefusal::UnknownListener);
        }
        match self.0.lock().unwrap().put(*flow) {
            (_, true) => Adopted::New,
            (_, false) if flow.forward.max(flow.back) > Stage::Established => Adopted::Ended,
            (_, false) => Adopted::Refreshed,
        }
    }

    fn adopt_placement(&self, placement: &SharedPlacement) -> Adopted {
        if placement.listener_port != 443 {
            return Adopted::Refused(AdoptRefusal::UnknownListener);
        }
        match self.0.lock().unwrap().placements.insert(placement.fingerprint, *placement) {
            None => Adopted::New,
            Some(_) => Adopted::Refreshed,
        }
    }
}

pub(super) fn paths() -> Paths {
    Paths::from([(VIP, ArrivalPath { port: 1, ifindex: 2, own: Mac([2, 0, 0, 0, 0, 9]) })])
}

/// Numbers that look random and are the same in every run.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn is_below(&mut self, percent: u64) -> bool {
        self.roll() % 100 < percent
    }
}

/// How bad a network is.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Weather {
    /// Percent of datagrams lost.
    pub(super) loss: u64,
    /// Percent of datagrams doubled.
    pub(super) double: u64,
    /// Each is delayed by up to so many milliseconds more than one.
    pub(super) jitter: u64,
    /// Longer ones than so many bytes are lost; 0: no such limit.
    pub(super) longest: usize,
}

/// One balancer.
pub(super) struct End {
    pub(super) session: Session,
    pub(super) table: Table,
    /// Whether it runs.
    pub(super) is_up: bool,
}

impl End {
    fn new(epoch: u64, table: Table) -> Self {
        let identity = Identity { epoch, hash_seed: 7 };
        let session = Session::new(Key::new(SECRET).unwrap(), identity, Duration::from_secs(60));
        Self { session, table, is_up: true }
    }
}

/// Two balancers and the network between them.
pub(super) struct Pair {
    pub(super) ends: [End; 2],
    pub(super) now: Duration,
    pub(super) weather: Weather,
    /// Whether datagrams from that end arrive nowhere.
    pub(super) is_cut: [bool; 2],
    /// All that was sent, with who it was for.
    pub(super) sent: Vec<(usize, Vec<u8>)>,
    under_way: BTreeMap<(Duration, usize), (usize, Vec<u8>)>,
    dice: Dice,
}

impl Pair {
    pub(super) fn new(weather: Weather) -> Self {
        Self {
            ends: [End::new(100, Table::default()), End::new(200, Table::default())],
            now: Duration::from_secs(5),
            weather,
            is_cut: [false; 2],
            sent: Vec::new(),
            under_way: BTreeMap::new(),
            dice: Dice(1),
        }
    }

    /// Two that have met, with nothing to tell.
    pub(super) fn met() -> Self {
        let mut pair = Self::new(Weather::default());
        pair.run(Duration::from_millis(500));
        assert!(pair.ends.iter().all(|end| end.session.is_peer_present()));
        pair
    }

    /// That end starts anew, with the flows it has in the kernel or without.
    pub(super) fn restart(&mut self, which: usize, epoch: u64, table: Table) {
        self.ends[which] = End::new(epoch, table);
    }

    /// A millisecond passes.
    pub(super) fn step(&mut self) {
        self.now += Duration::from_millis(1);
        while let Some(entry) = self.under_way.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let (to, bytes) = entry.remove();
            self.deliver(to, &bytes);
        }
        for from in 0..2 {
            let end = &mut self.ends[from];
            if !end.is_up {
                continue;
            }
            if self.now.as_millis().is_multiple_of(5) {
                end.session.gather(self.now, &mut end.table);
            }
            let mut sent = Vec::new();
            end.session.transmit(self.now, &mut |datagram| {
                sent.push(datagram.to_vec());
                true
            });
            for datagram in sent {
                self.send(from, datagram);
            }
        }
    }

    pub(super) fn deliver(&mut self, to: usize, bytes: &[u8]) {
        let end = &mut self.ends[to];
        if end.is_up {
            end.session.receive(self.now, bytes, &end.table, &paths());
        }
    }

    fn send(&mut self, from: usize, datagram: Vec<u8>) {
        let to = 1 - from;
        self.sent.push((to, datagram.clone()));
        let is_too_long = self.weather.longest != 0 && datagram.len() > self.weather.longest;
        if self.is_cut[from] || is_too_long || self.dice.is_below(self.weather.loss) {
            return;
        }
        let copies = if self.dice.is_below(self.weather.double) { 2 } else { 1 };
        for copy in 0..copies {
            let delay = 1 + self.dice.roll() % (self.weather.jitter + 1);
            let key = (self.now + Duration::from_millis(delay), 2 * self.sent.len() + copy);
            self.under_way.insert(key, (to, datagram.clone()));
        }
    }

    pub(super) fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.step();
        }
    }

    /// Runs until it is so; fails if it is not after that time.
    pub(super) fn run_until(&mut self, limit: Duration, what: &str, is_so: impl Fn(&Self) -> bool) {
        let began = self.now;
        while !is_so(self) {
            self.step();
            assert!(self.now - began < limit, "{what}: not after {limit:?}: {:#?}", self.view(0));
        }
    }

    pub(super) fn view(&self, which: usize) -> SyncView {
        let address = "192.0.2.1:1".parse().unwrap();
        self.ends[which].session.view(self.now, address, address)
    }
}
