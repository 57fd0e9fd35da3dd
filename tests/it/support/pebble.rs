//! Pebble, Let's Encrypt's CA for tests, with a DNS server that sends every name to 127.0.0.1.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;

use super::{eventually, free_port};

/// How a Pebble behaves.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Per cent of nonces that are refused.
    pub(crate) nonce_rejection: u32,
    /// Per cent of valid authorizations that are used again.
    pub(crate) authorization_reuse: u32,
    /// Longest sleep before a validation, in seconds; 0 for none.
    pub(crate) validation_sleep: u32,
    /// Profiles and their validity in seconds.
    pub(crate) profiles: Vec<(&'static str, u64)>,
    /// Key identifier and MAC key of the external account that is required.
    pub(crate) external_account: Option<(&'static str, &'static str)>,
    /// Names that are refused.
    pub(crate) blocked: Vec<&'static str>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            nonce_rejection: 0,
            authorization_reuse: 0,
            validation_sleep: 0,
            profiles: vec![("default", 90 * 24 * 3600), ("minute", 60)],
            external_account: None,
            blocked: Vec::new(),
        }
    }
}

/// A running Pebble with its DNS server; both end with this value.
#[derive(Debug)]
pub(crate) struct Pebble {
    directory: tempfile::TempDir,
    options: Options,
    dns: Child,
    dns_port: u16,
    dns_management: u16,
    ca: Option<Child>,
    port: u16,
    /// Where it expects http-01 answers.
    pub(crate) http_port: u16,
}

impl Drop for Pebble {
    fn drop(&mut self) {
        self.stop();
        end(&mut self.dns);
    }
}

fn end(child: &mut Child) {
    drop(child.kill());
    drop(child.wait());
}

/// The binary, from the directory that `tests/run` names or from the search path.
fn binary(name: &str) -> PathBuf {
    match std::env::var_os("CERTS_TEST_BIN") {
        Some(directory) => PathBuf::from(directory).join(name),
        None => PathBuf::from(name),
    }
}

impl Pebble {
    /// Starts both and waits until they answer.
    pub(crate) fn start(options: Options) -> Self {
        let directory = tempfile::tempdir().unwrap();
        write_tls(directory.path());
        let (dns_port, dns_management) = (free_port(), free_port());
        let dns = Command::new(binary("pebble-challtestsrv"))
            .args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""])
            .args(["-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", ""])
            .args(["-dnsserver", &format!("127.0.0.1:{dns_port}")])
            .args(["-management", &format!("127.0.0.1:{dns_management}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("pebble-challtestsrv: tests/run installs it");
        let mut pebble = Self {
            directory,
            options,
            dns,
            dns_port,
            dns_management,
            ca: None,
            port: free_port(),
            http_port: free_port(),
        };
        pebble.resume();
        pebble
    }

    /// Ends the CA; its accounts and orders are forgotten.
    pub(crate) fn stop(&mut self) {
        if let Some(mut ca) = self.ca.take() {
            end(&mut ca);
        }
    }

    /// Starts the CA again on the same port.
    pub(crate) fn resume(&mut self) {
        let file = |name: &str| self.directory.path().join(name).to_str().unwrap().to_owned();
        let profiles: serde_json::Map<String, serde_json::Value> = self
            .options
            .profiles
            .iter()
            .map(|(name, seconds)| {
                ((*name).to_owned(), json!({"description": name, "validityPeriod": seconds}))
            })
            .collect();
        let mut settings = json!({
            "listenAddress": format!("127.0.0.1:{}", self.port),
            "managementListenAddress": format!("127.0.0.1:{}", free_port()),
            "certificate": file("server.pem"),
            "privateKey": file("server.key"),
            "httpPort": self.http_port,
            "tlsPort": free_port(),
            "keyAlgorithm": "ecdsa",
            "profiles": profiles,
            "domainBlocklist": self.options.blocked,
        });
        if let Some((kid, key)) = self.options.external_account {
            settings["externalAccountBindingRequired"] = json!(true);
            settings["externalAccountMACKeys"] = json!({ kid: key });
        }
        fs::write(file("pebble.json"), json!({ "pebble": settings }).to_string()).unwrap();
        let log = fs::OpenOptions::new().create(true).append(true).open(file("log")).unwrap();
        let mut command = Command::new(binary("pebble"));
        command
            .args(["-strict", "-config", &file("pebble.json")])
            .args(["-dnsserver", &format!("127.0.0.1:{}", self.dns_port)])
            .env("PEBBLE_WFE_NONCEREJECT", self.options.nonce_rejection.to_string())
            .env("PEBBLE_AUTHZREUSE", self.options.authorization_reuse.to_string())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        match self.options.validation_sleep {
            0 => command.env("PEBBLE_VA_NOSLEEP", "1"),
            seconds => command.env("PEBBLE_VA_SLEEPTIME", seconds.to_string()),
        };
        self.ca = Some(command.spawn().expect("pebble: tests/run installs it"));
        eventually("pebble answers", Duration::from_secs(20), || {
            TcpStream::connect(("127.0.0.1", self.port)).ok()
        });
    }

    /// The URL of its directory.
    pub(crate) fn directory_url(&self) -> String {
        format!("https://localhost:{}/dir", self.port)
    }

    /// The root of its own TLS certificate.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.directory.path().join("root.pem")
    }

    /// How many requests it has had whose path begins with `path`.
    pub(crate) fn requests(&self, path: &str) -> usize {
        let log = fs::read(self.directory.path().join("log")).unwrap();
        let wanted = format!(" {path}");
        String::from_utf8_lossy(&log)
            .lines()
            .filter(|line| line.contains("calling handler()") && line.contains(&wanted))
            .count()
    }

    /// How many orders it has opened.
    pub(crate) fn orders(&self) -> usize {
        self.requests("/order-plz")
    }

    /// Sends a name to another address.
    pub(crate) fn resolve(&self, name: &str, address: &str) {
        self.manage("/add-a", &json!({"host": name, "addresses": [address]}).to_string());
    }

    fn manage(&self, path: &str, body: &str) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.dns_management)).unwrap();
        let length = body.len();
        write!(
            stream,
            "POST {path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains(" 200 "), "{answer}");
    }
}

/// A root and a server certificate for Pebble's own API.
fn write_tls(directory: &Path) {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let server = CertificateParams::new(names).unwrap().signed_by(&key, &root).unwrap();
    fs::write(directory.join("root.pem"), root.pem()).unwrap();
    fs::write(directory.join("server.pem"), server.pem()).unwrap();
    fs::write(directory.join("server.key"), key.serialize_pem()).unwrap();
}
