//! The daemon's two sockets: one that tells everyone how things stand, one that takes wishes from
//! those who may have them.
//!
//! Invariant: the status socket never reads. The control socket reads one bounded line, from root
//! or the daemon's own user, within a bounded time.

mod client;
mod protocol;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::disk::{Dir, DiskError};
use crate::engine::{Event, Status};

pub use client::{Client, ClientError};
pub use protocol::{Answer, Request};

/// Name of the socket that tells how things stand.
pub const STATUS_SOCKET: &str = "status.sock";

/// Name of the socket that takes wishes.
pub const CONTROL_SOCKET: &str = "control.sock";

/// Connections at a time, per socket.
const MOST_CONNECTIONS: usize = 16;

/// Longest request, in bytes.
const LONGEST_REQUEST: u64 = 64 << 10;

/// A client has this long to send its request and to take its answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The sockets could not be made.
#[derive(Debug, Error)]
pub enum ServeError {
    /// Their directory.
    #[error("the directory of the sockets cannot be used")]
    Directory(#[from] DiskError),
    /// A socket.
    #[error("cannot listen on {}", path.display())]
    Bind {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Problems of the daemon as a whole, shown with every status.
#[derive(Clone, Debug, Default)]
pub struct Problems(Arc<Mutex<Vec<String>>>);

impl Problems {
    /// Replaces what is shown.
    pub fn set(&self, problems: Vec<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = problems;
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list().is_empty()
    }

    fn list(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The sockets of a running daemon.
#[derive(Debug)]
pub struct Sockets {
    paths: Vec<PathBuf>,
}

impl Sockets {
    /// Removes the sockets, so that nobody waits for an answer.
    pub fn remove_sockets(&self) {
        for path in &self.paths {
            // The next start replaces what cannot be removed.
            drop(std::fs::remove_file(path));
        }
    }
}

/// Makes both sockets and serves them until told to stop. The caller holds the state lock, so
/// sockets that are there belong to nobody.
pub fn start(
    directory: &Path,
    events: mpsc::Sender<Event>,
    problems: Problems,
    stop: CancellationToken,
) -> Result<Sockets, ServeError> {
    Dir::open_or_create(directory, 0o755)?;
    let (status, status_path) = listen(directory, STATUS_SOCKET, 0o666)?;
    let (control, control_path) = listen(directory, CONTROL_SOCKET, 0o600)?;
    let server = Server { events, problems };
    tokio::spawn(server.clone().accept(status, Service::Status, stop.clone()));
    tokio::spawn(server.accept(control, Service::Control, stop));
    Ok(Sockets { paths: vec![status_path, control_path] })
}

fn listen(directory: &Path, name: &str, mode: u32) -> Result<(UnixListener, PathBuf), ServeError> {
    let path = directory.join(name);
    drop(std::fs::remove_file(&path));
    let bound = UnixListener::bind(&path).and_then(|listener| {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
        Ok(listener)
    });
    match bound {
        Ok(listener) => Ok((listener, path)),
        Err(source) => Err(ServeError::Bind { path, source }),
    }
}

#[derive(Clone, Copy, Debug)]
enum Service {
    Status,
    Control,
}

#[derive(Clone)]
struct Server {
    events: mpsc::Sender<Event>,
    problems: Problems,
}

impl Server {
    async fn accept(self, listener: UnixListener, service: Service, stop: CancellationToken) {
        let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stop.cancelled() => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    let server = self.clone();
                    tokio::spawn(async move {
                        let conversation = server.converse(stream, service);
                        drop(tokio::time::timeout(PATIENCE, conversation).await);
                        drop(place);
                    });
                }
                Err(error) => {
                    warn!(%error, "cannot accept on a socket of the daemon, retrying");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }

    async fn converse(&self, mut stream: UnixStream, service: Service) {
        let answer = match service {
            Service::Status => self.status().await.map(|status| Answer::Status(Box::new(status))),
            Service::Control => match self.admit(&stream) {
                Ok(()) => self.control(&mut stream).await,
                Err(refusal) => Some(refusal),
            },
        };
        let Some(answer) = answer else { return };
        let Ok(mut bytes) = serde_json::to_vec(&answer) else { return };
        bytes.push(b'\n');
        // Whoever has gone needs no answer.
        drop(stream.write_all(&bytes).await);
        drop(stream.shutdown().await);
    }

    /// Who may: root, and the user that the daemon runs as.
    fn admit(&self, stream: &UnixStream) -> Result<(), Answer> {
        let own = rustix::process::geteuid().as_raw();
        match stream.peer_cred() {
            Ok(peer) if peer.uid() == 0 || peer.uid() == own => Ok(()),
            _ => Err(Answer::Error("only root and the daemon's own user may ask this".to_owned())),
        }
    }

    async fn control(&self, stream: &mut UnixStream) -> Option<Answer> {
        let mut line = String::new();
        let mut reader = BufReader::new(stream.take(LONGEST_REQUEST));
        reader.read_line(&mut line).await.ok()?;
        let request = match serde_json::from_str(&line) {
            Ok(request) => request,
            Err(error) => return Some(Answer::Error(format!("request not understood: {error}"))),
        };
        Some(match request {
            Request::Status => Answer::Status(Box::new(self.status().await?)),
            Request::Story { name } => {
                let (reply, answer) = oneshot::channel();
                self.events.send(Event::Story { name, reply }).await.ok()?;
                Answer::Story(Box::new(answer.await.ok()?))
            }
            Request::Renew { names } => {
                let (reply, answer) = oneshot::channel();
                self.events.send(Event::Renew { names, reply }).await.ok()?;
                match answer.await.ok()? {
                    Ok(unknown) => Answer::Noted { unknown },
                    Err(error) => Answer::Error(error),
                }
            }
        })
    }

    async fn status(&self) -> Option<Status> {
        let (reply, answer) = oneshot::channel();
        self.events.send(Event::Status(reply)).await.ok()?;
        let status = answer.await.ok()?;
        Some(Status { daemon: true, problems: self.problems.list(), ..status })
    }
}
