#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use lb_common::{
    config::IdleLimits,
    mac::Mac,
    pool::{Algorithm, PoolEntry},
    protocol::Transport,
    time::Tick,
};
use lb_ebpf::{headers::tcp_flags, host::Arrays as _};

use super::*;
use crate::dataplane::{
    Dataplane as _, ListenerId, ListenerRules, MemberId, MemberPath, MemberRecord, NextHop, Op, PoolId, PoolRecord,
    Statistics as _, VipId,
    exchange::{FlowExchange as _, MemoryExchange, Shared},
    kernel::KernelOptions,
    memory::{HZ, MemoryDataplane},
    tables::frames::{Frame, connect, next_hop, station_of},
};

const MEMBERS: u8 = 6;
const FLOWS: u16 = 200;
const LIMITS: IdleLimits = IdleLimits { unconfirmed: 10, tcp: 600, tcp_closing: 20, udp: 60 };
const RECORDS: u64 = PoolEntry::RECORDS;

/// One of two balancers with the same pool file and the same seed, whose numbers
/// are its own.
struct Node {
    dataplane: MemoryDataplane,
    exchange: MemoryExchange,
    shift: u16,
    is_ipv6: bool,
}

fn vip(is_ipv6: bool) -> SocketAddr {
    let address: IpAddr = if is_ipv6 { "2001:db8::1".parse().unwrap() } else { [192, 0, 2, 1].into() };
    (address, 80).into()
}

fn client(number: u16, is_ipv6: bool) -> SocketAddr {
    let [high, low] = number.to_be_bytes();
    let address: IpAddr =
        if is_ipv6 { format!("2001:db8:9::{number:x}").parse().unwrap() } else { [198, 51, high, low].into() };
    (address, 1024 + number).into()
}

fn member_address(number: u8, is_ipv6: bool) -> IpAddr {
    if is_ipv6 { format!("2001:db8:1::{number:x}").parse().unwrap() } else { [192, 0, 2, 100 + number].into() }
}

impl Node {
    /// A balancer whose ids begin behind `shift`, and whose members are all up.
    fn new(shift: u16, is_ipv6: bool) -> Self {
        let options = KernelOptions {
            pin_path: "unused".into(),
            max_flows: 1024,
            hash_seed: 0x5eed,
            snat_ports: (16384, 65535),
            idle_seconds: LIMITS,
        };
        let dataplane = MemoryDataplane::new(&options, 8192);
        connect(&dataplane);
        dataplane.set_noting(true);
        let exchange = dataplane.exchange();
        let mut node = Self { dataplane, exchange, shift, is_ipv6 };
        for number in 1..=MEMBERS {
            node.put_member(number);
        }
        let vip = vip(is_ipv6).ip();
        node.apply(&Op::PutVip {
            id: VipId(1 + shift),
            address: vip,
            label: "web".into(),
            active: true,
            instance: None,
        });
        node
    }

    fn apply(&mut self, op: &Op) {
        self.dataplane.apply(op).unwrap();
    }

    fn pool(&self) -> PoolId {
        PoolId(1 + self.shift)
    }

    fn id(&self, number: u8) -> MemberId {
        // In another order, too.
        MemberId(if self.shift == 0 { u16::from(number) } else { self.shift + 100 - u16::from(number) })
    }

    fn put_member(&mut self, number: u8) {
        let record = MemberRecord {
            label: format!("web/app/m{number}"),
            address: member_address(number, self.is_ipv6),
            port: 80,
            pool: self.pool(),
            flags: MemberState::UP,
            weight: 1,
            next_hop: Some(NextHop { destination: Mac([2, 0, 0, 0, 1, number]), ..next_hop() }),
            path: MemberPath::default(),
            connection_limit: 0,
        };
        let id = self.id(number);
        self.apply(&Op::PutMember { id, record });
    }

    /// Gives the pool, reached by `dsr`, members and what chooses among them.
    fn put_pool(&mut self, algorithm: Algorithm, flags: u64, members: &[u8]) {
        let persistence = Persistence { timeout: 300, prefix4: 32, prefix6: 128 };
        let record = PoolRecord { mode: ForwardMode::Dsr, flags, persistence, ..PoolRecord::named("web/app") };
        let table = members.iter().map(|number| self.id(*number)).cycle().take(members.len() * 40).collect();
        let hold = Duration::from_secs(100);
        let id = self.pool();
        self.apply(&Op::PutPool { id, record: record.picked_by(algorithm), table, hold });
    }

