//! A pool of servers that an operator and a monitor never leave alone: a seeded
//! schedule of members that come, go, drain, weigh otherwise, fall over and get up.
//!
//! What must not be here: packets. Others rely on this: the same seed gives the same
//! schedule, and there is always somebody who takes new flows.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr},
};

use lb_common::{hash::mix, mac::Mac};
use lb_user::{
    compile::{Desired, HealthView, MemberKey, NextHops, Overrides, Verdict, compile},
    config,
    dataplane::NextHop,
};

use super::{
    maglev::Maglev,
    scene::{OWN, Version},
};

/// The listener's port, and so the members'.
pub const PORT: u16 = 80;
/// `transition_hold` of the pool, seconds.
pub const HOLD: u64 = 60;
/// The pool's label.
const POOL: &str = "web/app";
/// Members at the start, at least and at most, and how many must take new flows.
const START: u16 = 16;
const FEWEST: usize = 10;
const MOST: usize = 24;
const TAKERS: usize = 5;
/// Members that there can be, ever.
const NUMBERS: u16 = 60;

/// Numbers that look random and are the same each time.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// From a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// One of `0..below`.
    pub fn below(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        (mix(self.0) >> 16) as usize % below.max(1)
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> Option<T> {
        all.get(self.below(all.len())).copied()
    }
}

/// Something that is done to the pool.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Step {
    /// A member comes into the pool file.
    Add(u16),
    /// A member leaves the pool file.
    Remove(u16),
    /// A member is to get no new flows: by an operator's word, or weight 0.
    Drain(u16, bool),
    /// That is over.
    Undrain(u16),
    /// A member has another weight.
    Reweight(u16, u16),
    /// A monitor finds a member down.
    Down(u16),
    /// And up again.
    Up(u16),
}

/// A member, and which of those with its number: one that was taken out and comes
/// again is another to its clients.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Home {
    /// The number.
    pub number: u16,
    born: u32,
}

/// A member that there is.
#[derive(Clone, Copy, Debug)]
struct Server {
    born: u32,
    weight: u16,
    drained: bool,
    down: bool,
}

/// The pool.
#[derive(Clone, Debug)]
pub struct Fleet {
    servers: BTreeMap<u16, Server>,
    births: u32,
    dice: Dice,
}

