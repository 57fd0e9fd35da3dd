//! User and group names to numbers, from `/etc/passwd` and `/etc/group`.
//!
//! Deliberately without NSS: calling it needs unsafe code or a C library at run time. A name from
//! a directory service can be written as its number instead.

use std::path::Path;

use super::{DiskError, read_file};

/// Largest account database read, in bytes.
const LIMIT: usize = 8 << 20;

/// Number of a user given by name or number.
pub(super) fn user(name: &str) -> Result<u32, DiskError> {
    look_up("user", Path::new("/etc/passwd"), name)
}

/// Number of a group given by name or number.
pub(super) fn group(name: &str) -> Result<u32, DiskError> {
    look_up("group", Path::new("/etc/group"), name)
}

fn look_up(kind: &'static str, database: &Path, name: &str) -> Result<u32, DiskError> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let content = read_file(database, LIMIT)?;
    String::from_utf8_lossy(&content)
        .lines()
        .find_map(|line| third_field(line, name))
        .ok_or_else(|| DiskError::NoSuchAccount { kind, name: name.to_owned() })
}

fn third_field(line: &str, name: &str) -> Option<u32> {
    let mut fields = line.split(':');
    (fields.next()? == name).then(|| fields.nth(1)?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_names_and_nobody() {
        assert_eq!(user("root").unwrap(), 0);
        assert_eq!(group("1234").unwrap(), 1234);
        let error = group("no-such-group-here").unwrap_err();
        assert_eq!(error.to_string(), "no group named `no-such-group-here` on this machine");
    }
}
