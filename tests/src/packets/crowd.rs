//! A hundred thousand connections through a pool that changes all the time, and the
//! question of each packet: did it reach the member that its connection has?
//!
//! The promise that is held here, and where it ends. In a direct mode no flow is
//! remembered but those that a change of the pool's table moves; of these each is told
//! at its first packet after the change, which must come before `transition_hold` is
//! over. So every connection here sends at least once a hold. One that is silent for
//! longer may be a new one to the data path and go by the new table. And a flow that
//! cannot be recorded, because the table of placements is full where it would lie, is
//! counted (`PlacementLost`) and has its old member for the hold only.
//!
//! A connection of a member that is taken out of the pool file has no member that lives,
//! whether that comes again or not; one of a member that a monitor finds down stays, for
//! `on_member_down` is `keep`.

use std::{fmt, net::IpAddr};

use anyhow::{Result, ensure};
use lb_common::{counters::Event, hash::mix};
use lb_ebpf::host::Arrays;
use lb_user::{
    controller::reconcile::reconcile,
    dataplane::{Dataplane, DataplaneError, Observed, Op, Part, Statistics},
};

use super::{
    maglev::Maglev,
    scene::Version,
    schedule::{Dice, Fleet, HOLD, Home, PORT, Step, kinds, number_of},
    spec::{Spec, flags},
};

/// A data path, its clock, and what goes through it.
pub trait Road {
    /// Its tables, to be read.
    fn reader(&self) -> &(impl Dataplane + Statistics);
    /// Its tables, to be written.
    fn writer(&mut self) -> &mut impl Dataplane;
    /// Its maps.
    fn arrays(&self) -> &dyn Arrays;
    /// Runs the program over a client's frame. The frame that goes out, if one does.
    fn drive(&mut self, frame: &[u8]) -> Option<Vec<u8>>;
    /// Lets the pool's hold come nearer to its end by so many seconds.
    fn pass(&mut self, seconds: u64);
    /// Lets flows that have ended grow too old to be kept.
    fn outlive_the_ended(&mut self);
    /// Does what userspace does every few seconds.
    fn tend(&mut self);
}

/// What a schedule is like.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// What it is made from.
    pub seed: u64,
    /// Connections at a time.
    pub flows: usize,
    /// Steps in all.
    pub steps: usize,
    /// Steps after which all connections end and others begin, so that the change that
    /// never ended while they lived ends.
    pub act: usize,
    /// The pool's mode and algorithm in each act, one after the other, again and again.
    pub ways: &'static [(&'static str, &'static str)],
}

/// What was seen.
#[derive(Clone, Copy, Default, Debug)]
pub struct Tally {
    /// Connections that were opened.
    pub opened: usize,
    /// Steps.
    pub steps: usize,
    /// Packets, those of all connections.
    pub packets: usize,
    /// Packets of connections whose member lives, by our table and by Maglev's.
    pub judged: [usize; 2],
    /// Those of them that did not reach it.
    pub misdelivered: [usize; 2],
    /// Packets of connections whose member is seen down and had not been told to be
    /// reset, and those of them that went elsewhere.
    pub of_down: [usize; 2],
    /// The most flows that were recorded at a time.
    pub recorded: usize,
    /// Records for which there was no room.
    pub lost: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { opened, steps, packets, judged: [judged, _], misdelivered: [ours, maglev], .. } = self;
        write!(
            f,
            "{opened} connections, {steps} steps, {packets} packets, {judged} of them of connections whose member \
             lives: {ours} misdelivered by krater, {maglev} by plain Maglev; {} flows recorded at most, {} not for \
             want of room; {} packets of members seen down, {} of them elsewhere",
            self.recorded, self.lost, self.of_down[0], self.of_down[1]
        )
    }
}

#[derive(Clone, Debug)]
struct Flow {
    client: (IpAddr, u16),
    hash: u64,
    /// A segment in the middle of the connection.
    frame: Vec<u8>,
    /// Whom it has by our table, and by Maglev's.
    homes: [Home; 2],
}

/// The connections, what is known of their members, and what was seen.
#[derive(Debug)]
struct Crowd {
    fleet: Fleet,
    maglev: Maglev,
    flows: Vec<Flow>,
    dice: Dice,
    tally: Tally,
    /// The first that went wrong.
    wrong: Vec<String>,
    doing: String,
}

