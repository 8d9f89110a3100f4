#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use super::{
    super::tests::{Given, key, member},
    *,
};

#[test]
fn what_is_said_about_the_members_of_another_pool_is_not_said_about_these() {
    let mut given = Given::members((1..=3).map(member).collect());
    // Labels on either side of the pool's, of which one begins like it.
    for label in ["web/ap", "web/app-2", "web/zzz", "a/app"] {
        let other = MemberKey { pool: label.to_owned(), ..key(2) };
        given.health.insert(other.clone(), Verdict::Down);
        given.overrides.set_drain(other, true);
    }
    assert_eq!(given.in_table(), [1, 2, 3]);
    // The first and the last key there can be in the pool.
    for (address, port) in [("0.0.0.0", 0), ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", u16::MAX)] {
        given
            .health
            .insert(MemberKey { pool: "web/app".to_owned(), address: address.parse().unwrap(), port }, Verdict::Down);
    }
    given.health.insert(key(2), Verdict::Down);
    given.overrides.set_drain(key(3), true);
    assert_eq!(given.in_table(), [1]);
}

#[test]
fn backups_enter_when_the_last_primary_goes_and_leave_when_the_first_is_back() {
    let mut given = Given::members((1..=6).map(member).collect());
    given.pool.members[4].backup = true;
    given.pool.members[5].backup = true;
    for n in 1..=3 {
        given.health.insert(key(n), Verdict::Down);
        assert_eq!(given.in_table(), (n + 1..=4).collect::<Vec<_>>());
    }
    given.health.insert(key(4), Verdict::Down);
    assert_eq!(given.in_table(), [5, 6]);
    // A backup may be down as well.
    given.health.insert(key(6), Verdict::Down);
    assert_eq!(given.in_table(), [5]);
    given.health.insert(key(2), Verdict::Up);
    assert_eq!(given.in_table(), [2]);
    given.health.insert(key(1), Verdict::Up);
    assert_eq!(given.in_table(), [1, 2]);
}
