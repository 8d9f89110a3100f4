//! HTTPS, and TLS-HELLO.
//!
//! Any certificate is accepted, as by Octavia, which verifies none: self-signed, expired,
//! of another name, of a form or with a signature that nobody else would take. A probe
//! asks whether the member works, not who it is. So signatures are not checked either: by
//! a key that anybody may have made they prove nothing, and checking would refuse
//! certificates of old forms (X.509 v1) that members have.
//!
//! Sessions are not resumed: a probe shall meet what a new client meets. No ALPN is sent,
//! as by Octavia: a server without it speaks HTTP/1, and one that has a list of
//! protocols of its own does not hang up on us.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, LazyLock},
};

use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, InvalidMessage, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsConnector;

use super::{
    Missing,
    connection::{self, Bounded, hear},
    http,
};
use crate::{
    outcome::{Answer, Failure, Outcome},
    question::{DomainName, HttpQuestion},
};

/// The port that a Host header leaves out.
const PORT: u16 = 443;

/// Most bytes of a TLS connection: a handshake with the longest chain that rustls takes
/// (64 KiB), and a head.
const MAX_BYTES: usize = 128 * 1024;

/// Longest text of a failure in characters.
const MAX_TEXT: usize = 160;

/// One configuration for all: TLS 1.2 and 1.3, with the ciphers of today.
static CONFIG: LazyLock<Result<Arc<ClientConfig>, rustls::Error>> = LazyLock::new(|| {
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(rustls::ALL_VERSIONS)?;
    let mut config = builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody)).with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
});

fn config() -> Result<Arc<ClientConfig>, Outcome> {
    CONFIG.clone().map_err(|error| Outcome::NotAsked(format!("TLS cannot be set up: {error}").into()))
}

/// Asks for a response over TLS.
pub(super) async fn ask_https(to: SocketAddr, asked: &HttpQuestion, missing: &mut Missing) -> Outcome {
    let config = match config() {
        Ok(config) => config,
        Err(outcome) => return outcome,
    };
    let connecting = async {
        let stream = connection::open(to)?;
        connection::established(&stream).await?;
        *missing = "end of the TLS handshake";
        let connector = TlsConnector::from(config);
        connector.connect(server_name(to, asked.domain_name.as_ref()), Bounded::new(stream, MAX_BYTES)).await
    };
    match connecting.await {
        Ok(mut stream) => http::talk(&mut stream, &http::request(to, asked, PORT), asked, missing).await,
        Err(error) => connection::broken(&error, "the TLS handshake had ended"),
    }
}

/// Says hello, and looks at the first record that comes back: part of a handshake, or an
/// alert, in any version of TLS since SSL 3 (the rule of HAProxy's `ssl-hello-chk`, which
/// is Octavia's TLS-HELLO). A member that wants other ciphers than ours has said so in
/// TLS, and is up.
pub(super) async fn ask_hello(to: SocketAddr, name: Option<&DomainName>, missing: &mut Missing) -> Outcome {
    let config = match config() {
        Ok(config) => config,
        Err(outcome) => return outcome,
    };
    let hello = match hello(config, server_name(to, name)) {
        Ok(hello) => hello,
        Err(error) => return Outcome::NotAsked(format!("no ClientHello could be made: {error}").into()),
    };
    let asking = async {
        let mut stream = connection::open(to)?;
        stream.write_all(&hello).await?;
        // Our own hello would come back: see `tcp`.
        if stream.local_addr()? == to {
            return Ok(Outcome::Fails(Failure::Kernel(libc::ECONNREFUSED)));
        }
        *missing = "TLS record";
        let mut header = Header::default();
        let answer = hear(&mut stream, |bytes| header.take(bytes)).await?;
        Ok(answer.unwrap_or(Outcome::Fails(Failure::Closed(BEFORE_RECORD))))
    };
    asking.await.unwrap_or_else(|error: io::Error| connection::broken(&error, BEFORE_RECORD))
}

const BEFORE_RECORD: &str = "it had sent a TLS record";

/// The record with the ClientHello. The rest of the handshake is not wanted.
fn hello(config: Arc<ClientConfig>, name: ServerName<'static>) -> io::Result<Vec<u8>> {
    let mut connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
    let mut hello = Vec::with_capacity(512);
    while connection.wants_write() {
        connection.write_tls(&mut hello)?;
    }
    Ok(hello)
}

/// The header of a record while it comes in (RFC 8446 §5.1).
#[derive(Default)]
struct Header {
    bytes: [u8; 5],
    length: usize,
}

impl Header {
    fn take(&mut self, fresh: &[u8]) -> Option<Outcome> {
        for byte in fresh.iter().take(self.bytes.len() - self.length) {
            self.bytes[self.length] = *byte;
            self.length += 1;
        }
        match self.bytes {
            // Alert or handshake; the version's first byte is 3 from SSL 3 to TLS 1.3.
            [0x15 | 0x16, 3, ..] if self.length == self.bytes.len() => Some(Outcome::Answers(Answer::Hello)),
            [0x15 | 0x16, 3, ..] => None,
            [0x15 | 0x16, ..] if self.length == 1 => None,
            _ => Some(Outcome::Fails(Failure::Malformed(NO_TLS))),
        }
    }
}

const NO_TLS: &str = "it does not speak TLS";

/// The name for the server name indication: `domain_name`. An address is never sent
/// (RFC 6066 §3), nor what is too long or too numeric for a DNS name.
fn server_name(to: SocketAddr, name: Option<&DomainName>) -> ServerName<'static> {
    let name = name.and_then(|name| ServerName::try_from(name.as_str().to_owned()).ok());
    name.unwrap_or_else(|| ServerName::IpAddress(to.ip().into()))
}

/// Why there was no agreement, in an operator's words.
pub(super) fn disagreement(error: &rustls::Error) -> Failure {
    let text = match error {
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => return Failure::Malformed(NO_TLS),
        rustls::Error::AlertReceived(alert) => format!("the member refuses, with alert {alert:?}"),
        rustls::Error::PeerIncompatible(why) => format!("no version or cipher suite in common: {why:?}"),
        other => other.to_string(),
    };
    Failure::Tls(text.chars().take(MAX_TEXT).collect::<String>().into())
}

/// Takes whoever is there for whom we want.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    /// Every scheme there is, since none is checked: a server picks one that its key can.
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ECDSA_NISTP384_SHA384,
            SignatureScheme::ECDSA_NISTP521_SHA512,
            SignatureScheme::ED25519,
            SignatureScheme::ED448,
            SignatureScheme::RSA_PSS_SHA256,
            SignatureScheme::RSA_PSS_SHA384,
            SignatureScheme::RSA_PSS_SHA512,
            SignatureScheme::RSA_PKCS1_SHA256,
            SignatureScheme::RSA_PKCS1_SHA384,
            SignatureScheme::RSA_PKCS1_SHA512,
            SignatureScheme::ECDSA_SHA1_Legacy,
            SignatureScheme::RSA_PKCS1_SHA1,
        ]
    }
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