impl Crowd {
    fn packet(client: (IpAddr, u16), tcp_flags: u8) -> Vec<u8> {
        Spec::tcp(client, (Version::V4.vip(), PORT), tcp_flags).numbers(1000, 5000).bytes()
    }

    /// A connection that there was not yet.
    fn open(&mut self, road: &mut impl Road) -> Result<Flow> {
        // Each has an address and a port of its own: 60,000 ports of 1,000 addresses.
        let number = self.tally.opened;
        self.tally.opened += 1;
        let client = (Version::V4.numbered_client((number % 1000) as u16), 2000 + (number / 1000 % 60_000) as u16);
        let out = road.drive(&Self::packet(client, flags::SYN));
        self.tally.packets += 1;
        let got = out.as_deref().and_then(number_of);
        let takers = self.fleet.takers();
        let home = got.filter(|number| takers.iter().any(|(taker, _)| taker == number));
        let home = home.and_then(|number| self.fleet.home(number));
        ensure!(home.is_some(), "{}: a new connection of {client:?} went to {got:?}, not to {takers:?}", self.doing);
        let hash = mix(number as u64);
        let plain = self.maglev.pick(hash).and_then(|number| self.fleet.home(number));
        let homes = [home, plain].map(Option::unwrap_or_default);
        let flow = Flow { client, hash, frame: Self::packet(client, flags::ACK | flags::PSH), homes };
        self.go_on(road, &flow, &flow.frame);
        Ok(flow)
    }

    /// A packet of a connection.
    fn go_on(&mut self, road: &mut impl Road, flow: &Flow, frame: &[u8]) {
        let out = road.drive(frame);
        self.tally.packets += 1;
        let went = [out.as_deref().and_then(number_of), self.maglev.pick(flow.hash)];
        for (side, (home, went)) in flow.homes.into_iter().zip(went).enumerate() {
            if !self.fleet.lives(home) {
                continue;
            }
            self.tally.judged[side] += 1;
            if went != Some(home.number) {
                self.tally.misdelivered[side] += 1;
                if side == 0 && self.wrong.len() < 8 {
                    self.wrong.push(format!("{}: {:?} of {home:?} went to {went:?}", self.doing, flow.client));
                }
            }
        }
        if self.fleet.is_down(flow.homes[0]) {
            self.tally.of_down[0] += 1;
            self.tally.of_down[1] += usize::from(went[0] != Some(flow.homes[0].number));
        }
    }

    /// Those in a range send, and a quarter of a hold goes by.
    fn send(&mut self, road: &mut impl Road, from: usize, to: usize) {
        let flows = std::mem::take(&mut self.flows);
        const PIECES: usize = 4;
        let range = &flows[from..to];
        for piece in range.chunks(range.len().div_ceil(PIECES).max(1)) {
            piece.iter().for_each(|flow| self.go_on(road, flow, &flow.frame));
            road.pass(HOLD / 4 / PIECES as u64);
        }
        self.flows = flows;
    }

    /// One in a hundred says goodbye, and others come.
    fn come_and_go(&mut self, road: &mut impl Road) -> Result<()> {
        for _ in 0..self.flows.len() / 100 {
            let at = self.dice.below(self.flows.len());
            let flow = self.flows[at].clone();
            self.end(road, &flow);
            self.flows[at] = self.open(road)?;
        }
        Ok(())
    }

    fn end(&mut self, road: &mut impl Road, flow: &Flow) {
        self.go_on(road, flow, &Self::packet(flow.client, flags::FIN | flags::ACK));
        self.go_on(road, flow, &Self::packet(flow.client, flags::ACK));
    }

    fn verdict(&mut self, road: &impl Road) -> Result<()> {
        self.tally.lost = road.reader().events()?[Event::PlacementLost.index() as usize];
        let tally = self.tally;
        ensure!(tally.misdelivered[0] == 0, "{tally}\n{}", self.wrong.join("\n"));
        ensure!(tally.of_down[1] == 0, "packets left members that are down, where `keep` is wanted: {tally}");
        Ok(())
    }

