//! Waiting until another router has taken over what an instance was told to
//! give away.
//!
//! An Active does not hear the Backups, so nobody knows beforehand whether there
//! is one. It is known when the next one speaks.

use std::{
    net::IpAddr,
    thread,
    time::{Duration, Instant},
};

use super::failure::Failure;
use crate::control::view::vrrp::{VrrpState, VrrpView};

/// How often is looked. The move itself takes milliseconds.
const LOOK: Duration = Duration::from_millis(20);

/// What the protocol's own time limit is exceeded by at most.
const SLACK: Duration = Duration::from_secs(2);

/// Nobody is waited for longer.
const LONGEST: Duration = Duration::from_secs(300);

/// What has become of an instance that gives its place away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    /// It is not decided.
    Open,
    /// Another router has taken over.
    TakenOver(IpAddr, u8),
    /// Nobody has, and this node went on.
    CameBack,
}

/// Who took over, and how long it took until that was seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TakenOver {
    pub(super) by: IpAddr,
    pub(super) priority: u8,
    pub(super) within: Duration,
}

/// Looks at an instance until another router has taken over from it. `before`
/// is the instance as it was told to go.
///
/// # Errors
/// When nobody has: it came back, or time is up.
pub(super) fn wait(
    before: &VrrpView,
    mut look: impl FnMut() -> Result<VrrpView, Failure>,
) -> Result<TakenOver, Failure> {
    let (began, limit) = (Instant::now(), limit(before));
    loop {
        let elapsed = began.elapsed();
        let now = look()?;
        match outcome(before, &now, elapsed) {
            Outcome::TakenOver(by, priority) => return Ok(TakenOver { by, priority, within: began.elapsed() }),
            Outcome::CameBack => return Err(Failure::NobodyTookOver(came_back(&now))),
            Outcome::Open if elapsed > limit => return Err(Failure::NobodyTookOver(nobody(&now, elapsed))),
            Outcome::Open => thread::sleep(LOOK),
        }
    }
}

/// The silence after which a Backup takes over, and a little more.
fn limit(before: &VrrpView) -> Duration {
    let silence = before.timers.active_down_micros.max(before.timers.advert_interval_micros.saturating_mul(4));
    (Duration::from_micros(silence) + SLACK).min(LONGEST)
}

fn outcome(before: &VrrpView, now: &VrrpView, elapsed: Duration) -> Outcome {
    let active = now.state == VrrpState::Active;
    if active && now.counters.transitions > before.counters.transitions {
        return Outcome::CameBack;
    }
    let successor = now.heard_last().filter(|peer| u128::from(peer.heard_millis) <= elapsed.as_millis());
    match successor {
        Some(peer) if !active && !now.carrying => Outcome::TakenOver(peer.address, peer.priority),
        _ => Outcome::Open,
    }
}

fn came_back(now: &VrrpView) -> String {
    format!(
        "{} is Active here again, because no other router took over: see on the other node whether VRRP runs there, \
         and whether adverts pass",
        now.name
    )
}

fn nobody(now: &VrrpView, elapsed: Duration) -> String {
    let name = &now.name;
    let (state, seconds) = (now.state.word(), elapsed.as_secs_f64());
    let remedy = if now.paused {
        format!("its addresses are served by nobody: `lbctl vrrp resume {name}` takes them back")
    } else {
        format!("`lbctl vrrp show {name}` tells what it waits for")
    };
    format!("{name} is {state} here and no other Active was heard within {seconds:.1} s; {remedy}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

    use super::*;
    use crate::{
        cli::sample,
        control::view::vrrp::{PeerView, VrrpCountersView},
    };

    /// An instance after so many transitions more than the sample's.
    fn after(state: VrrpState, carrying: bool, transitions: u64, heard: Option<(u8, u64)>) -> VrrpView {
        let before = sample::vrrp();
        let peer = |(priority, heard_millis)| PeerView { priority, heard_millis, ..before.peers[0].clone() };
        let transitions = before.counters.transitions + transitions;
        VrrpView {
            state,
            carrying,
            peers: heard.map(peer).into_iter().collect(),
            counters: VrrpCountersView { transitions, ..before.counters.clone() },
            ..before
        }
    }

    #[test]
    fn it_is_over_when_the_next_one_has_spoken_and_this_one_has_let_go() {
        use VrrpState::{Active, Backup, Initialize};
        let elapsed = Duration::from_millis(50);
        let peer = IpAddr::from([192, 0, 2, 3]);
        for (now, expected) in [
            // Not begun; carrying on until the next one speaks.
            (after(Active, true, 0, None), Outcome::Open),
            (after(Active, true, 0, Some((90, 10))), Outcome::Open),
            (after(Backup, true, 1, None), Outcome::Open),
            (after(Backup, true, 1, Some((90, 10))), Outcome::Open),
            // Let go: heard before it was told to go, saying goodbye, heard since.
            (after(Backup, false, 1, None), Outcome::Open),
            (after(Backup, false, 1, Some((90, 51))), Outcome::Open),
            (after(Backup, false, 1, Some((0, 10))), Outcome::Open),
            (after(Backup, false, 1, Some((90, 10))), Outcome::TakenOver(peer, 90)),
            (after(Initialize, false, 1, Some((90, 0))), Outcome::TakenOver(peer, 90)),
            // Nobody was there.
            (after(Active, true, 2, None), Outcome::CameBack),
        ] {
            assert_eq!(outcome(&sample::vrrp(), &now, elapsed), expected, "{now:?}");
        }
    }

    #[test]
    fn it_is_looked_again_until_it_is_decided() {
        let mut looks = vec![
            after(VrrpState::Backup, false, 1, Some((90, 0))),
            after(VrrpState::Backup, true, 1, None),
            after(VrrpState::Active, true, 0, None),
        ];
        let taken_over = wait(&sample::vrrp(), || Ok(looks.pop().unwrap())).unwrap();
        assert_eq!((taken_over.by, taken_over.priority), (IpAddr::from([192, 0, 2, 3]), 90));
        let failure = wait(&sample::vrrp(), || Ok(after(VrrpState::Active, true, 2, None))).unwrap_err();
        assert!(failure.to_string().contains("front is Active here again"), "{failure}");
    }

    #[test]
    fn the_wait_has_an_end_that_follows_from_the_timers() {
        let mut before = sample::vrrp();
        assert_eq!(limit(&before), Duration::from_micros(400_000) + SLACK);
        before.timers.active_down_micros = u64::MAX;
        assert_eq!(limit(&before), LONGEST);
        let mut paused = after(VrrpState::Initialize, false, 1, None);
        paused.paused = true;
        let text = nobody(&paused, Duration::from_millis(2400));
        assert!(text.contains("within 2.4 s") && text.contains("`lbctl vrrp resume front` takes them back"), "{text}");
    }
}
