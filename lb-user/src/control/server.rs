//! Lbd's end of the socket: takes lines from `lbctl` and hands each to the
//! controller as a [`Command`].
//!
//! What must not be here: any knowledge of what a request means. Everything is
//! bounded: clients, those who wait to become one, those whose answer waits for
//! something to happen, the length of a line, the commands in flight (the
//! channel's own bound) and the time a silent client may keep its place. That
//! time is short while others wait for a place, so that nobody is kept out by
//! somebody who says nothing.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Interest},
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch},
    time::{Instant, sleep_until, timeout},
};

use super::protocol::{self, MAX_REQUEST_BYTES, MAX_WAITING, Refusal, RefusalCode, Request, Response};

/// Clients served at once. An operator has a few terminals open and perhaps a
/// collector; more than this is a script gone wild.
pub const MAX_CLIENTS: usize = 32;

/// Clients that may wait until one of those leaves.
const MAX_QUEUE: usize = 32;

/// How long a client may take to send a line or to take an answer.
const CLIENT_PATIENCE: Duration = Duration::from_secs(30);

/// How long it may take while others wait for its place.
const CROWDED_PATIENCE: Duration = Duration::from_secs(5);

/// How long a client waits for a place: longer than a silent one keeps it, and
/// less than `lbctl` waits for an answer.
const QUEUE_PATIENCE: Duration = Duration::from_secs(7);

/// A request and the place for its answer.
#[derive(Debug)]
pub struct Command {
    /// What is asked.
    pub request: Request,
    /// Where the answer goes. Dropped without one, the client is told that lbd
    /// is stopping.
    pub reply: oneshot::Sender<Response>,
}

/// The bound socket. Dropping it removes the socket's file.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
    house: Arc<House>,
}

/// Who is there: places, and how long they may be kept.
#[derive(Debug)]
struct House {
    places: Arc<Semaphore>,
    /// Places to wait for a place.
    queue: Arc<Semaphore>,
    /// Places for those whose answer waits for something to happen.
    waiting: Semaphore,
    /// How many wait for a place.
    crowd: watch::Sender<usize>,
    patience: Duration,
    crowded_patience: Duration,
    queue_patience: Duration,
}

impl House {
    fn new() -> Self {
        Self {
            places: Arc::new(Semaphore::new(MAX_CLIENTS)),
            queue: Arc::new(Semaphore::new(MAX_QUEUE)),
            waiting: Semaphore::new(MAX_WAITING),
            crowd: watch::Sender::new(0),
            patience: CLIENT_PATIENCE,
            crowded_patience: CROWDED_PATIENCE,
            queue_patience: QUEUE_PATIENCE,
        }
    }

    /// Waits for a place, and lets those who have one know.
    async fn queue(&self) -> Option<OwnedSemaphorePermit> {
        self.crowd.send_modify(|crowd| *crowd += 1);
        let place = timeout(self.queue_patience, Arc::clone(&self.places).acquire_owned()).await;
        self.crowd.send_modify(|crowd| *crowd -= 1);
        place.ok()?.ok()
    }

    /// Waits for what a client does for as long as it may take.
    async fn patiently<T>(&self, deed: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let began = Instant::now();
        let mut crowd = self.crowd.subscribe();
        tokio::pin!(deed);
        loop {
            let crowded = *crowd.borrow_and_update() > 0;
            let patience = if crowded { self.crowded_patience } else { self.patience };
            tokio::select! {
                biased;
                done = &mut deed => return done,
                () = sleep_until(began + patience) => return Err(io::ErrorKind::TimedOut.into()),
                _ = crowd.changed() => {}
            }
        }
    }
}

