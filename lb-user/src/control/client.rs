//! `lbctl`'s end of the socket: one connection, one line out, one line back.
//!
//! Blocking, without a runtime: a command line tool has nothing else to do.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use super::protocol::{self, Refusal, Request, Response};

/// Longest answer that is read: four times the longest that lbd sends.
const MAX_RESPONSE_BYTES: u64 = 80 << 20;

/// How long lbd may take to answer. It walks the flow table for some requests,
/// which takes a second at the largest size.
pub const DEFAULT_PATIENCE: Duration = Duration::from_secs(10);

/// Where lbd is asked.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
    patience: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody is there, or we may not ask.
    #[error(
        "cannot reach lbd at {path}: {source}; is it running, and may you use its socket? \
         `--offline` reads the pinned maps directly"
    )]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The connection broke or took too long.
    #[error(
        "cannot reach lbd at {path}: {step}: {source}; it may be overloaded or stopping: try again, or look at its log"
    )]
    Broken {
        /// The socket.
        path: PathBuf,
        /// What was being done.
        step: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// What came back is no answer.
    #[error("lbd at {path} answered what this lbctl does not understand: {refusal}")]
    Misunderstood {
        /// The socket.
        path: PathBuf,
        /// What does not fit.
        refusal: Refusal,
    },
}

impl Client {
    /// A client of the daemon at a socket; nothing is opened yet.
    #[must_use]
    pub fn new(path: &Path, patience: Duration) -> Self {
        Self { path: path.to_owned(), patience }
    }

    /// The socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether somebody accepts connections at the socket.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        match UnixStream::connect(&self.path) {
            Ok(_) => true,
            // A full backlog has somebody behind it.
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }

    /// Asks and waits for the answer, which may be a refusal.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn ask(&self, request: &Request) -> Result<Response, ClientError> {
        self.ask_and_wait(request, Duration::ZERO)
    }

    /// As [`Client::ask`], for a request whose answer may come later by `wait`
    /// because it waits for something to happen.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn ask_and_wait(&self, request: &Request, wait: Duration) -> Result<Response, ClientError> {
        let patience = self.patience + wait;
        let stream = UnixStream::connect(&self.path)
            .map_err(|source| ClientError::Connect { path: self.path.clone(), source })?;
        let broken = |step| move |source| ClientError::Broken { path: self.path.clone(), step, source };
        stream
            .set_read_timeout(Some(patience))
            .and_then(|()| stream.set_write_timeout(Some(patience)))
            .map_err(broken("set a time limit"))?;
        let line = protocol::encode_request(request).map_err(io::Error::from).map_err(broken("write the request"))?;
        // A daemon that is busy answers without reading: its refusal is worth
        // more than the broken pipe.
        let sent = (&stream).write_all(&line);
        let mut answer = Vec::new();
        let received = BufReader::new(&stream).take(MAX_RESPONSE_BYTES).read_until(b'\n', &mut answer);
        if answer.is_empty() {
            sent.map_err(|error| in_words(error, patience)).map_err(broken("send the request"))?;
        }
        received.map_err(|error| in_words(error, patience)).map_err(broken("wait for the answer"))?;
        if answer.last() != Some(&b'\n') {
            let short =
                io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed before the answer was whole");
            return Err(broken("read the answer")(short));
        }
        protocol::decode_response(&answer)
            .map_err(|refusal| ClientError::Misunderstood { path: self.path.clone(), refusal })
    }
}

/// What a socket says when time is up is "resource temporarily unavailable".
fn in_words(error: io::Error, patience: Duration) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            io::Error::new(io::ErrorKind::TimedOut, format!("not done within {} s", patience.as_secs_f64()))
        }
        _ => error,
    }
}
