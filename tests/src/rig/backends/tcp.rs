//! A TCP server with manners, mostly bad ones.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::sleep,
};

use super::{Crowd, Tally, Task};
use crate::rig::netns::NetNs;

/// How a server treats whoever connects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    /// Reads a request and answers it with this status.
    Status(u16),
    /// The same with one status and the other in turn.
    InTurn(u16, u16),
    /// Refers to another place, with this status.
    Redirect(u16),
    /// Says that it goes on, twice, before it answers with 200.
    Inform,
    /// Accepts and says nothing.
    Stall,
    /// Accepts and closes.
    Close,
    /// Accepts and resets.
    Reset,
    /// Reads a request and answers with bytes that mean nothing.
    Garbage,
    /// Greets, as servers of other protocols do.
    Greet,
    /// Closes in the middle of the status line.
    CloseInStatusLine,
    /// Closes in the middle of a header.
    CloseInHeader,
    /// Closes before the empty line that ends the head.
    CloseAfterHeader,
    /// Answers with 200, a byte at a time with so many milliseconds between.
    Dribble(u64),
    /// Sends headers for as long as somebody takes them.
    EndlessHeaders,
    /// Sends a status line for as long as somebody takes it.
    EndlessStatusLine,
    /// Answers with 200 and content for as long as somebody takes it.
    EndlessContent,
    /// Promises content and does not send it.
    NoContent,
}

/// How long a server waits before it closes after a last word, so that the
/// word is read on its own.
const LINGER: Duration = Duration::from_millis(20);

/// A running server.
#[derive(Debug)]
pub struct TcpServer {
    manner: Arc<Mutex<Manner>>,
    tallies: Tallies,
    _task: Task,
}

#[derive(Clone, Debug, Default)]
struct Tallies {
    accepted: Tally,
    sent: Tally,
}

impl TcpServer {
    /// Serves at an address of a namespace.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub fn start(crowd: &Crowd, namespace: &NetNs, address: SocketAddr, manner: Manner) -> Result<Self> {
        let listener = crowd.listen(namespace, address)?;
        let manner = Arc::new(Mutex::new(manner));
        let tallies = Tallies::default();
        let (now, counted) = (manner.clone(), tallies.clone());
        let task = Task::start(crowd, async move {
            // Dropped with this task, and all connections with it.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let number = counted.accepted.get();
                counted.accepted.add(1);
                let manner = *now.lock().unwrap_or_else(PoisonError::into_inner);
                let counted = counted.clone();
                connections.spawn(async move {
                    // However it ends, it was the client's wish or the server's manner.
                    let _ = treat(stream, manner, number, &counted).await;
                });
                while connections.try_join_next().is_some() {}
            }
        })?;
        Ok(Self { manner, tallies, _task: task })
    }

    /// Treats those who connect from now on like this.
    pub fn behave(&self, manner: Manner) {
        *self.manner.lock().unwrap_or_else(PoisonError::into_inner) = manner;
    }

    /// How many connections it has accepted.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.tallies.accepted.get()
    }

    /// The most bytes that the kernel took for one connection.
    #[must_use]
    pub fn most_sent(&self) -> u64 {
        self.tallies.sent.get()
    }
}

async fn treat(mut stream: TcpStream, manner: Manner, number: u64, tallies: &Tallies) -> io::Result<()> {
    match manner {
        Manner::Close => return Ok(()),
        Manner::Reset => {
            stream.set_zero_linger()?;
            return Ok(());
        }
        Manner::Greet => {
            stream.write_all(b"SSH-2.0-OpenSSH_9.2p1\r\n").await?;
            return hold(stream).await;
        }
        Manner::Stall => return hold(stream).await,
        _ => {}
    }
    read_request(&mut stream).await?;
    match manner {
        Manner::Status(code) => stream.write_all(&answer(code)).await?,
        Manner::InTurn(one, other) => {
            stream.write_all(&answer(if number.is_multiple_of(2) { one } else { other })).await?;
        }
        Manner::Redirect(code) => {
            let text = format!(
                "HTTP/1.1 {code} Elsewhere\r\nLocation: http://192.0.2.1/elsewhere\r\nContent-Length: 0\r\n\r\n"
            );
            stream.write_all(text.as_bytes()).await?;
        }
        Manner::Inform => {
            stream.write_all(b"HTTP/1.1 102 Processing\r\n\r\n").await?;
            sleep(LINGER).await;
            stream.write_all(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n").await?;
            sleep(LINGER).await;
            stream.write_all(&answer(200)).await?;
        }
        Manner::Garbage => {
            let bytes: Vec<u8> = (0..512u16).map(|n| (n.wrapping_mul(37) >> 1).to_be_bytes()[1] | 0x80).collect();
            stream.write_all(&bytes).await?;
        }
        Manner::CloseInStatusLine => stream.write_all(b"HTTP/1.1 2").await?,
        Manner::CloseInHeader => stream.write_all(b"HTTP/1.1 200 OK\r\nServer: unfin").await?,
        Manner::CloseAfterHeader => stream.write_all(b"HTTP/1.1 200 OK\r\nServer: unfinished\r\n").await?,
        Manner::Dribble(pause) => {
            stream.set_nodelay(true)?;
            for byte in answer(200) {
                stream.write_all(&[byte]).await?;
                sleep(Duration::from_millis(pause)).await;
            }
        }
        Manner::NoContent => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n").await?;
            return hold(stream).await;
        }
        Manner::EndlessHeaders => {
            return endless(stream, b"HTTP/1.1 200 OK\r\n", b"X-Filler: and another one\r\n", tallies).await;
        }
        Manner::EndlessStatusLine => return endless(stream, b"HTTP/1.1 200 ", b"O", tallies).await,
        Manner::EndlessContent => {
            return endless(stream, b"HTTP/1.1 200 OK\r\n\r\n", b"and so on, ", tallies).await;
        }
        Manner::Stall | Manner::Close | Manner::Reset | Manner::Greet => {}
    }
    sleep(LINGER).await;
    stream.shutdown().await
}

/// A whole answer without content.
fn answer(code: u16) -> Vec<u8> {
    format!("HTTP/1.1 {code:03} Whatever\r\nServer: tests\r\nContent-Length: 0\r\n\r\n").into_bytes()
}

async fn read_request(stream: &mut TcpStream) -> io::Result<()> {
    let (mut request, mut chunk) = (Vec::new(), [0; 1024]);
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        let length = stream.read(&mut chunk).await?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        request.extend_from_slice(&chunk[..length]);
    }
    Ok(())
}

/// Keeps a connection until the client closes it.
async fn hold(mut stream: TcpStream) -> io::Result<()> {
    let mut chunk = [0; 1024];
    while stream.read(&mut chunk).await? > 0 {}
    Ok(())
}

async fn endless(mut stream: TcpStream, first: &[u8], again: &[u8], tallies: &Tallies) -> io::Result<()> {
    stream.write_all(first).await?;
    let chunk = again.repeat(4096 / again.len());
    let mut sent = 0;
    loop {
        sent += stream.write(&chunk).await? as u64;
        tallies.sent.raise_to(sent);
    }
}
