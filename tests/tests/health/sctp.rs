//! SCTP: an endpoint that accepts, refuses, is silent or lies, and a host without any.

use anyhow::{Result, ensure};
use krater_tests::rig::{
    Family,
    backends::sctp::{Reply, SctpServer},
};

use super::scene::{
    Expect::{Down, Up},
    Stage, ask, hasty, patient,
};

const M1: usize = 0;
/// Where no raw socket is: there the kernel itself says that it knows no SCTP.
const ABSENT: (usize, u16) = (1, 5000);

const REPLIES: [(Reply, u16); 4] =
    [(Reply::InitAck, 5000), (Reply::Abort, 5001), (Reply::Nothing, 5002), (Reply::WrongTag, 5003)];

#[test]
fn an_endpoint_is_up_when_it_accepts_the_association_that_it_was_asked_for() -> Result<()> {
    let stage = Stage::raise()?;
    let mut servers = Vec::new();
    for (reply, port) in REPLIES {
        for family in Family::BOTH {
            let namespace = stage.rig.member(M1).namespace();
            servers.push((reply, SctpServer::start(namespace, stage.at(M1, family, port), reply)?));
        }
    }
    let balancer = stage.expect(&[
        ask("accepts", patient("SCTP"), (M1, 5000), Up("accepts associations")),
        ask("refuses", patient("SCTP"), (M1, 5001), Down("refuses associations (ABORT)")),
        ask("silent", hasty("SCTP"), (M1, 5002), Down("no INIT ACK within 0.3 s")),
        ask("wrong-tag", hasty("SCTP"), (M1, 5003), Down("no INIT ACK within 0.3 s")),
        ask("absent", hasty("SCTP"), ABSENT, Down("no SCTP")),
    ])?;
    for (reply, server) in &servers {
        ensure!(server.inits() > 0, "{reply:?}: no INIT came in");
        ensure!(server.bad() == 0, "{reply:?}: {} packets were not as the protocol has them", server.bad());
    }
    // The endpoint's state of mind changes, and so does the verdict.
    for (_, server) in servers.iter().filter(|(reply, _)| *reply == Reply::Abort) {
        server.answer(Reply::InitAck);
    }
    for (_, server) in servers.iter().filter(|(reply, _)| *reply == Reply::InitAck) {
        server.answer(Reply::Abort);
    }
    for name in ["web4/accepts/m", "web6/accepts/m"] {
        balancer.wait_down(name, "refuses associations (ABORT)")?;
    }
    for name in ["web4/refuses/m", "web6/refuses/m"] {
        balancer.wait_status(name, "ONLINE")?;
    }
    Ok(())
}