    fn listen(&mut self, transport: Transport) {
        let (shift, pool) = (self.shift, self.pool());
        self.apply(&Op::PutListener {
            id: ListenerId(3 + shift),
            vip: VipId(1 + shift),
            transport,
            port: 80,
            label: "web/tcp".into(),
            pool,
            in_snat_range: false,
            rules: ListenerRules::default(),
        });
    }

    /// The member that gets a frame.
    fn send(&self, frame: &Frame) -> u8 {
        station_of(&self.dataplane, frame).unwrap().0[5]
    }

    fn ack(&self, number: u16) -> u8 {
        self.send(&Frame::ack(client(number, self.is_ipv6), vip(self.is_ipv6)))
    }

    /// Clients open connections and go on; the member of each.
    fn open(&self, clients: std::ops::Range<u16>) -> Vec<u8> {
        clients
            .map(|number| {
                let member = self.send(&Frame::syn(client(number, self.is_ipv6), vip(self.is_ipv6)));
                assert_eq!(self.ack(number), member);
                member
            })
            .collect()
    }

    fn notes(&mut self) -> Vec<SharedPlacement> {
        let mut told = Vec::new();
        self.exchange.drain(usize::MAX, &mut |shared| told.extend(shared.placement()));
        told
    }

    fn scan(&self) -> Vec<SharedPlacement> {
        let (mut told, mut cursor) = (Vec::new(), Default::default());
        while self.exchange.scan(&mut cursor, 1000, &mut |shared: Shared| told.extend(shared.placement())) {}
        told
    }

    fn adopt(&self, told: &[SharedPlacement]) -> Vec<Adopted> {
        told.iter().map(|placement| self.exchange.adopt_placement(placement)).collect()
    }

    fn wait(&self, seconds: u64) {
        let jiffies = &self.dataplane.tables.jiffies;
        jiffies.set(jiffies.get() + seconds * u64::from(HZ));
    }

    /// Flows that the listener and all members together are said to have.
    fn live(&self) -> (u64, u64) {
        let arrays = &self.dataplane.tables.arrays;
        let members = arrays.member_loads().iter().map(|load| load.live()).sum();
        (arrays.listener_loads()[usize::from(3 + self.shift)].live(), members)
    }
}

/// Two balancers with a pool that records all its flows.
fn pair(is_ipv6: bool, transport: Transport, algorithm: Algorithm, flags: u64) -> [Node; 2] {
    [0, 200].map(|shift| {
        let mut node = Node::new(shift, is_ipv6);
        let mut members: Vec<u8> = (1..=MEMBERS).collect();
        if shift != 0 {
            // Whose turn it is differs, so nobody is right by chance alone.
            members.rotate_left(1);
        }
        node.put_pool(algorithm, flags, &members);
        node.listen(transport);
        node
    })
}

fn differing(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).filter(|(a, b)| a != b).count()
}

#[test]
fn a_recorded_flow_goes_to_the_same_member_at_the_other_balancer_that_was_told() {
    for is_ipv6 in [false, true] {
        let [mut a, b] = pair(is_ipv6, Transport::Tcp, Algorithm::RoundRobin, RECORDS);
        let [_, stranger] = pair(is_ipv6, Transport::Tcp, Algorithm::RoundRobin, RECORDS);
        let members = a.open(0..FLOWS);
        let told = a.notes();
        assert_eq!(told.len(), usize::from(FLOWS));
        assert!(b.adopt(&told).iter().all(|adopted| *adopted == Adopted::New));
        assert_eq!(b.live(), (u64::from(FLOWS), u64::from(FLOWS)));
        let of = |node: &Node| (0..FLOWS).map(|number| node.ack(number)).collect::<Vec<_>>();
        assert_eq!(of(&b), members);
        assert_eq!(b.dataplane.tables.counts.borrow().members.values().map(|m| m.flows_new).sum::<u64>(), 0);
        // Who was told nothing gives them to others.
        assert!(differing(&of(&stranger), &members) > 100);
    }
}

