//! What a probe asks, as types that cannot hold nonsense. Pure.
//!
//! Names and ranges are Octavia's (API v2, `healthmonitor`); what Octavia would refuse,
//! the constructors here refuse.

use std::{fmt, net::SocketAddr, sync::Arc};

/// What a probe asks, and whom.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Question {
    /// What is asked.
    pub kind: Kind,
    /// Address and port it is asked at. PING has no use for the port.
    pub to: SocketAddr,
    /// How the packets get there.
    pub delivery: Delivery,
}

/// What is asked.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// PING: an ICMP or ICMPv6 echo.
    Ping,
    /// TCP: does the port accept connections?
    Tcp(Handshake),
    /// UDP-CONNECT: a datagram; ICMP "unreachable" is a failure, silence is not.
    UdpConnect,
    /// SCTP: INIT, to be answered with INIT ACK (RFC 9260 §5.1).
    Sctp,
    /// HTTP: a request, to be answered with one of the expected codes.
    Http(Arc<HttpQuestion>),
    /// HTTPS: the same over TLS, whatever certificate is shown.
    Https(Arc<HttpQuestion>),
    /// TLS-HELLO: a ClientHello, to be answered with any record of a handshake or with
    /// an alert; the name is the server name indication.
    TlsHello(Option<DomainName>),
    /// `grpc.health.v1.Health/Check` over cleartext HTTP/2, to be answered with SERVING.
    Grpc(Arc<GrpcQuestion>),
}

/// How far a TCP probe goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Handshake {
    /// SYN, SYN-ACK, RST: the member's server never hears of it.
    #[default]
    Half,
    /// The three-way handshake, then RST.
    Full,
}

/// How the packets of a probe get to the member.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Delivery {
    /// As this host's routes say.
    #[default]
    Routed,
    /// [`Question::to`] is a VIP that the member holds too: frames go to the member's
    /// (or its router's) Ethernet address, as the data path's `dsr` sends them.
    Link {
        /// The interface they leave by.
        interface: u32,
        /// Our Ethernet address there.
        source: [u8; 6],
        /// The member's.
        destination: [u8; 6],
    },
}

/// What an HTTP probe asks.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct HttpQuestion {
    /// `http_method`.
    pub method: HttpMethod,
    /// `http_version`.
    pub version: HttpVersion,
    /// `url_path`.
    pub path: UrlPath,
    /// `expected_codes`.
    pub expected: ExpectedCodes,
    /// `domain_name`: the Host header and the server name indication.
    pub domain_name: Option<DomainName>,
}

/// What a gRPC probe asks.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct GrpcQuestion {
    /// The service, as `HealthCheckRequest.service`; empty is the server as a whole.
    pub service: String,
    /// `:authority`; the member's address and port without it.
    pub domain_name: Option<DomainName>,
}

/// `http_method`: the nine that Octavia knows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[expect(missing_docs, reason = "they are called what they are called")]
pub enum HttpMethod {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Delete,
    Trace,
    Options,
    Patch,
    Connect,
}

impl HttpMethod {
    /// Every method.
    pub const ALL: [Self; 9] = [
        Self::Get,
        Self::Head,
        Self::Post,
        Self::Put,
        Self::Delete,
        Self::Trace,
        Self::Options,
        Self::Patch,
        Self::Connect,
    ];

    /// As it is written in a request.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Trace => "TRACE",
            Self::Options => "OPTIONS",
            Self::Patch => "PATCH",
            Self::Connect => "CONNECT",
        }
    }

    /// The method of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }
}

/// `http_version`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum HttpVersion {
    /// 1.0.
    #[default]
    V10,
    /// 1.1, with a Host header.
    V11,
}

impl HttpVersion {
    /// `1.0` or `1.1`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V10 => "1.0",
            Self::V11 => "1.1",
        }
    }
}

/// Why a text is no part of a question.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{what} must be {must_be}")]
pub struct QuestionError {
    /// Which part.
    pub what: &'static str,
    /// What would be accepted.
    pub must_be: &'static str,
}

/// `url_path`: begins with a slash and is a path (and perhaps query) of RFC 3986.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct UrlPath(Arc<str>);

impl UrlPath {
    /// Longest path in bytes, as in Octavia's database.
    pub const MAX_BYTES: usize = 2048;

