//! The other end of the sockets, for the command line.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use crate::engine::Status;

use super::{Answer, CONTROL_SOCKET, Request, STATUS_SOCKET};

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(15);

/// Largest answer read, in bytes: a status of a hundred thousand certificates.
const LARGEST: u64 = 256 << 20;

/// A daemon's sockets, seen from outside.
#[derive(Clone, Debug)]
pub struct Client {
    directory: PathBuf,
}

/// The daemon did not answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// There is no daemon.
    #[error("no daemon answers on {}", path.display())]
    NotReachable {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// There is one, but not for this user.
    #[error("{} may be used by root and the daemon's own user only", .0.display())]
    NotPermitted(PathBuf),
    /// It answered something else.
    #[error("the daemon's answer is not understood; are both of the same version?")]
    Garbled(#[source] serde_json::Error),
    /// It refused.
    #[error("{0}")]
    Refused(String),
}

impl Client {
    /// The daemon whose sockets are in this directory. Does not connect.
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// How things stand.
    pub fn status(&self) -> Result<Status, ClientError> {
        match self.converse(STATUS_SOCKET, None)? {
            Answer::Status(status) => Ok(*status),
            Answer::Error(text) => Err(ClientError::Refused(text)),
            _ => Err(ClientError::Refused("an answer to another question".to_owned())),
        }
    }

    /// Asks the control socket.
    pub fn ask(&self, request: &Request) -> Result<Answer, ClientError> {
        match self.converse(CONTROL_SOCKET, Some(request))? {
            Answer::Error(text) => Err(ClientError::Refused(text)),
            answer => Ok(answer),
        }
    }

    fn converse(&self, socket: &str, request: Option<&Request>) -> Result<Answer, ClientError> {
        let path = self.directory.join(socket);
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::PermissionDenied => ClientError::NotPermitted(path.clone()),
            _ => ClientError::NotReachable { path: path.clone(), source },
        };
        let mut stream = UnixStream::connect(&path).map_err(failed)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
        if let Some(request) = request {
            let mut line = serde_json::to_vec(request).map_err(ClientError::Garbled)?;
            line.push(b'\n');
            stream.write_all(&line).map_err(failed)?;
        }
        let mut answer = Vec::new();
        stream.take(LARGEST).read_to_end(&mut answer).map_err(failed)?;
        serde_json::from_slice(&answer).map_err(ClientError::Garbled)
    }
}