/// Why the socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another daemon has it.
    #[error(
        "open control socket {path}: another lbd answers there; stop it, or give this one another `[control] socket`"
    )]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something else lies there.
    #[error(
        "open control socket {path}: there is something that is no socket; move it away, or choose another `[control] socket`"
    )]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The system refused.
    #[error("open control socket {path}: {step}; look at the permissions, or choose another `[control] socket`")]
    Io {
        /// The socket.
        path: PathBuf,
        /// What was being done.
        step: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl Server {
    /// Opens the socket: its directory is made with mode 0750 if it is missing,
    /// the socket has mode 0660, and one left behind by a dead daemon is
    /// removed. Call it within a tokio runtime.
    ///
    /// # Errors
    /// When another daemon answers there, or the system refuses.
    pub fn bind(path: &Path) -> Result<Self, BindError> {
        let failed = |step| move |source| BindError::Io { path: path.to_owned(), step, source };
        if let Some(directory) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o750)
                .create(directory)
                .map_err(failed("make its directory"))?;
        }
        remove_stale(path)?;
        let listener = UnixListener::bind(path).map_err(failed("bind it"))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o660)).map_err(failed("set its mode"))?;
        let inode = fs::symlink_metadata(path).map_err(failed("look at it"))?.ino();
        Ok(Self { listener, path: path.to_owned(), inode, house: Arc::new(House::new()) })
    }

    /// Serves clients until the future is dropped or `commands` is closed; then
    /// answers those it has, and waits until they have left.
    pub async fn serve(self, commands: mpsc::Sender<Command>) {
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = commands.closed() => {
                    let _ = self.house.places.acquire_many(MAX_CLIENTS as u32).await;
                    return;
                }
            };
            match accepted {
                Ok((stream, _)) => self.welcome(stream, commands.clone()),
                Err(error) => {
                    // Out of descriptors, most likely: it does not pass by
                    // asking again at once.
                    tracing::warn!(%error, "accept a control client");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn welcome(&self, stream: UnixStream, commands: mpsc::Sender<Command>) {
        let house = Arc::clone(&self.house);
        if let Ok(place) = Arc::clone(&house.places).try_acquire_owned() {
            tokio::spawn(serve_client(house, stream, commands, place));
            return;
        }
        let Ok(in_queue) = Arc::clone(&house.queue).try_acquire_owned() else { return send_away(&stream) };
        tokio::spawn(async move {
            let place = house.queue().await;
            drop(in_queue);
            match place {
                Some(place) => serve_client(house, stream, commands, place).await,
                None => send_away(&stream),
            }
        });
    }
}

/// Tells somebody for whom there is no place.
fn send_away(stream: &UnixStream) {
    let refusal = Refusal::new(RefusalCode::Busy, format!("lbd serves {MAX_CLIENTS} clients already; try again"));
    if let Ok(line) = protocol::encode_response(&refusal.into()) {
        // One line that fits any socket buffer: nothing to wait for.
        let _ = stream.try_write(&line);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Only if it is still ours: a daemon started since may have its own there.
        if fs::symlink_metadata(&self.path).is_ok_and(|m| m.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes a socket that nobody answers at.
fn remove_stale(path: &Path) -> Result<(), BindError> {
    use std::os::unix::fs::FileTypeExt;
    let failed = |step| move |source| BindError::Io { path: path.to_owned(), step, source };
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at it")(error)),
    };
    if !metadata.file_type().is_socket() {
        return Err(BindError::NotASocket { path: path.to_owned() });
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed("remove the one left by a dead lbd"))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // A full backlog is an answer too.
        Ok(_) => Err(BindError::InUse { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(BindError::InUse { path: path.to_owned() }),
        Err(error) => Err(failed("ask who is there")(error)),
    }
}

async fn serve_client(
    house: Arc<House>,
    stream: UnixStream,
    commands: mpsc::Sender<Command>,
    _place: OwnedSemaphorePermit,
) {
    if let Err(error) = converse(&house, stream, &commands).await {
        tracing::debug!(%error, "control client left");
    }
}

/// Answers a client's lines, one after the other, until it leaves.
async fn converse(house: &House, stream: UnixStream, commands: &mpsc::Sender<Command>) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read);
    let mut line = Vec::new();
    loop {
        line.clear();
        let limit = MAX_REQUEST_BYTES as u64;
        let length = house.patiently((&mut lines).take(limit).read_until(b'\n', &mut line)).await?;
        if length == 0 {
            return Ok(());
        }
        let whole = line.last() == Some(&b'\n');
        let response = if whole || length < MAX_REQUEST_BYTES {
            tokio::select! {
                biased;
                response = respond(house, &line, commands) => response,
                () = gone(&mut lines, &write) => return Ok(()),
            }
        } else {
            Refusal::new(RefusalCode::Invalid, format!("a request has at most {MAX_REQUEST_BYTES} bytes")).into()
        };
        let answer = protocol::encode_response(&response).map_err(io::Error::other)?;
        house.patiently(write.write_all(&answer)).await?;
        if !whole {
            // What follows is the rest of an overlong line, or nothing.
            return Ok(());
        }
    }
}

async fn respond(house: &House, line: &[u8], commands: &mpsc::Sender<Command>) -> Response {
    let request = match protocol::decode_request(line) {
        Ok(request) => request,
        Err(refusal) => return refusal.into(),
    };
    let _waiting = if request.may_wait() {
        let Ok(waiting) = house.waiting.try_acquire() else {
            let message =
                format!("{MAX_WAITING} clients wait for events already; end one of them, or ask without waiting");
            return Refusal::new(RefusalCode::Busy, message).into();
        };
        Some(waiting)
    } else {
        None
    };
    let (reply, answer) = oneshot::channel();
    let stopping = || Refusal::new(RefusalCode::Busy, "lbd is stopping").into();
    if commands.send(Command { request, reply }).await.is_err() {
        return stopping();
    }
    answer.await.unwrap_or_else(|_| stopping())
}

/// Until nobody is there to take an answer. Whoever has only said all they have
/// to say (and closed their own direction) is there still.
async fn gone(lines: &mut BufReader<OwnedReadHalf>, write: &OwnedWriteHalf) {
    let ended = lines.fill_buf().await.map_or(true, <[u8]>::is_empty);
    let closed = ended && write.ready(Interest::WRITABLE).await.map_or(true, |ready| ready.is_write_closed());
    if !closed {
        std::future::pending().await
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
