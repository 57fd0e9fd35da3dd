//! The daemon's life: one at a time, reloads, wishes, a CA that is away, a port that is taken.

use std::net::TcpListener;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::pebble::{Options, Pebble};
use crate::support::site::{Site, text};
use crate::support::{eventually, live_serial};

const SOON: Duration = Duration::from_secs(60);

#[test]
#[ignore = "needs pebble: tests/run"]
fn the_second_daemon_on_a_state_directory_is_told_who_has_it() {
    let pebble = Pebble::start(Options::default());
    let site = Site::new(&pebble, "- {name: a, names: [a.example.test]}\n");
    let daemon = site.daemon();
    for command in ["run", "once"] {
        let output = site.run(&[command]);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output).contains(&format!("pid {}", daemon.pid())), "{}", text(&output));
    }
    assert!(daemon.stop() < Duration::from_secs(25));
}

#[test]
#[ignore = "needs pebble: tests/run"]
fn a_changed_file_and_sighup_reload_and_a_bad_one_changes_nothing() {
    let pebble = Pebble::start(Options::default());
    let site = Site::new(&pebble, "- {name: a, names: [a.example.test]}\n");
    let daemon = site.daemon();
    site.until("a", "ok", SOON);
    site.configure(
        &pebble,
        "- {name: a, names: [a.example.test]}\n- {name: b, names: [b.example.test]}\n",
    );
    eventually("b is known", SOON, || {
        let status = site.status();
        (status["certificates"].as_array()?.len() == 2).then_some(())
    });
    site.until("b", "ok", SOON);
    let good = std::fs::read_to_string(site.path("certs.yaml")).unwrap();
    site.configure_text("certificates: [{names: [*.example.test]}]\n");
    let output = eventually("the problem is shown", SOON, || {
        // The daemon still answers where the good configuration said.
        daemon.signal(Signal::HUP);
        daemon.log().contains("the new configuration is not used").then(|| daemon.log())
    });
    assert!(output.contains("needs quotes"), "{output}");
    site.configure_text(&good);
    eventually("the problem is gone", SOON, || {
        let status = site.status();
        (status["daemon"] == true && status["problems"].is_null()).then_some(())
    });
    assert_eq!(site.certificate("b")["state"], "ok");
    assert!(daemon.stop() < Duration::from_secs(25));
}

#[test]
#[ignore = "needs pebble: tests/run"]
fn the_daemon_starts_without_the_ca_and_issues_when_it_comes() {
    let mut pebble = Pebble::start(Options::default());
    pebble.stop();
    let site = Site::new(&pebble, "- {name: a, names: [a.example.test]}\n");
    let daemon = site.daemon();
    let certificate = site.until("a", "waiting", SOON);
    assert_eq!(certificate["problem"]["class"], "transient", "{certificate}");
    let check = site.run(&["status", "--check"]);
    assert_eq!(check.status.code(), Some(2), "{}", text(&check));
    assert!(text(&check).starts_with("CRITICAL: "), "{}", text(&check));
    pebble.resume();
    let output = site.run(&["renew", "a"]);
    assert!(output.status.success(), "{}", text(&output));
    assert!(live_serial(site.state(), "a").is_some());
    let check = site.run(&["status", "--check"]);
    assert_eq!(check.status.code(), Some(0), "{}", text(&check));
    assert!(text(&check).starts_with("OK: 1 certificates ok"), "{}", text(&check));
    daemon.stop();
    let check = site.run(&["status", "--check"]);
    assert_eq!(check.status.code(), Some(1), "no daemon is a warning: {}", text(&check));
}

#[test]
#[ignore = "needs pebble: tests/run"]
fn renew_works_with_and_without_a_daemon_and_knows_its_names() {
    let pebble = Pebble::start(Options::default());
    let site = Site::new(&pebble, "- {name: a, names: [a.example.test]}\n");
    site.once();
    let mut serials = vec![live_serial(site.state(), "a").unwrap()];
    assert!(site.run(&["renew", "a"]).status.success());
    serials.push(live_serial(site.state(), "a").unwrap());
    let daemon = site.daemon();
    let output = site.run(&["renew", "a"]);
    assert!(output.status.success(), "{}", text(&output));
    serials.push(live_serial(site.state(), "a").unwrap());
    serials.dedup();
    assert_eq!(serials.len(), 3, "{serials:?}");
    let output = site.run(&["renew", "b"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("no certificate named `b`; there are: a"), "{}", text(&output));
    daemon.stop();
}

#[test]
#[ignore = "needs pebble: tests/run"]
fn a_port_that_is_taken_is_named_and_stops_no_other_certificate() {
    let pebble = Pebble::start(Options::default());
    let taken = TcpListener::bind(("127.0.0.1", pebble.http_port)).unwrap();
    let site = Site::empty();
    let list = "- {name: a, names: [a.example.test]}\n- {name: b, names: [b.example.test], solver: root}\n";
    let webroot = site.path("www");
    std::fs::create_dir(&webroot).unwrap();
    let text_of = site.preamble(&pebble, "").replace(
        "solvers:\n",
        &format!("solvers:\n  root: {{type: http-01, webroot: {}}}\n", webroot.display()),
    );
    site.configure_text(&format!("{text_of}{list}"));
    let output = site.run(&["once"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output);
    assert!(said.contains(&format!("cannot listen on 127.0.0.1:{}", pebble.http_port)), "{said}");
    assert!(said.contains("ss -ltnp"), "{said}");
    drop(taken);
    // A web server that publishes the webroot makes `b` work.
    let port = pebble.http_port.to_string();
    let mut server = std::process::Command::new("python3")
        .args(["-m", "http.server", &port, "--bind", "127.0.0.1", "--directory"])
        .arg(&webroot)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    eventually("the web server answers", SOON, || {
        std::net::TcpStream::connect(("127.0.0.1", pebble.http_port)).ok()
    });
    let output = site.run(&["renew", "b"]);
    drop(server.kill());
    drop(server.wait());
    assert!(output.status.success(), "{}", text(&output));
    let left = webroot.join(".well-known/acme-challenge");
    assert_eq!(std::fs::read_dir(left).unwrap().count(), 0, "answers are taken away");
}
