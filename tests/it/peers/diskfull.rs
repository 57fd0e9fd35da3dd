//! A state directory of 64 KiB.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::support::live_serial;
use crate::support::pebble::{Options, Pebble};
use crate::support::site::{Site, text};

/// A small file system; unmounted with this value.
struct Small {
    directory: tempfile::TempDir,
}

impl Small {
    fn mount() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
            .arg(directory.path())
            .status()
            .unwrap();
        assert!(status.success(), "mounting a tmpfs needs root");
        Self { directory }
    }

    fn path(&self, inner: &str) -> PathBuf {
        self.directory.path().join(inner)
    }

    /// Takes all the space but `pages` of 4 KiB.
    fn fill_but(&self, pages: usize) {
        drop(fs::remove_file(self.path("ballast")));
        let mut size = 0;
        while fs::write(self.path("ballast"), vec![b'x'; size + 4096]).is_ok() {
            size += 4096;
        }
        fs::write(self.path("ballast"), vec![b'x'; size.saturating_sub(pages * 4096)]).unwrap();
    }

    /// Makes room for two generations.
    fn grow(&self) {
        let remount = ["-o", "remount,size=256k"];
        let status = Command::new("mount").args(remount).arg(self.directory.path()).status();
        assert!(status.unwrap().success());
    }

    fn empty(&self) {
        fs::remove_file(self.path("ballast")).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(self.directory.path()).status());
    }
}

#[test]
#[ignore = "needs pebble and root: tests/run"]
fn a_full_disk_corrupts_nothing_says_so_and_is_recovered_from() {
    let pebble = Pebble::start(Options::default());
    let disk = Small::mount();
    let site = Site::empty().with_state(&disk.path("state"));
    site.configure(&pebble, "- {name: a, names: [a.example.test]}\n");
    // From nothing fits to nearly everything fits.
    let mut failures = 0;
    for pages in 0..14 {
        disk.fill_but(pages);
        let output = site.run(&["once"]);
        let shown = text(&output);
        if output.status.success() {
            break;
        }
        failures += 1;
        assert_eq!(output.status.code(), Some(1), "{pages} pages: {shown}");
        assert!(shown.contains("no space"), "{pages} pages: {shown}");
        assert_eq!(live_serial(site.state(), "a"), None);
        disk.empty();
        // A wish that clears what was remembered of the failure.
        let record = site.state().join("records/a.json");
        drop(fs::remove_file(record));
    }
    assert!(failures >= 4, "{failures}: the disk was never full");
    disk.empty();
    site.once();
    let serial = live_serial(site.state(), "a").unwrap();
    assert!(pebble.orders() <= 1 + failures, "{} orders", pebble.orders());

    disk.fill_but(2);
    let output = site.run(&["renew", "a"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert_eq!(live_serial(site.state(), "a"), Some(serial.clone()), "the old one stays");
    disk.empty();
    disk.grow();
    let output = site.run(&["renew", "a"]);
    assert!(output.status.success(), "{}", text(&output));
    assert_ne!(live_serial(site.state(), "a"), Some(serial));
}
