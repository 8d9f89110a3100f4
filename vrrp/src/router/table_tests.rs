//! Every state with every input, and exactly what comes of it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use super::*;
use crate::packet::AdvertNotes;
use crate::types::{Family, Vrid};
use crate::{Advert, ChecksumForm};

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const OURS: [u8; 4] = [192, 0, 2, 2];
/// `Skew_Time` of priority 100 at one second, and `Active_Down`.
pub(super) const SKEW: Duration = Duration::from_micros(609_375);
pub(super) const DOWN: Duration = Duration::from_micros(3_609_375);
/// How long a leaving Active waits for its successor: 255/256 s and 50 ms.
pub(super) const HANDOVER: Duration = Duration::from_micros(1_046_093);

pub(super) fn config() -> RouterConfig {
    RouterConfig {
        vrid: Vrid::new(51).unwrap(),
        family: Family::V4,
        version: Version::V3,
        priority: Priority::new(100).unwrap(),
        interval: SECOND,
        preempt: true,
        preempt_delay: Duration::ZERO,
        addresses: vec![IpAddr::from([192, 0, 2, 100])],
        learned_interval_limit: None,
    }
}

pub(super) fn advert_from(last: u8, priority: u8) -> Advert {
    Advert {
        source: IpAddr::from([192, 0, 2, last]),
        priority,
        interval: SECOND,
        checksum: ChecksumForm::PseudoHeader,
        notes: AdvertNotes::default(),
    }
}

/// A router and its clock.
pub(super) struct Bench {
    pub(super) router: Router,
    pub(super) now: Instant,
}

impl Bench {
    /// A router in Initialize, ten seconds after the origin.
    pub(super) fn new(config: RouterConfig) -> Self {
        Self { router: Router::new(config, IpAddr::from(OURS)), now: Instant::from_micros(10_000_000) }
    }

    pub(super) fn backup(config: RouterConfig) -> Self {
        let mut bench = Self::new(config);
        bench.give(Input::Startup);
        assert_eq!(bench.router.state(), State::Backup);
        bench
    }

    pub(super) fn active(config: RouterConfig) -> Self {
        let mut bench = Self::backup(config);
        bench.run_out();
        assert_eq!(bench.router.state(), State::Active);
        bench
    }

    pub(super) fn give(&mut self, input: Input<'_>) -> Vec<Action> {
        let mut actions = Vec::new();
        self.router.handle(self.now, input, &mut actions);
        assert!(actions.len() <= 8, "{actions:?}");
        actions
    }

    pub(super) fn hear(&mut self, advert: Advert) -> Vec<Action> {
        self.give(Input::Advert(&advert))
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now = self.now.plus(time);
    }

    /// Goes to the deadline and tells the router.
    pub(super) fn run_out(&mut self) -> Vec<Action> {
        self.now = self.router.deadline().unwrap();
        self.give(Input::Timeout)
    }

    /// How far away the deadline is.
    pub(super) fn left(&self) -> Option<Duration> {
        self.router.deadline().map(|deadline| deadline.since(self.now))
    }
}

pub(super) fn send(priority: u8) -> Action {
    Action::Send { priority }
}

pub(super) fn moved(from: State, to: State, reason: Reason) -> Action {
    Action::Moved { from, to, reason }
}

pub(super) fn other_active(last: u8, priority: u8) -> Action {
    Action::Noticed(Anomaly::OtherActive { source: IpAddr::from([192, 0, 2, last]), priority })
}

fn equal(last: u8) -> Action {
    Action::Noticed(Anomaly::EqualPriority { source: IpAddr::from([192, 0, 2, last]) })
}

/// One cell of the table.
struct Cell {
    what: &'static str,
    input: Input<'static>,
    actions: Vec<Action>,
    state: State,
    /// How far away the deadline is afterwards.
    left: Option<Duration>,
}

