//! Starts to come, in their order. Pure.
//!
//! With ten thousand members, finding who is next must not mean walking through a heap of
//! all of them for each probe: only what is due within one [`SPAN`] is kept in order, and
//! the rest in heaps by when it is due, which nobody looks into until then.
//!
//! What must not be here: whether an entry still counts; whoever plans knows that.
//!
//! Invariant others rely on: an entry that is taken out is due no later than any other.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    time::Duration,
};

use crate::raw::Slot;

/// The time that is kept in order at once, in bits of nanoseconds: 8.4 ms.
const SPAN_BITS: u32 = 23;

/// A start to come, ordered by when.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Planned {
    due_nanos: u64,
    /// Whose.
    pub(crate) slot: Slot,
    /// Which plan of its member it is.
    pub(crate) serial: u64,
}

impl Planned {
    /// A start then; in five hundred years at the latest.
    pub(crate) fn new(due: Duration, slot: Slot, serial: u64) -> Self {
        Self { due_nanos: u64::try_from(due.as_nanos()).unwrap_or(u64::MAX), slot, serial }
    }

    /// When, since the epoch.
    pub(crate) const fn due(&self) -> Duration {
        Duration::from_nanos(self.due_nanos)
    }

    const fn span(&self) -> u64 {
        self.due_nanos >> SPAN_BITS
    }
}

/// Starts to come.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Everything of the spans before `end`.
    near: BinaryHeap<Reverse<Planned>>,
    end: u64,
    /// Everything else, by span.
    far: BTreeMap<u64, Vec<Reverse<Planned>>>,
    count: usize,
}

impl Plan {
    /// Takes a start in.
    pub(crate) fn push(&mut self, planned: Planned) {
        self.count += 1;
        let span = planned.span();
        if span < self.end {
            self.near.push(Reverse(planned));
        } else {
            self.far.entry(span).or_default().push(Reverse(planned));
        }
    }

    /// The first of all.
    pub(crate) fn first(&mut self) -> Option<Planned> {
        if self.near.is_empty()
            && let Some((span, entries)) = self.far.pop_first()
        {
            self.end = span.saturating_add(1);
            self.near = entries.into();
        }
        self.near.peek().map(|Reverse(planned)| *planned)
    }

    /// Takes the first of all out.
    pub(crate) fn pop(&mut self) -> Option<Planned> {
        let first = self.first()?;
        self.near.pop();
        self.count -= 1;
        Some(first)
    }

    /// Whose starts are due by then, of those that are kept in order; in no order.
    pub(crate) fn due(&self, now: Duration) -> impl Iterator<Item = Slot> {
        let near = self.near.iter().map(|Reverse(planned)| planned);
        near.filter(move |planned| planned.due() <= now).map(|planned| planned.slot)
    }

    /// Leaves out what does not count any more.
    pub(crate) fn retain(&mut self, counts: impl Fn(&Planned) -> bool) {
        self.near.retain(|Reverse(planned)| counts(planned));
        self.far.retain(|_, entries| {
            entries.retain(|Reverse(planned)| counts(planned));
            !entries.is_empty()
        });
        self.count = self.near.len() + self.far.values().map(Vec::len).sum::<usize>();
    }

    /// How many there are.
    pub(crate) const fn len(&self) -> usize {
        self.count
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Act {
        Push(u64),
        Pop,
        KeepOdd,
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        // Moments within a span, across many, and at the end of time.
        let moment = prop_oneof![0..1u64 << 20, 0..1u64 << 32, Just(u64::MAX), Just(u64::MAX - 1)];
        let act = prop_oneof![4 => moment.prop_map(Act::Push), 3 => Just(Act::Pop), 1 => Just(Act::KeepOdd)];
        proptest::collection::vec(act, 0..200)
    }

    proptest! {
        #[test]
        fn whatever_is_planned_when_the_first_of_all_comes_out_first(acts in acts()) {
            let (mut plan, mut model) = (Plan::default(), BTreeSet::new());
            for (serial, act) in (0..).zip(acts) {
                match act {
                    Act::Push(nanos) => {
                        let planned = Planned::new(Duration::from_nanos(nanos), 7, serial);
                        plan.push(planned);
                        model.insert(planned);
                    }
                    Act::Pop => prop_assert_eq!(plan.pop(), model.pop_first()),
                    Act::KeepOdd => {
                        plan.retain(|planned| planned.serial % 2 == 1);
                        model.retain(|planned| planned.serial % 2 == 1);
                    }
                }
                prop_assert_eq!(plan.len(), model.len());
                prop_assert_eq!(plan.first(), model.first().copied());
                let now = Duration::from_nanos(1 << 19);
                prop_assert!(plan.due(now).count() <= model.iter().filter(|planned| planned.due() <= now).count());
            }
            while let Some(planned) = plan.pop() {
                prop_assert_eq!(Some(planned), model.pop_first());
            }
            prop_assert!(model.is_empty());
        }
    }
}
