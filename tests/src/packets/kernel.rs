//! The world in the kernel, and it and the host's side by side.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use lb_common::{
    atomic::Ordering::Relaxed,
    pool::{PoolEntry, Until},
    time::tick_millis,
};
use lb_ebpf::host::Arrays;
use lb_user::dataplane::{
    Arriving, Dataplane, DataplaneInfo, Describe as _, FlowRecord, InstanceId, ListenerId, MemberId, Observed, Op,
    Rehearse as _, Rehearsed, Statistics, TrafficCounters,
    exchange::{FlowExchange, KernelExchange, MemoryExchange, Shared, SharedFlow, SharedPlacement},
    kernel::{KernelDataplane, KernelOptions},
};
use nix::{
    net::if_::if_nametoindex,
    sched::{CloneFlags, unshare},
};

use super::{
    crowd::Road,
    scene::{OWN, OWN_BACK},
    world::{Fate, Host, INGRESS, Outcome, TRUNK, World, counted, in_order, options},
};
use crate::rig::command;

/// A loaded data path. Dropping it removes its pins and so the data path.
#[derive(Debug)]
pub struct Kernel {
    dataplane: KernelDataplane,
    pins: PathBuf,
    loaded_in: Duration,
}

impl Kernel {
    /// Loads the program, without ports.
    ///
    /// # Errors
    /// Without root, without the BPF object, or when the verifier refuses it.
    pub fn load() -> Result<Self> {
        Self::load_with(|_| {})
    }

    /// Loads the program with other numbers.
    ///
    /// # Errors
    /// As [`Kernel::load`].
    pub fn load_with(change: impl FnOnce(&mut KernelOptions)) -> Result<Self> {
        static LOADED: AtomicU32 = AtomicU32::new(0);
        let number = LOADED.fetch_add(1, Ordering::Relaxed);
        let pins = Path::new("/sys/fs/bpf").join(format!("krater-prog-{}-{number}", std::process::id()));
        let start = Instant::now();
        let mut options = options(pins.clone());
        change(&mut options);
        let (dataplane, _) = KernelDataplane::load(&options)?;
        Ok(Self { dataplane, pins, loaded_in: start.elapsed() })
    }

    /// How long loading took.
    #[must_use]
    pub const fn loaded_in(&self) -> Duration {
        self.loaded_in
    }

    /// What the kernel says about it.
    ///
    /// # Errors
    /// When it does not say.
    pub fn describe(&self) -> Result<DataplaneInfo> {
        Ok(self.dataplane.describe()?)
    }

    /// The data path.
    pub const fn dataplane(&mut self) -> &mut KernelDataplane {
        &mut self.dataplane
    }

    fn events(&self) -> Vec<u64> {
        self.dataplane.events().unwrap()
    }

    /// Enters the loopback interface as port 0, a veth as port 1, which the calling
    /// thread's network namespace is given, and networks with tags. Returns the veth's
    /// index.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn enter_ports(&mut self) -> Result<u32> {
        command::run("ip", &["link", "add", "kr-back", "type", "veth", "peer", "name", "kr-peer"])?;
        let back = if_nametoindex("kr-back").context("find kr-back")?;
        self.dataplane.enter_port(0, INGRESS, false, OWN)?;
        self.dataplane.enter_port(1, back, false, OWN_BACK)?;
        for (port, tags) in TRUNK {
            self.dataplane.enter_trunk_port(port, INGRESS, tags, false, OWN)?;
        }
        Ok(back)
    }

    /// What `lbctl explain` would say of a frame that comes in as [`World::send`] has it
    /// come: nothing happens to the data path.
    ///
    /// # Errors
    /// When the tables cannot be read.
    pub fn foretell(&self, frame: &[u8]) -> Result<Rehearsed> {
        let arriving = Arriving { ifindex: INGRESS, frame: frame.to_vec() };
        self.dataplane.rehearse(&[arriving])?.pop().context("a frame without an answer")
    }
}

impl Road for Kernel {
    fn reader(&self) -> &(impl Dataplane + Statistics) {
        &self.dataplane
    }

    fn writer(&mut self) -> &mut impl Dataplane {
        &mut self.dataplane
    }

    fn arrays(&self) -> &dyn Arrays {
        self.dataplane.arrays()
    }