#[test]
fn datagrams_of_a_flow_that_went_on_stay_with_their_member_too() {
    let [mut a, b] = pair(false, Transport::Udp, Algorithm::LeastConnections, RECORDS);
    let frame = |number| Frame::udp(client(number, false), vip(false));
    let members: Vec<u8> = (0..FLOWS).map(|number| a.send(&frame(number))).collect();
    assert_eq!(a.notes(), [], "a single datagram is nobody's news");
    (0..FLOWS).for_each(|number| assert_eq!(a.send(&frame(number)), members[usize::from(number)]));
    b.adopt(&a.notes());
    let there: Vec<u8> = (0..FLOWS).map(|number| b.send(&frame(number))).collect();
    assert_eq!(there, members);
}

#[test]
fn nothing_is_noted_where_nobody_asked_for_it() {
    let [mut a, _] = pair(false, Transport::Tcp, Algorithm::RoundRobin, RECORDS | PoolEntry::PERSISTENT);
    a.dataplane.set_noting(false);
    a.open(0..9);
    assert_eq!(a.notes(), []);
    assert_eq!(a.scan().len(), 18, "nine flows and nine clients");
}

#[test]
fn a_balancer_that_came_after_the_change_of_a_pool_keeps_the_flows_it_is_told_of_where_they_are() {
    let mut a = Node::new(0, false);
    a.put_pool(Algorithm::SourceIpPort, 0, &[1, 2, 3]);
    a.listen(Transport::Tcp);
    let members = a.open(0..FLOWS);
    assert_eq!(a.notes(), [], "what the table tells needs no record");
    a.put_pool(Algorithm::SourceIpPort, 0, &[4, 5, 6]);
    // Packets of the hold record their flows, and the next ones tell of them.
    for _ in 0..2 {
        (0..FLOWS).for_each(|number| assert_eq!(a.ack(number), members[usize::from(number)]));
    }
    let told = a.notes();
    assert_eq!(told.len(), usize::from(FLOWS));

    let mut b = Node::new(200, false);
    b.put_pool(Algorithm::SourceIpPort, 0, &[4, 5, 6]);
    b.listen(Transport::Tcp);
    b.adopt(&told);
    b.dataplane.tend();
    let there: Vec<u8> = (0..FLOWS).map(|number| b.ack(number)).collect();
    assert_eq!(there, members);
    // New flows go by the table there is, which tells them, so none is recorded.
    let before = b.scan().len();
    assert!(b.open(1000..1100).iter().all(|member| *member > 3));
    assert_eq!(b.scan().len(), before);
    b.wait(u64::from(LIMITS.tcp) + 10);
    b.dataplane.tend();
    b.dataplane.tend();
    assert_eq!((b.dataplane.changing(), b.scan()), (vec![], vec![]), "a change ends with the last of its flows");
    assert!((0..FLOWS).all(|number| b.ack(number) > 3));
}

#[test]
fn a_client_that_stays_with_its_member_finds_it_at_the_other_balancer() {
    let flags = RECORDS | PoolEntry::PERSISTENT;
    let [mut a, mut b] = pair(false, Transport::Tcp, Algorithm::RoundRobin, flags);
    let members = a.open(0..FLOWS);
    let told = a.notes();
    assert_eq!(told.iter().filter(|p| p.stage == PlacementStage::Session).count(), usize::from(FLOWS));
    assert!(b.adopt(&told).iter().all(|adopted| *adopted == Adopted::New));
    let again = |node: &Node, number| {
        let from = SocketAddr::new(client(number, false).ip(), 50_000 + number);
        node.send(&Frame::syn(from, vip(false)))
    };
    let there: Vec<u8> = (0..FLOWS).map(|number| again(&b, number)).collect();
    assert_eq!(there, members);
    // A client that comes back after a while is news, and soon after is none.
    assert_eq!(b.notes(), []);
    b.wait(30);
    again(&b, 7);
    again(&b, 7);
    let news = b.notes();
    assert_eq!((news.len(), news[0].stage), (1, PlacementStage::Session));
    // It travels without a change of the pool, and begins none.
    b.dataplane.tend();
    assert_eq!(b.dataplane.changing(), []);
}

