//! What is typed about members and what is shown of them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use clap::Parser as _;

use super::*;
use crate::{
    cli::{
        arguments::{Arguments, Command},
        sample,
    },
    control::view::Percent,
};

fn change(arguments: &str) -> MemberChange {
    let line = format!("lbctl member set app-1 {arguments}");
    match Arguments::try_parse_from(line.split_whitespace()).unwrap().command {
        Command::Member(Verb::Set(set)) => {
            assert_eq!(set.member, "app-1");
            set.change()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn options_left_out_change_nothing() {
    let none = MemberChange::default();
    assert_eq!(change("--weight 0"), MemberChange { weight: Some(0), ..none });
    assert_eq!(change("--weight=256"), MemberChange { weight: Some(256), ..none });
    assert_eq!(change("--enable"), MemberChange { admin_state_up: Some(true), ..none });
    assert_eq!(change("--disable"), MemberChange { admin_state_up: Some(false), ..none });
    assert_eq!(change("--drain"), MemberChange { drain: Some(true), ..none });
    assert_eq!(change("--no-drain"), MemberChange { drain: Some(false), ..none });
    assert_eq!(change("--reset --drain"), MemberChange { reset: true, drain: Some(true), ..none });
}

#[test]
fn a_member_in_order_has_no_note() {
    let text = list(&[sample::member()], Screen::default());
    assert_eq!(
        text,
        "NAME           ADDRESS             STATUS  WEIGHT  NEW FLOWS  NOTE\n\
         web/app/app-1  198.51.100.11:8080  ONLINE       1    50.00 %\n"
    );
}

#[test]
fn what_is_out_of_the_ordinary_is_noted() {
    let mut member = sample::member();
    member.retired = true;
    member.backup = true;
    member.overridden = Some(OverrideView { weight: Some(3), admin_state_up: Some(true), drain: true });
    member.operating_status = OperatingStatus::Draining;
    member.status_reason = Some("two probes failed".to_owned());
    (member.next_hop, member.next_hop_missing) = (None, Some("no route".to_owned()));
    let text = list(&[member.clone()], Screen::default());
    for note in [
        "gone from the pool file",
        "backup",
        "set by hand: weight 3, enabled, draining",
        "two probes failed",
        "no next hop: no route",
    ] {
        assert!(text.contains(note), "no {note:?} in {text}");
    }
    // A member that is down has no neighbour entry either: that is no news.
    member.operating_status = OperatingStatus::Error;
    assert!(!list(&[member], Screen::default()).contains("no next hop"));
}

#[test]
fn members_are_listed_as_people_count() {
    let named = |name: &str| MemberView { name: name.to_owned(), ..sample::member() };
    let text = list(&["web/app/m10", "web/app/m9", "api/x/m1"].map(named), Screen::default());
    let names: Vec<&str> = text.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, ["api/x/m1", "web/app/m9", "web/app/m10"]);
}

#[test]
fn a_member_is_shown_with_its_next_hop_and_override() {
    let mut member = sample::member();
    member.share_percent = Percent::of(1, 3);
    member.overridden = Some(OverrideView { weight: None, admin_state_up: Some(false), drain: false });
    let text = show(&member, Screen::default());
    for line in [
        "next_hop          02:00:00:00:00:0b by eth1",
        "share_percent     33.33",
        "override          disabled",
        "active_flows      42",
        "connection_limit  500",
    ] {
        assert!(text.lines().any(|l| l == line), "no {line:?} in\n{text}");
    }
    (member.next_hop, member.next_hop_missing) = (None, Some("no route".to_owned()));
    assert!(show(&member, Screen::default()).contains("next_hop          none: no route\n"));
}
