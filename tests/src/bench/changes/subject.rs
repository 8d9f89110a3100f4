//! A controller over the kernel's data path, called as lbd calls it.

use std::{
    cell::Cell,
    collections::BTreeSet,
    net::IpAddr,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, Result, bail, ensure};
use lb_common::{limits, mac::Mac};
use lb_user::{
    compile::{MemberKey, NextHops, Overrides, PathFacts},
    config,
    control::{
        protocol::{MemberChange, Response},
        view::DaemonView,
    },
    controller::Controller,
    dataplane::{
        Dataplane as _, MemberRecord, NextHop, Observed,
        kernel::{KernelDataplane, KernelOptions},
    },
    model::Pool,
    net::Hops,
    spread, store,
};

use super::{
    super::{scene::Pins, verdicts},
    Change, Took,
    file::{self, PoolFile},
    timed::Timed,
};

/// The weight that members get which are given another one.
const WEIGHT: u16 = 3;

/// A controller and what it stands on. Fields are dropped in order.
pub(super) struct Subject {
    controller: Controller<Timed<KernelDataplane>>,
    /// The tables that the controller keeps, kept once more: see [`Subject::tables`].
    tables: spread::KeptTables,
    file: PoolFile,
    /// The state directory, and the pool file.
    directory: tempfile::TempDir,
    _pins: Pins,
}

impl Subject {
    /// With the data path as the file says.
    pub(super) fn start(file: PoolFile) -> Result<Self> {
        let pins = Pins::new();
        let max_flows = limits::DEFAULT_MAX_FLOWS;
        let options = KernelOptions { pin_path: pins.0.clone(), max_flows, ..verdicts::options() };
        let (dataplane, _) = KernelDataplane::load(&options).context("load the data path")?;
        let config = config::parse(&file.text(), "the bench's pool file")?;
        let mut controller =
            Controller::new(Timed::new(dataplane), config.model, Overrides::default(), DaemonView::default())?;
        controller.set_hops(&hops(&file));
        ensure!(controller.converge(), "{:?}", controller.behind());
        let directory = tempfile::tempdir().context("make a directory for state")?;
        let tables = spread::KeptTables::default();
        let mut subject = Self { controller, tables, file, directory, _pins: pins };
        subject.tables();
        subject.check(file)?;
        Ok(subject)
    }

    /// What lbd does for `lbctl member set`.
    pub(super) fn set_member(&mut self, change: Change, number: u32, begins: bool) -> Result<Took> {
        let label = format!("scale/p0/{}", file::member(number));
        let wanted = match (change, begins) {
            (Change::Weight, true) => MemberChange { weight: Some(WEIGHT), ..MemberChange::default() },
            (Change::Drain, _) => MemberChange { drain: Some(begins), ..MemberChange::default() },
            (Change::Disable, _) => MemberChange { admin_state_up: Some(!begins), ..MemberChange::default() },
            _ => MemberChange { reset: true, ..MemberChange::default() },
        };
        let before = self.slots_of(number)?;
        let file = Cell::new(Duration::ZERO);
        let state = self.directory.path().to_owned();
        let keep = |overrides: &Overrides| {
            let began = Instant::now();
            let kept = store::save_overrides(&state, overrides).map_err(|error| error.to_string());
            file.set(began.elapsed());
            kept
        };
        self.controller.dataplane().take();
        let began = Instant::now();
        let response = self.controller.set_member(&label, &wanted, keep);
        let done = began.elapsed();
        let Response::MemberSet(view) = response else { bail!("{label} was not set: {response:?}") };
        ensure!(view.notes.is_empty(), "{label} was set, but {:?}", view.notes);
        let took = self.took(began, file.get(), done)?;
        let after = self.slots_of(number)?;
        let right = match (change, begins) {
            (Change::Weight, true) => after > before && before > 0,
            (Change::Weight, false) => after < before && after > 0,
            (_, true) => after == 0 && before > 0,
            (_, false) => after > 0 && before == 0,
        };
        ensure!(right, "{label} had {before} slots and has {after} after {wanted:?}");
        Ok(took)
    }

    /// What lbd does when it is told to read its pool file again.
    pub(super) fn reload(&mut self, file: PoolFile) -> Result<Took> {
        let path = self.directory.path().join("krater.toml");
        std::fs::write(&path, file.text()).context("write a pool file")?;
        // The network knows the ways beforehand: lbd is told of them later, when
        // neighbours have answered.
        self.controller.set_hops(&hops(&file));
        ensure!(self.controller.follow(), "{:?}", self.controller.behind());
        self.controller.dataplane().take();
        let began = Instant::now();
        let config = config::load(&path)?;
        let parsed = began.elapsed();
        self.controller.set_model(config.model, SystemTime::now());
        self.controller.member_addresses();
        self.controller.watch(BTreeSet::new());
        self.controller.set_instances(Vec::new());
        self.controller.set_encap_sources(config.dataplane.encap_sources);
        let converged = self.controller.converge();
        let done = began.elapsed();
        ensure!(converged, "{:?}", self.controller.behind());
        let took = self.took(began, parsed, done)?;
        self.check(file)?;
        self.file = file;
        Ok(took)
    }