impl Fleet {
    /// As it is at the start.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut fleet = Self { servers: BTreeMap::new(), births: 0, dice: Dice::new(seed) };
        (1..=START).for_each(|number| fleet.follow(Step::Add(number)));
        fleet
    }

    /// What is done next.
    ///
    /// # Panics
    /// When nothing can be done.
    pub fn next_step(&mut self) -> Step {
        for _ in 0..1000 {
            if let Some(step) = self.propose()
                && self.allows(step)
            {
                return step;
            }
        }
        panic!("nothing can be done to {self:?}")
    }

    fn propose(&mut self) -> Option<Step> {
        let those = |is: &dyn Fn(&Server) -> bool| -> Vec<u16> {
            self.servers.iter().filter(|(_, server)| is(server)).map(|(number, _)| *number).collect()
        };
        let (all, drained, down) = (those(&|_| true), those(&|s| s.drained || s.weight == 0), those(&|s| s.down));
        let dice = &mut self.dice;
        Some(match dice.below(8) {
            0 => Step::Add(1 + dice.below(usize::from(NUMBERS)) as u16),
            1 => Step::Remove(dice.of(&all)?),
            2 => Step::Drain(dice.of(&all)?, dice.below(2) == 0),
            3 => Step::Undrain(dice.of(&drained)?),
            4 => Step::Reweight(dice.of(&all)?, 1 + dice.below(8) as u16),
            5 => Step::Down(dice.of(&all)?),
            // Who falls over gets up soon.
            _ => Step::Up(dice.of(&down)?),
        })
    }

    fn allows(&self, step: Step) -> bool {
        let is = |number: u16, is: &dyn Fn(&Server) -> bool| self.servers.get(&number).is_some_and(is);
        let sensible = match step {
            Step::Add(number) => !self.servers.contains_key(&number) && self.servers.len() < MOST,
            Step::Remove(_) => self.servers.len() > FEWEST,
            Step::Drain(number, _) => is(number, &|s| !s.drained && s.weight > 0),
            Step::Undrain(number) => is(number, &|s| s.drained || s.weight == 0),
            Step::Reweight(number, weight) => is(number, &|s| s.weight != weight && s.weight > 0),
            Step::Down(number) => is(number, &|s| !s.down),
            Step::Up(number) => is(number, &|s| s.down),
        };
        let mut after = self.clone();
        after.follow(step);
        sensible && after.takers().len() >= TAKERS
    }

    /// Does it.
    pub fn follow(&mut self, step: Step) {
        let mut with = |number: u16, change: &dyn Fn(&mut Server)| {
            if let Some(server) = self.servers.get_mut(&number) {
                change(server);
            }
        };
        match step {
            Step::Add(number) => {
                self.births += 1;
                let server = Server { born: self.births, weight: 1, drained: false, down: false };
                self.servers.insert(number, server);
            }
            Step::Remove(number) => drop(self.servers.remove(&number)),
            Step::Drain(number, true) => with(number, &|server| server.drained = true),
            Step::Drain(number, false) => with(number, &|server| server.weight = 0),
            Step::Undrain(number) => with(number, &|server| (server.drained, server.weight) = (false, 1)),
            Step::Reweight(number, weight) => with(number, &|server| server.weight = weight),
            Step::Down(number) => with(number, &|server| server.down = true),
            Step::Up(number) => with(number, &|server| server.down = false),
        }
    }

    /// Members that new flows go to, with their weights.
    #[must_use]
    pub fn takers(&self) -> Vec<(u16, u16)> {
        let takes = self.servers.iter().filter(|(_, server)| !server.down && !server.drained && server.weight > 0);
        takes.map(|(number, server)| (*number, server.weight)).collect()
    }

    /// Plain Maglev's table of them.
    #[must_use]
    pub fn maglev(&self) -> Maglev {
        Maglev::of(&self.takers())
    }

    /// Who has this number now.
    #[must_use]
    pub fn home(&self, number: u16) -> Option<Home> {
        self.servers.get(&number).map(|server| Home { number, born: server.born })
    }

    /// Whether a member is there and lives: up, perhaps draining.
    #[must_use]
    pub fn lives(&self, home: Home) -> bool {
        self.servers.get(&home.number).is_some_and(|server| server.born == home.born && !server.down)
    }

    /// Whether a member is in the pool file, and a monitor finds it down.
    #[must_use]
    pub fn is_down(&self, home: Home) -> bool {
        self.servers.get(&home.number).is_some_and(|server| server.born == home.born && server.down)
    }

    /// What the maps should say: a pool file as an operator writes it, with his
    /// overrides and the monitor's verdicts.
    ///
    /// # Panics
    /// When the pool file is refused.
    #[must_use]
    pub fn desired(&self, mode: &str, algorithm: &str) -> Desired {
        let config = config::parse(&self.pool_file(mode, algorithm), "schedule.toml").unwrap();
        let (mut overrides, mut health) = (Overrides::default(), HealthView::new());
        for (number, server) in &self.servers {
            let key = MemberKey { pool: POOL.to_owned(), address: address(*number), port: PORT };
            overrides.set_drain(key.clone(), server.drained);
            health.insert(key, if server.down { Verdict::Down } else { Verdict::Up });
        }
        let way = |number| (address(number), NextHop { destination: station(number), source: OWN, port: 0 });
        let hops: NextHops = (1..=NUMBERS).map(way).collect();
        compile(&config.model, &overrides, &health, &hops, &[])
    }

    fn pool_file(&self, mode: &str, algorithm: &str) -> String {
        let vip = Version::V4.vip();
        let mut text = format!(
            "[dataplane]\ninterfaces = [\"eth0\"]\n\
             [[loadbalancer]]\nname = \"web\"\nvip_address = \"{vip}\"\n\
             [[loadbalancer.listener]]\nprotocol = \"TCP\"\nprotocol_port = {PORT}\ndefault_pool = \"app\"\n\
             [[loadbalancer.pool]]\nname = \"app\"\nprotocol = \"TCP\"\nlb_algorithm = \"{algorithm}\"\n\
             forward_mode = \"{mode}\"\ntransition_hold = {HOLD}\n\
             [loadbalancer.pool.healthmonitor]\ntype = \"TCP\"\ndelay = 1\ntimeout = 1\nmax_retries = 2\n"
        );
        for (number, Server { weight, .. }) in &self.servers {
            let at = address(*number);
            writeln!(
                text,
                "[[loadbalancer.pool.member]]\naddress = \"{at}\"\nprotocol_port = {PORT}\nweight = {weight}"
            )
            .unwrap();
        }
        text
    }
}

/// A member's address.
fn address(number: u16) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(10, 78, high, low))
}

/// A member's station.
fn station(number: u16) -> Mac {
    let [high, low] = number.to_be_bytes();
    Mac([0x02, 0, 0, 0x78, high, low])
}

/// The number of the member whose station a frame is for.
#[must_use]
pub fn number_of(frame: &[u8]) -> Option<u16> {
    let [0x02, 0, 0, 0x78, high, low] = *frame.first_chunk()? else { return None };
    Some(u16::from_be_bytes([high, low]))
}

/// The kinds of steps in a schedule: that each is there can be held to it.
#[must_use]
pub fn kinds(steps: &[Step]) -> BTreeSet<&'static str> {
    let kind = |step: &Step| match step {
        Step::Add(_) => "add",
        Step::Remove(_) => "remove",
        Step::Drain(..) | Step::Undrain(_) => "drain",
        Step::Reweight(..) => "reweight",
        Step::Down(_) | Step::Up(_) => "flap",
    };
    steps.iter().map(kind).collect()
}