fn cell(
    what: &'static str,
    input: Input<'static>,
    actions: impl Into<Vec<Action>>,
    state: State,
    left: Option<Duration>,
) -> Cell {
    Cell { what, input, actions: actions.into(), state, left }
}

/// Half a second after it came into its state, the router gets one input.
fn check(make: impl Fn() -> Bench, cells: Vec<Cell>) {
    for Cell { what, input, actions, state, left } in cells {
        let mut bench = make();
        bench.pass(SECOND / 2);
        assert_eq!(bench.give(input), actions, "{what}");
        assert_eq!(bench.router.state(), state, "{what}");
        assert_eq!(bench.left(), left, "{what}");
    }
}

/// An advert that lives as long as the table.
fn advert(last: u8, priority: u8) -> Input<'static> {
    Input::Advert(Box::leak(Box::new(advert_from(last, priority))))
}

fn other_config() -> Input<'static> {
    Input::Configure(RouterConfig { interval: SECOND * 2, ..config() })
}

fn other_address() -> Input<'static> {
    Input::PrimaryAddress(IpAddr::from([192, 0, 2, 9]))
}

fn priority(priority: u8) -> Input<'static> {
    Input::Priority(Priority::new(priority).unwrap())
}

/// The inputs that Initialize does not answer at all.
fn silent_in_initialize() -> Vec<Cell> {
    let silent = |what, input| cell(what, input, [], State::Initialize, None);
    vec![
        silent("leaving advert", advert(9, 0)),
        silent("lower advert", advert(9, 90)),
        silent("equal advert", advert(9, 100)),
        silent("higher advert", advert(9, 110)),
        silent("owner's advert", advert(9, 255)),
        silent("timeout", Input::Timeout),
        silent("configure", other_config()),
        silent("primary address", other_address()),
        silent("fault", Input::Fault(true)),
        silent("fault over", Input::Fault(false)),
        silent("priority", priority(50)),
        silent("stalled", Input::Stalled(SECOND * 60)),
        silent("failover", Input::Failover),
        silent("pause", Input::Pause),
        silent("resumed", Input::Resumed),
    ]
}

#[test]
fn initialize_starts_ends_resumes_and_does_nothing_else() {
    use State::{Active, Backup, Initialize};
    let mut cells = silent_in_initialize();
    let promoted =
        vec![send(100), Action::SetActive(true), Action::Announce, moved(Initialize, Active, Reason::Resumed)];
    let late = [Action::SetActive(true), moved(Initialize, Backup, Reason::ResumedLate)];
    cells.extend([
        cell("startup", Input::Startup, [moved(Initialize, Backup, Reason::Startup)], Backup, Some(DOWN)),
        cell("shutdown", Input::Shutdown, [Action::Finished], Initialize, None),
        cell("resume", Input::Resume { held: SECOND * 3 }, promoted, Active, Some(SECOND)),
        cell("resume too late", Input::Resume { held: DOWN }, late, Backup, Some(DOWN)),
    ]);
    check(|| Bench::new(config()), cells);
}

#[test]
fn initialize_of_an_owner_is_active_at_once() {
    let owner = || Bench::new(RouterConfig { priority: Priority::OWNER, ..config() });
    let promoted = [
        send(255),
        Action::SetActive(true),
        Action::Announce,
        moved(State::Initialize, State::Active, Reason::Startup),
    ];
    check(owner, vec![cell("startup", Input::Startup, promoted, State::Active, Some(SECOND))]);
    check(owner, silent_in_initialize());
}

