//! Files that survive: the only module that opens anything for writing.
//!
//! Invariant: every operation is relative to an opened directory and refuses to follow a symlink
//! in its last component, so nobody who can write next to us can redirect us. Content is on the
//! disk (fsync of file, then of directory) before a function returns `Ok`. Modes are exact,
//! whatever the umask.

mod accounts;
mod lock;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, RenameFlags, Uid};
use rustix::io::Errno;
use thiserror::Error;

pub use lock::{LockError, StateLock};

/// Prefix of every temporary name; such entries may be removed at any time by a later run.
pub const TEMPORARY_PREFIX: &str = ".tmp-";

/// An operation on a file or directory that did not work.
#[derive(Debug, Error)]
pub enum DiskError {
    /// The system refused.
    #[error("{action} {path}{}", advice(.source))]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Something other than the expected kind of file is there: symlink, FIFO, device …
    #[error("{path} is {found}, expected {expected}; move it away")]
    WrongKind {
        /// Where.
        path: PathBuf,
        /// What is there.
        found: &'static str,
        /// What should be there.
        expected: &'static str,
    },
    /// A file is larger than anything this program writes.
    #[error("{path} is larger than {limit} bytes")]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// The limit in bytes.
        limit: usize,
    },
    /// `owner:` or `group:` names nobody.
    #[error("no {kind} named `{name}` on this machine")]
    NoSuchAccount {
        /// `user` or `group`.
        kind: &'static str,
        /// The configured name.
        name: String,
    },
}

fn advice(source: &io::Error) -> &'static str {
    match Errno::from_io_error(source) {
        Some(Errno::NOSPC) => " (no space or inodes left on this file system)",
        Some(Errno::DQUOT) => " (disk quota used up)",
        Some(Errno::ROFS) => " (file system is mounted read-only)",
        Some(Errno::ACCESS | Errno::PERM) => " (check owner and mode of the directory)",
        _ => "",
    }
}

/// Who may do what with a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Permission bits, set exactly.
    pub mode: u32,
    /// Owner by name; `None` leaves it to the process.
    pub owner: Option<String>,
    /// Group by name; `None` leaves it to the process or a setgid directory.
    pub group: Option<String>,
}

impl Access {
    /// Access by mode alone.
    pub fn mode(mode: u32) -> Self {
        Self { mode, owner: None, group: None }
    }
}

/// What kind of thing a directory entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// FIFO, socket, device.
    Other,
}

