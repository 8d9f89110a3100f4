//! Probes over connections of the kernel's: TCP with the whole handshake, HTTP, HTTPS,
//! TLS-HELLO and gRPC.
//!
//! What a member may send is bounded: heads, records and frames have a size at which the
//! probe fails, and time is bounded as a whole, so a member that answers byte by byte is
//! as good as its last byte. Connections end with a reset, however the probe ends (the
//! future may be dropped at any point): neither side keeps anything of it.
//!
//! What must not be here: when to probe, and what an answer means for the member.

mod connection;
mod grpc;
mod head;
mod http;
mod tcp;
mod tls;

use std::{net::IpAddr, net::SocketAddr, time::Duration};

use crate::{
    outcome::{Failure, Outcome},
    question::{Delivery, Handshake, Kind, Question},
};

/// How we introduce ourselves to members.
const USER_AGENT: &str = concat!("krater-health/", env!("CARGO_PKG_VERSION"));

/// What a probe waits for, as in `no {} within 3 s`. A probe sets it as it gets on.
type Missing = &'static str;

/// Until the three-way handshake is over.
const CONNECTION: Missing = "connection";

/// Asks once. Takes no longer than `patience`, and nothing is left when the future is
/// dropped before.
///
/// Takes TCP with the whole handshake, HTTP, HTTPS, TLS-HELLO and gRPC, each
/// [`Delivery::Routed`]: the kernel's connections go where its routes say. Everything
/// else is [`Outcome::NotAsked`].
pub(crate) async fn ask(question: &Question, patience: Duration) -> Outcome {
    if question.delivery != Delivery::Routed {
        let name = question.kind.name();
        return Outcome::NotAsked(format!("{name} goes where this host's routes say, not to one member's VIP").into());
    }
    let mut missing = CONNECTION;
    match tokio::time::timeout(patience, converse(question, &mut missing)).await {
        Ok(outcome) => outcome,
        Err(_) => Outcome::Fails(Failure::Timeout { patience, missing }),
    }
}

async fn converse(question: &Question, missing: &mut Missing) -> Outcome {
    let to = question.to;
    // Many probes wait at once, most of them of the first two kinds: what the others
    // need while they wait is allocated apart.
    match &question.kind {
        Kind::Tcp(Handshake::Full) => tcp::ask(to).await,
        Kind::Http(asked) => http::ask(to, asked, missing).await,
        Kind::Https(asked) => Box::pin(tls::ask_https(to, asked, missing)).await,
        Kind::TlsHello(name) => Box::pin(tls::ask_hello(to, name.as_ref(), missing)).await,
        Kind::Grpc(asked) => Box::pin(grpc::ask(to, asked, missing)).await,
        Kind::Ping | Kind::Tcp(Handshake::Half) | Kind::UdpConnect | Kind::Sctp => {
            Outcome::NotAsked(format!("{} needs packets of our own making", question.kind.name()).into())
        }
    }
}

/// Address and port as URIs have them (RFC 3986 §3.2.2): IPv6 in brackets, without a
/// scope, which means nothing to the other side.
fn authority(to: SocketAddr) -> String {
    format!("{}:{}", host(to.ip()), to.port())
}

fn host(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

#[cfg(test)]
mod rig;

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
