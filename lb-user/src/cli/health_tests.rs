//! What is shown of health monitors.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::UNIX_EPOCH;

use super::*;
use crate::cli::sample;

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(sample::NOW)
}

fn listed(found: &HealthListView) -> String {
    list(found, false, now(), Screen::default())
}

#[test]
fn members_are_listed_with_what_they_were_asked_and_answered_and_how_the_monitors_fare() {
    assert_eq!(
        listed(&sample::health_list()),
        "NAME            TYPE  PROBED                      VERDICT    FOR  LAST RESULT                  TOOK  AGAINST  NOTE\n\
         web/app/app-1   PING  198.51.100.11               UP       5m 0s  echoes                    0.31 ms   0 of 3  drained by an operator\n\
         web/app/app-2   HTTP  198.51.100.12:9090/healthz  DOWN     5m 0s  status 503, expected 200  1.42 ms  1 of 16  flaps: needs 16 successes in a row\n\
         web/app/app-10  HTTP  198.51.100.12:9090/healthz  -            -  -                               -   0 of 3\n\
         \n\
         3 members watched: 1 up, 1 down, 1 not known yet, 1 of them flaps; 2 probes under way; none was late\n"
    );
}

#[test]
fn where_nobody_is_listed_it_is_said_why() {
    let none = HealthListView { members: Vec::new(), matching: 0, ..sample::health_list() };
    assert!(list(&none, true, now(), Screen::default()).starts_with("no member fails\n\n3 members watched"));
    let nobody = HealthListView::default();
    let words = "no member is watched\n\n0 members watched: 0 up, 0 down; 0 probes under way; none was late\n";
    assert_eq!(listed(&nobody), words);
}

#[test]
fn members_that_were_left_out_are_counted() {
    let some = HealthListView { matching: 5000, ..sample::health_list() };
    assert!(listed(&some).contains("\n(3 of 5000 members; --limit shows more)\n"));
}

#[test]
fn a_host_that_is_too_busy_is_told_loudly() {
    let busy = HealthSummaryView { late: 12, not_asked: 3, ..sample::health_summary() };
    let found = HealthListView { summary: busy, ..sample::health_list() };
    assert!(listed(&found).ends_with("; 12 of 45.6 k were LATE, 3 NOT ASKED\n"));
    assert_eq!(
        summary(&busy, Screen::default()),
        "members    3: 1 up, 1 down, 1 not known yet, 1 of them flaps\n\
         in_flight  2, 3 at most so far\n\
         probes     45.6 k\n\
         late       12 (0.026 %) by more than 5 % of their delay\n\
         latest     0.87 ms after its time, 0.1 % of its delay\n\
         not_asked  3 (this host lacked memory, descriptors or local ports)\n"
    );
}

#[test]
fn a_member_is_shown_with_its_question_its_pace_and_its_last_results() {
    assert_eq!(
        show(&sample::health(), now(), Screen::default()),
        "name              web/app/app-2\n\
         verdict           DOWN for 5m 0s, since 2023-11-14T22:08:20.000Z\n\
         operating_status  ERROR\n\
         status_reason     status 503, expected 200\n\
         address           198.51.100.12:8080\n\
         type              HTTP\n\
         probed            198.51.100.12:9090/healthz\n\
         question          GET /healthz HTTP/1.1, Host www.example.org, to be answered with 200\n\
         pace              every 0.5 s, each probe within 1 s\n\
         max_retries       up after 16 successes in a row instead of 2, because it flaps\n\
         max_retries_down  down after 3 failures in a row\n\
         flap_damping      flaps: the successes it needs are doubled 3 times; halved again while it stays up\n\
         against           1 of 16 successes in a row that bring it up\n\
         asking            no\n\
         probes            1.2 k, of which 17 failed\n\
         next_hop          known\n\
         \n\
         PROBE ENDED               AGO  RESULT      TOOK  WHAT IT MET\n\
         2023-11-14T22:13:19.250Z   0s  FAILURE  1.42 ms  status 503, expected 200\n\
         2023-11-14T22:13:18.750Z   1s  SUCCESS   0.9 ms  status 200\n\
         \n\
         CHANGED                     AGO  TO    WHY\n\
         2023-11-14T22:08:20.000Z  5m 0s  DOWN  no status line within 1 s\n"
    );
}

#[test]
fn a_member_that_is_well_or_unknown_is_told_what_would_take_it_down() {
    let mut found = sample::health();
    (found.member.verdict, found.member.damping) = (None, 0);
    (found.member.needed, found.member.since, found.member.last) = (3, None, None);
    found.results.clear();
    found.transitions.clear();
    found.next_hop_missing = Some("no route".to_owned());
    found.health_monitor.flap_damping = false;
    found.health_monitor.max_retries = 1;
    let text = show(&found, now(), Screen::default());
    for line in [
        "verdict           not known yet, which counts as UP",
        "max_retries       up after 1 success",
        "flap_damping      off",
        "against           1 of 3 failures in a row that take it down",
        "next_hop          none: no route",
        "no probe has ended yet",
        "no verdict yet",
    ] {
        assert!(text.lines().any(|l| l == line), "no {line:?} in\n{text}");
    }
}

#[test]
fn every_question_is_said_in_words() {
    let named = QuestionView { domain_name: Some("a.example".to_owned()), ..QuestionView::default() };
    let full = QuestionView { tcp_handshake: Some("full".to_owned()), ..QuestionView::default() };
    let none = QuestionView::default();
    let service = QuestionView { grpc_service: Some("shop.Cart".to_owned()), ..named.clone() };
    for (kind, asked, words) in [
        ("PING", &none, "an echo request"),
        ("TCP", &none, "SYN-ACK; then RST (tcp_handshake = half)"),
        ("TCP", &full, "(tcp_handshake = full)"),
        ("UDP-CONNECT", &none, "silence is not"),
        ("SCTP", &none, "INIT ACK"),
        ("TLS-HELLO", &named, "a ClientHello, server name a.example, "),
        ("GRPC", &service, "of service shop.Cart, authority a.example, to be answered with SERVING"),
        ("GRPC", &none, "of the server as a whole, to be answered with SERVING"),
        ("LATER", &none, "LATER"),
    ] {
        let text = question(kind, asked);
        assert!(text.contains(words), "{kind}: {text}");
    }
}

#[test]
fn a_narrow_screen_is_kept_to_and_words_of_state_have_colours() {
    let narrow = Screen { width: Some(100), colour: false };
    let table = list(&sample::health_list(), false, now(), narrow);
    assert!(table.lines().take_while(|line| !line.is_empty()).all(|line| line.chars().count() <= 100), "{table}");
    let coloured = list(&sample::health_list(), false, now(), Screen { width: None, colour: true });
    assert!(coloured.contains("\u{1b}[1;31mDOWN") && coloured.contains("\u{1b}[32mUP"), "{coloured}");
}

#[test]
fn a_listing_is_of_a_thousand_members_at_most_unless_more_are_asked_for() {
    use clap::Parser as _;

    use crate::cli::arguments::{Arguments, Command};
    let parse = |line: &str| Arguments::try_parse_from(line.split_whitespace()).unwrap().command;
    let usual = Verb::List { pool: None, failing: false, limit: 1000 };
    assert_eq!(parse("lbctl health ls"), Command::Health(usual));
    let all = Verb::List { pool: Some("web/app".to_owned()), failing: true, limit: MAX_HEALTH_LISTED };
    assert_eq!(parse("lbctl health list --failing --pool web/app --limit 32768"), Command::Health(all));
}
