//! What the tests with real peers stand on: a CA, a directory to work in, the program itself, and
//! an independent eye on what it wrote.

pub(crate) mod pebble;
pub(crate) mod site;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// A TCP port that nobody has at this moment.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until `condition` gives something; panics with `what` after `limit`.
pub(crate) fn eventually<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Option<T>,
) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(begun.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Runs a command to its end; panics if it cannot be started.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program)
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap_or_else(|error| {
            panic!("{program} cannot be started ({error}): tests/run installs it")
        })
}

/// Standard output of a command that must succeed.
pub(crate) fn output_of(program: &str, arguments: &[&str]) -> String {
    let output = run(program, arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What openssl says of a certificate file.
pub(crate) fn x509(file: &Path, what: &str) -> String {
    let file = file.to_str().unwrap();
    output_of("openssl", &["x509", "-in", file, "-noout", what]).trim().to_owned()
}

/// Checks with openssl that a live directory is one complete, matching pair, and returns the
/// serial number; `None` if there is no live directory.
///
/// Everything is read through one resolved generation: a reader that opens the directory first
/// must never see a mixture.
pub(crate) fn live_serial(state: &Path, name: &str) -> Option<String> {
    let target = std::fs::read_link(state.join("live").join(name)).ok()?;
    let generation: PathBuf = state.join("live").join(target);
    let file = |file: &str| generation.join(file).to_str().unwrap().to_owned();
    let key = output_of("openssl", &["pkey", "-in", &file("privkey.pem"), "-pubout"]);
    for with_leaf in ["cert.pem", "fullchain.pem", "combined.pem"] {
        let certificate =
            output_of("openssl", &["x509", "-in", &file(with_leaf), "-noout", "-pubkey"]);
        assert_eq!(key, certificate, "key and {with_leaf} of {} differ", generation.display());
    }
    let combined = output_of("openssl", &["pkey", "-in", &file("combined.pem"), "-pubout"]);
    assert_eq!(key, combined);
    let (chain, full) = (file("chain.pem"), file("fullchain.pem"));
    output_of("openssl", &["verify", "-partial_chain", "-trusted", &chain, &full]);
    Some(x509(&generation.join("cert.pem"), "-serial"))
}

/// The serial number of what a TLS server shows at this moment; `None` if there is no handshake.
pub(crate) fn served_serial(port: u16, server_name: &str) -> Option<String> {
    let address = format!("127.0.0.1:{port}");
    let session = run(
        "openssl",
        &["s_client", "-connect", &address, "-servername", server_name, "-showcerts"],
    );
    let text = String::from_utf8_lossy(&session.stdout).into_owned();
    let start = text.find("-----BEGIN CERTIFICATE-----")?;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("served.pem");
    std::fs::write(&file, &text[start..]).unwrap();
    Some(x509(&file, "-serial"))
}
