//! What other modules rely on: exact modes, atomic content, no symlink followed.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn directory() -> (tempfile::TempDir, Dir) {
    let temporary = tempfile::tempdir().unwrap();
    let dir = Dir::open(temporary.path()).unwrap();
    (temporary, dir)
}

#[test]
fn modes_are_exact_whatever_the_umask() {
    let (root, dir) = directory();
    for mode in [0o600, 0o640, 0o644, 0o777] {
        dir.replace("f", b"x", &Access::mode(mode)).unwrap();
        let found = std::fs::metadata(root.path().join("f")).unwrap().permissions().mode() & 0o7777;
        assert_eq!(found, mode);
    }
    let sub = dir.sub_or_create("d", 0o2750).unwrap();
    assert_eq!(sub.fd.as_fd().as_raw_mode(), 0o2750);
}

trait RawMode {
    fn as_raw_mode(&self) -> u32;
}

impl RawMode for std::os::fd::BorrowedFd<'_> {
    fn as_raw_mode(&self) -> u32 {
        rustix::fs::fstat(self).unwrap().st_mode & 0o7777
    }
}

#[test]
fn replacing_leaves_the_old_content_when_it_fails() {
    let (_root, dir) = directory();
    dir.replace("f", b"old", &Access::mode(0o600)).unwrap();
    let nobody = Access { mode: 0o600, owner: None, group: Some("no-such-group-here".into()) };
    dir.replace("f", b"new", &nobody).unwrap_err();
    assert_eq!(dir.read("f", 10).unwrap().unwrap(), b"old");
    assert_eq!(dir.entries().unwrap(), [("f".to_owned(), Kind::File)]);
}

#[test]
fn symlinks_and_special_files_are_refused() {
    let (root, dir) = directory();
    symlink("/etc", root.path().join("link")).unwrap();
    symlink("/etc/hostname", root.path().join("file")).unwrap();
    rustix::fs::mknodat(&dir.fd, "fifo", FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    for refused in [
        dir.sub("link").map(drop),
        dir.read("file", 100).map(drop),
        dir.read("fifo", 100).map(drop),
        dir.create("file", b"x", &Access::mode(0o600)),
        dir.switch_symlink("fifo", "x"),
    ] {
        refused.unwrap_err();
    }
    dir.replace("file", b"mine", &Access::mode(0o600)).unwrap();
    assert_eq!(dir.read("file", 100).unwrap().unwrap(), b"mine");
}

#[test]
fn removing_a_tree_follows_no_symlink() {
    let (root, dir) = directory();
    let outside = root.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::create_dir_all(root.path().join("tree/inner")).unwrap();
    symlink(&outside, root.path().join("tree/inner/link")).unwrap();
    dir.remove_tree("tree").unwrap();
    dir.remove_tree("tree").unwrap();
    assert!(outside.exists());
    assert!(!root.path().join("tree").exists());
}

#[test]
fn files_over_the_limit_are_refused() {
    let (_root, dir) = directory();
    dir.replace("f", &[b'x'; 11], &Access::mode(0o600)).unwrap();
    assert!(matches!(dir.read("f", 10), Err(DiskError::TooLarge { limit: 10, .. })));
    assert_eq!(dir.read("f", 11).unwrap().unwrap().len(), 11);
    assert_eq!(dir.read("absent", 10).unwrap(), None);
}

#[test]
fn switching_replaces_only_symlinks() {
    let (root, dir) = directory();
    dir.switch_symlink("live", "a").unwrap();
    dir.switch_symlink("live", "b").unwrap();
    assert_eq!(dir.read_link("live").unwrap().unwrap(), "b");
    std::fs::create_dir(root.path().join("real")).unwrap();
    let error = dir.switch_symlink("real", "b").unwrap_err();
    assert!(error.to_string().contains("is a directory, expected a symlink"), "{error}");
}

#[test]
fn the_second_to_lock_is_told_who_was_first() {
    let (_root, dir) = directory();
    let first = StateLock::acquire(&dir).unwrap();
    let error = StateLock::acquire(&dir).unwrap_err();
    assert!(error.to_string().contains(&format!("pid {}", std::process::id())), "{error}");
    drop(first);
    StateLock::acquire(&dir).unwrap();
}
