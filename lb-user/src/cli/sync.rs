//! `lbctl sync`.

use clap::Subcommand;

use super::{
    Session,
    failure::Failure,
    numbers::{bytes, count, millis},
    table::{Screen, facts, or_dash},
    vrrp::by_reason,
};
use crate::control::{
    protocol::{Request, Response},
    view::sync::{SyncTrafficView, SyncView},
};

/// What can be done with flow sync.
#[derive(Clone, PartialEq, Eq, Debug, Subcommand)]
pub(super) enum Verb {
    /// Show how far it has come, what went each way and what was lost
    #[command(after_help = "\
Examples:
  lbctl sync show
  lbctl -o json sync show | jq .lag_ms")]
    Show,
}

pub(super) fn run(Verb::Show: &Verb, session: &Session) -> Result<(), Failure> {
    let Response::Sync(found) = session.source.ask(&Request::Sync)? else { return Err(Failure::OffTopic) };
    session.output.write(&found, |screen| match &found {
        Some(found) => show(found, screen),
        None => "no flow sync is configured: flows are known to this node only\n".to_owned(),
    })
}

fn show(sync: &SyncView, screen: Screen) -> String {
    facts(
        screen,
        [
            ("state", format!("{} for {}", sync.state.word(), millis(sync.in_state_ms))),
            ("local", sync.local.to_string()),
            ("peer", sync.peer.to_string()),
            ("last_heard", sync.last_heard_ms.map_or_else(|| "never".to_owned(), |age| format!("{} ago", millis(age)))),
            ("lag", or_dash(sync.lag_ms.map(millis))),
            ("sent", traffic(&sync.sent)),
            ("received", traffic(&sync.received)),
            ("adopted", count(sync.adopted)),
            ("refreshed", count(sync.refreshed)),
            ("ended", count(sync.ended)),
            ("refused", by_reason(&sync.refused)),
            ("rejected", by_reason(&sync.rejected)),
            ("datagrams_lost", count(sync.datagrams_lost)),
            ("notes_lost", count(sync.notes_lost)),
            ("queue_dropped", count(sync.queue_dropped)),
            ("rescans", count(sync.rescans)),
        ],
    )
}

fn traffic(traffic: &SyncTrafficView) -> String {
    let flows = format!("{} flows in {} datagrams", count(traffic.flows), count(traffic.datagrams));
    let unknown = match traffic.unknown_records {
        0 => String::new(),
        number => format!(", {} records of unknown kinds", count(number)),
    };
    format!("{flows}, {}{unknown}", bytes(traffic.bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::sample;

    #[test]
    fn what_went_each_way_and_what_was_lost_is_shown() {
        assert_eq!(
            show(&sample::sync(), Screen::default()),
            "state           STREAMING for 3h 4m\n\
             local           198.51.100.1:5405\n\
             peer            198.51.100.2:5405\n\
             last_heard      80 ms ago\n\
             lag             12 ms\n\
             sent            45.6 k flows in 12.3 k datagrams, 4.5 MiB\n\
             received        40 flows in 30 datagrams, 2.0 KiB, 2 records of unknown kinds\n\
             adopted         25\n\
             refreshed       10\n\
             ended           5\n\
             refused         1: place_taken 1\n\
             rejected        7: authentication 7\n\
             datagrams_lost  2\n\
             notes_lost      0\n\
             queue_dropped   0\n\
             rescans         184\n"
        );
        let silent = SyncView { last_heard_ms: None, lag_ms: None, ..sample::sync() };
        let text = show(&silent, Screen::default());
        assert!(text.contains("last_heard      never\nlag             -\n"), "{text}");
    }
}
