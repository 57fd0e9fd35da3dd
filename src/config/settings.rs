//! The validated configuration: plain values in which every reference resolves and every name is
//! canonical. Made only by [`super::load`]; adapters take their part of it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::model::{Identifier, IssuerName, LineageName, Spec};

/// Everything the daemon does, in resolved form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// State root, absolute.
    pub state_dir: PathBuf,
    /// Where the status and control sockets are, absolute.
    pub runtime_dir: PathBuf,
    /// The issuers that certificates refer to, and those configured but unused.
    pub issuers: BTreeMap<IssuerName, IssuerSettings>,
    /// The solvers, by name; always has the one each certificate refers to.
    pub solvers: BTreeMap<String, SolverSettings>,
    /// The certificates in the order written; names are unique.
    pub certificates: Vec<CertificateSettings>,
}

impl Config {
    /// The settings of one certificate.
    pub fn certificate(&self, name: &LineageName) -> Option<&CertificateSettings> {
        self.certificates.iter().find(|certificate| certificate.spec.name == *name)
    }
}

/// One CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerSettings {
    /// URL of its ACME directory (RFC 8555 §7.1.1), always https.
    pub directory: String,
    /// PEM file with the only roots trusted for this CA's API; `None`: the platform's.
    pub ca_file: Option<PathBuf>,
    /// `mailto:` URLs sent when the account is made; may be empty.
    pub contact: Vec<String>,
    /// External account binding (RFC 8555 §7.3.4).
    pub external_account: Option<ExternalAccount>,
    /// Proxy URL for requests to this CA; `None`: from the environment.
    pub proxy: Option<String>,
    /// Further hosts (`host` or `host:port`) that URLs in the CA's answers may point to.
    pub allowed_hosts: Vec<String>,
}

/// Credentials that bind the ACME account to an account at the CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalAccount {
    /// Key identifier, as given by the CA.
    pub kid: String,
    /// MAC key: base64, with or without padding, either alphabet.
    pub hmac_key: SecretRef,
}

/// Where a secret is; never the secret itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretRef {
    /// The content of a file, trailing line break dropped.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A systemd credential: a file below `$CREDENTIALS_DIRECTORY`.
    Credential(String),
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::Credential(name) => write!(f, "systemd credential {name}"),
        }
    }
}

/// One way to answer challenges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SolverSettings {
    /// http-01 answered by this program itself.
    Http01Listener(ListenerSettings),
    /// http-01 answered by a web server that serves this directory's `.well-known`.
    Http01Webroot(WebrootSettings),
}

/// An http-01 listener of our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerSettings {
    /// Addresses to listen on. `[::]` takes IPv4 as well.
    pub listen: Vec<SocketAddr>,
    /// Send everything that is not a challenge to https instead of answering 404.
    pub redirect: bool,
}

/// A directory that some web server publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebrootSettings {
    /// The document root; tokens go to `.well-known/acme-challenge` below it.
    pub directory: PathBuf,
}

/// One certificate and what is to be done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateSettings {
    /// What is wanted.
    pub spec: Spec,
    /// Name of the solver for its identifiers.
    pub solver: String,
    /// Copies elsewhere, written in this order before the hooks run.
    pub outputs: Vec<OutputSettings>,
    /// Commands after the switch, run in this order; the first failure stops the row.
    pub hooks: Vec<HookSettings>,
    /// Group that may read the files in the generation directories; `None`: the owner alone.
    pub group: Option<String>,
}

impl CertificateSettings {
    /// The first identifier: what `Le_Domain` and `LEGO_CERT_DOMAIN` mean.
    pub fn first_identifier(&self) -> Option<&Identifier> {
        self.spec.satisfy.identifiers.first()
    }
}

/// A copy of the current generation at a place of the user's choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputSettings {
    /// File (for one-file formats) or directory (for [`OutputFormat::Pem`]), absolute.
    pub path: PathBuf,
    /// What is written.
    pub format: OutputFormat,
    /// User that shall own it; needs privileges that the service does not have by default.
    pub owner: Option<String>,
    /// Group that shall own it; this process must be a member.
    pub group: Option<String>,
    /// Permission bits.
    pub mode: u32,
}

/// The shapes in which a copy can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputFormat {
    /// `privkey.pem`, `cert.pem`, `chain.pem`, `fullchain.pem` in a directory.
    Pem,
    /// Chain and key in one PEM file.
    Combined,
    /// Chain alone in one PEM file.
    Fullchain,
    /// Key alone in one PEM file.
    Privkey,
}

impl OutputFormat {
    /// Every format, in the order shown to people.
    pub const ALL: [Self; 4] = [Self::Pem, Self::Combined, Self::Fullchain, Self::Privkey];

    /// The name used in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pem => "pem",
            Self::Combined => "combined",
            Self::Fullchain => "fullchain",
            Self::Privkey => "privkey",
        }
    }
}

/// A command to run after a switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookSettings {
    /// What it is for, for people: `reload`, or the name of a service and which of its commands.
    pub name: String,
    /// What to run.
    pub command: CommandLine,
    /// Its process group is killed after this long.
    pub timeout: Duration,
}

/// A command as configured. A plain string is split like a shell would; only `shell:` uses one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandLine {
    /// Program and arguments; never empty.
    Argv(Vec<String>),
    /// A line for `/bin/sh -c`.
    Shell(String),
}

impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argv(words) => f.write_str(&words.join(" ")),
            Self::Shell(line) => write!(f, "sh -c '{line}'"),
        }
    }
}
