//! The fixtures, in both worlds at once.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use krater_tests::packets::{
    fixtures::{GROUPS, HOST_ONLY, WITHOUT_PORTS, run},
    kernel::{Pair, apart},
    world::Host,
};
use lb_common::drop_reason::DropReason;

/// What no single packet can be dropped for, and why.
const OUT_OF_REACH: [(DropReason, &str); 2] = [
    (DropReason::FlowChanged, "another CPU has to take the entry between two instructions of this one"),
    (DropReason::NoHeadroom, "frames of both worlds have room in front of them"),
];

fn group(name: &str) -> Result<()> {
    let fixtures = GROUPS.iter().find(|g| g.name == name).map_or(&[][..], |g| g.fixtures);
    ensure!(!fixtures.is_empty(), "there is no group {name}");
    apart(|| {
        let mut pair = Pair::load()?;
        pair.enter_ports()?;
        run(&mut pair, fixtures);
        println!("{} fixtures, {} notes", fixtures.len(), pair.noted());
        ensure!(pair.noted() > 0 || !["tcp", "udp"].contains(&name), "no flow was noted");
        ensure!(pair.recorded() > 0 || name != "modes", "nothing that is recorded was noted");
        Ok(())
    })
}

#[test]
fn a_tcp_connection_goes_its_way() -> Result<()> {
    group("tcp")
}

#[test]
fn udp_goes_its_way() -> Result<()> {
    group("udp")
}

#[test]
fn headers_are_understood_and_refused() -> Result<()> {
    group("headers")
}

#[test]
fn a_vip_is_kept_reachable() -> Result<()> {
    group("control")
}

#[test]
fn what_ends_here_ends_with_a_reason() -> Result<()> {
    group("refusals")
}

#[test]
fn an_error_goes_to_whom_it_concerns() -> Result<()> {
    group("errors")
}

#[test]
fn a_client_is_told_why() -> Result<()> {
    group("answers")
}

#[test]
fn members_are_chosen_and_kept() -> Result<()> {
    group("members")
}

#[test]
fn what_rules_refuse_is_refused() -> Result<()> {
    group("guards")
}

#[test]
fn members_that_answer_by_themselves_are_reached() -> Result<()> {
    group("modes")
}

#[test]
fn a_virtual_router_is_heard_and_obeyed_as_its_instance_says() -> Result<()> {
    group("routers")
}

#[test]
fn tags_are_off_inside_and_on_outside() -> Result<()> {
    group("vlan")
}

#[test]
fn fragments_follow_their_first_one() -> Result<()> {
    group("fragments")
}

#[test]
fn sctp_goes_its_way() -> Result<()> {
    group("sctp")
}

#[test]
fn an_interface_nobody_entered_is_no_way_in() -> Result<()> {
    apart(|| {
        run(&mut Pair::load()?, WITHOUT_PORTS);
        Ok(())
    })
}

#[test]
fn every_reason_to_drop_is_given_by_a_fixture() {
    let mut reached = run(&mut Host::new(false), WITHOUT_PORTS);
    let mut host = Host::new(true);
    for fixtures in GROUPS.iter().map(|g| g.fixtures).chain([HOST_ONLY]) {
        reached.extend(run(&mut host, fixtures));
    }
    let all: BTreeSet<DropReason> = DropReason::ALL.iter().copied().collect();
    let missed: Vec<_> = all.difference(&reached).collect();
    let known: Vec<_> = OUT_OF_REACH.iter().map(|(reason, _)| reason).collect();
    assert_eq!(missed, known);
}
