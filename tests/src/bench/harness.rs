//! Repeats a program over packets that are made anew each time: the userspace
//! half of `lb-ebpf/src/harness.rs`, whose layouts it shares as words.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, MapData, ProgramArray},
    programs::{ProgramFd, ProgramInfo, TestRun, TestRunOptions, Xdp},
};
use lb_common::protocol::Transport;

use super::{
    floor::{Floor, Floors},
    frames::{CLIENTS, Template, WORDS},
    uncounted::Uncounted,
};

/// Words of a `Run`.
const RUN_WORDS: usize = 7 + WORDS + 3;
const KIND_IPV6: u64 = 1;
const KIND_UDP: u64 = 2;
const KIND_TO_PORT: u64 = 4;

const PROGRAM: &str = "harness";
const NO_OP: &str = "harness_transmit";
const GROW: &str = "harness_grow";
/// The longest list.
pub(super) const MAX_LISTED: usize = 1 << 20;

/// `XDP_ABORTED`, which the harness gives where it could not do its work.
const ABORTED: u32 = 0;

/// In which order flows come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    /// By their numbers, and again.
    Sequence,
    /// Any flow at any time.
    Random,
    /// As they were listed, and again.
    Listed,
}

impl Order {
    fn code(self) -> u64 {
        match self {
            Self::Sequence => 0,
            Self::Random => 1,
            Self::Listed => 2,
        }
    }
}

/// Packets without end, and how far they have been used.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    template: Template,
    order: Order,
    flows: u32,
    next: u64,
    random: u64,
}

impl Stream {
    /// Packets of `flows` flows.
    pub(super) fn new(template: Template, order: Order, flows: u32) -> Self {
        Self { template, order, flows, next: 0, random: 0x9e37_79b9_7f4a_7c15 }
    }

    /// What they are made of.
    pub(super) const fn template(&self) -> &Template {
        &self.template
    }

    /// Packets of the same flows from here on, made of another template.
    pub(super) fn like(&self, template: Template) -> Self {
        Self { template, ..self.clone() }
    }

    /// The same packets without the first ones.
    pub(super) fn after(self, flows: u32) -> Self {
        Self { next: flows.into(), ..self }
    }

    /// The `Run`, where `listed` flows are in the list.
    fn words(&self, listed: u32) -> [u64; RUN_WORDS] {
        let template = &self.template;
        // Of the flows that were asked for a few may not be there to be listed.
        let flows = if self.order == Order::Listed { self.flows.min(listed) } else { self.flows };
        let kind = [
            (template.protocols.ipv6, KIND_IPV6),
            (template.protocols.transport == Transport::Udp, KIND_UDP),
            (template.kind.is_from_member(), KIND_TO_PORT),
        ];
        let kind = kind.iter().filter(|(set, _)| *set).map(|(_, bit)| bit).sum();
        let mut words = [0; RUN_WORDS];
        words[..7].copy_from_slice(&[kind, self.order.code(), flows.into(), self.next, self.random, CLIENTS.into(), 0]);
        words[7..7 + WORDS].copy_from_slice(&template.words);
        words[7 + WORDS] = template.network_checksum.into();
        words[8 + WORDS] = template.transport_checksum.into();
        words[9 + WORDS] = template.frame.len() as u64;
        words
    }
}

/// What is run over the packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Target {
    /// Nothing: `XDP_TX`.
    NoOp,
    /// Nothing but to make the frame longer.
    Grow,
    /// A bare balancer.
    Floor(Floor),
    /// The data path without counters.
    Uncounted,
    /// The data path.
    Krater,
}

impl Target {
    /// Whether a run uses packets up. Those that share tables must not meet the same
    /// packets, for the first would warm the lines of the second.
    fn uses_up(self) -> bool {
        matches!(self, Self::Krater | Self::Uncounted)
    }
}

/// How a run went.
#[derive(Debug)]
pub(super) struct Ran {
    /// Nanoseconds a packet, harness included, by the kernel's account.
    pub(super) nanos: f64,
    /// The XDP action of the last packet.
    pub(super) action: u32,
    /// The last packet.
    pub(super) frame: Vec<u8>,
}

/// The loaded harness.
pub(super) struct Harness {
    object: Ebpf,
    run: Array<MapData, [u64; RUN_WORDS]>,
    list: Array<MapData, u64>,
    listed: u32,
    target: ProgramArray<MapData>,
    loaded: Option<Target>,
    no_op: ProgramFd,
    grow: ProgramFd,
    floors: Floors,
    krater: Option<ProgramFd>,
    uncounted: Option<Uncounted>,
}

