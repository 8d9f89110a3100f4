//! HTTP against a real nginx.

use anyhow::{Result, ensure};
use krater_tests::rig::{
    backends::web::{Seen, Site, Web},
    pool_file::HealthMonitor,
};

use super::scene::{
    Expect::{Down, Up},
    Stage, ask, patient,
};

const M1: usize = 0;
const ONE: (usize, u16) = (M1, 9000);
const NAMED: (usize, u16) = (M1, 9001);

fn sites() -> [Site; 3] {
    let places = "location / { return 200 \"here\\n\"; } location /empty { return 204; } location /private { return 401; } \
                  location /broken { return 500; } location /moved { return 302 http://192.0.2.1/; }";
    [
        Site::plain(9000, places),
        Site { listen: "default_server", ..Site::plain(9001, "return 404;") },
        Site::plain(9001, "server_name app.example.org; return 200;"),
    ]
}

fn path(path: &str) -> HealthMonitor {
    HealthMonitor { url_path: Some(path.to_owned()), ..patient("HTTP") }
}

fn codes(at: &str, expected: &str) -> HealthMonitor {
    HealthMonitor { expected_codes: Some(expected.to_owned()), ..path(at) }
}

fn method(method: &str) -> HealthMonitor {
    HealthMonitor { http_method: Some(method.to_owned()), ..patient("HTTP") }
}

fn version_1_1() -> HealthMonitor {
    HealthMonitor { http_version: Some("1.1".to_owned()), ..patient("HTTP") }
}

#[test]
fn a_web_server_is_asked_as_the_pool_file_says_and_believed_by_its_status_codes() -> Result<()> {
    let stage = Stage::raise()?;
    let member = stage.rig.member(M1);
    let directory = stage.rig.paths().directory.join("web");
    let web = Web::start(stage.rig.recorder(), member.namespace(), directory, &member.addresses(), &sites())?;
    let named = HealthMonitor { domain_name: Some("app.example.org".to_owned()), ..version_1_1() };
    let balancer = stage.expect(&[
        ask("plain", patient("HTTP"), ONE, Up("status 200")),
        ask("http11", version_1_1(), ONE, Up("status 200")),
        ask("named", named, NAMED, Up("status 200")),
        ask("unnamed", version_1_1(), NAMED, Down("status 404, expected 200")),
        ask("old", patient("HTTP"), NAMED, Down("status 404, expected 200")),
        ask("head", method("HEAD"), ONE, Up("status 200")),
        ask("options", method("OPTIONS"), ONE, Up("status 200")),
        ask("trace", method("TRACE"), ONE, Down("status 405, expected 200")),
        ask("query", path("/?deep=1&a=b%20c"), ONE, Up("status 200")),
        ask("one-code", codes("/empty", "204"), ONE, Up("status 204")),
        ask("other-code", path("/empty"), ONE, Down("status 204, expected 200")),
        ask("list", codes("/private", "200,401"), ONE, Up("status 401")),
        ask("range", codes("/empty", "200-204"), ONE, Up("status 204")),
        ask("out-of-range", codes("/broken", "200-299"), ONE, Down("status 500, expected 200-299")),
        // Who is told to look elsewhere is not followed there.
        ask("moved", path("/moved"), ONE, Down("status 302, expected 200")),
        ask("may-move", codes("/moved", "302"), ONE, Up("status 302")),
        ask("nobody", patient("HTTP"), (M1, 9999), Down("connection refused")),
    ])?;
    let seen = web.seen()?;
    let was_seen = |port: u16, request: &str, host: &str, status: u16| {
        let expected = Seen { port, request: request.to_owned(), host: host.to_owned(), sni: "-".to_owned(), status };
        ensure!(seen.contains(&expected), "nginx did not see {expected:?}, but {seen:?}");
        Ok(())
    };
    was_seen(9000, "GET / HTTP/1.0", "-", 200)?;
    was_seen(9000, "HEAD / HTTP/1.0", "-", 200)?;
    was_seen(9000, "GET /?deep=1&a=b%20c HTTP/1.0", "-", 200)?;
    was_seen(9001, "GET / HTTP/1.1", "app.example.org", 200)?;
    for address in member.addresses() {
        let host = std::net::SocketAddr::new(address, 9000);
        was_seen(9000, "GET / HTTP/1.1", &host.to_string(), 200)?;
    }
    // Nginx answers every request it gets, in time: none of them was torn off.
    ensure!(seen.iter().all(|seen| seen.status != 499 && seen.status != 400), "{seen:?}\n{}", web.log_tail());
    drop(balancer);
    Ok(())
}