    fn drive(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        let (action, frame) = self.dataplane.test_run(frame).unwrap();
        (action == 3).then_some(frame)
    }

    /// Nobody turns the kernel's clock, so the end of each hold comes nearer.
    fn pass(&mut self, seconds: u64) {
        let arrays = self.dataplane.arrays();
        let tick = u64::from(tick_millis(arrays.config().hz.load(Relaxed) as u32));
        let ticks = (seconds * 1000).div_ceil(tick) as u16;
        for pool in arrays.pools().iter().filter(|pool| pool.entry().has(PoolEntry::CHANGING)) {
            let Until { tcp, udp } = Until::from_word(pool.until.load(Relaxed));
            pool.until.store(Until { tcp: tcp.before(ticks), udp: udp.before(ticks) }.to_word(), Relaxed);
        }
    }

    fn outlive_the_ended(&mut self) {
        let limits = self.dataplane.arrays().config().idle_limits();
        let tick = u64::from(tick_millis(self.dataplane.arrays().config().hz.load(Relaxed) as u32));
        thread::sleep(Duration::from_millis(tick * u64::from(limits.tcp_closing.max(limits.unconfirmed) + 2)));
    }

    fn tend(&mut self) {
        let mut sweeper = self.dataplane.sweeper().unwrap();
        let swept = std::iter::repeat_with(|| sweeper.step().unwrap()).flatten().next().unwrap();
        self.dataplane.tend(&swept).unwrap();
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        if let Err(error) = KernelDataplane::remove(&self.pins) {
            eprintln!("prog: {error:#}");
            let _ = fs::remove_dir_all(&self.pins);
        }
    }
}

impl World for Kernel {
    fn apply(&mut self, op: &Op) {
        self.dataplane.apply(op).unwrap_or_else(|e| panic!("{op:?}: {e}"));
    }

    fn send(&mut self, frame: &[u8]) -> Outcome {
        let before = self.events();
        let (action, frame) = self.dataplane.test_run(frame).unwrap();
        let fate = match action {
            1 => Fate::Drop,
            2 => Fate::Pass,
            3 => Fate::Transmit,
            4 => Fate::Redirect,
            other => panic!("the program returned {other}"),
        };
        Outcome { fate, frame, events: counted(fate, &before, &self.events()) }
    }

    fn turn(&mut self, instance: InstanceId, active: bool) {
        assert!(self.dataplane.switchboard().set_active(instance, active), "{instance:?} is not there");
    }

    fn tamper(&mut self, change: &dyn Fn(&dyn Arrays)) {
        change(self.dataplane.arrays());
    }

    fn observe(&self) -> Observed {
        self.dataplane.observe().unwrap()
    }

    fn flows(&self) -> Vec<FlowRecord> {
        let mut flows = Vec::new();
        self.dataplane.for_each_flow(&mut |flow| flows.push(flow)).unwrap();
        in_order(flows)
    }

    fn listener(&self, id: u16) -> TrafficCounters {
        self.dataplane.listener_counters(ListenerId(id)).unwrap()
    }

    fn member(&self, id: u16) -> TrafficCounters {
        self.dataplane.member_counters(MemberId(id)).unwrap()
    }

    fn is_kernel(&self) -> bool {
        true
    }
}

/// Host and kernel with the same tables: every frame goes through both, and
/// whatever differs is a failure.
#[derive(Debug)]
pub struct Pair {
    host: Host,
    kernel: Kernel,
    exchanges: (MemoryExchange, KernelExchange),
    noted: usize,
    recorded: usize,
}

impl Pair {
    /// Both, without ports.
    ///
    /// # Errors
    /// As [`Kernel::load`].
    pub fn load() -> Result<Self> {
        let (host, kernel) = (Host::new(false), Kernel::load()?);
        host.dataplane.set_noting(true);
        kernel.dataplane.set_noting(true);
        let exchanges = (host.dataplane.exchange(), kernel.dataplane.exchange()?);
        let pair = Self { host, kernel, exchanges, noted: 0, recorded: 0 };
        // One clock for both: the kernel's, with its ticks and limits.
        let (ours, theirs) = (pair.host.tables().arrays.config(), pair.kernel.dataplane.arrays().config());
        for (to, from) in
            [(&ours.idle_limits, &theirs.idle_limits), (&ours.hz, &theirs.hz), (&ours.version, &theirs.version)]
        {
            to.store(from.load(Relaxed), Relaxed);
        }
        Ok(pair)
    }

