//! Orders at a CA that behaves as CAs do: nonces refused, authorizations reused, slow validation.

use std::time::Duration;

use crate::support::live_serial;
use crate::support::pebble::{Options, Pebble};
use crate::support::site::{Site, text};

/// What public CAs do on a bad day, all at once.
fn chaos() -> Options {
    Options {
        nonce_rejection: 20,
        authorization_reuse: 50,
        validation_sleep: 2,
        ..Options::default()
    }
}

#[test]
#[ignore = "needs pebble: tests/run"]
fn one_name_and_twenty_five_names_are_issued_in_one_order_each_despite_chaos() {
    let pebble = Pebble::start(chaos());
    let many: Vec<String> = (0..25).map(|n| format!("n{n}.example.test")).collect();
    let certificates = format!(
        "- {{name: one, names: [one.example.test]}}\n- {{name: many, names: [{}]}}\n",
        many.join(", ")
    );
    let site = Site::new(&pebble, &certificates);
    site.once();
    assert!(live_serial(site.state(), "one").is_some());
    assert!(live_serial(site.state(), "many").is_some());
    assert_eq!(site.certificate("many")["names"].as_array().unwrap().len(), 25);
    // Refused nonces are asked again; what counts is how many orders were opened.
    let log_of_orders = pebble.requests("/finalize-order/");
    assert!((2..12).contains(&log_of_orders), "{log_of_orders}");
    site.once();
    assert_eq!(pebble.requests("/finalize-order/"), log_of_orders, "nothing is due");
}

#[test]
#[ignore = "needs pebble: tests/run"]
fn one_name_takes_nine_requests_at_most_once_the_account_is_there() {
    let pebble = Pebble::start(Options::default());
    let site = Site::new(&pebble, "- {name: first, names: [first.example.test]}\n");
    site.once();
    let before = pebble.requests("/");
    site.configure(
        &pebble,
        "- {name: first, names: [first.example.test]}\n- {name: a, names: [a.example.test]}\n",
    );
    site.once();
    let requests = pebble.requests("/") - before;
    assert!(requests <= 9, "{requests} requests");
}