    /// Checks a path.
    ///
    /// # Errors
    /// When it is too long, does not begin with a slash, or has a character that a
    /// path may not have unescaped (control characters, blanks, non-ASCII among them).
    pub fn new(text: &str) -> Result<Self, QuestionError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@%?".contains(&byte);
        if text.starts_with('/')
            && text.len() <= Self::MAX_BYTES
            && text.bytes().all(allowed)
            && escapes_are_whole(text)
        {
            return Ok(Self(text.into()));
        }
        Err(QuestionError {
            what: "url_path",
            must_be: "a URL path: it begins with a slash, has at most 2048 characters and escapes others with %",
        })
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for UrlPath {
    fn default() -> Self {
        Self("/".into())
    }
}

fn escapes_are_whole(text: &str) -> bool {
    text.split('%').skip(1).all(|rest| {
        let mut digits = rest.bytes().take(2);
        digits.by_ref().filter(u8::is_ascii_hexdigit).count() == 2
    })
}

/// `domain_name`: labels of letters, digits and hyphens, separated by dots (RFC 1123). As
/// in Octavia, a label may begin with an underscore, and the name may end with a dot.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct DomainName(Arc<str>);

impl DomainName {
    /// Longest name in bytes, without a dot at its end.
    pub const MAX_BYTES: usize = 253;

    /// Checks a name.
    ///
    /// # Errors
    /// When it is no host name.
    pub fn new(text: &str) -> Result<Self, QuestionError> {
        let label = |label: &str| {
            let rest = label.strip_prefix('_').unwrap_or(label);
            (1..=63).contains(&label.len())
                && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.len() <= Self::MAX_BYTES && name.split('.').all(label) {
            return Ok(Self(text.into()));
        }
        Err(QuestionError {
            what: "domain_name",
            must_be: "a host name: labels of letters, digits and inner hyphens, separated by dots",
        })
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `expected_codes`: `200`, `200,202` or `200-204`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum ExpectedCodes {
    /// Any of these.
    List(Arc<[u16]>),
    /// From the first to the last.
    Range(u16, u16),
}

impl ExpectedCodes {
    /// Longest text in bytes, as in Octavia's database.
    pub const MAX_BYTES: usize = 64;

    /// Reads codes as Octavia writes them: three digits each, separated by commas with
    /// blanks around them, or two with a hyphen.
    ///
    /// # Errors
    /// When they are written otherwise or too long, or a range runs backwards.
    pub fn new(text: &str) -> Result<Self, QuestionError> {
        let code =
            |text: &str| (text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok());
        let error = QuestionError {
            what: "expected_codes",
            must_be: "codes of three digits in at most 64 characters: one (200), a list (200, 202) or a range (200-204)",
        };
        if text.len() > Self::MAX_BYTES {
            return Err(error);
        }
        let read = match text.split_once('-') {
            Some((first, last)) => {
                let range = code(first).flatten().zip(code(last).flatten());
                range.filter(|(first, last)| first <= last).map(|(first, last)| Self::Range(first, last))
            }
            None => {
                let codes: Option<Vec<u16>> = text.split(',').map(|one| code(one.trim()).flatten()).collect();
                codes.filter(|_| text == text.trim()).map(|codes| Self::List(codes.into()))
            }
        };
        read.ok_or(error)
    }

    /// Whether a code is among them.
    #[must_use]
    pub fn accept(&self, code: u16) -> bool {
        match self {
            Self::List(codes) => codes.contains(&code),
            Self::Range(first, last) => (*first..=*last).contains(&code),
        }
    }
}

impl Default for ExpectedCodes {
    fn default() -> Self {
        Self::List([200].into())
    }
}

impl fmt::Display for ExpectedCodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List(codes) => {
                for (n, code) in codes.iter().enumerate() {
                    write!(f, "{}{code:03}", if n == 0 { "" } else { "," })?;
                }
                Ok(())
            }
            Self::Range(first, last) => write!(f, "{first:03}-{last:03}"),
        }
    }
}

impl Kind {
    /// What Octavia calls it; `GRPC` is beyond its list.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Ping => "PING",
            Self::Tcp(_) => "TCP",
            Self::UdpConnect => "UDP-CONNECT",
            Self::Sctp => "SCTP",
            Self::Http(_) => "HTTP",
            Self::Https(_) => "HTTPS",
            Self::TlsHello(_) => "TLS-HELLO",
            Self::Grpc(_) => "GRPC",
        }
    }
}
