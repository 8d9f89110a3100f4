//! `lbctl dataplane`.

use std::io::{self, BufRead, IsTerminal as _, Write as _};

use clap::Subcommand;
use serde::Serialize;

use super::{
    Session,
    failure::Failure,
    numbers,
    status::mode,
    table::{Screen, by_name, facts, listing, plain},
};
use crate::control::{
    protocol::{Request, Response},
    view::DataplaneView,
};

/// What can be done with the data path.
#[derive(Clone, PartialEq, Eq, Debug, Subcommand)]
pub(super) enum Verb {
    /// Show the program, its interfaces and its maps
    Show,

    /// Remove the data path from the kernel and end lbd
    #[command(after_help = "\
Balancing ends: established flows are lost and nobody answers for the VIPs.
Stopping or killing lbd does not do that: the data path goes on without it.

Examples:
  lbctl dataplane detach                    asks first
  lbctl dataplane detach --yes              in scripts
  lbctl --offline dataplane detach          when lbd is gone")]
    Detach {
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// What `detach` did, in JSON.
#[derive(Debug, Serialize)]
struct Detached {
    interfaces: Vec<String>,
}

pub(super) fn run(verb: Verb, session: &Session) -> Result<(), Failure> {
    match verb {
        Verb::Show => {
            let Response::Dataplane(found) = session.source.ask(&Request::Dataplane)? else {
                return Err(Failure::OffTopic);
            };
            session.output.write(&found, |screen| show(&found, screen))
        }
        Verb::Detach { yes } => {
            if !yes {
                confirm(session)?;
            }
            let Response::Detached { interfaces } = session.source.ask(&Request::Detach)? else {
                return Err(Failure::OffTopic);
            };
            let done = Detached { interfaces };
            session.output.write(&done, |_| detached(&done.interfaces))
        }
    }
}

/// Asks the operator, who is told what ends.
fn confirm(session: &Session) -> Result<(), Failure> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::NobodyToAsk);
    }
    let interfaces = match session.source.ask(&Request::Dataplane) {
        Ok(Response::Dataplane(found)) => found.interfaces.iter().map(|i| i.name.clone()).collect(),
        Err(unanswered @ Failure::Unanswered(_)) => return Err(unanswered),
        // Whatever else is wrong with it may be why it is to go.
        _ => Vec::new(),
    };
    let mut stderr = io::stderr().lock();
    let _ = write!(stderr, "{} [y/N] ", plain(&question(&interfaces))).and_then(|()| stderr.flush());
    if is_yes(stdin.lock()) { Ok(()) } else { Err(Failure::Declined) }
}

fn question(interfaces: &[String]) -> String {
    let from = if interfaces.is_empty() { String::new() } else { format!(" from {}", interfaces.join(", ")) };
    format!("Detach the data path{from}? Balancing ends and established flows are lost.")
}

fn is_yes(mut answer: impl BufRead) -> bool {
    let mut line = String::new();
    let read = answer.read_line(&mut line);
    read.is_ok() && ["y", "yes"].contains(&line.trim().to_lowercase().as_str())
}

fn detached(interfaces: &[String]) -> String {
    if interfaces.is_empty() {
        return "the data path is removed\n".to_owned();
    }
    format!("the data path is removed from {}\n", plain(&interfaces.join(", ")))
}

fn show(found: &DataplaneView, screen: Screen) -> String {
    let (lowest, highest) = found.snat_ports;
    let mut text = facts(
        screen,
        [
            ("pin_path", found.pin_path.clone()),
            ("abi_version", found.abi_version.to_string()),
            ("program_id", found.program_id.to_string()),
            ("jited_bytes", numbers::bytes(found.jited_bytes.into())),
            ("verified_instructions", found.verified_instructions.to_string()),
            ("max_flows", found.max_flows.to_string()),
            ("snat_ports", format!("{lowest} to {highest}")),
            ("memory of maps", numbers::bytes(found.maps.iter().map(|map| map.bytes).sum())),
        ],
    );
    text.push('\n');
    text.push_str(&interfaces(found, screen));
    text.push('\n');
    text.push_str(&maps(found, screen));
    text
}

fn interfaces(found: &DataplaneView, screen: Screen) -> String {
    if found.interfaces.is_empty() {
        return "attached nowhere: no packet meets it\n".to_owned();
    }
    let mut interfaces: Vec<_> = found.interfaces.iter().collect();
    interfaces.sort_by_key(|interface| interface.port);
    let rows = interfaces.into_iter().map(|interface| {
        [
            interface.name.clone(),
            interface.ifindex.to_string(),
            interface.port.to_string(),
            interface.mac.clone(),
            mode(interface),
        ]
    });
    listing(screen, ["INTERFACE", "IFINDEX", "PORT", "MAC", "XDP MODE"], &["IFINDEX", "PORT"], rows)
}

fn maps(found: &DataplaneView, screen: Screen) -> String {
    let mut maps: Vec<_> = found.maps.iter().collect();
    maps.sort_by(|a, b| by_name(&a.name, &b.name));
    let rows = maps.into_iter().map(|map| [map.name.clone(), map.entries.to_string(), numbers::bytes(map.bytes)]);
    listing(screen, ["MAP", "ENTRIES", "MEMORY"], &["ENTRIES", "MEMORY"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::sample;

    #[test]
    fn the_data_path_is_shown_with_interfaces_and_maps() {
        let text = show(&sample::dataplane(), Screen::default());
        for line in [
            "pin_path               /sys/fs/bpf/krater",
            "max_flows              1048576",
            "snat_ports             10000 to 65535",
            "memory of maps         65.0 MiB",
            "INTERFACE  IFINDEX  PORT  MAC                XDP MODE",
            "eth0             2     0  02:00:00:00:00:01  native",
            "MAP     ENTRIES    MEMORY",
            "CONFIG        1   1.0 MiB",
            "FLOWS4  1048576  64.0 MiB",
        ] {
            assert!(text.lines().any(|l| l == line), "no {line:?} in\n{text}");
        }
    }

    #[test]
    fn only_a_clear_yes_is_one() {
        for (typed, expected) in [
            ("y\n", true),
            ("YES\n", true),
            (" yes ", true),
            ("\n", false),
            ("", false),
            ("yep\n", false),
            ("n\n", false),
        ] {
            assert_eq!(is_yes(typed.as_bytes()), expected, "{typed:?}");
        }
        assert!(question(&["eth0".to_owned(), "eth1".to_owned()]).starts_with("Detach the data path from eth0, eth1?"));
        assert_eq!(detached(&["eth0".to_owned()]), "the data path is removed from eth0\n");
    }
}
