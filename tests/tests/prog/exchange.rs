//! Flows that go from one balancer to the program of another, by the hundred
//! thousand.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use krater_tests::packets::{
    case::Talk,
    kernel::{Kernel, apart},
    model::Reading,
    scene::{Kind, OWN, Version},
    spec::flags::{ACK, FIN, SYN},
    world::{Fate, Host, INGRESS, World as _, options},
};
use lb_common::{
    flow::Stage, flow_note::RING_NOTES, limits::DEFAULT_MAX_FLOWS, member::MemberState, protocol::Transport,
};
use lb_user::dataplane::{
    ListenerId, ListenerRules, MemberId, MemberPath, MemberRecord, NextHop, Op, PoolId, PoolRecord, VipId,
    exchange::{Adopted, ArrivalPath, FlowExchange, SharedFlow},
    kernel::KernelOptions,
};

const MEMBERS: u16 = 100;
const PATH: ArrivalPath = ArrivalPath { port: 0, ifindex: INGRESS, own: OWN };

fn member(number: u16) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 77, 2, number.to_be_bytes()[1]))
}

/// One listener with a hundred members.
fn tables() -> Vec<Op> {
    let station = Version::V4.member(0).station;
    let put = |number| {
        let next_hop = NextHop { destination: station, source: OWN, port: 0 };
        let record = MemberRecord {
            label: format!("lb/pool/{number}"),
            address: member(number),
            port: 8080,
            pool: PoolId(1),
            flags: MemberState::UP,
            weight: 1,
            next_hop: Some(next_hop),
            path: MemberPath::default(),
            connection_limit: 0,
        };
        Op::PutMember { id: MemberId(number), record }
    };
    let mut ops: Vec<Op> = (1..=MEMBERS).map(put).collect();
    let table = (1..=MEMBERS).map(MemberId).cycle().take(10_007).collect();
    ops.push(Op::PutPool { id: PoolId(1), record: PoolRecord::named("lb/pool"), table, hold: Duration::ZERO });
    let (vip, address) = (VipId(1), Version::V4.vip());
    ops.push(Op::PutVip { id: vip, address, label: "lb".to_owned(), active: true, instance: None });
    ops.push(Op::PutListener {
        id: ListenerId(1),
        vip,
        transport: Transport::Tcp,
        port: Kind::OneArm as u16,
        label: "lb/listener".to_owned(),
        pool: PoolId(1),
        in_snat_range: false,
        rules: ListenerRules::default(),
    });
    ops
}

fn numbers(options: &mut KernelOptions) {
    options.max_flows = DEFAULT_MAX_FLOWS;
    options.snat_ports = (16384, 65535);
    options.idle_seconds.unconfirmed = 300;
    options.idle_seconds.tcp_closing = 300;
}

fn client(number: u32) -> Talk {
    let [low, high] = [number % 50_000, number / 50_000].map(|n| u16::try_from(n).unwrap_or(0));
    let client = (Version::V4.numbered_client(high), 1024 + low);
    Talk { client, ..Talk::about(Version::V4, Kind::OneArm, Transport::Tcp) }
}

/// Opens and confirms as many flows as fit, on the host, and says what its notes
/// say.
fn opened_elsewhere() -> Vec<SharedFlow> {
    let mut options = options("".into());
    numbers(&mut options);
    let mut host = Host::with_options(&options, true);
    tables().iter().for_each(|op| host.apply(op));
    host.dataplane.set_noting(true);
    let (mut exchange, mut flows) = (host.dataplane.exchange(), Vec::new());
    for number in 0..DEFAULT_MAX_FLOWS {
        let talk = client(number);
        let first = host.send(&talk.ask(SYN).numbers(1000, 0).bytes());
        let Some(got) = Reading::of(&first.frame).filter(|_| first.fate == Fate::Transmit) else { continue };
        let member = krater_tests::packets::scene::Member { address: got.destination.0, ..talk.member };
        let talk = Talk { member, snat_port: got.source.1, ..talk };
        host.send(&talk.answer(SYN | ACK).numbers(5000, 1001).bytes());
        host.send(&talk.ask(ACK).numbers(1001, 5001).bytes());
        exchange.drain(10, &mut |shared| flows.extend(shared.flow()));
    }
    flows
}

