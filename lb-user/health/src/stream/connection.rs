//! One connection: how it begins, how it is read within bounds, and what it means when it
//! breaks.
//!
//! What must not be here: any protocol above TCP.

use std::{
    io,
    mem::MaybeUninit,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::outcome::{Failure, Outcome};

/// Bytes taken from a connection at once: more than nearly every head.
const CHUNK: usize = 2048;

/// Begins a connection. The kernel may still be at it: the first write waits until it is
/// there, or says why it is not; so does [`established`].
///
/// It ends with a reset when it is dropped (zero linger), so that neither side has a
/// socket in TIME_WAIT, and the local port is free at once: ten thousand probes in a
/// second would run out of ports within three otherwise.
///
/// # Errors
/// What the kernel says at once: no route, or something that this host lacks.
pub(super) fn open(to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_linger(Some(Duration::ZERO))?;
    match socket.connect(&to.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) => return Err(error),
    }
    TcpStream::from_std(socket.into())
}

/// Waits until the handshake is over.
///
/// # Errors
/// Why there is no connection.
pub(super) async fn established(stream: &TcpStream) -> io::Result<()> {
    stream.writable().await?;
    stream.take_error()?.map_or(Ok(()), Err)
}

/// Reads until `judge` knows. It is shown what came in, piece by piece.
/// `None` when the other side ends the connection before.
///
/// # Errors
/// What reading says.
pub(super) async fn hear<T>(
    stream: &mut (impl AsyncRead + Unpin),
    mut judge: impl FnMut(&[u8]) -> Option<T>,
) -> io::Result<Option<T>> {
    std::future::poll_fn(|cx| {
        loop {
            // On the stack only while there is something to read: a waiting probe is small.
            let mut room = [const { MaybeUninit::uninit() }; CHUNK];
            let mut buffer = ReadBuf::uninit(&mut room);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(None));
            }
            if let Some(verdict) = judge(buffer.filled()) {
                return Poll::Ready(Ok(Some(verdict)));
            }
        }
    })
    .await
}

/// The kind of error that says that the other side sent more than any honest answer
/// needs: one that no socket has, and a kind because h2 keeps nothing else of an error.
const ENDLESS: io::ErrorKind = io::ErrorKind::FileTooLarge;

/// A connection that may bring so many bytes and no more: for protocols whose library
/// would go on reading frames or records that are nothing to us.
#[derive(Debug)]
pub(super) struct Bounded<S> {
    stream: S,
    left: usize,
}

impl<S> Bounded<S> {
    /// At most `limit` bytes are read from `stream`.
    pub(super) const fn new(stream: S, limit: usize) -> Self {
        Self { stream, left: limit }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.left == 0 {
            return Poll::Ready(Err(ENDLESS.into()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        self.left = self.left.saturating_sub(buffer.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// What a broken connection says of the member. `before` is what it broke before, as in
/// `closed the connection before {}`.
pub(super) fn broken(error: &io::Error, before: &'static str) -> Outcome {
    if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return Outcome::Fails(super::tls::disagreement(error));
    }
    match (error.kind(), error.raw_os_error()) {
        (ENDLESS, _) => Outcome::Fails(Failure::Malformed("it sends without end")),
        // Seen where we still had something to say.
        (io::ErrorKind::BrokenPipe, _) => Outcome::Fails(Failure::Closed(before)),
        (_, Some(_)) => Failure::of_io(error),
        (io::ErrorKind::ConnectionReset, None) => Outcome::Fails(Failure::Kernel(libc::ECONNRESET)),
        _ => Outcome::Fails(Failure::Closed(before)),
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