/// An opened directory.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Dir {
    /// Opens an existing directory.
    pub fn open(path: &Path) -> Result<Self, DiskError> {
        match rustix::fs::open(path, DIRECTORY, Mode::empty()) {
            Ok(fd) => Ok(Self { fd, path: path.to_owned() }),
            Err(errno) => Err(refused("opening directory", path, errno)),
        }
    }

    /// Opens a directory, making it (and missing parents, mode 0755) first if it is not there.
    pub fn open_or_create(path: &Path, mode: u32) -> Result<Self, DiskError> {
        if let Some(parent) = path.parent()
            && !parent.as_os_str().is_empty()
            && !parent.exists()
        {
            Self::open_or_create(parent, 0o755)?;
        }
        match rustix::fs::mkdir(path, Mode::from_raw_mode(mode)) {
            Ok(()) => {
                let dir = Self::open(path)?;
                dir.set_mode(mode)?;
                Ok(dir)
            }
            Err(Errno::EXIST) => Self::open(path),
            Err(errno) => Err(refused("creating directory", path, errno)),
        }
    }

    /// Opens a directory inside this one.
    pub fn sub(&self, name: &str) -> Result<Self, DiskError> {
        let path = self.path.join(name);
        match rustix::fs::openat(&self.fd, name, DIRECTORY, Mode::empty()) {
            Ok(fd) => Ok(Self { fd, path }),
            Err(errno) => Err(refused("opening directory", &path, errno)),
        }
    }

    /// Opens a directory inside this one if it is there.
    pub fn try_sub(&self, name: &str) -> Result<Option<Self>, DiskError> {
        match self.sub(name) {
            Ok(dir) => Ok(Some(dir)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens a directory inside this one, making it with exactly this mode if it is not there.
    pub fn sub_or_create(&self, name: &str, mode: u32) -> Result<Self, DiskError> {
        match rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(mode)) {
            Ok(()) => {
                let dir = self.sub(name)?;
                dir.set_mode(mode)?;
                self.sync()?;
                Ok(dir)
            }
            Err(Errno::EXIST) => self.sub(name),
            Err(errno) => Err(refused("creating directory", &self.path.join(name), errno)),
        }
    }

    /// Where this directory is, as it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file under a temporary name, makes it durable, and renames it over `name`: a
    /// reader sees the old content or the new, never a part.
    pub fn replace(&self, name: &str, content: &[u8], access: &Access) -> Result<(), DiskError> {
        let temporary = format!("{TEMPORARY_PREFIX}{name}");
        self.remove(&temporary)?;
        let written = self.create(&temporary, content, access).and_then(|()| {
            rustix::fs::renameat(&self.fd, &temporary, &self.fd, name)
                .map_err(|errno| refused("renaming onto", &self.path.join(name), errno))
        });
        if let Err(error) = written {
            // The first error is the one to report; a leftover is swept by the next run.
            drop(self.remove(&temporary));
            return Err(error);
        }
        self.sync()
    }

    /// Writes a file that must not exist yet and makes its content durable. The directory entry
    /// is durable only after [`Self::sync`].
    pub fn create(&self, name: &str, content: &[u8], access: &Access) -> Result<(), DiskError> {
        let path = self.path.join(name);
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, name, flags, Mode::from_raw_mode(0o600))
            .map_err(|errno| refused("creating", &path, errno))?;
        let mut file = File::from(fd);
        apply_access(&file, access, &path)?;
        file.write_all(content).map_err(|source| io_error("writing", &path, source))?;
        file.sync_all().map_err(|source| io_error("making durable", &path, source))
    }

    /// Reads a regular file of at most `limit` bytes; `None` if there is none.
    pub fn read(&self, name: &str, limit: usize) -> Result<Option<Vec<u8>>, DiskError> {
        let path = self.path.join(name);
        // NONBLOCK: opening a FIFO must not wait for its writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(refused("opening", &path, errno)),
        };
        read_regular(File::from(fd), &path, limit).map(Some)
    }

    /// Permission bits, owner and group id of a regular file here; `None` if there is none.
    pub fn access_of(&self, name: &str) -> Result<Option<FileAccess>, DiskError> {
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(FileAccess {
                kind: kind_of(FileType::from_raw_mode(stat.st_mode)),
                mode: stat.st_mode & 0o7777,
                uid: stat.st_uid,
                gid: stat.st_gid,
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(refused("inspecting", &self.path.join(name), errno)),
        }
    }

    /// Removes a file or symlink; that it is not there is fine.
    pub fn remove(&self, name: &str) -> Result<(), DiskError> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(refused("removing", &self.path.join(name), errno)),
        }
    }

    /// Removes a directory with everything in it, following no symlink; absent is fine.
    pub fn remove_tree(&self, name: &str) -> Result<(), DiskError> {
        let dir = match self.sub(name) {
            Ok(dir) => dir,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(DiskError::WrongKind { .. }) => return self.remove(name),
            Err(error) => return Err(error),
        };
        for (entry, kind) in dir.entries()? {
            match kind {
                Kind::Directory => dir.remove_tree(&entry)?,
                Kind::File | Kind::Symlink | Kind::Other => dir.remove(&entry)?,
            }
        }
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(refused("removing", &self.path.join(name), errno)),
        }
    }

    /// What is in this directory, in name order; names that are not UTF-8 are left out, since
    /// this program writes none.
    pub fn entries(&self) -> Result<Vec<(String, Kind)>, DiskError> {
        let failed = |errno| refused("listing", &self.path, errno);
        let mut found = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            match entry.file_name().to_str() {
                Ok("." | "..") | Err(_) => {}
                Ok(name) => found.push((name.to_owned(), self.kind(name, entry.file_type())?)),
            }
        }
        found.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        Ok(found)
    }

    fn kind(&self, name: &str, listed: FileType) -> Result<Kind, DiskError> {
        if listed != FileType::Unknown {
            return Ok(kind_of(listed));
        }
        Ok(self.access_of(name)?.map_or(Kind::Other, |access| access.kind))
    }

    /// Moves `from` in this directory to `to` in `target`, which must not exist. Both entries are
    /// durable afterwards.
    pub fn rename_new(&self, from: &str, target: &Self, to: &str) -> Result<(), DiskError> {
        let moved =
            rustix::fs::renameat_with(&self.fd, from, &target.fd, to, RenameFlags::NOREPLACE);
        let moved = match moved {
            // Some file systems know no flags; the caller holds the only lock that matters.
            Err(Errno::INVAL) => rustix::fs::renameat(&self.fd, from, &target.fd, to),
            other => other,
        };
        moved.map_err(|errno| refused("renaming to", &target.path.join(to), errno))?;
        if self.path != target.path {
            target.sync()?;
        }
        self.sync()
    }

    /// Points the symlink `name` at `target` by one rename, and makes that durable. Refuses to
    /// replace anything that is not a symlink.
    pub fn switch_symlink(&self, name: &str, target: &str) -> Result<(), DiskError> {
        match self.access_of(name)? {
            None | Some(FileAccess { kind: Kind::Symlink, .. }) => {}
            Some(FileAccess { kind, .. }) => {
                return Err(DiskError::WrongKind {
                    path: self.path.join(name),
                    found: describe(kind),
                    expected: "a symlink",
                });
            }
        }
        let temporary = format!("{TEMPORARY_PREFIX}{name}");
        self.remove(&temporary)?;
        rustix::fs::symlinkat(target, &self.fd, &temporary)
            .map_err(|errno| refused("creating symlink", &self.path.join(&temporary), errno))?;
        rustix::fs::renameat(&self.fd, &temporary, &self.fd, name)
            .map_err(|errno| refused("switching symlink", &self.path.join(name), errno))?;
        self.sync()
    }

    /// The target of a symlink; `None` if there is nothing or something else.
    pub fn read_link(&self, name: &str) -> Result<Option<String>, DiskError> {
        match rustix::fs::readlinkat(&self.fd, name, Vec::new()) {
            Ok(target) => Ok(target.into_string().ok()),
            Err(Errno::NOENT | Errno::INVAL) => Ok(None),
            Err(errno) => Err(refused("reading symlink", &self.path.join(name), errno)),
        }
    }

    /// Makes the entries of this directory durable.
    pub fn sync(&self) -> Result<(), DiskError> {
        rustix::fs::fsync(&self.fd)
            .map_err(|errno| refused("making directory durable", &self.path, errno))
    }

    /// Sets mode and group of this directory.
    pub fn set_access(&self, access: &Access) -> Result<(), DiskError> {
        apply_access(&self.fd, access, &self.path)
    }

    fn set_mode(&self, mode: u32) -> Result<(), DiskError> {
        self.set_access(&Access::mode(mode))
    }

    /// Free bytes for unprivileged processes on this file system.
    pub fn free_space(&self) -> Result<u64, DiskError> {
        let stat = rustix::fs::fstatvfs(&self.fd)
            .map_err(|errno| refused("asking for free space of", &self.path, errno))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// Reads a regular file by path, following symlinks (for configuration and credentials, which
/// administrators and orchestrators do link); at most `limit` bytes.
pub fn read_file(path: &Path, limit: usize) -> Result<Vec<u8>, DiskError> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty())
        .map_err(|errno| refused("opening", path, errno))?;
    read_regular(File::from(fd), path, limit)
}

