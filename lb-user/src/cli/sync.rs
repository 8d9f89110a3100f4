//! `lbctl sync`.

use clap::Subcommand;

use super::{
    Session,
    failure::Failure,
    numbers::{bytes, count, millis},
    table::{Screen, facts, listing, or_dash},
    vrrp::by_reason,
};
use crate::control::{
    protocol::{Request, Response},
    view::sync::{AdoptedView, LossView, PassView, PeerPassView, SyncTrafficView, SyncView},
};
use crate::ha::sync::Reason;

/// What can be done with flow sync.
#[derive(Clone, PartialEq, Eq, Debug, Subcommand)]
pub(super) enum Verb {
    /// Show how far it has come, what went each way and what was lost
    #[command(after_help = "\
Examples:
  lbctl sync show
  lbctl -o json sync show | jq .lag_millis")]
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
    let became =
        |taken: &AdoptedView| format!("{} new, {} refreshed, {} ended", taken.new, taken.refreshed, taken.ended);
    let seeds = match sync.seeds_match {
        Some(true) => "yes",
        Some(false) => "no: give both nodes one hash_seed, or flows that are lost on the way find other SNAT ports",
        None => "not known yet",
    };
    let mut text = facts(
        screen,
        [
            ("state", format!("{} for {}", sync.state.word(), millis(sync.state_millis))),
            ("socket_problem", or_dash(sync.socket_problem.as_ref())),
            ("local", sync.local.to_string()),
            ("peer", sync.peer.to_string()),
            ("heard", sync.heard_millis.map_or_else(|| "never".to_owned(), |age| format!("{} ago", millis(age)))),
            ("peer_starts", sync.peer_starts.to_string()),
            ("seeds_match", seeds.to_owned()),
            ("lag", millis(sync.lag_millis)),
            ("queued", count(sync.queued)),
            ("under_way", count(sync.under_way)),
            ("sent", traffic(&sync.sent)),
            ("received", traffic(&sync.received)),
            ("adopted", became(&sync.adopted)),
            ("not adopted", by_reason(&sync.adopted.refused)),
            ("placements", became(&sync.adopted_placements)),
            ("no placements", by_reason(&sync.adopted_placements.refused)),
            ("peer_adopted", count(sync.peer_adopted)),
            ("peer_refused", count(sync.peer_refused)),
            ("passes", passes(&sync.passes)),
            ("peer_passes", peer_passes(&sync.peer_passes)),
            ("peer_flows", or_dash(sync.peer_flows)),
            ("unknown_records", count(sync.unknown_records)),
            ("malformed_records", count(sync.malformed_records)),
            ("refused", by_reason(&sync.refused)),
        ],
    );
    text.push('\n');
    text.push_str(&lost(&sync.lost, screen));
    text
}

fn traffic(traffic: &SyncTrafficView) -> String {
    let SyncTrafficView { datagrams, bytes: size, flows, placements } = *traffic;
    let [flows, placements, datagrams] = [flows, placements, datagrams].map(count);
    format!("{flows} flows and {placements} placements in {datagrams} datagrams, {}", bytes(size))
}

const fn in_words(reason: Reason) -> &'static str {
    match reason {
        Reason::Regular => "by the clock",
        Reason::Loss => "after a loss",
        Reason::PeerAppeared => "for a peer that appeared",
    }
}

/// How often the whole table went over, and how the last time was.
fn passes(passes: &PassView) -> String {
    let mut text = format!("{} of the whole table", count(passes.finished));
    if let (Some(reason), Some(flows), Some(took)) = (passes.last, passes.last_flows, passes.last_millis) {
        let placements = count(passes.last_placements.unwrap_or_default());
        let (flows, took) = (count(flows), millis(took));
        text.push_str(&format!("; the last {}: {flows} flows, {placements} placements in {took}", in_words(reason)));
    }
    if let Some(reason) = passes.running {
        text.push_str(&format!("; one {} under way: {} flows so far", in_words(reason), count(passes.running_flows)));
    }
    text
}

fn peer_passes(passes: &PeerPassView) -> String {
    let coming = if passes.running { "; one is coming in" } else { "" };
    match (passes.finished, passes.last_flows) {
        (0, _) => format!("none: this node does not know all flows of the other{coming}"),
        (finished, Some(flows)) => {
            let placements = count(passes.last_placements.unwrap_or_default());
            format!("{}; the last of {} flows, {placements} placements{coming}", count(finished), count(flows))
        }
        (finished, None) => format!("{}{coming}", count(finished)),
    }
}

/// What did not arrive, by where it was lost.
fn lost(lost: &LossView, screen: Screen) -> String {
    let rows = [
        ("sent", lost.sent, "datagrams that did not arrive in time"),
        ("resent", lost.resent, "datagrams sent again"),
        ("given_up", lost.given_up, "datagrams sent again too often: the whole table followed"),
        ("told", lost.told, "datagrams that the other node says never came"),
        ("received", lost.received, "datagrams of the other node that never came"),
        ("notes", lost.notes, "notes of the data path overwritten before they were read"),
        ("untold", lost.untold, "notes read while nobody was there to be told"),
        ("dropped", lost.dropped, "flows that found a queue full"),
        ("unsayable", lost.unsayable, "flows of two address families, which cannot be sent"),
        ("not_sent", lost.not_sent, "datagrams that the host's network did not take"),
    ];
    let rows = rows.map(|(what, number, meaning)| [what.to_owned(), count(number), meaning.to_owned()]);
    listing(screen, ["LOST", "COUNT", "MEANING"], &["COUNT"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::sample;

    fn has(text: &str, line: &str) {
        assert!(text.lines().any(|l| l == line), "no {line:?} in\n{text}");
    }

    #[test]
    fn what_went_each_way_and_what_was_lost_is_shown() {
        let text = show(&sample::sync(), Screen::default());
        for line in [
            "state              PRESENT for 3h 4m",
            "peer               198.51.100.2:5405",
            "heard              80 ms ago",
            "seeds_match        yes",
            "lag                12 ms",
            "sent               45.6 k flows and 120 placements in 12.3 k datagrams, 4.5 MiB",
            "received           41 flows and 8 placements in 30 datagrams, 2.0 KiB",
            "adopted            25 new, 10 refreshed, 5 ended",
            "not adopted        1: place_taken 1",
            "placements         5 new, 2 refreshed, 0 ended",
            "no placements      1: unknown_member 1",
            "passes             184 of the whole table; the last by the clock: 40.0 k flows, 90 placements in 1250 ms; one after a loss \
             under way: 100 flows so far",
            "peer_passes        2; the last of 45 flows, 7 placements",
            "refused            7: authentication 7",
            "LOST       COUNT  MEANING",
            "sent           2  datagrams that did not arrive in time",
            "notes         17  notes of the data path overwritten before they were read",
        ] {
            has(&text, line);
        }
    }

    #[test]
    fn a_peer_that_is_not_there_and_flows_that_are_not_known_are_told() {
        let mut sync = sample::sync();
        (sync.heard_millis, sync.seeds_match) = (None, Some(false));
        sync.socket_problem = Some("bind 198.51.100.1:5405: address not available".to_owned());
        sync.peer_passes = PeerPassView { running: true, ..PeerPassView::default() };
        let text = show(&sync, Screen::default());
        has(&text, "heard              never");
        has(&text, "socket_problem     bind 198.51.100.1:5405: address not available");
        has(&text, "peer_passes        none: this node does not know all flows of the other; one is coming in");
        assert!(text.contains("seeds_match        no: give both nodes one hash_seed"), "{text}");
    }
}
