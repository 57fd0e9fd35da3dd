//! A directory with a configuration and state, and the program run on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::eventually;
use super::pebble::Pebble;

/// A server with `certs` on it.
#[derive(Debug)]
pub(crate) struct Site {
    directory: tempfile::TempDir,
    state: PathBuf,
}

impl Site {
    /// A site whose certificates come from `pebble` by http-01; `certificates` is the YAML list.
    pub(crate) fn new(pebble: &Pebble, certificates: &str) -> Self {
        let site = Self::empty();
        site.configure(pebble, certificates);
        site
    }

    /// A site without configuration.
    pub(crate) fn empty() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        Self { directory, state }
    }

    /// The same with the state elsewhere.
    pub(crate) fn with_state(mut self, state: &Path) -> Self {
        self.state = state.to_owned();
        self
    }

    /// Replaces the configuration.
    pub(crate) fn configure(&self, pebble: &Pebble, certificates: &str) {
        self.configure_text(&format!("{}{certificates}", self.preamble(pebble, "")));
    }

    /// Everything of a configuration but the certificates; `issuer` is further YAML for the CA.
    pub(crate) fn preamble(&self, pebble: &Pebble, issuer: &str) -> String {
        format!(
            "state_dir: {state}\nissuers:\n  pebble: {{directory: \"{directory}\", ca_file: \
             {ca_file}{issuer}}}\nsolvers:\n  web: {{type: http-01, listen: \
             [\"127.0.0.1:{port}\"]}}\ndefaults: {{issuers: [pebble], solver: web, profile: \
             default}}\ncertificates:\n",
            state = self.state.display(),
            directory = pebble.directory_url(),
            ca_file = pebble.ca_file().display(),
            port = pebble.http_port,
        )
    }

    /// Replaces the configuration by this text, as an editor does: by rename.
    pub(crate) fn configure_text(&self, text: &str) {
        let temporary = self.path("certs.yaml.new");
        fs::write(&temporary, text).unwrap();
        fs::rename(temporary, self.path("certs.yaml")).unwrap();
    }

    /// A path in the site's directory.
    pub(crate) fn path(&self, inner: &str) -> PathBuf {
        self.directory.path().join(inner)
    }

    /// The state directory.
    pub(crate) fn state(&self) -> &Path {
        &self.state
    }

    /// A command of the program on this configuration.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_certs"));
        command.args(arguments).arg("--config").arg(self.path("certs.yaml"));
        command.env("CERTS_LOG", "debug").stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// `certs once`, which must succeed.
    pub(crate) fn once(&self) {
        let output = self.run(&["once"]);
        assert!(output.status.success(), "{}", text(&output));
    }

    /// `certs status --json`.
    pub(crate) fn status(&self) -> Value {
        let output = self.run(&["status", "--json"]);
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", text(&output)))
    }

    /// One certificate of [`Self::status`].
    pub(crate) fn certificate(&self, name: &str) -> Value {
        let status = self.status();
        let certificates = status["certificates"].as_array().unwrap();
        certificates
            .iter()
            .find(|certificate| certificate["name"] == name)
            .unwrap_or_else(|| panic!("no {name} in {status}"))
            .clone()
    }

    /// Waits until a certificate is in this state; returns it.
    pub(crate) fn until(&self, name: &str, state: &str, limit: Duration) -> Value {
        eventually(&format!("{name} is {state}"), limit, || {
            let certificate = self.certificate(name);
            (certificate["state"] == state).then_some(certificate)
        })
    }

    /// Starts the daemon and waits until it answers.
    pub(crate) fn daemon(&self) -> Daemon<'_> {
        let log = self.path("daemon.log");
        let file = fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        let child =
            self.command(&["run"]).stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        let mut daemon = Daemon { site: self, child };
        eventually("the daemon answers", Duration::from_secs(60), || {
            if let Some(status) = daemon.child.try_wait().unwrap() {
                panic!("the daemon ended with {status}: {}", daemon.log());
            }
            (self.status()["daemon"] == true).then_some(())
        });
        daemon
    }
}

/// Both outputs of a command.
pub(crate) fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}\n{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

/// A running daemon; killed with this value.
#[derive(Debug)]
pub(crate) struct Daemon<'a> {
    site: &'a Site,
    child: Child,
}

impl Daemon<'_> {
    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; returns how long it took to end.
    pub(crate) fn stop(mut self) -> Duration {
        let begun = std::time::Instant::now();
        self.signal(Signal::TERM);
        let status = eventually("the daemon ends", Duration::from_secs(30), || {
            self.child.try_wait().unwrap()
        });
        assert!(status.success(), "{status}: {}", self.log());
        begun.elapsed()
    }

    /// What it has logged, earlier daemons of the site included.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.site.path("daemon.log")).unwrap_or_default()
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            println!("--- log of the daemon ---\n{}", self.log());
        }
    }
}
