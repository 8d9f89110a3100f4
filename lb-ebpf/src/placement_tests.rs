#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use lb_common::{pool::ForwardMode, protocol::Transport, time::Tick};

use super::*;
use crate::host::{Arrays as _, HostTables, OwnedArrays};

const HZ_SHIFT: u64 = 8;

/// Tables at a tick.
fn tables(tick: u64) -> HostTables<std::sync::Arc<OwnedArrays>> {
    let arrays = std::sync::Arc::new(OwnedArrays::new(1024, 1024));
    let config = arrays.config();
    config.idle_limits.store(IdleLimits { unconfirmed: 5, tcp: 3600, tcp_closing: 20, udp: 60 }.to_word(), Relaxed);
    config.seed.store(7, Relaxed);
    config.version.store(u64::from(lb_common::config::ABI_VERSION) | HZ_SHIFT << 32, Relaxed);
    HostTables::new(arrays, tick << HZ_SHIFT)
}

fn word(stage: PlacementStage, member: u16, tick: u16) -> u64 {
    PlacementWord::new(stage, member, 1, ForwardMode::Dsr, Transport::Tcp, Tick(tick)).0
}

/// Ways of a bucket.
const WAYS: usize = LINES as usize * 4;

/// Fingerprints that lie in one bucket.
fn of_one_bucket() -> impl Iterator<Item = u64> {
    (1..).map(|n| 4 << 32 | n)
}

#[test]
fn what_was_recorded_is_found_and_recorded_again_in_its_place() {
    let tables = tables(100);
    for (n, fingerprint) in (1..).zip(of_one_bucket().take(WAYS)) {
        assert_ne!(record(&tables, fingerprint, word(PlacementStage::Established, n, 100)), 0);
    }
    for (n, fingerprint) in (1..).zip(of_one_bucket().take(WAYS)) {
        let way = Spot(find(&tables, fingerprint)).placement(&tables).unwrap();
        assert_eq!((way.word().member(), way.fingerprint.load(Relaxed)), (n, fingerprint));
        assert_ne!(record(&tables, fingerprint, word(PlacementStage::Established, n + 100, 100)), 0);
        assert_eq!(way.word().member(), n + 100);
    }
    assert!(Spot(find(&tables, 5 << 32)).placement(&tables).is_none());
}

#[test]
fn an_established_flow_in_use_is_displaced_by_nobody() {
    let tables = tables(100);
    for fingerprint in of_one_bucket().take(WAYS) {
        record(&tables, fingerprint, word(PlacementStage::Established, 1, 100));
    }
    for fingerprint in of_one_bucket().skip(WAYS).take(1000) {
        assert_eq!(record(&tables, fingerprint, word(PlacementStage::New, 2, 100)), 0);
    }
    assert!(of_one_bucket().take(WAYS).all(|f| Spot(find(&tables, f)).placement(&tables).is_some()));
}

#[test]
fn a_flow_that_a_change_moved_lives_as_long_as_an_established_one_and_gives_way_last() {
    let later = tables(3600);
    let moved = PlacementWord(word(PlacementStage::Moved, 1, 100));
    assert!(!is_idle(&Moment::read(&later).unwrap(), moved, 0));
    assert!(is_idle(&Moment::read(&tables(3800)).unwrap(), moved, 0));
    let tables = tables(100);
    let stages =
        [PlacementStage::Moved, PlacementStage::New].into_iter().chain([PlacementStage::Established; WAYS - 2]);
    for (fingerprint, stage) in of_one_bucket().zip(stages) {
        record(&tables, fingerprint, word(stage, 1, 100));
    }
    let way = |nth: usize| Spot(find(&tables, of_one_bucket().nth(nth).unwrap())).placement(&tables);
    // Who floods displaces what is new, his own first of all.
    for newcomer in of_one_bucket().skip(100).take(1000) {
        assert_ne!(record(&tables, newcomer, word(PlacementStage::New, 2, 100)), 0);
    }
    assert!(way(1).is_none());
    let moment = Moment::read(&tables).unwrap();
    let found = way(0).unwrap();
    note(&tables, &moment, Spot::NONE, (found, found.word()), false, false);
    assert_eq!(found.word().stage(), PlacementStage::Established);
}