#[test]
fn a_look_through_the_table_tells_what_goes_on_and_nothing_else() {
    let [mut a, b] = pair(false, Transport::Tcp, Algorithm::RoundRobin, RECORDS);
    a.open(0..20);
    // Only opened, and never heard of again.
    for number in 20..40 {
        a.send(&Frame::syn(client(number, false), vip(false)));
    }
    let fin =
        |number| Frame { flags: tcp_flags::FIN | tcp_flags::ACK, ..Frame::ack(client(number, false), vip(false)) };
    for number in 0..5 {
        a.send(&fin(number));
    }
    let told = a.scan();
    let of = |told: &[SharedPlacement], stage| told.iter().filter(|placement| placement.stage == stage).count();
    assert_eq!((of(&told, PlacementStage::Established), of(&told, PlacementStage::Closing), told.len()), (15, 5, 20));
    let noted = a.notes();
    assert_eq!((of(&noted, PlacementStage::Closing), noted.len()), (5, 20), "a note tells how its flow is by now");
    b.adopt(&told);
    assert_eq!((b.live(), b.scan().len()), ((15, 15), 20));
    // The end of what is known arrives; of what is idle nothing is told.
    for number in 5..9 {
        a.send(&fin(number));
    }
    assert_eq!(b.adopt(&a.notes()), [Adopted::Ended; 4]);
    assert_eq!(b.live(), (11, 11));
    assert!(b.adopt(&a.scan()).iter().all(|adopted| *adopted == Adopted::Refreshed));
    a.wait(u64::from(LIMITS.tcp) + 10);
    assert_eq!(a.scan(), []);
}

#[test]
fn a_record_of_somebody_who_is_not_there_and_nonsense_are_refused() {
    let [mut a, mut b] = pair(false, Transport::Tcp, Algorithm::RoundRobin, RECORDS);
    a.open(0..1);
    let told = a.notes()[0];
    let refused = |b: &Node, placement| match b.exchange.adopt_placement(&placement) {
        Adopted::Refused(why) => why,
        adopted => panic!("{placement:?}: {adopted:?}"),
    };
    let v6: IpAddr = "2001:db8::7".parse().unwrap();
    for (placement, why) in [
        (SharedPlacement { vip: [192, 0, 2, 77].into(), ..told }, AdoptRefusal::UnknownListener),
        (SharedPlacement { listener_port: 81, ..told }, AdoptRefusal::UnknownListener),
        (SharedPlacement { transport: Transport::Udp, ..told }, AdoptRefusal::UnknownListener),
        (SharedPlacement { member: [192, 0, 2, 99].into(), ..told }, AdoptRefusal::UnknownMember),
        (SharedPlacement { member_port: 81, ..told }, AdoptRefusal::UnknownMember),
        (SharedPlacement { member: v6, mode: ForwardMode::Ipip, ..told }, AdoptRefusal::UnknownMember),
        (SharedPlacement { member: v6, ..told }, AdoptRefusal::Malformed),
        (SharedPlacement { mode: ForwardMode::Nat, ..told }, AdoptRefusal::Malformed),
        (SharedPlacement { stage: PlacementStage::New, ..told }, AdoptRefusal::Malformed),
        (SharedPlacement { stage: PlacementStage::Session, ..told }, AdoptRefusal::Malformed),
        (SharedPlacement { fingerprint: 0, ..told }, AdoptRefusal::Malformed),
        (SharedPlacement { listener_port: 0, ..told }, AdoptRefusal::Malformed),
    ] {
        assert_eq!(refused(&b, placement), why, "{placement:?}");
    }
    let (gone, id) = (told_member(&told), b.id(told_member(&told)));
    let others: Vec<u8> = (1..=MEMBERS).filter(|number| *number != gone).collect();
    b.put_pool(Algorithm::RoundRobin, RECORDS, &others);
    b.apply(&Op::RetireMember { id });
    assert_eq!(refused(&b, told), AdoptRefusal::UnknownMember, "its id goes when the last flow does");
    assert_eq!((b.scan(), b.live()), (vec![], (0, 0)));
}

fn told_member(told: &SharedPlacement) -> u8 {
    (1..=MEMBERS).find(|number| member_address(*number, false) == told.member).unwrap()
}

/// Records that lie in one bucket.
fn of_one_bucket(told: SharedPlacement) -> impl Iterator<Item = SharedPlacement> {
    (1..).map(move |number| SharedPlacement { fingerprint: 4 << 32 | number, ..told })
}

