//! Copies of a generation at places of the user's choice, each switched atomically.
//!
//! Invariant: a file that already is as wanted is not touched; a file with a key never has more
//! permissions than configured, not even for a moment.

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::config::settings::{OutputFormat, OutputSettings};
use crate::disk::{Access, Dir, DiskError};

use super::Bundle;

/// Largest existing file that is compared before it is replaced.
const LARGEST: usize = 1 << 20;

/// A copy that could not be written.
#[derive(Debug, Error)]
#[error("writing {}", .path.display())]
pub struct OutputError {
    /// Which.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: DiskError,
}

/// Writes every copy, in order; the first that fails stops the row.
pub fn write_outputs(bundle: &Bundle, outputs: &[OutputSettings]) -> Result<(), OutputError> {
    for output in outputs {
        write(bundle, output)
            .map_err(|source| OutputError { path: output.path.clone(), source })?;
    }
    Ok(())
}

fn write(bundle: &Bundle, output: &OutputSettings) -> Result<(), DiskError> {
    let access =
        Access { mode: output.mode, owner: output.owner.clone(), group: output.group.clone() };
    let one_file = |content: &[u8]| {
        let (directory, name) = split(&output.path);
        put(&Dir::open(directory)?, name, content, &access)
    };
    match output.format {
        OutputFormat::Combined => one_file(bundle.combined.expose()),
        OutputFormat::Fullchain => one_file(&bundle.fullchain),
        OutputFormat::Privkey => one_file(bundle.privkey.expose()),
        OutputFormat::Pem => {
            let dir = Dir::open_or_create(&output.path, directory_mode(output.mode))?;
            // The key last: a program that watches for it finds the rest in place.
            put(&dir, "cert.pem", &bundle.cert, &access)?;
            put(&dir, "chain.pem", &bundle.chain, &access)?;
            put(&dir, "fullchain.pem", &bundle.fullchain, &access)?;
            put(&dir, "privkey.pem", bundle.privkey.expose(), &access)
        }
    }
}

fn put(dir: &Dir, name: &str, content: &[u8], access: &Access) -> Result<(), DiskError> {
    let is_same = match dir.access_of(name)? {
        Some(found) => {
            found.satisfies(access)? && dir.read(name, LARGEST)?.is_some_and(|old| old == content)
        }
        None => false,
    };
    if is_same { Ok(()) } else { dir.replace(name, content, access) }
}

fn split(path: &Path) -> (&Path, &str) {
    let directory = path.parent().unwrap_or(Path::new("/"));
    (directory, path.file_name().and_then(|name| name.to_str()).unwrap_or_default())
}

/// Whoever may read the files may enter the directory.
fn directory_mode(files: u32) -> u32 {
    0o700 | ((files & 0o444) >> 2) | (files & 0o044)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "the tests put things in the way")]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;
    use crate::model::Secret;

    fn bundle() -> Bundle {
        Bundle {
            privkey: Secret::new(b"KEY".to_vec()),
            cert: b"CERT".to_vec(),
            chain: b"CHAIN".to_vec(),
            fullchain: b"CERTCHAIN".to_vec(),
            combined: Secret::new(b"CERTCHAINKEY".to_vec()),
        }
    }

    fn output(path: PathBuf, format: OutputFormat, mode: u32) -> OutputSettings {
        OutputSettings { path, format, owner: None, group: None, mode }
    }

    #[test]
    fn copies_are_written_with_their_mode_and_left_alone_afterwards() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("site.pem");
        let outputs = [
            output(path.clone(), OutputFormat::Combined, 0o640),
            output(root.path().join("dir"), OutputFormat::Pem, 0o600),
        ];
        write_outputs(&bundle(), &outputs).unwrap();
        let inode = std::fs::metadata(&path).unwrap().ino();
        write_outputs(&bundle(), &outputs).unwrap();
        let metadata = std::fs::metadata(&path).unwrap();
        assert_eq!(metadata.ino(), inode, "an unchanged file is not written again");
        assert_eq!(metadata.permissions().mode() & 0o777, 0o640);
        assert_eq!(std::fs::read(&path).unwrap(), b"CERTCHAINKEY");
        assert_eq!(std::fs::read(root.path().join("dir/privkey.pem")).unwrap(), b"KEY");
        let looser = std::fs::Permissions::from_mode(0o666);
        std::fs::set_permissions(&path, looser).unwrap();
        write_outputs(&bundle(), &outputs).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn a_symlink_in_the_place_is_replaced_and_its_target_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let (target, path) = (root.path().join("target"), root.path().join("site.pem"));
        std::fs::write(&target, "precious").unwrap();
        symlink(&target, &path).unwrap();
        // Reading refuses the link; nothing is written through it.
        write_outputs(&bundle(), &[output(path, OutputFormat::Combined, 0o600)]).unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"precious");
    }

    #[test]
    fn a_missing_directory_is_named() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("missing/site.pem");
        let error =
            write_outputs(&bundle(), &[output(path, OutputFormat::Combined, 0o600)]).unwrap_err();
        let text = crate::error::Chain(&error).to_string();
        assert!(text.contains("missing/site.pem") && text.contains("opening directory"), "{text}");
    }

    #[test]
    fn directories_are_open_to_whom_the_files_are() {
        assert_eq!(directory_mode(0o600), 0o700);
        assert_eq!(directory_mode(0o640), 0o750);
        assert_eq!(directory_mode(0o644), 0o755);
    }
}