    /// All connections end, and the change with them; others begin in peace, and leave
    /// no trace.
    fn begin_anew(&mut self, road: &mut impl Road) -> Result<()> {
        "between two acts".clone_into(&mut self.doing);
        for flow in std::mem::take(&mut self.flows) {
            self.end(road, &flow);
        }
        road.pass(HOLD + 2);
        road.outlive_the_ended();
        road.tend();
        self.verdict(road)?;
        let changing = road.reader().changing();
        ensure!(changing.is_empty() && recorded(road) == 0, "{} records keep {changing:?} changing", recorded(road));
        Ok(())
    }
}

/// A writer that lets a few send before and after each operation.
struct Watched<'a, R> {
    road: &'a mut R,
    crowd: &'a mut Crowd,
}

impl<R: Road> Dataplane for Watched<'_, R> {
    fn observe_part(&self, part: &Part) -> Result<Observed, DataplaneError> {
        self.road.reader().observe_part(part)
    }

    fn apply(&mut self, op: &Op) -> Result<(), DataplaneError> {
        const FEW: usize = 300;
        let applied = self.road.writer().apply(op);
        for _ in 0..FEW.min(self.crowd.flows.len()) {
            let at = self.crowd.dice.below(self.crowd.flows.len());
            let flow = self.crowd.flows[at].clone();
            self.crowd.go_on(self.road, &flow, &flow.frame);
        }
        applied
    }
}

fn recorded(road: &impl Road) -> usize {
    road.arrays().placements().iter().flat_map(|line| &line.ways).filter(|way| way.word().is_live()).count()
}

/// Plays a schedule, and says what was seen.
///
/// # Errors
/// When a packet of a connection whose member lives did not reach it, when a new
/// connection got a member that takes none, or a change did not end; with the first
/// packets that went wrong.
pub fn play(road: &mut impl Road, plan: &Plan) -> Result<Tally> {
    let fleet = Fleet::new(plan.seed);
    let mut crowd = Crowd {
        maglev: fleet.maglev(),
        fleet,
        flows: Vec::new(),
        dice: Dice::new(!plan.seed),
        tally: Tally::default(),
        wrong: Vec::new(),
        doing: "at the start".to_owned(),
    };
    let mut steps = Vec::new();
    for number in 0..plan.steps {
        let act = number / plan.act.max(1);
        let (mode, algorithm) = plan.ways[act % plan.ways.len()];
        if number % plan.act.max(1) == 0 {
            if number > 0 {
                crowd.begin_anew(road)?;
            }
            reconcile(road.writer(), &crowd.fleet.desired(mode, algorithm))?;
            road.pass(HOLD + 2);
            road.tend();
            for _ in 0..plan.flows {
                let flow = crowd.open(road)?;
                crowd.flows.push(flow);
            }
            ensure!(recorded(road) == 0, "{} flows are recorded, and nothing has changed", recorded(road));
        }
        let step = crowd.fleet.next_step();
        steps.push(step);
        crowd.doing = format!("step {number}, {step:?}");
        change(road, &mut crowd, step, mode, algorithm)?;
        crowd.tally.steps += 1;
        crowd.tally.recorded = crowd.tally.recorded.max(recorded(road));
    }
    crowd.verdict(road)?;
    ensure!(kinds(&steps).len() == 5, "only {:?} were tried", kinds(&steps));
    Ok(crowd.tally)
}

/// One step, in the middle of traffic.
fn change(road: &mut impl Road, crowd: &mut Crowd, step: Step, mode: &str, algorithm: &str) -> Result<()> {
    let (middle, all) = (crowd.flows.len() / 2, crowd.flows.len());
    crowd.send(road, 0, middle);
    crowd.fleet.follow(step);
    crowd.maglev = crowd.fleet.maglev();
    let desired = crowd.fleet.desired(mode, algorithm);
    reconcile(&mut Watched { road, crowd }, &desired)?;
    crowd.send(road, middle, all);
    crowd.come_and_go(road)?;
    road.tend();
    // The next change comes while this one is young, or when everybody has been heard
    // from, or long after.
    if crowd.dice.below(3) > 0 {
        crowd.send(road, 0, middle);
        crowd.send(road, middle, all);
        if crowd.dice.below(2) == 0 {
            road.pass(HOLD + 2);
            road.tend();
        }
    }
    Ok(())
}
