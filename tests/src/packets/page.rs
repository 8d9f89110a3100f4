//! Writes `docs/packets.md`: what becomes of every class of packet there is a
//! fixture for.

use std::fmt::Write as _;

use super::fixtures::{GROUPS, HOST_ONLY, WITHOUT_PORTS};

/// What each group is about, in the order of the page.
const ABOUT: &[(&str, &str)] = &[
    ("tcp", "TCP to a pool with `forward_mode = \"nat\"`"),
    ("udp", "UDP to such a pool"),
    ("sctp", "SCTP"),
    ("modes", "Members that answer clients by themselves (`dsr`, `ipip`, `gue`)"),
    ("headers", "Network and transport headers"),
    ("fragments", "Fragments"),
    ("vlan", "VLAN tags"),
    ("errors", "ICMP and ICMPv6 errors about flows"),
    ("answers", "What clients are told"),
    ("control", "ARP, neighbour discovery, echo and other ICMP"),
    ("refusals", "What ends here"),
    ("guards", "Rules of listeners and members"),
    ("members", "Members that come, go and fail"),
    ("routers", "Virtual routers and adverts"),
];

/// The page.
#[must_use]
pub fn page() -> String {
    let mut page = String::from(HEAD);
    let mut number = 0;
    for (name, about) in ABOUT {
        let _ = writeln!(page, "\n## {about}\n\n| No. | Class and verdict |\n|---:|---|");
        for fixture in GROUPS.iter().filter(|group| group.name == *name).flat_map(|group| group.fixtures) {
            number += 1;
            let _ = writeln!(page, "| {number} | {} |", fixture.name);
        }
    }
    page.push_str("\n## Before an interface is known, and frames that only a host can be given\n\n| No. | Class and verdict |\n|---:|---|\n");
    for fixture in WITHOUT_PORTS.iter().chain(HOST_ONLY) {
        number += 1;
        let _ = writeln!(page, "| {number} | {} |", fixture.name);
    }
    page
}

const HEAD: &str = "# What becomes of packets

One line for each class of packet, as its fixture says it: the classes, their verdicts
and the frames behind them are in `tests/src/packets/fixtures/`. Each fixture runs on
the host and through `BPF_PROG_TEST_RUN` in the kernel, over IPv4 and IPv6 where both
have such a packet, and both must give the same verdict, bytes, counts and flows. Why
packets are dropped is explained in [drops.md](drops.md).

This page is written from the source (`tests/src/packets/page.rs`); do not change it by
hand.
";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::{collections::BTreeSet, env, fs};

    use super::*;

    const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/packets.md");

    #[test]
    fn the_page_on_packets_names_every_fixture() {
        let groups: BTreeSet<&str> = GROUPS.iter().map(|group| group.name).collect();
        assert_eq!(groups, ABOUT.iter().map(|(name, _)| *name).collect());
        if env::var_os("KRATER_BLESS").is_some() {
            fs::write(FILE, page()).unwrap();
        }
        assert!(
            fs::read_to_string(FILE).unwrap_or_default() == page(),
            "docs/packets.md is not what the source says; write it anew with \
             `KRATER_BLESS=1 cargo test --package krater-tests --lib packets::page`"
        );
    }

    #[test]
    fn there_are_sixty_classes_and_no_two_of_a_group_alike() {
        let of = |group: &'static super::super::fixtures::Group| group.fixtures.iter().map(|f| (group.name, f.name));
        let names: Vec<_> = GROUPS.iter().flat_map(of).collect();
        assert!(names.len() >= 60, "{} classes", names.len());
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    }
}
