//! GRPC: `grpc.health.v1.Health/Check` against a server that knows it, one that does
//! not, and a web server that speaks HTTP/2.

use anyhow::{Result, ensure};
use krater_tests::rig::{
    Family,
    backends::{
        grpc::{GrpcServer, Manner, Serving},
        web::{Site, Web},
    },
    pool_file::HealthMonitor,
};

use super::scene::{
    Expect::{Down, Up},
    Stage, ask, hasty, patient,
};

const M1: usize = 0;
const SERVICE: &str = "shop.v1.Cart";
const GOOD: (usize, u16) = (M1, 50051);
const SICK: (usize, u16) = (M1, 50052);
const OLD: (usize, u16) = (M1, 50053);
const STALLS: (usize, u16) = (M1, 50054);
const RESETS: (usize, u16) = (M1, 50055);
const WEB: (usize, u16) = (M1, 50056);

fn of_service(service: &str) -> HealthMonitor {
    HealthMonitor {
        grpc_service: Some(service.to_owned()),
        domain_name: Some("cart.example.org".to_owned()),
        ..patient("GRPC")
    }
}

#[test]
fn a_grpc_server_is_asked_for_its_health_and_believed() -> Result<()> {
    let stage = Stage::raise()?;
    let manners = [
        (GOOD, GrpcServer::knows(Serving::Serving, SERVICE, Serving::Serving)),
        (SICK, GrpcServer::knows(Serving::NotServing, SERVICE, Serving::Unknown)),
        (OLD, Manner::Unimplemented),
        (STALLS, Manner::Stall),
        (RESETS, Manner::ResetStream),
    ];
    let mut servers = Vec::new();
    for ((member, port), manner) in &manners {
        for family in Family::BOTH {
            let (namespace, address) = (stage.rig.member(*member).namespace(), stage.at(*member, family, *port));
            servers.push(GrpcServer::start(&stage.crowd, namespace, address, manner.clone())?);
        }
    }
    let member = stage.rig.member(M1);
    let directory = stage.rig.paths().directory.join("http2");
    let site = Site { listen: "http2", ..Site::plain(WEB.1, "return 404;") };
    let _web = Web::start(stage.rig.recorder(), member.namespace(), directory, &member.addresses(), &[site])?;
    let questions = |whole| {
        [
            ask("whole", patient("GRPC"), GOOD, whole),
            ask("service", of_service(SERVICE), GOOD, Up("SERVING")),
            ask("unheard-of", of_service("shop.v1.Card"), GOOD, Down("gRPC: NOT_FOUND")),
            ask("sick", patient("GRPC"), SICK, Down("gRPC: NOT_SERVING")),
            ask("does-not-know", of_service(SERVICE), SICK, Down("gRPC: UNKNOWN")),
            ask("old", patient("GRPC"), OLD, Down("gRPC: UNIMPLEMENTED")),
            ask("stalls", hasty("GRPC"), STALLS, Down("within 0.3 s")),
            ask("resets", patient("GRPC"), RESETS, Down("gRPC: ")),
            ask("web", patient("GRPC"), WEB, Down("status 404")),
            ask("nobody", patient("GRPC"), (M1, 50099), Down("connection refused")),
        ]
    };
    let balancer = stage.expect(&questions(Up("SERVING")))?;
    for (server, address) in servers.iter().zip(Family::BOTH.map(|family| stage.at(M1, family, GOOD.1))) {
        ensure!(server.checks() > 0, "{address} was not asked");
        let asked = server.last_asked();
        ensure!(asked.headers == ["application/grpc", "trailers"], "{asked:?}");
        let authorities = [address.to_string(), "cart.example.org".to_owned()];
        ensure!(authorities.contains(&asked.authority), "{asked:?}");
    }
    // It says itself that it is not well, and then that it is.
    for server in &servers[..2] {
        server.behave(GrpcServer::knows(Serving::NotServing, SERVICE, Serving::Serving));
    }
    balancer.expect(&questions(Down("gRPC: NOT_SERVING")))?;
    for server in &servers[..2] {
        server.behave(GrpcServer::knows(Serving::Serving, SERVICE, Serving::Serving));
    }
    balancer.expect(&questions(Up("SERVING")))
}