#[test]
#[ignore = "needs pebble: tests/run"]
fn a_refused_name_is_named_and_other_certificates_are_issued() {
    let pebble =
        Pebble::start(Options { blocked: vec!["blocked.example.test"], ..Options::default() });
    let site = Site::new(
        &pebble,
        "- {name: bad, names: [fine.example.test, blocked.example.test]}\n\
         - {name: good, names: [good.example.test]}\n",
    );
    let output = site.run(&["once"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(live_serial(site.state(), "good").is_some());
    let bad = site.certificate("bad");
    assert_eq!(bad["state"], "waiting");
    assert_eq!(bad["problem"]["class"], "rejected", "{bad}");
    let shown = text(&site.run(&["status", "bad"]));
    assert!(shown.contains("blocked.example.test"), "{shown}");
    assert!(shown.contains("forbidden by policy"), "the CA's own words: {shown}");
}

#[test]
#[ignore = "needs pebble: tests/run"]
fn a_failed_validation_is_explained_remembered_and_not_repeated_before_its_time() {
    let pebble = Pebble::start(Options::default());
    pebble.resolve("astray.example.test", "127.0.0.9");
    let certificates = "- {name: site, names: [here.example.test, astray.example.test]}\n";
    let site = Site::new(&pebble, certificates);
    let output = site.run(&["once"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let certificate = site.certificate("site");
    assert_eq!(certificate["problem"]["class"], "validation", "{certificate}");
    let causes = certificate["problem"]["causes"].as_array().unwrap();
    assert_eq!(causes.len(), 1, "{causes:?}");
    assert_eq!(causes[0]["identifier"], "astray.example.test");
    assert!(certificate["next"]["at"].is_string());
    assert_eq!(std::fs::read_dir(site.state().join("pending")).unwrap().count(), 0);
    let orders = pebble.orders();
    let output = site.run(&["once"]);
    assert_eq!((output.status.code(), pebble.orders()), (Some(1), orders), "waits over a restart");
    // A changed wish is a new chance at once.
    site.configure(&pebble, "- {name: site, names: [here.example.test]}\n");
    site.once();
    assert!(live_serial(site.state(), "site").is_some());
    assert!(site.certificate("site")["problem"].is_null());
}

#[test]
#[ignore = "needs pebble: tests/run"]
fn an_external_account_is_bound_and_without_it_nothing_is_tried_twice() {
    let options = Options {
        external_account: Some((
            "kid-1",
            "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W",
        )),
        ..Options::default()
    };
    let pebble = Pebble::start(options);
    let site = Site::empty();
    let list = "- {name: site, names: [a.example.test]}\n";
    site.configure_text(&format!("{}{list}", site.preamble(&pebble, "")));
    let output = site.run(&["once"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(site.certificate("site")["problem"]["class"], "account");
    assert!(text(&output).contains("eab"), "{}", text(&output));
    assert_eq!(pebble.requests("/sign-me-up"), 0, "known to be in vain from the directory");

    let key = site.path("eab-key");
    let bind = |secret: &str| {
        std::fs::write(&key, secret).unwrap();
        let eab = format!(", eab: {{kid: kid-1, hmac_key: {{file: {}}}}}", key.display());
        site.configure_text(&format!("{}{list}", site.preamble(&pebble, &eab)));
    };
    bind("d3Jvbmcta2V5LXdyb25nLWtleS13cm9uZy1rZXk\n");
    let output = site.run(&["renew", "site"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(site.certificate("site")["problem"]["class"], "account", "{}", text(&output));
    bind("zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W\n");
    let output = site.run(&["renew", "site"]);
    assert!(output.status.success(), "{}", text(&output));
    assert!(live_serial(site.state(), "site").is_some());
    for output in [site.run(&["status", "site"]), output] {
        assert!(!text(&output).contains("zWNDZM6e"), "a secret was shown");
    }
}

#[test]
#[ignore = "needs pebble: tests/run"]
fn a_ca_that_forgot_the_account_gets_it_registered_again() {
    let mut pebble = Pebble::start(Options::default());
    let site = Site::new(&pebble, "- {name: a, names: [a.example.test]}\n");
    site.once();
    pebble.stop();
    pebble.resume();
    let output = site.run(&["renew", "a"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert_eq!(site.certificate("a")["problem"]["class"], "account");
    let output = site.run(&["renew", "a"]);
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
#[ignore = "needs pebble: tests/run"]
fn an_unknown_profile_is_a_matter_of_configuration() {
    let pebble = Pebble::start(Options::default());
    let site = Site::new(&pebble, "- {name: a, names: [a.example.test], profile: nonsense}\n");
    assert_eq!(site.run(&["once"]).status.code(), Some(1));
    let problem = site.certificate("a")["problem"].clone();
    assert!(["config", "rejected"].contains(&problem["class"].as_str().unwrap()), "{problem}");
}

#[test]
#[ignore = "needs pebble: tests/run"]
fn an_order_interrupted_in_the_middle_is_finished_and_not_ordered_again() {
    let pebble = Pebble::start(Options { validation_sleep: 8, ..Options::default() });
    let names: Vec<String> = (0..6).map(|n| format!("slow{n}.example.test")).collect();
    let site = Site::new(&pebble, &format!("- {{name: site, names: [{}]}}\n", names.join(", ")));
    for _ in 0..2 {
        let daemon = site.daemon();
        crate::support::eventually("the challenges are answered", Duration::from_secs(60), || {
            (pebble.requests("/chalZ/") >= 6).then_some(())
        });
        daemon.kill();
    }
    let key = std::fs::read(site.state().join("pending/site/privkey.pem")).unwrap();
    let daemon = site.daemon();
    site.until("site", "ok", Duration::from_secs(120));
    daemon.stop();
    assert_eq!(pebble.orders(), 1);
    let live = std::fs::read(site.state().join("live/site/privkey.pem")).unwrap();
    assert_eq!(live, key, "the key of the first attempt is the key of the certificate");
    assert!(live_serial(site.state(), "site").is_some());
}
