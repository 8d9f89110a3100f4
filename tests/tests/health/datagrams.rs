//! UDP-CONNECT: a server that answers, one that is silent, and a port where nobody is.

use anyhow::{Result, ensure};
use krater_tests::rig::{Family, backends::datagrams::UdpServer, netns::NetNs};

use super::scene::{
    Expect::{Down, Up},
    Stage, ask, hasty,
};

const M1: usize = 0;
const ANSWERS: (usize, u16) = (M1, 6000);
const SILENT: (usize, u16) = (M1, 6001);
const CLOSED: (usize, u16) = (M1, 6002);

#[test]
fn a_datagram_that_is_answered_or_not_refused_means_up_and_port_unreachable_means_down() -> Result<()> {
    let stage = Stage::raise()?;
    let namespace: &NetNs = stage.rig.member(M1).namespace();
    let both = |(member, port), answering| -> Result<Vec<UdpServer>> {
        Family::BOTH
            .into_iter()
            .map(|family| UdpServer::start(namespace, stage.at(member, family, port), answering))
            .collect()
    };
    let (answering, silent) = (both(ANSWERS, true)?, both(SILENT, false)?);
    let questions = |closed| {
        [
            ask("answers", hasty("UDP-CONNECT"), ANSWERS, Up("answers")),
            ask("silent", hasty("UDP-CONNECT"), SILENT, Up("does not say that it is closed")),
            ask("closed", hasty("UDP-CONNECT"), CLOSED, closed),
        ]
    };
    let balancer = stage.expect(&questions(Down("its port is closed (ICMP port unreachable)")))?;
    for server in answering.iter().chain(&silent) {
        ensure!(server.heard() > 0, "a server heard nothing of the probes that it is judged by");
    }
    // Somebody comes to where nobody was, and who answered falls silent: that is no failure.
    let _opened = both(CLOSED, true)?;
    answering.iter().for_each(|server| server.answer(false));
    let questions = [
        ask("answers", hasty("UDP-CONNECT"), ANSWERS, Up("does not say that it is closed")),
        ask("silent", hasty("UDP-CONNECT"), SILENT, Up("does not say that it is closed")),
        ask("closed", hasty("UDP-CONNECT"), CLOSED, Up("answers")),
    ];
    balancer.expect(&questions)
}
