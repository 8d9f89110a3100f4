//! A gRPC server with nothing but `grpc.health.v1.Health/Check` (grpc/doc/health-checking.md).

use std::{
    collections::BTreeMap,
    io::Cursor,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Result;
use h2::{
    RecvStream,
    server::{Builder, SendResponse},
};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::{net::TcpStream, task::JoinSet};

use super::{Crowd, Tally, Task};
use crate::rig::netns::NetNs;

/// `HealthCheckResponse.ServingStatus`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Serving {
    /// 0.
    Unknown,
    /// 1.
    Serving,
    /// 2.
    NotServing,
}

/// How a server treats questions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Manner {
    /// It knows these services, of which the empty name is the server as a whole.
    Knows(BTreeMap<String, Serving>),
    /// It has no such method: UNIMPLEMENTED.
    Unimplemented,
    /// It takes the question and does not answer.
    Stall,
    /// It ends the stream with an error of HTTP/2.
    ResetStream,
}

/// The code of a call to a service that nobody has heard of.
const NOT_FOUND: &str = "5";
/// The code of a call to a method that nobody has heard of.
const UNIMPLEMENTED: &str = "12";
/// `/package.Service/Method`.
const PATH: &str = "/grpc.health.v1.Health/Check";

/// A running server.
#[derive(Debug)]
pub struct GrpcServer {
    shared: Arc<Shared>,
    _task: Task,
}

#[derive(Debug)]
struct Shared {
    manner: Mutex<Manner>,
    asked: Mutex<Asked>,
    checks: Tally,
}

/// What the last question looked like.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Asked {
    /// `:authority`.
    pub authority: String,
    /// Which service.
    pub service: String,
    /// `content-type` and `te`, which gRPC prescribes.
    pub headers: [String; 2],
}

impl GrpcServer {
    /// Serves at an address of a namespace.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub fn start(crowd: &Crowd, namespace: &NetNs, address: SocketAddr, manner: Manner) -> Result<Self> {
        let listener = crowd.listen(namespace, address)?;
        let shared = Arc::new(Shared { manner: Mutex::new(manner), asked: Mutex::default(), checks: Tally::default() });
        let of_task = shared.clone();
        let task = Task::start(crowd, async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let shared = of_task.clone();
                connections.spawn(async move {
                    // A client that hangs up when it has its answer is no error.
                    let _ = serve(stream, &shared).await;
                });
                while connections.try_join_next().is_some() {}
            }
        })?;
        Ok(Self { shared, _task: task })
    }

    /// A server that knows itself, and one service more.
    #[must_use]
    pub fn knows(whole: Serving, service: &str, status: Serving) -> Manner {
        Manner::Knows([(String::new(), whole), (service.to_owned(), status)].into())
    }

    /// Treats questions from now on like this.
    pub fn behave(&self, manner: Manner) {
        *self.shared.manner.lock().unwrap_or_else(PoisonError::into_inner) = manner;
    }

    /// How many whole questions came in.
    #[must_use]
    pub fn checks(&self) -> u64 {
        self.shared.checks.get()
    }

    /// What the last one looked like.
    #[must_use]
    pub fn last_asked(&self) -> Asked {
        self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn serve(stream: TcpStream, shared: &Shared) -> Result<(), h2::Error> {
    let mut connection = Builder::new().handshake::<_, Cursor<Vec<u8>>>(stream).await?;
    // A stream that is not answered has to be kept, or it would be reset.
    let mut unanswered = Vec::new();
    let mut asked = None;
    loop {
        // The connection moves only while it is polled, and so the request's content does.
        tokio::select! {
            accepted = connection.accept() => {
                let Some((request, respond)) = accepted.transpose()? else { return Ok(()) };
                asked = Some(Box::pin(read(request, respond)));
            }
            whole = async { match asked.as_mut() { Some(asked) => asked.await, None => std::future::pending().await } } => {
                asked = None;
                let (question, respond) = whole?;
                unanswered.extend(answer(question, respond, shared)?);
            }
        }
    }
}

/// A question that has come in whole.
struct Question {
    path: String,
    asked: Asked,
}

async fn read(
    request: Request<RecvStream>,
    respond: SendResponse<Cursor<Vec<u8>>>,
) -> Result<(Question, SendResponse<Cursor<Vec<u8>>>), h2::Error> {
    let (head, mut body) = request.into_parts();
    let mut content = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        content.extend_from_slice(&chunk);
        body.flow_control().release_capacity(chunk.len())?;
    }
    let header = |name| head.headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok()).unwrap_or("").to_owned();
    let asked = Asked {
        authority: head.uri.authority().map(ToString::to_string).unwrap_or_default(),
        service: service_of(&content).unwrap_or_else(|| "(not a HealthCheckRequest)".to_owned()),
        headers: [header("content-type"), header("te")],
    };
    Ok((Question { path: head.uri.path().to_owned(), asked }, respond))
}

