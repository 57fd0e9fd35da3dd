//! SIGKILL at every step: the kernel kills the program at its n-th changing system call, for every
//! n until a run gets through.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::live_serial;
use crate::support::pebble::{Options, Pebble};
use crate::support::site::{Site, text};

/// Calls that change files.
const FILES: &str = "mkdirat,renameat,renameat2,unlinkat,symlinkat,fsync,fchmod";

/// Calls that talk to the CA.
const NETWORK: &str = "sendto,writev,connect";

/// Runs `certs once` until its `n`-th call of the set; whether it got through unharmed.
fn once_killed_at(site: &Site, calls: &str, n: usize) -> bool {
    let status = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={calls}")])
        .args(["-e", &format!("inject={calls}:signal=KILL:when={n}")])
        .arg(env!("CARGO_BIN_EXE_certs"))
        .args(["once", "--config"])
        .arg(site.path("certs.yaml"))
        // One worker and one blocking thread: strace counts calls per thread.
        .env("TOKIO_WORKER_THREADS", "1")
        .env("CERTS_LOG", "error")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("strace: tests/run installs it");
    status.success()
}

/// Nothing of an unfinished issuance is left.
fn assert_clean(state: &Path) {
    assert_eq!(fs::read_dir(state.join("pending")).unwrap().count(), 0, "pending");
    for entry in fs::read_dir(state.join("archive/site")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(!name.starts_with('.'), "archive/site/{name}");
    }
}

fn killed_at_every_call(calls: &str, least: usize) {
    let pebble = Pebble::start(Options::default());
    let mut points = 0;
    for n in 1.. {
        let webroot_free = Site::new(&pebble, "- {name: site, names: [a.example.test]}\n");
        let site = webroot_free;
        let before = pebble.orders();
        let unharmed = once_killed_at(&site, calls, n);
        drop(live_serial(site.state(), "site"));
        let after_kill = pebble.orders();
        site.once();
        assert!(live_serial(site.state(), "site").is_some(), "killed at {n} of {calls}");
        assert_clean(site.state());
        let extra = pebble.orders() - before;
        assert!(
            extra <= 2,
            "killed at {n}: {extra} orders ({} before the kill)",
            after_kill - before
        );
        if unharmed {
            break;
        }
        points = n;
    }
    assert!(points >= least, "only {points} places to die at; is strace counting?");
    println!("{points} places to die at, of {calls}");
}

#[test]
#[ignore = "needs pebble and strace: tests/run"]
fn killed_at_any_change_of_a_file_the_first_issuance_is_finished_by_the_next_run() {
    killed_at_every_call(FILES, 8);
}

#[test]
#[ignore = "needs pebble and strace: tests/run"]
fn killed_at_any_request_the_first_issuance_is_finished_by_the_next_run() {
    killed_at_every_call(NETWORK, 5);
}

#[test]
#[ignore = "needs pebble and strace: tests/run"]
fn killed_at_any_change_of_a_file_a_renewal_leaves_the_old_pair_or_the_new_one() {
    let pebble = Pebble::start(Options::default());
    let site = Site::new(&pebble, "- {name: site, names: [a.example.test], key: ecdsa-p256}\n");
    site.once();
    let mut points = 0;
    for n in 1.. {
        let old = live_serial(site.state(), "site").expect("there is always one");
        let before = pebble.orders();
        // Another kind of key is wanted each time: that is what makes a renewal due.
        let kind = ["ecdsa-p256", "ecdsa-p384"][n % 2];
        site.configure(
            &pebble,
            &format!("- {{name: site, names: [a.example.test], key: {kind}}}\n"),
        );
        let unharmed = once_killed_at(&site, FILES, n);
        live_serial(site.state(), "site").expect("there is always one");
        let output = site.run(&["once"]);
        assert!(output.status.success(), "killed at {n}: {}", text(&output));
        let new = live_serial(site.state(), "site").unwrap();
        assert_ne!(old, new, "killed at {n}");
        assert_clean(site.state());
        assert!(pebble.orders() - before <= 2, "killed at {n}");
        if unharmed {
            break;
        }
        points = n;
    }
    assert!(points >= 8, "only {points} places to die at");
}
