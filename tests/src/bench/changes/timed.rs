//! A data plane that takes the time of what is asked of it.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use lb_user::dataplane::{
    Arriving, Dataplane, DataplaneError, DataplaneInfo, Describe, FlowRecord, ListenerId, MemberId, Observed, Op, Part,
    PoolId, Rehearse, Rehearsed, Statistics, TrafficCounters,
};

/// What the data plane took, and when packets met what they should.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Spent {
    /// Writing the maps until [`Spent::live`].
    pub(super) writes: Duration,
    /// The same with what came after it.
    pub(super) all_writes: Duration,
    /// Reading the maps until then.
    pub(super) reads: Duration,
    /// The same with what came after it.
    pub(super) all_reads: Duration,
    /// Operations carried out.
    pub(super) operations: usize,
    /// When the last operation was over that packets meet: what follows puts away what
    /// is no longer named.
    pub(super) live: Option<Instant>,
}

/// See the file's first line.
#[derive(Debug)]
pub(super) struct Timed<D> {
    inner: D,
    spent: Cell<Spent>,
}

impl<D> Timed<D> {
    pub(super) fn new(inner: D) -> Self {
        Self { inner, spent: Cell::default() }
    }

    /// What was spent since the last time.
    pub(super) fn take(&self) -> Spent {
        self.spent.take()
    }

    fn change(&self, change: impl FnOnce(&mut Spent)) {
        let mut spent = self.spent.get();
        change(&mut spent);
        self.spent.set(spent);
    }
}

/// Whether packets go by what an operation writes, rather than that it puts away what
/// they go by no more.
const fn is_met(op: &Op) -> bool {
    !matches!(
        op,
        Op::RetireMember { .. }
            | Op::ReleaseMember { .. }
            | Op::RemovePool { .. }
            | Op::RemoveVip { .. }
            | Op::RemoveInstance { .. }
    )
}

impl<D: Dataplane> Dataplane for Timed<D> {
    fn observe_part(&self, part: &Part) -> Result<Observed, DataplaneError> {
        let began = Instant::now();
        let observed = self.inner.observe_part(part);
        self.change(|spent| spent.all_reads += began.elapsed());
        observed
    }

    fn apply(&mut self, op: &Op) -> Result<(), DataplaneError> {
        let began = Instant::now();
        let applied = self.inner.apply(op);
        let ended = Instant::now();
        self.change(|spent| {
            spent.all_writes += ended - began;
            spent.operations += 1;
            if is_met(op) {
                (spent.writes, spent.reads) = (spent.all_writes, spent.all_reads);
                spent.live = Some(ended);
            }
        });
        applied
    }
}

impl<D: Statistics> Statistics for Timed<D> {
    fn listener_counters(&self, id: ListenerId) -> Result<TrafficCounters, DataplaneError> {
        self.inner.listener_counters(id)
    }

    fn member_counters(&self, id: MemberId) -> Result<TrafficCounters, DataplaneError> {
        self.inner.member_counters(id)
    }

    fn live(&self, listener: Option<ListenerId>, member: Option<MemberId>) -> u64 {
        self.inner.live(listener, member)
    }

    fn changing(&self) -> Vec<PoolId> {
        self.inner.changing()
    }

    fn events(&self) -> Result<Vec<u64>, DataplaneError> {
        self.inner.events()
    }

    fn for_each_flow(&self, each: &mut dyn FnMut(FlowRecord)) -> Result<(), DataplaneError> {
        self.inner.for_each_flow(each)
    }
}

impl<D: Describe> Describe for Timed<D> {
    fn describe(&self) -> Result<DataplaneInfo, DataplaneError> {
        self.inner.describe()
    }
}

impl<D: Rehearse> Rehearse for Timed<D> {
    fn rehearse(&self, arriving: &[Arriving]) -> Result<Vec<Rehearsed>, DataplaneError> {
        self.inner.rehearse(arriving)
    }
}