    fn took(&mut self, began: Instant, file: Duration, done: Duration) -> Result<Took> {
        let spent = self.controller.dataplane().take();
        let live = spent.live.context("nothing was written that packets go by")?;
        let live = live.saturating_duration_since(began);
        Ok(Took { live, file, tables: self.tables(), reads: spent.reads, writes: spent.writes, done })
    }

    /// Makes the tables of the pools that listeners have once more, as they are now and
    /// from those before: the controller makes them where nobody can take its time.
    fn tables(&mut self) -> Duration {
        let mut took = Duration::ZERO;
        for lb in self.controller.model().load_balancers() {
            let is_used = |pool: &&Pool| lb.listeners.iter().any(|l| l.default_pool.as_ref() == Some(&pool.name));
            for pool in lb.pools.iter().filter(is_used) {
                let candidates: Vec<spread::Candidate> = pool
                    .members
                    .iter()
                    .filter_map(|member| {
                        let key = MemberKey::of(lb, pool, member);
                        let change = self.controller.overrides().get(&key).copied().unwrap_or_default();
                        let is_in = change.admin_state_up.unwrap_or(member.admin_state_up) && !change.drain;
                        let weight = change.weight.unwrap_or(member.weight).get();
                        let identity = spread::identity(member.address, member.protocol_port.get());
                        is_in.then_some(spread::Candidate { identity, weight })
                    })
                    .collect();
                let label = lb.label_of_pool(pool);
                let began = Instant::now();
                let table = self.tables.for_algorithm(&label, pool.lb_algorithm, &candidates, pool.members.len());
                took += began.elapsed();
                std::hint::black_box(table);
            }
        }
        took
    }

    /// What the maps say, read anew.
    fn observed(&self) -> Result<Observed> {
        let observed = self.controller.dataplane().observe()?;
        self.controller.dataplane().take();
        Ok(observed)
    }

    /// How many slots a member has in the maps.
    fn slots_of(&self, number: u32) -> Result<usize> {
        let observed = self.observed()?;
        let address = IpAddr::V4(file::address(self.file.members, 0, self.file.list, number));
        let is_it = |record: &MemberRecord| record.address == address;
        let (id, _) = observed.members.iter().find(|(_, member)| is_it(member)).context("the member is not there")?;
        Ok(observed.pools.values().map(|pool| pool.table.iter().filter(|slot| *slot == id).count()).sum())
    }

    /// Whether the maps say what a file says: each listener's pool, and that every
    /// member of it has slots, and nobody else.
    fn check(&self, file: PoolFile) -> Result<()> {
        let observed = self.observed()?;
        ensure!(observed.listeners.len() == usize::from(file.listeners), "{} listeners", observed.listeners.len());
        let list = if file.pool == 0 { file.list } else { 0 };
        let wanted: BTreeSet<IpAddr> =
            (0..file.members).map(|n| IpAddr::V4(file::address(file.members, file.pool, list, n))).collect();
        let mut pools: Vec<_> = observed.listeners.values().map(|listener| listener.pool).collect();
        pools.dedup();
        let [pool] = pools[..] else { bail!("listeners have {} pools", pools.len()) };
        let pool = observed.pools.get(&pool).context("the listeners' pool is not there")?;
        let found: BTreeSet<IpAddr> =
            pool.table.iter().filter_map(|id| observed.members.get(id)).map(|member| member.address).collect();
        ensure!(found == wanted, "the listeners' pool has slots of {} members, not of those of {file:?}", found.len());
        Ok(())
    }
}

/// Every member that the file can have is reached by the same neighbour.
fn hops(file: &PoolFile) -> Hops {
    let hop = NextHop { destination: Mac([2, 0, 0, 0, 0, 1]), source: Mac([2, 0, 0, 0, 0, 2]), port: 0 };
    let addresses = (0..file.pools)
        .flat_map(|pool| (0..2).map(move |list| (pool, list)))
        .flat_map(|(pool, list)| (0..file.members).map(move |n| file::address(file.members, pool, list, n)))
        .map(IpAddr::V4);
    let mut next_hops: NextHops = addresses.map(|address| (address, hop)).collect();
    let facts = PathFacts { mtu: 1500, source: Some(IpAddr::from([192, 0, 2, 2])) };
    next_hops.paths = next_hops.keys().map(|address| (*address, facts)).collect();
    Hops { next_hops, ..Hops::default() }
}