#[test]
fn what_is_in_use_here_is_displaced_by_nothing_from_there() {
    let [mut a, b] = pair(false, Transport::Tcp, Algorithm::RoundRobin, RECORDS);
    a.open(0..1);
    let told = a.notes()[0];
    let first: Vec<_> = of_one_bucket(told).take(8).collect();
    assert_eq!(b.adopt(&first), [Adopted::New; 8]);
    let more: Vec<_> = of_one_bucket(told).skip(8).take(100).collect();
    assert!(b.adopt(&more).iter().all(|adopted| *adopted == Adopted::Refused(AdoptRefusal::TableFull)));
    let fingerprints = |node: &Node| node.scan().iter().map(|p| p.fingerprint).collect::<BTreeSet<_>>();
    assert_eq!(fingerprints(&b), first.iter().map(|p| p.fingerprint).collect());
    // What ends makes room for what goes on, and for nothing that ends as well.
    assert_eq!(b.adopt(&[SharedPlacement { stage: PlacementStage::Closing, ..first[3] }]), [Adopted::Ended]);
    let closing = SharedPlacement { stage: PlacementStage::Closing, ..more[0] };
    assert_eq!(b.adopt(&[closing]), [Adopted::Refused(AdoptRefusal::TableFull)]);
    assert_eq!(b.adopt(&[more[0]]), [Adopted::New]);
    assert!(!fingerprints(&b).contains(&first[3].fingerprint));
    assert_eq!(b.live(), (8, 8));
}

#[test]
fn of_two_that_record_a_flow_otherwise_the_younger_one_is_right() {
    let [mut a, b] = pair(false, Transport::Tcp, Algorithm::RoundRobin, RECORDS);
    a.open(0..1);
    let told = a.notes()[0];
    let other = SharedPlacement { member: member_address(told_member(&told) % MEMBERS + 1, false), ..told };
    b.adopt(&[told]);
    let member = |b: &Node| told_member(&b.scan()[0]);
    assert_eq!(b.adopt(&[other]), [Adopted::Refused(AdoptRefusal::PlaceTaken)]);
    assert_eq!(member(&b), told_member(&told));
    b.wait(30);
    let stale = SharedPlacement { idle_millis: 60_000, ..other };
    assert_eq!(b.adopt(&[stale]), [Adopted::Refused(AdoptRefusal::PlaceTaken)]);
    assert_eq!((b.adopt(&[other]), member(&b)), (vec![Adopted::New], told_member(&other)));
    assert_eq!((b.live(), b.scan().len()), ((1, 1), 1));
    // A flow that ended here and begins anew over there has another member at once.
    b.adopt(&[SharedPlacement { stage: PlacementStage::Closing, ..other }]);
    assert_eq!((b.live(), b.adopt(&[told]), member(&b)), ((0, 0), vec![Adopted::New], told_member(&told)));
    assert_eq!(b.live(), (1, 1));
    // One that ended here is not opened again by a record of a moment before.
    b.adopt(&[SharedPlacement { stage: PlacementStage::Closing, ..told }]);
    b.adopt(&[told]);
    assert_eq!((b.scan()[0].stage, b.live()), (PlacementStage::Closing, (0, 0)));
}

#[test]
fn a_way_whose_claimer_never_came_back_is_freed() {
    let [mut a, _] = pair(false, Transport::Tcp, Algorithm::RoundRobin, RECORDS);
    let arrays = std::sync::Arc::clone(&a.dataplane.tables.arrays);
    let way = &arrays.placements()[9].ways[2];
    let now = Tick::from_jiffies(a.dataplane.tables.jiffies.get(), arrays.config().tick_shift());
    let claim = PlacementWord::new(PlacementStage::Claimed, 1, 3, ForwardMode::Dsr, Transport::Tcp, now);
    way.word.store(claim.0, Relaxed);
    a.wait(5);
    a.dataplane.tend();
    assert_eq!(way.word(), claim, "somebody may be at it");
    a.wait(u64::from(LIMITS.unconfirmed) + 5);
    a.dataplane.tend();
    assert_eq!(way.word(), PlacementWord::FREE);
    way.word.store(PlacementWord::CLAIMED.0, Relaxed);
    a.wait(1000);
    a.dataplane.tend();
    assert_eq!(way.word(), PlacementWord::CLAIMED, "the data path's own claims are its own");
}