/// Answers, or gives the stream back that is not to be answered.
fn answer(
    question: Question,
    mut respond: SendResponse<Cursor<Vec<u8>>>,
    shared: &Shared,
) -> Result<Option<SendResponse<Cursor<Vec<u8>>>>, h2::Error> {
    shared.checks.add(1);
    *shared.asked.lock().unwrap_or_else(PoisonError::into_inner) = question.asked.clone();
    let manner = shared.manner.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let serving = match manner {
        Manner::Stall => return Ok(Some(respond)),
        Manner::ResetStream => {
            respond.send_reset(h2::Reason::INTERNAL_ERROR);
            return Ok(None);
        }
        Manner::Knows(services) if question.path == PATH => match services.get(&question.asked.service) {
            Some(serving) => *serving,
            None => return refuse(respond, NOT_FOUND, "unknown service").map(|()| None),
        },
        Manner::Knows(_) | Manner::Unimplemented => {
            return refuse(respond, UNIMPLEMENTED, "unknown method").map(|()| None);
        }
    };
    let mut response = Response::new(());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    let mut stream = respond.send_response(response, false)?;
    stream.send_data(Cursor::new(reply(serving)), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    stream.send_trailers(trailers)?;
    Ok(None)
}

/// An answer that has only trailers.
fn refuse(
    mut respond: SendResponse<Cursor<Vec<u8>>>,
    code: &'static str,
    message: &'static str,
) -> Result<(), h2::Error> {
    let mut response = Response::new(());
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from_static(code));
    headers.insert("grpc-message", HeaderValue::from_static(message));
    respond.send_response(response, true).map(drop)
}

/// A message as gRPC frames it: not compressed, its length, and field 1 as a number.
fn reply(serving: Serving) -> Vec<u8> {
    let number = match serving {
        // What has its default value is not written.
        Serving::Unknown => return vec![0, 0, 0, 0, 0],
        Serving::Serving => 1,
        Serving::NotServing => 2,
    };
    vec![0, 0, 0, 0, 2, 0x08, number]
}

/// The service that a framed `HealthCheckRequest` names: field 1, a string.
fn service_of(content: &[u8]) -> Option<String> {
    let (frame, message) = content.split_at_checked(5)?;
    let length = u32::from_be_bytes([frame[1], frame[2], frame[3], frame[4]]);
    if frame[0] != 0 || usize::try_from(length).ok()? != message.len() {
        return None;
    }
    match message {
        [] => Some(String::new()),
        // A length below 128 is one byte.
        [0x0a, length, text @ ..] if usize::from(*length) == text.len() && *length < 128 => {
            String::from_utf8(text.to_vec()).ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_names_a_service_or_the_server_as_a_whole() {
        assert_eq!(service_of(&[0, 0, 0, 0, 0]).as_deref(), Some(""));
        assert_eq!(service_of(b"\0\0\0\0\x05\x0a\x03web").as_deref(), Some("web"));
        for wrong in [&b""[..], b"\0\0\0\0\x05\x0a\x04web", b"\0\0\0\0\x09\x0a\x03web", b"\x01\0\0\0\x05\x0a\x03web"] {
            assert_eq!(service_of(wrong), None, "{wrong:?}");
        }
    }
}
