//! One daemon per state directory: an flock on an open file, which the kernel drops with the
//! process however it ends. The file's content (a pid) only serves the error message.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};
use thiserror::Error;

use super::{Dir, DiskError, io_error, refused};

/// Held for as long as this process may change the state directory.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
}

/// Why the state directory could not be locked.
#[derive(Debug, Error)]
pub enum LockError {
    /// Another process has it.
    #[error("{} is in use by another certs process{}", path.display(), holder(*pid))]
    Held {
        /// The state directory.
        path: PathBuf,
        /// The holder, if it could be read.
        pid: Option<u32>,
    },
    /// The lock file could not be used.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

fn holder(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
}

impl StateLock {
    /// Takes the lock of a state directory, without waiting.
    pub fn acquire(dir: &Dir) -> Result<Self, LockError> {
        let path = dir.path.join("lock");
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&dir.fd, "lock", flags, Mode::from_raw_mode(0o600))
            .map_err(|errno| refused("opening", &path, errno))?;
        let mut file = File::from(fd);
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // Whoever holds the lock may be about to write its pid; the number is a courtesy.
                let pid = match (&file).take(32).read_to_string(&mut text) {
                    Ok(_) => text.trim().parse().ok(),
                    Err(_) => None,
                };
                return Err(LockError::Held { path: dir.path.clone(), pid });
            }
            Err(TryLockError::Error(source)) => {
                return Err(io_error("locking", &path, source).into());
            }
        }
        let noted = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        if let Err(source) = noted {
            // A full disk must not keep the daemon from serving what it holds.
            drop(source);
        }
        Ok(Self { _file: file })
    }
}
