//! Reading the configuration files: the main one, and `conf.d/*.yaml` beside it in name order.

use std::path::{Path, PathBuf};

use thiserror::Error;
use tracing::warn;

use crate::config::{self, Base, Loaded, Problems, SourceFile};
use crate::disk::{self, DiskError};

/// Largest configuration file read, in bytes.
const LARGEST: usize = 1 << 20;

/// Why there is no configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("the configuration cannot be read")]
    Read(#[from] DiskError),
    /// `conf.d` cannot be listed.
    #[error("{} cannot be listed", path.display())]
    List {
        /// Which directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file is not text.
    #[error("{} is not UTF-8 text", .0.display())]
    NotText(PathBuf),
    /// It has problems.
    #[error(transparent)]
    Problems(#[from] Problems),
}

/// Reads and resolves the configuration at `path`.
pub fn load(path: &Path) -> Result<Loaded, ConfigError> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut files = vec![source(&path)?];
    for path in included(&path)? {
        files.push(source(&path)?);
    }
    let directory = path.parent().unwrap_or(Path::new("/")).to_owned();
    Ok(config::load(&files, &Base { directory })?)
}

/// The directories whose changes may change the configuration.
pub(super) fn directories(path: &Path) -> Vec<PathBuf> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let parent = path.parent().unwrap_or(Path::new("/")).to_owned();
    let included = parent.join("conf.d");
    if included.is_dir() { vec![parent, included] } else { vec![parent] }
}

/// Bytes of all files together, to tell whether anything has really changed.
pub(super) fn fingerprint(path: &Path) -> Option<String> {
    let mut all = disk::read_file(path, LARGEST).ok()?;
    for path in included(path).ok()? {
        all.extend_from_slice(path.to_string_lossy().as_bytes());
        all.extend(disk::read_file(&path, LARGEST).ok()?);
    }
    Some(crate::pki::sha256_hex(&all))
}

/// Logs what is allowed but probably not meant.
pub(super) fn warn_about(loaded: &Loaded) {
    for problem in &loaded.warnings {
        warn!(problem = %problem, "configuration");
    }
}

fn included(main: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let path = main.parent().unwrap_or(Path::new("/")).join("conf.d");
    let entries = match std::fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(ConfigError::List { path, source }),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|source| ConfigError::List { path: path.clone(), source })?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_yaml = name.ends_with(".yaml") || name.ends_with(".yml");
        if is_yaml && !name.starts_with('.') {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

fn source(path: &Path) -> Result<SourceFile, ConfigError> {
    let content = disk::read_file(path, LARGEST)?;
    let text = String::from_utf8(content).map_err(|_| ConfigError::NotText(path.to_owned()))?;
    Ok(SourceFile { path: path.to_owned(), text })
}