#[test]
fn idle_goes_before_closing_and_closing_before_new() {
    let tables = tables(100);
    let stages = [
        (PlacementStage::Established, 100),
        (PlacementStage::Established, 100),
        (PlacementStage::Session, 100),
        (PlacementStage::Established, 99),
        (PlacementStage::New, 100),
        (PlacementStage::New, 90),
        (PlacementStage::Closing, 100),
        (PlacementStage::Established, 100),
    ];
    let stages = stages.into_iter().chain(std::iter::repeat((PlacementStage::Established, 100)));
    for (fingerprint, (stage, tick)) in of_one_bucket().take(WAYS).zip(stages) {
        record(&tables, fingerprint, PlacementWord(word(stage, 1, tick)).known(true).0);
    }
    let gone = |nth: usize| Spot(find(&tables, of_one_bucket().nth(nth).unwrap())).placement(&tables).is_none();
    let mut newcomers = of_one_bucket().skip(100);
    for (next, expected) in [(5, "idle"), (6, "closing"), (4, "new")] {
        assert!(!gone(next), "{expected}");
        let newcomer = newcomers.next().unwrap();
        assert_ne!(record(&tables, newcomer, word(PlacementStage::Established, 2, 100)), 0);
        assert!(gone(next), "{expected}");
    }
    assert_eq!(record(&tables, newcomers.next().unwrap(), word(PlacementStage::Established, 2, 100)), 0);
}

#[test]
fn a_client_of_whom_no_flow_went_on_gives_way_and_one_that_answered_does_not() {
    let tables = tables(100);
    let session = |known| PlacementWord(word(PlacementStage::Session, 1, 100)).known(known).0;
    let real = of_one_bucket().next().unwrap();
    assert_ne!(record(&tables, real, session(false)), 0);
    assert_ne!(record(&tables, real, session(true)), 0);
    // Any number of forged addresses fill the rest of the bucket and displace each
    // other there, and a flow that begins finds room.
    for forged in of_one_bucket().skip(1).take(1000) {
        assert_ne!(record(&tables, forged, session(false)), 0);
    }
    assert_ne!(record(&tables, of_one_bucket().nth(2000).unwrap(), word(PlacementStage::New, 2, 100)), 0);
    let way = Spot(find(&tables, real)).placement(&tables).unwrap();
    assert!(way.word().is_known());
}

#[test]
fn only_the_first_packet_by_which_a_flow_goes_on_says_so() {
    let tables = tables(100);
    let first = of_one_bucket().next().unwrap();
    let spot = Spot(record(&tables, first, word(PlacementStage::New, 1, 100)));
    let moment = Moment::read(&tables).unwrap();
    let way = spot.placement(&tables).unwrap();
    let hear = |opens, ends| note(&tables, &moment, spot, (way, way.word()), opens, ends);
    assert_eq!(
        [hear(true, false), hear(false, false), hear(false, false), hear(false, true)],
        [false, true, false, false]
    );
}

#[test]
fn a_counted_flow_that_is_displaced_or_ends_is_counted_out_once() {
    let tables = tables(100);
    let live = || tables.arrays.member_loads()[1].live.load(Relaxed) as i64;
    let counted = PlacementWord(word(PlacementStage::New, 1, 90)).counted(true);
    let first = of_one_bucket().next().unwrap();
    live::began(&tables, 1, 1);
    assert_ne!(record(&tables, first, counted.0), 0);
    let moment = Moment::read(&tables).unwrap();
    let spot = Spot(find(&tables, first));
    let way = spot.placement(&tables).unwrap();
    note(&tables, &moment, spot, (way, way.word()), false, true);
    assert_eq!((live(), way.word().stage()), (0, PlacementStage::Closing));
    note(&tables, &moment, spot, (way, way.word()), false, true);
    assert_eq!(live(), 0);
    live::began(&tables, 1, 1);
    record(&tables, first, counted.0);
    assert_ne!(record(&tables, first, word(PlacementStage::New, 2, 100)), 0);
    assert_eq!(live(), 0, "who was displaced is counted out");
}

#[test]
fn a_spot_survives_its_word() {
    for (line, way) in [(0, 0), (65535, 3), (12345, 2)] {
        let spot = Spot::new(line, way);
        let back = Spot::above(spot.over(0xabcd));
        assert_eq!((back.0, spot.over(0xabcd) as u16), (spot.0, 0xabcd));
    }
    assert_eq!(Spot::above(Spot::NONE.over(7)).0 >> 63, 0);
}
