//! HTTPS and TLS-HELLO against a real nginx: whatever certificate it shows, and in
//! whatever version of TLS.

use anyhow::{Result, ensure};
use krater_tests::rig::{
    backends::{
        certificates::Certificate,
        web::{Site, Web},
    },
    pool_file::HealthMonitor,
};

use super::scene::{
    Expect::{Down, Up},
    Stage, ask, patient,
};

const M2: usize = 1;
const NAME: &str = "app.example.org";
const SELF_SIGNED: (usize, u16) = (M2, 9443);
const EXPIRED: (usize, u16) = (M2, 9444);
const ONLY_1_2: (usize, u16) = (M2, 9445);
const ONLY_1_3: (usize, u16) = (M2, 9446);
const NAMED: (usize, u16) = (M2, 9447);
const ANCIENT: (usize, u16) = (M2, 9448);
const ASKS_FOR_A_CERTIFICATE: (usize, u16) = (M2, 9449);
const CLEARTEXT: (usize, u16) = (M2, 9080);

fn named(kind: &str) -> HealthMonitor {
    HealthMonitor { domain_name: Some(NAME.to_owned()), ..patient(kind) }
}

#[test]
fn tls_is_spoken_whatever_the_certificate_and_the_version() -> Result<()> {
    let stage = Stage::raise()?;
    let member = stage.rig.member(M2);
    let directory = stage.rig.paths().directory.clone();
    let good = Certificate::self_signed(&directory, NAME)?;
    let expired = Certificate::expired(&directory, NAME)?;
    let both = "TLSv1.2 TLSv1.3";
    let client = format!("ssl_verify_client on; ssl_client_certificate {}; return 200;", good.certificate.display());
    let answers = "return 200;";
    let sites = [
        Site::tls(SELF_SIGNED.1, &good, both, "location / { return 200; } location /broken { return 503; }"),
        Site::tls(EXPIRED.1, &expired, both, answers),
        Site::tls(ONLY_1_2.1, &good, "TLSv1.2", answers),
        Site::tls(ONLY_1_3.1, &good, "TLSv1.3", answers),
        Site {
            listen: "ssl default_server",
            ..Site::tls(NAMED.1, &good, both, "ssl_reject_handshake on; return 404;")
        },
        Site::tls(NAMED.1, &good, both, &format!("server_name {NAME}; return 200;")),
        Site::tls(ANCIENT.1, &good, "TLSv1.1", "ssl_ciphers DEFAULT:@SECLEVEL=0; return 200;"),
        Site::tls(ASKS_FOR_A_CERTIFICATE.1, &good, both, &client),
        Site::plain(CLEARTEXT.1, answers),
    ];
    let web = Web::start(stage.rig.recorder(), member.namespace(), directory.join("tls"), &member.addresses(), &sites)?;
    let broken = HealthMonitor { url_path: Some("/broken".to_owned()), ..patient("HTTPS") };
    let named_https = HealthMonitor { http_version: Some("1.1".to_owned()), ..named("HTTPS") };
    let balancer = stage.expect(&[
        ask("self-signed", patient("HTTPS"), SELF_SIGNED, Up("status 200")),
        ask("expired", patient("HTTPS"), EXPIRED, Up("status 200")),
        ask("only-1-2", patient("HTTPS"), ONLY_1_2, Up("status 200")),
        ask("only-1-3", patient("HTTPS"), ONLY_1_3, Up("status 200")),
        ask("named", named_https, NAMED, Up("status 200")),
        ask("unnamed", patient("HTTPS"), NAMED, Down("TLS: the member refuses")),
        ask("ancient", patient("HTTPS"), ANCIENT, Down("TLS: ")),
        ask("broken", broken, SELF_SIGNED, Down("status 503, expected 200")),
        ask("wants-ours", patient("HTTPS"), ASKS_FOR_A_CERTIFICATE, Down("status 400, expected 200")),
        ask("cleartext", patient("HTTPS"), CLEARTEXT, Down("does not speak TLS")),
        ask("nobody", patient("HTTPS"), (M2, 9999), Down("connection refused")),
        ask("hello", patient("TLS-HELLO"), SELF_SIGNED, Up("speaks TLS")),
        ask("hello-expired", patient("TLS-HELLO"), EXPIRED, Up("speaks TLS")),
        ask("hello-1-2", patient("TLS-HELLO"), ONLY_1_2, Up("speaks TLS")),
        ask("hello-1-3", patient("TLS-HELLO"), ONLY_1_3, Up("speaks TLS")),
        ask("hello-named", named("TLS-HELLO"), NAMED, Up("speaks TLS")),
        // An alert is an answer: who refuses us in TLS speaks TLS.
        ask("hello-unnamed", patient("TLS-HELLO"), NAMED, Up("speaks TLS")),
        ask("hello-ancient", patient("TLS-HELLO"), ANCIENT, Up("speaks TLS")),
        ask("hello-cleartext", patient("TLS-HELLO"), CLEARTEXT, Down("does not speak TLS")),
        ask("hello-nobody", patient("TLS-HELLO"), (M2, 9999), Down("connection refused")),
    ])?;
    let seen = web.seen()?;
    ensure!(
        seen.iter().any(|s| (s.port, s.sni.as_str(), s.host.as_str()) == (NAMED.1, NAME, NAME)),
        "nginx was not asked for {NAME} by SNI and Host: {seen:?}"
    );
    drop(balancer);
    Ok(())
}