#[test]
fn backup_with_preemption() {
    use State::{Active, Backup, Initialize};
    let left = DOWN - SECOND / 2;
    let same = |what, input| cell(what, input, [], Backup, Some(left));
    let again = |what, input| cell(what, input, [], Backup, Some(DOWN));
    let gone = |what, input, reason| cell(what, input, [moved(Backup, Initialize, reason)], Initialize, None);
    check(
        || Bench::backup(config()),
        vec![
            same("startup again", Input::Startup),
            same("resume after startup", Input::Resume { held: SECOND }),
            cell(
                "shutdown",
                Input::Shutdown,
                [moved(Backup, Initialize, Reason::Shutdown), Action::Finished],
                Initialize,
                None,
            ),
            same("timeout before the deadline", Input::Timeout),
            cell("leaving advert", advert(9, 0), [], Backup, Some(SKEW)),
            same("lower advert", advert(9, 99)),
            cell("equal advert of a higher address", advert(9, 100), [equal(9)], Backup, Some(DOWN)),
            cell("equal advert of a lower address", advert(1, 100), [equal(1)], Backup, Some(DOWN)),
            again("higher advert", advert(1, 101)),
            again("owner's advert", advert(1, 255)),
            cell("configure", other_config(), [], Backup, Some(SECOND * 6 + SKEW * 2)),
            same("the same configuration", Input::Configure(config())),
            same("primary address", other_address()),
            gone("fault", Input::Fault(true), Reason::Fault),
            same("no fault", Input::Fault(false)),
            same("priority", priority(50)),
            same("stalled for a moment", Input::Stalled(DOWN)),
            cell(
                "stalled",
                Input::Stalled(DOWN + SECOND),
                [Action::Noticed(Anomaly::Stalled { by: DOWN + SECOND })],
                Backup,
                Some(DOWN),
            ),
            same("failover", Input::Failover),
            gone("pause", Input::Pause, Reason::Paused),
            same("resumed", Input::Resumed),
        ],
    );
    let mut bench = Bench::backup(config());
    let promoted = [send(100), Action::SetActive(true), Action::Announce, moved(Backup, Active, Reason::Silence)];
    assert_eq!(bench.run_out(), promoted);
    assert_eq!(bench.left(), Some(SECOND));
}

#[test]
fn backup_without_preemption_takes_a_lower_active_for_its_active() {
    let passive = || Bench::backup(RouterConfig { preempt: false, ..config() });
    let again = |what, input| cell(what, input, [], State::Backup, Some(DOWN));
    let cells = vec![
        cell("leaving advert", advert(9, 0), [], State::Backup, Some(SKEW)),
        again("lower advert", advert(9, 1)),
        cell("equal advert", advert(9, 100), [equal(9)], State::Backup, Some(DOWN)),
        again("higher advert", advert(9, 200)),
    ];
    check(passive, cells);
}

#[test]
fn active() {
    use State::{Active, Backup, Initialize};
    let half = Some(SECOND / 2);
    let tenth = Some(ANNOUNCE_GAP);
    let same = |what, input| cell(what, input, [], Active, half);
    let left = |what, input, reason| {
        cell(what, input, [send(0), moved(Active, Initialize, reason)], Initialize, Some(HANDOVER))
    };
    let yields = |reason| vec![send(100), Action::SetActive(false), moved(Active, Backup, reason)];
    let with = |mut actions: Vec<Action>, more: &[Action]| {
        actions.extend(more);
        actions
    };
    let higher = Reason::HigherPriority;
    check(
        || Bench::active(config()),
        vec![
            same("startup again", Input::Startup),
            same("resume after startup", Input::Resume { held: SECOND }),
            left("shutdown", Input::Shutdown, Reason::Shutdown),
            same("timeout before the deadline", Input::Timeout),
            cell("leaving advert", advert(9, 0), [send(100), Action::Announce, other_active(9, 0)], Active, tenth),
            cell("lower advert", advert(9, 99), [send(100), Action::Announce, other_active(9, 99)], Active, tenth),
            cell(
                "equal advert of a lower address",
                advert(1, 100),
                [send(100), Action::Announce, other_active(1, 100), equal(1)],
                Active,
                tenth,
            ),
            cell(
                "equal advert of a higher address",
                advert(9, 100),
                with(yields(Reason::HigherAddress), &[other_active(9, 100), equal(9)]),
                Backup,
                Some(DOWN),
            ),
            cell("higher advert", advert(1, 101), with(yields(higher), &[other_active(1, 101)]), Backup, Some(DOWN)),
            cell("owner's advert", advert(1, 255), with(yields(higher), &[other_active(1, 255)]), Backup, Some(DOWN)),
            cell("configure", other_config(), [send(100)], Active, Some(SECOND * 2)),
            same("the same configuration", Input::Configure(config())),
            cell("primary address", other_address(), [send(100)], Active, Some(SECOND)),
            left("fault", Input::Fault(true), Reason::Fault),
            same("no fault", Input::Fault(false)),
            cell("priority", priority(50), [send(50)], Active, Some(SECOND)),
            same("stalled for a moment", Input::Stalled(DOWN)),
            cell(
                "stalled",
                Input::Stalled(DOWN + SECOND),
                [Action::Noticed(Anomaly::Stalled { by: DOWN + SECOND })],
                Active,
                Some(SECOND),
            ),
            cell("failover", Input::Failover, [send(0), moved(Active, Backup, Reason::Failover)], Backup, Some(DOWN)),
            left("pause", Input::Pause, Reason::Paused),
            same("resumed", Input::Resumed),
        ],
    );
}

