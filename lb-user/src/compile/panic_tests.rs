#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use lb_common::member::MemberState;
use proptest::prelude::*;

use super::{
    super::tests::{Given, key, member},
    *,
};
use crate::{
    compile::{MemberOverride, Verdict},
    model::{OnMemberDown, Percent, Weight},
};

/// A member of any kind, with what an operator and a monitor say about it.
#[derive(Clone, Debug)]
struct Said {
    weight: u16,
    backup: bool,
    admin_state_up: bool,
    reached: bool,
    down: Option<bool>,
    change: MemberOverride,
}

fn said() -> impl Strategy<Value = Said> {
    let change = (prop::option::of(0u16..4), prop::option::of(any::<bool>()), prop::bool::weighted(0.2)).prop_map(
        |(weight, admin_state_up, drain)| MemberOverride {
            weight: weight.and_then(Weight::new),
            admin_state_up,
            drain,
        },
    );
    let flags = (any::<bool>(), prop::bool::weighted(0.8), prop::bool::weighted(0.8));
    (0u16..4, flags, prop::option::of(any::<bool>()), change).prop_map(
        |(weight, (backup, admin_state_up, reached), down, change)| Said {
            weight,
            backup,
            admin_state_up,
            reached,
            down,
            change,
        },
    )
}

fn given(members: &[Said], threshold: Option<u8>) -> Given {
    let mut given = Given::members((1..).zip(members).map(|(n, _)| member(n)).collect());
    given.pool.panic_threshold = threshold.and_then(Percent::new);
    for ((n, said), there) in (1..).zip(members).zip(&mut given.pool.members) {
        there.weight = Weight::new(said.weight).unwrap();
        (there.backup, there.admin_state_up) = (said.backup, said.admin_state_up);
        given.overrides.set(key(n), said.change);
        if let Some(down) = said.down {
            given.health.insert(key(n), if down { Verdict::Down } else { Verdict::Up });
        }
        if !said.reached {
            given.hops.remove(&there.address);
        }
    }
    given
}

fn panic(given: &Given) -> Option<Panic> {
    let lb = given.load_balancer();
    panic_of(&lb, &lb.pools[0], &given.overrides, &given.health)
}

proptest! {
    #[test]
    fn in_panic_everything_but_the_sight_of_it_is_as_if_all_were_up(
        members in prop::collection::vec(said(), 0..12), threshold in 1u8..=99, reset in any::<bool>(),
    ) {
        let mut given = given(&members, Some(threshold));
        given.pool.on_member_down = if reset { OnMemberDown::Reset } else { OnMemberDown::Keep };
        let panic = panic(&given);
        let mut calm = given.clone();
        match panic {
            Some(_) => calm.health.clear(),
            None => calm.pool.panic_threshold = None,
        }
        let (seen, mut wanted) = (given.compile(), calm.compile());
        for (key, member) in &mut wanted.members {
            if panic.is_some() && given.health.get(key) == Some(&Verdict::Down) {
                member.flags |= MemberState::UNHEALTHY;
            }
        }
        prop_assert_eq!(seen, wanted);
    }

    #[test]
    fn without_a_threshold_nothing_is_ever_in_panic(members in prop::collection::vec(said(), 0..12)) {
        prop_assert_eq!(panic(&given(&members, None)), None);
    }

    #[test]
    fn a_pool_is_in_panic_when_more_than_the_share_is_down_and_not_before(
        down in 0usize..=100, up in 0usize..=100, threshold in 1u8..=99,
    ) {
        let one = |down| Said {
            weight: 1, backup: false, admin_state_up: true, reached: true, down, change: MemberOverride::default(),
        };
        let members: Vec<_> = (0..down).map(|_| one(Some(true))).chain((0..up).map(|_| one(None))).collect();
        let more = (down + up) > 0 && down * 100 / (down + up) >= usize::from(threshold)
            && down * 100 != (down + up) * usize::from(threshold);
        prop_assert_eq!(panic(&given(&members, Some(threshold))), more.then_some(Panic { down, of: down + up }));
    }
}

#[test]
fn backups_that_work_serve_when_all_primaries_are_down_and_panic_comes_when_they_fail_too() {
    let mut given = Given::members((1..=5).map(member).collect());
    given.pool.panic_threshold = Percent::new(50);
    for backup in &mut given.pool.members[3..] {
        backup.backup = true;
    }
    for n in 1..=2 {
        given.health.insert(key(n), Verdict::Down);
    }
    assert_eq!(panic(&given), None, "two of five are less than half");
    given.health.insert(key(3), Verdict::Down);
    assert_eq!(panic(&given), None, "more than half, but the backups work");
    given.health.insert(key(4), Verdict::Down);
    assert_eq!(panic(&given), None);
    given.health.insert(key(5), Verdict::Down);
    assert_eq!(panic(&given), Some(Panic { down: 5, of: 5 }));
    given.health.remove(&key(1));
    assert_eq!(panic(&given), Some(Panic { down: 4, of: 5 }), "a primary is up, and alone");
}

#[test]
fn exactly_at_the_share_is_not_more_than_it() {
    let mut given = Given::members((1..=10).map(member).collect());
    given.pool.panic_threshold = Percent::new(50);
    given.pool.on_member_down = OnMemberDown::Reset;
    for n in 1..=5 {
        given.health.insert(key(n), Verdict::Down);
    }
    assert_eq!(panic(&given), None);
    assert_eq!(given.in_table(), [6, 7, 8, 9, 10]);
    assert_eq!(given.flags(1), MemberState::UNHEALTHY | MemberState::RESETS_FLOWS);
    given.health.insert(key(6), Verdict::Down);
    assert_eq!(panic(&given), Some(Panic { down: 6, of: 10 }));
    assert_eq!(given.in_table(), (1..=10).collect::<Vec<_>>());
    assert_eq!(given.flags(1), MemberState::UP | MemberState::UNHEALTHY);
    assert_eq!(given.flags(7), MemberState::UP);
}

#[test]
fn who_could_get_no_flow_anyway_does_not_count() {
    let mut given = Given::members((1..=6).map(member).collect());
    given.pool.panic_threshold = Percent::new(50);
    for n in 1..=4 {
        given.health.insert(key(n), Verdict::Down);
    }
    given.pool.members[4].backup = true;
    assert_eq!(panic(&given), Some(Panic { down: 4, of: 6 }), "backups count");
    given.overrides.set_drain(key(1), true);
    given.overrides.set_weight(key(2), Weight::new(0));
    given.pool.members[2].admin_state_up = false;
    assert_eq!(panic(&given), None);
    given.overrides.set_admin_state_up(key(3), Some(true));
    assert_eq!(panic(&given), None, "two of four");
    given.overrides.set_admin_state_up(key(6), Some(false));
    assert_eq!(panic(&given), None, "the backup serves");
    given.health.insert(key(5), Verdict::Down);
    assert_eq!(panic(&given), Some(Panic { down: 3, of: 3 }));
    // One that drains keeps its flows in a panic too, and gets none.
    assert_eq!(given.flags(1), MemberState::UP | MemberState::DRAINING | MemberState::UNHEALTHY);
    given.pool.admin_state_up = false;
    assert_eq!(panic(&given), None, "a pool that is off offers nobody");
    given.pool.admin_state_up = true;
    given.pool.health_monitor = None;
    assert_eq!(panic(&given), None, "nobody is found down without a monitor");
}