    /// [`Kernel::enter_ports`] on both sides.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn enter_ports(&mut self) -> Result<()> {
        let back = self.kernel.enter_ports()?;
        self.host.enter_port(0, INGRESS, OWN);
        self.host.enter_port(1, back, OWN_BACK);
        self.host.enter_trunk();
        Ok(())
    }

    /// How many notes about flows were read, on either side.
    #[must_use]
    pub const fn noted(&self) -> usize {
        self.noted
    }

    /// How many of them told what is recorded beside the flow table.
    #[must_use]
    pub const fn recorded(&self) -> usize {
        self.recorded
    }

    /// The kernel's side.
    #[must_use]
    pub const fn kernel(&self) -> &Kernel {
        &self.kernel
    }
}

impl World for Pair {
    fn apply(&mut self, op: &Op) {
        self.host.apply(op);
        self.kernel.apply(op);
    }

    fn send(&mut self, frame: &[u8]) -> Outcome {
        self.host.tables().jiffies.set(self.kernel.dataplane.jiffies().unwrap());
        let (host, kernel) = (self.host.send(frame), self.kernel.send(frame));
        assert_eq!(host.fate, kernel.fate, "host and kernel differ about {frame:02x?}");
        assert_eq!(host.events, kernel.events, "host and kernel count otherwise for {frame:02x?}");
        assert_eq!(host.frame, kernel.frame, "host and kernel make something else of {frame:02x?}");
        let (host, theirs) = (notes(&mut self.exchanges.0), notes(&mut self.exchanges.1));
        assert_eq!(host, theirs, "host and kernel note something else for {frame:02x?}");
        self.noted += theirs.0;
        self.recorded += theirs.1.iter().filter(|shared| shared.placement().is_some()).count();
        kernel
    }

    fn turn(&mut self, instance: InstanceId, active: bool) {
        self.host.turn(instance, active);
        self.kernel.turn(instance, active);
    }

    fn tamper(&mut self, change: &dyn Fn(&dyn Arrays)) {
        self.host.tamper(change);
        self.kernel.tamper(change);
    }

    fn observe(&self) -> Observed {
        let (host, kernel) = (self.host.observe(), self.kernel.observe());
        assert_eq!(host, kernel, "the tables differ");
        kernel
    }

    fn flows(&self) -> Vec<FlowRecord> {
        let (host, kernel) = (self.host.flows(), self.kernel.flows());
        assert_eq!(host, kernel, "the flows differ");
        kernel
    }

    fn listener(&self, id: u16) -> TrafficCounters {
        let (host, kernel) = (self.host.listener(id), self.kernel.listener(id));
        assert_eq!(host, kernel, "listener {id} is counted differently");
        kernel
    }

    fn member(&self, id: u16) -> TrafficCounters {
        let (host, kernel) = (self.host.member(id), self.kernel.member(id));
        assert_eq!(host, kernel, "member {id} is counted differently");
        kernel
    }

    fn is_kernel(&self) -> bool {
        true
    }
}

/// How many notes there were, and about which flows and placements, without their
/// ages.
fn notes(exchange: &mut impl FlowExchange) -> (usize, Vec<Shared>) {
    let mut told = Vec::new();
    let drained = exchange.drain(100, &mut |shared| {
        told.push(match shared {
            Shared::Flow(flow) => Shared::Flow(SharedFlow { idle_millis: 0, ..flow }),
            Shared::Placement(placement) => Shared::Placement(SharedPlacement { idle_millis: 0, ..placement }),
        });
    });
    assert_eq!((drained.more, drained.lost), (false, 0));
    (drained.notes, told)
}

/// Runs `work` on a thread with a network namespace of its own, which ends with
/// it.
///
/// # Errors
/// Without root, and those of `work`.
pub fn apart<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("make a network namespace (the prog tests need root)")?;
            work()
        });
        thread.join().unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            Err(anyhow!("{}", text.unwrap_or_else(|| "panicked".to_owned())))
        })
    })
}