#[test]
fn active_without_preemption_answers_a_lower_advert_all_the_same() {
    let passive = || Bench::active(RouterConfig { preempt: false, ..config() });
    let answered = [send(100), Action::Announce, other_active(9, 99)];
    check(passive, vec![cell("lower advert", advert(9, 99), answered, State::Active, Some(ANNOUNCE_GAP))]);
}

#[test]
fn an_active_sends_at_its_own_interval_and_keeps_the_beat() {
    let mut bench = Bench::active(config());
    let began = bench.now;
    for beat in 1..=3 {
        // A little late each time, which does not add up.
        bench.now = bench.router.deadline().unwrap().plus(Duration::from_millis(2));
        assert_eq!(bench.give(Input::Timeout), [send(100)]);
        assert_eq!(bench.router.deadline(), Some(began.plus(SECOND * (beat + 1))));
    }
    // So late that the next would be due: one advert, not a burst.
    bench.pass(SECOND * 5);
    assert_eq!(bench.give(Input::Timeout), [send(100)]);
    assert_eq!(bench.left(), Some(SECOND));
}

#[test]
fn the_adver_timer_is_restarted_by_a_leaving_advert_and_not_by_a_lower_one() {
    for (theirs, left) in [(0, SECOND), (99, SECOND / 2)] {
        let mut bench = Bench::active(config());
        bench.pass(SECOND / 2);
        bench.hear(advert_from(9, theirs));
        let heard = bench.now;
        assert_eq!(bench.run_out(), [Action::Announce]);
        assert_eq!(bench.run_out(), [send(100)]);
        assert_eq!(bench.now.since(heard), left, "{theirs}");
    }
}

#[test]
fn a_backup_waits_by_the_interval_that_it_learned_and_sends_at_its_own() {
    let mut bench = Bench::backup(config());
    bench.hear(Advert { interval: Duration::from_millis(100), ..advert_from(9, 200) });
    assert_eq!(bench.left(), Some(Duration::from_micros(360_937)), "learned");
    assert_eq!(bench.router.active_down(), DOWN / 10);
    bench.hear(advert_from(9, 0));
    assert_eq!(bench.left(), Some(Duration::from_micros(60_937)), "Skew_Time by the learned interval");
    assert_eq!(bench.run_out()[0], send(100));
    assert_eq!(bench.left(), Some(SECOND), "its own");
}

#[test]
fn a_discarded_lower_advert_teaches_nothing() {
    let mut bench = Bench::backup(config());
    bench.hear(Advert { interval: SECOND * 40, ..advert_from(9, 99) });
    assert_eq!(bench.router.active_down(), DOWN);
    assert_eq!(bench.left(), Some(DOWN));
    assert_eq!(bench.run_out()[3], moved(State::Backup, State::Active, Reason::Preempted));
}