impl Harness {
    /// Loads the harness that `cargo xtask build-ebpf` built.
    pub(super) fn load() -> Result<Self> {
        let path = object_path();
        let object = fs::read(&path).with_context(|| {
            format!("read the measuring programs at {}; build them with `cargo xtask build-ebpf`", path.display())
        })?;
        let mut object =
            EbpfLoader::new().load(&object).with_context(|| format!("load {} (this needs root)", path.display()))?;
        for name in [PROGRAM, NO_OP, GROW] {
            let program: &mut Xdp = object.program_mut(name).context("the object lacks a program")?.try_into()?;
            program.load().with_context(|| format!("load program {name}"))?;
        }
        let mut map = |name| object.take_map(name).with_context(|| format!("the object lacks the map {name}"));
        let run = Array::try_from(map("RUN")?)?;
        let list = Array::try_from(map("LIST")?)?;
        let target = ProgramArray::try_from(map("TARGET")?)?;
        let no_op = program(&object, NO_OP)?.info()?.fd()?;
        let grow = program(&object, GROW)?.info()?.fd()?;
        let floors = Floors::load()?;
        let (loaded, krater, uncounted) = (None, None, None);
        Ok(Self { object, run, list, listed: 0, target, loaded, no_op, grow, floors, krater, uncounted })
    }

    /// What the bare balancers have counted: packets of VIPs, and of members.
    pub(super) fn floors_counted(&self) -> Result<[u64; 2]> {
        self.floors.counted()
    }

    /// Puts the data path that is pinned there under test, and if it is wanted the
    /// one without counters beside it.
    pub(super) fn aim_at(&mut self, pin_path: &Path, uncounted: bool) -> Result<()> {
        let pin = pin_path.join("program");
        let info = ProgramInfo::from_pin(&pin).with_context(|| format!("open program {}", pin.display()))?;
        self.krater = Some(info.fd()?);
        self.uncounted = if uncounted { Some(Uncounted::load(pin_path)?) } else { None };
        self.loaded = None;
        Ok(())
    }

    /// Takes the data path away again, so that it can be unloaded.
    pub(super) fn let_go(&mut self) -> Result<()> {
        self.krater = None;
        self.uncounted = None;
        self.loaded = None;
        self.target.clear_index(&0).context("empty TARGET")
    }

    /// Fills the list of what [`Order::Listed`] goes through.
    pub(super) fn set_list(&mut self, list: &[u64]) -> Result<()> {
        ensure!(list.len() <= MAX_LISTED, "a list of {} flows is too long", list.len());
        for (index, word) in list.iter().enumerate() {
            self.list.set(u32::try_from(index)?, word, 0).context("write LIST")?;
        }
        self.listed = u32::try_from(list.len())?;
        Ok(())
    }

    /// Runs a program over packets. A run of the data path uses them up, one of
    /// the no-op or of a bare balancer meets the very packets that the data path will
    /// meet next.
    pub(super) fn run(&mut self, target: Target, stream: &mut Stream, packets: u32) -> Result<Ran> {
        self.put(target)?;
        self.run.set(0, stream.words(self.listed), 0).context("write RUN")?;
        let mut frame = vec![0; stream.template.frame.len() + 256];
        let options = TestRunOptions {
            data_in: Some(&stream.template.frame),
            data_out: Some(&mut frame),
            repeat: packets,
            ..TestRunOptions::new()
        };
        let result = program(&self.object, PROGRAM)?.test_run(options).context("run the harness")?;
        frame.truncate(result.data_size_out as usize);
        let words = self.run.get(&0, 0).context("read RUN")?;
        if result.return_value == ABORTED || words[6] != u64::from(packets) {
            bail!("the harness made {} of {packets} packets and ended with action {}", words[6], result.return_value);
        }
        if target.uses_up() {
            (stream.next, stream.random) = (words[3], words[4]);
        }
        Ok(Ran { nanos: result.duration.as_nanos() as f64, action: result.return_value, frame })
    }

    fn put(&mut self, target: Target) -> Result<()> {
        if self.loaded == Some(target) {
            return Ok(());
        }
        let program = match target {
            Target::NoOp => &self.no_op,
            Target::Grow => &self.grow,
            Target::Floor(floor) => self.floors.program(floor).context("no such bare balancer is loaded")?,
            Target::Uncounted => self.uncounted.as_ref().context("no data path without counters is loaded")?.program(),
            Target::Krater => self.krater.as_ref().context("no data path is under test")?,
        };
        self.target.set(0, program, 0).context("put a program into TARGET")?;
        self.loaded = Some(target);
        Ok(())
    }
}

fn program<'o>(object: &'o Ebpf, name: &str) -> Result<&'o Xdp> {
    object.program(name).with_context(|| format!("the object lacks the program {name}"))?.try_into().map_err(Into::into)
}

fn object_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bpf/bpfel-unknown-none/bpf/harness")
}
