//! What can be typed and what cannot.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::PathBuf;

use clap::{CommandFactory as _, Parser as _};

use super::{
    arguments::{Arguments, Command},
    dataplane, flow, member,
    output::Format,
};

fn parse(line: &str) -> Result<Arguments, clap::Error> {
    Arguments::try_parse_from(line.split_whitespace())
}

#[test]
fn the_definitions_contradict_nowhere() {
    Arguments::command().debug_assert();
}

#[test]
fn global_options_may_stand_anywhere() {
    let expected = parse("lbctl -o json --socket /run/x --offline --pin-path /p --timeout 3 member list").unwrap();
    assert_eq!(expected.output, Format::Json);
    assert_eq!(expected.reach.socket, Some(PathBuf::from("/run/x")));
    assert_eq!((expected.reach.offline, expected.reach.timeout), (true, 3));
    for line in [
        "lbctl member --timeout 3 list --socket /run/x --pin-path /p --offline --output json",
        "lbctl member list -o json --offline --socket=/run/x --pin-path=/p --timeout=3",
    ] {
        assert_eq!(parse(line).unwrap(), expected, "{line}");
    }
}

#[test]
fn nouns_and_verbs_have_their_usual_short_names() {
    for (short, long) in [
        ("lb list", "loadbalancer list"),
        ("lb ls", "loadbalancer list"),
        ("listeners ls", "listener list"),
        ("pools show app", "pool show app"),
        ("members ls --pool app", "member list --pool app"),
        ("flows count", "flow count"),
        ("vrrp ls", "vrrp list"),
        ("events -f -n 5", "events --follow --lines 5"),
    ] {
        assert_eq!(parse(&format!("lbctl {short}")).unwrap(), parse(&format!("lbctl {long}")).unwrap());
    }
}

#[test]
fn what_is_left_out_is_what_is_usual() {
    let arguments = parse("lbctl flow list").unwrap();
    assert_eq!((arguments.output, arguments.reach.timeout), (Format::Table, 10));
    assert_eq!(arguments.reach.pin_path, PathBuf::from("/sys/fs/bpf/krater"));
    let Command::Flow(flow::Verb::List { limit, .. }) = arguments.command else { panic!("{arguments:?}") };
    assert_eq!(limit, 1000);
    let arguments = parse("lbctl dataplane detach").unwrap();
    assert_eq!(arguments.command, Command::Dataplane(dataplane::Verb::Detach { yes: false }));
    let arguments = parse("lbctl member list").unwrap();
    assert_eq!(arguments.command, Command::Member(member::Verb::List { pool: None }));
}

#[test]
fn what_means_nothing_is_a_usage_error() {
    for line in [
        "",
        "dance",
        "-o xml status",
        "--timeout 0 status",
        "--timeout soon status",
        "status extra",
        "loadbalancer",
        "loadbalancer show",
        "pool show a b",
        "member",
        "member list --listener x",
        "member set",
        "member set m1",
        "member set --drain",
        "member set m1 --weight heavy",
        "member set m1 --weight 257",
        "member set m1 --weight -1",
        "member set m1 --enable --disable",
        "member set m1 --drain --no-drain",
        "flow",
        "flow list --client nobody",
        "flow list --limit 0",
        "flow list --limit 65537",
        "flow count --limit 3",
        "stats --watch 0",
        "dataplane",
        "vrrp",
        "vrrp failover",
        "vrrp resume front --no-wait",
        "vrrp pause a b",
        "sync",
        "sync show front",
        "events front",
        "events --since -1",
        "events -n many",
        "drops --zero",
        "completions",
        "completions tcsh",
        "man lbctl",
    ] {
        match parse(&format!("lbctl {line}")) {
            Ok(arguments) => panic!("`lbctl {line}` means {arguments:?}"),
            Err(error) => assert_eq!(error.exit_code(), 2, "{line}: {error}"),
        }
    }
}

#[test]
fn every_help_is_help_and_no_error() {
    fn ask(command: &clap::Command, path: &str) {
        for option in ["--help", "-h"] {
            let error = parse(&format!("{path} {option}")).unwrap_err();
            assert_eq!(error.exit_code(), 0, "{path}: {error}");
            assert!(error.to_string().contains("Usage: "), "{path}: {error}");
        }
        for verb in command.get_subcommands() {
            assert!(verb.get_about().is_some(), "{path} {} does not say what it is", verb.get_name());
            ask(verb, &format!("{path} {}", verb.get_name()));
        }
    }
    ask(&Arguments::command(), "lbctl");
    assert_eq!(parse("lbctl --version").unwrap_err().exit_code(), 0);
}
