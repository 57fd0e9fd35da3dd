//! A daemon that is left alone with certificates that live for a minute.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::support::live_serial;
use crate::support::pebble::{Options, Pebble};
use crate::support::site::Site;

#[test]
#[ignore = "needs pebble: tests/run"]
fn sixty_second_certificates_are_renewed_three_times_and_live_is_always_whole() {
    let options = Options { nonce_rejection: 20, validation_sleep: 1, ..Options::default() };
    let pebble = Pebble::start(options);
    let site = Site::new(
        &pebble,
        "- {name: site, names: [a.example.test, b.example.test], profile: minute}\n",
    );
    let daemon = site.daemon();
    let begun = Instant::now();
    let mut serials = BTreeSet::new();
    while serials.len() < 4 {
        assert!(begun.elapsed() < Duration::from_secs(240), "{serials:?}\n{}", daemon.log());
        // Checks key against chain, too.
        serials.extend(live_serial(site.state(), "site"));
        let certificate = site.certificate("site");
        assert_ne!(certificate["state"], "expired", "{certificate}");
        std::thread::sleep(Duration::from_millis(300));
    }
    assert!(begun.elapsed() > Duration::from_secs(60), "renewed at about half of the lifetime");
    assert!(daemon.stop() < Duration::from_secs(25));
    assert!(pebble.orders() < 4 + 12, "{} orders, refused nonces included", pebble.orders());
}
