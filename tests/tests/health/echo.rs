//! PING: a member that echoes, and one that drops echo requests.

use anyhow::Result;

use super::scene::{
    Expect::{Down, Up},
    Question, Stage, ask, hasty, patient,
};

const M1: (usize, u16) = (0, 80);
const M2: (usize, u16) = (1, 80);

#[test]
fn a_member_is_up_as_long_as_it_echoes() -> Result<()> {
    let stage = Stage::raise()?;
    let ignore = |ignored: &str| {
        let member = stage.rig.member(M2.0).namespace();
        member.set_parameters(&[("ipv4/icmp_echo_ignore_all", ignored), ("ipv6/icmp/echo_ignore_all", ignored)])
    };
    ignore("1")?;
    let questions = |of_m2| -> [Question; 2] {
        [ask("echoes", patient("PING"), M1, Up("echoes")), ask("ignores", hasty("PING"), M2, of_m2)]
    };
    let balancer = stage.expect(&questions(Down("no echo reply within 0.3 s")))?;
    ignore("0")?;
    balancer.expect(&questions(Up("echoes")))?;
    ignore("1")?;
    balancer.expect(&questions(Down("no echo reply within 0.3 s")))
}