#[test]
fn version_2_skews_by_a_fraction_of_a_second() {
    let config = RouterConfig { version: Version::V2, interval: SECOND * 3, ..config() };
    let mut bench = Bench::backup(config);
    assert_eq!(bench.left(), Some(SECOND * 9 + SKEW));
    bench.hear(Advert { interval: SECOND * 3, ..advert_from(9, 0) });
    assert_eq!(bench.left(), Some(SKEW));
}

#[test]
fn at_the_shortest_interval_skew_time_still_orders_the_backups() {
    let with = |priority| {
        let priority = Priority::new(priority).unwrap();
        Bench::backup(RouterConfig { interval: Duration::from_millis(10), priority, ..config() }).left().unwrap()
    };
    assert_eq!(with(254), Duration::from_micros(30_078));
    assert_eq!(with(100), Duration::from_micros(36_093));
    assert!((1..254).all(|priority| with(priority) > with(priority + 1)));
}

#[test]
fn an_owner_that_hears_another_owner_gives_way_to_the_higher_address() {
    let owner = RouterConfig { priority: Priority::OWNER, preempt: false, ..config() };
    let mut bench = Bench::new(owner);
    bench.give(Input::Startup);
    let second = |last| Action::Noticed(Anomaly::SecondOwner { source: IpAddr::from([192, 0, 2, last]) });
    bench.pass(SECOND / 2);
    assert_eq!(
        bench.hear(advert_from(1, 255)),
        [send(255), Action::Announce, other_active(1, 255), second(1)],
        "the lower address"
    );
    let yielded = [send(255), Action::SetActive(false), moved(State::Active, State::Backup, Reason::HigherAddress)];
    assert_eq!(bench.hear(advert_from(9, 255)), yielded, "the higher address");
    // An owner preempts whatever its configuration says.
    bench.hear(advert_from(9, 254));
    assert_eq!(bench.run_out()[3], moved(State::Backup, State::Active, Reason::Preempted));
}

#[test]
fn ipv6_addresses_are_compared_as_16_unsigned_bytes() {
    let ours: IpAddr = "fe80::80".parse().unwrap();
    for (theirs, yields) in [("fe80::7f", false), ("fe80::81", true), ("fe80:0:0:1::1", true)] {
        let mut router = Router::new(config(), ours);
        let mut actions = Vec::new();
        router.handle(Instant::default(), Input::Startup, &mut actions);
        router.handle(router.deadline().unwrap(), Input::Timeout, &mut actions);
        let advert = Advert { source: theirs.parse().unwrap(), ..advert_from(1, 100) };
        router.handle(router.deadline().unwrap(), Input::Advert(&advert), &mut actions);
        assert_eq!(router.state() == State::Backup, yields, "{theirs}");
    }
}

#[test]
fn what_an_active_is_told_is_in_the_very_next_advert() {
    let mut bench = Bench::active(config());
    bench.pass(SECOND / 2);
    assert_eq!(bench.give(priority(50)), [send(50)]);
    assert_eq!(bench.run_out(), [send(50)]);
    let addresses = vec![IpAddr::from([192, 0, 2, 101])];
    assert_eq!(
        bench.give(Input::Configure(RouterConfig { addresses: addresses.clone(), ..config() })),
        [send(50), Action::Announce]
    );
    assert_eq!(bench.router.config().addresses, addresses);
}

#[test]
fn tracking_can_neither_make_an_owner_nor_unmake_one() {
    let mut bench = Bench::backup(config());
    bench.give(priority(255));
    assert_eq!(bench.router.priority(), Priority::HIGHEST);
    let mut owner = Bench::new(RouterConfig { priority: Priority::OWNER, ..config() });
    owner.give(priority(10));
    assert_eq!(owner.router.priority(), Priority::OWNER);
}
