//! Servers that stall, babble, break off, dawdle or never end, and what the monitors
//! that speak over connections make of them.

use anyhow::{Result, ensure};
use krater_tests::rig::{
    Family,
    backends::tcp::{Manner, TcpServer},
    pool_file::HealthMonitor,
};

use super::scene::{
    Expect::{Down, Up},
    Question, Stage, ask, hasty, patient,
};

const M1: usize = 0;
/// Far above what a kernel buffers for a reader that has stopped reading.
const BOUNDED: u64 = 8 << 20;

/// A server of each manner over both families, at ports from 7000 on.
struct Zoo {
    servers: Vec<TcpServer>,
}

const MANNERS: [Manner; 18] = [
    Manner::Status(200),
    Manner::Redirect(301),
    Manner::Inform,
    Manner::Stall,
    Manner::Close,
    Manner::Reset,
    Manner::Garbage,
    Manner::Greet,
    Manner::CloseInStatusLine,
    Manner::CloseInHeader,
    Manner::CloseAfterHeader,
    Manner::Dribble(2),
    Manner::Dribble(100),
    Manner::EndlessHeaders,
    Manner::EndlessStatusLine,
    Manner::EndlessContent,
    Manner::NoContent,
    Manner::Status(503),
];

fn port(manner: Manner) -> (usize, u16) {
    let index = MANNERS.iter().position(|one| *one == manner).and_then(|index| u16::try_from(index).ok());
    (M1, 7000 + index.unwrap_or(999))
}

impl Zoo {
    fn open(stage: &Stage) -> Result<Self> {
        let mut servers = Vec::new();
        for manner in MANNERS {
            for family in Family::BOTH {
                let address = stage.at(M1, family, port(manner).1);
                let namespace = stage.rig.member(M1).namespace();
                servers.push(TcpServer::start(&stage.crowd, namespace, address, manner)?);
            }
        }
        Ok(Self { servers })
    }
}

#[test]
fn a_web_server_has_to_send_a_whole_head_in_time_and_no_more_is_read() -> Result<()> {
    let stage = Stage::raise()?;
    let zoo = Zoo::open(&stage)?;
    let http = |name, manner, expect| ask(name, patient("HTTP"), port(manner), expect);
    let impatient = |name, manner, expect| ask(name, hasty("HTTP"), port(manner), expect);
    let http11 = HealthMonitor { http_version: Some("1.1".to_owned()), ..patient("HTTP") };
    let balancer = stage.expect(&[
        http("ok", Manner::Status(200), Up("status 200")),
        http("redirects", Manner::Redirect(301), Down("status 301, expected 200")),
        ask("informs", http11, port(Manner::Inform), Up("status 200")),
        impatient("stalls", Manner::Stall, Down("within 0.3 s")),
        http("closes", Manner::Close, Down("closed the connection before|connection reset")),
        http("resets", Manner::Reset, Down("connection reset")),
        http("babbles", Manner::Garbage, Down("HTTP")),
        http("greets", Manner::Greet, Down("HTTP")),
        http("closes-in-line", Manner::CloseInStatusLine, Down("closed the connection before")),
        http("closes-in-header", Manner::CloseInHeader, Down("closed the connection before")),
        http("closes-in-head", Manner::CloseAfterHeader, Down("closed the connection before")),
        http("slow-but-in-time", Manner::Dribble(2), Up("status 200")),
        impatient("too-slow", Manner::Dribble(100), Down("within 0.3 s")),
        http("endless-headers", Manner::EndlessHeaders, Down("head")),
        http("endless-line", Manner::EndlessStatusLine, Down("does not end within")),
        http("endless-content", Manner::EndlessContent, Up("status 200")),
        http("no-content", Manner::NoContent, Up("status 200")),
    ])?;
    let most = zoo.servers.iter().map(TcpServer::most_sent).max().unwrap_or(0);
    ensure!(most > 0 && most < BOUNDED, "a server without end got rid of {most} bytes");
    drop(balancer);
    Ok(())
}

#[test]
fn no_monitor_over_connections_is_held_up_or_fooled_by_a_server_of_another_kind() -> Result<()> {
    let stage = Stage::raise()?;
    let _zoo = Zoo::open(&stage)?;
    let mut questions: Vec<Question> = Vec::new();
    let mut of = |names: [&'static str; 6], kind: &str, timeout, closed, wrong| {
        let [stalls, closes, resets, babbles, greets, web] = names;
        questions.extend([
            ask(stalls, hasty(kind), port(Manner::Stall), Down(timeout)),
            ask(closes, patient(kind), port(Manner::Close), Down(closed)),
            ask(resets, patient(kind), port(Manner::Reset), Down("connection reset")),
            ask(babbles, hasty(kind), port(Manner::Garbage), Down("")),
            ask(greets, patient(kind), port(Manner::Greet), Down(wrong)),
            ask(web, hasty(kind), port(Manner::Status(200)), Down("")),
        ]);
    };
    // Whether the end comes before our first word or is the answer to it is up to chance.
    let (within, closed) = ("within 0.3 s", "closed the connection before|connection reset");
    of(["s-stalls", "s-closes", "s-resets", "s-babbles", "s-greets", "s-web"], "HTTPS", within, closed, "TLS");
    of(["h-stalls", "h-closes", "h-resets", "h-babbles", "h-greets", "h-web"], "TLS-HELLO", within, closed, "TLS");
    of(["g-stalls", "g-closes", "g-resets", "g-babbles", "g-greets", "g-web"], "GRPC", within, closed, "not HTTP/2");
    stage.expect(&questions).map(drop)
}

#[test]
fn one_slow_member_delays_no_other() -> Result<()> {
    let stage = Stage::raise()?;
    let _zoo = Zoo::open(&stage)?;
    // As many stalled probes under way as a monitor allows, each for much longer than its delay.
    let slow = HealthMonitor { delay: 0.1, timeout: 8.0, ..patient("HTTP") };
    let quick = HealthMonitor { delay: 0.1, ..patient("HTTP") };
    let names = ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7"];
    let mut questions: Vec<Question> =
        names.into_iter().map(|name| ask(name, slow.clone(), port(Manner::Stall), Up(""))).collect();
    questions.push(ask("quick", quick, port(Manner::Status(200)), Up("status 200")));
    let balancer = stage.balance(stage.file_of(&questions, &Family::BOTH))?;
    for name in ["web4/quick/m", "web6/quick/m"] {
        balancer.wait(&format!("{name} to be probed again and again"), || {
            let health = balancer.health(name)?;
            ensure!(health.probes >= 20, "{} probes", health.probes);
            ensure!(health.failures == 0, "{health:?}");
            Ok(true)
        })?;
    }
    // The slow ones took their time meanwhile: one probe each at a time, and never two.
    for name in names {
        let health = balancer.health(&format!("web4/{name}/m"))?;
        ensure!(health.probes <= 4, "{name} should be on its first probes: {health:?}");
    }
    Ok(())
}