fn per_second(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

fn scan(exchange: &dyn FlowExchange) -> Vec<SharedFlow> {
    let (mut flows, mut cursor) = (Vec::with_capacity(1 << 17), Default::default());
    while exchange.scan(&mut cursor, 256, &mut |shared| {
        flows.extend(shared.flow().map(|flow| SharedFlow { idle_millis: 0, ..flow }));
    }) {}
    flows
}

#[test]
fn a_full_table_goes_over_to_the_program_of_another_balancer_and_its_connections_go_on() -> Result<()> {
    let flows = opened_elsewhere();
    ensure!(flows.len() > 130_000, "only {} flows were opened", flows.len());
    apart(|| {
        let mut kernel = Kernel::load_with(numbers)?;
        kernel.dataplane().enter_port(0, INGRESS, false, OWN)?;
        tables().iter().for_each(|op| kernel.apply(op));
        kernel.dataplane().set_noting(true);
        let mut exchange = kernel.dataplane().exchange()?;

        let start = Instant::now();
        let new = flows.iter().filter(|flow| exchange.adopt(flow, PATH) == Adopted::New).count();
        let took = start.elapsed();
        println!("{new} of {} flows taken in, {:.0} a second", flows.len(), per_second(new, took));
        ensure!(new == flows.len(), "the same numbers, the same places: {new} of {}", flows.len());
        ensure!(took < Duration::from_secs(60));

        let start = Instant::now();
        let again = flows.iter().filter(|flow| exchange.adopt(flow, PATH) == Adopted::Refreshed).count();
        println!("refreshed {again}, {:.0} a second", per_second(again, start.elapsed()));
        ensure!(again == flows.len());

        let start = Instant::now();
        let there = scan(&exchange);
        println!("a look at all {} in {:.1} ms", there.len(), start.elapsed().as_secs_f64() * 1e3);
        let known = |flows: &[SharedFlow]| -> BTreeSet<_> {
            flows.iter().map(|f| (f.client, f.client_port, f.member, f.snat_port, f.last_hop)).collect()
        };
        ensure!(known(&there) == known(&flows) && there.len() == flows.len());

        // Everybody goes on: nothing is opened, and the first packet of all says
        // goodbye, so that there is a note of each.
        for flow in &flows {
            let talk = Talk { client: (flow.client, flow.client_port), ..client(0) };
            let (_, frame) = kernel.dataplane().test_run(&talk.ask(FIN | ACK).numbers(1001, 5001).bytes())?;
            let got = Reading::of(&frame).context("the packet is not readable")?;
            let expected = ((flow.vip, flow.snat_port), (flow.member, flow.member_port));
            ensure!((got.source, got.destination) == expected, "{flow:?} went to {got:?}");
        }
        ensure!(kernel.listener(1).flows_new == 0, "{} flows were opened anew", kernel.listener(1).flows_new);

        // Nobody read a note, so those that found no room are lost, and counted.
        let (mut told, start) = (Vec::with_capacity(RING_NOTES), Instant::now());
        let drained = exchange.drain(usize::MAX, &mut |shared| told.extend(shared.flow()));
        println!("{} notes read, {:.0} a second", drained.notes, per_second(drained.notes, start.elapsed()));
        ensure!((drained.notes, drained.more) == (RING_NOTES, false), "{drained:?}");
        ensure!(drained.lost as usize == flows.len() - RING_NOTES, "{drained:?}");
        ensure!(
            told.len() == RING_NOTES
                && told.iter().all(|f| (f.forward, f.back) == (Stage::Closing, Stage::Established))
        );
        Ok(())
    })
}
