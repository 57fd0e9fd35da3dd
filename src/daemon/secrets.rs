//! Fetching secrets from where the configuration says they are.

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::config::settings::SecretRef;
use crate::disk::{self, DiskError};
use crate::model::Secret;

/// Largest secret read, in bytes.
const LARGEST: usize = 64 << 10;

/// A secret that is not where it should be.
#[derive(Debug, Error)]
pub(super) enum SecretError {
    #[error("environment variable {0} is not set")]
    NoVariable(String),
    #[error("credential `{0}` was not passed: add `LoadCredential={0}:/path` to the unit")]
    NoCredential(String),
    #[error("a secret cannot be read")]
    Read(#[from] DiskError),
}

/// The secret, without a trailing line break.
pub(super) fn fetch(reference: &SecretRef) -> Result<Secret, SecretError> {
    match reference {
        SecretRef::File(path) => read(path),
        SecretRef::Env(name) => std::env::var(name)
            .map(|value| Secret::new(value.into_bytes()))
            .map_err(|_| SecretError::NoVariable(name.clone())),
        SecretRef::Credential(name) => {
            let missing = || SecretError::NoCredential(name.clone());
            let directory = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(missing)?;
            match read(&PathBuf::from(directory).join(name)) {
                Err(SecretError::Read(error)) if error.is_not_found() => Err(missing()),
                other => other,
            }
        }
    }
}

fn read(path: &Path) -> Result<Secret, SecretError> {
    let mut content = disk::read_file(path, LARGEST)?;
    while matches!(content.last(), Some(b'\n' | b'\r')) {
        content.pop();
    }
    Ok(Secret::new(content))
}