/// What is known of a file without opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileAccess {
    /// Its kind.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// Owning user.
    pub uid: u32,
    /// Owning group.
    pub gid: u32,
}

impl FileAccess {
    /// Whether the file is already as `access` wants it.
    pub fn satisfies(&self, access: &Access) -> Result<bool, DiskError> {
        let uid = access.owner.as_deref().map(accounts::user).transpose()?;
        let gid = access.group.as_deref().map(accounts::group).transpose()?;
        Ok(self.mode == access.mode
            && uid.is_none_or(|uid| uid == self.uid)
            && gid.is_none_or(|gid| gid == self.gid))
    }
}

impl DiskError {
    /// Whether the cause is that something is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

fn read_regular(file: File, path: &Path, limit: usize) -> Result<Vec<u8>, DiskError> {
    let failed = |source| io_error("reading", path, source);
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        let found = if metadata.is_dir() { "a directory" } else { "a special file" };
        return Err(DiskError::WrongKind { path: path.to_owned(), found, expected: "a file" });
    }
    let mut content = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0).min(limit));
    let bound = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    file.take(bound).read_to_end(&mut content).map_err(failed)?;
    if content.len() > limit {
        return Err(DiskError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(content)
}

fn apply_access(fd: impl AsFd, access: &Access, path: &Path) -> Result<(), DiskError> {
    let uid = access.owner.as_deref().map(accounts::user).transpose()?;
    let gid = access.group.as_deref().map(accounts::group).transpose()?;
    if uid.is_some() || gid.is_some() {
        rustix::fs::fchown(&fd, uid.map(Uid::from_raw), gid.map(Gid::from_raw))
            .map_err(|errno| refused("changing owner or group of", path, errno))?;
    }
    // After chown, which clears set-id bits; before any content is written.
    rustix::fs::fchmod(&fd, Mode::from_raw_mode(access.mode))
        .map_err(|errno| refused("setting the mode of", path, errno))
}

fn refused(action: &'static str, path: &Path, errno: Errno) -> DiskError {
    let path = path.to_owned();
    match errno {
        // What O_NOFOLLOW and O_DIRECTORY say about a symlink; ENOTDIR may also be one.
        Errno::LOOP => DiskError::WrongKind { path, found: "a symlink", expected: "a real one" },
        Errno::NOTDIR => {
            DiskError::WrongKind { path, found: "not a directory", expected: "a directory" }
        }
        errno => DiskError::Io { action, path, source: errno.into() },
    }
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> DiskError {
    DiskError::Io { action, path: path.to_owned(), source }
}

fn kind_of(file_type: FileType) -> Kind {
    match file_type {
        FileType::Directory => Kind::Directory,
        FileType::RegularFile => Kind::File,
        FileType::Symlink => Kind::Symlink,
        _ => Kind::Other,
    }
}

fn describe(kind: Kind) -> &'static str {
    match kind {
        Kind::Directory => "a directory",
        Kind::File => "a file",
        Kind::Symlink => "a symlink",
        Kind::Other => "a special file",
    }
}

#[cfg(test)]
mod tests;
