//! Probes that go along with another's: when every lane to a place is taken (one member in
//! more pools than there are lanes, and it does not answer at once), one more probe would
//! ask what is being asked already, so it takes what comes of that. Pure.
//!
//! Invariant others rely on: whoever goes along comes back once, with whoever leads or
//! because the leader is forgotten.

use std::collections::HashMap;

use super::Slot;
use crate::outcome::Outcome;

/// Who goes along with whom.
#[derive(Debug, Default)]
pub(super) struct Passengers {
    of: HashMap<Slot, Vec<Slot>>,
    leader: HashMap<Slot, Slot>,
    /// Those whose leader is forgotten.
    left_alone: Vec<Slot>,
}

impl Passengers {
    /// `slot` goes along with `leader`, whose probe is under way.
    pub(super) fn board(&mut self, slot: Slot, leader: Slot) {
        self.of.entry(leader).or_default().push(slot);
        self.leader.insert(slot, leader);
    }

    /// Ends those who go along with the ones that ended from `from` on.
    pub(super) fn settle(&mut self, ended: &mut Vec<(Slot, Outcome)>, from: usize) {
        if self.of.is_empty() && self.left_alone.is_empty() {
            return;
        }
        for at in from..ended.len() {
            let (leader, outcome) = ended[at].clone();
            for slot in self.of.remove(&leader).unwrap_or_default() {
                self.leader.remove(&slot);
                ended.push((slot, outcome.clone()));
            }
        }
        let why = || Outcome::NotAsked("the probe it went along with is not wanted any more".into());
        ended.extend(self.left_alone.drain(..).map(|slot| (slot, why())));
    }

    /// Forgets a slot: nothing comes of it any more. Those who went along with it come
    /// back at the next [`Passengers::settle`].
    pub(super) fn forget(&mut self, slot: Slot) {
        self.left_alone.retain(|other| *other != slot);
        if let Some(leader) = self.leader.remove(&slot)
            && let Some(along) = self.of.get_mut(&leader)
        {
            along.retain(|other| *other != slot);
            if along.is_empty() {
                self.of.remove(&leader);
            }
        }
        for other in self.of.remove(&slot).unwrap_or_default() {
            self.leader.remove(&other);
            self.left_alone.push(other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Answer;

    fn settled(passengers: &mut Passengers, slot: Slot) -> Vec<(Slot, String)> {
        let mut ended = vec![(slot, Outcome::Answers(Answer::Accepts))];
        passengers.settle(&mut ended, 0);
        ended.into_iter().map(|(slot, outcome)| (slot, outcome.to_string())).collect()
    }

    #[test]
    fn whoever_goes_along_takes_what_comes_of_the_leader_once() {
        let mut passengers = Passengers::default();
        passengers.board(2, 1);
        passengers.board(3, 1);
        passengers.board(5, 4);
        let accepts = |slot| (slot, "accepts connections".to_owned());
        assert_eq!(settled(&mut passengers, 1), [1, 2, 3].map(accepts));
        assert_eq!(settled(&mut passengers, 1), [accepts(1)]);
        assert_eq!(settled(&mut passengers, 4), [4, 5].map(accepts));
    }

    #[test]
    fn a_leader_that_is_forgotten_sends_the_others_back_and_one_that_leaves_leaves_alone() {
        let mut passengers = Passengers::default();
        for slot in [2, 3] {
            passengers.board(slot, 1);
        }
        passengers.forget(2);
        passengers.forget(1);
        let mut ended = Vec::new();
        passengers.settle(&mut ended, 0);
        assert_eq!(ended.iter().map(|(slot, _)| *slot).collect::<Vec<_>>(), [3]);
        assert!(matches!(ended[0].1, Outcome::NotAsked(_)));
        assert!(passengers.of.is_empty() && passengers.leader.is_empty() && passengers.left_alone.is_empty());
    }

    #[test]
    fn one_that_is_left_alone_and_then_forgotten_does_not_come_back() {
        let mut passengers = Passengers::default();
        passengers.board(2, 1);
        passengers.forget(1);
        passengers.forget(2);
        let mut ended = Vec::new();
        passengers.settle(&mut ended, 0);
        assert_eq!(ended, []);
    }
}
