//! Hooks that misbehave, beside one that does not.

use std::fs;
use std::time::{Duration, Instant};

use crate::support::live_serial;
use crate::support::pebble::{Options, Pebble};
use crate::support::site::Site;

const SOON: Duration = Duration::from_secs(60);

#[test]
#[ignore = "needs pebble: tests/run"]
fn hooks_that_hang_fail_or_babble_cost_no_other_certificate_anything() {
    let pebble = Pebble::start(Options::default());
    let site = Site::empty();
    let script = site.path("reload.sh");
    fs::write(&script, "echo no such vhost >&2; exit 1\n").unwrap();
    let told = site.path("told");
    let list = format!(
        "- {{name: hangs, names: [hangs.example.test], timeout: 3s, reload: {{shell: \"sleep 600\"}}}}\n\
         - {{name: fails, names: [fails.example.test], reload: [/bin/sh, \"{script}\"]}}\n\
         - {{name: babbles, names: [babbles.example.test], reload: {{shell: \"head -c 100000000 /dev/zero; exit 1\"}}}}\n\
         - {{name: good, names: [good.example.test], reload: {{shell: \"echo $CERTS_EVENT $RENEWED_LINEAGE > {told}\"}}}}\n",
        script = script.display(),
        told = told.display(),
    );
    site.configure_text(&format!("{}{list}", site.preamble(&pebble, "")));
    let begun = Instant::now();
    let daemon = site.daemon();
    site.until("good", "ok", SOON);
    let told = fs::read_to_string(told).unwrap();
    assert_eq!(told, format!("issued {}\n", site.state().join("live/good").display()));
    for name in ["hangs", "fails", "babbles"] {
        let certificate = site.until(name, "deploy-pending", SOON);
        assert_eq!(certificate["severity"], "warning");
        assert!(live_serial(site.state(), name).is_some(), "{name} is live all the same");
    }
    assert!(begun.elapsed() < Duration::from_secs(60));
    let problem = |name: &str| site.certificate(name)["deploy_problem"]["summary"].to_string();
    assert!(problem("hangs").contains("still running after 3 s"), "{}", problem("hangs"));
    assert!(problem("fails").contains("no such vhost"), "{}", problem("fails"));
    let resident = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let peak = resident.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    let kilobytes: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kilobytes < 100_000, "{peak}");

    // What failed is known to the next process, which waits for its time.
    daemon.kill();
    let daemon = site.daemon();
    assert_eq!(site.certificate("fails")["state"], "deploy-pending");
    let orders = pebble.orders();
    fs::write(&script, "exit 0\n").unwrap();
    site.until("fails", "ok", Duration::from_secs(150));
    assert_eq!(pebble.orders(), orders, "a failed hook never costs an order");
    daemon.stop();
}
